//! Every knob of the emulated vendor, including one for each reading of its contract that no source confirms.

use serde::{Deserialize, Serialize};

use super::callback_settings::{CallbackSettings, RoutingSettings};
use crate::common::LedgerLimits;

/// How the emulated application behaves. [`Default`] is an app in production in the China data centre with paid services on
/// and the console switches in their documented default positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RongCloudSettings {
    /// Decides the time zone of log files and of times given as text.
    pub data_centre: DataCentre,
    /// A development app may hold 100 users; the next registration answers 403 with 2007.
    pub development: bool,
    /// Refuse senders and recipients that never got a token. The vendor accepts them.
    pub strict_accounts: bool,
    /// Refuse a form body on JSON endpoints and the reverse.
    pub strict_content_type: bool,
    /// Opt-in freshness and replay checks on Server API signatures. UNCONFIRMED at the vendor, which cannot be strict.
    pub strict_signing: Option<StrictSigning>,
    /// The app is locked or deleted: every call answers 401 with 1006.
    pub app_locked: bool,
    /// The caller's address is not allowed: every call answers 401 with 1007.
    pub restricted: bool,
    /// Answer publish calls with `messageUIDs`. Older deployments answer the code alone.
    pub message_uids: bool,
    /// Answer every successful call with nothing but `code`.
    pub code_only: bool,
    /// Compress answers when the request accepts gzip.
    pub gzip: bool,
    /// Success code of the REST-style `/v2` paths: 10000 or 200.
    pub v2_success_code: i64,
    /// Request quotas.
    pub quotas: QuotaSettings,
    /// Sizes and counts per call.
    pub limits: LimitSettings,
    /// Callback targets, signing style and delivery rules.
    pub callbacks: CallbackSettings,
    /// Which messages reach the routing callback.
    pub routing: RoutingSettings,
    /// The hourly log files.
    pub log: LogSettings,
    /// The per-conversation query and cloud storage.
    pub query: QuerySettings,
    /// Recall, edit, expansion and client-side rules.
    pub messages: MessageSettings,
    /// Chatroom life cycle.
    pub chatrooms: ChatroomSettings,
    /// Messages kept in memory for queries and log files; the oldest go first.
    pub messages_kept: usize,
    /// Bounds of the ledger's logs.
    pub ledger: LedgerLimits,
}

impl Default for RongCloudSettings {
    fn default() -> Self {
        Self {
            data_centre: DataCentre::default(),
            development: false,
            strict_accounts: false,
            strict_content_type: true,
            strict_signing: None,
            app_locked: false,
            restricted: false,
            message_uids: true,
            code_only: false,
            gzip: true,
            v2_success_code: 10_000,
            quotas: QuotaSettings::default(),
            limits: LimitSettings::default(),
            callbacks: CallbackSettings::default(),
            routing: RoutingSettings::default(),
            log: LogSettings::default(),
            query: QuerySettings::default(),
            messages: MessageSettings::default(),
            chatrooms: ChatroomSettings::default(),
            messages_kept: 1_000_000,
            ledger: LedgerLimits::default(),
        }
    }
}

/// Where the app lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataCentre {
    /// China: times as text are Beijing time.
    #[default]
    China,
    /// Every other data centre: times as text are UTC.
    Overseas,
}

/// Opt-in checks of a Server API signature beyond its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrictSigning {
    /// Largest difference between `Timestamp` and the emulator's clock, milliseconds.
    pub window_ms: u64,
    /// Refuse a nonce seen within that window.
    pub refuse_repeated_nonce: bool,
}

