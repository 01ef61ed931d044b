//! What a device may ask.

use std::time::Duration;

use futures::future::abortable;
use switchboard_contract::storage::MemberRole;
use switchboard_contract::{
    ConversationId, Error, ErrorKind, GroupId, MessageId, Result, Retry, Sequence, Timestamp, UserId,
};

use super::connection::{failed, unreadable};
use super::session::{Finished, Session};
use crate::frame::{Body, Command, Kind, Packet, decode_body, encode_body};
use crate::proto;
use crate::service::{Act, GroupAct, Place, Posted, Service};

type Ended = super::ending::End;

impl Session {
    pub(super) async fn request(&mut self, packet: Packet) -> Result<(), Ended> {
        let (command, correlation) = (packet.command, packet.correlation);
        match decode_body(&packet) {
            Err(fault) => self.outbox.push(failed(command, correlation, &unreadable(&fault))),
            Ok(Body::Heartbeat(beat)) => {
                let body = self.beat(beat.network());
                self.outbox.push(Packet::new(Kind::Ack, command, correlation, encode_body(&body)));
            }
            Ok(Body::Pull(pull)) => self.pull(correlation, &pull).await?,
            Ok(body) => match self.begin(command, body).await {
                Ok(Some(work)) => self.start(command, correlation, work),
                Ok(None) => {
                    let error = Error::new(ErrorKind::InvalidInput, "already logged in");
                    self.outbox.push(failed(command, correlation, &error));
                }
                Err(error) => self.outbox.push(failed(command, correlation, &error)),
            },
        }
        Ok(())
    }

    fn start(&mut self, command: Command, correlation: u64, work: Work) {
        let (work, handle) = abortable(work);
        self.open.insert(correlation, handle);
        self.begun.push(Box::pin(async move {
            match work.await {
                Ok(Ok(body)) => Finished::Reply(Packet::new(Kind::Ack, command, correlation, encode_body(&body))),
                Ok(Err(error)) => Finished::Reply(failed(command, correlation, &error)),
                Err(_) => Finished::Cancelled { correlation },
            }
        }));
    }

    /// Spends one write, or says how long to wait.
    fn spend(&mut self) -> Result<()> {
        const SECOND: Duration = Duration::from_secs(1);
        let now = self.now();
        let (left, began) = &mut self.allowance;
        if now.since(*began) >= SECOND {
            (*left, *began) = (self.shared.config.writes_per_second, now);
        }
        if *left == 0 {
            let after = Some(SECOND.saturating_sub(now.since(*began)));
            let retry = Retry::Safe { after };
            return Err(Error::new(ErrorKind::RateLimited, "too many writes in one second").with_retry(retry));
        }
        *left -= 1;
        Ok(())
    }

    /// Begins what is asked. What writes is queued here, in the order in which it was asked for.
    async fn begin(&mut self, command: Command, body: Body) -> Result<Option<Work>> {
        let (service, user) = (self.shared.service.clone(), self.route.user.clone());
        let act = match body {
            Body::Send(send) => {
                let content = send.content.ok_or_else(|| Error::invalid("content", "is missing"))?;
                let client_id = key(send.client_id)?;
                Act::Send {
                    to: Place::from_target(send.to)?,
                    by: user,
                    content,
                    client_id,
                    mark: None,
                    business: false,
                }
            }
            Body::RecallMessage(recall) => Act::Recall { by: user, target: message_id(&recall.id)?, business: false },
            Body::EditMessage(edit) => {
                let content = edit.content.ok_or_else(|| Error::invalid("content", "is missing"))?;
                Act::Edit { by: user, target: message_id(&edit.id)?, content, version: edit.version }
            }
            Body::Read(read) => {
                Act::Read { user, conversation: conversation_id(&read.conversation)?, through: Sequence(read.through) }
            }
            Body::Report(report) => {
                let client_id = key(report.client_id)?;
                if report.topic.is_empty() || report.topic.len() > 128 {
                    return Err(Error::invalid("topic", "must have 1 to 128 bytes"));
                }
                Act::Report { by: user, topic: report.topic, data: report.data, client_id }
            }
            Body::CreateGroup(group) => create_group(user, group)?,
            Body::ChangeGroup(change) => change_group(user, change)?,
            other => return look(service, user, other),
        };
        self.spend()?;
        let answer = service.submit(act).await?;
        Ok(Some(Box::pin(async move { answer.wait().await.map(|posted| answered(command, posted)) })))
    }
}

