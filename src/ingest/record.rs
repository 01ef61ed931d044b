//! A callback as bytes of the inbox: compact, and readable by every later version.

use bytes::{Buf as _, Bytes};
use switchboard_contract::{App, ProviderId, RawCallback, TenantId, Timestamp};

/// The first byte of every record.
const VERSION: u8 = 1;
/// Nobody needs these to decode a callback; the first ones must not be stored at all.
const DROPPED_HEADERS: [&str; 24] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "pragma",
    "te",
    "trailer",
    "traceparent",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-forwarded-for",
    "x-real-ip",
];

/// What was decided about a callback before it was kept. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Disposition {
    /// A signature vouches for it.
    Signed = 0,
    /// Its vendor never signs this kind.
    Unsigned = 1,
    /// The signature is good and its time is not: it goes to quarantine.
    Stale = 2,
}

/// For whom a callback came.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub(super) alias: ProviderId,
    pub(super) tenant: TenantId,
    pub(super) app: App,
}

/// A callback read back from the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The [`Address`], still encoded: the same few come again and again.
    pub(super) address: Bytes,
    pub(super) disposition: Disposition,
    pub(super) raw: RawCallback,
}

impl Address {
    /// Encoded once for each provider, copied into each of its records.
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        for part in [self.alias.as_str(), self.tenant.as_str(), self.app.kind.as_str(), self.app.key.as_str()] {
            put(&mut out, part.as_bytes());
        }
        out.into()
    }

    pub(super) fn decode(mut bytes: Bytes) -> Option<Self> {
        let mut part = || text(take(&mut bytes)?);
        Some(Self { alias: part()?.into(), tenant: part()?.into(), app: App::new(part()?, part()?) })
    }
}

/// No record of this callback is longer.
pub(super) fn size_bound(address: &[u8], raw: &RawCallback) -> usize {
    let headers: usize = kept(raw).map(|(name, value)| name.len() + value.len() + 20).sum();
    60 + address.len() + raw.path.len() + raw.query.len() + headers + raw.body.len()
}

pub(super) fn encode(address: &[u8], disposition: Disposition, raw: &RawCallback, out: &mut Vec<u8>) {
    out.push(VERSION);
    out.push(disposition as u8);
    out.extend_from_slice(&raw.received_at.0.to_le_bytes());
    put(out, address);
    put(out, raw.path.as_bytes());
    put(out, raw.query.as_bytes());
    put_number(out, kept(raw).count());
    for (name, value) in kept(raw) {
        put(out, name.as_bytes());
        put(out, value.as_bytes());
    }
    put(out, &raw.body);
}

/// `None` for what no version up to this one wrote.
pub(super) fn decode(mut bytes: Bytes) -> Option<Record> {
    if bytes.try_get_u8().ok()? != VERSION {
        return None;
    }
    let disposition = match bytes.try_get_u8().ok()? {
        0 => Disposition::Signed,
        1 => Disposition::Unsigned,
        2 => Disposition::Stale,
        _ => return None,
    };
    let received_at = Timestamp(bytes.try_get_i64_le().ok()?);
    let address = take(&mut bytes)?;
    let path = text(take(&mut bytes)?)?;
    let query = text(take(&mut bytes)?)?;
    let count = number(&mut bytes)?;
    let mut headers = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        headers.push((text(take(&mut bytes)?)?, text(take(&mut bytes)?)?));
    }
    let body = take(&mut bytes)?;
    Some(Record { address, disposition, raw: RawCallback { path, query, headers, body, received_at } })
}

fn kept(raw: &RawCallback) -> impl Iterator<Item = &(String, String)> {
    raw.headers.iter().filter(|(name, _)| !DROPPED_HEADERS.contains(&name.as_str()))
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// LEB128: seven bits a byte, the lowest first.
fn put_number(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn number(bytes: &mut Bytes) -> Option<usize> {
    let mut number = 0_usize;
    for shift in (0..usize::BITS).step_by(7) {
        let byte = bytes.try_get_u8().ok()?;
        number |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn take(bytes: &mut Bytes) -> Option<Bytes> {
    let length = number(bytes)?;
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

fn text(bytes: Bytes) -> Option<String> {
    String::from_utf8(bytes.into()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_survives(
            path in ".{0,20}",
            query in ".{0,300}",
            value in ".{0,200}",
            body in proptest::collection::vec(any::<u8>(), 0..400),
            at: i64,
        ) {
            let address = Address {
                alias: "main".into(),
                tenant: "default".into(),
                app: App::new("huanxin", "org#app"),
            };
            let raw = RawCallback {
                path,
                query,
                headers: vec![("content-type".to_owned(), value)],
                body: body.into(),
                received_at: Timestamp(at),
            };
            let encoded = address.encode();
            let mut out = Vec::new();
            encode(&encoded, Disposition::Stale, &raw, &mut out);
            prop_assert!(out.len() <= size_bound(&encoded, &raw));
            let record = decode(Bytes::from(out.clone())).unwrap();
            prop_assert_eq!(Address::decode(record.address.clone()).unwrap(), address);
            prop_assert_eq!(record, Record { address: encoded, disposition: Disposition::Stale, raw });
            for cut in 0..out.len() {
                prop_assert!(decode(Bytes::copy_from_slice(&out[..cut])).is_none(), "cut at {}", cut);
            }
        }
    }

    #[test]
    fn credentials_of_a_caller_are_not_stored() {
        let raw = RawCallback {
            path: String::new(),
            query: String::new(),
            headers: vec![("authorization".to_owned(), "secret".to_owned())],
            body: Bytes::new(),
            received_at: Timestamp(0),
        };
        let mut out = Vec::new();
        encode(b"", Disposition::Signed, &raw, &mut out);
        assert_eq!(decode(out.into()).unwrap().raw.headers, Vec::new());
    }
}
