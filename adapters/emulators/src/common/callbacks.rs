//! Delivers callbacks under a vendor's rules: concurrency, timeout, attempts and their spacing, bans.
//!
//! Promises no order (no vendor does) and records every attempt in the ledger. What a callback says and how it is
//! signed is the vendor's: a [`CallbackJob`] renders itself for each attempt.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ban::{BanAction, Bans};
use super::chance::{CallbackPlan, FaultEngine};
use super::job::{Accepts, CallbackJob, CallbackPolicy, DirectFailure, DirectReply, OutcomeHook, OutgoingCallback};
use super::ledger::{AttemptRecord, DropReason, Ledger};
use super::time::Time;

/// Longest real time an event held back by the reorder fault waits for later ones.
const HOLD_LIMIT: Duration = Duration::from_millis(500);

/// Delivers callbacks. Clones share queue and state.
#[derive(Clone)]
pub struct CallbackSender {
    inner: Arc<Inner>,
}

struct Inner {
    policy: CallbackPolicy,
    client: reqwest::Client,
    slots: Semaphore,
    time: Time,
    ledger: Ledger,
    faults: Arc<FaultEngine>,
    bans: Mutex<Bans>,
    held: Mutex<Vec<Held>>,
    pending: AtomicUsize,
    idle: Notify,
    hook: Option<OutcomeHook>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct Held {
    behind: u32,
    number: u64,
    job: CallbackJob,
    plan: CallbackPlan,
}

impl fmt::Debug for CallbackSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackSender")
            .field("policy", &self.inner.policy)
            .field("pending", &self.inner.pending.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

impl CallbackSender {
    /// A sender with the vendor's rules. Redirects are not followed: no vendor documents that it would.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(
        policy: CallbackPolicy,
        time: Time,
        ledger: Ledger,
        faults: Arc<FaultEngine>,
        hook: Option<OutcomeHook>,
    ) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(policy.concurrency)
            .build()?;
        let inner = Inner {
            slots: Semaphore::new(policy.concurrency.max(1)),
            bans: Mutex::new(Bans::new(policy.ban.clone())),
            policy,
            client,
            time,
            ledger,
            faults,
            held: Mutex::new(Vec::new()),
            pending: AtomicUsize::new(0),
            idle: Notify::new(),
            hook,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Queues an event and returns at once.
    pub fn submit(&self, job: CallbackJob) {
        let inner = &self.inner;
        let number = inner.ledger.callback(&job.label, &job.key, &job.url, inner.time.now_ms());
        let plan = inner.faults.callback(&job.label);
        if plan.drop {
            inner.give_up(number, &job, DropReason::Fault);
            return;
        }
        if inner.pending.load(Ordering::Relaxed) >= inner.policy.queue {
            inner.give_up(number, &job, DropReason::QueueFull);
            return;
        }
        let due = {
            let mut held = inner.held.lock();
            if let Some(behind) = plan.behind {
                inner.pending.fetch_add(1, Ordering::Relaxed);
                held.push(Held { behind, number, job, plan });
                drop(held);
                self.release_later();
                return;
            }
            held.iter_mut().for_each(|held| held.behind -= 1);
            held.extract_if(.., |held| held.behind == 0).collect::<Vec<_>>()
        };
        inner.pending.fetch_add(1, Ordering::Relaxed);
        self.dispatch(number, job, plan);
        for held in due {
            self.dispatch(held.number, held.job, held.plan);
        }
    }

    /// Makes one synchronous call with its own limit; no retry, no ban, no injected fault but a lost one.
    ///
    /// # Errors
    /// [`DirectFailure`] when no answer came in time.
    pub async fn call(&self, job: CallbackJob, limit: Duration) -> Result<DirectReply, DirectFailure> {
        let inner = &self.inner;
        let number = inner.ledger.callback(&job.label, &job.key, &job.url, inner.time.now_ms());
        let plan = inner.faults.callback(&job.label);
        let started = Instant::now();
        let at_ms = inner.time.now_ms();
        let outcome = if plan.drop {
            Err(DirectFailure::Timeout)
        } else {
            match inner.time.timeout(limit, inner.post((job.render)(1, plan.corrupt_signature))).await {
                Ok(Ok(reply)) => Ok(reply),
                Ok(Err(_)) => Err(DirectFailure::Connection),
                Err(_) => Err(DirectFailure::Timeout),
            }
        };
        let error = outcome.as_ref().err().map(|failure| format!("{failure:?}").to_lowercase());
        let status = outcome.as_ref().ok().map(|reply| reply.status);
        inner.ledger.attempt(number, AttemptRecord { at_ms, status, latency_ms: elapsed_ms(started), error });
        match &outcome {
            Ok(_) => inner.ledger.delivered(number),
            Err(_) => inner.ledger.dropped(number, DropReason::Attempts),
        }
        outcome
    }

    /// Waits until no event is queued, held or in flight. Events held back by the reorder fault are let go first.
    pub async fn wait_idle(&self) {
        loop {
            let notified = self.inner.idle.notified();
            tokio::pin!(notified);
            // Registered before the check, so that the last completion cannot slip between the two.
            notified.as_mut().enable();
            self.release_all();
            if self.inner.pending.load(Ordering::Acquire) == 0 {
                return;
            }
            notified.await;
        }
    }

    /// Events queued, held or in flight.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.inner.pending.load(Ordering::Acquire)
    }

    /// End of the ban in force for a scope, Unix milliseconds.
    #[must_use]
    pub fn banned_until(&self, scope: &str) -> Option<i64> {
        self.inner.bans.lock().until(scope, self.inner.time.now_ms())
    }

    /// Starts with a clean slate: no ban, no counted failure.
    pub fn lift_bans(&self) {
        self.inner.bans.lock().lift();
    }

    /// Gives up what is queued, ends what is in flight, and waits for it.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.release_all();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    fn release_later(&self) {
        let sender = self.clone();
        self.inner.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(HOLD_LIMIT) => {}
                () = sender.inner.stop.cancelled() => {}
            }
            sender.release_all();
        });
    }

    fn release_all(&self) {
        let held = std::mem::take(&mut *self.inner.held.lock());
        for held in held {
            self.dispatch(held.number, held.job, held.plan);
        }
    }

    fn dispatch(&self, number: u64, job: CallbackJob, plan: CallbackPlan) {
        let inner = Arc::clone(&self.inner);
        self.inner.tasks.spawn(async move {
            let stop = inner.stop.clone();
            let finished = stop.run_until_cancelled(inner.deliver(number, &job, plan)).await.is_some();
            if !finished {
                inner.give_up(number, &job, DropReason::Shutdown);
            }
            if inner.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
                inner.idle.notify_waiters();
            }
        });
    }
}