/// Request quotas per app key. A window counts from a whole second, minute, hour or day of the emulator's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuotaSettings {
    /// Off: nothing is ever refused with 429 and 1008.
    pub enabled: bool,
    /// Requests per second and endpoint without a quota of its own.
    pub general_per_second: u32,
    /// `/user/getToken.json` per second.
    pub token_per_second: u32,
    /// Private messages per minute, each recipient counting as one.
    pub private_per_minute: u32,
    /// Group messages per second, each target group counting as one.
    pub group_per_second: u32,
    /// Ultra-group messages per second.
    pub ultra_group_per_second: u32,
    /// Ultra-group messages per second and channel.
    pub ultra_group_channel_per_second: u32,
    /// Chatroom messages per second. UNCONFIRMED.
    pub chatroom_per_second: u32,
    /// Broadcasts to all chatrooms per second.
    pub chatroom_broadcast_per_second: u32,
    /// System messages per second, each recipient counting as one.
    pub system_per_second: u32,
    /// Recalls per second.
    pub recall_per_second: u32,
    /// App-wide broadcasts, and separately their recalls, per hour.
    pub broadcast_per_hour: u32,
    /// App-wide broadcasts, and separately their recalls, per day.
    pub broadcast_per_day: u32,
}

impl Default for QuotaSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            general_per_second: 100,
            token_per_second: 200,
            private_per_minute: 6000,
            group_per_second: 20,
            ultra_group_per_second: 100,
            ultra_group_channel_per_second: 20,
            chatroom_per_second: 100,
            chatroom_broadcast_per_second: 1,
            system_per_second: 100,
            recall_per_second: 100,
            broadcast_per_hour: 2,
            broadcast_per_day: 3,
        }
    }
}

/// Sizes and counts the vendor states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Bytes of `content`.
    pub content_bytes: usize,
    /// Recipients of one private message.
    pub private_recipients: usize,
    /// Groups or ultra groups of one message.
    pub groups: usize,
    /// Chatrooms of one message; "recommended" at the vendor.
    pub chatrooms: usize,
    /// Recipients of one system message.
    pub system_recipients: usize,
    /// Members of one group; exceeding it answers HTTP 405.
    pub group_members: usize,
    /// Users of a development app.
    pub development_users: usize,
    /// Sensitive words in total.
    pub sensitive_words: usize,
    /// Keep-alive chatrooms.
    pub keepalive_rooms: usize,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            content_bytes: 128 * 1024,
            private_recipients: 1000,
            groups: 3,
            chatrooms: 10,
            system_recipients: 100,
            group_members: 3000,
            development_users: 100,
            sensitive_words: 50,
            keepalive_rooms: 5,
        }
    }
}

/// Which keys a log line has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogKeys {
    /// As captured in 2016: no `timestamp`, `source`, `isSensitiveWord`.
    Old,
    /// As captured in 2022.
    #[default]
    New,
}

/// The hourly log files. Archives are served under `/_files/9/{date}/{name}.zip`, where fault scripts can hit them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// Off: both log endpoints answer 430 with 1009, and nothing is recorded.
    pub enabled: bool,
    /// Milliseconds after the end of an hour until its file can be had.
    pub delay_ms: u64,
    /// Milliseconds a file lives, counted from the end of its hour.
    pub lifetime_ms: u64,
    /// Milliseconds until a deleted file is gone.
    pub delete_delay_ms: u64,
    /// Milliseconds after publication during which a growing file (a fault) holds only half of its lines.
    pub growth_ms: u64,
    /// Lines begin with `yyyy/MM/dd HH:mm:ss`. UNCONFIRMED for files written today.
    pub prefix: bool,
    /// Key set of a line.
    pub keys: LogKeys,
    /// One line per recipient of a private Server API fan-out. UNCONFIRMED.
    pub per_recipient: bool,
    /// Ultra-group messages are in the log. UNCONFIRMED.
    pub ultra_groups: bool,
    /// `GroupId` of group lines holds the group instead of being empty. UNCONFIRMED.
    pub group_id: bool,
    /// Base of the download URL; `None` means the address the request came to.
    pub download_base: Option<String>,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            delay_ms: 3_600_000,
            lifetime_ms: 3 * 86_400_000,
            delete_delay_ms: 600_000,
            growth_ms: 600_000,
            prefix: true,
            keys: LogKeys::default(),
            per_recipient: true,
            ultra_groups: true,
            group_id: true,
            download_base: None,
        }
    }
}

