//! The acts of an end user by name, and the console's, for the control surface and the handle.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::app::App;
use super::super::events::ADMIN;
use super::super::groups::NewGroup;
use super::super::messages::text_body;
use super::{EndUser, Outgoing, Received, Target, say, text};
use crate::common::ActionError;

impl App {
    /// Registers a user without a REST call.
    pub(crate) fn register_directly(&self, id: &str, password: &str) -> Result<(), ActionError> {
        let name = self.legal_name(id).map_err(|error| say(&error))?;
        self.register(&name, password, None).map(|_| ()).map_err(|error| say(&error))
    }

    /// Creates a group or room without a REST call.
    pub(crate) fn create_directly(
        &self,
        room: bool,
        name: &str,
        owner: &str,
        members: &[&str],
    ) -> Result<String, ActionError> {
        let new = NewGroup {
            room,
            name: name.to_owned(),
            max_users: 1_000,
            invite_need_confirm: false,
            owner: self.fold(owner),
            members: members.iter().map(|member| self.fold(member)).collect(),
            ..NewGroup::default()
        };
        self.create_group(new, ADMIN).map_err(|error| say(&error))
    }

    /// The acts of [`EndUser`] by name, for the control surface.
    pub(crate) async fn act(
        self: &Arc<Self>,
        user: &str,
        action: &str,
        arguments: Value,
    ) -> Result<Value, ActionError> {
        let user = EndUser::new(Arc::clone(self), user);
        let id = text(&arguments, "msg_id");
        let group = text(&arguments, "id");
        match action {
            "login" => {
                let os = arguments.get("os").and_then(Value::as_str).unwrap_or("android");
                return Ok(json!({ "resource": user.login(os)? }));
            }
            "send" => {
                let id = user.send(outgoing(&arguments)?).await?;
                return Ok(json!({ "msg_id": id }));
            }
            "inbox" => {
                let messages: Vec<Value> = user.inbox().into_iter().map(Received::into_json).collect();
                return Ok(json!({ "messages": messages }));
            }
            "logout" => user.logout(),
            "lose_network" => user.lose_network(),
            "recall" => user.recall(id)?,
            "read" => user.read(id)?,
            "read_conversation" => user.read_conversation(text(&arguments, "with"))?,
            "edit" => user.edit(id, &arguments["body"])?,
            "react" => user.react(id, text(&arguments, "reaction"))?,
            "join" => user.join(group)?,
            "leave" => user.leave(group)?,
            "contact" => user.contact(text(&arguments, "operation"), text(&arguments, "with"))?,
            other => return Err(ActionError(format!("no action {other}"))),
        }
        Ok(json!({}))
    }
}

impl Received {
    fn into_json(self) -> Value {
        json!({
            "msg_id": self.id, "from": self.from, "to": self.to, "body": self.body, "ext": self.ext,
            "level": self.level,
        })
    }
}

fn outgoing(arguments: &Value) -> Result<Outgoing, ActionError> {
    let to = &arguments["to"];
    let target = |key: &str| to.get(key).and_then(Value::as_str).map(str::to_owned);
    let to = target("user")
        .map(Target::User)
        .or_else(|| target("group").map(Target::Group))
        .or_else(|| target("room").map(Target::Room))
        .ok_or_else(|| ActionError("`to` needs `user`, `group` or `room`".to_owned()))?;
    let users = arguments
        .get("users")
        .and_then(Value::as_array)
        .map(|users| users.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    let body = match arguments.get("text").and_then(Value::as_str) {
        Some(text) => text_body(text),
        None => arguments["body"].clone(),
    };
    Ok(Outgoing {
        to,
        body,
        ext: arguments["ext"].clone(),
        users,
        env: arguments.get("env").and_then(Value::as_str).map(str::to_owned),
        group_ack: arguments["need_group_ack"] == Value::Bool(true),
    })
}
