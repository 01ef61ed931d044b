//! The vendor bans us, and says nothing of it: we notice, tell, and bring back what was missed.

use std::time::Duration;

use switchboard_contract::{Clock, ProviderId, TenantId, Timestamp};
use switchboard_emulators::{Faults, common::CallbackFaults};

use crate::stage::{HOUR, Run, START, Stage, Vendor};

/// Between two messages: a little more than one a second.
const PACE: Duration = Duration::from_millis(700);

/// The customers talk for so long. Real tasks have a moment between two steps of the clocks.
async fn talk(stage: &Stage, run: &Run, time: Duration) {
    let users = ["ann", "bob", "cid", "dan", "eve"];
    let until = stage.clock.now() + time;
    let mut number = 0;
    while stage.clock.now() < until {
        let (from, to) = (users[number % 5], users[(number + 1 + number / 5 % 4) % 5]);
        stage.say(from, to, &format!("at {}", stage.clock.now().0)).await;
        stage.quiet(run).await;
        stage.advance(PACE);
        tokio::time::sleep(Duration::from_millis(2)).await;
        number += 1;
    }
}

fn silent(run: &Run) -> Option<Timestamp> {
    run.switchboard.silence().silent_since(&ProviderId::from("main"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_of_five_minutes_is_told_within_a_minute_and_its_hour_made_whole() {
    let mut stage = Stage::new(Vendor::Huanxin, 1).await;
    stage.watched = true;
    let run = stage.run().await;
    stage.drive(run.switchboard.catchup().online()).await;
    stage.log_in(&["ann", "bob", "cid", "dan", "eve"]);
    talk(&stage, &run, Duration::from_secs(16 * 60)).await;
    assert_eq!(silent(&run), None);
    assert_eq!(run.notices("callbacks_silent").await.len(), 0, "nothing was wrong so far");

    // A secret that does not fit, until the vendor has enough of it.
    let callbacks = CallbackFaults { corrupt_signature: 1.0, ..CallbackFaults::default() };
    stage.set_faults(Faults { callbacks, ..Faults::default() });
    let last = run.switchboard.clock().now();
    while stage.huanxin().banned_until_ms().is_none() {
        talk(&stage, &run, PACE).await;
        for _ in 0..3 {
            stage.say("ann", "bob", "faster").await;
        }
        stage.quiet(&run).await;
        assert!(stage.clock.now().since(last) < Duration::from_secs(60), "the vendor bans after 90 failures");
    }
    stage.set_faults(Faults::default());
    let banned = stage.clock.now();
    while silent(&run).is_none() {
        talk(&stage, &run, PACE).await;
        assert!(
            stage.clock.now().since(last) < Duration::from_secs(60),
            "an alarm within a minute of the last callback"
        );
    }
    let told = run.notices("callbacks_silent").await;
    let ban = told.last().map(|told| told["cause"].as_str().unwrap().to_owned());
    assert!(matches!(ban.as_deref(), None | Some("ban")), "{told:?}");
    let windows = run.switchboard.catchup();
    let open = stage.drive(windows.windows(&TenantId::default(), &ProviderId::from("main"), 9)).await.unwrap();
    assert!(open.iter().any(|window| window.cause == "ban" && window.since <= last), "{open:?}");

    // The ban ends, and callbacks come again.
    talk(&stage, &run, Duration::from_secs(330).saturating_sub(stage.clock.now().since(banned))).await;
    assert_eq!(silent(&run), None, "callbacks come again");
    talk(&stage, &run, Duration::from_secs(60)).await;
    assert_eq!(run.notices("callbacks_back").await.len(), 1);
    assert_eq!(run.notices("callbacks_silent").await.len(), 1, "one alarm for one ban");
    stage.drive(run.switchboard.catchup().online()).await;

    stage.pass(&run, 36).await;
    let closed = async {
        loop {
            let windows = run.switchboard.catchup().windows(&TenantId::default(), &ProviderId::from("main"), 9).await;
            if windows.unwrap().iter().any(|window| window.cause == "ban" && window.closed_at.is_some()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    stage.drive(closed).await;
    let found = run.messages().await.len();
    assert_eq!(found, stage.sent().len(), "whatever brought it, everything is here once");
    let coverage = run.coverage_between(START, START + HOUR).await;
    assert_eq!((coverage.percent, coverage.holes.len()), (100.0, 0), "{coverage:?}");
    let windows = run.switchboard.catchup().windows(&TenantId::default(), &ProviderId::from("main"), 9).await.unwrap();
    let window = windows.iter().find(|window| window.cause == "ban").unwrap();
    assert!(window.complete && window.closed_at.is_some(), "{window:?}");
    assert!(window.since <= last && window.until >= banned + Duration::from_secs(300), "one window for all of it");
    assert_eq!(windows.iter().filter(|window| window.cause == "ban").count(), 1, "{windows:?}");
    run.stop().await;
}
