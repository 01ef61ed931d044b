//! Users and groups at a vendor.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use super::quota::{Quota, optional_seconds};
use crate::conversation::ConversationKind;
use crate::error::{Error, Result};
use crate::event::PresenceState;
use crate::ids::{VendorGroupId, VendorUserId};
use crate::time::Timestamp;

/// Users and their logins.
#[async_trait]
pub trait Users: fmt::Debug + Send + Sync {
    /// What the vendor admits.
    fn limits(&self) -> UserLimits;

    /// Makes sure the user exists. Repeating it is harmless.
    ///
    /// # Errors
    /// `Forbidden` when the account's user limit is reached.
    async fn ensure(&self, user: &VendorUserId, profile: &UserProfile) -> Result<()>;

    /// A token with which the user's client logs in to the vendor. Makes the user when needed.
    ///
    /// # Errors
    /// As [`ensure`](Self::ensure); `Forbidden` for a banned user.
    async fn login_token(&self, user: &VendorUserId, profile: &UserProfile) -> Result<LoginToken>;

    /// Forces the user off every device. Repeating it is harmless.
    ///
    /// # Errors
    /// `Unsupported` where the vendor has no such call.
    async fn kick(&self, user: &VendorUserId) -> Result<()>;

    /// Forbids logins for this long (`None`: until lifted) and forces the user off.
    ///
    /// # Errors
    /// `InvalidInput` for a duration the vendor does not admit, `Unsupported` for one it cannot express.
    async fn ban(&self, user: &VendorUserId, duration: Option<Duration>) -> Result<()>;

    /// Lifts a ban. Repeating it is harmless.
    ///
    /// # Errors
    /// `NotFound` for an unknown user.
    async fn unban(&self, user: &VendorUserId) -> Result<()>;

    /// Whether each user is online, in the order asked. Unknown users are offline.
    ///
    /// # Errors
    /// As any call; nothing special.
    async fn presence(&self, users: &[VendorUserId]) -> Result<Vec<PresenceState>>;

    /// How many messages wait at the vendor for this user's next login.
    ///
    /// # Errors
    /// `Unsupported` where the vendor does not tell.
    async fn offline_count(&self, user: &VendorUserId) -> Result<u64>;

    /// Shows `data`, a JSON text, under a topic to the user's devices that are online now, and says how many there were.
    /// Nothing of it is stored, ordered or repeated: it is for what only counts at this moment. Asking twice shows it
    /// twice.
    ///
    /// # Errors
    /// `Unsupported` where the vendor has no such call, which is the default.
    async fn push(&self, user: &VendorUserId, topic: &str, data: &str) -> Result<u64> {
        let _ = (user, topic, data);
        Err(Error::unsupported("pushes to online users"))
    }
}

/// What a vendor shows of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UserProfile {
    /// The display name.
    pub name: Option<String>,
    /// Where the picture is.
    pub avatar: Option<String>,
}

/// A token for a user's client. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginToken {
    /// The vendor's token.
    pub token: String,
    /// When it ends, if it does.
    pub expires_at: Option<Timestamp>,
}

impl fmt::Debug for LoginToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginToken").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// What a vendor admits with users.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UserLimits {
    /// Whether a user can be forced off without a ban.
    pub kick: bool,
    /// Whether the number of waiting messages is told.
    pub offline_count: bool,
    /// Whether something can be shown to whoever is online.
    pub push: bool,
    /// The longest ban; `None` for bans that last until lifted. Seconds in JSON.
    #[serde(serialize_with = "optional_seconds")]
    pub max_ban: Option<Duration>,
    /// Calls admitted.
    pub quota: Quota,
}

/// Groups and rooms with their members.
#[async_trait]
pub trait Groups: fmt::Debug + Send + Sync {
    /// What the vendor admits.
    fn limits(&self) -> GroupLimits;

    /// Makes a group or room. Where the business names groups, repeating it is harmless; where the vendor does, each
    /// call makes another.
    ///
    /// # Errors
    /// `InvalidInput` for missing fields, `Forbidden` for a reached limit.
    async fn create(&self, group: &NewGroup) -> Result<VendorGroupId>;

    /// Adds members; those already in are left alone.
    ///
    /// # Errors
    /// `NotFound` for an unknown group, `Unsupported` for rooms where the vendor lets only clients enter.
    async fn add_members(&self, group: &GroupRef, users: &[VendorUserId]) -> Result<()>;

    /// Removes members; those not in are left alone.
    ///
    /// # Errors
    /// As [`add_members`](Self::add_members).
    async fn remove_members(&self, group: &GroupRef, users: &[VendorUserId]) -> Result<()>;

    /// Everybody in it.
    ///
    /// # Errors
    /// `NotFound` for an unknown group.
    async fn members(&self, group: &GroupRef) -> Result<Vec<VendorUserId>>;

    /// Ends it. Repeating it is harmless.
    ///
    /// # Errors
    /// As any call; nothing special.
    async fn dissolve(&self, group: &GroupRef, by: &VendorUserId) -> Result<()>;

    /// Whether an id is a group or a room: the one look-up for messages that do not say it. `None` if neither.
    ///
    /// # Errors
    /// As any call; nothing special.
    async fn kind_of(&self, id: &VendorGroupId) -> Result<Option<ConversationKind>>;
}

/// A group or room at the vendor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupRef {
    /// Which.
    pub id: VendorGroupId,
    /// It is a room.
    pub room: bool,
}

/// A group or room to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGroup {
    /// Its id, where the business chooses it.
    pub id: Option<VendorGroupId>,
    /// It is a room.
    pub room: bool,
    /// The display name.
    pub name: String,
    /// The owner; also a member.
    pub owner: VendorUserId,
    /// The other members.
    pub members: Vec<VendorUserId>,
}

/// What a vendor admits with groups.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupLimits {
    /// Whether the business chooses group ids.
    pub business_ids: bool,
    /// Users in one call that adds or removes.
    pub max_members_per_call: u32,
    /// Calls admitted.
    pub quota: Quota,
}
