//! Callbacks made by hand, signed as each vendor signs.

use std::time::{SystemTime, UNIX_EPOCH};

use md5::Md5;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use super::vendors::{HUANXIN_APP, HUANXIN_SECRET, RONGCLOUD_APP, RONGCLOUD_SECRET};

pub const FORM: &str = "application/x-www-form-urlencoded;charset=UTF-8";

/// Now, in milliseconds since the epoch.
pub fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Signs a Huanxin callback that has `callId` and `timestamp`.
pub fn sign_huanxin(mut body: Value, secret: &str) -> Value {
    let text = format!("{}{secret}{}", body["callId"].as_str().unwrap(), body["timestamp"]);
    body["security"] = json!(hex::encode(Md5::digest(text)));
    body
}

/// A text between two users of Huanxin, signed at `at`.
pub fn huanxin_text(id: &str, from: &str, to: &str, text: &str, at: i64) -> Value {
    let body = json!({
        "callId": format!("{HUANXIN_APP}_{id}"), "eventType": "chat", "chat_type": "chat", "from": from, "to": to,
        "msg_id": id, "content_type": "chat:user:text", "appkey": HUANXIN_APP, "timestamp": at,
        "payload": { "ext": {}, "bodies": [{ "msg": text, "type": "txt" }], "from": from, "to": to, "type": "chat" },
    });
    sign_huanxin(body, HUANXIN_SECRET)
}

/// What RongCloud puts into the address of a callback.
#[derive(Clone, Debug)]
pub struct RongQuery {
    pub app_key: String,
    pub timestamp: String,
    pub nonce: String,
    pub signature: String,
}

impl RongQuery {
    /// Signed with the right secret at `at`.
    pub fn signed(at: i64) -> Self {
        Self::signed_with(RONGCLOUD_SECRET, &at.to_string())
    }

    pub fn signed_with(secret: &str, timestamp: &str) -> Self {
        let nonce = "918273645";
        let signature = hex::encode(Sha1::digest(format!("{secret}{nonce}{timestamp}")));
        Self { app_key: RONGCLOUD_APP.to_owned(), timestamp: timestamp.to_owned(), nonce: nonce.to_owned(), signature }
    }

    pub fn text(&self) -> String {
        let Self { app_key, timestamp, nonce, signature } = self;
        form(&[("appKey", app_key), ("timestamp", timestamp), ("nonce", nonce), ("signature", signature)])
    }
}

/// Pairs as a form or query.
pub fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// A text between two users of RongCloud.
pub fn rongcloud_text(id: &str, from: &str, to: &str, text: &str, at: i64) -> String {
    let (content, at) = (json!({ "content": text }).to_string(), at.to_string());
    form(&[
        ("fromUserId", from),
        ("toUserId", to),
        ("objectName", "RC:TxtMsg"),
        ("content", &content),
        ("channelType", "PERSON"),
        ("msgTimestamp", &at),
        ("timestamp", &at),
        ("msgUID", id),
        ("sensitiveType", "0"),
        ("source", "iOS"),
    ])
}

/// Makes a callback; the status of the answer.
pub async fn post(request: RequestBuilder) -> StatusCode {
    request.send().await.unwrap().status()
}
