//! The RongCloud adapter: [`RongCloudConfig`] in, a [`Provider`](switchboard_contract::Provider) out.
//!
//! Owns the vendor's wire forms, its signature, its error table and its limits. Knows nothing of business ids, stores
//! or subscribers. What the vendor leaves undocumented is a setting, or taken in every form seen.
//!
//! ```
//! use switchboard_rongcloud::RongCloudConfig;
//!
//! let mut config = RongCloudConfig::new("app-key", "app-secret");
//! config.callbacks.server_messages = true;
//! assert!(config.faults().is_empty());
//! assert!(!format!("{config:?}").contains("app-secret"));
//! ```
//!
//! # What the vendor cannot do
//!
//! - *Kick.* No Server API call forces a user off without a ban. The nearest are a ban of a minute
//!   ([`Users::ban`](switchboard_contract::Users::ban)), which also forbids the next login, and the expiry of tokens in
//!   the vendor's own console, which a connected client does not notice.
//! - *Offline counts* and *receipts* are not told to servers.
//! - *Rooms* are entered and left by clients alone, and list at most 500 members.
//!
//! # In the vendor's console
//!
//! Point message routing, online status, room status and every other callback at `…/callbacks/{provider}`, and the
//! pre-send hook, if it is used, at `…/callbacks/{provider}/pre-send`. Switch on the routing of Server API messages and
//! say so in `callbacks.server_messages`: the echo is the best evidence about a send whose answer was lost.

mod callbacks;
mod calls;
mod codec;
mod config;
mod error;
mod history;
mod limits;
mod provider;
mod roaming;
mod sign;
mod wire;

pub use config::{
    CallbackConfig, DataCentre, HistoryConfig, LogZone, QueryOrder, QueryValues, RongCloudConfig, RoomConfig, RoomEnd,
    SigningConfig,
};
pub use limits::RongCloudQuotas;
pub use provider::RongCloud;
pub use sign::{HeaderNames, TimeUnit};

/// The vendor kind of this adapter.
pub const VENDOR: &str = "rongcloud";
