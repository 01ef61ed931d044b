//! What users may look at.

use prost::Message as _;
use switchboard_contract::storage::{ConversationMarks, Line, MemberRole, TimelineConversation};
use switchboard_contract::{ConversationId, ConversationKind, Error, ErrorKind, Position, Result, Sequence, UserId};

use super::{Place, Service, entry_bytes};
use crate::proto;

/// Entries in one page of history or list, at most.
pub(crate) const MAX_PAGE: usize = 100;

impl Service {
    /// The conversations of a user, the latest first.
    pub(crate) async fn conversations(&self, user: &UserId, before: u64, limit: u32) -> Result<proto::Conversations> {
        let before = if before == 0 { Position(u64::MAX >> 24) } else { Position(before) };
        let listed = self.log().conversations_of(user, before, page(limit)).await?;
        let conversations = listed.into_iter().map(|one| conversation(user, one)).collect::<Result<_>>()?;
        Ok(proto::Conversations { conversations })
    }

    /// Messages of a conversation the user takes part in, the newest first.
    pub(crate) async fn history(
        &self,
        user: &UserId,
        conversation: &ConversationId,
        before: u64,
        limit: u32,
    ) -> Result<proto::HistoryPage> {
        if !self.log().takes_part(user, conversation).await? {
            return Err(Error::new(ErrorKind::NotFound, "no such conversation"));
        }
        let (before, limit) = (if before == 0 { Sequence(u64::MAX) } else { Sequence(before) }, page(limit));
        let mut lines = self.log().messages_before(conversation, before, limit + 1).await?;
        let more = lines.len() > limit;
        lines.truncate(limit);
        let next = lines.last().filter(|_| more).and_then(|line| line.sequence).map_or(0, |sequence| sequence.0);
        let entries = lines.iter().map(read_entry).collect::<Result<_>>()?;
        Ok(proto::HistoryPage { entries, next })
    }

    /// A group, for one of its members.
    pub(crate) async fn group_for(&self, user: &UserId, place: &Place) -> Result<proto::Group> {
        let missing = || Error::new(ErrorKind::NotFound, "no such group");
        let conversation = place.conversation(user);
        let group = self.log().timeline_group(&conversation).await?.filter(|group| !group.ended);
        let group = group.ok_or_else(missing)?;
        if !group.members.iter().any(|member| member.user == *user) {
            return Err(missing());
        }
        let member = |member: &switchboard_contract::storage::TimelineMember| proto::Member {
            user: member.user.as_str().to_owned(),
            role: match member.role {
                MemberRole::Member => proto::Role::Member,
                MemberRole::Admin => proto::Role::Admin,
                MemberRole::Owner => proto::Role::Owner,
            }
            .into(),
            muted_until: member.muted_until.map_or(0, |until| until.0),
        };
        Ok(proto::Group {
            id: conversation.group_id().map(|id| id.as_str().to_owned()).unwrap_or_default(),
            name: group.name,
            owner: group.owner.as_str().to_owned(),
            room: conversation.kind() == ConversationKind::Room,
            muted: group.muted,
            members: group.members.iter().map(member).collect(),
        })
    }

    /// Which devices of these users are online.
    pub(crate) fn presences(&self, users: &[String]) -> proto::Presences {
        let device = |route: &super::Route| proto::DevicePresence {
            device: route.device.clone(),
            device_class: route.class.into(),
            since: route.since.0,
            seen_at: route.seen.load(std::sync::atomic::Ordering::Relaxed),
        };
        let user = |user: &String| proto::UserPresence {
            user: user.clone(),
            devices: self.routes().of(&UserId::from(user.as_str())).iter().map(|route| device(route)).collect(),
        };
        proto::Presences { users: users.iter().take(MAX_PAGE).map(user).collect() }
    }
}

fn page(limit: u32) -> usize {
    if limit == 0 { MAX_PAGE } else { (limit as usize).min(MAX_PAGE) }
}

fn read_entry(line: &Line) -> Result<proto::Entry> {
    proto::Entry::decode(entry_bytes(&line.payload, line.position, line.sequence))
        .map_err(|error| Error::new(ErrorKind::Decode, "a stored line cannot be read").with_source(error))
}

fn conversation(user: &UserId, listed: TimelineConversation) -> Result<proto::Conversation> {
    let of = |user: &UserId| -> (u64, u64) {
        let marks = listed.marks.iter().find(|marks: &&ConversationMarks| marks.user == *user);
        marks.map_or((0, 0), |marks| (marks.delivered.0, marks.read.0))
    };
    let (delivered, read) = of(user);
    let (peer_delivered, peer_read) = listed.id.peer_of(user).map_or((0, 0), |peer| of(&peer));
    Ok(proto::Conversation {
        id: listed.id.as_str().to_owned(),
        last: Some(read_entry(&listed.last)?),
        unread: listed.unread,
        delivered,
        read,
        peer_delivered,
        peer_read,
    })
}
