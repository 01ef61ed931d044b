//! I11 at the way in: what one tenant makes wait, waits alone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use switchboard::ingest::{IngestConfig, NoEchoes};
use switchboard_contract::storage::{Journal as _, Quarantine as _};
use switchboard_contract::*;

use crate::disk::Disk;
use crate::provider::{Fake, Wire, callback, message};
use crate::stage::{Stage, config, until};
use crate::store::Moody;

const LOUD: &str = "loud";

fn somewhere(id: &str, place: &str) -> Wire {
    Wire { to: None, either: Some(place.to_owned()), ..message(id, "alice", "", id) }
}

/// A quiet tenant (the stage's own) and a loud one whose vendor does not answer look-ups before it is told to.
struct Neighbours {
    stage: Stage,
    loud: Arc<Fake>,
    tenant: TenantId,
}

impl Neighbours {
    async fn new(config: IngestConfig) -> Self {
        Self::over(Disk::default(), Moody::default(), config).await
    }

    async fn over(disk: Disk, store: Moody, config: IngestConfig) -> Self {
        let stage = Stage::on(disk, store, Fake::naming_itself(), config, Arc::new(NoEchoes)).await.unwrap();
        let (loud, tenant) = (Fake::of_another_app(), TenantId::from(LOUD));
        stage.ingest.register(LOUD.into(), tenant.clone(), loud.clone());
        Self { stage, loud, tenant }
    }

    async fn shout(&self, items: &[Wire]) {
        assert_eq!(self.stage.ingest.receive(&LOUD.into(), callback(items)).await.status, 200);
    }

    /// The texts of the loud tenant's messages, by conversation, in order.
    async fn heard(&self) -> Vec<(String, String)> {
        let entries = self.stage.store.read(&self.tenant, Shard(0), Position::START, usize::MAX).await.unwrap();
        let texts = entries.iter().map(|entry| {
            let event = entry.event().unwrap();
            let EventData::Message(Message { body: Some(Body::Text(text)), .. }) = event.data else { panic!("text") };
            (event.conversation.unwrap().as_str().to_owned(), text.text)
        });
        texts.collect()
    }

    async fn quiet_hears(&self, count: usize) {
        while self.stage.messages().await.len() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Far more events of unknown groups than may wait; the clock stands still, so that no deadline helps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i11_a_flood_of_unknown_groups_delays_no_other_tenant() {
    let both = Neighbours::new(IngestConfig { max_waiting: 4, ..config() }).await;
    let gate = both.loud.vendor.hold();
    for number in 0..60 {
        both.shout(&[somewhere(&format!("m{number}"), &format!("{}", number % 20))]).await;
        both.stage.post(&[message(&format!("d{number}"), "alice", "bob", &number.to_string())]).await;
    }
    both.quiet_hears(60).await;
    // Its own look-ups go on, too.
    both.stage.post(&[somewhere("g1", "77")]).await;
    both.quiet_hears(61).await;
    assert_eq!(both.heard().await, []);
    let looks = both.loud.vendor.lookups.load(Ordering::SeqCst);
    assert!(looks <= 4, "{looks} look-ups, and only four events may wait for one");
    assert!(both.stage.ingest.lag().bytes > 0, "what is passed over is not consumed");
    gate.add_permits(1000);
    both.stage.idle().await;
    let heard = both.heard().await;
    assert_eq!(heard.len(), 60);
    for place in 0..20 {
        let own = heard.iter().filter(|(conversation, _)| *conversation == format!("group~{place}"));
        let texts: Vec<&str> = own.map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, [place, place + 20, place + 40].map(|number| format!("m{number}")), "in order");
    }
    assert_eq!(both.stage.ingest.lag().bytes, 0);
    assert_eq!(both.stage.quarantine().await, []);
}

/// What was passed over stands in the inbox and nowhere else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i01_what_is_passed_over_survives_a_crash() {
    let both = Neighbours::new(IngestConfig { max_waiting: 2, ..config() }).await;
    let _gate = both.loud.vendor.hold();
    for number in 0..20 {
        both.shout(&[somewhere(&format!("m{number}"), &format!("{}", number % 10))]).await;
    }
    both.stage.post(&[message("d1", "alice", "bob", "hi")]).await;
    both.quiet_hears(1).await;
    let (disk, store) = (both.stage.disk.lose_power(5), both.stage.store.clone());
    drop(both);
    let again = Neighbours::over(disk, store, IngestConfig { max_waiting: 2, ..config() }).await;
    again.stage.idle().await;
    let mut texts: Vec<String> = again.heard().await.into_iter().map(|(_, text)| text).collect();
    texts.sort();
    let mut expected: Vec<String> = (0..20).map(|number| format!("m{number}")).collect();
    expected.sort();
    assert_eq!(texts, expected);
    assert_eq!(again.stage.messages().await.len(), 1);
}

/// A few events that wait for a vendor that never answers must not use up the room of everybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i11_a_look_up_ends_before_it_holds_too_much_of_the_inbox() {
    let both = Neighbours::new(config()).await;
    let _gate = both.loud.vendor.hold();
    both.shout(&[somewhere("m1", "77")]).await;
    // Twice the room of the inbox goes through behind it.
    let text = "x".repeat(20 << 10);
    for number in 0..100 {
        let wire = Wire { id: format!("d{number}"), ..message("", "alice", "bob", &text) };
        both.stage.post(&[wire]).await;
        if number % 10 == 9 {
            both.quiet_hears(number + 1).await;
        }
    }
    until(|| both.stage.ingest.lag().bytes < config().inbox.capacity_bytes / 2).await;
    assert_eq!(both.heard().await, [("group~77".to_owned(), "m1".to_owned())], "it counts as a group's");
}

/// Whatever an app that is no longer configured left behind is waited for once, not with each callback.
#[tokio::test]
async fn i11_callbacks_of_an_app_that_is_gone_hold_nobody_up() {
    let both = Neighbours::new(config()).await;
    *both.stage.store.locked.lock() = Some(ErrorKind::Storage);
    for number in 0..30 {
        both.shout(&[message(&format!("m{number}"), "alice", "bob", "hi")]).await;
    }
    both.stage.post(&[message("d1", "alice", "bob", "hi")]).await;
    *both.stage.store.locked.lock() = None;
    let (disk, store) = (both.stage.disk.kill(), both.stage.store.clone());
    drop(both);
    let again = Stage::on(disk, store, Fake::naming_itself(), config(), Arc::new(NoEchoes)).await.unwrap();
    let began = again.clock.now();
    again.idle().await;
    assert_eq!(again.messages().await.len(), 1);
    let took = again.clock.now().since(began);
    assert!(took < config().unregistered_within + Duration::from_secs(5), "{took:?}");
    let kept = again.store.set_aside(&TenantId::from(LOUD), 0, 100).await.unwrap();
    assert_eq!(kept.len(), 30);
}
