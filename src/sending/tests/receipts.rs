//! Receipts that overtake the vendor's answer, the echo, or both: the send ends where its receipts say.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use switchboard_contract::storage::Outbox;
use switchboard_contract::*;

use super::echoes::ingest;
use super::vendor::{Act, Carried, Manner, Vendor, inbound};
use super::world::{World, config, tenant};
use crate::ingest::Ingest;
use crate::sending::{AppMode, Outgoing, To};

/// Longer than everything else in these tests takes, and shorter than a call may last.
const ANSWER: Duration = Duration::from_secs(12);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happening {
    Reply,
    Echo,
    Delivered,
    Read,
}

use Happening::{Delivered, Echo, Read, Reply};

/// Every order of these.
fn orders(of: &[Happening]) -> Vec<Vec<Happening>> {
    let Some((first, rest)) = of.split_first() else { return vec![Vec::new()] };
    let mut all = Vec::new();
    for order in orders(rest) {
        for at in 0..=order.len() {
            let mut longer = order.clone();
            longer.insert(at, *first);
            all.push(longer);
        }
    }
    all
}

fn receipt(carried: &Carried, kind: ReceiptKind) -> Inbound {
    let Target::Users(users) = &carried.target else { panic!("to a user") };
    let word = if kind == ReceiptKind::Read { "read" } else { "delivered" };
    Inbound {
        key: EventKey::new(KeyClass::Receipt, format!("{word}/{}", carried.id)),
        place: InboundPlace::Direct { from: users[0].clone(), to: carried.from.clone() },
        data: InboundData::Receipt {
            kind,
            reader: users[0].clone(),
            target: Some(carried.id.clone()),
            whole_conversation: false,
        },
        mark: None,
        raw: Bytes::new(),
        ..inbound(carried)
    }
}

async fn under_way(act: Act) -> (World, Arc<Vendor>, MessageId, Carried) {
    // Half of it passes before the vendor carries it, half before the answer.
    let (world, vendor) = World::with(Manner { latency: 2 * ANSWER, ..Manner::default() }, config()).await;
    vendor.script(move |_| act);
    let message = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "hi")).await.messages[0].1;
    while vendor.carried().is_empty() {
        world.clock.sleep(Duration::from_secs(1)).await;
    }
    let carried = vendor.carried().remove(0);
    (world, vendor, message, carried)
}

async fn submit(ingest: &Ingest, item: Inbound) {
    let answers = ingest.submit(&tenant(), &"main".into(), Origin::Callback, vec![item]).await.unwrap();
    assert_eq!(answers.len(), 1);
}

async fn happens(what: Happening, world: &World, ingest: &Ingest, carried: &Carried) {
    match what {
        Reply => {
            world.clock.sleep(ANSWER + Duration::from_secs(1)).await;
            world.sending.idle().await;
        }
        Echo => submit(ingest, inbound(carried)).await,
        Delivered => submit(ingest, receipt(carried, ReceiptKind::Delivered)).await,
        Read => submit(ingest, receipt(carried, ReceiptKind::Read)).await,
    }
}

/// What was said of the send, in order; the listener of [`World`] has seen that every step was legal.
async fn states(world: &World) -> Vec<SendState> {
    let statuses = world.journal().await.into_iter().filter_map(|event| match event.data {
        EventData::SendStatus(status) => Some(status.state),
        _ => None,
    });
    statuses.collect()
}

