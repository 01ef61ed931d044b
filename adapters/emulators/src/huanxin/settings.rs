//! Every knob of the emulated Huanxin, with the vendor's documented default. A knob marked *UNCONFIRMED* stands for a
//! question no public source answers; a product that tolerates both settings is right either way.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::model::EventFamily;
use super::rules::{CallbackRule, PreSendRule};
use crate::common::LedgerLimits;

/// How the emulated app is configured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HuanxinSettings {
    /// Tokens.
    pub tokens: TokenSettings,
    /// Users and devices.
    pub users: UserSettings,
    /// Sending, recalling, editing.
    pub messages: MessageSettings,
    /// Rates and quotas.
    pub quotas: QuotaSettings,
    /// Hourly history files and roaming.
    pub history: HistorySettings,
    /// Callback delivery and forms.
    pub callbacks: CallbackSettings,
    /// Attachments.
    pub files: FileSettings,
    /// Bounds of the ledger.
    pub ledger: LedgerLimits,
}

/// Unit of `ttl` and `expires_in`: seconds, but milliseconds on the cluster "VIP 5".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TtlUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// Tokens (documentation page "Easemob app token" and "user token").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenSettings {
    /// Unit on this cluster.
    pub ttl_unit: TtlUnit,
    /// Lifetime when the request names none, seconds. 60 days.
    pub default_ttl_s: i64,
    /// `expires_in` of a token that never expires. *UNCONFIRMED*.
    pub never_expires_in: i64,
    /// A second `inherit` request with `autoCreateUser` for a user created this many milliseconds ago is 409
    /// `concurrent_operation_error`; documented for one second. Off by default, so that a standing clock does not block
    /// logins.
    pub auto_create_conflict_ms: i64,
    /// A new app token ends the earlier ones. *UNCONFIRMED*.
    pub new_revokes_old: bool,
}

impl Default for TokenSettings {
    fn default() -> Self {
        Self {
            ttl_unit: TtlUnit::Seconds,
            default_ttl_s: 60 * 24 * 3600,
            never_expires_in: 0,
            auto_create_conflict_ms: 0,
            new_revokes_old: false,
        }
    }
}

/// Users and devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UserSettings {
    /// Registration without a token is open.
    pub open_registration: bool,
    /// The control API registers a user on first use; REST paths never do.
    pub create_on_use: bool,
    /// Users the plan allows; more is 429 `resource_limited`.
    pub plan_cap: Option<usize>,
    /// Upper case in user ids is folded to lower case.
    pub fold_case: bool,
    /// Devices of one operating system a user may have online; a further login replaces the oldest.
    pub devices_per_os: usize,
    /// Time until a lost network shows as a logout, milliseconds. Up to 5 minutes.
    pub lost_network_ms: u64,
    /// Time after which an offline member leaves the rooms, milliseconds. 2 minutes.
    pub room_leave_ms: u64,
    /// The presence add-on is bought.
    pub presence: bool,
}

impl Default for UserSettings {
    fn default() -> Self {
        Self {
            open_registration: true,
            create_on_use: true,
            plan_cap: None,
            fold_case: true,
            devices_per_os: 1,
            lost_network_ms: 300_000,
            room_leave_ms: 120_000,
            presence: true,
        }
    }
}

/// Sending, recalling, editing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MessageSettings {
    /// Body and `ext` together, bytes. 5 KB; older documentation said 40 KB.
    pub max_bytes: usize,
    /// Attachment addresses must come from this emulator's upload.
    pub check_attachments: bool,
    /// The recall service is on.
    pub recall: bool,
    /// Time a message can be recalled without force, milliseconds. 2 minutes; up to 7 days by console.
    pub recall_window_ms: i64,
    /// The edit feature is activated.
    pub edit: bool,
    /// Edits per message.
    pub max_edits: u32,
    /// Result word of the old `/messages` without `useMsgId`. *UNCONFIRMED*.
    pub legacy_result: String,
    /// Offline queue per user over one-to-one conversations.
    pub offline_direct: usize,
    /// Offline queue per user over group conversations.
    pub offline_group: usize,
    /// Retention of stored messages, days: 3, 7 or 90 by plan.
    pub retention_days: i64,
    /// Imported messages fire callbacks. *UNCONFIRMED*.
    pub import_callbacks: bool,
}

