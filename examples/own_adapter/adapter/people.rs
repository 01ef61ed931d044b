//! Users with their logins, groups and rooms with their members.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use switchboard_contract::{
    ConversationKind, Error, ErrorKind, GroupLimits, GroupRef, Groups, LoginToken, NewGroup, PresenceState, Quota,
    Result, Timestamp, UserLimits, UserProfile, Users, VendorGroupId, VendorUserId,
};

use super::Pigeon;
use super::error::read;
use super::wire::{Members, Online, PlaceKind, PlaceWord, UserToken};

const MAX_MEMBERS: u32 = 100;
const PER_SECOND: Quota = Quota { calls: Some(20), units: None, per: Duration::from_secs(1) };

/// What is not given leaves what the vendor has.
fn card(user: &VendorUserId, profile: &UserProfile) -> Value {
    json!({ "user": user, "name": profile.name, "avatar": profile.avatar })
}

#[async_trait]
impl Users for Pigeon {
    fn limits(&self) -> UserLimits {
        UserLimits { kick: true, offline_count: false, push: false, max_ban: None, quota: PER_SECOND }
    }

    async fn ensure(&self, user: &VendorUserId, profile: &UserProfile) -> Result<()> {
        self.call("ensure", "users/put", card(user, profile)).await.map(drop)
    }

    async fn login_token(&self, user: &VendorUserId, profile: &UserProfile) -> Result<LoginToken> {
        let reply = self.call("login_token", "users/token", card(user, profile)).await?;
        let UserToken { token, expires_at } = read(&reply)?;
        Ok(LoginToken { token, expires_at: Some(Timestamp(expires_at)) })
    }

    async fn kick(&self, user: &VendorUserId) -> Result<()> {
        self.call("kick", "users/kick", json!({ "user": user })).await.map(drop)
    }

    async fn ban(&self, user: &VendorUserId, duration: Option<Duration>) -> Result<()> {
        if duration.is_some() {
            return Err(Error::unsupported("bans that end by themselves").with_operation("ban"));
        }
        self.call("ban", "users/ban", json!({ "user": user })).await.map(drop)
    }

    async fn unban(&self, user: &VendorUserId) -> Result<()> {
        self.call("unban", "users/unban", json!({ "user": user })).await.map(drop)
    }

    async fn presence(&self, users: &[VendorUserId]) -> Result<Vec<PresenceState>> {
        let reply = self.call("presence", "users/presence", json!({ "users": users })).await?;
        let Online { online } = read(&reply)?;
        let state = |online| if online { PresenceState::Online } else { PresenceState::Offline };
        Ok(online.into_iter().map(state).collect())
    }

    async fn offline_count(&self, _: &VendorUserId) -> Result<u64> {
        Err(Error::unsupported("counts of waiting messages").with_operation("offline_count"))
    }
}

impl Pigeon {
    async fn change(
        &self,
        operation: &'static str,
        path: &'static str,
        group: &GroupRef,
        users: &[VendorUserId],
    ) -> Result<()> {
        if users.len() > MAX_MEMBERS as usize {
            return Err(Error::invalid("users", format!("{} users, at most {MAX_MEMBERS}", users.len())));
        }
        self.call(operation, path, json!({ "id": group.id, "square": group.room, "users": users })).await.map(drop)
    }
}

#[async_trait]
impl Groups for Pigeon {
    fn limits(&self) -> GroupLimits {
        GroupLimits { business_ids: true, max_members_per_call: MAX_MEMBERS, quota: PER_SECOND }
    }

    async fn create(&self, group: &NewGroup) -> Result<VendorGroupId> {
        let NewGroup { id, room, name, owner, members } = group;
        let id = id.clone().ok_or_else(|| Error::invalid("id", "is missing: the business names groups here"))?;
        let body = json!({ "id": id, "square": room, "name": name, "owner": owner, "members": members });
        self.call("create", "places/put", body).await?;
        Ok(id)
    }

    async fn add_members(&self, group: &GroupRef, users: &[VendorUserId]) -> Result<()> {
        self.change("add_members", "places/join", group, users).await
    }

    async fn remove_members(&self, group: &GroupRef, users: &[VendorUserId]) -> Result<()> {
        self.change("remove_members", "places/leave", group, users).await
    }

    async fn members(&self, group: &GroupRef) -> Result<Vec<VendorUserId>> {
        let reply = self.call("members", "places/members", json!({ "id": group.id, "square": group.room })).await?;
        let Members { members } = read(&reply)?;
        Ok(members.into_iter().map(VendorUserId::from).collect())
    }

    async fn dissolve(&self, group: &GroupRef, by: &VendorUserId) -> Result<()> {
        let body = json!({ "id": group.id, "square": group.room, "by": by });
        match self.call("dissolve", "places/close", body).await {
            // Gone already: repeating it is harmless.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            done => done.map(drop),
        }
    }

    async fn kind_of(&self, id: &VendorGroupId) -> Result<Option<ConversationKind>> {
        let reply = self.call("kind_of", "places/kind", json!({ "id": id })).await?;
        let PlaceKind { kind } = read(&reply)?;
        Ok(kind.map(|word| match word {
            PlaceWord::Flock => ConversationKind::Group,
            PlaceWord::Square => ConversationKind::Room,
        }))
    }
}
