//! One process per file: a lock beside the database, held as long as its writer lives.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use switchboard_contract::{Error, ErrorKind, Result};

use super::SqliteOptions;

/// Held by the writer; letting go of it frees the file. The operating system frees it when a process dies.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held for its effect")] File);

pub(super) async fn acquire(options: &SqliteOptions) -> Result<Lock> {
    let (path, patience) = (options.path.clone(), options.lock_timeout);
    // The operating system's lock has no asynchronous form.
    tokio::task::spawn_blocking(move || wait(&path, patience))
        .await
        .map_err(|error| Error::new(ErrorKind::Internal, "the lock could not be taken").with_source(error))?
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn wait(path: &Path, patience: Duration) -> Result<Lock> {
    let config = |error: std::io::Error| {
        Error::new(ErrorKind::Config, format!("{}: cannot be opened: {error}", path.display())).with_source(error)
    };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(beside(path)).map_err(config)?;
    let until = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
            Err(TryLockError::WouldBlock) => {
                let message = format!("{}: another process has this store open", path.display());
                return Err(Error::new(ErrorKind::Conflict, message).with_operation("open"));
            }
            Err(TryLockError::Error(error)) => return Err(config(error)),
        }
    }
}
