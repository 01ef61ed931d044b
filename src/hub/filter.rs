//! Which events a subscriber wants.

use std::collections::{HashMap, HashSet};

use switchboard_contract::storage::{Entry, SubscriberSpec};
use switchboard_contract::{App, ConversationId, ProviderId};

use super::chunk::{Chunk, Topics};

/// What the subscriber wants.
#[derive(Debug)]
pub(super) struct Filter {
    topics: Topics,
    conversations: Option<HashSet<ConversationId>>,
    providers: Option<HashSet<ProviderId>>,
    apps: HashSet<App>,
}

impl Filter {
    pub(super) fn new(spec: &SubscriberSpec, apps: &HashMap<ProviderId, App>) -> Self {
        let filter = &spec.filter;
        Self {
            topics: Topics::of(&spec.topics),
            conversations: (!filter.conversations.is_empty()).then(|| filter.conversations.iter().cloned().collect()),
            providers: (!filter.providers.is_empty()).then(|| filter.providers.iter().cloned().collect()),
            apps: filter.providers.iter().filter_map(|alias| apps.get(alias)).cloned().collect(),
        }
    }

    pub(super) fn takes_all(&self, chunk: &Chunk) -> bool {
        self.conversations.is_none() && self.providers.is_none() && self.topics.has_all(chunk.topics)
    }

    pub(super) fn takes(&self, entry: &Entry) -> bool {
        let conversation =
            |wanted: &HashSet<ConversationId>| entry.conversation.as_ref().is_some_and(|id| wanted.contains(id));
        self.topics.has(entry.topic)
            && self.conversations.as_ref().is_none_or(conversation)
            && self.providers.as_ref().is_none_or(|wanted| self.is_of(entry, wanted))
    }

    fn is_of(&self, entry: &Entry, wanted: &HashSet<ProviderId>) -> bool {
        match &entry.app {
            Some(app) => self.apps.contains(app.as_ref()),
            // Events of Switchboard itself name the provider they are about.
            None => match entry.event().map(|event| event.data) {
                Ok(switchboard_contract::EventData::Notice(notice)) => {
                    notice.provider.is_some_and(|provider| wanted.contains(&provider))
                }
                _ => false,
            },
        }
    }
}
