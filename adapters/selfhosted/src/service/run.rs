//! Lines on their way to devices: encoded once, one behind the other, and shared by everybody who gets them. A
//! connection has a place in a run and writes from there on as one piece.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use switchboard_contract::storage::{Glimpse, Line, LineKind};
use switchboard_contract::{
    ConversationId, Error, ErrorKind, MessageId, Position, Result, Sequence, Timestamp, UserId,
};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::frame::{Command, HEADER_BYTES, Header, Kind, Packet, to_json};
use crate::outbox::{MESSAGE_HEAD, message_head};

/// Entries of one run, and its bytes from which on no more are added.
pub(crate) const RUN_ENTRIES: usize = 128;
const RUN_BYTES: usize = 32 << 10;

/// As much of an entry as a run must know of it.
#[derive(Clone, PartialEq, prost::Message)]
struct Stub {
    #[prost(string, tag = "3")]
    conversation: String,
    #[prost(string, tag = "5")]
    id: String,
    #[prost(string, tag = "6")]
    by: String,
}

/// One line of a run.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) position: Position,
    pub(crate) sequence: Option<Sequence>,
    pub(crate) conversation: Option<ConversationId>,
    /// Where its DELIVER packet begins.
    start: usize,
}

/// How far a run brings its readers in a conversation: its last message there, and the last by somebody else.
#[derive(Debug)]
struct Reach {
    conversation: ConversationId,
    last: (Sequence, MessageId),
    by: UserId,
    other: Option<(Sequence, MessageId)>,
}

/// Lines in ascending order for the same readers. Not empty.
#[derive(Debug, Default)]
pub(crate) struct Run {
    items: Vec<Item>,
    /// DELIVER packets, one behind the other.
    bytes: Bytes,
    reaches: Vec<Reach>,
    /// When its lines were gathered for its readers; `None` for what was read from the log.
    gathered_at: Option<Timestamp>,
    /// It is for many devices, and none of them had anything of the kind a moment ago.
    wide: bool,
    /// All of it as one WebSocket message.
    message: OnceLock<Bytes>,
    json: OnceLock<Vec<Utf8Bytes>>,
}

/// A run that grows.
#[derive(Debug, Default)]
pub(crate) struct Runner {
    run: Run,
    bytes: BytesMut,
}

impl Runner {
    pub(crate) fn is_full(&self) -> bool {
        self.run.items.len() >= RUN_ENTRIES || self.bytes.len() >= RUN_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.run.items.is_empty()
    }

    pub(crate) fn push(&mut self, line: &Line) {
        self.put(line.position, line.sequence, line.conversation.as_ref(), &line.payload);
        if let (LineKind::Message, Some(conversation), Some(sequence)) = (line.kind, &line.conversation, line.sequence)
        {
            self.reach(conversation, (sequence, line.id), &line.by);
        }
    }

    fn push_stored(&mut self, glimpse: &Glimpse) -> Result<()> {
        let Glimpse { position, sequence, kind, payload } = glimpse;
        let unreadable = || Error::new(ErrorKind::Decode, "a stored line cannot be read");
        let stub = Stub::decode(payload.clone()).map_err(|error| unreadable().with_source(error))?;
        let same = self.run.items.last().and_then(|item| item.conversation.clone());
        let conversation = match same.filter(|id| id.as_str() == stub.conversation) {
            Some(id) => Some(id),
            None if stub.conversation.is_empty() => None,
            None => Some(stub.conversation.parse().map_err(|_| unreadable())?),
        };
        self.put(*position, *sequence, conversation.as_ref(), payload);
        if let (LineKind::Message, Some(conversation), Some(sequence)) = (kind, &conversation, sequence) {
            let id = stub.id.parse().map_err(|_| unreadable())?;
            self.reach(conversation, (*sequence, id), &stub.by.into());
        }
        Ok(())
    }

