//! From an act to the line that records it: who may do it, who sees it, what else changes. In the writer's order.

mod group;

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use switchboard_contract::storage::{ConversationMarks, Line, LineChange, LineKind, NewLine, Spread, Timelines};
use switchboard_contract::{
    Body, Clock, ConversationId, ConversationKind, Error, ErrorKind, Ext, MessageId, Position, Result, Sequence,
    Timestamp, UserId,
};

use super::ServiceConfig;
use super::acts::{Act, Place, Posted};
use super::groups::Groups;
use super::writer::entry;
use crate::proto::{self, entry::Event};

/// Users remembered as known; beyond that all are forgotten and asked for again.
const REMEMBERED: usize = 65_536;

/// An act, ready to be written.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The line; `None` when there is nothing to write.
    pub(super) line: Option<NewLine>,
    /// Devices of these users get it at once.
    pub(super) audience: Option<Arc<[UserId]>>,
    /// What else is to be done when it is written.
    pub(super) after: After,
    /// The version the message has then.
    pub(super) version: u32,
    /// The answer, when there is nothing to write.
    pub(super) done: Option<Posted>,
}

/// What follows a line that is written.
#[derive(Debug)]
pub(super) enum After {
    Nothing,
    /// These users' devices are told of marks.
    Tell {
        users: Vec<UserId>,
        marks: proto::Marks,
    },
    /// If no device of this user takes it in time, somebody is told.
    Watch(UserId),
}

/// Prepares acts, one after another.
#[derive(Debug)]
pub(super) struct Preparer {
    log: Arc<dyn Timelines>,
    clock: Arc<dyn Clock>,
    config: ServiceConfig,
    groups: Groups,
    users: HashSet<UserId>,
}

/// Who a line is for, and how it is spread.
struct Readers {
    spread: Spread,
    audience: Arc<[UserId]>,
    watch: Option<UserId>,
}

impl Preparer {
    pub(super) fn new(log: Arc<dyn Timelines>, clock: Arc<dyn Clock>, config: ServiceConfig) -> Self {
        Self { log, clock, config, groups: Groups::default(), users: HashSet::new() }
    }

    pub(super) fn forget(&mut self) {
        self.groups.forget();
    }

    pub(super) fn know(&mut self, user: UserId) {
        if self.users.len() >= REMEMBERED {
            self.users.clear();
        }
        self.users.insert(user);
    }

    async fn must_exist(&mut self, user: &UserId) -> Result<()> {
        if self.users.contains(user) {
            return Ok(());
        }
        match self.log.account(user).await? {
            Some(_) => {
                self.know(user.clone());
                Ok(())
            }
            None => Err(Error::new(ErrorKind::NotFound, "no such user")),
        }
    }

    pub(super) async fn prepare(&mut self, act: Act) -> Result<Prepared> {
        match act {
            Act::Send { by, to, content, client_id, mark, business } => {
                self.send(by, to, content, client_id, mark, business).await
            }
            Act::Recall { by, target, business } => self.recall(by, target, business).await,
            Act::Edit { by, target, content, version } => self.edit(by, target, content, version).await,
            Act::Read { user, conversation, through } => self.read(user, conversation, through).await,
            Act::Delivered { user, conversation, through, last } => {
                Ok(self.marks(user, conversation, through, last, false))
            }
            Act::Report { by, topic, data, client_id } => {
                if !topic.is_empty() && serde_json::from_str::<&serde_json::value::RawValue>(&data).is_err() {
                    return Err(Error::invalid("data", "must be JSON"));
                }
                let digest = client_id.as_ref().map_or(0, |_| fingerprint(&["", &topic, &data]));
                let event = Event::Report(proto::Report { topic, data, client_id: String::new() });
                let line = NewLine { client_id, digest, ..self.line(None, LineKind::Report, &by, event) };
                Ok(only_logged(line))
            }
            Act::Presence { user, presence } => {
                Ok(only_logged(self.line(None, LineKind::Presence, &user, Event::Presence(presence))))
            }
            Act::Group { by, id, room, act } => self.group(by, Place::group(&id, room), act).await,
        }
    }

    /// A line that takes a number if it belongs to a conversation, and that nobody sees yet.
    fn line(&self, conversation: Option<ConversationId>, kind: LineKind, by: &UserId, event: Event) -> NewLine {
        let (id, at) = (MessageId::generate(), self.clock.now());
        let payload = payload(id, conversation.as_ref(), by, at, event);
        NewLine {
            numbered: conversation.is_some(),
            conversation,
            kind,
            id,
            by: by.clone(),
            client_id: None,
            digest: 0,
            at,
            mark: None,
            payload,
            spread: Spread::Nobody,
            changes: Vec::new(),
        }
    }

