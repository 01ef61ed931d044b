//! The sidecar's API as a business sees it: the real binary, real adapters, emulated vendors.

#![cfg(feature = "bin")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod access;
mod directory;
mod history;
mod newborn;
mod pulling;
mod sending;
mod streams;
mod topics;

#[path = "../support/mod.rs"]
mod support;

use serde_json::{Value, json};
use support::callbacks::{huanxin_text, now_ms, post};
use support::consumer::{series_of, until};
use support::sidecar::Sidecar;
use support::vendors::Vendors;
use tempfile::TempDir;

/// A store and an inbox as small as they may be.
const SMALL: &str = "[store]\nurl = \"sqlite://test.db\"\n[ingest]\nmax_body_bytes = 65536\n[ingest.inbox]\n\
                     path = \"inbox\"\nsegment_bytes = 1048576\ncapacity_bytes = 4194304\n";

/// A sidecar that hears of messages by callbacks made by hand, and can reach no vendor.
fn receiver(more: &str) -> (TempDir, Sidecar) {
    let directory = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(directory.path(), &format!("{SMALL}{}{more}", Vendors::nowhere()));
    (directory, sidecar)
}

/// A sidecar between emulated vendors.
async fn stage() -> (TempDir, Vendors, Sidecar) {
    let directory = tempfile::tempdir().unwrap();
    let vendors = Vendors::start(1).await;
    let sidecar = Sidecar::start(directory.path(), &format!("{SMALL}{}", vendors.config()));
    vendors.call_back(&sidecar.url);
    (directory, vendors, sidecar)
}

/// A message arrives by Huanxin's callback.
async fn arrives(sidecar: &Sidecar, id: &str, from: &str, to: &str, text: &str) {
    arrives_at(sidecar, id, from, to, text, now_ms()).await;
}

/// A message arrives that was sent at some time.
async fn arrives_at(sidecar: &Sidecar, id: &str, from: &str, to: &str, text: &str, at: i64) {
    let body = huanxin_text(id, from, to, text, at);
    let request = sidecar.http.post(format!("{}/callbacks/huanxin", sidecar.url)).json(&body);
    assert_eq!(post(request).await, 200);
}

/// Waits until this many messages of Huanxin's callbacks are journalled, and `s` lies at least so far behind: notices
/// of the providers' health count as well.
async fn behind_by(sidecar: &Sidecar, messages: u64) {
    let fresh = "switchboard_ingest_events_total{provider=\"huanxin\",outcome=\"fresh\"}";
    until(&format!("{messages} messages are journalled"), async || {
        let lag = sidecar.get("/v1/subscribers/s").await["lag"].as_u64().unwrap();
        lag >= messages && series_of(sidecar, fresh).await as u64 == messages
    })
    .await;
}

/// A text to send.
fn text_to(to: Value, text: &str) -> Value {
    json!({ "from": "shop", "to": to, "body": { "type": "text", "text": text } })
}
