//! The ledger of coverage.

use switchboard_contract::storage::{
    CoverageState, CoveredRange, FileFact, HourCoverage, PositionRun, RepairWindow, SequenceHole,
};
use switchboard_contract::{
    App, ConversationId, ErrorKind, EventKey, KeyClass, Origin, Position, TenantId, Timestamp, VendorMessageId,
};

use crate::fixture::{AnyStore, SHARD, app, append, direct, message, recall, tenant, vendor};

const HOUR: i64 = 3_600_000;

fn run(first: u64, last: u64) -> PositionRun {
    PositionRun { first: Position(first), last: Position(last) }
}

fn hour(number: i64) -> HourCoverage {
    HourCoverage {
        hour: Timestamp(number * HOUR),
        state: CoverageState::Suspect,
        reason: "may_grow".to_owned(),
        file: Some(FileFact { bytes: u64::from(u32::MAX) + 1, digest: [number as u8; 32], lines: 12 }),
        runs: vec![run(1, 5), run(9, 1 << 39)],
        journalled: 11,
        repaired: 3,
        reading: (number % 2 == 0).then_some(Position(77)),
        looks: 2,
        looked_at: Timestamp(number * HOUR + 7),
        next_look: Some(Timestamp(number * HOUR + 9)),
    }
}

pub(crate) async fn hours_are_kept_and_replaced(store: &AnyStore) {
    for number in [102, 100, 101] {
        store.put_hour(&tenant(), &app(), &hour(number)).await.unwrap();
    }
    let changed = HourCoverage {
        state: CoverageState::Unfillable,
        reason: "expired".to_owned(),
        file: None,
        runs: Vec::new(),
        next_look: None,
        ..hour(101)
    };
    store.put_hour(&tenant(), &app(), &changed).await.unwrap();
    let from = Timestamp(100 * HOUR);
    let found = store.hours(&tenant(), &app(), from, Timestamp(102 * HOUR)).await.unwrap();
    assert_eq!(found, [hour(100), changed], "until is excluded, and hours ascend");
    assert_eq!(store.hours(&tenant(), &app(), from, from).await.unwrap(), []);
    assert_eq!(store.hours(&"other".into(), &app(), from, Timestamp(i64::MAX)).await.unwrap(), []);
    assert_eq!(store.hours(&tenant(), &App::new("huanxin", "x#y"), from, Timestamp(i64::MAX)).await.unwrap(), []);
}

pub(crate) async fn known_keys_are_found_in_lists(store: &AnyStore) {
    let conversation = direct("bob");
    let ids: Vec<String> = (0..1500).map(|number| format!("m{number}")).collect();
    append(store, ids.iter().map(|id| message(&conversation, id, "hi")).collect()).await;
    append(store, vec![recall(&conversation, vendor("m3"))]).await;
    let run = async |keys: &[&str]| store.known_run(&tenant(), &app(), KeyClass::Message, keys).await.unwrap();
    let all: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(run(&all).await, Some(PositionRun { first: Position(1), last: Position(1500) }));
    assert_eq!(run(&["m9", "m4", "m7"]).await, Some(PositionRun { first: Position(5), last: Position(10) }));
    for keys in [&["m9", "unknown"][..], &["m9", "m9"], &[]] {
        assert_eq!(run(keys).await, None, "{keys:?}");
    }
    // Side by side in the order of keys: nothing else lies between, something does, one of them is another's end.
    append(store, ["n1", "n2", "n3", "o", "o\np"].into_iter().map(|id| message(&conversation, id, "hi")).collect())
        .await;
    assert_eq!(run(&["n3", "n1", "n2"]).await, Some(PositionRun { first: Position(1502), last: Position(1504) }));
    assert_eq!(run(&["n1", "n3"]).await, Some(PositionRun { first: Position(1502), last: Position(1504) }));
    assert_eq!(run(&["o", "o\np"]).await, Some(PositionRun { first: Position(1505), last: Position(1506) }));
    for keys in [&["n1", "n2", "n2"][..], &["n1", "n2", "n21"], &["o", "p"], &["o"; 2]] {
        assert_eq!(run(keys).await, None, "{keys:?}");
    }
    assert_eq!(store.known_run(&"other".into(), &app(), KeyClass::Message, &["m9"]).await.unwrap(), None);
    let key = |id: &str| EventKey::message(&VendorMessageId::from(id));
    let mut keys: Vec<EventKey> = ids.iter().map(|id| key(id)).collect();
    keys.extend([
        key("unknown"),
        key("m7"),
        EventKey::new(KeyClass::Recall, "m3"),
        EventKey::new(KeyClass::Edit, "m3"),
    ]);
    let found = store.known(&tenant(), &app(), &keys).await.unwrap();
    let places: Vec<_> = (1..=1500).map(|position| Some(Position(position))).collect();
    assert_eq!(found[..1500], places);
    assert_eq!(found[1500..], [None, Some(Position(8)), Some(Position(1501)), None]);
    let elsewhere = store.known(&tenant(), &App::new("huanxin", "x#y"), &keys[..2]).await.unwrap();
    assert_eq!(elsewhere, [None, None]);
    assert_eq!(store.known(&"other".into(), &app(), &keys[..1]).await.unwrap(), [None]);
}

