//! A slower disk: a preloaded layer that adds two milliseconds to every fsync.

use std::path::PathBuf;
use std::process::Command;

use switchboard_contract::{Error, ErrorKind, Result};

use super::measure::failed;

const SOURCE: &str = include_str!("../../../tests/shim/unsynced.c");

/// Added to every fsync.
pub(super) const DELAY_US: u32 = 2000;

/// The compiled layer.
#[derive(Debug)]
pub(super) struct SlowDisk {
    library: PathBuf,
    _dir: tempfile::TempDir,
}

impl SlowDisk {
    /// Compiles it into `dir`.
    ///
    /// # Errors
    /// `Unsupported` without a C compiler.
    pub(super) fn compile(dir: tempfile::TempDir) -> Result<Self> {
        let (source, library) = (dir.path().join("unsynced.c"), dir.path().join("unsynced.so"));
        std::fs::write(&source, SOURCE).map_err(failed("a file could not be written"))?;
        let output = Command::new("cc")
            .args(["-O2", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(&source)
            .args(["-ldl", "-lpthread"])
            .output()
            .map_err(|error| {
                Error::new(ErrorKind::Unsupported, "the slower disk needs a C compiler (cc)").with_source(error)
            })?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Error::new(ErrorKind::Internal, format!("the slower disk does not compile: {text}")));
        }
        Ok(Self { library, _dir: dir })
    }

    /// Preloads it into a command.
    pub(super) fn apply(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("UNSYNCED_DELAY_US", DELAY_US.to_string());
    }
}
