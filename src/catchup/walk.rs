//! The task of one app: the walk after we were away, signs of life, and the windows that files still have to fill.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use metrics::counter;
use parking_lot::Mutex;
use serde_json::json;
use switchboard_contract::storage::{CoverageState, RepairWindow, Store};
use switchboard_contract::{App, Clock, ConversationId, Error, ErrorKind, Result, TenantId, Timestamp, Topic};
use tokio::sync::{Notify, watch};

use super::again::Again;
use super::conversation::Puller;
use super::later::Later;
use super::{CatchupConfig, ProviderState};
use crate::notices::Notices;
use crate::recovery::verdict;

const HOUR_MS: i64 = 3_600_000;
/// Conversations read from the store at once.
const PAGE: usize = 1_000;

/// Why to catch up, and from when on. Any number of callers leave at most one walk waiting.
#[derive(Debug, Default)]
pub(super) struct Bell {
    wanted: Mutex<Option<(Timestamp, &'static str)>>,
    rung: Notify,
}

impl Bell {
    /// Asks for a walk from `since` on. One that waits already takes it along.
    pub(super) fn ring(&self, since: Timestamp, cause: &'static str) {
        let mut wanted = self.wanted.lock();
        *wanted = Some(match *wanted {
            Some((before, first)) => (before.min(since), first),
            None => (since, cause),
        });
        drop(wanted);
        self.rung.notify_one();
    }

    async fn next(&self) -> (Timestamp, &'static str) {
        loop {
            if let Some(wanted) = self.wanted.lock().take() {
                return wanted;
            }
            self.rung.notified().await;
        }
    }
}

/// What a walk did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Walked {
    /// Conversations there were to ask for.
    conversations: u64,
    /// Conversations read to their end.
    read: u64,
    /// Messages that were missing.
    fresh: u64,
}

pub(super) struct Walker {
    pub(super) puller: Puller,
    pub(super) app: App,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: CatchupConfig,
    pub(super) notices: Notices,
    pub(super) bell: Arc<Bell>,
    pub(super) state: watch::Sender<ProviderState>,
    /// The vendor publishes files that will fill what queries do not.
    pub(super) files: bool,
    /// Where queries wait that failed, or for which there was no time.
    pub(super) later: Arc<Later>,
    /// Callbacks the vendor was asked to send again, and what is left to ask for.
    pub(super) again: Option<Again>,
    /// The account has no store of failed callbacks; asked again then.
    pub(super) no_store_until: Timestamp,
}

impl Walker {
    /// Works until dropped: first the walk for the time before this start, then whatever is asked for.
    pub(super) async fn run(mut self) {
        match self.puller.store.alive(&self.puller.tenant, &self.app).await {
            Ok(Some(alive)) => self.bell.ring(alive, "restart"),
            Ok(None) => {
                self.breathe(&mut false).await;
                self.online(None, Walked::default()).await;
            }
            // Not knowing is no reason to stay silent: files cover what a query would.
            Err(error) => {
                tracing::error!(provider = %self.puller.alias, %error, "the last sign of life cannot be read");
                self.online(None, Walked::default()).await;
            }
        }
        let mut refusing = false;
        loop {
            tokio::select! {
                (since, cause) = self.bell.next() => self.walk(since, cause).await,
                () = self.again_due() => self.ask_again().await,
                () = self.clock.sleep(self.config.sign_of_life) => self.breathe(&mut refusing).await,
            }
        }
    }

    /// Notes that we are here, and closes the windows that are filled. While callbacks cannot be taken we are not.
    async fn breathe(&self, refusing: &mut bool) {
        let accepting = self.puller.ingest.upgrade().is_some_and(|ingest| ingest.accepting().is_ok());
        let was_refusing = std::mem::replace(refusing, !accepting);
        let outcome = async {
            let now = self.clock.now();
            if accepting && was_refusing {
                let alive = self.puller.store.alive(&self.puller.tenant, &self.app).await?;
                self.bell.ring(alive.unwrap_or(now), "refused");
            } else if accepting {
                self.puller.store.set_alive(&self.puller.tenant, &self.app, now).await?;
            }
            for window in self.puller.store.windows(&self.puller.tenant, &self.app, true, 100).await? {
                self.close(window, now).await?;
            }
            Ok::<_, switchboard_contract::Error>(())
        };
        if let Err(error) = outcome.await {
            tracing::warn!(provider = %self.puller.alias, %error, "a sign of life could not be noted");
        }
    }

