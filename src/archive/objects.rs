//! The object storage that the configuration names.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use secrecy::ExposeSecret as _;
use switchboard_contract::{Error, ErrorKind, Result};

use super::ArchiveConfig;

/// Where the archive's objects are: a storage, and the part of it that is ours.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) prefix: Path,
}

/// A failure of the object storage.
pub(super) fn failed(operation: &'static str) -> impl Fn(object_store::Error) -> Error + Copy {
    move |error| {
        Error::new(ErrorKind::Storage, "the archive's storage failed").with_operation(operation).with_source(error)
    }
}

/// Opens what `location` names; a directory is made when it is missing.
pub(super) fn open(location: &str, config: &ArchiveConfig) -> Result<Objects> {
    let wrong = |error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Config, format!("archive.location: {location} cannot be opened: {error}"))
    };
    let Some(rest) = location.strip_prefix("s3://") else {
        std::fs::create_dir_all(location).map_err(|error| wrong(&error))?;
        // An object counts once it is on disk: the database forgets what stands in it.
        let store = LocalFileSystem::new_with_prefix(location).map_err(|error| wrong(&error))?.with_fsync(true);
        return Ok(Objects { store: Arc::new(store), prefix: Path::default() });
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let s3 = &config.s3;
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_allow_http(s3.allow_http);
    if let Some(endpoint) = &s3.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &s3.region {
        builder = builder.with_region(region);
    }
    if let Some(id) = &s3.access_key_id {
        builder = builder.with_access_key_id(id);
    }
    if let Some(secret) = &s3.secret_access_key {
        builder = builder.with_secret_access_key(secret.expose_secret());
    }
    let store = builder.build().map_err(|error| wrong(&error))?;
    Ok(Objects { store: Arc::new(store), prefix: Path::from(prefix) })
}
