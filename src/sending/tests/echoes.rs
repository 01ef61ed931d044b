//! The echo of an own send, taken in by the real way in, against the dispatcher that processes the reply meanwhile.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use switchboard_contract::storage::{Appended, Outbox, Store};
use switchboard_contract::*;

use super::vendor::{Act, Manner, inbound};
use super::world::{World, config, tenant};
use crate::identity::{Identity, Provisioner};
use crate::ingest::inbox::InboxConfig;
use crate::ingest::{Echo, EchoBook, EchoCandidate, Ingest, IngestConfig, Receipted};
use crate::sending::{Outgoing, To};
use crate::store::memory::MemoryStore;

/// Holds each first answer back until the send has left the state that the answer speaks of.
#[derive(Debug)]
struct Slow {
    book: Arc<dyn EchoBook>,
    store: MemoryStore,
    message: MessageId,
}

#[async_trait]
impl EchoBook for Slow {
    async fn echo(&self, tenant: &TenantId, app: &App, echo: &EchoCandidate<'_>) -> Result<Option<Echo>> {
        let answer = self.book.echo(tenant, app, echo).await?;
        while self.store.leg(tenant, self.message).await?.unwrap().state == SendState::Dispatched {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(answer)
    }

    async fn own(&self, tenant: &TenantId, app: &App, ids: &[VendorMessageId]) -> Result<HashSet<VendorMessageId>> {
        self.book.own(tenant, app, ids).await
    }

    async fn receipt(
        &self,
        tenant: &TenantId,
        app: &App,
        vendor_id: &VendorMessageId,
        kind: ReceiptKind,
        at: Timestamp,
    ) -> Result<Receipted> {
        self.book.receipt(tenant, app, vendor_id, kind, at).await
    }
}

/// The vendor carries a message and calls back for it before its answer comes; the answer, with an id or without,
/// is processed between the look-up of the echo and its write.
#[tokio::test(start_paused = true)]
async fn i05_a_reply_processed_while_its_echo_is_taken_in_leaves_one_message() {
    for act in [Act::Accept, Act::AcceptWithoutId] {
        let (world, vendor) = World::with(Manner::default(), config()).await;
        vendor.script(move |_| act);
        let message = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "hi")).await.messages[0].1;
        while vendor.carried().is_empty() {
            world.clock.sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(world.state(message).await.0, SendState::Dispatched);
        let book = Slow { book: world.sending.echo_book(), store: world.store.clone(), message };
        let dir = tempfile::tempdir().unwrap();
        let ingest = ingest(&world, dir.path(), Arc::new(book)).await;
        ingest.register("main".into(), tenant(), vendor.clone());
        let carried = vendor.carried().remove(0);
        let items = vec![inbound(&carried)];
        let answers = ingest.submit(&tenant(), &"main".into(), Origin::Callback, items).await.unwrap();
        assert!(matches!(answers[..], [Appended::Known { .. }]), "{act:?}: {answers:?}");
        assert_eq!(world.state(message).await.0, SendState::Accepted);
        assert_eq!(world.journalled().await.into_iter().collect::<Vec<_>>(), [(message, 1)], "{act:?}");
        let leg = world.store.leg_by_vendor_id(&tenant(), vendor.app(), &carried.id).await.unwrap();
        assert_eq!(leg.map(|leg| leg.message_id), Some(message), "{act:?}: its id is known");
        ingest.shutdown().await.unwrap();
    }
}

pub(super) async fn ingest(world: &World, path: &std::path::Path, book: Arc<dyn EchoBook>) -> Ingest {
    let store: Arc<dyn Store> = Arc::new(world.store.clone());
    let identity = Arc::new(Identity::new(Arc::clone(&store)));
    let provisioner = Arc::new(Provisioner::new(Arc::clone(&identity), Arc::clone(&store)));
    let inbox = InboxConfig {
        path: path.join("inbox"),
        segment_bytes: 256 << 10,
        capacity_bytes: 1 << 20,
        max_pending_bytes: 256 << 10,
    };
    let config = IngestConfig { inbox, max_body_bytes: 64 << 10, ..IngestConfig::default() };
    Ingest::open(config, store, identity, provisioner, book, world.clock.clone()).await.unwrap()
}
