//! Callbacks that nobody took and the vendor kept: asked for again until they have come, or the vendor's advice on how
//! often is used up. The cheapest repair, so it comes before queries and files.

use std::time::Duration;

use metrics::counter;
use serde_json::json;
use switchboard_contract::storage::RepairWindow;
use switchboard_contract::{ErrorKind, KeptSlot, Result, Timestamp, Topic};

use super::walk::Walker;

/// Between two looks at how many have come.
const LOOK: Duration = Duration::from_millis(250);
/// The longest wait before asking once more.
const LONGEST: Duration = Duration::from_secs(3600);
/// An account without the service may get it any day.
const NO_SERVICE: Duration = Duration::from_secs(24 * 3600);
/// So many rounds in a row that bring only what had come before are the end.
const QUIET: u32 = 2;
/// A callback is given up so long after its event, at most: two tries of ten seconds, and a margin.
const TRIES: Duration = Duration::from_secs(60);

/// What is left to ask for.
#[derive(Clone, Debug)]
pub(super) struct Again {
    /// The window it belongs to.
    window: u64,
    since: Timestamp,
    until: Timestamp,
    rounds: u32,
    /// Callbacks that came and are counted.
    counted: u64,
    /// Rounds in a row in which callbacks came that had all come before.
    quiet: u32,
    /// When to ask once more.
    due: Timestamp,
}

/// What one round brought.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    slots: u64,
    /// Callbacks in those that were asked for; one that failed once more counts twice.
    kept: u64,
    /// Those that came in this and the rounds before.
    came: u64,
    /// None of those that came in this round was new.
    quiet: bool,
    /// Nothing is left to ask for.
    over: bool,
}

impl Walker {
    /// Resolves when callbacks are to be asked for once more.
    pub(super) async fn again_due(&self) {
        match &self.again {
            Some(again) => self.clock.sleep(again.due.since(self.clock.now())).await,
            None => std::future::pending().await,
        }
    }

    /// Asks for what the vendor kept of a window, until `bound`; how many callbacks came. What did not come by then is
    /// asked for once more later.
    pub(super) async fn send_again(&mut self, window: &RepairWindow, bound: Timestamp) -> u64 {
        if !self.config.send_again
            || self.puller.provider.kept_callbacks().is_none()
            || self.clock.now() < self.no_store_until
        {
            return 0;
        }
        let (mut since, until) = (window.since, window.until);
        // What was left of a window before goes along.
        if let Some(left) = self.again.take() {
            since = since.min(left.since);
        }
        self.expect_nothing();
        let due = self.clock.now();
        let again = Again { window: window.id, since, until, rounds: 0, counted: 0, quiet: 0, due };
        self.round(again, bound).await
    }

    /// Asks once more, and adds what came to the window.
    pub(super) async fn ask_again(&mut self) {
        let Some(again) = self.again.take() else { return };
        let id = again.window;
        let bound = self.clock.now() + self.config.within;
        let came = self.round(again, bound).await;
        let written = async {
            let windows = self.puller.store.windows(&self.puller.tenant, &self.app, false, 1000).await?;
            if let Some(mut window) = windows.into_iter().find(|window| window.id == id) {
                window.sent_again += came;
                self.puller.store.put_window(&self.puller.tenant, &self.app, &window).await?;
            }
            Ok::<_, switchboard_contract::Error>(())
        };
        if let Err(error) = written.await {
            tracing::warn!(provider = %self.puller.alias, %error, "a repair window could not be written");
        }
    }

