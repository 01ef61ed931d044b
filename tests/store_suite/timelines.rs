//! The log and the timelines of the self-hosted service.

use std::sync::Arc;

use bytes::Bytes;
use switchboard_contract::storage::{
    Account, ConversationMarks, DeviceCursor, Glimpse, Line, LineChange, LineKind, MemberRole, NewLine, Spread,
    Timelines, Written,
};
use switchboard_contract::{
    App, ConversationId, ErrorKind, GroupId, MessageId, Position, Sequence, Timestamp, UserId, UserProfile,
};

use crate::fixture::{AnyStore, tenant};

async fn open(store: &AnyStore) -> Arc<dyn Timelines> {
    store.timelines(&tenant(), &App::new("selfhosted", "main")).await.unwrap()
}

fn user(name: &str) -> UserId {
    UserId::from(name)
}

fn users(names: &[&str]) -> Spread {
    Spread::Users(names.iter().map(|name| user(name)).collect())
}

fn team() -> ConversationId {
    ConversationId::group(&GroupId::from("team"))
}

fn pair() -> ConversationId {
    ConversationId::direct(&user("alice"), &user("bob"))
}

fn line(conversation: &ConversationId, by: &str, text: &str, spread: Spread) -> NewLine {
    NewLine {
        conversation: Some(conversation.clone()),
        numbered: true,
        kind: LineKind::Message,
        id: MessageId::generate(),
        by: user(by),
        client_id: None,
        digest: 0,
        at: Timestamp(1_000),
        mark: Some("m".to_owned()),
        payload: Bytes::copy_from_slice(text.as_bytes()),
        spread,
        changes: Vec::new(),
    }
}

fn group(members: &[&str], spread: Spread) -> NewLine {
    let owner = user(members[0]);
    let mut changes =
        vec![LineChange::Group { name: "Team".to_owned(), owner: owner.clone(), muted: false, ended: false }];
    for name in members {
        let role = if *name == owner.as_str() { MemberRole::Owner } else { MemberRole::Member };
        changes.push(LineChange::Member { user: user(name), role, muted_until: None });
    }
    NewLine { kind: LineKind::Group, changes, ..line(&team(), members[0], "made", spread) }
}

async fn write(log: &Arc<dyn Timelines>, line: NewLine) -> (Position, Option<Sequence>) {
    match log.append(vec![line]).await.unwrap().remove(0) {
        Written::Fresh { position, sequence } => (position, sequence),
        Written::Known(line) => panic!("known as {line:?}"),
    }
}

async fn seen(log: &Arc<dyn Timelines>, name: &str, after: u64) -> Vec<String> {
    let lines = log.timeline(&user(name), Position(after), Position(u64::MAX >> 24), 100).await.unwrap();
    let glimpses = log.glimpses(&user(name), Position(after), Position(u64::MAX >> 24), 100).await.unwrap();
    let same = |(line, glimpse): (&Line, &Glimpse)| {
        (line.position, line.sequence, line.kind, &line.payload)
            == (glimpse.position, glimpse.sequence, glimpse.kind, &glimpse.payload)
    };
    assert!(lines.len() == glimpses.len() && lines.iter().zip(&glimpses).all(same), "both looks show the same");
    lines.into_iter().map(|line| String::from_utf8(line.payload.to_vec()).unwrap()).collect()
}

pub(crate) async fn a_line_has_its_place_and_its_readers(store: &AnyStore) {
    let log = open(store).await;
    assert_eq!(log.tail().await.unwrap(), Position(0));
    let both = || users(&["alice", "bob"]);
    assert_eq!(write(&log, line(&pair(), "alice", "one", both())).await, (Position(1), Some(Sequence(1))));
    let quiet = NewLine { numbered: false, kind: LineKind::Receipt, ..line(&pair(), "bob", "read", Spread::Nobody) };
    assert_eq!(write(&log, quiet).await, (Position(2), None));
    assert_eq!(write(&log, line(&pair(), "bob", "two 🦀", both())).await, (Position(3), Some(Sequence(2))));
    assert_eq!(log.tail().await.unwrap(), Position(3));
    assert_eq!(seen(&log, "bob", 0).await, ["one", "two 🦀"]);
    assert_eq!(seen(&log, "bob", 1).await, ["two 🦀"]);
    assert!(seen(&log, "eve", 0).await.is_empty());
    let page = log.timeline(&user("alice"), Position(0), Position(9), 1).await.unwrap();
    assert_eq!((page.len(), page[0].position, page[0].mark.as_deref()), (1, Position(1), Some("m")));
    let whole = log.log(Position(1), 9).await.unwrap();
    assert_eq!(whole.iter().map(|line| line.kind).collect::<Vec<_>>(), [LineKind::Receipt, LineKind::Message]);
    assert_eq!(log.line(whole[1].id).await.unwrap().unwrap(), whole[1]);
    let other = store.timelines(&"other".into(), &App::new("selfhosted", "main")).await.unwrap();
    assert_eq!((other.tail().await.unwrap(), other.log(Position(0), 9).await.unwrap()), (Position(0), vec![]));
}