    fn put(
        &mut self,
        position: Position,
        sequence: Option<Sequence>,
        conversation: Option<&ConversationId>,
        payload: &[u8],
    ) {
        let (start, length) = (self.bytes.len(), entry_length(payload, position, sequence));
        self.bytes.reserve(HEADER_BYTES + length);
        let length = u32::try_from(length).expect("contents are bounded far below 4 GiB");
        let (kind, flags, command, correlation) = (Kind::Notify, 0, Command::Deliver, position.0);
        Header { kind, flags, command, correlation, length }.encode(&mut self.bytes);
        put_entry(payload, position, sequence, &mut self.bytes);
        self.run.items.push(Item { position, sequence, conversation: conversation.cloned(), start });
    }

    fn reach(&mut self, conversation: &ConversationId, last: (Sequence, MessageId), by: &UserId) {
        match self.run.reaches.iter_mut().find(|reach| reach.conversation == *conversation) {
            Some(reach) => {
                if reach.by != *by {
                    reach.other = Some(reach.last);
                    reach.by = by.clone();
                }
                reach.last = last;
            }
            None => {
                let (conversation, by) = (conversation.clone(), by.clone());
                self.run.reaches.push(Reach { conversation, last, by, other: None });
            }
        }
    }

    /// The conversations it has messages of.
    pub(crate) fn conversations(&self) -> impl Iterator<Item = &ConversationId> {
        self.run.conversations()
    }

    pub(crate) fn done(self, gathered_at: Option<Timestamp>, wide: bool) -> Arc<Run> {
        Arc::new(Run { bytes: self.bytes.freeze(), gathered_at, wide, ..self.run })
    }
}

impl Run {
    /// Of these lines, whatever their number and size.
    #[cfg(test)]
    pub(crate) fn of<'a>(lines: impl IntoIterator<Item = &'a Line>) -> Arc<Self> {
        let mut runner = Runner::default();
        lines.into_iter().for_each(|line| runner.push(line));
        runner.done(None, false)
    }

    /// Of what the log has of these lines.
    ///
    /// # Errors
    /// `Decode` for bytes that no version of the service has written.
    pub(crate) fn stored(glimpses: &[Glimpse]) -> Result<Arc<Self>> {
        let mut runner = Runner::default();
        for glimpse in glimpses {
            runner.push_stored(glimpse)?;
        }
        Ok(runner.done(None, false))
    }

    /// When its lines were gathered for its readers, if it is fresh.
    pub(crate) fn gathered_at(&self) -> Option<Timestamp> {
        self.gathered_at
    }

    /// The conversations it has messages of.
    pub(crate) fn conversations(&self) -> impl Iterator<Item = &ConversationId> {
        self.reaches.iter().map(|reach| &reach.conversation)
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it may go the [short way](super::outlet).
    pub(crate) fn is_wide(&self) -> bool {
        self.wide
    }

    /// The position of its first line.
    pub(crate) fn first(&self) -> u64 {
        self.items.first().map_or(0, |item| item.position.0)
    }

    /// The position of its last line.
    pub(crate) fn last(&self) -> u64 {
        self.items.last().map_or(0, |item| item.position.0)
    }

    /// The position of the first line behind this one.
    pub(crate) fn next_behind(&self, position: u64) -> Option<u64> {
        let index = self.items.partition_point(|item| item.position.0 <= position);
        self.items.get(index).map(|item| item.position.0)
    }

    fn end(&self, index: usize) -> usize {
        self.items.get(index + 1).map_or(self.bytes.len(), |next| next.start)
    }

    /// For each conversation the last message that is not the user's own.
    pub(crate) fn reaches(&self, user: &UserId) -> impl Iterator<Item = (&ConversationId, Sequence, MessageId)> {
        self.reaches.iter().filter_map(move |reach| {
            let (sequence, id) = if reach.by == *user { reach.other? } else { reach.last };
            Some((&reach.conversation, sequence, id))
        })
    }

    fn packet(&self, index: usize) -> Packet {
        let item = &self.items[index];
        let body = self.bytes.slice(item.start + HEADER_BYTES..self.end(index));
        Packet::new(Kind::Notify, Command::Deliver, item.position.0, body)
    }

    /// Its packets as they are sent.
    pub(crate) fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// Its packets as one WebSocket message. Most readers get just that, and share it.
    pub(crate) fn message(&self) -> Bytes {
        let message = self.message.get_or_init(|| {
            let mut out = BytesMut::with_capacity(MESSAGE_HEAD + self.bytes.len());
            message_head(self.bytes.len(), &mut out);
            out.put_slice(&self.bytes);
            out.freeze()
        });
        message.clone()
    }

    /// The same in the JSON form; made when the first browser wants it.
    fn json(&self) -> &[Utf8Bytes] {
        self.json.get_or_init(|| {
            let text = |index| to_json(&self.packet(index)).unwrap_or_default().into();
            (0..self.items.len()).map(text).collect()
        })
    }
}

