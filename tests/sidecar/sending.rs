//! Sends over HTTP: accepted, repeated, looked at, recalled, cancelled; and what the sidecar tells of itself.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use switchboard_emulators::Faults;

use crate::support::consumer::{subscribe, take, texts, until};
use crate::support::sidecar::Sidecar;
use crate::{stage, text_to};

async fn sent(sidecar: &Sidecar, body: &Value) -> (StatusCode, Value) {
    let response = sidecar.request(Method::POST, "/v1/messages").json(body).send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

/// Waits until the first message of a send is in this state.
async fn state_is(sidecar: &Sidecar, send: &Value, state: &str) {
    let path = format!("/v1/sends/{}", send.as_str().unwrap());
    until(&format!("the send is {state}"), async || sidecar.get(&path).await["messages"][0]["state"] == state).await;
}

#[tokio::test]
async fn a_send_under_one_key_reaches_the_vendor_once_however_often_it_is_asked_for() {
    let (_directory, vendors, sidecar) = stage().await;
    subscribe(&sidecar, "status", &["send_status"]).await;
    let mut body = text_to(json!({ "user": "bob" }), "your parcel has left");
    body["client_message_id"] = json!("order-1");
    body["ext"] = json!({ "order": 1 });
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let request = sidecar.request(Method::POST, "/v1/messages").json(&body);
        tasks.spawn(async move {
            let response = request.send().await.unwrap();
            (response.status(), response.json::<Value>().await.unwrap())
        });
    }
    let answers = tasks.join_all().await;
    let fresh: Vec<&Value> =
        answers.iter().filter(|(status, _)| *status == StatusCode::ACCEPTED).map(|(_, answer)| answer).collect();
    assert_eq!(fresh.len(), 1, "{answers:?}");
    for (status, answer) in &answers {
        assert_eq!((&answer["id"], &answer["messages"]), (&fresh[0]["id"], &fresh[0]["messages"]));
        assert_eq!(answer["repeated"], *status == StatusCode::OK);
    }
    let (id, message) = (&fresh[0]["id"], &fresh[0]["messages"][0]);
    assert_eq!(message["conversation"], "direct~bob~shop");
    state_is(&sidecar, id, "accepted").await;
    vendors.idle().await;
    assert_eq!(vendors.huanxin.ledger().messages().len(), 1);

    // Another message under the same key is refused with the first one's id.
    let mut other = body.clone();
    other["body"]["text"] = json!("something else");
    let (status, problem) = sent(&sidecar, &other).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(problem["detail"].as_str().unwrap().contains(id.as_str().unwrap()), "{problem}");

    let look = sidecar.get(&format!("/v1/messages/{}", message["id"].as_str().unwrap())).await;
    assert_eq!(look["event"]["data"]["body"]["text"], "your parcel has left");
    assert_eq!(look["event"]["data"]["ext"], json!({ "order": 1 }), "our own mark is taken out");
    assert_eq!(look["send"]["client_message_id"], "order-1");
    assert_eq!(look["send"]["messages"][0]["vendor_id"], vendors.huanxin.ledger().messages()[0].vendor_id.as_str());
    let told = take(&sidecar, "status", 3).await;
    let states: Vec<&Value> = told.iter().map(|one| &one["event"]["data"]["state"]).collect();
    assert_eq!(states, ["queued", "dispatched", "accepted"]);
}

#[tokio::test]
async fn a_recall_withdraws_the_message_at_the_vendor_and_leaves_a_tombstone() {
    let (_directory, vendors, sidecar) = stage().await;
    subscribe(&sidecar, "s", &["messages"]).await;
    let (_, answer) = sent(&sidecar, &text_to(json!({ "user": "bob" }), "oops")).await;
    state_is(&sidecar, &answer["id"], "accepted").await;
    assert_eq!(texts(&take(&sidecar, "s", 1).await), ["oops"]);
    let message = answer["messages"][0]["id"].as_str().unwrap();
    for _ in 0..2 {
        let path = format!("/v1/messages/{message}/recall");
        let status = sidecar.request(Method::POST, &path).send().await.unwrap().status();
        assert_eq!(status, StatusCode::NO_CONTENT, "repeating it is harmless");
    }
    vendors.idle().await;
    assert!(vendors.huanxin.ledger().messages()[0].recalled);
    let recall = take(&sidecar, "s", 1).await;
    assert_eq!(recall[0]["event"]["type"], "switchboard.recall");
    assert_eq!(recall[0]["event"]["data"]["target"]["id"], message);
    let page = sidecar.get("/v1/conversations/direct~bob~shop/messages").await;
    let tombstone = &page["messages"][0]["data"];
    assert_eq!((&tombstone["id"], &tombstone["recalled"]), (&json!(message), &json!(true)));
    assert!(tombstone.get("body").is_none() && !page.to_string().contains("oops"), "{page}");
    assert_eq!(sidecar.get("/v1/subscribers/s/events").await["deliveries"], json!([]), "the recall came twice");
}