pub(crate) async fn messages_are_counted_by_app_time_and_place(store: &AnyStore) {
    let conversation = direct("bob");
    let drafts = (0..10).map(|number| {
        let mut draft = message(&conversation, &format!("m{number}"), "hi");
        draft.event.sent_at = Timestamp(1000 + number);
        if number == 4 {
            draft.event.app = Some(App::new("rongcloud", "other"));
        }
        draft
    });
    append(store, drafts.collect()).await;
    append(store, vec![recall(&conversation, vendor("m0"))]).await;
    let count = async |runs: &[PositionRun], since, until| {
        store.messages_at(&tenant(), &app(), SHARD, runs, Timestamp(since), Timestamp(until)).await.unwrap()
    };
    assert_eq!(count(&[run(1, 11)], 0, 5000).await, 9, "neither the other app's nor the recall");
    assert_eq!(count(&[run(1, 11)], 1002, 1008).await, 5);
    assert_eq!(count(&[run(1, 3), run(9, 9)], 0, 5000).await, 4);
    assert_eq!(count(&[], 0, 5000).await, 0);
}

async fn gone_places(store: &AnyStore, limit: usize) -> Vec<PositionRun> {
    store.gone_places(&tenant(), SHARD, run(0, u64::MAX), limit).await.unwrap()
}

async fn gone_sequences(store: &AnyStore) -> Vec<SequenceHole> {
    let places = gone_places(store, 99).await;
    store.gone_sequences(&tenant(), SHARD, &places, 99).await.unwrap()
}

pub(crate) async fn a_whole_journal_has_no_holes(store: &AnyStore) {
    for peer in ["bob", "carol"] {
        append(store, (0..20).map(|number| message(&direct(peer), &format!("{peer}{number}"), "hi")).collect()).await;
    }
    assert_eq!(gone_places(store, 9).await, []);
    assert_eq!(gone_sequences(store).await, []);
    store.trim(&tenant(), SHARD, Position(25)).await.unwrap();
    assert_eq!(gone_places(store, 9).await, [], "what retention removed is no hole");
    assert_eq!(gone_sequences(store).await, []);
    store.trim(&tenant(), SHARD, Position(40)).await.unwrap();
    assert_eq!(gone_places(store, 9).await, []);
    append(store, vec![message(&direct("bob"), "next", "hi")]).await;
    assert_eq!(gone_sequences(store).await, []);
    assert_eq!(store.gone_places(&"other".into(), SHARD, run(1, 99), 9).await.unwrap(), []);
}

fn window(since: i64) -> RepairWindow {
    RepairWindow {
        id: 0,
        since: Timestamp(since),
        until: Timestamp(since + 5),
        cause: "restart".to_owned(),
        sent_again: since as u64,
        queried: 0,
        repaired: 0,
        closed_at: None,
        complete: false,
    }
}

pub(crate) async fn windows_are_kept_and_closed(store: &AnyStore) {
    let (first, second) = (window(10), window(20));
    let one = store.put_window(&tenant(), &app(), &first).await.unwrap();
    let two = store.put_window(&tenant(), &app(), &second).await.unwrap();
    assert!(0 < one && one < two);
    let closed =
        RepairWindow { id: one, queried: 3, repaired: 7, closed_at: Some(Timestamp(30)), complete: true, ..first };
    assert_eq!(store.put_window(&tenant(), &app(), &closed).await.unwrap(), one);
    let second = RepairWindow { id: two, ..second };
    assert_eq!(store.windows(&tenant(), &app(), false, 9).await.unwrap(), [second.clone(), closed.clone()]);
    assert_eq!(store.windows(&tenant(), &app(), true, 9).await.unwrap(), std::slice::from_ref(&second));
    assert_eq!(store.windows(&tenant(), &app(), false, 1).await.unwrap(), [second]);
    assert_eq!(store.windows(&"other".into(), &app(), false, 9).await.unwrap(), []);
    let stranger = store.put_window(&"other".into(), &app(), &closed).await.unwrap_err();
    assert_eq!(stranger.kind(), ErrorKind::NotFound);
}

