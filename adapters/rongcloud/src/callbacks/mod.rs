//! The vendor's callbacks: verify, decode, answer.
//!
//! Which family a request belongs to is read from its content, so one address can be entered for all of them in the
//! vendor's console. The pre-send hook alone is told by its path, because it wants another answer than the rest: enter
//! `…/callbacks/{provider}/pre-send` for it (the last part is a setting).
//!
//! # Keys
//!
//! | What | Class | Key |
//! |---|---|---|
//! | message (routing, bot webhook, log, query) | message | `msgUID` |
//! | recall (`RC:RcCmd` anywhere, operation callback, our own) | recall | id of the recalled message |
//! | edit (`originalMsgUID`) | edit | original id `/` `msgUID` |
//! | read statement (`RC:ReadNtf`) | receipt | `read/` message id or time `/` reader |
//! | online status | presence | `userid/sessionId/status/time` |
//! | room status | group | `room/` `chatRoomId/type/status/time/` users |
//! | hosted group operation | group | `hosted/` `groupId/eventType/time/optUserId/` users |
//! | hosted info audit | group | `info/` `targetGroupId/eventType/time/optUserId` |
//! | audit result | moderation | `msgUID/serviceProvider/result` |
//! | pre-send request | moderation | `pre-send/` `messageId` |
//! | anything else | unrecognised | SHA-256 of its bytes |

mod batch;
mod events;
mod verify;

use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;
use switchboard_contract::{
    AppKey, CallbackCodec, CallbackReply, CallbackStage, Clues, Error, EventKey, FixedVerdict, Inbound, InboundData,
    KeyClass, RawCallback, Refused, Timestamp, VendorUserId, VerifiedCallback,
};

use crate::codec::{Channel, Codec, Record, unrecognised};
use crate::wire::form::{PreSendForm, RouteForm};

/// Verifies and decodes RongCloud's callbacks.
#[derive(Debug)]
pub(crate) struct RongCloudCallbacks {
    pub(crate) app_key: AppKey,
    /// The present secret and former ones that may still be in use.
    pub(crate) secrets: Vec<SecretString>,
    /// How far the signed time may be from ours.
    pub(crate) window: Duration,
    pub(crate) pre_send_path: String,
    pub(crate) codec: Codec,
}

impl CallbackCodec for RongCloudCallbacks {
    fn verify(&self, raw: RawCallback, now: Timestamp) -> Result<VerifiedCallback, Box<Refused>> {
        match verify::check(&raw, &self.app_key, &self.secrets, self.window, now) {
            Ok(()) => Ok(VerifiedCallback::assume_verified(raw, true)),
            Err(rejection) => Err(Box::new(Refused { raw, rejection })),
        }
    }

    fn decode(&self, callback: &VerifiedCallback) -> Vec<Inbound> {
        let raw = callback.raw();
        let first = raw.body.iter().find(|byte| !byte.is_ascii_whitespace());
        match first {
            Some(b'{' | b'[') => batch::decode(raw, &self.codec),
            _ if self.stage(raw) == CallbackStage::Before => vec![pre_send(raw)],
            _ => vec![self.form(raw)],
        }
    }

    fn stage(&self, callback: &RawCallback) -> CallbackStage {
        if callback.path.trim_matches('/') == self.pre_send_path { CallbackStage::Before } else { CallbackStage::After }
    }

    fn accepted(&self) -> CallbackReply {
        // The vendor looks at the status alone.
        CallbackReply { status: 200, content_type: "application/json", body: Bytes::from_static(br#"{"code":200}"#) }
    }

    fn verdict(&self, verdict: FixedVerdict) -> Result<CallbackReply, Error> {
        let body: &'static [u8] = match verdict {
            FixedVerdict::Pass => br#"{"pass":1}"#,
            FixedVerdict::Reject => br#"{"pass":0}"#,
        };
        Ok(CallbackReply { status: 200, content_type: "application/json", body: Bytes::from_static(body) })
    }
}

impl RongCloudCallbacks {
    fn form(&self, raw: &RawCallback) -> Inbound {
        let form = RouteForm::parse(&raw.body);
        if let Some(inbound) = self.route(&form, raw) {
            return inbound;
        }
        let held = PreSendForm::parse(&raw.body);
        if held.id.is_some() && held.object_name.is_some() {
            // Entered at the wrong address in the console: it was answered as a notice, and the vendor let it pass.
            return pre_send(raw);
        }
        unrecognised(form_kind(raw), raw.body.clone(), raw.received_at)
    }

    /// `None` when a field is missing without which it is no message, or the kind of conversation is new to us.
    fn route(&self, form: &RouteForm<'_>, raw: &RawCallback) -> Option<Inbound> {
        let from = form.from.as_deref()?;
        let channel = Channel::from_text(form.channel_type.as_deref()?)?;
        Some(self.codec.inbound(Record {
            place: channel.place(from, form.target.as_deref()?, form.bus_channel.as_deref()),
            from,
            object_name: form.object_name.as_deref()?,
            content: form.content.as_deref().unwrap_or_default(),
            uid: form.uid.as_deref()?,
            original_uid: form.original_uid.as_deref().unwrap_or_default(),
            sent_at: Timestamp(form.sent_at.as_deref()?.trim().parse().ok()?),
            audience: form.audience.iter().map(|user| VendorUserId::from(user.as_ref())).collect(),
            raw: raw.body.clone(),
        }))
    }
}

fn form_kind(raw: &RawCallback) -> String {
    let path = raw.path.trim_matches('/');
    if path.is_empty() { "form".to_owned() } else { path.to_owned() }
}

/// A question about a message, not the message: if it passes, its routing callback brings it under the same id.
fn pre_send(raw: &RawCallback) -> Inbound {
    let form = PreSendForm::parse(&raw.body);
    let (Some(id), Some(from), Some(target), Some(channel)) = (
        form.id.as_deref(),
        form.from.as_deref(),
        form.target.as_deref(),
        form.channel_type.as_deref().and_then(Channel::from_text),
    ) else {
        return unrecognised("pre-send", raw.body.clone(), raw.received_at);
    };
    let audience: Vec<&str> =
        form.audience.as_deref().unwrap_or_default().split(',').filter(|user| !user.is_empty()).collect();
    let detail = serde_json::json!({
        "stage": "pre_send",
        "from": from,
        "object_name": form.object_name.as_deref(),
        "audience": audience,
        "platform": form.os.as_deref().map(str::to_ascii_lowercase),
        "edits": form.original_uid.as_deref(),
    });
    Inbound {
        key: EventKey::new(KeyClass::Moderation, format!("pre-send/{id}")),
        place: channel.place(from, target, form.bus_channel.as_deref()),
        sent_at: form.sent_at.as_deref().and_then(|text| text.parse().ok()).map_or(raw.received_at, Timestamp),
        sort_key: id.to_owned(),
        data: InboundData::Moderation { target: id.into(), verdict: "requested".to_owned(), detail },
        mark: None,
        clues: Clues::default(),
        raw: raw.body.clone(),
    }
}
