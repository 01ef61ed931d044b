//! The 20 bytes before every body, and what they say.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The length of the header in bytes.
pub const HEADER_BYTES: usize = 20;
/// `SB`: tells our packets from whatever else may knock at the port.
pub const MAGIC: u16 = 0x5342;
/// The version of the protocol. A packet of another one closes the connection.
pub const VERSION: u8 = 1;

/// Bits of [`Header::flags`]. Bits this version does not know must be zero.
pub mod flags {
    /// The body of this ack is a `Fault`.
    pub const ERROR: u16 = 1;
    /// All bits this version knows.
    pub const KNOWN: u16 = ERROR;
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Asks for something. Its correlation id is the asker's and not in use by another open request of that side.
    Request = 1,
    /// Answers the request (or confirms the notify) with the same correlation id and command.
    Ack = 2,
    /// Tells something.
    Notify = 3,
    /// The asker no longer waits for the request with this correlation id. Has no body and no answer of its own.
    Cancel = 4,
}

impl Kind {
    /// From the byte on the wire.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Request,
            2 => Self::Ack,
            3 => Self::Notify,
            4 => Self::Cancel,
            _ => return None,
        })
    }

    /// The word of the JSON form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Ack => "ack",
            Self::Notify => "notify",
            Self::Cancel => "cancel",
        }
    }

    /// From the word of the JSON form.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Request, Self::Ack, Self::Notify, Self::Cancel].into_iter().find(|kind| kind.as_str() == word)
    }
}

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $word:literal;)*) => {
        /// What a packet is about. The numbers are on the wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Command {
            $($(#[$doc])* $name = $code,)*
        }

        impl Command {
            /// Every command.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// From the number on the wire.
            pub const fn from_code(code: u16) -> Option<Self> {
                Some(match code {
                    $($code => Self::$name,)*
                    _ => return None,
                })
            }

            /// The word of the JSON form.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// From the word of the JSON form.
            pub fn from_word(word: &str) -> Option<Self> {
                Some(match word {
                    $($word => Self::$name,)*
                    _ => return None,
                })
            }
        }
    };
}

commands! {
    /// The first packet of a connection: who, on which device, with which token.
    Login = 1, "login";
    /// The session ends; nothing more is delivered on this connection.
    Logout = 2, "logout";
    /// The service ends the session, and says why.
    Kick = 3, "kick";
    /// A sign of life.
    Heartbeat = 4, "heartbeat";
    /// Something from a client for the business.
    Report = 5, "report";
    /// Something from the business for devices that are online.
    Push = 6, "push";
    /// A message of a user.
    Send = 7, "send";
    /// An entry of the user's timeline. Its correlation id is the entry's position.
    Deliver = 8, "deliver";
    /// The next page of the backlog, which acknowledges the last.
    Pull = 9, "pull";
    /// Takes a message back.
    Recall = 10, "recall";
    /// Changes a message.
    Edit = 11, "edit";
    /// Everything up to a number of a conversation is read.
    Read = 12, "read";
    /// Somebody's marks in a conversation have risen.
    State = 13, "state";
    /// The conversations of the user.
    Conversations = 14, "conversations";
    /// Messages of a conversation, backwards.
    History = 15, "history";
    /// Makes a group.
    GroupCreate = 16, "group_create";
    /// Changes a group or its members.
    GroupChange = 17, "group_change";
    /// A group with its members.
    GroupGet = 18, "group_get";
    /// Which devices of some users are online.
    Presence = 19, "presence";
    /// The service closes the connection for this fault.
    Close = 20, "close";
    /// What a business asks.
    Business = 21, "business";
}

/// Why bytes are not a packet. Every one of these closes the connection: behind it nothing can be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// It does not begin with [`MAGIC`].
    Magic(u16),
    /// It is of another version.
    Version(u8),
    /// It is of no known kind.
    Kind(u8),
    /// It has a flag that this version does not know.
    Flags(u16),
    /// It is of no known command.
    Command(u16),
    /// Its body is longer than admitted.
    TooLong {
        /// The length in the header.
        length: u32,
        /// The most admitted.
        limit: u32,
    },
    /// Its body is not of the form its command has, or the JSON form cannot be read.
    Body(String),
}

