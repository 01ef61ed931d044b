//! From a decoded vendor event to drafts of the journal, in the business's ids.

use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::Arc;

use switchboard_contract::storage::{Commit, Draft, EarlyReceipt};
use switchboard_contract::{
    App, ContactChange, ConversationId, Edit, Event, EventData, EventId, EventKey, GroupChange, GroupId, Inbound,
    InboundData, InboundMessage, InboundPlace, Mentions, Message, MessageId, MessageRef, Moderation, Origin, Presence,
    PushResult, Reaction, Recall, Receipt, RecipientOffline, Result, TenantId, Timestamp, UserId, VendorMessageId,
    VendorUserId,
};

use super::digest::digest;
use super::echo::{Echo, EchoBook, EchoCandidate, Receipted};
use super::floors::{Floors, Raised};
use super::source::Source;
use super::witness::{self, Sighting};
use crate::identity::{Identity, SeenGroup};

/// Turns vendor events into drafts.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    pub(super) identity: Arc<Identity>,
    pub(super) echoes: Arc<dyn EchoBook>,
    /// With a reorder window.
    pub(super) floors: Option<Floors>,
}

/// Where an event came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    pub(super) source: &'a Source,
    pub(super) origin: Origin,
    pub(super) at: Timestamp,
}

/// One transaction in the making.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) commit: Commit,
    /// Bytes of the vendor's items in it.
    pub(super) bytes: usize,
    /// What its events say of others.
    pub(super) sightings: Vec<Sighting>,
    /// Own sends whose step stands in this transaction and is not yet written.
    stepped: HashSet<VendorMessageId>,
    /// Which message of this transaction is which own send.
    claims: HashMap<MessageId, VendorMessageId>,
    /// The vendor ids among these events that may be of own sends, once they were [asked for](Resolver::ask).
    own: Option<HashSet<VendorMessageId>>,
    /// How far conversations have come once it is written.
    pub(super) raised: Raised,
}

impl Gathered {
    /// Whether this message may stand for the own send. The first one does: a mark copied into another message does
    /// not make a second one ours.
    fn claim(&mut self, own: MessageId, message: &VendorMessageId) -> bool {
        match self.claims.entry(own) {
            Entry::Occupied(first) => first.get() == message,
            Entry::Vacant(free) => {
                free.insert(message.clone());
                true
            }
        }
    }

    /// Whether the steps gathered so far must be written before this event can be resolved: a receipt for a send
    /// finds it only once its echo is written.
    pub(super) fn must_be_written_before(&self, inbound: &Inbound) -> bool {
        match &inbound.data {
            InboundData::Receipt { target: Some(target), .. } => self.stepped.contains(target),
            _ => false,
        }
    }
}

