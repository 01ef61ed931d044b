//! How our own sends fare.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{ClientMessageId, MessageId, SendId, VendorMessageId};

/// Where a send stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum SendState {
    /// Durable here, not yet on its way.
    Queued = 0,
    /// Handed to the vendor, no answer yet.
    Dispatched = 1,
    /// The answer never came; it may or may not have been accepted.
    InDoubt = 2,
    /// The vendor took it.
    Accepted = 3,
    /// It reached the recipient (where the vendor says so).
    Delivered = 4,
    /// The recipient read it (where the vendor says so).
    Read = 5,
    /// It will not be sent; see the reason.
    Failed = 6,
    /// Its time ran out before it was sent.
    Expired = 7,
    /// It was withdrawn before it was sent.
    Cancelled = 8,
}

impl SendState {
    /// The number stored with a send.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// From a stored number.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Queued,
            1 => Self::Dispatched,
            2 => Self::InDoubt,
            3 => Self::Accepted,
            4 => Self::Delivered,
            5 => Self::Read,
            6 => Self::Failed,
            7 => Self::Expired,
            8 => Self::Cancelled,
            _ => return None,
        })
    }

    /// The stable name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Dispatched => "dispatched",
            Self::InDoubt => "in_doubt",
            Self::Accepted => "accepted",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether a send in this state may go to `next`. Every other step is a fault of ours.
    pub const fn may_become(self, next: Self) -> bool {
        use SendState::{Accepted, Cancelled, Delivered, Dispatched, Expired, Failed, InDoubt, Queued, Read};
        matches!(
            (self, next),
            // An echo, or evidence found in history, can overtake the answer from any open state.
            (Queued, Dispatched | Accepted | Failed | Expired | Cancelled)
                | (Dispatched, Queued | InDoubt | Accepted | Failed)
                | (InDoubt, Queued | Accepted | Failed)
                | (Accepted, Delivered | Read)
                | (Delivered, Read)
                // Only because somebody asked for it to be sent again.
                | (Failed, Queued)
        )
    }

    /// Whether the send still waits for something that we must do.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Dispatched | Self::InDoubt)
    }
}

impl fmt::Display for SendState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A send changed its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SendStatus {
    /// The request.
    pub send_id: SendId,
    /// The message of this recipient.
    pub message_id: MessageId,
    /// The caller's key, if it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<ClientMessageId>,
    /// The new state.
    pub state: SendState,
    /// Why, for `in_doubt`, `failed`, `expired` and a return to `queued`: a stable lower-case word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Attempts made so far.
    pub attempts: u32,
    /// The vendor's id, once accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor_id: Option<VendorMessageId>,
}