    async fn readers(&mut self, by: &UserId, to: &Place, business: bool) -> Result<Readers> {
        let conversation = to.conversation(by);
        let users = |users: &[&UserId]| -> Arc<[UserId]> { users.iter().map(|user| (*user).clone()).collect() };
        match to {
            Place::User(peer) => {
                self.must_exist(peer).await?;
                self.must_exist(by).await?;
                let audience = if peer == by { users(&[by]) } else { users(&[by, peer]) };
                let watch = (peer != by).then(|| peer.clone());
                Ok(Readers { spread: Spread::Users(audience.clone()), audience, watch })
            }
            Place::System(user) => {
                self.must_exist(user).await?;
                let audience = users(&[user]);
                Ok(Readers { spread: Spread::Users(audience.clone()), audience, watch: Some(user.clone()) })
            }
            Place::Group(_) | Place::Room(_) => {
                let (now, bound) = (self.clock.now(), self.config.write_diffusion_up_to);
                let group = self.groups.load(&*self.log, &conversation).await?.filter(|group| !group.ended);
                let group = group.ok_or_else(|| Error::new(ErrorKind::NotFound, "no such group"))?;
                if !business {
                    group.may_speak(by, now)?;
                }
                let audience = group.everybody();
                let rows = audience.len() <= bound;
                let spread = if rows { Spread::Users(audience.clone()) } else { Spread::Members };
                Ok(Readers { spread, audience, watch: None })
            }
        }
    }

    async fn send(
        &mut self,
        by: UserId,
        to: Place,
        content: proto::Content,
        client_id: Option<String>,
        mark: Option<String>,
        business: bool,
    ) -> Result<Prepared> {
        self.check(&content)?;
        let Readers { spread, audience, watch } = self.readers(&by, &to, business).await?;
        let watch = watch.filter(|_| !content.silent);
        let conversation = to.conversation(&by);
        let digest = match &client_id {
            Some(_) => fingerprint(&[conversation.as_str().as_bytes(), &content.encode_to_vec()]),
            None => 0,
        };
        let message = proto::Message {
            content: Some(content),
            client_id: client_id.clone().unwrap_or_default(),
            to: Some(to.target()),
            ..Default::default()
        };
        let line = self.line(Some(conversation), LineKind::Message, &by, Event::Message(message));
        let line = NewLine { client_id, digest, mark, spread, ..line };
        let after = watch.map_or(After::Nothing, After::Watch);
        Ok(Prepared { line: Some(line), audience: Some(audience), after, version: 0, done: None })
    }

