//! What is done to groups: by members within their roles, by the business without bounds.

use std::sync::Arc;

use switchboard_contract::storage::{LineChange, LineKind, MemberRole, NewLine, Spread};
use switchboard_contract::{ConversationId, Error, ErrorKind, Result, Timestamp, UserId};

use super::{After, Prepared, Preparer};
use crate::proto::{self, entry::Event};
use crate::service::acts::{GroupAct, Place};
use crate::service::groups::Group;

/// What a change comes to.
struct Change {
    word: &'static str,
    users: Vec<UserId>,
    value: String,
    changes: Vec<LineChange>,
    /// Who hears of it: everybody who is or was in it.
    audience: Arc<[UserId]>,
}

impl Preparer {
    pub(super) async fn group(&mut self, by: Option<UserId>, place: Place, act: GroupAct) -> Result<Prepared> {
        let missing = || Error::new(ErrorKind::NotFound, "no such group");
        // Without a user it is the business that acts, in the name of the owner.
        let nobody = UserId::from("");
        let conversation = place.conversation(by.as_ref().unwrap_or(&nobody));
        let (max, bound) = (self.config.max_members, self.config.write_diffusion_up_to);
        let now = self.clock.now();
        if let GroupAct::Create { name, owner, members } = act {
            return self.create(conversation, name, owner, members).await;
        }
        if let GroupAct::Add(users) = &act {
            for user in users {
                self.must_exist(user).await?;
            }
        }
        let known = self.groups.load(&*self.log, &conversation).await?.ok_or_else(missing)?;
        if known.ended {
            return Err(missing());
        }
        // Changed aside first: a refusal leaves nothing behind.
        let mut group = known.clone();
        let change = apply(&mut group, by.as_ref(), act, now, max)?;
        let Some(Change { word, users, value, changes, audience }) = change else {
            return Ok(unchanged(&conversation));
        };
        let owner = group.owner.clone();
        *known = group;
        let event = Event::Group(proto::GroupChange {
            change: word.to_owned(),
            users: users.iter().map(|user| user.as_str().to_owned()).collect(),
            value,
        });
        let line = self.line(Some(conversation), LineKind::Group, by.as_ref().unwrap_or(&owner), event);
        let spread = if audience.len() <= bound { Spread::Users(audience.clone()) } else { Spread::Members };
        let line = NewLine { spread, changes, ..line };
        Ok(Prepared { line: Some(line), audience: Some(audience), after: After::Nothing, version: 0, done: None })
    }

    /// Repeating it is harmless for the owner; a group that is over can be made anew.
    async fn create(
        &mut self,
        conversation: ConversationId,
        name: String,
        owner: UserId,
        members: Vec<UserId>,
    ) -> Result<Prepared> {
        if members.len() >= self.config.max_members {
            return Err(Error::invalid("members", format!("at most {} are admitted", self.config.max_members)));
        }
        for user in members.iter().chain([&owner]) {
            self.must_exist(user).await?;
        }
        if let Some(known) = self.groups.load(&*self.log, &conversation).await?
            && !known.ended
        {
            let same = known.owner == owner;
            let taken = || Error::new(ErrorKind::Conflict, "another group has this id");
            return if same { Ok(unchanged(&conversation)) } else { Err(taken()) };
        }
        let mut group = Group::new(name.clone(), owner.clone());
        let mut changes = vec![group.traits(), group.put(&owner, MemberRole::Owner, None)];
        for user in members.iter().filter(|user| **user != owner) {
            changes.push(group.put(user, MemberRole::Member, None));
        }
        let audience = group.everybody();
        let event = Event::Group(proto::GroupChange {
            change: "created".to_owned(),
            users: audience.iter().map(|user| user.as_str().to_owned()).collect(),
            value: name,
        });
        let line = self.line(Some(conversation.clone()), LineKind::Group, &owner, event);
        let rows = audience.len() <= self.config.write_diffusion_up_to;
        let spread = if rows { Spread::Users(audience.clone()) } else { Spread::Members };
        self.groups.insert(conversation, group);
        let line = NewLine { spread, changes, ..line };
        Ok(Prepared { line: Some(line), audience: Some(audience), after: After::Nothing, version: 0, done: None })
    }
}

fn unchanged(conversation: &ConversationId) -> Prepared {
    let done = super::Posted {
        id: super::MessageId::from_bytes([0; 16]),
        conversation: Some(conversation.clone()),
        position: super::Position::START,
        sequence: None,
        at: Timestamp(0),
        repeated: true,
        version: 0,
    };
    Prepared { line: None, audience: None, after: After::Nothing, version: 0, done: Some(done) }
}

