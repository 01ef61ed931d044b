//! The log and timelines of the self-hosted service, in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use switchboard_contract::storage::{
    Account, ConversationMarks, DeviceCursor, Line, LineChange, LineKind, NewLine, Spread, TimelineConversation,
    TimelineGroup, TimelineMember, Timelines, Written,
};
use switchboard_contract::{
    ConversationId, Error, ErrorKind, MessageId, Position, Result, Sequence, Timestamp, UserId,
};

use super::MemoryStore;

/// One service's log.
#[derive(Debug, Default)]
pub(super) struct Log {
    lines: BTreeMap<u64, Kept>,
    ids: HashMap<MessageId, u64>,
    keys: HashMap<(UserId, String), u64>,
    conversations: HashMap<ConversationId, Conversation>,
    accounts: HashMap<UserId, Account>,
    devices: BTreeMap<(UserId, String), DeviceCursor>,
}

#[derive(Debug)]
struct Kept {
    line: Line,
    spread: Spread,
}

#[derive(Debug, Default)]
struct Conversation {
    last: u64,
    group: Option<TimelineGroup>,
    stays: Vec<Stay>,
    marks: BTreeMap<UserId, ConversationMarks>,
}

#[derive(Debug)]
struct Stay {
    member: TimelineMember,
    until: Option<u64>,
}

impl Stay {
    fn covers(&self, position: u64) -> bool {
        self.member.since.0 <= position && self.until.is_none_or(|until| position <= until)
    }
}

impl Conversation {
    fn current(&mut self, user: &UserId) -> Option<&mut Stay> {
        self.stays.iter_mut().find(|stay| stay.until.is_none() && stay.member.user == *user)
    }

    fn raise(&mut self, marks: ConversationMarks) {
        let known = self.marks.entry(marks.user.clone()).or_insert_with(|| marks.clone());
        known.delivered = known.delivered.max(marks.delivered);
        known.read = known.read.max(marks.read);
    }
}

impl Log {
    fn write(&mut self, new: NewLine) -> Written {
        let key = new.client_id.clone().map(|client| (new.by.clone(), client));
        if let Some(kept) = key.as_ref().and_then(|key| self.keys.get(key)).and_then(|at| self.lines.get(at)) {
            return Written::Known(Box::new(kept.line.clone()));
        }
        let position = self.lines.keys().next_back().map_or(1, |last| last + 1);
        let mut sequence = None;
        if let Some(id) = &new.conversation {
            let conversation = self.conversations.entry(id.clone()).or_default();
            if new.numbered {
                conversation.last += 1;
                sequence = Some(Sequence(conversation.last));
            }
            if let Spread::Users(users) = &new.spread
                && conversation.group.is_none()
            {
                for user in users.iter() {
                    if conversation.current(user).is_none() {
                        conversation.stays.push(stay(user.clone(), position));
                    }
                }
            }
        }
        self.change(position, new.conversation.as_ref(), new.changes);
        if let Some(key) = key {
            self.keys.insert(key, position);
        }
        self.ids.insert(new.id, position);
        let NewLine { conversation, kind, id, by, client_id, digest, at, mark, payload, spread, .. } = new;
        let position = Position(position);
        let line = Line {
            position,
            sequence,
            conversation,
            kind,
            id,
            by,
            client_id,
            digest,
            at,
            mark,
            recalled: false,
            payload,
        };
        self.lines.insert(position.0, Kept { line, spread });
        Written::Fresh { position, sequence }
    }

    fn change(&mut self, position: u64, conversation: Option<&ConversationId>, changes: Vec<LineChange>) {
        for change in changes {
            if let LineChange::Rewrite { target, payload, recalled } = change {
                if let Some(kept) = self.ids.get(&target).and_then(|at| self.lines.get_mut(at)) {
                    kept.line.payload = payload;
                    kept.line.recalled |= recalled;
                }
                continue;
            }
            let Some(conversation) = conversation.and_then(|id| self.conversations.get_mut(id)) else { continue };
            match change {
                LineChange::Rewrite { .. } => {}
                LineChange::Marks(marks) => conversation.raise(marks),
                LineChange::Group { name, owner, muted, ended } => {
                    conversation.group = Some(TimelineGroup { name, owner, muted, ended, members: Vec::new() });
                }
                LineChange::Member { user, role, muted_until } => {
                    if conversation.current(&user).is_none() {
                        conversation.stays.push(stay(user.clone(), position));
                    }
                    if let Some(stay) = conversation.current(&user) {
                        stay.member.role = role;
                        stay.member.muted_until = muted_until;
                    }
                }
                LineChange::Leave { user } => {
                    if let Some(stay) = conversation.current(&user) {
                        stay.until = Some(position);
                    }
                }
            }
        }
    }

