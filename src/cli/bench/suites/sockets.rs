//! `ws`: one message to 300 stream subscribers over the sidecar's WebSocket.

use std::cell::Cell;

use switchboard_contract::Result;

use super::{PATIENCE, millis};
use crate::cli::bench::child::{Child, Place};
use crate::cli::bench::engine::serve::{STREAM_PATH, Serve, TOKEN};
use crate::cli::bench::measure::{Bench, Figure, Finding, Side};
use crate::cli::bench::role::Role;
use crate::cli::bench::sockets::Sockets;

pub(in crate::cli::bench) fn run(bench: &Bench) -> Result<Vec<Finding>> {
    let subscribers = bench.sizes.subscribers;
    // The raw side sends frames as large as ours.
    let payload = Cell::new(0);
    let rounds = bench.alternate(
        "ws",
        &mut [
            Side::new("ours", || {
                let dir = bench.scratch()?;
                let serve = Serve { streams: subscribers, publish: true, ..Serve::at(dir.path()) };
                let figure = streamed(bench, &Role::Serve(serve), true)?;
                payload.set(usize::try_from(figure.payload).unwrap_or(0));
                Ok(figure)
            }),
            Side::new("raw log", || {
                streamed(bench, &Role::RawSockets { connections: subscribers, bytes: payload.get() }, false)
            }),
        ],
    )?;
    Ok(vec![
        Finding::new(&format!("ws to {subscribers}"), "1/s", "raw pre-encoded log", rounds.compare(0, 1))
            .at_least(0.20, Some(0.5))
            .note(format!("{} bytes a delivery; ours acknowledged, the raw ones not", payload.get())),
    ])
}

fn streamed(bench: &Bench, server: &Role, ours: bool) -> Result<Figure> {
    let run = bench.run_time(3);
    let server = Child::start(server, Place::Measured(&bench.cores))?;
    let ready = server.ready(PATIENCE)?;
    let sockets = Sockets {
        address: ready.address,
        path: STREAM_PATH.to_owned(),
        token: TOKEN.to_owned(),
        connections: bench.sizes.subscribers,
        acknowledge: ours,
        progress: ready.meter,
        warm_ms: millis(bench.sizes.warm),
        run_ms: millis(run),
    };
    let reader = Child::start(&Role::Sockets(sockets), Place::Driving(&bench.cores))?;
    reader.ready(PATIENCE)?;
    let figure = reader.done(run + PATIENCE)?;
    drop(server);
    Ok(figure)
}
