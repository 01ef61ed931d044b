//! The capabilities, one file each: what is asked of the vendor and how its answer is read.

mod groups;
mod history;
mod kept;
mod lines;
mod messaging;
mod roaming;
mod users;

use serde::Deserialize;
use switchboard_contract::Result;
use switchboard_outbound::VendorReply;

/// Reads an answer that the table took for a success.
fn read<'a, T: Deserialize<'a>>(reply: &'a VendorReply) -> Result<T> {
    serde_json::from_slice(&reply.body).map_err(|error| reply.undecodable(error))
}
