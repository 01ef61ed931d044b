//! What the tests share: fixtures, golden files, a clock that is told the time, and a vendor that answers as told.

#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod golden;
pub(crate) mod vendor;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use switchboard_contract::{Clock, RawCallback, Sleep, Timestamp};
use switchboard_rongcloud::{RongCloud, RongCloudConfig};

pub(crate) const APP_KEY: &str = "demoappkey01";
pub(crate) const APP_SECRET: &str = "demosecret01";

pub(crate) fn root() -> PathBuf {
    // At run time first: test runners name it, and a moved checkout then reads its own files.
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
}

pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path = root().join("fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn fixture_text(name: &str) -> String {
    String::from_utf8(fixture(name)).unwrap()
}

pub(crate) fn fixture_json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&fixture(name)).unwrap()
}

/// A clock that stands still, except that a wait moves it on at once.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn at(millis: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(millis)))
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        let millis = i64::try_from(duration.as_millis()).unwrap().max(1);
        self.0.fetch_add(millis, Ordering::SeqCst);
        Box::pin(async { tokio::task::yield_now().await })
    }
}

pub(crate) const NOW: i64 = 1_795_054_530_200;

pub(crate) fn provider(config: RongCloudConfig) -> RongCloud {
    config.build(TestClock::at(NOW)).unwrap()
}

pub(crate) fn offline() -> RongCloud {
    provider(RongCloudConfig::new(APP_KEY, APP_SECRET))
}

/// A whole request as the fixtures keep it: head, blank line, body, one last newline that is not part of it.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn fixture(name: &str) -> Self {
        let text = fixture_text(name);
        let (head, body) = text.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        let mut first = lines.next().unwrap().split(' ');
        let (method, target) = (first.next().unwrap().to_owned(), first.next().unwrap());
        assert_eq!(first.next(), Some("HTTP/1.1"));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let body = body.strip_suffix('\n').unwrap_or(body).to_owned();
        let request = Self { method, path: path.to_owned(), query: query.to_owned(), headers, body };
        assert_eq!(request.header("content-length"), Some(request.body.len().to_string().as_str()), "{name}");
        request
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn callback(&self, path: &str, received_at: i64) -> RawCallback {
        RawCallback {
            path: path.to_owned(),
            query: self.query.clone(),
            headers: self.headers.clone(),
            body: Bytes::from(self.body.clone()),
            received_at: Timestamp(received_at),
        }
    }
}

pub(crate) fn pairs(body: &str) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    pairs.sort();
    pairs
}
