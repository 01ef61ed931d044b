//! Identifiers. Business ids and vendor ids are different types on purpose: only
//! the identity map may turn one into the other.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps the text as it is; nothing is checked or folded.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), &self.0)
            }
        }
    };
}

text_id! {
    /// A customer of this installation. The first column of every stored key.
    TenantId
}
text_id! {
    /// A person or bot as the business names it. Never changes when the vendor does.
    UserId
}
text_id! {
    /// A group or room as the business names it.
    GroupId
}
text_id! {
    /// The alias of a provider in the configuration (`[providers.main]`). Stores never key on it.
    ProviderId
}
text_id! {
    /// The vendor's id of one application, such as an app key. With [`VendorKind`] it names an app for ever.
    AppKey
}
text_id! {
    /// The vendor family an adapter speaks, such as `huanxin`.
    VendorKind
}
text_id! {
    /// A user as the vendor spells it.
    VendorUserId
}
text_id! {
    /// A group or room as the vendor spells it.
    VendorGroupId
}
text_id! {
    /// A message id chosen by the vendor. Opaque; bound to our [`MessageId`].
    VendorMessageId
}
text_id! {
    /// The sender's own key of a message. Unique within a tenant for ever; repeating a send under it is harmless.
    ClientMessageId
}
text_id! {
    /// The durable name of a consumer of the hub.
    SubscriberName
}

impl Default for TenantId {
    /// The tenant of installations that serve only one: `default`.
    fn default() -> Self {
        Self::from("default")
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh UUIDv7: ids made later in this process sort later.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// Wraps an existing UUID.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID.
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }

            /// The 16 bytes, big endian, so that byte order is time order.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// From 16 stored bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id! {
    /// Our id of a message, the same whatever vendor carried it. Also the id of a send's leg.
    MessageId
}
uuid_id! {
    /// Our id of one event in the journal.
    EventId
}
uuid_id! {
    /// Our id of one accepted send request, which may have many recipients.
    SendId
}
uuid_id! {
    /// Our id of one job that fetches the past.
    BackfillId
}

/// A slice of a tenant's journal that has one writer. One (`0`) by default; several
/// appear only by configuration, so growth does not change the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shard(pub u16);

/// The place of an event in its tenant's shard of the journal, from 1. Never becomes visible out of order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

impl Position {
    /// Before the first event.
    pub const START: Self = Self(0);

    /// The position right after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of an event within its conversation, from 1, with no gap and no repeat. It is the order of arrival
/// and of delivery; it is not the order of the vendor's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One application at one vendor. Stores key on this, never on the alias in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct App {
    /// The vendor family.
    pub kind: VendorKind,
    /// The vendor's key of the application.
    pub key: AppKey,
}

impl App {
    /// Names an app.
    pub fn new(kind: impl Into<VendorKind>, key: impl Into<AppKey>) -> Self {
        Self { kind: kind.into(), key: key.into() }
    }
}

impl fmt::Display for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.key)
    }
}
