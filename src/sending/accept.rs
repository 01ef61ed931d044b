//! Taking a send in: checked whole, then stored whole, or refused with nothing stored.

use std::collections::HashSet;

use switchboard_contract::storage::{NewLeg, NewSend, Recipients, SendPayload};
use switchboard_contract::{
    App, CallHeaders, ClientMessageId, ConversationId, ConversationKind, Error, ErrorKind, GroupId, MessageId,
    OutboundMessage, Provider, Result, SendId, SendState, Target, TenantId, Timestamp, UserId, VendorGroupId,
    VendorUserId,
};

use super::mark::Marks;
use super::own::{Status, Subject, payload_digest, status_draft};
use super::{Outgoing, SendingConfig};
use crate::identity::Identity;

/// The longest id a caller may use, in bytes.
const MAX_ID_BYTES: usize = 1024;

/// Makes the stored form of a send and refuses what is wrong with it whatever the vendor.
///
/// # Errors
/// `InvalidInput` or `TooLarge`, naming the field; `Unsupported` for a body that is only ever received.
pub(super) fn new_send(
    outgoing: Outgoing,
    tenant: &TenantId,
    app: &App,
    now: Timestamp,
    config: &SendingConfig,
) -> Result<NewSend> {
    let (client, ttl) = (outgoing.client_message_id.clone(), outgoing.ttl.or(config.default_ttl));
    let mut payload = outgoing.into_payload();
    if let Recipients::Users(users) | Recipients::System(users) = &mut payload.to {
        let mut seen = HashSet::new();
        users.retain(|user| seen.insert(user.clone()));
    }
    check_ids(&payload, client.as_ref())?;
    check_shape(&payload, config)?;
    if ttl.is_some_and(|ttl| ttl.is_zero()) {
        return Err(Error::invalid("ttl", "must not be zero"));
    }
    let id = SendId::generate();
    let legs = legs_of(&payload);
    let drafts = legs.iter().map(|leg| {
        let of = Subject { tenant, app, send: id, client: client.as_ref(), message: leg.message_id };
        status_draft(of, Status { state: SendState::Queued, attempts: 0, reason: None, vendor_id: None }, now)
    });
    Ok(NewSend {
        id,
        tenant: tenant.clone(),
        digest: payload_digest(&payload),
        app: app.clone(),
        created_at: now,
        expires_at: ttl.map(|ttl| now + ttl),
        drafts: drafts.collect(),
        client_message_id: client,
        payload,
        legs,
    })
}

fn check_ids(payload: &SendPayload, client: Option<&ClientMessageId>) -> Result<()> {
    let check = |field: &str, id: &str| {
        if id.is_empty() {
            return Err(Error::invalid(field, "must not be empty"));
        }
        if id.len() > MAX_ID_BYTES {
            return Err(Error::invalid(field, format!("must be {MAX_ID_BYTES} bytes at most")));
        }
        if id.contains('\0') {
            return Err(Error::invalid(field, "must not hold a NUL"));
        }
        Ok(())
    };
    check("from", payload.from.as_str())?;
    match &payload.to {
        Recipients::User(user) => check("to.user", user.as_str())?,
        Recipients::Users(users) => users.iter().try_for_each(|user| check("to.users", user.as_str()))?,
        Recipients::System(users) => users.iter().try_for_each(|user| check("to.system", user.as_str()))?,
        Recipients::Group(group) => check("to.group", group.as_str())?,
        Recipients::Room(room) => check("to.room", room.as_str())?,
    }
    payload.channel.iter().try_for_each(|channel| check("channel", channel))?;
    payload.audience.iter().try_for_each(|user| check("audience", user.as_str()))?;
    client.map_or(Ok(()), |client| check("client_message_id", client.as_str()))
}

fn check_shape(payload: &SendPayload, config: &SendingConfig) -> Result<()> {
    if let Recipients::Users(users) | Recipients::System(users) = &payload.to {
        if users.is_empty() {
            return Err(Error::invalid("to", "names nobody"));
        }
        if users.len() > config.max_recipients {
            let most = config.max_recipients;
            return Err(Error::new(ErrorKind::TooLarge, format!("to: {most} recipients at most")));
        }
    }
    if !matches!(payload.to, Recipients::Group(_)) {
        if payload.channel.is_some() {
            return Err(Error::invalid("channel", "only groups have channels"));
        }
        if !payload.audience.is_empty() {
            return Err(Error::invalid("audience", "only messages to a group have one"));
        }
    }
    if matches!(payload.body, switchboard_contract::Body::Unrecognised(_)) {
        return Err(Error::unsupported("body unrecognised"));
    }
    Ok(())
}

