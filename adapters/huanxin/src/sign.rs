//! Credentials: the app's token on every call, the callbacks' signature, and users' tokens made here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use md5::{Digest, Md5};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use switchboard_contract::{Clock, Error, ErrorKind, Result, Timestamp};
use switchboard_outbound::{
    CallBody, HeaderMap, HeaderValue, Method, Outbound, Replay, Signer, VendorCall, VendorReply,
};
use tokio::sync::Mutex;

use crate::config::TokenConfig;
use crate::limits::group;

/// `expires_in` of a token that never ends is not documented, so such a token is renewed after this long.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// What gets the app's token.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) client_id: String,
    pub(crate) client_secret: SecretString,
    pub(crate) config: TokenConfig,
    /// The path of the token call.
    pub(crate) path: String,
}

/// Puts the app's token on each call; fetches it once for all callers, and again when it grows old or is refused.
pub(crate) struct AppToken {
    credentials: Credentials,
    /// A client without credentials, for the token call itself.
    outbound: Outbound,
    clock: Arc<dyn Clock>,
    /// Held during a fetch: that is what makes it one fetch for all.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    renewed_at: Option<Timestamp>,
}

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    renew_at: Timestamp,
    ends_at: Timestamp,
}

impl fmt::Debug for AppToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppToken").field("client_id", &self.credentials.client_id).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct TokenRequest<'a> {
    grant_type: &'static str,
    client_id: &'a str,
    client_secret: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
}

#[derive(Deserialize)]
struct TokenReply {
    access_token: String,
    #[serde(default)]
    expires_in: u64,
}

impl AppToken {
    pub(crate) fn new(credentials: Credentials, outbound: Outbound, clock: Arc<dyn Clock>) -> Self {
        Self { credentials, outbound, clock, state: Mutex::default() }
    }

    async fn current(&self) -> Result<HeaderValue> {
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        if let Some(token) = &state.token
            && now < token.renew_at
        {
            return Ok(token.header.clone());
        }
        match (self.fetch(now).await, &state.token) {
            (Ok(fresh), _) => {
                let header = fresh.header.clone();
                state.token = Some(fresh);
                Ok(header)
            }
            // Renewal is early on purpose: while it fails, the old token still serves.
            (Err(_), Some(old)) if now < old.ends_at => Ok(old.header.clone()),
            (Err(error), _) => Err(error),
        }
    }

    async fn fetch(&self, now: Timestamp) -> Result<Token> {
        let TokenConfig { ttl, unit, renew_after, .. } = self.credentials.config;
        let body = json(&TokenRequest {
            grant_type: "client_credentials",
            client_id: &self.credentials.client_id,
            client_secret: self.credentials.client_secret.expose_secret(),
            ttl: ttl.map(|ttl| unit.count(ttl)),
        })?;
        // A second token does no harm to the first, so an unanswered request may be repeated.
        let call = VendorCall::new(Method::POST, "token", group::TOKEN, &self.credentials.path, Replay::ReadOnly)
            .with_body(body);
        let reply = self.outbound.call(call).await?;
        let token: TokenReply = serde_json::from_slice(&reply.body).map_err(|error| reply.undecodable(error))?;
        let lifetime = if token.expires_in == 0 { UNKNOWN_LIFETIME } else { unit.duration(token.expires_in) };
        let mut header = HeaderValue::from_str(&format!("Bearer {}", token.access_token))
            .map_err(|_| Error::new(ErrorKind::Decode, "the token is not fit for a header"))?;
        header.set_sensitive(true);
        Ok(Token { header, renew_at: now + lifetime.mul_f64(renew_after), ends_at: now + lifetime })
    }
}

#[async_trait]
impl Signer for AppToken {
    async fn sign(&self, _call: &VendorCall, headers: &mut HeaderMap) -> Result<()> {
        headers.insert("authorization", self.current().await?);
        headers.insert("accept", HeaderValue::from_static("application/json"));
        Ok(())
    }

    async fn refused(&self, _call: &VendorCall, reply: &VendorReply, signed: &HeaderMap) -> bool {
        // This one word with status 401 speaks of the message and not of the token (REST/message_modify).
        if reply.body.windows(21).any(|part| part == b"message_rewrite_error") {
            return false;
        }
        let mut state = self.state.lock().await;
        let used = signed.get("authorization");
        if state.token.as_ref().is_none_or(|token| Some(&token.header) != used) {
            // Somebody else renewed it in the meantime.
            return true;
        }
        let now = self.clock.now();
        let interval = self.credentials.config.min_renewal_interval;
        if state.renewed_at.is_some_and(|at| now.since(at) < interval) {
            return false;
        }
        state.token = None;
        state.renewed_at = Some(now);
        true
    }
}

/// A JSON body.
pub(crate) fn json(value: &impl Serialize) -> Result<CallBody> {
    serde_json::to_vec(value)
        .map(|bytes| CallBody::Json(Bytes::from(bytes)))
        .map_err(|error| Error::new(ErrorKind::InvalidInput, "cannot be written as JSON").with_source(error))
}

/// Whether `security` is the lowercase hex MD5 of call id, one of the secrets, and the time in decimal
/// (REST/callback_overview). Compares in constant time and always with every secret.
pub(crate) fn callback_is_signed(secrets: &[SecretString], call_id: &str, timestamp: &str, security: &str) -> bool {
    secrets.iter().fold(false, |found, secret| {
        let mut md5 = Md5::new();
        md5.update(call_id.as_bytes());
        md5.update(secret.expose_secret().as_bytes());
        md5.update(timestamp.as_bytes());
        let expected = hex::encode(md5.finalize());
        found | bool::from(expected.as_bytes().ct_eq(security.as_bytes()))
    })
}

#[derive(Serialize)]
struct DynamicToken<'a> {
    signature: String,
    appkey: &'a str,
    #[serde(rename = "userId")]
    user_id: &'a str,
    #[serde(rename = "curTime")]
    cur_time: i64,
    ttl: u64,
}

/// A user's token made without a call (SRV/easemob_user_token, "new style"); times are seconds.
pub(crate) fn dynamic_token(
    (client_id, client_secret): (&str, &SecretString),
    app_key: &str,
    user: &str,
    cur_time: i64,
    ttl: u64,
) -> Result<String> {
    let mut sha = Sha256::new();
    for part in [client_id, app_key, user, &cur_time.to_string(), &ttl.to_string(), client_secret.expose_secret()] {
        sha.update(part.as_bytes());
    }
    let signature = hex::encode(sha.finalize());
    let token = DynamicToken { signature, appkey: app_key, user_id: user, cur_time, ttl };
    let text = serde_json::to_string(&token)
        .map_err(|error| Error::new(ErrorKind::Internal, "a token could not be written").with_source(error))?;
    Ok(URL_SAFE.encode(format!("dt-{text}")))
}
