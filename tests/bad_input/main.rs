//! What bad input gets from the real binary: the answer, the counter, and what is kept; and that the process goes on.

#![cfg(feature = "bin")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod api;
mod configuration;
mod full;
mod signatures;
mod stale;
mod unreadable;

#[path = "../support/mod.rs"]
mod support;

use std::path::Path;

use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;
use support::callbacks::FORM;
use support::sidecar::Sidecar;
use support::vendors::Vendors;

/// A store and an inbox as small as they may be.
const SMALL: &str = "[store]\nurl = \"sqlite://test.db\"\n[ingest]\nmax_body_bytes = 65536\n[ingest.inbox]\n\
                     path = \"inbox\"\nsegment_bytes = 1048576\ncapacity_bytes = 4194304\n";

fn config() -> String {
    format!("{SMALL}{}", Vendors::nowhere())
}

fn huanxin(sidecar: &Sidecar, body: &Value) -> RequestBuilder {
    sidecar.http.post(format!("{}/callbacks/huanxin", sidecar.url)).json(body)
}

fn rongcloud(sidecar: &Sidecar, query: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
    let url = format!("{}/callbacks/rongcloud?{query}", sidecar.url);
    sidecar.http.post(url).header("content-type", FORM).body(body)
}

/// The bodies kept aside for a reason, oldest first.
fn kept_aside(directory: &Path, reason: u8) -> Vec<Vec<u8>> {
    let database = rusqlite::Connection::open(directory.join("test.db")).unwrap();
    let mut rows = database.prepare("SELECT body FROM quarantine WHERE reason = ? ORDER BY id").unwrap();
    rows.query_map([reason], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

async fn is_well(sidecar: &Sidecar) {
    for path in ["/healthz", "/readyz"] {
        assert_eq!(sidecar.http.get(format!("{}{path}", sidecar.url)).send().await.unwrap().status(), 200, "{path}");
    }
}

/// Makes a call that must be refused with this status and a problem document; the document.
async fn refused(request: RequestBuilder, status: StatusCode) -> Value {
    let response = request.send().await.unwrap();
    let (got, kind) = (response.status(), response.headers().get("content-type").cloned());
    let text = response.text().await.unwrap();
    assert_eq!(got, status, "{text}");
    assert_eq!(kind.unwrap(), "application/problem+json", "{text}");
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(problem["status"], status.as_u16(), "{problem}");
    assert!(problem["type"].as_str().unwrap().starts_with("urn:switchboard:problem:"), "{problem}");
    assert!(!problem["detail"].as_str().unwrap().is_empty(), "{problem}");
    problem
}
