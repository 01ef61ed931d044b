//! A small IM service of our own, and the provider in front of it.
//!
//! It is what a business runs on when it runs without a vendor: to start, to test, to keep some tenants in house, and
//! to go to when a vendor fails. The engine meets it as it meets any vendor, through [`switchboard_contract::Provider`];
//! nothing here knows the engine.
//!
//! [`frame`] is the wire: a 20-byte header, protobuf bodies, and a JSON form of the same. [`proto`] holds the bodies,
//! generated from the published `proto/gate.proto`.

mod bell;
pub mod client;
pub mod frame;
pub mod gate;
mod hooks;
mod outbox;
mod provider;
pub mod service;
mod stream;
mod tls;
mod transport;

pub use provider::{KIND, Listen, NetworkClass, RemoteGate, SelfHosted, SelfHostedConfig, Surroundings};
pub use tls::ServerTls;

/// The bodies of the packets, generated from `proto/gate.proto`, with their canonical JSON mapping.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, reason = "generated code")]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/switchboard.gate.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/switchboard.gate.v1.serde.rs"));
}
