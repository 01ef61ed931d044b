//! Message ids as the vendor appears to make them.
//!
//! Nothing the vendor publishes says how a `messageUID` is built; the layout here is derived from captured samples whose
//! send time is known: base 32 over 80 bits, holding 42 bits of server time, 12 bits of sequence, 4 bits of
//! conversation type and 22 bits of conversation hash. Receivers must treat the text as opaque.

use sha1::{Digest, Sha1};

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";
const SEQUENCE_BITS: u32 = 12;
const KIND_BITS: u32 = 4;
const HASH_BITS: u32 = 22;
const SYMBOLS: usize = 16;

/// The four numbers inside a `messageUID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UidParts {
    /// Server time in Unix milliseconds.
    pub(crate) time_ms: i64,
    /// Position within that millisecond, 0–4095.
    pub(crate) sequence: u16,
    /// Low four bits of the conversation type.
    pub(crate) kind: u8,
    /// 22-bit hash of the conversation.
    pub(crate) hash: u32,
}

impl UidParts {
    /// The text form, `XXXX-XXXX-XXXX-XXXX`.
    pub(crate) fn encode(self) -> String {
        let time = u128::from(self.time_ms.max(0).unsigned_abs()) & ((1 << 42) - 1);
        let mut bits = (time << (SEQUENCE_BITS + KIND_BITS + HASH_BITS))
            | (u128::from(self.sequence & 0xfff) << (KIND_BITS + HASH_BITS))
            | (u128::from(self.kind & 0xf) << HASH_BITS)
            | u128::from(self.hash & ((1 << HASH_BITS) - 1));
        let mut symbols = [0_u8; SYMBOLS];
        for symbol in symbols.iter_mut().rev() {
            *symbol = ALPHABET[usize::from((bits & 31) as u8)];
            bits >>= 5;
        }
        let mut text = String::with_capacity(SYMBOLS + 3);
        for (index, symbol) in symbols.iter().enumerate() {
            if index > 0 && index % 4 == 0 {
                text.push('-');
            }
            text.push(char::from(*symbol));
        }
        text
    }

    /// Reads the text form; `None` when it is not sixteen symbols of the alphabet.
    #[cfg(test)]
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let mut bits = 0_u128;
        let mut count = 0;
        for symbol in text.bytes().filter(|byte| *byte != b'-') {
            let value = ALPHABET.iter().position(|candidate| *candidate == symbol)?;
            bits = (bits << 5) | value as u128;
            count += 1;
        }
        (count == SYMBOLS).then_some(Self {
            time_ms: (bits >> (SEQUENCE_BITS + KIND_BITS + HASH_BITS)) as i64,
            sequence: ((bits >> (KIND_BITS + HASH_BITS)) & 0xfff) as u16,
            kind: ((bits >> HASH_BITS) & 0xf) as u8,
            hash: (bits & ((1 << HASH_BITS) - 1)) as u32,
        })
    }
}

/// Hands out ids that strictly increase, also when the clock stands still or steps back.
#[derive(Debug, Default)]
pub(crate) struct UidGenerator {
    last_ms: i64,
    sequence: u16,
}

impl UidGenerator {
    /// The next id for a conversation, with the server time it carries. That time is the message's time: it never runs
    /// behind an earlier message's and may run ahead of the clock by the milliseconds that more than 4096 messages in
    /// one millisecond need.
    pub(crate) fn next(&mut self, now_ms: i64, kind: u8, conversation: &str) -> (String, i64) {
        if now_ms > self.last_ms {
            self.last_ms = now_ms;
            self.sequence = 0;
        } else if self.sequence == 0xfff {
            self.last_ms += 1;
            self.sequence = 0;
        } else {
            self.sequence += 1;
        }
        let parts =
            UidParts { time_ms: self.last_ms, sequence: self.sequence, kind, hash: conversation_hash(conversation) };
        (parts.encode(), self.last_ms)
    }
}

fn conversation_hash(conversation: &str) -> u32 {
    let digest = Sha1::digest(conversation.as_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) & ((1 << HASH_BITS) - 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::Value;

    use super::{UidGenerator, UidParts};

    #[test]
    fn published_and_constructed_ids_decode_to_their_known_time() {
        let vectors: Vec<Value> =
            serde_json::from_str(include_str!("../../fixtures/rongcloud/message_uid_vectors.json")).unwrap();
        assert_eq!(vectors.len(), 5);
        for vector in vectors {
            let text = vector["messageUID"].as_str().unwrap();
            let parts = UidParts::decode(text).unwrap();
            assert_eq!(Some(parts.time_ms), vector["time_ms"].as_i64(), "{text}");
            if let Some(kind) = vector["conversation_type"].as_u64() {
                assert_eq!(u64::from(parts.kind), kind, "{text}");
            }
            if let Some(sequence) = vector["seq"].as_u64() {
                assert_eq!(u64::from(parts.sequence), sequence, "{text}");
                assert_eq!(Some(u64::from(parts.hash)), vector["conversation_hash"].as_u64());
            }
            assert_eq!(parts.encode(), text);
        }
    }

    #[test]
    fn ids_increase_when_the_clock_stands_still_or_steps_back() {
        let mut generator = UidGenerator::default();
        let mut previous = generator.next(1_795_054_530_123, 1, "a|b");
        for step in 0..20_000_i64 {
            let now = 1_795_054_530_123 - step % 7;
            let next = generator.next(now, 1, "a|b");
            assert!(next.0 > previous.0, "{next:?} after {previous:?}");
            assert!(next.1 >= previous.1);
            previous = next;
        }
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        assert_eq!(UidParts::decode("D1U6-B6SI"), None);
        assert_eq!(UidParts::decode("D1U6-B6SI-O124-3K1Z"), None);
    }
}
