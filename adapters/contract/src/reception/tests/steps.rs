//! The walk, step by step: the cases that the design names.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{Position, Sequence, Shard};
use crate::reception::*;
use crate::storage::{Backlog, PoisonPolicy, Reception as Mode, ShardCursor};
use crate::time::Timestamp;

const SHARD: Shard = Shard(0);
const ME: Worker = Worker(1);

struct Walk {
    machine: Reception,
    now: Timestamp,
}

impl Walk {
    fn new() -> Self {
        let settings = Settings {
            reception: Mode::AckOnline,
            backlog: Backlog::OldestFirst,
            max_in_flight: 100,
            page_size: 50,
            ack_deadline: Duration::from_secs(30),
            max_attempts: 3,
            poison: PoisonPolicy::Park,
            retry_base: Duration::from_secs(1),
            retry_cap: Duration::from_secs(60),
        };
        let cursor = ShardCursor { shard: SHARD, ..ShardCursor::default() };
        let restored = Restored { cursors: vec![cursor], ..Restored::default() };
        Self { machine: Reception::restore(settings, restored, Lease(1), Timestamp(0)), now: Timestamp(0) }
    }

    fn apply(&mut self, input: Input<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        self.machine.apply(self.now, input, &mut actions);
        actions
    }

    /// Events of one conversation up to `until`, fed and taken.
    fn take(&mut self, after: u64, until: u64) -> Vec<Handle> {
        let head = |n: u64| Head { position: Position(n), sequence: Sequence(n), key: Key(7) };
        let heads: Arc<[Head]> = (after + 1..=until).map(head).collect();
        self.apply(Input::Tail(SHARD, Position(until)));
        self.apply(Input::Take(ME, 100));
        let (after, until) = (Position(after), Position(until));
        self.apply(Input::Feed(Feed { shard: SHARD, after, until, heads: &heads, wanted: Wanted::All }));
        let taken = self.apply(Input::Take(ME, 100));
        taken.iter().flat_map(Action::dispatches).map(|dispatch| dispatch.handle).collect()
    }

    fn save(&mut self) -> (Save, Vec<Action>) {
        let collected = self.apply(Input::Collect);
        let save = collected.into_iter().find_map(|action| match action {
            Action::Save(save) => Some(*save),
            _ => None,
        });
        (save.expect("there is something to store"), self.apply(Input::Saved))
    }
}

#[test]
fn i03_online_begins_in_the_very_step_in_which_the_ack_at_the_tail_is_durable() {
    let mut walk = Walk::new();
    walk.apply(Input::Tail(SHARD, Position(2)));
    assert!(walk.apply(Input::Join(ME)).contains(&Action::State(State::Offline)));
    let handles = walk.take(0, 2);
    assert_eq!(walk.machine.state(), State::Acknowledging);
    let acked = walk.apply(Input::Ack(&handles));
    assert!(acked.contains(&Action::Acked { acked: 2, stale: 0, save: 1 }) && acked.contains(&Action::Unsaved));
    assert_eq!(walk.machine.state(), State::Acknowledging, "not before it is durable");
    // What happens now happens after the ack had reached the tail: it is live.
    walk.apply(Input::Tail(SHARD, Position(3)));
    let (save, actions) = walk.save();
    assert_eq!(save.cursors[0].low, Position(2));
    assert_eq!(actions, [Action::State(State::Online)]);
    let live = walk.take(2, 3);
    assert_eq!(live.len(), 1);
}

#[test]
fn i03_a_message_before_the_last_ack_only_raises_the_tail() {
    let mut walk = Walk::new();
    walk.apply(Input::Tail(SHARD, Position(1)));
    walk.apply(Input::Join(ME));
    let first = walk.take(0, 1);
    walk.apply(Input::Tail(SHARD, Position(2)));
    walk.apply(Input::Ack(&first));
    walk.save();
    assert_eq!(walk.machine.state(), State::Offline);
    let second = walk.take(1, 2);
    walk.apply(Input::Ack(&second));
    walk.save();
    assert_eq!(walk.machine.state(), State::Online);
}

