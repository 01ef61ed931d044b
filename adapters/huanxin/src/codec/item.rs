//! One callback, history line or query entry: what it is, and messages themselves.

use bytes::Bytes;
use serde_json::value::RawValue;
use switchboard_contract::{
    Body, Clues, EventKey, Inbound, InboundData, InboundMessage, InboundPlace, KeyClass, Timestamp, Unrecognised,
    VendorGroupId, VendorMessageId, VendorUserId,
};

use super::ext::{self, Reserved};
use super::{about, body, groups, keys};
use crate::wire::{Item, Payload, Text, object};

/// Where an item was found: the vendor's words differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// In a callback, where `groupchat` says group or room and the outer `from` and `to` count.
    Callback,
    /// In a history file or a query, where `groupchat` says group and those of the payload count.
    Record,
}

/// Decodes items of one app.
#[derive(Clone, Debug)]
pub(crate) struct ItemCodec {
    /// `{app_key}_`, which stands before users and groups in the vendor's long form.
    app_prefix: String,
    reserved: Reserved,
}

/// What kind of conversation an item names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scene {
    Direct,
    Group,
    Room,
    GroupOrRoom,
}

impl Scene {
    fn of_word(word: &str) -> Option<Self> {
        match word {
            "chat" => Some(Self::Direct),
            "groupchat" | "group" => Some(Self::Group),
            "chatroom" => Some(Self::Room),
            _ => None,
        }
    }

    /// From `chat:user:text`, `chat:room:image`, or `chatroom:img` as older event names were.
    fn of_content_type(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        match (parts.next()?, parts.next()) {
            ("chat", Some("user")) => Some(Self::Direct),
            ("chat", Some("group")) => Some(Self::Group),
            ("chat", Some("room")) | ("chatroom", _) => Some(Self::Room),
            _ => None,
        }
    }
}

/// One item being decoded.
pub(super) struct Context<'a> {
    pub(super) codec: &'a ItemCodec,
    pub(super) item: &'a Item<'a>,
    pub(super) payload: &'a Payload<'a>,
    pub(super) raw: &'a Bytes,
    pub(super) source: Source,
    pub(super) sent_at: Timestamp,
}

impl ItemCodec {
    pub(crate) fn new(app_key: &str, reserved: Reserved) -> Self {
        Self { app_prefix: format!("{app_key}_"), reserved }
    }

    /// Decodes one item. `seen_at` stands in where the item carries no time.
    pub(crate) fn decode(&self, raw: &Bytes, source: Source, seen_at: Timestamp) -> Vec<Inbound> {
        let Ok(item) = object::<Item<'_>>(raw) else {
            return vec![unrecognised("malformed", raw, seen_at)];
        };
        let sent_at = item.timestamp.map_or(seen_at, |time| Timestamp(time.0));
        // Kinds without a readable payload are told from the item alone.
        let payload = item.payload.map(|raw| object::<Payload<'_>>(raw.get().as_bytes()));
        let payload = match payload.transpose() {
            Ok(payload) => payload.unwrap_or_default(),
            Err(_) if item.event.is_some() => Payload::default(),
            Err(_) => return vec![unrecognised(&name_of(&item), raw, sent_at)],
        };
        let context = Context { codec: self, item: &item, payload: &payload, raw, source, sent_at };
        match context.decode() {
            Some(events) if !events.is_empty() => events,
            _ => vec![unrecognised(&name_of(&item), raw, sent_at)],
        }
    }

    /// A user, from the plain form or from `{app_key}_{user}@easemob.com/{device}`.
    pub(super) fn user(&self, text: &str) -> VendorUserId {
        VendorUserId::from(self.plain(text))
    }

    /// The name in the vendor's long form, or the text itself.
    pub(super) fn plain<'t>(&self, text: &'t str) -> &'t str {
        match text.strip_prefix(&self.app_prefix) {
            Some(rest) => rest.split_once('@').map_or(rest, |(name, _)| name),
            None => text,
        }
    }

    pub(super) fn reserved(&self) -> &Reserved {
        &self.reserved
    }
}

/// Whether an event of this name is a message. Older names carry the body's type: `chat:txt`, `chatroom:img`.
pub(super) fn is_message(event_type: &str) -> bool {
    event_type == "chat" || event_type.starts_with("chat:") || event_type.starts_with("chatroom:")
}

/// What to call an item that is not understood.
fn name_of(item: &Item<'_>) -> String {
    let parts = [&item.event, &item.event_type, &item.chat_type, &item.operation, &item.step];
    let name = parts.into_iter().flatten().map(|text| &**text).collect::<Vec<_>>().join(":");
    if name.is_empty() { "unknown".to_owned() } else { name }
}

pub(super) fn unrecognised(kind: &str, raw: &Bytes, sent_at: Timestamp) -> Inbound {
    Inbound {
        key: EventKey::new(KeyClass::Unrecognised, keys::content_hash(raw, &["callId", "security"])),
        place: InboundPlace::Nowhere,
        sent_at,
        sort_key: String::new(),
        data: InboundData::Unrecognised(Unrecognised::keep(kind, raw)),
        mark: None,
        clues: Clues::default(),
        raw: raw.clone(),
    }
}

