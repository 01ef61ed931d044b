//! Streams: a WebSocket that takes acknowledgements, and server-sent events beside `POST …/ack`.

use std::time::Duration;

use futures::{SinkExt as _, Stream, StreamExt as _};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::support::consumer::{PATIENCE, subscribe, texts, until};
use crate::support::sidecar::{Sidecar, TOKEN};
use crate::support::vendors::Vendors;
use crate::{SMALL, arrives, behind_by, receiver};

/// A consumer on a WebSocket.
struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn open(sidecar: &Sidecar, name: &str) -> Self {
        let url = format!("{}/v1/subscribers/{name}/stream", sidecar.url.replacen("http", "ws", 1));
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
        Self(tokio_tungstenite::connect_async(request).await.unwrap().0)
    }

    /// The next frame of JSON.
    async fn next(&mut self) -> Value {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.0.next()).await.unwrap().unwrap().unwrap();
            if let Message::Text(text) = frame {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// The next frame with this field; what came before it is added to `seen`.
    async fn next_with(&mut self, field: &str, seen: &mut Vec<Value>) -> Value {
        loop {
            let frame = self.next().await;
            if let Some(value) = frame.get(field) {
                return value.clone();
            }
            seen.push(frame);
        }
    }

    /// Deliveries, until there are so many.
    async fn deliveries(&mut self, count: usize, seen: &mut Vec<Value>) -> Vec<Value> {
        let mut deliveries = Vec::new();
        // Also those that came while something else was waited for: they would come again only after their deadline.
        seen.retain(|frame| match frame["deliveries"].as_array() {
            Some(missed) => {
                deliveries.extend(missed.iter().cloned());
                false
            }
            None => true,
        });
        while deliveries.len() < count {
            deliveries.extend(self.next_with("deliveries", seen).await.as_array().unwrap().iter().cloned());
        }
        deliveries
    }

    async fn say(&mut self, text: &Value) {
        self.0.send(Message::text(text.to_string())).await.unwrap();
    }
}

fn ids(deliveries: &[Value]) -> Vec<&Value> {
    deliveries.iter().map(|delivery| &delivery["id"]).collect()
}

fn kinds(deliveries: &[Value]) -> Vec<&Value> {
    deliveries.iter().map(|delivery| &delivery["kind"]).collect()
}

/// The states among frames, without repeats.
fn states(frames: &[Value]) -> Vec<String> {
    let mut states: Vec<String> =
        frames.iter().filter_map(|frame| frame["state"]["state"].as_str().map(str::to_owned)).collect();
    states.dedup();
    states
}

#[tokio::test]
async fn i03_a_socket_walks_from_offline_over_the_acknowledgement_to_online() {
    let (_directory, sidecar) = receiver("");
    subscribe(&sidecar, "s", &["messages"]).await;
    for n in 0..5 {
        arrives(&sidecar, &n.to_string(), "alice", "bob", &format!("backlog {n}")).await;
    }
    behind_by(&sidecar, 5).await;

    let mut socket = Socket::open(&sidecar, "s").await;
    assert_eq!(socket.next().await, json!({ "recovery": { "recovered": true } }));
    let mut seen = Vec::new();
    let backlog = socket.deliveries(5, &mut seen).await;
    assert_eq!(texts(&backlog), ["backlog 0", "backlog 1", "backlog 2", "backlog 3", "backlog 4"]);
    assert_eq!(kinds(&backlog), ["offline"; 5]);

    // What arrives before the acknowledgement belongs to the backlog.
    arrives(&sidecar, "5", "alice", "bob", "still offline").await;
    behind_by(&sidecar, 6).await;
    socket.say(&json!({ "ack": ids(&backlog) })).await;
    assert_eq!(socket.next_with("acked", &mut seen).await, json!({ "done": 5, "stale": 0 }));
    let more = socket.deliveries(1, &mut seen).await;
    assert_eq!((texts(&more), kinds(&more)), (vec!["still offline"], vec![&json!("offline")]));
    assert!(!states(&seen).contains(&"online".to_owned()), "online before everything was acknowledged: {seen:?}");
    assert_eq!(sidecar.get("/v1/subscribers/s").await["state"], "acknowledging");

    socket.say(&json!({ "ack_through": more[0]["id"] })).await;
    until("it is online", async || sidecar.get("/v1/subscribers/s").await["state"] == "online").await;
    arrives(&sidecar, "6", "alice", "bob", "live").await;
    let live = socket.deliveries(1, &mut seen).await;
    assert_eq!((texts(&live), kinds(&live)), (vec!["live"], vec![&json!("online")]));
    let walk = states(&seen);
    assert_eq!(walk.last().unwrap(), "online", "{walk:?}");
    let place = |state: &str| walk.iter().position(|one| one == state);
    assert!(place("acknowledging") < place("online") && place("acknowledging").is_some(), "{walk:?}");

    // What it gives back comes again.
    socket.say(&json!({ "nack": { "ids": ids(&live), "after_ms": 0 } })).await;
    assert_eq!(socket.next_with("nacked", &mut seen).await["done"], 1);
    let again = socket.deliveries(1, &mut seen).await;
    assert_eq!((texts(&again), &again[0]["attempt"]), (vec!["live"], &json!(2)));
    // An acknowledgement of the first attempt comes too late.
    socket.say(&json!({ "ack": ids(&live) })).await;
    assert_eq!(socket.next_with("acked", &mut seen).await, json!({ "done": 0, "stale": 1 }));
    socket.say(&json!({ "ack": ids(&again) })).await;
    assert_eq!(socket.next_with("acked", &mut seen).await["done"], 1);
}

