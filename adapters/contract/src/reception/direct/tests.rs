//! Random lives of the ledger against one that keeps every event by itself.

use std::sync::Arc;

use super::*;
use crate::ids::Sequence;
use crate::reception::types::{Dispatch, Key};

const SHARD: Shard = Shard(3);
const ME: Worker = Worker(1);

/// The plainest ledger that does the same.
#[derive(Debug, Default)]
struct Plain {
    slots: Vec<Slot>,
    sent: usize,
}

impl Plain {
    fn count(&self, is: impl Fn(&Slot) -> bool) -> usize {
        self.slots.iter().filter(|slot| is(slot)).count()
    }

    fn take(&mut self, max: usize, lease: Lease) -> Vec<Dispatch> {
        let mut taken = Vec::new();
        while taken.len() < max {
            let Some(slot) = self.slots.get_mut(self.sent) else { break };
            self.sent += 1;
            if !slot.acked {
                slot.lease = lease;
                slot.attempt += 1;
                slot.turn = taken.len() as u32;
                taken.push(slot.dispatch(SHARD, ME));
            }
        }
        taken
    }

    fn again(&self, open: &[Lease]) -> Vec<Dispatch> {
        let out = self.slots.iter().filter(|slot| slot.is_out() && open.contains(&slot.lease));
        out.map(|slot| slot.dispatch(SHARD, ME)).collect()
    }

    fn ack(&mut self, handle: Handle) -> Option<(Lease, bool)> {
        let slot = self.slots.iter_mut().find(|slot| slot.position == handle.place.position)?;
        if !slot.is_out() || slot.lease != handle.lease {
            return None;
        }
        slot.acked = true;
        let answer = (slot.lease, slot.failures > 0);
        self.drop_acked();
        Some(answer)
    }

    fn ack_lease(&mut self, lease: Lease) -> (usize, Vec<Place>) {
        let (mut count, mut failed) = (0, Vec::new());
        for slot in self.slots.iter_mut().filter(|slot| slot.is_out() && slot.lease == lease) {
            slot.acked = true;
            count += 1;
            if slot.failures > 0 {
                failed.push(Place { shard: SHARD, position: slot.position });
            }
        }
        self.drop_acked();
        (count, failed)
    }

    fn drop_acked(&mut self) {
        let gone = self.slots.iter().take_while(|slot| slot.acked).count();
        self.slots.drain(..gone);
        self.sent = self.sent.saturating_sub(gone);
    }

    fn revoke_all(&mut self) {
        self.slots.iter_mut().filter(|slot| !slot.acked).for_each(|slot| slot.lease = Lease(0));
        self.sent = 0;
        self.drop_acked();
    }

    fn ranges(&self) -> Vec<(Position, Position)> {
        let both = self.slots.chunk_by(|one, other| one.acked == other.acked);
        both.filter(|slots| slots[0].acked).map(|slots| (slots[0].position, slots[slots.len() - 1].position)).collect()
    }

    fn before(&self, handle: Handle) -> Vec<Handle> {
        let last = self.slots.iter().find(|slot| slot.position == handle.place.position);
        let last = last.filter(|slot| slot.is_out() && slot.lease == handle.lease && slot.sequence.0 != 0);
        let Some(last) = last else { return Vec::new() };
        let before = |slot: &&Slot| slot.is_out() && slot.key == last.key && slot.sequence < last.sequence;
        self.slots.iter().filter(before).map(|slot| slot.dispatch(SHARD, ME).handle).collect()
    }
}

struct Life {
    seed: u64,
    real: Direct,
    plain: Plain,
    lease: u64,
    heads: Arc<[Head]>,
    /// How much of `heads` is pushed.
    pushed: usize,
}