impl Default for MessageSettings {
    fn default() -> Self {
        Self {
            max_bytes: 5 * 1024,
            check_attachments: false,
            recall: true,
            recall_window_ms: 120_000,
            edit: true,
            max_edits: 10,
            legacy_result: "success".to_owned(),
            offline_direct: 500,
            offline_group: 200,
            retention_days: 7,
            import_callbacks: false,
        }
    }
}

/// A rate: so many per window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Allowed per window.
    pub limit: u64,
    /// Window, milliseconds. Windows begin at multiples of it since 1970, so days begin at 00:00 UTC.
    pub window_ms: i64,
}

/// Rates per AppKey (documentation pages "limitationapi").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuotaSettings {
    /// Off: nothing is ever refused for its rate.
    pub enabled: bool,
    /// Rates that replace the built-in ones, by name: `default`, `token`, `users`, `presence`, `history`,
    /// `send_users`, `send_users_messages`, `send_groups`, `send_groups_messages`, `send_rooms`,
    /// `send_rooms_messages`, `send_targeted`, `broadcast`, `broadcast_day`, `broadcast_online`,
    /// `broadcast_online_day`, `broadcast_rooms`, `broadcast_rooms_day`, `room_create`, `delete_conversation`,
    /// `bulk_delete_users`.
    pub rates: BTreeMap<String, Rate>,
}

impl Default for QuotaSettings {
    fn default() -> Self {
        Self { enabled: true, rates: BTreeMap::new() }
    }
}

/// Which clock an hour file's name follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Zone {
    /// Mainland clusters.
    Beijing,
    /// Overseas clusters.
    Utc,
}

/// What an hour without messages looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmptyHour {
    /// 404 `storage_object_not_found`.
    NotFound,
    /// 200 and a file without lines.
    EmptyFile,
}

/// Field names of the roaming query, which no stored page shows in full. *UNCONFIRMED*.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoamingSettings {
    /// The service is on; off answers 400 `service open exception`.
    pub enabled: bool,
    /// The endpoint exists on this cluster; otherwise 404.
    pub deployed: bool,
    /// Largest `limit`.
    pub max_limit: usize,
    /// Field under `data` that holds the messages.
    pub messages_field: String,
    /// The word for oldest first (`down` is newest first).
    pub ascending_word: String,
}

impl Default for RoamingSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            deployed: true,
            max_limit: 50,
            messages_field: "messages".to_owned(),
            ascending_word: "up".to_owned(),
        }
    }
}

/// Hourly files and roaming.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistorySettings {
    /// The clock of the names.
    pub zone: Zone,
    /// Time from the end of an hour to its file, milliseconds. No promise is documented.
    pub publish_delay_ms: i64,
    /// Days of files kept. 3.
    pub depth_days: i64,
    /// An hour without messages.
    pub empty_hour: EmptyHour,
    /// Lifetime of a signed address, seconds. 1,800 in the vendor's samples.
    pub url_lifetime_s: i64,
    /// The download carries `Content-Encoding: gzip`. *UNCONFIRMED*.
    pub content_encoding: bool,
    /// Files per hour. Samples show one. *UNCONFIRMED*.
    pub files_per_hour: usize,
    /// A published file changes when a message is recalled or edited. *UNCONFIRMED*.
    pub rewrites: bool,
    /// Command messages are in the files. *UNCONFIRMED*.
    pub commands: bool,
    /// Online-only messages are in the files. *UNCONFIRMED*.
    pub online_only: bool,
    /// Imported messages are in the files. *UNCONFIRMED*.
    pub imports: bool,
    /// Text streams are in the files. *UNCONFIRMED*.
    pub streams: bool,
    /// With the fault `file_grows`: time from the first publication to the whole file, milliseconds.
    pub grow_ms: i64,
    /// The roaming query.
    pub roaming: RoamingSettings,
}

