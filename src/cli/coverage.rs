//! `switchboard coverage`.

use serde_json::Value;
use switchboard_contract::Error;

use super::client::{Client, Sidecar};
use super::span::Span;
use super::{print_json, print_line};

/// Show how much of what was said is in the journal of a running sidecar: a percentage for each app, and every hole.
#[derive(Debug, clap::Args)]
pub(crate) struct Coverage {
    #[command(flatten)]
    sidecar: Sidecar,
    #[command(flatten)]
    span: Span,
    /// Do not ask the journal whether what was there still is.
    #[arg(long)]
    no_verify: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Coverage {
    pub(crate) async fn run(self) -> Result<(), Error> {
        let mut query = self.span.query()?;
        if self.no_verify {
            query.push(("verify", "false".to_owned()));
        }
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let answer: Value = Client::new(self.sidecar).get(&format!("/v1/coverage?{query}")).await?;
        if self.json {
            return print_json(&answer);
        }
        for app in list(&answer["apps"]) {
            print_line(format_args!(
                "{}  {:.2} %  {} of {} hours complete, {} messages brought by repair",
                text(&app["provider"]),
                app["percent"].as_f64().unwrap_or_default(),
                app["complete"],
                app["hours"],
                app["repaired"]
            ));
            list(&app["holes"]).iter().for_each(hole);
        }
        for hole in list(&answer["conversations"]) {
            print_line(format_args!(
                "removed by hand: {} numbers {} to {}",
                text(&hole["conversation"]),
                hole["first"],
                hole["last"]
            ));
        }
        for run in list(&answer["places"]) {
            print_line(format_args!("removed by hand: places {} to {} of the journal", run["first"], run["last"]));
        }
        Ok(())
    }
}

fn hole(hole: &Value) {
    let missing = match hole["missing"].as_u64() {
        Some(missing) if missing > 0 => format!(", {missing} messages gone"),
        _ => String::new(),
    };
    print_line(format_args!(
        "  {} to {}  {} {}: {}{missing}",
        super::span::shown(&hole["from"]),
        super::span::shown(&hole["until"]),
        text(&hole["kind"]),
        text(&hole["state"]),
        text(&hole["reason"])
    ));
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
