//! Messages as the client's protobuf shows them, live and in its roaming call.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;

use super::super::model::{ChatType, Message};
use super::content::{from_body, from_ext};
use super::wire::{self, Body, Jid, Meta};

/// The domain of users' addresses.
pub(crate) const DIRECT_DOMAIN: &str = "easemob.com";
/// The domain of groups' and rooms' addresses.
pub(crate) const GROUP_DOMAIN: &str = "conference.easemob.com";

/// The name under which a user, group or room is addressed.
pub(super) fn jid(app_key: &str, name: &str, group: bool) -> Jid {
    let domain = if group { GROUP_DOMAIN } else { DIRECT_DOMAIN };
    Jid {
        app_key: Some(app_key.to_owned()),
        name: Some(name.to_owned()),
        domain: Some(domain.to_owned()),
        resource: None,
    }
}

pub(super) fn meta(app_key: &str, message: &Message) -> Meta {
    let kind = match message.kind {
        ChatType::Chat => wire::CHAT,
        ChatType::GroupChat => wire::GROUP_CHAT,
        ChatType::ChatRoom => wire::CHAT_ROOM,
    };
    let from = Some(jid(app_key, &message.from, false));
    let to = Some(jid(app_key, &message.to, message.kind != ChatType::Chat));
    let body = Body {
        kind: Some(kind),
        from: from.clone(),
        to: to.clone(),
        contents: vec![from_body(&message.body)],
        ext: from_ext(&message.ext),
        ack_message_id: None,
        config: None,
    };
    Meta {
        id: Some(message.id),
        from,
        to,
        timestamp: u64::try_from(message.time_ms).ok(),
        ns: Some(wire::NS_CHAT),
        payload: Some(body.encode_to_vec()),
        directed_users: Vec::new(),
    }
}

/// A message as the roaming call of clients carries it.
pub(crate) fn encoded(app_key: &str, message: &Message) -> String {
    STANDARD.encode(meta(app_key, message).encode_to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::super::super::messages::{Draft, Options};
    use super::*;
    use crate::common::Source;

    /// The fixture's protobuf, byte for byte.
    #[test]
    fn the_sample_message_is_encoded_as_the_sdk_reads_it() {
        let fixture = include_str!("../../../fixtures/huanxin/client_web_messageroaming_response.json");
        let fixture: Value = serde_json::from_str(fixture).unwrap();
        let expected = STANDARD.decode(fixture["data"]["msgs"][0]["msg"].as_str().unwrap()).unwrap();
        let expected = Meta::decode(&expected[..]).unwrap();
        let body = Body::decode(&expected.payload.clone().unwrap()[..]).unwrap();
        let draft = Draft {
            from: "wei.chen".into(),
            to: "lin_qiao".into(),
            kind: ChatType::Chat,
            audience: None,
            body: Arc::new(json!({ "type": "txt", "msg": body.contents[0].text })),
            ext: Arc::new(Value::Null),
            source: Source::Client,
            options: Options::default(),
        };
        let time_ms = i64::try_from(expected.timestamp.unwrap()).unwrap();
        let (message, _) = draft.into_message(expected.id.unwrap(), time_ms);
        assert_eq!(meta("acme-im#bridge", &message), expected);
    }
}
