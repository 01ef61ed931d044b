//! Answers of the Server API. Every one also has `code`, which the error table has looked at before.

use serde::Deserialize;

use super::lenient::Scalar;

/// What a publish call tells of the messages it made; older deployments tell nothing.
#[derive(Debug, Deserialize)]
pub(crate) struct PublishReply {
    #[serde(rename = "messageUIDs", default)]
    pub(crate) ids: Vec<PublishedId>,
}

/// One recipient, group or room, and the id of its message.
#[derive(Debug, Deserialize)]
pub(crate) struct PublishedId {
    #[serde(rename = "userId", default)]
    pub(crate) user: Option<String>,
    #[serde(rename = "messageUID", default)]
    pub(crate) uid: Option<String>,
}

/// `/user/getToken.json`.
#[derive(Deserialize)]
pub(crate) struct TokenReply {
    pub(crate) token: String,
}

/// `/user/checkOnline.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct OnlineReply<'a> {
    /// `"1"` online, `"0"` offline; one SDK sample shows a number.
    #[serde(borrow)]
    pub(crate) status: Scalar<'a>,
}

/// `/group/user/query.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct MembersReply {
    #[serde(default)]
    pub(crate) users: Vec<MemberId>,
    /// Rooms only: everybody, of whom at most 500 are listed.
    #[serde(default)]
    pub(crate) total: Option<u64>,
}

/// One member.
#[derive(Debug, Deserialize)]
pub(crate) struct MemberId {
    pub(crate) id: String,
}

/// `/chatroom/query.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct RoomsReply {
    #[serde(rename = "chatRooms", default)]
    pub(crate) rooms: Vec<RoomId>,
}

/// One room that exists.
#[derive(Debug, Deserialize)]
pub(crate) struct RoomId {
    #[serde(rename = "chrmId")]
    pub(crate) id: String,
}

/// `/message/history.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct LogReply {
    /// Where the file is; empty when the hour has none.
    #[serde(default)]
    pub(crate) url: String,
}
