//! Which message stands in the body of which packet.

use bytes::Bytes;
use prost::Message as _;

use super::header::{Command, FrameError, Kind, Packet, flags};
use crate::proto;

macro_rules! bodies {
    ($($name:ident: $kind:ident $command:ident,)*) => {
        /// A body that has been understood. The variant is the message of `gate.proto`.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "the variants are documented in gate.proto")]
        #[allow(clippy::large_enum_variant, reason = "bodies live for one step")]
        pub enum Body {
            /// Nothing.
            Empty,
            Fault(proto::Fault),
            $($name(proto::$name),)*
        }

        /// Reads the body of a packet.
        ///
        /// # Errors
        /// [`FrameError::Body`] when it is not of the form its kind and command have.
        pub fn decode_body(packet: &Packet) -> Result<Body, FrameError> {
            let bytes = packet.body.clone();
            let wrong = |error: prost::DecodeError| FrameError::Body(format!("{}: {error}", packet.command.as_str()));
            Ok(match shape(packet.kind, packet.command, packet.flags) {
                Some(Shape::Empty) if bytes.is_empty() => Body::Empty,
                Some(Shape::Fault) => Body::Fault(proto::Fault::decode(bytes).map_err(wrong)?),
                $(Some(Shape::$name) => Body::$name(proto::$name::decode(bytes).map_err(wrong)?),)*
                _ => return Err(misplaced(packet)),
            })
        }

        /// Writes a body.
        pub fn encode_body(body: &Body) -> Bytes {
            match body {
                Body::Empty => Bytes::new(),
                Body::Fault(fault) => fault.encode_to_vec().into(),
                $(Body::$name(message) => message.encode_to_vec().into(),)*
            }
        }

        /// The canonical JSON of a body; `None` for an empty one.
        pub(super) fn body_to_json(body: &Body) -> serde_json::Result<Option<serde_json::Value>> {
            Ok(Some(match body {
                Body::Empty => return Ok(None),
                Body::Fault(fault) => serde_json::to_value(fault)?,
                $(Body::$name(message) => serde_json::to_value(message)?,)*
            }))
        }

        /// A body from its canonical JSON; nothing at all is the empty text `{}`.
        pub(super) fn body_from_json(kind: Kind, command: Command, bits: u16, text: &str) -> Result<Body, FrameError> {
            let wrong = |error: serde_json::Error| FrameError::Body(format!("{}: {error}", command.as_str()));
            Ok(match shape(kind, command, bits) {
                Some(Shape::Empty) if text == "{}" => Body::Empty,
                Some(Shape::Fault) => Body::Fault(serde_json::from_str(text).map_err(wrong)?),
                $(Some(Shape::$name) => Body::$name(serde_json::from_str(text).map_err(wrong)?),)*
                _ => return Err(FrameError::Body(format!("no {} of {}", kind.as_str(), command.as_str()))),
            })
        }

        #[derive(Clone, Copy)]
        enum Shape {
            Empty,
            Fault,
            $($name,)*
        }

        fn shape(kind: Kind, command: Command, bits: u16) -> Option<Shape> {
            if bits & flags::ERROR != 0 {
                return (kind == Kind::Ack).then_some(Shape::Fault);
            }
            Some(match (kind, command) {
                (Kind::Cancel, _) => Shape::Empty,
                (Kind::Notify, Command::Close) => Shape::Fault,
                $((Kind::$kind, Command::$command) => Shape::$name,)*
                // What has an answer without content.
                (Kind::Ack, Command::Logout | Command::Report | Command::Recall | Command::Read
                    | Command::GroupCreate | Command::GroupChange | Command::Deliver | Command::Push)
                | (Kind::Request, Command::Logout) => Shape::Empty,
                _ => return None,
            })
        }
    };
}

bodies! {
    Login: Request Login,
    LoggedIn: Ack Login,
    Kicked: Notify Kick,
    Heartbeat: Request Heartbeat,
    HeartbeatSeen: Ack Heartbeat,
    Report: Request Report,
    Push: Notify Push,
    Send: Request Send,
    Sent: Ack Send,
    Entry: Notify Deliver,
    Pull: Request Pull,
    Page: Ack Pull,
    RecallMessage: Request Recall,
    EditMessage: Request Edit,
    Edited: Ack Edit,
    Read: Request Read,
    Marks: Notify State,
    ListConversations: Request Conversations,
    Conversations: Ack Conversations,
    History: Request History,
    HistoryPage: Ack History,
    CreateGroup: Request GroupCreate,
    ChangeGroup: Request GroupChange,
    GetGroup: Request GroupGet,
    Group: Ack GroupGet,
    AskPresence: Request Presence,
    Presences: Ack Presence,
    BusinessCall: Request Business,
    BusinessAnswer: Ack Business,
}

fn misplaced(packet: &Packet) -> FrameError {
    FrameError::Body(format!("no such {} of {}", packet.kind.as_str(), packet.command.as_str()))
}
