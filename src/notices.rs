//! Notices of Switchboard about itself, journalled so that subscribers hear of them.

use std::sync::Arc;

use serde_json::{Value, json};
use switchboard_contract::storage::{Commit, Draft, Store};
use switchboard_contract::{
    App, Clock, Event, EventData, EventId, EventKey, KeyClass, Notice, Origin, ProviderId, TenantId, Topic,
};

use crate::ingest::digest;

/// Tells of one provider's app.
#[derive(Clone, Debug)]
pub(crate) struct Notices {
    tenant: TenantId,
    alias: ProviderId,
    app: App,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl Notices {
    pub(crate) fn new(
        tenant: TenantId,
        alias: ProviderId,
        app: App,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { tenant, alias, app, store, clock }
    }

    /// Journals a notice. `which` with the kind and the app names it: the same one is journalled once, also after a
    /// restart. A failure is logged; nothing depends on a notice.
    pub(crate) async fn tell(&self, topic: Topic, kind: &str, which: &str, mut detail: Value) {
        detail["app"] = json!(self.app.key);
        let (id, now) = (EventId::generate(), self.clock.now());
        let notice = Notice { topic, kind: kind.to_owned(), provider: Some(self.alias.clone()), detail };
        let data = EventData::Notice(notice);
        let draft = Draft {
            digest: digest(None, &data),
            key: EventKey::new(KeyClass::Internal, format!("{kind}/{}/{which}", self.app)),
            sort_key: id.to_string(),
            raw: None,
            event: Event {
                id,
                tenant: self.tenant.clone(),
                app: None,
                conversation: None,
                sent_at: now,
                received_at: now,
                origin: Origin::Internal,
                late: false,
                data,
            },
        };
        if let Err(error) = self.store.commit(Commit { drafts: vec![draft], ..Commit::default() }).await {
            tracing::error!(provider = %self.alias, kind, %error, "a notice could not be journalled");
        }
    }
}