pub(crate) async fn i07_a_senders_key_is_written_once(store: &AnyStore) {
    let log = open(store).await;
    let keyed =
        |by: &str| NewLine { client_id: Some("k".to_owned()), ..line(&pair(), by, "hi", users(&["alice", "bob"])) };
    let answers = log.append(vec![keyed("alice"), keyed("alice"), keyed("bob")]).await.unwrap();
    let Written::Known(known) = &answers[1] else { panic!("written twice") };
    assert_eq!((known.position, known.sequence), (Position(1), Some(Sequence(1))));
    assert!(matches!(answers[2], Written::Fresh { position: Position(2), .. }), "keys are the sender's own");
    let again = log.append(vec![keyed("alice")]).await.unwrap();
    assert!(matches!(&again[0], Written::Known(line) if line.position == Position(1)));
    assert_eq!(seen(&log, "bob", 0).await.len(), 2);
}

pub(crate) async fn both_ways_of_spreading_show_the_same(store: &AnyStore) {
    let mut views = Vec::new();
    for (app, shared) in [("rows", false), ("none", true)] {
        let log = store.timelines(&tenant(), &App::new("selfhosted", app)).await.unwrap();
        let to = |names: &[&str]| if shared { Spread::Members } else { users(names) };
        write(&log, group(&["zoe", "bob"], to(&["zoe", "bob"]))).await;
        write(&log, line(&team(), "zoe", "before", to(&["zoe", "bob"]))).await;
        let change = LineChange::Member { user: user("eve"), role: MemberRole::Member, muted_until: None };
        let joined = NewLine { changes: vec![change], ..line(&team(), "zoe", "eve joins", to(&["zoe", "bob", "eve"])) };
        let (joined, _) = write(&log, joined).await;
        write(&log, line(&team(), "eve", "hello", to(&["zoe", "bob", "eve"]))).await;
        let left = LineChange::Leave { user: user("bob") };
        let left = NewLine { changes: vec![left], ..line(&team(), "bob", "bob goes", to(&["zoe", "bob", "eve"])) };
        let (left, _) = write(&log, left).await;
        write(&log, line(&team(), "zoe", "after", to(&["zoe", "eve"]))).await;
        let back = LineChange::Member { user: user("bob"), role: MemberRole::Member, muted_until: None };
        let back = NewLine { changes: vec![back], ..line(&team(), "zoe", "bob again", to(&["zoe", "eve", "bob"])) };
        write(&log, back).await;
        let at = |position| {
            let log = log.clone();
            async move { log.members_at(&team(), position).await.unwrap() }
        };
        assert_eq!(at(Position(2)).await, [user("zoe"), user("bob")]);
        assert_eq!(at(joined).await.len(), 3);
        assert!(at(left).await.contains(&user("bob")) && !at(Position(left.0 + 1)).await.contains(&user("bob")));
        let mut view = Vec::new();
        for name in ["zoe", "bob", "eve", "nobody"] {
            view.push(seen(&log, name, 0).await);
            let second = log.timeline(&user(name), Position(0), Position(4), 2).await.unwrap();
            assert!(second.len() <= 2 && second.iter().all(|line| line.position <= Position(4)));
        }
        views.push(view);
    }
    assert_eq!(views[0], views[1]);
    assert_eq!(views[0][1], ["made", "before", "eve joins", "hello", "bob goes", "bob again"]);
    assert_eq!(views[0][2], ["eve joins", "hello", "bob goes", "after", "bob again"]);
}

