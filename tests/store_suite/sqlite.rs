//! What SQLite alone has to prove: that it lasts, that it is alone on its file, and what happens when it cannot write.

use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use switchboard::store::sqlite::{SqliteOptions, SqliteStore};
use switchboard_contract::storage::{
    Appended, ChangeOutcome, Commit, CommitListener, Enqueued, Entry, Journal as _, Outbox as _, Store as _,
};
use switchboard_contract::{ErrorKind, Position, Retry, SendState, Shard, TenantId};

use crate::fixture::{AnyStore, File, SHARD, all, append, direct, fresh, message, recall, tenant, vendor};
use crate::outbox::{change, send, step};

#[tokio::test]
async fn i01_what_was_answered_is_there_after_the_store_is_opened_again() {
    let file = File::new();
    let store = file.open().await;
    append(&store, vec![message(&direct("bob"), "m0", "hi"), recall(&direct("bob"), vendor("late"))]).await;
    let one = send(Some("k"), "hi", &["bob"]);
    store.enqueue(vec![one.clone()]).await.unwrap();
    let before = all(&store).await;
    // Gone without a goodbye.
    drop(store);
    let store = file.open().await;
    assert_eq!(all(&store).await, before);
    let answers = append(&store, vec![message(&direct("bob"), "m0", "hi"), message(&direct("bob"), "m1", "hi")]).await;
    assert!(matches!(answers[0], Appended::Known { position: Position(1), .. }));
    assert_eq!(answers[1], fresh(3, 3), "numbers go on where they were");
    append(&store, vec![message(&direct("bob"), "late", "secret")]).await;
    assert!(crate::fixture::said(&all(&store).await[3]).recalled, "the recall is not forgotten");
    assert_eq!(store.enqueue(vec![one.clone()]).await.unwrap(), [Enqueued::Repeated(one.id)]);
    let two = send(None, "hi", &["eve"]);
    store.enqueue(vec![two.clone()]).await.unwrap();
    let legs = store.legs(&tenant(), two.id).await.unwrap();
    assert_eq!(legs[0].order, 2, "and so does the order of legs");
    assert_eq!(change(&store, vec![step(&one, 0, &[SendState::Queued], SendState::Dispatched)]).await.len(), 1);
    store.close().await;
}

#[tokio::test]
async fn a_second_opener_is_refused() {
    let file = File::new();
    let first = file.sqlite().await;
    let options = SqliteOptions { lock_timeout: Duration::ZERO, ..file.options() };
    let refused = SqliteStore::open(options.clone()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.message().contains("another process"), "{refused}");
    first.close().await;
    SqliteStore::open(options).await.unwrap().close().await;
}

