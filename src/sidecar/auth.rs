//! Bearer tokens: who calls, for which tenant, with which scopes, and how much at once.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use switchboard_contract::TenantId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::AppState;
use super::problem::Problem;
use crate::config::{Scope, ServerConfig, TokenConfig};

/// The tokens of the API. Secrets are kept as hashes and compared in constant time.
#[derive(Debug)]
pub(super) struct Tokens(Vec<Arc<Token>>);

struct Token {
    name: String,
    digest: [u8; 32],
    scopes: BTreeSet<Scope>,
    tenant: TenantId,
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.name)
    }
}

impl Tokens {
    pub(super) fn new(tokens: &[TokenConfig], limits: &ServerConfig) -> Self {
        let token = |config: &TokenConfig| {
            Arc::new(Token {
                name: config.name.clone(),
                digest: Sha256::digest(config.secret.expose_secret().as_bytes()).into(),
                scopes: config.scopes.clone(),
                tenant: config.tenant.clone(),
                calls: Arc::new(Semaphore::new(limits.max_calls_per_token)),
                streams: Arc::new(Semaphore::new(limits.max_streams_per_token)),
            })
        };
        Self(tokens.iter().map(token).collect())
    }

    fn find(&self, headers: &HeaderMap) -> Option<Arc<Token>> {
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, secret) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let digest: [u8; 32] = Sha256::digest(secret.trim().as_bytes()).into();
        let mut found = None;
        // Every token is compared, so that the time taken does not tell which one came near.
        for token in &self.0 {
            if bool::from(token.digest.ct_eq(&digest)) {
                found = Some(token.clone());
            }
        }
        found
    }
}

/// What a call needs, as a type: a handler's signature says it, and it is checked before anything else of the call is
/// read.
pub(super) trait Needs: Send + Sync {
    /// The scope.
    const SCOPE: Scope;
}

macro_rules! needs {
    ($($name:ident: $what:literal;)*) => {
        $(
            #[doc = $what]
            #[derive(Debug)]
            pub(super) enum $name {}

            impl Needs for $name {
                const SCOPE: Scope = Scope::$name;
            }
        )*
    };
}

needs! {
    Messages: "The scope `messages`.";
    Subscribe: "The scope `subscribe`.";
    History: "The scope `history`.";
    Admin: "The scope `admin`.";
}

/// Who calls, with a token that has the scope.
#[derive(Debug)]
pub(super) struct Caller<S> {
    token: Arc<Token>,
    /// Held for as long as the call lasts.
    _permit: OwnedSemaphorePermit,
    needs: PhantomData<S>,
}

impl<S: Needs> Caller<S> {
    pub(super) fn tenant(&self) -> &TenantId {
        &self.token.tenant
    }

    /// A place among the token's open streams; held while the stream is open.
    pub(super) fn stream_permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.token
            .streams
            .clone()
            .try_acquire_owned()
            .map_err(|_| Problem::too_many("this token has too many open streams"))
    }
}

fn check_scope(token: &Token, scope: Scope) -> Result<(), Problem> {
    if token.scopes.contains(&scope) {
        return Ok(());
    }
    metrics::counter!("switchboard_api_refused_total", "reason" => "forbidden").increment(1);
    let name = serde_json::to_value(scope).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
    Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", format!("the token lacks the scope {name}")))
}

impl<S: Needs> FromRequestParts<AppState> for Caller<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let State(state) =
            State::<AppState>::from_request_parts(parts, state).await.unwrap_or_else(|never| match never {});
        let Some(token) = state.tokens.find(&parts.headers) else {
            metrics::counter!("switchboard_api_refused_total", "reason" => "unauthorized").increment(1);
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "a valid bearer token is needed"));
        };
        check_scope(&token, S::SCOPE)?;
        let Ok(permit) = token.calls.clone().try_acquire_owned() else {
            metrics::counter!("switchboard_api_refused_total", "reason" => "too_many").increment(1);
            return Err(Problem::too_many("this token has too many calls in flight"));
        };
        Ok(Self { token, _permit: permit, needs: PhantomData })
    }
}
