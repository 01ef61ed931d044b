//! The signature that RongCloud uses in both directions.
//!
//! It covers the secret, a nonce and a time, and nothing else: neither body nor path nor query. What arrives with a
//! good signature is therefore only as trustworthy as the way it came.
//!
//! Vendor document: docs.rongcloud.cn, `im/server/signature`.

use std::fmt;

use async_trait::async_trait;
use rand::Rng as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};
use std::sync::Arc;
use switchboard_contract::{Clock, Error, ErrorKind, Result, Timestamp};
use switchboard_outbound::{HeaderMap, HeaderName, HeaderValue, Signer, VendorCall};

/// The unit of the time in a signed request. The vendor's pages say milliseconds, every official SDK sends seconds,
/// and the service takes both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// As the official SDKs do.
    #[default]
    Seconds,
    /// As the documentation says.
    Milliseconds,
}

/// How the four headers of a signed request are spelled; the service knows both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeaderNames {
    /// `App-Key`, `Nonce`, `Timestamp`, `Signature`.
    #[default]
    Plain,
    /// `RC-App-Key`, `RC-Nonce`, `RC-Timestamp`, `RC-Signature`.
    Prefixed,
}

impl HeaderNames {
    /// App key, nonce, time, signature.
    const fn names(self) -> [&'static str; 4] {
        match self {
            Self::Plain => ["app-key", "nonce", "timestamp", "signature"],
            Self::Prefixed => ["rc-app-key", "rc-nonce", "rc-timestamp", "rc-signature"],
        }
    }
}

/// The 20 bytes of `SHA1(secret + nonce + time)`.
pub(crate) fn digest(secret: &SecretString, nonce: &str, time: &str) -> [u8; 20] {
    Sha1::new()
        .chain_update(secret.expose_secret().as_bytes())
        .chain_update(nonce.as_bytes())
        .chain_update(time.as_bytes())
        .finalize()
        .into()
}

/// Signs requests to the vendor: a new nonce and the present time for each attempt.
pub(crate) struct RequestSigner {
    app_key: HeaderValue,
    secret: SecretString,
    unit: TimeUnit,
    names: [HeaderName; 4],
    clock: Arc<dyn Clock>,
}

impl RequestSigner {
    /// # Errors
    /// `Config` for an app key that cannot stand in a header.
    pub(crate) fn new(
        app_key: &str,
        secret: SecretString,
        unit: TimeUnit,
        names: HeaderNames,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let app_key = HeaderValue::from_str(app_key)
            .map_err(|error| Error::new(ErrorKind::Config, "app_key: cannot stand in a header").with_source(error))?;
        Ok(Self { app_key, secret, unit, names: names.names().map(HeaderName::from_static), clock })
    }

    /// The headers for one attempt at `now`.
    fn headers(&self, nonce: &str, now: Timestamp) -> [(HeaderName, HeaderValue); 4] {
        let time = match self.unit {
            TimeUnit::Seconds => now.as_millis().div_euclid(1000),
            TimeUnit::Milliseconds => now.as_millis(),
        };
        let signature = hex::encode(digest(&self.secret, nonce, &time.to_string()));
        let ascii = |text: &str| HeaderValue::from_str(text).expect("digits and hex are legal in a header");
        let [app_key, nonce_name, time_name, signature_name] = self.names.clone();
        [
            (app_key, self.app_key.clone()),
            (nonce_name, ascii(nonce)),
            (time_name, HeaderValue::from(time)),
            (signature_name, ascii(&signature)),
        ]
    }
}

/// Shows neither the key nor the secret.
impl fmt::Debug for RequestSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestSigner").field("unit", &self.unit).finish_non_exhaustive()
    }
}

#[async_trait]
impl Signer for RequestSigner {
    async fn sign(&self, _call: &VendorCall, headers: &mut HeaderMap) -> Result<()> {
        // The vendor documents at most 18 characters for the nonce.
        let nonce = rand::rng().random_range(0..10_u64.pow(17)).to_string();
        for (name, value) in self.headers(&nonce, self.clock.now()) {
            headers.insert(name, value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use switchboard_contract::Sleep;
    use switchboard_outbound::Method;

    use super::*;

    #[derive(Debug)]
    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> Timestamp {
            Timestamp(1_795_054_530_123)
        }

        fn sleep(&self, _duration: std::time::Duration) -> Sleep {
            Box::pin(std::future::ready(()))
        }
    }

    fn signer(unit: TimeUnit, names: HeaderNames) -> RequestSigner {
        RequestSigner::new("demoappkey01", "demosecret01".to_owned().into(), unit, names, Arc::new(Stopped)).unwrap()
    }

    #[test]
    fn every_published_vector_is_reproduced() {
        #[derive(Deserialize)]
        struct Vector {
            app_secret: String,
            nonce: String,
            timestamp: String,
            signature: String,
        }
        let vectors: Vec<Vector> =
            serde_json::from_str(include_str!("../fixtures/rest_signature_vectors.json")).unwrap();
        assert_eq!(vectors.len(), 5);
        for vector in vectors {
            let signature = hex::encode(digest(&vector.app_secret.into(), &vector.nonce, &vector.timestamp));
            assert_eq!(signature, vector.signature, "nonce {}", vector.nonce);
        }
    }

    #[test]
    fn headers_follow_the_settings() {
        let text = |unit, names| {
            signer(unit, names)
                .headers("482913775", Timestamp(1_795_054_530_123))
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        };
        assert_eq!(
            text(TimeUnit::Seconds, HeaderNames::Plain),
            [
                "app-key: demoappkey01",
                "nonce: 482913775",
                "timestamp: 1795054530",
                "signature: a383ee940e66b68374212a2132cc3ab594cf5bb0"
            ]
        );
        assert_eq!(
            text(TimeUnit::Milliseconds, HeaderNames::Prefixed),
            [
                "rc-app-key: demoappkey01",
                "rc-nonce: 482913775",
                "rc-timestamp: 1795054530123",
                "rc-signature: 4174b74c5dbcdd58fc854b13e3bef71cc7d8ddad"
            ]
        );
    }

    #[tokio::test]
    async fn each_attempt_is_signed_afresh() {
        let signer = signer(TimeUnit::Seconds, HeaderNames::Plain);
        let call = VendorCall::read(Method::POST, "probe", "general", "/user/checkOnline.json");
        let mut nonces = std::collections::HashSet::new();
        for _ in 0..8 {
            let mut headers = HeaderMap::new();
            signer.sign(&call, &mut headers).await.unwrap();
            let nonce = headers["nonce"].to_str().unwrap().to_owned();
            assert!(nonce.len() <= 18, "{nonce}");
            let expected = hex::encode(digest(&"demosecret01".to_owned().into(), &nonce, "1795054530"));
            assert_eq!(headers["signature"], expected.as_str());
            nonces.insert(nonce);
        }
        assert_eq!(nonces.len(), 8);
    }

    #[test]
    fn debug_hides_the_secret() {
        let shown = format!("{:?}", signer(TimeUnit::Seconds, HeaderNames::Plain));
        assert!(!shown.contains("demosecret01"), "{shown}");
    }
}
