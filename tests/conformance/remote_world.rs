//! The service of our own behind its gate, with a network in between that fails when it is told to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use serde_json::{Value, json};
use switchboard_conformance::{Accepted, Fault, World};
use switchboard_contract::{
    Clock, Provider, RawCallback, Target, Timestamp, VendorGroupId, VendorMessageId, VendorUserId,
};
use switchboard_selfhosted::frame::{BINARY_PROTOCOL, Body, Command, Decoder, Kind, Packet, encode_body, flags};
use switchboard_selfhosted::{RemoteGate, SelfHostedConfig, proto};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use super::selfhosted_world::{SECRET, SelfHostedWorld};
use super::{Twist, twisted};

/// What stands between the provider and the gate.
#[derive(Debug)]
struct Network {
    gate: SocketAddr,
    next: Mutex<Option<Fault>>,
    /// Connections of the provider that it has not given up.
    open: AtomicUsize,
    /// Raised to cut what is open.
    cut: watch::Sender<u32>,
}

impl Network {
    async fn start(gate: SocketAddr) -> (Arc<Self>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, _) = watch::channel(0);
        let network = Arc::new(Self { gate, next: Mutex::new(None), open: AtomicUsize::new(0), cut });
        let there = network.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(there.clone().serve(stream));
            }
        });
        (network, address)
    }

    fn takes(&self, fault: Fault) -> bool {
        self.next.lock().take_if(|next| *next == fault).is_some()
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        if self.takes(Fault::HtmlPage) {
            let mut asked = [0; 4096];
            let _ = stream.read(&mut asked).await;
            let page = "<html><body>Bad gateway</body></html>";
            let answer = format!(
                "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{page}",
                page.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            return;
        }
        self.open.fetch_add(1, Ordering::SeqCst);
        self.pass(stream).await;
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    async fn pass(&self, stream: TcpStream) {
        #[allow(clippy::result_large_err, reason = "the form is tungstenite's")]
        let choose = |_: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            response.headers_mut().insert("sec-websocket-protocol", BINARY_PROTOCOL.parse().unwrap());
            Ok(response)
        };
        let Ok(mut here) = tokio_tungstenite::accept_hdr_async(stream, choose).await else { return };
        let mut request = format!("ws://{}/", self.gate).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", BINARY_PROTOCOL.parse().unwrap());
        let Ok((mut there, _)) = tokio_tungstenite::connect_async(request).await else { return };
        let mut cut = self.cut.subscribe();
        let (mut asked, mut told) = (Decoder::new(1 << 20), Decoder::new(1 << 20));
        let mut unanswered = None;
        loop {
            tokio::select! {
                _ = cut.changed() => return,
                message = here.next() => {
                    let Some(Ok(Message::Binary(bytes))) = message else { return };
                    asked.extend(&bytes);
                    while let Some(packet) = asked.next_packet().unwrap() {
                        let send = packet.command == Command::Business && contains(&packet.body, br#""call":"send""#);
                        if send && self.takes(Fault::RateLimited) {
                            here.send(Message::Binary(refusal(&packet))).await.unwrap();
                            continue;
                        }
                        if send && self.takes(Fault::LostAnswer) {
                            unanswered = Some(packet.correlation);
                        }
                        let mut out = bytes::BytesMut::new();
                        packet.encode(&mut out);
                        if there.send(Message::Binary(out.freeze())).await.is_err() {
                            return;
                        }
                    }
                }
                message = there.next() => {
                    let Some(Ok(Message::Binary(bytes))) = message else {
                        // The gate has closed it: over when the provider has seen that.
                        let _ = here.close(None).await;
                        while let Some(Ok(_)) = here.next().await {}
                        return;
                    };
                    told.extend(&bytes);
                    while let Some(packet) = told.next_packet().unwrap() {
                        if packet.kind == Kind::Ack && unanswered == Some(packet.correlation) {
                            return;
                        }
                        let mut out = bytes::BytesMut::new();
                        packet.encode(&mut out);
                        if here.send(Message::Binary(out.freeze())).await.is_err() {
                            return;
                        }
                    }
                }
            }
        }
    }
}

fn contains(body: &[u8], words: &[u8]) -> bool {
    body.windows(words.len()).any(|window| window == words)
}

fn refusal(packet: &Packet) -> bytes::Bytes {
    let fault = proto::Fault { code: "rate_limited".to_owned(), retry: true, retry_after_ms: 50, ..Default::default() };
    let ack = Packet {
        kind: Kind::Ack,
        flags: flags::ERROR,
        command: packet.command,
        correlation: packet.correlation,
        body: encode_body(&Body::Fault(fault)),
    };
    let mut out = bytes::BytesMut::new();
    ack.encode(&mut out);
    out.freeze()
}

#[derive(Debug)]
pub(crate) struct RemoteWorld {
    inner: SelfHostedWorld,
    network: Arc<Network>,
    address: SocketAddr,
    real: Arc<dyn Provider>,
    provider: Arc<dyn Provider>,
    /// How far the provider's link has been read.
    seen: Mutex<u64>,
}

impl RemoteWorld {
    pub(crate) async fn start(twist: Twist) -> Self {
        let (inner, gate) = SelfHostedWorld::open(None, "127.0.0.1:0").await;
        let (network, address) = Network::start(gate.unwrap()).await;
        let real = remote(address, SECRET, inner.clock());
        let world = Self { inner, network, address, provider: twisted(real.clone(), twist), real, seen: Mutex::new(0) };
        world.callbacks().await;
        world
    }
}

fn remote(address: SocketAddr, secret: &str, clock: switchboard::clock::ManualClock) -> Arc<dyn Provider> {
    let settings = json!({ "base_url": format!("ws://{address}"), "secret": secret });
    let config: SelfHostedConfig = serde_json::from_value(settings).unwrap();
    Arc::new(RemoteGate::build(&config, Arc::new(clock)).unwrap())
}

#[async_trait]
impl World for RemoteWorld {
    fn provider(&self) -> Arc<dyn Provider> {
        self.provider.clone()
    }

    fn stranger(&self) -> Option<Arc<dyn Provider>> {
        Some(remote(self.address, "a secret of somebody else", self.inner.clock()))
    }

    fn users(&self) -> [VendorUserId; 3] {
        self.inner.users()
    }

    fn group(&self) -> VendorGroupId {
        self.inner.group()
    }

    fn room(&self) -> VendorGroupId {
        self.inner.room()
    }

    fn now(&self) -> Timestamp {
        self.inner.clock().now()
    }

    async fn pass(&self, time: Duration) -> bool {
        self.inner.pass(time).await
    }

    async fn accepted(&self) -> Option<Vec<Accepted>> {
        self.inner.accepted().await
    }

    async fn client_sends(&self, from: &VendorUserId, to: &Target, text: &str) -> Option<VendorMessageId> {
        self.inner.client_sends(from, to, text).await
    }

    async fn client_recalls(&self, from: &VendorUserId, message: &VendorMessageId) -> bool {
        self.inner.client_recalls(from, message).await
    }

    async fn callbacks(&self) -> Vec<RawCallback> {
        let (mut found, tail) = (Vec::new(), self.inner.tail().await);
        while *self.seen.lock() < tail {
            for notice in self.real.link().unwrap().next().await.unwrap() {
                let body: Value = serde_json::from_slice(&notice.body).unwrap();
                let last = body["events"].as_array().unwrap().last().unwrap();
                *self.seen.lock() = last["entry"]["position"].as_str().unwrap().parse().unwrap();
                found.push(notice);
            }
        }
        found
    }

    fn with_unknown_field(&self, callback: &RawCallback, name: &str, value: &str) -> RawCallback {
        self.inner.with_unknown_field(callback, name, value)
    }

    fn with_flipped_signature(&self, callback: &RawCallback) -> RawCallback {
        self.inner.with_flipped_signature(callback)
    }

    fn invented_callback(&self) -> RawCallback {
        self.inner.invented_callback()
    }

    async fn break_next(&self, fault: Fault) -> bool {
        match fault {
            Fault::LostAnswer | Fault::RateLimited => *self.network.next.lock() = Some(fault),
            Fault::HtmlPage => {
                *self.network.next.lock() = Some(fault);
                self.network.cut.send_modify(|cut| *cut += 1);
                while self.network.open.load(Ordering::SeqCst) > 0 {
                    tokio::task::yield_now().await;
                }
            }
            // The token that the link was made with ends, and with it the link.
            Fault::ExpiredToken => {
                self.inner.clock().advance(Duration::from_secs(2 * 3600));
                while self.network.open.load(Ordering::SeqCst) > 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
        true
    }
}
