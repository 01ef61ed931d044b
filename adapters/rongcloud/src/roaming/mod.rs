//! Queries of one conversation (`/v3/message/…/query.json`), in pages by time.
//!
//! They need the paid cloud storage, and are always through the eyes of one user, who must be a participant.

mod walk;

use std::time::Duration;

use async_trait::async_trait;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use switchboard_contract::{
    ConversationKind, Error, ErrorKind, Inbound, InboundPlace, Result, Roaming, RoamingLimits, RoamingPage,
    RoamingQuery, Target, Timestamp, VendorUserId,
};
use switchboard_outbound::{CallBody, Method, VendorCall};

use self::walk::{Ask, Seen, Walk};
use crate::calls::check_id;
use crate::codec::{Codec, DEFAULT_CHANNEL, Record, from_text_or_object, unrecognised};
use crate::config::QueryValues;
use crate::limits::{MAX_PAGE, group};
use crate::provider::RongCloud;
use crate::wire::records::{QueryItem, QueryReply};

/// The conversation asked for, as the vendor names it.
#[derive(Debug)]
struct Conversation<'a> {
    path: &'static str,
    target: &'a str,
    channel: Option<&'a str>,
}

impl<'a> Conversation<'a> {
    fn of(target: &'a Target) -> Result<Self> {
        let (path, target, channel) = match target {
            Target::Users(users) => match users.as_slice() {
                [user] => ("/v3/message/private/query.json", user.as_str(), None),
                _ => return Err(Error::invalid("to.users", "a query names one user")),
            },
            Target::Group { group, channel: None, .. } => ("/v3/message/group/query.json", group.as_str(), None),
            Target::Group { group, channel: Some(channel), .. } => {
                ("/v3/message/ultragroup/query.json", group.as_str(), Some(channel.as_str()))
            }
            Target::Room { room } => ("/v3/message/chatroom/query.json", room.as_str(), None),
            Target::System(_) => return Err(Error::unsupported("the history of system messages")),
        };
        check_id("to", target)?;
        Ok(Self { path, target, channel })
    }

    /// Where a message of it is. The record's own target is the viewer's side of a direct conversation and tells
    /// nothing of who received it.
    fn place(&self, viewer: &str, from: &str, bus_channel: Option<&str>) -> InboundPlace {
        match (self.path, self.channel) {
            ("/v3/message/private/query.json", _) => {
                let to = if from == viewer { self.target } else { viewer };
                InboundPlace::Direct { from: from.into(), to: to.into() }
            }
            ("/v3/message/chatroom/query.json", _) => InboundPlace::Room { room: self.target.into() },
            (_, None) => InboundPlace::Group { group: self.target.into(), channel: None },
            (_, Some(asked)) => {
                let channel = bus_channel.filter(|channel| !channel.is_empty()).unwrap_or(asked);
                let channel = if channel.is_empty() { DEFAULT_CHANNEL } else { channel };
                InboundPlace::Group { group: self.target.into(), channel: Some(channel.to_owned()) }
            }
        }
    }

    fn request(&self, viewer: &VendorUserId, ask: &Ask, values: QueryValues) -> Vec<u8> {
        let write = |value: Value| match values {
            QueryValues::Numbers => value,
            QueryValues::Text => Value::String(value.to_string()),
        };
        let mut body = Map::new();
        body.insert("userId".to_owned(), viewer.as_str().into());
        body.insert("targetId".to_owned(), self.target.into());
        body.insert("startTime".to_owned(), write(json!(ask.start)));
        body.insert("endTime".to_owned(), write(json!(ask.end)));
        body.insert("pageSize".to_owned(), write(json!(ask.size)));
        body.insert("includeStart".to_owned(), write(json!(ask.include_start)));
        if let Some(channel) = self.channel {
            body.insert("busChannel".to_owned(), channel.into());
        }
        Value::Object(body).to_string().into_bytes()
    }
}

