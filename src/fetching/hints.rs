//! Hints that something of a conversation is missing, and the pull that each leads to.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde_json::json;
use switchboard_contract::storage::{CoverageState, CoveredRange};
use switchboard_contract::{ConversationId, ErrorKind, EventKey, Result, Timestamp, VendorMessageId};

use super::app::Source;
use super::slots::Request;
use super::telling::Telling;
use crate::history::Tier;

/// Messages remembered of one conversation's hints; what else they name is likely near them.
const NAMED: usize = 64;
/// Conversations whose last number is remembered.
const NUMBERED: usize = 10_000;

/// Numbers of a conversation do not follow one another.
pub(super) const JUMP: &str = "sequence_jump";
/// There are fewer rows than numbers were given out.
pub(super) const MISMATCH: &str = "count_mismatch";

/// What the hints of one conversation come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hint {
    /// The first of them.
    pub(super) cause: &'static str,
    /// The messages that were named.
    pub(super) named: BTreeSet<VendorMessageId>,
    /// Something is missing whatever is known of the messages named.
    pub(super) certain: bool,
    /// Where it would be, from this time on.
    pub(super) since: Timestamp,
    /// Before this time.
    pub(super) until: Timestamp,
}

impl Request for Hint {
    fn merge(mut self, newer: Self) -> Self {
        let room = NAMED.saturating_sub(self.named.len());
        self.named.extend(newer.named.into_iter().take(room));
        Self {
            certain: self.certain || newer.certain,
            since: self.since.min(newer.since),
            until: self.until.max(newer.until),
            ..self
        }
    }
}

impl Hint {
    /// A message was named at this time.
    pub(super) fn named(target: VendorMessageId, cause: &'static str, at: Timestamp, window: Duration) -> Self {
        Self { cause, named: [target].into(), certain: false, since: at - window, until: at + Duration::from_millis(1) }
    }
}

/// The last number of each conversation, of vendors that number without a gap.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    last: HashMap<ConversationId, (u64, Timestamp)>,
    /// Those that were last seen longer ago.
    older: HashMap<ConversationId, (u64, Timestamp)>,
}

impl Numbers {
    /// Notes a number; a hint when some before it never came.
    pub(super) fn note(&mut self, conversation: &ConversationId, number: u64, at: Timestamp) -> Option<Hint> {
        let before = self.last.get(conversation).or_else(|| self.older.get(conversation)).copied();
        if before.is_some_and(|(last, _)| number <= last) {
            return None;
        }
        if self.last.len() >= NUMBERED {
            self.older = std::mem::take(&mut self.last);
        }
        self.last.insert(conversation.clone(), (number, at));
        let (last, since) = before?;
        let until = at.max(since) + Duration::from_millis(1);
        (number > last + 1).then(|| Hint { cause: JUMP, named: BTreeSet::new(), certain: true, since, until })
    }
}

/// Takes hints of one app up.
pub(super) struct Hints<'a> {
    pub(super) source: &'a Source,
    pub(super) telling: &'a Telling,
}

impl Hints<'_> {
    /// Looks whether something is missing, and pulls it.
    pub(super) async fn follow(&self, conversation: ConversationId, hint: Hint) {
        self.source.clock.sleep(self.source.config.hints.settle).await;
        let cause = hint.cause;
        let (outcome, detail) = match self.pull(&conversation, hint).await {
            Ok(None) => return self.telling.count(cause, "known"),
            Ok(Some(outcome)) => outcome,
            Err(error) => {
                let (provider, kind) = (&self.source.alias, error.kind());
                tracing::warn!(%provider, %conversation, %error, op = "history_hint", "a pull failed");
                let outcome = match kind {
                    ErrorKind::Unsupported => "no_queries",
                    ErrorKind::NotFound => "no_conversation",
                    _ => "failed",
                };
                (outcome, json!({}))
            }
        };
        self.telling.settled(&conversation, cause, outcome, detail).await;
    }

    async fn pull(
        &self,
        conversation: &ConversationId,
        hint: Hint,
    ) -> Result<Option<(&'static str, serde_json::Value)>> {
        let source = self.source;
        let unknown = self.unknown(&hint.named).await?;
        if unknown.is_empty() && !hint.certain {
            return Ok(None);
        }
        let detail = json!({ "since": hint.since, "until": hint.until, "named": unknown.len() });
        self.telling.hinted(conversation, hint.cause, detail).await;
        let doubt = CoveredRange {
            since: hint.since,
            until: hint.until,
            state: CoverageState::Suspect,
            reason: hint.cause.to_owned(),
            checked_at: source.clock.now(),
        };
        source.store.put_range(&source.tenant, source.app(), conversation, &doubt).await?;
        if !source.can_query(conversation, Tier::Recent) {
            return Ok(Some(("no_queries", json!({}))));
        }
        let pulled = source.fetch(conversation, (hint.since, hint.until), Tier::Recent, false).await?;
        let left = self.unknown(&unknown).await?.len();
        let brought = pulled.fresh + pulled.history;
        let outcome = match () {
            () if brought > 0 => "found",
            () if pulled.whole => "absent",
            () if pulled.calls == 0 => "no_budget",
            () => "not_whole",
        };
        Ok(Some((outcome, json!({ "brought": brought, "calls": pulled.calls, "still_unknown": left }))))
    }

    /// Those of the messages that neither the journal nor a send of ours knows.
    async fn unknown(&self, named: &BTreeSet<VendorMessageId>) -> Result<BTreeSet<VendorMessageId>> {
        let (store, tenant, app) = (&self.source.store, &self.source.tenant, self.source.app());
        let keys: Vec<_> = named.iter().map(EventKey::message).collect();
        let known = store.known(tenant, app, &keys).await?;
        let mut unknown = BTreeSet::new();
        for (id, known) in named.iter().zip(known) {
            if known.is_none() && store.leg_by_vendor_id(tenant, app, id).await?.is_none() {
                unknown.insert(id.clone());
            }
        }
        Ok(unknown)
    }
}

#[cfg(test)]
mod tests {
    use switchboard_contract::UserId;

    use super::*;

    #[test]
    fn a_jump_names_the_time_between_its_numbers() {
        let one = ConversationId::direct(&UserId::from("a"), &UserId::from("b"));
        let mut numbers = Numbers::default();
        assert_eq!(numbers.note(&one, 5, Timestamp(50)), None, "nobody knows what came before");
        assert_eq!(numbers.note(&one, 6, Timestamp(60)), None);
        let hint = numbers.note(&one, 9, Timestamp(90));
        assert_eq!(hint.map(|hint| (hint.since, hint.until, hint.certain)), Some((Timestamp(60), Timestamp(91), true)));
        assert_eq!(numbers.note(&one, 7, Timestamp(70)), None, "what comes late is no jump");
        assert_eq!(numbers.note(&one, 10, Timestamp(95)), None);
    }

    #[test]
    fn hints_of_a_conversation_become_one() {
        let window = Duration::from_millis(10);
        let one = Hint::named(VendorMessageId::from("x"), "receipt", Timestamp(100), window);
        let other = Hint::named(VendorMessageId::from("y"), "recall", Timestamp(80), window);
        let both = one.merge(other);
        assert_eq!(
            (both.cause, both.named.len(), both.since, both.until),
            ("receipt", 2, Timestamp(70), Timestamp(101))
        );
        let many = (0..200)
            .map(|number| Hint::named(VendorMessageId::from(number.to_string()), "receipt", Timestamp(100), window));
        assert_eq!(many.reduce(Hint::merge).map(|hint| hint.named.len()), Some(NAMED));
    }
}