    async fn round(&mut self, mut again: Again, bound: Timestamp) -> u64 {
        again.rounds += 1;
        let outcome = self.try_round(&again, bound).await;
        let round = match outcome {
            Ok(round) => round,
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                tracing::debug!(provider = %self.puller.alias, "the vendor keeps no failed callbacks for this account");
                self.no_store_until = self.clock.now() + NO_SERVICE;
                return 0;
            }
            Err(error) => {
                tracing::warn!(provider = %self.puller.alias, op = "send_again", %error, "kept callbacks did not come");
                Round::default()
            }
        };
        // Those that came after the round before had ended are of this one.
        let came = round.came.saturating_sub(again.counted);
        again.counted += came;
        again.quiet = if round.quiet { again.quiet + 1 } else { 0 };
        let over = round.over || again.quiet >= QUIET || again.rounds > 32;
        let alias = self.puller.alias.as_str().to_owned();
        counter!("switchboard_callbacks_sent_again_total", "provider" => alias).increment(came);
        if round.slots > 0 {
            let (slots, kept, number) = (round.slots, round.kept, again.rounds);
            tracing::warn!(
                provider = %self.puller.alias, slots, kept, came, round = number, over,
                "callbacks that nobody had taken were sent again"
            );
            let window = again.window;
            let detail = json!({
                "window": window, "round": number, "slots": slots, "kept": kept, "came": came, "over": over,
            });
            let which = format!("again/{window}/{number}/{}", self.clock.now().0);
            self.notices.tell(Topic::Backfill, "callbacks_sent_again", &which, detail).await;
        }
        if over {
            // Whatever still comes of these times is one more try of the vendor's.
            self.expect_nothing();
        } else {
            let pause = self.config.send_again_pause.saturating_mul(1 << (again.rounds - 1).min(8)).min(LONGEST);
            again.due = self.clock.now() + pause;
            self.again = Some(again);
        }
        came
    }

    /// What comes from now on is counted anew.
    fn expect_nothing(&self) {
        if let Some(ingest) = self.puller.ingest.upgrade() {
            ingest.expect_again(&self.puller.alias, Vec::new());
        }
    }

    async fn try_round(&self, again: &Again, bound: Timestamp) -> Result<Round> {
        let Some(kept) = self.puller.provider.kept_callbacks() else {
            return Ok(Round { over: true, ..Round::default() });
        };
        let limits = kept.limits();
        let all = self.bounded(bound, kept.slots()).await?;
        let of_window =
            all.into_iter().filter(|slot| slot.callbacks > 0 && slot.until > again.since && slot.since < again.until);
        let (wanted, spent): (Vec<KeptSlot>, Vec<_>) = of_window.partition(|slot| slot.repeats < limits.max_repeats);
        let closed = || switchboard_contract::Error::new(ErrorKind::Closed, "the way in is closed");
        let ingest = self.puller.ingest.upgrade().ok_or_else(closed)?;
        let alias = &self.puller.alias;
        let (now, before) = (self.clock.now(), ingest.came_again(alias));
        // Those of slots that are asked for no more may have come, too.
        let mut kept_in_all: u64 = wanted.iter().chain(&spent).map(|slot| slot.callbacks).sum();
        let mut round = Round { slots: wanted.len() as u64, came: before.callbacks, ..Round::default() };
        if wanted.is_empty() || before.callbacks >= kept_in_all {
            return Ok(Round { over: true, ..round });
        }
        // What is sent from now on is no repeat, though its slot may still be open.
        let spans = wanted.iter().chain(&spent).map(|slot| (slot.since - TRIES, slot.until.min(now))).collect();
        ingest.expect_again(alias, spans);
        for slot in &wanted {
            match self.bounded(bound, kept.send_again(slot)).await {
                Ok(()) => round.kept += slot.callbacks,
                Err(error) if error.kind() == ErrorKind::NotFound => kept_in_all -= slot.callbacks,
                Err(error) => return Err(error),
            }
        }
        let until = (now + self.config.send_again_within).min(bound);
        while ingest.came_again(alias).callbacks < kept_in_all && self.clock.now() < until {
            self.clock.sleep(LOOK).await;
        }
        self.bounded(bound, async {
            ingest.idle().await;
            Ok(())
        })
        .await?;
        let after = ingest.came_again(alias);
        round.came = after.callbacks;
        round.quiet = after.arrivals > before.arrivals && after.callbacks == before.callbacks;
        round.over = round.came >= kept_in_all;
        Ok(round)
    }

    /// No call may hold up the walk, nor all of them together.
    async fn bounded<T>(&self, bound: Timestamp, call: impl Future<Output = Result<T>>) -> Result<T> {
        let most = self.config.send_again_within.min(bound.since(self.clock.now()));
        tokio::select! {
            biased;
            answer = call => answer,
            () = self.clock.sleep(most) => {
                Err(switchboard_contract::Error::new(ErrorKind::Timeout, "the vendor did not answer in time"))
            }
        }
    }
}