/// Some of a run, in a row. Not empty.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) run: Arc<Run>,
    range: Range<usize>,
}

impl Piece {
    /// What of a run comes behind `after` up to `until`, at most `limit` entries; `None` for nothing.
    pub(crate) fn between(run: &Arc<Run>, after: u64, until: u64, limit: usize) -> Option<Self> {
        let from = run.items.partition_point(|item| item.position.0 <= after);
        let to = run.items.partition_point(|item| item.position.0 <= until).min(from.saturating_add(limit));
        (from < to).then(|| Self { run: run.clone(), range: from..to })
    }

    /// Each entry for itself.
    pub(crate) fn singles(self) -> impl Iterator<Item = Self> {
        let run = self.run;
        self.range.map(move |at| Self { run: run.clone(), range: at..at + 1 })
    }

    pub(crate) fn len(&self) -> usize {
        self.range.len()
    }

    pub(crate) fn items(&self) -> &[Item] {
        &self.run.items[self.range.clone()]
    }

    pub(crate) fn first(&self) -> &Item {
        &self.run.items[self.range.start]
    }

    pub(crate) fn last(&self) -> u64 {
        self.run.items[self.range.end - 1].position.0
    }

    fn span(&self) -> Range<usize> {
        self.run.items[self.range.start].start..self.run.end(self.range.end - 1)
    }

    pub(crate) fn size(&self) -> usize {
        self.span().len()
    }

    /// Its packets as they are sent.
    pub(crate) fn bytes(&self) -> Bytes {
        self.run.bytes.slice(self.span())
    }

    /// Its packets as one WebSocket message, if it is the whole run.
    pub(crate) fn message(&self) -> Option<Bytes> {
        (self.range.len() == self.run.items.len()).then(|| self.run.message())
    }

    /// Its packets in the JSON form.
    pub(crate) fn json(&self) -> &[Utf8Bytes] {
        &self.run.json()[self.range.clone()]
    }

    /// Its entries as elements of a page.
    pub(crate) fn put_elements(&self, out: &mut BytesMut) {
        for index in self.range.clone() {
            let entry = &self.run.bytes[self.run.items[index].start + HEADER_BYTES..self.run.end(index)];
            encode_key(1, WireType::LengthDelimited, out);
            encode_varint(entry.len() as u64, out);
            out.put_slice(entry);
        }
    }
}

/// An entry as it is sent: what is stored knows neither position nor sequence, and fields may follow in any order.
pub(crate) fn entry_bytes(payload: &[u8], position: Position, sequence: Option<Sequence>) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + 22);
    put_entry(payload, position, sequence, &mut out);
    out.freeze()
}

fn put_entry(payload: &[u8], position: Position, sequence: Option<Sequence>, out: &mut BytesMut) {
    out.put_slice(payload);
    encode_key(1, WireType::Varint, out);
    encode_varint(position.0, out);
    if let Some(Sequence(number)) = sequence {
        encode_key(2, WireType::Varint, out);
        encode_varint(number, out);
    }
}