impl Life {
    fn below(&mut self, n: usize) -> usize {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.seed >> 33) % n.max(1) as u64) as usize
    }

    fn push(&mut self) {
        if self.pushed >= self.heads.len() {
            let mut position = self.heads.last().map_or(0, |head| head.position.0);
            let heads = (0..1 + self.below(20)).map(|_| {
                position += if self.below(3) == 0 { 1 + self.below(4) as u64 } else { 1 };
                let sequence = Sequence(if self.below(9) == 0 { 0 } else { position });
                Head { position: Position(position), sequence, key: Key(self.below(3) as u64) }
            });
            self.heads = heads.collect();
            self.pushed = 0;
        }
        let start = self.pushed + usize::from(self.below(4) == 0);
        let end = self.heads.len().min(start + self.below(12));
        let kinds = [DeliveryKind::Online, DeliveryKind::Offline, DeliveryKind::Historical];
        let (kind, failures) = (kinds[self.below(3)], if self.below(6) == 0 { 1 } else { 0 });
        if start < end {
            self.real.push(&self.heads, start..end, kind, failures);
            self.plain.slots.extend(self.heads[start..end].iter().map(|head| Slot::new(head, kind, failures)));
        }
        self.pushed = end.max(start);
    }

    fn take(&mut self) {
        self.lease += 1;
        let (max, lease, mut actions) = (self.below(16), Lease(self.lease), Vec::new());
        let taken = self.real.take(ME, max, lease, &mut actions);
        let expected = self.plain.take(max, lease);
        assert_eq!(taken, expected.len());
        assert_eq!(actions.iter().flat_map(Action::dispatches).collect::<Vec<_>>(), expected);
    }

    /// Some event, open or not, with its lease or another.
    fn handle(&mut self) -> Handle {
        let (index, first) = (self.below(self.plain.slots.len()), self.below(2) == 0);
        let slot = self.plain.slots.get(if first { 0 } else { index });
        let (position, lease) = slot.map_or((Position(1), Lease(1)), |slot| (slot.position, slot.lease));
        let position = Position(position.0 + u64::from(self.below(12) == 0));
        let shard = if self.below(20) == 0 { Shard(4) } else { SHARD };
        let lease = Lease(lease.0 + u64::from(self.below(12) == 0));
        Handle { place: Place { shard, position }, lease }
    }

    fn ack(&mut self) {
        let handle = self.handle();
        let expected = if handle.place.shard == SHARD { self.plain.ack(handle) } else { None };
        assert_eq!(self.real.ack(handle, Guards::ALL), expected);
    }

    fn ack_lease(&mut self) {
        let lease = Lease((self.lease + 1).saturating_sub(self.below(4) as u64));
        let mut failed = Vec::new();
        let count = self.real.ack_lease(lease, &mut failed);
        assert_eq!((count, failed), self.plain.ack_lease(lease));
    }

    fn step(&mut self) {
        match self.below(24) {
            0..=5 => self.push(),
            6..=9 => self.take(),
            10..=18 => self.ack(),
            19..=21 => self.ack_lease(),
            22 => {
                self.real.make_offline();
                let online = |slot: &&mut Slot| slot.kind == DeliveryKind::Online;
                self.plain.slots.iter_mut().filter(online).for_each(|slot| slot.kind = DeliveryKind::Offline);
            }
            _ => {
                self.real.revoke_all();
                self.plain.revoke_all();
            }
        }
    }

    fn compare(&mut self) {
        let (real, plain) = (&self.real, &self.plain);
        let turn = |slot: &Slot| slot.is_out().then_some(slot.turn);
        let facts = |slot: Slot| (slot.dispatch(SHARD, ME), turn(&slot), slot.failures, slot.acked);
        // Under which lease an acknowledged one was out matters to nobody.
        let known = |slot: &Slot| if slot.acked { Slot { lease: Lease(0), attempt: 0, ..*slot } } else { *slot };
        let kind =
            |slot: Slot| if slot.acked { Slot { kind: DeliveryKind::Online, failures: 0, ..slot } } else { slot };
        let slots =
            |slots: &mut dyn Iterator<Item = Slot>| slots.map(|slot| facts(kind(known(&slot)))).collect::<Vec<_>>();
        assert_eq!(slots(&mut real.slots()), slots(&mut plain.slots.iter().copied()));
        assert_eq!(real.len, plain.slots.len());
        assert_eq!(real.queued(), plain.slots.len() - plain.sent);
        assert_eq!(real.out(), plain.count(Slot::is_out));
        assert_eq!(real.kept, plain.count(|slot| slot.acked));
        assert_eq!(real.first(), plain.slots.first().map(|slot| slot.position));
        assert_eq!(real.ranges(), plain.ranges());
        assert!(real.runs.iter().all(|run| run.len() > 0), "no run is empty");
        assert!(real.runs.iter().take(real.sent).all(|run| run.is_out() || run.acked));
        for slot in &plain.slots {
            assert_eq!(real.lease(slot.position), slot.is_out().then_some(slot.lease));
        }
        let open = [Lease(self.lease), Lease(self.lease.saturating_sub(2))];
        let mut again = Vec::new();
        real.again(ME, &open, &mut again);
        assert_eq!(again.iter().flat_map(Action::dispatches).collect::<Vec<_>>(), plain.again(&open));
        let handle = self.handle();
        if handle.place.shard == SHARD {
            assert_eq!(self.real.before(handle), self.plain.before(handle));
        }
    }
}