    async fn walk(&mut self, since: Timestamp, cause: &'static str) {
        let until = self.clock.now();
        self.state.send_replace(ProviderState::CatchingUp);
        let mut window = RepairWindow {
            id: 0,
            since: since - self.config.clock_margin,
            until: until + self.config.clock_margin,
            cause: cause.to_owned(),
            sent_again: 0,
            queried: 0,
            repaired: 0,
            closed_at: None,
            complete: false,
        };
        if let Some(open) = self.same_trouble(&window).await {
            window = RepairWindow { since: open.since.min(window.since), until: window.until, ..open };
        }
        if let Err(error) = self.write(&mut window).await {
            tracing::error!(provider = %self.puller.alias, %error, "a repair window could not be written");
        }
        let detail = json!({ "since": window.since, "until": window.until, "cause": cause });
        self.notices.tell(Topic::Backfill, "repair_window_opened", &format!("window/{}", window.id), detail).await;
        // Everything together is bounded: the vendor's own store first, which is the cheapest, then queries.
        let bound = self.clock.now() + self.config.within;
        window.sent_again += self.send_again(&window, bound).await;
        let walked = self.ask(window.since, window.until, bound.since(self.clock.now())).await;
        window.queried += walked.fresh;
        let written = async {
            self.write(&mut window).await?;
            self.puller.store.set_alive(&self.puller.tenant, &self.app, self.clock.now()).await?;
            self.close(window.clone(), self.clock.now()).await
        };
        if let Err(error) = written.await {
            tracing::error!(provider = %self.puller.alias, %error, "a repair window could not be written");
        }
        self.online(Some(&window), walked).await;
    }

    async fn write(&self, window: &mut RepairWindow) -> Result<()> {
        window.id = self.puller.store.put_window(&self.puller.tenant, &self.app, window).await?;
        Ok(())
    }

