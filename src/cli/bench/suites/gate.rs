//! `group`, `direct`, `idle`, `offline`: the self-hosted service with its gate.

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use switchboard_contract::Result;

use super::{PATIENCE, millis};
use crate::cli::bench::child::{Child, Place};
use crate::cli::bench::engine::gate::Gate;
use crate::cli::bench::gate::{Devices, Talk};
use crate::cli::bench::measure::{Bench, Comparison, Figure, Finding, Side};
use crate::cli::bench::role::Role;
use crate::cli::bench::sockets::Sockets;

/// The figure of the source: messages a second in a group of 300, on a quarter of a core.
const SOURCE_RATE: u64 = 320;
const SOURCE_SHARE: f64 = 0.25;
const MORE: u64 = 1000;
const P99_MS: f64 = 15.0;
/// Who speaks in a saturated group.
const SENDERS: usize = 8;
/// Messages that each of a pair has on their way.
const WINDOW: usize = 8;

fn sized(bench: &Bench, full: usize, quick: usize) -> usize {
    if bench.settings.quick { quick } else { full }
}

fn served(bench: &Bench, gate: Gate) -> Result<Child> {
    Child::start(&Role::Gate(gate), Place::Measured(&bench.cores))
}

/// The devices' figure, with the share of a core that the service took meanwhile.
fn driven(bench: &Bench, server: &Child, devices: Devices) -> Result<Figure> {
    let run = Duration::from_millis(devices.run_ms + devices.warm_ms);
    let driver = Child::start(&Role::Devices(devices), Place::Driving(&bench.cores))?;
    driver.ready(PATIENCE)?;
    let (begun, before) = (Instant::now(), server.cpu()?);
    let figure = driver.done(run + PATIENCE)?;
    let share = (server.cpu()? - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    Ok(Figure { share, ..figure })
}

fn group(bench: &Bench, talk: Talk) -> Result<Figure> {
    let dir = bench.scratch()?;
    let members = bench.sizes.subscribers;
    let server = served(bench, Gate { dir: dir.path().to_owned(), users: members, group: true, waiting: 0 })?;
    let address = server.ready(PATIENCE)?.address;
    let run_ms = millis(bench.run_time(3));
    driven(bench, &server, Devices { address, count: members, talk, warm_ms: millis(bench.sizes.warm), run_ms })
}

pub(in crate::cli::bench) fn run_group(bench: &Bench) -> Result<Vec<Finding>> {
    let members = bench.sizes.subscribers;
    let payload = Cell::new(0);
    let rounds = bench.alternate(
        "group",
        &mut [
            Side::new("ours", || {
                let figure = group(bench, Talk::Saturate { senders: SENDERS.min(members) })?;
                payload.set(usize::try_from(figure.payload).unwrap_or(0));
                Ok(figure)
            }),
            Side::new("raw log", || raw_group(bench, &Role::RawSockets { connections: members, bytes: payload.get() })),
            Side::new("a row and a write each", || {
                let dir = bench.scratch()?;
                raw_group(bench, &Role::NaiveGroup { dir: dir.path().to_owned(), members, bytes: payload.get() })
            }),
            Side::new("320/s", || group(bench, Talk::Steady { rate: SOURCE_RATE })),
            Side::new("1,000/s", || group(bench, Talk::Steady { rate: MORE })),
        ],
    )?;
    let name = format!("group of {members}");
    let p99 = |side: usize| rounds.median(side, |figure| figure.p99_us as f64 / 1000.0);
    let share = |side: usize| rounds.median(side, |figure| figure.share);
    let against = Comparison::with_limit;
    let mut findings = vec![
        Finding::new(&format!("{name}, saturated"), "1/s", "raw pre-encoded log", rounds.compare(0, 1))
            .at_least(0.35, Some(0.5))
            .note(format!(
                "deliveries of {} bytes, each message stored first, all acknowledged; the raw ones neither",
                payload.get()
            )),
        Finding::new(&format!("{name}, saturated"), "1/s", "a row and a write each", rounds.compare(0, 2))
            .at_least(10.0, None),
    ];
    for (side, rate) in [(3, SOURCE_RATE), (4, MORE)] {
        let name = format!("{name}, {rate}/s");
        findings.push(Finding::new(&name, "ms", "15 ms, p99", against(p99(side), P99_MS)).at_most_that());
        let limit = if rate == SOURCE_RATE { SOURCE_SHARE } else { 1.0 };
        let what = if rate == SOURCE_RATE { "a quarter of a core" } else { "one core" };
        let due = rate as f64 * members as f64;
        let delivered = rounds.median(side, |figure| figure.rate) / due;
        findings.push(
            Finding::new(&name, "cores", what, against(share(side), limit))
                .at_most_that()
                .note(format!("{:.1}% of {due:.0} deliveries a second arrived in time", delivered * 100.0)),
        );
    }
    Ok(findings)
}

fn raw_group(bench: &Bench, role: &Role) -> Result<Figure> {
    let run = bench.run_time(3);
    let server = Child::start(role, Place::Measured(&bench.cores))?;
    let ready = server.ready(PATIENCE)?;
    let sockets = Sockets {
        address: ready.address,
        path: "/".to_owned(),
        token: String::new(),
        connections: bench.sizes.subscribers,
        acknowledge: false,
        progress: ready.meter,
        warm_ms: millis(bench.sizes.warm),
        run_ms: millis(run),
    };
    let reader = Child::start(&Role::Sockets(sockets), Place::Driving(&bench.cores))?;
    reader.ready(PATIENCE)?;
    reader.done(run + PATIENCE)
}

pub(in crate::cli::bench) fn run_direct(bench: &Bench) -> Result<Vec<Finding>> {
    let pairs = sized(bench, 50, 3);
    let run = bench.run_time(3);
    let rounds = bench.alternate(
        "direct",
        &mut [
            Side::new("ours", || {
                let dir = bench.scratch()?;
                let gate = Gate { dir: dir.path().to_owned(), users: pairs * 2, group: false, waiting: 0 };
                let server = served(bench, gate)?;
                let address = server.ready(PATIENCE)?.address;
                let (talk, warm_ms) = (Talk::Pairs { window: WINDOW }, millis(bench.sizes.warm));
                let devices = Devices { address, count: pairs * 2, talk, warm_ms, run_ms: millis(run) };
                driven(bench, &server, devices)
            }),
            Side::new("raw", || {
                let dir = bench.scratch()?;
                let (callers, run_ms) = (pairs * WINDOW, millis(run));
                let role = Role::Commits { dir: dir.path().to_owned(), callers, most: 1024, run_ms };
                super::alone(&role, Place::Measured(&bench.cores), run)
            }),
        ],
    )?;
    let name = format!("{pairs} pairs, {WINDOW} each on their way");
    Ok(vec![
        Finding::new(&name, "1/s", "group commit of as many callers", rounds.compare(0, 1))
            .at_least(0.4, None)
            .note("messages stored before their answer, each delivered to both sides and acknowledged"),
    ])
}

pub(in crate::cli::bench) fn run_idle(bench: &Bench) -> Result<Vec<Finding>> {
    let count = sized(bench, 10_000, 20);
    let rounds = bench.alternate(
        "idle",
        &mut [
            Side::new("ours", || {
                let dir = bench.scratch()?;
                let server =
                    served(bench, Gate { dir: dir.path().to_owned(), users: count, group: false, waiting: 0 })?;
                let address = server.ready(PATIENCE)?.address;
                resting(bench, &server, count, &|| {
                    let devices = Devices { address, count, talk: Talk::Silence, warm_ms: 0, run_ms: 0 };
                    Child::start(&Role::Devices(devices), Place::Driving(&bench.cores))
                })
            }),
            Side::new("raw", || {
                let server = Child::start(&Role::IdleSockets, Place::Measured(&bench.cores))?;
                let address = server.ready(PATIENCE)?.address;
                resting(bench, &server, count, &|| {
                    let sockets = Sockets {
                        address,
                        path: "/idle".to_owned(),
                        token: String::new(),
                        connections: count,
                        acknowledge: false,
                        progress: None,
                        warm_ms: 0,
                        run_ms: 0,
                    };
                    Child::start(&Role::Sockets(sockets), Place::Driving(&bench.cores))
                })
            }),
        ],
    )?;
    let comparison = rounds.compare(0, 1);
    let name = format!("{count} idle devices");
    let twice = Comparison {
        raw: comparison.raw * 2.0,
        ratio: comparison.ratio / 2.0,
        lowest: comparison.lowest / 2.0,
        highest: comparison.highest / 2.0,
        ..comparison
    };
    Ok(vec![
        Finding::new(&name, "KiB", "12 KiB each", Comparison::with_limit(comparison.ours, 12.0)).at_most_that(),
        Finding::new(&name, "KiB", "twice the web server's own", twice).at_most_that(),
    ])
}

/// The memory of each connection in KiB, as a rate.
fn resting(bench: &Bench, server: &Child, count: usize, open: &dyn Fn() -> Result<Child>) -> Result<Figure> {
    std::thread::sleep(bench.sizes.settle);
    let before = server.rss_kib()?;
    let driver = open()?;
    driver.ready(PATIENCE)?;
    std::thread::sleep(bench.sizes.settle);
    let after = server.rss_kib()?;
    driver.stop(PATIENCE)?;
    let each = after.saturating_sub(before) as f64 / count as f64;
    Ok(Figure { rate: each, rss_kib: after, ..Figure::default() })
}

pub(in crate::cli::bench) fn run_offline(bench: &Bench) -> Result<Vec<Finding>> {
    let messages = sized(bench, 10_000, 300);
    let rounds = bench.alternate(
        "offline",
        &mut [
            Side::new("ours", || {
                let dir = bench.scratch()?;
                let server = served(bench, waiting(dir.path(), messages))?;
                let address = server.ready(PATIENCE)?.address;
                let talk = Talk::Backlog { messages: messages as u64 };
                let devices = Devices { address, count: 1, talk, warm_ms: 0, run_ms: 0 };
                driven(bench, &server, devices)
            }),
            Side::new("raw", || {
                let dir = bench.scratch()?;
                let filled = served(bench, waiting(dir.path(), messages))?;
                filled.ready(PATIENCE)?;
                filled.stop(PATIENCE)?;
                let role = Role::RawBacklog { dir: dir.path().to_owned() };
                let server = Child::start(&role, Place::Measured(&bench.cores))?;
                let address = server.ready(PATIENCE)?.address;
                Child::start(&Role::TakeBacklog { address }, Place::Driving(&bench.cores))?.done(PATIENCE)
            }),
        ],
    )?;
    Ok(vec![
        Finding::new(&format!("{messages} waiting messages"), "1/s", "read and sent", rounds.compare(0, 1))
            .at_least(1.0 / 3.0, None)
            .note("taken by one device, page by page, each page acknowledged durably before the next is answered"),
    ])
}

fn waiting(dir: &Path, messages: usize) -> Gate {
    Gate { dir: dir.to_owned(), users: 2, group: false, waiting: messages }
}
