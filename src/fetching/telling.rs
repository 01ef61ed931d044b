//! What subscribers and metrics hear of fetching.

use metrics::counter;
use serde_json::{Value, json};
use switchboard_contract::{ConversationId, EventId, Topic};

use crate::notices::Notices;

/// Tells of one app.
#[derive(Debug)]
pub(super) struct Telling {
    pub(super) notices: Notices,
    pub(super) provider: String,
}

impl Telling {
    /// A hint was taken up.
    pub(super) async fn hinted(&self, conversation: &ConversationId, cause: &'static str, mut detail: Value) {
        detail["conversation"] = json!(conversation);
        detail["cause"] = json!(cause);
        tracing::warn!(
            provider = self.provider, %conversation, cause,
            "something of a conversation seems to be missing; it is asked for"
        );
        self.notices.tell(Topic::Backfill, "history_hint", &EventId::generate().to_string(), detail).await;
    }

    /// A hint led to this: a stable lower-case word.
    pub(super) async fn settled(
        &self,
        conversation: &ConversationId,
        cause: &'static str,
        outcome: &'static str,
        mut detail: Value,
    ) {
        self.count(cause, outcome);
        detail["conversation"] = json!(conversation);
        detail["cause"] = json!(cause);
        detail["outcome"] = json!(outcome);
        self.notices.tell(Topic::Backfill, "history_hint_settled", &EventId::generate().to_string(), detail).await;
    }

    pub(super) fn count(&self, cause: &'static str, outcome: &'static str) {
        let provider = self.provider.clone();
        counter!("switchboard_history_hints_total", "provider" => provider, "cause" => cause, "outcome" => outcome)
            .increment(1);
    }

    /// A fetch of this topic ended.
    pub(super) fn fetched(&self, topic: &'static str, outcome: &'static str) {
        let provider = self.provider.clone();
        counter!("switchboard_fetches_total", "provider" => provider, "topic" => topic, "outcome" => outcome)
            .increment(1);
    }

    /// The pull of `recent` that nobody asked for ended.
    pub(super) async fn filled(&self, cause: &'static str, detail: Value) {
        let mut detail = detail;
        detail["cause"] = json!(cause);
        self.notices.tell(Topic::Backfill, "history_filled", &EventId::generate().to_string(), detail).await;
    }

    /// A group is not what the directory says.
    pub(super) async fn group_differs(&self, detail: Value) {
        self.notices.tell(Topic::Groups, "group_differs", &EventId::generate().to_string(), detail).await;
    }
}
