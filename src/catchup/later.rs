//! Queries that have to be made again: the durable queue of one app.
//!
//! A query that failed waits here, over restarts, until it succeeds or was tried as often as allowed; then it is a dead
//! letter. While the whole app cannot be reached nothing is tried and nothing counts. One conversation waits at most
//! once: whatever else is wanted of it meanwhile is taken along.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use metrics::counter;
use serde::{Deserialize, Serialize};
use serde_json::json;
use switchboard_contract::storage::{Commit, FailedAttempt, FailedAttempts, Setback, SetbackChange, SetbackKind};
use switchboard_contract::{App, Clock, ConversationId, Error, ErrorKind, ProviderId, Result, Timestamp};
use tokio::sync::{Mutex, Notify, watch};

use super::conversation::{Pulled, Puller};
use super::{Catchup, Inner};
use crate::recovery::backoff::Jitter;
use crate::recovery::breaker::{Breaker, Gate};
use crate::recovery::verdict::{self, Verdict};
use crate::recovery::{AppHealth, RecoveryConfig, Redriver, app_hash, bury, health};

/// A span of a conversation, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Span {
    since: Timestamp,
    until: Timestamp,
}

impl Span {
    fn of(setback: &Setback) -> Option<Self> {
        serde_json::from_value(setback.detail.clone()).ok()
    }

    fn with(self, other: Self) -> Self {
        Self { since: self.since.min(other.since), until: self.until.max(other.until) }
    }
}

/// The queue of one app.
#[derive(Debug)]
pub(super) struct Later {
    pub(super) app: App,
    pub(super) puller: Puller,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: RecoveryConfig,
    pub(super) jitter: Jitter,
    /// Reading an entry and writing it anew are one step.
    writing: Mutex<()>,
    rung: Notify,
}

impl Later {
    pub(super) fn new(app: App, puller: Puller, clock: Arc<dyn Clock>, config: RecoveryConfig) -> Self {
        let jitter = Jitter::new(config.seed);
        Self { app, puller, clock, config, jitter, writing: Mutex::default(), rung: Notify::new() }
    }

    fn alias(&self) -> &ProviderId {
        &self.puller.alias
    }

    fn key(&self, conversation: &ConversationId) -> String {
        format!("{}~{conversation}", app_hash(&self.app))
    }

    async fn known(&self, key: &str) -> Result<Option<Setback>> {
        self.puller.store.setback(&self.puller.tenant, SetbackKind::Query, key).await
    }

    async fn write(&self, change: SetbackChange) -> Result<()> {
        let commit = Commit { setbacks: vec![change], ..Commit::default() };
        self.puller.store.commit(commit).await.map(drop)
    }

    /// Has a span asked for later, durably. `failure`: it was asked for just now, in vain.
    pub(super) async fn put(
        &self,
        conversation: &ConversationId,
        (since, until): (Timestamp, Timestamp),
        failure: Option<&Error>,
    ) -> Result<()> {
        let _writing = self.writing.lock().await;
        let (key, now) = (self.key(conversation), self.clock.now());
        let known = self.known(&key).await?;
        let span = Span { since, until };
        let span = known.as_ref().and_then(Span::of).map_or(span, |known| known.with(span));
        // One that was given up begins anew: something new is wanted of it.
        let waiting = known.filter(|known| !known.is_dead());
        let (attempts, history, began) = match waiting {
            Some(known) => (known.attempts, known.history, known.since),
            None => (0, FailedAttempts::default(), now),
        };
        let setback = Setback {
            number: 0,
            tenant: self.puller.tenant.clone(),
            kind: SetbackKind::Query,
            key,
            app: Some(self.app.clone()),
            conversation: Some(conversation.clone()),
            next_at: Some(now),
            reason: failure.map_or("wanted", |error| error.kind().as_str()).to_owned(),
            attempts,
            history,
            detail: json!({ "since": span.since, "until": span.until, "provider": self.alias() }),
            since: began,
        };
        match failure.map(|error| (error, verdict::of_repeatable(error))) {
            Some((error, verdict @ (Verdict::Again { .. } | Verdict::Fail))) => {
                self.fail(setback, error, verdict).await?
            }
            _ => self.write(SetbackChange::Put(Box::new(setback))).await?,
        }
        self.rung.notify_one();
        Ok(())
    }

    /// One more attempt failed by its own fault: another follows later, or none.
    async fn fail(&self, mut setback: Setback, error: &Error, verdict: Verdict) -> Result<()> {
        let now = self.clock.now();
        setback.attempts = setback.attempts.saturating_add(verdict::attempts(error));
        setback.history.push(FailedAttempt::of(error, now));
        error.kind().as_str().clone_into(&mut setback.reason);
        match verdict {
            Verdict::Again { after } if setback.attempts < self.config.max_attempts() => {
                let (min, max) = (self.config.backoff_min, self.config.backoff_max);
                setback.next_at = Some(now + self.jitter.wait(setback.attempts, min, max, after));
                self.write(SetbackChange::Put(Box::new(setback))).await
            }
            _ => bury(&*self.puller.store, Setback { since: now, ..setback }, Some(self.alias())).await,
        }
    }

