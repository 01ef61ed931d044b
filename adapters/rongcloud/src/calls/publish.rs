//! A message as a request: which path, which fields, and what cannot be asked for there. Pure.

use serde::Serialize;
use switchboard_contract::{
    Error, ErrorKind, OutboundMessage, Result, SendOptions, Target, VendorGroupId, VendorUserId,
};
use switchboard_outbound::{CallBody, Method, VendorCall};

use crate::codec::{Beside, Codec, Encoded};
use crate::limits::{MAX_CHANNEL, MAX_CONTENT_BYTES, MAX_ID_BYTES, MAX_SYSTEM_USERS, MAX_USERS, group};
use crate::wire::form::Form;

/// The recall command travels as a message; asked for as one it would withdraw something nobody recorded.
const RECALL: &str = "RC:RcCmd";

/// The request for one attempt.
///
/// # Errors
/// `Unsupported` for a body, target or option that RongCloud has no way to carry, `InvalidInput` and `TooLarge` for
/// one that breaks a limit.
pub(crate) fn request(message: &OutboundMessage, codec: &Codec) -> Result<VendorCall> {
    check_id("from", message.from.as_str())?;
    let mentioned = message.mentions_everyone || !message.mentions.is_empty();
    if mentioned && !matches!(message.target, Target::Group { .. }) {
        return Err(Error::unsupported("mentions outside groups"));
    }
    let options = &message.options;
    let encoded = codec.encode(
        &message.body,
        Beside {
            ext: &message.ext,
            mark: message.mark.as_deref(),
            mentions_everyone: message.mentions_everyone,
            mentions: &message.mentions,
            push_text: options.push_text.as_deref(),
        },
    )?;
    if encoded.object_name == RECALL {
        return Err(Error::invalid("body.kind", "a message is withdrawn by a recall"));
    }
    if encoded.content.len() > MAX_CONTENT_BYTES {
        let why = format!("the content has {} bytes, {MAX_CONTENT_BYTES} are admitted", encoded.content.len());
        return Err(Error::new(ErrorKind::TooLarge, why));
    }
    let publish = Publish { message, encoded, mentioned };
    match &message.target {
        Target::Users(users) => publish.to_users(users),
        Target::Group { group, channel: None, audience } => publish.to_group(group, audience),
        Target::Group { group, channel: Some(channel), audience } => publish.to_ultra_group(group, channel, audience),
        Target::Room { room } => publish.to_room(room),
        Target::System(users) => publish.to_system(users),
    }
}

pub(crate) fn check_id(field: &str, id: &str) -> Result<()> {
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        return Err(Error::invalid(field, format_args!("an id has 1 to {MAX_ID_BYTES} bytes")));
    }
    Ok(())
}

pub(crate) fn check_channel(channel: &str) -> Result<()> {
    if channel.is_empty() || channel.chars().count() > MAX_CHANNEL {
        return Err(Error::invalid("to.channel", format_args!("a channel has 1 to {MAX_CHANNEL} characters")));
    }
    Ok(())
}

fn check_users(users: &[VendorUserId], limit: usize) -> Result<u32> {
    if users.is_empty() || users.len() > limit {
        return Err(Error::invalid("to.users", format_args!("1 to {limit} users are admitted in one call")));
    }
    users.iter().try_for_each(|user| check_id("to.users", user.as_str()))?;
    Ok(u32::try_from(users.len()).unwrap_or(u32::MAX))
}

/// An option is refused where the vendor would ignore it.
fn refuse(options: &[(&str, bool)]) -> Result<()> {
    match options.iter().find(|(_, asked)| *asked) {
        Some((option, _)) => Err(Error::unsupported(option)),
        None => Ok(()),
    }
}

struct Publish<'a> {
    message: &'a OutboundMessage,
    encoded: Encoded,
    mentioned: bool,
}

