//! Several subscribers, each with its own topics and filters.

use reqwest::Method;
use serde_json::{Value, json};

use crate::stage;
use crate::support::consumer::{subscribe, take, texts};

fn types(deliveries: &[Value]) -> Vec<&str> {
    deliveries
        .iter()
        .map(|delivery| delivery["event"]["type"].as_str().unwrap().trim_start_matches("switchboard."))
        .collect()
}

#[tokio::test]
async fn each_subscriber_gets_its_topics_and_nothing_else() {
    let (_directory, vendors, sidecar) = stage().await;
    subscribe(&sidecar, "messages", &["messages"]).await;
    subscribe(&sidecar, "presence", &["presence"]).await;
    subscribe(&sidecar, "receipts", &["receipts"]).await;
    subscribe(&sidecar, "both", &["messages", "presence"]).await;

    vendors.huanxin.user("alice").login("android").unwrap();
    vendors.huanxin.user("bob").login("ios").unwrap();
    vendors.idle().await;
    let id = vendors.on_huanxin("alice", "bob", "hello").await;
    vendors.idle().await;
    vendors.huanxin.user("bob").read(&id).unwrap();
    vendors.idle().await;
    vendors.huanxin.user("alice").recall(&id).unwrap();
    vendors.idle().await;
    // A fence for those who got something else last.
    vendors.on_huanxin("alice", "bob", "fence").await;
    vendors.idle().await;
    vendors.huanxin.user("alice").logout();
    vendors.idle().await;

    let messages = take(&sidecar, "messages", 3).await;
    assert_eq!(types(&messages), ["message", "recall", "message"]);
    let presence = take(&sidecar, "presence", 3).await;
    assert_eq!(types(&presence), ["presence"; 3]);
    let states: Vec<&Value> = presence.iter().map(|one| &one["event"]["data"]["state"]).collect();
    assert_eq!(states, ["online", "online", "offline"]);
    let receipts = take(&sidecar, "receipts", 1).await;
    assert_eq!(receipts[0]["event"]["data"]["reader"], "bob");
    let target = &receipts[0]["event"]["data"]["target"];
    assert_eq!(target["id"], messages[0]["event"]["data"]["id"], "the receipt names our own id");
    let both = take(&sidecar, "both", 6).await;
    let count = |kind: &str| types(&both).iter().filter(|one| **one == kind).count();
    assert_eq!((count("presence"), count("message"), count("recall")), (3, 2, 1));
    for name in ["messages", "presence", "receipts", "both"] {
        let page = sidecar.get(&format!("/v1/subscribers/{name}/events")).await;
        assert_eq!(page["deliveries"], json!([]), "{name} got more");
    }
}

#[tokio::test]
async fn filters_leave_out_other_conversations_and_providers() {
    let (_directory, vendors, sidecar) = stage().await;
    for (name, filter) in [
        ("one", json!({ "conversations": ["direct~alice~bob"] })),
        ("rong", json!({ "providers": ["rongcloud"] })),
        ("neither", json!({ "conversations": ["direct~alice~bob"], "providers": ["rongcloud"] })),
        ("all", json!({})),
    ] {
        let spec = json!({ "topics": ["messages"], "filter": filter });
        sidecar.send(Method::PUT, &format!("/v1/subscribers/{name}"), &spec).await;
    }
    vendors.on_huanxin("bob", "alice", "one").await;
    vendors.on_huanxin("alice", "carol", "two").await;
    vendors.on_rongcloud("alice", "carol", "three").await;
    vendors.on_rongcloud("alice", "bob", "four").await;
    vendors.idle().await;
    for (name, expected) in [
        ("all", vec!["four", "one", "three", "two"]),
        ("one", vec!["four", "one"]),
        ("rong", vec!["four", "three"]),
        ("neither", vec!["four"]),
    ] {
        let deliveries = take(&sidecar, name, expected.len()).await;
        let mut seen = texts(&deliveries);
        seen.sort_unstable();
        assert_eq!(seen, expected, "{name}");
        let page = sidecar.get(&format!("/v1/subscribers/{name}/events")).await;
        assert_eq!(page["deliveries"], json!([]), "{name} got more");
        // What is left out does not hold a subscriber back.
        assert_eq!(sidecar.get(&format!("/v1/subscribers/{name}")).await["lag"], 0, "{name}");
    }
}
