//! Other words for an event that is known.

use switchboard_contract::storage::{Appended, Commit, QuarantineReason, Variant};
use switchboard_contract::{
    ContactChange, Edit, EventData, EventKey, GroupChange, KeyClass, Moderation, Origin, Position, Presence,
    PresenceState, PushResult, Reaction, Recall, Receipt, ReceiptKind, RecipientOffline, Timestamp, Unrecognised,
    UserId,
};

use crate::fixture::{AnyStore, SHARD, app, append, digest, direct, message, recall, tenant, vendor};

pub(crate) async fn contradicting_callbacks_are_quarantined_once(store: &AnyStore) {
    let bob = direct("bob");
    append(store, vec![message(&bob, "m", "one")]).await;
    for _ in 0..3 {
        append(store, vec![message(&bob, "m", "two"), message(&bob, "m", "two")]).await;
    }
    append(store, vec![message(&bob, "m", "three")]).await;
    let kept = store.set_aside(&tenant(), 0, 10).await.unwrap();
    let bodies: Vec<_> = kept.iter().map(|item| item.raw.body.as_ref()).collect();
    assert_eq!(bodies, [b"raw two".as_slice(), b"raw three"]);
    assert!(kept.iter().all(|item| item.reason == QuarantineReason::Conflict && item.app == app()));
    assert_eq!(store.raw(&tenant(), SHARD, Position(1)).await.unwrap().unwrap(), "raw one");
}

pub(crate) async fn i05_only_messages_and_edits_can_contradict_themselves(store: &AnyStore) {
    let bob = direct("bob");
    let target = vendor("m");
    let user = || UserId::from("bob");
    let kinds = [
        (EventData::Recall(Recall { target: target.clone(), ..Recall::default() }), KeyClass::Recall),
        (
            EventData::Receipt(Receipt {
                kind: ReceiptKind::Read,
                reader: user(),
                target: Some(target.clone()),
                whole_conversation: false,
            }),
            KeyClass::Receipt,
        ),
        (
            EventData::RecipientOffline(RecipientOffline { target: target.clone(), recipient: user() }),
            KeyClass::Offline,
        ),
        (
            EventData::Presence(Presence {
                user: user(),
                state: PresenceState::Online,
                reason: None,
                platform: None,
                device: None,
            }),
            KeyClass::Presence,
        ),
        (
            EventData::Group(GroupChange {
                group: "g".into(),
                room: false,
                change: "joined".to_owned(),
                by: None,
                members: vec![user()],
                detail: serde_json::Value::Null,
            }),
            KeyClass::Group,
        ),
        (
            EventData::Contact(ContactChange { user: user(), peer: user(), change: "accepted".to_owned() }),
            KeyClass::Contact,
        ),
        (
            EventData::Reaction(Reaction {
                target: target.clone(),
                by: None,
                reaction: "+1".to_owned(),
                removed: false,
            }),
            KeyClass::Reaction,
        ),
        (
            EventData::Moderation(Moderation {
                target: target.clone(),
                verdict: "pass".to_owned(),
                detail: serde_json::Value::Null,
            }),
            KeyClass::Moderation,
        ),
        (
            EventData::PushResult(PushResult {
                target: None,
                recipient: user(),
                outcome: "sent".to_owned(),
                detail: serde_json::Value::Null,
            }),
            KeyClass::Push,
        ),
        (EventData::Unrecognised(Unrecognised::keep("hologram", b"?")), KeyClass::Unrecognised),
    ];
    for (data, class) in kinds {
        let name = data.type_name();
        let report = |words: &str, origin| {
            let mut draft = message(&bob, "x", words);
            (draft.key, draft.event.data, draft.event.origin) = (EventKey::new(class, "x"), data.clone(), origin);
            draft
        };
        // Callback against callback, our own against the callback, all in one commit and in two.
        append(store, vec![report("one", Origin::Callback), report("two", Origin::Callback)]).await;
        let answers = append(store, vec![report("three", Origin::Reissue), report("four", Origin::Send)]).await;
        assert!(answers.iter().all(|answer| matches!(answer, Appended::Variant { .. })), "{name}: {answers:?}");
        let entry = store.find(&tenant(), &app(), &EventKey::new(class, "x")).await.unwrap().unwrap();
        let variants = store.variants(&tenant(), SHARD, entry.position).await.unwrap();
        assert_eq!(variants.len(), 3, "{name}: each is recorded");
    }
    assert_eq!(store.set_aside(&tenant(), 0, 10).await.unwrap(), [], "none of them is quarantined");
    // What has content of its own can.
    for class in [KeyClass::Message, KeyClass::Edit] {
        let report = |words: &str| {
            let mut draft = message(&bob, "y", words);
            if class == KeyClass::Edit {
                draft.event.data = EventData::Edit(Edit { target: target.clone(), ..Edit::default() });
            }
            draft.key = EventKey::new(class, "y");
            draft
        };
        append(store, vec![report("one")]).await;
        let answers = append(store, vec![report("two")]).await;
        assert!(matches!(answers[..], [Appended::Conflict { .. }]), "{class:?}: {answers:?}");
    }
    assert_eq!(store.set_aside(&tenant(), 0, 10).await.unwrap().len(), 2);
}