#[tokio::test]
async fn a_cancelled_send_never_leaves() {
    let (_directory, vendors, sidecar) = stage().await;
    vendors.huanxin.set_faults(Faults { outage: true, ..Faults::default() });
    let (status, answer) = sent(&sidecar, &text_to(json!({ "users": ["bob", "carol"] }), "never sent")).await;
    assert_eq!((status, answer["messages"].as_array().unwrap().len()), (StatusCode::ACCEPTED, 2));
    let path = format!("/v1/sends/{}", answer["id"].as_str().unwrap());
    let states = async || {
        let view = sidecar.get(&path).await;
        view["messages"].as_array().unwrap().iter().map(|message| message["state"].clone()).collect::<Vec<_>>()
    };
    // To recall what has not left is to cancel it; while a try is under way its outcome must be awaited.
    let recall = format!("/v1/messages/{}/recall", answer["messages"][0]["id"].as_str().unwrap());
    until("one is recalled", async || {
        let status = sidecar.request(Method::POST, &recall).send().await.unwrap().status();
        assert!(matches!(status, StatusCode::NO_CONTENT | StatusCode::CONFLICT), "{status}");
        status == StatusCode::NO_CONTENT
    })
    .await;
    assert_eq!(states().await[0], "cancelled");
    let cancel = format!("{path}/cancel");
    until("the other is cancelled", async || {
        sidecar.send(Method::POST, &cancel, &json!(null)).await;
        states().await == ["cancelled", "cancelled"]
    })
    .await;

    let mut body = text_to(json!({ "user": "dave" }), "too late");
    body["ttl_ms"] = json!(1);
    let (_, expiring) = sent(&sidecar, &body).await;

    vendors.huanxin.set_faults(Faults::default());
    let (_, later) = sent(&sidecar, &text_to(json!({ "user": "bob" }), "sent")).await;
    state_is(&sidecar, &later["id"], "accepted").await;
    let at_vendor: Vec<String> =
        vendors.huanxin.ledger().messages().iter().map(|message| message.body.to_string()).collect();
    assert_eq!(at_vendor.len(), 1, "{at_vendor:?}");
    let view = sidecar.get(&format!("/v1/sends/{}", answer["id"].as_str().unwrap())).await;
    assert_eq!(view["messages"][0]["state"], "cancelled");
    state_is(&sidecar, &expiring["id"], "expired").await;
    assert_eq!(vendors.huanxin.ledger().messages().len(), 1, "what had expired was sent");
}

#[tokio::test]
async fn providers_tell_what_they_can_and_what_waits() {
    let (_directory, vendors, sidecar) = stage().await;
    vendors.huanxin.set_faults(Faults { outage: true, ..Faults::default() });
    for n in 0..3 {
        sent(&sidecar, &text_to(json!({ "user": format!("user{n}") }), "hi")).await;
    }
    let providers = sidecar.get("/v1/providers").await["providers"].clone();
    let named: Vec<&Value> = providers.as_array().unwrap().iter().map(|one| &one["alias"]).collect();
    assert_eq!(named, ["huanxin", "rongcloud"]);
    let huanxin = &providers[0];
    assert_eq!((&huanxin["kind"], &huanxin["open_sends"]), (&json!("huanxin"), &json!(3)));
    assert_eq!((&huanxin["app"], &huanxin["receive_only"]), (&json!("acme#test"), &json!(false)));
    assert_eq!(huanxin["capabilities"]["callbacks"], true);
    assert!(!providers.to_string().contains("secret"), "{providers}");
    vendors.huanxin.set_faults(Faults::default());
    until("nothing waits", async || sidecar.get("/v1/providers").await["providers"][0]["open_sends"] == 0).await;
}

/// What dashboards and alerts are built on: a name that goes away breaks them.
const METRICS: &[&str] = &[
    "switchboard_api_refused_total",
    "switchboard_hub_acks_total",
    "switchboard_hub_deliveries_total",
    "switchboard_hub_in_flight",
    "switchboard_hub_lag",
    "switchboard_inbox_fsync_seconds_count",
    "switchboard_inbox_lag_bytes",
    "switchboard_ingest_append_seconds_count",
    "switchboard_ingest_callbacks_total",
    "switchboard_ingest_events_total",
    "switchboard_ingest_reply_seconds_bucket",
    "switchboard_sending_accepted_seconds_count",
    "switchboard_sending_attempts_total",
    "switchboard_sending_open",
    "switchboard_sending_states_total",
    "switchboard_vendor_attempts_total",
    "switchboard_vendor_call_seconds_count",
];

#[tokio::test]
async fn i10_metrics_have_their_names_and_no_secret_or_body() {
    let (_directory, vendors, sidecar) = stage().await;
    subscribe(&sidecar, "s", &["messages"]).await;
    let secret_text = "the-body-of-a-message";
    vendors.on_huanxin("alice", "shop", secret_text).await;
    let (_, answer) = sent(&sidecar, &text_to(json!({ "user": "alice" }), secret_text)).await;
    state_is(&sidecar, &answer["id"], "accepted").await;
    take(&sidecar, "s", 2).await;
    vendors.idle().await;
    sidecar.http.get(format!("{}/v1/providers", sidecar.url)).send().await.unwrap();
    let text = sidecar.http.get(format!("{}/metrics", sidecar.url)).send().await.unwrap().text().await.unwrap();
    let missing: Vec<&&str> = METRICS
        .iter()
        .filter(|name| {
            !text.lines().any(|line| line.strip_prefix(**name).is_some_and(|rest| rest.starts_with(['{', ' '])))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?} are missing from\n{text}");
    for forbidden in [secret_text, "huanxin-callback-secret", "rongcloud-secret", crate::support::sidecar::TOKEN] {
        assert!(!text.contains(forbidden), "{forbidden} stands in the metrics");
    }
}
