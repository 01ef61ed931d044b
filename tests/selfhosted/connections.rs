//! Connections: bad packets, bad manners, and many of them.

use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use switchboard_selfhosted::client::{Connection, Told};
use switchboard_selfhosted::frame::{Body, Command, Decoder, HEADER_BYTES, Header, JSON_PROTOCOL, Kind, decode_body};
use switchboard_selfhosted::proto::{self, DeviceClass};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::stage::{PATIENCE, Stage, user};

/// Sends bytes and returns why the service closed the connection.
async fn why(stage: &Stage, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(stage.own.gate().tcp().unwrap()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut decoder = Decoder::new(1 << 20);
    let read = async { while stream.read_buf(decoder.buffer()).await.unwrap() > 0 {} };
    tokio::time::timeout(PATIENCE, read).await.expect("the connection stays open");
    let packet = decoder.next_packet().unwrap().expect("closed without a word");
    assert_eq!((packet.kind, packet.command), (Kind::Notify, Command::Close));
    let Body::Fault(fault) = decode_body(&packet).unwrap() else { panic!() };
    fault.code
}

fn header(length: u32, command: Command) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    Header { kind: Kind::Request, flags: 0, command, correlation: 1, length }.encode(&mut out);
    assert_eq!(out.len(), HEADER_BYTES);
    out.to_vec()
}

#[tokio::test]
async fn what_is_no_packet_closes_the_connection_with_a_reason() {
    let stage = Stage::with(json!({ "login_within": "300ms" })).await;
    assert_eq!(why(&stage, &header(u32::MAX, Command::Login)).await, "too_long");
    assert_eq!(why(&stage, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await, "bad_magic");
    assert_eq!(why(&stage, &header(0, Command::Pull)).await, "login_first");
    assert_eq!(why(&stage, &[header(2, Command::Login), vec![0x0a, 0xff]].concat()).await, "bad_body");
    assert_eq!(why(&stage, &header(100, Command::Login)).await, "login_deadline", "it never became whole");
    assert_eq!(why(&stage, b"").await, "login_deadline");
}

#[tokio::test]
async fn a_browser_speaks_json_and_means_the_same() {
    let stage = Stage::open().await;
    let mut bob = stage.phone("bob").await;
    let mut request = format!("ws://{}/", stage.own.gate().websocket().unwrap()).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", JSON_PROTOCOL.parse().unwrap());
    let (mut socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], JSON_PROTOCOL);
    let token = stage.login("alice", "tab", DeviceClass::Web).await.token;
    let content = json!({ "body": r#"{"type":"text","text":"from a tab"}"# });
    let asked = [
        json!({ "kind": "request", "command": "login", "id": 1,
            "body": { "user": "alice", "token": token, "device": "tab", "deviceClass": "DEVICE_CLASS_WEB" } }),
        json!({ "kind": "request", "command": "pull", "id": 2 }),
        json!({ "kind": "request", "command": "send", "id": 3, "body": { "to": { "user": "bob" }, "content": content } }),
        json!({ "kind": "request", "command": "send", "id": 4, "body": { "to": { "user": "ghost" }, "content": content } }),
    ];
    let mut answers = std::collections::BTreeMap::new();
    for ask in &asked {
        socket.send(Message::text(ask.to_string())).await.unwrap();
    }
    let mut delivered = None;
    while answers.len() < 4 || delivered.is_none() {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        let Message::Text(text) = message else { continue };
        let packet: Value = serde_json::from_str(&text).unwrap();
        match packet["kind"].as_str().unwrap() {
            "ack" => drop(answers.insert(packet["id"].as_str().unwrap().to_owned(), packet.clone())),
            _ => delivered = Some(packet),
        }
    }
    assert_eq!(answers["1"]["body"]["cursor"], Value::Null, "zero is left out, as the mapping says");
    assert_eq!(answers["3"]["body"]["sequence"], "1");
    assert_eq!((&answers["4"]["error"], &answers["4"]["body"]["code"]), (&json!(true), &json!("not_found")));
    assert_eq!(delivered.unwrap()["body"]["by"], "alice", "the sender's own devices see it too");
    assert_eq!(bob.hears().await, "from a tab");
    socket.send(Message::text("{")).await.unwrap();
    let mut last = Value::Null;
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(text) = message {
            last = serde_json::from_str(&text).unwrap();
        }
    }
    assert_eq!((&last["command"], &last["body"]["code"]), (&json!("close"), &json!("bad_body")));
}

#[tokio::test]
async fn i8_silent_connections_do_not_keep_a_login_waiting() {
    let stage = Stage::with(json!({ "max_strangers": 300, "login_within": "1m" })).await;
    let login = |n: u32| {
        let stage = &stage;
        async move {
            let began = Instant::now();
            let connection = Connection::open(&stage.tcp()).await.unwrap();
            let login = stage.login("alice", &format!("phone-{n}"), DeviceClass::Phone).await;
            connection.login(login).await.unwrap();
            began.elapsed()
        }
    };
    login(0).await;
    // More than are let wait: the oldest of them go, and whoever has something to say comes in.
    let address = stage.own.gate().tcp().unwrap();
    let mut silent = Vec::new();
    for _ in 0..1000 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let took = login(1).await;
    assert!(took < Duration::from_secs(2), "a login took {took:?}");
    crate::stage::eventually("the oldest are closed", || async { stage.own.gate().connections() <= 302 }).await;
}

#[tokio::test]
async fn whoever_falls_silent_is_offline_within_two_heartbeats() {
    let stage = Stage::with(json!({ "heartbeat": "400ms" })).await;
    let mut alice = stage.phone("alice").await;
    assert_eq!(alice.answer.heartbeat_ms, 400);
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let beat = Body::Heartbeat(proto::Heartbeat { network: proto::Network::Wifi.into() });
        let Body::HeartbeatSeen(_) = alice.ask(Command::Heartbeat, beat).await.unwrap() else { panic!() };
    }
    let quiet = Instant::now();
    assert_eq!(alice.told().await, None, "closed without a heartbeat");
    let silence = quiet.elapsed();
    assert!(silence > Duration::from_millis(300) && silence < Duration::from_secs(10), "closed after {silence:?}");
    let silent = |entry: &&Value| entry["presence"]["reason"] == "silent";
    crate::stage::eventually("the business hears of it", || async { stage.log().await.tail().await.unwrap().0 >= 2 })
        .await;
    assert_eq!(stage.told().await.iter().filter(silent).count(), 1);
}

