//! Callbacks have the documented bytes.

use serde_json::Value;
use switchboard_emulators::rongcloud::{
    CallbackUrls, ClientMessage, RawCallback, RecallOptions, RongCloudSettings, RoutingSettings, Target,
};

use crate::support::{MOMENT, Receiver, Vendor, assert_same_shape, json, sign, text};

fn everything_routed(urls: CallbackUrls) -> RongCloudSettings {
    let mut settings = RongCloudSettings {
        routing: RoutingSettings { server_api: true, blocked: true, status: true, ..RoutingSettings::default() },
        ..RongCloudSettings::default()
    };
    settings.callbacks.urls = urls;
    settings
}

/// The one routed body, with the vendor's fresh id replaced by the fixture's.
async fn routed(receiver: &Receiver, fresh: Option<&str>, documented: &str, name: &str) {
    let arrived = receiver.take(1).await;
    assert_eq!(arrived.len(), 1, "{name}");
    assert_eq!(arrived[0].headers["content-type"], "application/x-www-form-urlencoded;charset=UTF-8");
    let body = match fresh {
        Some(uid) => {
            let fresh = arrived[0].field("msgUID").unwrap();
            arrived[0].body.replace(&fresh, uid)
        }
        None => arrived[0].body.clone(),
    };
    assert_eq!(body, documented, "{name}");
}

async fn routing_everything(receiver: &Receiver) -> Vendor {
    let urls = CallbackUrls { routing: Some(format!("{}/rongcloud/route", receiver.url)), ..CallbackUrls::default() };
    let vendor = Vendor::with(|builder| builder.settings(everything_routed(urls))).await;
    vendor.ok("/group/create.json", "groupId=group_team&groupName=T&userId=user_alice&userId=user_bob").await;
    vendor.ok("/ultragroup/create.json", "groupId=ug_city&groupName=C&userId=user_alice").await;
    vendor
}

fn hello_bob() -> ClientMessage {
    let content = r#"{"content":"hello bob","extra":"order-7"}"#;
    ClientMessage::new(Target::User("user_bob".to_owned()), "RC:TxtMsg", content).with_uid("D1U6-B6SI-O124-3K1R")
}

fn hi_channel() -> ClientMessage {
    let city = Target::UltraGroup { group: "ug_city".to_owned(), channel: "ch_general".to_owned() };
    ClientMessage::text(city, "hi channel").with_os("PC").with_uid("D1U6-BSQP-O0BB-AR3P")
}

#[tokio::test]
async fn routed_messages_equal_captured_ones() {
    let receiver = Receiver::start().await;
    let vendor = routing_everything(&receiver).await;
    let user = |id: &str| vendor.emulator.user(id);
    let group = || Target::Group("group_team".to_owned());

    user("user_alice").send(hello_bob()).await.unwrap();
    routed(&receiver, None, &text("callback_message_route_private.form"), "private").await;

    vendor.at(1_795_054_562_456);
    let message = ClientMessage::text(group(), "on my way").with_os("Android").with_uid("D1U6-BEP6-022C-67T7");
    user("user_bob").send(message).await.unwrap();
    routed(&receiver, None, &text("callback_message_route_group.form"), "group").await;

    vendor.at(1_795_054_562_461);
    let message = ClientMessage::text(group(), "only you two see this")
        .with_os("Websocket")
        .with_directed(&["user_bob", "user_carol"])
        .with_uid("D1U6-BEP7-824C-67T7");
    user("user_alice").send(message).await.unwrap();
    routed(&receiver, None, &text("callback_message_route_group_directed.form"), "directed").await;

    vendor.at(1_795_054_620_007);
    user("user_alice").send(hi_channel()).await.unwrap();
    routed(&receiver, None, &text("callback_message_route_ultragroup.form"), "ultra group").await;

    vendor.at(1_795_054_725_900);
    user("user_carol").join_room("room_42").unwrap();
    let message = ClientMessage::text(Target::Room("room_42".to_owned()), "nice goal")
        .with_os("Websocket")
        .with_uid("D1U6-CMM3-00IG-2BA3");
    user("user_carol").send(message).await.unwrap();
    routed(&receiver, None, &text("callback_message_route_chatroom.form"), "chatroom").await;
}

