//! What the Server API does to messages, users, groups, and who may see what.

use serde_json::{Value, json};
use switchboard_emulators::{
    common::Source,
    rongcloud::{ClientMessage, Target},
};

use crate::support::{MOMENT, SECRET, Vendor, sign};

fn publish(to: &str, text: &str) -> String {
    format!("fromUserId=alice&{to}&objectName=RC:TxtMsg&content={{\"content\":\"{text}\"}}")
}

fn to_user(id: &str) -> Target {
    Target::User(id.to_owned())
}

fn to_group(id: &str) -> Target {
    Target::Group(id.to_owned())
}

#[tokio::test]
async fn signatures_decide_before_anything_else() {
    let vendor = Vendor::start().await;
    let url = format!("{}/user/getToken.json", vendor.emulator.base_url());
    let call = |key: &str, signature: String, prefix: &str| {
        let header = |name: &str| format!("{prefix}{name}");
        vendor
            .http
            .post(&url)
            .header(header("App-Key"), key)
            .header(header("Nonce"), "14314")
            .header(header("Timestamp"), "1408710653000")
            .header(header("Signature"), signature)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body("userId=u")
    };
    let good = sign("14314", "1408710653000");
    for (request, expected) in [
        (call("demoappkey01", good.clone(), ""), (200, 200)),
        (call("demoappkey01", good.clone(), "RC-"), (200, 200)),
        (call("demoappkey01", good.to_uppercase(), ""), (200, 200)),
        (call("otherkey", good.clone(), ""), (401, 1001)),
        (call("demoappkey01", sign("14314", "1408710653001"), ""), (401, 1004)),
    ] {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!((status, body["code"].as_i64().unwrap()), expected, "{body}");
    }
    assert!(!format!("{:?}", vendor.emulator).contains(SECRET));
    assert!(
        !vendor
            .http
            .get(format!("{}/_emulator/state", vendor.emulator.base_url()))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
            .contains(SECRET)
    );
}

#[tokio::test]
async fn unknown_paths_methods_and_bodies() {
    let vendor = Vendor::start().await;
    assert_eq!(vendor.refused("/user/nothing.json", "a=1").await, (404, 404));
    assert_eq!(vendor.refused("/user/getToken.json", "").await, (400, 1003));
    assert_eq!(vendor.refused("/user/getToken.json", "name=x").await, (400, 1002));
    assert_eq!(vendor.refused("/user/getToken.json", "userId=a%20b").await, (400, 1002));
    assert_eq!(vendor.refused("/user/tag/set.json", "userId=a&tags=b").await, (400, 1002));
    let get = vendor.http.get(format!("{}/user/getToken.json", vendor.emulator.base_url()));
    assert_eq!(get.send().await.unwrap().status(), 405);
}

#[tokio::test]
async fn every_recipient_has_an_id_and_a_place_in_the_ledger() {
    let vendor = Vendor::start().await;
    let body = publish("toUserId=bob&toUserId=carol&toUserId=dave", "hi");
    let answer = vendor.ok("/message/private/publish.json", &body).await;
    let uids: Vec<&str> =
        answer["messageUIDs"].as_array().unwrap().iter().map(|uid| uid["messageUID"].as_str().unwrap()).collect();
    let accepted = vendor.emulator.ledger().messages();
    assert_eq!(accepted.iter().map(|message| message.vendor_id.as_str()).collect::<Vec<_>>(), uids);
    assert!(uids.is_sorted());
    assert!(accepted.iter().all(|message| message.source == Source::Rest && message.time_ms == MOMENT));
    let inbox = vendor.emulator.user("carol").inbox();
    assert_eq!(inbox.len(), 1);
    assert_eq!((inbox[0].from.as_str(), inbox[0].uid.as_str()), ("alice", uids[1]));
}

#[tokio::test]
async fn old_deployments_answer_the_code_alone() {
    let vendor = Vendor::start().await;
    vendor.emulator.update_settings(|settings| settings.message_uids = false);
    let answer = vendor.ok("/message/private/publish.json", &publish("toUserId=bob", "hi")).await;
    assert_eq!(answer, json!({ "code": 200 }));
    vendor.emulator.update_settings(|settings| settings.code_only = true);
    assert_eq!(vendor.ok("/user/getToken.json", "userId=u").await, json!({ "code": 200 }));
}

