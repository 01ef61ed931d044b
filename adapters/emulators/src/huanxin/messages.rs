//! The life of a message: accepted, routed to devices and offline queues, recalled, edited, read.

use std::sync::Arc;

use serde_json::{Value, json};

use super::app::App;
use super::data::Data;
use super::error::ApiError;
use super::events;
use super::model::{ChatType, Edit, Message};
use super::msync::Signal;
use crate::common::{LedgerMessage, Source};

/// A message before it has an id.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) kind: ChatType,
    pub(crate) audience: Option<Vec<String>>,
    pub(crate) body: Arc<Value>,
    pub(crate) ext: Arc<Value>,
    pub(crate) source: Source,
    pub(crate) options: Options,
}

/// What a send may ask for besides the content.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) online_only: bool,
    pub(crate) hidden_from: Vec<String>,
    pub(crate) env: Option<String>,
    pub(crate) group_ack: bool,
    pub(crate) level: Option<String>,
    pub(crate) sync_device: bool,
    /// The time of an imported message.
    pub(crate) time_ms: Option<i64>,
}

impl App {
    /// Accepts a message and returns its id. Receivers are not checked for existence, as the vendor does not.
    pub(crate) fn accept(&self, draft: Draft) -> u64 {
        let now_ms = self.now_ms();
        let (message, copied) = {
            let mut data = self.data.lock();
            let id = data.next_id(now_ms);
            draft.into_message(id, now_ms)
        };
        self.route(message, copied)
    }

    /// Accepts a message whose id is already known to its sender.
    pub(crate) fn accept_as(&self, id: u64, draft: Draft) -> u64 {
        let (message, copied) = draft.into_message(id, self.now_ms());
        self.route(message, copied)
    }

    fn route(&self, message: Message, copied: bool) -> u64 {
        let settings = self.settings();
        let limits = (settings.messages.offline_direct, settings.messages.offline_group);
        let id = message.id;
        let (offline, mut online) = {
            let mut data = self.data.lock();
            let spread = data.spread(&message, limits);
            self.ledger.accept(ledger_entry(&message));
            if copied && let Some(sender) = data.users.get_mut(&message.from).filter(|user| user.online()) {
                sender.inbox.push(id);
            }
            data.store(message.clone());
            spread
        };
        if copied {
            online.push(message.from.clone());
        }
        self.notify(&message, &online);
        let silent = message.source == Source::Stream
            || (message.source == Source::Import && !settings.messages.import_callbacks);
        if silent {
            return id;
        }
        self.emit(&events::message(&message, None));
        if settings.callbacks.moderation {
            self.emit(&self.moderation_event(&message));
        }
        for receiver in offline {
            self.emit(&events::message(&message, Some(&receiver)));
            if settings.callbacks.push_results {
                self.emit(&self.push_event(&message, &receiver));
            }
        }
        id
    }

    /// Tells the open connections of these users that there is something to fetch.
    fn notify(&self, message: &Message, users: &[String]) {
        let mut links = self.links.lock();
        for user in users {
            let group = message.kind != ChatType::Chat;
            let queue = if group || message.from == *user { &message.to } else { &message.from };
            links.tell(user, &Signal::New { queue: queue.clone(), group });
        }
    }

    /// Withdraws a message and reports it. The caller has checked that it may.
    pub(crate) fn withdraw(&self, id: &str, by: &str) -> Result<(), ApiError> {
        let now_ms = self.now_ms();
        let original = {
            let mut data = self.data.lock();
            let Some(message) = data.message_mut(id) else { return Err(recall_not_found()) };
            message.recalled_ms = Some(now_ms);
            let message = message.clone();
            data.forget_attachment(&message);
            data.users.values_mut().for_each(|user| {
                user.offline_direct.retain(|queued| *queued != message.id);
                user.offline_group.retain(|queued| *queued != message.id);
            });
            message
        };
        self.ledger.recall(id);
        self.emit(&self.recall_event(&original, by));
        Ok(())
    }

    /// Whether `id` can be recalled in this conversation now.
    pub(crate) fn check_recall(&self, id: &str, to: &str, kind: ChatType, force: bool) -> Result<(), ApiError> {
        let settings = self.settings();
        let now_ms = self.now_ms();
        let data = self.data.lock();
        let message = data.message(id).ok_or_else(recall_not_found)?;
        let gone = message.recalled_ms.is_some()
            || message.kind != kind
            || message.type_word() == "cmd"
            || now_ms - message.time_ms > settings.messages.retention_days * 86_400_000;
        if gone || message.to != to {
            return Err(recall_not_found());
        }
        if !force && now_ms - message.time_ms > settings.messages.recall_window_ms {
            return Err(ApiError::new(403, "message_recall_error", "exceed recall time limit"));
        }
        Ok(())
    }

