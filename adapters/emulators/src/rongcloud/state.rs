//! The vendor's memory and the one way a message enters it.
//!
//! Everything here is synchronous and runs under one lock. What must leave the process (callbacks) is put into an outbox
//! that the caller empties after unlocking.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde_json::Value;

use super::{
    callback, local_time,
    log_file::LogState,
    model::{
        ConversationKind, ExpansionValue, Group, Message, Room, Sensitivity, UltraGroup, User, type_is_status,
        type_is_stored,
    },
    quota::{Quota, Quotas},
    reply::Refusal,
    settings::RongCloudSettings,
    sign::NonceLog,
    store::{ConversationKey, MessageStore},
    uid::UidGenerator,
};
use crate::common::{Ledger, LedgerMessage, Source};

pub(crate) use super::draft::{Draft, Event, Reserved};

/// Everything the emulated app remembers.
pub(crate) struct Core {
    pub(crate) settings: Arc<RongCloudSettings>,
    pub(crate) app_key: String,
    pub(crate) ledger: Ledger,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) ultra_groups: BTreeMap<String, UltraGroup>,
    pub(crate) rooms: BTreeMap<String, Room>,
    /// Muted in every chatroom, and until when.
    pub(crate) rooms_gagged: BTreeMap<String, i64>,
    pub(crate) room_type_whitelist: BTreeSet<String>,
    pub(crate) room_low_priority: BTreeSet<String>,
    /// Muted in every group, and until when.
    pub(crate) groups_gagged: BTreeMap<String, i64>,
    /// Filtered words with their replacement; `None` blocks the message.
    pub(crate) words: BTreeMap<String, Option<String>>,
    pub(crate) messages: MessageStore,
    /// Up to when a user's side of a conversation was cleaned; an empty user stands for everyone.
    pub(crate) cleaned: HashMap<(String, ConversationKey), i64>,
    /// Per-user conversation options: (user, option name with its arguments) to a value.
    pub(crate) conversation_options: HashMap<(String, String), i64>,
    /// First answers of publishes that carried `msgRandom`, and edits that did, with their time.
    pub(crate) randoms: HashMap<String, (i64, Value)>,
    pub(crate) log: LogState,
    pub(crate) quotas: Quotas,
    pub(crate) nonces: NonceLog,
    uids: UidGenerator,
    serial: u64,
    outbox: Vec<Event>,
}

impl Core {
    /// An empty app.
    pub(crate) fn new(app_key: &str, settings: RongCloudSettings, ledger: Ledger) -> Self {
        Self {
            log: LogState::new(settings.log.enabled),
            settings: Arc::new(settings),
            app_key: app_key.to_owned(),
            ledger,
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            ultra_groups: BTreeMap::new(),
            rooms: BTreeMap::new(),
            rooms_gagged: BTreeMap::new(),
            room_type_whitelist: BTreeSet::new(),
            room_low_priority: BTreeSet::new(),
            groups_gagged: BTreeMap::new(),
            words: BTreeMap::new(),
            messages: MessageStore::default(),
            cleaned: HashMap::new(),
            conversation_options: HashMap::new(),
            randoms: HashMap::new(),
            quotas: Quotas::default(),
            nonces: NonceLog::default(),
            uids: UidGenerator::default(),
            serial: 0,
            outbox: Vec::new(),
        }
    }

    /// Replaces the settings; a switch of the log service takes effect at once.
    pub(crate) fn set_settings(&mut self, settings: RongCloudSettings) {
        self.log.switch(settings.log.enabled);
        self.settings = Arc::new(settings);
    }

