//! Membership of groups and rooms, and the events its changes bring.

use serde_json::{Value, json};

use super::app::App;
use super::data::Data;
use super::error::ApiError;
use super::events::{ADMIN, GroupRef};
use super::model::{Group, Member};

/// What a create call says.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewGroup {
    pub(crate) room: bool,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) public: bool,
    pub(crate) max_users: u64,
    pub(crate) allow_invites: bool,
    pub(crate) members_only: bool,
    pub(crate) invite_need_confirm: bool,
    pub(crate) custom: String,
    pub(crate) avatar: String,
    pub(crate) owner: String,
    pub(crate) members: Vec<String>,
}

impl App {
    /// Creates a group or room and reports it. Owner and members must be registered.
    pub(crate) fn create_group(&self, new: NewGroup, operator: &str) -> Result<String, ApiError> {
        let now_ms = self.now_ms();
        let (reference, payload) = {
            let mut data = self.data.lock();
            let mut people = vec![new.owner.clone()];
            people.extend(new.members.iter().filter(|member| **member != new.owner).cloned());
            people.dedup();
            if let Some(unknown) = people.iter().find(|person| !data.users.contains_key(*person)) {
                return Err(ApiError::no_member(unknown));
            }
            if people.len() as u64 > new.max_users {
                return Err(ApiError::new(403, "exceed_limit", "members size is greater than max user size !"));
            }
            let group = new.into_group(data.next_group_id(), people, now_ms);
            let payload = create_payload(&self.app_key, &group);
            let reference = GroupRef::from(&group);
            data.groups.insert(group.id.clone(), group);
            (reference, payload)
        };
        self.emit_group(&reference, "CREATE", operator, payload);
        Ok(reference.id)
    }

    /// Adds people and reports it. `how`: DIRECT, INVITE or APPLY.
    pub(crate) fn join(&self, id: &str, people: &[String], how: &str, operator: &str) -> Result<(), ApiError> {
        let now_ms = self.now_ms();
        let reference = {
            let mut data = self.data.lock();
            if let Some(unknown) = people.iter().find(|person| !data.users.contains_key(*person)) {
                return Err(ApiError::no_member(unknown));
            }
            let group = data.group_mut(id)?;
            let newcomers: Vec<&String> = people.iter().filter(|person| !group.has(person)).collect();
            match (newcomers.is_empty(), people.first()) {
                (true, Some(person)) => {
                    let text = format!("can not join this group, reason:user: {person} already in group: {id}\n");
                    return Err(ApiError::forbidden(text));
                }
                (true, None) => return Err(ApiError::parameter("usernames can't be empty")),
                _ => {}
            }
            if group.members.len() + newcomers.len() > usize::try_from(group.max_users).unwrap_or(usize::MAX) {
                return Err(ApiError::new(403, "exceed_limit", format!("this group {id} has reached its limit")));
            }
            for person in newcomers {
                group.members.push(Member { user: person.clone(), joined_ms: now_ms });
            }
            group.modified_ms = now_ms;
            GroupRef::from(&*group)
        };
        self.emit_group(&reference, "JOIN", operator, json!({ "member": people, "type": how }));
        Ok(())
    }

    /// Takes people out and reports it. `how`: QUIT, KICK, BLOCK or DELETE.
    pub(crate) fn leave(&self, id: &str, people: &[String], how: &str, operator: &str) -> Result<(), ApiError> {
        let reference = {
            let mut data = self.data.lock();
            let group = data.group_mut(id)?;
            if let Some(stranger) = people.iter().find(|person| !group.has(person)) {
                let text = format!("users [{stranger}] are not members of this group!");
                return Err(ApiError::forbidden(text));
            }
            if people.contains(&group.owner) && how != "DELETE" {
                return Err(ApiError::forbidden("forbidden operation on group owner!"));
            }
            group.remove(people);
            GroupRef::from(&*group)
        };
        self.emit_group(&reference, "LEAVE", operator, json!({ "member": people, "type": how }));
        Ok(())
    }

    /// Dissolves a group or room and reports it.
    pub(crate) fn dissolve(&self, id: &str, operator: &str) -> Result<(), ApiError> {
        let group = self.data.lock().groups.remove(id).ok_or_else(|| ApiError::no_group(id))?;
        self.emit_group(&GroupRef::from(&group), "DELETE", operator, Value::Null);
        Ok(())
    }

    /// Changes a group and reports the change.
    pub(crate) fn change_group<T>(
        &self,
        id: &str,
        operation: &'static str,
        payload: Value,
        change: impl FnOnce(&mut Group) -> T,
    ) -> Result<T, ApiError> {
        let now_ms = self.now_ms();
        let (reference, result) = {
            let mut data = self.data.lock();
            let group = data.group_mut(id)?;
            let result = change(group);
            group.modified_ms = now_ms;
            (GroupRef::from(&*group), result)
        };
        self.emit_group(&reference, operation, ADMIN, payload);
        Ok(result)
    }

