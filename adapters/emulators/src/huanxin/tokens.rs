//! App and user tokens, and the locally made "dynamic" user token.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::error::ApiError;
use super::settings::{TokenSettings, TtlUnit};

/// Who a token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    App,
    User(String),
}

#[derive(Debug)]
struct Grant {
    subject: Subject,
    expires_ms: Option<i64>,
}

/// Issued tokens.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    grants: HashMap<String, Grant>,
}

/// A fresh token and what `expires_in` says.
pub(crate) struct Issued {
    pub(crate) token: String,
    pub(crate) expires_in: i64,
}

impl Tokens {
    pub(crate) fn issue(
        &mut self,
        subject: Subject,
        ttl: Option<i64>,
        settings: &TokenSettings,
        now_ms: i64,
    ) -> Issued {
        if settings.new_revokes_old {
            self.grants.retain(|_, grant| grant.subject != subject);
        }
        let unit_ms = match settings.ttl_unit {
            TtlUnit::Seconds => 1_000,
            TtlUnit::Milliseconds => 1,
        };
        let ttl = ttl.unwrap_or(settings.default_ttl_s * 1_000 / unit_ms);
        let (expires_ms, expires_in) = match ttl {
            0 => (None, settings.never_expires_in),
            ttl => (Some(now_ms.saturating_add(ttl.saturating_mul(unit_ms))), ttl),
        };
        let random = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
        let token = format!("YWMt{}", URL_SAFE_NO_PAD.encode(random.map(|id| *id.as_bytes()).concat()));
        self.grants.insert(token.clone(), Grant { subject, expires_ms });
        Issued { token, expires_in }
    }

    pub(crate) fn check(&self, token: &str, now_ms: i64) -> Result<Subject, ApiError> {
        let well_formed = token.starts_with("YWMt") && token.len() >= 40;
        let Some(grant) = self.grants.get(token) else {
            return Err(if well_formed { ApiError::unknown_token() } else { ApiError::corrupt_token() });
        };
        if grant.expires_ms.is_some_and(|expires| expires <= now_ms) {
            return Err(ApiError::expired_token());
        }
        Ok(grant.subject.clone())
    }

    /// Every token reads as expired from now on.
    pub(crate) fn expire_all(&mut self) {
        self.grants.values_mut().for_each(|grant| grant.expires_ms = Some(i64::MIN));
    }

    pub(crate) fn revoke_user(&mut self, user: &str) {
        self.grants.retain(|_, grant| grant.subject != Subject::User(user.to_owned()));
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dynamic {
    signature: String,
    appkey: String,
    user_id: String,
    cur_time: i64,
    ttl: i64,
}

/// Verifies a dynamic token (documentation page "user token", "new style") and returns its user. Padding and key
/// order are not documented, so neither matters.
pub(crate) fn verify_dynamic(
    token: &str,
    client_id: &str,
    client_secret: &str,
    app_key: &str,
    now_ms: i64,
) -> Result<String, ApiError> {
    let bytes = URL_SAFE
        .decode(token)
        .or_else(|_| URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')))
        .map_err(|_| ApiError::corrupt_token())?;
    let text = std::str::from_utf8(&bytes).map_err(|_| ApiError::corrupt_token())?;
    let json = text.strip_prefix("dt-").ok_or_else(ApiError::corrupt_token)?;
    let claim: Dynamic = serde_json::from_str(json).map_err(|_| ApiError::corrupt_token())?;
    let input = format!("{client_id}{}{}{}{}{client_secret}", claim.appkey, claim.user_id, claim.cur_time, claim.ttl);
    if claim.appkey != app_key || claim.signature != hex::encode(Sha256::digest(input)) {
        return Err(ApiError::corrupt_token());
    }
    if claim.ttl != 0 && (claim.cur_time + claim.ttl).saturating_mul(1_000) <= now_ms {
        return Err(ApiError::expired_token());
    }
    Ok(claim.user_id)
}
