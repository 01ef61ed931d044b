//! From the inbox to the journal.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use switchboard::ingest::{Echo, EchoBook, EchoCandidate, IngestConfig, NoEchoes};
use switchboard_contract::storage::{Appended, Journal as _, LegChange, QuarantineReason, Recipients, SendPayload};
use switchboard_contract::*;

use crate::disk::Disk;
use crate::provider::{Fake, NOW, Wire, callback, message};
use crate::stage::{ALIAS, Stage, config, until};
use crate::store::Moody;

fn in_group(id: &str, group: &str, text: &str) -> Wire {
    Wire { to: None, group: Some(group.to_owned()), ..message(id, "alice", "", text) }
}

fn somewhere(id: &str, place: &str, text: &str) -> Wire {
    Wire { to: None, either: Some(place.to_owned()), ..message(id, "alice", "", text) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i05_one_message_from_sixteen_threads_and_three_sources_is_one_row() {
    let stage = Stage::new(Fake::obedient()).await;
    let wire = message("m1", "alice", "bob", "hi");
    let mut posters = tokio::task::JoinSet::new();
    for thread in 0..16 {
        let (ingest, tenant, wire) = (stage.ingest.clone(), stage.tenant.clone(), wire.clone());
        posters.spawn(async move {
            for _ in 0..63 {
                let origin = [Origin::Callback, Origin::File, Origin::Query][thread % 3];
                if origin == Origin::Callback {
                    assert_eq!(ingest.receive(&ALIAS.into(), callback(std::slice::from_ref(&wire))).await.status, 200);
                } else {
                    let items = vec![wire.inbound()];
                    assert_eq!(ingest.submit(&tenant, &ALIAS.into(), origin, items).await.unwrap().len(), 1);
                }
            }
        });
    }
    posters.join_all().await;
    stage.idle().await;
    assert_eq!(stage.messages().await, [("direct~alice~bob".to_owned(), 1, "hi".to_owned())]);
    assert_eq!(stage.entries().await.len(), 1);
    assert_eq!(stage.quarantine().await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i05_two_first_messages_in_parallel_open_one_conversation() {
    for round in 0..20 {
        let stage = Stage::new(Fake::naming_itself()).await;
        let group = format!("{round}");
        let one = vec![in_group("m1", &group, "one").inbound()];
        let two = vec![in_group("m2", &group, "two").inbound()];
        let alias = ALIAS.into();
        let (first, second) = tokio::join!(
            stage.ingest.submit(&stage.tenant, &alias, Origin::Query, one),
            stage.ingest.submit(&stage.tenant, &alias, Origin::File, two),
        );
        first.unwrap();
        second.unwrap();
        let mut found = stage.messages().await;
        found.sort();
        let places: Vec<_> = found.iter().map(|(place, sequence, _)| (place.as_str(), *sequence)).collect();
        let expected = format!("group~{round}");
        assert_eq!(places, [(expected.as_str(), 1), (expected.as_str(), 2)]);
    }
}

#[tokio::test]
async fn two_callbacks_that_contradict_each_other_raise_an_alert() {
    let stage = Stage::new(Fake::obedient()).await;
    stage.post(&[message("m1", "alice", "bob", "hi")]).await;
    stage.post(&[message("m1", "alice", "bob", "other words")]).await;
    stage.idle().await;
    stage.idle().await;
    assert_eq!(stage.messages().await.len(), 1);
    assert_eq!(stage.notices().await, ["callback_conflict"]);
}

#[tokio::test]
async fn an_offline_notice_is_the_message_and_its_recipient() {
    let stage = Stage::new(Fake::obedient()).await;
    let offline = Wire { kind: "offline".to_owned(), ..message("m1", "alice", "bob", "hi") };
    stage.post(&[offline]).await;
    stage.post(&[message("m1", "alice", "bob", "hi")]).await;
    stage.idle().await;
    let events = stage.events().await;
    assert_eq!(events.len(), 2);
    let EventData::Message(first) = &events[0].data else { panic!("{:?}", events[0]) };
    let EventData::RecipientOffline(second) = &events[1].data else { panic!("{:?}", events[1]) };
    assert_eq!(second.target.id, Some(first.id));
    assert_eq!(second.recipient.as_str(), "bob");
    assert!(events.iter().all(|event| !event.late && event.received_at == NOW));
}

#[tokio::test]
async fn what_repair_finds_is_late_and_changes_nothing_that_is_known() {
    let stage = Stage::new(Fake::obedient()).await;
    stage.post(&[message("m1", "alice", "bob", "one")]).await;
    stage.idle().await;
    let items = ["m1", "m2"].map(|id| message(id, "alice", "bob", "one").inbound()).to_vec();
    let answers = stage.ingest.submit(&stage.tenant, &ALIAS.into(), Origin::File, items).await.unwrap();
    assert!(matches!(answers[..], [Appended::Known { .. }, Appended::Fresh { .. }]), "{answers:?}");
    let late: Vec<bool> = stage.events().await.iter().map(|event| event.late).collect();
    assert_eq!(late, [false, true]);
    let elsewhere = stage.ingest.submit(&"other".into(), &ALIAS.into(), Origin::File, Vec::new()).await;
    assert_eq!(elsewhere.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn i05_a_restart_goes_on_at_the_mark_without_loss_or_repeat() {
    let (disk, store) = (Disk::default(), Moody::default());
    let stage = Stage::on(disk.clone(), store.clone(), Fake::obedient(), config(), Arc::new(NoEchoes)).await.unwrap();
    for number in 0..50 {
        stage.post(&[message(&format!("m{number}"), "alice", "bob", &number.to_string())]).await;
    }
    stage.idle().await;
    *store.locked.lock() = Some(ErrorKind::Storage);
    for number in 50..80 {
        stage.post(&[message(&format!("m{number}"), "alice", "bob", &number.to_string())]).await;
    }
    // Killed in the middle: what is not journalled stands in the inbox alone.
    let disk = disk.lose_power(1);
    drop(stage);
    *store.locked.lock() = None;
    let again = Stage::on(disk, store, Fake::obedient(), config(), Arc::new(NoEchoes)).await.unwrap();
    assert_eq!(again.ingest.lag().records, 30);
    again.idle().await;
    let texts: Vec<String> = again.messages().await.into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(texts, (0..80).map(|number| number.to_string()).collect::<Vec<_>>());
}

/// An inbox with one callback that could not be journalled, as the next process finds it.
async fn left_behind() -> (Disk, Moody) {
    let (disk, store) = (Disk::default(), Moody::default());
    let stage = Stage::on(disk.clone(), store.clone(), Fake::obedient(), config(), Arc::new(NoEchoes)).await.unwrap();
    *store.locked.lock() = Some(ErrorKind::Storage);
    stage.post(&[message("m1", "alice", "bob", "hi")]).await;
    *store.locked.lock() = None;
    (disk.kill(), store)
}

#[tokio::test]
async fn a_renamed_provider_still_decodes_what_came_under_its_old_name() {
    let (disk, store) = left_behind().await;
    let again = Stage::register_as("renamed", disk, store, Fake::obedient()).await;
    again.idle().await;
    assert_eq!(again.messages().await.len(), 1);
}

#[tokio::test]
async fn callbacks_of_an_app_no_longer_configured_are_kept_aside() {
    let (disk, store) = left_behind().await;
    let again = Stage::register_as("main", disk, store, Fake::of_another_app()).await;
    again.idle().await;
    assert_eq!(again.messages().await, []);
    let kept = again.quarantine().await;
    assert_eq!(kept.iter().map(|item| item.reason).collect::<Vec<_>>(), [QuarantineReason::Refused]);
    assert_eq!(kept[0].app.key.as_str(), "app-1");
    assert_eq!(again.ingest.lag().bytes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unsaid_place_is_looked_up_once_and_delays_nobody_else() {
    let stage = Stage::new(Fake::naming_itself()).await;
    stage.fake.vendor.rooms.lock().push("77".into());
    let gate = stage.fake.vendor.hold();
    stage.post(&[somewhere("m1", "77", "one"), message("d1", "alice", "bob", "direct")]).await;
    for (id, text) in [("m2", "two"), ("m3", "three")] {
        stage.post(&[somewhere(id, "77", text)]).await;
    }
    stage.post(&[somewhere("g1", "78", "group")]).await;
    // The direct message is through while both look-ups hang.
    while stage.messages().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(stage.messages().await, [("direct~alice~bob".to_owned(), 1, "direct".to_owned())]);
    assert!(stage.ingest.lag().bytes > 0, "what waits is not consumed");
    gate.add_permits(2);
    stage.idle().await;
    let found = stage.messages().await;
    let room: Vec<_> = found.iter().filter(|(place, ..)| place == "room~77").collect();
    assert_eq!(room.iter().map(|(_, _, text)| text.as_str()).collect::<Vec<_>>(), ["one", "two", "three"]);
    assert!(found.iter().any(|(place, ..)| place == "group~78"));
    stage.post(&[somewhere("m4", "77", "four")]).await;
    stage.idle().await;
    assert_eq!(stage.fake.vendor.lookups.load(Ordering::SeqCst), 2, "one look-up for each");
    assert_eq!(stage.ingest.lag().bytes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_look_up_survives_a_restart() {
    let stage = Stage::new(Fake::naming_itself()).await;
    let _gate = stage.fake.vendor.hold();
    stage.post(&[somewhere("m1", "77", "one")]).await;
    stage.post(&[message("d1", "alice", "bob", "direct")]).await;
    while stage.messages().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (disk, store) = (stage.disk.lose_power(3), stage.store.clone());
    drop(stage);
    let again = Stage::on(disk, store, Fake::naming_itself(), config(), Arc::new(NoEchoes)).await.unwrap();
    again.idle().await;
    let texts: Vec<String> = again.messages().await.into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(texts, ["direct", "one"]);
}

#[tokio::test]
async fn a_look_up_that_never_succeeds_ends_and_the_events_count_as_a_groups() {
    let config = IngestConfig { settle_within: Duration::from_secs(5), ..config() };
    let fake = Fake::naming_itself();
    let stage = Stage::on(Disk::default(), Moody::default(), fake, config, Arc::new(NoEchoes)).await.unwrap();
    *stage.fake.vendor.broken.lock() = true;
    stage.post(&[somewhere("m1", "77", "one")]).await;
    stage.idle().await;
    assert_eq!(stage.messages().await, [("group~77".to_owned(), 1, "one".to_owned())]);
    let tries = stage.fake.vendor.lookups.load(Ordering::SeqCst);
    assert!((3..20).contains(&tries), "{tries} tries");
    assert!(stage.clock.now().since(NOW) <= Duration::from_secs(6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_group_being_made_wait_for_its_name() {
    let stage = Stage::new(Fake::naming_itself()).await;
    stage.define_group("team", &["alice", "bob"]).await;
    let gate = stage.fake.vendor.hold();
    gate.add_permits(3);
    let payload = SendPayload {
        from: "alice".into(),
        to: Recipients::Group("team".into()),
        channel: None,
        audience: Vec::new(),
        body: Body::text("hi"),
        ext: Ext::new(),
        mentions: None,
        options: SendOptions::default(),
    };
    let (provisioner, fake, tenant) = (stage.provisioner.clone(), stage.fake.clone(), stage.tenant.clone());
    let making = tokio::spawn(async move { provisioner.prepare(&tenant, fake.as_ref(), &payload, &[]).await });
    until(|| !stage.fake.vendor.groups.lock().is_empty()).await;
    assert!(stage.provisioner.creating(stage.fake.app()));
    // The vendor has made it and already talks of it; only its answer to us is still on its way.
    stage.post(&[in_group("m1", "1001", "welcome")]).await;
    stage.post(&[message("d1", "alice", "bob", "direct")]).await;
    while stage.messages().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(stage.messages().await.len(), 1);
    gate.add_permits(1);
    let prepared = making.await.unwrap().unwrap();
    assert_eq!(prepared.target, Target::Group { group: "1001".into(), channel: None, audience: Vec::new() });
    stage.idle().await;
    assert_eq!(stage.messages().await[1], ("group~team".to_owned(), 1, "welcome".to_owned()));
}

/// Whatever error the store has for it: one event that it will not take stops nothing.
#[tokio::test]
async fn an_event_the_store_refuses_does_not_stop_the_line() {
    for kind in [ErrorKind::InvalidInput, ErrorKind::Storage] {
        let stage = Stage::new(Fake::obedient()).await;
        *stage.store.poison.lock() = Some(("poison", kind));
        let items = ["one", "poison", "two"].map(|text| message(text, "alice", "bob", text));
        stage.post(&items).await;
        stage.post(&[message("three", "alice", "bob", "three")]).await;
        stage.idle().await;
        stage.idle().await;
        let texts: Vec<String> = stage.messages().await.into_iter().map(|(_, _, text)| text).collect();
        assert_eq!(texts, ["one", "two", "three"], "{kind}");
        let kept = stage.quarantine().await;
        assert_eq!(kept.iter().map(|item| item.reason).collect::<Vec<_>>(), [QuarantineReason::Refused]);
        assert_eq!(kept[0].raw.body, callback(&items).body);
        assert_eq!(stage.notices().await, ["event_refused"]);
        assert_eq!(stage.ingest.lag().bytes, 0);
    }
}

#[tokio::test]
async fn a_submitted_event_the_store_refuses_is_left_out() {
    let stage = Stage::new(Fake::obedient()).await;
    *stage.store.poison.lock() = Some(("poison", ErrorKind::InvalidInput));
    let items = ["one", "poison", "two"].map(|text| message(text, "alice", "bob", text).inbound()).to_vec();
    let answers = stage.ingest.submit(&stage.tenant, &ALIAS.into(), Origin::File, items).await.unwrap();
    assert_eq!(answers.len(), 2);
    assert_eq!(stage.quarantine().await.len(), 1);
}

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
            vendor_id: None,
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
    ) -> Result<Option<LegChange>> {
        let journalled = self.store.find(tenant, app, &EventKey::message(vendor_id)).await?.is_some();
        self.seen_at_receipt.lock().push(journalled);
        Ok(Some(self.step(tenant, SendState::Accepted, SendState::Read)))
    }
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
