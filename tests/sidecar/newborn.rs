//! The first messages of a conversation nobody has heard of come at the same time.

use std::sync::Arc;

use serde_json::{Value, json};
use switchboard_emulators::huanxin::Target;
use tokio::sync::Barrier;

use crate::support::callbacks::{FORM, RongQuery, huanxin_text, now_ms, post, rongcloud_text};
use crate::support::consumer::{subscribe, take};
use crate::{receiver, stage};

const ROUNDS: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i05_two_first_messages_at_once_make_one_conversation() {
    let (_directory, sidecar) = receiver("");
    subscribe(&sidecar, "s", &["messages"]).await;
    for round in 0..ROUNDS {
        let (one, other) = (format!("one{round}"), format!("other{round}"));
        let huanxin = huanxin_text(&format!("h{round}"), &one, &other, "from one", now_ms());
        let url = format!("{}/callbacks/huanxin", sidecar.url);
        let first = sidecar.http.post(url).json(&huanxin);
        // The other writes on the other vendor: it is the same conversation.
        let url = format!("{}/callbacks/rongcloud?{}", sidecar.url, RongQuery::signed(now_ms()).text());
        let body = rongcloud_text(&format!("R-{round}"), &other, &one, "from the other", now_ms());
        let second = sidecar.http.post(url).header("content-type", FORM).body(body);
        let barrier = Arc::new(Barrier::new(2));
        let together = [first, second].map(|request| {
            let barrier = barrier.clone();
            tokio::spawn(async move {
                barrier.wait().await;
                post(request).await
            })
        });
        for status in together {
            assert_eq!(status.await.unwrap(), 200);
        }
    }
    let deliveries = take(&sidecar, "s", 2 * ROUNDS).await;
    assert_eq!(deliveries.len(), 2 * ROUNDS);
    let page = sidecar.get("/v1/conversations?limit=1000").await;
    let conversations = page["conversations"].as_array().unwrap();
    assert_eq!(conversations.len(), ROUNDS);
    for conversation in conversations {
        assert_eq!(conversation["last_sequence"], 2, "{conversation}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i05_a_group_first_heard_of_by_many_voices_is_one_group() {
    let (_directory, vendors, sidecar) = stage().await;
    subscribe(&sidecar, "s", &["messages"]).await;
    let members: Vec<String> = (0..8).map(|member| format!("member{member}")).collect();
    for member in &members {
        vendors.huanxin.register(member, "password").unwrap();
    }
    let names: Vec<&str> = members.iter().map(String::as_str).collect();
    let group = vendors.huanxin.create_group("unheard of", names[0], &names[1..]).unwrap();
    vendors.idle().await;
    let barrier = Arc::new(Barrier::new(members.len()));
    let mut voices = tokio::task::JoinSet::new();
    for member in &members {
        let (user, group, barrier) = (vendors.huanxin.user(member), group.clone(), barrier.clone());
        voices.spawn(async move {
            barrier.wait().await;
            user.send_text(Target::Group(group), "me first").await.unwrap();
        });
    }
    voices.join_all().await;
    vendors.idle().await;
    let deliveries = take(&sidecar, "s", members.len()).await;
    let subjects: Vec<&Value> = deliveries.iter().map(|delivery| &delivery["event"]["subject"]).collect();
    assert!(subjects.iter().all(|subject| *subject == subjects[0]), "{subjects:?}");
    let lines = sidecar.request(reqwest::Method::GET, "/v1/identity-map?provider=huanxin").send().await.unwrap();
    let lines = lines.text().await.unwrap();
    let bound = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let groups: Vec<Value> = bound.filter(|line| line["kind"] == "group").collect();
    assert_eq!(groups.len(), 1, "{groups:?}");
    assert_eq!(groups[0]["vendor"], json!(group));
}
