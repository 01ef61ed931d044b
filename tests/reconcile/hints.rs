//! Whatever names a message that nobody has seen leads to a pull of its conversation: coalesced, and within the budget.

use std::time::Duration;

use switchboard::ConversationId;
use switchboard_contract::storage::CoverageState;
use switchboard_contract::{Clock, Origin, TenantId, Timestamp, UserId};
use switchboard_emulators::Faults;
use switchboard_emulators::common::{CallbackFaults, RestFaults};
use switchboard_emulators::rongcloud::{ClientMessage, Target};

use crate::stage::{HOUR, Run, Stage, Vendor, store};

fn conversation() -> ConversationId {
    ConversationId::direct(&UserId::from("ann"), &UserId::from("bob"))
}

fn dropping(all: bool) -> Faults {
    let callbacks = CallbackFaults { drop: if all { 1.0 } else { 0.0 }, ..CallbackFaults::default() };
    Faults { callbacks, ..Faults::default() }
}

/// A sidecar that follows hints, and a message that it never heard of.
async fn unheard(vendor: Vendor) -> (Stage, Run, String) {
    let mut stage = Stage::new(vendor, 1).await;
    stage.history.hints.enabled = true;
    let run = stage.run().await;
    stage.drive(run.switchboard.catchup().online()).await;
    stage.log_in(&["ann", "bob"]);
    stage.say("ann", "bob", "heard").await;
    stage.quiet(&run).await;
    stage.set_faults(dropping(true));
    let unheard = stage.say("ann", "bob", "unheard").await;
    stage.quiet(&run).await;
    stage.set_faults(dropping(false));
    stage.advance(HOUR);
    (stage, run, unheard)
}

/// The hint has brought the message, told of it, and written it down.
async fn brought(stage: &Stage, run: &Run, cause: &str, unheard: &str) {
    stage.quiet(run).await;
    let settled = stage.until_told(run, "history_hint_settled", 1).await.remove(0);
    assert_eq!((settled["cause"].as_str(), settled["outcome"].as_str()), (Some(cause), Some("found")), "{settled}");
    assert_eq!(settled["brought"], 1, "{settled}");
    assert_eq!(settled["conversation"], conversation().as_str());
    assert_eq!(run.notices("history_hint").await.len(), 1, "{cause}");
    let messages = run.messages().await;
    let found = messages.iter().find(|(id, ..)| id == unheard);
    assert!(matches!(found, Some((_, Origin::Query, true))), "{cause}: late, by a query: {messages:?}");
    let app = run.switchboard.provider(&"main".into()).unwrap().app().clone();
    let (since, until) = (Timestamp(0), stage.clock.now());
    let ranges = store(run).ranges(&TenantId::default(), &app, &conversation(), since, until).await.unwrap();
    assert!(ranges.iter().any(|range| range.state == CoverageState::Complete && range.reason == "query"), "{ranges:?}");
}

