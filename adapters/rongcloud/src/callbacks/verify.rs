//! Whether a callback is the vendor's.
//!
//! Generations of the vendor's servers put the same four values into different places, under different names. They
//! are taken from the query, and only if no signature is there, all of them from the headers; never from the body,
//! whose `timestamp` is the message's own.

use std::borrow::Cow;
use std::time::Duration;

use secrecy::SecretString;
use subtle::{Choice, ConstantTimeEq as _};
use switchboard_contract::{AppKey, RawCallback, Rejection, Timestamp};

use crate::sign;

/// What a request claims. The time has two names, and some servers send both.
#[derive(Debug, Default)]
struct Claim<'a> {
    app_key: Option<Cow<'a, str>>,
    nonce: Option<Cow<'a, str>>,
    times: [Option<Cow<'a, str>>; 2],
    signature: Option<Cow<'a, str>>,
}

pub(super) fn check(
    raw: &RawCallback,
    app_key: &AppKey,
    secrets: &[SecretString],
    window: Duration,
    now: Timestamp,
) -> Result<(), Rejection> {
    let mut claim = from_query(&raw.query);
    if claim.signature.is_none() {
        claim = from_headers(raw);
    }
    let (Some(nonce), Some(signature)) = (&claim.nonce, &claim.signature) else {
        return Err(Rejection::BadSignature);
    };
    if claim.app_key.as_ref().is_some_and(|named| named != app_key.as_str()) {
        return Err(Rejection::WrongApp);
    }
    let mut given = [0; 20];
    // Decodes both cases, and refuses any other length.
    hex::decode_to_slice(signature.as_bytes(), &mut given).map_err(|_| Rejection::BadSignature)?;
    let mut signed_time = None;
    for time in claim.times.iter().flatten() {
        let mut good = Choice::from(0);
        for secret in secrets {
            good |= sign::digest(secret, nonce, time).ct_eq(&given);
        }
        if bool::from(good) {
            signed_time = Some(time);
        }
    }
    let time = signed_time.ok_or(Rejection::BadSignature)?;
    let signed_at = read_time(time).ok_or_else(|| Rejection::Malformed("the signed time is no number".to_owned()))?;
    let apart = now.since(signed_at).max(signed_at.since(now));
    if apart > window { Err(Rejection::Stale { signed_at }) } else { Ok(()) }
}

fn from_query(query: &str) -> Claim<'_> {
    let mut claim = Claim::default();
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        let place = match key.as_ref() {
            "appKey" => &mut claim.app_key,
            "nonce" => &mut claim.nonce,
            "timestamp" => &mut claim.times[0],
            "signTimestamp" => &mut claim.times[1],
            "signature" => &mut claim.signature,
            _ => continue,
        };
        if place.is_none() && !value.is_empty() {
            *place = Some(value);
        }
    }
    claim
}

fn from_headers(raw: &RawCallback) -> Claim<'_> {
    let header = |name: &str| raw.header(name).filter(|value| !value.is_empty()).map(Cow::Borrowed);
    if raw.header("rc-signature").is_some() {
        return Claim {
            app_key: header("rc-app-key"),
            nonce: header("rc-nonce"),
            times: [header("rc-timestamp"), None],
            signature: header("rc-signature"),
        };
    }
    Claim {
        app_key: header("app-key").or_else(|| header("appkey")),
        nonce: header("nonce"),
        times: [header("timestamp"), header("signtimestamp")],
        signature: header("signature"),
    }
}

/// Seconds or milliseconds, told apart by length: seconds have ten digits until the year 2286.
fn read_time(text: &str) -> Option<Timestamp> {
    let number: i64 = text.parse().ok()?;
    if text.len() >= 12 { Some(Timestamp(number)) } else { number.checked_mul(1000).map(Timestamp) }
}
