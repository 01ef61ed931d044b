//! Carries out in this process what a business asks.

use std::time::Duration;

use async_trait::async_trait;
use bytes::{BufMut as _, BytesMut};
use switchboard_contract::storage::DeviceCursor;
use switchboard_contract::{
    ConversationId, Error, ErrorKind, GroupId, Position, Result, Retry, Timestamp, UserId, UserProfile,
};

use super::callbacks::Seal;
use super::codec;
use super::desk::{Address, Answer, Call, Notice, Office, Place as Where, Sent, Told};
use crate::proto;
use crate::service::{Act, GroupAct, Place, Posted, Service};

/// Lines in one notice, and its size from which on no more are added.
const LINES: usize = 128;
const BYTES: usize = 256 << 10;
/// Entries of one page.
pub(super) const MAX_PAGE: u32 = 100;
/// The longest look for news.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// A clerk with the service behind it. One that answers over the gate keeps its reader's place under a name of its own.
#[derive(Clone)]
pub(crate) struct Clerk {
    service: Service,
    seal: Seal,
    /// Under which it is kept how far the log is read: no user has an empty name.
    reader: String,
}

impl std::fmt::Debug for Clerk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clerk").field("reader", &self.reader).finish_non_exhaustive()
    }
}

fn user(name: &str) -> UserId {
    UserId::from(name)
}

fn place(address: &Address) -> Place {
    match address {
        Address::User(name) => Place::User(user(name)),
        Address::Group(id) => Place::Group(GroupId::from(id.as_str())),
        Address::Room(id) => Place::Room(GroupId::from(id.as_str())),
        Address::System(name) => Place::System(user(name)),
    }
}

/// Nothing is written before an error: the same may be tried again.
fn again(error: Error) -> Error {
    let passing = matches!(error.kind(), ErrorKind::Storage | ErrorKind::StorageFull | ErrorKind::Closed);
    let error = error.with_operation("send");
    if passing { error.with_retry(Retry::Safe { after: None }) } else { error }
}

impl Clerk {
    pub(crate) fn new(service: Service, seal: Seal, reader: impl Into<String>) -> Self {
        Self { service, seal, reader: reader.into() }
    }

    async fn send(
        &self,
        from: &str,
        to: &[Address],
        content: &proto::Content,
        mark: Option<&str>,
    ) -> Result<Vec<Sent>> {
        let by = user(from);
        let mut answers = Vec::new();
        for address in to {
            let to = place(address);
            let recipient = match &to {
                Place::User(user) | Place::System(user) => Some(user.as_str().to_owned()),
                Place::Group(_) | Place::Room(_) => None,
            };
            // The mark names the send: the same one made again finds the first.
            let client_id = mark.map(|mark| format!("mark/{mark}/{}", to.conversation(&by).as_str()));
            let (content, mark) = (content.clone(), mark.map(str::to_owned));
            let act = Act::Send { by: by.clone(), to, content, client_id, mark, business: true };
            answers.push((recipient, self.service.submit(act).await.map_err(again)?));
        }
        let (mut sent, mut refused) = (Vec::with_capacity(answers.len()), None);
        for (user, answer) in answers {
            match answer.wait().await {
                Ok(Posted { id, .. }) => sent.push(Sent { user, id: id.to_string() }),
                Err(error) => refused = refused.or(Some(again(error))),
            }
        }
        // Whom it could not be sent to is not named; only when there is nobody else the send has failed.
        match refused {
            Some(error) if sent.is_empty() => Err(error),
            _ => Ok(sent),
        }
    }

    async fn page(&self, conversation: &ConversationId, asked: (Timestamp, Timestamp, u64, u32)) -> Result<Answer> {
        let (since, until, after, limit) = asked;
        let limit = limit.clamp(1, MAX_PAGE) as usize;
        let log = self.service.log();
        let mut lines = log.messages_between(conversation, Position(after), since, until, limit + 1).await?;
        let more = lines.len() > limit;
        lines.truncate(limit);
        let next = lines.last().filter(|_| more).map(|last| last.position.0);
        let told = |line| -> Result<Told> {
            let event = String::from_utf8(codec::told(line)?.to_vec())
                .map_err(|error| Error::new(ErrorKind::Decode, "a line is no text").with_source(error))?;
            Ok(Told { event, at: line.at })
        };
        Ok(Answer::Page { items: lines.iter().map(told).collect::<Result<_>>()?, next })
    }

    async fn group(&self, there: &Where, act: GroupAct) -> Result<Answer> {
        let act = Act::Group { by: None, id: GroupId::from(there.id.as_str()), room: there.room, act };
        self.service.act(act).await.map(|_| Answer::Done)
    }

    async fn members(&self, there: &Where) -> Result<Answer> {
        let place = Place::group(&GroupId::from(there.id.as_str()), there.room);
        let found = self.service.log().timeline_group(&place.conversation(&user(""))).await?;
        let found =
            found.filter(|group| !group.ended).ok_or_else(|| Error::new(ErrorKind::NotFound, "no such group"))?;
        Ok(Answer::Users(found.members.iter().map(|member| member.user.as_str().to_owned()).collect()))
    }

    async fn kind_of(&self, id: &str) -> Result<Answer> {
        for room in [false, true] {
            let conversation = Place::group(&GroupId::from(id), room).conversation(&user(""));
            if self.service.log().timeline_group(&conversation).await?.is_some_and(|group| !group.ended) {
                return Ok(Answer::Kind(Some(conversation.kind())));
            }
        }
        Ok(Answer::Kind(None))
    }

