//! Acting as an end user: what a client would do over the vendor's long connection, without the connection.

mod control;
mod sending;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::app::App;
use super::bodies::canonical;
use super::error::ApiError;
use super::messages::{recall_not_found, text_body};
use super::model::{ChatType, Device, Message};
use super::presend::Verdict;
use super::tokens::verify_dynamic;
use crate::common::ActionError;

/// Where an end user sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A user.
    User(String),
    /// A group, by the vendor's id.
    Group(String),
    /// A room, by the vendor's id.
    Room(String),
}

impl Target {
    fn parts(&self) -> (ChatType, &str) {
        match self {
            Self::User(id) => (ChatType::Chat, id),
            Self::Group(id) => (ChatType::GroupChat, id),
            Self::Room(id) => (ChatType::ChatRoom, id),
        }
    }
}

/// A message an end user writes.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Where to.
    pub to: Target,
    /// The body with its `type`, as a REST send spells it; a combined forward is `txt` with `subType`.
    pub body: Value,
    /// The extension; null for none.
    pub ext: Value,
    /// Only these members of the group or room.
    pub users: Option<Vec<String>>,
    /// The callback route.
    pub env: Option<String>,
    /// Asks the group for read receipts.
    pub group_ack: bool,
}

impl Outgoing {
    /// A plain text.
    #[must_use]
    pub fn text(to: Target, text: &str) -> Self {
        Self { to, body: text_body(text), ext: Value::Null, users: None, env: None, group_ack: false }
    }
}

/// The device of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginDevice {
    /// Its system: `android`, `ios`, `web`, …
    pub os: String,
    /// The resource it logs in under, unique among the user's devices.
    pub resource: String,
    /// Its own id.
    pub uuid: String,
    /// Its model, as people know it.
    pub name: String,
}

impl LoginDevice {
    /// A device of this system with ids of its own.
    #[must_use]
    pub fn new(os: &str) -> Self {
        let (resource, uuid) = (uuid::Uuid::new_v4().simple().to_string(), uuid::Uuid::new_v4());
        Self {
            os: os.to_owned(),
            resource: format!("{os}_{}", &resource[..12]),
            uuid: uuid.to_string(),
            name: os.to_owned(),
        }
    }
}

/// What an end user sees of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// Vendor id.
    pub id: String,
    /// Sender.
    pub from: String,
    /// User, group or room it was sent to.
    pub to: String,
    /// The stored body.
    pub body: Value,
    /// The extension.
    pub ext: Value,
    /// Priority of a room message, where one was given.
    pub level: Option<String>,
}

/// Acts as one end user. Cheap to clone.
#[derive(Clone)]
pub struct EndUser {
    app: Arc<App>,
    name: String,
}

impl std::fmt::Debug for EndUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndUser").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The vendor's refusals as sentences.
fn say(error: &ApiError) -> ActionError {
    let body = error.to_value();
    ActionError(format!("{}: {}", text(&body, "error"), text(&body, "error_description")))
}

/// A text field; empty when absent.
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

impl EndUser {
    pub(crate) fn new(app: Arc<App>, name: &str) -> Self {
        let name = app.fold(name);
        Self { app, name }
    }

    fn exist(&self) -> Result<(), ActionError> {
        let create = self.app.settings().users.create_on_use;
        let now_ms = self.app.now_ms();
        let mut data = self.app.data.lock();
        match data.users.get(&self.name) {
            Some(user) if !user.activated => Err(ActionError("user not activated".to_owned())),
            Some(_) => Ok(()),
            None if create => {
                data.add_user(&self.name, "", now_ms);
                Ok(())
            }
            None => Err(ActionError(format!("user {} is not registered", self.name))),
        }
    }

    /// Logs a device in (`android`, `ios`, `web`, …) and returns its resource name. Messages of the offline queue
    /// move to the inbox. A device of the same system is replaced.
    ///
    /// # Errors
    /// When the user is unknown or banned.
    pub fn login(&self, os: &str) -> Result<String, ActionError> {
        self.login_device(LoginDevice::new(os))
    }