pub(crate) async fn signs_of_life_only_rise(store: &AnyStore) {
    assert_eq!(store.alive(&tenant(), &app()).await.unwrap(), None);
    for (at, expected) in [(100, 100), (50, 100), (130, 130)] {
        store.set_alive(&tenant(), &app(), Timestamp(at)).await.unwrap();
        assert_eq!(store.alive(&tenant(), &app()).await.unwrap(), Some(Timestamp(expected)));
    }
    assert_eq!(store.alive(&tenant(), &App::new("huanxin", "x#y")).await.unwrap(), None);
}

pub(crate) async fn i11_an_app_knows_for_whom_it_was_served(store: &AnyStore) {
    let other = TenantId::from("other");
    store.set_alive(&tenant(), &app(), Timestamp(100)).await.unwrap();
    store.set_alive(&other, &app(), Timestamp(50)).await.unwrap();
    store.set_alive(&other, &App::new("huanxin", "x#y"), Timestamp(70)).await.unwrap();
    let served = store.served(&app()).await.unwrap();
    assert_eq!(served, [(tenant(), Timestamp(100)), (other, Timestamp(50))]);
    assert_eq!(store.served(&App::new("rongcloud", "never")).await.unwrap(), []);
}

/// Removes rows as somebody with the database's own shell would.
async fn remove(file: &crate::fixture::File, places: &[u64]) {
    use sqlx::ConnectOptions as _;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file.path());
    let mut connection = options.connect().await.unwrap();
    for place in places {
        let gone = sqlx::query("DELETE FROM journal WHERE place & ((1 << 40) - 1) = ?")
            .bind(place.cast_signed())
            .execute(&mut connection)
            .await
            .unwrap();
        assert_eq!(gone.rows_affected(), 1);
    }
    sqlx::Connection::close(connection).await.unwrap();
}

#[tokio::test]
async fn rows_removed_by_hand_are_named_exactly() {
    let file = crate::fixture::File::new();
    let store = file.open().await;
    // Places 1..=20 are bob's, 21..=40 carol's.
    for peer in ["bob", "carol"] {
        append(&store, (0..20).map(|number| message(&direct(peer), &format!("{peer}{number}"), "hi")).collect()).await;
    }
    // The head, the middle and the tail of bob's conversation, and the end of the journal.
    remove(&file, &[1, 2, 7, 20, 39, 40]).await;
    let places = gone_places(&store, 9).await;
    assert_eq!(places, [run(1, 2), run(7, 7), run(20, 20), run(39, 40)]);
    assert_eq!(gone_places(&store, 2).await, [run(1, 2), run(7, 7)]);
    let part = store.gone_places(&tenant(), SHARD, run(2, 20), 9).await.unwrap();
    assert_eq!(part, [run(2, 2), run(7, 7), run(20, 20)], "only where one looks");
    let named = |holes: Vec<SequenceHole>| -> Vec<_> {
        holes.into_iter().map(|hole| (hole.conversation, hole.first.0, hole.last.0)).collect()
    };
    let bobs = [(direct("bob"), 1, 2), (direct("bob"), 7, 7), (direct("bob"), 20, 20)];
    let carols = [(direct("carol"), 19, 20)];
    assert_eq!(named(gone_sequences(&store).await), [&bobs[..], &carols].concat(), "head, middle and tail, exactly");
    let some = store.gone_sequences(&tenant(), SHARD, &[run(7, 7), run(39, 39)], 9).await.unwrap();
    assert_eq!(named(some), [(direct("bob"), 7, 7), (direct("carol"), 19, 19)]);
    assert_eq!(store.gone_sequences(&tenant(), SHARD, &[], 9).await.unwrap(), []);
    let from = async |peer: &str| named(store.gone_from(&tenant(), &direct(peer), 9).await.unwrap());
    assert_eq!((from("bob").await, from("carol").await), (bobs.to_vec(), carols.to_vec()));
    assert_eq!(from("nobody").await, []);
    let whole = [run(1, 40)];
    let left = store.messages_at(&tenant(), &app(), SHARD, &whole, Timestamp(0), Timestamp(i64::MAX)).await.unwrap();
    assert_eq!(left, 34);
    store.close().await;
    // What had not reached the indexes is named by its number alone.
    let store = file.open().await;
    assert_eq!(gone_places(&store, 9).await, places);
    let found = named(store.gone_from(&tenant(), &direct("bob"), 9).await.unwrap());
    assert!(found.contains(&(direct("bob"), 7, 7)), "{found:?}");
    store.close().await;
}

