//! We were away, and come back: what was missed is fetched before the provider is reported online, and what only files
//! bring is a window until they do.

use std::time::Duration;

use switchboard::catchup::ProviderState;
use switchboard_contract::{Clock, Origin, ProviderId, TenantId};
use switchboard_emulators::Faults;
use switchboard_emulators::common::RestFaults;

use crate::stage::{HOUR, Run, Stage, Vendor};

fn alias() -> ProviderId {
    ProviderId::from("main")
}

fn state(run: &Run) -> ProviderState {
    run.switchboard.catchup().state(&alias()).unwrap()
}

async fn windows(run: &Run) -> Vec<switchboard_contract::storage::RepairWindow> {
    run.switchboard.catchup().windows(&TenantId::default(), &alias(), 100).await.unwrap()
}

/// A conversation of an hour ago, then 25 minutes without us in which it goes on and another one begins.
async fn away(vendor: Vendor) -> (Stage, Vec<String>, String) {
    let stage = Stage::new(vendor, 1).await;
    let run = stage.run().await;
    stage.drive(run.switchboard.catchup().online()).await;
    stage.log_in(&["ann", "bob", "eve"]);
    stage.say("ann", "bob", "before").await;
    stage.quiet(&run).await;
    stage.advance(HOUR);
    stage.drive(run.switchboard.reconciler().settled()).await;
    run.stop().await;
    let mut missed = Vec::new();
    for number in 0..120 {
        let (from, to) = if number % 2 == 0 { ("ann", "bob") } else { ("bob", "ann") };
        missed.push(stage.say(from, to, &format!("missed {number}")).await);
        stage.advance(Duration::from_secs(12));
    }
    let new = stage.say("eve", "ann", "hello?").await;
    stage.advance(Duration::from_secs(60));
    (stage, missed, new)
}

#[tokio::test]
async fn what_was_missed_is_fetched_before_the_provider_is_online() {
    for vendor in [Vendor::Huanxin, Vendor::RongCloud] {
        let (stage, missed, new) = away(vendor).await;
        let run = stage.run().await;
        stage.drive(run.switchboard.catchup().online()).await;
        let found = run.messages().await;
        let late: Vec<_> = found.iter().filter(|(_, origin, late)| *origin == Origin::Query && *late).collect();
        assert_eq!(late.len(), missed.len(), "{vendor:?}: every message of the known conversation, once");
        assert!(missed.iter().all(|id| late.iter().any(|(found, _, _)| found == id)), "{vendor:?}");
        assert!(!found.iter().any(|(id, _, _)| *id == new), "{vendor:?}: no query finds a conversation nobody knows");
        let window = windows(&run).await.remove(0);
        assert_eq!((window.cause.as_str(), window.queried, window.closed_at), ("restart", 120, None), "{vendor:?}");

        stage.pass(&run, 36).await;
        stage.drive(tokio::time::sleep(Duration::from_millis(100))).await;
        let found = run.messages().await;
        assert_eq!(found.len(), 122, "{vendor:?}: the file brings the rest");
        assert!(found.iter().any(|(id, origin, late)| *id == new && *origin == Origin::File && *late), "{vendor:?}");
        let window = windows(&run).await.remove(0);
        assert!(window.closed_at.is_some() && window.complete, "{vendor:?}: {window:?}");
        assert_eq!(window.repaired, 1, "{vendor:?}");
        assert_eq!(run.notices("provider_online").await.len(), 2, "{vendor:?}: at both starts");
        let closed = run.notices("repair_window_closed").await;
        assert_eq!((closed.len(), closed[0]["repaired"].as_u64()), (1, Some(1)), "{vendor:?}");
        run.stop().await;
    }
}

#[tokio::test]
async fn i12_a_vendor_that_does_not_answer_delays_online_no_longer_than_the_bound() {
    let (stage, ..) = away(Vendor::Huanxin).await;
    stage.set_faults(Faults { rest: RestFaults { slow_ms: 3_600_000, ..RestFaults::default() }, ..Faults::default() });
    let run = stage.run().await;
    stage.advance(Duration::from_secs(50));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(state(&run), ProviderState::CatchingUp, "not online while it is being asked");
    let began = stage.clock.now();
    stage.drive(run.switchboard.catchup().online()).await;
    assert!(stage.clock.now().since(began) < Duration::from_secs(120));
    assert_eq!(windows(&run).await[0].closed_at, None, "what is left is a window for the files");
    run.stop().await;
}

#[tokio::test]
async fn a_thousand_triggers_during_one_walk_are_one_more_walk() {
    let (stage, ..) = away(Vendor::Huanxin).await;
    stage.set_faults(Faults { rest: RestFaults { slow_ms: 20_000, ..RestFaults::default() }, ..Faults::default() });
    let run = stage.run().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(state(&run), ProviderState::CatchingUp);
    let since = stage.clock.now() - HOUR;
    for number in 0..1000_u32 {
        let since = since + Duration::from_secs(u64::from(number));
        run.switchboard.catchup().catch_up(&TenantId::default(), &alias(), since, "test").unwrap();
    }
    let both = async {
        while windows(&run).await.len() < 2 || state(&run) != ProviderState::Online {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    stage.drive(both).await;
    stage.drive(tokio::time::sleep(Duration::from_millis(100))).await;
    let walks = windows(&run).await;
    assert_eq!(walks.len(), 2, "one ran, one waited");
    assert_eq!(walks[0].since, since - Duration::from_secs(600), "and it covers every trigger");
    run.stop().await;
}

#[tokio::test]
async fn the_first_start_has_nothing_to_catch_up_with() {
    let stage = Stage::new(Vendor::Huanxin, 1).await;
    let run = stage.run().await;
    stage.drive(run.switchboard.catchup().online()).await;
    assert_eq!(windows(&run).await, []);
    run.stop().await;
}