    /// Asks the vendor for the conversations that were alive, until all are read or the time is up.
    async fn ask(&self, since: Timestamp, until: Timestamp, within: Duration) -> Walked {
        let (conversations, read, fresh) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        // Those nobody has read yet.
        let left: Mutex<BTreeSet<ConversationId>> = Mutex::default();
        let work = async {
            if !self.config.queries || self.puller.provider.roaming().is_none() {
                return;
            }
            let (oldest, most) = (since - self.config.active_within, self.config.max_conversations);
            let store = &*self.puller.store;
            let wanted = match alive_conversations(store, &self.puller.tenant, oldest, most).await {
                Ok(wanted) => wanted,
                Err(error) => {
                    tracing::error!(provider = %self.puller.alias, %error, "conversations cannot be listed");
                    return;
                }
            };
            conversations.store(wanted.len() as u64, Ordering::Relaxed);
            left.lock().extend(wanted.iter().cloned());
            let mut answers = stream::iter(wanted)
                .map(async |conversation| {
                    let answer = self.puller.pull(&conversation, since, until).await;
                    (conversation, answer)
                })
                .buffer_unordered(self.config.parallel);
            while let Some((conversation, answer)) = answers.next().await {
                if !answer.as_ref().is_err_and(|error| verdict::is_app_wide(error.kind())) {
                    left.lock().remove(&conversation);
                }
                match answer {
                    Ok(pulled) => {
                        read.fetch_add(u64::from(pulled.whole), Ordering::Relaxed);
                        fresh.fetch_add(pulled.fresh, Ordering::Relaxed);
                    }
                    // The account has no queries: asking for the rest would not change that.
                    Err(error) if error.kind() == ErrorKind::Unsupported => return left.lock().clear(),
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => {
                        tracing::warn!(provider = %self.puller.alias, %error, op = "catch_up", "a query failed");
                        if verdict::is_app_wide(error.kind()) {
                            // Asking for the others now would fail the same way.
                            return;
                        }
                        self.later(&conversation, (since, until), Some(&error)).await;
                    }
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = self.clock.sleep(within) => {
                tracing::warn!(provider = %self.puller.alias, "catching up took too long; the rest follows later");
            }
        }
        for conversation in left.into_inner() {
            self.later(&conversation, (since, until), None).await;
        }
        Walked { conversations: conversations.into_inner(), read: read.into_inner(), fresh: fresh.into_inner() }
    }

    async fn later(&self, conversation: &ConversationId, span: (Timestamp, Timestamp), failure: Option<&Error>) {
        if let Err(error) = self.later.put(conversation, span, failure).await {
            // The window says that something may be missing; files or the next walk may bring it.
            tracing::error!(provider = %self.puller.alias, %error, "a query that failed could not be kept for later");
        }
    }

    /// The open window of the same trouble, which goes on: a silence is one, however often it is looked at.
    async fn same_trouble(&self, window: &RepairWindow) -> Option<RepairWindow> {
        if !matches!(window.cause.as_str(), "silence" | "ban") {
            return None;
        }
        let open = self.puller.store.windows(&self.puller.tenant, &self.app, true, 100).await.ok()?;
        open.into_iter().find(|open| open.cause == window.cause && open.until >= window.since)
    }

    async fn online(&self, window: Option<&RepairWindow>, walked: Walked) {
        self.state.send_replace(ProviderState::Online);
        let alias = self.puller.alias.as_str().to_owned();
        counter!("switchboard_catchup_messages_total", "provider" => alias).increment(walked.fresh);
        let detail = json!({
            "window": window.map(|window| window.id), "conversations": walked.conversations, "read": walked.read,
            "brought": walked.fresh,
        });
        let which = format!("online/{}/{}", window.map_or(0, |window| window.id), self.clock.now().0);
        self.notices.tell(Topic::ProviderHealth, "provider_online", &which, detail).await;
    }

    /// Closes a window once every hour of it is decided.
    async fn close(&self, mut window: RepairWindow, now: Timestamp) -> Result<()> {
        let first = Timestamp(window.since.0.div_euclid(HOUR_MS) * HOUR_MS);
        if self.files {
            let records = self.puller.store.hours(&self.puller.tenant, &self.app, first, window.until).await?;
            let hours = (window.until.0 - first.0).div_euclid(HOUR_MS) + 1;
            let decided = records.iter().filter(|hour| hour.state != CoverageState::Suspect).count();
            if (decided as i64) < hours {
                return Ok(());
            }
            window.complete = records.iter().all(|hour| hour.state == CoverageState::Complete);
            window.repaired = records.iter().map(|hour| hour.repaired).sum();
        }
        window.closed_at = Some(now);
        self.write(&mut window).await?;
        let detail = json!({
            "since": window.since, "until": window.until, "cause": window.cause, "queried": window.queried,
            "repaired": window.repaired, "complete": window.complete,
        });
        self.notices.tell(Topic::Backfill, "repair_window_closed", &format!("closed/{}", window.id), detail).await;
        Ok(())
    }
}

/// The conversations in which something happened since `oldest`, the most recent first, at most `most`.
///
/// # Errors
/// `Storage`.
pub(crate) async fn alive_conversations(
    store: &dyn Store,
    tenant: &TenantId,
    oldest: Timestamp,
    most: usize,
) -> Result<Vec<ConversationId>> {
    let mut newest: BTreeMap<(Timestamp, ConversationId), ()> = BTreeMap::new();
    let mut after: Option<ConversationId> = None;
    loop {
        let page = store.conversations(tenant, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        for one in page.into_iter().filter(|one| one.last_at >= oldest) {
            newest.insert((one.last_at, one.id), ());
            if newest.len() > most {
                newest.pop_first();
            }
        }
    }
    Ok(newest.into_keys().rev().map(|(_, id)| id).collect())
}
