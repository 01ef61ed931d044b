//! SIGTERM: what is under way ends, streams are told why, the exit code is 0 in time, and nothing accepted is lost.

#![cfg(feature = "bin")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use parking_lot::Mutex;
use support::notices;
use support::sidecar::{Sidecar, TOKEN};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// The stop's own deadline, for whoever does not end by himself.
const GRACE: Duration = Duration::from_secs(2);
/// What an exit may take beyond it on a busy machine.
const MARGIN: Duration = Duration::from_secs(5);

const CONFIG: &str = r#"
[store]
url = "sqlite://stop.db"
[ingest.inbox]
path = "inbox"
segment_bytes = 2097152
capacity_bytes = 67108864
"#;

fn start(directory: &std::path::Path, grace: Duration) -> Sidecar {
    let mut command = Sidecar::command(directory, &format!("{CONFIG}{}", notices::PROVIDER));
    command.env("SWITCHBOARD__SERVER__SHUTDOWN_DEADLINE", format!("{}s", grace.as_secs()));
    Sidecar::spawn(command)
}

/// A callback whose second half comes when asked for, as over a slow line.
struct Slow {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl Slow {
    fn begin(sidecar: &Sidecar, number: u64) -> Self {
        let body = notices::callback(number).to_string();
        let address = sidecar.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let head = format!(
            "POST /callbacks/main HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             expect: 100-continue\r\n\r\n",
            body.len()
        );
        let (first, rest) = body.as_bytes().split_at(body.len() / 2);
        stream.write_all(head.as_bytes()).unwrap();
        // From here on the callback is under way.
        let mut go_on = [0; 25];
        stream.read_exact(&mut go_on).unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(first).unwrap();
        Self { stream, rest: rest.to_vec() }
    }

    fn end(mut self) -> String {
        self.stream.write_all(&self.rest).unwrap();
        self.stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// Posts until nobody listens. What was answered 200 goes to `accepted`.
async fn post_until_closed(url: String, accepted: Arc<Mutex<BTreeSet<u64>>>, next: Arc<Mutex<u64>>) {
    let http = reqwest::Client::new();
    loop {
        let number = {
            let mut next = next.lock();
            *next += 1;
            *next
        };
        match notices::post(&http, &url, number).await {
            Ok(200) => drop(accepted.lock().insert(number)),
            // The way in is closed and says so, or the connection is.
            Ok(503) => {}
            Ok(status) => panic!("{status}"),
            Err(error) if error.is_connect() => return,
            Err(_) => {}
        }
    }
}

/// Reads server-sent events to their end; the last with a name.
async fn last_event(sidecar: &Sidecar) -> tokio::task::JoinHandle<(String, String)> {
    let request = sidecar.request(reqwest::Method::GET, "/v1/subscribers/sse/stream");
    let answer = request.header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    tokio::spawn(async move {
        let text = answer.text().await.unwrap();
        let field = |name: &str| text.lines().rev().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        (field("event:").to_owned(), field("data:").to_owned())
    })
}

/// Reads a WebSocket to its end; its close frame.
async fn close_frame(sidecar: &Sidecar) -> tokio::task::JoinHandle<Option<(u16, String)>> {
    let url = format!("{}/v1/subscribers/ws/stream", sidecar.url.replace("http://", "ws://"));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    tokio::spawn(async move {
        while let Some(message) = socket.next().await {
            if let Ok(Message::Close(frame)) = message {
                return frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
            }
        }
        None
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_ends_what_is_under_way_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut sidecar = start(directory.path(), Duration::from_secs(10));
    for name in ["all", "sse", "ws"] {
        notices::subscribe(&sidecar, name, &["messages"]).await;
    }
    let (events, frames) = (last_event(&sidecar).await, close_frame(&sidecar).await);
    let poll = sidecar.request(reqwest::Method::GET, "/v1/subscribers/idle/events?wait=30");
    notices::subscribe(&sidecar, "idle", &["presence"]).await;
    let poll = tokio::spawn(poll.send());
    let (accepted, next) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(Mutex::new(0)));
    let mut posters = tokio::task::JoinSet::new();
    for _ in 0..8 {
        posters.spawn(post_until_closed(sidecar.url.clone(), accepted.clone(), next.clone()));
    }
    let slow = Slow::begin(&sidecar, 1_000_000);
    while accepted.lock().len() < 500 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    sidecar.ask_to_stop();
    notices::told(&sidecar, &["stopping"]).await;
    let answer = tokio::task::spawn_blocking(|| slow.end()).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "a callback under way was answered {answer:?}");
    accepted.lock().insert(1_000_000);
    let (name, data) = events.await.unwrap();
    assert_eq!((name.as_str(), data.as_str()), ("end", r#"{"reason":"the sidecar is stopping"}"#));
    assert_eq!(frames.await.unwrap(), Some((1001, "the sidecar is stopping".to_owned())));
    assert_eq!(poll.await.unwrap().unwrap().status(), 503);
    while posters.join_next().await.is_some_and(|poster| poster.is_ok()) {}
    // Everybody left by himself: the deadline is not needed.
    let status = sidecar.ended(MARGIN);
    assert_eq!(status.code(), Some(0), "{}", sidecar.log.text());
    assert!(!sidecar.log.tells(&["cut off"]), "{}", sidecar.log.text());
    assert!(!sidecar.log.tells(&["ERROR"]), "{}", sidecar.log.text());
    // The database is one whole file, as whoever copies it now expects.
    assert!(!directory.path().join("stop.db-wal").exists());

    let accepted = accepted.lock().clone();
    println!("{} callbacks were accepted", accepted.len());
    let sidecar = start(directory.path(), GRACE);
    let came = notices::pull_all(&sidecar, "all", &accepted).await;
    assert!(came.is_superset(&accepted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_end_is_cut_off_at_the_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let mut sidecar = start(directory.path(), GRACE);
    notices::subscribe(&sidecar, "all", &["messages"]).await;
    notices::post_all(&sidecar, 1..=10).await;
    // Never sends the rest, and never reads.
    let _slow = Slow::begin(&sidecar, 11);
    let began = Instant::now();
    assert_eq!(sidecar.terminate().code(), Some(0), "{}", sidecar.log.text());
    let took = began.elapsed();
    assert!((GRACE..GRACE + MARGIN).contains(&took), "it took {took:?}");
    notices::told(&sidecar, &["cut off"]).await;
    let sidecar = start(directory.path(), GRACE);
    assert_eq!(notices::pull_all(&sidecar, "all", &(1..=10).collect()).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_held_database_leaves_in_the_inbox_is_delivered_by_the_next_process() {
    let directory = tempfile::tempdir().unwrap();
    let mut sidecar = start(directory.path(), GRACE);
    notices::subscribe(&sidecar, "all", &["messages"]).await;
    let held = rusqlite::Connection::open(directory.path().join("stop.db")).unwrap();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    notices::post_all(&sidecar, 1..=200).await;
    let status = sidecar.terminate();
    assert_eq!(status.code(), Some(0), "{}", sidecar.log.text());
    held.execute_batch("ROLLBACK").unwrap();
    let sidecar = start(directory.path(), GRACE);
    assert_eq!(notices::pull_all(&sidecar, "all", &(1..=200).collect()).await.len(), 200);
}
