//! Subscribers over HTTP: made, pulled from, acknowledged, failed, replayed, removed.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::consumer::{subscribe, take, texts, until};
use crate::support::sidecar::Sidecar;
use crate::{arrives, behind_by, receiver};

async fn pull(sidecar: &Sidecar, query: &str) -> Value {
    sidecar.get(&format!("/v1/subscribers/s/events?{query}")).await
}

fn ids(page: &Value) -> Vec<&str> {
    page["deliveries"].as_array().unwrap().iter().map(|delivery| delivery["id"].as_str().unwrap()).collect()
}

fn said(page: &Value) -> Vec<&str> {
    texts(page["deliveries"].as_array().unwrap())
}

#[tokio::test]
async fn a_subscriber_is_made_changed_listed_and_removed() {
    let (_directory, sidecar) = receiver("");
    let put = async |spec: Value| {
        let request = sidecar.request(Method::PUT, "/v1/subscribers/s").json(&spec);
        request.send().await.unwrap().status()
    };
    assert_eq!(put(json!({ "topics": ["messages", "receipts"], "page_size": 7 })).await, StatusCode::CREATED);
    assert_eq!(put(json!({ "topics": ["messages"], "poison": "skip" })).await, StatusCode::OK);
    let view = sidecar.get("/v1/subscribers/s").await;
    assert_eq!(view["name"], "s");
    assert_eq!((&view["spec"]["topics"], &view["spec"]["poison"]), (&json!(["messages"]), &json!("skip")));
    assert_eq!((&view["state"], &view["workers"]), (&json!("connecting"), &json!(0)));
    subscribe(&sidecar, "a", &["groups"]).await;
    let list = sidecar.get("/v1/subscribers").await;
    let names: Vec<&Value> = list["subscribers"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["a", "s"]);

    for expected in [StatusCode::NO_CONTENT, StatusCode::NOT_FOUND] {
        let answer = sidecar.request(Method::DELETE, "/v1/subscribers/s").send().await.unwrap();
        assert_eq!(answer.status(), expected);
    }
    let gone = sidecar.request(Method::GET, "/v1/subscribers/s/events").send().await.unwrap();
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_page_comes_again_until_its_cursor_is_presented() {
    let (_directory, sidecar) = receiver("");
    subscribe(&sidecar, "s", &["messages"]).await;
    for n in 0..5 {
        arrives(&sidecar, &n.to_string(), "alice", "bob", &n.to_string()).await;
    }
    behind_by(&sidecar, 5).await;
    let first = pull(&sidecar, "limit=2&wait=5").await;
    assert_eq!(said(&first), ["0", "1"]);
    assert_eq!(first["recovery"], json!({ "recovered": true }));
    let delivery = &first["deliveries"][0];
    assert_eq!((&delivery["kind"], &delivery["attempt"]), (&json!("offline"), &json!(1)));
    let event = &delivery["event"];
    assert_eq!((&event["specversion"], &event["type"]), (&json!("1.0"), &json!("switchboard.message")));
    assert_eq!((&event["subject"], &event["sequence"]), (&json!("direct~alice~bob"), &json!("1")));

    let again = pull(&sidecar, "limit=2").await;
    assert_eq!(ids(&again), ids(&first), "an open page comes again");
    let second = pull(&sidecar, &format!("limit=2&cursor={}", again["cursor"].as_str().unwrap())).await;
    assert_eq!(said(&second), ["2", "3"]);
    // The old cursor acknowledges nothing of the new page.
    let repeated = pull(&sidecar, &format!("limit=2&cursor={}", first["cursor"].as_str().unwrap())).await;
    assert_eq!(ids(&repeated), ids(&second));
    let last = pull(&sidecar, &format!("limit=2&cursor={}", repeated["cursor"].as_str().unwrap())).await;
    assert_eq!(said(&last), ["4"]);
    let end = pull(&sidecar, &format!("limit=2&cursor={}", last["cursor"].as_str().unwrap())).await;
    assert_eq!(said(&end), [""; 0]);
    assert_eq!(sidecar.get("/v1/subscribers/s").await["lag"], 0);
}

#[tokio::test]
async fn a_long_poll_ends_with_the_first_event_or_with_its_time() {
    let (_directory, sidecar) = receiver("");
    subscribe(&sidecar, "s", &["messages"]).await;
    let started = Instant::now();
    let page = pull(&sidecar, "wait=1").await;
    assert_eq!(said(&page), [""; 0]);
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());

    let waiting = sidecar.request(Method::GET, "/v1/subscribers/s/events?wait=60").send();
    let waiting = tokio::spawn(async move { waiting.await.unwrap().json::<Value>().await.unwrap() });
    until("the poll waits", async || sidecar.get("/v1/subscribers/s").await["workers"] == 1).await;
    let started = Instant::now();
    arrives(&sidecar, "1", "alice", "bob", "news").await;
    let page = tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap().unwrap();
    println!("the poll ended {:?} after the callback was answered", started.elapsed());
    assert_eq!(said(&page), ["news"]);
}

