//! Signatures of the callbacks, and the jobs that deliver them.

use std::{fmt, sync::Arc};

use bytes::Bytes;

pub(crate) use super::callback_body::{ChatroomStatus, OnlineStatus, Operated, audit_body, route_body};
use super::{
    callback_settings::{CallbackSettings, CallbackUrls, SignatureStyle},
    sign,
    state::Event,
};
use crate::common::{CallbackJob, FaultEngine, OutgoingCallback, Render, Time};

const FORM: &str = "application/x-www-form-urlencoded;charset=UTF-8";
const JSON: &str = "application/json;charset=UTF-8";

/// A callback of a kind this emulator does not produce by itself. `Debug` shows no body.
#[derive(Clone, Copy)]
pub struct RawCallback<'a> {
    /// Name in the ledger and in fault scripts.
    pub label: &'a str,
    /// Where it goes.
    pub url: &'a str,
    /// `application/x-www-form-urlencoded`; JSON otherwise.
    pub form: bool,
    /// The body, byte for byte.
    pub body: &'a str,
}

impl fmt::Debug for RawCallback<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawCallback").field("label", &self.label).field("url", &self.url).finish_non_exhaustive()
    }
}

/// What every job needs to sign and send.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) app_key: Arc<str>,
    pub(crate) app_secret: Arc<str>,
    pub(crate) time: Time,
    pub(crate) faults: Arc<FaultEngine>,
}

impl Signer {
    /// The job for an event, or `None` when its callback is not configured.
    pub(crate) fn job(&self, event: Event, settings: &CallbackSettings) -> Option<CallbackJob> {
        let CallbackUrls { routing, message_operation, audit, .. } = &settings.urls;
        let style = settings.signature_style;
        let (label, key, url, content_type, body, style) = match event {
            Event::Route { uid, body } => ("route", uid, routing.as_ref()?, FORM, body, style),
            Event::Operation { uid, body } => {
                ("message_operation", uid, message_operation.as_ref()?, JSON, body, style)
            }
            Event::Audit { uid, body } => ("audit", uid, audit.as_ref()?, JSON, body, SignatureStyle::RcHeaders),
            Event::Online(status) => return self.online_job(&[status], settings),
            Event::Chatroom(status) => return self.chatroom_job(&[status], settings),
        };
        Some(self.build(label, key, url, content_type, body, style, settings.resign_retries))
    }

    /// One array of presence changes.
    pub(crate) fn online_job(&self, batch: &[OnlineStatus], settings: &CallbackSettings) -> Option<CallbackJob> {
        let url = settings.urls.online_status.as_ref()?;
        let key = batch.first()?.userid.clone();
        let body = serde_json::to_string(batch).unwrap_or_default();
        let (style, resign) = (settings.signature_style, settings.resign_retries);
        Some(self.build("online_status", key, url, JSON, body, style, resign))
    }

    /// One array of chatroom changes.
    pub(crate) fn chatroom_job(&self, batch: &[ChatroomStatus], settings: &CallbackSettings) -> Option<CallbackJob> {
        let url = settings.urls.chatroom_status.as_ref()?;
        let key = batch.first()?.chatroom_id.clone();
        let body = serde_json::to_string(batch).unwrap_or_default();
        let (style, resign) = (settings.signature_style, settings.resign_retries);
        Some(self.build("chatroom_status", key, url, JSON, body, style, resign))
    }

    /// Any body to any address, signed as the style says.
    pub(crate) fn raw_job(&self, raw: RawCallback<'_>, settings: &CallbackSettings) -> CallbackJob {
        let RawCallback { label, url, form, body } = raw;
        let content_type = if form { FORM } else { JSON };
        let (style, resign) = (settings.signature_style, settings.resign_retries);
        self.build(label, String::new(), url, content_type, body.to_owned(), style, resign)
    }

    /// The synchronous question before a message is delivered.
    pub(crate) fn pre_send_job(&self, uid: &str, body: String, settings: &CallbackSettings) -> Option<CallbackJob> {
        let url = settings.urls.pre_send.as_ref()?;
        Some(self.build("pre_send", uid.to_owned(), url, FORM, body, settings.signature_style, true))
    }

    #[expect(clippy::too_many_arguments, reason = "the one place where a job's parts meet")]
    fn build(
        &self,
        label: &str,
        key: String,
        url: &str,
        content_type: &'static str,
        body: String,
        style: SignatureStyle,
        resign: bool,
    ) -> CallbackJob {
        let first = self.credentials();
        let (signer, target, body) = (self.clone(), url.to_owned(), Bytes::from(body));
        let render: Render = Arc::new(move |attempt, corrupt| {
            let stamp = if resign && attempt > 1 { signer.credentials() } else { first.clone() };
            let (url, headers) = signer.signed(&target, style, &stamp, corrupt);
            OutgoingCallback { url, content_type, headers, body: body.clone() }
        });
        CallbackJob { label: label.to_owned(), key, url: url.to_owned(), scope: self.app_key.to_string(), render }
    }

