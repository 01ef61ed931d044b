//! `memory`: what a million conversations and a thousand idle streams cost a running sidecar.

use switchboard_contract::Result;

use super::{PATIENCE, SHORT, fill};
use crate::cli::bench::child::{Child, Place};
use crate::cli::bench::engine::serve::{STREAM_PATH, Serve, TOKEN};
use crate::cli::bench::measure::{Bench, Comparison, Figure, Finding, Side, progress};
use crate::cli::bench::role::Role;
use crate::cli::bench::sockets::Sockets;

pub(in crate::cli::bench) fn run(bench: &Bench) -> Result<Vec<Finding>> {
    let mut findings = vec![with_many_conversations(bench)?];
    let rounds = bench.alternate(
        "memory",
        &mut [
            Side::new("ours", || {
                let dir = bench.scratch()?;
                let server = Child::start(
                    &Role::Serve(Serve { streams: bench.sizes.streams, journal: true, ..Serve::at(dir.path()) }),
                    Place::Measured(&bench.cores),
                )?;
                idle(bench, server).map(|(_, each)| each)
            }),
            Side::new("raw", || {
                idle(bench, Child::start(&Role::IdleSockets, Place::Measured(&bench.cores))?).map(|(_, each)| each)
            }),
        ],
    )?;
    let comparison = rounds.compare(0, 1);
    let limit = Comparison::with_limit(comparison.ours, 12.0);
    findings.push(Finding::new("an idle stream", "KiB", "12 KiB", limit).at_most_that());
    findings.push(Finding::new("an idle stream", "KiB", "the web server's own, 4 KiB buffers", comparison));
    Ok(findings)
}

/// The server has appended to every conversation itself, so that whatever it remembers of them it remembers.
fn with_many_conversations(bench: &Bench) -> Result<Finding> {
    let dir = bench.scratch()?;
    let (known, streams) = (bench.sizes.known, bench.sizes.streams);
    fill("memory", dir.path(), known, known, SHORT)?;
    let bar = progress("memory", 1);
    bar.set_message("touching every conversation");
    let serve = Serve { streams, journal: true, touch: known, over: known, ..Serve::at(dir.path()) };
    let server = Child::start(&Role::Serve(serve), Place::Measured(&bench.cores))?;
    let (whole, _) = idle(bench, server)?;
    bar.finish_and_clear();
    let comparison = Comparison::with_limit(whole.rate, 256.0);
    Ok(Finding::new(&format!("{known} conversations, {streams} idle streams"), "MiB", "256 MiB", comparison)
        .at_most_that()
        .note("resident memory; each conversation appended to by this very process; once, not in rounds"))
}

/// The memory of the whole process in MiB, and of one stream in KiB, as rates.
fn idle(bench: &Bench, server: Child) -> Result<(Figure, Figure)> {
    // A million appends come before a server with that many conversations is ready.
    let ready = server.ready(PATIENCE * 5)?;
    std::thread::sleep(bench.sizes.settle);
    let before = server.rss_kib()?;
    let sockets = Sockets {
        address: ready.address,
        path: STREAM_PATH.to_owned(),
        token: TOKEN.to_owned(),
        connections: bench.sizes.streams,
        acknowledge: false,
        progress: None,
        warm_ms: 0,
        run_ms: 0,
    };
    let reader = Child::start(&Role::Sockets(sockets), Place::Driving(&bench.cores))?;
    reader.ready(PATIENCE)?;
    std::thread::sleep(bench.sizes.settle);
    let after = server.rss_kib()?;
    reader.stop(PATIENCE)?;
    drop(server);
    let each = after.saturating_sub(before) as f64 / bench.sizes.streams as f64;
    let whole = Figure { rate: after as f64 / 1024.0, rss_kib: after, ..Figure::default() };
    Ok((whole, Figure { rate: each, rss_kib: after, ..Figure::default() }))
}
