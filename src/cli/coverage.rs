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
    /// Show one conversation, such as direct~alice~bob, instead of the apps; without --from of the last thirty days.
    #[arg(long, visible_alias = "conv", conflicts_with = "conversations")]
    conversation: Option<String>,
    /// List what single conversations are known to lack.
    #[arg(long)]
    conversations: bool,
    /// Do not ask the journal whether what was there still is.
    #[arg(long)]
    no_verify: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Coverage {
    pub(crate) async fn run(self) -> Result<(), Error> {
        if let Some(conversation) = self.conversation.clone() {
            return self.of_conversation(&conversation).await;
        }
        if self.conversations {
            return self.of_conversations().await;
        }
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
            for lost in list(&app["kinds"]) {
                let kinds: Vec<&str> = list(&lost["kinds"]).iter().map(text).collect();
                print_line(format_args!(
                    "  {} to {}  {} of {}: {}",
                    super::span::shown(&lost["from"]),
                    super::span::shown(&lost["until"]),
                    text(&lost["state"]),
                    kinds.join(", "),
                    text(&lost["reason"])
                ));
            }
        }
        list(&answer["conversations"]).iter().for_each(removed);
        for run in list(&answer["places"]) {
            print_line(format_args!("removed by hand: places {} to {} of the journal", run["first"], run["last"]));
        }
        Ok(())
    }

    async fn of_conversation(self, conversation: &str) -> Result<(), Error> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(self.span.query()?).finish();
        let path = format!("/v1/conversations/{conversation}/coverage?{query}");
        let answer: Value = Client::new(self.sidecar).get(&path).await?;
        if self.json {
            return print_json(&answer);
        }
        for app in list(&answer["apps"]) {
            let percent = app["percent"].as_f64().unwrap_or_default();
            print_line(format_args!("{}  {percent:.2} %  of {conversation}", text(&app["provider"])));
            list(&app["holes"]).iter().for_each(hole);
        }
        list(&answer["removed"]).iter().for_each(removed);
        Ok(())
    }

    async fn of_conversations(self) -> Result<(), Error> {
        let client = Client::new(self.sidecar);
        let (mut all, mut after) = (Vec::new(), None::<String>);
        loop {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(self.span.provider.iter().map(|provider| ("provider", provider)));
            query.extend_pairs(after.iter().map(|after| ("after", after)));
            let path = format!("/v1/coverage/conversations?{}", query.finish());
            let answer: Value = client.get(&path).await?;
            let ranges = list(&answer["ranges"]);
            let Some(last) = ranges.iter().map(|range| text(&range["conversation"])).max() else { break };
            after = Some(last.to_owned());
            all.extend_from_slice(ranges);
        }
        if self.json {
            return print_json(&all);
        }
        for range in &all {
            print_line(format_args!(
                "{}  {}  {} to {}  {}: {}",
                text(&range["provider"]),
                text(&range["conversation"]),
                super::span::shown(&range["since"]),
                super::span::shown(&range["until"]),
                text(&range["state"]),
                text(&range["reason"])
            ));
        }
        Ok(())
    }
}

fn removed(hole: &Value) {
    print_line(format_args!(
        "removed by hand: {} numbers {} to {}",
        text(&hole["conversation"]),
        hole["first"],
        hole["last"]
    ));
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
