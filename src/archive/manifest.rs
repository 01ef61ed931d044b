//! The list of a tenant's files: one object, replaced as a whole. What it does not name is not in the archive.

use bytes::Bytes;
use object_store::path::{Path, PathPart};
use object_store::{ObjectStoreExt as _, PutMode, PutOptions, PutPayload, UpdateVersion};
use serde::{Deserialize, Serialize};
use switchboard_contract::storage::Day;
use switchboard_contract::{Error, ErrorKind, Result, TenantId, Timestamp};

use super::objects::{Objects, failed};
use super::write::FileFacts;

/// The form of the list. A newer one is refused.
const FORMAT: u32 = 1;

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveFile {
    /// Its name, beside the list.
    pub name: String,
    /// The day of its messages, counted from 1970 in UTC.
    pub day: Day,
    /// The generation of the list that brought it.
    pub generation: u64,
    /// Its size.
    pub bytes: u64,
    /// Messages in it.
    pub rows: u64,
    /// The first conversation in it.
    pub first: String,
    /// The last.
    pub last: String,
    /// Of its first message by time, milliseconds since the epoch.
    pub since: Timestamp,
    /// Behind its last.
    pub until: Timestamp,
    /// The SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// The SHA-256 of its events in their order, a line feed behind each.
    pub content_sha256: String,
    /// Where its indexes begin.
    pub index_at: u64,
}

impl ArchiveFile {
    pub(super) fn new(name: String, day: Day, generation: u64, bytes: u64, facts: FileFacts) -> Self {
        let FileFacts { rows, first, last, since, until, sha256, content_sha256, index_at } = facts;
        Self { name, day, generation, bytes, rows, first, last, since, until, sha256, content_sha256, index_at }
    }

    /// Whether it may hold messages of this conversation.
    pub(super) fn may_hold(&self, conversation: &str) -> bool {
        self.first.as_str() <= conversation && conversation <= self.last.as_str()
    }
}

/// The list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    format: u32,
    pub(super) tenant: TenantId,
    /// The installation whose archive it is.
    pub(super) owner: String,
    pub(super) generation: u64,
    pub(super) written_at: Timestamp,
    /// Days up to and including this one have left the archive for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expired: Option<Day>,
    /// By day and first conversation.
    pub(super) files: Vec<ArchiveFile>,
    /// Files of the generation before, which somebody may still be reading.
    pub(super) replaced: Vec<String>,
}

impl Manifest {
    fn empty(tenant: &TenantId, owner: &str) -> Self {
        Self {
            format: FORMAT,
            tenant: tenant.clone(),
            owner: owner.to_owned(),
            generation: 0,
            written_at: Timestamp(0),
            expired: None,
            files: Vec::new(),
            replaced: Vec::new(),
        }
    }

    /// The files of a day.
    pub(super) fn of_day(&self, day: Day) -> &[ArchiveFile] {
        let begin = self.files.partition_point(|file| file.day < day);
        let end = self.files.partition_point(|file| file.day <= day);
        &self.files[begin..end]
    }

    /// The list that follows: without the files `gone`, with the files `fresh`.
    pub(super) fn next(&self, gone: &[String], fresh: Vec<ArchiveFile>, now: Timestamp) -> Self {
        let mut next = self.clone();
        next.generation += 1;
        next.written_at = now;
        next.files.retain(|file| !gone.contains(&file.name));
        next.files.extend(fresh);
        next.files.sort_by(|one, other| (one.day, &one.first, &one.name).cmp(&(other.day, &other.first, &other.name)));
        next.replaced = gone.to_vec();
        next
    }
}

/// A list with what its replacement has to match.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) manifest: Manifest,
    version: Option<UpdateVersion>,
}

/// Where a tenant's objects are. Names of tenants may hold anything.
pub(super) fn folder(objects: &Objects, tenant: &TenantId) -> Path {
    objects.prefix.clone().join(PathPart::from(tenant.as_str()))
}

fn list_path(objects: &Objects, tenant: &TenantId) -> Path {
    folder(objects, tenant).join("manifest.json")
}

/// Reads a tenant's list; an empty one when there is none yet.
pub(super) async fn load(objects: &Objects, tenant: &TenantId, owner: &str) -> Result<Listed> {
    let fail = failed("archive_manifest");
    let found = match objects.store.get(&list_path(objects, tenant)).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => {
            return Ok(Listed { manifest: Manifest::empty(tenant, owner), version: None });
        }
        Err(error) => return Err(fail(error)),
    };
    let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
    let bytes = found.bytes().await.map_err(fail)?;
    let unreadable = |text: String| Error::new(ErrorKind::Storage, text).with_operation("archive_manifest");
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|error| unreadable("the archive's manifest cannot be read".to_owned()).with_source(error))?;
    if manifest.format > FORMAT {
        return Err(unreadable(format!("the archive has format {}, this program knows {FORMAT}", manifest.format)));
    }
    if &manifest.tenant != tenant {
        return Err(unreadable(format!("the archive's manifest is that of tenant {}", manifest.tenant)));
    }
    if manifest.owner != owner {
        let text = "the archive belongs to another installation: name another archive.location, or the store it was \
                    written from";
        return Err(unreadable(text.to_owned()));
    }
    Ok(Listed { manifest, version: Some(version) })
}

/// Replaces a tenant's list. Durable when this returns; until then the old one counts.
pub(super) async fn replace(objects: &Objects, before: &Listed, manifest: Manifest) -> Result<Listed> {
    let fail = failed("archive_manifest");
    let path = list_path(objects, &manifest.tenant);
    let bytes = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| Error::new(ErrorKind::Internal, "the archive's manifest is no JSON").with_source(error))?;
    let payload = PutPayload::from(Bytes::from(bytes));
    let mode = before.version.clone().map_or(PutMode::Create, PutMode::Update);
    let options = PutOptions { mode, ..PutOptions::default() };
    let put = match objects.store.put_opts(&path, payload.clone(), options).await {
        // A directory knows no conditions; it belongs to one process, as the store does.
        Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
            objects.store.put(&path, payload).await
        }
        put => put,
    };
    let put = put.map_err(|error| match error {
        object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => {
            let text = "somebody else writes to this archive";
            Error::new(ErrorKind::Conflict, text).with_operation("archive_manifest").with_source(error)
        }
        error => fail(error),
    })?;
    Ok(Listed { manifest, version: Some(UpdateVersion { e_tag: put.e_tag, version: put.version }) })
}
