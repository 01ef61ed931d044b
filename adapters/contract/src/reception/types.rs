//! The words that go into the machine and come out of it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{Position, Sequence, Shard};
use crate::storage::{Backlog, PoisonPolicy, Reception as Mode, ShardCursor, SubscriberSpec};
use crate::time::Timestamp;

/// What keeps order: events with one key are never out to two workers at a time. A 64-bit hash of the conversation,
/// keyed with a secret of the process so that nobody can make two conversations meet on purpose. Two that do meet
/// by chance keep their orders, and are set aside together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub u64);

/// One of the workers that share a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Worker(pub u32);

/// The number under which deliveries went out together, never used again for this subscriber. 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lease(pub u64);

/// A place in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The shard.
    pub shard: Shard,
    /// The position in it.
    pub position: Position,
}

/// What the machine must know of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its place in its shard.
    pub position: Position,
    /// Its number in its conversation; 0 when it belongs to none. Then its key must be its own.
    pub sequence: Sequence,
    /// Its conversation's key.
    pub key: Key,
}

/// Names one delivery: an event, and the lease under which it went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    /// The event.
    pub place: Place,
    /// The lease.
    pub lease: Lease,
}

/// How an event reached the subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryKind {
    /// It happened while the subscriber was online.
    Online,
    /// It waited for the subscriber.
    Offline,
    /// It had been passed before, and a replay was asked for.
    Historical,
}

impl DeliveryKind {
    /// The stable name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Historical => "historical",
        }
    }
}

/// Where a subscriber stands on its walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nobody is there to receive.
    Connecting,
    /// Backlog goes out.
    Offline,
    /// All backlog is out; its acknowledgement is awaited.
    Acknowledging,
    /// What happens is delivered as it happens.
    Online,
    /// The store does not answer: what is known goes out, nothing can be confirmed.
    Degraded,
}

impl State {
    /// The stable name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Offline => "offline",
            Self::Acknowledging => "acknowledging",
            Self::Online => "online",
            Self::Degraded => "degraded",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the subscriber asked for, as far as the machine is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How backlog and live events meet.
    pub reception: Mode,
    /// In which order backlog comes.
    pub backlog: Backlog,
    /// Deliveries that may be out at a time, over all workers. At least 1.
    pub max_in_flight: usize,
    /// Events in one page of backlog. At least 1.
    pub page_size: usize,
    /// How long a delivery may be out.
    pub ack_deadline: Duration,
    /// Failed deliveries of one event before the poison policy applies. At least 1.
    pub max_attempts: u32,
    /// What happens then.
    pub poison: PoisonPolicy,
    /// The wait after the first failure; each further one doubles it.
    pub retry_base: Duration,
    /// The longest wait between two tries.
    pub retry_cap: Duration,
}

impl Settings {
    /// Takes over a specification; values of zero become one.
    pub fn new(spec: &SubscriberSpec) -> Self {
        let at_least_one = |n: u32| usize::try_from(n.max(1)).unwrap_or(usize::MAX);
        Self {
            reception: spec.reception,
            backlog: spec.backlog,
            max_in_flight: at_least_one(spec.max_in_flight),
            page_size: at_least_one(spec.page_size),
            ack_deadline: spec.ack_deadline,
            max_attempts: spec.max_attempts.max(1),
            poison: spec.poison,
            retry_base: Duration::from_secs(1),
            retry_cap: Duration::from_secs(300),
        }
    }

    /// Events that may wait for acknowledgement before those ahead of them count as more than the mailbox holds.
    pub(super) fn mailbox(&self) -> u64 {
        self.max_in_flight.max(self.page_size) as u64
    }

    /// How much backlog a newest-first walk looks at in one go; also bounds the ranges it has to remember.
    pub(super) fn window(&self) -> u64 {
        (self.max_in_flight as u64).saturating_mul(16)
    }

    pub(super) fn newest_first(&self) -> bool {
        self.backlog == Backlog::NewestFirst
    }

    pub(super) fn concurrent(&self) -> bool {
        self.reception == Mode::Concurrent
    }

    /// The wait after the `failures`th failure.
    pub(super) fn retry_delay(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        self.retry_base.saturating_mul(1 << doublings).min(self.retry_cap)
    }
}

/// Why a conversation is set aside. The names are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// Its event failed too often; somebody must redrive it.
    Failed,
    /// Its event failed too often and is tried again ever more slowly.
    Blocked,
    /// It waits for its next try, and others need its room.
    Retrying,
    /// Somebody asked for it again; it is on its way.
    Redriving,
}

impl Why {
    /// The stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Blocked => "blocked",
            Self::Retrying => "retrying",
            Self::Redriving => "redriving",
        }
    }

    /// From a stored word; an unknown one means that somebody must look.
    pub fn from_word(word: &str) -> Self {
        match word {
            "blocked" => Self::Blocked,
            "retrying" => Self::Retrying,
            "redriving" => Self::Redriving,
            _ => Self::Failed,
        }
    }
}

/// A conversation set aside, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Which.
    pub key: Key,
    /// The place of the first event that is not acknowledged, as far as known.
    pub place: Place,
    /// The number of that event; everything from there on is the business of a redrive.
    pub from: Sequence,
    /// Deliveries of that event that failed.
    pub attempts: u32,
    /// Why.
    pub why: Why,
    /// Since when.
    pub since: Timestamp,
}

/// In [`Save::attempts`] and its stored form: the event is acknowledged although an earlier one of its conversation,
/// which is set aside, is not. A redrive leaves it out.
pub const ACKNOWLEDGED: u32 = u32::MAX;

/// What must be stored in one transaction before [`Input::Saved`] may be said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Save {
    /// Acknowledgements up to here are in it; ascending.
    pub number: u64,
    /// The cursors of the shards.
    pub cursors: Vec<ShardCursor>,
    /// Conversations set aside or changed.
    pub park: Vec<SetAside>,
    /// Conversations taken back.
    pub unpark: Vec<Key>,
    /// Failed deliveries by place; 0 forgets, [`ACKNOWLEDGED`] see there.
    pub attempts: Vec<(Place, u32)>,
}

/// Events read from the journal, ascending, of one shard.
#[derive(Clone, Copy)]
pub struct Feed<'a> {
    /// The shard.
    pub shard: Shard,
    /// They come right behind this position …
    pub after: Position,
    /// … and are all there is up to this one, included.
    pub until: Position,
    /// The events.
    pub heads: &'a [Head],
    /// Whether the subscriber wants the event with this index.
    pub wanted: &'a dyn Fn(usize) -> bool,
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
