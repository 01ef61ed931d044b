//! Groups and rooms with their members (SW/group_manage, group_member_*, chatroom_manage).

use std::collections::HashSet;

use async_trait::async_trait;
use switchboard_contract::{
    ConversationKind, Error, ErrorKind, GroupLimits, GroupRef, Groups, NewGroup, Result, VendorGroupId, VendorUserId,
};
use switchboard_outbound::{CallBody, Method, Replay, VendorCall, path_segment};

use super::read;
use crate::Huanxin;
use crate::error::{detail, is};
use crate::limits::{self, MAX_MEMBERS, MAX_PATH, group};
use crate::sign::json;
use crate::wire;

fn root(room: bool) -> &'static str {
    if room { "/chatrooms" } else { "/chatgroups" }
}

fn usernames(users: &[VendorUserId]) -> Result<CallBody> {
    json(&wire::Usernames { usernames: users.iter().map(VendorUserId::as_str).collect() })
}

impl Huanxin {
    fn group_call(&self, method: Method, operation: &'static str, group: &GroupRef, rest: &str) -> Result<VendorCall> {
        let id = path_segment(group.id.as_str())?;
        let path = self.path(&format!("{}/{id}{rest}", root(group.room)));
        Ok(VendorCall::new(method, operation, group::GROUPS, path, Replay::ReadOnly))
    }

    async fn add(&self, group: &GroupRef, users: &[VendorUserId]) -> Result<()> {
        let call = self.group_call(Method::POST, "add_members", group, "/users")?.with_body(usernames(users)?);
        self.outbound.call(call).await.map(drop)
    }

    async fn remove(&self, group: &GroupRef, users: &str) -> Result<()> {
        let call = self.group_call(Method::DELETE, "remove_members", group, &format!("/users/{users}"))?;
        self.outbound.call(call).await.map(drop)
    }

