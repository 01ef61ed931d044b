//! The provider contract: one trait every vendor has, and small optional ones behind accessors.
//!
//! "Supported" is one fact in one place: the accessor. Limits are plain data on the capability that owns them.
//! An option a vendor cannot honour is refused with [`Unsupported`](crate::ErrorKind::Unsupported), never dropped.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use crate::body::{Body, Ext};
use crate::callback::{CallbackCodec, RawCallback};
use crate::conversation::ConversationKind;
use crate::error::Result;
use crate::event::PresenceState;
use crate::identity::Naming;
use crate::ids::{App, VendorGroupId, VendorMessageId, VendorUserId};
use crate::inbound::Inbound;
use crate::time::Timestamp;

/// One app at one vendor. Cheap to share behind an `Arc`; every method may be called from many tasks at once.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync {
    /// The app this provider speaks for.
    fn app(&self) -> &App;

    /// How the vendor spells the ids of users, groups and rooms.
    fn naming(&self) -> Naming;

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
            users: self.users().map(Users::limits),
            groups: self.groups().map(Groups::limits),
        }
    }
}

/// A connection the adapter holds, over which comes what other vendors send as callbacks.
///
/// What it gives is as trusted or not as any callback: it is verified, kept and decoded in the same way.
#[async_trait]
pub trait Link: fmt::Debug + Send + Sync {
    /// Waits until there is something and returns it in its order; nothing after a while. A call acknowledges what
    /// the one before it returned; what was never acknowledged comes again, also after a restart. One caller at a
    /// time. Dropping the future is harmless.
    ///
    /// # Errors
    /// `Unavailable`, `Timeout` or `Storage` while the other side cannot be reached; `Closed` after
    /// [`close`](Self::close).
    async fn next(&self) -> Result<Vec<RawCallback>>;

    /// Ends the connection, and with it whatever the adapter runs in this process. Nothing accepted is lost.
    async fn close(&self);
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
    /// Users and logins.
    pub users: Option<UserLimits>,
    /// Groups and rooms.
    pub groups: Option<GroupLimits>,
}

/// Whom a message is for, in the vendor's ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Users, each in the direct conversation with the sender. At most [`MessagingLimits::max_users`].
    Users(Vec<VendorUserId>),
    /// A group, in one of its channels where it has them, and only for `audience` when that is not empty.
    Group {
        /// Which.
        group: VendorGroupId,
        /// The channel, for groups that have channels.
        channel: Option<String>,
        /// Only these members; empty for all.
        audience: Vec<VendorUserId>,
    },
    /// A room.
    Room {
        /// Which.
        room: VendorGroupId,
    },
    /// Notices to users, in their system conversations.
    System(Vec<VendorUserId>),
}

impl Target {
    /// The kind of conversation it leads to.
    pub fn kind(&self) -> ConversationKind {
        match self {
            Self::Users(_) => ConversationKind::Direct,
            Self::Group { .. } => ConversationKind::Group,
            Self::Room { .. } => ConversationKind::Room,
            Self::System(_) => ConversationKind::System,
        }
    }
}

/// A message ready for the vendor.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboundMessage {
    /// The sender.
    pub from: VendorUserId,
    /// The recipients.
    pub target: Target,
    /// What it says.
    pub body: Body,
    /// The business's own fields.
    pub ext: Ext,
    /// Our mark, to be carried where the vendor gives it back with the echo and in history.
    pub mark: Option<String>,
    /// It points at everybody.
    pub mentions_everyone: bool,
    /// It points at these users.
    pub mentions: Vec<VendorUserId>,
    /// Details most callers leave alone.
    pub options: SendOptions,
}

/// How a message is to be handled. What the vendor cannot honour is refused, except where said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SendOptions {
    /// Do not wake the recipient's phone.
    pub silent: bool,
    /// Only for recipients who are online now.
    pub online_only: bool,
    /// Show it on the sender's own devices too.
    pub sync_to_sender: bool,
    /// Ask for read statements.
    pub read_receipt: bool,
    /// The text of the offline push.
    pub push_text: Option<String>,
}

/// What became of one recipient, group or room of a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentTo {
    /// The recipient user, for direct and system targets; `None` for a group or room.
    pub user: Option<VendorUserId>,
    /// The vendor's id of the message; some deployments do not tell it.
    pub id: Option<VendorMessageId>,
}

/// Sending and recalling.
#[async_trait]
pub trait Messaging: fmt::Debug + Send + Sync {
    /// What the vendor admits.
    fn limits(&self) -> MessagingLimits;

    /// Checks a message against the vendor's rules without sending it.
    ///
    /// # Errors
    /// `Unsupported` for a body, target or option it cannot carry, `InvalidInput` or `TooLarge` otherwise.
    fn check(&self, message: &OutboundMessage) -> Result<()>;

    /// Makes exactly one attempt. Not idempotent: vendors have no key for it. One entry comes back for each
    /// recipient, group or room the vendor named in its answer, in no particular order.
    ///
    /// # Errors
    /// The error's [`Retry`](crate::Retry) says whether the attempt can have had an effect:
    /// `Safe` only when the vendor refused it first or it never left.
    async fn send(&self, message: &OutboundMessage) -> Result<Vec<SentTo>>;

    /// Withdraws a message. Repeating it is harmless.
    ///
    /// # Errors
    /// `NotFound` for a message the vendor does not have (any more), `Rejected` when it is too late.
    async fn recall(&self, recall: &RecallRequest) -> Result<()>;
}

