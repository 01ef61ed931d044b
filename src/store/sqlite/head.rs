//! What a reader is given beside an event's bytes, in one value of fixed width.
//!
//! A replay reads every row: ten values of each cost it several times what the event itself does. So a row carries them
//! ready for the reader, and a run of rows is read as one value: head, event, head, event.

use bytes::{Buf as _, Bytes};
use switchboard_contract::Topic;

/// Bytes of a head.
pub(crate) const WIDTH: usize = 70;

/// Numbers and times of a row. Without a sequence, a conversation or a message stands 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) position: u64,
    pub(crate) sequence: u64,
    pub(crate) conversation: i64,
    pub(crate) app: i64,
    pub(crate) message: [u8; 16],
    pub(crate) sent_at: i64,
    pub(crate) received_at: i64,
    /// Bytes of the event behind it.
    pub(crate) length: u32,
    pub(crate) topic: Topic,
    pub(crate) late: bool,
}

impl Head {
    pub(crate) fn encode(&self) -> [u8; WIDTH] {
        let mut out = [0; WIDTH];
        out[..8].copy_from_slice(&self.position.to_le_bytes());
        out[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        out[16..24].copy_from_slice(&self.conversation.to_le_bytes());
        out[24..32].copy_from_slice(&self.app.to_le_bytes());
        out[32..48].copy_from_slice(&self.message);
        out[48..56].copy_from_slice(&self.sent_at.to_le_bytes());
        out[56..64].copy_from_slice(&self.received_at.to_le_bytes());
        out[64..68].copy_from_slice(&self.length.to_le_bytes());
        out[68] = self.topic.code();
        out[69] = u8::from(self.late);
        out
    }

    /// `None` for what [`encode`](Self::encode) never wrote.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() < WIDTH {
            return None;
        }
        let (position, sequence) = (bytes.get_u64_le(), bytes.get_u64_le());
        let (conversation, app) = (bytes.get_i64_le(), bytes.get_i64_le());
        let mut message = [0; 16];
        bytes.copy_to_slice(&mut message);
        let (sent_at, received_at, length) = (bytes.get_i64_le(), bytes.get_i64_le(), bytes.get_u32_le());
        let (topic, late) = (Topic::from_code(bytes.get_u8())?, bytes.get_u8() == 1);
        Some(Self { position, sequence, conversation, app, message, sent_at, received_at, length, topic, late })
    }
}

/// A row, as far as a reader needs it.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) head: Head,
    pub(super) json: Bytes,
}

/// Takes a run of rows apart. `None` when it is no such run.
pub(super) fn frames(mut run: Bytes) -> Option<Vec<Frame>> {
    let mut frames = Vec::new();
    let mut last = 0;
    while !run.is_empty() {
        let head = Head::decode(&run)?;
        run.advance(WIDTH);
        let length = head.length as usize;
        // A run is in order; rows that changed places would be delivered wrongly.
        if run.len() < length || head.position <= last {
            return None;
        }
        last = head.position;
        frames.push(Frame { head, json: run.split_to(length) });
    }
    Some(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(position: u64, length: u32) -> Head {
        Head {
            position,
            sequence: 7,
            conversation: 8,
            app: 9,
            message: [1; 16],
            sent_at: -5,
            received_at: 6,
            length,
            topic: Topic::Messages,
            late: true,
        }
    }

    #[test]
    fn a_run_is_taken_apart_as_it_was_put_together() {
        let run: Vec<u8> =
            [&head(1, 3).encode()[..], b"one", &head(2, 0).encode(), &head(5, 5).encode(), b"three"].concat();
        let found = frames(run.clone().into()).unwrap_or_default();
        assert_eq!(found.iter().map(|frame| frame.head).collect::<Vec<_>>(), [head(1, 3), head(2, 0), head(5, 5)]);
        assert_eq!(found.iter().map(|frame| &frame.json[..]).collect::<Vec<_>>(), [&b"one"[..], b"", b"three"]);
        for cut in 1..run.len() {
            let whole = [WIDTH + 3, 2 * WIDTH + 3].contains(&cut);
            assert_eq!(frames(Bytes::copy_from_slice(&run[..cut])).is_some(), whole, "cut at {cut}");
        }
        assert!(frames([head(2, 0).encode(), head(1, 0).encode()].concat().into()).is_none(), "out of order");
    }
}
