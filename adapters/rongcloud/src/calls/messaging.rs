//! Sending and recalling.

use async_trait::async_trait;
use switchboard_contract::{
    ConversationKind, Error, Messaging, MessagingLimits, OutboundMessage, RecallRequest, Result, SentTo, Target,
    VendorMessageId, VendorUserId,
};

use super::publish;
use crate::limits::{MAX_CONTENT_BYTES, MAX_SYSTEM_USERS, MAX_USERS, group};
use crate::provider::RongCloud;
use crate::wire::form::Form;
use crate::wire::replies::PublishReply;

#[async_trait]
impl Messaging for RongCloud {
    fn limits(&self) -> MessagingLimits {
        MessagingLimits {
            bodies: vec![
                "text", "image", "audio", "video", "file", "location", "command", "custom", "combined", "native",
            ],
            targets: vec![
                ConversationKind::Direct,
                ConversationKind::Group,
                ConversationKind::Room,
                ConversationKind::System,
            ],
            max_users: MAX_USERS as u32,
            max_system_users: MAX_SYSTEM_USERS as u32,
            max_bytes: MAX_CONTENT_BYTES as u32,
            quotas: self.inner.config.quotas.by_kind(),
            recall_window: None,
            echoes: self.inner.config.callbacks.server_messages,
            receipts: false,
        }
    }

    fn check(&self, message: &OutboundMessage) -> Result<()> {
        publish::request(message, &self.inner.codec).map(drop)
    }

    async fn send(&self, message: &OutboundMessage) -> Result<Vec<SentTo>> {
        let call = publish::request(message, &self.inner.codec)?.with_call_headers(&message.headers)?;
        let reply = self.call(call).await?;
        // The message is out whatever the rest of the answer looks like: an id that cannot be read is an id not told.
        let told = serde_json::from_slice::<PublishReply>(&reply.body).unwrap_or(PublishReply { ids: Vec::new() });
        Ok(sent(&message.target, told))
    }

    async fn recall(&self, recall: &RecallRequest) -> Result<()> {
        self.post("recall", group::RECALL, "/message/recall.json", recall_form(recall)?).await.map(drop)
    }
}

/// One entry for each recipient, group or room; without an id where the vendor did not tell it.
fn sent(target: &Target, reply: PublishReply) -> Vec<SentTo> {
    let id = |uid: Option<String>| uid.filter(|uid| !uid.is_empty()).map(VendorMessageId::from);
    match target {
        Target::Users(users) | Target::System(users) => {
            let mut told: std::collections::HashMap<String, VendorMessageId> =
                reply.ids.into_iter().filter_map(|entry| Some((entry.user?, id(entry.uid)?))).collect();
            users.iter().map(|user| SentTo { user: Some(user.clone()), id: told.remove(user.as_str()) }).collect()
        }
        Target::Group { .. } | Target::Room { .. } => {
            vec![SentTo { user: None, id: reply.ids.into_iter().find_map(|entry| id(entry.uid)) }]
        }
    }
}

fn recall_form(recall: &RecallRequest) -> Result<Form> {
    let one = |users: &[VendorUserId]| match users {
        [user] => Ok(user.as_str().to_owned()),
        _ => Err(Error::invalid("to.users", "a recall names one user")),
    };
    let (kind, target, channel) = match &recall.target {
        Target::Users(users) => ("1", one(users)?, None),
        Target::Group { group, channel: None, .. } => ("3", group.as_str().to_owned(), None),
        Target::Group { group, channel: Some(channel), .. } => ("10", group.as_str().to_owned(), Some(channel)),
        Target::Room { room } => ("4", room.as_str().to_owned(), None),
        Target::System(users) => ("6", one(users)?, None),
    };
    publish::check_id("from", recall.from.as_str())?;
    publish::check_id("to", &target)?;
    Ok(Form::new()
        .pair("fromUserId", recall.from.as_str())
        .pair("conversationType", kind)
        .pair("targetId", target)
        .pair("messageUID", recall.id.as_str())
        .pair("sentTime", recall.sent_at.as_millis().to_string())
        .flag("isAdmin", false)
        .flag("isDelete", false)
        .maybe("busChannel", channel))
}
