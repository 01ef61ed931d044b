//! Whether the files are what was written.

use object_store::ObjectStoreExt as _;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use switchboard_contract::{Result, TenantId};

use super::manifest::ArchiveFile;
use super::read;
use super::service::Inner;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileFault {
    /// Its name.
    pub file: String,
    /// What.
    pub problem: String,
}

/// What came of reading everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Nothing is wrong.
    pub good: bool,
    /// Files read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages in them.
    pub messages: u64,
    /// What is wrong.
    pub faults: Vec<FileFault>,
}

impl Inner {
    pub(super) async fn verify(&self, tenant: &TenantId) -> Result<VerifyReport> {
        let list = self.list(tenant).await?;
        let mut report = VerifyReport::default();
        for file in &list.files {
            report.files += 1;
            match self.verify_file(tenant, file).await {
                Ok(()) => {
                    report.bytes += file.bytes;
                    report.messages += file.rows;
                }
                Err(problem) => report.faults.push(FileFault { file: file.name.clone(), problem }),
            }
        }
        report.good = report.faults.is_empty();
        metrics::gauge!("switchboard_archive_faulty_files").set(report.faults.len() as f64);
        Ok(report)
    }

    async fn verify_file(&self, tenant: &TenantId, file: &ArchiveFile) -> Result<(), String> {
        let path = self.path(tenant, &file.name);
        let found = self.objects.store.get(&path).await.map_err(|error| error.to_string())?;
        let bytes = found.bytes().await.map_err(|error| error.to_string())?;
        if bytes.len() as u64 != file.bytes {
            return Err(format!("has {} bytes, {} were written", bytes.len(), file.bytes));
        }
        if hex::encode(Sha256::digest(&bytes)) != file.sha256 {
            return Err("has other bytes than were written".to_owned());
        }
        drop(bytes);
        let said = |error: switchboard_contract::Error| error.message().to_owned();
        // Past what is remembered of it: the file itself is asked.
        let open = read::open(&self.objects, path, file).await.map_err(said)?;
        let (mut content, mut rows, mut last) = (Sha256::new(), 0, None);
        for unit in open.groups() {
            for row in open.rows(&self.objects, &unit, false).await.map_err(said)? {
                content.update(&row.event);
                content.update(b"\n");
                rows += 1;
                let at = (row.conversation.as_str().to_owned(), row.at);
                if last.as_ref().is_some_and(|last| last >= &at) {
                    return Err(format!("is out of order at message {}", at.1.message_id));
                }
                last = Some(at);
            }
        }
        if rows != file.rows || hex::encode(content.finalize()) != file.content_sha256 {
            return Err(format!("gives back {rows} messages that are not the {} written", file.rows));
        }
        Ok(())
    }
}
