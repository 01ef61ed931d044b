//! Starting what is measured and what drives it: this binary again, pinned, speaking lines of JSON.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard_contract::{Error, ErrorKind, Result};

use super::delay::SlowDisk;
use super::machine::Cores;
use super::measure::{Figure, failed};
use super::role::Role;

/// What a child says on its standard output, one line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    /// It can be driven.
    Ready(Ready),
    /// It found this, and ends.
    Done(Figure),
    /// It could not go on, and ends.
    Failed(String),
}

/// Where a child that serves can be reached.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    /// HTTP, or whatever it serves.
    pub(super) address: SocketAddr,
    /// Its [meter](super::meter), if it has one.
    pub(super) meter: Option<SocketAddr>,
}

/// Where a child runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// On the measured core.
    Measured(&'a Cores),
    /// On the measured core, with a slower disk.
    SlowDisk(&'a Cores, &'a SlowDisk),
    /// On the driving core.
    Driving(&'a Cores),
    /// Wherever the system likes.
    Anywhere,
}

impl Place<'_> {
    fn core(self) -> Option<usize> {
        match self {
            Self::Measured(cores) | Self::SlowDisk(cores, _) if cores.pinned => Some(cores.measured),
            Self::Driving(cores) if cores.pinned => Some(cores.driving),
            _ => None,
        }
    }
}

/// A running child. It is ended when dropped.
#[derive(Debug)]
pub(super) struct Child {
    process: std::process::Child,
    lines: Receiver<String>,
    role: &'static str,
}

impl Child {
    pub(super) fn start(role: &Role, place: Place<'_>) -> Result<Self> {
        let program = std::env::current_exe().map_err(failed("this program cannot be found"))?;
        // taskset gives way to the program, so that the process is the child itself.
        let mut command = match place.core() {
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &core.to_string()]).arg(program);
                command
            }
            None => Command::new(program),
        };
        if let Place::SlowDisk(_, slow) = place {
            slow.apply(&mut command);
        }
        let text = serde_json::to_string(role).map_err(failed("a role cannot be written"))?;
        command.arg("bench-child").arg(text).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(failed("a process could not be started"))?;
        let output = process.stdout.take();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines().map_while(Result::ok)) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { process, lines, role: role.name() })
    }

    /// Waits until it can be driven.
    pub(super) fn ready(&self, within: Duration) -> Result<Ready> {
        match self.said(within)? {
            Said::Ready(ready) => Ok(ready),
            Said::Done(_) => Err(self.broken("ended before it was ready")),
            Said::Failed(text) => Err(self.broken(&text)),
        }
    }

    /// Waits for what it found.
    pub(super) fn done(self, within: Duration) -> Result<Figure> {
        match self.said(within)? {
            Said::Done(figure) => Ok(figure),
            Said::Ready(_) => Err(self.broken("said twice that it was ready")),
            Said::Failed(text) => Err(self.broken(&text)),
        }
    }

    /// Asks one that serves to stop, and waits for what it found.
    pub(super) fn stop(mut self, within: Duration) -> Result<Figure> {
        drop(self.process.stdin.take());
        self.done(within)
    }

    /// Its resident memory, in KiB.
    pub(super) fn rss_kib(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.process.id());
        let text = std::fs::read_to_string(path).map_err(failed("a process's memory cannot be read"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok())
            .ok_or_else(|| self.broken("has no resident memory"))
    }

    /// The processor time it has taken, as the system counts it: in hundredths of a second.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.process.id());
        let text = std::fs::read_to_string(path).map_err(failed("a process's time cannot be read"))?;
        // The name in brackets may hold anything; behind it stand numbers.
        let numbers: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| numbers.get(at).and_then(|text| text.parse::<u64>().ok());
        match (ticks(11), ticks(12)) {
            (Some(user), Some(system)) => Ok(Duration::from_millis((user + system) * 10)),
            _ => Err(self.broken("has no processor time")),
        }
    }

    fn said(&self, within: Duration) -> Result<Said> {
        let line = self.lines.recv_timeout(within).map_err(|error| match error {
            RecvTimeoutError::Timeout => self.broken(&format!("said nothing within {within:?}")),
            RecvTimeoutError::Disconnected => self.broken("ended without a word"),
        })?;
        serde_json::from_str(&line).map_err(|error| self.broken(&format!("said something else: {error}")))
    }

    fn broken(&self, what: &str) -> Error {
        Error::new(ErrorKind::Internal, format!("the measured process \"{}\": {what}", self.role))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // One that has ended already is no fault.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