    /// Logs this very device in, as [`EndUser::login`] does one of its own making.
    ///
    /// # Errors
    /// When the user is unknown or banned.
    pub fn login_device(&self, device: LoginDevice) -> Result<String, ActionError> {
        self.exist()?;
        let LoginDevice { os, resource, uuid, name } = device;
        let device = Device {
            resource,
            uuid,
            name,
            os: os.clone(),
            ip: "203.0.113.9:52710".to_owned(),
            version: "4.21.1".to_owned(),
        };
        let most = self.app.settings().users.devices_per_os.max(1);
        let replaced = {
            let mut data = self.app.data.lock();
            let Some(user) = data.users.get_mut(&self.name) else {
                return Err(ActionError(format!("user {} is not registered", self.name)));
            };
            let mut replaced = Vec::new();
            while user.devices.iter().filter(|other| other.os == os).count() >= most {
                let Some(at) = user.devices.iter().position(|other| other.os == os) else { break };
                replaced.push(user.devices.remove(at));
            }
            user.presence.remove(&os);
            user.devices.push(device.clone());
            let (mut direct, group) =
                (std::mem::take(&mut user.offline_direct), std::mem::take(&mut user.offline_group));
            direct.extend(group);
            direct.make_contiguous().sort_unstable();
            user.inbox.extend(direct);
            replaced
        };
        for old in &replaced {
            self.app.links.lock().end(&self.name, &old.resource);
            self.app.emit(&self.app.status_event(&self.name, old, "replaced"));
        }
        self.app.emit(&self.app.status_event(&self.name, &device, "login"));
        Ok(device.resource)
    }

    /// Logs in with a token made locally by the business ("dynamic" token) or issued by `/token`.
    ///
    /// # Errors
    /// When the token does not verify, has expired, or is another user's.
    pub fn login_with_token(&self, os: &str, token: &str) -> Result<String, ActionError> {
        let now_ms = self.app.now_ms();
        let issued = self.app.tokens.lock().check(token, now_ms).ok();
        let user = match issued {
            Some(super::tokens::Subject::User(user)) => user,
            Some(super::tokens::Subject::App) => return Err(ActionError("an app token".to_owned())),
            None => {
                let id = &self.app.id;
                verify_dynamic(token, &id.client_id, &id.client_secret, &self.app.app_key, now_ms)
                    .map_err(|error| say(&error))?
            }
        };
        if self.app.fold(&user) != self.name {
            return Err(ActionError("the token belongs to another user".to_owned()));
        }
        self.login(os)
    }

    /// Logs every device out. Rooms are left when the user stays away.
    pub fn logout(&self) {
        self.app.drop_devices(&self.name, None, "logout");
    }

    /// Loses the network: offline at once, reported as a logout only after the configured time.
    pub fn lose_network(&self) {
        let devices = self.app.take_devices(&self.name, None);
        self.app.leave_rooms_later(&self.name);
        let name = self.name.clone();
        let wait = Duration::from_millis(self.app.settings().users.lost_network_ms);
        self.app.later(wait, move |app| {
            for device in devices {
                app.emit(&app.status_event(&name, &device, "logout"));
            }
        });
    }

    /// Sends, past mutes, blocks and the pre-send rule. Returns the message id; a message blocked by a rule that
    /// stays silent returns one too, as the sender's client would see.
    ///
    /// # Errors
    /// The vendor's refusal, or the text a pre-send rule shows to the sender.
    pub async fn send(&self, message: Outgoing) -> Result<String, ActionError> {
        self.exist()?;
        let draft = self.draft(message)?;
        let id = self.app.data.lock().next_id(self.app.now_ms());
        match self.app.ask_before_send(id, draft).await {
            Verdict::Deliver(draft) => Ok(self.app.accept_as(id, draft).to_string()),
            Verdict::Blocked(None) => Ok(id.to_string()),
            Verdict::Blocked(Some(text)) => Err(ActionError(text)),
        }
    }

    /// Sends a text.
    ///
    /// # Errors
    /// As [`EndUser::send`].
    pub async fn send_text(&self, to: Target, text: &str) -> Result<String, ActionError> {
        self.send(Outgoing::text(to, text)).await
    }

    fn own(&self, id: &str) -> Result<Message, ActionError> {
        let data = self.app.data.lock();
        data.message(id)
            .filter(|message| message.recalled_ms.is_none())
            .cloned()
            .ok_or_else(|| ActionError(format!("no message {id}")))
    }

    /// Recalls one of the user's own messages.
    ///
    /// # Errors
    /// The vendor's refusal: unknown, another's, or too old.
    pub fn recall(&self, id: &str) -> Result<(), ActionError> {
        let message = self.own(id)?;
        if message.from != self.name {
            return Err(say(&recall_not_found()));
        }
        self.app
            .check_recall(id, &message.to, message.kind, false)
            .and_then(|()| self.app.withdraw(id, &self.name))
            .map_err(|error| say(&error))
    }

