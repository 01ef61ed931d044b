//! How much of single conversations is here.

use std::time::Duration;

use serde::Serialize;
use switchboard_contract::storage::{CoverageState, CoveredRange, SequenceHole};
use switchboard_contract::{ConversationId, Error, ErrorKind, ProviderId, Result, Timestamp};

use super::Tenant;
use crate::fetching::App;
use crate::reconcile::HoleKind;

/// Holes and conversations named in one answer.
const NAMED: usize = 1000;
/// Longer times are refused.
const LONGEST: Duration = Duration::from_secs(400 * 24 * 3600);

/// A time of a conversation that is not whole here, for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConversationHole {
    /// From this time on, milliseconds since the epoch.
    pub from: Timestamp,
    /// Before this time.
    pub until: Timestamp,
    /// Where it stands.
    pub kind: HoleKind,
    /// `suspect` or `unfillable`.
    pub state: CoverageState,
    /// Why: a stable lower-case word.
    pub reason: String,
}

/// A conversation at one provider.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConversationAppCoverage {
    /// Its alias.
    pub provider: ProviderId,
    /// How much of the time is complete, in percent; 100 for no time at all.
    pub percent: f64,
    /// What is not complete, ascending.
    pub holes: Vec<ConversationHole>,
}

/// How much of a conversation is here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConversationCoverage {
    /// Which.
    pub conversation: ConversationId,
    /// From this time on, milliseconds since the epoch.
    pub from: Timestamp,
    /// Up to this time.
    pub until: Timestamp,
    /// By alias.
    pub apps: Vec<ConversationAppCoverage>,
    /// Numbers whose event was removed from the journal by hand, at any time.
    pub removed: Vec<SequenceHole>,
}

/// A time of some conversation that the ledger does not call complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IncompleteConversation {
    /// At which provider.
    pub provider: ProviderId,
    /// Which conversation.
    pub conversation: ConversationId,
    /// What is known of it.
    #[serde(flatten)]
    pub range: CoveredRange,
}

impl Tenant {
    /// How much of a conversation is here from `from` to `until`, at each provider that could have it, and what was
    /// removed from it by hand.
    ///
    /// # Errors
    /// `NotFound` for a provider this tenant does not have; `InvalidInput` for more than 400 days; `Storage`.
    pub async fn conversation_coverage(
        &self,
        conversation: &ConversationId,
        provider: Option<&ProviderId>,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<ConversationCoverage> {
        let inner = &self.switchboard.inner;
        let until = until.min(inner.clock.now());
        if until.since(from) > LONGEST {
            return Err(Error::invalid("from", "must not be more than 400 days before until"));
        }
        let mut apps = Vec::new();
        for app in self.apps(provider)? {
            if app.source.may_have(conversation).await? {
                let told = app.source.told(conversation, from, until).await?;
                let ranges = told.known().between(from, until);
                apps.push(fold(app.source.alias().clone(), &ranges, app.source.began()));
            }
        }
        let removed = inner.store.gone_from(&self.id, conversation, NAMED).await?;
        Ok(ConversationCoverage { conversation: conversation.clone(), from, until, apps, removed })
    }

    /// What the ledger of conversations does not call complete, conversation by conversation, after `after`; about a
    /// thousand ranges of each provider at a time.
    ///
    /// # Errors
    /// `NotFound` for a provider this tenant does not have; `Storage`.
    pub async fn incomplete_conversations(
        &self,
        provider: Option<&ProviderId>,
        after: Option<&ConversationId>,
    ) -> Result<Vec<IncompleteConversation>> {
        let mut found = Vec::new();
        for app in self.apps(provider)? {
            let store = &self.switchboard.inner.store;
            let ranges = store.incomplete(&self.id, app.source.app(), after, NAMED).await?;
            found.extend(ranges.into_iter().map(|(conversation, range)| IncompleteConversation {
                provider: app.source.alias().clone(),
                conversation,
                range,
            }));
        }
        Ok(found)
    }

    fn apps(&self, provider: Option<&ProviderId>) -> Result<Vec<std::sync::Arc<App>>> {
        let fetching = &self.switchboard.inner.fetching;
        match provider {
            Some(alias) => Ok(vec![fetching.source(&self.id, alias)?]),
            None => match fetching.of_tenant(&self.id) {
                none if none.is_empty() => Err(Error::new(ErrorKind::NotFound, "no such provider")),
                apps => Ok(apps),
            },
        }
    }
}

/// Folds what is known into a percentage and holes.
fn fold(provider: ProviderId, ranges: &[CoveredRange], began: Timestamp) -> ConversationAppCoverage {
    let length = |range: &CoveredRange| range.until.since(range.since).as_secs_f64();
    let complete = |range: &&CoveredRange| range.state == CoverageState::Complete;
    let all: f64 = ranges.iter().map(length).sum();
    let whole: f64 = ranges.iter().filter(complete).map(length).sum();
    let last_complete = ranges.iter().filter(complete).map(|range| range.since).max();
    let holes = ranges.iter().filter(|range| !complete(range)).map(|range| ConversationHole {
        from: range.since,
        until: range.until,
        kind: match () {
            () if range.until <= began => HoleKind::Head,
            () if last_complete.is_some_and(|last| range.since <= last) => HoleKind::Middle,
            () => HoleKind::Tail,
        },
        state: range.state,
        reason: range.reason.clone(),
    });
    let percent = if all == 0.0 { 100.0 } else { whole * 100.0 / all };
    ConversationAppCoverage { provider, percent, holes: holes.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_of_a_conversation_are_head_middle_and_tail() {
        use CoverageState::{Complete, Suspect, Unfillable};
        let range = |since: i64, until: i64, state, reason: &str| CoveredRange {
            since: Timestamp(since),
            until: Timestamp(until),
            state,
            reason: reason.to_owned(),
            checked_at: Timestamp(0),
        };
        let ranges = [
            range(0, 100, Suspect, "before_first_start"),
            range(100, 400, Complete, "file"),
            range(400, 500, Unfillable, "beyond_queries"),
            range(500, 700, Complete, "query"),
            range(700, 1000, Suspect, "may_grow"),
        ];
        let found = fold(ProviderId::from("main"), &ranges, Timestamp(100));
        assert!((found.percent - 50.0).abs() < 1e-9);
        let kinds: Vec<_> = found.holes.iter().map(|hole| (hole.kind, hole.state)).collect();
        use HoleKind::{Head, Middle, Tail};
        assert_eq!(kinds, [(Head, Suspect), (Middle, Unfillable), (Tail, Suspect)]);
        assert!((fold(ProviderId::from("main"), &[], Timestamp(0)).percent - 100.0).abs() < 1e-9);
    }
}
