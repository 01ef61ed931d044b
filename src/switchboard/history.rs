//! Planning and pulling the past of a conversation.

use std::time::Duration;

use serde::Serialize;
use switchboard_contract::{ConversationId, Error, ErrorKind, ProviderId, Result, Timestamp};

use super::Tenant;
use super::providers::Registered;
use crate::history::{PlanSource, PlanStep, Tier, plan};

/// The oldest coverage that a plan looks at.
const LOOK_BACK: Duration = Duration::from_secs(400 * 24 * 3600);

/// Which part of a conversation's past. Everything when nothing is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistorySpan {
    /// Only this age.
    pub tier: Option<Tier>,
    /// From this time on.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

/// How one provider would bring a part of the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProviderPlan {
    /// Its alias.
    pub provider: ProviderId,
    /// Its parts, newest first.
    pub steps: Vec<PlanStep>,
}

/// What became of one part of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PulledPart {
    /// The provider.
    pub provider: ProviderId,
    /// The part.
    #[serde(flatten)]
    pub step: PlanStep,
    /// Messages brought that were missed, delivered late.
    pub brought: u64,
    /// Messages brought of a time before Switchboard had the app, delivered to nobody who does not ask for them.
    pub history: u64,
    /// Everything of it that its source has is in the journal now.
    pub whole: bool,
    /// Why not, where something failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

impl Tenant {
    /// Says how the past of a conversation would be pulled, and why. Nothing is contacted.
    ///
    /// # Errors
    /// `NotFound` for a provider this tenant does not have; `Storage`.
    pub async fn plan_history(
        &self,
        conversation: &ConversationId,
        span: HistorySpan,
        provider: Option<&ProviderId>,
    ) -> Result<Vec<ProviderPlan>> {
        let inner = &self.switchboard.inner;
        let now = inner.clock.now();
        let from = span.since.unwrap_or(now - LOOK_BACK).max(now - LOOK_BACK);
        let mut plans = Vec::new();
        for (alias, _) in self.chosen(provider)? {
            let app = inner.fetching.source(&self.id, &alias)?;
            let (source, limits) = (&app.source, app.source.limits());
            let told = source.told(conversation, from, now).await?;
            let facts = source.facts(conversation, now, &limits, &told);
            plans.push(ProviderPlan { provider: alias, steps: plan(span.tier, span.since, span.until, &facts) });
        }
        Ok(plans)
    }

    /// Pulls the past of a conversation into the journal, newest first, as planned. When it returns, pages of the span
    /// hold whatever could be had. Repeating it is harmless.
    ///
    /// # Errors
    /// As [`plan_history`](Self::plan_history); `Storage`. What a vendor refuses stands with its part.
    pub async fn pull_history(
        &self,
        conversation: &ConversationId,
        span: HistorySpan,
        provider: Option<&ProviderId>,
    ) -> Result<Vec<PulledPart>> {
        let mut parts = Vec::new();
        for planned in self.plan_history(conversation, span, provider).await? {
            for step in planned.steps {
                parts.push(self.pull_part(conversation, planned.provider.clone(), step).await?);
            }
        }
        Ok(parts)
    }

    async fn pull_part(&self, conversation: &ConversationId, alias: ProviderId, step: PlanStep) -> Result<PulledPart> {
        let inner = &self.switchboard.inner;
        let outcome = match step.source {
            PlanSource::Store | PlanSource::Archive => Ok((0, 0, true)),
            PlanSource::Nowhere => Ok((0, 0, false)),
            PlanSource::Query => {
                let app = inner.fetching.source(&self.id, &alias)?;
                let pulled = app.source.fetch(conversation, (step.since, step.until), step.tier, true).await;
                pulled.map(|pulled| (pulled.fresh, pulled.history, pulled.whole))
            }
            PlanSource::Files => {
                let report = inner.reconciler.reconcile(&self.id, &alias, step.since, step.until, false).await;
                report.map(|report| {
                    let history = report.hours.iter().map(|hour| hour.history).sum();
                    (report.repaired, history, true)
                })
            }
        };
        let ((brought, history, whole), fault) = match outcome {
            Ok(outcome) => (outcome, None),
            Err(error) if matches!(error.kind(), ErrorKind::Storage | ErrorKind::StorageFull | ErrorKind::Closed) => {
                return Err(error);
            }
            Err(error) => ((0, 0, false), Some(error.message().to_owned())),
        };
        Ok(PulledPart { provider: alias, step, brought, history, whole, fault })
    }

    pub(super) fn chosen(&self, provider: Option<&ProviderId>) -> Result<Vec<(ProviderId, Registered)>> {
        let wanted = |alias: &ProviderId| provider.is_none_or(|wanted| wanted == alias);
        let all = self.switchboard.inner.providers.iter();
        let chosen: Vec<_> = all
            .filter(|(alias, one)| one.tenant == self.id && wanted(alias))
            .map(|(alias, one)| (alias.clone(), one.clone()))
            .collect();
        if chosen.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, "no such provider"));
        }
        Ok(chosen)
    }
}
