//! The business's own users and groups, so that they can be made at any vendor on first use.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ids::{GroupId, TenantId, UserId};
use crate::provider::UserProfile;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    /// Who.
    pub id: UserId,
    /// What vendors may show.
    #[serde(default)]
    pub profile: UserProfile,
}

/// A group or room.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GroupRecord {
    /// Which.
    pub id: GroupId,
    /// It is a room.
    #[serde(default)]
    pub room: bool,
    /// The display name.
    pub name: String,
    /// The owner; also a member.
    pub owner: UserId,
    /// Everybody in it, the owner included.
    #[serde(default)]
    pub members: Vec<UserId>,
}

/// What the business told of its users and groups.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Writes a user.
    ///
    /// # Errors
    /// `Storage`.
    async fn put_user(&self, tenant: &TenantId, user: &UserRecord) -> Result<()>;

    /// Reads a user.
    ///
    /// # Errors
    /// `Storage`.
    async fn user(&self, tenant: &TenantId, id: &UserId) -> Result<Option<UserRecord>>;

    /// Writes a group with all its members.
    ///
    /// # Errors
    /// `Storage`.
    async fn put_group(&self, tenant: &TenantId, group: &GroupRecord) -> Result<()>;

    /// Reads a group.
    ///
    /// # Errors
    /// `Storage`.
    async fn group(&self, tenant: &TenantId, id: &GroupId, room: bool) -> Result<Option<GroupRecord>>;

    /// Groups and rooms of a tenant after `after`, in order of id, at most `limit`.
    ///
    /// # Errors
    /// `Storage`.
    async fn groups(&self, tenant: &TenantId, after: Option<&GroupId>, limit: usize) -> Result<Vec<GroupRecord>>;

    /// Adds and removes members.
    ///
    /// # Errors
    /// `Storage`; `NotFound` for an unknown group.
    async fn change_members(
        &self,
        tenant: &TenantId,
        id: &GroupId,
        room: bool,
        add: &[UserId],
        remove: &[UserId],
    ) -> Result<()>;

    /// Removes a group. Returns whether there was one.
    ///
    /// # Errors
    /// `Storage`.
    async fn remove_group(&self, tenant: &TenantId, id: &GroupId, room: bool) -> Result<bool>;
}