#[tokio::test(start_paused = true)]
async fn i05_receipts_count_whatever_they_overtake() {
    let with_reply: &[Happening] = &[Reply, Delivered, Read];
    let with_both: &[Happening] = &[Reply, Echo, Delivered, Read];
    let read_alone: &[Happening] = &[Reply, Echo, Read];
    for (act, of) in [
        (Act::Accept, with_reply),
        (Act::Accept, with_both),
        (Act::Accept, read_alone),
        (Act::AcceptWithoutId, with_both),
        // The answer never comes: the echo alone tells.
        (Act::Hang, &[Echo, Delivered, Read]),
    ] {
        for order in orders(of) {
            let (world, vendor, message, carried) = under_way(act).await;
            let dir = tempfile::tempdir().unwrap();
            let ingest = ingest(&world, dir.path(), world.sending.echo_book()).await;
            ingest.register("main".into(), tenant(), vendor.clone());
            for what in &order {
                happens(*what, &world, &ingest, &carried).await;
            }
            // What no hint tells of is found by looking now and then.
            world.clock.sleep(config().rescan + Duration::from_secs(1)).await;
            let story = format!("{act:?} {order:?}: {:?}", states(&world).await);
            assert_eq!(world.state(message).await.0, SendState::Read, "{story}");
            assert_eq!(world.journalled().await.into_iter().collect::<Vec<_>>(), [(message, 1)], "{story}");
            assert_eq!(states(&world).await.last(), Some(&SendState::Read), "{story}");
            assert!(world.store.early_receipts(vendor.app(), 10).await.unwrap().is_empty(), "{story}: none waits");
            ingest.shutdown().await.unwrap();
        }
    }
}

/// No wait for anything but the answer: the send is read as soon as it is accepted.
#[tokio::test(start_paused = true)]
async fn an_early_receipt_counts_at_once() {
    let (world, vendor, message, carried) = under_way(Act::Accept).await;
    let dir = tempfile::tempdir().unwrap();
    let ingest = ingest(&world, dir.path(), world.sending.echo_book()).await;
    ingest.register("main".into(), tenant(), vendor.clone());
    happens(Read, &world, &ingest, &carried).await;
    assert_eq!(world.state(message).await.0, SendState::Dispatched);
    happens(Reply, &world, &ingest, &carried).await;
    assert_eq!(world.state(message).await.0, SendState::Read);
    assert!(world.clock.now().since(super::world::START) < config().rescan, "nobody had to look again");
    ingest.shutdown().await.unwrap();
}

/// The process dies between receipt and answer; the next one learns of the message from its echo.
#[tokio::test(start_paused = true)]
async fn an_early_receipt_survives_a_crash() {
    let (world, vendor, message, carried) = under_way(Act::Accept).await;
    let dir = tempfile::tempdir().unwrap();
    let first = ingest(&world, dir.path(), world.sending.echo_book()).await;
    first.register("main".into(), tenant(), vendor.clone());
    happens(Read, &world, &first, &carried).await;
    first.shutdown().await.unwrap();
    let World { clock, store, sending } = world;
    drop(sending);
    let world = World::open(clock, store, config()).await;
    world.serve(&vendor, AppMode::Active);
    let dir = tempfile::tempdir().unwrap();
    let second = ingest(&world, dir.path(), world.sending.echo_book()).await;
    second.register("main".into(), tenant(), vendor.clone());
    happens(Echo, &world, &second, &carried).await;
    world.clock.sleep(Duration::from_secs(1)).await;
    assert_eq!(world.state(message).await.0, SendState::Read);
    second.shutdown().await.unwrap();
}

/// Receipts of what other people write to each other are no business of the sends, and leave nothing behind.
#[tokio::test(start_paused = true)]
async fn receipts_of_nobodys_send_are_forgotten() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    vendor.chatter(world.clock.now());
    let stranger = vendor.carried().remove(0);
    let dir = tempfile::tempdir().unwrap();
    let ingest = ingest(&world, dir.path(), world.sending.echo_book()).await;
    ingest.register("main".into(), tenant(), vendor.clone());
    happens(Read, &world, &ingest, &stranger).await;
    let before = world.clock.now() - Duration::from_secs(60);
    let left = |before| world.store.forget_receipts(vendor.app(), Vec::new(), before, 100);
    assert_eq!(left(before).await.unwrap(), 1, "it may be an answer's that is still to come");
    world.clock.sleep(config().in_doubt_limit + 2 * config().rescan).await;
    assert_eq!(left(before).await.unwrap(), 0);
    ingest.shutdown().await.unwrap();
}