#[tokio::test]
async fn the_v2_generation_has_its_own_success_code() {
    let vendor = Vendor::start().await;
    let body = json!({ "fromUserId": "a", "toGroupIds": ["g"], "objectName": "RC:TxtMsg", "content": "{}" });
    let (status, answer) = vendor.json("/v2/message/ultragroup/send", &body).await;
    assert_eq!((status, answer["code"].as_i64()), (200, Some(10_000)));
    assert_eq!(answer["messageUIDs"][0]["groupId"], "g");
}

#[tokio::test]
async fn a_blocked_sender_reaches_nobody_who_verifies() {
    let vendor = Vendor::start().await;
    vendor.ok("/user/blacklist/add.json", "userId=bob&blackUserId=alice").await;
    let body = publish("toUserId=bob&toUserId=carol&verifyBlacklist=1", "hi");
    let answer = vendor.ok("/message/private/publish.json", &body).await;
    let recipients: Vec<&Value> = answer["messageUIDs"].as_array().unwrap().iter().map(|uid| &uid["userId"]).collect();
    assert_eq!(recipients, ["carol"]);
    vendor.ok("/message/private/publish.json", &publish("toUserId=bob", "not verified")).await;
    assert_eq!(vendor.emulator.user("bob").inbox().len(), 1);
    let refused = vendor.emulator.user("alice").send(ClientMessage::text(to_user("bob"), "x")).await;
    assert_eq!(refused.unwrap_err().code, 405);
}

#[tokio::test]
async fn blocking_disconnects_and_keeps_out_until_it_ends() {
    let vendor = Vendor::start().await;
    let token = vendor.ok("/user/getToken.json", "userId=bob").await["token"].as_str().unwrap().to_owned();
    let bob = vendor.emulator.user("bob");
    bob.login_with_token(&token, "Android").unwrap();
    vendor.ok("/user/block.json", "userId=bob&minute=30").await;
    assert_eq!(vendor.ok("/user/checkOnline.json", "userId=bob").await["status"], "0");
    assert_eq!(bob.login_with_token(&token, "Android").unwrap_err().code, 31_009);
    vendor.at(MOMENT + 30 * 60_000);
    bob.login_with_token(&token, "Android").unwrap();
    vendor.ok("/user/token/expire.json", &format!("userId=bob&time={}", MOMENT + 1)).await;
    assert_eq!(bob.login_with_token(&token, "Android").unwrap_err().code, 31_004);
    assert_eq!(vendor.ok("/user/checkOnline.json", "userId=bob").await["status"], "1", "stays connected");
}

#[tokio::test]
async fn a_recall_hides_the_message_and_is_a_message_itself() {
    let vendor = Vendor::start().await;
    let alice = vendor.emulator.user("alice");
    let sent = alice.send(ClientMessage::text(to_user("bob"), "oops")).await.unwrap();
    let body =
        format!("fromUserId=alice&conversationType=1&targetId=bob&messageUID={}&sentTime={}", sent.uid, sent.time_ms);
    vendor.ok("/message/recall.json", &body).await;
    assert!(vendor.emulator.user("bob").inbox().is_empty());
    let ledger = vendor.emulator.ledger();
    assert!(ledger.message(&sent.uid).unwrap().recalled);
    let command = ledger.messages().pop().unwrap();
    assert_eq!(command.message_type, "RC:RcCmd");
    assert_ne!(command.vendor_id, sent.uid);
    assert_eq!(alice.recall(&sent.uid).unwrap_err().code, 25_101, "once");
}

#[tokio::test]
async fn recall_windows_and_unknown_messages_are_settings() {
    let vendor = Vendor::start().await;
    let recall = "fromUserId=a&conversationType=1&targetId=b&messageUID=D1U6-B6SI-O124-3K1R&sentTime=1795054000000";
    vendor.ok("/message/recall.json", recall).await;
    vendor.emulator.update_settings(|settings| settings.messages.recall_window_ms = 120_000);
    assert_eq!(vendor.refused("/message/recall.json", recall).await, (400, 1002));
    vendor.emulator.update_settings(|settings| {
        settings.messages.recall_window_ms = 0;
        settings.messages.known_only = true;
    });
    assert_eq!(vendor.refused("/message/recall.json", recall).await, (400, 1002));
}

