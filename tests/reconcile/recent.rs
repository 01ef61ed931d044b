//! `recent` is filled though nobody asks: before a subscriber's first walk, and after we were away. It delivers nothing by
//! itself. Groups are looked at when the provider comes online and when the vendor says that one changed.

use std::time::Duration;

use switchboard::{ConversationId, Subscriber, Tier};
use switchboard_contract::storage::{Binding, BindingKind, GroupRecord};
use switchboard_contract::{GroupId, TenantId, Topic, UserId};
use switchboard_emulators::Faults;
use switchboard_emulators::common::RestFaults;

use crate::stage::{HOUR, Run, Stage, Vendor, store};

const DAY: Duration = Duration::from_secs(86_400);

fn conversation() -> ConversationId {
    ConversationId::direct(&UserId::from("ann"), &UserId::from("bob"))
}

async fn recent(run: &Run) -> usize {
    run.switchboard.history(&conversation()).tier(Tier::Recent).limit(1000).page().await.unwrap().entries.len()
}

#[tokio::test]
async fn c7_a_subscribers_first_walk_fills_recent_and_delivers_nothing_of_it() {
    for vendor in [Vendor::RongCloud, Vendor::Huanxin] {
        let mut stage = Stage::new(vendor, 1).await;
        stage.history.automatic.enabled = true;
        stage.log_in(&["ann", "bob"]);
        // Ten days, twice a day, of which we know nothing.
        for number in 0..20 {
            stage.say("ann", "bob", &format!("before {number}")).await;
            stage.advance(DAY / 2);
        }
        stage.advance(HOUR);
        let run = stage.run().await;
        stage.drive(run.switchboard.catchup().online()).await;
        stage.say("bob", "ann", "heard").await;
        stage.quiet(&run).await;
        assert_eq!(recent(&run).await, 1, "{vendor:?}");

        let orders = run.switchboard.subscribe(Subscriber::named("orders").topics([Topic::Messages])).await.unwrap();
        let filled = stage.until_told(&run, "history_filled", 1).await.remove(0);
        assert_eq!((filled["cause"].as_str(), filled["brought"].as_u64()), (Some("first_walk"), Some(13)), "{filled}");
        assert_eq!(recent(&run).await, 14, "{vendor:?}: seven days, and what was heard");
        let delivered = run.entries().await.iter().filter(|entry| entry.topic == Topic::Messages).count();
        assert_eq!(delivered, 1, "{vendor:?}: nothing but what was heard");

        let asked = stage.queries_asked();
        let again = run.switchboard.subscribe(Subscriber::named("more").topics([Topic::Messages])).await.unwrap();
        let filled = stage.until_told(&run, "history_filled", 2).await.remove(1);
        // What happened since the first one began may have to be asked for.
        assert!(filled["calls"].as_u64().unwrap() <= 1 && stage.queries_asked() <= asked + 1, "{vendor:?}: {filled}");
        // One that is only changed walks on.
        drop((orders, again));
        drop(run.switchboard.subscribe(Subscriber::named("orders").topics([Topic::Messages])).await.unwrap());
        stage.drive(tokio::time::sleep(Duration::from_millis(50))).await;
        assert_eq!(run.notices("history_filled").await.len(), 2, "{vendor:?}");
        run.stop().await;
    }
}

