//! Conversations that were given up: dead letters, fetched again by a job of their own when somebody redrives them.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use switchboard_contract::storage::{
    BackfillItem, BackfillJob, BackfillPart, BackfillScope, Commit, FailedAttempt, FailedAttempts, Setback,
    SetbackChange, SetbackKind,
};
use switchboard_contract::{Error, ErrorKind, Result, Timestamp};

use super::runner::Runner;
use super::{Backfill, BackfillRequest};
use crate::recovery::{Redriver, bury};

impl Runner {
    /// Keeps what a job gave up. Files have letters of their own: the reconciler writes them.
    ///
    /// # Errors
    /// `Storage`.
    pub(super) async fn bury(&self, job: &BackfillJob, item: &BackfillItem, error: &Error) -> Result<()> {
        let BackfillPart::Conversation(conversation) = &item.part else { return Ok(()) };
        let now = self.clock.now();
        let letter = Setback {
            number: 0,
            tenant: self.tenant.clone(),
            kind: SetbackKind::Job,
            key: format!("{}~{conversation}", job.id),
            app: Some(job.app.clone()),
            conversation: Some(conversation.clone()),
            next_at: None,
            reason: error.kind().as_str().to_owned(),
            attempts: u32::from(item.attempts),
            history: FailedAttempts::from(vec![FailedAttempt::of(error, now)]),
            detail: json!({
                "job": job.id, "provider": self.alias, "since": item.since, "until": rest(item), "messages": item.messages,
                "max_messages": job.max_messages,
            }),
            since: now,
        };
        bury(&*self.store, letter, Some(&self.alias)).await
    }
}

/// Up to when a part is still to be fetched: it goes from the newest to the oldest.
fn rest(item: &BackfillItem) -> Timestamp {
    item.reached.unwrap_or(item.until).min(item.until)
}

impl Backfill {
    /// What redrives conversations that were given up.
    pub(crate) fn redriver(&self) -> Arc<dyn Redriver> {
        Arc::new(self.clone())
    }
}

#[async_trait]
impl Redriver for Backfill {
    async fn redrive(&self, letter: &Setback, _: Timestamp) -> Result<()> {
        let missing = || Error::new(ErrorKind::NotFound, "the provider of the backfill is not configured");
        let app = letter.app.as_ref().ok_or_else(missing)?;
        let conversation = letter.conversation.clone().ok_or_else(missing)?;
        let (alias, _) = self.of_app(&letter.tenant, app)?;
        let time = |name: &str| letter.detail[name].as_i64().map(Timestamp);
        let read = letter.detail["messages"].as_u64().unwrap_or_default();
        let request = BackfillRequest {
            since: time("since"),
            until: time("until"),
            max_messages: letter.detail["max_messages"].as_u64().map(|most| most.saturating_sub(read).max(1)),
            ..BackfillRequest::of(BackfillScope::Conversation(conversation))
        };
        self.start(&letter.tenant, &alias, request).await?;
        // The job is durable first: a stop in between leaves a letter too many, never one too few.
        let (tenant, key) = (letter.tenant.clone(), letter.key.clone());
        let setbacks = vec![SetbackChange::Clear { tenant, kind: SetbackKind::Job, key }];
        self.0.store.commit(Commit { setbacks, ..Commit::default() }).await.map(drop)
    }
}