fn covered(since: i64, until: i64, state: CoverageState, reason: &str) -> CoveredRange {
    let (since, until, checked_at) = (Timestamp(since), Timestamp(until), Timestamp(7));
    CoveredRange { since, until, state, reason: reason.to_owned(), checked_at }
}

pub(crate) async fn ranges_of_conversations_are_laid_over_one_another(store: &AnyStore) {
    use CoverageState::{Complete, Suspect, Unfillable};
    let (bob, carol) = (direct("bob"), direct("carol"));
    let put = async |conversation: &ConversationId, range: CoveredRange| {
        store.put_range(&tenant(), &app(), conversation, &range).await.unwrap();
    };
    put(&bob, covered(10, 20, Complete, "query")).await;
    put(&bob, covered(30, 40, Complete, "query")).await;
    put(&bob, covered(15, 35, Suspect, "receipt")).await;
    put(&carol, covered(5, 9, Unfillable, "beyond_queries")).await;
    let ranges = async |conversation: &ConversationId, since: i64, until: i64| {
        store.ranges(&tenant(), &app(), conversation, Timestamp(since), Timestamp(until)).await.unwrap()
    };
    let found = ranges(&bob, 0, 100).await;
    let expected =
        [covered(10, 15, Complete, "query"), covered(15, 35, Suspect, "receipt"), covered(35, 40, Complete, "query")];
    assert_eq!(found, expected);
    assert_eq!(ranges(&bob, 14, 15).await, expected[..1], "whole, and without those that only touch");
    put(&bob, covered(15, 35, Complete, "query")).await;
    assert_eq!(
        ranges(&bob, 0, 100).await,
        [covered(10, 40, Complete, "query")],
        "neighbours that say the same are one"
    );
    assert_eq!(ranges(&direct("x"), 0, 100).await, []);
    assert_eq!(store.ranges(&"other".into(), &app(), &bob, Timestamp(0), Timestamp(99)).await.unwrap(), []);

    put(&bob, covered(50, 60, Suspect, "recall")).await;
    put(&bob, covered(70, 80, Suspect, "edit")).await;
    let incomplete =
        async |after: Option<&ConversationId>, limit| store.incomplete(&tenant(), &app(), after, limit).await.unwrap();
    let bobs = [(bob.clone(), covered(50, 60, Suspect, "recall")), (bob.clone(), covered(70, 80, Suspect, "edit"))];
    let carols = [(carol.clone(), covered(5, 9, Unfillable, "beyond_queries"))];
    assert_eq!(incomplete(None, 9).await, [&bobs[..], &carols].concat());
    assert_eq!(incomplete(None, 1).await, bobs, "the last conversation comes whole");
    assert_eq!(incomplete(Some(&bob), 1).await, carols);
    assert_eq!(incomplete(Some(&carol), 1).await, []);
    assert_eq!(store.incomplete(&tenant(), &App::new("huanxin", "x#y"), None, 9).await.unwrap(), []);
}

pub(crate) async fn what_files_brought_is_counted(store: &AnyStore) {
    let conversation = direct("bob");
    let filed = |id: &str| {
        let mut draft = message(&conversation, id, "hi");
        draft.event.origin = Origin::File;
        draft
    };
    append(store, vec![filed("one"), message(&conversation, "two", "hi"), filed("three")]).await;
    append(store, vec![recall(&conversation, vendor("one"))]).await;
    let count = async |after: u64| store.filed_since(&tenant(), &app(), SHARD, Position(after)).await.unwrap();
    assert_eq!((count(0).await, count(1).await, count(3).await), (2, 1, 0));
    assert_eq!(store.filed_since(&"other".into(), &app(), SHARD, Position(0)).await.unwrap(), 0);
    assert_eq!(store.filed_since(&tenant(), &App::new("huanxin", "x#y"), SHARD, Position(0)).await.unwrap(), 0);

    assert_eq!(store.repaired_in_all(&tenant(), &app()).await.unwrap(), 0);
    for number in [7, 8] {
        store.put_hour(&tenant(), &app(), &hour(number)).await.unwrap();
    }
    assert_eq!(store.repaired_in_all(&tenant(), &app()).await.unwrap(), 6);
    assert_eq!(store.repaired_in_all(&"other".into(), &app()).await.unwrap(), 0);
}
