//! The columns of an archive file, as documented in `docs/archive.md`, and a row of it.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, GzipLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, TypePtr};
use switchboard_contract::storage::{HistoryKey, StoredEvent};
use switchboard_contract::{App, ConversationId, Origin, Timestamp};

/// Rows of one page of every column at most: the grain in which a conversation is read.
const PAGE_ROWS: usize = 512;
/// Bytes of one page before compression, about.
const PAGE_BYTES: usize = 64 * 1024;

/// The columns, by their number.
pub(super) mod column {
    pub(in crate::archive) const CONVERSATION: usize = 0;
    pub(in crate::archive) const SENT_AT: usize = 1;
    pub(in crate::archive) const SORT_KEY: usize = 2;
    pub(in crate::archive) const MESSAGE_ID: usize = 3;
    pub(in crate::archive) const SEQUENCE: usize = 4;
    pub(in crate::archive) const POSITION: usize = 5;
    pub(in crate::archive) const RECEIVED_AT: usize = 6;
    pub(in crate::archive) const VENDOR: usize = 7;
    pub(in crate::archive) const APP: usize = 8;
    pub(in crate::archive) const SENDER: usize = 9;
    pub(in crate::archive) const BODY: usize = 10;
    pub(in crate::archive) const LATE: usize = 11;
    pub(in crate::archive) const ORIGIN: usize = 12;
    pub(in crate::archive) const KEY: usize = 13;
    pub(in crate::archive) const EVENT: usize = 14;
    pub(in crate::archive) const RAW: usize = 15;
}

static SCHEMA: LazyLock<Option<TypePtr>> = LazyLock::new(|| {
    let text = "message switchboard {
        REQUIRED BYTE_ARRAY conversation (STRING);
        REQUIRED INT64 sent_at (TIMESTAMP(MILLIS,true));
        REQUIRED BYTE_ARRAY sort_key (STRING);
        REQUIRED FIXED_LEN_BYTE_ARRAY(16) message_id (UUID);
        REQUIRED INT64 sequence;
        REQUIRED INT64 position;
        REQUIRED INT64 received_at (TIMESTAMP(MILLIS,true));
        OPTIONAL BYTE_ARRAY vendor (STRING);
        OPTIONAL BYTE_ARRAY app (STRING);
        OPTIONAL BYTE_ARRAY sender (STRING);
        OPTIONAL BYTE_ARRAY body (STRING);
        REQUIRED BOOLEAN late;
        REQUIRED BYTE_ARRAY origin (STRING);
        REQUIRED BYTE_ARRAY key (STRING);
        REQUIRED BYTE_ARRAY event (STRING);
        OPTIONAL BYTE_ARRAY raw;
    }";
    parse_message_type(text).ok().map(Arc::new)
});

/// The schema. `None` never: a test reads it.
pub(super) fn schema() -> parquet::errors::Result<TypePtr> {
    let missing = || parquet::errors::ParquetError::General("the schema of the archive is wrong".to_owned());
    SCHEMA.clone().ok_or_else(missing)
}

/// How files are written: small pages with an index, sorted, so that a conversation is found without its neighbours.
pub(super) fn properties() -> WriterPropertiesPtr {
    let path = |name: &str| ColumnPath::from(name);
    let sorted = [column::CONVERSATION, column::SENT_AT, column::SORT_KEY, column::MESSAGE_ID].map(|column| {
        SortingColumn { column_idx: i32::try_from(column).unwrap_or_default(), descending: false, nulls_first: false }
    });
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("switchboard ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::GZIP(GzipLevel::default()))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_write_batch_size(64)
        .set_column_index_truncate_length(None)
        .set_statistics_truncate_length(None)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_dictionary_enabled(false)
        .set_sorting_columns(Some(sorted.to_vec()));
    for name in ["vendor", "app", "body", "origin"] {
        builder = builder.set_column_dictionary_enabled(path(name), true);
    }
    for name in ["conversation", "sort_key", "key"] {
        builder = builder.set_column_encoding(path(name), Encoding::DELTA_BYTE_ARRAY);
    }
    for name in ["sent_at", "sequence", "position", "received_at"] {
        builder = builder.set_column_encoding(path(name), Encoding::DELTA_BINARY_PACKED);
    }
    for name in ["conversation", "sent_at"] {
        builder = builder.set_column_statistics_enabled(path(name), EnabledStatistics::Page);
    }
    for name in ["event", "raw"] {
        builder = builder.set_column_statistics_enabled(path(name), EnabledStatistics::None);
    }
    // Other programs look a conversation up by it; ours knows its days from the database and its pages from the index.
    builder = builder
        .set_column_bloom_filter_enabled(path("conversation"), true)
        .set_column_bloom_filter_fpp(path("conversation"), 0.01)
        .set_column_bloom_filter_max_ndv(path("conversation"), 20_000);
    Arc::new(builder.build())
}

/// A message of the archive.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) conversation: ConversationId,
    pub(super) at: HistoryKey,
    pub(super) sequence: u64,
    pub(super) position: u64,
    pub(super) received_at: Timestamp,
    pub(super) app: Option<App>,
    pub(super) sender: Option<String>,
    /// `None` for a tombstone.
    pub(super) body: Option<String>,
    pub(super) late: bool,
    pub(super) origin: Origin,
    /// The vendor's part of the dedupe key.
    pub(super) key: String,
    /// The CloudEvents form.
    pub(super) event: Bytes,
    pub(super) raw: Option<Bytes>,
}

/// Bodies do not belong in logs.
impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row").field("conversation", &self.conversation).field("at", &self.at).finish_non_exhaustive()
    }
}

impl Row {
    /// A message of the journal; `None` for anything else, and for one that is archived already.
    pub(super) fn new(event: StoredEvent) -> Option<Self> {
        if event.is_archived() {
            return None;
        }
        Some(Self {
            at: event.history_key()?,
            conversation: event.conversation,
            sequence: event.sequence.0,
            position: event.position.0,
            received_at: event.received_at,
            app: event.app.as_deref().cloned(),
            sender: event.sender.map(|sender| sender.as_str().to_owned()),
            body: event.body,
            late: event.late,
            origin: event.origin,
            key: event.key.id,
            event: event.json,
            raw: event.raw,
        })
    }

    /// Its place among the rows of a day.
    pub(super) fn order(&self) -> (&str, &HistoryKey) {
        (self.conversation.as_str(), &self.at)
    }

    /// About how much memory it takes.
    pub(super) fn size(&self) -> usize {
        256 + self.event.len() + self.raw.as_ref().map_or(0, Bytes::len)
    }
}

/// The stable name of an origin, read back.
pub(super) fn origin_of(name: &str) -> Option<Origin> {
    (0..=u8::MAX).map_while(Origin::from_code).find(|origin| origin.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_the_columns_by_their_numbers() {
        let schema = schema().map(|schema| schema.get_fields().len());
        assert_eq!(schema.unwrap_or_default(), column::RAW + 1);
        assert_eq!(origin_of("history"), Some(Origin::History));
        assert_eq!(origin_of("nowhere"), None);
    }
}
