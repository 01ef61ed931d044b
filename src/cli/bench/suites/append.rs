//! `append`: dedupe, position and sequence, durable, against the bare driver writing the same rows.

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use switchboard_contract::Result;

use super::{alone, large, millis};
use crate::cli::bench::child::Place;
use crate::cli::bench::engine::append::{Append, options};
use crate::cli::bench::measure::{Bench, Figure, Finding, Side};
use crate::cli::bench::role::Role;

/// Events of one transaction.
const BATCHES: [(usize, &str); 3] = [(64, "append by 64"), (256, "append by 256"), (1024, "append by 1024")];
/// The batch that a large store is measured with.
pub(super) const BATCH: usize = 256;

pub(in crate::cli::bench) fn run(bench: &Bench) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (batch, name) in BATCHES {
        findings.push(against_the_driver(bench, batch, name)?);
    }
    if bench.settings.store_rows > 0 {
        findings.push(over_a_large_store(bench)?);
    }
    Ok(findings)
}

fn against_the_driver(bench: &Bench, batch: usize, name: &str) -> Result<Finding> {
    let (run, here) = (bench.run_time(3), Place::Measured(&bench.cores));
    // The rows of our side are what the other side writes.
    let written = RefCell::new(None);
    let rounds = bench.alternate(
        name,
        &mut [
            Side::new("ours", || {
                let dir = bench.scratch()?;
                let figure = appended(dir.path(), batch, 0, here, run)?;
                written.replace(Some(dir));
                Ok(figure)
            }),
            Side::new("raw driver", || {
                let (source, dir) = (written.take(), bench.scratch()?);
                let source = source.as_ref().map_or(dir.path(), tempfile::TempDir::path);
                let role = Role::RawAppend { source: source.to_owned(), dir: dir.path().to_owned(), batch };
                alone(&role, here, run)
            }),
        ],
    )?;
    Ok(Finding::new(name, "1/s", "raw driver, same rows", rounds.compare(0, 1)).at_least(0.8, None))
}

fn over_a_large_store(bench: &Bench) -> Result<Finding> {
    let (rows, run) = (bench.settings.store_rows, bench.run_time(3));
    let (name, here) = (format!("append over {rows} messages"), Place::Measured(&bench.cores));
    let (large, warm) = (large(bench, &name)?, bench.sizes.warm_rows);
    let rounds = bench.alternate(
        &name,
        &mut [
            Side::new("large", || appended(large, BATCH, warm, here, run)),
            Side::new("empty", || {
                let dir = bench.scratch()?;
                appended(dir.path(), BATCH, warm, here, run)
            }),
        ],
    )?;
    let cache = options(large).cache_bytes >> 20;
    Ok(Finding::new(&name, "1/s", "an empty store", rounds.compare(0, 1))
        .at_least(0.6, Some(0.8))
        .note(format!("{BATCH} in a transaction; {cache} MiB for cached pages")))
}

/// Events committed one batch after another, the first `warm` of them unmeasured.
pub(super) fn appended(dir: &Path, batch: usize, warm: u64, place: Place<'_>, run: Duration) -> Result<Figure> {
    let role = Role::Append(Append { dir: dir.to_owned(), batch, warm, run_ms: millis(run) });
    alone(&role, place, run * 3)
}
