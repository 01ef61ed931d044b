//! The provider contract: one trait every vendor has, and small optional ones behind accessors.
//!
//! "Supported" is one fact in one place: the accessor. Limits are plain data on the capability that owns them.
//! An option a vendor cannot honour is refused with [`Unsupported`](crate::ErrorKind::Unsupported), never dropped.

mod headers;
mod history;
mod hour;
mod kept;
mod link;
mod messaging;
mod people;
mod quota;

pub use headers::CallHeaders;
pub use history::{HistoryFile, HistoryFileLimits, HistoryFiles, Roaming, RoamingLimits, RoamingPage, RoamingQuery};
pub use hour::{Glance, HourDecoder, HourFile, HourLine, HourLines};
pub use kept::{KeptCallbackLimits, KeptCallbacks, KeptSlot};
pub use link::Link;
pub use messaging::{Messaging, MessagingLimits, OutboundMessage, RecallRequest, SendOptions, SentTo, Target};
pub use people::{GroupLimits, GroupRef, Groups, LoginToken, NewGroup, UserLimits, UserProfile, Users};
pub use quota::Quota;

use std::fmt;

use async_trait::async_trait;
use serde::Serialize;

use crate::callback::CallbackCodec;
use crate::error::Result;
use crate::identity::Naming;
use crate::ids::App;
use crate::time::Timestamp;

/// One app at one vendor. Cheap to share behind an `Arc`; every method may be called from many tasks at once.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync {
    /// The app this provider speaks for.
    fn app(&self) -> &App;

    /// How the vendor spells the ids of users, groups and rooms.
    fn naming(&self) -> Naming;

    /// An earlier life of this process may have made calls until `ended`: as far as the vendor may still count them,
    /// they count against the quotas, as if there had been as many as these admit. Told once, before any call. Sends
    /// are left out: what was sent is known one by one. An adapter without quotas of its own has nothing to do.
    fn charge_earlier(&self, ended: Timestamp) {
        let _ = ended;
    }

    /// Asks the vendor something harmless that needs valid credentials.
    ///
    /// # Errors
    /// `Unauthorized` for wrong credentials, `Unavailable` or `Timeout` when the vendor cannot be reached.
    async fn probe(&self) -> Result<()>;

    /// Sending and recalling. Every vendor has these.
    fn messaging(&self) -> &dyn Messaging;

    /// The vendor's callbacks.
    fn callbacks(&self) -> Option<&dyn CallbackCodec> {
        None
    }

    /// Queries of one conversation's history.
    fn roaming(&self) -> Option<&dyn Roaming> {
        None
    }

    /// Files that hold an hour of the whole app's messages.
    fn history_files(&self) -> Option<&dyn HistoryFiles> {
        None
    }

    /// Callbacks that nobody took, kept by the vendor.
    fn kept_callbacks(&self) -> Option<&dyn KeptCallbacks> {
        None
    }

    /// Users and their logins.
    fn users(&self) -> Option<&dyn Users> {
        None
    }

    /// Groups and rooms with their members.
    fn groups(&self) -> Option<&dyn Groups> {
        None
    }

    /// A connection of the adapter's own, over which comes what other vendors send as callbacks.
    fn link(&self) -> Option<&dyn Link> {
        None
    }

    /// Everything this provider can do, as data.
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            vendor: self.app().kind.as_str().to_owned(),
            messaging: self.messaging().limits(),
            callbacks: self.callbacks().is_some(),
            roaming: self.roaming().map(Roaming::limits),
            history_files: self.history_files().map(HistoryFiles::limits),
            kept_callbacks: self.kept_callbacks().map(KeptCallbacks::limits),
            users: self.users().map(Users::limits),
            groups: self.groups().map(Groups::limits),
        }
    }
}

/// Everything a provider can do. `None` means: not at all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Capabilities {
    /// The vendor family.
    pub vendor: String,
    /// Sending and recalling.
    pub messaging: MessagingLimits,
    /// Whether the vendor calls back.
    pub callbacks: bool,
    /// Queries of one conversation.
    pub roaming: Option<RoamingLimits>,
    /// Files of an hour.
    pub history_files: Option<HistoryFileLimits>,
    /// Callbacks that nobody took, to be sent again.
    pub kept_callbacks: Option<KeptCallbackLimits>,
    /// Users and logins.
    pub users: Option<UserLimits>,
    /// Groups and rooms.
    pub groups: Option<GroupLimits>,
}
