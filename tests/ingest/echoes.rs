//! Own sends that come back: one message, whatever overtakes what.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use switchboard::ingest::{Echo, EchoBook, EchoCandidate, Receipted};
use switchboard_contract::storage::{
    Appended, Commit, Draft, Journal as _, LegChange, LegGuard, NewLeg, NewSend, Outbox as _, Recipients, SendPayload,
};
use switchboard_contract::*;

use crate::disk::Disk;
use crate::provider::{Fake, NOW, Wire, message};
use crate::stage::{ALIAS, Stage, config};
use crate::store::Moody;

/// An echo book that knows one send, and notes what the journal held when it was asked for a receipt.
#[derive(Debug)]
struct OneSend {
    id: MessageId,
    store: Moody,
    seen_at_receipt: Mutex<Vec<bool>>,
}

impl OneSend {
    fn step(&self, tenant: &TenantId, expect: SendState, to: SendState) -> LegChange {
        LegChange {
            tenant: tenant.clone(),
            message_id: self.id,
            expect: vec![expect],
            to,
            attempts: 1,
            next_attempt_at: NOW,
            dispatched_at: None,
            reason: None,
            history: None,
            vendor_id: None,
            setback: None,
            drafts: Vec::new(),
        }
    }
}

#[async_trait]
impl EchoBook for OneSend {
    async fn echo(&self, tenant: &TenantId, _: &App, echo: &EchoCandidate<'_>) -> Result<Option<Echo>> {
        assert_eq!(echo.conversation.as_str(), "direct~alice~bob");
        Ok((echo.mark == Some("ours")).then(|| Echo {
            message_id: self.id,
            client_message_id: Some("order-1".into()),
            key: None,
            change: Some(self.step(tenant, SendState::Dispatched, SendState::Accepted)),
            only_if: None,
        }))
    }

    async fn own(&self, _: &TenantId, _: &App, _: &[VendorMessageId]) -> Result<HashSet<VendorMessageId>> {
        Ok(HashSet::new())
    }

    async fn receipt(
        &self,
        tenant: &TenantId,
        app: &App,
        vendor_id: &VendorMessageId,
        _: ReceiptKind,
        _: Timestamp,
    ) -> Result<Receipted> {
        let journalled = self.store.find(tenant, app, &EventKey::message(vendor_id)).await?.is_some();
        self.seen_at_receipt.lock().push(journalled);
        Ok(Receipted::Step(Box::new(self.step(tenant, SendState::Accepted, SendState::Read))))
    }
}

/// An echo book whose first answer is overtaken: before it can be written, the vendor's reply, which names no id, has
/// been processed, and the message stands under our own key.
#[derive(Debug)]
struct Overtaken {
    send: MessageId,
    store: Moody,
    reply: Mutex<Option<Commit>>,
    asked: AtomicUsize,
}

impl Overtaken {
    fn own_key(&self) -> EventKey {
        EventKey::new(KeyClass::Message, format!("own/{}", self.send))
    }

    fn step(&self, expect: SendState, drafts: Vec<Draft>) -> LegChange {
        LegChange {
            tenant: TenantId::default(),
            message_id: self.send,
            expect: vec![expect],
            to: SendState::Accepted,
            attempts: 1,
            next_attempt_at: NOW,
            dispatched_at: None,
            reason: None,
            history: None,
            vendor_id: None,
            setback: None,
            drafts,
        }
    }

    fn message(&self, store_app: &App) -> Draft {
        let data = EventData::Message(Message {
            id: self.send,
            vendor_id: None,
            from: "alice".into(),
            audience: Vec::new(),
            body: Some(Body::text("hi")),
            ext: Ext::new(),
            mentions: None,
            client_message_id: None,
            recalled: false,
        });
        let conversation = ConversationId::direct(&"alice".into(), &"bob".into());
        Draft {
            digest: switchboard::ingest::digest(Some(&conversation), &data),
            event: Event {
                id: EventId::generate(),
                tenant: TenantId::default(),
                app: Some(store_app.clone()),
                conversation: Some(conversation),
                sent_at: NOW,
                received_at: NOW,
                origin: Origin::Send,
                late: false,
                data,
            },
            key: self.own_key(),
            sort_key: String::new(),
            raw: None,
        }
    }
}

