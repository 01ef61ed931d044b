//! `switchboard tail`.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use switchboard_contract::Error;

use super::client::{Client, Sidecar};
use super::print_line;

/// Follow a subscriber's events, acknowledging each page when the next is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    sidecar: Sidecar,
    /// The subscriber's durable name. It is created when it does not exist, and goes on where it left off when it does.
    #[arg(long, default_value = "tail")]
    name: String,
    /// Topics of a new subscriber.
    #[arg(long, value_delimiter = ',', default_value = "messages")]
    topics: Vec<String>,
    /// Begin a new subscriber with the next event instead of the first one kept.
    #[arg(long)]
    from_now: bool,
    /// Stop after this many events.
    #[arg(long)]
    count: Option<usize>,
    /// Stop when no event has come for this many seconds.
    #[arg(long)]
    idle: Option<u64>,
    /// Each delivery as one line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Page {
    deliveries: Vec<Box<RawValue>>,
    cursor: String,
}

impl Tail {
    pub(crate) async fn run(self) -> Result<(), Error> {
        let client = Client::new(self.sidecar);
        let start = if self.from_now { "now" } else { "beginning" };
        client
            .put(&format!("/v1/subscribers/{}", self.name), &json!({ "topics": self.topics, "start": start }))
            .await?;
        let wait = self.idle.unwrap_or(20).clamp(1, 20);
        let (mut cursor, mut seen, mut quiet) = (None::<String>, 0_usize, 0_u64);
        loop {
            let ack = cursor.as_ref().map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let limit = self.count.map_or(100, |count| (count - seen).min(100));
            if limit == 0 {
                // One last pull would lease more; the acknowledgement alone is enough.
                let body = json!({ "cursor": cursor });
                let _: Value = client.post(&format!("/v1/subscribers/{}/ack", self.name), &body).await?;
                return Ok(());
            }
            let page: Page =
                client.get(&format!("/v1/subscribers/{}/events?limit={limit}&wait={wait}{ack}", self.name)).await?;
            cursor = Some(page.cursor);
            seen += page.deliveries.len();
            quiet = if page.deliveries.is_empty() { quiet + wait } else { 0 };
            for delivery in page.deliveries {
                if self.json {
                    print_line(delivery.get());
                } else if let Ok(delivery) = serde_json::from_str::<Value>(delivery.get()) {
                    print_line(describe(&delivery));
                }
            }
            if self.idle.is_some_and(|idle| quiet >= idle) {
                return Ok(());
            }
        }
    }
}

/// One delivery as a line for people.
pub(crate) fn describe(delivery: &Value) -> String {
    let event = &delivery["event"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let data = &event["data"];
    let what = match text(&event["type"]).strip_prefix("switchboard.").unwrap_or_default() {
        "message" if data["recalled"] == true => format!("{}: (recalled)", text(&data["from"])),
        "message" => {
            let body = &data["body"];
            let says = body["text"].as_str().map_or_else(|| format!("[{}]", text(&body["type"])), str::to_owned);
            format!("{}: {says}", text(&data["from"]))
        }
        kind => format!("{kind} {data}"),
    };
    let late = if delivery["late"] == true { " late" } else { "" };
    format!(
        "{:>6} {:<30} {:>5} {}{late}  {what}",
        text(&event["position"]),
        text(&event["subject"]),
        text(&event["sequence"]),
        text(&delivery["kind"]),
    )
}
