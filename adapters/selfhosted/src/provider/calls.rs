//! What the engine may ask: sending, history, users, groups. Checked here, answered by an office.

use std::time::Duration;

use async_trait::async_trait;
use switchboard_contract::{
    ConversationKind, Error, ErrorKind, GroupLimits, GroupRef, Groups, LoginToken, Messaging, MessagingLimits,
    NewGroup, OutboundMessage, PresenceState, Quota, RecallRequest, Result, Roaming, RoamingLimits, RoamingPage,
    RoamingQuery, SendOptions, SentTo, Target, UserLimits, UserProfile, Users, VendorGroupId, VendorMessageId,
    VendorUserId,
};

use super::clerk::MAX_PAGE;
use super::codec;
use super::desk::{Address, Answer, Call, Place};
use super::front::Front;
use crate::proto;

const MAX_USERS: u32 = 1000;
const MAX_MEMBERS: u32 = 1000;
const FREE: Quota = Quota { calls: None, units: None, per: Duration::from_secs(1) };
const KINDS: [ConversationKind; 4] =
    [ConversationKind::Direct, ConversationKind::Group, ConversationKind::Room, ConversationKind::System];

fn name(id: &VendorUserId) -> String {
    id.as_str().to_owned()
}

fn names(users: &[VendorUserId]) -> Vec<String> {
    users.iter().map(name).collect()
}

fn at(there: &GroupRef) -> Place {
    Place { id: there.id.as_str().to_owned(), room: there.room }
}

/// Another office's answer to this question cannot be.
fn unexpected() -> Error {
    Error::new(ErrorKind::Decode, "the service answered with something else")
}

/// Where a message goes: several places for a list of users.
fn addresses(target: &Target) -> Result<Vec<Address>> {
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
            users.iter().map(|id| Address::User(name(id))).collect()
        }
        Target::System(users) => {
            listed(users)?;
            users.iter().map(|id| Address::System(name(id))).collect()
        }
        Target::Group { channel: Some(_), .. } => return Err(Error::unsupported("channels of a group")),
        Target::Group { audience, .. } if !audience.is_empty() => {
            return Err(Error::unsupported("group messages for some members"));
        }
        Target::Group { group, .. } => vec![Address::Group(group.as_str().to_owned())],
        Target::Room { room } => vec![Address::Room(room.as_str().to_owned())],
    })
}

impl Front {
    fn letter(&self, message: &OutboundMessage) -> Result<(Vec<Address>, proto::Content)> {
        let SendOptions { silent: _, online_only, sync_to_sender: _, read_receipt: _, push_text } = &message.options;
        if *online_only {
            return Err(Error::unsupported("messages for online users only"));
        }
        if push_text.is_some() {
            return Err(Error::unsupported("push texts: a push carries a hint and no content"));
        }
        let content = codec::content(message)?;
        let size = content.body.len() + content.ext.len() + content.sealed.len();
        let most = self.max_content_bytes;
        if size > most {
            let text = format!("body and ext take {size} bytes; {most} are admitted");
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        Ok((addresses(&message.target)?, content))
    }

    async fn done(&self, call: Call) -> Result<()> {
        match self.office.call(call).await? {
            Answer::Done => Ok(()),
            _ => Err(unexpected()),
        }
    }
}

#[async_trait]
impl Messaging for Front {
    fn limits(&self) -> MessagingLimits {
        let bodies = ["text", "image", "audio", "video", "file", "location", "command", "custom", "combined", "native"];
        MessagingLimits {
            bodies: bodies.to_vec(),
            targets: KINDS.to_vec(),
            max_users: MAX_USERS,
            max_system_users: MAX_USERS,
            max_bytes: u32::try_from(self.max_content_bytes).unwrap_or(u32::MAX),
            quotas: KINDS.iter().map(|kind| (*kind, FREE)).collect(),
            recall_window: None,
            echoes: true,
            receipts: true,
        }
    }

    fn check(&self, message: &OutboundMessage) -> Result<()> {
        self.letter(message).map(drop)
    }

    async fn send(&self, message: &OutboundMessage) -> Result<Vec<SentTo>> {
        let (to, content) = self.letter(message)?;
        let call = Call::Send { from: name(&message.from), to, content, mark: message.mark.clone() };
        let Answer::Sent(sent) = self.office.call(call).await? else { return Err(unexpected()) };
        let each = sent
            .into_iter()
            .map(|one| SentTo { user: one.user.map(VendorUserId::from), id: Some(VendorMessageId::from(one.id)) });
        Ok(each.collect())
    }