    /// The next lines of the log. What was handed out and is not acknowledged comes again.
    async fn next(&self, after: Option<u64>, wait: Duration) -> Result<Answer> {
        let nobody = user("");
        let stored = self.service.log().device(&nobody, &self.reader).await?;
        let stored = stored.map_or(Position::START, |stored| stored.low);
        let after = after.map_or(stored, |after| Position(after).max(stored));
        if after > stored {
            let (device, seen_at) = (self.reader.clone(), self.service.clock().now());
            let cursor = DeviceCursor { user: nobody, device, low: after, seen_at };
            if !self.service.saver().save(cursor).await?.await.unwrap_or(false) {
                return Err(Error::new(ErrorKind::Storage, "the reader's cursor could not be stored"));
            }
        }
        self.wait(after, wait.min(MAX_WAIT)).await?;
        let mut body = BytesMut::from(&b"{\"events\":["[..]);
        let mut last = after;
        for line in self.service.log().log(after, LINES).await? {
            if last > after {
                body.put_u8(b',');
            }
            body.put_slice(&codec::told(&line)?);
            last = line.position;
            if body.len() >= BYTES {
                break;
            }
        }
        if last == after {
            return Ok(Answer::Notice(None));
        }
        body.put_slice(b"]}");
        let raw = self.seal.notice(body.freeze(), self.service.clock().now());
        Ok(Answer::Notice(Some(Notice { last: last.0, headers: raw.headers, body: raw.body })))
    }

    async fn wait(&self, out: Position, longest: Duration) -> Result<()> {
        let mut tail = self.service.tail();
        let closed = || Error::new(ErrorKind::Closed, "the service is stopping");
        tokio::select! {
            () = self.service.stopping().cancelled() => Err(closed()),
            found = tail.wait_for(|tail| *tail > out.0) => found.map(drop).map_err(|_| closed()),
            () = self.service.clock().sleep(longest) => Ok(()),
        }
    }

    async fn token(&self, name: &str, profile: &UserProfile) -> Result<Answer> {
        let user = user(name);
        self.service.ensure(&user, profile).await?;
        let (token, expires_at) = self.service.token(&user).await?;
        Ok(Answer::Token { token, expires_at })
    }
}

#[async_trait]
impl Office for Clerk {
    async fn call(&self, call: Call) -> Result<Answer> {
        let service = &self.service;
        let people = |names: Vec<String>| names.into_iter().map(UserId::from).collect();
        match call {
            Call::Probe => service.log().tail().await.map(|_| Answer::Done),
            Call::Send { from, to, content, mark } => {
                self.send(&from, &to, &content, mark.as_deref()).await.map(Answer::Sent)
            }
            Call::Recall { from, id } => {
                let missing = || Error::new(ErrorKind::NotFound, "no such message").with_operation("recall");
                let act = Act::Recall { by: user(&from), target: id.parse().map_err(|_| missing())?, business: true };
                service.act(act).await.map(|_| Answer::Done).map_err(|error| error.with_operation("recall"))
            }
            Call::Page { viewer, of, since, until, after, limit } => {
                let conversation = match place(&of) {
                    // A notice stands in the conversation from its sender to the one who reads.
                    Place::System(from) => ConversationId::system(&from, &user(&viewer)),
                    other => other.conversation(&user(&viewer)),
                };
                self.page(&conversation, (since, until, after, limit)).await
            }
            Call::Ensure { user: name, profile } => service.ensure(&user(&name), &profile).await.map(|()| Answer::Done),
            Call::LoginToken { user: name, profile } => self.token(&name, &profile).await,
            Call::Kick { user: name } => {
                service.kick(&user(&name));
                Ok(Answer::Done)
            }
            Call::Ban { user: name, for_ms } => {
                let until =
                    for_ms.map_or(Timestamp(i64::MAX), |time| service.clock().now() + Duration::from_millis(time));
                service.ban(&user(&name), until).await.map(|()| Answer::Done)
            }
            Call::Unban { user: name } => service.unban(&user(&name)).await.map(|()| Answer::Done),
            Call::Presence { users } => {
                let online = |name: &String| !service.routes().of(&user(name)).is_empty();
                Ok(Answer::Online(users.iter().map(online).collect()))
            }
            Call::OfflineCount { user: name } => service.waiting(&user(&name)).await.map(Answer::Count),
            Call::CreateGroup { place, name, owner, members } => {
                let act = GroupAct::Create { name, owner: user(&owner), members: people(members) };
                self.group(&place, act).await
            }
            Call::AddMembers { place, users } => self.group(&place, GroupAct::Add(people(users))).await,
            Call::RemoveMembers { place, users } => self.group(&place, GroupAct::Remove(people(users))).await,
            Call::Members { place } => self.members(&place).await,
            Call::Dissolve { place } => match self.group(&place, GroupAct::Dissolve).await {
                // Gone already: repeating it is harmless.
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(Answer::Done),
                done => done,
            },
            Call::KindOf { id } => self.kind_of(&id).await,
            Call::Push { user: name, topic, data } => {
                let shown = service.push(&user(&name), &proto::Push { topic, data });
                Ok(Answer::Count(shown as u64))
            }
            Call::Next { after, wait_ms } => self.next(after, Duration::from_millis(wait_ms)).await,
        }
    }
}
