//! Kinds of conversation as the vendor names and numbers them, and the place they lead to.

use switchboard_contract::{ConversationKind, InboundPlace};

/// The channel of an ultra group when none is named.
pub(crate) const DEFAULT_CHANNEL: &str = "RCDefault";

/// The vendor's kind of conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    /// `PERSON`, 1.
    Person,
    /// `PERSONS`, 2: a discussion, the vendor's retired form of a group.
    Discussion,
    /// `GROUP`, 3.
    Group,
    /// `TEMPGROUP`, 4.
    Room,
    /// `CUSTOMERSERVICE`, 5.
    Service,
    /// `NOTIFY`, 6.
    System,
    /// `MC` and `MP`, 7 and 8: an account that publishes to its followers.
    Public,
    /// `ULTRAGROUP`, 10.
    Ultra,
}

impl Channel {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "PERSON" => Self::Person,
            "PERSONS" => Self::Discussion,
            "GROUP" => Self::Group,
            "TEMPGROUP" => Self::Room,
            "CUSTOMERSERVICE" => Self::Service,
            "NOTIFY" => Self::System,
            "MC" | "MP" => Self::Public,
            "ULTRAGROUP" => Self::Ultra,
            _ => return None,
        })
    }

    pub(crate) fn from_number(number: i64) -> Option<Self> {
        Some(match number {
            1 => Self::Person,
            2 => Self::Discussion,
            3 => Self::Group,
            4 => Self::Room,
            5 => Self::Service,
            6 => Self::System,
            7 | 8 => Self::Public,
            10 => Self::Ultra,
            _ => return None,
        })
    }

    /// By name, or by number written as text.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        Self::from_name(text).or_else(|| Self::from_number(text.parse().ok()?))
    }

    /// Where a message from `from` to `target` is.
    ///
    /// A discussion is a group by another name. Customer service and public accounts speak with one user at a time
    /// and are users themselves, so those are direct. Plain groups have no channels, whatever the record says;
    /// ultra groups always have one, so that an answer finds the way back.
    pub(crate) fn place(self, from: &str, target: &str, bus_channel: Option<&str>) -> InboundPlace {
        match self {
            Self::Person | Self::Service | Self::Public => {
                InboundPlace::Direct { from: from.into(), to: target.into() }
            }
            Self::Discussion | Self::Group => InboundPlace::Group { group: target.into(), channel: None },
            Self::Room => InboundPlace::Room { room: target.into() },
            Self::System => InboundPlace::System { from: from.into(), to: target.into() },
            Self::Ultra => {
                let channel = bus_channel.filter(|channel| !channel.is_empty()).unwrap_or(DEFAULT_CHANNEL);
                InboundPlace::Group { group: target.into(), channel: Some(channel.to_owned()) }
            }
        }
    }
}

/// The kind of conversation behind a number; `None` for kinds we have no word for.
pub(crate) fn conversation_kind(number: i64) -> Option<ConversationKind> {
    Channel::from_number(number).map(|channel| match channel {
        Channel::Person | Channel::Service | Channel::Public => ConversationKind::Direct,
        Channel::Discussion | Channel::Group | Channel::Ultra => ConversationKind::Group,
        Channel::Room => ConversationKind::Room,
        Channel::System => ConversationKind::System,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn every_documented_channel_leads_somewhere() {
        let direct = InboundPlace::Direct { from: "a".into(), to: "t".into() };
        let group = InboundPlace::Group { group: "t".into(), channel: None };
        for (name, number, place) in [
            ("PERSON", 1, direct.clone()),
            ("PERSONS", 2, group.clone()),
            ("GROUP", 3, group),
            ("TEMPGROUP", 4, InboundPlace::Room { room: "t".into() }),
            ("CUSTOMERSERVICE", 5, direct.clone()),
            ("NOTIFY", 6, InboundPlace::System { from: "a".into(), to: "t".into() }),
            ("MC", 7, direct.clone()),
            ("MP", 8, direct),
            ("ULTRAGROUP", 10, InboundPlace::Group { group: "t".into(), channel: Some("c".to_owned()) }),
        ] {
            assert_eq!(Channel::from_name(name).unwrap().place("a", "t", Some("c")), place, "{name}");
            assert_eq!(Channel::from_number(number).unwrap().place("a", "t", Some("c")), place, "{number}");
            assert_eq!(Channel::from_text(&number.to_string()), Channel::from_name(name));
        }
        assert_eq!(Channel::from_name("HOLOGRAM"), None);
        assert_eq!(Channel::from_number(9), None);
    }

    #[test]
    fn an_ultra_group_always_has_a_channel() {
        let place = InboundPlace::Group { group: "t".into(), channel: Some(DEFAULT_CHANNEL.to_owned()) };
        assert_eq!(Channel::Ultra.place("a", "t", None), place);
        assert_eq!(Channel::Ultra.place("a", "t", Some("")), place);
    }
}
