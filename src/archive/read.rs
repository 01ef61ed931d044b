//! Reading parts of a file: the pages of one conversation, and nothing around them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use futures::future::try_join_all;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use parquet::DecodeResult;
use parquet::column::reader::{get_column_reader, get_typed_column_reader};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, FixedLenByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use switchboard_contract::storage::HistoryKey;
use switchboard_contract::{App, ConversationId, Error, ErrorKind, MessageId, Result, Timestamp};

use super::manifest::ArchiveFile;
use super::objects::{Objects, failed};
use super::schema::{Row, column, origin_of};

/// Parts of a file that lie closer than this are read as one.
const GAP: u64 = 4096;

/// A file whose index is known.
#[derive(Clone)]
pub(super) struct OpenFile {
    pub(super) path: Path,
    pub(super) bytes: u64,
    pub(super) index: Arc<ParquetMetaData>,
}

/// A failure of the format.
pub(super) fn unreadable(error: ParquetError) -> Error {
    Error::new(ErrorKind::Storage, "a file of the archive cannot be read")
        .with_operation("archive_read")
        .with_source(error)
}

fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::Storage, format!("a file of the archive is damaged: {what}")).with_operation("archive_read")
}

/// Some bytes of a file.
struct Parts {
    length: u64,
    parts: BTreeMap<u64, Bytes>,
}

impl Length for Parts {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Parts {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        let (at, part) = self.parts.range(..=start).next_back().ok_or_else(missing)?;
        let skip = usize::try_from(start - at).map_err(|_| missing())?;
        if skip > part.len() {
            return Err(missing());
        }
        Ok(part.slice(skip..).reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let (at, part) = self.parts.range(..=start).next_back().ok_or_else(missing)?;
        let skip = usize::try_from(start - at).map_err(|_| missing())?;
        let end = skip.checked_add(length).filter(|end| *end <= part.len()).ok_or_else(missing)?;
        Ok(part.slice(skip..end))
    }
}

fn missing() -> ParquetError {
    ParquetError::General("a part that was not asked for".to_owned())
}

/// Reads ranges of an object, those that nearly touch as one.
async fn fetch(objects: &Objects, path: &Path, mut wanted: Vec<Range<u64>>) -> Result<BTreeMap<u64, Bytes>> {
    wanted.sort_unstable_by_key(|range| (range.start, range.end));
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in wanted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP) => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    let reads = joined.iter().map(|range| objects.store.get_range(path, range.clone()));
    let parts = try_join_all(reads).await.map_err(failed("archive_read"))?;
    Ok(joined.iter().map(|range| range.start).zip(parts).collect())
}

/// Reads the index of a file: one request.
pub(super) async fn open(objects: &Objects, path: Path, file: &ArchiveFile) -> Result<OpenFile> {
    let mut decoder = ParquetMetaDataPushDecoder::try_new(file.bytes)
        .map_err(unreadable)?
        .with_page_index_policy(PageIndexPolicy::Required);
    let mut wanted = std::iter::once(file.index_at.min(file.bytes)..file.bytes).collect::<Vec<_>>();
    loop {
        let mut buffers = Vec::with_capacity(wanted.len());
        for range in &wanted {
            buffers.push(objects.store.get_range(&path, range.clone()).await.map_err(failed("archive_read"))?);
        }
        decoder.push_ranges(wanted, buffers).map_err(unreadable)?;
        match decoder.try_decode().map_err(unreadable)? {
            DecodeResult::Data(index) => {
                return Ok(OpenFile { path, bytes: file.bytes, index: Arc::new(index) });
            }
            DecodeResult::NeedsData(more) => wanted = more,
            DecodeResult::Finished => return Err(damaged("its index")),
        }
    }
}

/// Rows of a file that one page of its keys holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) group: usize,
    pub(super) rows: Range<usize>,
}

impl OpenFile {
    fn group_rows(&self, group: usize) -> usize {
        usize::try_from(self.index.row_group(group).num_rows()).unwrap_or_default()
    }

    /// All its rows, row group by row group.
    pub(super) fn groups(&self) -> Vec<Unit> {
        (0..self.index.num_row_groups()).map(|group| Unit { group, rows: 0..self.group_rows(group) }).collect()
    }

