//! What the engine may ask: sending, history, users, groups. Answered by the service in this process.

use std::time::Duration;

use async_trait::async_trait;
use switchboard_contract::{
    ConversationId, ConversationKind, Error, ErrorKind, GroupId, GroupLimits, GroupRef, Groups, LoginToken, Messaging,
    MessagingLimits, NewGroup, OutboundMessage, Position, PresenceState, Quota, RecallRequest, Result, Retry, Roaming,
    RoamingLimits, RoamingPage, RoamingQuery, SendOptions, SentTo, Target, Timestamp, UserId, UserLimits, UserProfile,
    Users, VendorGroupId, VendorMessageId, VendorUserId,
};

use super::{SelfHosted, codec};
use crate::service::{Act, GroupAct, Place, Posted};

const MAX_USERS: u32 = 1000;
const MAX_MEMBERS: u32 = 1000;
const MAX_PAGE: u32 = 100;
const FREE: Quota = Quota { calls: None, units: None, per: Duration::from_secs(1) };
const KINDS: [ConversationKind; 4] =
    [ConversationKind::Direct, ConversationKind::Group, ConversationKind::Room, ConversationKind::System];

fn user(id: &VendorUserId) -> UserId {
    UserId::from(id.as_str())
}

fn group(id: &VendorGroupId) -> GroupId {
    GroupId::from(id.as_str())
}

/// Where a message goes: several places for a list of users.
fn places(target: &Target) -> Result<Vec<Place>> {
    let listed = |users: &[VendorUserId]| {
        let within = (1..=MAX_USERS as usize).contains(&users.len());
        if within {
            Ok(())
        } else {
            Err(Error::invalid("target", format!("{} users, not 1 to {MAX_USERS}", users.len())))
        }
    };
    Ok(match target {
        Target::Users(users) => {
            listed(users)?;
            users.iter().map(|id| Place::User(user(id))).collect()
        }
        Target::System(users) => {
            listed(users)?;
            users.iter().map(|id| Place::System(user(id))).collect()
        }
        Target::Group { channel: Some(_), .. } => return Err(Error::unsupported("channels of a group")),
        Target::Group { audience, .. } if !audience.is_empty() => {
            return Err(Error::unsupported("group messages for some members"));
        }
        Target::Group { group: id, .. } => vec![Place::Group(group(id))],
        Target::Room { room } => vec![Place::Room(group(room))],
    })
}

/// Nothing is written before an error: the same may be tried again.
fn again(error: Error) -> Error {
    let passing = matches!(error.kind(), ErrorKind::Storage | ErrorKind::StorageFull | ErrorKind::Closed);
    let error = error.with_operation("send");
    if passing { error.with_retry(Retry::Safe { after: None }) } else { error }
}

impl SelfHosted {
    fn acts(&self, message: &OutboundMessage) -> Result<Vec<(Option<VendorUserId>, Act)>> {
        let SendOptions { silent: _, online_only, sync_to_sender: _, read_receipt: _, push_text } = &message.options;
        if *online_only {
            return Err(Error::unsupported("messages for online users only"));
        }
        if push_text.is_some() {
            return Err(Error::unsupported("push texts: a push carries a hint and no content"));
        }
        let content = codec::content(message)?;
        let size = content.body.len() + content.ext.len() + content.sealed.len();
        let most = self.service.config().max_content_bytes;
        if size > most {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("body and ext take {size} bytes; {most} are admitted"),
            ));
        }
        let by = user(&message.from);
        let acts = places(&message.target)?.into_iter().map(|to| {
            let recipient = match &to {
                Place::User(user) | Place::System(user) => Some(VendorUserId::from(user.as_str())),
                Place::Group(_) | Place::Room(_) => None,
            };
            // The mark names the send: the same one made again finds the first.
            let client_id = message.mark.as_ref().map(|mark| format!("mark/{mark}/{}", to.conversation(&by).as_str()));
            let act = Act::Send {
                by: by.clone(),
                to,
                content: content.clone(),
                client_id,
                mark: message.mark.clone(),
                business: true,
            };
            (recipient, act)
        });
        Ok(acts.collect())
    }
}

