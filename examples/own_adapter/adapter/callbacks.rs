//! Notices: sealed with HMAC-SHA256 over loft, time and body, in batches.

use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use switchboard_contract::{
    CallbackCodec, CallbackReply, CallbackStage, Error, FixedVerdict, Inbound, RawCallback, Refused, Rejection, Result,
    Timestamp, VerifiedCallback,
};

use super::wire::Notice;
use super::{Pigeon, codec};

/// A seal older or younger than this is stale.
const WINDOW: Duration = Duration::from_secs(300);

impl Pigeon {
    fn judge(&self, raw: &RawCallback, now: Timestamp) -> Result<(), Rejection> {
        let loft = self.app.key.as_str();
        if raw.header("pigeon-loft").is_some_and(|named| named != loft) {
            return Err(Rejection::WrongApp);
        }
        let (Some(time), Some(seal)) = (raw.header("pigeon-time"), raw.header("pigeon-seal")) else {
            return Err(Rejection::BadSignature);
        };
        let seal = hex::decode(seal).map_err(|_| Rejection::BadSignature)?;
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(format!("{loft}.{time}.").as_bytes());
        mac.update(&raw.body);
        // In constant time.
        mac.verify_slice(&seal).map_err(|_| Rejection::BadSignature)?;
        let malformed = |_| Rejection::Malformed("pigeon-time is not a number of milliseconds".to_owned());
        let signed_at = Timestamp(time.parse().map_err(malformed)?);
        if now.since(signed_at).max(signed_at.since(now)) > WINDOW {
            return Err(Rejection::Stale { signed_at });
        }
        Ok(())
    }
}

impl CallbackCodec for Pigeon {
    fn verify(&self, raw: RawCallback, now: Timestamp) -> Result<VerifiedCallback, Box<Refused>> {
        match self.judge(&raw, now) {
            Ok(()) => Ok(VerifiedCallback::assume_verified(raw, true)),
            Err(rejection) => Err(Box::new(Refused { raw, rejection })),
        }
    }

    fn decode(&self, callback: &VerifiedCallback) -> Vec<Inbound> {
        let RawCallback { body, received_at, .. } = callback.raw();
        match serde_json::from_slice::<Notice<'_>>(body) {
            Ok(notice) => notice
                .events
                .into_iter()
                .map(|event| codec::event(body.slice_ref(event.get().as_bytes()), *received_at))
                .collect(),
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
