//! Settings by capability, each with the vendor's documented default.

use std::time::Duration;

use serde::Deserialize;

/// The unit in which a cluster counts `ttl` and `expires_in`. Seconds everywhere but on the cluster "VIP 5".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TtlUnit {
    /// Seconds.
    #[default]
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

impl TtlUnit {
    pub(crate) fn count(self, duration: Duration) -> u64 {
        match self {
            Self::Seconds => duration.as_secs(),
            Self::Milliseconds => u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        }
    }

    pub(crate) fn duration(self, count: u64) -> Duration {
        match self {
            Self::Seconds => Duration::from_secs(count),
            Self::Milliseconds => Duration::from_millis(count),
        }
    }
}

/// How the app's token is got and kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenConfig {
    /// The lifetime asked for; absent: the console's setting. Zero asks for one that never ends.
    #[serde(with = "humantime_serde")]
    pub ttl: Option<Duration>,
    /// The cluster's unit.
    pub unit: TtlUnit,
    /// The part of the lifetime after which a new one is fetched, 0 to 1.
    pub renew_after: f64,
    /// Between two renewals caused by refusals at least this long: the vendor bans accounts that fetch too often.
    #[serde(with = "humantime_serde")]
    pub min_renewal_interval: Duration,
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self { ttl: None, unit: TtlUnit::Seconds, renew_after: 0.8, min_renewal_interval: Duration::from_secs(1) }
    }
}

/// How users' tokens are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginMethod {
    /// The vendor makes them (`grant_type = inherit`).
    #[default]
    Inherit,
    /// They are made here from the client secret, without a call.
    Dynamic,
}

/// The tokens of users.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoginConfig {
    /// How they are made.
    pub method: LoginMethod,
    /// Their lifetime.
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
}

impl Default for LoginConfig {
    fn default() -> Self {
        Self { method: LoginMethod::Inherit, ttl: Duration::from_secs(24 * 3600) }
    }
}

/// What to do with callbacks of kinds that the vendor's samples show without a signature (reactions, push results).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnsignedPolicy {
    /// Refuse them.
    #[default]
    Refuse,
    /// Take them, marked as unsigned. Anyone who knows the address can forge them.
    Accept,
}

/// Verification of callbacks and pre-send replies.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallbackConfig {
    /// How old a callback may be; absent: any age, because the vendor's store replays old ones with their old time.
    #[serde(with = "humantime_serde")]
    pub max_age: Option<Duration>,
    /// How far ahead of our clock a callback's time may be.
    #[serde(with = "humantime_serde")]
    pub max_ahead: Duration,
    /// Kinds without a signature.
    pub unsigned: UnsignedPolicy,
    /// The code the sender of a refused message is shown; absent: the vendor's own text.
    pub reject_code: Option<String>,
    /// Whether a callback rule includes messages sent over REST, so that our own sends come back as echoes.
    pub echoes: bool,
}

impl Default for CallbackConfig {
    fn default() -> Self {
        Self {
            max_age: None,
            max_ahead: Duration::from_secs(600),
            unsigned: UnsignedPolicy::Refuse,
            reject_code: None,
            echoes: true,
        }
    }
}

/// The importance of messages sent to rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomLevel {
    /// Kept longest under load.
    High,
    /// As clients send.
    Normal,
    /// Dropped first.
    Low,
}

/// Sending and recalling.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SendingConfig {
    /// The `ext` key that carries our mark.
    pub mark_key: String,
    /// The `ext` key that carries mentions: a list of users or `ALL`, as the vendor's UI kits write it.
    pub mention_key: String,
    /// Bytes of body and `ext` together. 5 KB by the present documentation, 40 KB by older ones.
    pub max_bytes: u32,
    /// The importance of messages to rooms; absent: the vendor's default.
    pub room_level: Option<RoomLevel>,
    /// The callback route of sent messages (`env`). A name without a route means no callback at all.
    pub env: Option<String>,
    /// How long after sending the app may recall: 2 minutes, up to 7 days by console.
    #[serde(with = "humantime_serde")]
    pub recall_window: Duration,
    /// Recall regardless of the window.
    pub recall_force: bool,
}

