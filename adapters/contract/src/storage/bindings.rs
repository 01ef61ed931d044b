//! Which vendor id stands for which business id, where no rule of spelling can tell.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ids::{App, TenantId};

/// What is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum BindingKind {
    /// A user whose id has no spelling.
    User = 0,
    /// A group.
    Group = 1,
    /// A room.
    Room = 2,
}

impl BindingKind {
    /// The number stored.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// From a stored number.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::User,
            1 => Self::Group,
            2 => Self::Room,
            _ => return None,
        })
    }
}

/// One pair. Within an app and kind both sides are unique.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Binding {
    /// What.
    pub kind: BindingKind,
    /// The business's id.
    pub business: String,
    /// The vendor's id.
    pub vendor: String,
}

/// The table of pairs, and what is known to exist at a vendor.
#[async_trait]
pub trait Bindings: Send + Sync {
    /// The pairs with these vendor ids, in the order asked; `None` where there is none.
    ///
    /// # Errors
    /// `Storage`.
    async fn by_vendor(
        &self,
        tenant: &TenantId,
        app: &App,
        wanted: &[(BindingKind, String)],
    ) -> Result<Vec<Option<Binding>>>;

    /// The pairs with these business ids, in the order asked; `None` where there is none.
    ///
    /// # Errors
    /// `Storage`.
    async fn by_business(
        &self,
        tenant: &TenantId,
        app: &App,
        wanted: &[(BindingKind, String)],
    ) -> Result<Vec<Option<Binding>>>;

    /// Writes pairs; where either side is already bound the older pair stays. Returns the pair in force for each
    /// vendor id asked (which may name another business id than asked).
    ///
    /// # Errors
    /// `Storage`; `Conflict` when the business id is bound to another vendor id.
    async fn bind(&self, tenant: &TenantId, app: &App, bindings: &[Binding]) -> Result<Vec<Binding>>;

    /// Pairs of an app after `after` (kind and business id), in order, at most `limit`.
    ///
    /// # Errors
    /// `Storage`.
    async fn bindings(
        &self,
        tenant: &TenantId,
        app: &App,
        after: Option<(BindingKind, String)>,
        limit: usize,
    ) -> Result<Vec<Binding>>;

    /// Which of these (kind, business id, detail) are recorded as made at the vendor. `detail` is empty for a user
    /// or group, and a user's business id for a membership.
    ///
    /// # Errors
    /// `Storage`.
    async fn provisioned(
        &self,
        tenant: &TenantId,
        app: &App,
        wanted: &[(BindingKind, String, String)],
    ) -> Result<Vec<bool>>;

    /// Records (or with `made == false` forgets) what was made at the vendor.
    ///
    /// # Errors
    /// `Storage`.
    async fn set_provisioned(
        &self,
        tenant: &TenantId,
        app: &App,
        items: &[(BindingKind, String, String)],
        made: bool,
    ) -> Result<()>;
}