#[tokio::test]
async fn a_socket_that_comes_back_goes_on_behind_its_last_acknowledgement() {
    let (_directory, sidecar) = receiver("");
    subscribe(&sidecar, "s", &["messages"]).await;
    for n in 0..6 {
        arrives(&sidecar, &n.to_string(), "alice", "bob", &n.to_string()).await;
    }
    behind_by(&sidecar, 6).await;
    let mut seen = Vec::new();
    let mut socket = Socket::open(&sidecar, "s").await;
    let deliveries = socket.deliveries(6, &mut seen).await;
    socket.say(&json!({ "ack_through": deliveries[3]["id"] })).await;
    assert_eq!(socket.next_with("acked", &mut seen).await["done"], 4);
    drop(socket);

    let mut socket = Socket::open(&sidecar, "s").await;
    assert_eq!(socket.next().await["recovery"]["recovered"], true);
    let rest = socket.deliveries(2, &mut seen).await;
    assert_eq!(texts(&rest), ["4", "5"]);
    socket.say(&json!({ "ack": ids(&rest) })).await;
    assert_eq!(socket.next_with("acked", &mut seen).await["done"], 2);
}

#[tokio::test]
async fn a_frame_is_acknowledged_by_its_cursor() {
    let (_directory, sidecar) = receiver("");
    for name in ["s", "other"] {
        subscribe(&sidecar, name, &["messages"]).await;
    }
    for n in 0..3 {
        arrives(&sidecar, &n.to_string(), "alice", "bob", &n.to_string()).await;
    }
    behind_by(&sidecar, 3).await;
    let mut seen = Vec::new();
    let mut socket = Socket::open(&sidecar, "s").await;
    let frame = loop {
        let frame = socket.next().await;
        if frame.get("deliveries").is_some() {
            break frame;
        }
    };
    assert_eq!(texts(frame["deliveries"].as_array().unwrap()), ["0", "1", "2"]);
    // One of them is done with by its own name already.
    socket.say(&json!({ "ack": [frame["deliveries"][0]["id"]] })).await;
    assert_eq!(socket.next_with("acked", &mut seen).await, json!({ "done": 1, "stale": 0 }));
    socket.say(&json!({ "ack_cursor": frame["cursor"] })).await;
    assert_eq!(socket.next_with("acked", &mut seen).await["done"], 2);
    socket.say(&json!({ "ack_cursor": frame["cursor"] })).await;
    assert_eq!(socket.next_with("acked", &mut seen).await["done"], 0, "once");
    assert_eq!(sidecar.get("/v1/subscribers/s").await["lag"], 0);

    // Another subscriber's cursor acknowledges nothing, nor does what is none.
    let mut other = Socket::open(&sidecar, "other").await;
    let deliveries = other.deliveries(3, &mut seen).await;
    for cursor in [&frame["cursor"], &json!("nonsense")] {
        other.say(&json!({ "ack_cursor": cursor })).await;
        let error = other.next_with("error", &mut seen).await;
        assert_eq!(error["type"], "urn:switchboard:problem:invalid_input", "{error}");
    }
    other.say(&json!({ "ack": ids(&deliveries) })).await;
    assert_eq!(other.next_with("acked", &mut seen).await["done"], 3);
}