#[tokio::test]
async fn edits_change_the_text_and_only_by_its_sender() {
    let vendor = Vendor::start().await;
    let sent = vendor.emulator.user("alice").send(ClientMessage::text(to_user("bob"), "helo")).await.unwrap();
    let edit =
        |from: &str| format!("fromUserId={from}&targetId=bob&msgUID={}&content={{\"content\":\"hello\"}}", sent.uid);
    assert_eq!(vendor.refused("/message/private/modify.json", &edit("mallory")).await, (400, 1002));
    vendor.ok("/message/private/modify.json", &edit("alice")).await;
    let message = vendor.emulator.ledger().message(&sent.uid).unwrap();
    assert_eq!((message.body["content"].as_str(), message.edits), (Some("hello"), 1));
    assert_eq!(vendor.emulator.ledger().counters().messages_total, 1, "an edit is no new message");
    vendor.emulator.update_settings(|settings| settings.messages.edit_window_ms = 60_000);
    vendor.at(MOMENT + 60_001);
    assert_eq!(vendor.refused("/message/private/modify.json", &edit("alice")).await, (400, 1002));
}

#[tokio::test]
async fn groups_decide_who_speaks_and_who_hears() {
    let vendor = Vendor::start().await;
    vendor.ok("/group/create.json", "groupId=g&groupName=G&userId=alice&userId=bob").await;
    let say = |user: &str| {
        let user = vendor.emulator.user(user);
        async move { user.send(ClientMessage::text(to_group("g"), "hi")).await.map_err(|refusal| refusal.code) }
    };
    say("alice").await.unwrap();
    assert_eq!(say("carol").await, Err(22_406));
    vendor.ok("/group/user/gag/add.json", "groupId=g&userId=alice&minute=10").await;
    assert_eq!(say("alice").await, Err(22_408));
    vendor.at(MOMENT + 600_000);
    say("alice").await.unwrap();
    vendor.ok("/group/user/gag/add.json", "userId=alice&minute=0").await;
    assert_eq!(say("alice").await, Err(22_408), "everywhere and for good");
    vendor.ok("/group/user/gag/rollback.json", "userId=alice").await;
    vendor.ok("/group/ban/add.json", "groupId=g").await;
    assert_eq!(say("bob").await, Err(22_408));
    vendor.ok("/group/user/ban/whitelist/add.json", "groupId=g&userId=bob").await;
    say("bob").await.unwrap();
    assert_eq!(vendor.emulator.user("bob").inbox().len(), 2);
    vendor.ok("/group/quit.json", "groupId=g&userId=bob").await;
    assert!(vendor.emulator.user("bob").inbox().is_empty());
    vendor.ok("/group/dismiss.json", "groupId=g&userId=alice").await;
    assert_eq!(vendor.ok("/group/user/query.json", "groupId=g").await["users"], json!([]));
}

#[tokio::test]
async fn directed_group_messages_reach_those_named() {
    let vendor = Vendor::start().await;
    vendor.ok("/group/create.json", "groupId=g&groupName=G&userId=alice&userId=bob&userId=carol").await;
    let body = publish("toGroupId=g&toUserId=bob", "psst");
    vendor.ok("/message/group/publish.json", &body).await;
    assert_eq!(vendor.emulator.user("bob").inbox().len(), 1);
    assert!(vendor.emulator.user("carol").inbox().is_empty());
    let seen_by = async |user: &str| {
        let query =
            json!({ "userId": user, "targetId": "g", "startTime": MOMENT, "endTime": MOMENT, "includeStart": true });
        let answer = vendor.ok_json("/v3/message/group/query.json", &query).await;
        answer["data"].as_array().unwrap().len()
    };
    assert_eq!(seen_by("bob").await, 0, "not in cloud history by default");
    vendor.emulator.update_settings(|settings| settings.query.directed = true);
    vendor.ok("/message/group/publish.json", &body).await;
    assert_eq!((seen_by("bob").await, seen_by("carol").await), (1, 0));
    let two = publish("toGroupId=g&toGroupId=h&toUserId=bob", "psst");
    assert_eq!(vendor.refused("/message/group/publish.json", &two).await, (400, 1002));
}

