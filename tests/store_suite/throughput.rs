//! A quick look at the rate of appends and replays beside the raw driver in the same run. By hand only:
//! `cargo nextest run --release -p switchboard --test store_suite --run-ignored only --no-capture throughput`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection};
use switchboard::store::sqlite::SqliteStore;
use switchboard_contract::storage::{Commit, Draft, Store as _};
use switchboard_contract::{ConversationId, Position, Sequence, Timestamp};

use crate::fixture::{AnyStore, File, SHARD, message, tenant};

const ROWS: usize = 100_000;
const CONVERSATIONS: usize = 10_000;

fn conversations() -> Vec<ConversationId> {
    (0..CONVERSATIONS).map(|at| crate::fixture::direct(&format!("user-number-{at}"))).collect()
}

/// Which conversation speaks next: no two runs of messages are alike.
fn spread(at: usize) -> usize {
    let mixed = (at as u64 ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) as usize % CONVERSATIONS
}

fn draft(conversations: &[ConversationId], at: usize) -> Draft {
    let text = "a message of ordinary length, as people write them to each other every day of the year";
    let mut draft = message(&conversations[spread(at)], &format!("15023004{at:012}"), text);
    draft.event.sent_at = Timestamp(1_795_200_000_000 + at as i64);
    draft.raw = Some(vec![b'r'; 600].into());
    draft
}

async fn ours(batch: usize, from: usize, store: &AnyStore) -> Duration {
    let conversations = conversations();
    let commits: Vec<Commit> = (from..from + ROWS)
        .step_by(batch)
        .map(|start| {
            let drafts = (start..start + batch).map(|at| draft(&conversations, at)).collect();
            Commit { drafts, ..Commit::default() }
        })
        .collect();
    let begun = Instant::now();
    for commit in commits {
        store.commit(commit).await.unwrap();
    }
    begun.elapsed()
}

/// The same rows by the driver alone, with numbers and bytes made beforehand; that a row was known is told by how many
/// were written, which is the cheapest answer there is.
async fn raw(batch: usize, connection: &mut SqliteConnection) -> Duration {
    let conversations = conversations();
    let mut sql = "INSERT INTO journal (place, tenant, conversation, sequence, app, class, key, digest, origin, topic,
        late, sent_at, received_at, received_max, message, sort_key, sender, body, json) VALUES "
        .to_owned();
    sql.push_str(&vec!["(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"; batch].join(","));
    sql.push_str(" ON CONFLICT DO NOTHING");
    let raws = format!("INSERT INTO raws (place, raw) VALUES {}", vec!["(?,?)"; batch].join(","));
    let drafts: Vec<(Draft, bytes::Bytes)> = (0..ROWS)
        .map(|at| {
            let draft = draft(&conversations, at);
            let json = draft.event.encode(Position(at as u64), Some(Sequence(1))).unwrap();
            (draft, json)
        })
        .collect();
    let begun = Instant::now();
    for (round, part) in drafts.chunks(batch).enumerate() {
        let mut transaction = connection.begin().await.unwrap();
        let mut query = sqlx::query(AssertSqlSafe(sql.as_str()));
        let mut other = sqlx::query(AssertSqlSafe(raws.as_str()));
        for (at, (draft, json)) in part.iter().enumerate() {
            let place = (1_i64 << 40) + (round * batch + at) as i64 + 1;
            let event = &draft.event;
            query = query
                .bind(place)
                .bind(1)
                .bind(spread(round * batch + at) as i64)
                .bind(place)
                .bind(1)
                .bind(0)
                .bind(&draft.key.id);
            query = query.bind(draft.digest.cast_signed()).bind(0).bind(0).bind(false).bind(event.sent_at.0);
            query = query.bind(event.received_at.0).bind(event.received_at.0);
            query = query.bind(crate::fixture::id_of(draft).as_bytes().to_vec()).bind(&draft.sort_key);
            query = query.bind("alice").bind("text").bind(json.as_ref());
            other = other.bind(place).bind(draft.raw.as_deref().unwrap());
        }
        let written = query.execute(&mut *transaction).await.unwrap();
        assert_eq!(written.rows_affected(), part.len() as u64);
        other.execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
    }
    begun.elapsed()
}

fn rate(took: Duration) -> f64 {
    ROWS as f64 / took.as_secs_f64()
}

async fn bare(file: &File) -> SqliteConnection {
    file.sqlite().await.close().await;
    SqliteConnectOptions::new()
        .filename(file.path())
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("cache_size", "-49152")
        .pragma("wal_autocheckpoint", "8192")
        .connect()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn append_and_replay() {
    for batch in [250, 1000] {
        for _ in 0..3 {
            let (file, other) = (File::new(), File::new());
            let store = file.open().await;
            let took = ours(batch, 0, &store).await;
            let mut connection = bare(&other).await;
            let beside = raw(batch, &mut connection).await;
            println!(
                "append, batches of {batch}: {:.0} rows/s, the driver {:.0} rows/s, ratio {:.2}",
                rate(took),
                rate(beside),
                beside.as_secs_f64() / took.as_secs_f64()
            );
            let begun = Instant::now();
            let mut at = Position::START;
            loop {
                let page = store.read(&tenant(), SHARD, at, 1000).await.unwrap();
                let Some(last) = page.last() else { break };
                at = last.position;
            }
            let replay = begun.elapsed();
            let begun = Instant::now();
            let rows = sqlx::query("SELECT place, json FROM journal ORDER BY place").fetch_all(&mut connection);
            assert_eq!(rows.await.unwrap().len(), ROWS);
            let select = begun.elapsed();
            println!(
                "replay: {:.0} rows/s, the driver {:.0} rows/s, ratio {:.2}",
                rate(replay),
                rate(select),
                select.as_secs_f64() / replay.as_secs_f64()
            );
            store.close().await;
        }
    }
}

/// How the rate holds as the journal grows. The size in millions of rows stands in `SWITCHBOARD_ROWS`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn append_grows() {
    let millions: usize = std::env::var("SWITCHBOARD_ROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let megabytes = std::env::var("SWITCHBOARD_CACHE_MIB").ok().and_then(|text| text.parse::<u64>().ok());
    let file = File::new();
    let mut options = file.options();
    if let Some(megabytes) = megabytes {
        options.cache_bytes = megabytes << 20;
        options.wal_bytes = megabytes << 19;
    }
    let store: AnyStore = Arc::new(SqliteStore::open(options).await.unwrap());
    for round in 0..millions * 10 {
        let took = ours(1000, round * ROWS, &store).await;
        println!("append behind {:>9} rows: {:.0} rows/s", round * ROWS, rate(took));
    }
    store.close().await;
}
