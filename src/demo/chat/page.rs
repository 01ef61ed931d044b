//! The page's listener: its files, and the few things that only a demo offers.
//!
//! It hands a login token to whoever asks. So it listens on the loopback alone and answers nobody who came under another
//! name: a page of the internet cannot reach it through a name that it has bent to this machine.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rust_embed::RustEmbed;
use serde::{Deserialize, Serialize};
use switchboard_contract::{Error, ErrorKind};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::service::Chat;

/// How long open calls may take when the page ends.
const GOODBYE: Duration = Duration::from_secs(1);

#[derive(RustEmbed)]
#[folder = "src/demo/page"]
struct Files;

/// The client as it is published.
#[derive(RustEmbed)]
#[folder = "adapters/selfhosted/clients/javascript"]
struct Client;

/// The running page.
#[derive(Debug)]
pub(super) struct Page {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Page {
    pub(super) fn serve(listener: TcpListener, chat: Arc<Chat>) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let routes = Router::new()
            .route("/", get(async || file("index.html")))
            .route("/{name}", get(async |Path(name): Path<String>| file(&name)))
            .route("/demo/session", post(session))
            .route("/demo/kick", post(kick))
            .route("/demo/restart", post(restart))
            .layer(from_fn_with_state(chat.clone(), guarded))
            .layer(from_fn(local))
            .with_state(chat);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(stopped).await {
                tracing::warn!(%error, "the chat page ended");
            }
        });
        Self { stop, task }
    }

    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(GOODBYE, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

fn file(name: &str) -> Response {
    let found = if name == "switchboard.js" { Client::get(name) } else { Files::get(name) };
    let Some(found) = found else { return StatusCode::NOT_FOUND.into_response() };
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    };
    ([(CONTENT_TYPE, kind)], found.data).into_response()
}

/// Only who asks for this machine by its own name is answered.
async fn local(request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if ["127.0.0.1", "localhost"].contains(&name) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "this demo is for this machine alone").into_response()
    }
}

/// Nothing runs in the page that does not come from here, and it talks to nobody but the gate.
async fn guarded(State(chat): State<Arc<Chat>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' {}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        chat.gate_url()
    );
    let fixed: [(HeaderName, &'static str); 3] =
        [(X_CONTENT_TYPE_OPTIONS, "nosniff"), (REFERRER_POLICY, "no-referrer"), (CACHE_CONTROL, "no-store")];
    let headers = response.headers_mut();
    headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

#[derive(Debug, Deserialize)]
struct Who {
    user: String,
}

impl Who {
    fn name(&self) -> Result<&str, Refused> {
        let fits = (1..=32).contains(&self.user.len())
            && self
                .user
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte));
        let wrong = || Error::invalid("user", "must have 1 to 32 of a-z, 0-9, - and _");
        fits.then_some(self.user.as_str()).ok_or_else(|| Refused(wrong()))
    }
}

#[derive(Debug, Serialize)]
struct Session {
    user: String,
    token: String,
    url: String,
}

async fn session(State(chat): State<Arc<Chat>>, Json(who): Json<Who>) -> Result<Json<Session>, Refused> {
    let user = who.name()?.to_owned();
    let token = chat.login(&user).await.map_err(Refused)?.token;
    Ok(Json(Session { user, token, url: chat.gate_url() }))
}

async fn kick(State(chat): State<Arc<Chat>>, Json(who): Json<Who>) -> Result<StatusCode, Refused> {
    chat.kick(who.name()?).await.map_err(Refused)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn restart(State(chat): State<Arc<Chat>>, Json(_): Json<serde_json::Value>) -> StatusCode {
    chat.ask_for_restart();
    StatusCode::ACCEPTED
}

#[derive(Debug)]
struct Refused(Error);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match self.0.kind() {
            ErrorKind::InvalidInput => StatusCode::BAD_REQUEST,
            ErrorKind::Forbidden => StatusCode::FORBIDDEN,
            ErrorKind::Unavailable | ErrorKind::Closed => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, self.0.message().to_owned()).into_response()
    }
}
