//! One step of a job: its plan, a file, or a page of a conversation.

use std::time::Duration;

use switchboard_contract::storage::{BackfillItem, BackfillJob, BackfillPart, BackfillState, CoverageState, PageMark};
use switchboard_contract::{
    BackfillId, ConversationId, Error, ErrorKind, Inbound, InboundData, Result, Retry, RoamingPage, RoamingQuery,
    Timestamp,
};

use super::plan;
use super::runner::{At, Runner, Stepped};
use crate::catchup::Pulled;
use crate::reconcile::{HOUR, hour_of};

/// Why a part is over, as it stands in the store.
mod outcome {
    pub(super) const WHOLE: &str = "whole";
    pub(super) const CAPPED: &str = "capped";
    pub(super) const ABSENT: &str = "absent";
    pub(super) const FAILED: &str = "failed";
}

/// Retention moves slowly: so long its bound need not be looked up again.
const HISTORY_HOLDS: Duration = Duration::from_secs(10);

impl Runner {
    /// Does the next thing of a job.
    pub(super) async fn step(&mut self, id: BackfillId) -> Result<Stepped> {
        let Some(mut job) = self.job(id).cloned() else { return Ok(Stepped::Over) };
        if job.plans == 0 {
            self.plan(&mut job).await?;
            return Ok(Stepped::On);
        }
        let at = match self.at.take().filter(|at| at.job == id) {
            Some(at) => at,
            None => match self.store.next_backfill_item(&self.tenant, id).await? {
                Some(item) => At::new(id, item),
                // The files may have named conversations that nobody knew.
                None if job.plans == 1 && job.hours.total > 0 => {
                    self.plan(&mut job).await?;
                    return Ok(Stepped::On);
                }
                None => return self.end(job, BackfillState::Done, None).await,
            },
        };
        if !std::mem::replace(&mut self.met, true) {
            // What this costs once would be taken for the price of every page. If it fails, so will the page.
            let provider = self.provider.clone();
            let met = async move { provider.probe().await.is_ok() };
            if self.while_running(id, met).await.is_none() {
                return Ok(Stepped::Over);
            }
        }
        let began = self.clock.now();
        let spacing = self.config.spacing().saturating_sub(began.since(self.page_at));
        if spacing > Duration::ZERO && self.page_at <= began {
            self.at = Some(at);
            return self.wait_for_page(id, spacing).await;
        }
        self.page_at = began;
        match at.item.part.clone() {
            BackfillPart::Hour(hour) => self.hour(job, at, hour).await,
            BackfillPart::Conversation(conversation) => self.page(job, at, conversation).await,
        }
    }

    /// Waits for the next page's time; it counts as work, since the pace is part of it.
    async fn wait_for_page(&mut self, id: BackfillId, wait: Duration) -> Result<Stepped> {
        let hours = matches!(self.at.as_ref().map(|at| &at.item.part), Some(BackfillPart::Hour(_)));
        if let Some(job) = self.job(id) {
            let tally = if hours { &mut job.hours } else { &mut job.conversations };
            tally.active += wait;
        }
        Ok(Stepped::Rest(wait))
    }

    async fn plan(&mut self, job: &mut BackfillJob) -> Result<()> {
        if job.plans == 0 {
            let hours = plan::hours(job, &self.sources, self.clock.now());
            self.store.plan_backfill(&self.tenant, job.id, &hours).await?;
        }
        plan::conversations(&*self.store, &self.tenant, job, &self.sources).await?;
        (job.hours.total, job.conversations.total) = self.store.planned_backfill(&self.tenant, job.id).await?;
        job.plans += 1;
        self.write(job.clone(), None).await
    }

    async fn write(&mut self, mut job: BackfillJob, item: Option<&BackfillItem>) -> Result<()> {
        job.updated_at = self.clock.now();
        // Somebody may have stopped it meanwhile; what it did is counted all the same.
        if let Some(known) = self.job(job.id) {
            job.state = known.state;
        } else {
            return Ok(());
        }
        self.store.put_backfill(&self.tenant, &job, item).await?;
        self.keep(job);
        Ok(())
    }

    async fn end(&mut self, job: BackfillJob, state: BackfillState, reason: Option<String>) -> Result<Stepped> {
        let now = self.clock.now();
        let job = BackfillJob { state, reason, updated_at: now, ..job };
        self.store.put_backfill(&self.tenant, &job, None).await?;
        self.keep(job.clone());
        let kind = if state == BackfillState::Done { "backfill_done" } else { "backfill_failed" };
        self.telling.changed(kind, &job, now).await;
        Ok(Stepped::Over)
    }

