//! Writing a file of a day.

use bytes::Bytes;
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, Int64Type,
};
use parquet::errors::Result;
use parquet::file::metadata::KeyValue;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use sha2::{Digest as _, Sha256};
use switchboard_contract::storage::Day;
use switchboard_contract::{TenantId, Timestamp};

use super::schema::{Row, properties, schema};

/// Rows and bytes of a row group, about.
const GROUP_ROWS: usize = 32 * 1024;
const GROUP_BYTES: usize = 16 << 20;

/// What a finished file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileFacts {
    pub(super) rows: u64,
    /// The first and the last conversation in it.
    pub(super) first: String,
    pub(super) last: String,
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
    /// Of the file's bytes.
    pub(super) sha256: String,
    /// Of its events, one after the other.
    pub(super) content_sha256: String,
    /// Where the indexes begin, which lie before the footer.
    pub(super) index_at: u64,
}

/// A file in the making, in memory. Rows come in the order of [`Row::order`].
pub(super) struct DayWriter {
    writer: SerializedFileWriter<Vec<u8>>,
    group: Vec<Row>,
    group_bytes: usize,
    rows: u64,
    first: Option<String>,
    last: String,
    since: i64,
    until: i64,
    content: Sha256,
}

impl DayWriter {
    pub(super) fn new(tenant: &TenantId, day: Day) -> Result<Self> {
        let mut writer = SerializedFileWriter::new(Vec::new(), schema()?, properties())?;
        for (key, value) in [("switchboard.tenant", tenant.as_str()), ("switchboard.day", &day.to_string())] {
            writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value.to_owned()));
        }
        Ok(Self {
            writer,
            group: Vec::new(),
            group_bytes: 0,
            rows: 0,
            first: None,
            last: String::new(),
            since: i64::MAX,
            until: i64::MIN,
            content: Sha256::new(),
        })
    }

    pub(super) fn push(&mut self, row: Row) -> Result<()> {
        self.first.get_or_insert_with(|| row.conversation.as_str().to_owned());
        if self.last != row.conversation.as_str() {
            row.conversation.as_str().clone_into(&mut self.last);
        }
        self.since = self.since.min(row.at.sent_at.0);
        self.until = self.until.max(row.at.sent_at.0.saturating_add(1));
        self.content.update(&row.event);
        self.content.update(b"\n");
        self.rows += 1;
        self.group_bytes += row.size();
        self.group.push(row);
        if self.group.len() >= GROUP_ROWS || self.group_bytes >= GROUP_BYTES { self.flush() } else { Ok(()) }
    }

    /// How large the file is so far, about.
    pub(super) fn size(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    fn flush(&mut self) -> Result<()> {
        if self.group.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.group);
        self.group_bytes = 0;
        let mut group = self.writer.next_row_group()?;
        columns(&mut group, &rows)?;
        group.close().map(drop)
    }

    pub(super) fn finish(mut self) -> Result<(Bytes, FileFacts)> {
        self.flush()?;
        let metadata = self.writer.finish()?;
        let starts = metadata.row_groups().iter().flat_map(|group| group.columns()).filter_map(|column| {
            let index = column.column_index_range().map(|range| range.start);
            index.into_iter().chain(column.offset_index_range().map(|range| range.start)).min()
        });
        let index_at = starts.min().unwrap_or_default();
        // To take the writer apart would write the footer once more.
        let bytes = Bytes::from(std::mem::take(self.writer.inner_mut()));
        let facts = FileFacts {
            rows: self.rows,
            first: self.first.unwrap_or_default(),
            last: self.last,
            since: Timestamp(self.since),
            until: Timestamp(self.until),
            sha256: hex::encode(Sha256::digest(&bytes)),
            content_sha256: hex::encode(self.content.finalize()),
            index_at,
        };
        Ok((bytes, facts))
    }
}

type Group<'a> = SerializedRowGroupWriter<'a, Vec<u8>>;

fn column<T: DataType>(group: &mut Group<'_>, values: &[T::T], levels: Option<&[i16]>) -> Result<()> {
    let missing = || parquet::errors::ParquetError::General("the archive's schema has too few columns".to_owned());
    let mut column = group.next_column()?.ok_or_else(missing)?;
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()
}

fn texts<'a>(group: &mut Group<'_>, rows: &'a [Row], get: impl Fn(&'a Row) -> &'a str) -> Result<()> {
    let values: Vec<ByteArray> = rows.iter().map(|row| ByteArray::from(get(row))).collect();
    column::<ByteArrayType>(group, &values, None)
}

fn optional<'a>(group: &mut Group<'_>, rows: &'a [Row], get: impl Fn(&'a Row) -> Option<ByteArray>) -> Result<()> {
    let (mut values, mut levels) = (Vec::new(), Vec::with_capacity(rows.len()));
    for row in rows {
        let value = get(row);
        levels.push(i16::from(value.is_some()));
        values.extend(value);
    }
    column::<ByteArrayType>(group, &values, Some(&levels))
}

fn numbers(group: &mut Group<'_>, rows: &[Row], get: impl Fn(&Row) -> i64) -> Result<()> {
    column::<Int64Type>(group, &rows.iter().map(get).collect::<Vec<_>>(), None)
}

/// The columns in the order of the schema.
fn columns(group: &mut Group<'_>, rows: &[Row]) -> Result<()> {
    texts(group, rows, |row| row.conversation.as_str())?;
    numbers(group, rows, |row| row.at.sent_at.0)?;
    texts(group, rows, |row| &row.at.sort_key)?;
    let ids: Vec<FixedLenByteArray> =
        rows.iter().map(|row| FixedLenByteArray::from(row.at.message_id.as_bytes().to_vec())).collect();
    column::<FixedLenByteArrayType>(group, &ids, None)?;
    numbers(group, rows, |row| row.sequence.cast_signed())?;
    numbers(group, rows, |row| row.position.cast_signed())?;
    numbers(group, rows, |row| row.received_at.0)?;
    optional(group, rows, |row| row.app.as_ref().map(|app| app.kind.as_str().into()))?;
    optional(group, rows, |row| row.app.as_ref().map(|app| app.key.as_str().into()))?;
    optional(group, rows, |row| row.sender.as_deref().map(ByteArray::from))?;
    optional(group, rows, |row| row.body.as_deref().map(ByteArray::from))?;
    column::<BoolType>(group, &rows.iter().map(|row| row.late).collect::<Vec<_>>(), None)?;
    texts(group, rows, |row| row.origin.as_str())?;
    texts(group, rows, |row| &row.key)?;
    let events: Vec<ByteArray> = rows.iter().map(|row| ByteArray::from(row.event.clone())).collect();
    column::<ByteArrayType>(group, &events, None)?;
    optional(group, rows, |row| row.raw.clone().map(ByteArray::from))
}
