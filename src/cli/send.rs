//! `switchboard send`.

use serde_json::{Value, json};
use switchboard_contract::{Error, ErrorKind};

use super::client::{Client, Sidecar};
use super::{print_json, print_line};

/// Send a message through a running sidecar.
#[derive(Debug, clap::Args)]
pub(crate) struct Send {
    #[command(flatten)]
    sidecar: Sidecar,
    /// The sender's user id.
    #[arg(long)]
    from: String,
    #[command(flatten)]
    to: Recipient,
    /// A text.
    #[arg(long, conflicts_with = "body", required_unless_present = "body")]
    text: Option<String>,
    /// Any body, as JSON: '{"type":"location","latitude":39.9,"longitude":116.4}'.
    #[arg(long)]
    body: Option<String>,
    /// Fields of your own, a JSON object.
    #[arg(long)]
    ext: Option<String>,
    /// Your key of the message: repeating the command under it sends nothing again.
    #[arg(long)]
    client_id: Option<String>,
    /// The whole answer as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Recipient {
    /// To these users, each in the conversation with the sender.
    #[arg(long, value_delimiter = ',')]
    user: Vec<String>,
    /// To a group.
    #[arg(long)]
    group: Option<String>,
    /// To a room.
    #[arg(long)]
    room: Option<String>,
}

impl Recipient {
    fn json(self) -> Value {
        match self {
            Self { group: Some(group), .. } => json!({ "group": group }),
            Self { room: Some(room), .. } => json!({ "room": room }),
            Self { mut user, .. } if user.len() == 1 => json!({ "user": user.remove(0) }),
            Self { user, .. } => json!({ "users": user }),
        }
    }
}

impl Send {
    pub(crate) async fn run(self) -> Result<(), Error> {
        let body = match (self.text, self.body) {
            (Some(text), _) => json!({ "type": "text", "text": text }),
            (None, body) => parse("--body", &body.unwrap_or_default())?,
        };
        let mut request = json!({ "from": self.from, "to": self.to.json(), "body": body });
        if let Some(ext) = self.ext {
            request["ext"] = parse("--ext", &ext)?;
        }
        if let Some(id) = self.client_id {
            request["client_message_id"] = Value::String(id);
        }
        let answer: Value = Client::new(self.sidecar).post("/v1/messages", &request).await?;
        if self.json {
            return print_json(&answer);
        }
        let known = if answer["repeated"] == true { " (accepted before; nothing was sent again)" } else { "" };
        print_line(format_args!("send {}{known}", answer["id"].as_str().unwrap_or_default()));
        for message in answer["messages"].as_array().into_iter().flatten() {
            let field = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
            print_line(format_args!("  message {} in {}", field("id"), field("conversation")));
        }
        Ok(())
    }
}

fn parse(what: &str, text: &str) -> Result<Value, Error> {
    serde_json::from_str(text).map_err(|error| Error::new(ErrorKind::InvalidInput, format!("{what}: {error}")))
}