#[tokio::test]
async fn message_randoms_deduplicate_only_when_told() {
    let vendor = Vendor::start().await;
    let body = publish("toUserId=bob&msgRandom=77", "hi");
    let first = vendor.ok("/message/private/publish.json", &body).await;
    assert_ne!(vendor.ok("/message/private/publish.json", &body).await, first);
    vendor.emulator.update_settings(|settings| settings.messages.random_deduplicates = true);
    let first = vendor.ok("/message/private/publish.json", &body).await;
    assert_eq!(vendor.ok("/message/private/publish.json", &body).await, first);
    vendor.at(MOMENT + 60_001);
    assert_ne!(vendor.ok("/message/private/publish.json", &body).await, first);
    assert_eq!(vendor.emulator.ledger().messages().len(), 4);
}

#[tokio::test]
async fn words_block_or_are_replaced() {
    let vendor = Vendor::start().await;
    vendor.ok("/sensitiveword/add.json", "word=darn&replaceWord=***").await;
    let words = json!({ "words": [{ "word": "bomb" }] });
    vendor.ok_json("/sensitiveword/batch/add.json", &words).await;
    let all = vendor.ok("/sensitiveword/list.json", "type=2").await;
    assert_eq!(
        all["words"],
        json!([
            { "type": "1", "word": "bomb", "replaceWord": "" },
            { "type": "0", "word": "darn", "replaceWord": "***" },
        ])
    );
    let alice = vendor.emulator.user("alice");
    let sent = alice.send(ClientMessage::text(to_user("bob"), "darn it")).await.unwrap();
    assert_eq!(vendor.emulator.ledger().message(&sent.uid).unwrap().body["content"], "*** it");
    let refused = alice.send(ClientMessage::text(to_user("bob"), "a bomb")).await;
    assert_eq!(refused.unwrap_err().code, 21_501);
    assert_eq!(vendor.emulator.user("bob").inbox().len(), 1);
    vendor.ok("/sensitiveword/batch/delete.json", "words=bomb&words=darn").await;
    alice.send(ClientMessage::text(to_user("bob"), "a bomb")).await.unwrap();
}

#[tokio::test]
async fn end_users_act_over_http_too() {
    let vendor = Vendor::start().await;
    let base = vendor.emulator.base_url();
    let act = |user: &str, action: &str, arguments: Value| {
        let request = vendor.http.post(format!("{base}/_emulator/users/{user}/{action}")).json(&arguments);
        async move {
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            (status, serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap())
        }
    };
    let (status, sent) = act("alice", "send", json!({ "to": { "user": "bob" }, "text": "hi", "os": "PC" })).await;
    assert_eq!(status, 200, "{sent}");
    let (_, inbox) = act("bob", "inbox", json!({})).await;
    assert_eq!(inbox["messages"][0]["uid"], sent["uid"]);
    let (status, _) = act("bob", "recall", json!({ "uid": sent["uid"] })).await;
    assert_eq!(status, 422, "not the sender");
    let (status, _) = act("alice", "recall", json!({ "uid": sent["uid"] })).await;
    assert_eq!(status, 200);
    assert_eq!(act("alice", "login", json!({ "os": "iOS" })).await.0, 200);
    assert_eq!(act("alice", "logout", json!({})).await.1["ended"], 1);
    assert_eq!(act("alice", "join_room", json!({ "room": "r" })).await.0, 200);
    let custom = json!({ "to": { "room": "r" }, "type": "APP:Move", "content": { "x": 1 } });
    assert_eq!(act("alice", "send", custom).await.0, 200);
    assert_eq!(act("alice", "send", json!({ "text": "hi" })).await.0, 422);
    assert_eq!(act("alice", "fly", json!({})).await.0, 422);
    let ledger = vendor.emulator.ledger();
    assert_eq!(ledger.counters().requests_total, 0, "the control surface is not the vendor");
    assert_eq!(ledger.messages().last().unwrap().body["x"], 1);
}
