//! Dead letters: what was given up, with the alert that tells of it.

use std::fmt;

use async_trait::async_trait;
use metrics::counter;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use switchboard_contract::storage::{Commit, Draft, Setback, SetbackChange, Store};
use switchboard_contract::{
    App, Event, EventData, EventId, EventKey, KeyClass, Notice, Origin, ProviderId, Result, Timestamp, Topic,
};

use crate::ingest::digest;

/// Tries again what is a dead letter of one kind, because somebody asked for it.
#[async_trait]
pub trait Redriver: fmt::Debug + Send + Sync {
    /// Has it tried again with a fresh number of attempts. When this returns, the letter is no longer one: it waits
    /// for its retry, or is gone ([`SetbackChange::Clear`]).
    ///
    /// # Errors
    /// Nothing has changed then. `Conflict` for what cannot be tried again as it is; `Storage`.
    async fn redrive(&self, letter: &Setback, now: Timestamp) -> Result<()>;
}

/// Gives something up after its last retry: from now on it is a dead letter, and the alert of it is journalled in the
/// same transaction under the topic of dead letters. Counts and logs it. The same thing is one letter, however often
/// it is given up.
///
/// # Errors
/// `Storage`, `StorageFull`; then nothing has changed.
pub async fn bury(store: &dyn Store, letter: Setback, provider: Option<&ProviderId>) -> Result<()> {
    let letter = Setback { next_at: None, ..letter };
    let drafts = vec![alert(&letter, provider)];
    let setbacks = vec![SetbackChange::Put(Box::new(letter.clone()))];
    store.commit(Commit { drafts, setbacks, ..Commit::default() }).await?;
    told(&letter, provider);
    Ok(())
}

/// An app in the key of a setback: short, and safe in a URL whatever the vendor's key holds.
pub(crate) fn app_hash(app: &App) -> String {
    hex::encode(&Sha256::digest(app.to_string())[..8])
}

/// The event that tells of a dead letter. Every death of the same thing is one event.
pub(crate) fn alert(letter: &Setback, provider: Option<&ProviderId>) -> Draft {
    let (id, at) = (EventId::generate(), letter.since);
    let data = EventData::Notice(Notice {
        topic: Topic::DeadLetters,
        kind: "dead_letter".to_owned(),
        provider: provider.cloned(),
        detail: json!({
            "id": letter.id(),
            "kind": letter.kind,
            "app": letter.app.as_ref().map(|app| &app.key),
            "conversation": letter.conversation,
            "reason": letter.reason,
            "attempts": letter.attempts,
            "history": letter.history,
            "about": letter.detail,
        }),
    });
    Draft {
        digest: digest(None, &data),
        key: EventKey::new(KeyClass::Internal, format!("dead_letter/{}/{}", letter.id(), at.0)),
        sort_key: String::new(),
        raw: None,
        event: Event {
            id,
            tenant: letter.tenant.clone(),
            app: None,
            conversation: None,
            sent_at: at,
            received_at: at,
            origin: Origin::Internal,
            late: false,
            data,
        },
    }
}

/// Counts and logs a dead letter that was written.
pub(crate) fn told(letter: &Setback, provider: Option<&ProviderId>) {
    let (kind, reason) = (letter.kind.as_str(), letter.reason.clone());
    counter!("switchboard_dead_letters_total", "kind" => kind, "reason" => reason).increment(1);
    tracing::error!(
        op = "give_up", id = %letter.id(), provider = provider.map(ProviderId::as_str), reason = letter.reason,
        attempts = letter.attempts, "given up after its last retry: a dead letter"
    );
}
