//! One connection to a gate.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use switchboard_contract::{Clock, Error, ErrorKind, Result, Retry, Sleep, Timestamp};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::rustls::pki_types::ServerName;

use crate::frame::{Body, Command, Kind, Packet, decode_body, encode_body};
use crate::outbox::Outbox;
use crate::proto;
use crate::stream::Io;
use crate::tls::connector;
use crate::transport::{Lost, Transport};

/// What the service tells that is not read yet; then it waits.
const TOLD: usize = 256;
const LIMIT: u32 = 16 << 20;
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Where a gate listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    address: String,
    websocket: bool,
    tls: Option<(String, PathBuf)>,
}

impl Endpoint {
    /// Its TCP listener, as `host:port`.
    pub fn tcp(address: impl Into<String>) -> Self {
        Self { address: address.into(), websocket: false, tls: None }
    }

    /// Its WebSocket listener, as `host:port`.
    pub fn websocket(address: impl Into<String>) -> Self {
        Self { address: address.into(), websocket: true, tls: None }
    }

    /// Speaks TLS to a gate of this name, and believes it when one of the certificates in this PEM file vouches for it.
    #[must_use]
    pub fn secured(mut self, name: impl Into<String>, trusted: impl Into<PathBuf>) -> Self {
        self.tls = Some((name.into(), trusted.into()));
        self
    }
}

/// Something the service tells of itself.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "lives for one step")]
pub enum Told {
    /// An entry of the user's timeline. Acknowledge it by its position.
    Entry(proto::Entry),
    /// Somebody's marks have risen.
    Marks(proto::Marks),
    /// Something from the business for whoever is online.
    Push(proto::Push),
    /// The session ends.
    Kicked(proto::Kicked),
    /// The service closes the connection for this fault.
    Closed(proto::Fault),
}

enum Order {
    Request(Packet, oneshot::Sender<Result<Body>>),
    Packet(Packet),
}

/// One connection. Dropping it closes it.
pub struct Connection {
    orders: mpsc::Sender<Order>,
    told: mpsc::Receiver<Told>,
    last: AtomicU64,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

/// A client has no tests to give it another time.
#[derive(Debug)]
struct Time;

impl Clock for Time {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Unavailable, "the connection to the gate is gone").with_retry(Retry::OutcomeUnknown)
}

impl Connection {
    /// Connects. The first request must be [`login`](Self::login).
    ///
    /// # Errors
    /// `Unavailable` when nobody answers there, or somebody whom nobody vouches for; `Config` for certificates that
    /// cannot be read.
    pub async fn open(endpoint: &Endpoint) -> Result<Self> {
        let unreachable = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(ErrorKind::Unavailable, "the gate cannot be reached")
                .with_retry(Retry::Safe { after: None })
                .with_source(error)
        };
        let stream = TcpStream::connect(&endpoint.address).await.map_err(|error| unreachable(error.into()))?;
        let _ = stream.set_nodelay(true);
        let io: Io = match &endpoint.tls {
            None => Box::new(stream),
            Some((name, trusted)) => {
                let name = ServerName::try_from(name.clone())
                    .map_err(|error| Error::invalid("name", "is no server's name").with_source(error))?;
                let connected = connector(trusted)?.connect(name, stream).await;
                Box::new(connected.map_err(|error| unreachable(error.into()))?)
            }
        };
        Self::over(io, endpoint).await.map_err(unreachable)
    }

    async fn over(io: Io, endpoint: &Endpoint) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let transport = if endpoint.websocket {
            Transport::open_websocket(io, &endpoint.address, LIMIT).await?
        } else {
            Transport::tcp(io, LIMIT)
        };
        let (orders, waiting) = mpsc::channel(64);
        let (tell, told) = mpsc::channel(TOLD);
        tokio::spawn(run(transport, waiting, tell));
        Ok(Self { orders, told, last: AtomicU64::new(0) })
    }

    /// Asks and waits for the answer. A caller that stops waiting cancels the request.
    ///
    /// # Errors
    /// What the service refuses, with its kind; `Unavailable` when the connection is gone, `Timeout` after 10 s: then
    /// the request may have been carried out.
    pub async fn request(&self, command: Command, body: &Body) -> Result<Body> {
        self.request_within(command, body, ANSWER_WITHIN).await
    }

    /// As [`request`](Self::request), with as long a wait for the answer.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn request_within(&self, command: Command, body: &Body, within: Duration) -> Result<Body> {
        let correlation = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let packet = Packet::new(Kind::Request, command, correlation, encode_body(body));
        let (reply, answer) = oneshot::channel();
        let never_left = |_| gone().with_retry(Retry::Safe { after: None });
        self.orders.send(Order::Request(packet, reply)).await.map_err(never_left)?;
        match tokio::time::timeout(within, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(gone())),
            Err(_) => {
                let cancel = Packet::new(Kind::Cancel, command, correlation, encode_body(&Body::Empty));
                let _ = self.orders.try_send(Order::Packet(cancel));
                let late = Error::new(ErrorKind::Timeout, "the gate did not answer in time");
                Err(late.with_retry(Retry::OutcomeUnknown))
            }
        }
    }

    /// Logs in.
    ///
    /// # Errors
    /// `Unauthorized` for a token that is not good, `Forbidden` for a banned user; as [`request`](Self::request).
    pub async fn login(&self, login: proto::Login) -> Result<proto::LoggedIn> {
        match self.request(Command::Login, &Body::Login(login)).await? {
            Body::LoggedIn(answer) => Ok(answer),
            _ => Err(unexpected()),
        }
    }

    /// The next page behind `after`, which acknowledges everything up to there.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn pull(&self, after: u64, limit: u32) -> Result<proto::Page> {
        match self.request(Command::Pull, &Body::Pull(proto::Pull { after, limit })).await? {
            Body::Page(page) => Ok(page),
            _ => Err(unexpected()),
        }
    }

    /// Sends a message. Under the same `client_id` a repeat is harmless.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn send(&self, send: proto::Send) -> Result<proto::Sent> {
        match self.request(Command::Send, &Body::Send(send)).await? {
            Body::Sent(sent) => Ok(sent),
            _ => Err(unexpected()),
        }
    }

    /// Everything up to this position has arrived.
    ///
    /// # Errors
    /// `Unavailable` when the connection is gone.
    pub async fn acknowledge(&self, position: u64) -> Result<()> {
        let packet = Packet::new(Kind::Ack, Command::Deliver, position, encode_body(&Body::Empty));
        self.orders.send(Order::Packet(packet)).await.map_err(|_| gone())
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.orders.is_closed()
    }

    /// What the service tells next; `None` when the connection is gone.
    pub async fn next(&mut self) -> Option<Told> {
        self.told.recv().await
    }
}

