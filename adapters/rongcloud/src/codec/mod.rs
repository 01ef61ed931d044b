//! From the vendor's messages to the contract's and back. Pure: no I/O, no clock.
//!
//! # Where our mark and the business's fields travel
//!
//! Every built-in content may carry a text `extra`. For bodies with a canonical form it is a JSON object holding the
//! business's `ext` and, under one reserved key, our mark. An `extra` that is no JSON object decodes to
//! `ext {"extra": text}`, and such an `ext` alone is written back as that plain text.
//!
//! Contents of custom and native bodies belong to the business, `extra` included. There the same object travels in
//! `extra` if that key is free and else under the reserved key, and it is told apart by always holding the reserved
//! key. A custom content that is no JSON object has no room for either: `ext` is then refused, and the mark is left
//! out, so that such a send is found again by its vendor id alone.

mod body;
mod extra;
mod free;
mod mentions;
mod message;
mod place;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use switchboard_contract::{Body, Error, ErrorKind, Ext, Result, VendorUserId};

pub(crate) use message::{Record, from_text_or_object, is_message, unrecognised};
pub(crate) use place::{Channel, DEFAULT_CHANNEL};

/// Longest object name, in characters.
const MAX_OBJECT_NAME: usize = 32;

/// A message as it goes into a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub(crate) object_name: Cow<'static, str>,
    /// JSON text, or any text for custom types.
    pub(crate) content: String,
}

/// What a content says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decoded {
    pub(crate) body: Body,
    pub(crate) ext: Ext,
    pub(crate) mark: Option<String>,
    pub(crate) mentions_everyone: bool,
    pub(crate) mentions: Vec<VendorUserId>,
}

/// What travels beside a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beside<'a> {
    pub(crate) ext: &'a Ext,
    pub(crate) mark: Option<&'a str>,
    pub(crate) mentions_everyone: bool,
    pub(crate) mentions: &'a [VendorUserId],
    /// The text of the push to those mentioned.
    pub(crate) push_text: Option<&'a str>,
}

/// Encodes and decodes contents; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Codec {
    mark_key: Arc<str>,
}

impl Codec {
    pub(crate) fn new(mark_key: &str) -> Self {
        Self { mark_key: mark_key.into() }
    }

    /// # Errors
    /// `Unsupported` for a body RongCloud cannot carry; `InvalidInput` for one that lacks something, or that would
    /// come back as another.
    pub(crate) fn encode(&self, body: &Body, beside: Beside<'_>) -> Result<Encoded> {
        match body {
            Body::Custom(custom) => free::encode_custom(custom, beside, &self.mark_key),
            Body::Native(native) => free::encode_native(native, beside, &self.mark_key),
            _ => body::encode(body, beside, &self.mark_key),
        }
    }

    /// Never fails: a content that is not what its name promises comes out as `Unrecognised`, as it came.
    pub(crate) fn decode(&self, object_name: &str, content: &str) -> Decoded {
        if body::is_canonical(object_name) {
            body::decode(object_name, content, &self.mark_key)
        } else {
            free::decode(object_name, content, &self.mark_key)
        }
    }
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, "body: cannot be written as JSON").with_source(error))
}