    /// Replaces content and reports it.
    pub(crate) fn rewrite(&self, id: &str, body: Arc<Value>, ext: Arc<Value>, operator: &str) {
        let now_ms = self.now_ms();
        let edited = {
            let mut data = self.data.lock();
            let Some(message) = data.message_mut(id) else { return };
            let before = Edit {
                at_ms: now_ms,
                body: std::mem::replace(&mut message.body, Arc::clone(&body)),
                ext: std::mem::replace(&mut message.ext, Arc::clone(&ext)),
            };
            message.edits.push(before);
            message.clone()
        };
        self.ledger.edit(id, body, ext);
        self.emit(&self.edit_event(&edited, operator));
    }
}

pub(crate) fn recall_not_found() -> ApiError {
    ApiError::new(403, "message_recall_error", "not_found msg")
}

impl Draft {
    /// The message, and whether its sender's devices get a copy: REST messages to groups always reach the sender,
    /// those to users when asked.
    pub(crate) fn into_message(self, id: u64, now_ms: i64) -> (Message, bool) {
        let copied = self.source == Source::Rest
            && match self.kind {
                ChatType::Chat => self.options.sync_device,
                ChatType::GroupChat => true,
                ChatType::ChatRoom => false,
            };
        let message = Message {
            id,
            from: self.from,
            to: self.to,
            kind: self.kind,
            audience: self.audience,
            body: self.body,
            ext: self.ext,
            time_ms: self.options.time_ms.unwrap_or(now_ms),
            source: self.source,
            online_only: self.options.online_only,
            hidden_from: self.options.hidden_from,
            env: self.options.env,
            group_ack: self.options.group_ack,
            level: self.options.level,
            recalled_ms: None,
            edits: Vec::new(),
        };
        (message, copied)
    }
}

fn ledger_entry(message: &Message) -> LedgerMessage {
    LedgerMessage {
        vendor_id: message.id.to_string(),
        from: message.from.clone(),
        target: message.to.clone(),
        kind: message.kind.ledger_word().to_owned(),
        message_type: message.type_word().to_owned(),
        body: Arc::clone(&message.body),
        ext: Arc::clone(&message.ext),
        time_ms: message.time_ms,
        source: message.source,
        recalled: false,
        edits: 0,
    }
}

impl Data {
    /// Who should receive a message besides its sender.
    fn receivers(&self, message: &Message) -> Vec<String> {
        if message.kind == ChatType::Chat {
            return vec![message.to.clone()];
        }
        let chosen = |user: &String| message.audience.as_ref().is_none_or(|audience| audience.contains(user));
        let members = self.groups.get(&message.to).map(|group| group.members.as_slice()).unwrap_or_default();
        members.iter().map(|member| member.user.clone()).filter(|user| *user != message.from && chosen(user)).collect()
    }

    /// Puts a message into inboxes and offline queues; returns the receivers who were offline, and who were online.
    fn spread(&mut self, message: &Message, limits: (usize, usize)) -> (Vec<String>, Vec<String>) {
        let (mut offline, mut online) = (Vec::new(), Vec::new());
        for receiver in self.receivers(message) {
            match self.users.get_mut(&receiver) {
                Some(user) if user.online() => {
                    user.inbox.push(message.id);
                    online.push(receiver);
                }
                _ if message.online_only || message.kind == ChatType::ChatRoom => {}
                Some(user) => {
                    user.queue(message.kind, message.id, limits);
                    offline.push(receiver);
                }
                None => offline.push(receiver),
            }
        }
        (offline, online)
    }

    /// A recall deletes the attachment too.
    fn forget_attachment(&mut self, message: &Message) {
        let url = message.body.get("url").and_then(Value::as_str);
        if let Some(uuid) = url.and_then(|url| url.rsplit('/').next())
            && let Some(file) = self.files.remove(uuid)
        {
            self.file_bytes -= file.bytes.len();
        }
    }
}

/// A text body, for callers that hold only the text.
pub(crate) fn text_body(text: &str) -> Value {
    json!({ "type": "txt", "msg": text })
}
