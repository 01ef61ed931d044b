//! The protobuf messages, as the SDK's own schema numbers them; fields it never needs are left out.

use prost::Message;

pub(super) const SYNC: i32 = 0;
pub(super) const UNREAD: i32 = 1;
pub(super) const NOTICE: i32 = 2;
pub(super) const PROVISION: i32 = 3;
pub(super) const LOGOUT: i32 = 4;

pub(super) const OK: i32 = 0;
pub(super) const FAIL: i32 = 1;
pub(super) const UNAUTHORIZED: i32 = 2;
pub(super) const TOKEN_EXPIRED: i32 = 6;

pub(super) const NS_STATISTIC: i32 = 0;
pub(super) const NS_CHAT: i32 = 1;

pub(super) const CHAT: i32 = 1;
pub(super) const GROUP_CHAT: i32 = 2;
pub(super) const CHAT_ROOM: i32 = 3;
pub(super) const READ_ACK: i32 = 4;
pub(super) const DELIVER_ACK: i32 = 5;
pub(super) const RECALL: i32 = 6;
pub(super) const CHANNEL_ACK: i32 = 7;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Jid {
    #[prost(string, optional, tag = "1")]
    pub(super) app_key: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(super) name: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub(super) domain: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub(super) resource: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Frame {
    #[prost(int32, optional, tag = "1")]
    pub(super) version: Option<i32>,
    #[prost(message, optional, tag = "2")]
    pub(super) guid: Option<Jid>,
    #[prost(string, optional, tag = "3")]
    pub(super) auth: Option<String>,
    #[prost(int32, optional, tag = "8")]
    pub(super) command: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "9")]
    pub(super) payload: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(int32, optional, tag = "1")]
    pub(super) error_code: Option<i32>,
    #[prost(string, optional, tag = "2")]
    pub(super) reason: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Provision {
    #[prost(message, optional, tag = "8")]
    pub(super) status: Option<Status>,
    #[prost(string, optional, tag = "13")]
    pub(super) resource: Option<String>,
    #[prost(string, optional, tag = "14")]
    pub(super) auth: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SyncUp {
    #[prost(message, optional, tag = "1")]
    pub(super) meta: Option<Meta>,
    #[prost(uint64, optional, tag = "2")]
    pub(super) key: Option<u64>,
    #[prost(message, optional, tag = "3")]
    pub(super) queue: Option<Jid>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SyncDown {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(uint64, optional, tag = "2")]
    pub(super) meta_id: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) server_id: Option<u64>,
    #[prost(message, repeated, tag = "4")]
    pub(super) metas: Vec<Meta>,
    #[prost(uint64, optional, tag = "5")]
    pub(super) next_key: Option<u64>,
    #[prost(message, optional, tag = "6")]
    pub(super) queue: Option<Jid>,
    #[prost(bool, optional, tag = "7")]
    pub(super) is_last: Option<bool>,
    #[prost(uint64, optional, tag = "8")]
    pub(super) timestamp: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Notice {
    #[prost(message, optional, tag = "1")]
    pub(super) queue: Option<Jid>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct UnreadDown {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(message, repeated, tag = "2")]
    pub(super) unread: Vec<Unread>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) timestamp: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Unread {
    #[prost(message, optional, tag = "1")]
    pub(super) queue: Option<Jid>,
    #[prost(uint32, optional, tag = "2")]
    pub(super) count: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Meta {
    #[prost(uint64, optional, tag = "1")]
    pub(super) id: Option<u64>,
    #[prost(message, optional, tag = "2")]
    pub(super) from: Option<Jid>,
    #[prost(message, optional, tag = "3")]
    pub(super) to: Option<Jid>,
    #[prost(uint64, optional, tag = "4")]
    pub(super) timestamp: Option<u64>,
    #[prost(int32, optional, tag = "5")]
    pub(super) ns: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "6")]
    pub(super) payload: Option<Vec<u8>>,
    #[prost(string, repeated, tag = "10")]
    pub(super) directed_users: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Body {
    #[prost(int32, optional, tag = "1")]
    pub(super) kind: Option<i32>,
    #[prost(message, optional, tag = "2")]
    pub(super) from: Option<Jid>,
    #[prost(message, optional, tag = "3")]
    pub(super) to: Option<Jid>,
    #[prost(message, repeated, tag = "4")]
    pub(super) contents: Vec<Content>,
    #[prost(message, repeated, tag = "5")]
    pub(super) ext: Vec<KeyValue>,
    #[prost(uint64, optional, tag = "6")]
    pub(super) ack_message_id: Option<u64>,
    #[prost(message, optional, tag = "7")]
    pub(super) config: Option<Config>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Config {
    #[prost(bool, optional, tag = "1")]
    pub(super) allow_group_ack: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Content {
    #[prost(int32, optional, tag = "1")]
    pub(super) kind: Option<i32>,
    #[prost(string, optional, tag = "2")]
    pub(super) text: Option<String>,
    #[prost(double, optional, tag = "3")]
    pub(super) latitude: Option<f64>,
    #[prost(double, optional, tag = "4")]
    pub(super) longitude: Option<f64>,
    #[prost(string, optional, tag = "5")]
    pub(super) address: Option<String>,
    #[prost(string, optional, tag = "6")]
    pub(super) display_name: Option<String>,
    #[prost(string, optional, tag = "7")]
    pub(super) remote_path: Option<String>,
    #[prost(string, optional, tag = "8")]
    pub(super) secret_key: Option<String>,
    #[prost(int32, optional, tag = "9")]
    pub(super) file_length: Option<i32>,
    #[prost(string, optional, tag = "10")]
    pub(super) action: Option<String>,
    #[prost(int32, optional, tag = "12")]
    pub(super) duration: Option<i32>,
    #[prost(string, optional, tag = "19")]
    pub(super) custom_event: Option<String>,
    #[prost(message, repeated, tag = "20")]
    pub(super) custom_exts: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValue {
    #[prost(string, optional, tag = "1")]
    pub(super) key: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub(super) kind: Option<i32>,
    #[prost(int64, optional, tag = "3")]
    pub(super) varint: Option<i64>,
    #[prost(float, optional, tag = "4")]
    pub(super) float: Option<f32>,
    #[prost(double, optional, tag = "5")]
    pub(super) double: Option<f64>,
    #[prost(string, optional, tag = "6")]
    pub(super) text: Option<String>,
}