    /// Where messages of a conversation may stand that were sent from `since` (included) to `until` (excluded).
    pub(super) fn units(
        &self,
        conversation: &str,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Vec<Unit>> {
        let mut units = Vec::new();
        for group in 0..self.index.num_row_groups() {
            let pages = self.index.page_index_for_row_group(group);
            let Some(ColumnIndexMetaData::BYTE_ARRAY(names)) = pages.column_index(column::CONVERSATION) else {
                return Err(damaged("the index of conversations"));
            };
            let (Some(locations), Some(ColumnIndexMetaData::INT64(times))) =
                (pages.page_locations(column::CONVERSATION), pages.column_index(column::SENT_AT))
            else {
                return Err(damaged("the index of times"));
            };
            let time_pages = pages.page_locations(column::SENT_AT).map_or(&[][..], Vec::as_slice);
            let first =
                |at: usize| locations.get(at).map(|page| usize::try_from(page.first_row_index).unwrap_or_default());
            for page in 0..locations.len() {
                let (low, high) = (names.min_value(page), names.max_value(page));
                let holds = low.is_none_or(|low| low <= conversation.as_bytes())
                    && high.is_none_or(|high| conversation.as_bytes() <= high);
                let rows = first(page).unwrap_or_default()..first(page + 1).unwrap_or_else(|| self.group_rows(group));
                if holds && meets(time_pages, times, &rows, since, until) {
                    units.push(Unit { group, rows });
                }
            }
        }
        Ok(units)
    }

    /// The bytes of some columns over some rows.
    async fn parts(&self, objects: &Objects, unit: &Unit, columns: &[usize]) -> Result<Parts> {
        let pages = self.index.page_index_for_row_group(unit.group);
        let mut wanted = Vec::new();
        for column in columns {
            let chunk = self.index.row_group(unit.group).column(*column);
            let locations = pages.page_locations(*column).ok_or_else(|| damaged("the index of pages"))?;
            let start = chunk.byte_range().0;
            // What lies before the first page is a dictionary.
            if let Some(first) =
                locations.first().map(|page| page.offset.cast_unsigned()).filter(|first| *first != start)
            {
                wanted.push(start..first);
            }
            for (at, page) in locations.iter().enumerate() {
                let begins = usize::try_from(page.first_row_index).unwrap_or_default();
                let ends = locations
                    .get(at + 1)
                    .map_or(usize::MAX, |next| usize::try_from(next.first_row_index).unwrap_or_default());
                if begins < unit.rows.end && ends > unit.rows.start {
                    let offset = page.offset.cast_unsigned();
                    wanted.push(offset..offset + u64::try_from(page.compressed_page_size).unwrap_or_default());
                }
            }
        }
        Ok(Parts { length: self.bytes, parts: fetch(objects, &self.path, wanted).await? })
    }

    /// Values of a column over some rows, without those that are missing, and which are there.
    fn values<T: DataType>(&self, parts: &Arc<Parts>, unit: &Unit, number: usize) -> Result<(Vec<T::T>, Vec<i16>)> {
        let group = self.index.row_group(unit.group);
        let locations = self.index.page_index_for_row_group(unit.group).page_locations(number).cloned();
        let (chunk, rows) = (group.column(number), self.group_rows(unit.group));
        let reader = SerializedPageReader::new(Arc::clone(parts), chunk, rows, locations).map_err(unreadable)?;
        let reader = get_column_reader(chunk.column_descr_ptr(), Box::new(reader));
        let mut reader = get_typed_column_reader::<T>(reader);
        let skipped = reader.skip_records(unit.rows.start).map_err(unreadable)?;
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        let wanted = unit.rows.len();
        let (read, ..) = reader.read_records(wanted, Some(&mut levels), None, &mut values).map_err(unreadable)?;
        if skipped != unit.rows.start || read != wanted {
            return Err(damaged("a column is short"));
        }
        Ok((values, levels))
    }

    fn texts(&self, parts: &Arc<Parts>, unit: &Unit, number: usize) -> Result<Vec<String>> {
        let (values, _) = self.values::<ByteArrayType>(parts, unit, number)?;
        values.into_iter().map(text).collect()
    }

    fn numbers(&self, parts: &Arc<Parts>, unit: &Unit, number: usize) -> Result<Vec<i64>> {
        self.values::<Int64Type>(parts, unit, number).map(|(values, _)| values)
    }

    fn optional(&self, parts: &Arc<Parts>, unit: &Unit, number: usize) -> Result<Vec<Option<ByteArray>>> {
        let (values, levels) = self.values::<ByteArrayType>(parts, unit, number)?;
        let mut values = values.into_iter();
        Ok(levels.into_iter().map(|level| if level == 0 { None } else { values.next() }).collect())
    }

    fn maybe_texts(&self, parts: &Arc<Parts>, unit: &Unit, number: usize) -> Result<Vec<Option<String>>> {
        self.optional(parts, unit, number)?.into_iter().map(|value| value.map(text).transpose()).collect()
    }

    /// Where the messages of a conversation stand within a unit: the first row, and the keys from there on, ascending.
    pub(super) async fn keys(
        &self,
        objects: &Objects,
        unit: &Unit,
        conversation: &str,
    ) -> Result<(usize, Vec<HistoryKey>)> {
        let columns = [column::CONVERSATION, column::SENT_AT, column::SORT_KEY, column::MESSAGE_ID];
        let parts = Arc::new(self.parts(objects, unit, &columns).await?);
        let (names, _) = self.values::<ByteArrayType>(&parts, unit, column::CONVERSATION)?;
        let begin = names.partition_point(|name| name.data() < conversation.as_bytes());
        let end = names.partition_point(|name| name.data() <= conversation.as_bytes());
        let rows = unit.rows.start + begin..unit.rows.start + end;
        let own = Unit { group: unit.group, rows };
        Ok((own.rows.start, if own.rows.is_empty() { Vec::new() } else { self.history_keys(&parts, &own)? }))
    }

    fn history_keys(&self, parts: &Arc<Parts>, unit: &Unit) -> Result<Vec<HistoryKey>> {
        let times = self.numbers(parts, unit, column::SENT_AT)?;
        let sort_keys = self.texts(parts, unit, column::SORT_KEY)?;
        let (ids, _) = self.values::<FixedLenByteArrayType>(parts, unit, column::MESSAGE_ID)?;
        let rows = times.into_iter().zip(sort_keys).zip(ids);
        rows.map(|((sent_at, sort_key), id)| {
            let id: [u8; 16] = id.data().try_into().map_err(|_| damaged("a message id"))?;
            Ok(HistoryKey { sent_at: Timestamp(sent_at), sort_key, message_id: MessageId::from_bytes(id) })
        })
        .collect()
    }

    /// Who sent the messages of some rows, and the kinds of their bodies.
    pub(super) async fn traits(&self, objects: &Objects, unit: &Unit) -> Result<Vec<(Option<String>, Option<String>)>> {
        let parts = Arc::new(self.parts(objects, unit, &[column::SENDER, column::BODY]).await?);
        let senders = self.maybe_texts(&parts, unit, column::SENDER)?;
        Ok(senders.into_iter().zip(self.maybe_texts(&parts, unit, column::BODY)?).collect())
    }

    /// Whole rows.
    pub(super) async fn rows(&self, objects: &Objects, unit: &Unit, with_raw: bool) -> Result<Vec<Row>> {
        let mut columns: Vec<usize> = (0..=column::EVENT).collect();
        columns.extend(with_raw.then_some(column::RAW));
        self.read(objects, unit, columns, None).await
    }

    /// What the rows of a conversation hold besides the keys that are known already. Rows without a key are left out, and
    /// neither `sender` nor `key` is read: whoever asks has them from the database, or has no need.
    pub(super) async fn rest(
        &self,
        objects: &Objects,
        unit: &Unit,
        known: (ConversationId, Vec<Option<HistoryKey>>),
        with_raw: bool,
    ) -> Result<Vec<Row>> {
        let needless = [column::SENDER, column::KEY];
        let mut columns: Vec<usize> =
            (column::SEQUENCE..=column::EVENT).filter(|column| !needless.contains(column)).collect();
        columns.extend(with_raw.then_some(column::RAW));
        self.read(objects, unit, columns, Some(known)).await
    }

    async fn read(
        &self,
        objects: &Objects,
        unit: &Unit,
        columns: Vec<usize>,
        known: Option<(ConversationId, Vec<Option<HistoryKey>>)>,
    ) -> Result<Vec<Row>> {
        if unit.rows.is_empty() {
            return Ok(Vec::new());
        }
        let parts = Arc::new(self.parts(objects, unit, &columns).await?);
        let (file, unit) = (self.clone(), unit.clone());
        // To inflate and decode takes a while.
        let rows = tokio::task::spawn_blocking(move || file.decoded(&parts, &unit, &columns, known)).await;
        rows.map_err(|error| Error::new(ErrorKind::Internal, "a reader of the archive ended badly").with_source(error))?
    }

    fn decoded(
        &self,
        parts: &Arc<Parts>,
        unit: &Unit,
        columns: &[usize],
        known: Option<(ConversationId, Vec<Option<HistoryKey>>)>,
    ) -> Result<Vec<Row>> {
        let places: Vec<(ConversationId, Option<HistoryKey>)> = match known {
            Some((conversation, keys)) => keys.into_iter().map(|key| (conversation.clone(), key)).collect(),
            None => {
                let names = self.texts(parts, unit, column::CONVERSATION)?;
                let keys = self.history_keys(parts, unit)?;
                let place = |(name, key): (String, HistoryKey)| {
                    Ok((name.parse().map_err(|_| damaged("a conversation"))?, Some(key)))
                };
                names.into_iter().zip(keys).map(place).collect::<Result<_>>()?
            }
        };
        let texts = |number: usize| {
            let read = columns.contains(&number).then(|| self.maybe_texts(parts, unit, number)).transpose()?;
            Ok::<_, Error>(read.unwrap_or_default().into_iter())
        };
        let sequences = self.numbers(parts, unit, column::SEQUENCE)?;
        let positions = self.numbers(parts, unit, column::POSITION)?;
        let received = self.numbers(parts, unit, column::RECEIVED_AT)?;
        let (mut vendors, mut apps) = (texts(column::VENDOR)?, texts(column::APP)?);
        let (mut senders, mut bodies) = (texts(column::SENDER)?, texts(column::BODY)?);
        let (late, _) = self.values::<BoolType>(parts, unit, column::LATE)?;
        let origins = self.texts(parts, unit, column::ORIGIN)?;
        let required = columns.contains(&column::KEY).then(|| self.texts(parts, unit, column::KEY)).transpose()?;
        let mut event_keys = required.unwrap_or_default().into_iter();
        let (events, _) = self.values::<ByteArrayType>(parts, unit, column::EVENT)?;
        let raws = columns.contains(&column::RAW).then(|| self.optional(parts, unit, column::RAW)).transpose()?;
        let mut raws = raws.unwrap_or_default().into_iter();
        let mut rows = Vec::with_capacity(unit.rows.len());
        for (at, ((conversation, key), event)) in places.into_iter().zip(events).enumerate() {
            let app = vendors.next().flatten().zip(apps.next().flatten());
            let (sender, body) = (senders.next().flatten(), bodies.next().flatten());
            let (event_key, raw) = (event_keys.next().unwrap_or_default(), raws.next().flatten());
            let Some(key) = key else { continue };
            rows.push(Row {
                conversation,
                at: key,
                sequence: sequences[at].cast_unsigned(),
                position: positions[at].cast_unsigned(),
                received_at: Timestamp(received[at]),
                app: app.map(|(kind, key)| App::new(kind, key)),
                sender,
                body,
                late: late[at],
                origin: origin_of(&origins[at]).ok_or_else(|| damaged("an origin"))?,
                key: event_key,
                event: Bytes::copy_from_slice(event.data()),
                raw: raw.map(|raw| Bytes::copy_from_slice(raw.data())),
            });
        }
        Ok(rows)
    }
}

fn text(value: ByteArray) -> Result<String> {
    String::from_utf8(value.data().to_vec()).map_err(|_| damaged("a text"))
}

/// Whether some of these rows were sent within the bounds, as far as the index of times tells.
fn meets(
    pages: &[parquet::file::page_index::offset_index::PageLocation],
    times: &parquet::file::page_index::column_index::PrimitiveColumnIndex<i64>,
    rows: &Range<usize>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
) -> bool {
    pages.iter().enumerate().any(|(at, page)| {
        let begins = usize::try_from(page.first_row_index).unwrap_or_default();
        let ends =
            pages.get(at + 1).map_or(usize::MAX, |next| usize::try_from(next.first_row_index).unwrap_or_default());
        begins < rows.end
            && ends > rows.start
            && since.is_none_or(|since| times.max_value(at).is_none_or(|latest| *latest >= since.0))
            && until.is_none_or(|until| times.min_value(at).is_none_or(|first| *first < until.0))
    })
}
