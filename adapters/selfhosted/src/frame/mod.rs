//! Packets on the wire: header, incremental decoder, JSON form. No I/O.

mod body;
mod decoder;
mod header;
mod json;

pub use body::{Body, decode_body, encode_body};
pub use decoder::Decoder;
pub use header::{Command, FrameError, HEADER_BYTES, Header, Kind, MAGIC, Packet, VERSION, flags};
pub use json::{from_json, to_json};

/// The WebSocket subprotocol of binary packets.
pub const BINARY_PROTOCOL: &str = "switchboard.gate.v1";
/// The WebSocket subprotocol of JSON packets.
pub const JSON_PROTOCOL: &str = "switchboard.gate.v1.json";
