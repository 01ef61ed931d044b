//! Messages to a group that has many devices online wait for one another. Each of them would cost a transaction with
//! its sync, and a write for each device; those of a moment together cost the same once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use switchboard_contract::{Clock, ConversationId, Timestamp};
use tokio::sync::mpsc;

use super::acts::{Act, Place};
use super::run::Run;
use super::writer::{BATCH, Order};

/// From so many devices on a group's messages wait for one another.
const MANY: usize = 32;
/// So many orders do not wait for more.
const ENOUGH: usize = 16;

/// What the writer knows of the groups it has just handed messages of to many devices.
pub(super) struct Gathering {
    clock: Arc<dyn Clock>,
    every: Duration,
    /// When the present batch was complete: a pause counts from there, however long writing takes.
    begun: Timestamp,
    /// Until when the next messages of these conversations wait.
    resting: HashMap<ConversationId, Timestamp>,
}

impl Gathering {
    pub(super) fn new(clock: Arc<dyn Clock>, every: Duration) -> Self {
        Self { begun: clock.now(), clock, every, resting: HashMap::new() }
    }

    /// When the present batch was complete.
    pub(super) fn begun(&self) -> Timestamp {
        self.begun
    }

    fn is_many(&self, count: usize) -> bool {
        count >= MANY && !self.every.is_zero()
    }

    /// Whether a run of these conversations, for so many readers, keeps the pauses. Whoever cannot keep up with more rests
    /// by itself, and gets larger writes.
    pub(super) fn is_wide<'a>(&self, mut of: impl Iterator<Item = &'a ConversationId>, readers: usize) -> bool {
        let rested =
            |conversation: &ConversationId| self.resting.get(conversation).is_none_or(|until| *until <= self.begun);
        self.is_many(readers) && of.all(rested)
    }

    /// A run went to so many devices.
    pub(super) fn handed_out(&mut self, run: &Run, devices: usize) {
        if self.is_many(devices) {
            let until = self.begun + self.every;
            self.resting.extend(run.conversations().map(|conversation| (conversation.clone(), until)));
        }
    }

    /// Adds what comes, as long as everything there is may wait.
    pub(super) async fn fill(&mut self, batch: &mut Vec<Order>, orders: &mut mpsc::Receiver<Order>) {
        let now = self.clock.now();
        self.resting.retain(|_, until| *until > now);
        if !self.resting.is_empty() {
            gather(batch, orders, ENOUGH, &*self.clock, |order| self.rests(order)).await;
        }
        self.begun = self.clock.now();
    }

    /// Until when an order may wait; `None` when somebody waits for it.
    fn rests(&self, order: &Order) -> Option<Timestamp> {
        let Order::Act(act, _) = order else { return None };
        match &**act {
            Act::Send { by, to: to @ (Place::Group(_) | Place::Room(_)), .. } => {
                self.resting.get(&to.conversation(by)).copied()
            }
            _ => None,
        }
    }
}

