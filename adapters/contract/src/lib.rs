//! The contract between Switchboard, its vendor adapters and its stores.
//!
//! An adapter implements [`Provider`] and the small capability traits beside it; a store implements the traits of
//! [`storage`]. Neither needs anything but this crate, and nothing here knows a runtime, an HTTP client or a database.

mod body;
mod callback;
mod conversation;
mod envelope;
mod error;
mod event;
mod identity;
mod ids;
mod inbound;
mod provider;
pub mod reception;
pub mod storage;
mod time;

pub use body::{Body, Combined, Command, Custom, Ext, Location, Media, Native, Text, Thumbnail, Unrecognised};
pub use callback::{
    CallbackCodec, CallbackReply, CallbackStage, FixedVerdict, RawCallback, Refused, Rejection, VerifiedCallback,
};
pub use conversation::{ConversationId, ConversationKind};
pub use envelope::TYPE_PREFIX;
pub use error::{Error, ErrorKind, Result, Retry};
pub use event::{
    ContactChange, Edit, Event, EventData, GroupChange, Mentions, Message, MessageRef, Moderation, Notice, Origin,
    Presence, PresenceState, PushResult, Reaction, Recall, Receipt, ReceiptKind, RecipientOffline, SendState,
    SendStatus, Topic,
};
pub use identity::{GroupNaming, Naming, Spelling};
pub use ids::{
    App, AppKey, BackfillId, ClientMessageId, EventId, GroupId, MessageId, Position, ProviderId, SendId, Sequence,
    Shard, SubscriberName, TenantId, UserId, VendorGroupId, VendorKind, VendorMessageId, VendorUserId,
};
pub use inbound::{Clues, EventKey, Inbound, InboundData, InboundMessage, InboundPlace, KeyClass};
pub use provider::{
    CallHeaders, Capabilities, Glance, GroupLimits, GroupRef, Groups, HistoryFile, HistoryFileLimits, HistoryFiles,
    HourDecoder, HourFile, HourLine, HourLines, KeptCallbackLimits, KeptCallbacks, KeptSlot, Link, LoginToken,
    Messaging, MessagingLimits, NewGroup, OutboundMessage, Provider, Quota, RecallRequest, Roaming, RoamingLimits,
    RoamingPage, RoamingQuery, SendOptions, SentTo, Target, UserLimits, UserProfile, Users,
};
pub use time::{Clock, Sleep, Timestamp};
