//! `ingest`: a callback verified and durable before its answer; the whole server on one core.

use std::time::Duration;

use switchboard_contract::{ErrorKind, Result};

use super::{PATIENCE, alone, millis, post};
use crate::cli::bench::callbacks::Vendor;
use crate::cli::bench::child::{Child, Place};
use crate::cli::bench::delay::DELAY_US;
use crate::cli::bench::engine::serve::Serve;
use crate::cli::bench::measure::{Bench, Comparison, Figure, Finding, Side};
use crate::cli::bench::role::Role;

pub(in crate::cli::bench) fn run(bench: &Bench) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for vendor in Vendor::ALL {
        fast_disk(bench, vendor, &mut findings)?;
        match slow_disk(bench, vendor, &mut findings) {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                eprintln!("no C compiler: a slower disk is left out");
            }
            outcome => outcome?,
        }
    }
    Ok(findings)
}

fn fast_disk(bench: &Bench, vendor: Vendor, findings: &mut Vec<Finding>) -> Result<()> {
    let name = format!("ingest {}", vendor.kind());
    let (run, here) = (bench.run_time(3), Place::Measured(&bench.cores));
    let rounds = bench.alternate(
        &name,
        &mut [
            Side::new("ours", || received(bench, vendor, here, run, false)),
            Side::new("empty POST", || empty_post(bench, vendor, run)),
            Side::new("group commit", || commits(bench, here, run, usize::MAX)),
            Side::new("ours, journal running", || received(bench, vendor, here, run, true)),
        ],
    )?;
    let p99 = rounds.median(0, |figure| figure.p99_us as f64) / 1e3;
    findings.push(
        Finding::new(&name, "1/s", "empty POST", rounds.compare(0, 1))
            .at_least(0.30, Some(0.45))
            .note(format!("p99 {p99:.2} ms; the journal is read afterwards")),
    );
    findings.push(Finding::new(&name, "1/s", "64-caller group commit", rounds.compare(0, 2)).at_least(1.0, None));
    findings.push(
        Finding::new(&format!("{name}, journal running"), "1/s", "empty POST", rounds.compare(3, 1))
            .note("receiving, decoding and appending share the core; the steady state is `pipeline`"),
    );
    Ok(())
}

fn slow_disk(bench: &Bench, vendor: Vendor, findings: &mut Vec<Finding>) -> Result<()> {
    let name = format!("ingest {}, fsync +2 ms", vendor.kind());
    let (run, here) = (bench.run_time(3), Place::SlowDisk(&bench.cores, bench.slow_disk()?));
    let rounds = bench.alternate(
        &name,
        &mut [
            Side::new("ours", || received(bench, vendor, here, run, false)),
            Side::new("a transaction each", || commits(bench, here, run, 1)),
            Side::new("fsync", || {
                let dir = bench.scratch()?;
                alone(&Role::Fsync { dir: dir.path().to_owned() }, here, run)
            }),
        ],
    )?;
    findings.push(
        Finding::new(&name, "1/s", "one transaction for each", rounds.compare(0, 1))
            .at_least(20.0, None)
            .note(format!("{} ms added to every fsync by a preloaded layer", DELAY_US / 1000)),
    );
    let p99 = rounds.median(0, |figure| figure.p99_us as f64) / 1e3;
    let fsync = rounds.median(2, |figure| figure.p50_us as f64) / 1e3;
    let limit = 5.0 * fsync + 10.0;
    let comparison = Comparison::with_limit(p99, limit);
    findings.push(Finding::new(&format!("{name}, p99"), "ms", "5 fsyncs + 10 ms", comparison).at_most_that());
    Ok(())
}

/// Callbacks posted to the sidecar.
pub(super) fn received(
    bench: &Bench,
    vendor: Vendor,
    place: Place<'_>,
    run: Duration,
    journal: bool,
) -> Result<Figure> {
    let dir = bench.scratch()?;
    let server = Child::start(
        &Role::Serve(Serve { journal, inbox_mib: bench.sizes.inbox_mib, ..Serve::at(dir.path()) }),
        place,
    )?;
    let ready = server.ready(PATIENCE)?;
    let figure = post(bench, &ready, vendor, run, None)?;
    // What it has not journalled is of no interest any more.
    drop(server);
    Ok(figure)
}

fn empty_post(bench: &Bench, vendor: Vendor, run: Duration) -> Result<Figure> {
    let server = Child::start(&Role::EmptyPost, Place::Measured(&bench.cores))?;
    let ready = server.ready(PATIENCE)?;
    let figure = post(bench, &ready, vendor, run, None)?;
    server.stop(PATIENCE)?;
    Ok(figure)
}

fn commits(bench: &Bench, place: Place<'_>, run: Duration, most: usize) -> Result<Figure> {
    let dir = bench.scratch()?;
    let role = Role::Commits { dir: dir.path().to_owned(), callers: 64, most, run_ms: millis(run) };
    alone(&role, place, run)
}