    async fn exists(&self, id: &VendorGroupId, room: bool) -> Result<bool> {
        let call = self.group_call(Method::GET, "kind_of", &GroupRef { id: id.clone(), room }, "")?;
        match self.outbound.call(call).await {
            Ok(reply) => {
                let answer: wire::DetailReply<'_> = read(&reply)?;
                Ok(answer.data.iter().any(|found| &*found.id == id.as_str()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn new_group(&self, new: &NewGroup, members: &[VendorUserId]) -> Result<CallBody> {
        let settings = &self.config.groups;
        let members = members.iter().map(VendorUserId::as_str).collect();
        if new.room {
            return json(&wire::NewRoomRequest {
                name: &new.name,
                description: &settings.description,
                maxusers: settings.max_room_users,
                owner: new.owner.as_str(),
                members,
                custom: settings.custom.as_deref(),
            });
        }
        json(&wire::NewGroupRequest {
            groupname: &new.name,
            description: &settings.description,
            public: false,
            maxusers: settings.max_users,
            allowinvites: false,
            membersonly: settings.members_only,
            // The business decides who is in; nobody is asked.
            invite_need_confirm: false,
            owner: new.owner.as_str(),
            members,
            custom: settings.custom.as_deref(),
        })
    }
}

#[async_trait]
impl Groups for Huanxin {
    fn limits(&self) -> GroupLimits {
        GroupLimits { business_ids: false, max_members_per_call: MAX_MEMBERS as u32, quota: limits::DEFAULT }
    }

    async fn create(&self, new: &NewGroup) -> Result<VendorGroupId> {
        if new.id.is_some() {
            return Err(Error::unsupported("group ids chosen by the business"));
        }
        if new.name.is_empty() {
            return Err(Error::invalid("name", "must not be empty"));
        }
        let others: Vec<_> = new.members.iter().filter(|member| **member != new.owner).cloned().collect();
        let (first, later) = others.split_at(others.len().min(MAX_MEMBERS));
        let (operation, group) =
            if new.room { ("create_room", group::ROOM_CREATE) } else { ("create_group", group::GROUPS) };
        let call = VendorCall::once(Method::POST, operation, group, self.path(root(new.room)))
            .with_body(self.new_group(new, first)?);
        let reply = self.outbound.call(call).await?;
        let created: wire::CreatedReply<'_> = read(&reply)?;
        let id = VendorGroupId::from(&*created.data.id);
        if !later.is_empty() {
            self.add_members(&GroupRef { id: id.clone(), room: new.room }, later).await?;
        }
        Ok(id)
    }

    async fn add_members(&self, group: &GroupRef, users: &[VendorUserId]) -> Result<()> {
        for page in users.chunks(MAX_MEMBERS) {
            match self.add(group, page).await {
                Ok(()) => {}
                // One member who is in already fails the whole call, so the others are added one by one.
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    for user in page.iter().filter(|_| page.len() > 1) {
                        match self.add(group, std::slice::from_ref(user)).await {
                            Err(error) if error.kind() != ErrorKind::Conflict => return Err(error),
                            _ => {}
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn remove_members(&self, group: &GroupRef, users: &[VendorUserId]) -> Result<()> {
        for page in pages(users)? {
            match self.remove(group, &page.join(",")).await {
                Ok(()) => {}
                // As above, for one who is not in.
                Err(error) if is(&error, detail::USERNAME) => {
                    for user in page.iter().filter(|_| page.len() > 1) {
                        match self.remove(group, user).await {
                            Err(error) if !is(&error, detail::USERNAME) => return Err(error),
                            _ => {}
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Pages are numbered, so the end is a page that says nothing new.
    async fn members(&self, group: &GroupRef) -> Result<Vec<VendorUserId>> {
        let (mut members, mut seen) = (Vec::new(), HashSet::new());
        for number in 1_u32.. {
            let call = self
                .group_call(Method::GET, "members", group, "/users")?
                .with_query("pagenum", number.to_string())
                .with_query("pagesize", self.config.groups.page_size.to_string());
            let reply = self.outbound.call(call).await?;
            let page: wire::MembersReply<'_> = read(&reply)?;
            let before = members.len();
            for entry in page.data {
                let member = VendorUserId::from(&*entry.member);
                if seen.insert(member.clone()) {
                    members.push(member);
                }
            }
            if members.len() == before {
                break;
            }
        }
        Ok(members)
    }

    async fn dissolve(&self, group: &GroupRef, _by: &VendorUserId) -> Result<()> {
        match self.outbound.call(self.group_call(Method::DELETE, "dissolve", group, "")?).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    async fn kind_of(&self, id: &VendorGroupId) -> Result<Option<ConversationKind>> {
        if self.exists(id, false).await? {
            return Ok(Some(ConversationKind::Group));
        }
        Ok(self.exists(id, true).await?.then_some(ConversationKind::Room))
    }
}

/// Escaped names in groups that fit into one call: its count, and the length of its address.
fn pages(users: &[VendorUserId]) -> Result<Vec<Vec<String>>> {
    let (mut pages, mut length) = (vec![Vec::new()], 0);
    for user in users {
        let name = path_segment(user.as_str())?;
        if pages.last().is_some_and(|page| page.len() == MAX_MEMBERS) || length + name.len() + 1 > MAX_PATH - 200 {
            pages.push(Vec::new());
            length = 0;
        }
        length += name.len() + 1;
        if let Some(page) = pages.last_mut() {
            page.push(name);
        }
    }
    pages.retain(|page| !page.is_empty());
    Ok(pages)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn removals_are_split_by_count_and_length() {
        let short: Vec<_> = (0..61).map(|n| VendorUserId::from(format!("u{n}"))).collect();
        assert_eq!(pages(&short).unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [60, 1]);
        let long: Vec<_> = (0..60).map(|n| VendorUserId::from(format!("{n:064}"))).collect();
        let pages = pages(&long).unwrap();
        assert_eq!(pages.iter().map(Vec::len).sum::<usize>(), 60);
        assert!(pages.iter().all(|page| page.join(",").len() <= MAX_PATH - 200), "fits the vendor's 4 KB");
    }
}