#[tokio::test]
async fn too_many_writes_are_refused_with_a_wait_and_a_slow_reader_costs_no_memory() {
    let stage = Stage::with(json!({ "writes_per_second": 5 })).await;
    let alice = stage.phone("alice").await;
    let mut refused = 0;
    for n in 0..20 {
        let send = proto::Send { to: user("bob"), content: crate::stage::text(&n.to_string()), ..Default::default() };
        if let Err(error) = alice.connection.send(send).await {
            assert_eq!(error.kind(), switchboard_contract::ErrorKind::RateLimited);
            assert!(matches!(error.retry(), switchboard_contract::Retry::Safe { after: Some(_) }));
            refused += 1;
        }
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn a_gate_that_stops_says_so() {
    let stage = Stage::open().await;
    let mut alice = stage.phone("alice").await;
    let stage = stage.again().await;
    let Some(Told::Kicked(kicked)) = alice.told().await else { panic!("no word") };
    assert_eq!(kicked.reason(), proto::kicked::Reason::Shutdown);
    assert_eq!(alice.told().await, None);
    stage.phone("alice").await;
}

#[tokio::test]
async fn i10_tls_by_configuration_and_only_for_whom_somebody_vouches() {
    let file = |name: &str| format!("{}/tests/selfhosted/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let settings = json!({ "tls_certificate": file("cert.pem"), "tls_key": file("key.pem") });
    let stage = Stage::with(settings).await;
    for endpoint in [stage.tcp(), stage.websocket()] {
        let connection = Connection::open(&endpoint.clone().secured("gate.test", file("cert.pem"))).await.unwrap();
        connection.login(stage.login("alice", "phone", DeviceClass::Phone).await).await.unwrap();
        let other = Connection::open(&endpoint.clone().secured("other.test", file("cert.pem"))).await;
        assert_eq!(other.unwrap_err().kind(), switchboard_contract::ErrorKind::Unavailable);
    }
    let plain = Connection::open(&stage.tcp()).await.unwrap();
    let login = stage.login("alice", "phone", DeviceClass::Phone).await;
    assert!(plain.login(login).await.is_err(), "plain text is not understood");
}
