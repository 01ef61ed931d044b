//! Everything known of one message.

use switchboard_contract::storage::{Entry, Variant};
use switchboard_contract::{EventData, EventKey, MessageId, Result};

use super::Tenant;
use crate::sending::SendView;

/// What is known of one message.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Trace {
    /// Its event, once it is journalled.
    pub event: Option<Entry>,
    /// Its send, if it was sent through us.
    pub send: Option<SendView>,
    /// What else came under its key: the first stands, the others are only recorded.
    pub variants: Vec<Variant>,
    /// The same of its recall, if it was recalled.
    pub recall_variants: Vec<Variant>,
}

impl Tenant {
    /// Everything known of one message; `None` when nothing is.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn trace(&self, message: MessageId) -> Result<Option<Trace>> {
        let (store, tenant) = (&self.switchboard.inner.store, &self.id);
        let send = self.switchboard.inner.sending.status(tenant, message).await?;
        let event = store.message(tenant, message).await?;
        let mut trace = Trace { event, send, variants: Vec::new(), recall_variants: Vec::new() };
        let Some(entry) = &trace.event else { return Ok(trace.send.is_some().then_some(trace)) };
        trace.variants = store.variants(tenant, entry.shard, entry.position).await?;
        if let (Some(app), EventData::Message(message)) = (entry.app.as_deref(), entry.event()?.data)
            && let Some(vendor_id) = message.vendor_id.filter(|_| message.recalled)
            && let Some(recall) = store.find(tenant, app, &EventKey::recall(&vendor_id)).await?
        {
            trace.recall_variants = store.variants(tenant, recall.shard, recall.position).await?;
        }
        Ok(Some(trace))
    }
}
