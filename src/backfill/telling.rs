//! What others hear of jobs: counters, and notices in the journal under the topic of backfill and repair.

use metrics::{Counter, counter, gauge};
use serde_json::json;
use switchboard_contract::storage::{BackfillItem, BackfillJob};
use switchboard_contract::{ProviderId, Timestamp, Topic};

use super::progress::progress;
use crate::catchup::Pulled;
use crate::notices::Notices;

/// Tells of the jobs of one app.
pub(super) struct Telling {
    alias: ProviderId,
    notices: Notices,
    pages: Counter,
    inserted: Counter,
    missed: Counter,
    told_at: Timestamp,
}

impl Telling {
    pub(super) fn new(alias: ProviderId, notices: Notices) -> Self {
        let label = alias.as_str().to_owned();
        let messages = |outcome: &'static str| counter!("switchboard_backfill_messages_total", "provider" => label.clone(), "outcome" => outcome);
        Self {
            pages: counter!("switchboard_backfill_pages_total", "provider" => label.clone()),
            inserted: messages("inserted"),
            missed: messages("missed"),
            told_at: Timestamp(0),
            alias,
            notices,
        }
    }

    /// How many jobs are open.
    pub(super) fn open(&self, jobs: usize) {
        gauge!("switchboard_backfill_jobs", "provider" => self.alias.as_str().to_owned()).set(jobs as f64);
    }

    /// A page was journalled.
    pub(super) fn fetched(&self, pulled: Pulled) {
        self.pages.increment(1);
        self.inserted.increment(pulled.history);
        self.missed.increment(pulled.fresh);
    }

    /// A part was given up.
    pub(super) fn gave_up(&self, job: &BackfillJob, item: &BackfillItem) {
        tracing::warn!(
            provider = %self.alias, job = %job.id, part = ?item.part, fault = item.fault.as_deref().unwrap_or_default(),
            "a part of a backfill is given up"
        );
        let alias = self.alias.as_str().to_owned();
        counter!("switchboard_backfill_given_up_total", "provider" => alias).increment(1);
    }

    /// A job changed its state.
    pub(super) async fn changed(&mut self, kind: &'static str, job: &BackfillJob, now: Timestamp) {
        tracing::info!(
            provider = %self.alias, job = %job.id, state = job.state.as_str(), inserted = job.inserted,
            missed = job.missed, "{kind}"
        );
        self.told_at = now;
        self.tell(kind, job, None, now).await;
    }

    /// A job moved on; told once in `every`.
    pub(super) async fn moved(
        &mut self,
        job: &BackfillJob,
        item: &BackfillItem,
        now: Timestamp,
        every: std::time::Duration,
    ) {
        if now.since(self.told_at) >= every {
            self.told_at = now;
            self.tell("backfill_progress", job, Some(item), now).await;
        }
    }

    async fn tell(&self, kind: &str, job: &BackfillJob, item: Option<&BackfillItem>, now: Timestamp) {
        let detail = json!({
            "job": job.id, "scope": job.scope, "state": job.state, "reason": job.reason, "pages": job.pages,
            "messages": job.messages, "inserted": job.inserted, "missed": job.missed, "failed": job.failed,
            "progress": progress(job, item),
        });
        self.notices.tell(Topic::Backfill, kind, &format!("{}/{}/{}", job.id, job.pages, now.0), detail).await;
    }
}

impl std::fmt::Debug for Telling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telling").field("alias", &self.alias).finish_non_exhaustive()
    }
}