    /// A number never given before.
    pub(crate) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Takes what must leave.
    pub(crate) fn take_outbox(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.outbox)
    }

    /// Queues a callback.
    pub(crate) fn emit(&mut self, event: Event) {
        self.outbox.push(event);
    }

    /// A time as the app's data centre writes it.
    pub(crate) fn local(&self, ms: i64) -> String {
        local_time::seconds(ms, self.settings.data_centre)
    }

    /// Takes permits from quotas unless quotas are off.
    pub(crate) fn charge(&mut self, wants: &[(&str, Quota)], cost: usize, now_ms: i64) -> Result<(), Refusal> {
        if !self.settings.quotas.enabled {
            return Ok(());
        }
        self.quotas.take(wants, u32::try_from(cost).unwrap_or(u32::MAX), now_ms)
    }

    /// The account, made on first mention.
    pub(crate) fn user(&mut self, id: &str, now_ms: i64) -> &mut User {
        self.users.entry(id.to_owned()).or_insert_with(|| User { created_ms: now_ms, ..User::default() })
    }

    /// Refuses an id that never got a token, where accounts are strict.
    pub(crate) fn check_account(&self, id: &str, parameter: &str) -> Result<(), Refusal> {
        if !self.settings.strict_accounts || self.users.get(id).is_some_and(|user| user.registered) {
            return Ok(());
        }
        Err(Refusal::bad_parameter(format!("{parameter} is not registered")))
    }

    /// Whether `user` put `other` on the blacklist.
    pub(crate) fn has_blacklisted(&self, user: &str, other: &str) -> bool {
        self.users.get(user).is_some_and(|account| account.blacklist.contains(other))
    }

    /// Gives out the id and time of a message that will be accepted later.
    pub(crate) fn reserve(&mut self, draft: &Draft, now_ms: i64) -> Reserved {
        let kind = u8::try_from(draft.kind.number()).unwrap_or_default();
        let (uid, time_ms) = self.uids.next(now_ms, kind, &draft.key().hash_text());
        Reserved { uid, time_ms }
    }

    /// Accepts a message: ledger, store, log, routing.
    pub(crate) fn accept(&mut self, draft: Draft, now_ms: i64) -> Reserved {
        let reserved = self.reserve(&draft, now_ms);
        self.accept_as(draft, &reserved);
        reserved
    }

    /// Accepts a message whose id and time were given out before.
    pub(crate) fn accept_as(&mut self, draft: Draft, reserved: &Reserved) {
        let message = self.complete(draft, reserved);
        // A blocked message reaches nobody; it leaves its trace in the log and, by a switch, in the routing callback.
        if message.sensitivity != Sensitivity::Blocked {
            self.ledger.accept(ledger_entry(&message));
        }
        if let Some(body) = self.routed(&message) {
            self.emit(Event::Route { uid: message.uid.clone(), body });
        }
        self.touch_room(&message);
        if !message.status {
            let keep = self.settings.messages_kept;
            self.messages.add(message, keep);
        }
    }

    /// Routes and logs a record about an earlier message without counting it as a new one: an edit.
    pub(crate) fn announce(&mut self, draft: Draft, now_ms: i64) -> Reserved {
        let reserved = self.reserve(&draft, now_ms);
        let message = self.complete(draft, &reserved);
        if let Some(body) = self.routed(&message) {
            self.emit(Event::Route { uid: message.uid.clone(), body });
        }
        if message.logged {
            let keep = self.settings.messages_kept;
            self.messages.add(message, keep);
        }
        reserved
    }

    fn complete(&self, draft: Draft, reserved: &Reserved) -> Message {
        let settings = &self.settings;
        let status = draft.status || type_is_status(&draft.object_name);
        let blocked = draft.sensitivity == Sensitivity::Blocked;
        let stored = draft.persisted
            && !status
            && !blocked
            && type_is_stored(&draft.object_name)
            && (draft.directed.is_empty() || settings.query.directed);
        let logged = !status
            && !draft.unrouted
            && self.log.is_recording()
            && (settings.log.ultra_groups || draft.kind != ConversationKind::UltraGroup)
            && (settings.log.per_recipient || !draft.fan_out_copy);
        let at_ms = reserved.time_ms;
        let expansion = draft.expansion.into_iter();
        Message {
            uid: reserved.uid.clone(),
            kind: draft.kind,
            from: draft.from,
            target: draft.target,
            bus_channel: draft.bus_channel,
            object_name: draft.object_name,
            content: draft.content,
            push: draft.push,
            time_ms: at_ms,
            origin: draft.origin,
            sensitivity: draft.sensitivity,
            directed: draft.directed,
            original_uid: draft.original_uid,
            stored,
            logged,
            status,
            sender_sees: draft.sender_sees,
            expandable: draft.expandable,
            expansion: expansion.map(|(key, value)| (key, ExpansionValue { value, at_ms })).collect(),
            recalled: false,
            deleted_by: BTreeSet::new(),
            fan_out_copy: draft.fan_out_copy,
            unrouted: draft.unrouted,
        }
    }

    /// The routing callback's body, or `None` when the console's switches and filters keep the message back.
    fn routed(&self, message: &Message) -> Option<String> {
        let routing = &self.settings.routing;
        let kept_back = self.settings.callbacks.urls.routing.is_none()
            || message.unrouted
            || (message.origin.is_server() && !routing.server_api)
            || (message.sensitivity == Sensitivity::Blocked && !routing.blocked)
            || (message.status && !routing.status)
            || (message.fan_out_copy && !routing.per_recipient)
            || (!routing.object_names.is_empty() && !routing.object_names.contains(&message.object_name))
            || (!routing.kinds.is_empty() && !routing.kinds.contains(&message.kind));
        (!kept_back).then(|| callback::route_body(message, routing))
    }

    fn touch_room(&mut self, message: &Message) {
        if message.kind == ConversationKind::Chatroom
            && let Some(room) = self.rooms.get_mut(&message.target)
        {
            room.active_ms = room.active_ms.max(message.time_ms);
        }
    }

    /// Applies the word filter to a text message: the content to send and what was found. Other types pass, as at the
    /// vendor.
    pub(crate) fn filter_words(&self, object_name: &str, content: &str) -> (String, Sensitivity) {
        if object_name != "RC:TxtMsg" || self.words.is_empty() {
            return (content.to_owned(), Sensitivity::None);
        }
        let mut text = content.to_owned();
        let mut found = Sensitivity::None;
        for (word, replacement) in &self.words {
            if !text.contains(word.as_str()) {
                continue;
            }
            match replacement {
                None => return (content.to_owned(), Sensitivity::Blocked),
                Some(replacement) => {
                    text = text.replace(word.as_str(), replacement);
                    found = Sensitivity::Replaced;
                }
            }
        }
        (text, found)
    }

    /// Whether a history message is visible to `user`.
    pub(crate) fn visible(&self, message: &Message, user: &str, key: &ConversationKey) -> bool {
        let query = &self.settings.query;
        let cleaned = |who: &str| {
            let until = self.cleaned.get(&(who.to_owned(), key.clone()));
            until.is_some_and(|until| message.time_ms <= *until)
        };
        message.stored
            && (query.recalled || !message.recalled)
            && (message.from != user || message.sender_sees || !query.sender_copy)
            && (message.directed.is_empty()
                || message.from == user
                || message.directed.iter().any(|recipient| recipient == user))
            && !message.deleted_by.contains(user)
            && !cleaned(user)
            && !cleaned("")
    }
}

fn ledger_entry(message: &Message) -> LedgerMessage {
    let body: Value = serde_json::from_str(&message.content).unwrap_or_else(|_| Value::String(message.content.clone()));
    let ext = body.get("extra").cloned().unwrap_or_default();
    LedgerMessage {
        vendor_id: message.uid.clone(),
        from: message.from.clone(),
        target: message.target.clone(),
        kind: if message.unrouted { "broadcast" } else { ledger_kind(message.kind) }.to_owned(),
        message_type: message.object_name.clone(),
        body: Arc::new(body),
        ext: Arc::new(ext),
        time_ms: message.time_ms,
        source: if message.origin.is_server() { Source::Rest } else { Source::Client },
        recalled: false,
        edits: 0,
    }
}

/// The ledger's word for a conversation kind.
pub(crate) fn ledger_kind(kind: ConversationKind) -> &'static str {
    match kind {
        ConversationKind::Private => "direct",
        ConversationKind::Discussion => "discussion",
        ConversationKind::Group => "group",
        ConversationKind::Chatroom => "room",
        ConversationKind::CustomerService => "customer_service",
        ConversationKind::System => "system",
        ConversationKind::UltraGroup => "ultra_group",
    }
}
