//! `switchboard trace`.

use serde_json::Value;
use switchboard_contract::{Error, Timestamp};

use super::client::{Client, Sidecar};
use super::{print_json, print_line};

/// Show everything a running sidecar knows of one message: how it came, where it stands, what became of its send.
#[derive(Debug, clap::Args)]
pub(crate) struct Trace {
    #[command(flatten)]
    sidecar: Sidecar,
    /// The message's id.
    message: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Trace {
    pub(crate) async fn run(self) -> Result<(), Error> {
        let answer: Value = Client::new(self.sidecar).get(&format!("/v1/messages/{}", self.message)).await?;
        if self.json {
            return print_json(&answer);
        }
        journalled(&answer["event"]);
        variants("variant", &answer["variants"]);
        variants("recall variant", &answer["recall_variants"]);
        for message in answer["send"]["messages"].as_array().into_iter().flatten() {
            if message["message_id"] == self.message.as_str() {
                sent(&answer["send"], message);
            }
        }
        Ok(())
    }
}

fn line(what: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::String(text) => print_line(format_args!("{what:<18} {text}")),
        other => print_line(format_args!("{what:<18} {other}")),
    }
}

fn journalled(event: &Value) {
    if event.is_null() {
        print_line("not in the journal yet");
        return;
    }
    line("sent", &event["time"]);
    line("first seen", &event["received"]);
    line("came by", &event["origin"]);
    line("late", &event["late"]);
    line("app", &event["app"]);
    line("conversation", &event["subject"]);
    line("position", &event["position"]);
    line("sequence", &event["sequence"]);
    line("from", &event["data"]["from"]);
    line("vendor's id", &event["data"]["vendor_id"]);
    line("recalled", &event["data"]["recalled"]);
}

/// What other sources said: where from, when, and which content.
fn variants(what: &str, list: &Value) {
    for variant in list.as_array().into_iter().flatten() {
        let time = Timestamp(variant["received_at"].as_i64().unwrap_or_default()).to_rfc3339();
        let text = |field: &str| variant[field].as_str().unwrap_or_default().to_owned();
        line(what, &Value::String(format!("{} at {time}, content {}", text("origin"), text("digest"))));
    }
}

fn sent(send: &Value, message: &Value) {
    line("send", &send["id"]);
    line("client id", &send["client_message_id"]);
    line("state", &message["state"]);
    line("reason", &message["reason"]);
    line("attempts", &message["attempts"]);
}