impl Default for SendingConfig {
    fn default() -> Self {
        Self {
            mark_key: "sb".to_owned(),
            mention_key: "em_at_list".to_owned(),
            max_bytes: 5 * 1024,
            room_level: None,
            env: None,
            recall_window: Duration::from_secs(120),
            recall_force: false,
        }
    }
}

/// The zone in which a cluster names hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Zone {
    /// UTC+8: clusters in mainland China.
    #[default]
    Beijing,
    /// UTC: clusters elsewhere.
    Utc,
}

/// Hourly history files.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// The cluster's zone.
    pub zone: Zone,
    /// An hour's file may be there this long after its end.
    #[serde(with = "humantime_serde")]
    pub earliest: Duration,
    /// After this long it does not change any more. The vendor promises nothing and advises 24 h under load.
    #[serde(with = "humantime_serde")]
    pub final_after: Duration,
    /// How long files are kept: 3 days, more by contract.
    #[serde(with = "humantime_serde")]
    pub kept: Duration,
    /// Calls admitted in a minute: 10, more by contract.
    pub calls_per_minute: u32,
    /// The longest line that is read, in bytes.
    pub max_line_bytes: usize,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self {
            zone: Zone::Beijing,
            earliest: Duration::from_secs(3600),
            final_after: Duration::from_secs(30 * 3600),
            kept: Duration::from_secs(3 * 24 * 3600),
            calls_per_minute: 10,
            max_line_bytes: 4 << 20,
        }
    }
}

/// Queries of one conversation (`/api/server/v6/…/roaming`). What the vendor's pages leave open is a setting.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoamingConfig {
    /// Whether to use them at all.
    pub enabled: bool,
    /// Messages in one page.
    pub max_page: u32,
    /// How far back the account's plan reaches: 3, 7 or 90 days.
    #[serde(with = "humantime_serde")]
    pub depth: Option<Duration>,
    /// After this long a message we sent would show if it was accepted; absent: unknown, so absence proves nothing.
    #[serde(with = "humantime_serde")]
    pub own_sends_after: Option<Duration>,
    /// The value of `order` for newest to oldest.
    pub order: String,
    /// Where the messages are in the answer, as a JSON pointer.
    pub messages: String,
    /// Where the next cursor is in the answer, as a JSON pointer.
    pub cursor: String,
}

impl Default for RoamingConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            max_page: 50,
            depth: None,
            own_sends_after: None,
            order: "down".to_owned(),
            messages: "/data/messages".to_owned(),
            cursor: "/data/pagination/cursor".to_owned(),
        }
    }
}

/// The paid store of failed callbacks. An account without it answers so, and is asked again after a day.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeptConfig {
    /// Whether to use it at all.
    pub enabled: bool,
    /// How long a slot is kept: 3 days.
    #[serde(with = "humantime_serde")]
    pub kept: Duration,
    /// How often a slot is sent again at most; the vendor advises 10.
    pub max_repeats: u32,
}

impl Default for KeptConfig {
    fn default() -> Self {
        Self { enabled: true, kept: Duration::from_secs(3 * 24 * 3600), max_repeats: 10 }
    }
}

/// New groups and rooms.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupConfig {
    /// Their description.
    pub description: String,
    /// The business's own text kept with a group, at most 8 KB.
    pub custom: Option<String>,
    /// The most members of a group; 200 by the vendor's default.
    pub max_users: u32,
    /// The most members of a room, at most 10,000.
    pub max_room_users: u32,
    /// Whether users must be admitted to a group.
    pub members_only: bool,
    /// Members asked for in one page.
    pub page_size: u32,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            description: String::new(),
            custom: None,
            max_users: 200,
            max_room_users: 1000,
            members_only: true,
            page_size: 100,
        }
    }
}
