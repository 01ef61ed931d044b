//! `reconcile` and `backfill`: what repair costs when it has nothing to do, and when it has everything to do.

use std::cell::RefCell;

use switchboard_contract::Result;

use super::{PATIENCE, SHORT, alone, fill};
use crate::cli::bench::callbacks::CONVERSATIONS;
use crate::cli::bench::child::{Child, Place};
use crate::cli::bench::engine::repair::Past;
use crate::cli::bench::events::Events;
use crate::cli::bench::measure::{Bench, Comparison, Finding, Side};
use crate::cli::bench::raw;
use crate::cli::bench::role::Role;

/// Messages of a page of a vendor's query.
const PAGE: u64 = 100;
/// The memory a file of any size may take.
const MIB: f64 = 64.0;

/// An hour's file of which nothing is missing, against unpacking and parsing it.
pub(in crate::cli::bench) fn reconcile(bench: &Bench) -> Result<Vec<Finding>> {
    // Nothing drives it, so both sides may have the whole machine.
    let (lines, here) = (bench.sizes.lines, Place::Anywhere);
    let name = format!("reconcile {lines} lines");
    let dir = bench.scratch()?;
    fill(&name, dir.path(), lines, CONVERSATIONS, SHORT)?;
    let file = dir.path().join("hour.gz");
    let mut events = Events::new(0, CONVERSATIONS).with_text(SHORT);
    raw::hour::write(&file, (0..lines).map(|_| events.draft()))?;
    let rounds = bench.alternate(
        &name,
        &mut [
            Side::new("ours", || {
                let role = Role::Reconcile { dir: dir.path().to_owned(), file: file.clone() };
                Child::start(&role, here)?.done(PATIENCE * 5)
            }),
            Side::new("raw inflate and parse", || {
                Child::start(&Role::RawHour { file: file.clone() }, here)?.done(PATIENCE * 5)
            }),
        ],
    )?;
    let grown = rounds.median(0, |figure| figure.rss_kib as f64 / 1024.0);
    Ok(vec![
        Finding::new(&name, "1/s", "raw inflate and parse", rounds.compare(0, 1))
            .at_least(0.4, None)
            .note("the first column is lines of an hour of which nothing is missing"),
        Finding::new(&format!("{name}, memory"), "MiB", "64 MiB", Comparison::with_limit(grown, MIB))
            .at_most_that()
            .note("growth of resident memory at its highest"),
    ])
}

/// A job that fetches a whole conversation, against its rows written by the bare driver page by page.
pub(in crate::cli::bench) fn backfill(bench: &Bench) -> Result<Vec<Finding>> {
    let (messages, here) = (bench.sizes.fetched, Place::Measured(&bench.cores));
    let name = format!("backfill {messages} messages");
    let written = RefCell::new(None);
    let rounds = bench.alternate(
        &name,
        &mut [
            Side::new("ours", || {
                let dir = bench.scratch()?;
                let past = Past { dir: dir.path().to_owned(), messages, page: PAGE };
                let figure = Child::start(&Role::Backfill(past), here)?.done(PATIENCE * 5)?;
                written.replace(Some(dir));
                Ok(figure)
            }),
            Side::new("raw driver", || {
                let (source, dir) = (written.take(), bench.scratch()?);
                let source = source.as_ref().map_or(dir.path(), tempfile::TempDir::path);
                let (source, batch) = (source.to_owned(), PAGE as usize);
                alone(&Role::RawAppend { source, dir: dir.path().to_owned(), batch }, here, PATIENCE)
            }),
        ],
    )?;
    let note = format!("{PAGE} in a page and in a transaction; where the job goes on is written with each page");
    Ok(vec![Finding::new(&name, "1/s", "raw driver, same rows", rounds.compare(0, 1)).at_least(0.6, None).note(note)])
}