fn legs_of(payload: &SendPayload) -> Vec<NewLeg> {
    let from = &payload.from;
    let leg = |conversation, recipient: Option<&UserId>| NewLeg {
        message_id: MessageId::generate(),
        conversation,
        recipient: recipient.cloned(),
    };
    let direct = |user: &UserId| leg(ConversationId::direct(from, user), Some(user));
    match &payload.to {
        Recipients::User(user) => vec![direct(user)],
        Recipients::Users(users) => users.iter().map(direct).collect(),
        Recipients::System(users) => {
            users.iter().map(|user| leg(ConversationId::system(from, user), Some(user))).collect()
        }
        Recipients::Group(group) => {
            vec![leg(ConversationId::group_channel(group, payload.channel.as_deref().unwrap_or_default()), None)]
        }
        Recipients::Room(room) => vec![leg(ConversationId::room(room), None)],
    }
}

/// Asks the adapter whether it can carry this send at all: every call it will be packed into looks like this one.
///
/// # Errors
/// `Unsupported`, `InvalidInput` or `TooLarge`, as the adapter says; `Storage`.
pub(super) async fn check_with(
    provider: &dyn Provider,
    identity: &Identity,
    marks: &Marks,
    send: &NewSend,
) -> Result<()> {
    let (tenant, payload) = (&send.tenant, &send.payload);
    let limits = provider.messaging().limits();
    let kind = match &payload.to {
        Recipients::User(_) | Recipients::Users(_) => ConversationKind::Direct,
        Recipients::Group(_) => ConversationKind::Group,
        Recipients::Room(_) => ConversationKind::Room,
        Recipients::System(_) => ConversationKind::System,
    };
    if !limits.targets.contains(&kind) {
        return Err(Error::unsupported(&format!("messages to {} conversations", kind.as_str())));
    }
    if !limits.bodies.contains(&payload.body.kind()) {
        return Err(Error::unsupported(&format!("body {}", payload.body.kind())));
    }
    // Spelled by rule alone: nothing is bound or made for a send that may be refused.
    let naming = provider.naming();
    let spell = |user: &UserId| naming.encode_user(user).unwrap_or_else(|| VendorUserId::from("user"));
    let several = |users: &[UserId], most: u32| users.iter().take(most.max(1) as usize).map(spell).collect();
    let target = match &payload.to {
        Recipients::User(user) => Target::Users(vec![spell(user)]),
        Recipients::Users(users) => Target::Users(several(users, limits.max_users)),
        Recipients::System(users) => Target::System(several(users, limits.max_system_users)),
        Recipients::Group(group) => Target::Group {
            group: spell_group(provider, identity, tenant, group, false).await?,
            channel: payload.channel.clone(),
            audience: payload.audience.iter().map(spell).collect(),
        },
        Recipients::Room(room) => Target::Room { room: spell_group(provider, identity, tenant, room, true).await? },
    };
    let mentions = payload.mentions.as_ref();
    provider.messaging().check(&OutboundMessage {
        from: spell(&payload.from),
        target,
        body: payload.body.clone(),
        ext: payload.ext.clone(),
        mark: Some(marks.mint(tenant, send.id)),
        mentions_everyone: mentions.is_some_and(|mentions| mentions.everyone),
        mentions: mentions.map(|mentions| mentions.users.iter().map(spell).collect()).unwrap_or_default(),
        options: payload.options.clone(),
        // Hooks may add to each call, and a call with more headers is no other message.
        headers: CallHeaders::new(),
    })
}

async fn spell_group(
    provider: &dyn Provider,
    identity: &Identity,
    tenant: &TenantId,
    group: &GroupId,
    room: bool,
) -> Result<VendorGroupId> {
    let naming = provider.naming();
    let rule = if room { naming.rooms } else { naming.groups };
    if let Some(spelled) = rule.encode(group) {
        return Ok(spelled);
    }
    // A group that the vendor has yet to name gets a number for a name, as vendors give them.
    let known = identity.vendor_group(tenant, provider, group, room).await?;
    Ok(known.unwrap_or_else(|| VendorGroupId::from("1")))
}