    fn sees(&self, user: &UserId, kept: &Kept) -> bool {
        match &kept.spread {
            Spread::Nobody => false,
            Spread::Users(users) => users.contains(user),
            Spread::Members => kept.line.conversation.as_ref().is_some_and(|id| {
                let stays = self.conversations.get(id).map(|conversation| conversation.stays.as_slice());
                stays
                    .unwrap_or_default()
                    .iter()
                    .any(|stay| stay.member.user == *user && stay.covers(kept.line.position.0))
            }),
        }
    }

    fn messages<'a>(&'a self, conversation: &'a ConversationId) -> impl DoubleEndedIterator<Item = &'a Line> {
        let wanted =
            move |line: &&Line| line.kind == LineKind::Message && line.conversation.as_ref() == Some(conversation);
        self.lines.values().map(|kept| &kept.line).filter(wanted)
    }

    fn listed(&self, user: &UserId, id: &ConversationId) -> Option<TimelineConversation> {
        let conversation = self.conversations.get(id)?;
        let stays = |stay: &Stay| stay.until.is_none() && stay.member.user == *user;
        if !conversation.stays.iter().any(stays) {
            return None;
        }
        let last = self.messages(id).next_back()?.clone();
        let read = conversation.marks.get(user).map_or(Sequence(0), |marks| marks.read);
        let unread = self
            .messages(id)
            .filter(|line| line.sequence.is_some_and(|n| n > read) && line.by != *user && !line.recalled)
            .count() as u64;
        let marks = conversation.marks.values().take(100).cloned().collect();
        Some(TimelineConversation { id: id.clone(), last, unread, marks })
    }
}

fn stay(user: UserId, since: u64) -> Stay {
    let member = TimelineMember { user, role: Default::default(), muted_until: None, since: Position(since) };
    Stay { member, until: None }
}

/// A service's log; the store it belongs to may be closed.
#[derive(Debug)]
pub(super) struct MemoryTimelines {
    pub(super) store: MemoryStore,
    pub(super) log: Arc<Mutex<Log>>,
}

impl MemoryTimelines {
    fn log(&self) -> Result<MutexGuard<'_, Log>> {
        drop(self.store.state()?);
        Ok(self.log.lock())
    }
}

#[async_trait]
impl Timelines for MemoryTimelines {
    async fn append(&self, lines: Vec<NewLine>) -> Result<Vec<Written>> {
        let mut log = self.log()?;
        let mut fresh: Vec<MessageId> = Vec::new();
        for line in &lines {
            fresh.push(line.id);
            for change in &line.changes {
                if let LineChange::Rewrite { target, .. } = change
                    && !log.ids.contains_key(target)
                    && !fresh.contains(target)
                {
                    return Err(Error::new(ErrorKind::NotFound, "no such message"));
                }
            }
        }
        Ok(lines.into_iter().map(|line| log.write(line)).collect())
    }

    async fn tail(&self) -> Result<Position> {
        Ok(Position(self.log()?.lines.keys().next_back().copied().unwrap_or(0)))
    }

    async fn log(&self, after: Position, limit: usize) -> Result<Vec<Line>> {
        let log = self.log()?;
        Ok(log.lines.range(after.0 + 1..).take(limit).map(|(_, kept)| kept.line.clone()).collect())
    }

