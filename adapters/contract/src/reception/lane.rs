//! How far one shard has been read.

use super::shared::KeyMap;
use super::types::{Head, Key, Settings};
use crate::ids::{Position, Shard};

/// A newest-first window while it is being read.
#[derive(Clone, Debug)]
pub(super) struct Gather {
    pub(super) after: Position,
    pub(super) read: Position,
    pub(super) heads: Vec<Head>,
}

/// One shard. Everything up to `live` is either in the hole, in the ledger, or done with; everything above is unread.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) shard: Shard,
    /// The stored low-water mark.
    pub(super) low: Position,
    /// Retention has removed everything up to here.
    pub(super) trimmed: Position,
    /// Backlog not read yet: `hole.0 < position ≤ hole.1`. Empty when both are equal.
    pub(super) hole: (Position, Position),
    /// Live events are read up to here.
    pub(super) live: Position,
    /// The end of the journal, as far as known.
    pub(super) tail: Position,
    /// Up to here a replay asked for it: deliveries are historical.
    pub(super) history: Position,
    /// The walk is over when everything up to here is done with (concurrent reception).
    pub(super) goal: Position,
    /// The hole is walked newest-first. What arrives during the walk comes after it, oldest first.
    pub(super) descending: bool,
    pub(super) gather: Option<Gather>,
    /// Under concurrent reception: where the backlog of each conversation ends. `None` while it is not known.
    pub(super) survey: Option<KeyMap<Position>>,
}

impl Lane {
    pub(super) fn new(shard: Shard, low: Position) -> Self {
        Self {
            shard,
            low,
            trimmed: Position::START,
            hole: (low, low),
            live: low,
            tail: low,
            history: Position::START,
            goal: low,
            descending: false,
            gather: None,
            survey: None,
        }
    }

    #[inline]
    pub(super) fn has_hole(&self) -> bool {
        self.hole.0 < self.hole.1
    }

    pub(super) fn in_hole(&self, position: Position) -> bool {
        self.hole.0 < position && position <= self.hole.1
    }

    /// Whether the backlog of a conversation has been read.
    pub(super) fn has_read(&self, key: Key) -> bool {
        if !self.has_hole() {
            return true;
        }
        let last = self.survey.as_ref().map(|survey| survey.get(&key));
        last.is_some_and(|last| last.is_none_or(|last| !self.descending && *last <= self.hole.0))
    }

    /// Everything above `live` becomes backlog.
    pub(super) fn open_hole(&mut self) {
        if !self.has_hole() && self.live < self.tail {
            self.hole = (self.live, self.tail);
            self.live = self.tail;
        } else if self.hole.1 == self.live && self.live < self.tail && self.gather.is_none() {
            self.hole.1 = self.tail;
            self.live = self.tail;
        }
    }

    /// The part of the hole that a newest-first walk looks at next.
    pub(super) fn window(&self, settings: &Settings) -> (Position, Position) {
        let after = Position(self.hole.1.0.saturating_sub(settings.window()));
        (after.max(self.hole.0), self.hole.1)
    }
}
