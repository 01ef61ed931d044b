//! How far each conversation has come by the vendor's clock, as far as callbacks tell: what arrives behind that, after
//! its reorder window, is late.

use std::collections::HashMap;
use std::sync::Arc;

use moka::sync::Cache;
use switchboard_contract::storage::{HistoryFilter, HistoryQuery, PageDirection, Store};
use switchboard_contract::{ConversationId, Origin, Result, TenantId, Timestamp};

/// Conversations remembered; of the others the journal knows.
const REMEMBERED: u64 = 65_536;
/// Messages of the journal looked at for one that came by callback.
const LOOKED_AT: usize = 64;

type Key = (TenantId, ConversationId);
/// A message's place in the vendor's order.
pub(super) type Stand = (Timestamp, String);

/// What a transaction in the making adds.
pub(super) type Raised = HashMap<Key, Stand>;

#[derive(Clone, Debug)]
pub(super) struct Floors {
    store: Arc<dyn Store>,
    known: Cache<Key, Option<Stand>>,
}

impl Floors {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, known: Cache::new(REMEMBERED) }
    }

    /// Whether a message that stands here comes behind one that went before it; if not, it is the last from now on.
    ///
    /// # Errors
    /// `Storage`.
    pub(super) async fn is_behind(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        stand: Stand,
        raised: &mut Raised,
    ) -> Result<bool> {
        let key = (tenant.clone(), conversation.clone());
        let floor = match (raised.get(&key), self.known.get(&key)) {
            (Some(floor), _) => Some(floor.clone()),
            (None, Some(known)) => known,
            (None, None) => {
                let found = self.look(&key).await?;
                self.known.insert(key.clone(), found.clone());
                found
            }
        };
        if floor.is_some_and(|floor| stand < floor) {
            return Ok(true);
        }
        raised.insert(key, stand);
        Ok(false)
    }

    /// A transaction was written.
    pub(super) fn raise(&self, raised: Raised) {
        for (key, stand) in raised {
            self.known.insert(key, Some(stand));
        }
    }

    /// The last message of the journal that came by callback and in time. Own sends stand by our clock, and what repair
    /// found stands anywhere.
    async fn look(&self, (tenant, conversation): &Key) -> Result<Option<Stand>> {
        let query = HistoryQuery {
            tenant: tenant.clone(),
            conversation: conversation.clone(),
            direction: PageDirection::Older,
            after: None,
            since: None,
            until: None,
            limit: LOOKED_AT,
            filter: HistoryFilter::default(),
        };
        for entry in self.store.page(&query).await?.entries {
            if !entry.late && entry.event()?.origin == Origin::Callback {
                return Ok(Some((entry.sent_at, String::new())));
            }
        }
        Ok(None)
    }
}
