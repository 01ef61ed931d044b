use std::collections::HashMap;
use std::time::Duration;

use switchboard_contract::*;

use super::vendor::{Manner, Vendor};
use super::world::{START, World, config, tenant};
use crate::sending::{AppMode, Outgoing, SendingConfig, To};

fn quotas() -> Vec<(ConversationKind, Quota)> {
    vec![
        (ConversationKind::Direct, Quota { calls: Some(100), units: None, per: Duration::from_secs(1) }),
        (ConversationKind::Direct, Quota { calls: None, units: Some(6000), per: Duration::from_secs(60) }),
        (ConversationKind::Group, Quota { calls: Some(20), units: Some(20), per: Duration::from_secs(1) }),
    ]
}

fn config_for(concurrency: usize) -> SendingConfig {
    SendingConfig { concurrency, ..config() }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_sends_at_once_meet_no_rate_error_and_take_the_least_time() {
    let (world, vendor) = World::with(Manner { quotas: quotas(), ..Manner::default() }, config_for(200)).await;
    for n in 0..10_000 {
        world.send(&vendor, Outgoing::text("alice", To::user(format!("u{n}")), "hi")).await;
    }
    let began = world.clock.now();
    world.sending.idle().await;
    assert_eq!((vendor.rate_errors(), vendor.carried().len()), (0, 10_000));
    // 6,000 in the first minute, the rest in the 40 seconds after it.
    let least = Duration::from_secs(60) + Duration::from_secs(39);
    let took = world.clock.now().since(began);
    assert!(took <= least.mul_f64(1.05), "{took:?} for at least {least:?}");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_sends_to_groups_meet_no_rate_error_and_take_the_least_time() {
    let (world, vendor) = World::with(Manner { quotas: quotas(), ..Manner::default() }, config_for(200)).await;
    for n in 0..10_000 {
        world.send(&vendor, Outgoing::text("alice", To::group(format!("g{}", n % 500)), "hi")).await;
    }
    let began = world.clock.now();
    world.sending.idle().await;
    assert_eq!((vendor.rate_errors(), vendor.carried().len()), (0, 10_000));
    let (least, took) = (Duration::from_secs(499), world.clock.now().since(began));
    assert!(took <= least.mul_f64(1.05), "{took:?} for at least {least:?}");
}

#[tokio::test(start_paused = true)]
async fn recipients_of_one_send_share_calls() {
    let manner = Manner { quotas: quotas(), max_users: 600, ..Manner::default() };
    let (world, vendor) = World::with(manner, config()).await;
    let to = To::users((0..5000).map(|n| format!("u{n}")));
    let receipt = world.send(&vendor, Outgoing::text("alice", to, "hi")).await;
    world.sending.idle().await;
    assert_eq!(vendor.carried().len(), 5000);
    let calls: Vec<u32> = vendor.calls().into_iter().map(|(_, _, units)| units).collect();
    assert!(calls.len() <= 10, "{calls:?}");
    let view = world.sending.status(&tenant(), receipt.id).await.unwrap().unwrap();
    let carried = vendor.carried();
    let places: HashMap<_, _> =
        carried.iter().map(|carried| (carried.id.clone(), super::vendor::conversation(carried))).collect();
    for leg in view.messages {
        assert_eq!(leg.vendor_id.and_then(|id| places.get(&id).cloned()), Some(leg.conversation));
    }
}

#[tokio::test(start_paused = true)]
async fn i11_a_tenant_with_a_long_queue_does_not_delay_another() {
    let manner = Manner { quotas: quotas(), ..Manner::default() };
    let (world, vendor) = World::with(manner, config_for(200)).await;
    let (modest, alias) = (TenantId::from("modest"), ProviderId::from("shared"));
    world.sending.register(alias, modest.clone(), vendor.clone(), AppMode::Active);
    for n in 0..8000 {
        world.send(&vendor, Outgoing::text("alice", To::user(format!("u{n}")), "hi")).await;
    }
    world.clock.sleep(Duration::from_secs(70)).await;
    for second in 0..5 {
        let outgoing = Outgoing::text("zoe", To::user(format!("z{second}")), "hi");
        let sent = world.sending.send(&modest, vendor.app(), outgoing).await.unwrap();
        world.clock.sleep(Duration::from_secs(1)).await;
        let view = world.sending.status(&modest, sent.id).await.unwrap().unwrap();
        assert_eq!(view.messages[0].state, SendState::Accepted, "within a second");
        assert!(world.sending.status(&tenant(), sent.id).await.unwrap().is_none(), "nobody else's business");
    }
    assert!(vendor.carried().len() < 8005, "the long queue is still there");
    assert_eq!(vendor.rate_errors(), 0);
}

/// Whatever stands in the way, a dispatcher waits for it and does not look again and again.
#[tokio::test(start_paused = true)]
async fn a_dispatcher_that_cannot_send_sleeps() {
    let never = Retry::Safe { after: None };
    for (concurrency, script) in [
        (32, super::vendor::Act::Refuse(ErrorKind::Unavailable, never)),
        (32, super::vendor::Act::Refuse(ErrorKind::RateLimited, never)),
        (1, super::vendor::Act::Hang),
        (1, super::vendor::Act::Cut),
    ] {
        let (world, vendor) =
            World::with(Manner { quotas: quotas(), ..Manner::default() }, config_for(concurrency)).await;
        vendor.script(move |_| script);
        for n in 0..20 {
            world.send(&vendor, Outgoing::text("alice", To::user(format!("u{}", n / 2)), "hi")).await;
        }
        world.clock.sleep(Duration::from_secs(60)).await;
        let before = world.clock.sleeps();
        world.clock.sleep(Duration::from_secs(3600)).await;
        let woken = world.clock.sleeps() - before;
        assert!(woken < 6000, "{script:?}: {woken} waits in an hour");
    }
}

#[tokio::test(start_paused = true)]
async fn a_vendor_that_limits_one_kind_does_not_stop_the_others() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    vendor.script(|message| match message.target.kind() {
        ConversationKind::Group => {
            super::vendor::Act::Refuse(ErrorKind::RateLimited, Retry::Safe { after: Some(Duration::from_secs(600)) })
        }
        _ => super::vendor::Act::Accept,
    });
    let group = world.send(&vendor, Outgoing::text("alice", To::group("g"), "hi")).await.messages[0].1;
    world.clock.sleep(Duration::from_secs(1)).await;
    let direct = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "hi")).await.messages[0].1;
    world.clock.sleep(Duration::from_secs(1)).await;
    assert_eq!(world.state(direct).await.0, SendState::Accepted);
    assert_eq!((world.state(group).await.0, world.attempts(group).await), (SendState::Queued, 0));
    assert_eq!(START + Duration::from_secs(2), world.clock.now());
    assert_eq!(Vendor::calls(&vendor).len(), 2);
}