async fn sql(file: &File, statement: &'static str) {
    let options = SqliteConnectOptions::new().filename(file.path());
    let mut connection = options.connect().await.unwrap();
    sqlx::query(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let file = File::new();
    let missing = SqliteStore::migrate_status(file.path()).await.unwrap();
    assert!(!missing.is_empty() && missing.iter().all(|step| step.known && !step.applied));
    file.sqlite().await.close().await;
    let done = SqliteStore::migrate_status(file.path()).await.unwrap();
    assert!(done.len() == missing.len() && done.iter().all(|step| step.applied));
    sql(
        &file,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9001, 'from the future', 1, x'00', 0)",
    )
    .await;
    let newest = missing.last().unwrap().version;
    let refused = SqliteStore::open(file.options()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert!(refused.message().contains("9001") && refused.message().contains(&newest.to_string()), "{refused}");
    let status = SqliteStore::migrate_status(file.path()).await.unwrap();
    assert!(status.last().is_some_and(|step| step.version == 9001 && step.applied && !step.known));
}

#[tokio::test]
async fn what_is_no_database_is_a_fault_of_configuration() {
    let file = File::new();
    std::fs::write(file.path(), "this is a letter, not a database, and long enough to be read as one".repeat(99))
        .unwrap();
    assert_eq!(SqliteStore::open(file.options()).await.unwrap_err().kind(), ErrorKind::Config);
    let nowhere = SqliteOptions::at(file.path().join("below/a/file"));
    assert_eq!(SqliteStore::open(nowhere).await.unwrap_err().kind(), ErrorKind::Config);
}

#[derive(Debug, Default)]
struct Count(parking_lot::Mutex<Vec<u64>>);

impl CommitListener for Count {
    fn committed(&self, _: &TenantId, _: Shard, entries: &[Entry]) {
        self.0.lock().extend(entries.iter().map(|entry| entry.position.0));
    }
}

/// One caller's fault, in a transaction shared with others, is that caller's alone.
#[tokio::test]
async fn i04_a_failed_call_leaves_no_hole_and_hurts_nobody_else() {
    let file = File::new();
    let store = file.sqlite().await;
    let heard = Arc::new(Count::default());
    store.listen(Arc::clone(&heard) as Arc<dyn CommitListener>);
    let good = send(None, "hi", &["bob"]);
    store.enqueue(vec![good.clone()]).await.unwrap();
    let mut tasks = Vec::new();
    for task in 0..40 {
        let (store, good) = (store.clone(), good.clone());
        tasks.push(tokio::spawn(async move {
            let draft = message(&direct("bob"), &format!("m{task}"), "hi");
            if task % 4 == 0 {
                // Its leg has the message id of another one, which the schema forbids; its drafts must go with it.
                let mut bad = send(None, "hi", &["bob"]);
                bad.legs = good.legs;
                bad.drafts = vec![draft];
                assert_eq!(store.enqueue(vec![bad]).await.unwrap_err().kind(), ErrorKind::Storage);
            } else {
                store.commit(Commit { drafts: vec![draft], ..Commit::default() }).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let store: AnyStore = Arc::new(store);
    let entries = all(&store).await;
    assert_eq!(entries.len(), 30);
    for (at, entry) in (1..).zip(&entries) {
        assert_eq!((entry.position.0, entry.sequence.unwrap().0), (at, at));
    }
    assert_eq!(*heard.0.lock(), (1..=30).collect::<Vec<_>>(), "nobody hears of what was rolled back");
    assert_eq!(store.open_count(&crate::fixture::app()).await.unwrap(), 1);
    store.close().await;
}

#[tokio::test]
async fn a_full_disk_stops_writes_and_nothing_else() {
    let file = File::new();
    let options = SqliteOptions { max_bytes: Some(600 << 10), wal_bytes: 64 << 10, ..file.options() };
    let store: AnyStore = Arc::new(SqliteStore::open(options).await.unwrap());
    let text = "x".repeat(2_000);
    let mut written = 0;
    let error = loop {
        let draft = message(&direct("bob"), &format!("m{written}"), &text);
        match store.commit(Commit { drafts: vec![draft], ..Commit::default() }).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1_000, "the bound holds");
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(store.put_aside(aside(&text), 9).await.unwrap_err().kind(), ErrorKind::StorageFull);
    let entries = all(&store).await;
    assert_eq!(entries.len(), written, "all that was answered and nothing else");
    // Room again: it goes on where it was, without a hole.
    store.trim(&tenant(), SHARD, Position(written as u64 / 2)).await.unwrap();
    let next = written as u64 + 1;
    assert_eq!(append(&store, vec![message(&direct("bob"), "after", "hi")]).await, [fresh(next, next)]);
    store.close().await;
    let options = SqliteConnectOptions::new().filename(file.path());
    let mut connection = options.connect().await.unwrap();
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
    assert_eq!(sound, "ok");
    connection.close().await.unwrap();
}

/// Whoever else holds the database makes writes fail so that they may be tried again; reads go on.
#[tokio::test]
async fn i12_a_lock_of_somebody_else_ends_in_an_answer() {
    let file = File::new();
    let options = SqliteOptions { busy_timeout: Duration::from_millis(50), ..file.options() };
    let store: AnyStore = Arc::new(SqliteStore::open(options).await.unwrap());
    append(&store, vec![message(&direct("bob"), "before", "hi")]).await;
    let mut other = SqliteConnectOptions::new().filename(file.path()).connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let commit = |id: &str| {
        let drafts = vec![message(&direct("bob"), id, "hi")];
        store.commit(Commit { drafts, ..Commit::default() })
    };
    let (one, two) = futures::join!(commit("one"), commit("two"));
    for error in [one.unwrap_err(), two.unwrap_err()] {
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Storage, Retry::Safe { after: None }));
    }
    assert_eq!(all(&store).await.len(), 1);
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    assert_eq!(append(&store, vec![message(&direct("bob"), "one", "hi")]).await, [fresh(2, 2)]);
    other.close().await.unwrap();
    store.close().await;
}

fn aside(text: &str) -> switchboard_contract::storage::Quarantined {
    switchboard_contract::storage::Quarantined {
        id: 0,
        tenant: tenant(),
        app: crate::fixture::app(),
        reason: switchboard_contract::storage::QuarantineReason::Stale,
        raw: switchboard_contract::RawCallback {
            path: String::new(),
            query: String::new(),
            headers: Vec::new(),
            body: text.repeat(40).into(),
            received_at: switchboard_contract::Timestamp(0),
        },
    }
}

/// Callers that leave before they are answered leave the others' answers alone.
#[tokio::test]
async fn i12_a_caller_that_leaves_disturbs_nobody() {
    let file = File::new();
    let store = file.sqlite().await;
    for round in 0..20 {
        let draft = message(&direct("bob"), &format!("m{round}"), "hi");
        let leaving = store.commit(Commit { drafts: vec![draft], ..Commit::default() });
        // Polled once: queued, and then abandoned.
        assert!(futures::future::FutureExt::now_or_never(leaving).is_none());
    }
    let last = step(&send(None, "hi", &["bob"]), 0, &[SendState::Queued], SendState::Dispatched);
    let outcome = store.commit(Commit { changes: vec![last], ..Commit::default() }).await.unwrap();
    assert_eq!(outcome.changes, [ChangeOutcome::Unknown]);
    assert_eq!(store.tail(&tenant(), SHARD).await.unwrap(), Position(20));
    store.close().await;
}

/// The queries whose cost must not grow with the journal use an index for all they look for.
#[tokio::test]
async fn i09_what_the_queries_need_is_indexed() {
    let file = File::new();
    file.sqlite().await.close().await;
    let options = SqliteConnectOptions::new().filename(file.path());
    let mut connection = options.connect().await.unwrap();
    let plans = [
        ("SELECT json FROM journal WHERE tenant = 1 AND app = 1 AND class = 0 AND key IN ('a', 'b')", "journal_key"),
        ("SELECT max(sequence) FROM threads WHERE tenant = 1 AND conversation = 1", "(tenant=? AND conversation=?)"),
        (
            "SELECT j.json FROM histories h CROSS JOIN journal j ON j.place = h.place
             WHERE h.tenant = 1 AND h.conversation = 1 AND (h.sent_at, h.sort_key, h.message) > (1, 'a', x'00')
             ORDER BY h.sent_at, h.sort_key, h.message LIMIT 9",
            "(tenant=? AND conversation=? AND (sent_at,sort_key,message)>(?,?,?))",
        ),
        (
            "DELETE FROM threads WHERE (tenant, conversation, sequence) IN (SELECT tenant, conversation, sequence
             FROM journal WHERE place > 1 AND place <= 9 AND conversation IS NOT NULL)",
            "SEARCH threads USING PRIMARY KEY (tenant=? AND conversation=? AND sequence=?)",
        ),
        (
            "DELETE FROM histories WHERE (tenant, conversation, sent_at, sort_key, message, place) IN
             (SELECT tenant, conversation, sent_at, sort_key, message, place FROM journal
              WHERE place > 1 AND place <= 9 AND conversation IS NOT NULL AND message IS NOT NULL)",
            "SEARCH histories USING PRIMARY KEY (tenant=? AND conversation=? AND sent_at=? AND sort_key=?",
        ),
        ("SELECT json FROM journal WHERE tenant = 1 AND message = x'00'", "journal_message"),
        ("SELECT id FROM legs WHERE app = 1 AND state <= 2 AND id > 5 ORDER BY id LIMIT 9", "legs_open"),
    ];
    for (query, index) in plans {
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}"));
        let steps: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain).fetch_all(&mut connection).await.unwrap();
        let steps: Vec<_> = steps.into_iter().map(|step| step.3).collect();
        assert!(steps.iter().any(|step| step.contains(index)), "{query}: {steps:?}");
        assert!(!steps.iter().any(|step| step.contains("B-TREE")), "{query}: {steps:?}");
    }
    connection.close().await.unwrap();
}
