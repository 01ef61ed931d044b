//! The vendor's windows do not begin anew because our process does.

use std::time::Duration;

use switchboard_contract::storage::RepairWindows as _;
use switchboard_contract::*;

use super::vendor::{Act, Manner};
use super::world::{START, World, config, tenant};
use crate::sending::{AppMode, Outgoing, SendingConfig, To};

fn minute(calls: Option<u32>, units: Option<u32>) -> Vec<(ConversationKind, Quota)> {
    vec![(ConversationKind::Direct, Quota { calls, units, per: Duration::from_secs(60) })]
}

async fn restarted(world: World, vendor: &std::sync::Arc<super::vendor::Vendor>) -> World {
    let World { clock, store, sending } = world;
    drop(sending);
    let again = World::open(clock, store, config()).await;
    again.serve(vendor, AppMode::Active);
    again
}

/// Killed in the middle of a minute whose quota is used up, or nearly: the next life waits for the rest of it.
#[tokio::test(start_paused = true)]
async fn a_restart_within_a_window_exceeds_no_quota() {
    for (quota, to) in [(minute(Some(20), None), 1), (minute(None, Some(60)), 3), (minute(Some(20), Some(60)), 3)] {
        let manner = Manner { quotas: quota.clone(), max_users: 3, ..Manner::default() };
        let (world, vendor) = World::with(manner, config()).await;
        let send = async |world: &World, n: usize| {
            let users = (0..to).map(|user| format!("u{n}-{user}"));
            world.send(&vendor, Outgoing::text("alice", To::users(users), format!("m{n}"))).await;
        };
        for n in 0..18 {
            send(&world, n).await;
        }
        world.sending.idle().await;
        world.clock.sleep(Duration::from_secs(30)).await;
        let world = restarted(world, &vendor).await;
        let began = world.clock.now();
        // Two find room at once, the others when those of the first life have left the window.
        for n in 18..38 {
            send(&world, n).await;
        }
        world.clock.sleep(Duration::from_secs(5)).await;
        assert_eq!(vendor.calls().len(), 20, "{quota:?}: what room there is, is used");
        world.sending.idle().await;
        assert_eq!((vendor.rate_errors(), vendor.calls().len()), (0, 38), "{quota:?}");
        let took = world.clock.now().since(began);
        assert!(took > Duration::from_secs(29) && took < Duration::from_secs(36), "{quota:?}: {took:?}");
    }
}

/// Calls under way when the process dies may be counted as late as that.
#[tokio::test(start_paused = true)]
async fn calls_cut_off_by_a_restart_still_count() {
    let manner = Manner { quotas: minute(Some(10), None), latency: Duration::from_secs(4), ..Manner::default() };
    let config =
        SendingConfig { in_doubt_hold: Duration::from_secs(20), in_doubt_limit: Duration::from_secs(40), ..config() };
    let (world, vendor) = World::with(manner, config).await;
    vendor.script(|_| Act::Hang);
    for n in 0..10 {
        world.send(&vendor, Outgoing::text("alice", To::user(format!("u{n}")), "hi")).await;
    }
    world.clock.sleep(Duration::from_secs(3)).await;
    assert_eq!(vendor.calls().len(), 10);
    let world = restarted(world, &vendor).await;
    vendor.script(|_| Act::Accept);
    for n in 10..20 {
        world.send(&vendor, Outgoing::text("alice", To::user(format!("u{n}")), "hi")).await;
    }
    world.sending.idle().await;
    assert_eq!((vendor.rate_errors(), vendor.calls().len()), (0, 20));
}

/// Another tenant's past, another app's and what is older than the window cost nothing.
#[tokio::test(start_paused = true)]
async fn only_what_still_counts_is_charged() {
    let (world, vendor) = World::with(Manner { quotas: minute(Some(10), None), ..Manner::default() }, config()).await;
    for n in 0..10 {
        world.send(&vendor, Outgoing::text("alice", To::user(format!("u{n}")), "hi")).await;
    }
    world.sending.idle().await;
    world.clock.sleep(Duration::from_secs(61)).await;
    let world = restarted(world, &vendor).await;
    let began = world.clock.now();
    for n in 0..10 {
        world.send(&vendor, Outgoing::text("alice", To::user(format!("u{n}")), "hi")).await;
    }
    world.sending.idle().await;
    assert!(world.clock.now().since(began) < Duration::from_secs(1), "nothing had to wait");
    assert!(world.clock.now().since(START) < Duration::from_secs(63));
    assert_eq!(world.sending.status(&tenant(), MessageId::generate()).await.unwrap(), None);
}

/// The app sent for another tenant before: the vendor counts what it counted.
#[tokio::test(start_paused = true)]
async fn calls_for_a_tenant_no_longer_served_still_count() {
    let (world, vendor) = World::with(Manner { quotas: minute(Some(10), None), ..Manner::default() }, config()).await;
    world.store.set_alive(&tenant(), vendor.app(), world.clock.now()).await.unwrap();
    for n in 0..10 {
        world.send(&vendor, Outgoing::text("alice", To::user(format!("u{n}")), "hi")).await;
    }
    world.sending.idle().await;
    world.clock.sleep(Duration::from_secs(20)).await;
    let World { clock, store, sending } = world;
    drop(sending);
    let world = World::open(clock, store, config()).await;
    let (now_served, began) = (TenantId::from("next"), world.clock.now());
    world.sending.register("app".into(), now_served.clone(), vendor.clone(), AppMode::Active);
    for n in 0..3 {
        let outgoing = Outgoing::text("zoe", To::user(format!("z{n}")), "hi");
        world.sending.send(&now_served, vendor.app(), outgoing).await.unwrap();
    }
    world.sending.idle().await;
    assert_eq!((vendor.rate_errors(), vendor.calls().len()), (0, 13));
    let took = world.clock.now().since(began);
    assert!(took > Duration::from_secs(39) && took < Duration::from_secs(43), "{took:?}");
}
