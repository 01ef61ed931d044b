//! Sending and recalling.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use switchboard_contract::{
    ConversationKind, Error, ErrorKind, Messaging, MessagingLimits, OutboundMessage, Quota, RecallRequest, Result,
    SendOptions, SentTo, Target,
};

use super::error::read;
use super::wire::{Address, NewLetter, Sent};
use super::{Pigeon, codec};

const MAX_BYTES: usize = 10_000;
const MAX_USERS: usize = 100;
const PER_SECOND: Quota = Quota { calls: Some(50), units: None, per: Duration::from_secs(1) };

/// The letter as the vendor wants it; everything it cannot carry is refused here, so that checking is building.
fn letter(message: &OutboundMessage) -> Result<NewLetter<'_>> {
    let SendOptions { silent, online_only, sync_to_sender, read_receipt, push_text } = &message.options;
    let refused = [
        (*online_only, "messages for online users only"),
        (*sync_to_sender, "copies to the sender's devices"),
        (*read_receipt, "read statements"),
        (push_text.is_some(), "push texts"),
    ];
    if let Some((_, what)) = refused.iter().find(|(asked, _)| *asked) {
        return Err(Error::unsupported(what));
    }
    if message.ext.contains_key(codec::MARK) {
        return Err(Error::invalid("ext", format!("the key {} is reserved", codec::MARK)));
    }
    let mut tags = message.ext.clone();
    if let Some(mark) = &message.mark {
        tags.insert(codec::MARK.to_owned(), mark.as_str().into());
    }
    let letter = NewLetter {
        from: message.from.as_str(),
        to: address(&message.target)?,
        parcel: codec::parcel(&message.body)?,
        tags,
        mentions: message.mentions.iter().map(AsRef::as_ref).collect(),
        mention_all: message.mentions_everyone,
        quiet: *silent,
    };
    let weight = written(&letter.parcel)?.to_string().len() + written(&letter.tags)?.to_string().len();
    if weight > MAX_BYTES {
        let text = format!("body and ext take {weight} bytes; {MAX_BYTES} are admitted");
        return Err(Error::new(ErrorKind::TooLarge, text));
    }
    Ok(letter)
}

fn address(target: &Target) -> Result<Address> {
    match target {
        Target::Users(users) if (1..=MAX_USERS).contains(&users.len()) => {
            Ok(Address::Users(users.iter().map(ToString::to_string).collect()))
        }
        Target::Users(users) => Err(Error::invalid("target", format!("{} users, not 1 to {MAX_USERS}", users.len()))),
        one => Pigeon::place_of(one),
    }
}

/// A value as the vendor reads it.
fn written(value: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(value)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, "cannot be written as JSON").with_source(error))
}

impl Pigeon {
    /// The address of one place that is not a list of users.
    pub(super) fn place_of(target: &Target) -> Result<Address> {
        match target {
            Target::Group { channel: Some(_), .. } => Err(Error::unsupported("channels of a group")),
            Target::Group { audience, .. } if !audience.is_empty() => {
                Err(Error::unsupported("group messages for some members"))
            }
            Target::Group { group, .. } => Ok(Address::Flock(group.to_string())),
            Target::Room { room } => Ok(Address::Square(room.to_string())),
            other => Err(Error::unsupported(&format!("{} conversations here", other.kind().as_str()))),
        }
    }
}

#[async_trait]
impl Messaging for Pigeon {
    fn limits(&self) -> MessagingLimits {
        let targets = vec![ConversationKind::Direct, ConversationKind::Group, ConversationKind::Room];
        MessagingLimits {
            bodies: vec!["text", "image", "file", "location", "custom"],
            quotas: targets.iter().map(|kind| (*kind, PER_SECOND)).collect(),
            targets,
            max_users: MAX_USERS as u32,
            max_system_users: 0,
            max_bytes: MAX_BYTES as u32,
            recall_window: Some(Duration::from_secs(120)),
            echoes: true,
            receipts: false,
        }
    }

    fn check(&self, message: &OutboundMessage) -> Result<()> {
        letter(message).map(drop)
    }

    async fn send(&self, message: &OutboundMessage) -> Result<Vec<SentTo>> {
        let body = written(&letter(message)?)?;
        let reply = self.call("send", "letters/send", body).await?;
        let sent: Sent = read(&reply)?;
        let acknowledged = sent.letters.into_iter().map(|letter| SentTo {
            user: match letter.to {
                Address::User(user) => Some(user.into()),
                _ => None,
            },
            id: Some(letter.id.into()),
        });
        Ok(acknowledged.collect())
    }

    async fn recall(&self, recall: &RecallRequest) -> Result<()> {
        self.call("recall", "letters/recall", json!({ "from": recall.from, "id": recall.id })).await.map(drop)
    }
}
