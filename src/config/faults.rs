//! What is wrong with a configuration, told so that it can be put right in one go.

use std::fmt;

use switchboard_contract::{Error, ErrorKind};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ConfigFault {
    /// The setting, such as `providers.main.app_key`; empty when the file as a whole is meant.
    pub path: String,
    /// The line of the file, from 1, where the setting stands there.
    pub line: Option<usize>,
    /// What is wrong. Never holds a value.
    pub problem: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ConfigFault {
    /// A fault of one setting.
    pub fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { path: path.into(), line: None, problem: problem.into(), hint: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.problem)?;
        if let Some(hint) = &self.hint {
            write!(f, " — {hint}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigFaults {
    /// Where the configuration came from, for people.
    pub source: String,
    /// The faults, in the order of their lines.
    pub faults: Vec<ConfigFault>,
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} fault{}", self.source, self.faults.len(), if self.faults.len() == 1 { "" } else { "s" })?;
        for fault in &self.faults {
            write!(f, "\n  {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigFaults {}

impl From<ConfigFaults> for Error {
    fn from(faults: ConfigFaults) -> Self {
        Self::new(ErrorKind::Config, faults.to_string()).with_source(faults)
    }
}
