//! A line on its way to devices: encoded once, shared by everybody who gets it.

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint};
use switchboard_contract::storage::{Line, LineKind};
use switchboard_contract::{ConversationId, Position, Sequence, UserId};

use crate::frame::{Command, Kind, Packet};

/// A line for devices.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) position: Position,
    pub(crate) sequence: Option<Sequence>,
    pub(crate) conversation: Option<ConversationId>,
    pub(crate) kind: LineKind,
    pub(crate) by: UserId,
    /// The DELIVER packet. Its body is the entry.
    pub(crate) packet: Packet,
}

impl Item {
    pub(crate) fn of(line: &Line) -> Self {
        let body = entry_bytes(&line.payload, line.position, line.sequence);
        Self {
            position: line.position,
            sequence: line.sequence,
            conversation: line.conversation.clone(),
            kind: line.kind,
            by: line.by.clone(),
            packet: Packet::new(Kind::Notify, Command::Deliver, line.position.0, body),
        }
    }
}

/// An entry as it is sent: what is stored knows neither position nor sequence, and fields may follow in any order.
pub(crate) fn entry_bytes(payload: &[u8], position: Position, sequence: Option<Sequence>) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + 22);
    out.put_slice(payload);
    encode_key(1, WireType::Varint, &mut out);
    encode_varint(position.0, &mut out);
    if let Some(Sequence(number)) = sequence {
        encode_key(2, WireType::Varint, &mut out);
        encode_varint(number, &mut out);
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use prost::Message as _;

    use super::*;
    use crate::proto;

    #[test]
    fn position_and_sequence_join_what_is_stored() {
        let stored = proto::Entry { id: "x".to_owned(), at: 7, ..Default::default() };
        let bytes = entry_bytes(&stored.encode_to_vec(), Position(300), Some(Sequence(2)));
        let read = proto::Entry::decode(bytes).unwrap();
        assert_eq!(read, proto::Entry { position: 300, sequence: 2, ..stored });
    }
}
