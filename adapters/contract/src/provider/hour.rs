//! An hour's file, line by line.
//!
//! Nearly every line of a file is known already. So a line says at a glance which message it holds, and is decoded only
//! when that is not enough.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::Result;
use crate::inbound::Inbound;
use crate::time::Timestamp;

/// An hour's messages.
pub struct HourFile {
    /// Bytes as downloaded.
    pub bytes: u64,
    /// SHA-256 of the download, to notice a file that was written again.
    pub digest: [u8; 32],
    /// The lines, read as they are asked for: an hour of any size needs bounded memory.
    pub lines: Box<dyn HourLines>,
}

impl fmt::Debug for HourFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HourFile").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl HourFile {
    /// Everything in the file, decoded, in its order. A line that cannot be understood comes out as `Unrecognised`.
    /// Errors are those of [`HourLines::next`].
    pub fn events(mut self) -> impl Iterator<Item = Result<Inbound>> + Send {
        let decoder = self.lines.decoder();
        let mut waiting = Vec::new().into_iter();
        std::iter::from_fn(move || {
            loop {
                if let Some(item) = waiting.next() {
                    return Some(Ok(item));
                }
                match self.lines.next()? {
                    Ok(line) => waiting = decoder.decode(&Bytes::copy_from_slice(line.text)).into_iter(),
                    Err(error) => return Some(Err(error)),
                }
            }
        })
    }
}

/// The lines of an hour's file, read once, from the first to the last. Blocks while it reads.
pub trait HourLines: Send {
    /// The next line; `None` at the end of the file. Lines without content are left out.
    ///
    /// # Errors
    /// `TooLarge` for a line above the adapter's limit: it is left out, and the next call goes on behind it. Anything
    /// else ends the file: `Decode` when it breaks off or is damaged, `Storage` when it cannot be read.
    fn next(&mut self) -> Option<Result<HourLine<'_>>>;

    /// Decodes the lines of this file.
    fn decoder(&self) -> Arc<dyn HourDecoder>;
}

/// A line as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HourLine<'a> {
    /// Its bytes, for the decoder.
    pub text: &'a [u8],
    /// What it holds, where that can be told without decoding it.
    pub glance: Option<Glance<'a>>,
}

/// What a line holds, told at a glance: one message and nothing else. A message whose id is in the journal needs no
/// further look; any other line is decoded, and then what the decoder says counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glance<'a> {
    /// The `id` of its [`EventKey`](crate::EventKey), whose class is `Message`.
    pub id: std::borrow::Cow<'a, str>,
    /// As [`Inbound::sent_at`].
    pub sent_at: Timestamp,
}

/// Decodes lines of an hour's file. Pure, and may be called from any thread.
pub trait HourDecoder: fmt::Debug + Send + Sync {
    /// The events of a line; one `Unrecognised` when it cannot be understood.
    fn decode(&self, line: &Bytes) -> Vec<Inbound>;
}