    async fn timeline(&self, user: &UserId, after: Position, until: Position, limit: usize) -> Result<Vec<Line>> {
        let log = self.log()?;
        if until <= after {
            return Ok(Vec::new());
        }
        let seen = log.lines.range(after.0 + 1..=until.0).filter(|(_, kept)| log.sees(user, kept));
        Ok(seen.take(limit).map(|(_, kept)| kept.line.clone()).collect())
    }

    async fn line(&self, id: MessageId) -> Result<Option<Line>> {
        let log = self.log()?;
        Ok(log.ids.get(&id).and_then(|at| log.lines.get(at)).map(|kept| kept.line.clone()))
    }

    async fn messages_before(
        &self,
        conversation: &ConversationId,
        before: Sequence,
        limit: usize,
    ) -> Result<Vec<Line>> {
        let log = self.log()?;
        let earlier = |line: &&Line| line.sequence.is_some_and(|sequence| sequence < before);
        Ok(log.messages(conversation).rev().filter(earlier).take(limit).cloned().collect())
    }

    async fn messages_between(
        &self,
        conversation: &ConversationId,
        after: Position,
        since: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Line>> {
        let log = self.log()?;
        let within = |line: &&Line| line.position > after && line.at >= since && line.at <= until;
        Ok(log.messages(conversation).filter(within).take(limit).cloned().collect())
    }

    async fn conversations_of(
        &self,
        user: &UserId,
        before: Position,
        limit: usize,
    ) -> Result<Vec<TimelineConversation>> {
        let log = self.log()?;
        let mut found: Vec<_> = log.conversations.keys().filter_map(|id| log.listed(user, id)).collect();
        found.retain(|listed| listed.last.position < before);
        found.sort_by_key(|listed| std::cmp::Reverse(listed.last.position));
        found.truncate(limit);
        Ok(found)
    }

    async fn timeline_group(&self, conversation: &ConversationId) -> Result<Option<TimelineGroup>> {
        let log = self.log()?;
        let Some(found) = log.conversations.get(conversation) else { return Ok(None) };
        Ok(found.group.clone().map(|mut group| {
            let current = found.stays.iter().filter(|stay| stay.until.is_none());
            group.members = current.map(|stay| stay.member.clone()).collect();
            group
        }))
    }

    async fn members_at(&self, conversation: &ConversationId, position: Position) -> Result<Vec<UserId>> {
        let log = self.log()?;
        let stays = log.conversations.get(conversation).map(|found| found.stays.as_slice()).unwrap_or_default();
        Ok(stays.iter().filter(|stay| stay.covers(position.0)).map(|stay| stay.member.user.clone()).collect())
    }

    async fn takes_part(&self, user: &UserId, conversation: &ConversationId) -> Result<bool> {
        let mut log = self.log()?;
        Ok(log.conversations.get_mut(conversation).is_some_and(|found| found.current(user).is_some()))
    }

    async fn account(&self, user: &UserId) -> Result<Option<Account>> {
        Ok(self.log()?.accounts.get(user).cloned())
    }

    async fn put_account(&self, account: &Account) -> Result<()> {
        self.log()?.accounts.insert(account.user.clone(), account.clone());
        Ok(())
    }

    async fn device(&self, user: &UserId, device: &str) -> Result<Option<DeviceCursor>> {
        Ok(self.log()?.devices.get(&(user.clone(), device.to_owned())).cloned())
    }

    async fn devices(&self, user: &UserId) -> Result<Vec<DeviceCursor>> {
        Ok(self.log()?.devices.values().filter(|cursor| cursor.user == *user).cloned().collect())
    }

    async fn save_devices(&self, cursors: Vec<DeviceCursor>) -> Result<()> {
        let mut log = self.log()?;
        for cursor in cursors {
            let key = (cursor.user.clone(), cursor.device.clone());
            let known = log.devices.entry(key).or_insert_with(|| cursor.clone());
            known.low = known.low.max(cursor.low);
            known.seen_at = known.seen_at.max(cursor.seen_at);
        }
        Ok(())
    }

    async fn raise_marks(&self, marks: Vec<(ConversationId, ConversationMarks)>) -> Result<()> {
        let mut log = self.log()?;
        for (id, marks) in marks {
            log.conversations.entry(id).or_default().raise(marks);
        }
        Ok(())
    }
}