/// Changes the group; `None` when it is that way already.
fn apply(group: &mut Group, by: Option<&UserId>, act: GroupAct, now: Timestamp, max: usize) -> Result<Option<Change>> {
    let before = group.everybody();
    let (word, users, value, changes) = match act {
        GroupAct::Create { .. } => return Ok(None),
        GroupAct::Add(users) => {
            group.demand(by, MemberRole::Admin)?;
            let fresh: Vec<_> = distinct(users).filter(|user| group.member(user).is_none()).collect();
            if group.len() + fresh.len() > max {
                return Err(Error::new(ErrorKind::Forbidden, format!("a group has at most {max} members")));
            }
            let changes = fresh.iter().map(|user| group.put(user, MemberRole::Member, None)).collect();
            ("joined", fresh, String::new(), changes)
        }
        GroupAct::Remove(users) => {
            group.demand(by, MemberRole::Admin)?;
            let gone: Vec<_> = distinct(users).filter(|user| group.member(user).is_some()).collect();
            for user in &gone {
                outranks(group, by, user)?;
            }
            let changes = gone.iter().map(|user| group.remove(user)).collect();
            ("removed", gone, String::new(), changes)
        }
        GroupAct::Leave => {
            let user = by.ok_or_else(|| Error::invalid("by", "is missing"))?.clone();
            group.demand(by, MemberRole::Member)?;
            if user == group.owner {
                return Err(Error::new(ErrorKind::Forbidden, "the owner cannot leave, only dissolve"));
            }
            let changes = vec![group.remove(&user)];
            ("left", vec![user], String::new(), changes)
        }
        GroupAct::SetRole(users, role) => {
            group.demand(by, MemberRole::Owner)?;
            if role == MemberRole::Owner {
                return Err(Error::invalid("role", "a group has one owner"));
            }
            let users: Vec<_> = members(group, users)?;
            let word = if role == MemberRole::Admin { "admin" } else { "member" };
            let mut changes = Vec::new();
            let owner = group.owner.clone();
            for user in users.iter().filter(|user| **user != owner) {
                let muted = group.member(user).and_then(|member| member.muted_until);
                changes.push(group.put(user, role, muted));
            }
            ("role", users, word.to_owned(), changes)
        }
        GroupAct::Mute(users, until) => {
            group.demand(by, MemberRole::Admin)?;
            let users: Vec<_> = members(group, users)?;
            let mut changes = Vec::new();
            for user in &users {
                outranks(group, by, user)?;
                let role = group.member(user).map(|member| member.role).unwrap_or_default();
                changes.push(group.put(user, role, until.filter(|until| *until > now)));
            }
            let word = if until.is_some() { "muted" } else { "unmuted" };
            (word, users, until.map(|until| until.0.to_string()).unwrap_or_default(), changes)
        }
        GroupAct::MuteAll(muted) => {
            group.demand(by, MemberRole::Admin)?;
            group.muted = muted;
            (if muted { "muted_all" } else { "unmuted_all" }, Vec::new(), String::new(), vec![group.traits()])
        }
        GroupAct::Rename(name) => {
            group.demand(by, MemberRole::Admin)?;
            group.name.clone_from(&name);
            ("renamed", Vec::new(), name, vec![group.traits()])
        }
        GroupAct::Dissolve => {
            group.demand(by, MemberRole::Owner)?;
            group.ended = true;
            let mut changes = vec![group.traits()];
            changes.extend(before.iter().map(|user| group.remove(user)));
            ("dissolved", Vec::new(), String::new(), changes)
        }
    };
    if changes.is_empty() {
        return Ok(None);
    }
    let mut audience = before.to_vec();
    audience.extend(users.iter().filter(|user| !before.contains(user)).cloned());
    Ok(Some(Change { word, users, value, changes, audience: audience.into() }))
}

fn distinct(users: Vec<UserId>) -> impl Iterator<Item = UserId> {
    let mut seen = std::collections::HashSet::new();
    users.into_iter().filter(move |user| seen.insert(user.clone()))
}

fn members(group: &Group, users: Vec<UserId>) -> Result<Vec<UserId>> {
    let users: Vec<_> = distinct(users).collect();
    if users.is_empty() || users.iter().any(|user| group.member(user).is_none()) {
        return Err(Error::new(ErrorKind::NotFound, "not a member of the group"));
    }
    Ok(users)
}

/// Nobody acts on those who rank as high as themselves, and nobody at all on the owner.
fn outranks(group: &Group, by: Option<&UserId>, user: &UserId) -> Result<()> {
    let rank = |user: &UserId| group.member(user).map(|member| member.role).unwrap_or_default();
    let allowed = match by {
        None => *user != group.owner,
        Some(by) => rank(by) > rank(user),
    };
    if allowed { Ok(()) } else { Err(Error::new(ErrorKind::Forbidden, "the role does not allow it")) }
}
