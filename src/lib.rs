//! Middleware between a business and its instant-messaging vendor.
//!
//! Switchboard takes a vendor's callbacks, keeps them durably before it answers, brings them into order, and delivers
//! each event to every subscriber until it is acknowledged, offline messages before online ones. It sends through the
//! vendor within its quotas and settles lost answers by evidence instead of sending twice. Changing the vendor is
//! changing the configuration.
//!
//! ```no_run
//! use switchboard::{Config, Outgoing, Subscriber, Switchboard, To, Topic};
//!
//! # async fn example() -> switchboard::Result<()> {
//! let switchboard = Switchboard::open(Config::load("switchboard.toml")?).await?;
//! let mut orders = switchboard.subscribe(Subscriber::named("orders").topics([Topic::Messages])).await?;
//! switchboard.send(Outgoing::text("alice", To::user("bob"), "hi").client_id("order-1")).await?;
//! while let Some(delivery) = orders.next().await {
//!     println!("{:?}", delivery.event()?.conversation);
//!     delivery.ack().await?;
//! }
//! switchboard.shutdown().await
//! # }
//! ```
//!
//! Features: `huanxin`, `rongcloud` and `selfhosted` (all on by default) are the providers; `sidecar` adds the HTTP API and callback
//! routes to nest in a server of your own; `archive` keeps old messages as Parquet in object storage; `emulators` and
//! `bin` are for the binary. Without features the library pulls
//! no web server, no command line and no emulator.

pub mod archive;
mod assembly;
pub mod backfill;
pub mod catchup;
#[cfg(feature = "bin")]
pub mod cli;
pub mod clock;
pub mod config;
#[cfg(feature = "bin")]
mod demo;
pub mod fetching;
pub mod history;
pub mod hub;
pub mod identity;
pub mod ingest;
mod notices;
pub mod reconcile;
pub mod recovery;
pub mod retention;
pub mod sending;
#[cfg(feature = "sidecar")]
pub mod sidecar;
pub mod silence;
pub mod store;
mod switchboard;
pub mod transfer;

pub use switchboard_contract as contract;
pub use switchboard_contract::{
    Body, ConversationId, Error, ErrorKind, Event, EventData, GroupId, Message, MessageId, Result, Retry, SendId,
    Topic, UserId,
};

pub use self::config::Config;
pub use self::history::Tier;
pub use self::hub::{Delivery, Subscription};
pub use self::sending::{Outgoing, To};
pub use self::switchboard::{
    Builder, ConversationAppCoverage, ConversationCoverage, ConversationHole, DeadLetter, DeadLetterFilter,
    DeadLetterPage, HistorySpan, IncompleteConversation, LettersDone, ProviderPlan, ProviderView, PulledPart,
    RefusedLetter, Subscriber, Switchboard, Tenant, Trace,
};
