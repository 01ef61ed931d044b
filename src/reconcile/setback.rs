//! Files that could not be had: in the list of what is tried again while they may come, dead letters once they cannot.
//!
//! When the next look is made stands in the ledger of coverage; what is kept here is why, and how often.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use switchboard_contract::storage::{
    Commit, CoverageState, FailedAttempt, FailedAttempts, HourCoverage, Setback, SetbackChange, SetbackKind,
};
use switchboard_contract::{Error, ErrorKind, Result, Timestamp};

use super::look::Subject;
use super::schedule::{HOUR, reason};
use super::{Inner, Reconciler};
use crate::recovery::{Redriver, app_hash, bury, verdict};

fn failed(hour: &HourCoverage) -> bool {
    matches!(hour.reason.as_str(), reason::UNREACHABLE | reason::DAMAGED)
}

impl Subject {
    fn key(&self, hour: Timestamp) -> String {
        let name = hour.to_rfc3339();
        format!("{}~{}", app_hash(self.provider.app()), name.get(..13).unwrap_or(&name))
    }

    /// Keeps in mind how a look ended: `error` is why it failed, where it did.
    ///
    /// # Errors
    /// `Storage`.
    pub(super) async fn note(
        &self,
        before: Option<&HourCoverage>,
        now: &HourCoverage,
        error: Option<&Error>,
    ) -> Result<()> {
        if !failed(now) {
            if before.is_some_and(failed) {
                let (tenant, key) = (self.tenant.clone(), self.key(now.hour));
                let setbacks = vec![SetbackChange::Clear { tenant, kind: SetbackKind::File, key }];
                self.store.commit(Commit { setbacks, ..Commit::default() }).await?;
            }
            return Ok(());
        }
        let mut setback = self.setback(now).await?;
        let (outcome, code) = match error {
            Some(error) => (error.kind().as_str(), error.vendor_code().map(str::to_owned)),
            None => (now.reason.as_str(), None),
        };
        setback.history.push(FailedAttempt { at: now.looked_at, outcome: outcome.to_owned(), code });
        // While the vendor is away nothing counts.
        let own = error.is_none_or(|error| !verdict::is_app_wide(error.kind()));
        setback.attempts = setback.attempts.saturating_add(u32::from(own));
        self.keep(now, setback).await
    }

    /// An hour was given up without another look.
    ///
    /// # Errors
    /// `Storage`.
    pub(super) async fn note_given_up(&self, now: &HourCoverage) -> Result<()> {
        if !failed(now) {
            return Ok(());
        }
        let setback = self.setback(now).await?;
        self.keep(now, setback).await
    }

    async fn keep(&self, now: &HourCoverage, setback: Setback) -> Result<()> {
        if now.state == CoverageState::Unfillable {
            let letter = Setback { since: self.clock.now(), ..setback };
            return bury(&*self.store, letter, Some(&self.alias)).await;
        }
        let setbacks = vec![SetbackChange::Put(Box::new(setback))];
        self.store.commit(Commit { setbacks, ..Commit::default() }).await.map(drop)
    }

    /// The one there is, brought to what is known of the hour, or a new one.
    async fn setback(&self, now: &HourCoverage) -> Result<Setback> {
        let key = self.key(now.hour);
        let known = self.store.setback(&self.tenant, SetbackKind::File, &key).await?;
        let (attempts, history, since) = match known {
            Some(known) => (known.attempts, known.history, known.since),
            None => (0, FailedAttempts::default(), now.looked_at),
        };
        Ok(Setback {
            number: 0,
            tenant: self.tenant.clone(),
            kind: SetbackKind::File,
            key,
            app: Some(self.provider.app().clone()),
            conversation: None,
            next_at: now.next_look,
            reason: now.reason.clone(),
            attempts,
            history,
            detail: json!({ "hour": now.hour, "provider": self.alias }),
            since,
        })
    }
}

/// Fetches again what was given up, as long as the vendor has it.
#[derive(Debug)]
struct FileAgain(Arc<Inner>);

#[async_trait]
impl Redriver for FileAgain {
    async fn redrive(&self, letter: &Setback, _: Timestamp) -> Result<()> {
        let missing = || Error::new(ErrorKind::NotFound, "the app whose file it is is not configured");
        let alias = {
            let apps = self.0.apps.lock();
            let own = |one: &super::Registered| one.tenant == letter.tenant && Some(&one.app) == letter.app.as_ref();
            apps.iter().find(|(_, one)| own(one)).map(|(alias, _)| alias.clone())
        };
        let hour = letter.detail["hour"].as_i64().map(Timestamp).ok_or_else(missing)?;
        let reconciler = Reconciler(Arc::clone(&self.0));
        let report = reconciler.reconcile(&letter.tenant, &alias.ok_or_else(missing)?, hour, hour + HOUR, true).await?;
        match report.hours.first() {
            None => Err(Error::new(ErrorKind::Conflict, "the vendor no longer has the file")),
            Some(hour) if matches!(hour.reason.as_str(), reason::UNREACHABLE | reason::DAMAGED) => {
                Err(Error::new(ErrorKind::Conflict, format!("it was tried again: {}", hour.reason)))
            }
            Some(_) => Ok(()),
        }
    }
}

impl Reconciler {
    /// What redrives files that are dead letters.
    pub(crate) fn redriver(&self) -> Arc<dyn Redriver> {
        Arc::new(FileAgain(Arc::clone(&self.0)))
    }
}
