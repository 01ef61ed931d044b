//! Writing conversations out.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use switchboard_contract::storage::{Store, Transfer};
use switchboard_contract::{ConversationId, ConversationKind, Error, ErrorKind, Result, Sequence, TenantId, UserId};

use super::ExportManifest;
use super::line::{self, Chain};
use super::manifest::FORMAT;

/// Events read at once.
const PAGE: usize = 256;
/// Conversations listed at once.
const LIST: usize = 256;

/// What to export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportScope {
    /// Every conversation of the tenant.
    Everything,
    /// One conversation.
    Conversation(ConversationId),
    /// What concerns a user: direct conversations and notices as a whole, of groups and rooms the user's own messages.
    User(UserId),
}

impl ExportScope {
    /// Whether anything of a conversation belongs to it, and whose messages alone.
    fn takes(&self, conversation: &ConversationId) -> Option<Option<&UserId>> {
        match self {
            Self::Everything => Some(None),
            Self::Conversation(one) => (one == conversation).then_some(None),
            Self::User(user) => match conversation.kind() {
                ConversationKind::Direct | ConversationKind::System => {
                    conversation.parts().iter().any(|part| part == user.as_str()).then_some(None)
                }
                ConversationKind::Group | ConversationKind::Room => Some(Some(user)),
            },
        }
    }
}

/// An export under way: conversations in the order of their ids, events in the order of their sequences.
pub struct Export {
    store: Arc<dyn Store>,
    tenant: TenantId,
    scope: ExportScope,
    listed: VecDeque<ConversationId>,
    /// The last conversation listed; `None` before the first list.
    last: Option<ConversationId>,
    ended: bool,
    /// Where it stands in a conversation, and whether anything of it was exported.
    at: Option<(ConversationId, Sequence, bool)>,
    hash: Sha256,
    chain: Chain,
    manifest: ExportManifest,
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Export").field("tenant", &self.tenant).field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl Export {
    pub(crate) fn new(store: Arc<dyn Store>, tenant: TenantId, scope: ExportScope) -> Self {
        let manifest = ExportManifest {
            format: FORMAT,
            tenant: tenant.clone(),
            scope: scope.clone(),
            conversations: 0,
            events: 0,
            messages: 0,
            bytes: 0,
            sha256: String::new(),
            chain: String::new(),
        };
        let (listed, ended) = match &scope {
            ExportScope::Conversation(one) => (VecDeque::from([one.clone()]), true),
            _ => (VecDeque::new(), false),
        };
        let (hash, chain) = (Sha256::new(), Chain::default());
        Self { store, tenant, scope, listed, last: None, ended, at: None, hash, chain, manifest }
    }

    /// How many events it may hold, about; an upper bound.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn estimate(&self) -> Result<u64> {
        transfer(&*self.store)?.event_count(&self.tenant).await
    }

    /// Some more lines, each with its line feed; `None` at the end.
    ///
    /// # Errors
    /// `NotFound` for a conversation that does not exist; `Unsupported` for a store that cannot; `Storage`.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let (conversation, after, begun) = match self.at.take() {
                Some(at) => at,
                None => match self.conversation().await? {
                    Some(next) => (next, Sequence(0), false),
                    None => return Ok(None),
                },
            };
            let Some(sender) = self.scope.takes(&conversation) else { continue };
            let (events, last) =
                transfer(&*self.store)?.conversation_events(&self.tenant, &conversation, after, PAGE, sender).await?;
            let mut lines = Vec::new();
            for event in &events {
                let (line, chain) = line::write(event, &self.chain)?;
                self.chain = chain;
                self.hash.update(&line);
                self.manifest.messages += u64::from(event.message_id.is_some());
                lines.extend_from_slice(&line);
            }
            self.manifest.events += events.len() as u64;
            self.manifest.bytes += lines.len() as u64;
            self.manifest.conversations += u64::from(!begun && !events.is_empty());
            self.at = last.map(|last| (conversation, last, begun || !events.is_empty()));
            if !lines.is_empty() {
                return Ok(Some(lines.into()));
            }
        }
    }

    /// The next conversation to look at.
    async fn conversation(&mut self) -> Result<Option<ConversationId>> {
        if let ExportScope::Conversation(one) = &self.scope
            && !self.listed.is_empty()
            && self.store.conversation(&self.tenant, one).await?.is_none()
        {
            return Err(Error::new(ErrorKind::NotFound, "no such conversation"));
        }
        while self.listed.is_empty() && !self.ended {
            let page = self.store.conversations(&self.tenant, self.last.as_ref(), LIST).await?;
            self.ended = page.is_empty();
            self.last = page.last().map(|last| last.id.clone()).or(self.last.take());
            self.listed.extend(page.into_iter().map(|one| one.id));
        }
        Ok(self.listed.pop_front())
    }

    /// What it held, once [`next`](Self::next) has come to the end.
    pub fn finish(self) -> ExportManifest {
        let (sha256, chain) = (hex::encode(self.hash.finalize()), self.chain.to_hex());
        ExportManifest { sha256, chain, ..self.manifest }
    }
}

pub(super) fn transfer(store: &dyn Store) -> Result<&dyn Transfer> {
    store.transfer().ok_or_else(|| Error::unsupported("export and import of this store"))
}
