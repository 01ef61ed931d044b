//! `fanout`: one message to 300 subscribers in one process.

use switchboard_contract::Result;

use super::{alone, millis};
use crate::cli::bench::child::Place;
use crate::cli::bench::measure::{Bench, Finding, Side};
use crate::cli::bench::role::Role;

/// Bytes of an event, for the raw ways.
const BYTES: usize = 700;

pub(in crate::cli::bench) fn run(bench: &Bench) -> Result<Vec<Finding>> {
    let (run, here) = (bench.run_time(3), Place::Measured(&bench.cores));
    let (subscribers, bytes, run_ms) = (bench.sizes.subscribers, BYTES, millis(run));
    let rounds = bench.alternate(
        "fanout",
        &mut [
            Side::new("ours", || alone(&Role::Fanout { subscribers, run_ms }, here, run)),
            Side::new("shared log", || alone(&Role::RawLog { subscribers, bytes, run_ms }, here, run)),
            Side::new("a channel each", || alone(&Role::RawChannels { subscribers, bytes, run_ms }, here, run)),
        ],
    )?;
    let name = format!("fanout to {subscribers}");
    Ok(vec![
        Finding::new(&name, "1/s", "shared log with cursors", rounds.compare(0, 1))
            .at_least(0.25, Some(0.5))
            .note("deliveries, each acknowledged; the raw ways acknowledge nothing"),
        Finding::new(&name, "1/s", "one channel for each", rounds.compare(0, 2)).at_least(1.0, None),
    ])
}
