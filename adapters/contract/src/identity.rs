//! Turning business ids into ids a vendor accepts, and back.
//!
//! A legal id that does not begin with the escape prefix is itself. Every other id is escaped byte by byte. An id
//! that would become too long has no spelling; the identity map binds it by table instead.

use crate::ids::{GroupId, UserId, VendorGroupId, VendorUserId};

/// How one vendor spells ids.
#[derive(Clone, Copy, Debug)]
pub struct Spelling {
    /// Whether the vendor admits this byte unchanged. A vendor that folds case admits lower case only.
    pub allowed: fn(u8) -> bool,
    /// What an escaped id begins with. Made of allowed bytes.
    pub prefix: &'static str,
    /// The byte that introduces two hex digits in an escaped id. Allowed, and escaped itself.
    pub escape: u8,
    /// The longest id the vendor takes, in bytes.
    pub max_bytes: usize,
}

impl Spelling {
    /// The vendor's spelling, or `None` when the id has none and must be bound by table.
    pub fn encode(&self, id: &str) -> Option<String> {
        let legal = !id.is_empty() && id.bytes().all(self.allowed) && !id.starts_with(self.prefix);
        let spelled = if legal {
            id.to_owned()
        } else {
            let mut out = self.prefix.to_owned();
            for byte in id.bytes() {
                if byte != self.escape && (self.allowed)(byte) {
                    out.push(char::from(byte));
                } else {
                    out.push(char::from(self.escape));
                    out.push_str(&format!("{byte:02x}"));
                }
            }
            out
        };
        (spelled.len() <= self.max_bytes).then_some(spelled)
    }

    /// The business id behind a vendor's spelling. A spelling that merely looks escaped is itself.
    pub fn decode(&self, spelled: &str) -> String {
        let Some(rest) = spelled.strip_prefix(self.prefix) else { return spelled.to_owned() };
        let bytes = rest.as_bytes();
        let mut out = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while at < bytes.len() {
            if bytes[at] == self.escape {
                let digits = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
                let Some(byte) = digits.and_then(|hex| u8::from_str_radix(hex, 16).ok()) else {
                    return spelled.to_owned();
                };
                out.push(byte);
                at += 3;
            } else {
                out.push(bytes[at]);
                at += 1;
            }
        }
        match String::from_utf8(out) {
            // Only what `encode` would have written is ours.
            Ok(id) if self.encode(&id).as_deref() == Some(spelled) => id,
            _ => spelled.to_owned(),
        }
    }
}

/// Who chooses the ids of groups or rooms.
#[derive(Clone, Copy, Debug)]
pub enum GroupNaming {
    /// The business does, in this spelling.
    Business(Spelling),
    /// The vendor does, when the group is made; the identity map binds them.
    Vendor,
}

/// How a vendor names users, groups and rooms.
#[derive(Clone, Copy, Debug)]
pub struct Naming {
    /// Users.
    pub users: Spelling,
    /// Groups.
    pub groups: GroupNaming,
    /// Rooms.
    pub rooms: GroupNaming,
}

impl Naming {
    /// A user's spelling, or `None` when it must be bound by table.
    pub fn encode_user(&self, user: &UserId) -> Option<VendorUserId> {
        self.users.encode(user.as_str()).map(VendorUserId::from)
    }

    /// The user behind a spelling that no table binds.
    pub fn decode_user(&self, user: &VendorUserId) -> UserId {
        UserId::from(self.users.decode(user.as_str()))
    }
}

impl GroupNaming {
    /// A group's spelling; `None` when only a table can tell.
    pub fn encode(&self, group: &GroupId) -> Option<VendorGroupId> {
        match self {
            Self::Business(spelling) => spelling.encode(group.as_str()).map(VendorGroupId::from),
            Self::Vendor => None,
        }
    }

    /// The group behind a spelling that no table binds. For vendors that choose ids it is the vendor's id itself.
    pub fn decode(&self, group: &VendorGroupId) -> GroupId {
        match self {
            Self::Business(spelling) => GroupId::from(spelling.decode(group.as_str())),
            Self::Vendor => GroupId::from(group.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    const LOWER: Spelling = Spelling {
        allowed: |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.'),
        prefix: "x_",
        escape: b'_',
        max_bytes: 64,
    };

    #[test]
    fn legal_ids_are_themselves_and_others_are_escaped() {
        assert_eq!(LOWER.encode("wei.chen").unwrap(), "wei.chen");
        assert_eq!(LOWER.encode("Wei").unwrap(), "x__57ei");
        assert_eq!(LOWER.encode("x_1").unwrap(), "x_x_5f1");
        assert_eq!(LOWER.encode(&"A".repeat(40)), None);
        assert_eq!(LOWER.decode("x_1"), "x_1", "not a spelling of ours");
    }

    proptest! {
        #[test]
        fn no_two_ids_share_a_spelling(one in ".{0,5}", other in ".{0,5}") {
            let (a, b) = (LOWER.encode(&one).unwrap(), LOWER.encode(&other).unwrap());
            prop_assert_eq!(a == b, one == other);
            prop_assert_eq!(LOWER.decode(&a), one);
            prop_assert!(a.bytes().all(LOWER.allowed));
        }
    }
}