/// Adds what comes to a batch of less than `enough`, as long as everything in it may wait, each until the time that `rests`
/// says. Whatever may not, for which that is `None`, takes along what came before it: orders are carried out as they came.
pub(super) async fn gather<T>(
    batch: &mut Vec<T>,
    orders: &mut mpsc::Receiver<T>,
    enough: usize,
    clock: &dyn Clock,
    rests: impl Fn(&T) -> Option<Timestamp>,
) {
    let (mut looked_at, mut until) = (0, None);
    while batch.len() < enough {
        for order in &batch[looked_at..] {
            let Some(rests) = rests(order) else { return };
            until = Some(until.map_or(rests, |until: Timestamp| until.min(rests)));
        }
        looked_at = batch.len();
        let wait = until.map_or(Duration::ZERO, |until| until.since(clock.now()));
        if wait.is_zero() {
            return;
        }
        tokio::select! {
            biased;
            more = orders.recv_many(batch, BATCH) => if more == 0 { return },
            () = clock.sleep(wait) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use switchboard_contract::storage::Line;
    use switchboard_contract::{GroupId, Sequence, Sleep, UserId};
    use tokio::sync::oneshot;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::proto;
    use crate::service::run::Runner;
    use crate::service::sample::line;

    const EVERY: Duration = Duration::from_millis(10);

    /// The runtime's time, which stands still but for those who wait.
    #[derive(Debug)]
    struct Virtual(Instant);

    impl Clock for Virtual {
        fn now(&self) -> Timestamp {
            Timestamp(1_000) + self.0.elapsed()
        }

        fn sleep(&self, duration: Duration) -> Sleep {
            Box::pin(sleep(duration))
        }
    }

    fn say(to: Place) -> Order {
        let (by, content) = (UserId::from("ann"), proto::Content::default());
        let act = Act::Send { by, to, content, client_id: None, mark: None, business: false };
        Order::Act(Box::new(act), oneshot::channel().0)
    }

    fn to_group(id: &str) -> Order {
        say(Place::Group(id.into()))
    }

    /// After a message of the group went to so many devices.
    fn after(devices: usize) -> Gathering {
        let mut gathering = Gathering::new(Arc::new(Virtual(Instant::now())), EVERY);
        let mut runner = Runner::default();
        let conversation = Some(ConversationId::group(&GroupId::from("team")));
        runner.push(&Line { sequence: Some(Sequence(1)), conversation, ..line(1, "ann", 0) });
        gathering.handed_out(&runner.done(Some(gathering.begun()), false), devices);
        gathering
    }

    /// How many orders there are at the end, and how long that took, when one comes every 3 ms.
    async fn gathered(mut gathering: Gathering, first: Order, then: fn() -> Order) -> (usize, Duration) {
        let (sender, mut orders) = mpsc::channel(100);
        let (begun, mut batch) = (Instant::now(), vec![first]);
        let coming = async {
            loop {
                sleep(Duration::from_millis(3)).await;
                sender.send(then()).await.unwrap();
            }
        };
        tokio::select! {
            () = gathering.fill(&mut batch, &mut orders) => {}
            () = coming => {}
        }
        (batch.len(), begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn c10_messages_to_many_wait_for_one_another_until_the_pause_is_over() {
        assert_eq!(gathered(after(MANY), to_group("team"), || to_group("team")).await, (4, EVERY));
    }

    #[tokio::test(start_paused = true)]
    async fn c10_nobody_else_waits_and_takes_along_what_came_before() {
        let none = Duration::ZERO;
        assert_eq!(gathered(after(MANY - 1), to_group("team"), || to_group("team")).await, (1, none), "few devices");
        assert_eq!(gathered(after(MANY), to_group("other"), || to_group("team")).await, (1, none), "another group");
        let direct = || say(Place::User("bob".into()));
        assert_eq!(gathered(after(MANY), direct(), || to_group("team")).await, (1, none), "two people");
        let (count, took) = gathered(after(MANY), to_group("team"), direct).await;
        assert_eq!((count, took), (2, Duration::from_millis(3)), "what came first goes first");
    }

    #[tokio::test(start_paused = true)]
    async fn c10_what_keeps_no_pause_is_left_to_the_devices_own_pace() {
        let (_sender, mut orders) = mpsc::channel(100);
        let conversations = ["team", "other"].map(|id| ConversationId::group(&GroupId::from(id)));
        let mut gathering = after(MANY);
        let wide =
            |gathering: &Gathering, of: usize, readers| gathering.is_wide(conversations[of..].iter().take(1), readers);
        assert!(!wide(&gathering, 0, MANY) && wide(&gathering, 1, MANY) && !wide(&gathering, 1, MANY - 1));
        gathering.fill(&mut vec![to_group("team")], &mut orders).await;
        assert!(wide(&gathering, 0, MANY), "its pause is over");
    }

    #[tokio::test(start_paused = true)]
    async fn c10_enough_does_not_wait_for_more() {
        let (sender, mut orders) = mpsc::channel(100);
        for _ in 0..ENOUGH {
            sender.send(to_group("team")).await.unwrap();
        }
        let (mut gathering, mut batch, begun) = (after(MANY), vec![to_group("team")], Instant::now());
        gathering.fill(&mut batch, &mut orders).await;
        assert_eq!((batch.len(), begun.elapsed()), (ENOUGH + 1, Duration::ZERO));
        sleep(EVERY).await;
        let mut batch = vec![to_group("team")];
        gathering.fill(&mut batch, &mut orders).await;
        assert_eq!(batch.len(), 1, "the pause is over");
    }
}
