//! What a line of a history file holds, told without decoding it.

use switchboard_contract::{Glance, Timestamp};

use super::item::is_message;
use crate::wire::{Outline, object};

/// The message of a line that is one at first sight: its content is not looked at.
pub(crate) fn glance(line: &[u8]) -> Option<Glance<'_>> {
    let outline: Outline<'_> = object(line).ok()?;
    let chat = matches!(outline.chat_type.as_deref(), Some("chat" | "group" | "groupchat" | "chatroom"));
    let other = outline.event.is_some() || outline.step.is_some();
    if !chat || other || !outline.event_type.as_deref().is_none_or(is_message) {
        return None;
    }
    Some(Glance { id: outline.msg_id?.0, sent_at: Timestamp(outline.timestamp?.0) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use bytes::Bytes;
    use switchboard_contract::{EventKey, KeyClass};

    use super::*;
    use crate::codec::{ItemCodec, Reserved, Source};

    const FILE: &str = include_str!("../../fixtures/history_file_sample.jsonl");

    fn decoded(line: &str) -> Vec<(EventKey, Timestamp)> {
        let reserved = Reserved { mark: "mark".to_owned(), mentions: "mentions".to_owned() };
        let codec = ItemCodec::new("acme#im", reserved);
        let events = codec.decode(&Bytes::copy_from_slice(line.as_bytes()), Source::Record, Timestamp(7));
        events.into_iter().map(|event| (event.key, event.sent_at)).collect()
    }

    #[test]
    fn a_glance_says_what_the_decoder_says() {
        let mut told = 0;
        for line in FILE.lines() {
            let Some(seen) = glance(line.as_bytes()) else { continue };
            assert_eq!(decoded(line), [(EventKey::new(KeyClass::Message, seen.id), seen.sent_at)], "{line}");
            told += 1;
        }
        assert!(told > 0, "no line of the published file is a message at first sight");
    }

    #[test]
    fn what_is_not_a_message_at_first_sight_is_left_to_the_decoder() {
        let line = r#"{"msg_id":"5","timestamp":1,"chat_type":"chat","from":"a","to":"b","payload":{}}"#;
        assert!(glance(line.as_bytes()).is_some());
        for other in [
            line.replace(r#""chat_type":"chat""#, r#""chat_type":"recall""#),
            line.replace(r#""timestamp":1"#, r#""eventType":"chat_offline","timestamp":1"#),
            line.replace(r#""timestamp":1"#, r#""eventType":"moderation","timestamp":1"#),
            line.replace(r#""timestamp":1"#, r#""event":"group_op_event","timestamp":1"#),
            line.replace(r#""timestamp":1"#, r#""step":"offline","timestamp":1"#),
            line.replace(r#""timestamp":1,"#, ""),
            line.replace(r#""msg_id":"5","#, ""),
            line.replace('{', "["),
        ] {
            assert_eq!(glance(other.as_bytes()), None, "{other}");
        }
    }
}