pub(crate) async fn a_change_and_its_line_are_one(store: &AnyStore) {
    let log = open(store).await;
    let first = line(&pair(), "alice", "first", users(&["alice", "bob"]));
    let target = first.id;
    write(&log, first).await;
    let bury = LineChange::Rewrite { target, payload: Bytes::from_static(b"gone"), recalled: true };
    let recall = NewLine {
        kind: LineKind::Recall,
        changes: vec![bury],
        ..line(&pair(), "alice", "recall", users(&["alice", "bob"]))
    };
    write(&log, recall).await;
    assert_eq!(seen(&log, "bob", 0).await, ["gone", "recall"]);
    assert!(log.line(target).await.unwrap().unwrap().recalled);
    let unknown =
        LineChange::Rewrite { target: MessageId::generate(), payload: Bytes::from_static(b"x"), recalled: false };
    let wrong = NewLine { changes: vec![unknown], ..line(&pair(), "alice", "edit", users(&["alice", "bob"])) };
    let both = vec![line(&pair(), "alice", "lost", users(&["bob"])), wrong];
    assert_eq!(log.append(both).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(seen(&log, "bob", 0).await, ["gone", "recall"], "all or nothing");
    let next = write(&log, line(&pair(), "alice", "next", users(&["bob"]))).await;
    assert_eq!(next, (Position(3), Some(Sequence(3))), "no number was lost");
}

pub(crate) async fn conversations_are_listed_with_what_is_unread(store: &AnyStore) {
    let log = open(store).await;
    let both = || users(&["alice", "bob"]);
    let recalled = line(&pair(), "alice", "2", both());
    let target = recalled.id;
    log.append(vec![line(&pair(), "alice", "1", both()), recalled, line(&pair(), "bob", "3", both())]).await.unwrap();
    write(&log, group(&["zoe", "bob"], users(&["zoe", "bob"]))).await;
    write(&log, line(&team(), "zoe", "news", users(&["zoe", "bob"]))).await;
    let bury = LineChange::Rewrite { target, payload: Bytes::from_static(b""), recalled: true };
    let recall = NewLine { kind: LineKind::Recall, changes: vec![bury], ..line(&pair(), "alice", "r", both()) };
    write(&log, recall).await;
    let listed = log.conversations_of(&user("bob"), Position(u64::MAX >> 24), 9).await.unwrap();
    let counts: Vec<_> = listed.iter().map(|one| (one.id.clone(), one.unread, one.last.position)).collect();
    assert_eq!(counts, [(team(), 1, Position(5)), (pair(), 1, Position(3))]);
    let page = log.conversations_of(&user("bob"), Position(5), 9).await.unwrap();
    assert_eq!(page.len(), 1);
    let mark = |delivered, read| {
        let marks = ConversationMarks { user: user("bob"), delivered: Sequence(delivered), read: Sequence(read) };
        vec![(pair(), marks)]
    };
    log.raise_marks(mark(3, 3)).await.unwrap();
    log.raise_marks(mark(1, 1)).await.unwrap();
    let listed = log.conversations_of(&user("bob"), Position(5), 9).await.unwrap();
    assert_eq!((listed[0].unread, listed[0].marks.clone()), (0, vec![mark(3, 3)[0].1.clone()]), "marks never sink");
    let back = log.messages_before(&pair(), Sequence(3), 9).await.unwrap();
    assert_eq!(back.iter().map(|line| line.position.0).collect::<Vec<_>>(), [2, 1]);
    let within = log.messages_between(&pair(), Position(1), Timestamp(0), Timestamp(1_000), 9).await.unwrap();
    assert_eq!(within.iter().map(|line| line.position.0).collect::<Vec<_>>(), [2, 3]);
    assert!(log.takes_part(&user("alice"), &pair()).await.unwrap());
    assert!(!log.takes_part(&user("zoe"), &pair()).await.unwrap());
}

pub(crate) async fn groups_accounts_and_devices_are_kept(store: &AnyStore) {
    let log = open(store).await;
    assert_eq!(log.timeline_group(&team()).await.unwrap(), None);
    write(&log, group(&["zoe", "bob"], users(&["zoe", "bob"]))).await;
    let mute = LineChange::Member { user: user("bob"), role: MemberRole::Admin, muted_until: Some(Timestamp(9)) };
    write(&log, NewLine { changes: vec![mute], ..line(&team(), "zoe", "m", users(&["zoe"])) }).await;
    let group = log.timeline_group(&team()).await.unwrap().unwrap();
    assert_eq!((group.name.as_str(), group.owner, group.members.len()), ("Team", user("zoe"), 2));
    let bob = &group.members[1];
    assert_eq!((bob.role, bob.muted_until, bob.since), (MemberRole::Admin, Some(Timestamp(9)), Position(1)));

    assert_eq!(log.account(&user("bob")).await.unwrap(), None, "a member is no account yet");
    let profile = UserProfile { name: Some("Bob".to_owned()), avatar: None };
    let account = Account { user: user("bob"), profile, banned_until: Some(Timestamp(5)) };
    log.put_account(&account).await.unwrap();
    log.put_account(&account).await.unwrap();
    assert_eq!(log.account(&user("bob")).await.unwrap(), Some(account));

    let cursor = |device: &str, low, at| DeviceCursor {
        user: user("bob"),
        device: device.to_owned(),
        low: Position(low),
        seen_at: Timestamp(at),
    };
    assert_eq!(log.device(&user("bob"), "phone").await.unwrap(), None);
    log.save_devices(vec![cursor("phone", 7, 1), cursor("pc", 2, 1)]).await.unwrap();
    log.save_devices(vec![cursor("phone", 3, 2)]).await.unwrap();
    assert_eq!(log.device(&user("bob"), "phone").await.unwrap(), Some(cursor("phone", 7, 2)), "it never moves back");
    assert_eq!(log.devices(&user("bob")).await.unwrap().len(), 2);
}
