//! Giving entries of the journal back what they held.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use bytes::Bytes;
use switchboard_contract::storage::{ArchivedEntries, Day, Entry, StoredEvent};
use switchboard_contract::{
    ConversationId, Event, EventData, EventId, Message, MessageId, Origin, Result, Shard, TenantId, Timestamp, Topic,
    UserId,
};

use super::page::{content_of, lost};
use super::schema::Row;
use super::service::Inner;

fn entry_of(event: &StoredEvent) -> Entry {
    Entry {
        shard: Shard(0),
        position: event.position,
        sequence: Some(event.sequence),
        topic: if event.origin == Origin::History { Topic::History } else { Topic::Messages },
        conversation: Some(event.conversation.clone()),
        app: event.app.clone(),
        message_id: event.message_id,
        sent_at: event.sent_at,
        received_at: event.received_at,
        late: event.late,
        json: Bytes::new(),
    }
}

/// What is left of a message that left the archive for good: its place, as a tombstone.
fn withered(tenant: &TenantId, entry: &Entry, id: MessageId) -> Result<Bytes> {
    let message = Message {
        id,
        vendor_id: None,
        from: UserId::from(""),
        audience: Vec::new(),
        body: None,
        ext: switchboard_contract::Ext::new(),
        mentions: None,
        client_message_id: None,
        recalled: true,
    };
    let event = Event {
        id: EventId::from_uuid(*id.as_uuid()),
        tenant: tenant.clone(),
        app: entry.app.as_deref().cloned(),
        conversation: entry.conversation.clone(),
        sent_at: entry.sent_at,
        received_at: entry.received_at,
        origin: if entry.topic == Topic::History { Origin::History } else { Origin::Internal },
        late: entry.late,
        data: EventData::Message(message),
    };
    event.encode(entry.position, entry.sequence)
}

/// Messages by conversation and day.
type Wanted = HashMap<(ConversationId, Day), HashSet<MessageId>>;

impl Inner {
    /// Messages with what became of them, by their ids.
    async fn gathered(&self, tenant: &TenantId, wanted: &Wanted, with_raw: bool) -> Result<HashMap<MessageId, Row>> {
        let mut gathered = HashMap::new();
        for ((conversation, day), ids) in wanted {
            let changes = self.changes(tenant, conversation, *day).await?;
            let place = (conversation, *day);
            let rows = self
                .with_list(tenant, |list| async move { self.by_id(tenant, &list, place, ids, with_raw).await })
                .await?;
            for (id, mut row) in rows {
                if changes.contains_key(&id) {
                    row.event = content_of(&row, &changes)?;
                    (row.body, row.raw) = (None, None);
                }
                gathered.insert(id, row);
            }
        }
        Ok(gathered)
    }

    async fn is_expired(&self, tenant: &TenantId, sent_at: Timestamp) -> Result<bool> {
        Ok(self.list(tenant).await?.expired.is_some_and(|through| Day::of(sent_at) <= through))
    }
}

#[async_trait]
impl ArchivedEntries for Inner {
    async fn restore(&self, tenant: &TenantId, mut entries: Vec<Entry>) -> Result<Vec<Entry>> {
        let mut wanted = Wanted::new();
        for entry in entries.iter().filter(|entry| entry.json.is_empty()) {
            let (Some(conversation), Some(id)) = (entry.conversation.clone(), entry.message_id) else {
                return Err(lost());
            };
            wanted.entry((conversation, Day::of(entry.sent_at))).or_default().insert(id);
        }
        let rows = self.gathered(tenant, &wanted, false).await?;
        for entry in entries.iter_mut().filter(|entry| entry.json.is_empty()) {
            let id = entry.message_id.ok_or_else(lost)?;
            entry.json = match rows.get(&id) {
                Some(row) => row.event.clone(),
                None if self.is_expired(tenant, entry.sent_at).await? => withered(tenant, entry, id)?,
                None => return Err(lost()),
            };
        }
        Ok(entries)
    }

    async fn complete(&self, tenant: &TenantId, mut events: Vec<StoredEvent>) -> Result<Vec<StoredEvent>> {
        let mut wanted = Wanted::new();
        for event in events.iter().filter(|event| event.is_archived()) {
            let id = event.message_id.ok_or_else(lost)?;
            wanted.entry((event.conversation.clone(), Day::of(event.sent_at))).or_default().insert(id);
        }
        let mut rows = self.gathered(tenant, &wanted, true).await?;
        for event in events.iter_mut().filter(|event| event.is_archived()) {
            let id = event.message_id.ok_or_else(lost)?;
            match rows.remove(&id) {
                Some(row) => {
                    event.sort_key = row.at.sort_key;
                    (event.body, event.json, event.raw) = (row.body, row.event, row.raw);
                }
                None if self.is_expired(tenant, event.sent_at).await? => {
                    event.json = withered(tenant, &entry_of(event), id)?;
                }
                None => return Err(lost()),
            }
        }
        Ok(events)
    }

    async fn raw(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        sent_at: Timestamp,
        message_id: MessageId,
    ) -> Result<Option<Bytes>> {
        let (day, ids) = (Day::of(sent_at), HashSet::from([message_id]));
        if self.changes(tenant, conversation, day).await?.contains_key(&message_id) {
            return Ok(None);
        }
        let (place, ids) = ((conversation, day), &ids);
        let mut rows =
            self.with_list(tenant, |list| async move { self.by_id(tenant, &list, place, ids, true).await }).await?;
        Ok(rows.remove(&message_id).and_then(|row| row.raw))
    }
}