type Work = futures::future::BoxFuture<'static, Result<Body>>;

/// What only looks.
fn look(service: Service, user: UserId, body: Body) -> Result<Option<Work>> {
    Ok(Some(match body {
        Body::ListConversations(list) => {
            Box::pin(
                async move { service.conversations(&user, list.before, list.limit).await.map(Body::Conversations) },
            )
        }
        Body::History(asked) => {
            let conversation = conversation_id(&asked.conversation)?;
            Box::pin(async move {
                service.history(&user, &conversation, asked.before, asked.limit).await.map(Body::HistoryPage)
            })
        }
        Body::GetGroup(group) => Box::pin(async move {
            let place = Place::group(&GroupId::from(group.id), group.room);
            service.group_for(&user, &place).await.map(Body::Group)
        }),
        Body::AskPresence(ask) => Box::pin(async move { Ok(Body::Presences(service.presences(&ask.users))) }),
        _ => return Ok(None),
    }))
}

fn answered(command: Command, posted: Posted) -> Body {
    match command {
        Command::Send => Body::Sent(proto::Sent {
            id: posted.id.to_string(),
            conversation: posted.conversation.map(|id| id.as_str().to_owned()).unwrap_or_default(),
            position: posted.position.0,
            sequence: posted.sequence.map_or(0, |sequence| sequence.0),
            sent_at: posted.at.0,
            repeated: posted.repeated,
        }),
        Command::Edit => Body::Edited(proto::Edited { version: posted.version, applied: !posted.repeated }),
        _ => Body::Empty,
    }
}

/// The sender's key; empty for none.
fn key(text: String) -> Result<Option<String>> {
    match text.len() {
        0 => Ok(None),
        1..=128 => Ok(Some(text)),
        _ => Err(Error::invalid("client_id", "must have at most 128 bytes")),
    }
}

fn message_id(text: &str) -> Result<MessageId> {
    text.parse().map_err(|_| Error::invalid("id", "is no message id"))
}

fn conversation_id(text: &str) -> Result<ConversationId> {
    text.parse().map_err(|_| Error::invalid("conversation", "is no conversation id"))
}

fn users(names: Vec<String>) -> Vec<UserId> {
    names.into_iter().map(UserId::from).collect()
}

fn group_id(text: String) -> Result<GroupId> {
    match text.len() {
        1..=128 => Ok(text.into()),
        _ => Err(Error::invalid("id", "must have 1 to 128 bytes")),
    }
}

fn create_group(by: UserId, group: proto::CreateGroup) -> Result<Act> {
    if group.name.is_empty() || group.name.len() > 256 {
        return Err(Error::invalid("name", "must have 1 to 256 bytes"));
    }
    let act = GroupAct::Create { name: group.name, owner: by.clone(), members: users(group.members) };
    Ok(Act::Group { by: Some(by), id: group_id(group.id)?, room: group.room, act })
}

fn change_group(by: UserId, change: proto::ChangeGroup) -> Result<Act> {
    use proto::change_group::Action;
    let (action, role) = (change.action(), change.role());
    let names = users(change.users);
    let act = match action {
        Action::Unspecified => return Err(Error::invalid("action", "is missing")),
        Action::Add => GroupAct::Add(names),
        Action::Remove => GroupAct::Remove(names),
        Action::Leave => GroupAct::Leave,
        Action::SetRole => {
            let role = match role {
                proto::Role::Member => MemberRole::Member,
                proto::Role::Admin => MemberRole::Admin,
                _ => return Err(Error::invalid("role", "must be member or admin")),
            };
            GroupAct::SetRole(names, role)
        }
        Action::Mute => GroupAct::Mute(names, Some(Timestamp(if change.until == 0 { i64::MAX } else { change.until }))),
        Action::Unmute => GroupAct::Mute(names, None),
        Action::MuteAll => GroupAct::MuteAll(true),
        Action::UnmuteAll => GroupAct::MuteAll(false),
        Action::Rename => {
            if change.name.is_empty() || change.name.len() > 256 {
                return Err(Error::invalid("name", "must have 1 to 256 bytes"));
            }
            GroupAct::Rename(change.name)
        }
        Action::Dissolve => GroupAct::Dissolve,
    };
    Ok(Act::Group { by: Some(by), id: group_id(change.id)?, room: change.room, act })
}