impl Context<'_> {
    fn decode(&self) -> Option<Vec<Inbound>> {
        let item = self.item;
        let one = |event: Option<Inbound>| event.map(|event| vec![event]);
        if item.event.as_deref() == Some("group_op_event") {
            return one(groups::operation(self));
        }
        if item.step.is_some() {
            return one(about::push(self));
        }
        if item.event_type.as_deref() == Some("moderation") {
            return one(about::moderation(self));
        }
        match item.chat_type.as_deref() {
            Some("chat" | "group" | "groupchat" | "chatroom") => one(self.message()),
            Some("recall") => one(about::recall(self)),
            Some("read_ack" | "channel_ack" | "delivery_ack") => one(about::receipt(self)),
            Some("edit") => one(about::edit(self)),
            Some("muc") => one(groups::older_operation(self)),
            Some("roster") => one(about::contact(self)),
            Some("notify") if self.payload.kind.as_deref() == Some("reaction") => about::reactions(self),
            None if item.status.is_some() => one(about::presence(self)),
            _ => None,
        }
    }

    /// An event about this item as a whole.
    pub(super) fn event(&self, key: EventKey, place: InboundPlace, data: InboundData) -> Inbound {
        Inbound {
            key,
            place,
            sent_at: self.sent_at,
            sort_key: self.item.msg_id.as_deref().map(keys::sort_key).unwrap_or_default(),
            data,
            mark: None,
            clues: Clues::default(),
            raw: self.raw.clone(),
        }
    }

    fn message(&self) -> Option<Inbound> {
        let item = self.item;
        let offline = match item.event_type.as_deref() {
            // Records have no event type, and neither have pre-send requests.
            None if self.source == Source::Callback => return about::pre_send(self),
            None => false,
            Some("chat_offline") => true,
            Some(name) if is_message(name) => false,
            Some(_) => return None,
        };
        let id = VendorMessageId::from(&**item.msg_id.as_ref()?);
        let read = ext::read(self.payload.ext, self.codec.reserved());
        let message = InboundMessage {
            id: id.clone(),
            from: self.codec.user(self.sender()?),
            audience: Vec::new(),
            body: self.body()?,
            ext: read.ext,
            mentions_everyone: read.everyone,
            mentions: read.mentions,
        };
        let place = self.place()?;
        let mut event = if offline {
            let recipient = self.codec.user(item.to.as_deref()?);
            let key = keys::joined(KeyClass::Offline, &[id.as_str(), recipient.as_str()]);
            self.event(key, place, InboundData::Offline { message: Box::new(message), recipient })
        } else {
            self.event(EventKey::message(&id), place, InboundData::Message(message))
        };
        event.mark = read.mark;
        Some(event)
    }

    /// The one body of a message. Its forms: one entry in `bodies`, or the payload itself in pre-send requests.
    pub(super) fn body(&self) -> Option<Body> {
        let payload = self.item.payload?;
        Some(match self.payload.bodies.as_deref() {
            Some([one]) => body::decode(one, None),
            Some(_) => Body::Unrecognised(Unrecognised::keep("bodies", payload.get().as_bytes())),
            None => body::decode(payload, None),
        })
    }

    pub(super) fn sender(&self) -> Option<&str> {
        pick(self.source, &self.item.from, &self.payload.from)
    }

    fn recipient(&self) -> Option<&str> {
        pick(self.source, &self.item.to, &self.payload.to)
    }

    /// Where a message, or something said about one, belongs.
    pub(super) fn place(&self) -> Option<InboundPlace> {
        self.place_in(self.scene())
    }

    pub(super) fn place_in(&self, scene: Scene) -> Option<InboundPlace> {
        // To an offline member the outer `to` names the member; the group stands beside it.
        let group = || {
            let id = self.item.group_id.as_deref().or(self.payload.to.as_deref()).or(self.item.to.as_deref())?;
            Some(VendorGroupId::from(self.codec.plain(id)))
        };
        Some(match scene {
            Scene::Direct => {
                InboundPlace::Direct { from: self.codec.user(self.sender()?), to: self.codec.user(self.recipient()?) }
            }
            Scene::Group => InboundPlace::Group { group: group()?, channel: None },
            Scene::Room => InboundPlace::Room { room: group()? },
            Scene::GroupOrRoom => InboundPlace::GroupOrRoom { id: group()? },
        })
    }

    fn scene(&self) -> Scene {
        let item = self.item;
        if let Some(scene) = item.content_type.as_deref().and_then(Scene::of_content_type) {
            return scene;
        }
        if let Some(scene) = self.payload.kind.as_deref().and_then(Scene::of_word) {
            return scene;
        }
        // Only groups have read receipts that are asked for (PROD/limitation).
        if self.payload.msg_config.as_ref().is_some_and(|config| config.allow_group_ack) {
            return Scene::Group;
        }
        match item.chat_type.as_deref() {
            Some("groupchat") if self.source == Source::Callback => Scene::GroupOrRoom,
            Some(word) => Scene::of_word(word).unwrap_or(self.fallback_scene()),
            None => self.fallback_scene(),
        }
    }

    fn fallback_scene(&self) -> Scene {
        if self.item.group_id.is_some() { Scene::GroupOrRoom } else { Scene::Direct }
    }

    /// The payload as it came.
    pub(super) fn raw_payload(&self) -> Option<&RawValue> {
        self.item.payload
    }
}

fn pick<'a>(source: Source, outer: &'a Option<Text<'_>>, inner: &'a Option<Text<'_>>) -> Option<&'a str> {
    let (first, second) = if source == Source::Callback { (outer, inner) } else { (inner, outer) };
    first.as_deref().or(second.as_deref())
}
