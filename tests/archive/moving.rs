//! Messages move and are read back as if they had not.

use std::time::Duration;

use switchboard::{ErrorKind, Subscriber, Topic};
use switchboard_contract::storage::{Appended, PageDirection, PositionRun, SequenceRange, StartAt};
use switchboard_contract::{Event, EventData, Position, Sequence};

use crate::stage::{
    DAY, NOW, SHARD, Stage, app, append, close, conversation, count, message, past, recall, tenant, walk,
};

/// Content that still stands in the database.
const FULL: &str = "SELECT count(*) FROM journal WHERE message IS NOT NULL AND length(json) > 0";

#[tokio::test]
async fn old_messages_move_and_every_query_gives_them_back() {
    let stage = Stage::new();
    let switchboard = stage.open().await;
    let store = switchboard.store().clone();
    let old = past(6, 200, NOW - 200 * DAY);
    append(&*store, old.clone()).await;
    append(
        &*store,
        past(6, 40, NOW - 2 * DAY)
            .into_iter()
            .map(|mut draft| {
                draft.key.id.push('n');
                draft
            })
            .collect(),
    )
    .await;
    let mut before = Vec::new();
    for of in 0..6 {
        before.push(walk(&switchboard, &conversation(of), PageDirection::Older, 37).await);
        assert_eq!(before[of as usize].len(), 240);
    }
    let journal = store.read(&tenant(), SHARD, Position::START, 10_000).await.unwrap();
    let raw = store.raw(&tenant(), SHARD, Position(7)).await.unwrap();
    assert!(raw.is_some());

    let report = switchboard.archiver().unwrap().run(&tenant(), None).await.unwrap();
    assert_eq!((report.messages, report.days, report.rewritten), (1200, 1, 0), "{report:?}");
    assert_eq!(count(&stage.database(), FULL), 240, "what is young stays");
    assert_eq!(count(&stage.database(), "SELECT count(*) FROM raws"), 240);
    assert_eq!(count(&stage.database(), "SELECT count(*) FROM histories"), 240);

    for of in 0..6 {
        for limit in [1, 37, 240, 1000] {
            let found = walk(&switchboard, &conversation(of), PageDirection::Older, limit).await;
            assert_eq!(found, before[of as usize], "conversation {of} by {limit}");
        }
        let mut found = walk(&switchboard, &conversation(of), PageDirection::Newer, 50).await;
        found.reverse();
        assert_eq!(found, before[of as usize]);
    }
    // Filters and bounds, across the seam.
    let alice = switchboard.history(&conversation(0)).sender("alice".into()).limit(1000).page().await.unwrap();
    assert_eq!(alice.entries.len(), 67 + 14);
    let none = switchboard.history(&conversation(0)).bodies(vec!["image".to_owned()]).page().await.unwrap();
    assert!(none.entries.is_empty() && none.next.is_none());
    let (since, until) = (NOW - 200 * DAY + Duration::from_secs(60), NOW - 200 * DAY + Duration::from_secs(240));
    let some = switchboard.history(&conversation(1)).since(since).until(until).page().await.unwrap();
    assert_eq!(some.entries.len(), 3);

    // The journal: replays, single messages, the vendor's bytes.
    assert_eq!(store.read(&tenant(), SHARD, Position::START, 10_000).await.unwrap(), journal);
    let range = SequenceRange { first: Sequence(3), last: Sequence(5) };
    let read = store.read_conversation(&tenant(), &conversation(2), range, 10, false).await.unwrap();
    assert_eq!(read.len(), 3);
    assert!(read.iter().all(|entry| journal.contains(entry)));
    let EventData::Message(first) = &old[0].event.data else { panic!() };
    let one = store.message(&tenant(), first.id).await.unwrap().unwrap();
    assert_eq!(one, journal[0]);
    assert_eq!(store.find(&tenant(), &app(), &old[0].key).await.unwrap().unwrap(), journal[0]);
    assert_eq!(store.raw(&tenant(), SHARD, Position(7)).await.unwrap(), raw);

    // A second run finds nothing to do; everything is what was written.
    let again = switchboard.archiver().unwrap().run(&tenant(), None).await.unwrap();
    assert_eq!((again.messages, again.files, again.recovered), (0, 0, 0));
    let verified = switchboard.archiver().unwrap().verify(&tenant()).await.unwrap();
    assert!(verified.good && verified.messages == 1200, "{verified:?}");
    let status = switchboard.archiver().unwrap().status(&tenant()).await.unwrap();
    assert_eq!((status.messages, status.due, status.changes), (1200, 0, 0));
    close(switchboard).await;

    // And after a restart.
    let switchboard = stage.open().await;
    assert_eq!(walk(&switchboard, &conversation(3), PageDirection::Older, 100).await, before[3]);
    close(switchboard).await;
}

