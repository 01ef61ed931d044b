//! A consumer that pulls over HTTP.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::sidecar::Sidecar;

/// How long anything may take that should happen at once; generous, because test machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Creates a subscriber to these topics.
pub async fn subscribe(sidecar: &Sidecar, name: &str, topics: &[&str]) {
    sidecar.send(Method::PUT, &format!("/v1/subscribers/{name}"), &json!({ "topics": topics })).await;
}

/// Pulls and acknowledges until `count` deliveries have come.
pub async fn take(sidecar: &Sidecar, name: &str, count: usize) -> Vec<Value> {
    let (mut deliveries, mut cursor) = (Vec::new(), String::new());
    let deadline = Instant::now() + PATIENCE;
    while deliveries.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} deliveries came: {deliveries:#?}", deliveries.len());
        let limit = (count - deliveries.len()).min(1000);
        let page = sidecar.get(&format!("/v1/subscribers/{name}/events?limit={limit}&wait=5{cursor}")).await;
        deliveries.extend(page["deliveries"].as_array().unwrap().iter().cloned());
        cursor = format!("&cursor={}", page["cursor"].as_str().unwrap());
    }
    let body = json!({ "cursor": cursor.trim_start_matches("&cursor=") });
    sidecar.send(Method::POST, &format!("/v1/subscribers/{name}/ack"), &body).await;
    deliveries
}

/// The texts of messages, in the order they came.
pub fn texts(deliveries: &[Value]) -> Vec<&str> {
    deliveries.iter().filter_map(|delivery| delivery["event"]["data"]["body"]["text"].as_str()).collect()
}

/// Waits until it holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a metric has grown to a value, and stays there exactly.
pub async fn metric_is(sidecar: &Sidecar, series: &str, value: f64) {
    until(&format!("{series} is {value}"), async || (series_of(sidecar, series).await - value).abs() < 0.5).await;
}

/// The value of one series, such as `name{label="x"}`; the labels may come in any order. 0 when it is not there.
pub async fn series_of(sidecar: &Sidecar, series: &str) -> f64 {
    let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap_or((series, ""));
    let text = sidecar.http.get(format!("{}/metrics", sidecar.url)).send().await.unwrap().text().await.unwrap();
    text.lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
        .filter(|line| labels.split(',').all(|label| line.contains(label)))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}
