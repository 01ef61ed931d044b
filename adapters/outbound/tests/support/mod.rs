//! A vendor for tests: a real listener with queued answers, and clocks.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use switchboard_contract::{App, Clock, Error, ErrorKind, Result, Retry, Sleep, Timestamp};
use switchboard_outbound::{
    Classifier, HeaderMap, HeaderValue, Method, Outbound, OutboundConfig, Signer, VendorCall, VendorReply,
    foreign_answer,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the vendor does with one request.
pub(crate) enum Act {
    /// Answers with status, further header lines and body.
    Reply(u16, &'static str, Vec<u8>),
    /// Reads the request and closes the connection.
    Cut,
    /// Reads the request and never answers.
    Hang,
}

pub(crate) fn ok() -> Act {
    Act::Reply(200, "content-type: application/json", b"{}".to_vec())
}

pub(crate) fn status(status: u16) -> Act {
    Act::Reply(status, "content-type: application/json", b"{}".to_vec())
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) connection: usize,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

#[derive(Clone)]
pub(crate) struct Vendor {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Vendor {
    /// Listens on a free port and takes its acts in order; when they run out it answers 200.
    pub(crate) async fn start(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let acts = Arc::new(Mutex::new(VecDeque::from(acts)));
        let log = seen.clone();
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                tokio::spawn(serve(stream, connection, acts.clone(), log.clone()));
            }
        });
        Self { url, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }
}

async fn serve(mut stream: TcpStream, connection: usize, acts: Arc<Mutex<VecDeque<Act>>>, log: Arc<Mutex<Vec<Seen>>>) {
    while let Some((head, body)) = read_request(&mut stream).await {
        log.lock().push(Seen { connection, head, body });
        let act = acts.lock().pop_front().unwrap_or_else(ok);
        match act {
            Act::Cut => return,
            Act::Hang => std::future::pending::<()>().await,
            Act::Reply(status, headers, body) => {
                let gap = if headers.is_empty() { "" } else { "\r\n" };
                let head = format!("HTTP/1.1 {status} X\r\n{headers}{gap}content-length: {}\r\n\r\n", body.len());
                if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(&body).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse().unwrap());
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, bytes[end..].to_vec()))
}

/// A clock whose waits end at once and move its time; it remembers them.
#[derive(Debug, Default)]
pub(crate) struct JumpClock {
    now: AtomicI64,
    pub(crate) waits: Mutex<Vec<Duration>>,
}

impl JumpClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.now.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
    }
}

impl Clock for JumpClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        self.waits.lock().push(duration);
        self.advance(duration);
        Box::pin(std::future::ready(()))
    }
}

/// Time as the runtime sees it.
#[derive(Debug)]
pub(crate) struct TokioClock(pub(crate) tokio::time::Instant);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.elapsed().as_millis() as i64)
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// 2xx JSON is good, 429 and 503 JSON were refused before any effect, 501 is a code nobody knows.
#[derive(Debug)]
pub(crate) struct Table;

impl Classifier for Table {
    fn check(&self, _call: &VendorCall, reply: &VendorReply) -> Result<()> {
        let json = reply.header("content-type") == Some("application/json");
        match reply.status {
            200 if json => Ok(()),
            401 if json => Err(Error::new(ErrorKind::Unauthorized, "refused")),
            429 if json => Err(Error::new(ErrorKind::RateLimited, "too many")),
            503 if json => Err(Error::new(ErrorKind::Unavailable, "closed").with_retry(Retry::Safe { after: None })),
            501 if json => Err(Error::new(ErrorKind::Internal, "new").with_vendor_code("90909")),
            _ => Err(foreign_answer(reply)),
        }
    }
}

/// Numbers its signatures; renews once when told to.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    pub(crate) signed: Mutex<u32>,
    pub(crate) refused: Mutex<u32>,
    pub(crate) renews: bool,
}

#[async_trait]
impl Signer for Counting {
    async fn sign(&self, _call: &VendorCall, headers: &mut HeaderMap) -> Result<()> {
        let mut signed = self.signed.lock();
        *signed += 1;
        headers.insert("x-nonce", HeaderValue::from(*signed));
        Ok(())
    }

    async fn refused(&self, _call: &VendorCall, _reply: &VendorReply, signed: &HeaderMap) -> bool {
        assert!(signed.contains_key("x-nonce"), "the refused headers are shown");
        *self.refused.lock() += 1;
        self.renews
    }
}

pub(crate) fn app() -> App {
    App::new("acme", "app-1")
}

/// Short real times for what runs on the runtime's timers.
pub(crate) fn config(vendors: &[&Vendor]) -> OutboundConfig {
    OutboundConfig {
        base_urls: vendors.iter().map(|vendor| vendor.url.parse().unwrap()).collect(),
        use_proxy: false,
        ..OutboundConfig::default()
    }
}

pub(crate) fn client(config: OutboundConfig, clock: &Arc<JumpClock>) -> Outbound {
    Outbound::builder(config, app(), clock.clone(), Arc::new(Table)).with_seed(1).build().unwrap()
}

pub(crate) fn read() -> VendorCall {
    VendorCall::read(Method::GET, "look", "reads", "/thing")
}

pub(crate) fn send() -> VendorCall {
    VendorCall::once(Method::POST, "send", "sends", "/send")
}

/// The address of a port that nobody listens on.
pub(crate) async fn nobody() -> Vendor {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    Vendor { url, seen: Arc::default() }
}
