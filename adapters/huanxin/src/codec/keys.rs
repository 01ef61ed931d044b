//! Dedupe keys and sort keys: one table for every kind of event.
//!
//! | Event | Class | Key | Why |
//! |---|---|---|---|
//! | `chat` message, history line, roaming entry | message | `msg_id` | the vendor's id, the same in every source |
//! | `chat_offline` | offline | `msg_id/recipient` | one for each recipient of one message; they share a `callId` |
//! | recall | recall | id of the recalled message | its own `msg_id` differs between sources |
//! | message read | receipt | `read/message/reader` | a second statement adds nothing |
//! | read up to a message | receipt | `read_to/message/reader` | as above, of the conversation |
//! | delivered | receipt | `delivered/message/recipient` | as above |
//! | edit | edit | `message/count`, else `message/msg_id` | the vendor counts edits in newer callbacks |
//! | login, logout, replaced | presence | `user/device/state/time` | there is no id |
//! | group or room operation | group | `id/operation/type/time/hash of the payload` | there is no id but `callId` |
//! | older group operation (`muc`) | group | `muc/id/operation/msg_id` | it has an id of its own |
//! | contact | contact | `user/peer/operation/msg_id` | |
//! | reaction | reaction | `message/reaction/user/created or deleted/time` | one callback holds several |
//! | moderation | moderation | `message/verdict` | |
//! | pre-send request | moderation | `pre-send/msg_id` | a question; the message itself comes when it passed |
//! | offline push | push | `msg_id/recipient/status` | |
//! | anything else | unrecognised | hash of the content without `callId` and `security` | |
//!
//! `callId` is in no key: its form is documented in two ways, members of one group share it, and two rules with their
//! own secrets may report one event under two.

use serde_json::Value;
use sha2::{Digest, Sha256};
use switchboard_contract::{EventKey, KeyClass};

/// A key whose parts are joined by `/`.
pub(crate) fn joined(class: KeyClass, parts: &[&str]) -> EventKey {
    EventKey::new(class, parts.join("/"))
}

/// A hash of JSON that does not depend on the order of its fields or on blanks. Other bytes are hashed as they are.
pub(crate) fn content_hash(json: &[u8], without: &[&str]) -> String {
    let digest = match serde_json::from_slice::<Value>(json) {
        Ok(mut value) => {
            if let Some(fields) = value.as_object_mut() {
                for name in without {
                    fields.remove(*name);
                }
            }
            Sha256::digest(value.to_string())
        }
        Err(_) => Sha256::digest(json),
    };
    hex::encode(&digest[..16])
}

/// Message ids are decimal numbers of up to 64 bits that grow with time: padded, their text sorts as they do.
pub(crate) fn sort_key(id: &str) -> String {
    if !id.is_empty() && id.len() <= 20 && id.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("{id:0>20}")
    } else {
        id.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sort_keys_order_as_numbers() {
        assert!(sort_key("9") < sort_key("10"));
        assert_eq!(sort_key("1502300411223344556"), "01502300411223344556");
        assert_eq!(sort_key("18446744073709551615").len(), 20);
        assert_eq!(sort_key("abc"), "abc");
    }

    #[test]
    fn a_content_hash_sees_content_alone() {
        let one = content_hash(br#"{"a":1,"b":{"c":2,"d":3},"security":"x"}"#, &["security"]);
        assert_eq!(one, content_hash(br#"{ "security":"y", "b":{"d":3,"c":2}, "a":1 }"#, &["security"]));
        assert_ne!(one, content_hash(br#"{"a":1,"b":{"c":2,"d":4}}"#, &["security"]));
        assert_ne!(content_hash(b"not json", &[]), content_hash(b"not json!", &[]));
    }
}
