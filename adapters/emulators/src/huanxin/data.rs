//! Everything the app holds, its ids and its indexes.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::model::{ChatType, Group, Message, StoredFile, Stream, User};

/// Everything the app holds, behind one lock.
#[derive(Debug, Default)]
pub(crate) struct Data {
    pub(crate) users: HashMap<String, User>,
    pub(crate) user_order: BTreeMap<u64, String>,
    pub(crate) messages: Vec<Message>,
    pub(crate) by_id: HashMap<u64, usize>,
    /// Indexes of messages per conversation key, for roaming.
    pub(crate) conversations: HashMap<String, Vec<usize>>,
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) files: HashMap<String, StoredFile>,
    pub(crate) file_order: VecDeque<String>,
    pub(crate) file_bytes: usize,
    pub(crate) streams: HashMap<u64, Stream>,
    /// Per user: deletions of roaming messages.
    pub(crate) removed: HashMap<String, Removed>,
    pub(crate) super_admins: Vec<String>,
    pub(crate) last_id: u64,
    pub(crate) last_group: u64,
    pub(crate) last_user: u64,
}

/// What one user deleted from roaming, one-way.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    pub(crate) ids: HashSet<u64>,
    /// Per conversation key: everything up to this time.
    pub(crate) until: HashMap<String, i64>,
    pub(crate) all_until: i64,
}

impl Removed {
    pub(crate) fn covers(&self, conversation: &str, message: &Message) -> bool {
        message.time_ms <= self.all_until
            || self.ids.contains(&message.id)
            || self.until.get(conversation).is_some_and(|until| message.time_ms <= *until)
    }
}

impl Data {
    /// The key under which a conversation's messages are indexed.
    pub(crate) fn conversation(kind: ChatType, from: &str, to: &str) -> String {
        match kind {
            ChatType::Chat if from <= to => format!("c:{from}|{to}"),
            ChatType::Chat => format!("c:{to}|{from}"),
            ChatType::GroupChat | ChatType::ChatRoom => format!("g:{to}"),
        }
    }

    pub(crate) fn message(&self, id: &str) -> Option<&Message> {
        self.by_id.get(&id.parse().ok()?).map(|index| &self.messages[*index])
    }

    pub(crate) fn message_mut(&mut self, id: &str) -> Option<&mut Message> {
        let index = *self.by_id.get(&id.parse().ok()?)?;
        self.messages.get_mut(index)
    }

    /// Ids grow with the clock and never repeat, as the vendor's do.
    pub(crate) fn next_id(&mut self, now_ms: i64) -> u64 {
        let floor = u64::try_from(now_ms).unwrap_or(0) << 20;
        self.last_id = floor.max(self.last_id + 1);
        self.last_id
    }

    pub(crate) fn next_group_id(&mut self) -> String {
        // The vendor's group ids are 15-digit multiples of 2^16 plus one.
        self.last_group += 1;
        (281_474_976_710_657_u64 + self.last_group * 65_536).to_string()
    }

    pub(crate) fn add_user(&mut self, name: &str, password: &str, now_ms: i64) -> &mut User {
        self.last_user += 1;
        let order = self.last_user;
        self.user_order.insert(order, name.to_owned());
        self.users.entry(name.to_owned()).or_insert_with(|| User::new(name, password, order, now_ms))
    }

    /// The id above which a user who logs in now has seen nothing: just below his oldest queued message, or the
    /// newest of all.
    pub(crate) fn first_unseen(&self, user: &str) -> u64 {
        let queued = self
            .users
            .get(user)
            .and_then(|user| user.offline_direct.iter().chain(&user.offline_group).min().map(|oldest| oldest - 1));
        queued.unwrap_or(self.last_id)
    }

    pub(crate) fn store(&mut self, message: Message) {
        let index = self.messages.len();
        let key = Self::conversation(message.kind, &message.from, &message.to);
        self.by_id.insert(message.id, index);
        self.conversations.entry(key).or_default().push(index);
        self.messages.push(message);
    }
}
