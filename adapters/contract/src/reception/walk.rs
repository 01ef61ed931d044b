//! The walk from backlog to live events, and what every input is followed by.

use super::direct::Direct;
use super::lane::Lane;
use super::shared::Shared;
use super::types::{Action, Settings, State, Worker};
use super::{Flow, Reception};
use crate::ids::{Position, Shard};

impl Reception {
    pub(super) fn join(&mut self, worker: Worker) {
        if self.workers.contains(&worker) {
            return;
        }
        if self.workers.is_empty() {
            self.begin_walk(true);
        }
        self.workers.push(worker);
        if self.workers.len() > 1 {
            self.share();
        }
    }

    pub(super) fn raise(&mut self, shard: Shard, tail: Position) {
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.shard == shard) {
            lane.tail = lane.tail.max(tail);
        }
    }

    /// The way to the present begins again, from what is not done with.
    pub(super) fn begin_walk(&mut self, connected: bool) {
        self.online = false;
        self.reached = None;
        self.surveying = false;
        self.make_offline();
        // What is left of an earlier walk comes first, and what came after it behind it, in order.
        let newest_first = self.settings.newest_first() && connected;
        for lane in &mut self.lanes {
            let fresh = newest_first && self.flow.first(lane.shard).is_none();
            lane.gather = None;
            lane.survey = None;
            lane.descending &= lane.has_hole();
            lane.open_hole();
            lane.goal = lane.tail;
            lane.descending |= fresh && lane.has_hole();
        }
    }

    pub(super) fn flush(&mut self) {
        if self.lanes.iter().any(|lane| self.mark(lane) > lane.low) {
            self.saving.dirty = true;
        }
    }

    pub(super) fn change_settings(&mut self, settings: Settings) {
        let other_walk = settings.reception != self.settings.reception || settings.backlog != self.settings.backlog;
        self.settings = settings;
        if other_walk && !self.online {
            self.begin_walk(false);
        }
    }

    /// Takes the step that the last input made possible: also the one to online, in that very step.
    pub(super) fn settle(&mut self, actions: &mut Vec<Action>) {
        if self.online && (self.workers.is_empty() || self.trouble || self.mailbox_is_full()) {
            self.begin_walk(false);
        }
        if !self.online && !self.workers.is_empty() && !self.trouble {
            self.walk();
        }
        let state = self.judge();
        if state != self.state {
            self.state = state;
            actions.push(Action::State(state));
        }
    }

    pub(super) fn mailbox_is_full(&self) -> bool {
        let ahead = |lane: &Lane| lane.tail.0.saturating_sub(lane.live.0) > self.settings.mailbox();
        self.flow.out() >= self.settings.max_in_flight && self.lanes.iter().any(ahead)
    }

    pub(super) fn walk(&mut self) {
        if self.reached.is_none() {
            if !self.settings.concurrent() && self.guards.live_waits() {
                for lane in &mut self.lanes {
                    lane.descending &= lane.has_hole();
                    lane.open_hole();
                    lane.goal = lane.tail;
                }
            }
            if self.lanes.iter().all(|lane| self.has_reached(lane)) && self.asides_let_go() {
                self.reached = Some(self.saving.ticket());
            }
        }
        let durable = |number: u64| self.saving.saved >= number || !self.guards.save_before_online();
        if self.reached.is_some_and(durable) {
            self.online = true;
            self.reached = None;
        }
    }

    pub(super) fn has_reached(&self, lane: &Lane) -> bool {
        !lane.has_hole() && (self.mark(lane) >= lane.goal || !self.guards.ack_before_online())
    }

    pub(super) fn asides_let_go(&self) -> bool {
        self.guards.aside_leaves() || self.asides.is_empty()
    }

    pub(super) fn judge(&self) -> State {
        if self.workers.is_empty() {
            State::Connecting
        } else if self.trouble {
            State::Degraded
        } else if self.online {
            State::Online
        } else if self.reached.is_some() || !self.has_backlog_to_give() {
            State::Acknowledging
        } else {
            State::Offline
        }
    }

    pub(super) fn has_backlog_to_give(&self) -> bool {
        let queued = match &self.flow {
            Flow::Direct(direct) => direct.queued(),
            Flow::Shared(shared) => shared.queued(),
        };
        queued > 0 || self.lanes.iter().any(Lane::has_hole)
    }

    /// From the ledger of one worker to that of many.
    pub(super) fn share(&mut self) {
        if let Flow::Direct(direct) = &self.flow {
            self.flow = Flow::Shared(Shared::from_direct(direct, self.workers.first().copied()));
        }
    }

    /// And back, when everything is ordinary again.
    pub(super) fn unshare(&mut self) {
        let Flow::Shared(shared) = &self.flow else { return };
        let [lane] = self.lanes.as_slice() else { return };
        let mixed = lane.descending || self.settings.concurrent();
        let quiet = self.asides.values().all(|aside| aside.drive.is_none());
        if shared.is_idle() && self.workers.len() == 1 && quiet && !(mixed && lane.has_hole()) {
            self.flow = Flow::Direct(Direct::new(lane.shard));
        }
    }
}
