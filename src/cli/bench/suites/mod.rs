//! What is measured, against what, and what it must reach.

pub(super) mod append;
pub(super) mod fanout;
pub(super) mod gate;
pub(super) mod history;
pub(super) mod ingest;
pub(super) mod memory;
pub(super) mod pipeline;
pub(super) mod repair;
pub(super) mod replay;
pub(super) mod sockets;

use std::path::Path;
use std::time::Duration;

use switchboard_contract::Result;

use super::callbacks::{CONVERSATIONS, Vendor};
use super::child::{Child, Place, Ready};
use super::engine::append::Fill;
use super::load::{Delivered, Load};
use super::measure::{Bench, Figure, progress};
use super::role::Role;

/// The longest that a child may take for anything beside measuring.
const PATIENCE: Duration = Duration::from_secs(120);

const fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

/// Runs a child that needs no driver.
fn alone(role: &Role, place: Place<'_>, run: Duration) -> Result<Figure> {
    Child::start(role, place)?.done(run * 2 + PATIENCE)
}

/// Posts callbacks to a server from the driving core.
fn post(bench: &Bench, server: &Ready, vendor: Vendor, run: Duration, delivered: Option<Delivered>) -> Result<Figure> {
    let load = Load {
        address: server.address,
        vendor,
        connections: bench.sizes.connections,
        first: 0,
        warm_ms: millis(bench.sizes.warm),
        run_ms: millis(run),
        delivered,
    };
    Child::start(&Role::Load(load), Place::Driving(&bench.cores))?.done(run + PATIENCE)
}

/// Makes a store of `rows` messages with texts of so many characters.
fn fill(name: &str, dir: &Path, rows: u64, conversations: u64, text: usize) -> Result<()> {
    let bar = progress(name, 1);
    bar.set_message(format!("{rows} messages"));
    let role = Role::Fill(Fill { dir: dir.to_owned(), rows, conversations, text });
    // A hundred microseconds for each is several times what it takes.
    let figure = Child::start(&role, Place::Anywhere)?.done(PATIENCE + Duration::from_micros(rows * 100))?;
    bar.finish_and_clear();
    debug_assert!(figure.count == rows, "a store holds what was asked for");
    Ok(())
}

/// Characters of a text in a large store.
const SHORT: usize = 40;

/// The store of as many messages as were asked for; what is measured over it shares it.
fn large<'a>(bench: &'a Bench, name: &str) -> Result<&'a Path> {
    bench.large(|dir| fill(name, dir, bench.settings.store_rows, CONVERSATIONS, SHORT))
}