#[tokio::test]
async fn i05_an_archived_message_that_comes_again_is_known() {
    let stage = Stage::new();
    let switchboard = stage.open().await;
    let store = switchboard.store().clone();
    let old = past(3, 50, NOW - 400 * DAY);
    let first = append(&*store, old.clone()).await;
    switchboard.archiver().unwrap().run(&tenant(), None).await.unwrap();
    let known = |appended: &[Appended]| {
        let places = |all: &[Appended]| all.iter().map(Appended::position).collect::<Vec<_>>();
        assert_eq!(places(appended), places(&first));
        assert!(appended.iter().all(|one| matches!(one, Appended::Known { .. })), "{appended:?}");
    };
    known(&append(&*store, old.clone()).await);
    // Retention removes the journal's rows; the keys of what is archived stay.
    let tail = store.tail(&tenant(), SHARD).await.unwrap();
    append(&*store, vec![message(900, 0, NOW - DAY)]).await;
    store.trim(&tenant(), SHARD, tail).await.unwrap();
    assert_eq!(store.trimmed(&tenant(), SHARD).await.unwrap(), tail);
    known(&append(&*store, old.clone()).await);
    assert_eq!(walk(&switchboard, &conversation(1), PageDirection::Older, 20).await.len(), 50);
    close(switchboard).await;
    let switchboard = stage.open().await;
    known(&append(&**switchboard.store(), old).await);
    close(switchboard).await;
}

#[tokio::test]
async fn retention_of_the_journal_leaves_messages_to_the_archive() {
    let stage = Stage::new();
    let switchboard = stage.open().await;
    let store = switchboard.store().clone();
    let young = past(4, 25, NOW - 100 * DAY);
    append(&*store, young.clone()).await;
    append(&*store, vec![recall(&young[3], NOW - 99 * DAY)]).await;
    let before = walk(&switchboard, &conversation(2), PageDirection::Older, 10).await;
    let tail = store.tail(&tenant(), SHARD).await.unwrap();
    assert_eq!(store.trim(&tenant(), SHARD, tail).await.unwrap(), tail.0);
    assert_eq!(
        count(&stage.database(), "SELECT count(*) FROM journal"),
        100,
        "the recall is gone, the messages are not"
    );
    assert_eq!(walk(&switchboard, &conversation(2), PageDirection::Older, 10).await, before);
    let next = append(&*store, vec![message(901, 2, NOW - DAY)]).await;
    assert!(matches!(next[0], Appended::Fresh { sequence: Some(Sequence(26)), .. }), "{next:?}");
    // A subscriber from the beginning is given what was not trimmed, in order.
    let mut late = switchboard
        .subscribe(Subscriber::named("late").topics([Topic::Messages]).start(StartAt::Beginning))
        .await
        .unwrap();
    let delivery = late.next().await.unwrap();
    assert_eq!(delivery.event().unwrap().conversation, Some(conversation(2)));
    delivery.ack().await.unwrap();
    drop(late);
    stage.clock.advance(81 * DAY);
    let report = switchboard.archiver().unwrap().run(&tenant(), None).await.unwrap();
    assert_eq!(report.messages, 100);
    assert_eq!(walk(&switchboard, &conversation(2), PageDirection::Older, 10).await[1..], before);
    let everywhere = PositionRun { first: Position(0), last: Position(u64::MAX) };
    let gone = store.gone_places(&tenant(), SHARD, everywhere, 10).await.unwrap();
    assert!(gone.is_empty(), "nothing was removed by hand");
    close(switchboard).await;
}

