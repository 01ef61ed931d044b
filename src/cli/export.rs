//! `switchboard export`.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use futures::StreamExt as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use switchboard_contract::{Error, ErrorKind};

use super::client::{Client, Sidecar};
use super::{print_json, print_line, progress};
use crate::transfer::{EVENTS_FILE, ExportManifest, MANIFEST_FILE};

/// Export a conversation, a user, or everything from a running sidecar: NDJSON and a manifest with hashes.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    #[command(flatten)]
    sidecar: Sidecar,
    /// The folder to make; it must not exist. It appears when the export is whole.
    #[arg(long, short)]
    out: PathBuf,
    /// Only this conversation, such as direct~alice~bob.
    #[arg(long, visible_alias = "conv", conflicts_with = "user")]
    conversation: Option<String>,
    /// Only what concerns this user: direct conversations and notices as a whole, of groups and rooms the user's own
    /// messages.
    #[arg(long)]
    user: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

fn wrong(path: &Path, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("{}: {error}", path.display()))
}

impl Export {
    pub(crate) async fn run(self) -> Result<(), Error> {
        if self.out.exists() {
            return Err(Error::new(ErrorKind::Conflict, format!("{} exists", self.out.display())));
        }
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [("conversation", &self.conversation), ("user", &self.user)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        let answer = Client::new(self.sidecar).open(&format!("/v1/export?{}", query.finish())).await?;
        let mut part = self.out.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        // Of an export that did not end.
        if part.exists() {
            fs::remove_dir_all(&part).map_err(|error| wrong(&part, &error))?;
        }
        fs::create_dir_all(&part).map_err(|error| wrong(&part, &error))?;
        let manifest = match write(&part, answer).await {
            Ok(manifest) => manifest,
            Err(error) => {
                let _ = fs::remove_dir_all(&part);
                return Err(error);
            }
        };
        fs::rename(&part, &self.out).map_err(|error| wrong(&self.out, &error))?;
        if let Some(parent) = self.out.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(|error| wrong(parent, &error))?;
        }
        if self.json {
            return print_json(&manifest);
        }
        print_line(format_args!(
            "{} events of {} conversations, {} of them messages, in {}",
            manifest.events,
            manifest.conversations,
            manifest.messages,
            self.out.display()
        ));
        Ok(())
    }
}

/// Lines as they come, the last one kept back: it may be the manifest.
struct Sink {
    file: BufWriter<File>,
    path: PathBuf,
    hash: Sha256,
    events: u64,
    bytes: u64,
}

impl Sink {
    fn take(&mut self, lines: &[u8]) -> Result<(), Error> {
        self.events += lines.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.bytes += lines.len() as u64;
        self.hash.update(lines);
        self.file.write_all(lines).map_err(|error| wrong(&self.path, &error))
    }

    fn end(self) -> Result<(u64, u64, String), Error> {
        let fail = |error: std::io::Error| wrong(&self.path, &error);
        let file = self.file.into_inner().map_err(|error| fail(error.into_error()))?;
        file.sync_all().map_err(fail)?;
        Ok((self.events, self.bytes, hex::encode(self.hash.finalize())))
    }
}

async fn write(folder: &Path, answer: reqwest::Response) -> Result<ExportManifest, Error> {
    let broken = |text: &str| Error::new(ErrorKind::Unavailable, format!("the export did not end: {text}"));
    let expected = answer.headers().get("x-switchboard-events").and_then(|events| events.to_str().ok()?.parse().ok());
    let bar = progress::bar("events");
    bar.set_length(expected.unwrap_or_default());
    let path = folder.join(EVENTS_FILE);
    let file = File::create(&path).map_err(|error| wrong(&path, &error))?;
    let mut sink = Sink { file: BufWriter::new(file), path, hash: Sha256::new(), events: 0, bytes: 0 };
    let mut stream = answer.bytes_stream();
    let mut held: Vec<u8> = Vec::new();
    while let Some(chunk) = stream.next().await {
        held.extend_from_slice(&chunk.map_err(|error| broken(&error.to_string()))?);
        let whole = held.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let last = held[..whole.saturating_sub(1)].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        sink.take(&held[..last])?;
        held.drain(..last);
        bar.set_position(sink.events);
    }
    bar.finish_and_clear();
    let last: Value = serde_json::from_slice(&held).map_err(|_| broken("its last line is none"))?;
    let text = last.get("manifest").map(Value::to_string).ok_or_else(|| broken("it has no manifest"))?;
    let manifest = ExportManifest::from_json(text.as_bytes())?;
    if sink.end()? != (manifest.events, manifest.bytes, manifest.sha256.clone()) {
        return Err(broken("it is not what its manifest says"));
    }
    let path = folder.join(MANIFEST_FILE);
    let file = File::create(&path).and_then(|mut file| {
        file.write_all(manifest.to_json().unwrap_or_default().as_bytes())?;
        file.sync_all()
    });
    file.map_err(|error| wrong(&path, &error))?;
    Ok(manifest)
}
