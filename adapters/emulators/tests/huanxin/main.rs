//! The emulated Huanxin against the contract's fixtures: requests are posted, replies and callbacks compared with the
//! samples in shape and, where the contract fixes them, in value.
#![allow(clippy::unwrap_used)]

mod callbacks;
mod delivery;
mod errors;
mod faults;
mod flipped;
#[path = "../common/flips.rs"]
mod flips;
mod history;
mod limits;
mod presend;
mod rest;
mod support;