#[test]
fn runs_do_what_single_events_do() {
    let given = std::env::var("RECEPTION_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let first = given.unwrap_or(20_261_130);
    for seed in first..first + 1_000 {
        let life = std::panic::catch_unwind(|| {
            let (real, plain, heads) = (Direct::new(SHARD), Plain::default(), Arc::from([]));
            let mut life = Life { seed, real, plain, lease: 0, heads, pushed: 0 };
            for _ in 0..120 {
                life.step();
                life.compare();
            }
        });
        assert!(life.is_ok(), "seed {seed}");
    }
}

fn heads(positions: Range<u64>) -> Arc<[Head]> {
    positions.map(|n| Head { position: Position(n), sequence: Sequence(n), key: Key(n % 5) }).collect()
}

#[test]
fn a_chunk_is_one_run_until_it_has_to_be_more() {
    let (mut direct, heads, mut actions) = (Direct::new(SHARD), heads(1..65), Vec::new());
    direct.push(&heads, 0..64, DeliveryKind::Online, 0);
    assert_eq!(direct.take(ME, 64, Lease(1), &mut actions), 64);
    assert!(matches!(actions.as_slice(), [Action::DeliverRun(run)] if Arc::ptr_eq(&run.heads, &heads)));
    let handle = |position: u64| Handle { place: direct_place(position), lease: Lease(1) };
    for position in 1..=10 {
        direct.ack(handle(position), Guards::ALL);
    }
    assert_eq!((direct.runs.len(), direct.len), (1, 54), "from the front it only becomes shorter");
    for position in (20..=40).rev() {
        direct.ack(handle(position), Guards::ALL);
    }
    assert_eq!((direct.runs.len(), direct.ranges()), (3, vec![(Position(20), Position(40))]));
    assert_eq!(direct.ack_lease(Lease(1), &mut Vec::new()), 33);
    assert_eq!((direct.runs.len(), direct.runs.capacity()), (0, 4), "an idle ledger is small");
}

#[test]
fn single_events_of_one_chunk_become_one_run() {
    let (mut direct, heads) = (Direct::new(SHARD), heads(1..9));
    for index in [0, 1, 2, 4, 5] {
        direct.push(&heads, index..index + 1, DeliveryKind::Offline, 0);
    }
    assert_eq!(direct.runs.iter().map(Run::len).collect::<Vec<_>>(), [3, 2]);
    direct.push(&heads, 6..7, DeliveryKind::Online, 0);
    assert_eq!(direct.runs.len(), 3, "one kind for each run");
    assert!(direct.exceeds(5) && !direct.exceeds(6));
}

fn direct_place(position: u64) -> Place {
    Place { shard: SHARD, position: Position(position) }
}