/// Order of query results.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryOrder {
    /// Newest first, as the vendor's sibling product documents.
    #[default]
    Descending,
    /// Oldest first.
    Ascending,
}

/// Per-conversation queries over cloud storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuerySettings {
    /// Off: queries answer 430 with 1009.
    pub enabled: bool,
    /// Order of results. UNCONFIRMED.
    pub order: QueryOrder,
    /// Largest span of one query in milliseconds; 0 sets none. UNCONFIRMED outside ultra groups.
    pub max_span_ms: u64,
    /// A user may query a group or room only as its member. UNCONFIRMED.
    pub member_only: bool,
    /// The boundary `endTime` itself is left out. UNCONFIRMED.
    pub end_exclusive: bool,
    /// The sender sees its own private Server API messages only when they were sent with `isIncludeSender=1`.
    pub sender_copy: bool,
    /// Directed group messages are in cloud history; off by default at the vendor.
    pub directed: bool,
    /// A recalled message is still returned. UNCONFIRMED.
    pub recalled: bool,
    /// Milliseconds private and group messages are kept.
    pub retention_ms: u64,
    /// Milliseconds chatroom messages are kept.
    pub chatroom_retention_ms: u64,
    /// Milliseconds ultra-group messages are kept.
    pub ultra_group_retention_ms: u64,
}

impl Default for QuerySettings {
    fn default() -> Self {
        Self {
            enabled: true,
            order: QueryOrder::default(),
            max_span_ms: 14 * 86_400_000,
            member_only: true,
            end_exclusive: false,
            sender_copy: true,
            directed: false,
            recalled: false,
            retention_ms: 183 * 86_400_000,
            chatroom_retention_ms: 61 * 86_400_000,
            ultra_group_retention_ms: 7 * 86_400_000,
        }
    }
}

/// Recall, edit, expansion, and what clients may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MessageSettings {
    /// Refuse to recall or edit a message the emulator does not know. A recall is itself a message, so the vendor
    /// presumably sends it regardless. UNCONFIRMED.
    pub known_only: bool,
    /// Milliseconds within which a message may be recalled through the Server API; 0 sets no window, as documented.
    pub recall_window_ms: u64,
    /// Milliseconds within which a message may be edited; 0 sets no window. UNCONFIRMED.
    pub edit_window_ms: u64,
    /// `msgRandom` makes a repeated publish within a minute return the first answer. UNCONFIRMED; documented for
    /// ultra-group edits only.
    pub random_deduplicates: bool,
    /// Messages an end user may send per second, 0 for no limit. The vendor's client limit is 5.
    pub client_per_second: u32,
    /// App-wide broadcast service is on; off answers 429 with 1008, as documented.
    pub broadcast: bool,
    /// Words are filtered in Server API messages too; off by default at the vendor.
    pub filter_server_api: bool,
}

impl Default for MessageSettings {
    fn default() -> Self {
        Self {
            known_only: false,
            recall_window_ms: 0,
            edit_window_ms: 0,
            random_deduplicates: false,
            client_per_second: 0,
            broadcast: true,
            filter_server_api: false,
        }
    }
}

/// Life cycle of chatrooms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChatroomSettings {
    /// A room must exist before anyone joins or a message is published to it. The vendor lets clients create rooms by joining.
    pub strict: bool,
    /// Milliseconds without activity after which a room is destroyed.
    pub idle_destroy_ms: u64,
    /// Milliseconds between two looks for rooms to destroy.
    pub sweep_ms: u64,
}

impl Default for ChatroomSettings {
    fn default() -> Self {
        Self { strict: false, idle_destroy_ms: 3_600_000, sweep_ms: 30_000 }
    }
}
