//! Rows of the journal as entries. Names are looked up by number and remembered: the same few stand in every page.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use switchboard_contract::storage::Entry;
use switchboard_contract::{App, ConversationId, MessageId, Result, Sequence, Shard, Timestamp, Topic};

use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::error::{damaged, failed};
use crate::store::sqlite::sql::{Bulk, Values, unsigned};
use crate::store::sqlite::writer::position_of;

/// The columns of [`SqliteStore::entries`], in a query that calls the journal `j`.
macro_rules! entry_columns {
    () => {
        "j.place, j.sequence, j.topic, j.conversation, j.app, j.message, j.sent_at, j.received_at, j.late, j.json"
    };
}
pub(super) use entry_columns;

static NAMES: Bulk = Bulk::new("SELECT id, name FROM conversations WHERE id IN (", "?", ")");

impl SqliteStore {
    /// Decodes rows of [`entry_columns`].
    pub(super) async fn entries(&self, rows: Vec<SqliteRow>) -> Result<Vec<Entry>> {
        let fail = failed("read");
        let mut conversations: HashMap<i64, Option<ConversationId>> = HashMap::new();
        let mut apps: HashMap<i64, Option<Arc<App>>> = HashMap::new();
        for row in &rows {
            if let Some(id) = row.try_get::<Option<i64>, _>(3).map_err(&fail)? {
                conversations.entry(id).or_insert_with(|| self.0.conversations.get(&id));
            }
            let app: i64 = row.try_get(4).map_err(&fail)?;
            if app != 0 {
                apps.entry(app).or_insert_with(|| self.0.apps.get(&app));
            }
        }
        self.load_names(&mut conversations).await?;
        for (id, app) in apps.iter_mut().filter(|(_, app)| app.is_none()) {
            *app = Some(self.app(*id).await?);
        }
        rows.into_iter().map(|row| entry(&row, &conversations, &apps)).collect()
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
                self.0.conversations.insert(id, name.clone());
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
    row: &SqliteRow,
    conversations: &HashMap<i64, Option<ConversationId>>,
    apps: &HashMap<i64, Option<Arc<App>>>,
) -> Result<Entry> {
    let fail = failed("read");
    let sequence: Option<i64> = row.try_get(1).map_err(&fail)?;
    let conversation: Option<i64> = row.try_get(3).map_err(&fail)?;
    let message: Option<&[u8]> = row.try_get(5).map_err(&fail)?;
    let json: Vec<u8> = row.try_get(9).map_err(&fail)?;
    Ok(Entry {
        shard: Shard(0),
        position: position_of(row.try_get(0).map_err(&fail)?),
        sequence: sequence.map(|sequence| Sequence(unsigned(sequence))),
        topic: Topic::from_code(row.try_get(2).map_err(&fail)?).ok_or_else(|| damaged("topic"))?,
        conversation: conversation
            .map(|id| conversations.get(&id).cloned().flatten().ok_or_else(|| damaged("conversation")))
            .transpose()?,
        app: apps.get(&row.try_get(4).map_err(&fail)?).cloned().flatten(),
        message_id: message.map(message_id).transpose()?,
        sent_at: Timestamp(row.try_get(6).map_err(&fail)?),
        received_at: Timestamp(row.try_get(7).map_err(&fail)?),
        late: row.try_get(8).map_err(&fail)?,
        json: json.into(),
    })
}
