//! Listeners, and the bounds on connections.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use switchboard_contract::{Error, ErrorKind, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::GateConfig;
use super::business::Business;
use super::cadence::Cadences;
use super::connection::{Admitted, admit};
use crate::proto;
use crate::service::{RouteKick, Service};
use crate::stream::{Io, Plain};
use crate::transport::Transport;

/// How long a gate that stops waits for its connections to end.
const GOODBYE: Duration = Duration::from_secs(2);

/// A running gate. It stops with [`shutdown`](Self::shutdown).
pub struct Gate {
    shared: Arc<Shared>,
    websocket: Option<SocketAddr>,
    tcp: Option<SocketAddr>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("websocket", &self.websocket).field("tcp", &self.tcp).finish_non_exhaustive()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.shared.service.routes().kick_all(&RouteKick::new(proto::kicked::Reason::Shutdown));
    }
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) service: Service,
    pub(super) config: GateConfig,
    /// Who answers businesses; without, none may log in.
    pub(super) business: Option<Arc<dyn Business>>,
    pub(super) cadences: Cadences,
    strangers: Mutex<Strangers>,
    connections: AtomicUsize,
    pub(super) tasks: TaskTracker,
    stop: CancellationToken,
}

/// A connection that is counted. No longer when dropped.
pub(super) struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Connections that have not logged in, the oldest first.
#[derive(Default)]
struct Strangers {
    waiting: VecDeque<(u64, CancellationToken)>,
    last: u64,
}

/// A connection that has not logged in. Gone when dropped.
pub(super) struct Stranger {
    shared: Arc<Shared>,
    number: u64,
    /// Somebody else needs the place.
    pub(super) evicted: CancellationToken,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut strangers = self.shared.strangers.lock();
        if let Ok(index) = strangers.waiting.binary_search_by_key(&self.number, |(number, _)| *number) {
            strangers.waiting.remove(index);
        }
    }
}

impl Shared {
    fn meet(self: &Arc<Self>) -> Stranger {
        let mut strangers = self.strangers.lock();
        if strangers.waiting.len() >= self.config.max_strangers.max(1)
            && let Some((_, oldest)) = strangers.waiting.pop_front()
        {
            oldest.cancel();
            metrics::counter!("switchboard_gate_strangers_evicted_total").increment(1);
        }
        strangers.last += 1;
        let (number, evicted) = (strangers.last, CancellationToken::new());
        strangers.waiting.push_back((number, evicted.clone()));
        Stranger { shared: self.clone(), number, evicted }
    }
}

#[derive(Clone, Copy)]
enum Form {
    Tcp,
    WebSocket,
}

impl Gate {
    /// Listens.
    ///
    /// # Errors
    /// `Config` for an address that cannot be listened at.
    pub(crate) async fn open(
        service: Service,
        config: GateConfig,
        business: Option<Arc<dyn Business>>,
    ) -> Result<Self> {
        let (websocket, tcp) = (config.websocket, config.tcp);
        let shared = Arc::new(Shared {
            service,
            config,
            business,
            cadences: Cadences::default(),
            strangers: Mutex::default(),
            connections: AtomicUsize::new(0),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        let websocket = listen(&shared, websocket, Form::WebSocket).await?;
        let tcp = listen(&shared, tcp, Form::Tcp).await?;
        if let Some(address) = websocket {
            tracing::info!(%address, "the gate listens for WebSocket connections");
        }
        if let Some(address) = tcp {
            tracing::info!(%address, "the gate listens for TCP connections");
        }
        Ok(Self { shared, websocket, tcp })
    }

    /// Where WebSocket connections are taken.
    pub fn websocket(&self) -> Option<SocketAddr> {
        self.websocket
    }

    /// Where TCP connections are taken.
    pub fn tcp(&self) -> Option<SocketAddr> {
        self.tcp
    }

    /// Connections now, logged in or not.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Takes no more connections, tells those there are, and waits for them to end, for a moment.
    pub async fn shutdown(&self) {
        let shared = &self.shared;
        shared.stop.cancel();
        shared.service.routes().kick_all(&RouteKick::new(proto::kicked::Reason::Shutdown));
        shared.tasks.close();
        tokio::select! {
            () = shared.tasks.wait() => {}
            () = shared.service.clock().sleep(GOODBYE) => {}
        }
    }
}

async fn listen(shared: &Arc<Shared>, address: Option<SocketAddr>, form: Form) -> Result<Option<SocketAddr>> {
    let Some(address) = address else { return Ok(None) };
    let unusable = |error: std::io::Error| {
        Error::new(ErrorKind::Config, format!("the gate cannot listen at {address}: {error}")).with_source(error)
    };
    let listener = TcpListener::bind(address).await.map_err(unusable)?;
    let local = listener.local_addr().map_err(unusable)?;
    let task = accept(shared.clone(), listener, form);
    shared.tasks.spawn(task);
    Ok(Some(local))
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, form: Form) {
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => welcome(&shared, stream, form),
            Err(error) => {
                // Mostly: no file descriptor is left. Another try at once would find none either.
                tracing::warn!(%error, "a connection could not be taken");
                shared.service.clock().sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn welcome(shared: &Arc<Shared>, stream: TcpStream, form: Form) {
    let before = shared.connections.fetch_add(1, Ordering::Relaxed);
    let open = Open(shared.clone());
    metrics::gauge!("switchboard_gate_connections").set(before as f64 + 1.0);
    if before >= shared.config.max_connections {
        metrics::counter!("switchboard_gate_connections_refused_total").increment(1);
        return;
    }
    // Without it small packets wait for each other.
    let _ = stream.set_nodelay(true);
    let stranger = shared.meet();
    let (task, stop) = (shared.clone(), shared.stop.clone());
    shared.tasks.spawn(async move {
        if let Some(admitted) = greet(&task, stream, form, stranger, &stop).await {
            admitted.start(&task, open, stop);
        }
    });
}

/// From a stream to somebody who has logged in.
async fn greet(
    shared: &Arc<Shared>,
    stream: TcpStream,
    form: Form,
    stranger: Stranger,
    stop: &CancellationToken,
) -> Option<Admitted> {
    let limit = shared.config.max_packet_bytes;
    let greeting = async {
        let io: Io = match &shared.config.tls {
            Some(tls) => Box::new(tls.0.accept(stream).await.ok()?),
            None => Box::new(Plain::new(stream)),
        };
        match form {
            Form::Tcp => Some(Transport::tcp(io, limit)),
            Form::WebSocket => Transport::websocket(io, limit).await.ok(),
        }
    };
    let deadline = shared.service.clock().sleep(shared.config.login_within);
    let transport = tokio::select! {
        transport = greeting => transport,
        () = deadline => None,
        () = stranger.evicted.cancelled() => None,
        () = stop.cancelled() => None,
    };
    admit(shared, transport?, stranger, stop).await
}
