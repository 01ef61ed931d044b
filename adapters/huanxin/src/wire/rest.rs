//! Requests and answers of the REST service.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Text;
use crate::config::RoomLevel;

/// `POST /messages/users|chatgroups|chatrooms`, and `…/chatgroups/users` with `users`.
#[derive(Serialize)]
pub(crate) struct SendRequest<'a> {
    pub(crate) from: &'a str,
    pub(crate) to: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) users: Vec<&'a str>,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) body: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) ext: Map<String, Value>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) sync_device: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) routetype: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) need_group_ack: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chatroom_msg_level: Option<RoomLevel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) env: Option<&'a str>,
}

/// Target id to message id.
#[derive(Deserialize)]
pub(crate) struct SendReply<'a> {
    #[serde(borrow)]
    pub(crate) data: HashMap<Cow<'a, str>, Text<'a>>,
}

/// `POST /messages/msg_recall`.
#[derive(Serialize)]
pub(crate) struct RecallRequest<'a> {
    pub(crate) msg_id: &'a str,
    pub(crate) to: &'a str,
    pub(crate) from: &'a str,
    pub(crate) chat_type: &'static str,
    pub(crate) force: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) sync_device: bool,
}

/// One entry of `POST /users`.
#[derive(Serialize)]
pub(crate) struct NewUser<'a> {
    pub(crate) username: &'a str,
    pub(crate) password: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nickname: Option<&'a str>,
}

/// The answer to `POST /users`: what could not be registered stands in `data`.
#[derive(Deserialize)]
pub(crate) struct RegisterReply<'a> {
    #[serde(borrow, default)]
    pub(crate) data: Vec<RegisterFailure<'a>>,
}

#[derive(Deserialize)]
pub(crate) struct RegisterFailure<'a> {
    #[serde(borrow, default)]
    pub(crate) username: Option<Text<'a>>,
    #[serde(borrow, default, rename = "registerUserFailReason")]
    pub(crate) reason: Option<Text<'a>>,
}

/// `PUT /users/{user}`.
#[derive(Serialize)]
pub(crate) struct Nickname<'a> {
    pub(crate) nickname: &'a str,
}

/// `POST /token` for a user.
#[derive(Serialize)]
pub(crate) struct InheritRequest<'a> {
    pub(crate) grant_type: &'static str,
    pub(crate) username: &'a str,
    #[serde(rename = "autoCreateUser")]
    pub(crate) auto_create_user: bool,
    pub(crate) ttl: u64,
}

#[derive(Deserialize)]
pub(crate) struct UserTokenReply {
    pub(crate) access_token: String,
    #[serde(default)]
    pub(crate) expires_in: u64,
}

/// A list of users, as several calls take it.
#[derive(Serialize)]
pub(crate) struct Usernames<'a> {
    pub(crate) usernames: Vec<&'a str>,
}

/// The answer to `POST /users/batch/status`: one-key objects.
#[derive(Deserialize)]
pub(crate) struct StatesReply<'a> {
    #[serde(borrow)]
    pub(crate) data: Vec<HashMap<Cow<'a, str>, Text<'a>>>,
}

/// The answer to `GET /users/{user}/offline_msg_count`.
#[derive(Deserialize)]
pub(crate) struct CountReply<'a> {
    #[serde(borrow)]
    pub(crate) data: HashMap<Cow<'a, str>, u64>,
}

/// `POST /chatgroups`.
#[derive(Serialize)]
pub(crate) struct NewGroupRequest<'a> {
    pub(crate) groupname: &'a str,
    pub(crate) description: &'a str,
    pub(crate) public: bool,
    pub(crate) maxusers: u32,
    pub(crate) allowinvites: bool,
    pub(crate) membersonly: bool,
    pub(crate) invite_need_confirm: bool,
    pub(crate) owner: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) members: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) custom: Option<&'a str>,
}

/// `POST /chatrooms`.
#[derive(Serialize)]
pub(crate) struct NewRoomRequest<'a> {
    pub(crate) name: &'a str,
    pub(crate) description: &'a str,
    pub(crate) maxusers: u32,
    pub(crate) owner: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) members: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) custom: Option<&'a str>,
}