#[tokio::test]
async fn a_receipt_a_recall_an_edit_and_an_answer_each_bring_the_message_they_name() {
    for cause in ["receipt", "edit", "reply", "recall"] {
        let (stage, run, unheard) = unheard(Vendor::RongCloud).await;
        match cause {
            "receipt" => drop(stage.rong("bob").read("ann", &unheard).await.unwrap()),
            "edit" => drop(stage.rong("ann").edit(&unheard, r#"{"content":"changed"}"#).unwrap()),
            "recall" => {
                // A message that is recalled at the vendor is brought by no query: what follows it is.
                stage.set_faults(dropping(true));
                stage.say("ann", "bob", "another").await;
                stage.quiet(&run).await;
                stage.set_faults(dropping(false));
                drop(stage.rong("ann").recall(&unheard).unwrap());
            }
            _ => {
                let content = serde_json::json!({
                    "content": "agreed", "referMsgUserId": "ann", "referMsgUid": unheard, "objName": "RC:TxtMsg",
                    "referMsg": { "content": "unheard" },
                });
                let answer =
                    ClientMessage::new(Target::User("ann".to_owned()), "RC:ReferenceMsg", &content.to_string());
                drop(stage.rong("bob").send(answer).await.unwrap());
            }
        }
        if cause == "recall" {
            let settled = stage.until_told(&run, "history_hint_settled", 1).await.remove(0);
            assert_eq!((settled["cause"].as_str(), settled["outcome"].as_str()), (Some("recall"), Some("found")));
        } else {
            brought(&stage, &run, cause, &unheard).await;
        }
        run.stop().await;
    }
}

#[tokio::test]
async fn huanxins_receipts_and_recalls_are_hints_too() {
    let (stage, run, unheard) = unheard(Vendor::Huanxin).await;
    stage.huanxin().user("bob").read(&unheard).unwrap();
    brought(&stage, &run, "receipt", &unheard).await;
    run.stop().await;
}

#[tokio::test]
async fn what_is_known_or_comes_right_behind_asks_nobody() {
    let (stage, run, _) = unheard(Vendor::RongCloud).await;
    let known = stage.say("ann", "bob", "known").await;
    stage.quiet(&run).await;
    let before = stage.queries_asked();
    stage.rong("bob").read("ann", &known).await.unwrap();
    stage.quiet(&run).await;
    stage.drive(tokio::time::sleep(Duration::from_millis(200))).await;
    assert_eq!(stage.queries_asked(), before);
    assert_eq!(run.notices("history_hint").await.len(), 0);
    run.stop().await;
}

#[tokio::test]
async fn a_thousand_hints_during_one_fetch_are_one_more_fetch() {
    let (stage, run, unheard) = unheard(Vendor::RongCloud).await;
    let before = stage.queries_asked();
    // The first fetch takes a while.
    stage.set_faults(Faults { rest: RestFaults { slow_ms: 8_000, ..RestFaults::default() }, ..Faults::default() });
    // Never found, so that it is worth asking for again.
    stage.rong("bob").read("ann", "AAAA-BBBB-CCCC-DDDD").await.unwrap();
    stage.quiet(&run).await;
    stage.until_told(&run, "history_hint", 1).await;
    assert_eq!(run.notices("history_hint_settled").await.len(), 0, "the first fetch runs");
    for number in 0..1000 {
        stage.rong("bob").read("ann", &format!("AAAA-BBBB-CCCC-{number:04}")).await.unwrap();
    }
    stage.quiet(&run).await;
    let settled = stage.until_told(&run, "history_hint_settled", 2).await;
    stage.drive(tokio::time::sleep(Duration::from_millis(200))).await;
    // One ran and one waited, which covers them all. The vendor takes up to three calls for one page.
    let calls: Vec<u64> = settled.iter().map(|told| told["calls"].as_u64().unwrap()).collect();
    assert!(calls.len() == 2 && calls.iter().all(|calls| (1..=3).contains(calls)), "{settled:?}");
    assert_eq!((stage.queries_asked() - before) as u64, calls.iter().sum::<u64>(), "{settled:?}");
    assert_eq!(run.notices("history_hint_settled").await.len(), 2);
    assert!(run.messages().await.iter().any(|(id, ..)| *id == unheard), "whatever else was missing came along");
    run.stop().await;
}

#[tokio::test]
async fn without_budget_a_hint_asks_nobody_and_stays_in_doubt() {
    let mut stage = Stage::new(Vendor::RongCloud, 1).await;
    stage.history.hints.enabled = true;
    stage.history.recent.calls_per_hour = 0;
    let run = stage.run().await;
    stage.drive(run.switchboard.catchup().online()).await;
    stage.log_in(&["ann", "bob"]);
    stage.say("ann", "bob", "heard").await;
    stage.rong("bob").read("ann", "AAAA-BBBB-CCCC-DDDD").await.unwrap();
    stage.quiet(&run).await;
    let settled = stage.until_told(&run, "history_hint_settled", 1).await.remove(0);
    assert_eq!(settled["outcome"], "no_budget");
    assert_eq!(stage.queries_asked(), 0);
    let tenant = run.switchboard.tenant(TenantId::default());
    let open = tenant.incomplete_conversations(None, None).await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].range.state, open[0].range.reason.as_str()), (CoverageState::Suspect, "receipt"));
    run.stop().await;
}

#[tokio::test]
async fn rows_that_are_gone_are_noticed_and_pulled() {
    let mut stage = Stage::new(Vendor::RongCloud, 1).await;
    stage.history.hints.enabled = true;
    let run = stage.run().await;
    stage.drive(run.switchboard.catchup().online()).await;
    stage.log_in(&["ann", "bob"]);
    let mut ids = Vec::new();
    for number in 0..6 {
        ids.push(stage.say("ann", "bob", &format!("number {number}")).await);
        stage.quiet(&run).await;
        stage.advance(Duration::from_secs(60));
    }
    stage.remove_rows(&ids[2..4]).await;
    let tenant = run.switchboard.tenant(TenantId::default());
    let coverage =
        tenant.conversation_coverage(&conversation(), None, stage.clock.now() - HOUR, stage.clock.now()).await.unwrap();
    let removed: Vec<_> = coverage.removed.iter().map(|hole| (hole.first.0, hole.last.0)).collect();
    assert_eq!(removed, [(3, 4)], "exactly those");
    // The next look of the verification is due within the hour.
    let settled = stage.until_told(&run, "history_hint_settled", 1).await.remove(0);
    assert_eq!(
        (settled["cause"].as_str(), settled["brought"].as_u64()),
        (Some("count_mismatch"), Some(2)),
        "{settled}"
    );
    stage.advance(2 * HOUR);
    stage.drive(tokio::time::sleep(Duration::from_millis(100))).await;
    assert_eq!(run.notices("history_hint").await.len(), 1, "what was brought back is not missed again");
    run.stop().await;
}
