//! What RongCloud writes and reads, in its own spelling. Nothing of this leaves the crate.
//!
//! Types on the path of a callback borrow from its bytes: a text message is decoded without building a JSON tree.

pub(crate) mod content;
pub(crate) mod events;
pub(crate) mod form;
pub(crate) mod lenient;
pub(crate) mod records;
pub(crate) mod replies;
