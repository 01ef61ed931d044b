//! The product's side of each comparison.

pub(super) mod acking;
pub(super) mod append;
pub(super) mod fanout;
pub(super) mod gate;
pub(super) mod history;
pub(super) mod repair;
pub(super) mod replay;
pub(super) mod serve;
