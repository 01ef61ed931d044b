//! `replay`: a new subscriber that reads everything, against one ordered SELECT.

use switchboard_contract::Result;

use super::{alone, fill};
use crate::cli::bench::callbacks::CONVERSATIONS;
use crate::cli::bench::child::Place;
use crate::cli::bench::engine::replay::PAGE;
use crate::cli::bench::events::TEXT;
use crate::cli::bench::measure::{Bench, Finding, Side};
use crate::cli::bench::role::Role;

pub(in crate::cli::bench) fn run(bench: &Bench) -> Result<Vec<Finding>> {
    let (dir, here) = (bench.scratch()?, Place::Measured(&bench.cores));
    let rows = bench.sizes.replayed;
    fill("replay", dir.path(), rows, CONVERSATIONS, TEXT)?;
    let run = bench.run_time(60);
    let rounds = bench.alternate(
        "replay",
        &mut [
            Side::new("ours", || alone(&Role::Replay { dir: dir.path().to_owned() }, here, run)),
            Side::new("ordered SELECT", || alone(&Role::RawSelect { source: dir.path().to_owned() }, here, run)),
        ],
    )?;
    Ok(vec![
        Finding::new("replay", "1/s", "ordered SELECT", rounds.compare(0, 1))
            .at_least(0.5, None)
            .note(format!("{rows} messages in pages of {PAGE}, each durably acknowledged")),
    ])
}