impl FrameError {
    /// The stable word told to the other side.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Magic(_) => "bad_magic",
            Self::Version(_) => "bad_version",
            Self::Kind(_) => "bad_kind",
            Self::Flags(_) => "bad_flags",
            Self::Command(_) => "bad_command",
            Self::TooLong { .. } => "too_long",
            Self::Body(_) => "bad_body",
        }
    }
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Magic(found) => write!(f, "the packet begins with {found:#06x}, not {MAGIC:#06x}"),
            Self::Version(found) => write!(f, "version {found} is not spoken here, version {VERSION} is"),
            Self::Kind(found) => write!(f, "there is no kind {found}"),
            Self::Flags(found) => write!(f, "flags {found:#06x} are not known"),
            Self::Command(found) => write!(f, "there is no command {found}"),
            Self::TooLong { length, limit } => write!(f, "a body of {length} bytes; {limit} are admitted"),
            Self::Body(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for FrameError {}

/// The header of a packet. On the wire, big endian:
///
/// | bytes | field |
/// |---|---|
/// | 0–1 | magic, `0x5342` |
/// | 2 | version, 1 |
/// | 3 | kind |
/// | 4–5 | flags |
/// | 6–7 | command |
/// | 8–15 | correlation id |
/// | 16–19 | length of the body |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the packet is.
    pub kind: Kind,
    /// See [`flags`].
    pub flags: u16,
    /// What it is about.
    pub command: Command,
    /// Ties an ack to its request.
    pub correlation: u64,
    /// Bytes of the body.
    pub length: u32,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// As [`FrameError`] says; the length is not judged here.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let buf: &mut &[u8] = &mut &bytes[..];
        let magic = buf.get_u16();
        if magic != MAGIC {
            return Err(FrameError::Magic(magic));
        }
        let version = buf.get_u8();
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let kind = buf.get_u8();
        let kind = Kind::from_code(kind).ok_or(FrameError::Kind(kind))?;
        let flags = buf.get_u16();
        if flags & !flags::KNOWN != 0 {
            return Err(FrameError::Flags(flags));
        }
        let command = buf.get_u16();
        let command = Command::from_code(command).ok_or(FrameError::Command(command))?;
        let (correlation, length) = (buf.get_u64(), buf.get_u32());
        Ok(Self { kind, flags, command, correlation, length })
    }

    /// Writes a header.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u16(MAGIC);
        out.put_u8(VERSION);
        out.put_u8(self.kind as u8);
        out.put_u16(self.flags);
        out.put_u16(self.command as u16);
        out.put_u64(self.correlation);
        out.put_u32(self.length);
    }
}

/// A packet: the header without its length, and the body as bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub kind: Kind,
    /// See [`flags`].
    pub flags: u16,
    /// What it is about.
    pub command: Command,
    /// Ties an ack to its request.
    pub correlation: u64,
    /// The body, protobuf.
    pub body: Bytes,
}

impl Packet {
    /// A packet without flags.
    pub fn new(kind: Kind, command: Command, correlation: u64, body: Bytes) -> Self {
        Self { kind, flags: 0, command, correlation, body }
    }

    /// Whether it is an ack that tells of a failure.
    pub const fn is_error(&self) -> bool {
        self.flags & flags::ERROR != 0
    }

    /// Bytes of header and body.
    pub fn wire_length(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// Header and body.
    pub fn encode(&self, out: &mut BytesMut) {
        let length = u32::try_from(self.body.len()).expect("bodies are bounded far below 4 GiB");
        let Self { kind, flags, command, correlation, .. } = *self;
        out.reserve(HEADER_BYTES + self.body.len());
        Header { kind, flags, command, correlation, length }.encode(out);
        out.put_slice(&self.body);
    }
}

/// Shows the header alone: bodies do not belong in logs.
impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packet")
            .field("kind", &self.kind)
            .field("command", &self.command)
            .field("correlation", &self.correlation)
            .field("error", &self.is_error())
            .field("body_bytes", &self.body.len())
            .finish()
    }
}
