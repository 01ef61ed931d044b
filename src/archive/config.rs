//! Settings of the archive.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use switchboard_contract::{Error, ErrorKind, Result, TenantId};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Settings of the archive, `[archive]` in the configuration. Durations are written as `180d`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArchiveConfig {
    /// Where it is: a directory, or `s3://bucket/prefix`. Without it there is no archive.
    pub location: Option<String>,
    /// What was sent longer ago moves to the archive. Default 180 days.
    #[serde(with = "humantime_serde")]
    pub older_than: Duration,
    /// What was sent longer ago than this leaves the archive, too, for good. By default nothing does.
    #[serde(with = "humantime_serde")]
    pub delete_after: Option<Duration>,
    /// How often it runs by itself; 0 for never. Default once a day.
    #[serde(with = "humantime_serde")]
    pub every: Duration,
    /// A file of a day ends about here and another begins. Default 64 MiB; a run holds one in memory.
    pub file_bytes: u64,
    /// Memory for the indexes of files that were read. Default 32 MiB.
    pub index_cache_bytes: u64,
    /// The S3-compatible service of an `s3://` location.
    pub s3: S3Config,
    /// Other ages for some tenants.
    pub tenants: BTreeMap<TenantId, TenantArchive>,
}

impl Default for ArchiveConfig {
    fn default() -> Self {
        Self {
            location: None,
            older_than: 180 * DAY,
            delete_after: None,
            every: DAY,
            file_bytes: 64 << 20,
            index_cache_bytes: 32 << 20,
            s3: S3Config::default(),
            tenants: BTreeMap::new(),
        }
    }
}

/// Ages of one tenant; what is missing is as for all.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantArchive {
    /// See [`ArchiveConfig::older_than`].
    #[serde(with = "humantime_serde")]
    pub older_than: Option<Duration>,
    /// See [`ArchiveConfig::delete_after`].
    #[serde(with = "humantime_serde")]
    pub delete_after: Option<Duration>,
}

/// An S3-compatible service. What is missing is taken from the environment as AWS's own tools do (`AWS_…`).
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Config {
    /// Its address, when it is not AWS.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// The key's name.
    pub access_key_id: Option<String>,
    /// The key: a literal, `{ env = "…" }` or `{ file = "…" }`.
    pub secret_access_key: Option<SecretString>,
    /// Whether it may be reached without TLS.
    pub allow_http: bool,
}

impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Config")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("access_key_id", &self.access_key_id)
            .field("allow_http", &self.allow_http)
            .finish_non_exhaustive()
    }
}

impl ArchiveConfig {
    /// From what age on messages of a tenant move.
    pub fn older_than(&self, tenant: &TenantId) -> Duration {
        self.tenants.get(tenant).and_then(|own| own.older_than).unwrap_or(self.older_than)
    }

    /// From what age on messages of a tenant leave the archive.
    pub fn delete_after(&self, tenant: &TenantId) -> Option<Duration> {
        self.tenants.get(tenant).and_then(|own| own.delete_after).or(self.delete_after)
    }

    /// What is wrong with it: `archive.field: problem`.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut ages = |path: &str, older_than: Duration, delete_after: Option<Duration>| {
            if older_than < DAY {
                faults.push(format!("{path}.older_than: must be at least 1 day"));
            }
            if delete_after.is_some_and(|after| after <= older_than) {
                faults.push(format!("{path}.delete_after: must be more than older_than"));
            }
        };
        ages("archive", self.older_than, self.delete_after);
        for tenant in self.tenants.keys() {
            ages(&format!("archive.tenants.{tenant}"), self.older_than(tenant), self.delete_after(tenant));
        }
        if self.file_bytes < 1 << 16 {
            faults.push("archive.file_bytes: must be at least 65536".to_owned());
        }
        match self.location.as_deref() {
            None => {}
            Some("") => faults.push("archive.location: must not be empty".to_owned()),
            Some(location) if cfg!(not(feature = "archive")) => {
                let _ = location;
                faults.push("archive.location: this build has no archive (feature archive)".to_owned());
            }
            Some(location) => match location.split_once("://") {
                None => {}
                Some(("s3", rest)) if !rest.split('/').next().unwrap_or_default().is_empty() => {}
                Some(("s3", _)) => faults.push("archive.location: names no bucket".to_owned()),
                Some(_) => {
                    faults.push("archive.location: must be a directory or s3://bucket/prefix".to_owned());
                }
            },
        }
        faults
    }

    /// Checks the values against each other.
    ///
    /// # Errors
    /// `Config`, naming the fields.
    pub fn check(&self) -> Result<()> {
        let faults = self.faults();
        if faults.is_empty() { Ok(()) } else { Err(Error::new(ErrorKind::Config, faults.join("; "))) }
    }
}
