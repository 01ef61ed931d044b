//! What others hear of reconciliation: counters, and notices in the journal under the topic of backfill and repair.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, counter};
use serde_json::{Value, json};
use switchboard_contract::storage::{CoverageState, HourCoverage, Store};
use switchboard_contract::{App, Clock, ProviderId, TenantId, Topic};

use super::ReconcileConfig;
use super::look::Pass;
use super::schedule::{HOUR, reason};
use crate::notices::Notices;

/// Tells of one app.
pub(super) struct Telling {
    alias: ProviderId,
    app: App,
    notices: Notices,
    repaired: Counter,
    lines: Counter,
}

impl std::fmt::Debug for Telling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telling").field("app", &self.app).finish_non_exhaustive()
    }
}

impl Telling {
    pub(super) fn new(
        tenant: TenantId,
        alias: ProviderId,
        app: App,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let label = alias.as_str().to_owned();
        Self {
            repaired: counter!("switchboard_reconciled_total", "provider" => label.clone()),
            lines: counter!("switchboard_reconcile_lines_total", "provider" => label),
            notices: Notices::new(tenant, alias.clone(), app.clone(), store, clock),
            alias,
            app,
        }
    }

    /// Messages that files brought in all, as the ledger has them: so much at least was counted, whichever run did it.
    pub(super) fn repaired_in_all(&self, messages: u64) {
        self.repaired.absolute(messages);
    }

    /// A look that was cut off had journalled so much.
    pub(super) async fn recovered(&self, now: &HourCoverage, messages: u64) {
        if messages == 0 {
            return;
        }
        tracing::warn!(
            provider = %self.alias, app = %self.app, hour = %now.hour.to_rfc3339(), repaired = messages,
            "a repair happened: a history file held what never came, and was being read when we were stopped"
        );
        let detail = json!({ "repaired": messages, "others": 0, "repaired_in_all": now.repaired });
        self.tell("repair_happened", now, &format!("{}/cut_off/{}", now.repaired, now.looks), detail).await;
    }

    /// Messages were inserted.
    pub(super) fn repaired(&self, messages: u64) {
        self.repaired.increment(messages);
    }

    /// An hour was looked at.
    pub(super) async fn looked(
        &self,
        before: Option<&HourCoverage>,
        now: &HourCoverage,
        pass: &Pass,
        config: &ReconcileConfig,
    ) {
        self.lines.increment(pass.lines);
        let old_file = before.and_then(|before| before.file.as_ref());
        let grew = old_file.zip(now.file.as_ref()).is_some_and(|(old, new)| old.digest != new.digest);
        let outcome = match now.reason.as_str() {
            _ if grew => "changed",
            reason::FINAL | reason::MAY_GROW => "read",
            other => other,
        };
        let (alias, outcome) = (self.alias.as_str().to_owned(), outcome.to_owned());
        counter!("switchboard_history_files_total", "provider" => alias, "outcome" => outcome).increment(1);
        if pass.repaired + pass.others > 0 {
            tracing::warn!(
                provider = %self.alias, app = %self.app, hour = %now.hour.to_rfc3339(), repaired = pass.repaired,
                others = pass.others, "a repair happened: a history file held what never came"
            );
            let detail = json!({ "repaired": pass.repaired, "others": pass.others, "repaired_in_all": now.repaired });
            // Named by what the hour has had so far, so that it is told once.
            self.tell("repair_happened", now, &format!("{}/{}", now.repaired, now.looks), detail).await;
        }
        if let (true, Some(old), Some(new)) = (grew, old_file, now.file.as_ref()) {
            let detail = json!({ "lines": new.lines, "lines_before": old.lines });
            self.tell("history_file_changed", now, &hex::encode(new.digest), detail).await;
        }
        if pass.skipped > 0 {
            let detail = json!({ "lines": pass.skipped });
            self.tell("history_lines_unreadable", now, &now.looks.to_string(), detail).await;
        }
        self.trouble(before, now, config).await;
    }

    /// An alert for an hour that is not as it should be, once for each reason.
    async fn trouble(&self, before: Option<&HourCoverage>, now: &HourCoverage, config: &ReconcileConfig) {
        let since_end = now.looked_at.since(now.hour + HOUR);
        let overdue = |at: Duration| at >= config.late_after;
        let kind = match (now.state, now.reason.as_str()) {
            (CoverageState::Suspect, reason::MISSING) if overdue(since_end) => "history_file_late",
            (CoverageState::Suspect, reason::DAMAGED) => "history_file_damaged",
            (CoverageState::Unfillable, _) => "hour_unfillable",
            _ => return,
        };
        if before.is_some_and(|before| before.state == now.state && before.reason == now.reason)
            && !overdue_now(before, now, config)
        {
            return;
        }
        tracing::warn!(
            provider = %self.alias, app = %self.app, hour = %now.hour.to_rfc3339(), state = now.state.as_str(),
            reason = now.reason, "coverage of an hour is in doubt"
        );
        let alias = self.alias.as_str().to_owned();
        counter!("switchboard_reconcile_alerts_total", "provider" => alias, "kind" => kind).increment(1);
        self.tell(kind, now, &now.reason, json!({ "reason": now.reason, "looks": now.looks })).await;
    }

    /// An hour was given up.
    pub(super) async fn given_up(&self, now: &HourCoverage) {
        tracing::warn!(
            provider = %self.alias, app = %self.app, hour = %now.hour.to_rfc3339(), reason = now.reason,
            "an hour can no longer be reconciled"
        );
        let alias = self.alias.as_str().to_owned();
        counter!("switchboard_reconcile_alerts_total", "provider" => alias, "kind" => "hour_unfillable").increment(1);
        self.tell("hour_unfillable", now, &now.reason, json!({ "reason": now.reason, "looks": now.looks })).await;
    }

    /// Journals a notice. The same notice of the same hour is one, also after a restart.
    async fn tell(&self, kind: &str, hour: &HourCoverage, which: &str, mut detail: Value) {
        detail["hour"] = json!(hour.hour.to_rfc3339());
        self.notices.tell(Topic::Backfill, kind, &format!("{}/{which}", hour.hour.0), detail).await;
    }
}

/// Whether an alert that waited for its time is due with this look and was not with the one before.
fn overdue_now(before: Option<&HourCoverage>, now: &HourCoverage, config: &ReconcileConfig) -> bool {
    let due = now.hour + HOUR + config.late_after;
    now.reason == reason::MISSING && before.is_some_and(|before| before.looked_at < due)
}