#[tokio::test]
async fn what_comes_while_a_stream_rests_goes_out_in_one_frame() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Sidecar::command(directory.path(), &format!("{SMALL}{}", Vendors::nowhere()));
    command.env("SWITCHBOARD__SERVER__FLUSH_EVERY", "2s");
    let sidecar = Sidecar::spawn(command);
    subscribe(&sidecar, "s", &["messages"]).await;
    let mut seen = Vec::new();
    let mut socket = Socket::open(&sidecar, "s").await;
    arrives(&sidecar, "0", "alice", "bob", "first").await;
    let first = socket.next_with("deliveries", &mut seen).await;
    assert_eq!(texts(first.as_array().unwrap()), ["first"], "the first after a silence goes at once");
    for n in 1..4 {
        arrives(&sidecar, &n.to_string(), "alice", "bob", &n.to_string()).await;
    }
    let rest = socket.next_with("deliveries", &mut seen).await;
    assert_eq!(texts(rest.as_array().unwrap()), ["1", "2", "3"]);
}

#[tokio::test]
async fn a_socket_hears_what_is_wrong_with_what_it_said_and_stays_open() {
    let (_directory, sidecar) = receiver("");
    subscribe(&sidecar, "s", &["messages"]).await;
    let mut socket = Socket::open(&sidecar, "s").await;
    let mut seen = Vec::new();
    for text in [json!({ "acknowledge": [] }), json!({ "ack": ["nonsense"] }), json!([]), json!({ "nack": {} })] {
        socket.say(&text).await;
        let error = socket.next_with("error", &mut seen).await;
        assert_eq!(error["type"], "urn:switchboard:problem:invalid_input", "{text}: {error}");
    }
    arrives(&sidecar, "1", "alice", "bob", "still here").await;
    let deliveries = socket.deliveries(1, &mut seen).await;
    assert_eq!(texts(&deliveries), ["still here"]);

    // No token and no subscriber are told before the upgrade.
    for (name, token, status) in [("s", "wrong", 401), ("nobody", TOKEN, 404)] {
        let url = format!("{}/v1/subscribers/{name}/stream", sidecar.url.replacen("http", "ws", 1));
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        match tokio_tungstenite::connect_async(request).await {
            Err(Error::Http(response)) => assert_eq!(response.status().as_u16(), status),
            other => panic!("{name}: {other:?}"),
        }
    }
    let plain = sidecar.request(Method::GET, "/v1/subscribers/s/stream").send().await.unwrap();
    assert!(plain.status().is_client_error());
    assert_eq!(plain.headers()["content-type"], "application/problem+json");
}

#[tokio::test]
async fn two_sockets_share_the_work_and_keep_each_conversation_whole() {
    let (_directory, sidecar) = receiver("");
    let spec = json!({ "topics": ["messages"], "reception": "concurrent", "max_in_flight": 8 });
    sidecar.send(Method::PUT, "/v1/subscribers/s", &spec).await;
    let mut sockets = [Socket::open(&sidecar, "s").await, Socket::open(&sidecar, "s").await];
    for n in 0..60 {
        arrives(&sidecar, &n.to_string(), &format!("user{}", n % 6), "shop", &n.to_string()).await;
    }
    let mut last = std::collections::BTreeMap::new();
    let (mut seen, mut came) = (Vec::new(), [0, 0]);
    while came[0] + came[1] < 60 {
        let [one, other] = &mut sockets;
        let (at, deliveries) = tokio::select! {
            deliveries = one.deliveries(1, &mut seen) => (0, deliveries),
            deliveries = async { other.next_with("deliveries", &mut Vec::new()).await } => {
                (1, deliveries.as_array().unwrap().clone())
            }
        };
        for delivery in &deliveries {
            let event = &delivery["event"];
            let sequence: u64 = event["sequence"].as_str().unwrap().parse().unwrap();
            let before = last.insert(event["subject"].as_str().unwrap().to_owned(), sequence).unwrap_or(0);
            assert_eq!(sequence, before + 1, "{} out of order", event["subject"]);
        }
        came[at] += deliveries.len();
        sockets[at].say(&json!({ "ack": ids(&deliveries) })).await;
    }
    println!("the sockets got {came:?}");
    assert!(came.iter().all(|came| *came > 0), "one of them did everything: {came:?}");
    until("all is acknowledged", async || sidecar.get("/v1/subscribers/s").await["lag"] == 0).await;
}