#[tokio::test]
async fn a_cursor_acknowledges_only_what_its_own_worker_was_given() {
    let (_directory, sidecar) = receiver("");
    subscribe(&sidecar, "s", &["messages"]).await;
    for n in 0..4 {
        // A conversation is with one worker at a time.
        arrives(&sidecar, &n.to_string(), &format!("user{}", n % 2), "bob", &n.to_string()).await;
    }
    behind_by(&sidecar, 4).await;
    let one = pull(&sidecar, "limit=1&worker=one&wait=5").await;
    let other = pull(&sidecar, "limit=1&worker=other&wait=5").await;
    assert_eq!((ids(&one).len(), ids(&other).len()), (1, 1));
    assert_ne!(ids(&one), ids(&other));

    let cursor = one["cursor"].as_str().unwrap();
    let body = json!({ "cursor": cursor, "worker": "other" });
    let answer = sidecar.request(Method::POST, "/v1/subscribers/s/ack").json(&body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let kept = pull(&sidecar, &format!("limit=1&worker=other&cursor={cursor}")).await;
    assert_eq!(ids(&kept), ids(&other), "another's cursor acknowledged the page");
    assert_eq!(ids(&pull(&sidecar, "limit=1&worker=one").await), ids(&one));

    let body = json!({ "cursor": cursor, "worker": "one" });
    let outcome = sidecar.send(Method::POST, "/v1/subscribers/s/ack", &body).await;
    assert_eq!(outcome, json!({ "done": 1, "stale": 0 }));
    let outcome = sidecar.send(Method::POST, "/v1/subscribers/s/ack", &body).await;
    assert_eq!(outcome["done"], 0, "an acknowledged page was acknowledged again");
    // The cursor of another subscriber means nothing here.
    subscribe(&sidecar, "t", &["messages"]).await;
    let foreign = sidecar.get("/v1/subscribers/t/events?limit=1&wait=5").await;
    let body = json!({ "cursor": foreign["cursor"], "worker": "other" });
    let answer = sidecar.request(Method::POST, "/v1/subscribers/s/ack").json(&body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let body = json!({ "ids": [foreign["deliveries"][0]["id"]] });
    let outcome = sidecar.send(Method::POST, "/v1/subscribers/s/ack", &body).await;
    assert_eq!(outcome, json!({ "done": 0, "stale": 1 }));
}

#[tokio::test]
async fn what_is_acknowledged_stays_so_over_a_restart() {
    let (directory, mut sidecar) = receiver("");
    subscribe(&sidecar, "s", &["messages"]).await;
    for n in 0..6 {
        arrives(&sidecar, &n.to_string(), "alice", "bob", &n.to_string()).await;
    }
    behind_by(&sidecar, 6).await;
    let page = pull(&sidecar, "limit=4&wait=5").await;
    // Not in order, and not all: the cursor keeps ranges.
    let body = json!({ "ids": [ids(&page)[0], ids(&page)[1], ids(&page)[3]] });
    let outcome = sidecar.send(Method::POST, "/v1/subscribers/s/ack", &body).await;
    assert_eq!(outcome, json!({ "done": 3, "stale": 0 }));
    sidecar.kill();

    let config = format!("{}{}", crate::SMALL, crate::support::vendors::Vendors::nowhere());
    let sidecar = Sidecar::start(directory.path(), &config);
    assert_eq!(texts(&take(&sidecar, "s", 3).await), ["2", "4", "5"]);
    until("nothing is left", async || {
        assert_eq!(said(&pull(&sidecar, "limit=4").await), [""; 0]);
        sidecar.get("/v1/subscribers/s").await["lag"] == 0
    })
    .await;
}

#[tokio::test]
async fn what_fails_too_often_is_parked_with_its_conversation_alone_and_redriven_in_order() {
    let (_directory, sidecar) = receiver("");
    let spec = json!({ "topics": ["messages"], "max_attempts": 2, "poison": "park" });
    sidecar.send(Method::PUT, "/v1/subscribers/s", &spec).await;
    arrives(&sidecar, "1", "mallory", "bob", "poison").await;
    arrives(&sidecar, "2", "mallory", "bob", "behind it").await;
    behind_by(&sidecar, 2).await;
    for attempt in 1..=2 {
        let page = pull(&sidecar, "limit=1&wait=20").await;
        assert_eq!((said(&page), &page["deliveries"][0]["attempt"]), (vec!["poison"], &json!(attempt)));
        let body = json!({ "ids": ids(&page), "after_ms": 0, "reason": "cannot_parse" });
        let outcome = sidecar.send(Method::POST, "/v1/subscribers/s/nack", &body).await;
        assert_eq!(outcome["done"], 1);
    }
    let parked = async || sidecar.get("/v1/subscribers/s/parked").await["parked"].clone();
    until("it is parked", async || parked().await.as_array().unwrap().len() == 1).await;
    let one = parked().await[0].clone();
    assert_eq!((&one["conversation"], &one["from"]), (&json!("direct~bob~mallory"), &json!(1)));
    assert_eq!((&one["attempts"], &one["reason"]), (&json!(2), &json!("cannot_parse")));
    // Others are not held up.
    arrives(&sidecar, "3", "alice", "bob", "unharmed").await;
    assert_eq!(texts(&take(&sidecar, "s", 1).await), ["unharmed"]);

    let redrive = "/v1/subscribers/s/parked/direct~bob~mallory/redrive";
    sidecar.send(Method::POST, redrive, &json!(null)).await;
    assert_eq!(texts(&take(&sidecar, "s", 2).await), ["poison", "behind it"]);
    // The redrive ends when somebody asks and nothing more of it is there.
    assert_eq!(said(&pull(&sidecar, "wait=0").await), [""; 0]);
    until("nothing is parked", async || parked().await == json!([])).await;
    let answer = sidecar.request(Method::POST, redrive).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_replay_gives_everything_again_as_historical() {
    let (_directory, sidecar) = receiver("");
    subscribe(&sidecar, "s", &["messages"]).await;
    for n in 0..3 {
        arrives(&sidecar, &n.to_string(), "alice", "bob", &n.to_string()).await;
    }
    let first = take(&sidecar, "s", 3).await;
    sidecar.send(Method::POST, "/v1/subscribers/s/replay", &json!({ "from": "beginning" })).await;
    let again = take(&sidecar, "s", 3).await;
    for (first, again) in first.iter().zip(&again) {
        assert_eq!(first["event"], again["event"], "a replay is the same event");
        assert_eq!(again["kind"], "historical");
    }
    arrives(&sidecar, "9", "alice", "bob", "new").await;
    let next = take(&sidecar, "s", 1).await;
    assert_eq!(texts(&next), ["new"]);
    assert_ne!(next[0]["kind"], "historical");
}