impl Inner {
    async fn deliver(&self, number: u64, job: &CallbackJob, plan: CallbackPlan) {
        if plan.delay_ms > 0 {
            self.time.sleep(Duration::from_millis(plan.delay_ms)).await;
        }
        match self.attempts(number, job, plan).await {
            Ok(()) => {
                self.ledger.delivered(number);
                if plan.duplicate {
                    let again = CallbackPlan { drop_first_attempt: false, ..plan };
                    // The event is delivered whatever becomes of its twin.
                    let _ = self.attempts(number, job, again).await;
                }
            }
            Err(reason) => self.give_up(number, job, reason),
        }
    }

    async fn attempts(&self, number: u64, job: &CallbackJob, plan: CallbackPlan) -> Result<(), DropReason> {
        for attempt in 1..=self.policy.attempts.max(1) {
            if attempt > 1 && !self.policy.spacing.is_empty() {
                let step = usize::from(attempt - 2).min(self.policy.spacing.len() - 1);
                self.time.sleep(self.policy.spacing[step]).await;
            }
            self.wait_or_leave(&job.scope).await?;
            let started = Instant::now();
            let at_ms = self.time.now_ms();
            let result = if attempt == 1 && plan.drop_first_attempt {
                (None, Some("lost on the way (fault)".to_owned()))
            } else {
                self.attempt((job.render)(attempt, plan.corrupt_signature)).await
            };
            let (status, error) = result;
            let failed = error.is_some();
            self.ledger.attempt(number, AttemptRecord { at_ms, status, latency_ms: elapsed_ms(started), error });
            if !failed {
                return Ok(());
            }
            if self.bans.lock().fail(&job.scope, self.time.now_ms()) {
                self.ledger.banned();
            }
        }
        Err(DropReason::Attempts)
    }

    async fn wait_or_leave(&self, scope: &str) -> Result<(), DropReason> {
        loop {
            let now_ms = self.time.now_ms();
            let (until, action) = {
                let bans = self.bans.lock();
                (bans.until(scope, now_ms), bans.action())
            };
            match (until, action) {
                (None, _) => return Ok(()),
                (Some(until), Some(BanAction::Hold)) => {
                    let wait = u64::try_from(until - now_ms).unwrap_or(0);
                    self.time.sleep(Duration::from_millis(wait)).await;
                }
                (Some(_), _) => return Err(DropReason::Banned),
            }
        }
    }

    async fn attempt(&self, request: OutgoingCallback) -> (Option<u16>, Option<String>) {
        let _slot = self.slots.acquire().await;
        match self.time.timeout(self.policy.timeout, self.post(request)).await {
            Err(_) => (None, Some("timeout".to_owned())),
            Ok(Err(_)) => (None, Some("connection failed".to_owned())),
            Ok(Ok(reply)) => {
                let accepted = match self.policy.accepts {
                    Accepts::Only200 => reply.status == 200,
                    Accepts::Any2xx => (200..300).contains(&reply.status),
                };
                let chars = String::from_utf8_lossy(&reply.body).chars().count();
                let oversize = self.policy.max_reply_chars.is_some_and(|limit| chars > limit);
                let error = match (accepted, oversize) {
                    (false, _) => Some(format!("status {}", reply.status)),
                    (true, true) => Some("reply too long".to_owned()),
                    (true, false) => None,
                };
                (Some(reply.status), error)
            }
        }
    }

    async fn post(&self, request: OutgoingCallback) -> Result<DirectReply, reqwest::Error> {
        let mut builder =
            self.client.post(&request.url).header(http::header::CONTENT_TYPE, request.content_type).body(request.body);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        let response = builder.send().await?;
        let status = response.status().as_u16();
        Ok(DirectReply { status, body: response.bytes().await? })
    }

    fn give_up(&self, number: u64, job: &CallbackJob, reason: DropReason) {
        self.ledger.dropped(number, reason);
        if let Some(hook) = &self.hook {
            hook(job, reason);
        }
    }
}

fn elapsed_ms(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}