    fn credentials(&self) -> Stamp {
        Stamp {
            nonce: self.faults.draw(100_000_000..1_000_000_000).to_string(),
            timestamp: self.time.now_ms().to_string(),
        }
    }

    fn signed(
        &self,
        url: &str,
        style: SignatureStyle,
        stamp: &Stamp,
        corrupt: bool,
    ) -> (String, Vec<(String, String)>) {
        let mut signature = sign::signature(&self.app_secret, &stamp.nonce, &stamp.timestamp);
        if corrupt {
            let spoiled = if signature.starts_with('0') { "1" } else { "0" };
            signature.replace_range(0..1, spoiled);
        }
        let Stamp { nonce, timestamp } = stamp;
        let app_key = &self.app_key;
        let query = match style {
            SignatureStyle::Timestamp => {
                format!("appKey={app_key}&timestamp={timestamp}&nonce={nonce}&signature={signature}")
            }
            SignatureStyle::SignTimestamp => {
                format!("signTimestamp={timestamp}&nonce={nonce}&signature={signature}")
            }
            SignatureStyle::AppKeySignTimestamp => {
                format!("appKey={app_key}&signTimestamp={timestamp}&nonce={nonce}&signature={signature}")
            }
            SignatureStyle::RcHeaders => {
                return (url.to_owned(), header_set("RC-", app_key, stamp, signature));
            }
            SignatureStyle::Headers => {
                return (url.to_owned(), header_set("", app_key, stamp, signature));
            }
        };
        let joint = if url.contains('?') { '&' } else { '?' };
        (format!("{url}{joint}{query}"), Vec::new())
    }
}

#[derive(Clone)]
struct Stamp {
    nonce: String,
    timestamp: String,
}

fn header_set(prefix: &str, app_key: &str, stamp: &Stamp, signature: String) -> Vec<(String, String)> {
    vec![
        (format!("{prefix}App-Key"), app_key.to_owned()),
        (format!("{prefix}Nonce"), stamp.nonce.clone()),
        (format!("{prefix}Timestamp"), stamp.timestamp.clone()),
        (format!("{prefix}Signature"), signature),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use super::{Signer, Stamp};
    use crate::{
        common::{FaultEngine, Faults, Time},
        rongcloud::callback_settings::SignatureStyle,
    };

    macro_rules! captured {
        ($name:literal) => {
            include_str!(concat!("../../fixtures/rongcloud/", $name, ".http"))
        };
    }

    fn signed(path: &str, style: SignatureStyle, timestamp: &str) -> (String, Vec<(String, String)>) {
        let time = Time::manual(0);
        let signer = Signer {
            app_key: "demoappkey01".into(),
            app_secret: "demosecret01".into(),
            faults: Arc::new(FaultEngine::new(1, Faults::default(), time.clone())),
            time,
        };
        let stamp = Stamp { nonce: "918273645".to_owned(), timestamp: timestamp.to_owned() };
        signer.signed(path, style, &stamp, false)
    }

    #[test]
    fn request_lines_equal_the_captured_ones() {
        let (route, moment) = ("/rongcloud/route", "1795054530158");
        let rows = [
            (captured!("callback_message_route_private"), route, SignatureStyle::Timestamp, moment),
            (captured!("callback_message_route_private_signtimestamp"), route, SignatureStyle::SignTimestamp, moment),
            (
                captured!("callback_message_route_private_signtimestamp_appkey"),
                route,
                SignatureStyle::AppKeySignTimestamp,
                moment,
            ),
            (captured!("callback_pre_send_request"), "/rongcloud/presend", SignatureStyle::Timestamp, "1795054562459"),
            (captured!("callback_chatroom_status"), "/rongcloud/chatroom", SignatureStyle::Timestamp, "1795054752042"),
            (captured!("online_status_callback"), "/rongcloud/online", SignatureStyle::Timestamp, "1795054530183"),
        ];
        for (captured, path, style, timestamp) in rows {
            let (url, headers) = signed(path, style, timestamp);
            assert_eq!(captured.lines().next(), Some(format!("POST {url} HTTP/1.1").as_str()));
            assert!(headers.is_empty());
        }
    }

    #[test]
    fn signature_headers_equal_the_captured_ones() {
        let (url, headers) = signed("/rongcloud/audit", SignatureStyle::RcHeaders, "1795054752830");
        assert_eq!(url, "/rongcloud/audit");
        let captured: Vec<&str> =
            captured!("callback_audit_result").lines().filter(|line| line.starts_with("RC-")).collect();
        let ours: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(ours, captured);
    }
}