    /// Whether a body may be written. What is sealed is nobody's business.
    fn check(&self, content: &proto::Content) -> Result<()> {
        let size = content.body.len() + content.ext.len() + content.sealed.len();
        if size > self.config.max_content_bytes {
            let text = format!("{size} bytes; {} are admitted", self.config.max_content_bytes);
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        if !content.ext.is_empty() && serde_json::from_str::<Ext>(&content.ext).is_err() {
            return Err(Error::invalid("content.ext", "must be a JSON object"));
        }
        if !content.sealed.is_empty() {
            let plain = content.body.is_empty();
            return if plain { Ok(()) } else { Err(Error::invalid("content", "has both a body and a sealed one")) };
        }
        match serde_json::from_str::<Body>(&content.body) {
            Ok(Body::Unrecognised(_)) | Err(_) => Err(Error::invalid("content.body", "must be a body as JSON")),
            Ok(_) => Ok(()),
        }
    }

    /// A message that `by` may still change, with its entry and its readers.
    async fn target(&mut self, by: &UserId, id: MessageId, business: bool) -> Result<(Line, proto::Entry, Readers)> {
        let missing = || Error::new(ErrorKind::NotFound, "no such message");
        let line = self.log.line(id).await?.filter(|line| line.kind == LineKind::Message).ok_or_else(missing)?;
        if !business {
            if line.by != *by {
                return Err(Error::new(ErrorKind::Forbidden, "only its sender may change a message"));
            }
            if self.clock.now().since(line.at) > self.config.recall_within {
                return Err(Error::new(ErrorKind::Rejected, "it is too late to change the message"));
            }
        }
        let to = line.conversation.as_ref().and_then(|id| Place::of(id, &line.by)).ok_or_else(missing)?;
        // Whoever could read the message must hear of it, also when its sender may not speak any more.
        let readers = self.readers(&line.by, &to, true).await?;
        let entry = entry(&line)?;
        Ok((line, entry, readers))
    }

    async fn recall(&mut self, by: UserId, target: MessageId, business: bool) -> Result<Prepared> {
        let (old, mut buried, readers) = self.target(&by, target, business).await?;
        if old.recalled {
            return Ok(nothing(&old, 0));
        }
        if let Some(Event::Message(message)) = &mut buried.event {
            message.content = None;
            message.recalled = true;
        }
        let event = Event::Recall(proto::Recall { target: target.to_string() });
        let line = self.line(old.conversation, LineKind::Recall, &by, event);
        let bury = LineChange::Rewrite { target, payload: buried.encode_to_vec().into(), recalled: true };
        let line = NewLine { spread: readers.spread, changes: vec![bury], ..line };
        let audience = Some(readers.audience);
        Ok(Prepared { line: Some(line), audience, after: After::Nothing, version: 0, done: None })
    }

    async fn edit(&mut self, by: UserId, target: MessageId, content: proto::Content, version: u32) -> Result<Prepared> {
        self.check(&content)?;
        let (old, mut changed, readers) = self.target(&by, target, false).await?;
        if old.recalled {
            return Err(Error::new(ErrorKind::Rejected, "the message was taken back"));
        }
        let Some(Event::Message(message)) = &mut changed.event else {
            return Err(Error::new(ErrorKind::Decode, "a stored message cannot be read"));
        };
        let next = if version == 0 { message.version + 1 } else { version };
        if next <= message.version {
            // An older change that comes late: the newer one stays.
            return Ok(nothing(&old, message.version));
        }
        message.version = next;
        message.content = Some(content.clone());
        let event = Event::Edit(proto::Edit { target: target.to_string(), content: Some(content), version: next });
        let line = self.line(old.conversation, LineKind::Edit, &by, event);
        let rewrite = LineChange::Rewrite { target, payload: changed.encode_to_vec().into(), recalled: false };
        let line = NewLine { spread: readers.spread, changes: vec![rewrite], ..line };
        let audience = Some(readers.audience);
        Ok(Prepared { line: Some(line), audience, after: After::Nothing, version: next, done: None })
    }

    async fn read(&mut self, user: UserId, conversation: ConversationId, through: Sequence) -> Result<Prepared> {
        if !self.log.takes_part(&user, &conversation).await? {
            return Err(Error::new(ErrorKind::NotFound, "no such conversation"));
        }
        let covered = self.log.messages_before(&conversation, Sequence(through.0.saturating_add(1)), 1).await?;
        let Some(last) = covered.into_iter().next() else {
            return Err(Error::new(ErrorKind::NotFound, "nothing is there to be read"));
        };
        // Nobody can be further than the conversation is.
        let through = last.sequence.unwrap_or(through).min(through);
        Ok(self.marks(user, conversation, through, last.id, true))
    }

    /// Receipts take no number. A delivered mark is for the log; a read mark also for the user's other devices.
    fn marks(
        &mut self,
        user: UserId,
        conversation: ConversationId,
        through: Sequence,
        last: MessageId,
        read: bool,
    ) -> Prepared {
        let kind = if read { proto::receipt::Kind::Read } else { proto::receipt::Kind::Delivered };
        let receipt = proto::Receipt {
            kind: kind.into(),
            user: user.as_str().to_owned(),
            through: through.0,
            target: last.to_string(),
        };
        let line = self.line(Some(conversation.clone()), LineKind::Receipt, &user, Event::Receipt(receipt));
        let marks = ConversationMarks {
            user: user.clone(),
            delivered: through,
            read: if read { through } else { Sequence(0) },
        };
        let own: Arc<[UserId]> = Arc::from([user.clone()]);
        let line = NewLine {
            numbered: false,
            changes: vec![LineChange::Marks(marks)],
            spread: if read { Spread::Users(own.clone()) } else { Spread::Nobody },
            ..line
        };
        let peer = match conversation.kind() {
            ConversationKind::Direct => conversation.peer_of(&user),
            _ => None,
        };
        let marks = proto::Marks {
            conversation: conversation.as_str().to_owned(),
            user: user.as_str().to_owned(),
            delivered: through.0,
            read: if read { through.0 } else { 0 },
        };
        let after = After::Tell { users: peer.into_iter().collect(), marks };
        Prepared { line: Some(line), audience: read.then_some(own), after, version: 0, done: None }
    }
}

/// What a sender's key stands for.
fn fingerprint(parts: &[impl AsRef<[u8]>]) -> u64 {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.as_ref().len() as u64).to_be_bytes());
        digest.update(part.as_ref());
    }
    let digest: [u8; 32] = digest.finalize().into();
    let first = digest.first_chunk().copied().unwrap_or_default();
    // 0 means that there is none.
    u64::from_be_bytes(first).max(1)
}

fn only_logged(line: NewLine) -> Prepared {
    Prepared { line: Some(line), audience: None, after: After::Nothing, version: 0, done: None }
}

/// An act that changes nothing.
fn nothing(line: &Line, version: u32) -> Prepared {
    let done = Posted {
        id: line.id,
        conversation: line.conversation.clone(),
        position: line.position,
        sequence: line.sequence,
        at: line.at,
        repeated: true,
        version,
    };
    Prepared { line: None, audience: None, after: After::Nothing, version, done: Some(done) }
}

/// An entry as it is stored: without position and sequence, which only the store knows.
fn payload(id: MessageId, conversation: Option<&ConversationId>, by: &UserId, at: Timestamp, event: Event) -> Bytes {
    let entry = proto::Entry {
        position: Position::START.0,
        sequence: 0,
        conversation: conversation.map(|id| id.as_str().to_owned()).unwrap_or_default(),
        at: at.0,
        id: id.to_string(),
        by: by.as_str().to_owned(),
        event: Some(event),
    };
    entry.encode_to_vec().into()
}