/// A message to withdraw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecallRequest {
    /// Which.
    pub id: VendorMessageId,
    /// Who withdraws it: its sender.
    pub from: VendorUserId,
    /// Where it was sent; one user for direct and system targets.
    pub target: Target,
    /// When it was sent, by the vendor's clock.
    pub sent_at: Timestamp,
}

/// One quota of the vendor: at most `calls` calls and `units` units (recipients, groups) in each `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quota {
    /// Calls admitted in each window; `None` for no limit of calls.
    pub calls: Option<u32>,
    /// Recipients, groups or rooms admitted in each window; `None` for no limit.
    pub units: Option<u32>,
    /// The window.
    #[serde(serialize_with = "seconds")]
    pub per: Duration,
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

fn optional_seconds<S: serde::Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serializer.serialize_some(&duration.as_secs_f64()),
        None => serializer.serialize_none(),
    }
}

/// What a vendor admits in sending, and what it tells afterwards. Durations are seconds in JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MessagingLimits {
    /// Body kinds it carries, as in [`Body::kind`].
    pub bodies: Vec<&'static str>,
    /// Kinds of conversation it sends to.
    pub targets: Vec<ConversationKind>,
    /// Users in one direct call.
    pub max_users: u32,
    /// Users in one system call; 0 where there is none.
    pub max_system_users: u32,
    /// Bytes of body and `ext` together, as the vendor counts them.
    pub max_bytes: u32,
    /// Quotas by kind of conversation.
    pub quotas: Vec<(ConversationKind, Quota)>,
    /// How long after sending a recall is taken; `None` for no limit known.
    #[serde(serialize_with = "optional_seconds")]
    pub recall_window: Option<Duration>,
    /// Whether callbacks come for messages we send ourselves, so that an echo can prove acceptance.
    pub echoes: bool,
    /// Whether the vendor reports that a recipient received or read a message.
    pub receipts: bool,
}

/// Reading one conversation's history from the vendor.
#[async_trait]
pub trait Roaming: fmt::Debug + Send + Sync {
    /// What the vendor admits.
    fn limits(&self) -> RoamingLimits;

    /// One page. A page may be shorter than asked and still have a `next`; the end is a missing `next`.
    /// Repeating a call is harmless.
    ///
    /// # Errors
    /// `Unsupported` when the account does not have the service, which is not the same as an empty history.
    async fn page(&self, query: &RoamingQuery) -> Result<RoamingPage>;
}

/// Which part of a conversation to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoamingQuery {
    /// Through whose eyes: a participant or member.
    pub viewer: VendorUserId,
    /// The conversation: one user, a group or a room.
    pub target: Target,
    /// From this time on, included.
    pub since: Timestamp,
    /// Up to this time, included.
    pub until: Timestamp,
    /// At most this many; the adapter lowers it to the vendor's limit.
    pub limit: u32,
    /// The `next` of the page before, unchanged.
    pub cursor: Option<String>,
}

/// A page of history, in any order; the sort keys tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoamingPage {
    /// Decoded messages (and recalls where the vendor lists them).
    pub items: Vec<Inbound>,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}

/// What a vendor admits in queries. Durations are seconds in JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoamingLimits {
    /// Messages in one page.
    pub max_page: u32,
    /// How far back it reaches; `None` for unknown.
    #[serde(serialize_with = "optional_seconds")]
    pub depth: Option<Duration>,
    /// The longest span of one query; `None` for no limit.
    #[serde(serialize_with = "optional_seconds")]
    pub max_span: Option<Duration>,
    /// After this long a message we sent would show here if it was accepted; `None` if it might never.
    #[serde(serialize_with = "optional_seconds")]
    pub own_sends_after: Option<Duration>,
    /// Kinds of conversation it can be asked for.
    pub targets: Vec<ConversationKind>,
    /// Calls admitted.
    pub quota: Quota,
}

/// Files that hold one hour of a whole app's messages.
#[async_trait]
pub trait HistoryFiles: fmt::Debug + Send + Sync {
    /// What the vendor publishes, and when.
    fn limits(&self) -> HistoryFileLimits;

    /// Asks for the file of the hour that begins at `hour` (UTC milliseconds; the adapter knows the vendor's zone).
    /// Repeating it is harmless and costs quota.
    ///
    /// # Errors
    /// `Unsupported` when the account does not have the service, `InvalidInput` when `hour` is not a whole hour.
    async fn fetch(&self, hour: Timestamp) -> Result<HistoryFile>;
}

/// The answer to a request for an hour's file.
#[derive(Debug)]
pub enum HistoryFile {
    /// Not there: not yet written, empty, or already gone. The vendor does not tell these apart.
    Absent,
    /// The messages, in no promised order.
    Ready(HourFile),
}

/// An hour's messages.
pub struct HourFile {
    /// Bytes as downloaded.
    pub bytes: u64,
    /// SHA-256 of the download, to notice a file that was written again.
    pub digest: [u8; 32],
    /// Decoded lines, read as they are asked for: an hour of any size needs bounded memory. A line that cannot be
    /// understood comes out as `Unrecognised`.
    pub lines: Box<dyn Iterator<Item = Result<Inbound>> + Send>,
}

impl fmt::Debug for HourFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HourFile").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// What a vendor publishes in files. Durations are seconds in JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HistoryFileLimits {
    /// A file can be there this long after its hour ended.
    #[serde(serialize_with = "seconds")]
    pub earliest: Duration,
    /// After this long it is there and does not change any more.
    #[serde(serialize_with = "seconds")]
    pub final_after: Duration,
    /// After this long it is gone.
    #[serde(serialize_with = "seconds")]
    pub kept: Duration,
    /// Whether messages we sent ourselves stand in it.
    pub own_sends: bool,
    /// Calls admitted.
    pub quota: Quota,
}

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
