//! What goes into the machine and what comes out of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::aside::{Save, SetAside};
use super::run::DispatchRun;
use super::settings::Settings;
use super::{DeliveryKind, Handle, Head, Key, Lease, Place, State, Worker};
use crate::ids::{Position, Sequence, Shard};

/// Events read from the journal, ascending, of one shard.
#[derive(Clone, Copy)]
pub struct Feed<'a> {
    /// The shard.
    pub shard: Shard,
    /// They come right behind this position …
    pub after: Position,
    /// … and are all there is up to this one, included.
    pub until: Position,
    /// The events; kept as they are until they are done with.
    pub heads: &'a Arc<[Head]>,
    /// Which of them the subscriber wants.
    pub wanted: Wanted<'a>,
}

/// What a subscriber wants of events.
#[derive(Clone, Copy)]
pub enum Wanted<'a> {
    /// All of them, and nobody needs to look at each.
    All,
    /// Those with the indices it says so of.
    Those(&'a dyn Fn(usize) -> bool),
}

impl Wanted<'_> {
    /// Whether the subscriber wants the event with this index.
    #[inline]
    pub fn has(&self, index: usize) -> bool {
        match self {
            Self::All => true,
            Self::Those(has) => has(index),
        }
    }
}

/// Events of one conversation, read for a redrive: ascending by sequence.
#[derive(Clone, Copy)]
pub struct AsideFeed<'a> {
    /// The conversation.
    pub key: Key,
    /// Its shard.
    pub shard: Shard,
    /// They begin with this number (the one that was asked for).
    pub from: Sequence,
    /// As in [`Action::ReadAside`]; the reading began after it was said.
    pub seen: Sequence,
    /// The events; none means that there is nothing more.
    pub heads: &'a [Head],
    /// Whether the subscriber wants the event with this index.
    pub wanted: &'a dyn Fn(usize) -> bool,
}

impl fmt::Debug for Feed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Feed({:?} {}..={}, {} heads)", self.shard, self.after.0, self.until.0, self.heads.len())
    }
}

impl fmt::Debug for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "All",
            Self::Those(_) => "Those(..)",
        })
    }
}

impl fmt::Debug for AsideFeed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsideFeed({:?} from {}, {} heads)", self.key, self.from.0, self.heads.len())
    }
}

/// What happens to the machine.
#[derive(Debug)]
pub enum Input<'a> {
    /// A worker is there.
    Join(Worker),
    /// A worker is gone; `lost` when it did not say good-bye. What it had out comes again.
    Leave {
        /// Which.
        worker: Worker,
        /// Its end came unasked: the first thing it held counts as failed.
        lost: bool,
    },
    /// The journal of a shard ends here.
    Tail(Shard, Position),
    /// Retention has removed everything up to here.
    Trimmed(Shard, Position),
    /// Which conversations have events in the backlog of a shard up to `until`, each with its last position there.
    Surveyed {
        /// The shard.
        shard: Shard,
        /// The end of the backlog looked at.
        until: Position,
        /// Everything found.
        conversations: &'a [(Key, Position)],
        /// There are no others.
        complete: bool,
    },
    /// Events, asked for by [`Action::Read`].
    Feed(Feed<'a>),
    /// Events, asked for by [`Action::ReadAside`].
    FeedAside(AsideFeed<'a>),
    /// A worker wants up to so many deliveries.
    Take(Worker, usize),
    /// A worker that pulls: acknowledges the page `cursor` if it is its own, gets its open page again if it has one,
    /// and else a new one.
    Page {
        /// Who.
        worker: Worker,
        /// The lease of the page it had.
        cursor: Option<Lease>,
        /// At most so many.
        max: usize,
    },
    /// These are handled.
    Ack(&'a [Handle]),
    /// Everything of one conversation that its worker has, up to this delivery, is handled.
    AckThrough(Handle),
    /// Everything still open under a lease of this worker is handled.
    AckLease(Worker, Lease),
    /// This one failed; try again after so long (`None`: by the settings).
    Nack(Handle, Option<Duration>),
    /// This one never reached its worker: it comes again and nothing counts as failed.
    Return(Handle),
    /// This event no longer exists.
    Gone(Place),
    /// Redeliver a conversation that is set aside.
    Redrive(Key),
    /// Give up the first open event of a conversation that is set aside, and redeliver what stands behind it.
    PassOver(Key),
    /// What is there to be stored? Answered by [`Action::Save`].
    Collect,
    /// The last [`Save`] is durable.
    Saved,
    /// The next [`Save`] is to carry the cursor although nothing was acknowledged.
    Flush,
    /// The store does not answer (`true`), or does so again.
    Trouble(bool),
    /// Time has passed.
    Tick,
    /// The specification changed.
    Settings(Settings),
}

/// One delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// To whom.
    pub worker: Worker,
    /// Its name.
    pub handle: Handle,
    /// Its number in its conversation; 0 for none.
    pub sequence: Sequence,
    /// Its conversation's key.
    pub key: Key,
    /// The how-manieth delivery of this event, from 1, as far as remembered over a restart.
    pub attempt: u32,
    /// How it comes.
    pub kind: DeliveryKind,
}

/// What the machine wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Hand this to its worker.
    Deliver(Dispatch),
    /// Hand these to their worker. [`Action::dispatches`] gives them one by one.
    DeliverRun(DispatchRun),
    /// Read `after < position ≤ until`, from the lower end, about `limit` events, and say [`Input::Feed`].
    Read {
        /// The shard.
        shard: Shard,
        /// Behind this.
        after: Position,
        /// Up to this, included.
        until: Position,
        /// About so many.
        limit: usize,
    },
    /// Read a conversation from this number on, at most `limit` events, and say [`Input::FeedAside`].
    ReadAside {
        /// The conversation.
        key: Key,
        /// Its shard.
        shard: Shard,
        /// From this number on.
        from: Sequence,
        /// To be repeated in the answer: an empty answer is final up to this number.
        seen: Sequence,
        /// At most so many.
        limit: usize,
    },
    /// Find out which conversations have events in `after < position ≤ until`, and say [`Input::Surveyed`].
    Survey {
        /// The shard.
        shard: Shard,
        /// Behind this.
        after: Position,
        /// Up to this, included.
        until: Position,
    },
    /// There is something to store: say [`Input::Collect`] when the store has time for it.
    Unsaved,
    /// The answer to [`Input::Collect`].
    Save(Box<Save>),
    /// The subscriber's state changed.
    State(State),
    /// The answer to an acknowledgement: so many took effect, so many were none of an open delivery; durable once
    /// the save with this number is.
    Acked {
        /// Took effect.
        acked: usize,
        /// Late, repeated or never valid.
        stale: usize,
        /// The number of the save.
        save: u64,
    },
    /// A conversation was set aside, or changed why.
    Aside(SetAside),
    /// An event was set aside for good by the policy `skip`, or because it has no conversation.
    Skipped {
        /// Which.
        place: Place,
        /// Failed deliveries.
        attempts: u32,
    },
    /// A conversation that was set aside is whole again.
    Restored(Key),
    /// History is missing: what was to come up to `until` (behind `after`) is gone.
    Missing {
        /// The shard.
        shard: Shard,
        /// Behind this.
        after: Position,
        /// Up to this, included.
        until: Position,
    },
}
