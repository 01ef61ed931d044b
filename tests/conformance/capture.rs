//! A receiver that keeps callbacks as they come off the wire.

use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use parking_lot::Mutex;
use switchboard_contract::{RawCallback, Timestamp};
use tokio::net::TcpListener;

/// What came, in the order it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Capture {
    seen: Arc<Mutex<Vec<RawCallback>>>,
}

impl Capture {
    /// Listens, and returns the address to call.
    pub(crate) async fn start() -> (Self, String) {
        let capture = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/callbacks/main", listener.local_addr().unwrap());
        let routes = Router::new().fallback(keep).with_state(capture.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (capture, url)
    }

    /// Takes what came since the last look.
    pub(crate) fn take(&self) -> Vec<RawCallback> {
        std::mem::take(&mut self.seen.lock())
    }
}

async fn keep(State(capture): State<Capture>, request: Request) -> StatusCode {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned()))
        .collect();
    capture.seen.lock().push(RawCallback {
        path: parts.uri.path().trim_start_matches("/callbacks/main").trim_matches('/').to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers,
        body,
        received_at: Timestamp::default(),
    });
    StatusCode::OK
}

/// Flips the lowest bit of the last hex digit of `signature`, wherever it stands in `text`.
pub(crate) fn flip(text: &str, signature: &str) -> String {
    let (head, last) = signature.split_at(signature.len() - 1);
    let digit = u8::from_str_radix(last, 16).unwrap() ^ 1;
    text.replacen(signature, &format!("{head}{digit:x}"), 1)
}
