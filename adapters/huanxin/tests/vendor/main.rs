//! The adapter against what the vendor publishes: its callbacks, requests, answers, errors and files.
//!
//! Every file in `fixtures/` is in the table of `coverage` with the test that uses it. `UPDATE_GOLDEN=1` writes the
//! golden events and the coverage page anew; read the difference before you keep it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod callbacks;
mod coverage;
mod errors;
mod groups;
mod history;
mod identity;
mod kept;
mod messaging;
mod roaming;
mod support;
mod tokens;
mod users;
