//! Whoever looks for what is missing is told what events say of others.

use std::fmt;
use std::sync::{Arc, OnceLock};

use switchboard_contract::{
    ConversationId, GroupId, Inbound, InboundData, Origin, ProviderId, TenantId, Timestamp, VendorMessageId,
};

use super::Ingest;
use super::resolve::Arrival;

/// How an event named another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamedBy {
    /// Somebody received or read it.
    Receipt,
    /// It was withdrawn.
    Recall,
    /// It was changed.
    Edit,
    /// It was answered.
    Reply,
    /// Somebody reacted to it.
    Reaction,
}

impl NamedBy {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Receipt => "receipt",
            Self::Recall => "recall",
            Self::Edit => "edit",
            Self::Reply => "reply",
            Self::Reaction => "reaction",
        }
    }
}

/// What an event says of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// There is a message with this id.
    Named(VendorMessageId, NamedBy),
    /// It is the how-manieth of its conversation.
    Numbered(u64),
    /// A group or room is not what it was.
    GroupChanged(GroupId, bool),
}

/// What was seen, and in which event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Whose event.
    pub tenant: TenantId,
    /// The provider it came from.
    pub alias: ProviderId,
    /// Where it happened.
    pub conversation: Option<ConversationId>,
    /// When, by the vendor's clock.
    pub at: Timestamp,
    /// What it says.
    pub seen: Seen,
}

/// Told of what events that are journalled say of others. Must return at once.
pub trait Witness: fmt::Debug + Send + Sync {
    /// These were seen, in order.
    fn saw(&self, sightings: Vec<Sighting>);
}

/// The place of a witness, who may come later.
pub(super) type Seat = Arc<OnceLock<Arc<dyn Witness>>>;

pub(super) fn tell(seat: &Seat, sightings: Vec<Sighting>) {
    if let Some(witness) = seat.get().filter(|_| !sightings.is_empty()) {
        witness.saw(sightings);
    }
}

/// Adds what a live event says. What is found by looking says nothing: it is looked for already.
pub(super) fn see(
    arrival: Arrival<'_>,
    inbound: &Inbound,
    conversation: Option<&ConversationId>,
    group: Option<&(GroupId, bool)>,
    sightings: &mut Vec<Sighting>,
) {
    if !matches!(arrival.origin, Origin::Callback | Origin::Reissue | Origin::Link) {
        return;
    }
    let mut add = |seen| {
        sightings.push(Sighting {
            tenant: arrival.source.address.tenant.clone(),
            alias: arrival.source.alias().clone(),
            conversation: conversation.cloned(),
            at: inbound.sent_at,
            seen,
        });
    };
    match (&inbound.data, group) {
        (InboundData::Receipt { target: Some(target), .. }, _) => add(Seen::Named(target.clone(), NamedBy::Receipt)),
        (InboundData::Recall { target, .. }, _) => add(Seen::Named(target.clone(), NamedBy::Recall)),
        (InboundData::Edit { target, .. }, _) => add(Seen::Named(target.clone(), NamedBy::Edit)),
        (InboundData::Reaction { target, .. }, _) => add(Seen::Named(target.clone(), NamedBy::Reaction)),
        (InboundData::Group { .. }, Some((group, room))) => add(Seen::GroupChanged(group.clone(), *room)),
        _ => {}
    }
    if let Some(target) = &inbound.clues.answers {
        add(Seen::Named(target.clone(), NamedBy::Reply));
    }
    if let Some(number) = inbound.clues.number {
        add(Seen::Numbered(number));
    }
}

impl Ingest {
    /// Tells this witness from now on. There is one; later ones are not heard.
    pub fn set_witness(&self, witness: Arc<dyn Witness>) {
        // A second one would need a list, and nobody needs a second one.
        let _ = self.core().witness.set(witness);
    }
}
