//! Files that are late, missing, grow or break off; rows somebody removed; days nobody was there.

use std::time::Duration;

use switchboard::reconcile::HoleKind;
use switchboard_contract::storage::CoverageState;
use switchboard_contract::{Clock, ErrorKind, Origin, ProviderId, TenantId, Timestamp, Topic};
use switchboard_emulators::{
    Faults,
    common::{CallbackFaults, HistoryFaults},
};

use crate::stage::{HOUR, Run, START, Stage, Vendor, store};

fn history(history: HistoryFaults) -> Faults {
    Faults { history, ..Faults::default() }
}

fn deaf() -> Faults {
    Faults { callbacks: CallbackFaults { drop: 1.0, ..CallbackFaults::default() }, ..Faults::default() }
}

/// An hour with so many messages in it, `run` having whatever the vendor tells of them.
async fn hour_of_talk(stage: &Stage, run: Option<&Run>, messages: u32) {
    stage.log_in(&["ann", "bob"]);
    for number in 0..messages {
        stage.say("ann", "bob", &format!("message {number}")).await;
        if let Some(run) = run {
            stage.quiet(run).await;
        }
        stage.advance(HOUR / messages);
    }
}

#[tokio::test]
async fn a_file_that_grows_is_read_again_and_the_growth_told() {
    for vendor in [Vendor::Huanxin, Vendor::RongCloud] {
        let stage = Stage::new(vendor, 1).await;
        let run = stage.run().await;
        stage.set_faults(Faults { history: HistoryFaults { file_grows: true, ..HistoryFaults::default() }, ..deaf() });
        hour_of_talk(&stage, Some(&run), 10).await;
        stage.pass(&run, 1).await;
        assert_eq!(run.messages().await.len(), 5, "{vendor:?}: half a file has half of the messages");
        let coverage = run.coverage_between(START, START + HOUR).await;
        assert_eq!(coverage.holes[0].reason, "may_grow", "{vendor:?}");
        stage.pass(&run, 32).await;
        assert_eq!(run.messages().await.len(), 10, "{vendor:?}");
        assert_eq!(run.notices("history_file_changed").await.len(), 1, "{vendor:?}");
        assert_eq!(run.coverage_between(START, START + HOUR).await.complete, 1, "{vendor:?}");
        run.stop().await;
    }
}

#[tokio::test]
async fn a_file_23_hours_late_is_an_alert_and_then_a_repair() {
    let stage = Stage::new(Vendor::Huanxin, 1).await;
    let run = stage.run().await;
    hour_of_talk(&stage, Some(&run), 3).await;
    stage.quiet(&run).await;
    stage.set_faults(Faults {
        history: HistoryFaults { file_delay_ms: Some(23 * 3_600_000), ..HistoryFaults::default() },
        ..deaf()
    });
    stage.say("ann", "bob", "unheard").await;
    stage.pass(&run, 6).await;
    assert_eq!(run.notices("history_file_late").await.len(), 0, "not before its time");
    stage.pass(&run, 8).await;
    let alerts = run.notices("history_file_late").await;
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(alerts[0]["hour"], START.to_rfc3339());
    stage.pass(&run, 20).await;
    assert_eq!(run.messages().await.len(), 4);
    assert_eq!(run.notices("history_file_late").await.len(), 1, "told once");
    run.stop().await;
}

#[tokio::test]
async fn an_hour_whose_file_never_comes_is_unfillable_and_not_asked_for_any_more() {
    for vendor in [Vendor::Huanxin, Vendor::RongCloud] {
        let stage = Stage::new(vendor, 1).await;
        let run = stage.run().await;
        stage.set_faults(history(HistoryFaults {
            file_missing_hours: vec![Stage::hour_name(0)],
            ..HistoryFaults::default()
        }));
        hour_of_talk(&stage, Some(&run), 3).await;
        stage.quiet(&run).await;
        stage.pass(&run, 60).await;
        let hole = run.coverage_between(START, START + HOUR).await.holes.remove(0);
        assert_eq!((hole.state, hole.reason.as_str()), (CoverageState::Suspect, "missing_file"), "{vendor:?}");
        stage.pass(&run, 16).await;
        let hole = run.coverage_between(START, START + HOUR).await.holes.remove(0);
        assert_eq!((hole.state, hole.reason.as_str()), (CoverageState::Unfillable, "missing_file"), "{vendor:?}");
        assert_eq!(run.notices("hour_unfillable").await.len(), 1, "{vendor:?}");
        let calls = stage.ledger().counters().requests_total;
        let quiet_hours = run.coverage_between(START + HOUR, START + 20 * HOUR).await;
        assert_eq!(quiet_hours.percent, 100.0, "{vendor:?}: hours in which nobody spoke are complete");
        assert!(calls < 1200, "{vendor:?}: {calls} calls in three days");
        run.stop().await;
    }
}