impl Default for HistorySettings {
    fn default() -> Self {
        Self {
            zone: Zone::Beijing,
            publish_delay_ms: 3_600_000,
            depth_days: 3,
            empty_hour: EmptyHour::NotFound,
            url_lifetime_s: 1_800,
            content_encoding: false,
            files_per_hour: 1,
            rewrites: false,
            commands: true,
            online_only: false,
            imports: false,
            streams: true,
            grow_ms: 3_600_000,
            roaming: RoamingSettings::default(),
        }
    }
}

/// The two documented forms of `callId`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallIdForm {
    /// `{appkey}_{msg_id}` where there is a message, `{appkey}_{uuid}` elsewhere.
    MessageId,
    /// `{appkey}_{uuid}` everywhere.
    Uuid,
}

/// Callback delivery and forms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallbackSettings {
    /// Post-send rules. At most 4 rules in all.
    pub rules: Vec<CallbackRule>,
    /// Pre-send rules.
    pub pre_send: Vec<PreSendRule>,
    /// Rules allowed in all; more by contract.
    pub max_rules: usize,
    /// Limit per attempt, milliseconds. 10 s in the 2023 pages.
    pub timeout_ms: u64,
    /// Requests in flight at once. *UNCONFIRMED*.
    pub concurrency: usize,
    /// Longest accepted reply, characters.
    pub max_reply_chars: usize,
    /// Failures within [`CallbackSettings::ban_window_ms`] that start a ban.
    pub ban_failures: usize,
    /// The window, milliseconds.
    pub ban_window_ms: u64,
    /// Lengths of the 1st, 2nd, … ban within 24 h, milliseconds.
    pub ban_ladder_ms: Vec<u64>,
    /// Form of `callId`.
    pub call_id: CallIdForm,
    /// Families sent without `callId` and `security`.
    pub unsigned: Vec<EventFamily>,
    /// Group operations are also reported in the legacy `muc` form.
    pub legacy_groups: bool,
    /// Every accepted message brings a moderation result.
    pub moderation: bool,
    /// Every offline recipient brings a failed push result.
    pub push_results: bool,
    /// The paid store of failed callbacks is bought.
    pub storage: bool,
    /// Events the store holds; the oldest slots go first.
    pub storage_events: usize,
    /// Time an event stays in that store, milliseconds. 3 days.
    pub storage_keep_ms: i64,
}

impl Default for CallbackSettings {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            pre_send: Vec::new(),
            max_rules: 4,
            timeout_ms: 10_000,
            concurrency: 64,
            max_reply_chars: 1_000,
            ban_failures: 90,
            ban_window_ms: 30_000,
            ban_ladder_ms: [5, 10, 15, 20, 25].map(|minutes| minutes * 60_000).to_vec(),
            call_id: CallIdForm::MessageId,
            unsigned: vec![EventFamily::Reaction],
            legacy_groups: false,
            moderation: false,
            push_results: false,
            storage: true,
            storage_events: 100_000,
            storage_keep_ms: 3 * 24 * 3_600_000,
        }
    }
}

/// Attachments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileSettings {
    /// Largest upload, bytes. 10 MB.
    pub max_bytes: usize,
    /// Time a file is kept, milliseconds. 7 days.
    pub keep_ms: i64,
    /// Extending a lifetime is activated.
    pub lifetime: bool,
    /// Bytes held over all files; the oldest go first.
    pub total_bytes: usize,
}

impl Default for FileSettings {
    fn default() -> Self {
        Self {
            max_bytes: 10 * 1024 * 1024,
            keep_ms: 7 * 24 * 3_600_000,
            lifetime: true,
            total_bytes: 256 * 1024 * 1024,
        }
    }
}
