//! The vendors as the network shows them, with their failures.
//!
//! Each emulator is a real HTTP listener that speaks one vendor's server contract: tokens, quotas, message and group
//! calls, callbacks with real signatures, history files and queries. It keeps the ground truth of what happened (the
//! [`Ledger`]), lets a test act as an end user, and breaks on request (the [`Faults`]): lost answers, rate errors,
//! dropped or duplicated callbacks, outages, clock skew.
//!
//! It owns no code in common with the adapters it helps to test: a misreading of the contract in one place must not be
//! repeated silently in the other.

pub mod common;
pub mod huanxin;
pub mod rongcloud;

pub use common::{Counters, FaultAction, FaultStep, Faults, Ledger, StartError, Time};
