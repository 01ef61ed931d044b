//! The listener: start, run, stop.

use std::net::SocketAddr;

use axum::serve::ListenerExt;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use switchboard_contract::{Error, ErrorKind, Result};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{ServerConfig, TokenConfig};
use crate::switchboard::Switchboard;

/// Seconds; callbacks are answered in milliseconds, vendors' calls may take seconds.
const BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How often samples are folded into histograms. Until then each is kept: without it, memory would grow for as long as
/// nobody asks for the metrics.
const FOLD_EVERY: std::time::Duration = std::time::Duration::from_secs(5);

/// Makes this process count, once; every later call returns the same handle.
///
/// # Errors
/// `Internal` when the host has installed a recorder of its own, or no thread can be started.
pub fn install_metrics() -> Result<PrometheusHandle> {
    static HANDLE: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let failed = |error| Error::new(ErrorKind::Internal, "metrics could not be installed").with_source(error);
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), BUCKETS)
        .map_err(failed)?
        .install_recorder()
        .map_err(failed)?;
    let folded = handle.clone();
    std::thread::Builder::new()
        .name("switchboard-metrics".to_owned())
        .spawn(move || {
            loop {
                std::thread::sleep(FOLD_EVERY);
                folded.run_upkeep();
            }
        })
        .map_err(|error| Error::new(ErrorKind::Internal, "metrics could not be kept").with_source(error))?;
    Ok(HANDLE.get_or_init(|| handle).clone())
}

/// An address that is taken, and not served yet: whoever connects waits. A sidecar binds before it opens, because
/// opening asks the vendor for callbacks that nobody took, and they come at once.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// Takes the configured address.
    ///
    /// # Errors
    /// `Config` when it cannot be had.
    pub async fn bind(config: &ServerConfig) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::Config, format!("server.listen: {}: {error}", config.listen)).with_source(error)
        };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves whoever waits, and everybody after them.
    pub fn serve(
        self,
        switchboard: &Switchboard,
        config: &ServerConfig,
        tokens: &[TokenConfig],
        metrics: Option<PrometheusHandle>,
    ) -> Server {
        let Self { listener, address } = self;
        // Small frames to streams must not wait for one another.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let stop = CancellationToken::new();
        let routes = switchboard.api_routes(config, tokens, metrics, stop.clone());
        let stopped = stop.clone().cancelled_owned();
        let task = tokio::spawn(async move { axum::serve(listener, routes).with_graceful_shutdown(stopped).await });
        tracing::info!(%address, "listening");
        Server { address, stop, task, deadline: config.shutdown_deadline }
    }
}

/// A running listener.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
    deadline: std::time::Duration,
}

impl Server {
    /// Binds and serves a switchboard that is open already.
    ///
    /// # Errors
    /// As [`Bound::bind`].
    pub async fn start(
        switchboard: &Switchboard,
        config: &ServerConfig,
        tokens: &[TokenConfig],
        metrics: Option<PrometheusHandle>,
    ) -> Result<Self> {
        Ok(Bound::bind(config).await?.serve(switchboard, config, tokens, metrics))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new calls, lets open ones end within the deadline, then cuts them off.
    pub async fn stop(mut self) {
        self.stop.cancel();
        match tokio::time::timeout(self.deadline, &mut self.task).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the listener failed"),
            Ok(Err(error)) => tracing::error!(%error, "the listener's task failed"),
            Err(_) => {
                tracing::warn!("calls still open at the deadline were cut off");
                self.task.abort();
            }
        }
    }
}
