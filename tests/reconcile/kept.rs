//! The vendor's own store of callbacks that nobody took: asked for after an outage, before anything else.

use std::collections::BTreeSet;
use std::time::Duration;

use switchboard_contract::storage::RepairWindow;
use switchboard_contract::{Origin, ProviderId, TenantId};
use switchboard_emulators::Faults;
use switchboard_emulators::common::CallbackFaults;

use crate::stage::{Run, Stage, Vendor};

async fn windows(run: &Run) -> Vec<RepairWindow> {
    run.switchboard.catchup().windows(&TenantId::default(), &ProviderId::from("main"), 100).await.unwrap()
}

/// A vendor whose store is bought, and a run that was there and went. Nothing is asked by query, so that what comes is
/// what the store sent.
async fn gone() -> Stage {
    let mut stage = Stage::without_queries(Vendor::Huanxin).await;
    // The clocks run a thousand times faster than callbacks do.
    stage.catchup_within = Duration::from_secs(600);
    stage.huanxin().change_settings(|settings| settings.callbacks.storage = true);
    let run = stage.run().await;
    stage.drive(run.switchboard.catchup().online()).await;
    stage.log_in(&["ann", "bob", "eve"]);
    stage.say("ann", "bob", "before").await;
    stage.quiet(&run).await;
    run.stop().await;
    stage
}

/// Everything the vendor has is journalled once, and all but the first message came again and is flagged.
async fn all_came(stage: &Stage, run: &Run) {
    let found = run.messages().await;
    let ids: BTreeSet<String> = found.iter().map(|(id, _, _)| id.clone()).collect();
    assert_eq!(ids, stage.sent());
    assert_eq!(ids.len(), found.len(), "once each");
    let again = found.iter().filter(|(_, origin, late)| *origin == Origin::Reissue && *late).count();
    assert_eq!(again, found.len() - 1, "{found:?}");
}

/// How often each slot was asked for, the oldest first.
async fn repeats(stage: &Stage) -> Vec<u32> {
    let slots = stage.provider().kept_callbacks().unwrap().slots().await.unwrap();
    slots.iter().map(|slot| slot.repeats).collect()
}

/// Until so many callbacks of the newest window have come and nothing is left to ask for. One whose try failed once more
/// is asked for again.
async fn sent_again(run: &Run, callbacks: u64) {
    let over = async || run.notices("callbacks_sent_again").await.last().is_some_and(|told| told["over"] == true);
    while windows(run).await[0].sent_again < callbacks || !over().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i02_after_25_minutes_off_the_vendors_store_brings_everything_once() {
    let mut stage = gone().await;
    (stage.queries, stage.catchup_within) = (false, Duration::from_secs(60));
    for number in 0..50 {
        let (from, to) = if number % 5 == 0 { ("eve", "ann") } else { ("ann", "bob") };
        stage.say(from, to, &format!("missed {number}")).await;
        stage.still().await;
        stage.advance(Duration::from_secs(30));
    }
    assert_eq!(stage.dropped().len(), 50, "nobody was there");
    // The vendor waits ten seconds for an answer, and they must not pass before a task had its turn.
    stage.step = Duration::from_millis(20);
    let run = stage.run().await;
    stage.drive(run.switchboard.catchup().online()).await;
    stage.drive(sent_again(&run, 50)).await;
    all_came(&stage, &run).await;
    let asked = repeats(&stage).await;
    assert!(asked.iter().max().is_some_and(|most| (1..=10).contains(most)), "{asked:?}");
    let window = windows(&run).await.remove(0);
    assert_eq!((window.cause.as_str(), window.sent_again), ("restart", 50), "{window:?}");
    let told = run.notices("callbacks_sent_again").await;
    assert_eq!(told.iter().filter_map(|round| round["came"].as_u64()).sum::<u64>(), 50, "{told:?}");

    stage.step = Duration::from_secs(1);
    stage.pass(&run, 36).await;
    stage.drive(tokio::time::sleep(Duration::from_millis(100))).await;
    let window = windows(&run).await.remove(0);
    assert!(window.complete && window.repaired == 0, "files had nothing to add: {window:?}");
    all_came(&stage, &run).await;
    run.stop().await;

    // The vendor still has all that, but it is of another time.
    stage.say("ann", "bob", "missed later").await;
    stage.still().await;
    stage.advance(Duration::from_secs(600));
    stage.step = Duration::from_millis(20);
    let run = stage.run().await;
    stage.drive(run.switchboard.catchup().online()).await;
    stage.drive(sent_again(&run, 1)).await;
    all_came(&stage, &run).await;
    let now = repeats(&stage).await;
    assert_eq!(now[..asked.len()], asked, "only what is of the window");
    assert!(now[asked.len()..].iter().all(|times| *times >= 1), "{now:?}");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_that_goes_on_is_waited_out_within_the_vendors_advice() {
    let stage = gone().await;
    for number in 0..60 {
        stage.say("ann", "bob", &format!("missed {number}")).await;
    }
    stage.still().await;
    assert!(stage.huanxin().banned_until_ms().is_some(), "ninety failures at once are a ban");
    let run = stage.run().await;
    stage.drive(run.switchboard.catchup().online()).await;
    assert_eq!(run.messages().await.len(), 1, "what is sent again during a ban is refused like anything else");
    let come = async {
        while run.messages().await.len() < 61 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    stage.drive(come).await;
    all_came(&stage, &run).await;
    stage.drive(sent_again(&run, 60)).await;
    let asked = repeats(&stage).await;
    assert!(asked.iter().max().is_some_and(|most| (2..=10).contains(most)), "{asked:?}");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_after_a_round_has_ended_counts_with_the_next() {
    let mut stage = gone().await;
    (stage.catchup_within, stage.step) = (Duration::from_secs(30), Duration::from_millis(100));
    for number in 0..5 {
        stage.say("ann", "bob", &format!("missed {number}")).await;
    }
    stage.still().await;
    // Later than the walk waits, sooner than it asks once more.
    let callbacks = CallbackFaults { delay_ms: Some((45_000, 45_000)), ..CallbackFaults::default() };
    stage.set_faults(Faults { callbacks, ..Faults::default() });
    let run = stage.run().await;
    stage.drive(run.switchboard.catchup().online()).await;
    assert_eq!(windows(&run).await[0].sent_again, 0, "nothing came in time");
    stage.drive(sent_again(&run, 5)).await;
    all_came(&stage, &run).await;
    assert_eq!(windows(&run).await[0].sent_again, 5);
    assert_eq!(repeats(&stage).await, [1], "all had come: nothing to ask for");
    let told = run.notices("callbacks_sent_again").await;
    let came: Vec<_> = told.iter().map(|round| (round["came"].as_u64(), round["over"].as_bool())).collect();
    assert_eq!(came, [(Some(0), Some(false)), (Some(5), Some(true))], "{told:?}");
    run.stop().await;
}

#[tokio::test]
async fn an_account_without_the_store_is_asked_once_and_goes_on_without() {
    let stage = gone().await;
    stage.huanxin().change_settings(|settings| settings.callbacks.storage = false);
    stage.say("ann", "bob", "missed").await;
    stage.still().await;
    stage.advance(Duration::from_secs(600));
    let run = stage.run().await;
    stage.drive(run.switchboard.catchup().online()).await;
    stage.pass(&run, 3).await;
    let asked = stage.ledger().requests().iter().filter(|request| request.path.contains("/storage/")).count();
    assert_eq!(asked, 1, "an account has no such service from one minute to the next");
    assert_eq!(run.messages().await.len(), 2, "the file brought it");
    run.stop().await;
}
