//! What the vendor admits, as data. Defaults are those of its pages on limits; plans differ, so quotas are settings.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard_contract::{ConversationKind, Quota};
use switchboard_outbound::Quotas;

/// Recipients of one private send.
pub(crate) const MAX_USERS: usize = 1000;
/// Recipients of one system send.
pub(crate) const MAX_SYSTEM_USERS: usize = 100;
/// Users in one call that makes or enters a group.
pub(crate) const MAX_MEMBERS: usize = 1000;
/// Bytes of a content.
pub(crate) const MAX_CONTENT_BYTES: usize = 128 * 1024;
/// Bytes of an id.
pub(crate) const MAX_ID_BYTES: usize = 64;
/// Characters of an ultra group's channel.
pub(crate) const MAX_CHANNEL: usize = 20;
/// Characters of a user's name.
pub(crate) const MAX_NAME: usize = 64;
/// Characters of the address of a user's picture.
pub(crate) const MAX_AVATAR: usize = 1024;
/// Characters of a group's name.
pub(crate) const MAX_GROUP_NAME: usize = 255;
/// Minutes of a ban: 30 days.
pub(crate) const MAX_BAN_MINUTES: u64 = 43_200;
/// Messages in one page of a query.
pub(crate) const MAX_PAGE: u32 = 100;
/// Members of a room that can be listed.
pub(crate) const MAX_ROOM_MEMBERS: usize = 500;

/// Groups of calls that share a quota.
pub(crate) mod group {
    pub(crate) const GENERAL: &str = "general";
    pub(crate) const TOKEN: &str = "token";
    pub(crate) const PRIVATE: &str = "private";
    pub(crate) const GROUP: &str = "group";
    pub(crate) const ULTRA_GROUP: &str = "ultra_group";
    pub(crate) const ROOM: &str = "room";
    pub(crate) const SYSTEM: &str = "system";
    pub(crate) const RECALL: &str = "recall";
    pub(crate) const HISTORY: &str = "history";

    /// Groups whose calls of an earlier life need not be guessed: sends stand in the journal.
    pub(crate) const KNOWN: [&str; 5] = [PRIVATE, GROUP, ULTRA_GROUP, ROOM, SYSTEM];
}

/// What the account's plan admits, for each app key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RongCloudQuotas {
    /// Recipients of private messages in a minute.
    pub private_per_minute: u32,
    /// Group messages in a second; a message to three groups counts three times.
    pub group_per_second: u32,
    /// Ultra-group messages in a second.
    pub ultra_group_per_second: u32,
    /// Room messages in a second.
    pub room_per_second: u32,
    /// System messages in a second, each recipient counted.
    pub system_per_second: u32,
    /// Recalls in a second.
    pub recall_per_second: u32,
    /// Token calls in a second.
    pub token_per_second: u32,
    /// History queries and log requests in a second.
    pub history_per_second: u32,
    /// Every other call in a second.
    pub general_per_second: u32,
}

impl Default for RongCloudQuotas {
    fn default() -> Self {
        Self {
            private_per_minute: 6000,
            group_per_second: 20,
            ultra_group_per_second: 100,
            room_per_second: 100,
            system_per_second: 100,
            recall_per_second: 100,
            token_per_second: 200,
            history_per_second: 100,
            general_per_second: 100,
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

const fn calls(calls: u32) -> Quota {
    Quota { calls: Some(calls), units: None, per: SECOND }
}

const fn units(units: u32, per: Duration) -> Quota {
    Quota { calls: None, units: Some(units), per }
}

impl RongCloudQuotas {
    pub(crate) fn faults(&self, faults: &mut Vec<String>) {
        for (name, value) in [
            ("private_per_minute", self.private_per_minute),
            ("group_per_second", self.group_per_second),
            ("ultra_group_per_second", self.ultra_group_per_second),
            ("room_per_second", self.room_per_second),
            ("system_per_second", self.system_per_second),
            ("recall_per_second", self.recall_per_second),
            ("token_per_second", self.token_per_second),
            ("history_per_second", self.history_per_second),
            ("general_per_second", self.general_per_second),
        ] {
            if value == 0 {
                faults.push(format!("quotas.{name}: must not be zero"));
            }
        }
    }

    /// For the limiter around the calls.
    pub(crate) fn groups(&self) -> Quotas {
        Quotas::new()
            .with(group::GENERAL, calls(self.general_per_second))
            .with(group::TOKEN, calls(self.token_per_second))
            .with(group::PRIVATE, units(self.private_per_minute, MINUTE))
            .with(group::GROUP, units(self.group_per_second, SECOND))
            .with(group::ULTRA_GROUP, units(self.ultra_group_per_second, SECOND))
            .with(group::ROOM, units(self.room_per_second, SECOND))
            .with(group::SYSTEM, units(self.system_per_second, SECOND))
            .with(group::RECALL, calls(self.recall_per_second))
            .with(group::HISTORY, calls(self.history_per_second))
    }

    /// For the dispatcher above us, which knows kinds of conversation: of groups and ultra groups the tighter one.
    pub(crate) fn by_kind(&self) -> Vec<(ConversationKind, Quota)> {
        let groups = self.group_per_second.min(self.ultra_group_per_second);
        vec![
            (ConversationKind::Direct, units(self.private_per_minute, MINUTE)),
            (ConversationKind::Group, units(groups, SECOND)),
            (ConversationKind::Room, units(self.room_per_second, SECOND)),
            (ConversationKind::System, units(self.system_per_second, SECOND)),
        ]
    }

    pub(crate) fn general(&self) -> Quota {
        calls(self.general_per_second)
    }

    pub(crate) fn history(&self) -> Quota {
        calls(self.history_per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_published_limits() {
        let quotas = RongCloudQuotas::default();
        assert_eq!(
            quotas.by_kind(),
            [
                (ConversationKind::Direct, Quota { calls: None, units: Some(6000), per: MINUTE }),
                (ConversationKind::Group, Quota { calls: None, units: Some(20), per: SECOND }),
                (ConversationKind::Room, Quota { calls: None, units: Some(100), per: SECOND }),
                (ConversationKind::System, Quota { calls: None, units: Some(100), per: SECOND }),
            ]
        );
        let mut faults = Vec::new();
        RongCloudQuotas { token_per_second: 0, ..quotas }.faults(&mut faults);
        assert_eq!(faults, ["quotas.token_per_second: must not be zero"]);
    }
}
