//! Files as others see them, and how much of them is read.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde_json::Value;
use switchboard::archive::object_store::local::LocalFileSystem;
use switchboard::archive::object_store::path::Path as ObjectPath;
use switchboard::archive::object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result as ObjectResult,
};
use switchboard::archive::{ArchiveConfig, Archiver};
use switchboard_contract::EventData;
use switchboard_contract::storage::{Draft, HistoryFilter, HistoryQuery, PageDirection};

use crate::stage::{DAY, NOW, Stage, append, close, conversation, past, tenant};

/// The Python that `scripts/setup-tests` made.
pub(crate) fn python() -> Command {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/archive/.venv/bin/python");
    assert!(std::path::Path::new(path).exists(), "scripts/setup-tests installs what this test needs");
    Command::new(path)
}

/// The table of columns in the documentation: name, physical type, logical type, whether a value may be missing.
fn documented() -> Vec<(String, String, String, bool)> {
    let text = include_str!("../../docs/archive.md");
    let table = text.lines().skip_while(|line| !line.starts_with("| column")).skip(2);
    let rows = table.take_while(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        (cells[1].to_owned(), cells[2].to_owned(), cells[3].to_owned(), cells[4] == "yes")
    });
    rows.collect()
}

#[tokio::test]
async fn an_independent_reader_finds_the_documented_columns_and_what_was_written() {
    let stage = Stage::new();
    let switchboard = stage.open().await;
    let old = past(5, 60, NOW - 300 * DAY);
    append(&**switchboard.store(), old.clone()).await;
    let archiver = switchboard.archiver().unwrap();
    archiver.run(&tenant(), None).await.unwrap();
    let journal = switchboard
        .store()
        .read(&tenant(), crate::stage::SHARD, switchboard_contract::Position::START, 1000)
        .await
        .unwrap();
    let files = stage.files();
    assert_eq!(files.len(), 1);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/archive/read.py");
    let output = python().arg(script).arg(&files[0]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();

    let columns: Vec<_> = found["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| {
            let text = |at: usize| column[at].as_str().unwrap().to_owned();
            (text(0), text(1), text(2), column[3] == 1)
        })
        .collect();
    assert_eq!(columns, documented(), "docs/archive.md tells every column");
    assert_eq!(found["metadata"]["switchboard.tenant"], "default");
    assert_eq!(found["metadata"]["switchboard.day"], files[0].parent().unwrap().file_name().unwrap().to_str().unwrap());
    assert_eq!(found["sorted"], serde_json::json!([[0, false], [1, false], [2, false], [3, false]]));
    assert_eq!(found["indexed"], serde_json::json!([true, true]));

    let by_key: BTreeMap<&str, &Draft> = old.iter().map(|draft| (draft.key.id.as_str(), draft)).collect();
    let rows = found["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 300);
    let order: Vec<_> = rows
        .iter()
        .map(|row| {
            (row["conversation"].as_str().unwrap(), row["sent_at"].as_i64().unwrap(), row["sort_key"].as_str().unwrap())
        })
        .collect();
    assert!(order.is_sorted());
    for row in rows {
        let draft = by_key[row["key"].as_str().unwrap()];
        let EventData::Message(message) = &draft.event.data else { panic!() };
        let position = row["position"].as_u64().unwrap();
        let entry = &journal[usize::try_from(position).unwrap() - 1];
        assert_eq!(row["event"].as_str().unwrap().as_bytes(), &entry.json[..]);
        assert_eq!(row["sequence"].as_u64(), entry.sequence.map(|sequence| sequence.0));
        assert_eq!(row["conversation"], draft.event.conversation.as_ref().unwrap().as_str());
        assert_eq!(row["sent_at"], draft.event.sent_at.0);
        assert_eq!(row["received_at"], draft.event.received_at.0);
        assert_eq!(row["message_id"].as_str().unwrap(), hex::encode(message.id.as_bytes()));
        assert_eq!((&row["vendor"], &row["app"]), (&"huanxin".into(), &"org#app".into()));
        assert_eq!((&row["sender"], &row["body"]), (&message.from.as_str().into(), &"text".into()));
        assert_eq!((&row["origin"], &row["late"]), (&"callback".into(), &false.into()));
        assert_eq!(row["raw"].as_str().unwrap(), hex::encode(draft.raw.as_ref().unwrap()));
    }
    close(switchboard).await;
}

/// Counts the bytes that are read of files.
#[derive(Debug)]
struct Counting {
    inner: LocalFileSystem,
    read: AtomicU64,
    requests: AtomicU64,
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("counting")
    }
}

#[async_trait]
impl ObjectStore for Counting {
    async fn put_opts(&self, at: &ObjectPath, payload: PutPayload, options: PutOptions) -> ObjectResult<PutResult> {
        self.inner.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &ObjectPath,
        options: PutMultipartOptions,
    ) -> ObjectResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &ObjectPath, options: GetOptions) -> ObjectResult<GetResult> {
        let result = self.inner.get_opts(at, options).await?;
        if at.extension() == Some("parquet") {
            self.read.fetch_add(result.range.end - result.range.start, Ordering::Relaxed);
            self.requests.fetch_add(1, Ordering::Relaxed);
        }
        Ok(result)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, ObjectResult<ObjectPath>>,
    ) -> BoxStream<'static, ObjectResult<ObjectPath>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, ObjectResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> ObjectResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> ObjectResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn one_conversations_day_touches_a_twentieth_of_the_days_bytes_at_most() {
    let stage = Stage::new();
    let switchboard = stage.open().await;
    append(&**switchboard.store(), past(400, 50, NOW - 300 * DAY)).await;
    switchboard.archiver().unwrap().run(&tenant(), None).await.unwrap();
    let files = switchboard.archiver().unwrap().files(&tenant()).await.unwrap();
    let (bytes, rows): (u64, u64) =
        (files.iter().map(|file| file.bytes).sum(), files.iter().map(|file| file.rows).sum());
    assert_eq!((files.len(), rows), (1, 20_000));

    let inner = LocalFileSystem::new_with_prefix(stage.path().join("archive")).unwrap();
    let counting = Arc::new(Counting { inner, read: AtomicU64::new(0), requests: AtomicU64::new(0) });
    for number in [0, 7, 200, 399] {
        // Opened anew each time: nothing is remembered.
        let config = ArchiveConfig { location: Some("counted".to_owned()), ..ArchiveConfig::default() };
        let clock = Arc::new(stage.clock.clone());
        let reader = Archiver::open_over(config, counting.clone(), switchboard.store().clone(), clock).await.unwrap();
        counting.read.store(0, Ordering::Relaxed);
        counting.requests.store(0, Ordering::Relaxed);
        let query = HistoryQuery {
            tenant: tenant(),
            conversation: conversation(number),
            direction: PageDirection::Newer,
            after: None,
            since: Some(files[0].day.start()),
            until: Some(files[0].day.end()),
            limit: 1000,
            filter: HistoryFilter::default(),
        };
        let page = reader.source().page(&query).await.unwrap();
        assert_eq!((page.rows.len(), page.next), (50, None));
        let (read, requests) = (counting.read.load(Ordering::Relaxed), counting.requests.load(Ordering::Relaxed));
        println!("conversation {number}: {read} of {bytes} bytes in {requests} requests");
        assert!(read > 0 && read * 20 <= bytes, "{read} of {bytes} bytes were read for conversation {number}");
    }
    close(switchboard).await;
}
