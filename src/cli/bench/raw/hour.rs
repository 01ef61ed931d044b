//! A file of an hour: made, and read by the least that any reader must do.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::time::Instant;

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use switchboard_contract::storage::Draft;
use switchboard_contract::{EventData, Result};

use crate::cli::bench::measure::{Figure, failed};

/// Writes these messages as the vendor of [`crate::cli::bench::events`] publishes an hour.
pub(in crate::cli::bench) fn write(path: &Path, drafts: impl Iterator<Item = Draft>) -> Result<()> {
    let fail = failed("the file of an hour cannot be written");
    let mut out = GzEncoder::new(BufWriter::new(File::create(path).map_err(&fail)?), Compression::default());
    for draft in drafts {
        let EventData::Message(message) = &draft.event.data else { continue };
        let from = message.from.as_str();
        let conversation = draft.event.conversation.as_ref();
        let to = conversation.and_then(|id| id.peer_of(&message.from)).map(|to| to.as_str().to_owned());
        let id = message.vendor_id.as_ref().map(|id| id.as_str().to_owned());
        let line = json!({
            "msg_id": id, "timestamp": draft.event.sent_at.0, "direction": "outgoing", "to": to, "from": from,
            "chat_type": "chat",
            "payload": {
                "bodies": [{ "msg": message.body.as_ref().map(text), "type": "txt" }],
                "ext": { "trace_id": format!("tr-{}", id.as_deref().unwrap_or_default()) }, "to": to, "from": from,
            },
        });
        writeln!(out, "{line}").map_err(&fail)?;
    }
    out.finish().and_then(|mut out| out.flush()).map_err(&fail)
}

fn text(body: &switchboard_contract::Body) -> &str {
    match body {
        switchboard_contract::Body::Text(text) => &text.text,
        _ => "",
    }
}

/// A line, read without anything being built that nobody asked for.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    msg_id: Cow<'a, str>,
    timestamp: i64,
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    from: Cow<'a, str>,
    #[serde(borrow)]
    to: Cow<'a, str>,
    #[serde(borrow)]
    bodies: Vec<&'a RawValue>,
    #[serde(borrow)]
    ext: Option<&'a RawValue>,
}

/// Unpacks and parses every line.
pub(in crate::cli::bench) fn read(path: &Path) -> Result<Figure> {
    let fail = failed("the file of an hour cannot be read");
    let begun = Instant::now();
    let file = BufReader::with_capacity(64 << 10, File::open(path).map_err(&fail)?);
    let mut lines = BufReader::with_capacity(64 << 10, MultiGzDecoder::new(file));
    let (mut line, mut count, mut sum) = (Vec::new(), 0, 0_usize);
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line).map_err(&fail)? == 0 {
            break;
        }
        let read: Line<'_> = serde_json::from_slice(&line).map_err(failed("a line cannot be parsed"))?;
        // Looked at, so that nothing of it is left out.
        sum += read.msg_id.len() + read.payload.from.len() + read.payload.to.len() + read.payload.bodies.len();
        sum += usize::from(read.timestamp > 0) + read.payload.ext.map_or(0, |ext| ext.get().len());
        count += 1;
    }
    std::hint::black_box(sum);
    Ok(Figure::of(count, begun.elapsed()))
}