fn entry_length(payload: &[u8], position: Position, sequence: Option<Sequence>) -> usize {
    let sequence = sequence.map_or(0, |number| 1 + encoded_len_varint(number.0));
    payload.len() + 1 + encoded_len_varint(position.0) + sequence
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::frame::Decoder;
    use crate::proto;
    use crate::service::sample;

    fn line(position: u64, by: &str) -> Line {
        let stored = proto::Entry { id: "x".to_owned(), at: 7, ..Default::default() };
        Line {
            sequence: Some(Sequence(position + 300)),
            conversation: Some(ConversationId::direct(&"alice".into(), &"bob".into())),
            payload: stored.encode_to_vec().into(),
            ..sample::line(position, by, 0)
        }
    }

    #[test]
    fn position_and_sequence_join_what_is_stored() {
        let stored = proto::Entry { id: "x".to_owned(), at: 7, ..Default::default() };
        let bytes = entry_bytes(&stored.encode_to_vec(), Position(300), Some(Sequence(2)));
        let read = proto::Entry::decode(bytes).unwrap();
        assert_eq!(read, proto::Entry { position: 300, sequence: 2, ..stored });
    }

    #[test]
    fn a_piece_is_what_its_lines_are_one_by_one() {
        let lines: Vec<Line> = [3, 5, 9].map(|position| line(position, "alice")).into();
        let run = Run::of(&lines);
        assert!(Piece::between(&run, 9, 20, 10).is_none());
        let piece = Piece::between(&run, 3, 20, 10).unwrap();
        assert_eq!((piece.len(), piece.first().position.0, piece.last()), (2, 5, 9));
        let mut decoder = Decoder::new(1 << 20);
        decoder.extend(&piece.bytes());
        assert!(piece.message().is_none(), "others may get the rest");
        let all = Piece::between(&run, 0, 20, 10).unwrap();
        let parts = vec![crate::outbox::Part::Piece(all.clone())];
        assert_eq!(all.message().unwrap(), crate::outbox::binary(parts, all.size(), message_head).concat());
        let mut page = BytesMut::new();
        piece.put_elements(&mut page);
        let page = proto::Page::decode(page.freeze()).unwrap();
        for entry in &page.entries {
            let packet = decoder.next_packet().unwrap().unwrap();
            assert_eq!((packet.command, packet.correlation), (Command::Deliver, entry.position));
            assert_eq!(proto::Entry::decode(packet.body.clone()).unwrap(), *entry);
            assert_eq!(crate::frame::from_json(&to_json(&packet).unwrap()).unwrap().correlation, entry.position);
        }
        assert_eq!(page.entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [305, 309]);
        assert!(decoder.next_packet().unwrap().is_none());
        assert_eq!(piece.clone().singles().map(|one| one.last()).collect::<Vec<_>>(), [5, 9]);
        assert_eq!(piece.json().len(), 2);
    }

    #[test]
    fn nobody_is_delivered_their_own_words() {
        let lines = [line(1, "alice"), line(2, "bob"), line(3, "alice"), line(4, "alice")];
        let run = Run::of(&lines);
        let reach = |user: &str| {
            let user = UserId::from(user);
            run.reaches(&user).map(|(_, sequence, id)| (sequence.0, id)).collect::<Vec<_>>()
        };
        assert_eq!(reach("bob"), [(304, lines[3].id)]);
        assert_eq!(reach("alice"), [(302, lines[1].id)]);
        assert_eq!(Run::of(&lines[..1]).reaches(&"alice".into()).count(), 0);
    }

    #[test]
    fn what_is_read_again_is_the_same_run() {
        let conversation = ConversationId::direct(&"alice".into(), &"bob".into());
        let lines: Vec<Line> = [(3, "alice"), (5, "bob"), (9, "bob")]
            .map(|(position, by)| {
                let fresh = line(position, by);
                let entry = proto::Entry {
                    id: fresh.id.to_string(),
                    conversation: conversation.as_str().to_owned(),
                    by: by.to_owned(),
                    ..Default::default()
                };
                Line { payload: entry.encode_to_vec().into(), ..fresh }
            })
            .into();
        let glimpse = |line: &Line| Glimpse {
            position: line.position,
            sequence: line.sequence,
            kind: line.kind,
            payload: line.payload.clone(),
        };
        let stored = Run::stored(&lines.iter().map(glimpse).collect::<Vec<_>>()).unwrap();
        let fresh = Run::of(&lines);
        assert_eq!(stored.bytes, fresh.bytes);
        let alice = UserId::from("alice");
        assert!(stored.reaches(&alice).eq(fresh.reaches(&alice)));
        let wrong = Glimpse { payload: Bytes::from_static(&[0x1a, 0xff]), ..glimpse(&lines[0]) };
        assert!(Run::stored(&[wrong]).is_err());
    }
}
