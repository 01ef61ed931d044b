//! Recalls: their targets become tombstones in every order.

use switchboard_contract::storage::{Appended, Entry};
use switchboard_contract::{
    Body, Edit, EventData, EventKey, KeyClass, MessageId, MessageRef, Position, Receipt, ReceiptKind, UserId,
    VendorMessageId,
};

use crate::fixture::{AnyStore, SHARD, all, app, append, direct, fresh, id_of, message, recall, said, tenant, vendor};

async fn is_buried(store: &AnyStore, entry: &Entry, id: MessageId) {
    let message = said(entry);
    assert!(message.recalled && message.body.is_none() && message.ext.is_empty());
    assert_eq!((message.id, entry.message_id), (id, Some(id)));
    assert!(!entry.json.windows(6).any(|part| part == b"secret"), "the body is gone from the stored bytes");
    assert_eq!(store.raw(&tenant(), SHARD, entry.position).await.unwrap(), None);
    assert_eq!(store.message(&tenant(), id).await.unwrap().as_ref(), Some(entry));
}

fn target_of(entry: &Entry) -> MessageRef {
    let mut event = entry.event().unwrap();
    event.data.target_mut().unwrap().clone()
}

pub(crate) async fn i02_a_recall_buries_what_came_before(store: &AnyStore) {
    let draft = message(&direct("bob"), "m", "secret");
    let id = id_of(&draft);
    append(store, vec![draft]).await;
    assert_eq!(append(store, vec![recall(&direct("bob"), vendor("m"))]).await, [fresh(2, 2)]);
    let entries = all(store).await;
    assert_eq!(entries.len(), 2);
    is_buried(store, &entries[0], id).await;
    assert_eq!(target_of(&entries[1]).id, Some(id));
    // The recall again is no second event.
    let again = append(store, vec![recall(&direct("bob"), vendor("m"))]).await;
    assert!(matches!(again[..], [Appended::Known { position: Position(2), .. }]));
}

pub(crate) async fn i02_a_recall_buries_what_comes_later(store: &AnyStore) {
    assert_eq!(append(store, vec![recall(&direct("bob"), vendor("m"))]).await, [fresh(1, 1)]);
    let (draft, innocent) = (message(&direct("bob"), "m", "secret"), message(&direct("bob"), "n", "fine"));
    let (id, other) = (id_of(&draft), id_of(&innocent));
    assert_eq!(append(store, vec![draft, innocent]).await, [fresh(2, 2), fresh(3, 3)]);
    is_buried(store, &all(store).await[1], id).await;
    assert!(said(&store.message(&tenant(), other).await.unwrap().unwrap()).body.is_some());
}

pub(crate) async fn a_recall_and_its_target_in_one_commit(store: &AnyStore) {
    let (one, two) = (message(&direct("bob"), "m", "secret"), message(&direct("bob"), "n", "secret"));
    let (first, second) = (id_of(&one), id_of(&two));
    let (early, late) = (recall(&direct("bob"), vendor("m")), recall(&direct("bob"), vendor("n")));
    append(store, vec![one, early, late, two]).await;
    let entries = all(store).await;
    is_buried(store, &entries[0], first).await;
    is_buried(store, &entries[3], second).await;
}

pub(crate) async fn a_recall_by_our_id(store: &AnyStore) {
    let by_id = |id| MessageRef { id: Some(id), vendor_id: None };
    let (one, two, three) = (
        message(&direct("bob"), "m", "secret"),
        message(&direct("bob"), "n", "secret"),
        message(&direct("bob"), "o", "secret"),
    );
    let ids = [id_of(&one), id_of(&two), id_of(&three)];
    append(store, vec![one]).await;
    let recalls = ids.map(|id| recall(&direct("bob"), by_id(id)));
    let [of_one, of_two, of_three] = recalls;
    append(store, vec![of_one, two, of_two, of_three]).await;
    append(store, vec![three]).await;
    let entries = all(store).await;
    is_buried(store, &entries[0], ids[0]).await;
    is_buried(store, &entries[2], ids[1]).await;
    is_buried(store, &entries[5], ids[2]).await;
}

pub(crate) async fn the_recall_allots_the_id(store: &AnyStore) {
    let allotted = MessageId::generate();
    let target = MessageRef { id: Some(allotted), vendor_id: Some(VendorMessageId::from("m")) };
    append(store, vec![recall(&direct("bob"), target)]).await;
    append(store, vec![message(&direct("bob"), "m", "secret")]).await;
    is_buried(store, &all(store).await[1], allotted).await;
    // Only once: what bears another name is not touched.
    let other = message(&direct("bob"), "other", "fine");
    let id = id_of(&other);
    append(store, vec![other]).await;
    assert!(said(&store.message(&tenant(), id).await.unwrap().unwrap()).body.is_some());
}

pub(crate) async fn events_learn_our_id_of_their_target(store: &AnyStore) {
    let bob = direct("bob");
    let edit = |name: &str| {
        let mut draft = message(&bob, "x", "edit");
        draft.key = EventKey::new(KeyClass::Edit, name);
        let body = Some(Body::text("better"));
        draft.event.data = EventData::Edit(Edit { target: vendor("m"), body, ..Edit::default() });
        draft
    };
    let mut read = message(&bob, "x", "read");
    read.key = EventKey::new(KeyClass::Receipt, "r");
    read.event.data = EventData::Receipt(Receipt {
        kind: ReceiptKind::Read,
        reader: UserId::from("bob"),
        target: Some(vendor("m")),
        whole_conversation: false,
    });
    let draft = message(&bob, "m", "hi");
    let id = id_of(&draft);
    // Before the message nobody knows its id; in the same commit behind it, and later, everybody does.
    append(store, vec![edit("0"), draft, edit("1")]).await;
    append(store, vec![read]).await;
    let entries = all(store).await;
    assert_eq!(target_of(&entries[0]), vendor("m"));
    for entry in &entries[2..] {
        assert_eq!(target_of(entry), MessageRef { id: Some(id), vendor_id: Some(VendorMessageId::from("m")) });
    }
}

pub(crate) async fn a_buried_message_stays_buried(store: &AnyStore) {
    let draft = message(&direct("bob"), "m", "secret");
    let id = id_of(&draft);
    append(store, vec![draft, recall(&direct("bob"), vendor("m"))]).await;
    let known = append(store, vec![message(&direct("bob"), "m", "secret")]).await;
    assert!(matches!(known[..], [Appended::Known { .. }]));
    let mut other = message(&direct("bob"), "m", "secret, otherwise");
    other.event.origin = switchboard_contract::Origin::File;
    assert!(matches!(append(store, vec![other]).await[..], [Appended::Variant { .. }]));
    let mut again = recall(&direct("bob"), vendor("m"));
    again.key = EventKey::new(KeyClass::Recall, "another report of it");
    append(store, vec![again]).await;
    let found = store.find(&tenant(), &app(), &EventKey::message(&VendorMessageId::from("m"))).await.unwrap();
    is_buried(store, &found.unwrap(), id).await;
}
