//! What a caller asks to be sent.

use std::time::Duration;

use switchboard_contract::storage::{Recipients, SendPayload};
use switchboard_contract::{Body, ClientMessageId, Ext, GroupId, Mentions, SendOptions, UserId};

/// Names the recipients of an [`Outgoing`].
#[derive(Clone, Copy, Debug)]
pub enum To {}

impl To {
    /// One user.
    pub fn user(user: impl Into<UserId>) -> Recipients {
        Recipients::User(user.into())
    }

    /// Several users, each in the direct conversation with the sender.
    pub fn users<U: Into<UserId>>(users: impl IntoIterator<Item = U>) -> Recipients {
        Recipients::Users(users.into_iter().map(Into::into).collect())
    }

    /// A group.
    pub fn group(group: impl Into<GroupId>) -> Recipients {
        Recipients::Group(group.into())
    }

    /// A room.
    pub fn room(room: impl Into<GroupId>) -> Recipients {
        Recipients::Room(room.into())
    }

    /// Notices to users, in their system conversations.
    pub fn system<U: Into<UserId>>(users: impl IntoIterator<Item = U>) -> Recipients {
        Recipients::System(users.into_iter().map(Into::into).collect())
    }
}

/// A message to send, in the business's own ids.
///
/// ```
/// use switchboard::sending::{Outgoing, To};
///
/// let outgoing = Outgoing::text("alice", To::user("bob"), "hi").client_id("order-1");
/// assert_eq!(outgoing.client_message_id, Some("order-1".into()));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// The sender.
    pub from: UserId,
    /// The recipients.
    pub to: Recipients,
    /// The channel of a group that has channels.
    pub channel: Option<String>,
    /// Only these members of the group; empty for all.
    pub audience: Vec<UserId>,
    /// What it says.
    pub body: Body,
    /// The business's own fields.
    pub ext: Ext,
    /// Who it points at.
    pub mentions: Option<Mentions>,
    /// How to handle it. What the vendor cannot honour is refused.
    pub options: SendOptions,
    /// The caller's key: the same message under the same key is sent once, for ever.
    pub client_message_id: Option<ClientMessageId>,
    /// How long it is worth sending; then it becomes `expired`.
    pub ttl: Option<Duration>,
}

impl Outgoing {
    /// A message with any body.
    pub fn new(from: impl Into<UserId>, to: Recipients, body: Body) -> Self {
        Self {
            from: from.into(),
            to,
            channel: None,
            audience: Vec::new(),
            body,
            ext: Ext::new(),
            mentions: None,
            options: SendOptions::default(),
            client_message_id: None,
            ttl: None,
        }
    }

    /// A text message.
    pub fn text(from: impl Into<UserId>, to: Recipients, text: impl Into<String>) -> Self {
        Self::new(from, to, Body::text(text))
    }

    /// Sends it under the caller's own key, so that repeating the call is harmless.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<ClientMessageId>) -> Self {
        self.client_message_id = Some(id.into());
        self
    }

    /// Sends it into one channel of the group.
    #[must_use]
    pub fn channel(mut self, channel: impl Into<String>) -> Self {
        self.channel = Some(channel.into());
        self
    }

    /// Sends it only to these members of the group.
    #[must_use]
    pub fn audience<U: Into<UserId>>(mut self, users: impl IntoIterator<Item = U>) -> Self {
        self.audience = users.into_iter().map(Into::into).collect();
        self
    }

    /// Adds the business's own fields.
    #[must_use]
    pub fn ext(mut self, ext: Ext) -> Self {
        self.ext = ext;
        self
    }

    /// Points at users.
    #[must_use]
    pub fn mentions(mut self, mentions: Mentions) -> Self {
        self.mentions = Some(mentions);
        self
    }

    /// Says how to handle it.
    #[must_use]
    pub fn options(mut self, options: SendOptions) -> Self {
        self.options = options;
        self
    }

    /// Says how long it is worth sending.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The part that is stored and sent.
    pub(crate) fn into_payload(self) -> SendPayload {
        SendPayload {
            from: self.from,
            to: self.to,
            channel: self.channel,
            audience: self.audience,
            body: self.body,
            ext: self.ext,
            mentions: self.mentions,
            options: self.options,
        }
    }
}