#[tokio::test]
async fn routed_edits_server_sends_blocked_messages_and_recalls_equal_captured_ones() {
    let receiver = Receiver::start().await;
    let vendor = routing_everything(&receiver).await;
    let user = |id: &str| vendor.emulator.user(id);
    user("user_alice").send(hello_bob()).await.unwrap();
    vendor.at(1_795_054_620_007);
    user("user_alice").send(hi_channel()).await.unwrap();
    receiver.take(2).await;

    vendor.at(1_795_054_650_007);
    user("user_alice").login("PC").unwrap();
    user("user_alice").edit("D1U6-BSQP-O0BB-AR3P", r#"{"content":"hi everyone"}"#).unwrap();
    let modified = text("callback_message_route_ultragroup_modified.form");
    routed(&receiver, Some("D1U6-C455-O0DB-AR3P"), &modified, "edit").await;

    vendor.at(1_795_054_752_030);
    let publish =
        "fromUserId=user_system&toUserId=user_bob&objectName=RC:TxtMsg&content={\"content\":\"sent by REST\"}";
    vendor.ok("/message/private/publish.json", publish).await;
    let server = text("callback_message_route_server_api.form");
    routed(&receiver, Some("D1U6-CT27-G3O4-3K1R"), &server, "server").await;

    vendor.at(1_795_054_752_039);
    vendor.ok("/sensitiveword/add.json", "word=blocked word").await;
    let message = ClientMessage::text(Target::User("user_bob".to_owned()), "some blocked word")
        .with_os("Android")
        .with_uid("D1U6-CT29-O4C4-044I");
    assert_eq!(user("user_mallory").send(message).await.unwrap_err().code, 21_501);
    routed(&receiver, None, &text("callback_message_route_sensitive_blocked.form"), "blocked").await;

    vendor.at(1_795_054_756_030);
    user("user_alice").logout(None);
    user("user_alice").recall("D1U6-B6SI-O124-3K1R").unwrap();
    let recall = text("callback_message_route_recall.form");
    routed(&receiver, Some("D1U6-CU1F-G3Q4-3K1R"), &recall, "recall").await;
}

#[tokio::test]
async fn operation_and_audit_bodies_equal_captured_ones() {
    let receiver = Receiver::start().await;
    let urls = CallbackUrls {
        message_operation: Some(format!("{}/rongcloud/operation", receiver.url)),
        audit: Some(format!("{}/rongcloud/audit", receiver.url)),
        ..CallbackUrls::default()
    };
    let vendor = Vendor::with(|builder| builder.callback_urls(urls)).await;
    vendor.ok("/group/create.json", "groupId=group_team&groupName=T&userId=user_alice&userId=user_bob").await;
    let alice = vendor.emulator.user("user_alice");
    let message = ClientMessage::text(Target::User("user_bob".to_owned()), "hello").with_uid("D1U6-B6SI-O124-3K1R");
    alice.send(message).await.unwrap();
    vendor.at(1_795_054_562_456);
    let message = ClientMessage::text(Target::Group("group_team".to_owned()), "hi").with_uid("D1U6-BEP6-022C-67T7");
    alice.send(message).await.unwrap();

    vendor.at(1_795_054_752_030);
    let message = ClientMessage::text(Target::User("user_bob".to_owned()), "bad text")
        .with_os("Android")
        .with_uid("D1U6-CT27-G3O4-3K1R");
    vendor.emulator.user("user_mallory").send(message).await.unwrap();
    assert!(vendor.emulator.audit("D1U6-CT27-G3O4-3K1R", false, "demo-provider", r#"{"label":"abuse"}"#));
    let arrived = receiver.take(1).await;
    let documented = text("callback_audit_result.http");
    assert_eq!(Some(arrived[0].body.as_str()), documented.trim_end_matches('\n').split("\n\n").nth(1));
    let header = |name: &str| arrived[0].headers[name].to_str().unwrap().to_owned();
    assert_eq!(header("rc-app-key"), "demoappkey01");
    assert_eq!(header("rc-signature"), sign(&header("rc-nonce"), &header("rc-timestamp")));
    assert_eq!(arrived[0].uri.query(), None);

    vendor.at(1_795_054_756_030);
    let options = RecallOptions { extra: "typo".to_owned(), ..RecallOptions::default() };
    alice.recall_with("D1U6-B6SI-O124-3K1R", options).unwrap();
    assert_eq!(receiver.take(1).await[0].json(), json("callback_message_operation_recall.json"));

    vendor.at(1_795_054_757_030);
    alice.login("Android").unwrap();
    alice.delete("D1U6-BEP6-022C-67T7").unwrap();
    assert_eq!(receiver.take(1).await[0].json(), json("callback_message_operation_delete.json"));
}

#[tokio::test]
async fn status_arrays_have_the_documented_entries() {
    let receiver = Receiver::start().await;
    let vendor = Vendor::with(|builder| {
        let mut settings = everything_routed(CallbackUrls::all(&receiver.url));
        settings.callbacks.batch_ms = 1000;
        builder.settings(settings)
    })
    .await;
    let user = |id: &str| vendor.emulator.user(id);
    for id in ["user_alice", "user_bob", "user_carol"] {
        user(id).login("iOS").unwrap();
    }
    user("user_bob").disconnect(None);
    user("user_carol").logout(None);
    vendor.emulator.wait_idle().await;
    let arrived = receiver.take(1).await;
    assert_eq!(arrived.len(), 1, "collected into one array");
    let entries = arrived[0].json();
    let documented = json("online_status_callback.json");
    for (index, entry) in [(0, 0), (3, 1), (4, 2)] {
        assert_same_shape(&entries[index], &documented[entry], &format!("online entry {index}"));
        assert_eq!(entries[index]["status"], documented[entry]["status"]);
        assert_eq!(entries[index]["userid"], documented[entry]["userid"]);
    }
    assert_eq!(entries[1]["sessionId"], entries[3]["sessionId"], "the session that began is the one that ended");

    user("user_alice").join_room("room_42").unwrap();
    user("user_bob").join_room("room_42").unwrap();
    vendor.ok("/chatroom/user/block/add.json", "chatroomId=room_42&userId=user_bob&minute=5").await;
    vendor.at(MOMENT + 3_600_001);
    vendor.emulator.wait_idle().await;
    let arrived = receiver.take(1).await;
    let entries: Vec<Value> = arrived.iter().flat_map(|callback| callback.json().as_array().unwrap().clone()).collect();
    let documented = json("callback_chatroom_status.json");
    let seen: Vec<(&Value, &Value)> = entries.iter().map(|entry| (&entry["type"], &entry["status"])).collect();
    let expected =
        [(0, 0), (1, 0), (1, 0), (2, 2), (3, 3)].map(|(kind, status)| (Value::from(kind), Value::from(status)));
    assert_eq!(seen, expected.iter().map(|(kind, status)| (kind, status)).collect::<Vec<_>>());
    for entry in &entries {
        assert_same_shape(entry, &documented[3], "room entry");
    }
}

#[tokio::test]
async fn documented_content_types_pass_through_unchanged() {
    let receiver = Receiver::start().await;
    let vendor = Vendor::with(|builder| builder.settings(everything_routed(CallbackUrls::all(&receiver.url)))).await;
    let alice = vendor.emulator.user("user_alice");
    for (object_name, content) in json("message_contents.json").as_object().unwrap() {
        let content = content.to_string();
        alice.send(ClientMessage::new(Target::User("user_bob".to_owned()), object_name, &content)).await.unwrap();
        let arrived = receiver.take(1).await;
        assert_eq!(arrived[0].field("objectName").as_deref(), Some(object_name.as_str()));
        assert_eq!(arrived[0].field("content"), Some(content));
    }
}

#[tokio::test]
async fn recorded_callbacks_of_other_kinds_are_replayed_as_they_are() {
    let receiver = Receiver::start().await;
    let vendor = Vendor::start().await;
    let url = format!("{}/rongcloud/other", receiver.url);
    let names = [
        "callback_group_operation.json",
        "callback_hosted_info_audit.json",
        "callback_bot_message_private.json",
        "nexconn_webhook_message_send.json",
    ];
    for name in names {
        let body = text(name);
        vendor.emulator.send_raw_callback(RawCallback { label: name, url: &url, form: false, body: &body });
        let arrived = &receiver.take(1).await[0];
        assert_eq!(arrived.body, body);
        assert_eq!(arrived.headers["content-type"], "application/json;charset=UTF-8");
        let query = arrived.query();
        assert_eq!(query[3], ("signature".to_owned(), sign(&query[2].1, &query[1].1)), "{query:?}");
    }
    vendor.emulator.wait_idle().await;
    let labels: Vec<String> = vendor.emulator.ledger().callbacks().into_iter().map(|record| record.label).collect();
    assert_eq!(labels, names);
}