#[async_trait]
impl Messaging for SelfHosted {
    fn limits(&self) -> MessagingLimits {
        let bodies = ["text", "image", "audio", "video", "file", "location", "command", "custom", "combined", "native"];
        MessagingLimits {
            bodies: bodies.to_vec(),
            targets: KINDS.to_vec(),
            max_users: MAX_USERS,
            max_system_users: MAX_USERS,
            max_bytes: u32::try_from(self.service.config().max_content_bytes).unwrap_or(u32::MAX),
            quotas: KINDS.iter().map(|kind| (*kind, FREE)).collect(),
            recall_window: None,
            echoes: true,
            receipts: true,
        }
    }

    fn check(&self, message: &OutboundMessage) -> Result<()> {
        self.acts(message).map(drop)
    }

    async fn send(&self, message: &OutboundMessage) -> Result<Vec<SentTo>> {
        let mut answers = Vec::new();
        for (recipient, act) in self.acts(message)? {
            answers.push((recipient, self.service.submit(act).await.map_err(again)?));
        }
        let (mut sent, mut refused) = (Vec::with_capacity(answers.len()), None);
        for (user, answer) in answers {
            match answer.wait().await {
                Ok(Posted { id, .. }) => {
                    sent.push(SentTo { user, id: Some(VendorMessageId::from(id.to_string())) });
                }
                Err(error) => refused = refused.or(Some(again(error))),
            }
        }
        // Whom it could not be sent to is not named; only when there is nobody else the send has failed.
        match refused {
            Some(error) if sent.is_empty() => Err(error),
            _ => Ok(sent),
        }
    }

    async fn recall(&self, recall: &RecallRequest) -> Result<()> {
        let missing = || Error::new(ErrorKind::NotFound, "no such message").with_operation("recall");
        let target = recall.id.as_str().parse().map_err(|_| missing())?;
        let act = Act::Recall { by: user(&recall.from), target, business: true };
        self.service.act(act).await.map(drop).map_err(|error| error.with_operation("recall"))
    }
}

#[async_trait]
impl Roaming for SelfHosted {
    fn limits(&self) -> RoamingLimits {
        RoamingLimits {
            max_page: MAX_PAGE,
            depth: None,
            max_span: None,
            own_sends_after: Some(Duration::ZERO),
            targets: KINDS.to_vec(),
            quota: FREE,
        }
    }

    async fn page(&self, query: &RoamingQuery) -> Result<RoamingPage> {
        let [place] = &places(&query.target)?[..] else {
            return Err(Error::invalid("target", "must name one user"));
        };
        let conversation = match place {
            // A notice stands in the conversation from its sender to the one who reads.
            Place::System(from) => ConversationId::system(from, &user(&query.viewer)),
            other => other.conversation(&user(&query.viewer)),
        };
        let after = match &query.cursor {
            None => Position::START,
            Some(text) => Position(text.parse().map_err(|_| Error::invalid("cursor", "is none of ours"))?),
        };
        let limit = query.limit.clamp(1, MAX_PAGE) as usize;
        let log = self.service.log();
        let mut lines = log.messages_between(&conversation, after, query.since, query.until, limit + 1).await?;
        let more = lines.len() > limit;
        lines.truncate(limit);
        let next = lines.last().filter(|_| more).map(|last| last.position.to_string());
        let items = lines.iter().map(|line| Ok(codec::event(codec::told(line)?, line.at))).collect::<Result<_>>()?;
        Ok(RoamingPage { items, next })
    }
}

#[async_trait]
impl Users for SelfHosted {
    fn limits(&self) -> UserLimits {
        UserLimits { kick: true, offline_count: true, max_ban: None, quota: FREE }
    }

    async fn ensure(&self, id: &VendorUserId, profile: &UserProfile) -> Result<()> {
        self.service.ensure(&user(id), profile).await
    }

