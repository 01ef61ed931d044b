//! Callbacks as the vendors make them, correctly signed: what the load generator posts.

use std::io::Write as _;

use md5::Md5;
use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};

/// Bytes of a callback's body: a short text message with the business's own fields.
pub(super) const BODY: usize = 674;
/// Who talks to whom: this many pairs of users.
pub(super) const CONVERSATIONS: u64 = 10_000;

/// The app of both vendors' callbacks.
pub(super) const APP: &str = "bench-im#bench";
/// The secret they are signed with.
pub(super) const SECRET: &str = "bench-callback-secret";

/// A vendor whose callbacks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Vendor {
    /// Signs `callId + secret + timestamp` inside the JSON body.
    Huanxin,
    /// Signs `secret + nonce + timestamp` in the query of a form post.
    RongCloud,
}

impl Vendor {
    pub(super) const ALL: [Self; 2] = [Self::Huanxin, Self::RongCloud];

    /// Its kind in the configuration; also the alias it has here.
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Huanxin => "huanxin",
            Self::RongCloud => "rongcloud",
        }
    }
}

/// Makes callbacks with ids that rise.
#[derive(Debug)]
pub(super) struct Callbacks {
    vendor: Vendor,
    filler: String,
    body: Vec<u8>,
}

impl Callbacks {
    pub(super) fn new(vendor: Vendor) -> Self {
        let mut this = Self { vendor, filler: String::new(), body: Vec::with_capacity(BODY) };
        this.write_body(0, 1_800_000_000_000);
        this.filler = "x".repeat(BODY.saturating_sub(this.body.len()));
        this
    }

    /// Writes the whole request for the message numbered `number`, sent `now` (milliseconds), over what is in `out`.
    pub(super) fn request(&mut self, number: u64, now: i64, out: &mut Vec<u8>) {
        self.write_body(number, now);
        out.clear();
        let alias = self.vendor.kind();
        let length = self.body.len();
        let written = match self.vendor {
            Vendor::Huanxin => write!(
                out,
                "POST /callbacks/{alias} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
                 content-length: {length}\r\n\r\n"
            ),
            Vendor::RongCloud => {
                let signature = hex::encode(Sha1::digest(format!("{SECRET}{number:018}{now}")));
                write!(
                    out,
                    "POST /callbacks/{alias}?appKey=bench-im%23bench&timestamp={now}&nonce={number:018}\
                     &signature={signature} HTTP/1.1\r\nhost: 127.0.0.1\r\n\
                     content-type: application/x-www-form-urlencoded;charset=UTF-8\r\ncontent-length: {length}\r\n\r\n"
                )
            }
        };
        debug_assert!(written.is_ok(), "memory takes everything");
        out.extend_from_slice(&self.body);
    }

    fn write_body(&mut self, number: u64, now: i64) {
        let pair = number % CONVERSATIONS;
        let (from, to) = (format!("u{:07}", pair * 2), format!("u{:07}", pair * 2 + 1));
        let filler = &self.filler;
        self.body.clear();
        let written = match self.vendor {
            Vendor::Huanxin => {
                // Nineteen digits that rise, as the vendor's own do.
                let id = 1_500_000_000_000_000_000 + number;
                let call = format!("{APP}_{id}");
                let security = hex::encode(Md5::digest(format!("{call}{SECRET}{now}")));
                write!(
                    self.body,
                    r##"{{"callId":"{call}","eventType":"chat","chat_type":"chat","from":"{from}","to":"{to}","msg_id":"{id}","content_type":"chat:user:text","payload":{{"ext":{{"trace_id":"tr-{id}"}},"bodies":[{{"msg":"{filler}","type":"txt"}}],"from":"{from}","to":"{to}","type":"chat"}},"appkey":"{APP}","host":"easemob@bench","timestamp":{now},"securityVersion":"1.0.0","security":"{security}"}}"##
                )
            }
            Vendor::RongCloud => {
                let uid = uid(number, now);
                write!(
                    self.body,
                    "fromUserId={from}&toUserId={to}&objectName=RC%3ATxtMsg&content=%7B%22content%22%3A%22{filler}%22\
                     %2C%22extra%22%3A%22order-7%22%7D&channelType=PERSON&msgTimestamp={now}&timestamp={now}\
                     &msgUID={uid}&sensitiveType=0&source=iOS&clientIp=203.0.113.20%3A52710"
                )
            }
        };
        debug_assert!(written.is_ok(), "memory takes everything");
    }
}

/// A message id in the form captured ids have: base 32 over 42 bits of time, 12 of a number, 4 of the conversation's
/// kind and 22 of its hash. The low bits carry what of `number` the others do not, so that no two are equal.
fn uid(number: u64, now: i64) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";
    let time = u128::from(now.unsigned_abs()) & ((1 << 42) - 1);
    let low = u128::from(number >> 12) & ((1 << 22) - 1);
    let mut bits = (time << 38) | (u128::from(number & 0xfff) << 26) | (1 << 22) | low;
    let mut symbols = [b'-'; 19];
    for at in (0..19).rev().filter(|at| at % 5 != 4) {
        symbols[at] = ALPHABET[(bits & 31) as usize];
        bits >>= 5;
    }
    String::from_utf8_lossy(&symbols).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn ids_have_the_form_of_captured_ones() {
        // Number, kind and hash of a captured-like id whose parts are known.
        let text = uid(17 + (118_843 << 12), 1_795_054_530_123);
        assert_eq!(text, "D1U6-B6SI-O124-3K1R");
    }

    #[test]
    fn requests_have_the_size_promised_and_a_true_length() {
        for vendor in Vendor::ALL {
            let mut callbacks = Callbacks::new(vendor);
            let mut out = Vec::new();
            for number in [0, 1, 4_095, 4_096, 9_999_999] {
                callbacks.request(number, 1_795_200_000_101, &mut out);
                let text = std::str::from_utf8(&out).unwrap();
                let (head, body) = text.split_once("\r\n\r\n").unwrap();
                assert_eq!(body.len(), BODY, "{vendor:?}");
                assert!(head.ends_with(&format!("content-length: {BODY}")));
            }
        }
    }
}
