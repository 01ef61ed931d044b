//! Sending and recalling (REST/message_single, message_group, message_chatroom, message_recall_single).

use async_trait::async_trait;
use switchboard_contract::{
    ConversationKind, Error, ErrorKind, Messaging, MessagingLimits, OutboundMessage, RecallRequest, Result, Retry,
    SentTo, Target, VendorGroupId, VendorUserId,
};
use switchboard_outbound::{Method, Replay, VendorCall};

use super::read;
use crate::Huanxin;
use crate::codec::{encode_body, wire_name, write_ext};
use crate::limits::{self, MAX_AUDIENCE, MAX_USERS, group};
use crate::sign::json;
use crate::wire;

/// Where a send goes: the path, the quota group, and the vendor's fields for the recipients.
struct Route<'a> {
    path: &'static str,
    group: &'static str,
    to: Vec<&'a str>,
    users: Vec<&'a str>,
}

fn names(users: &[VendorUserId]) -> Vec<&str> {
    users.iter().map(VendorUserId::as_str).collect()
}

fn route(target: &Target) -> Result<Route<'_>> {
    let one = |id: &'_ VendorGroupId| -> Result<()> {
        if id.as_str().is_empty() { Err(Error::invalid("to", "must not be empty")) } else { Ok(()) }
    };
    match target {
        Target::Users(users) if users.is_empty() => Err(Error::invalid("to", "names nobody")),
        Target::Users(users) if users.len() > MAX_USERS => {
            Err(Error::invalid("to", format!("at most {MAX_USERS} users in one call")))
        }
        Target::Users(users) => {
            Ok(Route { path: "/messages/users", group: group::SEND_DIRECT, to: names(users), users: Vec::new() })
        }
        Target::Group { channel: Some(_), .. } => Err(Error::unsupported("channels of groups")),
        Target::Group { group: id, audience, .. } => {
            one(id)?;
            if audience.len() > MAX_AUDIENCE {
                return Err(Error::invalid("to.audience", format!("at most {MAX_AUDIENCE} members")));
            }
            let (path, group) = if audience.is_empty() {
                ("/messages/chatgroups", group::SEND_GROUP)
            } else {
                ("/messages/chatgroups/users", group::SEND_GROUP_DIRECTED)
            };
            Ok(Route { path, group, to: vec![id.as_str()], users: names(audience) })
        }
        Target::Room { room } => {
            one(room)?;
            let to = vec![room.as_str()];
            Ok(Route { path: "/messages/chatrooms", group: group::SEND_ROOM, to, users: Vec::new() })
        }
        Target::System(_) => Err(Error::unsupported("system conversations")),
    }
}

impl Huanxin {
    /// The whole request, checked.
    fn send_request<'a>(&'a self, message: &'a OutboundMessage) -> Result<(Route<'a>, wire::SendRequest<'a>)> {
        let route = route(&message.target)?;
        let (kind, options) = (message.target.kind(), &message.options);
        if options.push_text.is_some() {
            return Err(Error::unsupported("push_text"));
        }
        if kind == ConversationKind::Room && (options.online_only || options.read_receipt) {
            let option = if options.online_only { "online_only in rooms" } else { "read_receipt in rooms" };
            return Err(Error::unsupported(option));
        }
        if message.from.as_str().is_empty() {
            return Err(Error::invalid("from", "must not be empty"));
        }
        let (body, ext) = (encode_body(&message.body)?, write_ext(message, &self.reserved)?);
        let bytes = size(&body)? + if ext.is_empty() { 0 } else { size(&ext)? };
        let limit = self.config.sending.max_bytes as usize;
        if bytes > limit {
            return Err(Error::new(ErrorKind::TooLarge, format!("body and ext are {bytes} bytes of {limit}")));
        }
        let request = wire::SendRequest {
            from: message.from.as_str(),
            to: route.to.clone(),
            users: route.users.clone(),
            kind: wire_name(&message.body)?,
            body,
            ext,
            // In groups the sender's devices get a copy anyway; direct receipts come without being asked for.
            sync_device: options.sync_to_sender && kind == ConversationKind::Direct,
            routetype: options.online_only.then_some("ROUTE_ONLINE"),
            need_group_ack: options.read_receipt && kind == ConversationKind::Group,
            chatroom_msg_level: self.config.sending.room_level.filter(|_| kind == ConversationKind::Room),
            env: self.config.sending.env.as_deref(),
        };
        Ok((route, request))
    }
}

fn size(value: &impl serde::Serialize) -> Result<usize> {
    serde_json::to_vec(value)
        .map(|bytes| bytes.len())
        .map_err(|error| Error::new(ErrorKind::InvalidInput, "cannot be written as JSON").with_source(error))
}

#[async_trait]
impl Messaging for Huanxin {
    fn limits(&self) -> MessagingLimits {
        let sending = &self.config.sending;
        MessagingLimits {
            bodies: vec!["text", "image", "audio", "video", "file", "location", "command", "custom", "combined"],
            targets: vec![ConversationKind::Direct, ConversationKind::Group, ConversationKind::Room],
            max_users: MAX_USERS as u32,
            max_system_users: 0,
            max_bytes: sending.max_bytes,
            quotas: limits::sending(),
            recall_window: (!sending.recall_force).then_some(sending.recall_window),
            echoes: self.config.callbacks.echoes,
            receipts: true,
        }
    }

    fn check(&self, message: &OutboundMessage) -> Result<()> {
        self.send_request(message).map(drop)
    }

    async fn send(&self, message: &OutboundMessage) -> Result<Vec<SentTo>> {
        let (route, request) = self.send_request(message)?;
        let units = u32::try_from(route.to.len()).unwrap_or(u32::MAX);
        let call = VendorCall::once(Method::POST, "send", route.group, self.path(route.path))
            .with_body(json(&request)?)
            .with_units(units)
            // The outbox repeats, with what it knows of the send.
            .with_max_retries(0)
            .with_call_headers(&message.headers)?;
        let reply = self.outbound.call(call).await?;
        // A success that cannot be read was still carried out.
        let sent: wire::SendReply<'_> = read(&reply).map_err(|error| error.with_retry(Retry::OutcomeUnknown))?;
        let direct = matches!(message.target, Target::Users(_));
        let entries = sent.data.iter().map(|(target, id)| SentTo {
            user: direct.then(|| VendorUserId::from(&**target)),
            id: Some((&**id).into()),
        });
        Ok(entries.collect())
    }

    async fn recall(&self, recall: &RecallRequest) -> Result<()> {
        let (to, chat_type) = match &recall.target {
            Target::Users(users) => match users.as_slice() {
                [user] => (user.as_str(), "chat"),
                _ => return Err(Error::invalid("target", "a recall names one user")),
            },
            Target::Group { group, .. } => (group.as_str(), "groupchat"),
            Target::Room { room } => (room.as_str(), "chatroom"),
            Target::System(_) => return Err(Error::unsupported("system conversations")),
        };
        let request = wire::RecallRequest {
            msg_id: recall.id.as_str(),
            to,
            from: recall.from.as_str(),
            chat_type,
            force: self.config.sending.recall_force,
            sync_device: chat_type == "chat",
        };
        let path = self.path("/messages/msg_recall");
        let call =
            VendorCall::new(Method::POST, "recall", group::RECALL, path, Replay::ReadOnly).with_body(json(&request)?);
        self.outbound.call(call).await.map(drop)
    }
}
