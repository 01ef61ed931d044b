//! A provider whose files can be held up in the middle.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::{Condvar, Mutex};
use switchboard_contract::{
    App, CallbackCodec, Groups, HistoryFile, HistoryFileLimits, HistoryFiles, HourDecoder, HourFile, HourLine,
    HourLines, Messaging, Naming, Provider, Result, Roaming, Timestamp, Users,
};

/// How many lines of all files may pass.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<(Mutex<u64>, Condvar)>);

impl Gate {
    pub(crate) fn new(lines: u64) -> Self {
        Self(Arc::new((Mutex::new(lines), Condvar::new())))
    }

    /// Lets everything pass from now on.
    pub(crate) fn open(&self) {
        *self.0.0.lock() = u64::MAX;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut left = self.0.0.lock();
        while *left == 0 {
            self.0.1.wait(&mut left);
        }
        *left -= 1;
    }
}

#[derive(Debug)]
pub(crate) struct Gated {
    real: Arc<dyn Provider>,
    gate: Gate,
}

impl Gated {
    pub(crate) fn new(real: Arc<dyn Provider>, gate: Gate) -> Self {
        Self { real, gate }
    }
}

#[async_trait]
impl Provider for Gated {
    fn app(&self) -> &App {
        self.real.app()
    }

    fn naming(&self) -> Naming {
        self.real.naming()
    }

    async fn probe(&self) -> Result<()> {
        self.real.probe().await
    }

    fn messaging(&self) -> &dyn Messaging {
        self.real.messaging()
    }

    fn callbacks(&self) -> Option<&dyn CallbackCodec> {
        self.real.callbacks()
    }

    fn roaming(&self) -> Option<&dyn Roaming> {
        self.real.roaming()
    }

    fn history_files(&self) -> Option<&dyn HistoryFiles> {
        self.real.history_files().map(|_| self as &dyn HistoryFiles)
    }

    fn users(&self) -> Option<&dyn Users> {
        self.real.users()
    }

    fn groups(&self) -> Option<&dyn Groups> {
        self.real.groups()
    }
}

#[async_trait]
impl HistoryFiles for Gated {
    fn limits(&self) -> HistoryFileLimits {
        self.real.history_files().unwrap().limits()
    }

    async fn fetch(&self, hour: Timestamp) -> Result<HistoryFile> {
        let HistoryFile::Ready(file) = self.real.history_files().unwrap().fetch(hour).await? else {
            return Ok(HistoryFile::Absent);
        };
        let lines = Box::new(Held { gate: self.gate.clone(), lines: file.lines });
        Ok(HistoryFile::Ready(HourFile { lines, bytes: file.bytes, digest: file.digest }))
    }
}

struct Held {
    gate: Gate,
    lines: Box<dyn HourLines>,
}

impl HourLines for Held {
    fn next(&mut self) -> Option<Result<HourLine<'_>>> {
        let line = self.lines.next()?;
        self.gate.pass();
        Some(line)
    }

    fn decoder(&self) -> Arc<dyn HourDecoder> {
        self.lines.decoder()
    }
}