#[tokio::test]
async fn i02_what_a_subscriber_has_not_acknowledged_does_not_move() {
    let stage = Stage::new();
    let switchboard = stage.open().await;
    let mut orders = switchboard.subscribe(Subscriber::named("orders").topics([Topic::Messages])).await.unwrap();
    append(&**switchboard.store(), past(1, 20, NOW - 300 * DAY)).await;
    let archiver = switchboard.archiver().unwrap();
    assert_eq!(archiver.run(&tenant(), None).await.unwrap().messages, 0, "nothing is acknowledged");
    for _ in 0..8 {
        orders.next().await.unwrap().ack().await.unwrap();
    }
    let held = switchboard.hub().held_from(&tenant(), SHARD).await.unwrap().unwrap();
    let moved = archiver.run(&tenant(), None).await.unwrap().messages;
    assert_eq!(moved, held.0, "exactly what every subscriber has acknowledged");
    for _ in 8..20 {
        orders.next().await.unwrap().ack().await.unwrap();
    }
    drop(orders);
    let left = loop {
        let held = switchboard.hub().held_from(&tenant(), SHARD).await.unwrap().unwrap();
        if held == Position(20) {
            break archiver.run(&tenant(), None).await.unwrap().messages;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(moved + left, 20);
    assert_eq!(walk(&switchboard, &conversation(0), PageDirection::Older, 7).await.len(), 20);
    close(switchboard).await;
}

#[tokio::test]
async fn a_recall_reaches_what_is_archived_and_its_file() {
    let stage = Stage::new();
    let switchboard = stage.open().await;
    let store = switchboard.store().clone();
    let old = past(3, 30, NOW - 200 * DAY);
    append(&*store, old.clone()).await;
    let archiver = switchboard.archiver().unwrap();
    archiver.run(&tenant(), None).await.unwrap();
    let EventData::Message(target) = &old[31].event.data else { panic!() };
    append(&*store, vec![recall(&old[31], NOW)]).await;
    let buried = |json: &[u8]| {
        let EventData::Message(message) = Event::decode(json).unwrap().data else { panic!() };
        message.recalled && message.body.is_none() && message.ext.is_empty()
    };
    let of = conversation(1);
    let check = |found: &[switchboard_contract::storage::Entry]| {
        assert_eq!(found.len(), 30);
        let dead: Vec<_> = found.iter().filter(|entry| buried(&entry.json)).collect();
        assert_eq!(dead.len(), 1);
        assert_eq!(dead[0].message_id, Some(target.id));
    };
    check(&walk(&switchboard, &of, PageDirection::Older, 11).await);
    let texts = switchboard.history(&of).bodies(vec!["text".to_owned()]).limit(100).page().await.unwrap();
    assert_eq!(texts.entries.len(), 29);
    assert!(buried(&store.message(&tenant(), target.id).await.unwrap().unwrap().json));
    assert_eq!(store.raw(&tenant(), SHARD, Position(32)).await.unwrap(), None, "the vendor's bytes hold the body, too");
    assert_eq!(archiver.status(&tenant()).await.unwrap().changes, 1);

    let before = stage.files();
    let report = archiver.run(&tenant(), None).await.unwrap();
    assert_eq!((report.messages, report.rewritten, report.files), (0, 1, 1));
    assert_eq!(archiver.status(&tenant()).await.unwrap().changes, 0);
    check(&walk(&switchboard, &of, PageDirection::Older, 11).await);
    assert!(archiver.verify(&tenant()).await.unwrap().good);
    // The file that held it goes when nobody can still be reading it.
    archiver.run(&tenant(), None).await.unwrap();
    assert_eq!(stage.files().len(), 2);
    stage.clock.advance(Duration::from_secs(3600));
    assert_eq!(archiver.run(&tenant(), None).await.unwrap().removed, 1);
    let after = stage.files();
    assert!(after.len() == 1 && before.iter().all(|file| !after.contains(file)), "{before:?} {after:?}");
    close(switchboard).await;
}

#[tokio::test]
async fn late_repairs_stand_in_a_second_file_and_many_files_become_one() {
    let stage = Stage::new();
    let switchboard = stage.open().await;
    let store = switchboard.store().clone();
    let archiver = switchboard.archiver().unwrap();
    let mut all = past(3, 120, NOW - 250 * DAY);
    let mut parts: Vec<Vec<_>> = (0..10).map(|_| Vec::new()).collect();
    for (number, draft) in all.drain(..).enumerate() {
        parts[number * 7 % 10].push(draft);
    }
    for (number, part) in parts.into_iter().enumerate() {
        append(&*store, part).await;
        let report = archiver.run(&tenant(), None).await.unwrap();
        assert_eq!(report.messages, 36, "run {number}");
        let files = archiver.files(&tenant()).await.unwrap();
        let expected = if number < 8 { number + 1 } else { number - 7 };
        assert_eq!(files.len(), expected, "run {number}");
        let walked = walk(&switchboard, &conversation(2), PageDirection::Newer, 9).await;
        let keys: Vec<_> = walked.iter().map(|entry| (entry.sent_at, entry.message_id)).collect();
        assert!(keys.is_sorted() && keys.len() == 12 * (number + 1), "run {number}: {}", keys.len());
    }
    assert!(archiver.verify(&tenant()).await.unwrap().good);
    close(switchboard).await;
}

#[tokio::test]
async fn what_is_older_than_the_archive_keeps_is_gone_for_good_and_still_known() {
    let mut stage = Stage::new();
    stage.archive.delete_after = Some(365 * DAY);
    let switchboard = stage.open().await;
    let store = switchboard.store().clone();
    let ancient = past(2, 10, NOW - 500 * DAY);
    append(&*store, ancient.clone()).await;
    append(
        &*store,
        past(2, 10, NOW - 200 * DAY)
            .into_iter()
            .map(|mut draft| {
                draft.key.id.push('n');
                draft
            })
            .collect(),
    )
    .await;
    let report = switchboard.archiver().unwrap().run(&tenant(), None).await.unwrap();
    assert_eq!((report.messages, report.expired), (40, 20));
    assert_eq!(walk(&switchboard, &conversation(0), PageDirection::Older, 3).await.len(), 10);
    let again = append(&*store, ancient).await;
    assert!(again.iter().all(|one| matches!(one, Appended::Known { .. })));
    // Its place in the journal is still there for whoever reads on.
    let journal = store.read(&tenant(), SHARD, Position::START, 100).await.unwrap();
    assert_eq!(journal.len(), 40);
    let EventData::Message(gone) = journal[0].event().unwrap().data else { panic!() };
    assert!(gone.recalled && gone.body.is_none());
    close(switchboard).await;
}

#[tokio::test]
async fn another_installations_archive_and_damaged_files_are_told() {
    let stage = Stage::new();
    let switchboard = stage.open().await;
    append(&**switchboard.store(), past(2, 50, NOW - 300 * DAY)).await;
    let archiver = switchboard.archiver().unwrap();
    archiver.run(&tenant(), None).await.unwrap();
    assert_eq!(
        archiver.run(&tenant(), Some(Duration::from_secs(60))).await.unwrap_err().kind(),
        ErrorKind::InvalidInput
    );

    let mut stranger = Stage::new();
    stranger.archive.location.clone_from(&stage.archive.location);
    let other = stranger.open().await;
    let refused = other.archiver().unwrap().run(&tenant(), None).await.unwrap_err();
    assert!(refused.message().contains("another installation"), "{refused}");
    close(other).await;

    let file = stage.files().pop().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let report = archiver.verify(&tenant()).await.unwrap();
    assert!(!report.good && report.faults[0].problem.contains("other bytes"), "{report:?}");
    std::fs::remove_file(&file).unwrap();
    assert!(!archiver.verify(&tenant()).await.unwrap().good);
    close(switchboard).await;
    let switchboard = stage.open().await;
    let lost = switchboard.history(&conversation(0)).page().await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Storage, "a page never leaves out silently what could not be read");
    close(switchboard).await;
}
