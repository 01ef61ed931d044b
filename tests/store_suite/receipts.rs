//! Receipts that come before their message is known to be a send's.

use switchboard_contract::storage::{Commit, EarlyReceipt, LegChange, LegGuard, NewSend};
use switchboard_contract::{App, MessageId, ReceiptKind, SendState, TenantId, Timestamp, VendorMessageId};

use crate::fixture::{AnyStore, app, append, direct, message, tenant};
use crate::outbox::send;

fn early(id: &str, kind: ReceiptKind, at: i64) -> EarlyReceipt {
    EarlyReceipt { tenant: tenant(), app: app(), vendor_id: VendorMessageId::from(id), kind, at: Timestamp(at) }
}

async fn note(store: &AnyStore, early: Vec<EarlyReceipt>) {
    store.commit(Commit { early, ..Commit::default() }).await.unwrap();
}

/// The vendor's id of a send's message is told.
async fn bind(store: &AnyStore, send: &NewSend, id: &str) {
    let change = LegChange {
        tenant: send.tenant.clone(),
        message_id: send.legs[0].message_id,
        expect: vec![SendState::Queued],
        to: SendState::Accepted,
        attempts: 1,
        next_attempt_at: Timestamp(0),
        dispatched_at: None,
        reason: None,
        history: None,
        vendor_id: Some(VendorMessageId::from(id)),
        setback: None,
        drafts: Vec::new(),
    };
    store.commit(Commit { changes: vec![change], ..Commit::default() }).await.unwrap();
}

async fn bound(store: &AnyStore) -> Vec<(u64, MessageId, ReceiptKind)> {
    let receipts = store.early_receipts(&app(), 100).await.unwrap();
    receipts.into_iter().map(|receipt| (receipt.id, receipt.message_id, receipt.kind)).collect()
}

pub(crate) async fn early_receipts_wait_for_their_send(store: &AnyStore) {
    use ReceiptKind::{Delivered, Read};
    let (one, two) = (send(None, "hi", &["bob"]), send(None, "hey", &["bob"]));
    store.enqueue(vec![one.clone(), two.clone()]).await.unwrap();
    note(store, vec![early("v1", Delivered, 1), early("v1", Read, 2), early("v1", Read, 3), early("v2", Read, 3)])
        .await;
    assert_eq!(bound(store).await, []);
    bind(store, &one, "v1").await;
    let found = bound(store).await;
    let id = one.legs[0].message_id;
    assert_eq!(found.iter().map(|(_, id, kind)| (*id, *kind)).collect::<Vec<_>>(), [(id, Delivered), (id, Read)]);
    assert_eq!(store.early_receipts(&app(), 1).await.unwrap().len(), 1);
    assert_eq!(store.early_receipts(&App::new("huanxin", "other"), 9).await.unwrap(), []);
    // One that comes although the send is known is found all the same.
    bind(store, &two, "v2").await;
    note(store, vec![early("v2", Delivered, 4)]).await;
    let ids = bound(store).await.into_iter().map(|(id, ..)| id).collect::<Vec<_>>();
    assert_eq!(ids.len(), 4);
    assert_eq!(store.forget_receipts(&App::new("huanxin", "other"), ids.clone(), Timestamp(9), 0).await.unwrap(), 0);
    assert_eq!(store.forget_receipts(&app(), vec![ids[0]], Timestamp(0), 100).await.unwrap(), 3);
    assert_eq!(
        store.forget_receipts(&app(), Vec::new(), Timestamp(4), 100).await.unwrap(),
        1,
        "those before 4 are gone"
    );
    assert_eq!(store.forget_receipts(&app(), Vec::new(), Timestamp(5), 100).await.unwrap(), 0);
    assert_eq!(bound(store).await, []);
}

pub(crate) async fn receipts_of_what_is_nobodys_send_do_not_wait(store: &AnyStore) {
    append(store, vec![message(&direct("bob"), "stranger", "hi")]).await;
    note(store, vec![early("stranger", ReceiptKind::Read, 1)]).await;
    assert_eq!(store.forget_receipts(&app(), Vec::new(), Timestamp(0), 100).await.unwrap(), 0);
    // In the commit that brings the message, too.
    let drafts = vec![message(&direct("bob"), "second", "hi")];
    let early = vec![early("second", ReceiptKind::Read, 1), early("unknown", ReceiptKind::Read, 1)];
    store.commit(Commit { drafts, early, ..Commit::default() }).await.unwrap();
    assert_eq!(store.forget_receipts(&app(), Vec::new(), Timestamp(0), 100).await.unwrap(), 1);
}

pub(crate) async fn i11_the_receipts_of_one_tenant_push_out_no_others(store: &AnyStore) {
    let modest = EarlyReceipt { tenant: TenantId::from("modest"), ..early("v0", ReceiptKind::Read, 1) };
    note(store, vec![modest.clone()]).await;
    note(store, (0..50).map(|number| early(&format!("v{number}"), ReceiptKind::Read, 2)).collect()).await;
    assert_eq!(store.forget_receipts(&app(), Vec::new(), Timestamp(0), 10).await.unwrap(), 11);
    let (theirs, ours) = (send(None, "hi", &["bob"]), send(None, "hey", &["bob"]));
    let theirs = NewSend { tenant: modest.tenant.clone(), ..theirs };
    store.enqueue(vec![theirs.clone(), ours.clone()]).await.unwrap();
    bind(store, &theirs, "v0").await;
    bind(store, &ours, "v0").await;
    let found = store.early_receipts(&app(), 100).await.unwrap();
    let found: Vec<_> = found.iter().map(|receipt| (receipt.tenant.clone(), receipt.message_id)).collect();
    assert_eq!(found, [(modest.tenant, theirs.legs[0].message_id)], "the oldest of the other are gone");
}

pub(crate) async fn a_commit_that_is_refused_notes_nothing(store: &AnyStore) {
    let guard = LegGuard { tenant: tenant(), message_id: MessageId::generate(), states: vec![SendState::Queued] };
    let early = vec![early("v1", ReceiptKind::Read, 1)];
    let refused = store.commit(Commit { only_if: vec![guard], early, ..Commit::default() }).await;
    assert!(LegGuard::is_broken(&refused.unwrap_err()));
    assert_eq!(store.forget_receipts(&app(), Vec::new(), Timestamp(0), 100).await.unwrap(), 0);
}
