//! Where callbacks go, how they are signed and delivered, and which messages are routed.

use serde::{Deserialize, Serialize};

use super::model::ConversationKind;

/// Where callbacks go; `None` means that callback is not configured in the console.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallbackUrls {
    /// Full message routing.
    pub routing: Option<String>,
    /// User online status.
    pub online_status: Option<String>,
    /// Chatroom status.
    pub chatroom_status: Option<String>,
    /// Message recall and delete. Its shape has only third-party evidence.
    pub message_operation: Option<String>,
    /// Moderation results.
    pub audit: Option<String>,
    /// Pre-send hook, synchronous.
    pub pre_send: Option<String>,
}

impl CallbackUrls {
    /// The same address for every asynchronous callback; the pre-send hook stays unset.
    #[must_use]
    pub fn all(url: &str) -> Self {
        let url = Some(url.to_owned());
        Self {
            routing: url.clone(),
            online_status: url.clone(),
            chatroom_status: url.clone(),
            message_operation: url.clone(),
            audit: url,
            pre_send: None,
        }
    }
}

/// Where a callback's signature is put. Audit results are always signed in headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureStyle {
    /// Query `appKey`, `timestamp`, `nonce`, `signature`: current pages.
    #[default]
    Timestamp,
    /// Query `signTimestamp`, `nonce`, `signature`: older pages.
    SignTimestamp,
    /// Query `appKey`, `signTimestamp`, `nonce`, `signature`: captured 2025.
    AppKeySignTimestamp,
    /// Headers `RC-App-Key`, `RC-Nonce`, `RC-Timestamp`, `RC-Signature`.
    RcHeaders,
    /// Headers `App-Key`, `Nonce`, `Timestamp`, `Signature`.
    Headers,
}

/// Delivery rules of callbacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallbackSettings {
    /// Targets.
    pub urls: CallbackUrls,
    /// Where the signature is put.
    pub signature_style: SignatureStyle,
    /// Sign each attempt anew. UNCONFIRMED.
    pub resign_retries: bool,
    /// Milliseconds until an attempt counts as timed out.
    pub timeout_ms: u64,
    /// Attempts per event, then it is dropped for good.
    pub attempts: u8,
    /// Milliseconds between attempts. UNCONFIRMED.
    pub retry_spacing_ms: u64,
    /// Failed attempts within `pause_window_ms` after which delivery pauses; 0 never pauses. The vendor's number is
    /// unknown.
    pub pause_after_failures: usize,
    /// Window of the count above, milliseconds. UNCONFIRMED.
    pub pause_window_ms: u64,
    /// Length of the pause, milliseconds.
    pub pause_ms: u64,
    /// Events arising during a pause wait for its end instead of being given up. UNCONFIRMED; nothing says they wait.
    pub pause_holds: bool,
    /// Callbacks under way at once.
    pub concurrency: usize,
    /// Recalls through the Server API are told to the operation callback too. UNCONFIRMED.
    pub server_api_operations: bool,
    /// Status events are collected for this long before they leave as one array; 0 sends each at once.
    pub batch_ms: u64,
    /// Milliseconds the pre-send hook may take before the message is delivered regardless.
    pub pre_send_timeout_ms: u64,
}

impl Default for CallbackSettings {
    fn default() -> Self {
        Self {
            urls: CallbackUrls::default(),
            signature_style: SignatureStyle::default(),
            resign_retries: true,
            timeout_ms: 5000,
            attempts: 3,
            retry_spacing_ms: 0,
            pause_after_failures: 100,
            pause_window_ms: 60_000,
            pause_ms: 60_000,
            pause_holds: false,
            concurrency: 64,
            server_api_operations: true,
            batch_ms: 0,
            pre_send_timeout_ms: 3000,
        }
    }
}

/// Which messages the routing callback carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoutingSettings {
    /// Console switch for messages sent through the Server API; off by default at the vendor.
    pub server_api: bool,
    /// Console switch for messages stopped by the word filter.
    pub blocked: bool,
    /// Console switch for status and typing messages.
    pub status: bool,
    /// Only these object names; empty means all.
    pub object_names: Vec<String>,
    /// Only these conversation kinds; empty means all.
    pub kinds: Vec<ConversationKind>,
    /// One callback per recipient of a private Server API fan-out. UNCONFIRMED.
    pub per_recipient: bool,
    /// Include `timestamp` in the body, seen in one capture.
    pub body_timestamp: bool,
    /// Include `clientIp`, seen in one capture.
    pub client_ip: bool,
    /// Include `aiGenerated`, on request only at the vendor.
    pub ai_generated: bool,
    /// An edit in a private or group conversation is routed as a new record, as ultra groups do. UNCONFIRMED.
    pub private_group_edits: bool,
}

impl Default for RoutingSettings {
    fn default() -> Self {
        Self {
            server_api: false,
            blocked: false,
            status: false,
            object_names: Vec::new(),
            kinds: Vec::new(),
            per_recipient: true,
            body_timestamp: true,
            client_ip: true,
            ai_generated: false,
            private_group_edits: true,
        }
    }
}
