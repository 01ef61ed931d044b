//! A session that has nothing to do lends its connection, so that runs for many devices are written to it without waking
//! the session: see [`Outlet`]. The reception machine learns what went out when the session takes the connection back,
//! and stays the one that knows what the device has and has not.

use std::time::Duration;

use switchboard_contract::reception::Input;
use switchboard_contract::{Position, Result, Timestamp};

use super::session::{SHARD, Session};
use crate::service::{Outlet, Piece};
use crate::transport::Transport;

/// A connection is lent for so long after a run for many; then its session looks after what is not acknowledged.
const LENT: Duration = Duration::from_secs(1);

/// What a session knows of lending its connection.
#[derive(Default)]
pub(super) struct Lending {
    /// Somebody else could write to this connection at all.
    pub(super) able: bool,
    /// Somebody else does.
    lent: bool,
    /// Taken back, and not looked at yet.
    outlet: Option<Outlet>,
    /// It is worth it until then.
    until: Option<Timestamp>,
    /// Everything up to here has gone out, or is nothing for this device.
    written: u64,
}

impl Session {
    /// Something went out that many devices get.
    pub(super) fn was_wide(&mut self) {
        if self.lending.able {
            self.lending.until = Some(self.now() + LENT);
        }
    }

    /// When a connection is not lent any more.
    pub(super) fn lent_until(&self) -> Option<Timestamp> {
        self.lending.until.filter(|until| *until > self.now())
    }

    /// Nobody else writes to the connection from now on. Returns whether something that was begun must be finished first.
    pub(super) fn take_back(&mut self) -> bool {
        if std::mem::take(&mut self.lending.lent) {
            self.lending.outlet = self.route.take_back();
        }
        self.lending.outlet.as_ref().is_some_and(|outlet| outlet.rest.is_some())
    }

    /// Lends the connection while the session waits, if everything that there is for the device has gone out.
    pub(super) fn lend(&mut self, transport: &Transport) {
        let Some(outlet) = self.lending.outlet.take().or_else(|| self.outlet(transport)) else { return };
        match self.route.lend(outlet) {
            Ok(()) => self.lending.lent = true,
            // The bell has been rung.
            Err(outlet) => self.lending.outlet = Some(outlet),
        }
    }

    fn outlet(&self, transport: &Transport) -> Option<Outlet> {
        let until = self.lent_until()?;
        if !self.live || self.behind || self.pulling.is_some() || !self.all_out() || !self.outbox.is_empty() {
            return None;
        }
        let config = &self.shared.config;
        let entries = (config.max_in_flight.max(1) as usize).saturating_sub(self.held_entries);
        let bytes = config.max_unacked_bytes.saturating_sub(self.held_bytes);
        let (stream, websocket) = transport.plain()?;
        let rests_until = self.flush_at.unwrap_or(Timestamp(0));
        let (stream, room) = (stream.clone(), (entries, bytes));
        Some(Outlet { stream, websocket, room, rests_until, until, through: self.tail, rest: None })
    }

    /// Learns what went out while the connection was lent.
    pub(super) async fn catch_up(&mut self) -> Result<()> {
        let Some(outlet) = self.lending.outlet.take() else { return Ok(()) };
        if let Some(rest) = outlet.rest {
            self.outbox.owe(rest);
        }
        if outlet.through <= self.tail {
            return Ok(());
        }
        self.was_wide();
        self.lending.written = outlet.through;
        self.flush_at = Some(outlet.rests_until).filter(|at| *at > self.now());
        self.reach(outlet.through);
        self.deliver().await
    }

    /// The log has this much for the device.
    pub(super) fn reach(&mut self, tail: u64) {
        self.tail = self.tail.max(tail);
        self.apply(Input::Tail(SHARD, Position(tail)));
        self.behind = true;
    }

    /// What has not gone out yet of a piece that is put out for the first time.
    pub(super) fn unwritten(&self, piece: Piece) -> Option<Piece> {
        let written = self.lending.written;
        if piece.first().position.0 > written {
            return Some(piece);
        }
        Piece::between(&piece.run, written, piece.last(), usize::MAX)
    }
}
