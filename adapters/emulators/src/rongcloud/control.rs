//! End users over HTTP: `POST /_emulator/users/{user}/{action}` with a JSON object.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    client::EndUser,
    client_message::{ClientMessage, ClientRefusal, RecallOptions, Sent, Target},
    emulator,
};
use crate::common::ActionError;

/// Runs one action. The names: `login {os?}`, `logout {session?}`, `disconnect {session?}`, `send {…}`, `recall {uid, admin?, without_trace?, extra?}`,
/// `delete {uid}`, `edit {uid, content}`, `read {to, uid}`, `typing {to}`, `join_room {room}`, `quit_room {room}`, `inbox`,
/// `audit {uid, passed, detail?}`.
pub(crate) async fn act(user: &EndUser, action: &str, arguments: Value) -> Result<Value, ActionError> {
    match action {
        "login" => {
            let Login { os } = read(arguments)?;
            let session = user.login(&os.unwrap_or_else(|| "iOS".to_owned())).map_err(refused)?;
            Ok(json!({ "session": session }))
        }
        "logout" => Ok(json!({ "ended": user.logout(read::<Leave>(arguments)?.session.as_deref()) })),
        "disconnect" => Ok(json!({ "ended": user.disconnect(read::<Leave>(arguments)?.session.as_deref()) })),
        "send" => sent(user.send(read::<Send>(arguments)?.message()?).await),
        "recall" => {
            let Recall { uid, admin, without_trace, extra } = read(arguments)?;
            sent(user.recall_with(&uid, RecallOptions { as_admin: admin, without_trace, extra }))
        }
        "delete" => user.delete(&read::<Uid>(arguments)?.uid).map(|()| json!({})).map_err(refused),
        "edit" => {
            let Edit { uid, content } = read(arguments)?;
            sent(user.edit(&uid, &text_of(&content)))
        }
        "read" => {
            let Read { to, uid } = read(arguments)?;
            sent(user.read(&to, &uid).await)
        }
        "typing" => sent(user.typing(&read::<Typing>(arguments)?.to).await),
        "join_room" => user.join_room(&read::<RoomOf>(arguments)?.room).map(|()| json!({})).map_err(refused),
        "quit_room" => user.quit_room(&read::<RoomOf>(arguments)?.room).map(|()| json!({})).map_err(refused),
        "inbox" => Ok(json!({ "messages": user.inbox() })),
        "audit" => {
            let Audit { uid, passed, detail } = read(arguments)?;
            let known = user.app.change(|core, _| emulator::audit(core, &uid, passed, "emulator", &detail));
            if known { Ok(json!({})) } else { Err(ActionError("the message does not exist".to_owned())) }
        }
        other => Err(ActionError(format!("there is no action {other:?}"))),
    }
}

fn read<T: DeserializeOwned>(arguments: Value) -> Result<T, ActionError> {
    serde_json::from_value(arguments).map_err(|error| ActionError(error.to_string()))
}

fn refused(refusal: ClientRefusal) -> ActionError {
    ActionError(refusal.to_string())
}

fn sent(result: Result<Sent, ClientRefusal>) -> Result<Value, ActionError> {
    result.map(|sent| json!(sent)).map_err(refused)
}

/// Content may be given as the JSON object it is, or as text.
fn text_of(content: &Value) -> String {
    content.as_str().map_or_else(|| content.to_string(), str::to_owned)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    os: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Leave {
    session: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Uid {
    uid: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recall {
    uid: String,
    #[serde(default)]
    admin: bool,
    #[serde(default)]
    without_trace: bool,
    #[serde(default)]
    extra: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    uid: String,
    content: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    to: String,
    uid: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typing {
    to: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoomOf {
    room: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Audit {
    uid: String,
    passed: bool,
    #[serde(default)]
    detail: String,
}

/// `{to: {user|group|room|ultra_group+channel}, text | type+content, directed?, expansion?, os?}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Send {
    to: To,
    text: Option<String>,
    #[serde(rename = "type")]
    object_name: Option<String>,
    content: Option<Value>,
    #[serde(default)]
    directed: Vec<String>,
    expansion: Option<BTreeMap<String, String>>,
    os: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct To {
    user: Option<String>,
    group: Option<String>,
    room: Option<String>,
    ultra_group: Option<String>,
    #[serde(default)]
    channel: String,
}

impl To {
    fn target(self) -> Result<Target, ActionError> {
        match (self.user, self.group, self.room, self.ultra_group) {
            (Some(user), None, None, None) => Ok(Target::User(user)),
            (None, Some(group), None, None) => Ok(Target::Group(group)),
            (None, None, Some(room), None) => Ok(Target::Room(room)),
            (None, None, None, Some(group)) => Ok(Target::UltraGroup { group, channel: self.channel }),
            _ => Err(ActionError("`to` needs exactly one of user, group, room, ultra_group".to_owned())),
        }
    }
}

impl Send {
    fn message(self) -> Result<ClientMessage, ActionError> {
        let target = self.to.target()?;
        let mut message = match (self.text, self.object_name, self.content) {
            (Some(text), None, None) => ClientMessage::text(target, &text),
            (None, Some(name), Some(content)) => ClientMessage::new(target, &name, &text_of(&content)),
            _ => return Err(ActionError("give text, or type and content".to_owned())),
        };
        let directed: Vec<&str> = self.directed.iter().map(String::as_str).collect();
        message = message.with_directed(&directed);
        if let Some(pairs) = &self.expansion {
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            message = message.with_expansion(&pairs);
        }
        if let Some(os) = &self.os {
            message = message.with_os(os);
        }
        Ok(message)
    }
}