    /// Works until dropped.
    pub(super) async fn run(self: Arc<Self>, mut told: Option<watch::Receiver<AppHealth>>) {
        let mut breaker = Breaker::new();
        loop {
            let wait = match self.round(&mut breaker).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(provider = %self.alias(), op = "retry_queries", %error, "the store failed");
                    Some(self.config.pause_max)
                }
            };
            tokio::select! {
                () = self.rung.notified() => {}
                () = sleep(&*self.clock, wait) => {}
                back = health::reachable(&mut told) => if back { breaker.reached() } else { told = None },
            }
        }
    }

    /// Tries what is due; until when nothing is, `None` for until somebody rings.
    async fn round(&self, breaker: &mut Breaker) -> Result<Option<Duration>> {
        let (store, tenant) = (&self.puller.store, &self.puller.tenant);
        let due = store.due_setbacks(tenant, &self.app, SetbackKind::Query, self.config.parallel).await?;
        let now = self.clock.now();
        let Some(first) = due.first().and_then(|first| first.next_at) else { return Ok(None) };
        if first > now {
            return Ok(Some(first.since(now)));
        }
        let room = match breaker.gate(now) {
            Gate::Paused(until) => return Ok(Some(until.since(now))),
            Gate::Open => self.config.parallel,
            // What only reads is its own probe.
            Gate::Probe | Gate::Trying | Gate::Trial => {
                breaker.probing();
                breaker.probed();
                1
            }
        };
        breaker.called();
        let era = breaker.era();
        let ready = due.into_iter().filter(|one| one.next_at.is_some_and(|at| at <= now)).take(room);
        let mut answers = stream::iter(ready)
            .map(async |one| {
                let answer = self.attempt(&one).await;
                (one, answer)
            })
            .buffer_unordered(self.config.parallel);
        while let Some((one, answer)) = answers.next().await {
            self.settle(breaker, era, one, answer).await?;
        }
        Ok(Some(Duration::ZERO))
    }

    async fn attempt(&self, setback: &Setback) -> Result<Pulled> {
        let damaged = || Error::new(ErrorKind::Storage, "a query that waits cannot be read");
        let span = Span::of(setback).ok_or_else(damaged)?;
        let conversation = setback.conversation.as_ref().ok_or_else(damaged)?;
        tokio::select! {
            answer = self.puller.pull(conversation, span.since, span.until) => answer,
            () = self.clock.sleep(self.config.attempt_within) => {
                let late = Error::new(ErrorKind::Timeout, "a query was not answered");
                Err(late.with_retry(switchboard_contract::Retry::OutcomeUnknown))
            }
        }
    }

    async fn settle(&self, breaker: &mut Breaker, era: u64, one: Setback, answer: Result<Pulled>) -> Result<()> {
        let error = match answer {
            Ok(_) => None,
            // There is nothing to be had, today or later.
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::NotFound) => None,
            Err(error) => Some(error),
        };
        let alias = self.alias().as_str().to_owned();
        let outcome = error.as_ref().map_or("done", |error| error.kind().as_str());
        counter!("switchboard_query_retries_total", "provider" => alias, "outcome" => outcome).increment(1);
        let Some(error) = error else {
            breaker.answered(era);
            return self.done(&one).await;
        };
        let verdict = verdict::of_repeatable(&error);
        match verdict {
            Verdict::AppDown { after } | Verdict::TooFast { after } => {
                let (min, max) = (self.config.pause_min, self.config.pause_max);
                let pause = |trips| self.jitter.wait(trips, min, max, after);
                if breaker.failed(era, self.clock.now(), error.kind(), pause) {
                    let trips = breaker.trips();
                    tracing::warn!(provider = %self.alias(), op = "pause_queries", trips, %error, "queries wait");
                }
                Ok(())
            }
            _ => {
                breaker.answered(era);
                let _writing = self.writing.lock().await;
                match self.known(&one.key).await? {
                    Some(known) if !known.is_dead() => self.fail(known, &error, verdict).await,
                    _ => Ok(()),
                }
            }
        }
    }

    /// It was read, unless more of it was asked for meanwhile.
    async fn done(&self, one: &Setback) -> Result<()> {
        let _writing = self.writing.lock().await;
        let known = self.known(&one.key).await?;
        if known.is_some_and(|known| known.is_dead() || Span::of(&known) != Span::of(one)) {
            return Ok(());
        }
        let (tenant, key) = (self.puller.tenant.clone(), one.key.clone());
        self.write(SetbackChange::Clear { tenant, kind: SetbackKind::Query, key }).await
    }

    /// A dead letter waits again, with a fresh number of attempts.
    async fn redrive(&self, letter: &Setback, now: Timestamp) -> Result<()> {
        let _writing = self.writing.lock().await;
        let again = Setback { next_at: Some(now), attempts: 0, since: now, ..letter.clone() };
        self.write(SetbackChange::Put(Box::new(again))).await?;
        self.rung.notify_one();
        Ok(())
    }
}

async fn sleep(clock: &dyn Clock, wait: Option<Duration>) {
    match wait {
        Some(wait) => clock.sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Asks again for what was given up.
#[derive(Debug)]
pub(super) struct QueryAgain(pub(super) Arc<Inner>);

#[async_trait]
impl Redriver for QueryAgain {
    async fn redrive(&self, letter: &Setback, now: Timestamp) -> Result<()> {
        let later = {
            let apps = self.0.apps.lock();
            let found = apps.values().find(|one| one.tenant == letter.tenant && Some(&one.app) == letter.app.as_ref());
            found.map(|one| Arc::clone(&one.later))
        };
        let missing = || Error::new(ErrorKind::NotFound, "the app it was asked of is not configured");
        later.ok_or_else(missing)?.redrive(letter, now).await
    }
}

impl Catchup {
    /// What redrives queries that are dead letters.
    pub(crate) fn redriver(&self) -> Arc<dyn Redriver> {
        Arc::new(QueryAgain(Arc::clone(&self.0)))
    }
}
