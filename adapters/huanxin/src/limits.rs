//! The vendor's quotas and sizes, as data (REST/limitationapi, PROD/limitation).

use std::time::Duration;

use switchboard_contract::{ConversationKind, Quota};
use switchboard_outbound::Quotas;

use crate::config::HuanxinConfig;

/// Users in one direct send.
pub(crate) const MAX_USERS: usize = 600;
/// Members named in a directed group send.
pub(crate) const MAX_AUDIENCE: usize = 20;
/// Users in one call that adds or removes members.
pub(crate) const MAX_MEMBERS: usize = 60;
/// Users in one query of online states.
pub(crate) const MAX_STATES: usize = 100;
/// The longest address of a call, in bytes, which bounds the members removed at once.
pub(crate) const MAX_PATH: usize = 4000;
/// Entries in a custom message.
pub(crate) const MAX_CUSTOM_ENTRIES: usize = 16;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Names of the quota groups.
pub(crate) mod group {
    pub(crate) const TOKEN: &str = "token";
    pub(crate) const SEND_DIRECT: &str = "send_direct";
    pub(crate) const SEND_GROUP: &str = "send_group";
    pub(crate) const SEND_GROUP_DIRECTED: &str = "send_group_directed";
    pub(crate) const SEND_ROOM: &str = "send_room";
    pub(crate) const RECALL: &str = "recall";
    pub(crate) const USERS: &str = "users";
    pub(crate) const GROUPS: &str = "groups";
    pub(crate) const ROOM_CREATE: &str = "room_create";
    pub(crate) const HISTORY_FILES: &str = "history_files";
    pub(crate) const ROAMING: &str = "roaming";
    pub(crate) const KEPT_CALLBACKS: &str = "kept_callbacks";

    /// Groups whose calls of an earlier life need not be guessed: sends stand in the journal, and of tokens a process
    /// asks for one.
    pub(crate) const KNOWN: [&str; 5] = [TOKEN, SEND_DIRECT, SEND_GROUP, SEND_GROUP_DIRECTED, SEND_ROOM];
}

pub(crate) const fn calls(calls: u32, per: Duration) -> Quota {
    Quota { calls: Some(calls), units: None, per }
}

const fn units(units: u32, per: Duration) -> Quota {
    Quota { calls: None, units: Some(units), per }
}

/// Any endpoint the vendor's tables do not list.
pub(crate) const DEFAULT: Quota = calls(100, SECOND);

/// Quotas of sending by kind of conversation.
pub(crate) fn sending() -> Vec<(ConversationKind, Quota)> {
    vec![
        (ConversationKind::Direct, calls(100, SECOND)),
        (ConversationKind::Direct, units(6000, MINUTE)),
        (ConversationKind::Group, Quota { calls: Some(20), units: Some(20), per: SECOND }),
        (ConversationKind::Room, Quota { calls: Some(100), units: Some(100), per: SECOND }),
    ]
}

pub(crate) fn history_files(config: &HuanxinConfig) -> Quota {
    calls(config.history.calls_per_minute, MINUTE)
}

/// All quotas by group name.
pub(crate) fn quotas(config: &HuanxinConfig) -> Quotas {
    let mut quotas = Quotas::new()
        .with(group::TOKEN, calls(300, SECOND))
        .with(group::SEND_GROUP_DIRECTED, DEFAULT)
        .with(group::RECALL, DEFAULT)
        .with(group::USERS, DEFAULT)
        .with(group::GROUPS, DEFAULT)
        .with(group::ROOM_CREATE, calls(50, SECOND))
        .with(group::ROAMING, DEFAULT)
        .with(group::KEPT_CALLBACKS, DEFAULT)
        .with(group::HISTORY_FILES, history_files(config));
    for (kind, quota) in sending() {
        let group = match kind {
            ConversationKind::Group => group::SEND_GROUP,
            ConversationKind::Room => group::SEND_ROOM,
            ConversationKind::Direct | ConversationKind::System => group::SEND_DIRECT,
        };
        quotas = quotas.with(group, quota);
    }
    quotas
}
