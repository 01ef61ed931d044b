//! The gate: listeners, connections, sessions. What a session may do is the service's business.

mod business;
mod cadence;
mod connection;
mod ending;
mod feeding;
mod lending;
mod listener;
mod requests;
mod session;
mod waiting;

use std::net::SocketAddr;
use std::time::Duration;

pub(crate) use business::Business;
pub use cadence::{Cadence, CadenceConfig};
pub use listener::Gate;

/// Where the gate listens and what it bears.
#[derive(Clone, Debug)]
pub struct GateConfig {
    /// WebSocket; `None` for none. Port 0 takes a free one.
    pub websocket: Option<SocketAddr>,
    /// Plain TCP; `None` for none.
    pub tcp: Option<SocketAddr>,
    /// Both listeners speak TLS with this; `None` for plain connections.
    pub tls: Option<crate::ServerTls>,
    /// A connection that has not logged in after this long is closed.
    pub login_within: Duration,
    /// Connections at a time; more are closed at once.
    pub max_connections: usize,
    /// Connections that have not logged in; the oldest of them is closed for a new one, so that silence keeps
    /// nobody out.
    pub max_strangers: usize,
    /// The largest body of a packet.
    pub max_packet_bytes: u32,
    /// A client that does not take what is written to it for this long is closed.
    pub write_within: Duration,
    /// Entries sent and not acknowledged, at most.
    pub max_in_flight: u32,
    /// Their bytes, from which on no more are sent.
    pub max_unacked_bytes: usize,
    /// Entries for one connection go out at most this often: what comes meanwhile goes out in one write.
    pub flush_every: Duration,
    /// How far a device is online is stored at most this often.
    pub cursors_every: Duration,
    /// Entries in one page of backlog, at most.
    pub page_size: u32,
    /// Entries not acknowledged for this long are sent again.
    pub ack_within: Duration,
    /// Requests of one connection that wait for their answers; more are not read until one is done.
    pub max_requests: usize,
    /// Messages and other writes of one connection in each second; more are refused with a wait.
    pub writes_per_second: u32,
    /// How often devices must be heard of.
    pub heartbeat: CadenceConfig,
}

impl Default for GateConfig {
    fn default() -> Self {
        Self {
            websocket: Some(SocketAddr::from(([127, 0, 0, 1], 7070))),
            tcp: Some(SocketAddr::from(([127, 0, 0, 1], 7071))),
            tls: None,
            login_within: Duration::from_secs(10),
            max_connections: 100_000,
            max_strangers: 4096,
            max_packet_bytes: 256 << 10,
            write_within: Duration::from_secs(10),
            max_in_flight: 1024,
            max_unacked_bytes: 512 << 10,
            flush_every: Duration::from_millis(9),
            cursors_every: Duration::from_millis(500),
            page_size: 1000,
            ack_within: Duration::from_secs(10),
            max_requests: 64,
            writes_per_second: 200,
            heartbeat: CadenceConfig::default(),
        }
    }
}
