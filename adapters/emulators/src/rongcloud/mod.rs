//! RongCloud (融云) as the network shows it.
//!
//! Owns the Server API of one app (signing, quotas, users, messages, groups, rooms, history), its callbacks, its hourly log
//! files, and end users who act through [`EndUser`]. Written from the vendor's published documents and SDKs; every
//! reading those do not settle is a knob of [`RongCloudSettings`].
//!
//! Left out: hosted groups and friends, ultra-group channels' finer points, push delivery, the SMS product, and the
//! private long-connection protocol, in whose place [`EndUser`] stands.

mod api;
mod app;
mod callback;
mod callback_settings;
mod client;
mod client_message;
mod control;
mod emulator;
mod form;
mod local_time;
mod log_file;
mod model;
mod pre_send;
mod presence;
mod quota;
mod reply;
mod rooms;
mod server;
mod settings;
mod sign;
mod state;
mod store;
mod uid;

pub use callback_settings::{CallbackSettings, CallbackUrls, RoutingSettings, SignatureStyle};
pub use client::EndUser;
pub use client_message::{ClientMessage, ClientRefusal, RecallOptions, Received, Sent, Target};
pub use emulator::{RongCloudBuilder, RongCloudEmulator};
pub use model::ConversationKind;
pub use settings::{
    ChatroomSettings, DataCentre, LimitSettings, LogKeys, LogSettings, MessageSettings, QueryOrder, QuerySettings,
    QuotaSettings, RongCloudSettings, StrictSigning,
};
