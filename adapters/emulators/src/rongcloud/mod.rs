//! RongCloud (融云) as the network shows it.
//!
//! Owns the Server API of one app (signing, quotas, users, messages, groups, rooms, history), its callbacks, its hourly log
//! files, and end users who act through [`EndUser`]. Written from the vendor's published documents and SDKs; every
//! reading those do not settle is a knob of [`RongCloudSettings`].
//!
//! ```
//! use switchboard_emulators::rongcloud::{ClientMessage, RongCloudEmulator, Target};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let vendor = RongCloudEmulator::builder().credentials("key", "secret").seed(7).start().await?;
//! let sent = vendor.user("lin").send(ClientMessage::text(Target::User("bo".into()), "hi")).await?;
//! assert_eq!(vendor.user("bo").inbox()[0].uid, sent.uid);
//! assert_eq!(vendor.ledger().messages()[0].body["content"], "hi");
//! vendor.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! Left out: hosted groups and friends, ultra-group channels' finer points, push delivery, the SMS product, and the
//! private long-connection protocol, in whose place [`EndUser`] stands.

mod api;
mod app;
mod callback;
mod callback_body;
mod callback_settings;
mod client;
mod client_message;
mod control;
mod draft;
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

pub use callback::RawCallback;
pub use callback_settings::{CallbackSettings, CallbackUrls, RoutingSettings, SignatureStyle};
pub use client::EndUser;
pub use client_message::{ClientMessage, ClientRefusal, RecallOptions, Received, Sent, Target};
pub use emulator::{RongCloudBuilder, RongCloudEmulator};
pub use model::{ConversationKind, Push};
pub use settings::{
    ChatroomSettings, DataCentre, LimitSettings, LogKeys, LogSettings, MessageSettings, QueryOrder, QuerySettings,
    QuotaSettings, RongCloudSettings, StrictSigning,
};