/// The answers to both.
#[derive(Deserialize)]
pub(crate) struct CreatedReply<'a> {
    #[serde(borrow)]
    pub(crate) data: Created<'a>,
}

#[derive(Deserialize)]
pub(crate) struct Created<'a> {
    #[serde(borrow, alias = "groupid")]
    pub(crate) id: Text<'a>,
}

/// The answer to `GET /chatgroups/{group}/users`.
#[derive(Deserialize)]
pub(crate) struct MembersReply<'a> {
    #[serde(borrow, default)]
    pub(crate) data: Vec<MemberEntry<'a>>,
}

#[derive(Deserialize)]
pub(crate) struct MemberEntry<'a> {
    #[serde(borrow, alias = "owner", alias = "admin")]
    pub(crate) member: Text<'a>,
}

/// The answer to `GET /chatgroups/{ids}`: the ones found.
#[derive(Deserialize)]
pub(crate) struct DetailReply<'a> {
    #[serde(borrow, default)]
    pub(crate) data: Vec<Detail<'a>>,
}

#[derive(Deserialize)]
pub(crate) struct Detail<'a> {
    #[serde(borrow)]
    pub(crate) id: Text<'a>,
}

/// The answer to `GET /chatmessages/{hour}`.
#[derive(Deserialize)]
pub(crate) struct FilesReply<'a> {
    #[serde(borrow, default)]
    pub(crate) data: Vec<FileLink<'a>>,
}

#[derive(Deserialize)]
pub(crate) struct FileLink<'a> {
    #[serde(borrow)]
    pub(crate) url: Text<'a>,
}

/// `POST /api/server/v6/{org}/{app}/roaming/chat|group`.
#[derive(Serialize)]
pub(crate) struct RoamingRequest<'a> {
    pub(crate) username: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<&'a str>,
    #[serde(rename = "groupId", skip_serializing_if = "Option::is_none")]
    pub(crate) group_id: Option<&'a str>,
    pub(crate) limit: u32,
    pub(crate) order: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cursor: Option<&'a str>,
    #[serde(rename = "startTimestamp")]
    pub(crate) start_timestamp: i64,
    #[serde(rename = "endTimestamp")]
    pub(crate) end_timestamp: i64,
}

/// Walks a JSON pointer through unparsed text, so that what it leads to keeps its bytes.
pub(crate) fn point<'a>(json: &'a [u8], pointer: &str) -> serde_json::Result<Option<&'a RawValue>> {
    let mut here: &RawValue = serde_json::from_slice(json)?;
    for step in pointer.split('/').skip(1) {
        if !here.get().starts_with('{') {
            return Ok(None);
        }
        let mut fields: HashMap<Cow<'_, str>, &'a RawValue> = serde_json::from_str(here.get())?;
        match fields.remove(step) {
            Some(next) => here = next,
            None => return Ok(None),
        }
    }
    Ok(Some(here).filter(|value| value.get() != "null"))
}

/// `GET /callbacks/storage/info`.
#[derive(Deserialize)]
pub(crate) struct KeptReply<'a> {
    #[serde(borrow)]
    pub(crate) data: Vec<KeptLine<'a>>,
}

#[derive(Deserialize)]
pub(crate) struct KeptLine<'a> {
    #[serde(borrow)]
    pub(crate) date: Text<'a>,
    pub(crate) size: i64,
    #[serde(default)]
    pub(crate) retry: i64,
}

/// `POST /callbacks/storage/retry`. Without a `targetUrl` the rule's own address is called.
#[derive(Serialize)]
pub(crate) struct ReplayRequest<'a> {
    pub(crate) date: &'a str,
    pub(crate) retry: u32,
}

/// `success` says only that the replay was accepted.
#[derive(Deserialize)]
pub(crate) struct ReplayReply<'a> {
    #[serde(borrow)]
    pub(crate) data: Text<'a>,
}