#[tokio::test]
async fn rows_removed_by_hand_show_as_exactly_those_holes_and_are_brought_back() {
    let stage = Stage::new(Vendor::Huanxin, 1).await;
    let run = stage.run().await;
    stage.log_in(&["ann", "bob", "cid"]);
    let mut ids = Vec::new();
    for number in 0..3 * 20 {
        let to = if number % 2 == 0 { "bob" } else { "cid" };
        ids.push(stage.say("ann", to, &format!("message {number}")).await);
        stage.quiet(&run).await;
        stage.advance(HOUR / 20);
    }
    stage.quiet(&run).await;
    stage.pass(&run, 36).await;
    assert_eq!(run.coverage_between(START, START + 3 * HOUR).await.percent, 100.0);
    // Three of the first hour, two of the third.
    let gone: Vec<String> = [2, 4, 11, 45, 50].iter().map(|at| ids[*at].clone()).collect();
    stage.remove_rows(&gone).await;

    let coverage = run.coverage_between(START, START + 3 * HOUR).await;
    let holes: Vec<_> = coverage.holes.iter().map(|hole| (hole.from, hole.until, hole.missing)).collect();
    assert_eq!(holes, [(START, START + HOUR, 3), (START + 2 * HOUR, START + 3 * HOUR, 2)]);
    assert!(coverage.holes.iter().all(|hole| hole.reason == "rows_gone"), "{coverage:?}");
    let report = run.switchboard.reconciler();
    let report = report.coverage(&TenantId::default(), None, START, stage.clock.now(), true).await.unwrap();
    let named: u64 = report.conversations.iter().map(|hole| hole.last.0 - hole.first.0 + 1).sum();
    assert_eq!(named, 5, "{:?}", report.conversations);

    let (tenant, alias) = (TenantId::default(), ProviderId::from("main"));
    let repair = run.switchboard.reconciler().reconcile(&tenant, &alias, START, START + 3 * HOUR, false);
    let repair = stage.drive(repair).await.unwrap();
    assert_eq!((repair.repaired, repair.hours.len()), (5, 2), "only the hours with holes were read");
    let coverage = run.coverage_between(START, START + 3 * HOUR).await;
    assert_eq!((coverage.percent, coverage.holes.len()), (100.0, 0), "{coverage:?}");
    let back = run.messages().await;
    let back: Vec<_> = back.iter().filter(|(_, origin, late)| *origin == Origin::File && *late).collect();
    assert_eq!(back.len(), 5);
    run.stop().await;
}

#[tokio::test]
async fn days_without_us_are_repaired_as_far_as_the_vendor_goes_back() {
    let stage = Stage::without_queries(Vendor::RongCloud).await;
    let run = stage.run().await;
    hour_of_talk(&stage, Some(&run), 4).await;
    stage.quiet(&run).await;
    run.stop().await;
    // Four days without us, with somebody talking on the first and on the last.
    stage.set_faults(deaf());
    stage.advance(10 * HOUR);
    stage.say("ann", "bob", "too long ago").await;
    stage.advance(80 * HOUR);
    let recent = stage.say("ann", "bob", "not long ago").await;
    stage.advance(5 * HOUR);
    let run = stage.run().await;
    stage.drive(run.switchboard.reconciler().settled()).await;
    stage.pass(&run, 32).await;
    let found = run.messages().await;
    assert_eq!(found.len(), 5, "the message of three hours ago and not the one of four days ago");
    assert!(found.iter().any(|(id, origin, late)| *id == recent && *origin == Origin::File && *late));
    let coverage = run.coverage().await;
    let expired: Vec<_> = coverage.holes.iter().filter(|hole| hole.reason == "expired").collect();
    assert_eq!(expired.len(), 1, "{:?}", coverage.holes);
    assert_eq!((expired[0].kind, expired[0].state), (HoleKind::Middle, CoverageState::Unfillable));
    assert!((START..START + HOUR * 2).contains(&expired[0].from), "{:?}", expired[0]);
    run.stop().await;
}