#[test]
fn i06_the_cursor_moves_only_when_the_store_has_confirmed() {
    let mut walk = Walk::new();
    walk.apply(Input::Join(ME));
    let handles = walk.take(0, 4);
    walk.apply(Input::Ack(&handles[1..]));
    assert_eq!(walk.machine.low(SHARD), Position(0));
    let (save, _) = walk.save();
    assert_eq!(
        (save.cursors[0].low, save.cursors[0].acked.as_slice()),
        (Position(0), [(Position(2), Position(4))].as_slice())
    );
    walk.apply(Input::Ack(&handles[..1]));
    walk.apply(Input::Collect);
    assert_eq!(walk.machine.low(SHARD), Position(0), "asked for is not confirmed");
    walk.apply(Input::Saved);
    assert_eq!(walk.machine.low(SHARD), Position(4));
}

#[test]
fn a_full_mailbox_means_back_to_backlog() {
    let mut walk = Walk::new();
    walk.apply(Input::Join(ME));
    assert_eq!(walk.machine.state(), State::Online);
    let mut open = walk.take(0, 50);
    open.extend(walk.take(50, 100));
    assert_eq!(walk.machine.in_flight(), 100);
    assert_eq!(walk.machine.state(), State::Online);
    walk.apply(Input::Tail(SHARD, Position(201)));
    assert_eq!(walk.machine.state(), State::Offline, "in flight all it may be, and more waits than the mailbox holds");
    walk.apply(Input::Ack(&open));
    walk.save();
    let more = walk.take(100, 150);
    assert_eq!(more.len(), 50, "nothing was dropped");
}

#[test]
fn t10_a_late_ack_of_an_older_attempt_is_ignored() {
    let mut walk = Walk::new();
    walk.apply(Input::Join(ME));
    let first = walk.take(0, 1);
    walk.now = Timestamp(30_000);
    walk.apply(Input::Tick);
    let again = walk.apply(Input::Take(ME, 1));
    let again = again.iter().flat_map(Action::dispatches).next().expect("it comes again");
    assert_eq!((again.attempt, again.handle.place), (2, first[0].place));
    assert!(walk.apply(Input::Ack(&first)).contains(&Action::Acked { acked: 0, stale: 1, save: 1 }));
    assert_eq!(walk.machine.in_flight(), 1);
    assert!(walk.apply(Input::Ack(&[again.handle])).contains(&Action::Acked { acked: 1, stale: 0, save: 1 }));
}

#[test]
fn i09_a_conversation_that_waits_for_its_retry_does_not_take_all_room() {
    let mut walk = Walk::new();
    walk.apply(Input::Join(ME));
    let handles = walk.take(0, 1);
    walk.apply(Input::Nack(handles[0], Some(Duration::from_secs(20))));
    // Everything that follows is of the same conversation, until the ledger is full.
    for page in 0..4 {
        walk.take(1 + page * 50, 51 + page * 50);
    }
    let heads = [Head { position: Position(202), sequence: Sequence(1), key: Key(8) }];
    walk.apply(Input::Tail(SHARD, Position(202)));
    let mut other = None;
    for _ in 0..10 {
        let actions = walk.apply(Input::Take(ME, 10));
        other = other.or(actions.iter().flat_map(Action::dispatches).next());
        for action in &actions {
            if let Action::Read { after, until, .. } = action {
                let head = |n: u64| Head { position: Position(n), sequence: Sequence(n), key: Key(7) };
                let mut all: Vec<Head> = (after.0 + 1..=until.0.min(201)).map(head).collect();
                all.extend(heads.iter().filter(|head| head.position <= *until));
                let (after, until, all) = (*after, *until, Arc::from(all));
                let feed = Feed { shard: SHARD, after, until, heads: &all, wanted: Wanted::All };
                walk.apply(Input::Feed(feed));
            }
        }
    }
    assert_eq!(other.map(|dispatch| dispatch.key), Some(Key(8)), "another conversation goes on meanwhile");
}
