//! Messages in memory, found by id, by conversation and by time.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::{
    local_time::HOUR_MS,
    model::{ConversationKind, Message},
};

/// A conversation as the vendor stores it: both directions of a private one share a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConversationKey {
    kind: ConversationKind,
    first: String,
    second: String,
}

impl ConversationKey {
    /// The key of a conversation seen from `user`, who matters for private conversations only.
    pub(crate) fn new(kind: ConversationKind, user: &str, target: &str, bus_channel: &str) -> Self {
        let (first, second) = match kind {
            ConversationKind::Private if user <= target => (user, target),
            ConversationKind::Private => (target, user),
            _ => (target, bus_channel),
        };
        Self { kind, first: first.to_owned(), second: second.to_owned() }
    }

    fn of(message: &Message) -> Self {
        Self::new(message.kind, &message.from, &message.target, &message.bus_channel)
    }

    /// Text for the conversation hash inside message ids.
    pub(crate) fn hash_text(&self) -> String {
        format!("{}|{}", self.first, self.second)
    }
}

/// A position in time order: time, then acceptance.
type Position = (i64, u64);

/// All messages, bounded.
#[derive(Default)]
pub(crate) struct MessageStore {
    first: u64,
    items: VecDeque<Message>,
    by_uid: HashMap<String, u64>,
    by_conversation: HashMap<ConversationKey, VecDeque<Position>>,
    by_hour: BTreeMap<i64, Vec<Position>>,
}

impl MessageStore {
    /// Adds a message and forgets the oldest ones above `keep`.
    pub(crate) fn add(&mut self, message: Message, keep: usize) {
        let number = self.first + self.items.len() as u64;
        let position = (message.time_ms, number);
        let of_conversation = self.by_conversation.entry(ConversationKey::of(&message)).or_default();
        // Nearly always the end: ids, and with them times, only increase.
        let index = of_conversation.partition_point(|other| *other < position);
        of_conversation.insert(index, position);
        if message.logged {
            let of_hour = self.by_hour.entry(message.time_ms.div_euclid(HOUR_MS) * HOUR_MS).or_default();
            let index = of_hour.partition_point(|other| *other < position);
            of_hour.insert(index, position);
        }
        self.by_uid.insert(message.uid.clone(), number);
        self.items.push_back(message);
        while self.items.len() > keep.max(1) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(message) = self.items.pop_front() else { return };
        let gone = self.first;
        self.first += 1;
        self.by_uid.remove(&message.uid);
        let key = ConversationKey::of(&message);
        if let Some(positions) = self.by_conversation.get_mut(&key) {
            if positions.front().is_some_and(|position| position.1 == gone) {
                positions.pop_front();
            } else {
                positions.retain(|position| position.1 != gone);
            }
            if positions.is_empty() {
                self.by_conversation.remove(&key);
            }
        }
        let hour = message.time_ms.div_euclid(HOUR_MS) * HOUR_MS;
        if let Some(positions) = self.by_hour.get_mut(&hour) {
            positions.retain(|position| position.1 != gone);
        }
    }

    fn at(&self, number: u64) -> Option<&Message> {
        self.items.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// A message by id.
    pub(crate) fn get(&self, uid: &str) -> Option<&Message> {
        self.at(*self.by_uid.get(uid)?)
    }

    /// A message by id, to change it.
    pub(crate) fn get_mut(&mut self, uid: &str) -> Option<&mut Message> {
        let number = *self.by_uid.get(uid)?;
        self.items.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// A conversation's messages with `from_ms <= time <= to_ms`, in time order.
    pub(crate) fn conversation(
        &self,
        key: &ConversationKey,
        from_ms: i64,
        to_ms: i64,
    ) -> impl DoubleEndedIterator<Item = &Message> {
        let range = self.by_conversation.get(key).map(|positions| {
            let start = positions.partition_point(|position| position.0 < from_ms);
            let end = positions.partition_point(|position| position.0 <= to_ms);
            positions.range(start..end.max(start))
        });
        range.into_iter().flatten().filter_map(|position| self.at(position.1))
    }

    /// The logged messages of the hour beginning at `hour_ms`, in time order.
    pub(crate) fn logged_in_hour(&self, hour_ms: i64) -> impl Iterator<Item = &Message> {
        let positions = self.by_hour.get(&hour_ms).map(Vec::as_slice).unwrap_or_default();
        positions.iter().filter_map(|position| self.at(position.1))
    }

    /// Every message kept, in the order of acceptance.
    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = &Message> {
        self.items.iter()
    }

    /// Number of messages kept.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{ConversationKey, MessageStore};
    use crate::rongcloud::model::{ConversationKind, Message, Origin, Sensitivity};

    fn message(uid: &str, from: &str, target: &str, time_ms: i64) -> Message {
        Message {
            uid: uid.to_owned(),
            kind: ConversationKind::Private,
            from: from.to_owned(),
            target: target.to_owned(),
            bus_channel: String::new(),
            object_name: "RC:TxtMsg".to_owned(),
            content: "{}".to_owned(),
            push: None,
            time_ms,
            origin: Origin::Server,
            sensitivity: Sensitivity::None,
            directed: Vec::new(),
            original_uid: None,
            stored: true,
            logged: true,
            status: false,
            sender_sees: true,
            expandable: false,
            expansion: Default::default(),
            recalled: false,
            deleted_by: Default::default(),
            fan_out_copy: false,
            unrouted: false,
        }
    }

    fn uids(store: &MessageStore, from_ms: i64, to_ms: i64) -> Vec<String> {
        let key = ConversationKey::new(ConversationKind::Private, "b", "a", "");
        store.conversation(&key, from_ms, to_ms).map(|message| message.uid.clone()).collect()
    }

    #[test]
    fn both_directions_are_one_conversation_in_time_order() {
        let mut store = MessageStore::default();
        store.add(message("2", "a", "b", 20), 10);
        store.add(message("3", "b", "a", 30), 10);
        store.add(message("1", "a", "b", 10), 10);
        store.add(message("x", "a", "c", 15), 10);
        assert_eq!(uids(&store, 0, 100), ["1", "2", "3"]);
        assert_eq!(uids(&store, 20, 29), ["2"]);
        assert_eq!(uids(&store, 31, 20), Vec::<String>::new());
    }

    #[test]
    fn the_oldest_are_forgotten_everywhere() {
        let mut store = MessageStore::default();
        for number in 0..5_i64 {
            store.add(message(&number.to_string(), "a", "b", number), 3);
        }
        assert_eq!(store.len(), 3);
        assert_eq!(uids(&store, 0, 100), ["2", "3", "4"]);
        assert!(store.get("1").is_none());
        store.get_mut("2").unwrap().recalled = true;
        assert!(store.get("2").unwrap().recalled);
        assert_eq!(store.logged_in_hour(0).count(), 3);
    }
}