    async fn recall(&self, recall: &RecallRequest) -> Result<()> {
        self.done(Call::Recall { from: name(&recall.from), id: recall.id.as_str().to_owned() }).await
    }
}

#[async_trait]
impl Roaming for Front {
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
        let Ok([of]) = <[_; 1]>::try_from(addresses(&query.target)?) else {
            return Err(Error::invalid("target", "must name one user"));
        };
        let after = match &query.cursor {
            None => 0,
            Some(text) => text.parse().map_err(|_| Error::invalid("cursor", "is none of ours"))?,
        };
        let RoamingQuery { viewer, since, until, limit, .. } = query;
        let (viewer, since, until, limit) = (name(viewer), *since, *until, *limit);
        let call = Call::Page { viewer, of, since, until, after, limit };
        let Answer::Page { items, next } = self.office.call(call).await? else { return Err(unexpected()) };
        let items = items.into_iter().map(|told| codec::event(told.event.into(), told.at)).collect();
        Ok(RoamingPage { items, next: next.map(|next| next.to_string()) })
    }
}

#[async_trait]
impl Users for Front {
    fn limits(&self) -> UserLimits {
        UserLimits { kick: true, offline_count: true, push: true, max_ban: None, quota: FREE }
    }

    async fn ensure(&self, id: &VendorUserId, profile: &UserProfile) -> Result<()> {
        self.done(Call::Ensure { user: name(id), profile: profile.clone() }).await
    }

    async fn login_token(&self, id: &VendorUserId, profile: &UserProfile) -> Result<LoginToken> {
        match self.office.call(Call::LoginToken { user: name(id), profile: profile.clone() }).await? {
            Answer::Token { token, expires_at } => Ok(LoginToken { token, expires_at: Some(expires_at) }),
            _ => Err(unexpected()),
        }
    }

    async fn kick(&self, id: &VendorUserId) -> Result<()> {
        self.done(Call::Kick { user: name(id) }).await
    }

    async fn ban(&self, id: &VendorUserId, duration: Option<Duration>) -> Result<()> {
        let for_ms = duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        self.done(Call::Ban { user: name(id), for_ms }).await
    }

    async fn unban(&self, id: &VendorUserId) -> Result<()> {
        self.done(Call::Unban { user: name(id) }).await
    }

    async fn presence(&self, users: &[VendorUserId]) -> Result<Vec<PresenceState>> {
        let Answer::Online(online) = self.office.call(Call::Presence { users: names(users) }).await? else {
            return Err(unexpected());
        };
        let state = |online| if online { PresenceState::Online } else { PresenceState::Offline };
        Ok(online.into_iter().map(state).collect())
    }

    async fn offline_count(&self, id: &VendorUserId) -> Result<u64> {
        match self.office.call(Call::OfflineCount { user: name(id) }).await? {
            Answer::Count(count) => Ok(count),
            _ => Err(unexpected()),
        }
    }

    async fn push(&self, id: &VendorUserId, topic: &str, data: &str) -> Result<u64> {
        let (topic, data) = (topic.to_owned(), data.to_owned());
        match self.office.call(Call::Push { user: name(id), topic, data }).await? {
            Answer::Count(devices) => Ok(devices),
            _ => Err(unexpected()),
        }
    }
}

fn few(users: &[VendorUserId]) -> Result<Vec<String>> {
    if users.len() > MAX_MEMBERS as usize {
        return Err(Error::invalid("users", format!("{} users, at most {MAX_MEMBERS}", users.len())));
    }
    Ok(names(users))
}

#[async_trait]
impl Groups for Front {
    fn limits(&self) -> GroupLimits {
        GroupLimits { business_ids: true, max_members_per_call: MAX_MEMBERS, quota: FREE }
    }

    async fn create(&self, new: &NewGroup) -> Result<VendorGroupId> {
        let NewGroup { id, room, name: title, owner, members } = new;
        let id = id.clone().ok_or_else(|| Error::invalid("id", "is missing: the business names groups here"))?;
        let place = Place { id: id.as_str().to_owned(), room: *room };
        let (title, owner, members) = (title.clone(), name(owner), names(members));
        self.done(Call::CreateGroup { place, name: title, owner, members }).await?;
        Ok(id)
    }

    async fn add_members(&self, there: &GroupRef, users: &[VendorUserId]) -> Result<()> {
        self.done(Call::AddMembers { place: at(there), users: few(users)? }).await
    }

    async fn remove_members(&self, there: &GroupRef, users: &[VendorUserId]) -> Result<()> {
        self.done(Call::RemoveMembers { place: at(there), users: few(users)? }).await
    }

    async fn members(&self, there: &GroupRef) -> Result<Vec<VendorUserId>> {
        match self.office.call(Call::Members { place: at(there) }).await? {
            Answer::Users(users) => Ok(users.into_iter().map(VendorUserId::from).collect()),
            _ => Err(unexpected()),
        }
    }

    async fn dissolve(&self, there: &GroupRef, _: &VendorUserId) -> Result<()> {
        self.done(Call::Dissolve { place: at(there) }).await
    }

    async fn kind_of(&self, id: &VendorGroupId) -> Result<Option<ConversationKind>> {
        match self.office.call(Call::KindOf { id: id.as_str().to_owned() }).await? {
            Answer::Kind(kind) => Ok(kind),
            _ => Err(unexpected()),
        }
    }
}
