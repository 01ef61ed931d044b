//! The vendor's callbacks: verified over their raw bytes, decoded, answered.
//!
//! The signature covers call id and time, not the body (REST/callback_overview): whoever saw one callback can put any
//! payload under it. Use HTTPS, and a path nobody can guess.

use bytes::Bytes;
use secrecy::SecretString;
use serde::Serialize;
use switchboard_contract::{
    CallbackCodec, CallbackReply, CallbackStage, Error, FixedVerdict, Inbound, RawCallback, Refused, Rejection,
    Timestamp, VerifiedCallback,
};

use super::about::may_lack_signature;
use super::item::{ItemCodec, Source};
use crate::config::{CallbackConfig, UnsignedPolicy};
use crate::sign::callback_is_signed;
use crate::wire::{Probe, StageProbe, object};

/// Verifies and decodes the callbacks of one app.
#[derive(Clone, Debug)]
pub(crate) struct HuanxinCallbacks {
    app_key: String,
    secrets: Vec<SecretString>,
    config: CallbackConfig,
    items: ItemCodec,
}

/// The reply to a pre-send request (REST/callback_presending).
#[derive(Serialize)]
struct Verdict<'a> {
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
}

impl HuanxinCallbacks {
    pub(crate) fn new(app_key: &str, secrets: &[SecretString], config: CallbackConfig, items: ItemCodec) -> Self {
        Self { app_key: app_key.to_owned(), secrets: secrets.to_vec(), config, items }
    }

    fn check(&self, body: &[u8], now: Timestamp) -> Result<bool, Rejection> {
        let malformed = |why: &str| Rejection::Malformed(why.to_owned());
        let probe: Probe<'_> = object(body).map_err(|_| malformed("body: not a JSON object of text fields"))?;
        if probe.appkey.as_deref().is_some_and(|app_key| app_key != self.app_key) {
            return Err(Rejection::WrongApp);
        }
        let unsigned_kind = may_lack_signature(probe.chat_type.as_deref(), probe.step.as_deref());
        let signed = match (&probe.security, &probe.call_id) {
            (Some(security), Some(call_id)) => {
                let time = probe.timestamp.as_deref().ok_or_else(|| malformed("timestamp: missing"))?;
                if !callback_is_signed(&self.secrets, call_id, time, security) {
                    return Err(Rejection::BadSignature);
                }
                true
            }
            (None, _) if unsigned_kind && self.config.unsigned == UnsignedPolicy::Accept => false,
            _ => return Err(Rejection::BadSignature),
        };
        let time = probe.timestamp.as_deref().ok_or_else(|| malformed("timestamp: missing"))?;
        let signed_at = Timestamp(time.parse().map_err(|_| malformed("timestamp: not a whole number"))?);
        let ahead = signed_at > now + self.config.max_ahead;
        let old = self.config.max_age.is_some_and(|age| signed_at < now - age);
        if ahead || old { Err(Rejection::Stale { signed_at }) } else { Ok(signed) }
    }
}

fn json(status: u16, body: Bytes) -> CallbackReply {
    CallbackReply { status, content_type: "application/json", body }
}

impl CallbackCodec for HuanxinCallbacks {
    fn verify(&self, raw: RawCallback, now: Timestamp) -> Result<VerifiedCallback, Box<Refused>> {
        match self.check(&raw.body, now) {
            Ok(signed) => Ok(VerifiedCallback::assume_verified(raw, signed)),
            Err(rejection) => Err(Box::new(Refused { raw, rejection })),
        }
    }

    fn decode(&self, callback: &VerifiedCallback) -> Vec<Inbound> {
        let raw = callback.raw();
        self.items.decode(&raw.body, Source::Callback, raw.received_at)
    }

    /// A pre-send request has no `eventType` and none of the marks of the other events without one.
    fn stage(&self, callback: &RawCallback) -> CallbackStage {
        let Ok(probe) = object::<StageProbe<'_>>(&callback.body) else { return CallbackStage::After };
        let bare =
            probe.event_type.is_none() && probe.event.is_none() && probe.status.is_none() && probe.step.is_none();
        let chat = matches!(probe.chat_type.as_deref(), Some("chat" | "group" | "groupchat" | "chatroom"));
        if bare && chat && probe.payload.is_some() { CallbackStage::Before } else { CallbackStage::After }
    }

    /// Only status 200 counts as success; the body is ignored and must stay below 1,000 characters.
    fn accepted(&self) -> CallbackReply {
        json(200, Bytes::from_static(b"{}"))
    }

    fn verdict(&self, verdict: FixedVerdict) -> Result<CallbackReply, Error> {
        let reply = match verdict {
            FixedVerdict::Pass => Verdict { valid: true, code: None },
            FixedVerdict::Reject => Verdict { valid: false, code: self.config.reject_code.as_deref() },
        };
        let body = serde_json::to_vec(&reply).map_err(|error| {
            Error::new(switchboard_contract::ErrorKind::Internal, "a verdict could not be written").with_source(error)
        })?;
        Ok(json(200, Bytes::from(body)))
    }
}
