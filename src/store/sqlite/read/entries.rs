//! Rows of the journal as entries. Names are looked up by number and remembered: the same few stand in every page.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use switchboard_contract::storage::Entry;
use switchboard_contract::{App, ConversationId, MessageId, Position, Result, Sequence, Shard, TenantId, Timestamp};

use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::error::{damaged, failed};
use crate::store::sqlite::head::{Frame, Head};
use crate::store::sqlite::sql::{Bulk, Values};

/// The columns of [`SqliteStore::entries`], in a query that calls the journal `j`.
macro_rules! entry_columns {
    () => {
        "j.head, j.json"
    };
}
pub(super) use entry_columns;

static NAMES: Bulk = Bulk::new("SELECT id, name FROM conversations WHERE id IN (", "?", ")");

impl SqliteStore {
    /// Decodes rows of [`entry_columns`].
    pub(super) async fn entries(&self, tenant: &TenantId, rows: Vec<SqliteRow>) -> Result<Vec<Entry>> {
        let fail = failed("read");
        let frame = |row: SqliteRow| {
            let head = Head::decode(row.try_get(0).map_err(&fail)?).ok_or_else(|| damaged("head"))?;
            let json: Vec<u8> = row.try_get(1).map_err(&fail)?;
            Ok(Frame { head, json: json.into() })
        };
        let frames = rows.into_iter().map(frame).collect::<Result<Vec<_>>>()?;
        self.named(tenant, frames).await
    }

    /// Gives rows the names that their numbers stand for, and those without content the content in the archive.
    pub(super) async fn named(&self, tenant: &TenantId, frames: Vec<Frame>) -> Result<Vec<Entry>> {
        let mut apps: HashMap<i64, Option<Arc<App>>> = HashMap::new();
        let mut missing: HashMap<i64, Option<ConversationId>> = HashMap::new();
        let mut names: Vec<Option<ConversationId>> = Vec::with_capacity(frames.len());
        {
            let mut known = self.0.conversations.lock();
            let mut last_app = 0;
            for Frame { head, .. } in &frames {
                let name = if head.conversation == 0 { None } else { known.get(&head.conversation) };
                if name.is_none() && head.conversation != 0 {
                    missing.insert(head.conversation, None);
                }
                names.push(name);
                if head.app != 0 && head.app != last_app {
                    last_app = head.app;
                    apps.entry(head.app).or_insert_with(|| self.0.apps.get(&head.app));
                }
            }
        }
        self.load_names(&mut missing).await?;
        for (id, app) in apps.iter_mut().filter(|(_, app)| app.is_none()) {
            *app = Some(self.app(*id).await?);
        }
        let mut entries = Vec::with_capacity(frames.len());
        for (frame, name) in frames.into_iter().zip(names) {
            let name = name.or_else(|| missing.get(&frame.head.conversation).cloned().flatten());
            if name.is_none() && frame.head.conversation != 0 {
                return Err(damaged("conversation"));
            }
            entries.push(entry(frame, name, &apps));
        }
        self.restored(tenant, entries).await
    }

    /// Looks up the names that are missing.
    pub(super) async fn load_names(&self, names: &mut HashMap<i64, Option<ConversationId>>) -> Result<()> {
        let missing: Vec<i64> = names.iter().filter(|(_, name)| name.is_none()).map(|(id, _)| *id).collect();
        for part in missing.chunks(1024) {
            let size = Bulk::padded(part.len());
            let mut values = Values::with_capacity(size);
            (0..size).for_each(|at| values.push(part[at.min(part.len() - 1)]));
            let values = values.done().map_err(failed("read"))?;
            let rows = sqlx::query_with(NAMES.text(size), values).fetch_all(self.readers()?).await;
            for row in rows.map_err(failed("read"))? {
                let id: i64 = row.try_get(0).map_err(failed("read"))?;
                let name: String = row.try_get(1).map_err(failed("read"))?;
                let name: ConversationId = name.parse().map_err(|_| damaged("conversation"))?;
                self.0.conversations.lock().insert(id, name.clone());
                names.insert(id, Some(name));
            }
        }
        Ok(())
    }

    /// The app with this number.
    pub(super) async fn app(&self, id: i64) -> Result<Arc<App>> {
        if let Some(app) = self.0.apps.get(&id) {
            return Ok(app);
        }
        let (kind, key): (String, String) = sqlx::query_as("SELECT kind, key FROM apps WHERE id = ?")
            .bind(id)
            .fetch_one(self.readers()?)
            .await
            .map_err(failed("read"))?;
        let app = Arc::new(App::new(kind, key));
        self.0.apps.insert(id, Arc::clone(&app));
        Ok(app)
    }
}

/// A message id of 16 bytes.
pub(super) fn message_id(bytes: &[u8]) -> Result<MessageId> {
    bytes.try_into().map(MessageId::from_bytes).map_err(|_| damaged("message id"))
}

fn entry(
    Frame { head, json }: Frame,
    conversation: Option<ConversationId>,
    apps: &HashMap<i64, Option<Arc<App>>>,
) -> Entry {
    Entry {
        shard: Shard(0),
        position: Position(head.position),
        sequence: (head.sequence != 0).then_some(Sequence(head.sequence)),
        topic: head.topic,
        conversation,
        app: apps.get(&head.app).cloned().flatten(),
        message_id: (head.message != [0; 16]).then(|| MessageId::from_bytes(head.message)),
        sent_at: Timestamp(head.sent_at),
        received_at: Timestamp(head.received_at),
        late: head.late,
        json,
    }
}
