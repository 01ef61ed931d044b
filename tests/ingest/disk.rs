//! A disk that can lose, at any moment, everything that was not synced.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use switchboard::ingest::inbox::{InboxDir, InboxFile};

/// A power loss keeps or loses unsynced writes by this unit.
const SECTOR: usize = 512;

/// A sync that a mutant leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mutant {
    #[default]
    None,
    /// Syncs of files do nothing.
    FileSync,
    /// Syncs of the directory do nothing.
    DirectorySync,
}

#[derive(Clone, Debug, Default)]
struct Content {
    /// What reads see.
    cached: Vec<u8>,
    /// What surely survives.
    durable: Vec<u8>,
    /// What may survive, in order.
    unsynced: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone, Debug, Default)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Operations until the machine stops.
    fuse: Option<u64>,
    stopped: bool,
    /// Writes and syncs fail so.
    refusing: Option<io::ErrorKind>,
    /// Bytes that may still be reserved.
    room: Option<u64>,
    stalled: bool,
    mutant: Mutant,
    syncs: u64,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    moved: Condvar,
}

/// The disk. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Shared>);

fn stopped() -> io::Error {
    io::Error::other("the machine has stopped")
}

impl State {
    fn step(&mut self) -> io::Result<()> {
        if let Some(fuse) = &mut self.fuse {
            *fuse = fuse.saturating_sub(1);
            self.stopped |= *fuse == 0;
        }
        match self.refusing {
            _ if self.stopped => Err(stopped()),
            Some(kind) => Err(kind.into()),
            None => Ok(()),
        }
    }
}

impl Disk {
    pub(crate) fn new(mutant: Mutant) -> Self {
        let disk = Self::default();
        disk.0.state.lock().mutant = mutant;
        disk
    }

    /// The machine stops at the `operations`-th write or sync from now on.
    pub(crate) fn stop_after(&self, operations: u64) {
        self.0.state.lock().fuse = Some(operations);
    }

    pub(crate) fn limit_room(&self, bytes: u64) {
        self.0.state.lock().room = Some(bytes);
    }

    /// Writes and syncs fail so from now on, or succeed again.
    pub(crate) fn refuse(&self, kind: Option<io::ErrorKind>) {
        self.0.state.lock().refusing = kind;
    }

    /// Flips a bit of a file, as a bad medium does.
    pub(crate) fn flip(&self, name: &str, at: usize) {
        let mut state = self.0.state.lock();
        let file = state.names[name];
        state.files[file].cached[at] ^= 1;
        state.files[file].durable = state.files[file].cached.clone();
    }

    /// The name of the file that holds these bytes, and where.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<(String, usize)> {
        let state = self.0.state.lock();
        state.names.iter().find_map(|(name, file)| {
            let at = state.files[*file].cached.windows(bytes.len()).position(|window| window == bytes)?;
            Some((name.clone(), at))
        })
    }

    /// Syncs hang while this holds.
    pub(crate) fn stall(&self, stalled: bool) {
        self.0.state.lock().stalled = stalled;
        self.0.moved.notify_all();
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.0.state.lock().syncs
    }

    /// The process was killed: nothing is lost, and nothing became durable by it. The old handle is dead.
    pub(crate) fn kill(&self) -> Self {
        let mut old = self.0.state.lock();
        let state = State { fuse: None, stopped: false, stalled: false, ..old.clone() };
        old.stopped = true;
        old.stalled = false;
        self.0.moved.notify_all();
        Self(Arc::new(Shared { state: Mutex::new(state), moved: Condvar::new() }))
    }

    /// The power failed: of what was not synced any part may be lost, sector by sector, name by name.
    pub(crate) fn lose_power(&self, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let disk = self.kill();
        let mut state = disk.0.state.lock();
        let State { files, names, durable_names, .. } = &mut *state;
        names.retain(|name, file| durable_names.get(name) == Some(file) || rng.random());
        *durable_names = names.clone();
        for file in files {
            let mut kept = std::mem::take(&mut file.durable);
            if kept.len() < file.cached.len() && rng.random() {
                kept.resize(file.cached.len(), 0);
            }
            for (at, bytes) in file.unsynced.drain(..) {
                for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                    let start = at + number * SECTOR;
                    if start + sector.len() <= kept.len() && rng.random() {
                        kept[start..start + sector.len()].copy_from_slice(sector);
                    }
                }
            }
            file.cached.clone_from(&kept);
            file.durable = kept;
        }
        drop(state);
        disk
    }
}

#[derive(Debug)]
struct SimFile {
    disk: Disk,
    file: usize,
}

impl InboxDir for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.state.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn InboxFile>> {
        let mut state = self.0.state.lock();
        state.step()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if let Some(room) = &mut state.room {
            *room = room.checked_sub(bytes).ok_or(io::ErrorKind::StorageFull)?;
        }
        let file = state.files.len();
        state.files.push(Content { cached: vec![0; bytes as usize], ..Content::default() });
        state.names.insert(name.to_owned(), file);
        Ok(Arc::new(SimFile { disk: self.clone(), file }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn InboxFile>> {
        let state = self.0.state.lock();
        let file = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile { disk: self.clone(), file }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.state.lock();
        state.step()?;
        state.names.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.state.lock();
        state.step()?;
        if state.mutant != Mutant::DirectorySync {
            state.durable_names = state.names.clone();
        }
        Ok(())
    }
}

impl InboxFile for SimFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.disk.0.state.lock().files[self.file].cached.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let state = self.disk.0.state.lock();
        if state.stopped {
            return Err(stopped());
        }
        let rest = state.files[self.file].cached.get(at as usize..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.0.state.lock();
        if state.stopped {
            return Err(stopped());
        }
        // What was on its way when the machine stopped reached the cache, and may reach the disk.
        let running = state.step();
        let content = &mut state.files[self.file];
        let at = at as usize;
        if at + bytes.len() > content.cached.len() {
            return Err(io::Error::other("a write beyond the reserved room"));
        }
        content.unsynced.push((at, bytes.to_vec()));
        content.cached[at..at + bytes.len()].copy_from_slice(bytes);
        running
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.0.state.lock();
        while state.stalled {
            self.disk.0.moved.wait(&mut state);
        }
        state.step()?;
        state.syncs += 1;
        if state.mutant != Mutant::FileSync {
            let content = &mut state.files[self.file];
            content.durable.clone_from(&content.cached);
            content.unsynced.clear();
        }
        Ok(())
    }
}
