//! Conversations and their history over HTTP.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::callbacks::now_ms;
use crate::support::consumer::{subscribe, take};
use crate::support::sidecar::Sidecar;
use crate::{arrives, arrives_at, receiver};

const DAY: i64 = 24 * 60 * 60 * 1000;

/// Walks a conversation from page to page; the texts in the order they came.
async fn walk(sidecar: &Sidecar, conversation: &str, query: &str, direction: &str) -> Vec<String> {
    walk_from(sidecar, conversation, query, direction, None).await
}

async fn walk_from(
    sidecar: &Sidecar,
    conversation: &str,
    query: &str,
    direction: &str,
    start: Option<&str>,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut cursor = start.map(|start| format!("&{direction}={start}")).unwrap_or_default();
    loop {
        let page = sidecar.get(&format!("/v1/conversations/{conversation}/messages?{query}{cursor}")).await;
        let messages = page["messages"].as_array().unwrap();
        found.extend(messages.iter().map(|event| event["data"]["body"]["text"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { return found };
        cursor = format!("&{direction}={next}");
        assert!(found.len() < 10_000, "the walk does not end");
    }
}

fn numbered(numbers: impl Iterator<Item = i64>) -> Vec<String> {
    numbers.map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn i08_a_walk_returns_each_message_once_in_both_directions_while_more_arrive() {
    let (_directory, sidecar) = receiver("");
    subscribe(&sidecar, "s", &["messages"]).await;
    let now = now_ms();
    // Not in the order of their times.
    for n in (0..40).rev() {
        let from = if n % 4 == 0 { "bob" } else { "alice" };
        let to = if n % 4 == 0 { "alice" } else { "bob" };
        arrives_at(&sidecar, &n.to_string(), from, to, &n.to_string(), now - 60_000 + n).await;
    }
    take(&sidecar, "s", 40).await;
    let conversation = "direct~alice~bob";
    assert_eq!(walk(&sidecar, conversation, "limit=7", "before").await, numbered((0..40).rev()));
    assert_eq!(walk(&sidecar, conversation, "limit=40", "before").await, numbered((0..40).rev()));
    let forward = format!("/v1/conversations/{conversation}/messages?limit=7&after=start");
    let page = sidecar.get(&forward).await;
    let next = page["next"].as_str().unwrap();
    // Ahead of the walk, and behind it.
    arrives_at(&sidecar, "ahead", "alice", "bob", "100", now).await;
    arrives_at(&sidecar, "behind", "alice", "bob", "-1", now - 70_000).await;
    take(&sidecar, "s", 2).await;
    let first: Vec<&Value> =
        page["messages"].as_array().unwrap().iter().map(|event| &event["data"]["body"]["text"]).collect();
    assert_eq!(first, ["0", "1", "2", "3", "4", "5", "6"]);
    let rest = walk_from(&sidecar, conversation, "limit=7", "after", Some(next)).await;
    assert_eq!(rest, numbered((7..40).chain([100])));

    let of_bob = walk(&sidecar, conversation, "limit=3&sender=bob", "before").await;
    assert_eq!(of_bob, numbered((0..40).rev().filter(|n| n % 4 == 0)));
    let within = format!("limit=3&since={}&until={}", now - 60_000 + 10, now - 60_000 + 20);
    assert_eq!(walk(&sidecar, conversation, &within, "before").await, numbered((10..20).rev()));
    assert_eq!(walk(&sidecar, conversation, "body=image,video", "before").await, Vec::<String>::new());
    assert_eq!(walk(&sidecar, conversation, "body=text,image&limit=50", "before").await.len(), 42);
    // The other way round it is the same conversation.
    assert_eq!(walk(&sidecar, "direct~bob~alice", "limit=9", "before").await.len(), 42);
}

#[tokio::test]
async fn tiers_meet_without_a_seam() {
    let (_directory, sidecar) = receiver("");
    subscribe(&sidecar, "s", &["messages"]).await;
    let now = now_ms();
    let ages = [0, 1, 6, 8, 20, 29, 31, 400];
    for age in ages {
        arrives_at(&sidecar, &format!("m{age}"), "alice", "bob", &age.to_string(), now - age * DAY).await;
    }
    take(&sidecar, "s", ages.len()).await;
    let conversation = "direct~alice~bob";
    for (tier, expected) in [("recent", vec![0, 1, 6]), ("month", vec![8, 20, 29]), ("archive", vec![31, 400])] {
        let found = walk(&sidecar, conversation, &format!("tier={tier}&limit=2"), "before").await;
        assert_eq!(found, numbered(expected.into_iter()), "{tier}");
    }
    assert_eq!(walk(&sidecar, conversation, "limit=3", "before").await, numbered(ages.into_iter()));
    // A cursor belongs to its conversation.
    let page = sidecar.get(&format!("/v1/conversations/{conversation}/messages?limit=1")).await;
    arrives(&sidecar, "other", "carol", "dave", "hi").await;
    take(&sidecar, "s", 1).await;
    let path = format!("/v1/conversations/direct~carol~dave/messages?before={}", page["next"].as_str().unwrap());
    assert_eq!(sidecar.request(Method::GET, &path).send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn conversations_are_listed_page_by_page() {
    let (_directory, sidecar) = receiver("");
    subscribe(&sidecar, "s", &["messages"]).await;
    for n in 0..11 {
        arrives(&sidecar, &n.to_string(), &format!("user{n:02}"), "shop", "hi").await;
    }
    arrives(&sidecar, "again", "shop", "user03", "hello").await;
    take(&sidecar, "s", 12).await;
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = sidecar.get(&format!("/v1/conversations?limit=4{after}")).await;
        found.extend(page["conversations"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    let ids: Vec<&str> = found.iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 11);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 11, "one came twice: {ids:?}");
    assert!(ids.is_sorted(), "{ids:?}");
    let third = found.iter().find(|one| one["id"] == "direct~shop~user03").unwrap();
    assert_eq!(third["last_sequence"], json!(2), "{third}");
}