    async fn login_token(&self, id: &VendorUserId, profile: &UserProfile) -> Result<LoginToken> {
        let user = user(id);
        self.service.ensure(&user, profile).await?;
        let (token, until) = self.service.token(&user).await?;
        Ok(LoginToken { token, expires_at: Some(until) })
    }

    async fn kick(&self, id: &VendorUserId) -> Result<()> {
        self.service.kick(&user(id));
        Ok(())
    }

    async fn ban(&self, id: &VendorUserId, duration: Option<Duration>) -> Result<()> {
        let until = duration.map_or(Timestamp(i64::MAX), |duration| self.service.clock().now() + duration);
        self.service.ban(&user(id), until).await
    }

    async fn unban(&self, id: &VendorUserId) -> Result<()> {
        self.service.unban(&user(id)).await
    }

    async fn presence(&self, users: &[VendorUserId]) -> Result<Vec<PresenceState>> {
        let online = |id: &VendorUserId| match self.service.routes().of(&user(id)).is_empty() {
            true => PresenceState::Offline,
            false => PresenceState::Online,
        };
        Ok(users.iter().map(online).collect())
    }

    async fn offline_count(&self, id: &VendorUserId) -> Result<u64> {
        self.service.waiting(&user(id)).await
    }
}

impl SelfHosted {
    async fn change(&self, there: &GroupRef, act: GroupAct) -> Result<()> {
        let act = Act::Group { by: None, id: group(&there.id), room: there.room, act };
        self.service.act(act).await.map(drop)
    }
}

fn few(users: &[VendorUserId]) -> Result<Vec<UserId>> {
    if users.len() > MAX_MEMBERS as usize {
        return Err(Error::invalid("users", format!("{} users, at most {MAX_MEMBERS}", users.len())));
    }
    Ok(users.iter().map(user).collect())
}

#[async_trait]
impl Groups for SelfHosted {
    fn limits(&self) -> GroupLimits {
        GroupLimits { business_ids: true, max_members_per_call: MAX_MEMBERS, quota: FREE }
    }

    async fn create(&self, new: &NewGroup) -> Result<VendorGroupId> {
        let NewGroup { id, room, name, owner, members } = new;
        let id = id.clone().ok_or_else(|| Error::invalid("id", "is missing: the business names groups here"))?;
        let members = members.iter().map(user).collect();
        let act = GroupAct::Create { name: name.clone(), owner: user(owner), members };
        self.change(&GroupRef { id: id.clone(), room: *room }, act).await?;
        Ok(id)
    }

    async fn add_members(&self, there: &GroupRef, users: &[VendorUserId]) -> Result<()> {
        self.change(there, GroupAct::Add(few(users)?)).await
    }

    async fn remove_members(&self, there: &GroupRef, users: &[VendorUserId]) -> Result<()> {
        self.change(there, GroupAct::Remove(few(users)?)).await
    }

    async fn members(&self, there: &GroupRef) -> Result<Vec<VendorUserId>> {
        let place = Place::group(&group(&there.id), there.room);
        let found = self.service.log().timeline_group(&place.conversation(&UserId::from(""))).await?;
        let found =
            found.filter(|group| !group.ended).ok_or_else(|| Error::new(ErrorKind::NotFound, "no such group"))?;
        Ok(found.members.iter().map(|member| VendorUserId::from(member.user.as_str())).collect())
    }

    async fn dissolve(&self, there: &GroupRef, _: &VendorUserId) -> Result<()> {
        match self.change(there, GroupAct::Dissolve).await {
            // Gone already: repeating it is harmless.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    async fn kind_of(&self, id: &VendorGroupId) -> Result<Option<ConversationKind>> {
        for room in [false, true] {
            let conversation = Place::group(&group(id), room).conversation(&UserId::from(""));
            if self.service.log().timeline_group(&conversation).await?.is_some_and(|group| !group.ended) {
                return Ok(Some(conversation.kind()));
            }
        }
        Ok(None)
    }
}
