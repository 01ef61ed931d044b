//! `switchboard ingest`.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::Value;
use switchboard_contract::{Error, ErrorKind};

use super::client::{Client, Sidecar};
use super::print_json;
use super::reconcile::reconciled;

/// Bring what somebody has downloaded from the vendor into the journal of a running sidecar.
#[derive(Debug, clap::Args)]
pub(crate) struct Ingest {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Compare history files with the journal and journal what is missing; a second time inserts nothing.
    File(File),
}

#[derive(Debug, clap::Args)]
struct File {
    #[command(flatten)]
    sidecar: Sidecar,
    /// The provider whose vendor published them.
    #[arg(long)]
    provider: String,
    /// When the hour begins, RFC 3339; told by the name of each file when missing.
    #[arg(long)]
    hour: Option<String>,
    /// The files, as they came, named as the vendor names them.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Ingest {
    pub(crate) async fn run(self) -> Result<(), Error> {
        let Act::File(file) = self.act;
        let hour = super::span::time("hour", file.hour.as_deref())?;
        let client = Client::new(file.sidecar);
        let mut answers = Vec::new();
        for path in &file.files {
            let unreadable = |error: std::io::Error| {
                let text = format!("{}: cannot be read", path.display());
                Error::new(ErrorKind::InvalidInput, text).with_source(error)
            };
            let body = tokio::fs::File::open(path).await.map_err(unreadable)?;
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("name", &name);
            if let Some(hour) = hour {
                query.append_pair("hour", &hour.to_string());
            }
            let path = format!("/v1/providers/{}/files?{}", file.provider, query.finish());
            let answer: Value = client.upload(&path, body).await?;
            if !file.json {
                reconciled(&answer);
            }
            answers.push(answer);
        }
        if file.json { print_json(&answers) } else { Ok(()) }
    }
}