#[async_trait]
impl Roaming for RongCloud {
    fn limits(&self) -> RoamingLimits {
        let history = &self.inner.config.history;
        RoamingLimits {
            max_page: MAX_PAGE,
            depth: Some(history.query_depth),
            // Longer spans are cut into windows here.
            max_span: None::<Duration>,
            own_sends_after: history.query_own_sends_after,
            targets: vec![ConversationKind::Direct, ConversationKind::Group, ConversationKind::Room],
            quota: self.inner.config.quotas.history(),
        }
    }

    async fn page(&self, query: &RoamingQuery) -> Result<RoamingPage> {
        let history = &self.inner.config.history;
        check_id("viewer", query.viewer.as_str())?;
        let conversation = Conversation::of(&query.target)?;
        let walk = Walk::resume(query, history.query_order, history.query_max_span)?;
        let Some(walk) = walk else { return Ok(RoamingPage::default()) };
        let limit = query.limit.clamp(1, MAX_PAGE);
        let ask = walk.ask(limit)?;
        let body = conversation.request(&query.viewer, &ask, history.query_values);
        let call = VendorCall::read(Method::POST, "history_page", group::HISTORY, conversation.path)
            .with_body(CallBody::Json(body.into()));
        let reply = self.call(call).await?;
        let answer: QueryReply<'_> = serde_json::from_slice(&reply.body)
            .map_err(|error| reply.undecodable(error).with_operation("history_page"))?;
        let mut found = Vec::new();
        let mut items = Vec::new();
        for raw in &answer.data {
            match Found::read(raw) {
                Some(item) => found.push(item),
                None => {
                    items.push(unrecognised("history_item", reply.body.slice_ref(raw.get().as_bytes()), query.until))
                }
            }
        }
        if found.is_empty() && !items.is_empty() {
            // Nothing here has a time to go on from, and to call that the end would hide what lies behind it.
            return Err(Error::new(ErrorKind::Decode, "no message of the answer has an id and a time")
                .with_operation("history_page"));
        }
        let seen: Vec<Seen<'_>> = found.iter().map(|found| Seen { at: found.at, id: found.id() }).collect();
        let step = walk.step(&seen, limit as usize, ask.size)?;
        let viewer = query.viewer.as_str();
        items.extend(
            step.taken.iter().map(|index| found[*index].inbound(&conversation, viewer, &self.inner.codec, &reply.body)),
        );
        Ok(RoamingPage { items, next: step.next.map(|walk| walk.cursor()) })
    }
}

/// One item of the answer.
struct Found<'a> {
    raw: &'a RawValue,
    item: QueryItem<'a>,
    at: i64,
}

impl<'a> Found<'a> {
    /// `None` without an id or a time: such an item could be neither kept nor paged past.
    fn read(raw: &'a RawValue) -> Option<Self> {
        let item: QueryItem<'a> = serde_json::from_str(raw.get()).ok()?;
        let at = item.sent_at.integer()?;
        (!item.uid.0.is_empty()).then_some(Self { raw, item, at })
    }

    fn id(&self) -> &str {
        &self.item.uid.0
    }

    fn inbound(&self, conversation: &Conversation<'_>, viewer: &str, codec: &Codec, body: &bytes::Bytes) -> Inbound {
        let raw = body.slice_ref(self.raw.get().as_bytes());
        let text = |text: &Option<crate::wire::lenient::Str<'a>>| text.as_ref().map(|text| text.0.clone());
        if self.item.from.0.is_empty() {
            return unrecognised("history_item", raw, Timestamp(self.at));
        }
        codec.inbound(Record {
            place: conversation.place(viewer, &self.item.from.0, text(&self.item.bus_channel).as_deref()),
            from: &self.item.from.0,
            object_name: &self.item.object_name.0,
            content: &from_text_or_object(self.item.content),
            uid: self.id(),
            original_uid: text(&self.item.original_uid).as_deref().unwrap_or_default(),
            sent_at: Timestamp(self.at),
            audience: Vec::new(),
            raw,
        })
    }
}