pub(crate) async fn variants_are_read_back_in_order(store: &AnyStore) {
    let bob = direct("bob");
    append(store, vec![message(&bob, "m", "one"), message(&bob, "n", "one")]).await;
    let from = |origin, words: &str, at| {
        let mut draft = message(&bob, "m", words);
        (draft.event.origin, draft.event.received_at) = (origin, Timestamp(at));
        draft
    };
    append(store, vec![from(Origin::File, "two", 20), from(Origin::Query, "two", 30), from(Origin::Send, "one", 35)])
        .await;
    append(store, vec![from(Origin::Callback, "three", 40)]).await;
    let found = store.variants(&tenant(), SHARD, Position(1)).await.unwrap();
    let variant = |words: &str, origin, at| Variant {
        digest: digest(words),
        origin,
        received_at: Timestamp(at),
        raw: Some(format!("raw {words}").into_bytes().into()),
    };
    assert_eq!(found, [variant("two", Origin::File, 20), variant("three", Origin::Callback, 40)]);
    assert_eq!(store.variants(&tenant(), SHARD, Position(2)).await.unwrap(), []);
    assert_eq!(store.variants(&"other".into(), SHARD, Position(1)).await.unwrap(), []);
    // With the message its variants lose their bytes, also those still to come.
    append(store, vec![recall(&bob, vendor("m"))]).await;
    append(store, vec![from(Origin::File, "four", 50)]).await;
    let found = store.variants(&tenant(), SHARD, Position(1)).await.unwrap();
    assert_eq!(found.iter().map(|variant| variant.raw.clone()).collect::<Vec<_>>(), [None, None, None]);
    store.trim(&tenant(), SHARD, Position(1)).await.unwrap();
    assert_eq!(store.variants(&tenant(), SHARD, Position(1)).await.unwrap(), []);
}

pub(crate) async fn whoever_asks_for_what_is_missing_leaves_none(store: &AnyStore) {
    let bob = direct("bob");
    append(store, vec![message(&bob, "m", "one")]).await;
    let asked = || {
        let mut known = message(&bob, "m", "two");
        known.event.origin = Origin::Callback;
        vec![known, message(&bob, "n", "one")]
    };
    let commit = |only_missing| Commit { drafts: asked(), only_missing, ..Commit::default() };
    let answers = store.commit(commit(true)).await.unwrap().drafts;
    assert!(
        matches!(answers[..], [Appended::Known { position: Position(1), .. }, Appended::Fresh { .. }]),
        "{answers:?}"
    );
    assert_eq!(store.variants(&tenant(), SHARD, Position(1)).await.unwrap(), []);
    // Anybody else does leave one, and two callbacks that contradict each other are told.
    let answers = store.commit(commit(false)).await.unwrap().drafts;
    assert!(matches!(answers[..], [Appended::Conflict { .. }, Appended::Known { .. }]), "{answers:?}");
    assert_eq!(store.variants(&tenant(), SHARD, Position(1)).await.unwrap().len(), 1);
}
