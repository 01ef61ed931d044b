//! Groups and rooms with their members.

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use switchboard_contract::{
    ConversationKind, Error, ErrorKind, GroupLimits, GroupRef, Groups, NewGroup, Result, VendorGroupId, VendorUserId,
};
use switchboard_outbound::VendorReply;

use super::publish::check_id;
use crate::limits::{MAX_GROUP_NAME, MAX_MEMBERS, MAX_ROOM_MEMBERS, group};
use crate::provider::RongCloud;
use crate::wire::form::Form;
use crate::wire::replies::{MembersReply, RoomsReply};

fn read<T: DeserializeOwned>(reply: &VendorReply, operation: &'static str) -> Result<T> {
    serde_json::from_slice(&reply.body).map_err(|error| reply.undecodable(error).with_operation(operation))
}

impl RongCloud {
    async fn create_group(&self, id: &VendorGroupId, new: &NewGroup) -> Result<()> {
        if new.name.chars().count() > MAX_GROUP_NAME {
            return Err(Error::invalid("name", format_args!("at most {MAX_GROUP_NAME} characters are admitted")));
        }
        let mut members = vec![new.owner.clone()];
        members.extend(new.members.iter().filter(|member| **member != new.owner).cloned());
        members.iter().try_for_each(|member| check_id("members", member.as_str()))?;
        // The vendor has no owner of a group: everybody in it is a member. A name is wanted.
        let name = if new.name.is_empty() { id.as_str() } else { new.name.as_str() };
        let mut path = "/group/create.json";
        for some in members.chunks(MAX_MEMBERS) {
            let form = Form::new().pairs("userId", some).pair("groupId", id.as_str()).pair("groupName", name);
            self.post("create_group", group::GENERAL, path, form).await?;
            path = "/group/join.json";
        }
        Ok(())
    }

    async fn create_room(&self, id: &VendorGroupId, new: &NewGroup) -> Result<()> {
        if !new.members.is_empty() {
            return Err(Error::unsupported("putting users into a room: their clients enter it"));
        }
        let mut form = Form::new().pair("chatroomId", id.as_str());
        if let Some(end) = self.inner.config.rooms.ends {
            let (kind, minutes) = end.parts();
            form = form.pair("destroyType", kind.to_string()).pair("destroyTime", minutes.to_string());
        }
        self.post("create_room", group::GENERAL, "/chatroom/create_new.json", form).await.map(drop)
    }

    async fn each_thousand(
        &self,
        operation: &'static str,
        path: &'static str,
        id: &VendorGroupId,
        users: &[VendorUserId],
    ) -> Result<()> {
        check_id("group", id.as_str())?;
        users.iter().try_for_each(|user| check_id("users", user.as_str()))?;
        for some in users.chunks(MAX_MEMBERS) {
            let form = Form::new().pairs("userId", some).pair("groupId", id.as_str());
            self.post(operation, group::GENERAL, path, form).await?;
        }
        Ok(())
    }

    async fn group_members(&self, id: &VendorGroupId) -> Result<Vec<VendorUserId>> {
        let form = Form::new().pair("groupId", id.as_str());
        let reply = self.post("members", group::GENERAL, "/group/user/query.json", form).await?;
        let members: MembersReply = read(&reply, "members")?;
        Ok(members.users.into_iter().map(|member| VendorUserId::from(member.id)).collect())
    }

    async fn room_members(&self, id: &VendorGroupId) -> Result<Vec<VendorUserId>> {
        let form =
            Form::new().pair("chatroomId", id.as_str()).pair("count", MAX_ROOM_MEMBERS.to_string()).pair("order", "1");
        let reply = self.post("members", group::GENERAL, "/chatroom/user/query.json", form).await?;
        let members: MembersReply = read(&reply, "members")?;
        if members.total.is_some_and(|total| total > members.users.len() as u64) {
            return Err(Error::unsupported("listing a room with more than 500 members").with_operation("members"));
        }
        Ok(members.users.into_iter().map(|member| VendorUserId::from(member.id)).collect())
    }

    async fn room_exists(&self, id: &VendorGroupId) -> Result<bool> {
        let form = Form::new().pair("chatroomId", id.as_str());
        let reply = self.post("kind_of", group::GENERAL, "/chatroom/query.json", form).await?;
        let rooms: RoomsReply = read(&reply, "kind_of")?;
        Ok(rooms.rooms.iter().any(|room| room.id == id.as_str()))
    }
}

#[async_trait]
impl Groups for RongCloud {
    fn limits(&self) -> GroupLimits {
        GroupLimits {
            business_ids: true,
            max_members_per_call: MAX_MEMBERS as u32,
            quota: self.inner.config.quotas.general(),
        }
    }

    async fn create(&self, group: &NewGroup) -> Result<VendorGroupId> {
        let Some(id) = &group.id else {
            return Err(Error::invalid("id", "the business names groups and rooms at this vendor"));
        };
        check_id("id", id.as_str())?;
        if group.room {
            self.create_room(id, group).await?
        } else {
            self.create_group(id, group).await?
        }
        Ok(id.clone())
    }

    async fn add_members(&self, group: &GroupRef, users: &[VendorUserId]) -> Result<()> {
        if group.room {
            return Err(Error::unsupported("putting users into a room: their clients enter it"));
        }
        self.each_thousand("add_members", "/group/join.json", &group.id, users).await
    }

    async fn remove_members(&self, group: &GroupRef, users: &[VendorUserId]) -> Result<()> {
        if group.room {
            return Err(Error::unsupported("taking users out of a room without barring them"));
        }
        self.each_thousand("remove_members", "/group/quit.json", &group.id, users).await
    }

    async fn members(&self, group: &GroupRef) -> Result<Vec<VendorUserId>> {
        check_id("group", group.id.as_str())?;
        if group.room { self.room_members(&group.id).await } else { self.group_members(&group.id).await }
    }

    async fn dissolve(&self, group: &GroupRef, by: &VendorUserId) -> Result<()> {
        check_id("group", group.id.as_str())?;
        let (path, form) = if group.room {
            ("/chatroom/destroy.json", Form::new().pair("chatroomId", group.id.as_str()))
        } else {
            let form = Form::new().pair("userId", by.as_str()).pair("groupId", group.id.as_str());
            ("/group/dismiss.json", form)
        };
        self.post("dissolve", group::GENERAL, path, form).await.map(drop)
    }

    async fn kind_of(&self, id: &VendorGroupId) -> Result<Option<ConversationKind>> {
        check_id("id", id.as_str())?;
        let found = |result: Result<bool>| match result {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            other => other,
        };
        if found(self.room_exists(id).await)? {
            return Ok(Some(ConversationKind::Room));
        }
        let is_group = self.group_members(id).await.map(|members| !members.is_empty());
        Ok(found(is_group)?.then_some(ConversationKind::Group))
    }
}
