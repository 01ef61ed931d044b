//! Sending against a scripted vendor, in virtual time: tokio's clock stands still until everybody waits, then jumps
//! to whoever waits for the least.
#![allow(clippy::unwrap_used)]

mod api;
mod crash;
mod echoes;
mod evidence;
mod order;
mod outage;
mod pace;
mod receipts;
mod recovery;
mod redrive;
mod restart;
mod swap;
mod vendor;
mod world;