#[tokio::test]
async fn the_time_before_the_first_start_is_a_hole_at_the_head_and_left_alone() {
    let stage = Stage::new(Vendor::Huanxin, 1).await;
    hour_of_talk(&stage, None, 4).await;
    stage.advance(HOUR);
    stage.say("ann", "bob", "still before").await;
    stage.advance(HOUR / 2);
    let run = stage.run().await;
    stage.set_faults(deaf());
    let after = stage.say("ann", "bob", "after, and dropped").await;
    stage.pass(&run, 36).await;
    let found: Vec<String> = run.messages().await.into_iter().map(|(id, _, _)| id).collect();
    assert_eq!(found, std::slice::from_ref(&after), "history is not delivered because somebody installed us");
    let holes = run.coverage().await.holes;
    assert_eq!((holes[0].kind, holes[0].from, holes[0].until), (HoleKind::Head, START, START + 2 * HOUR));
    // Whoever asks for it gets it.
    let (tenant, alias) = (TenantId::default(), ProviderId::from("main"));
    let call = run.switchboard.reconciler().reconcile(&tenant, &alias, START, START + 3 * HOUR, true);
    let report = stage.drive(call).await.unwrap();
    assert_eq!((report.repaired, report.hours.iter().map(|hour| hour.history).sum::<u64>()), (0, 5));
    let history: Vec<_> = run.entries().await.into_iter().filter(|entry| entry.topic == Topic::History).collect();
    assert_eq!(history.len(), 5, "it fills the store, and is delivered to nobody who did not ask for it");
    assert!(history.iter().all(|entry| !entry.late));
    run.stop().await;
}

#[tokio::test]
async fn strangers_and_endless_ranges_are_refused() {
    let stage = Stage::new(Vendor::Huanxin, 1).await;
    let run = stage.run().await;
    let reconciler = run.switchboard.reconciler();
    let (tenant, alias) = (TenantId::default(), ProviderId::from("main"));
    let now = stage.clock.now();
    let refused = reconciler.reconcile(&"other".into(), &alias, START, now, false).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    let refused = reconciler.coverage(&tenant, Some(&"none".into()), START, now, false).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    let endless = reconciler.coverage(&tenant, None, Timestamp(0), now, false).await.unwrap_err();
    assert_eq!(endless.kind(), ErrorKind::InvalidInput);
    let endless = reconciler.reconcile(&tenant, &alias, Timestamp(0), now, false).await.unwrap_err();
    assert_eq!(endless.kind(), ErrorKind::InvalidInput);
    store(&run).ping().await.unwrap();
    run.stop().await;
}

#[tokio::test]
async fn calls_that_ask_for_the_same_are_served_together() {
    let stage = Stage::new(Vendor::Huanxin, 1).await;
    let run = stage.run().await;
    hour_of_talk(&stage, Some(&run), 4).await;
    stage.quiet(&run).await;
    stage.advance(HOUR + Duration::from_secs(60));
    stage.drive(run.switchboard.reconciler().settled()).await;
    let files = || stage.ledger().requests().iter().filter(|call| call.path.contains("chatmessages")).count();
    let before = files();
    let (tenant, alias) = (TenantId::default(), ProviderId::from("main"));
    let call = || run.switchboard.reconciler().reconcile(&tenant, &alias, START, START + HOUR, true);
    let calls = futures::future::join_all((0..50).map(|_| call()));
    let answers = stage.drive(calls).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().hours.len() == 1));
    // One for each link; the vendor's file itself is on another path.
    assert!(files() - before <= 2, "{} file calls for 50 equal requests", files() - before);
    run.stop().await;
}