#[async_trait]
impl EchoBook for Overtaken {
    async fn echo(&self, tenant: &TenantId, _: &App, echo: &EchoCandidate<'_>) -> Result<Option<Echo>> {
        if echo.mark != Some("ours") {
            return Ok(None);
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        let leg = self.store.leg(tenant, self.send).await?.unwrap();
        let only_if = LegGuard { tenant: tenant.clone(), message_id: self.send, states: vec![leg.state] };
        let open = leg.state == SendState::Dispatched;
        let change = LegChange { vendor_id: Some(echo.vendor_id.clone()), ..self.step(leg.state, Vec::new()) };
        // Asked, and not written yet: now the reply comes.
        let reply = self.reply.lock().take();
        if let Some(reply) = reply {
            self.store.commit(reply).await?;
        }
        Ok(Some(Echo {
            message_id: self.send,
            client_message_id: None,
            key: (!open).then(|| self.own_key()),
            change: Some(change),
            only_if: Some(only_if),
        }))
    }

    async fn own(&self, _: &TenantId, _: &App, _: &[VendorMessageId]) -> Result<HashSet<VendorMessageId>> {
        Ok(HashSet::new())
    }

    async fn receipt(
        &self,
        _: &TenantId,
        _: &App,
        _: &VendorMessageId,
        _: ReceiptKind,
        _: Timestamp,
    ) -> Result<Receipted> {
        Ok(Receipted::Nothing)
    }
}

/// A send of one text to bob, already handed to the vendor.
async fn dispatched(store: &Moody, app: &App) -> MessageId {
    let message_id = MessageId::generate();
    let conversation = ConversationId::direct(&"alice".into(), &"bob".into());
    let leg = NewLeg { message_id, conversation, recipient: Some("bob".into()) };
    let payload = SendPayload {
        from: "alice".into(),
        to: Recipients::User("bob".into()),
        channel: None,
        audience: Vec::new(),
        body: Body::text("hi"),
        ext: Ext::new(),
        mentions: None,
        options: SendOptions::default(),
    };
    let send = NewSend {
        id: SendId::generate(),
        tenant: TenantId::default(),
        client_message_id: None,
        digest: [0; 32],
        payload,
        app: app.clone(),
        created_at: NOW,
        expires_at: None,
        legs: vec![leg],
        drafts: Vec::new(),
    };
    store.enqueue(vec![send]).await.unwrap();
    let change = LegChange {
        tenant: TenantId::default(),
        message_id,
        expect: vec![SendState::Queued],
        to: SendState::Dispatched,
        attempts: 0,
        next_attempt_at: NOW,
        dispatched_at: Some(NOW),
        reason: None,
        history: None,
        vendor_id: None,
        setback: None,
        drafts: Vec::new(),
    };
    store.commit(Commit { changes: vec![change], ..Commit::default() }).await.unwrap();
    message_id
}

/// Whether the message comes as a callback or by a query, and whatever stands beside it in its batch.
#[tokio::test]
async fn i05_a_reply_that_overtakes_its_echo_leaves_one_message() {
    for by_query in [false, true] {
        let (store, fake) = (Moody::default(), Fake::obedient());
        let send = dispatched(&store, fake.app()).await;
        let book =
            Arc::new(Overtaken { send, store: store.clone(), reply: Mutex::default(), asked: AtomicUsize::new(0) });
        let reply = book.step(SendState::Dispatched, vec![book.message(fake.app())]);
        *book.reply.lock() = Some(Commit { changes: vec![reply], ..Commit::default() });
        let stage = Stage::on(Disk::default(), store, fake, config(), book.clone()).await.unwrap();
        let ours = Wire { mark: Some("ours".to_owned()), ..message("m1", "alice", "bob", "hi") };
        let batch = [message("m0", "bob", "alice", "earlier"), ours, message("m2", "bob", "alice", "later")];
        if by_query {
            let items = batch.iter().map(Wire::inbound).collect();
            let answers = stage.ingest.submit(&stage.tenant, &ALIAS.into(), Origin::Query, items).await.unwrap();
            assert!(matches!(answers[1], Appended::Known { .. }), "{answers:?}");
        } else {
            stage.post(&batch).await;
            stage.idle().await;
            assert_eq!(stage.ingest.lag().bytes, 0);
        }
        assert_eq!(book.asked.load(Ordering::SeqCst), 2, "asked again");
        let ids: Vec<MessageId> = stage.entries().await.iter().filter_map(|entry| entry.message_id).collect();
        assert_eq!(ids.iter().filter(|id| **id == send).count(), 1, "one row for one send");
        assert_eq!(ids.len(), 3);
        let leg = stage.store.leg(&stage.tenant, send).await.unwrap().unwrap();
        assert_eq!((leg.state, leg.vendor_id), (SendState::Accepted, Some("m1".into())), "and its id is known");
    }
}

/// End users can copy a mark: within one batch too, only the first message that bears it is ours.
#[tokio::test]
async fn i05_a_mark_copied_within_a_batch_makes_no_second_own_message() {
    let store = Moody::default();
    let book = Arc::new(OneSend { id: MessageId::generate(), store: store.clone(), seen_at_receipt: Mutex::default() });
    let stage = Stage::on(Disk::default(), store, Fake::obedient(), config(), book.clone()).await.unwrap();
    let marked = |id: &str, text: &str| Wire { mark: Some("ours".to_owned()), ..message(id, "alice", "bob", text) };
    stage.post(&[marked("m1", "hi"), marked("m2", "forged"), marked("m1", "hi")]).await;
    stage.idle().await;
    let ids: Vec<MessageId> = stage.entries().await.iter().filter_map(|entry| entry.message_id).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids.iter().filter(|id| **id == book.id).count(), 1);
}

#[tokio::test]
async fn an_echo_keeps_the_id_of_its_send_and_is_written_before_its_receipt_is_looked_up() {
    let store = Moody::default();
    let book = Arc::new(OneSend { id: MessageId::generate(), store: store.clone(), seen_at_receipt: Mutex::default() });
    let stage = Stage::on(Disk::default(), store, Fake::obedient(), config(), book.clone()).await.unwrap();
    let ours = Wire { mark: Some("ours".to_owned()), ..message("m1", "alice", "bob", "hi") };
    let read = Wire { kind: "read".to_owned(), target: "m1".to_owned(), ..message("r1", "bob", "alice", "") };
    stage.post(&[message("m0", "bob", "alice", "earlier"), ours, read]).await;
    stage.idle().await;
    let events = stage.events().await;
    let EventData::Message(echo) = &events[1].data else { panic!("{:?}", events[1]) };
    assert_eq!((echo.id, echo.client_message_id.as_ref().unwrap().as_str()), (book.id, "order-1"));
    assert!(
        matches!(&events[2].data, EventData::Receipt(receipt) if receipt.target.as_ref().unwrap().id == Some(book.id))
    );
    assert_eq!(*book.seen_at_receipt.lock(), [true]);
}