impl Resolver {
    /// Asks for all events to be gathered at once which of them may be own sends: asking for each costs more than
    /// everything else about it.
    ///
    /// # Errors
    /// `Storage`.
    pub(super) async fn ask<'a>(
        &self,
        events: impl Iterator<Item = (&'a Source, &'a Inbound)>,
        gathered: &mut Gathered,
    ) -> Result<()> {
        let mut asked: Vec<(&Source, Vec<VendorMessageId>)> = Vec::new();
        for (source, inbound) in events {
            let message = match &inbound.data {
                InboundData::Message(message) => message,
                InboundData::Offline { message, .. } => message.as_ref(),
                _ => continue,
            };
            match asked.iter_mut().find(|(of, _)| std::ptr::eq(*of, source)) {
                Some((_, ids)) => ids.push(message.id.clone()),
                None => asked.push((source, vec![message.id.clone()])),
            }
        }
        let mut own = HashSet::new();
        for (source, ids) in asked {
            own.extend(self.echoes.own(&source.address.tenant, &source.address.app, &ids).await?);
        }
        gathered.own = Some(own);
        Ok(())
    }

    /// What was gathered is written.
    pub(super) fn raise(&self, raised: Raised) {
        if let Some(floors) = &self.floors {
            floors.raise(raised);
        }
    }

    /// Adds the drafts and changes of one event. Its place must be settled.
    ///
    /// # Errors
    /// `Storage`, and what the identity map answers; then `gathered` is of no use any more.
    pub(super) async fn resolve(&self, arrival: Arrival<'_>, inbound: &Inbound, gathered: &mut Gathered) -> Result<()> {
        let one = One { resolver: self, arrival, inbound };
        let (conversation, group) = one.place().await?;
        gathered.bytes += inbound.raw.len();
        witness::see(arrival, inbound, conversation.as_ref(), group.as_ref(), &mut gathered.sightings);
        match &inbound.data {
            InboundData::Message(message) => {
                let key = inbound.key.clone();
                one.message(message, key, conversation.as_ref(), gathered).await
            }
            InboundData::Offline { message, recipient } => {
                let key = EventKey::message(&message.id);
                one.message(message, key, conversation.as_ref(), gathered).await?;
                let target = MessageRef::vendor(message.id.clone());
                let data =
                    EventData::RecipientOffline(RecipientOffline { target, recipient: one.user(recipient).await? });
                gathered.commit.drafts.push(one.draft(inbound.key.clone(), conversation, data, false));
                Ok(())
            }
            other => {
                let data = one.data(other, group, gathered).await?;
                gathered.commit.drafts.push(one.draft(inbound.key.clone(), conversation, data, false));
                Ok(())
            }
        }
    }
}

/// One event being resolved.
#[derive(Clone, Copy)]
struct One<'a> {
    resolver: &'a Resolver,
    arrival: Arrival<'a>,
    inbound: &'a Inbound,
}

type Place = (Option<ConversationId>, Option<(GroupId, bool)>);

