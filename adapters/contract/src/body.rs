//! What a message says, in one form for every vendor.
//!
//! An adapter turns its vendor's bodies into these and back without loss: `decode(encode(body)) == body` for every
//! body the vendor can express. A body it cannot carry is refused with [`ErrorKind::Unsupported`](crate::ErrorKind),
//! never downgraded. Fields that have no place here stay in the raw bytes kept beside the event.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The business's own fields travelling beside a body: a JSON object, empty by default.
pub type Ext = Map<String, Value>;

/// The content of a message. In JSON the variant stands in `type`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Body {
    /// Plain text.
    Text(Text),
    /// A picture.
    Image(Media),
    /// A voice clip or other sound.
    Audio(Media),
    /// A film clip.
    Video(Media),
    /// Any other file.
    File(Media),
    /// A place.
    Location(Location),
    /// A signal to programs, not shown to people.
    Command(Command),
    /// A kind the business defined.
    Custom(Custom),
    /// Several messages forwarded as one.
    Combined(Combined),
    /// A kind only this vendor knows; another vendor refuses it.
    Native(Native),
    /// A kind nobody here knows. Kept as it came, never sent.
    Unrecognised(Unrecognised),
}

impl Body {
    /// A text body.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(Text { text: text.into() })
    }

    /// The name of the variant as it stands in `type`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Image(_) => "image",
            Self::Audio(_) => "audio",
            Self::Video(_) => "video",
            Self::File(_) => "file",
            Self::Location(_) => "location",
            Self::Command(_) => "command",
            Self::Custom(_) => "custom",
            Self::Combined(_) => "combined",
            Self::Native(_) => "native",
            Self::Unrecognised(_) => "unrecognised",
        }
    }
}

/// Shows the kind alone: bodies do not belong in logs.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({})", self.kind())
    }
}

/// Plain text.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Text {
    /// The text, UTF-8, of any length the vendor admits.
    pub text: String,
}

/// A picture, sound, film or file: by reference (`url`) or, where a vendor allows it, inline (`data`).
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Media {
    /// Where the bytes are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The bytes themselves, base64, for vendors that carry small sounds inline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The file name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// A file type as its sender wrote it, such as `pdf`, `gif` or `aac`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Playing time in whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<u32>,
    /// The key the vendor wants for the download.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// A small picture of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thumbnail: Option<Thumbnail>,
}

/// A small picture of an image or film.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Thumbnail {
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The picture itself, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// The key the vendor wants for the download.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// A place.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// Degrees, −90 to 90.
    pub latitude: f64,
    /// Degrees, −180 to 180.
    pub longitude: f64,
    /// The place in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// A picture of the map, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<String>,
}

/// A signal to programs.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// What to do.
    pub name: String,
    /// With what: text as the sender wrote it, or any JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// Whether recipients should find it in their history as well. Vendors that do not tell the two apart ignore it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub notice: bool,
}

/// A kind the business defined.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Custom {
    /// The kind's name.
    pub name: String,
    /// Its content: any JSON the vendor can carry.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

/// Several messages forwarded as one.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Combined {
    /// The heading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// One line for each of the first few messages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub summary: Vec<String>,
    /// The senders' display names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// What to show where combined messages are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// How deep forwards are nested, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<u32>,
    /// How many messages it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// The kind of conversation the messages came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<crate::ConversationKind>,
    /// The messages inline, as the vendor wrote them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Value>,
    /// The file with the messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Media>,
}

/// A kind only one vendor knows.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Native {
    /// The vendor.
    pub vendor: crate::VendorKind,
    /// The vendor's name of the kind.
    pub kind: String,
    /// The vendor's content, unchanged.
    pub content: Value,
}

/// Something that verified and could not be understood.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Unrecognised {
    /// The vendor's name of the kind, or the nearest thing to one.
    pub kind: String,
    /// The bytes as they came: text where they are UTF-8, else base64.
    pub raw: String,
    /// Whether `raw` is base64.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub base64: bool,
}

impl Unrecognised {
    /// Keeps the bytes byte for byte.
    pub fn keep(kind: impl Into<String>, raw: &[u8]) -> Self {
        use base64::Engine as _;
        match std::str::from_utf8(raw) {
            Ok(text) => Self { kind: kind.into(), raw: text.to_owned(), base64: false },
            Err(_) => {
                Self { kind: kind.into(), raw: base64::engine::general_purpose::STANDARD.encode(raw), base64: true }
            }
        }
    }
}

macro_rules! opaque_debug {
    ($($name:ident),*) => {$(
        /// Shows the type alone: bodies do not belong in logs.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )*};
}

opaque_debug!(Text, Media, Thumbnail, Location, Command, Custom, Combined, Native, Unrecognised);
