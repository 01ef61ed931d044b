//! The adapter: Pigeon Post behind the provider contract. It imports `switchboard_contract` and nothing else of
//! Switchboard; a package of its own would depend on that crate alone.
//!
//! | file | what it owns |
//! |---|---|
//! | `mod.rs` | configuration, the session, what the provider offers |
//! | `wire.rs` | the vendor's JSON as it spells it |
//! | `codec.rs` | wire forms to the contract's and back, pure |
//! | `callbacks.rs` | seals and notices |
//! | `error.rs` | the table of refusals |
//! | `messaging.rs`, `roaming.rs`, `people.rs` | one capability each |

mod callbacks;
mod codec;
mod error;
mod messaging;
mod people;
mod roaming;
mod wire;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use switchboard_contract::{
    App, CallbackCodec, GroupNaming, Groups, Messaging, Naming, Provider, Result, Roaming, Spelling, Users,
};

use crate::vendor::{PigeonPost, Request};
use error::{SESSION_OVER, checked, read};

/// The vendor family's name.
const KIND: &str = "pigeon-post";

/// Lower-case names up to 64 bytes, for users and for places alike.
const SPELLING: Spelling = Spelling {
    allowed: |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.'),
    prefix: "x_",
    escape: b'_',
    max_bytes: 64,
};

/// One loft at Pigeon Post.
pub(crate) struct Pigeon {
    app: App,
    secret: String,
    // An adapter of a vendor beyond the network holds its HTTP client here.
    post: Arc<PigeonPost>,
    session: Mutex<Option<String>>,
}

/// Neither the secret nor a session belongs in logs.
impl fmt::Debug for Pigeon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pigeon").field("app", &self.app).finish_non_exhaustive()
    }
}

impl Pigeon {
    /// An adapter for one loft; nothing is asked of the vendor yet.
    pub(crate) fn new(loft: &str, secret: &str, post: Arc<PigeonPost>) -> Self {
        Self { app: App::new(KIND, loft), secret: secret.to_owned(), post, session: Mutex::new(None) }
    }

    /// One call. A session that ran out is opened anew, once: the vendor refuses an old one before any effect.
    async fn call(&self, operation: &'static str, path: &'static str, body: Value) -> Result<Bytes> {
        let reply = match self.attempt(path, &body).await {
            Err(error) if error.vendor_code() == Some(SESSION_OVER) => {
                self.session.lock().take();
                self.attempt(path, &body).await
            }
            reply => reply,
        };
        reply.map_err(|error| error.with_operation(operation))
    }

    async fn attempt(&self, path: &'static str, body: &Value) -> Result<Bytes> {
        let token = self.token().await?;
        checked(self.post.call(Request { path, token: Some(&token), body }).await)
    }

    /// Two tasks may open a session at once; the vendor admits any number of them.
    async fn token(&self) -> Result<String> {
        let held = self.session.lock().clone();
        if let Some(token) = held {
            return Ok(token);
        }
        let body = json!({ "loft": self.app.key, "secret": self.secret });
        let reply = checked(self.post.call(Request { path: "session", token: None, body: &body }).await)?;
        let token = read::<wire::Session>(&reply)?.token;
        *self.session.lock() = Some(token.clone());
        Ok(token)
    }
}

#[async_trait]
impl Provider for Pigeon {
    fn app(&self) -> &App {
        &self.app
    }

    fn naming(&self) -> Naming {
        Naming { users: SPELLING, groups: GroupNaming::Business(SPELLING), rooms: GroupNaming::Business(SPELLING) }
    }

    async fn probe(&self) -> Result<()> {
        self.call("probe", "ping", json!({})).await.map(drop)
    }

    fn messaging(&self) -> &dyn Messaging {
        self
    }

    fn callbacks(&self) -> Option<&dyn CallbackCodec> {
        Some(self)
    }

    fn roaming(&self) -> Option<&dyn Roaming> {
        Some(self)
    }

    fn users(&self) -> Option<&dyn Users> {
        Some(self)
    }

    fn groups(&self) -> Option<&dyn Groups> {
        Some(self)
    }
}
