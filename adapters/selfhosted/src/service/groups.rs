//! Groups as the writer sees them: in memory while they are in use, changed in the order in which lines are written.

use std::collections::HashMap;
use std::sync::Arc;

use switchboard_contract::storage::{LineChange, MemberRole, TimelineGroup, Timelines};
use switchboard_contract::{ConversationId, Error, ErrorKind, Result, Timestamp, UserId};

/// Groups remembered; beyond that all are forgotten and read again.
const REMEMBERED: usize = 4096;

/// One group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) owner: UserId,
    pub(super) muted: bool,
    pub(super) ended: bool,
    members: HashMap<UserId, Member>,
    /// The same as a list to be shared; made again when somebody comes or goes.
    all: Arc<[UserId]>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) role: MemberRole,
    pub(super) muted_until: Option<Timestamp>,
}

impl Group {
    pub(super) fn new(name: String, owner: UserId) -> Self {
        Self { name, owner, muted: false, ended: false, members: HashMap::new(), all: Arc::new([]) }
    }

    fn restored(group: TimelineGroup) -> Self {
        let TimelineGroup { name, owner, muted, ended, members } = group;
        let mut all = Vec::with_capacity(members.len());
        let mut known = HashMap::with_capacity(members.len());
        for member in members {
            all.push(member.user.clone());
            known.insert(member.user, Member { role: member.role, muted_until: member.muted_until });
        }
        Self { name, owner, muted, ended, members: known, all: all.into() }
    }

    pub(super) fn member(&self, user: &UserId) -> Option<Member> {
        self.members.get(user).copied()
    }

    pub(super) fn everybody(&self) -> Arc<[UserId]> {
        self.all.clone()
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Adds somebody or gives them another role. Returns the change to be stored.
    pub(super) fn put(&mut self, user: &UserId, role: MemberRole, muted_until: Option<Timestamp>) -> LineChange {
        if self.members.insert(user.clone(), Member { role, muted_until }).is_none() {
            self.all = self.all.iter().chain([user]).cloned().collect();
        }
        LineChange::Member { user: user.clone(), role, muted_until }
    }

    pub(super) fn remove(&mut self, user: &UserId) -> LineChange {
        self.members.remove(user);
        self.all = self.all.iter().filter(|other| *other != user).cloned().collect();
        LineChange::Leave { user: user.clone() }
    }

    pub(super) fn traits(&self) -> LineChange {
        let Self { name, owner, muted, ended, .. } = self;
        LineChange::Group { name: name.clone(), owner: owner.clone(), muted: *muted, ended: *ended }
    }

    /// Whether `user` may do what takes this role.
    pub(super) fn demand(&self, user: Option<&UserId>, role: MemberRole) -> Result<()> {
        let Some(user) = user else { return Ok(()) };
        match self.member(user) {
            None => Err(Error::new(ErrorKind::Forbidden, "not a member of the group")),
            Some(member) if member.role >= role => Ok(()),
            Some(_) => Err(Error::new(ErrorKind::Forbidden, "the role does not allow it")),
        }
    }

    /// Whether `user` may speak now.
    pub(super) fn may_speak(&self, user: &UserId, now: Timestamp) -> Result<()> {
        let refused = |why: &str| Err(Error::new(ErrorKind::Forbidden, why));
        match self.member(user) {
            None => refused("not a member of the group"),
            Some(member) if member.muted_until.is_some_and(|until| until > now) => refused("muted in the group"),
            Some(member) if self.muted && member.role == MemberRole::Member => refused("everybody is muted"),
            Some(_) => Ok(()),
        }
    }
}

/// Groups in use.
#[derive(Debug, Default)]
pub(super) struct Groups(HashMap<ConversationId, Group>);

impl Groups {
    /// The group, whether it is over or not.
    pub(super) async fn load(&mut self, log: &dyn Timelines, id: &ConversationId) -> Result<Option<&mut Group>> {
        if !self.0.contains_key(id) {
            let Some(group) = log.timeline_group(id).await? else { return Ok(None) };
            if self.0.len() >= REMEMBERED {
                self.0.clear();
            }
            self.0.insert(id.clone(), Group::restored(group));
        }
        Ok(self.0.get_mut(id))
    }

    pub(super) fn insert(&mut self, id: ConversationId, group: Group) {
        self.0.insert(id, group);
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}
