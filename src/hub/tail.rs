//! The present: what was just committed, kept once in memory for every subscriber that keeps up.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use switchboard_contract::storage::{CommitListener, Entry};
use switchboard_contract::{EventData, MessageId, Position, Shard, TenantId, Topic};
use tokio::sync::Notify;

use super::chunk::{Chunk, Keys};
use super::core::Core;

/// The last events of one tenant's shard, in one piece: whoever falls off its beginning reads the store.
pub(super) struct Tail {
    pub(super) tenant: TenantId,
    pub(super) shard: Shard,
    end: AtomicU64,
    chunks: RwLock<VecDeque<Arc<Chunk>>>,
    cores: Mutex<Vec<Weak<Core>>>,
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tail({}/{} at {})", self.tenant, self.shard.0, self.end().0)
    }
}

impl Tail {
    fn new(tenant: TenantId, shard: Shard) -> Self {
        let (chunks, cores) = (RwLock::default(), Mutex::default());
        Self { tenant, shard, end: AtomicU64::new(0), chunks, cores }
    }

    /// The end of the journal, as far as known.
    #[inline]
    pub(super) fn end(&self) -> Position {
        Position(self.end.load(Ordering::Acquire))
    }

    /// Somebody saw the journal reach this far. Returns whether that is news.
    pub(super) fn raise(&self, end: Position) -> bool {
        self.end.fetch_max(end.0, Ordering::AcqRel) < end.0
    }

    /// The chunk that goes on right behind `after`.
    pub(super) fn behind(&self, after: Position) -> Option<Arc<Chunk>> {
        let chunks = self.chunks.read();
        let index = chunks.partition_point(|chunk| chunk.until <= after);
        chunks.get(index).filter(|chunk| chunk.after <= after).cloned()
    }

    pub(super) fn attach(&self, core: &Arc<Core>) {
        let mut cores = self.cores.lock();
        cores.retain(|core| core.strong_count() > 0);
        cores.push(Arc::downgrade(core));
    }

    /// Wakes one waiting worker of every subscriber; it wakes others as there is work.
    pub(super) fn wake(&self) {
        for core in self.cores.lock().iter().filter_map(Weak::upgrade) {
            core.wake();
        }
    }

    fn is_unused(&self) -> bool {
        self.cores.lock().iter().all(|core| core.strong_count() == 0)
    }

    fn push(&self, chunk: Chunk, budget: usize) {
        let until = chunk.until;
        let mut chunks = self.chunks.write();
        // A hint was lost: what is kept must stay in one piece.
        if chunks.back().is_some_and(|last| last.until != chunk.after) {
            chunks.clear();
        }
        chunks.push_back(Arc::new(chunk));
        shrink(&mut chunks, budget);
        drop(chunks);
        self.raise(until);
    }

    fn bytes(&self) -> usize {
        self.chunks.read().iter().map(|chunk| chunk.bytes).sum()
    }

    /// A message was recalled: what is kept up to it is no longer what the store would give.
    fn forget(&self, message: MessageId) -> bool {
        let mut chunks = self.chunks.write();
        let holds = |chunk: &Arc<Chunk>| chunk.entries.iter().any(|entry| entry.message_id == Some(message));
        match chunks.iter().rposition(holds) {
            Some(index) => chunks.drain(..=index).count() > 0,
            None => false,
        }
    }
}

/// Drops the oldest until the rest is within its budget. What is dropped is read from the store.
fn shrink(chunks: &mut VecDeque<Arc<Chunk>>, budget: usize) {
    let mut bytes: usize = chunks.iter().map(|chunk| chunk.bytes).sum();
    while bytes > budget {
        let Some(gone) = chunks.pop_front() else { return };
        bytes -= gone.bytes;
    }
}

/// All tails, and the listener that fills them.
#[derive(Debug)]
pub(super) struct Tails {
    keys: Keys,
    /// Bytes of all tails together.
    budget: usize,
    tails: RwLock<HashMap<TenantId, Vec<Arc<Tail>>>>,
    moved: Mutex<Vec<Arc<Tail>>>,
    pub(super) herald: Notify,
    /// Counts recalls, so that other copies of events can be dropped too.
    pub(super) recalls: AtomicU64,
}

impl Tails {
    pub(super) fn new(keys: Keys, budget: usize) -> Self {
        Self {
            keys,
            budget,
            tails: RwLock::default(),
            moved: Mutex::default(),
            herald: Notify::new(),
            recalls: AtomicU64::new(0),
        }
    }

    /// The tails of a tenant's shards, kept from now on.
    pub(super) fn of(&self, tenant: &TenantId, shards: u16) -> Vec<Arc<Tail>> {
        let mut tails = self.tails.write();
        let new = || (0..shards.max(1)).map(|shard| Arc::new(Tail::new(tenant.clone(), Shard(shard)))).collect();
        tails.entry(tenant.clone()).or_insert_with(new).clone()
    }

    pub(super) fn all(&self) -> Vec<Arc<Tail>> {
        self.tails.read().values().flatten().cloned().collect()
    }

    /// Drops the tails of tenants that nobody listens to, and what others keep beyond their share since more came.
    pub(super) fn sweep(&self) {
        let mut tails = self.tails.write();
        tails.retain(|_, tails| !tails.iter().all(|tail| tail.is_unused()));
        for of_tenant in tails.values() {
            let share = self.share(tails.len(), of_tenant.len());
            of_tenant.iter().for_each(|tail| shrink(&mut tail.chunks.write(), share));
        }
    }

    /// What one tail may keep while there are so many tenants, each with so many shards.
    fn share(&self, tenants: usize, shards: usize) -> usize {
        self.budget / tenants.saturating_mul(shards).max(1)
    }

    /// Bytes kept in all tails.
    pub(super) fn bytes(&self) -> usize {
        self.tails.read().values().flatten().map(|tail| tail.bytes()).sum()
    }

    /// Those that moved since the last call.
    pub(super) fn moved(&self) -> Vec<Arc<Tail>> {
        std::mem::take(&mut *self.moved.lock())
    }

    pub(super) fn tell(&self, tail: &Arc<Tail>) {
        let mut moved = self.moved.lock();
        if !moved.iter().any(|known| Arc::ptr_eq(known, tail)) {
            moved.push(Arc::clone(tail));
        }
        drop(moved);
        self.herald.notify_one();
    }

    fn forget_recalled(&self, tail: &Tail, entries: &[Entry]) {
        let recalls = |entry: &&Entry| {
            let mark = b"\"type\":\"switchboard.recall\"";
            entry.topic == Topic::Messages
                && entry.message_id.is_none()
                && entry.json.windows(mark.len()).any(|window| window == mark)
        };
        for entry in entries.iter().filter(recalls) {
            self.recalls.fetch_add(1, Ordering::AcqRel);
            if let Ok(EventData::Recall(recall)) = entry.event().map(|event| event.data)
                && let Some(message) = recall.target.id
            {
                tail.forget(message);
            }
        }
    }
}

impl CommitListener for Tails {
    fn committed(&self, tenant: &TenantId, shard: Shard, entries: &[Entry]) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        let (tail, share) = {
            let tails = self.tails.read();
            let Some(of_tenant) = tails.get(tenant) else { return };
            let Some(tail) = of_tenant.get(usize::from(shard.0)) else { return };
            (Arc::clone(tail), self.share(tails.len(), of_tenant.len()))
        };
        self.forget_recalled(&tail, entries);
        let after = Position(first.position.0.saturating_sub(1));
        tail.push(Chunk::new(&self.keys, after, last.position, entries.to_vec()), share);
        self.tell(&tail);
    }
}