    /// Waits for an answer of the vendor, serving whoever asks meanwhile; `None` when the job is no longer to run.
    async fn while_running<T>(&mut self, id: BackfillId, answer: impl Future<Output = T>) -> Option<T> {
        let mut answer = std::pin::pin!(answer);
        loop {
            tokio::select! {
                answer = &mut answer => return Some(answer),
                command = self.commands.recv() => match command {
                    Some(command) => {
                        self.serve(command).await;
                        if self.job(id).is_none_or(|job| job.state != BackfillState::Running) {
                            return None;
                        }
                    }
                    None => std::future::pending().await,
                }
            }
        }
    }

    /// One file, through the reconciler, which keeps the ledger of hours.
    async fn hour(&mut self, mut job: BackfillJob, mut at: At, hour: Timestamp) -> Result<Stepped> {
        let began = self.clock.now();
        let (reconciler, tenant, alias) = (self.reconciler.clone(), self.tenant.clone(), self.alias.clone());
        // In the hour in which Switchboard got the app, what was said before is left out unless it is asked for.
        let again = hour == hour_of(self.puller.began());
        let answer = async move { reconciler.reconcile(&tenant, &alias, hour, hour + HOUR, again).await };
        let Some(answer) = self.while_running(job.id, answer).await else { return Ok(Stepped::Over) };
        job.hours.active += self.clock.now().since(began);
        let report = match answer {
            Ok(report) => report,
            Err(error) => return self.failed(job, at, error).await,
        };
        let unreachable = |reason: &str| matches!(reason, "unreachable" | "cut_off");
        if report.hours.iter().any(|one| one.state == CoverageState::Suspect && unreachable(&one.reason)) {
            return self.failed(job, at, Error::new(ErrorKind::Unavailable, "the file could not be fetched")).await;
        }
        let history = report.hours.iter().map(|one| one.history).sum();
        let pulled = Pulled { fresh: report.repaired, history, whole: true, ..Pulled::default() };
        let lines: u64 = report.hours.iter().map(|one| one.lines).sum();
        job.pages += u64::from(!report.hours.is_empty());
        job.messages += lines;
        at.item.messages = lines;
        self.took(&mut job, pulled);
        self.over(job, at, outcome::WHOLE).await
    }

    fn took(&mut self, job: &mut BackfillJob, pulled: Pulled) {
        job.inserted += pulled.history;
        job.missed += pulled.fresh;
        self.telling.fetched(pulled);
    }

