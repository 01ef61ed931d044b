//! `history`: the first page of a conversation in a large store against a small one, and a whole conversation against
//! one indexed SELECT.

use switchboard_contract::Result;

use super::{SHORT, alone, fill, large, millis};
use crate::cli::bench::callbacks::CONVERSATIONS;
use crate::cli::bench::child::Place;
use crate::cli::bench::engine::history::{FIRST, FirstPages, PAGE};
use crate::cli::bench::measure::{Bench, Finding, Side};
use crate::cli::bench::role::Role;

/// Messages of the small store, and of each conversation of both.
const SMALL: u64 = 10_000;
const EACH: u64 = 1000;
/// A store this large is made once for everything that wants one; its conversations have as many messages.
const SHARED: u64 = EACH * CONVERSATIONS;

pub(in crate::cli::bench) fn run(bench: &Bench) -> Result<Vec<Finding>> {
    let mut findings = first_page(bench)?;
    findings.push(whole(bench)?);
    Ok(findings)
}

fn first_page(bench: &Bench) -> Result<Vec<Finding>> {
    let (small, own) = (bench.scratch()?, bench.scratch()?);
    let rows = bench.settings.store_rows.max(bench.sizes.replayed);
    fill("history", small.path(), SMALL, SMALL / EACH, SHORT)?;
    let (dir, conversations) = if rows >= SHARED {
        (large(bench, "history")?, CONVERSATIONS)
    } else {
        let conversations = (rows / EACH).max(1);
        fill("history", own.path(), rows, conversations, SHORT)?;
        (own.path(), conversations)
    };
    let run = bench.run_time(3);
    let side = |dir: &std::path::Path, chosen: u64, conversations: u64| {
        let pages = FirstPages { dir: dir.to_owned(), chosen, conversations, run_ms: millis(run) };
        alone(&Role::FirstPages(pages), Place::Measured(&bench.cores), run)
    };
    let chosen = (SMALL / EACH).min(conversations);
    let rounds = bench.alternate(
        "first page",
        &mut [
            Side::new("ours", || side(dir, chosen, conversations)),
            Side::new("in 10,000", || side(small.path(), SMALL / EACH, SMALL / EACH)),
            Side::new("any", || side(dir, conversations.min(1000), conversations)),
        ],
    )?;
    Ok(vec![
        Finding::new("history first page", "1/s", "in 10,000 messages", rounds.compare(0, 1))
            .at_least(1.0 / 1.5, None)
            .note(format!("pages of {FIRST} of {chosen} conversations in turn, in a store of {rows} messages")),
        Finding::new("history any first page", "1/s", "in 10,000 messages", rounds.compare(2, 1))
            .note("of up to 1000 conversations in turn: most of it is not in the database's memory".to_owned()),
    ])
}

fn whole(bench: &Bench) -> Result<Finding> {
    let (dir, here) = (bench.scratch()?, Place::Measured(&bench.cores));
    // Four conversations talk in turn: what one of them says lies apart in the journal.
    let rows = bench.sizes.replayed;
    fill("history", dir.path(), rows, 4, crate::cli::bench::events::TEXT)?;
    let run = bench.run_time(60);
    let rounds = bench.alternate(
        "whole conversation",
        &mut [
            Side::new("ours", || alone(&Role::WholeConversation { dir: dir.path().to_owned() }, here, run)),
            Side::new("indexed SELECT", || alone(&Role::RawHistory { source: dir.path().to_owned() }, here, run)),
        ],
    )?;
    Ok(Finding::new("history whole", "1/s", "indexed SELECT", rounds.compare(0, 1))
        .at_least(0.5, None)
        .note(format!("a conversation of {} messages in pages of {PAGE}", rows / 4)))
}
