//! Notices to the business: lines of the log in batches, sealed with HMAC-SHA256 over app, time and body.

use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::Sha256;
use switchboard_contract::{
    App, CallbackCodec, CallbackReply, CallbackStage, Error, FixedVerdict, Inbound, RawCallback, Refused, Rejection,
    Result, Timestamp, VerifiedCallback,
};

use super::codec;

/// A seal older or younger than this is stale.
const WINDOW: Duration = Duration::from_secs(600);
const APP: &str = "switchboard-app";
const TIME: &str = "switchboard-time";
const SEAL: &str = "switchboard-seal";

/// Seals notices, believes sealed ones, and decodes them.
#[derive(Clone)]
pub(super) struct Seal {
    app: String,
    key: Vec<u8>,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal").field("app", &self.app).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Notice<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

impl Seal {
    pub(super) fn new(app: &App, secret: &[u8]) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(b"notices to the business");
        Self { app: app.key.as_str().to_owned(), key: mac.finalize().into_bytes().to_vec() }
    }

    fn mac(&self, time: &str, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(format!("{}\n{time}\n", self.app).as_bytes());
        mac.update(body);
        mac
    }

    /// A notice with this body, sealed now.
    pub(super) fn notice(&self, body: Bytes, now: Timestamp) -> RawCallback {
        let time = now.0.to_string();
        let seal = hex::encode(self.mac(&time, &body).finalize().into_bytes());
        let headers = [(APP, self.app.clone()), (TIME, time), (SEAL, seal)];
        RawCallback {
            path: String::new(),
            query: String::new(),
            headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            body,
            received_at: now,
        }
    }

    fn judge(&self, raw: &RawCallback, now: Timestamp) -> Result<(), Rejection> {
        if raw.header(APP).is_some_and(|app| app != self.app) {
            return Err(Rejection::WrongApp);
        }
        let (Some(time), Some(seal)) = (raw.header(TIME), raw.header(SEAL)) else {
            return Err(Rejection::BadSignature);
        };
        let seal = hex::decode(seal).map_err(|_| Rejection::BadSignature)?;
        // In constant time.
        self.mac(time, &raw.body).verify_slice(&seal).map_err(|_| Rejection::BadSignature)?;
        let signed_at = time.parse().map(Timestamp);
        let signed_at = signed_at.map_err(|_| Rejection::Malformed(format!("{TIME} is no number")))?;
        if now.since(signed_at).max(signed_at.since(now)) > WINDOW {
            return Err(Rejection::Stale { signed_at });
        }
        Ok(())
    }
}

impl CallbackCodec for Seal {
    fn verify(&self, raw: RawCallback, now: Timestamp) -> Result<VerifiedCallback, Box<Refused>> {
        match self.judge(&raw, now) {
            Ok(()) => Ok(VerifiedCallback::assume_verified(raw, true)),
            Err(rejection) => Err(Box::new(Refused { raw, rejection })),
        }
    }

    fn decode(&self, callback: &VerifiedCallback) -> Vec<Inbound> {
        let RawCallback { body, received_at, .. } = callback.raw();
        match serde_json::from_slice::<Notice<'_>>(body) {
            Ok(notice) => {
                let event = |raw: &RawValue| codec::event(body.slice_ref(raw.get().as_bytes()), *received_at);
                notice.events.into_iter().map(event).collect()
            }
            Err(_) => vec![codec::unrecognised(body.clone(), *received_at)],
        }
    }

    fn stage(&self, _: &RawCallback) -> CallbackStage {
        CallbackStage::After
    }

    fn accepted(&self) -> CallbackReply {
        CallbackReply { status: 200, content_type: "application/json", body: Bytes::from_static(b"{}") }
    }

    fn verdict(&self, _: FixedVerdict) -> Result<CallbackReply> {
        Err(Error::unsupported("verdicts on messages the vendor holds"))
    }
}
