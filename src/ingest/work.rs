//! What goes down the line from the inbox to the journal.

use std::sync::Arc;

use switchboard_contract::storage::QuarantineReason;
use switchboard_contract::{Inbound, RawCallback};

use super::record::Address;
use super::source::Source;

/// One callback of the inbox.
#[derive(Debug)]
pub(super) struct Parcel {
    /// Where it begins in the inbox.
    pub(super) offset: u64,
    pub(super) address: Arc<Address>,
    pub(super) raw: RawCallback,
}

/// One event of a callback.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) parcel: Arc<Parcel>,
    pub(super) source: Arc<Source>,
    pub(super) inbound: Inbound,
}

/// One thing to do.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are events; a box would cost each an allocation")]
pub(super) enum Work {
    /// Journal it.
    Event(Item),
    /// Keep the callback aside.
    Aside(Arc<Parcel>, QuarantineReason),
}

impl Work {
    pub(super) fn parcel(&self) -> &Parcel {
        match self {
            Self::Event(item) => &item.parcel,
            Self::Aside(parcel, _) => parcel,
        }
    }
}

/// What was read and decoded at once.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) works: Vec<Work>,
    /// Where the inbox goes on behind it.
    pub(super) end: u64,
    pub(super) records: u64,
}