/// One server-sent event: its name, id and data.
type SseEvent = (String, String, Value);

/// Opens a stream of server-sent events.
async fn sse(sidecar: &Sidecar) -> impl Stream<Item = SseEvent> + Unpin + use<> {
    let request = sidecar.request(Method::GET, "/v1/subscribers/s/stream").header("accept", "text/event-stream");
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    let blocks = response.bytes_stream().map(move |bytes| {
        text.push_str(std::str::from_utf8(&bytes.unwrap()).unwrap());
        let whole = text.rfind("\n\n").map_or(0, |end| end + 2);
        let blocks: Vec<SseEvent> = text.drain(..whole).collect::<String>().split("\n\n").filter_map(event).collect();
        futures::stream::iter(blocks)
    });
    Box::pin(blocks.flatten())
}

fn event(block: &str) -> Option<SseEvent> {
    let field = |name: &str| {
        let lines = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        lines.map(str::trim_start).collect::<Vec<_>>().join("\n")
    };
    let data = serde_json::from_str(&field("data")).ok()?;
    Some((field("event"), field("id"), data))
}

async fn sse_deliveries(events: &mut (impl Stream<Item = SseEvent> + Unpin), count: usize) -> Vec<Value> {
    let mut deliveries = Vec::new();
    while deliveries.len() < count {
        let (name, id, data) = tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap();
        if name == "delivery" {
            assert_eq!(data["id"], id);
            deliveries.push(data);
        }
    }
    deliveries
}

#[tokio::test]
async fn server_sent_events_are_acknowledged_beside_the_stream() {
    let (_directory, mut sidecar) = receiver("");
    subscribe(&sidecar, "s", &["messages"]).await;
    arrives(&sidecar, "1", "alice", "bob", "one").await;
    arrives(&sidecar, "2", "alice", "bob", "two").await;
    behind_by(&sidecar, 2).await;

    let mut events = sse(&sidecar).await;
    let (name, _, data) = events.next().await.unwrap();
    assert_eq!((name.as_str(), data), ("recovery", json!({ "recovered": true })));
    let deliveries = sse_deliveries(&mut events, 2).await;
    assert_eq!(texts(&deliveries), ["one", "two"]);
    let body = json!({ "ids": [deliveries[0]["id"]] });
    assert_eq!(sidecar.send(Method::POST, "/v1/subscribers/s/ack", &body).await["done"], 1);
    drop(events);

    let mut events = sse(&sidecar).await;
    let deliveries = sse_deliveries(&mut events, 1).await;
    assert_eq!(texts(&deliveries), ["two"]);
    let body = json!({ "through": deliveries[0]["id"] });
    assert_eq!(sidecar.send(Method::POST, "/v1/subscribers/s/ack", &body).await["done"], 1);
    until("it is online", async || sidecar.get("/v1/subscribers/s").await["state"] == "online").await;
    arrives(&sidecar, "3", "alice", "bob", "three").await;
    let deliveries = sse_deliveries(&mut events, 1).await;
    assert_eq!((texts(&deliveries), kinds(&deliveries)), (vec!["three"], vec![&json!("online")]));

    // A stop ends the stream instead of waiting for it.
    let stop = tokio::task::spawn_blocking(move || sidecar.terminate());
    let end = async { while events.next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(20), end).await.unwrap();
    assert!(stop.await.unwrap().success());
}