fn unexpected() -> Error {
    Error::new(ErrorKind::Decode, "the gate answered with something else")
}

/// What a refusal means to its caller.
fn refused(fault: &proto::Fault) -> Error {
    const KINDS: [ErrorKind; 15] = [
        ErrorKind::InvalidInput,
        ErrorKind::Unauthorized,
        ErrorKind::Forbidden,
        ErrorKind::NotFound,
        ErrorKind::Conflict,
        ErrorKind::Unsupported,
        ErrorKind::RateLimited,
        ErrorKind::TooLarge,
        ErrorKind::Rejected,
        ErrorKind::Storage,
        ErrorKind::StorageFull,
        ErrorKind::Closed,
        ErrorKind::Unavailable,
        ErrorKind::Timeout,
        ErrorKind::Decode,
    ];
    let kind = KINDS.into_iter().find(|kind| kind.as_str() == fault.code).unwrap_or(ErrorKind::Internal);
    let after = (fault.retry_after_ms > 0).then(|| Duration::from_millis(fault.retry_after_ms.into()));
    let retry = if fault.retry { Retry::Safe { after } } else { Retry::Never };
    Error::new(kind, fault.message.clone()).with_retry(retry)
}

async fn run(mut transport: Transport, mut orders: mpsc::Receiver<Order>, told: mpsc::Sender<Told>) {
    let mut open: HashMap<u64, oneshot::Sender<Result<Body>>> = HashMap::new();
    let mut out = Outbox::default();
    loop {
        tokio::select! {
            order = orders.recv() => {
                match order {
                    Some(Order::Request(packet, reply)) => {
                        open.insert(packet.correlation, reply);
                        out.push(packet);
                    }
                    Some(Order::Packet(packet)) => out.push(packet),
                    None => break,
                }
                if transport.write(&mut out, ANSWER_WITHIN, &Time).await.is_err() {
                    break;
                }
            }
            packet = transport.read() => {
                let Ok(packet) = packet else { break };
                if dispatch(packet, &mut open, &told).await.is_err() {
                    break;
                }
            }
        }
    }
    for (_, reply) in open {
        let _ = reply.send(Err(gone()));
    }
    transport.close(Duration::from_secs(1), &Time).await;
}

async fn dispatch(
    packet: Packet,
    open: &mut HashMap<u64, oneshot::Sender<Result<Body>>>,
    told: &mpsc::Sender<Told>,
) -> Result<(), Lost> {
    let body = decode_body(&packet).map_err(Lost::Fault)?;
    if packet.kind == Kind::Ack {
        if let Some(reply) = open.remove(&packet.correlation) {
            let _ = reply.send(match body {
                Body::Fault(fault) => Err(refused(&fault)),
                body => Ok(body),
            });
        }
        return Ok(());
    }
    let told_now = match body {
        Body::Entry(entry) => Told::Entry(entry),
        Body::Marks(marks) => Told::Marks(marks),
        Body::Push(push) => Told::Push(push),
        Body::Kicked(kicked) => Told::Kicked(kicked),
        Body::Fault(fault) => Told::Closed(fault),
        _ => return Ok(()),
    };
    told.send(told_now).await.map_err(|_| Lost::Gone)
}