impl Publish<'_> {
    fn options(&self) -> &SendOptions {
        &self.message.options
    }

    fn call(&self, quota: &'static str, path: &'static str, units: u32, body: CallBody) -> VendorCall {
        // The caller above has a durable outbox; a second layer of retries would multiply its attempts.
        VendorCall::once(Method::POST, "send", quota, path).with_units(units).with_body(body).with_max_retries(0)
    }

    fn to<T: AsRef<str>>(&self, field: &str, targets: impl IntoIterator<Item = T>) -> Form {
        Form::new().pair("fromUserId", self.message.from.as_str()).pairs(field, targets)
    }

    fn content(&self, form: Form) -> Form {
        form.pair("objectName", &self.encoded.object_name).pair("content", &self.encoded.content)
    }

    /// The fields of the push, for calls that make one.
    fn push(&self, form: Form) -> Form {
        form.maybe("pushContent", self.options().push_text.as_deref())
            .pair("disablePush", if self.options().silent { "true" } else { "false" })
    }

    /// Messages for those who are online now are a kind of their own: never stored, counted or pushed.
    fn status_options(&self) -> Result<()> {
        refuse(&[
            ("a read receipt of a message for online users only", self.options().read_receipt),
            ("the push text of a message for online users only", self.options().push_text.is_some()),
        ])
    }

    fn to_users(&self, users: &[VendorUserId]) -> Result<VendorCall> {
        let units = check_users(users, MAX_USERS)?;
        let options = self.options();
        refuse(&[(
            "showing a message to several users on the sender's devices",
            options.sync_to_sender && users.len() > 1,
        )])?;
        let form = self.content(self.to("toUserId", users)).flag("isIncludeSender", options.sync_to_sender);
        if options.online_only {
            self.status_options()?;
            let body = CallBody::Form(form.into_bytes());
            return Ok(self.call(group::PRIVATE, "/statusmessage/private/publish.json", units, body));
        }
        let form = self.push(form).flag("isPersisted", true);
        let form = if options.read_receipt { form.flag("needReadReceipt", true) } else { form };
        let body = CallBody::Form(form.into_bytes());
        Ok(self.call(group::PRIVATE, "/message/private/publish.json", units, body))
    }

    fn to_group(&self, to: &VendorGroupId, audience: &[VendorUserId]) -> Result<VendorCall> {
        check_id("to.group", to.as_str())?;
        let options = self.options();
        let directed = !audience.is_empty();
        if directed {
            check_users(audience, MAX_USERS)?;
        }
        refuse(&[
            ("read receipts in groups", options.read_receipt),
            ("silence of a message for some members of a group", directed && options.silent),
            ("a message for some members of a group, and only while online", directed && options.online_only),
        ])?;
        let form = self.content(self.to("toGroupId", [to]).pairs("toUserId", audience));
        let form = form.flag("isIncludeSender", options.sync_to_sender);
        if options.online_only {
            self.status_options()?;
            refuse(&[("mentions in a message for online users only", self.mentioned)])?;
            let body = CallBody::Form(form.into_bytes());
            return Ok(self.call(group::GROUP, "/statusmessage/group/publish.json", 1, body));
        }
        // A directed message has no say over its push.
        let form = if directed { form.maybe("pushContent", options.push_text.as_deref()) } else { self.push(form) };
        let form = form.flag("isPersisted", true).flag("isMentioned", self.mentioned);
        Ok(self.call(group::GROUP, "/message/group/publish.json", 1, CallBody::Form(form.into_bytes())))
    }

    fn to_ultra_group(&self, to: &VendorGroupId, channel: &str, audience: &[VendorUserId]) -> Result<VendorCall> {
        check_id("to.group", to.as_str())?;
        check_channel(channel)?;
        let options = self.options();
        if !audience.is_empty() {
            check_users(audience, MAX_USERS)?;
        }
        refuse(&[
            ("read receipts in groups", options.read_receipt),
            ("messages for online users only in a group with channels", options.online_only),
        ])?;
        let body = UltraGroupPublish {
            from: self.message.from.as_str(),
            groups: [to.as_str()],
            users: audience.iter().map(VendorUserId::as_str).collect(),
            object_name: &self.encoded.object_name,
            content: &self.encoded.content,
            channel,
            push_text: options.push_text.as_deref(),
            silent: options.silent,
            persisted: 1,
            mentioned: u8::from(self.mentioned),
            include_sender: options.sync_to_sender.then_some(1),
        };
        let json = serde_json::to_vec(&body)
            .map_err(|error| Error::invalid("message", "cannot be written as JSON").with_source(error))?;
        Ok(self.call(group::ULTRA_GROUP, "/message/ultragroup/publish.json", 1, CallBody::Json(json.into())))
    }

    fn to_room(&self, room: &VendorGroupId) -> Result<VendorCall> {
        check_id("to.room", room.as_str())?;
        let options = self.options();
        // Nobody outside a room is woken or kept a message for, so silence and "online only" hold by themselves.
        refuse(&[
            ("read receipts in rooms", options.read_receipt),
            ("push texts in rooms", options.push_text.is_some()),
        ])?;
        let form = self
            .content(self.to("toChatroomId", [room]))
            .flag("isPersisted", !options.online_only)
            .flag("isIncludeSender", options.sync_to_sender);
        Ok(self.call(group::ROOM, "/message/chatroom/publish.json", 1, CallBody::Form(form.into_bytes())))
    }

    fn to_system(&self, users: &[VendorUserId]) -> Result<VendorCall> {
        let units = check_users(users, MAX_SYSTEM_USERS)?;
        let options = self.options();
        refuse(&[
            ("read receipts of system messages", options.read_receipt),
            ("system messages for online users only", options.online_only),
            ("showing system messages to their sender", options.sync_to_sender),
        ])?;
        let form = self.push(self.content(self.to("toUserId", users))).flag("isPersisted", true);
        Ok(self.call(group::SYSTEM, "/message/system/publish.json", units, CallBody::Form(form.into_bytes())))
    }
}

#[derive(Serialize)]
struct UltraGroupPublish<'a> {
    #[serde(rename = "fromUserId")]
    from: &'a str,
    #[serde(rename = "toGroupIds")]
    groups: [&'a str; 1],
    #[serde(rename = "toUserIds", skip_serializing_if = "Vec::is_empty")]
    users: Vec<&'a str>,
    #[serde(rename = "objectName")]
    object_name: &'a str,
    content: &'a str,
    #[serde(rename = "busChannel")]
    channel: &'a str,
    #[serde(rename = "pushContent", skip_serializing_if = "Option::is_none")]
    push_text: Option<&'a str>,
    #[serde(rename = "disablePush", skip_serializing_if = "std::ops::Not::not")]
    silent: bool,
    #[serde(rename = "isPersisted")]
    persisted: u8,
    #[serde(rename = "isMentioned")]
    mentioned: u8,
    #[serde(rename = "isIncludeSender", skip_serializing_if = "Option::is_none")]
    include_sender: Option<u8>,
}