    /// Reads a group.
    pub(crate) fn with_group<T>(&self, id: &str, read: impl FnOnce(&Group) -> T) -> Result<T, ApiError> {
        let data = self.data.lock();
        data.groups.get(id).map(read).ok_or_else(|| ApiError::no_group(id))
    }

    /// A deleted user's groups go with him; elsewhere he is no longer a member.
    pub(crate) fn forget_member(&self, user: &str) {
        let (owned, joined): (Vec<String>, Vec<String>) = {
            let data = self.data.lock();
            let of = |owner: bool| {
                data.groups
                    .values()
                    .filter(move |group| (group.owner == user) == owner && group.has(user))
                    .map(|group| group.id.clone())
                    .collect()
            };
            (of(true), of(false))
        };
        for id in owned {
            // Gone already is what was wanted.
            let _ = self.dissolve(&id, ADMIN);
        }
        for id in joined {
            let _ = self.leave(&id, &[user.to_owned()], "DELETE", ADMIN);
        }
    }
}

impl Data {
    pub(crate) fn group_mut(&mut self, id: &str) -> Result<&mut Group, ApiError> {
        self.groups.get_mut(id).ok_or_else(|| ApiError::no_group(id))
    }
}

impl Group {
    pub(crate) fn remove(&mut self, people: &[String]) {
        self.members.retain(|member| !people.contains(&member.user));
        self.admins.retain(|admin| !people.contains(admin));
        self.white.retain(|user| !people.contains(user));
        self.mutes.retain(|user, _| !people.contains(user));
    }

    /// The entity of the detail call.
    pub(crate) fn detail(&self) -> Value {
        // Members first, the owner last, as the sample lists them.
        let (owner, members): (Vec<&Member>, Vec<&Member>) =
            self.members.iter().partition(|member| member.user == self.owner);
        let affiliations: Vec<Value> =
            members.into_iter().chain(owner).map(|member| self.role_of(member, false)).collect();
        json!({
            "id": self.id, "name": self.name, "description": self.description,
            "membersonly": self.members_only, "allowinvites": self.allow_invites,
            "invite_need_confirm": self.invite_need_confirm, "maxusers": self.max_users, "owner": self.owner,
            "created": self.created_ms, "custom": self.custom, "mute": self.mute_all,
            "affiliations_count": self.members.len(), "disabled": self.disabled, "affiliations": affiliations,
            "public": self.public, "avatar": self.avatar,
        })
    }

    /// `{owner}`, `{admin}` or `{member}`; the details name admins as members.
    pub(crate) fn role_of(&self, member: &Member, admins: bool) -> Value {
        let role = match () {
            () if member.user == self.owner => "owner",
            () if admins && self.admins.contains(&member.user) => "admin",
            () => "member",
        };
        json!({ role: member.user })
    }

    /// The entity of "joined by user".
    pub(crate) fn brief(&self) -> Value {
        json!({
            "id": self.id, "groupId": self.id, "name": self.name, "owner": self.owner,
            "description": self.description, "disabled": self.disabled, "public": self.public,
            "allowinvites": self.allow_invites, "membersonly": self.members_only, "maxusers": self.max_users,
            "created": self.created_ms,
        })
    }
}

impl NewGroup {
    fn into_group(self, id: String, people: Vec<String>, now_ms: i64) -> Group {
        let member = |user| Member { user, joined_ms: now_ms };
        Group {
            id,
            room: self.room,
            name: self.name,
            description: self.description,
            public: self.public,
            max_users: self.max_users,
            allow_invites: self.allow_invites,
            members_only: self.members_only,
            invite_need_confirm: self.invite_need_confirm,
            custom: self.custom,
            avatar: self.avatar,
            owner: self.owner,
            admins: Vec::new(),
            members: people.into_iter().map(member).collect(),
            mutes: std::collections::BTreeMap::new(),
            mute_all: false,
            disabled: false,
            blocked: Vec::new(),
            white: Vec::new(),
            announcement: String::new(),
            files: Vec::new(),
            attributes: std::collections::BTreeMap::new(),
            created_ms: now_ms,
            modified_ms: now_ms,
        }
    }
}

/// The vendor writes the numbers and flags of this payload as text.
fn create_payload(app_key: &str, group: &Group) -> Value {
    let members: Vec<&String> =
        group.members.iter().map(|member| &member.user).filter(|user| **user != group.owner).collect();
    json!({
        "role": { &group.owner: "owner" },
        "member": members,
        "info": {
            "owner": format!("{app_key}_{}", group.owner), "created": group.created_ms.to_string(),
            "custom": group.custom, "description": group.description, "mute": group.mute_all.to_string(),
            "title": group.name, "max_users": group.max_users.to_string(),
            "invite_need_confirm": group.invite_need_confirm.to_string(), "public": group.public.to_string(),
            "allow_user_invites": group.allow_invites.to_string(), "disabled": group.disabled.to_string(),
            "last_modified": group.modified_ms.to_string(),
        },
    })
}
