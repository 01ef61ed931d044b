//! The vendor's request signature: `hex(sha1(AppSecret + Nonce + Timestamp))`, the same for both directions.
//!
//! The body, the path and the query are not covered, so this module never sees them.

use std::collections::HashMap;

use http::HeaderMap;
use sha1::{Digest, Sha1};

use super::{
    reply::Refusal,
    settings::{RongCloudSettings, StrictSigning},
};

/// The lowercase hexadecimal signature over the literal texts of nonce and timestamp.
pub(crate) fn signature(app_secret: &str, nonce: &str, timestamp: &str) -> String {
    let mut digest = Sha1::new();
    digest.update(app_secret.as_bytes());
    digest.update(nonce.as_bytes());
    digest.update(timestamp.as_bytes());
    hex::encode(digest.finalize())
}

/// Remembers nonces for the opt-in replay check.
#[derive(Debug, Default)]
pub(crate) struct NonceLog {
    seen: HashMap<String, i64>,
}

impl NonceLog {
    /// Notes a nonce; `false` when it was already used within `window_ms`.
    fn note(&mut self, nonce: &str, now_ms: i64, window_ms: i64) -> bool {
        self.seen.retain(|_, at| now_ms - *at <= window_ms);
        self.seen.insert(nonce.to_owned(), now_ms).is_none()
    }
}

/// Checks the four signing headers of a Server API request.
///
/// The real service accepts seconds and milliseconds and cannot be strict about age or repeated nonces, since an official
/// SDK signs once per process; both checks exist only as an opt-in.
///
/// # Errors
/// 401 with 1001 for an unknown or absent app key, 401 with 1004 for everything else that does not verify.
pub(crate) fn check(
    headers: &HeaderMap,
    app_key: &str,
    app_secret: &str,
    settings: &RongCloudSettings,
    nonces: &mut NonceLog,
    now_ms: i64,
) -> Result<(), Refusal> {
    if header(headers, "app-key") != Some(app_key) {
        return Err(Refusal::unknown_app_key());
    }
    let (Some(nonce), Some(timestamp), Some(given)) =
        (header(headers, "nonce"), header(headers, "timestamp"), header(headers, "signature"))
    else {
        return Err(Refusal::bad_signature());
    };
    if !signature(app_secret, nonce, timestamp).eq_ignore_ascii_case(given) {
        return Err(Refusal::bad_signature());
    }
    match settings.strict_signing {
        Some(strict) => check_strict(strict, nonce, timestamp, nonces, now_ms),
        None => Ok(()),
    }
}

fn check_strict(
    strict: StrictSigning,
    nonce: &str,
    timestamp: &str,
    nonces: &mut NonceLog,
    now_ms: i64,
) -> Result<(), Refusal> {
    let window_ms = i64::try_from(strict.window_ms).unwrap_or(i64::MAX);
    let signed_ms = timestamp_ms(timestamp).ok_or_else(Refusal::bad_signature)?;
    if (now_ms - signed_ms).abs() > window_ms {
        return Err(Refusal::bad_signature());
    }
    if strict.refuse_repeated_nonce && !nonces.note(nonce, now_ms, window_ms) {
        return Err(Refusal::bad_signature());
    }
    Ok(())
}

/// Seconds have ten digits until the year 2286, milliseconds thirteen.
fn timestamp_ms(text: &str) -> Option<i64> {
    let number: i64 = text.parse().ok()?;
    if text.len() <= 11 { number.checked_mul(1000) } else { Some(number) }
}

/// Header names are case-insensitive and may carry the prefix `RC-`.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get(name).or_else(|| headers.get(format!("rc-{name}")))?;
    value.to_str().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use http::HeaderMap;
    use serde_json::Value;

    use super::{NonceLog, check, signature};
    use crate::rongcloud::settings::{RongCloudSettings, StrictSigning};

    const NOW: i64 = 1_795_054_530_123;

    fn headers(names: [&'static str; 4], values: [&str; 4]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in names.into_iter().zip(values) {
            map.insert(name, value.parse().unwrap());
        }
        map
    }

    fn signed(timestamp: &str) -> HeaderMap {
        let signature = signature("secret", "77", timestamp);
        headers(["app-key", "nonce", "timestamp", "signature"], ["key", "77", timestamp, &signature])
    }

    #[test]
    fn vendor_vectors_verify() {
        let vectors: Vec<Value> =
            serde_json::from_str(include_str!("../../fixtures/rongcloud/rest_signature_vectors.json")).unwrap();
        assert_eq!(vectors.len(), 5);
        for vector in vectors {
            let field = |name: &str| vector[name].as_str().unwrap();
            assert_eq!(
                signature(field("app_secret"), field("nonce"), field("timestamp")),
                field("signature"),
                "{}",
                field("name")
            );
        }
    }

    #[test]
    fn prefixed_header_names_are_accepted() {
        let given = signature("secret", "77", "1795054530");
        let map =
            headers(["rc-app-key", "rc-nonce", "rc-timestamp", "rc-signature"], ["key", "77", "1795054530", &given]);
        check(&map, "key", "secret", &RongCloudSettings::default(), &mut NonceLog::default(), NOW).unwrap();
    }

    #[test]
    fn unknown_key_and_wrong_signature_have_their_own_codes() {
        let settings = RongCloudSettings::default();
        let mut nonces = NonceLog::default();
        let refusal = check(&signed("1795054530"), "other", "secret", &settings, &mut nonces, NOW).unwrap_err();
        assert_eq!((refusal.http, refusal.code), (401, 1001));
        let refusal = check(&signed("1795054530"), "key", "other", &settings, &mut nonces, NOW).unwrap_err();
        assert_eq!((refusal.http, refusal.code), (401, 1004));
        let mut map = signed("1795054530");
        map.remove("nonce");
        let refusal = check(&map, "key", "secret", &settings, &mut nonces, NOW).unwrap_err();
        assert_eq!((refusal.http, refusal.code), (401, 1004));
    }

    #[test]
    fn age_and_repeated_nonce_matter_only_in_strict_mode() {
        let lenient = RongCloudSettings::default();
        let mut nonces = NonceLog::default();
        for _ in 0..2 {
            check(&signed("1408710653000"), "key", "secret", &lenient, &mut nonces, NOW).unwrap();
        }
        let strict = RongCloudSettings {
            strict_signing: Some(StrictSigning { window_ms: 60_000, refuse_repeated_nonce: true }),
            ..RongCloudSettings::default()
        };
        assert!(check(&signed("1408710653000"), "key", "secret", &strict, &mut nonces, NOW).is_err());
        check(&signed("1795054530"), "key", "secret", &strict, &mut nonces, NOW).unwrap();
        assert!(check(&signed("1795054530123"), "key", "secret", &strict, &mut nonces, NOW).is_err());
    }
}
