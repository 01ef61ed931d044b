//! Conversations, named by the business and the same at every vendor.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::ids::{GroupId, UserId};

/// What a conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConversationKind {
    /// Two users.
    Direct,
    /// A group with members.
    Group,
    /// An open room that users enter and leave.
    Room,
    /// Notices from the business to one user.
    System,
}

impl ConversationKind {
    /// The stable lower-case name, also the first part of an id.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Group => "group",
            Self::Room => "room",
            Self::System => "system",
        }
    }
}

/// A conversation's id: one opaque, URL-safe string that is the same at every vendor.
///
/// The form is `kind~part~part`, where every byte outside `A-Z a-z 0-9 _ . -` is written `!hh`.
/// A direct id is the unordered pair of its users; a group's channel is part of the id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ConversationId(Arc<str>);

impl ConversationId {
    /// The conversation of two users, whichever of them comes first.
    pub fn direct(one: &UserId, other: &UserId) -> Self {
        let (low, high) = if one <= other { (one, other) } else { (other, one) };
        Self::build(ConversationKind::Direct, &[low.as_str(), high.as_str()])
    }

    /// A group.
    pub fn group(group: &GroupId) -> Self {
        Self::build(ConversationKind::Group, &[group.as_str()])
    }

    /// One channel of a group that has channels.
    pub fn group_channel(group: &GroupId, channel: &str) -> Self {
        if channel.is_empty() {
            Self::group(group)
        } else {
            Self::build(ConversationKind::Group, &[group.as_str(), channel])
        }
    }

    /// A room.
    pub fn room(room: &GroupId) -> Self {
        Self::build(ConversationKind::Room, &[room.as_str()])
    }

    /// Notices from `from` to `to`.
    pub fn system(from: &UserId, to: &UserId) -> Self {
        Self::build(ConversationKind::System, &[from.as_str(), to.as_str()])
    }

    /// The id as text, safe in a URL path as it stands.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the conversation is.
    pub fn kind(&self) -> ConversationKind {
        match self.0.as_bytes().first() {
            Some(b'd') => ConversationKind::Direct,
            Some(b'g') => ConversationKind::Group,
            Some(b'r') => ConversationKind::Room,
            _ => ConversationKind::System,
        }
    }

    /// The parts after the kind, unescaped: two users, a group (and channel), a room, or sender and recipient.
    pub fn parts(&self) -> Vec<String> {
        self.0.split('~').skip(1).map(unescape).collect()
    }

    /// The group or room, for those kinds.
    pub fn group_id(&self) -> Option<GroupId> {
        match self.kind() {
            ConversationKind::Group | ConversationKind::Room => self.parts().into_iter().next().map(GroupId::from),
            ConversationKind::Direct | ConversationKind::System => None,
        }
    }

    /// The channel of a group that has channels.
    pub fn channel(&self) -> Option<String> {
        if self.kind() == ConversationKind::Group { self.parts().into_iter().nth(1) } else { None }
    }

    /// In a direct conversation, the user who is not `user`.
    pub fn peer_of(&self, user: &UserId) -> Option<UserId> {
        if self.kind() != ConversationKind::Direct {
            return None;
        }
        let mut parts = self.parts().into_iter();
        let (low, high) = (parts.next()?, parts.next()?);
        Some(UserId::from(if low == user.as_str() { high } else { low }))
    }

    fn build(kind: ConversationKind, parts: &[&str]) -> Self {
        let mut text =
            String::with_capacity(kind.as_str().len() + parts.iter().map(|part| part.len() + 1).sum::<usize>());
        text.push_str(kind.as_str());
        for part in parts {
            text.push('~');
            escape_into(part, &mut text);
        }
        Self(text.into())
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

fn escape_into(part: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for &byte in part.as_bytes() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push('!');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

fn unescape(part: &str) -> String {
    let bytes = part.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'!' {
            // `FromStr` admits only well-formed escapes.
            let hex = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
            out.push(hex(bytes[at + 1]) << 4 | hex(bytes[at + 2]));
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl FromStr for ConversationId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::new(ErrorKind::InvalidInput, format!("conversation: {why}"));
        let mut parts = text.split('~');
        let kind = match parts.next() {
            Some("direct") => ConversationKind::Direct,
            Some("group") => ConversationKind::Group,
            Some("room") => ConversationKind::Room,
            Some("system") => ConversationKind::System,
            _ => return Err(wrong("must begin with direct~, group~, room~ or system~")),
        };
        let mut plain = Vec::new();
        for part in parts {
            let bytes = part.as_bytes();
            let mut at = 0;
            while at < bytes.len() {
                let step = match bytes[at] {
                    b'!' if bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) => 3,
                    byte if is_plain(byte) => 1,
                    _ => return Err(wrong("holds a byte that must be written !hh")),
                };
                at += step;
            }
            if part.is_empty() {
                return Err(wrong("holds an empty part"));
            }
            plain.push(unescape(part));
        }
        // Rebuilding makes the text canonical: users in order, hex in lower case.
        match (kind, plain.as_slice()) {
            (ConversationKind::Direct, [one, other]) => {
                Ok(Self::direct(&UserId::from(one.as_str()), &UserId::from(other.as_str())))
            }
            (ConversationKind::System, [from, to]) => Ok(Self::build(kind, &[from, to])),
            (ConversationKind::Group, [group]) => Ok(Self::build(kind, &[group])),
            (ConversationKind::Group, [group, channel]) => Ok(Self::build(kind, &[group, channel])),
            (ConversationKind::Room, [room]) => Ok(Self::build(kind, &[room])),
            _ => Err(wrong("has the wrong number of parts for its kind")),
        }
    }
}

impl TryFrom<String> for ConversationId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ConversationId> for String {
    fn from(id: ConversationId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConversationId({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_direct_id_does_not_depend_on_who_speaks_first() {
        let (alice, bob) = (UserId::from("alice"), UserId::from("bob"));
        assert_eq!(ConversationId::direct(&alice, &bob), ConversationId::direct(&bob, &alice));
        assert_eq!("direct~bob~alice".parse::<ConversationId>().unwrap().as_str(), "direct~alice~bob");
    }

    #[test]
    fn a_malformed_id_is_refused() {
        for text in ["", "direct~a", "group~", "group~a b", "group~!g0", "room~a~b", "thread~x", "group~a!2"] {
            assert!(text.parse::<ConversationId>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_name_survives(one in ".{1,20}", other in ".{1,20}") {
            let id = ConversationId::group_channel(&GroupId::from(one.as_str()), &other);
            prop_assert_eq!(id.parts(), vec![one, other]);
            prop_assert_eq!(&id.as_str().parse::<ConversationId>().unwrap(), &id);
            let plain = id.as_str().bytes().all(|b| is_plain(b) || b == b'~' || b == b'!');
            prop_assert!(plain);
        }
    }
}
