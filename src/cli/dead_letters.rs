//! `switchboard dead-letters`.

use clap::Subcommand;
use serde_json::{Map, Value, json};
use switchboard_contract::Error;

use super::client::{Client, Sidecar};
use super::span::{self, shown};
use super::{print_json, print_line};

/// What a running sidecar has given up after its last retry: messages, fetches, jobs, deliveries.
#[derive(Debug, clap::Args)]
pub(crate) struct DeadLetters {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// List them, or what waits for its next try.
    List(List),
    /// Show one with every attempt.
    Show(Show),
    /// Have one tried again, or all that the options fit: messages of one conversation in the order they were sent.
    Redrive(Redrive),
    /// Drop one for good, or all that the options fit.
    Drop(Many),
}

/// Which letters.
#[derive(Debug, clap::Args)]
struct Which {
    /// Only this kind of thing.
    #[arg(long, value_parser = ["send", "recall", "file", "query", "job", "delivery"])]
    kind: Option<String>,
    /// Only this provider.
    #[arg(long)]
    provider: Option<String>,
    /// Only this conversation, such as direct~alice~bob.
    #[arg(long, visible_alias = "conv")]
    conversation: Option<String>,
    /// Only deliveries to this subscriber.
    #[arg(long)]
    subscriber: Option<String>,
    /// Only this reason, such as timeout.
    #[arg(long)]
    reason: Option<String>,
    /// Given up from this time on, RFC 3339.
    #[arg(long)]
    since: Option<String>,
    /// Given up before this time, RFC 3339.
    #[arg(long)]
    until: Option<String>,
}

impl Which {
    fn fields(&self) -> Result<Map<String, Value>, Error> {
        let mut fields = Map::new();
        let texts = [
            ("kind", &self.kind),
            ("provider", &self.provider),
            ("conversation", &self.conversation),
            ("subscriber", &self.subscriber),
            ("reason", &self.reason),
        ];
        for (name, text) in texts {
            fields.extend(text.clone().map(|text| (name.to_owned(), Value::String(text))));
        }
        for (name, text) in [("since", &self.since), ("until", &self.until)] {
            fields.extend(span::time(name, text.as_deref())?.map(|time| (name.to_owned(), json!(time))));
        }
        Ok(fields)
    }
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    sidecar: Sidecar,
    #[command(flatten)]
    which: Which,
    /// What waits for its next try, in place of what was given up.
    #[arg(long)]
    waiting: bool,
    /// Where the page begins: the cursor printed below the one before.
    #[arg(long)]
    cursor: Option<String>,
    /// Letters in one page, 1 to 1000.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    sidecar: Sidecar,
    /// Its id, as listed.
    id: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Many {
    #[command(flatten)]
    sidecar: Sidecar,
    /// The id of one, as listed.
    #[arg(conflicts_with_all = ["kind", "provider", "conversation", "subscriber", "reason", "since", "until", "all"])]
    id: Option<String>,
    #[command(flatten)]
    which: Which,
    /// Every one there is.
    #[arg(long)]
    all: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Redrive {
    #[command(flatten)]
    many: Many,
    /// Send a message again although nobody knows whether it arrived: it may then arrive twice.
    #[arg(long)]
    may_arrive_twice: bool,
}

impl DeadLetters {
    pub(crate) async fn run(self) -> Result<(), Error> {
        match self.act {
            Act::List(list) => list.run().await,
            Act::Show(Show { sidecar, id, json }) => {
                let letter: Value = Client::new(sidecar).get(&format!("/v1/dead-letters/{}", escaped(&id))).await?;
                if json {
                    return print_json(&letter);
                }
                line(&letter);
                for attempt in letter["history"].as_array().into_iter().flatten() {
                    let code = attempt["code"].as_str().map(|code| format!(" [{code}]")).unwrap_or_default();
                    print_line(format_args!("  {}  {}{code}", shown(&attempt["at"]), text(&attempt["outcome"])));
                }
                print_line(format_args!("  about {}", letter["about"]));
                Ok(())
            }
            Act::Redrive(Redrive { many, may_arrive_twice }) => many.redrive(may_arrive_twice).await,
            Act::Drop(many) => many.remove().await,
        }
    }
}

impl List {
    async fn run(self) -> Result<(), Error> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in self.which.fields()? {
            query.append_pair(&name, value.as_str().unwrap_or(&value.to_string()));
        }
        query.append_pair("waiting", &self.waiting.to_string()).append_pair("limit", &self.limit.to_string());
        if let Some(cursor) = &self.cursor {
            query.append_pair("cursor", cursor);
        }
        let page: Value = Client::new(self.sidecar).get(&format!("/v1/dead-letters?{}", query.finish())).await?;
        if self.json {
            return print_json(&page);
        }
        page["letters"].as_array().into_iter().flatten().for_each(line);
        if let Some(next) = page["next"].as_str() {
            print_line(format_args!("more: --cursor {next}"));
        }
        Ok(())
    }
}

impl Many {
    async fn redrive(self, may_arrive_twice: bool) -> Result<(), Error> {
        let client = Client::new(self.sidecar);
        if let Some(id) = &self.id {
            let risk = if may_arrive_twice { "?may_arrive_twice=true" } else { "" };
            client
                .send_empty(reqwest::Method::POST, &format!("/v1/dead-letters/{}/redrive{risk}", escaped(id)))
                .await?;
            return done(&json!({ "done": 1, "refused": [] }), "tried again", self.json);
        }
        let mut call = self.which.fields()?;
        call.insert("all".to_owned(), json!(self.all));
        call.insert("may_arrive_twice".to_owned(), json!(may_arrive_twice));
        done(&client.post("/v1/dead-letters/redrive", &call).await?, "tried again", self.json)
    }

    async fn remove(self) -> Result<(), Error> {
        let client = Client::new(self.sidecar);
        if let Some(id) = &self.id {
            client.send_empty(reqwest::Method::DELETE, &format!("/v1/dead-letters/{}", escaped(id))).await?;
            return done(&json!({ "done": 1, "refused": [] }), "dropped", self.json);
        }
        let mut call = self.which.fields()?;
        call.insert("all".to_owned(), json!(self.all));
        done(&client.post("/v1/dead-letters/drop", &call).await?, "dropped", self.json)
    }
}

fn done(answer: &Value, what: &str, json: bool) -> Result<(), Error> {
    if json {
        return print_json(answer);
    }
    print_line(format_args!("{} {what}", answer["done"]));
    for refused in answer["refused"].as_array().into_iter().flatten() {
        print_line(format_args!("  stays: {}  {}", text(&refused["id"]), text(&refused["why"])));
    }
    Ok(())
}

fn line(letter: &Value) {
    let next = match letter["next_try_at"].is_null() {
        true => String::new(),
        false => format!(", again at {}", shown(&letter["next_try_at"])),
    };
    print_line(format_args!(
        "{}  {}  {} after {} attempts{next}  {}",
        text(&letter["id"]),
        shown(&letter["since"]),
        text(&letter["reason"]),
        letter["attempts"],
        text(&letter["conversation"])
    ));
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Ids are safe in a path; what somebody typed may not be.
fn escaped(id: &str) -> String {
    form_urlencoded::byte_serialize(id.as_bytes()).collect::<String>().replace('+', "%20")
}
