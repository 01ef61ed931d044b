//! Webhooks of the service: it asks the business whether a login token is good, and tells it of phones to be woken.
//!
//! Requests are signed as [Standard Webhooks](https://www.standardwebhooks.com) has it: HMAC-SHA256 over id, time and
//! body in `webhook-signature`. A repeat has the same `webhook-id`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;
use sha2::Sha256;
use switchboard_contract::{App, Clock, Error, ErrorKind, MessageId, Result, Retry, Timestamp, UserId};
use switchboard_outbound::{
    CallBody, Classifier, HeaderMap, HeaderName, HeaderValue, Method, Outbound, OutboundConfig, Replay, Signer, Url,
    VendorCall, VendorReply, foreign_answer, retry_after,
};

use crate::service::{PushHint, PushHook, TokenVerifier, Verified};

const ID: &str = "webhook-id";
const TIME: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";

/// The address and path of a webhook.
///
/// # Errors
/// `Config` for anything but `http(s)://host[:port][/path]`.
pub(crate) fn address(text: &str) -> Result<(Url, String)> {
    let wrong = || Error::new(ErrorKind::Config, "must be http(s)://host[:port][/path]");
    let mut url: Url = text.parse().map_err(|_| wrong())?;
    let plain = matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none();
    if !plain || url.fragment().is_some() || !url.username().is_empty() {
        return Err(wrong());
    }
    let path = url.path().to_owned();
    url.set_path("");
    Ok((url, path))
}

/// One address of the business.
pub(crate) struct Webhook {
    outbound: Outbound,
    path: String,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Webhook")
    }
}

#[derive(Debug)]
struct Stamp {
    secret: SecretString,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Signer for Stamp {
    async fn sign(&self, call: &VendorCall, headers: &mut HeaderMap) -> Result<()> {
        let id = call.headers.get(ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
        let seconds = self.clock.now().0.div_euclid(1000);
        let body: &[u8] = match &call.body {
            CallBody::Json(bytes) => bytes,
            _ => &[],
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.expose_secret().as_bytes())
            .expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        let unwritable = |_| Error::new(ErrorKind::Internal, "a signature cannot be written");
        headers.insert(TIME, HeaderValue::from(seconds));
        headers.insert(SIGNATURE, HeaderValue::from_str(&signature).map_err(unwritable)?);
        Ok(())
    }
}

#[derive(Debug)]
struct Answers(Arc<dyn Clock>);

impl Classifier for Answers {
    fn check(&self, call: &VendorCall, reply: &VendorReply) -> Result<()> {
        let error = match reply.status {
            200..=299 => return Ok(()),
            401 | 403 | 404 => Error::new(ErrorKind::Unauthorized, "the business refuses it"),
            429 => {
                let after = retry_after(&reply.headers, self.0.now());
                Error::new(ErrorKind::RateLimited, "too frequent").with_retry(Retry::Safe { after })
            }
            400..=499 if reply.status != 408 => Error::new(ErrorKind::Rejected, "the business does not take it"),
            _ => foreign_answer(reply),
        };
        Err(error.with_vendor_code(reply.status.to_string()).with_operation(call.operation))
    }
}

impl Webhook {
    pub(crate) fn new(
        app: &App,
        url: &str,
        secret: SecretString,
        deadline: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let (base, path) = address(url)?;
        let config = OutboundConfig {
            base_urls: vec![base],
            total_deadline: deadline,
            attempt_timeout: deadline / 2,
            connect_timeout: deadline / 4,
            backoff_base: Duration::from_millis(100),
            max_response_bytes: 64 << 10,
            ..OutboundConfig::default()
        };
        let outbound = Outbound::builder(config, app.clone(), clock.clone(), Arc::new(Answers(clock.clone())))
            .with_signer(Arc::new(Stamp { secret, clock }))
            .build()?;
        Ok(Self { outbound, path })
    }

    async fn post(&self, operation: &'static str, id: &str, body: &serde_json::Value) -> Result<VendorReply> {
        let id = HeaderValue::from_str(id).map_err(|_| Error::invalid("id", "cannot stand in a header"))?;
        // A receiver knows a repeat by its id.
        let call = VendorCall::new(Method::POST, operation, "webhook", self.path.as_str(), Replay::Keyed)
            .with_header(HeaderName::from_static(ID), id)
            .with_body(CallBody::Json(body.to_string().into()));
        self.outbound.call(call).await
    }
}

#[async_trait]
impl PushHook for Webhook {
    async fn push(&self, hint: &PushHint) -> Result<()> {
        // One for each message and user: a message has one recipient wherever phones are woken.
        let id = format!("push_{}", hint.message);
        let body = json!({ "type": "push", "timestamp": hint.sent_at.to_rfc3339(), "data": hint });
        self.post("push", &id, &body).await.map(drop)
    }
}

#[derive(Deserialize)]
struct Judgement {
    #[serde(default)]
    expires_at: Option<Timestamp>,
}

#[async_trait]
impl TokenVerifier for Webhook {
    async fn verify(&self, user: &UserId, token: &str, now: Timestamp) -> Result<Verified> {
        let id = format!("verify_{}", MessageId::generate());
        let body = json!({
            "type": "verify",
            "timestamp": now.to_rfc3339(),
            "data": { "user": user, "token": token },
        });
        let reply = self.post("verify", &id, &body).await?;
        if reply.body.is_empty() {
            return Ok(Verified { expires_at: None });
        }
        let Judgement { expires_at } = serde_json::from_slice(&reply.body).map_err(|error| reply.undecodable(error))?;
        if expires_at.is_some_and(|end| end <= now) {
            return Err(Error::new(ErrorKind::Unauthorized, "the token has ended"));
        }
        Ok(Verified { expires_at })
    }
}