    /// Reports a message as read.
    ///
    /// # Errors
    /// When there is no such message, or the group message did not ask for receipts.
    pub fn read(&self, id: &str) -> Result<(), ActionError> {
        let message = self.own(id)?;
        if message.kind != ChatType::Chat && !message.group_ack {
            return Err(ActionError("the message asked for no receipts".to_owned()));
        }
        self.app.emit(&self.app.read_event(&message, &self.name));
        Ok(())
    }

    /// Reports the conversation with `peer` as read to its end.
    ///
    /// # Errors
    /// When nothing was received in it.
    pub fn read_conversation(&self, peer: &str) -> Result<(), ActionError> {
        let peer = self.app.fold(peer);
        let last = {
            let data = self.app.data.lock();
            let newest = data.messages.iter().rev();
            newest
                .clone()
                .find(|message| message.kind == ChatType::Chat && message.from == peer && message.to == self.name)
                .cloned()
        };
        let last = last.ok_or_else(|| ActionError(format!("nothing received from {peer}")))?;
        self.app.emit(&self.app.conversation_read_event(&last, &self.name, &peer));
        Ok(())
    }

    /// Edits one of the user's own text or custom messages.
    ///
    /// # Errors
    /// When it is another's, of another type, or edited too often.
    pub fn edit(&self, id: &str, body: &Value) -> Result<(), ActionError> {
        let message = self.own(id)?;
        let kind = message.type_word().to_owned();
        let most = usize::try_from(self.app.settings().messages.max_edits).unwrap_or(usize::MAX);
        if message.from != self.name || !matches!(kind.as_str(), "txt" | "custom") {
            return Err(ActionError("not allowed to edit this message".to_owned()));
        }
        if message.edits.len() >= most {
            return Err(ActionError("edited too often".to_owned()));
        }
        let mut body = body.as_object().cloned().unwrap_or_default();
        body.remove("type");
        let body = canonical(&kind, &body, |_| None).map_err(|error| say(&error))?;
        self.app.rewrite(id, Arc::new(body), Arc::clone(&message.ext), &self.name);
        Ok(())
    }

    /// Adds a reaction to a message.
    ///
    /// # Errors
    /// When there is no such message.
    pub fn react(&self, id: &str, reaction: &str) -> Result<(), ActionError> {
        let message = self.own(id)?;
        self.app.emit(&self.app.reaction_event(&message, &self.name, reaction));
        Ok(())
    }

    /// Joins a group or room by itself.
    ///
    /// # Errors
    /// When there is no such group, or the user is in it.
    pub fn join(&self, id: &str) -> Result<(), ActionError> {
        self.exist()?;
        self.app.join(id, std::slice::from_ref(&self.name), "DIRECT", &self.name).map_err(|error| say(&error))
    }

    /// Leaves a group or room by itself.
    ///
    /// # Errors
    /// When there is no such group, or the user is not in it.
    pub fn leave(&self, id: &str) -> Result<(), ActionError> {
        self.app.leave(id, std::slice::from_ref(&self.name), "QUIT", &self.name).map_err(|error| say(&error))
    }

    /// A contact operation: `add`, `remove`, `accept`, `decline`, `ban`, `allow`.
    ///
    /// # Errors
    /// When the user is unknown.
    pub fn contact(&self, operation: &str, other: &str) -> Result<(), ActionError> {
        self.exist()?;
        let other = self.app.fold(other);
        self.app.change_contacts(&self.name, operation, &other);
        let resource = self.app.resource_of(&self.name);
        self.app.emit(&self.app.contact_event(&self.name, &resource, &other, operation));
        Ok(())
    }

    /// What the user's devices have received, in order; recalled messages are gone.
    #[must_use]
    pub fn inbox(&self) -> Vec<Received> {
        let data = self.app.data.lock();
        let Some(user) = data.users.get(&self.name) else { return Vec::new() };
        user.inbox
            .iter()
            .filter_map(|id| data.by_id.get(id).map(|index| &data.messages[*index]))
            .filter(|message| message.recalled_ms.is_none())
            .map(|message| Received {
                id: message.id.to_string(),
                from: message.from.clone(),
                to: message.to.clone(),
                body: (*message.body).clone(),
                ext: (*message.ext).clone(),
                level: message.level.clone(),
            })
            .collect()
    }
}
