//! What the vendor checks of a client's message before it takes it.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::bodies::canonical;
use super::super::messages::{Draft, Options};
use super::super::model::ChatType;
use super::{EndUser, Outgoing, say, text};
use crate::common::{ActionError, Source};

impl EndUser {
    pub(super) fn draft(&self, message: Outgoing) -> Result<Draft, ActionError> {
        let (kind, to) = message.to.parts();
        let to = if kind == ChatType::Chat { self.app.fold(to) } else { to.to_owned() };
        let body = message.body.as_object().cloned().unwrap_or_default();
        let word = text(&message.body, "type").to_owned();
        let body = if body.contains_key("subType") {
            Value::Object(body)
        } else {
            let mut body: Map<String, Value> = body;
            body.remove("type");
            canonical(&word, &body, |url| self.app.file_facts(url)).map_err(|error| say(&error))?
        };
        let size = body.to_string().len() + message.ext.to_string().len();
        if size > self.app.settings().messages.max_bytes {
            return Err(ActionError("message is too large".to_owned()));
        }
        self.may_send(kind, &to)?;
        let users = message.users.map(|users| users.iter().map(|user| self.app.fold(user)).collect());
        Ok(Draft {
            from: self.name.clone(),
            to,
            kind,
            audience: users,
            body: Arc::new(body),
            ext: Arc::new(message.ext),
            source: Source::Client,
            options: Options { env: message.env, group_ack: message.group_ack, ..Options::default() },
        })
    }

    /// Unlike REST sends, clients are held to mutes, blocks and membership.
    fn may_send(&self, kind: ChatType, to: &str) -> Result<(), ActionError> {
        let now_ms = self.app.now_ms();
        let data = self.app.data.lock();
        let refuse = |reason: &str| Err(ActionError(reason.to_owned()));
        let muted = data.users.get(&self.name).is_some_and(|user| user.mutes.until(kind) > now_ms);
        if muted {
            return refuse("user has been muted");
        }
        if kind == ChatType::Chat {
            let blocked = data.users.get(to).is_some_and(|peer| peer.blocked.contains(&self.name));
            return if blocked { refuse("blocked by the other party") } else { Ok(()) };
        }
        let Some(group) = data.groups.get(to).filter(|group| group.kind() == kind) else {
            return refuse("group not found");
        };
        let exempt = group.owner == self.name || group.admins.contains(&self.name) || group.white.contains(&self.name);
        let muted = group.mutes.get(&self.name).is_some_and(|until| *until > now_ms);
        match () {
            () if !group.has(&self.name) => refuse("not in group or chatroom"),
            () if group.disabled => refuse("group is disabled"),
            () if !exempt && (muted || group.mute_all) => refuse("group member has been muted"),
            () => Ok(()),
        }
    }
}
