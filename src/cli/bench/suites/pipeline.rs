//! `pipeline`: from the callback to the delivery that a subscriber has acknowledged, everything on one core, with a
//! backlog that cannot grow.

use std::path::Path;
use std::time::Duration;

use switchboard_contract::Result;

use super::append::{BATCH, appended};
use super::ingest::received;
use super::{PATIENCE, large, post};
use crate::cli::bench::callbacks::Vendor;
use crate::cli::bench::child::{Child, Place};
use crate::cli::bench::engine::append::options;
use crate::cli::bench::engine::serve::Serve;
use crate::cli::bench::load::Delivered;
use crate::cli::bench::measure::{Bench, Figure, Finding, Side};
use crate::cli::bench::role::Role;

/// Callbacks that may be posted and not yet acknowledged by the subscriber: about half a second's worth.
const WINDOW: u64 = 4096;

pub(in crate::cli::bench) fn run(bench: &Bench) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for vendor in Vendor::ALL {
        findings.push(against_its_parts(bench, vendor)?);
    }
    if bench.settings.store_rows > 0 {
        findings.push(over_a_large_store(bench)?);
    }
    Ok(findings)
}

fn against_its_parts(bench: &Bench, vendor: Vendor) -> Result<Finding> {
    let name = format!("pipeline {}", vendor.kind());
    let (run, here) = (bench.run_time(60), Place::Measured(&bench.cores));
    let part = run.min(Duration::from_secs(3));
    let rounds = bench.alternate(
        &name,
        &mut [
            Side::new("ours", || {
                let dir = bench.scratch()?;
                delivered(bench, dir.path(), vendor, run)
            }),
            Side::new("ingest", || received(bench, vendor, here, part, false)),
            Side::new("append", || {
                let dir = bench.scratch()?;
                appended(dir.path(), BATCH, bench.sizes.warm_rows, here, part)
            }),
        ],
    )?;
    let comparison = rounds.compare_with(|round| (round[0].rate, round[1].rate.min(round[2].rate)));
    let before = rounds.median(0, |figure| figure.backlog_before as f64);
    let after = rounds.median(0, |figure| figure.backlog_after as f64);
    Ok(Finding::new(&name, "1/s", "the smaller of ingest and append", comparison)
        .at_least(0.25, Some(0.5))
        .note(format!("{} s each; backlog {before:.0} at the start, {after:.0} at the end", run.as_secs())))
}

fn over_a_large_store(bench: &Bench) -> Result<Finding> {
    let (rows, run) = (bench.settings.store_rows, bench.run_time(60).min(Duration::from_secs(10)));
    let name = format!("pipeline over {rows} messages");
    // Callbacks of each round have ids of their own.
    let large = large(bench, &name)?;
    let rounds = bench.alternate(
        &name,
        &mut [
            Side::new("large", || delivered(bench, large, Vendor::RongCloud, run)),
            Side::new("empty", || {
                let dir = bench.scratch()?;
                delivered(bench, dir.path(), Vendor::RongCloud, run)
            }),
        ],
    )?;
    let cache = options(large).cache_bytes >> 20;
    Ok(Finding::new(&name, "1/s", "an empty store", rounds.compare(0, 1))
        .at_least(0.6, Some(0.8))
        .note(format!("{cache} MiB for cached pages")))
}

/// Callbacks posted as fast as an acknowledging subscriber takes them.
fn delivered(bench: &Bench, dir: &Path, vendor: Vendor, run: Duration) -> Result<Figure> {
    let serve = Serve { journal: true, subscriber: true, touch: bench.sizes.warm_rows, ..Serve::at(dir) };
    let server = Child::start(&Role::Serve(serve), Place::Measured(&bench.cores))?;
    let ready = server.ready(PATIENCE)?;
    let delivered = ready.meter.map(|meter| Delivered { meter, window: WINDOW });
    let figure = post(bench, &ready, vendor, run, delivered)?;
    server.stop(PATIENCE)?;
    Ok(figure)
}
