//! What is found in the vendor's history while a doubt is settled, and where it is handed on to.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use switchboard_contract::storage::Leg;
use switchboard_contract::{
    ConversationKind, Error, ErrorKind, Inbound, InboundData, InboundPlace, Origin, Provider, ProviderId, Result,
    SendId, Target, TenantId, VendorGroupId, VendorUserId,
};

use super::mark::Marks;
use super::own::Carried;
use crate::identity::Identity;
use crate::ingest::Ingest;

/// Takes in messages found in a vendor's history, so that they are journalled like any others.
#[async_trait]
pub trait EvidenceSink: fmt::Debug + Send + Sync {
    /// Takes in messages of one app. Repeating it is harmless.
    ///
    /// # Errors
    /// `Storage`; the messages will be found again by the next repair.
    async fn submit(&self, tenant: &TenantId, alias: &ProviderId, origin: Origin, items: Vec<Inbound>) -> Result<()>;
}

#[async_trait]
impl EvidenceSink for Ingest {
    async fn submit(&self, tenant: &TenantId, alias: &ProviderId, origin: Origin, items: Vec<Inbound>) -> Result<()> {
        Self::submit(self, tenant, alias, origin, items).await.map(drop)
    }
}

/// A sized place for the sink.
#[derive(Debug)]
pub(crate) struct SinkSlot(pub Arc<dyn EvidenceSink>);

/// A message in doubt, in the vendor's ids, as its history would show it.
#[derive(Clone, Debug)]
pub(crate) struct Sought {
    pub send: SendId,
    pub from: VendorUserId,
    pub target: Target,
}

impl Sought {
    /// Spells a leg out for its vendor.
    pub(crate) async fn spell(leg: &Leg, provider: &dyn Provider, identity: &Identity) -> Result<Self> {
        let (tenant, payload) = (&leg.send.tenant, &leg.send.payload);
        let from = identity.vendor_user(tenant, provider, &payload.from).await?;
        let group = async |room| -> Result<VendorGroupId> {
            let missing = || Error::new(ErrorKind::NotFound, "the group is not known at this vendor");
            let group = leg.conversation.group_id().ok_or_else(missing)?;
            identity.vendor_group(tenant, provider, &group, room).await?.ok_or_else(missing)
        };
        let target = match (leg.conversation.kind(), &leg.recipient) {
            (ConversationKind::Direct, Some(user)) => {
                Target::Users(vec![identity.vendor_user(tenant, provider, user).await?])
            }
            (ConversationKind::System, Some(user)) => {
                Target::System(vec![identity.vendor_user(tenant, provider, user).await?])
            }
            (ConversationKind::Group, _) => {
                Target::Group { group: group(false).await?, channel: payload.channel.clone(), audience: Vec::new() }
            }
            (ConversationKind::Room, _) => Target::Room { room: group(true).await? },
            (ConversationKind::Direct | ConversationKind::System, None) => {
                return Err(Error::new(ErrorKind::Internal, "a message to a user has no recipient"));
            }
        };
        Ok(Self { send: leg.send.id, from, target })
    }

    /// Whether this item of history is the message: its mark is ours and names the send, and sender and place fit.
    pub(crate) fn is(&self, item: &Inbound, marks: &Marks, tenant: &TenantId) -> bool {
        let InboundData::Message(message) = &item.data else { return false };
        let Some(mark) = &item.mark else { return false };
        message.from == self.from && self.fits(&item.place) && marks.verify(tenant, mark) == Some(self.send)
    }

    fn fits(&self, place: &InboundPlace) -> bool {
        match (&self.target, place) {
            (
                Target::Users(users) | Target::System(users),
                InboundPlace::Direct { from, to } | InboundPlace::System { from, to },
            ) => *from == self.from && users.first() == Some(to),
            (Target::Group { group, channel, .. }, InboundPlace::Group { group: at, channel: of }) => {
                group == at && channel == of
            }
            (Target::Room { room }, InboundPlace::Room { room: at }) => room == at,
            (Target::Group { group: id, .. } | Target::Room { room: id }, InboundPlace::GroupOrRoom { id: at }) => {
                id == at
            }
            _ => false,
        }
    }
}

/// What an item of history tells of the message it is.
pub(crate) fn carried_by_history(item: &Inbound, origin: Origin) -> Option<Carried> {
    let InboundData::Message(message) = &item.data else { return None };
    Some(Carried {
        vendor_id: Some(message.id.clone()),
        sent_at: item.sent_at,
        origin,
        sort_key: Some(item.sort_key.clone()),
    })
}

/// Reads a file's lines and keeps those that carry a mark of one of these sends. Blocking: the lines are decoded and
/// decompressed as they are read.
pub(crate) fn marked_lines(
    lines: impl Iterator<Item = Result<Inbound>>,
    sends: &HashSet<(TenantId, SendId)>,
    marks: &Marks,
) -> Result<Vec<Inbound>> {
    let tenants: HashSet<&TenantId> = sends.iter().map(|(tenant, _)| tenant).collect();
    let mut found = Vec::new();
    for line in lines {
        let line = match line {
            // No message of ours is as long as that.
            Err(error) if error.kind() == ErrorKind::TooLarge => continue,
            line => line?,
        };
        let Some(mark) = &line.mark else { continue };
        let ours = tenants
            .iter()
            .any(|tenant| marks.verify(tenant, mark).is_some_and(|send| sends.contains(&((*tenant).clone(), send))));
        if ours {
            found.push(line);
        }
    }
    Ok(found)
}
