//! Listeners whose connections can be cut, one per domain, all serving the same state.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::chance::FaultEngine;

/// Why an emulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address could not be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The client for callbacks could not be built.
    #[error("cannot build the callback client")]
    Client(#[from] reqwest::Error),
    /// Contradictory or malformed settings.
    #[error("{0}")]
    Settings(String),
}

/// The connection a request came in on. A handler or layer may [`cut`](Connection::cut) it.
#[derive(Clone, Debug)]
pub struct Connection {
    domain: Arc<str>,
    cut: Arc<AtomicBool>,
}

impl Connection {
    /// `host:port` of the listener.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Breaks the connection: whatever the handler answers never reaches the peer.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }
}

impl Connected<IncomingStream<'_, Cuttable>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Cuttable>) -> Self {
        stream.io().connection.clone()
    }
}

/// Accepts connections that can be cut and refuses them while the domain is dead.
struct Cuttable {
    tcp: TcpListener,
    domain: Arc<str>,
    faults: Arc<FaultEngine>,
}

impl Listener for Cuttable {
    type Io = CuttableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // The trait's own implementation waits out errors such as too many open files.
            let (tcp, peer) = Listener::accept(&mut self.tcp).await;
            if self.faults.is_dead(&self.domain) {
                drop(tcp);
                continue;
            }
            // Small answers to many small calls; a failure only costs latency.
            let _ = tcp.set_nodelay(true);
            let connection = Connection { domain: Arc::clone(&self.domain), cut: Arc::default() };
            return (CuttableStream { tcp, connection }, peer);
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

struct CuttableStream {
    tcp: TcpStream,
    connection: Connection,
}

impl CuttableStream {
    fn check(&self) -> io::Result<()> {
        if self.connection.cut.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for CuttableStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}

/// The open domains of one emulator. Clones share them.
#[derive(Clone, Debug)]
pub struct Domains {
    faults: Arc<FaultEngine>,
    addresses: Arc<Mutex<Vec<SocketAddr>>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Domains {
    /// No domain yet.
    #[must_use]
    pub fn new(faults: Arc<FaultEngine>) -> Self {
        Self { faults, addresses: Arc::default(), stop: CancellationToken::new(), tasks: TaskTracker::new() }
    }

    /// Opens a listener (`127.0.0.1:0` picks a port) that serves `router`, and returns its address.
    ///
    /// # Errors
    /// [`StartError::Listen`] when the address cannot be bound.
    pub async fn open(&self, address: &str, router: Router) -> Result<SocketAddr, StartError> {
        let listen = |source| StartError::Listen { address: address.to_owned(), source };
        let tcp = TcpListener::bind(address).await.map_err(listen)?;
        let bound = tcp.local_addr().map_err(listen)?;
        let listener = Cuttable { tcp, domain: bound.to_string().into(), faults: Arc::clone(&self.faults) };
        let service = router.into_make_service_with_connect_info::<Connection>();
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let served = axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await;
            if let Err(error) = served {
                tracing::error!(%error, "emulator listener ended");
            }
        });
        self.addresses.lock().push(bound);
        Ok(bound)
    }

    /// `http://host:port` of every domain, the first one first.
    #[must_use]
    pub fn base_urls(&self) -> Vec<String> {
        self.addresses.lock().iter().map(|address| format!("http://{address}")).collect()
    }

    /// Cancelled when the domains close; long-lived connections must end then.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Stops listening and waits for running requests.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