impl One<'_> {
    fn tenant(&self) -> &TenantId {
        &self.arrival.source.address.tenant
    }

    fn app(&self) -> &App {
        &self.arrival.source.address.app
    }

    async fn user(&self, user: &VendorUserId) -> Result<UserId> {
        self.resolver.identity.business_user(self.tenant(), self.arrival.source.provider.as_ref(), user).await
    }

    async fn users(&self, users: &[VendorUserId]) -> Result<Vec<UserId>> {
        let mut found = Vec::with_capacity(users.len());
        for user in users {
            found.push(self.user(user).await?);
        }
        Ok(found)
    }

    async fn optional(&self, user: Option<&VendorUserId>) -> Result<Option<UserId>> {
        match user {
            Some(user) => self.user(user).await.map(Some),
            None => Ok(None),
        }
    }

    async fn group(&self, vendor: &switchboard_contract::VendorGroupId, room: bool) -> Result<GroupId> {
        let (identity, provider) = (&self.resolver.identity, self.arrival.source.provider.as_ref());
        match identity.business_group(self.tenant(), provider, vendor, room).await? {
            Some(group) => Ok(group),
            // Settled and forgotten again by the table's owner: bind it as at first sight.
            None => identity.bind_seen(self.tenant(), provider, &SeenGroup { vendor: vendor.clone(), room }).await,
        }
    }

    async fn place(&self) -> Result<Place> {
        Ok(match &self.inbound.place {
            InboundPlace::Direct { from, to } => {
                (Some(ConversationId::direct(&self.user(from).await?, &self.user(to).await?)), None)
            }
            InboundPlace::System { from, to } => {
                (Some(ConversationId::system(&self.user(from).await?, &self.user(to).await?)), None)
            }
            InboundPlace::Group { group, channel } => {
                let group = self.group(group, false).await?;
                let channel = channel.as_deref().unwrap_or_default();
                (Some(ConversationId::group_channel(&group, channel)), Some((group, false)))
            }
            InboundPlace::Room { room } => {
                let room = self.group(room, true).await?;
                (Some(ConversationId::room(&room)), Some((room, true)))
            }
            InboundPlace::GroupOrRoom { id } => {
                let known = self.resolver.identity.known_group(self.tenant(), self.app(), id).await?;
                match known {
                    Some((room, true)) => (Some(ConversationId::room(&room)), Some((room, true))),
                    Some((group, false)) => (Some(ConversationId::group(&group)), Some((group, false))),
                    None => {
                        let group = self.group(id, false).await?;
                        (Some(ConversationId::group(&group)), Some((group, false)))
                    }
                }
            }
            InboundPlace::Nowhere => (None, None),
        })
    }

    async fn message(
        &self,
        message: &InboundMessage,
        key: EventKey,
        conversation: Option<&ConversationId>,
        gathered: &mut Gathered,
    ) -> Result<()> {
        let from = self.user(&message.from).await?;
        let stranger =
            self.inbound.mark.is_none() && gathered.own.as_ref().is_some_and(|own| !own.contains(&message.id));
        let echo = if stranger { None } else { self.echo(message, &from, conversation).await? };
        let echo = echo.filter(|echo| gathered.claim(echo.message_id, &message.id));
        let own = echo.is_some();
        let (id, client_message_id, key) = match echo {
            Some(Echo { message_id, client_message_id, key: own_key, change, only_if }) => {
                gathered.commit.only_if.extend(only_if);
                if let Some(change) = change {
                    gathered.stepped.insert(message.id.clone());
                    gathered.commit.changes.push(change);
                }
                (message_id, client_message_id, own_key.unwrap_or(key))
            }
            None => (MessageId::generate(), None, key),
        };
        let pointed = message.mentions_everyone || !message.mentions.is_empty();
        let mentions = match pointed {
            true => Some(Mentions { everyone: message.mentions_everyone, users: self.users(&message.mentions).await? }),
            false => None,
        };
        let data = EventData::Message(Message {
            id,
            vendor_id: Some(message.id.clone()),
            from,
            audience: self.users(&message.audience).await?,
            body: Some(message.body.clone()),
            ext: message.ext.clone(),
            mentions,
            client_message_id,
            recalled: false,
        });
        let mut draft = self.draft(key, conversation.cloned(), data, own);
        draft.event.late |= !own && self.is_behind(message, conversation, gathered).await?;
        gathered.commit.drafts.push(draft);
        Ok(())
    }

    /// Whether its conversation has gone on without it, although a window was kept open for it.
    async fn is_behind(
        &self,
        message: &InboundMessage,
        conversation: Option<&ConversationId>,
        gathered: &mut Gathered,
    ) -> Result<bool> {
        let (Some(floors), Some(conversation), Origin::Callback) =
            (&self.resolver.floors, conversation, self.arrival.origin)
        else {
            return Ok(false);
        };
        let stand = (self.inbound.sent_at, self.inbound.sort_key.clone());
        let behind = floors.is_behind(self.tenant(), conversation, stand, &mut gathered.raised).await?;
        if behind {
            tracing::debug!(provider = %self.arrival.source.alias(), vendor_id = %message.id, "later than its window");
        }
        Ok(behind)
    }

    async fn echo(
        &self,
        message: &InboundMessage,
        sender: &UserId,
        conversation: Option<&ConversationId>,
    ) -> Result<Option<Echo>> {
        let Some(conversation) = conversation else { return Ok(None) };
        let candidate = EchoCandidate {
            mark: self.inbound.mark.as_deref(),
            vendor_id: &message.id,
            sender,
            conversation,
            sent_at: self.inbound.sent_at,
        };
        self.resolver.echoes.echo(self.tenant(), self.app(), &candidate).await
    }

    async fn data(
        &self,
        data: &InboundData,
        group: Option<(GroupId, bool)>,
        gathered: &mut Gathered,
    ) -> Result<EventData> {
        let named = |target: &VendorMessageId| MessageRef::vendor(target.clone());
        Ok(match data {
            InboundData::Recall { target, by, reason } => EventData::Recall(Recall {
                target: named(target),
                by: self.optional(by.as_ref()).await?,
                reason: reason.clone(),
            }),
            InboundData::Edit { target, version, by, body, ext } => EventData::Edit(Edit {
                target: named(target),
                version: *version,
                by: self.optional(by.as_ref()).await?,
                body: body.clone(),
                ext: ext.clone(),
            }),
            InboundData::Receipt { kind, reader, target, whole_conversation } => {
                if let Some(target) = target {
                    let at = self.inbound.sent_at;
                    let step = self.resolver.echoes.receipt(self.tenant(), self.app(), target, *kind, at).await?;
                    match step {
                        Receipted::Step(step) => gathered.commit.changes.push(*step),
                        Receipted::Nothing => {}
                        Receipted::Unknown => gathered.commit.early.push(EarlyReceipt {
                            tenant: self.tenant().clone(),
                            app: self.app().clone(),
                            vendor_id: target.clone(),
                            kind: *kind,
                            at: self.arrival.at,
                        }),
                    }
                }
                EventData::Receipt(Receipt {
                    kind: *kind,
                    reader: self.user(reader).await?,
                    target: target.as_ref().map(named),
                    whole_conversation: *whole_conversation,
                })
            }
            InboundData::Presence { user, state, reason, platform, device } => EventData::Presence(Presence {
                user: self.user(user).await?,
                state: *state,
                reason: reason.clone(),
                platform: platform.clone(),
                device: device.clone(),
            }),
            InboundData::Group { change, by, members, detail } => {
                let (group, room) = group.unwrap_or_else(|| (GroupId::from(""), false));
                EventData::Group(GroupChange {
                    group,
                    room,
                    change: change.clone(),
                    by: self.optional(by.as_ref()).await?,
                    members: self.users(members).await?,
                    detail: detail.clone(),
                })
            }
            InboundData::Contact { user, peer, change } => EventData::Contact(ContactChange {
                user: self.user(user).await?,
                peer: self.user(peer).await?,
                change: change.clone(),
            }),
            InboundData::Reaction { target, by, reaction, removed } => EventData::Reaction(Reaction {
                target: named(target),
                by: self.optional(by.as_ref()).await?,
                reaction: reaction.clone(),
                removed: *removed,
            }),
            InboundData::Moderation { target, verdict, detail } => EventData::Moderation(Moderation {
                target: named(target),
                verdict: verdict.clone(),
                detail: detail.clone(),
            }),
            InboundData::Push { target, recipient, outcome, detail } => EventData::PushResult(PushResult {
                target: target.as_ref().map(named),
                recipient: self.user(recipient).await?,
                outcome: outcome.clone(),
                detail: detail.clone(),
            }),
            InboundData::Unrecognised(unrecognised) => EventData::Unrecognised(unrecognised.clone()),
            // A kind this build of the engine does not know yet: its bytes are kept all the same.
            _ => EventData::Unrecognised(switchboard_contract::Unrecognised::keep("unknown", &self.inbound.raw)),
        })
    }

    fn draft(&self, key: EventKey, conversation: Option<ConversationId>, data: EventData, own: bool) -> Draft {
        let Arrival { origin, at, .. } = self.arrival;
        Draft {
            digest: digest(conversation.as_ref(), &data),
            key,
            sort_key: self.inbound.sort_key.clone(),
            raw: Some(self.inbound.raw.clone()),
            event: Event {
                id: EventId::generate(),
                tenant: self.tenant().clone(),
                app: Some(self.app().clone()),
                conversation,
                sent_at: self.inbound.sent_at,
                received_at: at,
                origin,
                // An own send found by looking was never missed.
                late: !own && matches!(origin, Origin::File | Origin::Query | Origin::Reissue),
                data,
            },
        }
    }
}
