//! Lines for tests.

use switchboard_contract::storage::{Line, LineKind};
use switchboard_contract::{MessageId, Position, Timestamp};

/// A message by somebody, of no conversation, with so many bytes that mean nothing.
pub(super) fn line(position: u64, by: &str, bytes: usize) -> Line {
    Line {
        position: Position(position),
        sequence: None,
        conversation: None,
        kind: LineKind::Message,
        id: MessageId::generate(),
        by: by.into(),
        client_id: None,
        digest: 0,
        at: Timestamp(7),
        mark: None,
        recalled: false,
        payload: vec![0; bytes].into(),
    }
}