    /// One page of a conversation.
    async fn page(&mut self, mut job: BackfillJob, mut at: At, conversation: ConversationId) -> Result<Stepped> {
        let began = self.clock.now();
        let (puller, provider) = (self.puller.clone(), self.provider.clone());
        let (since, until, cursor) = (at.item.since, at.item.until, at.item.cursor.clone());
        let asked = at.query.take();
        let answer = async move {
            let query = match asked {
                Some(query) => query,
                None => RoamingQuery { cursor, ..puller.query(&conversation, since, until).await? },
            };
            let unsupported = || Error::unsupported("queries of conversations");
            let page = provider.roaming().ok_or_else(unsupported)?.page(&query).await?;
            Ok::<_, Error>((query, page))
        };
        let Some(answer) = self.while_running(job.id, answer).await else { return Ok(Stepped::Over) };
        let (query, RoamingPage { mut items, next }) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                job.conversations.active += self.clock.now().since(began);
                return self.failed(job, at, error).await;
            }
        };
        if next.is_some() && next == query.cursor {
            let error = Error::new(ErrorKind::Internal, "the vendor hands out the cursor it was given");
            return self.failed(job, at, error).await;
        }
        let room = job.max_messages.map_or(u64::MAX, |most| most.saturating_sub(at.item.messages));
        let capped = cap(&mut items, room);
        let read = items.iter().filter(|item| is_message(item)).count() as u64;
        let oldest = items.iter().map(|item| item.sent_at).min();
        let history = self.history(&mut at, began).await?;
        job.pages += 1;
        job.messages += read;
        at.item.messages += read;
        at.item.reached = at.item.reached.into_iter().chain(oldest).min();
        at.item.attempts = 0;
        at.item.cursor.clone_from(&next);
        job.updated_at = self.clock.now();
        let full = capped || job.max_messages.is_some_and(|most| at.item.messages >= most);
        // What ends with this page is written with its end.
        let missed = items.first().is_some_and(|item| item.sent_at >= history);
        let goes_on = next.is_some() && !full && !at.meets_known;
        let mut mark = if goes_on { self.mark(&job, &at.item, missed) } else { None };
        let marked = mark.is_some();
        let mut pulled = Pulled { whole: true, ..Pulled::default() };
        if at.meets_known {
            self.puller.journal(items, history, &mut pulled).await?;
            at.meets_known = pulled.fresh + pulled.history < read;
        } else {
            at.meets_known = self.puller.journal_missing(items, history, &mut pulled, &mut mark).await? > 0;
        }
        job.conversations.active += self.clock.now().since(began);
        self.took(&mut job, pulled);
        if next.is_none() {
            return self.over(job, at, outcome::WHOLE).await;
        }
        if full {
            job.capped += 1;
            return self.over(job, at, outcome::CAPPED).await;
        }
        if marked && mark.is_none() {
            self.keep(job.clone());
        } else {
            self.write(job.clone(), Some(&at.item)).await?;
        }
        self.telling.moved(&job, &at.item, self.clock.now(), self.config.tell_every).await;
        at.query = Some(RoamingQuery { cursor: next, ..query });
        self.at = Some(at);
        Ok(Stepped::On)
    }

    /// What was sent before this is history.
    async fn history(&self, at: &mut At, now: Timestamp) -> Result<Timestamp> {
        match at.history {
            Some((found_at, until)) if now.since(found_at) < HISTORY_HOLDS => Ok(until),
            _ => {
                let until = self.puller.history_until().await?;
                at.history = Some((now, until));
                Ok(until)
            }
        }
    }

    /// Where a job stands with the present page, unless somebody removed it.
    fn mark(&mut self, job: &BackfillJob, item: &BackfillItem, missed: bool) -> Option<PageMark> {
        let state = self.job(job.id)?.state;
        let job = BackfillJob { state, ..job.clone() };
        Some(PageMark { tenant: self.tenant.clone(), job, item: item.clone(), missed })
    }

    /// A part is over.
    async fn over(&mut self, mut job: BackfillJob, mut at: At, how: &str) -> Result<Stepped> {
        let tally = match at.item.part {
            BackfillPart::Hour(_) => &mut job.hours,
            BackfillPart::Conversation(_) => &mut job.conversations,
        };
        tally.done += 1;
        tally.settled = tally.active;
        at.item.outcome = Some(how.to_owned());
        at.item.cursor = None;
        self.write(job.clone(), Some(&at.item)).await?;
        self.telling.moved(&job, &at.item, self.clock.now(), self.config.tell_every).await;
        Ok(Stepped::On)
    }

    /// A try failed: what it means for the part is the error's own answer. What befalls the whole app spends nothing of
    /// the part.
    async fn failed(&mut self, mut job: BackfillJob, mut at: At, error: Error) -> Result<Stepped> {
        match error.kind() {
            ErrorKind::Storage | ErrorKind::StorageFull | ErrorKind::Closed => return Err(error),
            ErrorKind::NotFound => {
                job.absent += 1;
                return self.over(job, at, outcome::ABSENT).await;
            }
            ErrorKind::Unsupported => {
                let reason = Some(format!("unsupported: {}", error.message()));
                return self.end(job, BackfillState::Failed, reason).await;
            }
            _ => {}
        }
        let outage = match error.kind() {
            ErrorKind::RateLimited | ErrorKind::Unauthorized | ErrorKind::Config => true,
            ErrorKind::Unavailable | ErrorKind::Timeout => self.provider.probe().await.is_err(),
            _ => false,
        };
        tracing::warn!(
            provider = %self.alias, op = "backfill", attempt = at.item.attempts + 1, outage, %error, "a page failed"
        );
        self.failures += 1;
        at.item.fault = Some(format!("{}: {}", error.kind(), error.message()));
        if !outage {
            at.item.attempts += 1;
            let for_good = matches!(error.retry(), Retry::Never)
                && !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout);
            if for_good || at.item.attempts > self.config.max_retries {
                job.failed += 1;
                self.telling.gave_up(&job, &at.item);
                self.bury(&job, &at.item, &error).await?;
                return self.over(job, at, outcome::FAILED).await;
            }
        }
        self.write(job, Some(&at.item)).await?;
        self.at = Some(At { query: None, ..at });
        let named = match error.retry() {
            Retry::Safe { after } => after,
            _ => None,
        };
        Ok(Stepped::Rest(named.unwrap_or_else(|| self.pause())))
    }
}

fn is_message(item: &Inbound) -> bool {
    matches!(item.data, InboundData::Message(_))
}

/// Leaves the newest messages of a page, at most `room`, and what speaks of none; whether something was left out.
fn cap(items: &mut Vec<Inbound>, room: u64) -> bool {
    let messages = items.iter().filter(|item| is_message(item)).count() as u64;
    if messages <= room {
        return false;
    }
    items.sort_by_key(|item| std::cmp::Reverse(item.sent_at));
    let mut left = room;
    items.retain(|item| {
        let room = left > 0;
        left -= u64::from(room && is_message(item));
        room || !is_message(item)
    });
    true
}
