//! The name of a delivery.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use switchboard_contract::reception::{Handle, Lease, Place, Worker};
use switchboard_contract::{Error, Position, Shard, SubscriberName, TenantId};

/// Characters of a name.
const TEXT: usize = 35;

/// The name of one delivery: subscriber, shard, position, attempt and lease. Opaque to consumers, who get and give
/// back its text. A name from before a restart, or of an attempt that is over, acknowledges nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeliveryId {
    pub(super) subscriber: u32,
    pub(super) attempt: u32,
    pub(super) lease: Lease,
    pub(super) position: Position,
    pub(super) shard: Shard,
}

impl DeliveryId {
    /// The how-manieth delivery of its event, from 1, as far as remembered over a restart.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// As text: 26 bytes are 35 characters.
    pub(super) fn text(&self) -> [u8; TEXT] {
        let mut bytes = [0; 26];
        bytes[..4].copy_from_slice(&self.subscriber.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.attempt.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.lease.0.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.position.0.to_be_bytes());
        bytes[24..].copy_from_slice(&self.shard.0.to_be_bytes());
        let mut text = [0; TEXT];
        let written = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text);
        debug_assert!(written.is_ok(), "the text has the room it takes");
        text
    }

    pub(super) fn handle(&self) -> Handle {
        Handle { place: Place { shard: self.shard, position: self.position }, lease: self.lease }
    }
}

/// A short mark of a subscriber, the same after a restart: it tells a name of another subscriber.
pub(super) fn mark(tenant: &TenantId, name: &SubscriberName) -> u32 {
    let mut hasher = DefaultHasher::new();
    (tenant, name).hash(&mut hasher);
    (hasher.finish() >> 32) as u32
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for DeliveryId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bytes = read::<26>(text).ok_or_else(|| Error::invalid("id", "is not the id of a delivery"))?;
        Ok(Self {
            subscriber: u32::from_be_bytes(part(&bytes, 0)),
            attempt: u32::from_be_bytes(part(&bytes, 4)),
            lease: Lease(u64::from_be_bytes(part(&bytes, 8))),
            position: Position(u64::from_be_bytes(part(&bytes, 16))),
            shard: Shard(u16::from_be_bytes(part(&bytes, 24))),
        })
    }
}

impl Serialize for DeliveryId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeliveryId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = DeliveryId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the id of a delivery")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<DeliveryId, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// The cursor of deliveries that came together: whose they are and under which leases they went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageCursor {
    pub(super) subscriber: u32,
    pub(super) worker: Worker,
    pub(super) first: Lease,
    pub(super) last: Lease,
}

/// One batch goes out under few leases; no more can be answered at once.
const LEASES: u64 = 1024;

impl PageCursor {
    pub(super) fn leases(&self) -> impl Iterator<Item = Lease> + use<> {
        (self.first.0..=self.last.0).map(Lease)
    }
}

impl fmt::Display for PageCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 18];
        bytes[..4].copy_from_slice(&self.subscriber.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.worker.0.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.first.0.to_be_bytes());
        let more = self.last.0.saturating_sub(self.first.0).min(LEASES - 1) as u16;
        bytes[16..].copy_from_slice(&more.to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for PageCursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let damaged = || Error::invalid("cursor", "is not a cursor of a page");
        let bytes = read::<18>(text).ok_or_else(damaged)?;
        let (first, more) = (u64::from_be_bytes(part(&bytes, 8)), u64::from(u16::from_be_bytes(part(&bytes, 16))));
        let last = first.checked_add(more).filter(|_| more < LEASES).ok_or_else(damaged)?;
        Ok(Self {
            subscriber: u32::from_be_bytes(part(&bytes, 0)),
            worker: Worker(u32::from_be_bytes(part(&bytes, 4))),
            first: Lease(first),
            last: Lease(last),
        })
    }
}

fn read<const N: usize>(text: &str) -> Option<[u8; N]> {
    // Room for the longest, and for what the decoder may write in excess.
    let mut bytes = [0; 48];
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
    bytes[..length].try_into().ok()
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn names_and_cursors_survive_their_text() {
        let id = DeliveryId {
            subscriber: 7,
            attempt: 2,
            lease: Lease(u64::MAX - 3),
            position: Position(5_000_000_000),
            shard: Shard(9),
        };
        assert_eq!(id.to_string().parse::<DeliveryId>().unwrap(), id);
        assert_eq!(id.to_string().len(), 35);
        let cursor = PageCursor { subscriber: 1, worker: Worker(2), first: Lease(3), last: Lease(5) };
        assert_eq!(cursor.to_string().parse::<PageCursor>().unwrap(), cursor);
        assert_eq!(cursor.leases().collect::<Vec<_>>(), [Lease(3), Lease(4), Lease(5)]);
        let too_many = URL_SAFE_NO_PAD.encode([&[0; 16][..], &u16::MAX.to_be_bytes()].concat());
        assert!(too_many.parse::<PageCursor>().is_err());
        assert!("".parse::<DeliveryId>().is_err());
        assert!("AAAA".parse::<PageCursor>().is_err());
    }
}
