//! Callbacks that never came, by the thousand: the files bring exactly those, and a second run brings nothing.

use std::collections::BTreeSet;

use switchboard_contract::{Clock, Origin, ProviderId, TenantId};
use switchboard_emulators::{
    Faults,
    common::{CallbackFaults, HistoryFaults},
};

use crate::stage::{HOUR, Run, START, Stage, Vendor};

/// Messages written at once.
const BURST: usize = 50;
/// So many minutes the vendor's clock goes wrong in the runs with every fault.
const SKEW_MS: i64 = 7 * 60_000;

/// Messages of one run; `SWITCHBOARD_DROPS` makes it the full size.
fn messages() -> usize {
    std::env::var("SWITCHBOARD_DROPS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

/// Runs of each vendor with every fault at once; `SWITCHBOARD_SEEDS` changes it.
fn seeds() -> u64 {
    std::env::var("SWITCHBOARD_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(25)
}

/// Talks for `hours`. The clocks stand still while a callback is on its way: its deadlines run on them.
async fn talk(stage: &Stage, run: &Run, messages: usize, hours: usize) {
    let users: Vec<String> = (0..20).map(|number| format!("user{number}")).collect();
    let names: Vec<&str> = users.iter().map(String::as_str).collect();
    stage.log_in(&names);
    let steps = messages.div_ceil(BURST);
    let step = HOUR * u32::try_from(hours).unwrap() / u32::try_from(steps).unwrap();
    for number in 0..messages {
        let (from, to) = (names[number % 20], names[(number % 20 + 1 + number / 20 % 19) % 20]);
        stage.say(from, to, &format!("message {number}")).await;
        if number % BURST == BURST - 1 {
            stage.quiet(run).await;
            stage.advance(step);
        }
    }
}

/// Sets are too large to print.
fn same(one: &BTreeSet<String>, other: &BTreeSet<String>, seed: u64, what: &str) {
    let only = |one: &BTreeSet<String>, other| one.difference(other).take(5).cloned().collect::<Vec<_>>();
    assert!(
        one == other,
        "seed {seed}: {what} differ: {} and {}, only here {:?}, only there {:?}",
        one.len(),
        other.len(),
        only(one, other),
        only(other, one)
    );
}

/// One run: what is dropped is repaired, exactly, and only once.
async fn run(vendor: Vendor, seed: u64, faults: Faults, messages: usize) {
    let stage = Stage::new(vendor, seed).await;
    let run = stage.run().await;
    stage.set_faults(faults.clone());
    talk(&stage, &run, messages, 3).await;
    // What the vendor still holds back goes out before the faults of callbacks end.
    stage.quiet(&run).await;
    stage.set_faults(Faults { callbacks: CallbackFaults::default(), ..faults });
    stage.quiet(&run).await;
    let dropped = stage.dropped();
    assert!(dropped.len() * 40 > messages, "seed {seed}: only {} of {messages} were dropped", dropped.len());

    stage.pass(&run, 36).await;
    let found = run.messages().await;
    let ids: BTreeSet<String> = found.iter().map(|(id, _, _)| id.clone()).collect();
    assert_eq!(ids.len(), found.len(), "seed {seed}: a message was journalled twice");
    same(&ids, &stage.sent(), seed, "journalled and sent");
    let repaired: BTreeSet<String> = found
        .iter()
        .filter(|(_, origin, late)| *origin == Origin::File && *late)
        .map(|(id, _, _)| id.clone())
        .collect();
    same(&repaired, &dropped, seed, "repaired and dropped");
    // A vendor whose clock is wrong puts the first messages into the hour before, or the last into the one behind.
    let coverage = run.coverage_between(START - HOUR, START + 4 * HOUR).await;
    assert_eq!((coverage.percent, coverage.holes.len()), (100.0, 0), "seed {seed}: {coverage:?}");
    assert_eq!(coverage.repaired, dropped.len() as u64, "seed {seed}");
    let told: u64 =
        run.notices("repair_happened").await.iter().map(|notice| notice["repaired"].as_u64().unwrap()).sum();
    assert_eq!(told, dropped.len() as u64, "seed {seed}: the repairs told add up");
    assert_eq!(stage.rate_errors(), 0, "seed {seed}: more file calls than the vendor admits");

    let (tenant, alias) = (TenantId::default(), ProviderId::from("main"));
    let again = run.switchboard.reconciler().reconcile(&tenant, &alias, START - HOUR, stage.clock.now(), true);
    let again = stage.drive(again).await.unwrap();
    assert_eq!(again.repaired, 0, "seed {seed}: a second run inserts nothing");
    assert_eq!(again.hours.iter().map(|hour| hour.lines).sum::<u64>(), found.len() as u64, "seed {seed}: it did read");
    assert_eq!(run.messages().await.len(), found.len());
    run.stop().await;
}

fn dropping() -> CallbackFaults {
    CallbackFaults { drop: 0.05, ..CallbackFaults::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i02_five_percent_dropped_by_huanxin_are_repaired_exactly() {
    let faults = Faults { callbacks: dropping(), ..Faults::default() };
    run(Vendor::Huanxin, 1, faults, messages()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i02_five_percent_dropped_by_rongcloud_are_repaired_exactly() {
    let faults = Faults { callbacks: dropping(), ..Faults::default() };
    run(Vendor::RongCloud, 1, faults, messages()).await;
}

/// Everything at once: drops, duplicates, reordering, files that are late and grow, and clocks that disagree.
fn everything(seed: u64) -> Faults {
    Faults {
        callbacks: CallbackFaults { duplicate: 0.05, reorder: 0.05, ..dropping() },
        history: HistoryFaults {
            file_delay_ms: Some(i64::try_from(1 + seed % 23).unwrap() * 3_600_000),
            file_missing_hours: Vec::new(),
            file_grows: true,
        },
        clock_skew_ms: if seed.is_multiple_of(2) { SKEW_MS } else { -SKEW_MS },
        ..Faults::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i05_every_fault_at_once_on_huanxin() {
    for seed in 1..=seeds() {
        run(Vendor::Huanxin, seed, everything(seed), messages()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i05_every_fault_at_once_on_rongcloud() {
    for seed in 1..=seeds() {
        run(Vendor::RongCloud, seed, everything(seed), messages()).await;
    }
}