#[tokio::test]
async fn what_the_walk_after_a_gap_had_no_time_for_is_fetched_behind_it() {
    let mut stage = Stage::new(Vendor::RongCloud, 1).await;
    stage.history.automatic.enabled = true;
    stage.log_in(&["ann", "bob"]);
    let run = stage.run().await;
    stage.drive(run.switchboard.catchup().online()).await;
    stage.say("ann", "bob", "before").await;
    stage.quiet(&run).await;
    stage.advance(HOUR);
    stage.drive(tokio::time::sleep(Duration::from_millis(20))).await;
    run.stop().await;
    for number in 0..30 {
        stage.say("ann", "bob", &format!("missed {number}")).await;
        stage.advance(Duration::from_secs(60));
    }
    stage.advance(HOUR);
    stage.set_faults(Faults { rest: RestFaults { slow_ms: 3_600_000, ..RestFaults::default() }, ..Faults::default() });
    let run = stage.run().await;
    stage.drive(run.switchboard.catchup().online()).await;
    assert_eq!(run.messages().await.len(), 1, "the walk ended at its bound");
    stage.set_faults(Faults::default());
    // The walk also left a query behind that is tried until it succeeds: whichever comes first brings a message.
    let come = async {
        while run.messages().await.len() < 31 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    stage.drive(come).await;
    let filled = stage.until_told(&run, "history_filled", 1).await.remove(0);
    assert_eq!((filled["cause"].as_str(), filled["read"].as_u64()), (Some("login"), Some(1)), "{filled}");
    let late = run.messages().await.iter().filter(|(.., late)| *late).count();
    assert_eq!(late, 30, "missed since we began: delivered, once, late");
    run.stop().await;
}

/// How often the vendor was asked who is in a group.
fn member_calls(stage: &Stage, group: &str) -> usize {
    let first = format!("/chatgroups/{group}/users?pagenum=1&");
    stage.ledger().requests().iter().filter(|request| request.method == "GET" && request.path.contains(&first)).count()
}

#[tokio::test]
async fn c12_a_login_fetches_messages_and_groups_once_and_a_changed_group_only_groups() {
    let mut stage = Stage::new(Vendor::Huanxin, 1).await;
    stage.history.automatic.enabled = true;
    let run = stage.run().await;
    stage.drive(run.switchboard.catchup().online()).await;
    stage.log_in(&["ann", "bob", "eve"]);
    stage.say("ann", "bob", "before").await;
    let there = stage.huanxin().create_group("Team", "ann", &["bob", "eve"]).unwrap();
    stage.quiet(&run).await;
    let (tenant, app) = (TenantId::default(), run.switchboard.provider(&"main".into()).unwrap().app().clone());
    let seen = [(BindingKind::Group, there.clone())];
    let known: Vec<Binding> =
        store(&run).by_vendor(&tenant, &app, &seen).await.unwrap().into_iter().flatten().collect();
    let id = match known.first() {
        Some(binding) => binding.business.clone(),
        None => {
            let binding = Binding { kind: BindingKind::Group, vendor: there.clone(), business: "team".to_owned() };
            store(&run).bind(&tenant, &app, &[binding]).await.unwrap().remove(0).business
        }
    };
    let users = |names: &[&str]| names.iter().map(|name| UserId::from(*name)).collect::<Vec<_>>();
    let record = GroupRecord {
        id: GroupId::from(id.as_str()),
        room: false,
        name: "Team".to_owned(),
        owner: UserId::from("ann"),
        members: users(&["ann", "bob", "eve"]),
    };
    store(&run).put_group(&tenant, &record).await.unwrap();
    let made = [(BindingKind::Group, id, String::new())];
    store(&run).set_provisioned(&tenant, &app, &made, true).await.unwrap();
    stage.advance(HOUR);
    stage.drive(tokio::time::sleep(Duration::from_millis(20))).await;
    run.stop().await;
    stage.say("ann", "bob", "missed").await;
    stage.advance(HOUR);
    assert_eq!(member_calls(&stage, &there), 0);

    let run = stage.run().await;
    stage.drive(run.switchboard.catchup().online()).await;
    stage.until_told(&run, "history_filled", 1).await;
    let once = async {
        while member_calls(&stage, &there) == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    stage.drive(once).await;
    stage.drive(tokio::time::sleep(Duration::from_millis(100))).await;
    assert_eq!(member_calls(&stage, &there), 1, "the login looked at the group once");
    assert_eq!(run.notices("repair_window_opened").await.len(), 1, "and fetched what was missed once");
    assert_eq!(run.notices("history_filled").await.len(), 1);
    assert_eq!(run.notices("group_differs").await.len(), 0);

    let asked = stage.queries_asked();
    stage.huanxin().user("eve").leave(&there).unwrap();
    stage.quiet(&run).await;
    let differs = stage.until_told(&run, "group_differs", 1).await.remove(0);
    assert_eq!((&differs["only_here"], &differs["only_there"]), (&serde_json::json!(["eve"]), &serde_json::json!([])));
    assert_eq!(member_calls(&stage, &there), 2);
    assert_eq!(stage.queries_asked(), asked, "a changed group fetches no messages");
    run.stop().await;
}
