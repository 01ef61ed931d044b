//! What the figures were measured on.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use switchboard_contract::Result;

use super::measure::{failed, median};

/// Facts about the machine, as far as the system tells them.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    /// The processor's name.
    pub(super) cpu: String,
    /// Cores this process may use.
    pub(super) cores: usize,
    /// The system and its release.
    pub(super) kernel: String,
    /// Memory, in MiB.
    pub(super) memory_mib: u64,
    /// The file system below the directory the files are made in.
    pub(super) file_system: String,
    /// The median time of writing a page and making it durable, in microseconds.
    pub(super) fsync_us: f64,
    /// Whether processes were pinned to cores.
    pub(super) pinned: bool,
    /// Processes that ran or wanted to, on average over the minute before: what else the machine was doing.
    pub(super) load: f64,
    /// The build of this program.
    pub(super) build: &'static str,
}

impl Machine {
    pub(super) fn look(dir: &Path) -> Result<Self> {
        Ok(Self {
            cpu: cpu().unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: allowed().len(),
            kernel: format!("{} {}", std::env::consts::OS, read("/proc/sys/kernel/osrelease").trim()),
            memory_mib: memory_mib(),
            file_system: file_system(dir).unwrap_or_else(|| "unknown".to_owned()),
            fsync_us: fsync_us(dir)?,
            pinned: Cores::choose().pinned,
            load: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
        })
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn cpu() -> Option<String> {
    let text = read("/proc/cpuinfo");
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_mib() -> u64 {
    let text = read("/proc/meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or(0) >> 10
}

/// The type of the mount that holds `dir`.
fn file_system(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = read("/proc/self/mountinfo");
    let mut best: Option<(usize, String)> = None;
    for line in mounts.lines() {
        let (left, right) = line.split_once(" - ")?;
        let (point, kind) = (left.split(' ').nth(4)?, right.split(' ').next()?);
        // Of two mounts at one place the later one is seen.
        if dir.starts_with(point) && best.as_ref().is_none_or(|(length, _)| point.len() >= *length) {
            best = Some((point.len(), kind.to_owned()));
        }
    }
    best.map(|(_, kind)| kind)
}

/// The median of writing 4 KiB over again and making it durable.
pub(super) fn fsync_us(dir: &Path) -> Result<f64> {
    use std::io::{Seek as _, SeekFrom};

    let mut file: File = tempfile::tempfile_in(dir).map_err(failed("a file could not be made"))?;
    let mut times = Vec::with_capacity(201);
    for _ in 0..201 {
        let begun = Instant::now();
        file.seek(SeekFrom::Start(0)).map_err(failed("a file could not be written"))?;
        file.write_all(&[7; 4096]).map_err(failed("a file could not be written"))?;
        file.sync_data().map_err(failed("a file could not be synced"))?;
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(times))
}

/// Which cores the measured process and its driver run on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Cores {
    /// The one core of what is measured.
    pub(super) measured: usize,
    /// The one core of what drives it; the same where there is only one.
    pub(super) driving: usize,
    /// Whether the system can pin at all.
    pub(super) pinned: bool,
}

impl Cores {
    /// The first two cores this process may use.
    pub(super) fn choose() -> Self {
        let allowed = allowed();
        let measured = allowed.first().copied().unwrap_or(0);
        let pinned = std::process::Command::new("taskset")
            .arg("--version")
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        Self { measured, driving: allowed.get(1).copied().unwrap_or(measured), pinned }
    }
}

/// The numbers of the cores this process may use.
fn allowed() -> Vec<usize> {
    let text = read("/proc/self/status");
    let list = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).map(parse_list);
    list.filter(|list| !list.is_empty()).unwrap_or_else(|| {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        (0..count).collect()
    })
}

/// `0-2,5` is 0, 1, 2 and 5.
fn parse_list(text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            found.extend(first..=last);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_list("\t0-2,5"), [0, 1, 2, 5]);
        assert_eq!(parse_list("3"), [3]);
        assert!(parse_list("").is_empty());
    }
}
