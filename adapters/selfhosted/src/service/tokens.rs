//! Login tokens: the service's own, or whatever the business verifies.

use std::fmt;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use switchboard_contract::{Error, ErrorKind, Result, Timestamp, UserId};

/// A token that was found good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// When it ends, if it does. The session is ended then.
    pub expires_at: Option<Timestamp>,
}

/// Says whether a token lets a user in: the place of the business's own single sign-on.
#[async_trait]
pub trait TokenVerifier: fmt::Debug + Send + Sync {
    /// Judges a token.
    ///
    /// # Errors
    /// `Unauthorized` for a token that is not good; anything else when it cannot be judged, which refuses the login
    /// and lets the client try again.
    async fn verify(&self, user: &UserId, token: &str, now: Timestamp) -> Result<Verified>;
}

/// Issues and verifies the service's own tokens: user and end under a MAC. Nothing is stored for them.
#[derive(Clone)]
pub struct TokenIssuer {
    key: Vec<u8>,
}

impl fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenIssuer")
    }
}

impl TokenIssuer {
    /// Under this secret.
    pub fn new(secret: &[u8]) -> Self {
        Self { key: mac(secret, &[b"login tokens"]).finalize().into_bytes().to_vec() }
    }

    /// A token for this user that is good until then.
    pub fn issue(&self, user: &UserId, until: Timestamp) -> String {
        let end = until.0.to_string();
        let seal = mac(&self.key, &[user.as_str().as_bytes(), end.as_bytes()]).finalize().into_bytes();
        format!("sb1.{end}.{}", URL_SAFE_NO_PAD.encode(seal))
    }
}

/// Parts are told apart by their lengths, so that no two lists of parts are the same text.
fn mac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac
}

#[async_trait]
impl TokenVerifier for TokenIssuer {
    async fn verify(&self, user: &UserId, token: &str, now: Timestamp) -> Result<Verified> {
        let refused = |why: &str| Error::new(ErrorKind::Unauthorized, format!("the token {why}"));
        let mut parts = token.split('.');
        let (Some("sb1"), Some(end), Some(seal), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(refused("is none of ours"));
        };
        let seal = URL_SAFE_NO_PAD.decode(seal).map_err(|_| refused("is none of ours"))?;
        mac(&self.key, &[user.as_str().as_bytes(), end.as_bytes()])
            .verify_slice(&seal)
            .map_err(|_| refused("is not this user's"))?;
        let until = Timestamp(end.parse().map_err(|_| refused("is none of ours"))?);
        if until <= now {
            return Err(refused("has ended"));
        }
        Ok(Verified { expires_at: Some(until) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn a_token_is_for_one_user_and_a_time() {
        let issuer = TokenIssuer::new(b"0123456789abcdef");
        let (alice, bob) = (UserId::from("alice"), UserId::from("bob"));
        let token = issuer.issue(&alice, Timestamp(10));
        let verified = issuer.verify(&alice, &token, Timestamp(9)).await.unwrap();
        assert_eq!(verified.expires_at, Some(Timestamp(10)));
        let other = TokenIssuer::new(b"another secret 16");
        for (issuer, user, token, now) in [
            (&issuer, &bob, token.clone(), 9),
            (&issuer, &alice, token.clone(), 10),
            (&issuer, &alice, token.replace("sb1.10", "sb1.99"), 9),
            (&issuer, &alice, format!("{token}x"), 9),
            (&issuer, &alice, format!("{token}.x"), 9),
            (&issuer, &alice, String::new(), 9),
            (&other, &alice, token.clone(), 9),
        ] {
            let error = issuer.verify(user, &token, Timestamp(now)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthorized, "{token}");
        }
    }
}
