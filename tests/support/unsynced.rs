//! The Rust side of `tests/shim/unsynced.c`: building it, preloading it, and undoing what was not fsynced.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::Rng;

/// A watched directory and the undo logs of what is not yet durable in it.
#[derive(Debug)]
pub struct Unsynced {
    library: PathBuf,
    watched: PathBuf,
    logs: PathBuf,
    full: PathBuf,
    skipped: Option<&'static str>,
}

/// What a full disk refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullDisk {
    /// Whatever makes a file longer.
    Growth,
    /// Every write, as on a file system that copies what it changes.
    Writes,
}

impl Unsynced {
    /// Compiles the layer into `scratch` and watches `watched`.
    pub fn new(scratch: &Path, watched: &Path) -> Self {
        let library = scratch.join("unsynced.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shim/unsynced.c");
        let status = Command::new("cc")
            .args(["-O2", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(source)
            .args(["-ldl", "-lpthread"])
            .status()
            .expect("a C compiler; scripts/setup-tests installs one");
        assert!(status.success(), "the layer does not compile");
        let logs = scratch.join("undo");
        fs::create_dir_all(&logs).unwrap();
        Self { library, watched: watched.to_owned(), logs, full: scratch.join("full"), skipped: None }
    }

    /// The same, but syncs of paths that end so do nothing.
    pub fn without_syncs_of(self, end: &'static str) -> Self {
        Self { skipped: Some(end), ..self }
    }

    /// The disk under `path`, a watched one, is full from now on, or has room again.
    pub fn fill_disk(&self, path: &Path, full: Option<FullDisk>) {
        let mode = match full {
            Some(FullDisk::Growth) => "grow",
            Some(FullDisk::Writes) => "write",
            None => return fs::remove_file(&self.full).unwrap(),
        };
        // In one step, as the layer may look at any moment.
        let draft = self.full.with_extension("draft");
        fs::write(&draft, format!("{mode} {}", path.display())).unwrap();
        fs::rename(draft, &self.full).unwrap();
    }

    /// Preloads the layer into a command.
    pub fn watch(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("UNSYNCED_DIR", &self.watched).env("UNSYNCED_LOG", &self.logs);
        command.env("UNSYNCED_FULL", &self.full);
        if let Some(end) = self.skipped {
            command.env("UNSYNCED_SKIP", end);
        }
    }

    /// Preloads it for full disks alone, without noting what is written.
    pub fn watch_room(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("UNSYNCED_DIR", &self.watched).env("UNSYNCED_FULL", &self.full);
    }

    /// Throws away everything that was not fsynced, as a loss of power may. With a `chance`, the disk had come further
    /// with some files than it was made to: what was written to them first, and by chance, stays. Returns how many
    /// changes went.
    pub fn lose_power(&self, mut chance: Option<&mut impl Rng>) -> usize {
        let mut undone = self.undo_contents(&mut chance);
        undone += self.undo_names(&mut chance);
        for entry in fs::read_dir(&self.logs).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        undone
    }

    fn undo_contents(&self, chance: &mut Option<&mut impl Rng>) -> usize {
        let mut paths = HashMap::new();
        index(&self.watched, &mut paths);
        // Removed files live on beside the logs until their removal is durable.
        index(&self.logs, &mut paths);
        let mut undone = 0;
        for (inode, log) in self.named("f.") {
            let Some(path) = paths.get(&inode) else { continue };
            let file = File::options().write(true).open(path).unwrap();
            for record in undone_of(records(&log), chance) {
                file.write_all_at(&record.bytes, record.offset).unwrap();
                file.set_len(record.size).unwrap();
                undone += 1;
            }
        }
        undone
    }

    fn undo_names(&self, chance: &mut Option<&mut impl Rng>) -> usize {
        let mut undone = 0;
        for (_, log) in self.named("d.") {
            for record in undone_of(records(&log), chance) {
                let text = String::from_utf8(record.bytes).unwrap();
                let (path, kept) = text.split_once('\n').unwrap();
                // A name that is gone already needs no undoing.
                let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
                if record.kind == 4 {
                    let _ = fs::rename(kept, path);
                }
                undone += 1;
            }
        }
        undone
    }

    fn named(&self, prefix: &str) -> Vec<(u64, PathBuf)> {
        fs::read_dir(&self.logs)
            .unwrap()
            .filter_map(|entry| {
                let path = entry.unwrap().path();
                let inode = path.file_name()?.to_str()?.strip_prefix(prefix)?.parse().ok()?;
                Some((inode, path))
            })
            .collect()
    }
}

/// What is undone of a log, last first: all of it, or what came after some moment.
fn undone_of<R: Rng>(records: Vec<Record>, chance: &mut Option<&mut R>) -> impl Iterator<Item = Record> + use<R> {
    let kept = chance.as_mut().map_or(0, |chance| {
        // Often all of it goes, as when no time was left.
        if chance.random() { chance.random_range(0..=records.len()) } else { 0 }
    });
    records.into_iter().skip(kept).rev()
}

struct Record {
    kind: u64,
    offset: u64,
    size: u64,
    bytes: Vec<u8>,
}

/// The whole records of a log; one cut short by the kill belongs to a write that never began.
fn records(path: &Path) -> Vec<Record> {
    let log = fs::read(path).unwrap();
    let mut found = Vec::new();
    let mut at = 0;
    while log.len() - at >= 32 {
        let word = |index: usize| u64::from_ne_bytes(log[at + index * 8..at + index * 8 + 8].try_into().unwrap());
        let (kind, offset, length, size) = (word(0), word(1), word(2) as usize, word(3));
        let Some(bytes) = log.get(at + 32..at + 32 + length) else { break };
        found.push(Record { kind, offset, size, bytes: bytes.to_vec() });
        at += 32 + length;
    }
    found
}

fn index(directory: &Path, paths: &mut HashMap<u64, PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            index(&path, paths);
        } else if !path.file_name().unwrap().to_string_lossy().starts_with("f.") {
            paths.insert(fs::metadata(&path).unwrap().ino(), path);
        }
    }
}
