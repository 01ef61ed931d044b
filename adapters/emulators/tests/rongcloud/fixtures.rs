//! Documented requests are accepted and answers have the documented shape.

use serde_json::Value;
use switchboard_emulators::rongcloud::{ClientMessage, Push, Target};

use switchboard_emulators::Time;

use crate::support::{Vendor, assert_same_shape, json, text};

async fn documented(vendor: &Vendor, path: &str, request: &str, response: &str) -> Value {
    let answer = if request.ends_with(".json") {
        vendor.ok_json(path, &json(request)).await
    } else {
        vendor.ok(path, &text(request)).await
    };
    assert_same_shape(&answer, &json(response), response);
    answer
}

#[tokio::test]
pub(crate) async fn user_calls() {
    let vendor = Vendor::start().await;
    documented(&vendor, "/user/getToken.json", "get_token_request.form", "get_token_response.json").await;
    vendor.ok("/user/getToken.json", "userId=user_mallory").await;
    vendor.ok("/user/refresh.json", &text("user_refresh_request.form")).await;
    let info = vendor.ok("/user/info.json", "userId=user_alice").await;
    assert_eq!(info["userName"], "Alice L");
    assert_eq!(info["userPortrait"], "https://cdn.example.test/a2.png");
    assert_eq!(info["createTime"], "2026-11-19 10:15:30");

    vendor.ok("/user/block.json", &text("user_block_request.form")).await;
    let blocked = vendor.ok("/user/block/query.json", "").await;
    assert_eq!(blocked, json("user_block_query_response.json"));
    vendor.ok("/user/unblock.json", &text("user_unblock_request.form")).await;
    assert_eq!(vendor.ok("/user/block/query.json", "").await["users"], serde_json::json!([]));

    assert_eq!(
        vendor.ok("/user/checkOnline.json", "userId=user_alice").await,
        json("user_check_online_response_offline.json")
    );
    vendor.emulator.user("user_alice").login("iOS").unwrap();
    assert_eq!(
        vendor.ok("/user/checkOnline.json", "userId=user_alice").await,
        json("user_check_online_response_online.json")
    );

    vendor.ok("/user/blacklist/add.json", &text("user_blacklist_add_request.form")).await;
    let list = vendor.ok("/user/blacklist/query.json", "userId=user_alice").await;
    assert_eq!(list, json("user_blacklist_query_response.json"));

    let both = "userIds=user_alice&userIds=user_bob";
    vendor.ok_json("/user/tag/batch/set.json", &json("user_tag_batch_set_request.json")).await;
    let tags = vendor.ok("/user/tags/get.json", both).await;
    assert_eq!(tags["result"], serde_json::json!({ "user_alice": ["vip"], "user_bob": ["vip"] }));
    vendor.ok_json("/user/tag/set.json", &json("user_tag_set_request.json")).await;
    let tags = vendor.ok("/user/tags/get.json", both).await;
    assert_eq!(tags, json("user_tags_get_response.json"));

    vendor.ok("/user/blockPushPeriod/set.json", &text("user_block_push_period_set_request.form")).await;
    let period = vendor.ok("/user/blockPushPeriod/get.json", "userId=user_alice").await;
    assert_eq!(period, json("user_block_push_period_get_response.json"));

    let answer = vendor.ok("/user/deactivate.json", "userId=user_mallory").await;
    assert_same_shape(&answer, &json("user_deactivate_response.json"), "deactivate");
    assert_eq!(answer["code"], json("user_deactivate_response.json")["code"]);
}

#[tokio::test]
pub(crate) async fn profiles() {
    // 2026-11-01 09:30:00 in Beijing.
    let vendor = Vendor::with(|builder| builder.time(Time::manual(1_793_496_600_000))).await;
    vendor.ok("/user/getToken.json", &text("get_token_request.form")).await;
    assert_eq!(vendor.ok("/user/info.json", "userId=user_alice").await, json("user_info_response.json"));
}

#[tokio::test]
pub(crate) async fn token_expiry() {
    let vendor = Vendor::start().await;
    let token = async |user: &str| {
        let answer = vendor.ok("/user/getToken.json", &format!("userId={user}")).await;
        answer["token"].as_str().unwrap().to_owned()
    };
    let logs_in = |user: &str, token: &str| vendor.emulator.user(user).login_with_token(token, "iOS").is_ok();
    let (alice, bob) = (token("user_alice").await, token("user_bob").await);
    // Those issued in this very millisecond stay.
    vendor.ok("/user/token/expire.json", &text("user_token_expire_request.form")).await;
    assert!(logs_in("user_alice", &alice) && logs_in("user_bob", &bob));
    let later = text("user_token_expire_request.form").replace("1795054530123", "1795054530124");
    assert_ne!(later, text("user_token_expire_request.form"));
    vendor.ok("/user/token/expire.json", &later).await;
    assert!(!logs_in("user_alice", &alice) && !logs_in("user_bob", &bob));
}

#[tokio::test]
pub(crate) async fn group_calls() {
    let vendor = Vendor::start().await;
    vendor.ok("/group/create.json", &text("group_create_request.form")).await;
    let members = vendor.ok("/group/user/query.json", "groupId=group_team").await;
    assert_eq!(members, json("group_user_query_response.json"));
    vendor.ok("/group/join.json", &text("group_join_request.form")).await;
    let groups = vendor.ok("/user/group/query.json", "userId=user_alice").await;
    assert_eq!(groups, json("user_group_query_response.json"));
    vendor.ok("/group/sync.json", &text("group_sync_request.form")).await;
    let groups = vendor.ok("/user/group/query.json", "userId=user_alice").await;
    let mut groups: Vec<(&str, &str)> = groups["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| (group["id"].as_str().unwrap(), group["name"].as_str().unwrap()))
        .collect();
    groups.sort_unstable();
    assert_eq!(groups, [("group_ops", "Ops"), ("group_team", "Team")]);

    // Ten minutes before the time in the answer.
    vendor.at(1_795_054_800_000);
    vendor.ok("/group/user/gag/add.json", &text("group_gag_add_request.form")).await;
    let gagged = vendor.ok("/group/user/gag/list.json", "groupId=group_team").await;
    assert_eq!(gagged, json("group_gag_list_response.json"));
    vendor.ok("/group/ban/add.json", "groupId=group_team").await;
    let banned = vendor.ok("/group/ban/query.json", "groupId=group_team").await;
    assert_eq!(banned, json("group_ban_query_response.json"));

    let bound = "groupId=g2&groupName=G&userId=a&userId=b&bindNotifyMsg=true&fromUserId=a&objectName=RC%3AInfoNtf\
                 &content=%7B%22message%22%3A%22hi%22%7D";
    let answer = vendor.ok("/group/create.json", bound).await;
    assert_same_shape(&answer, &json("group_create_response_with_bound_notice.json"), "bound notice");
    assert_eq!(answer["memberCount"], 2);
}

#[tokio::test]
pub(crate) async fn chatroom_and_conversation_calls() {
    let vendor = Vendor::start().await;
    vendor.ok("/chatroom/create_new.json", &text("chatroom_create_new_request.form")).await;
    for user in ["user_alice", "user_bob", "user_carol"] {
        vendor.emulator.user(user).join_room("room_42").unwrap();
    }
    assert_eq!(vendor.ok("/chatroom/get.json", "chatroomId=room_42").await, json("chatroom_get_response.json"));
    // 2026-11-19 10:00:05 in Beijing.
    let earlier = Vendor::with(|builder| builder.time(Time::manual(1_795_053_605_000))).await;
    let bare = text("chatroom_create_new_request.form").split("&entryOwnerId").next().unwrap().to_owned();
    earlier.ok("/chatroom/create_new.json", &bare).await;
    earlier.emulator.user("user_alice").join_room("room_42").unwrap();
    earlier.ok("/chatroom/entry/set.json", &text("chatroom_entry_set_request.form")).await;
    let entries = earlier.ok("/chatroom/entry/query.json", "chatroomId=room_42&keys=host").await;
    assert_eq!(entries, json("chatroom_entry_query_response.json"));
    let members = vendor.ok("/chatroom/user/query.json", "chatroomId=room_42&count=2&order=1").await;
    assert_same_shape(&members, &json("chatroom_user_query_response.json"), "members");
    let exist = vendor.ok("/chatroom/users/exist.json", "chatroomId=room_42&userId=user_alice&userId=user_zed").await;
    assert_eq!(exist, json("chatroom_users_exist_response.json"));

    vendor.ok("/conversation/notification/set.json", &text("conversation_notification_set_request.form")).await;
    let muted = "conversationType=3&requestId=user_alice&targetId=group_team";
    let answer = vendor.ok("/conversation/notification/get.json", muted).await;
    assert_eq!(answer, json("conversation_notification_get_response.json"));
    let alice = vendor.emulator.user("user_alice");
    assert!(!alice.is_on_top(&Target::User("user_bob".to_owned())));
    vendor.ok("/conversation/top/set.json", &text("conversation_top_set_request.form")).await;
    assert!(alice.is_on_top(&Target::User("user_bob".to_owned())));
}

#[tokio::test]
pub(crate) async fn message_calls() {
    let vendor = Vendor::start().await;
    let rows = [
        ("/message/private/publish.json", "rest_private_publish_request.form", "rest_private_publish_response.json"),
        ("/message/group/publish.json", "rest_group_publish_request.form", "rest_group_publish_response.json"),
        ("/message/group/publish.json", "rest_group_publish_mention_request.form", "rest_group_publish_response.json"),
        ("/message/group/publish.json", "rest_group_publish_directed_request.form", "rest_group_publish_response.json"),
        (
            "/message/ultragroup/publish.json",
            "rest_ultragroup_publish_request.json",
            "rest_ultragroup_publish_response.json",
        ),
        ("/message/chatroom/publish.json", "rest_chatroom_publish_request.form", "rest_chatroom_publish_response.json"),
        ("/message/system/publish.json", "rest_system_publish_request.form", "rest_private_publish_response.json"),
        (
            "/message/private/publish_template.json",
            "rest_private_publish_template_request.json",
            "rest_private_publish_response.json",
        ),
        (
            "/statusmessage/private/publish.json",
            "rest_statusmessage_private_request.form",
            "rest_private_publish_response.json",
        ),
        ("/message/broadcast.json", "rest_broadcast_request.form", "rest_broadcast_response.json"),
        (
            "/message/broadcast/recall.json",
            "rest_broadcast_recall_request.form",
            "rest_private_publish_response_minimal.json",
        ),
        ("/message/recall.json", "rest_recall_request.form", "rest_private_publish_response_minimal.json"),
        (
            "/message/private/modify.json",
            "rest_private_modify_request.form",
            "rest_private_publish_response_minimal.json",
        ),
        ("/message/group/modify.json", "rest_group_modify_request.form", "rest_private_publish_response_minimal.json"),
        (
            "/ultragroup/msg/modify.json",
            "rest_ultragroup_modify_request.form",
            "rest_private_publish_response_minimal.json",
        ),
        ("/message/history.json", "history_request.form", "history_response_no_data.json"),
        ("/message/history/delete.json", "history_delete_request.form", "rest_private_publish_response_minimal.json"),
        (
            "/conversation/message/history/clean.json",
            "history_clean_request.form",
            "rest_private_publish_response_minimal.json",
        ),
    ];
    for (path, request, response) in rows {
        documented(&vendor, path, request, response).await;
    }
    let all = vendor.emulator.ledger().messages();
    let said = |to: &str| {
        let mut own = all.iter().filter(|message| message.from == "user_system" && message.target == to);
        let message = own.find(|message| message.kind == "direct").unwrap();
        (message.message_type.clone(), message.body["content"].clone())
    };
    assert_eq!(said("user_bob"), ("RC:TxtMsg".to_owned(), serde_json::json!("Bob, your order A1 shipped")));
    assert_eq!(said("user_carol"), ("RC:TxtMsg".to_owned(), serde_json::json!("Carol, your order A2 shipped")));
    let broadcast = all.iter().find(|message| message.body["content"] == "v2 is live").unwrap();
    assert_eq!((broadcast.from.as_str(), broadcast.message_type.as_str()), ("user_system", "RC:TxtMsg"));
    let recall =
        all.iter().find(|message| message.message_type == "RC:RcCmd" && message.from == "user_system").unwrap();
    let expected = serde_json::json!({
        "messageUId": "D1U6-BGVG-006O-2O32", "conversationType": 6, "sentTime": 1_795_054_571_456_i64,
        "isAdmin": 1, "isDelete": 1,
    });
    assert_eq!(*recall.body, expected);
}

/// What the recipients' devices show of a template and of a broadcast to the whole app.
#[tokio::test]
pub(crate) async fn templates_and_broadcasts_arrive() {
    let vendor = Vendor::start().await;
    vendor.ok("/user/blacklist/add.json", "userId=user_carol&blackUserId=user_system").await;
    let template = json("rest_private_publish_template_request.json");
    vendor.ok_json("/message/private/publish_template.json", &template).await;
    let inbox = |user: &str| vendor.emulator.user(user).inbox();
    let push = |content: &str| Some(Push { content: content.to_owned(), ..Push::default() });
    // It does not ask about the blacklist.
    for user in ["user_bob", "user_carol"] {
        let pushed: Vec<_> = inbox(user).into_iter().map(|message| message.push).collect();
        assert_eq!(pushed, [push("Order update")], "{user}");
    }
    let mut asking = template.clone();
    (asking["verifyBlacklist"], asking["disablePush"]) = (1.into(), true.into());
    vendor.ok_json("/message/private/publish_template.json", &asking).await;
    assert_eq!((inbox("user_bob").len(), inbox("user_carol").len()), (2, 1));
    assert_eq!(inbox("user_bob")[1].push, None);

    let answer = vendor.ok("/message/broadcast.json", &text("rest_broadcast_request.form")).await;
    let broadcast = vendor.emulator.ledger().messages().pop().unwrap();
    let expected = text("rest_broadcast_response.json").replace("D1U6-BGVG-006O-2O32", &broadcast.vendor_id);
    assert_eq!(answer, serde_json::from_str::<Value>(&expected).unwrap());
    let received = inbox("user_zed").pop().unwrap();
    assert_eq!((received.from.as_str(), received.push), ("user_system", push("v2 is live")));
}

/// The messages of the edit samples under the samples' own ids, then edited, cleaned and deleted as the samples say.
#[tokio::test]
pub(crate) async fn edits_and_deletions() {
    let vendor = Vendor::start().await;
    vendor.ok("/group/create.json", &text("group_create_request.form")).await;
    let alice = vendor.emulator.user("user_alice");
    let say = async |target: Target, uid: &str| {
        alice.send(ClientMessage::text(target, "before").with_uid(uid)).await.unwrap();
    };
    let (private, group) = ("D1U6-B6SI-O124-3K1R", "D1U6-BEP6-022C-67T7");
    say(Target::User("user_bob".to_owned()), private).await;
    say(Target::Group("group_team".to_owned()), group).await;
    let edit = text("rest_private_modify_request.form");
    let other_type = edit.replace("TxtMsg", "ImgMsg");
    assert_eq!(vendor.refused("/message/private/modify.json", &other_type).await, (400, 1002));
    vendor.ok("/message/private/modify.json", &edit).await;
    vendor.ok("/message/group/modify.json", &text("rest_group_modify_request.form")).await;
    let content = |uid: &str| {
        let message = vendor.emulator.ledger().message(uid).unwrap();
        (message.edits, message.body["content"].clone())
    };
    assert_eq!(content(private), (1, serde_json::json!("hello bob (edited)")));
    assert_eq!(content(group), (1, serde_json::json!("standup in 10")));

    let query = |from: &str, to: &str| {
        serde_json::json!({
            "userId": from, "targetId": to, "startTime": 1_795_054_000_000_i64, "endTime": 1_795_055_000_000_i64,
            "includeStart": true,
        })
    };
    let seen = async |from: &str, to: &str| {
        let answer = vendor.ok_json("/v3/message/private/query.json", &query(from, to)).await;
        answer["data"].as_array().map_or(0, Vec::len)
    };
    vendor.at(1_795_054_562_456);
    say(Target::User("user_bob".to_owned()), "D1U6-BEP6-022C-0001").await;
    vendor.at(1_795_054_562_457);
    say(Target::User("user_bob".to_owned()), "D1U6-BEP6-022C-0002").await;
    assert_eq!((seen("user_alice", "user_bob").await, seen("user_bob", "user_alice").await), (3, 3));
    vendor.ok("/conversation/message/history/clean.json", &text("history_clean_request.form")).await;
    assert_eq!(
        (seen("user_alice", "user_bob").await, seen("user_bob", "user_alice").await),
        (1, 3),
        "her side, up to then"
    );

    let file = async |hour: &str| {
        let answer = vendor.ok("/message/history.json", &format!("date={hour}")).await;
        !answer["url"].as_str().unwrap().is_empty()
    };
    vendor.at(1_795_054_530_123 + 2 * 3_600_000);
    say(Target::User("user_bob".to_owned()), "D1U6-BEP6-022C-0003").await;
    vendor.at(1_795_054_530_123 + 30 * 3_600_000);
    assert!(file("2026111910").await && file("2026111912").await);
    vendor.ok("/message/history/delete.json", &text("history_delete_request.form")).await;
    vendor.at(1_795_054_530_123 + 31 * 3_600_000);
    assert!(!file("2026111910").await && file("2026111912").await);
}

#[tokio::test]
pub(crate) async fn expansion_and_ultra_group_reads() {
    let vendor = Vendor::start().await;
    let alice = vendor.emulator.user("user_alice");
    let uid = "D1U6-B6SI-O124-3K1R";
    let message = ClientMessage::text(Target::User("user_bob".to_owned()), "hello bob");
    alice.send(message.with_uid(uid).with_expansion(&[("state", "new")])).await.unwrap();
    vendor.at(1_795_054_590_123);
    let set = text("rest_expansion_set_request.form");
    let elsewhere = set.replace("targetId=user_bob", "targetId=user_carol");
    assert_eq!(vendor.refused("/message/expansion/set.json", &elsewhere).await, (400, 1002));
    vendor.ok("/message/expansion/set.json", &set).await;
    let pairs = vendor.ok("/message/expansion/query.json", &text("rest_expansion_query_request.form")).await;
    assert_eq!(pairs, json("rest_expansion_query_response.json"));
    vendor.ok("/message/expansion/delete.json", &text("rest_expansion_delete_request.form")).await;
    let pairs = vendor.ok("/message/expansion/query.json", &text("rest_expansion_query_request.form")).await;
    assert_eq!(pairs["extraContent"], serde_json::json!({}));

    vendor.at(1_795_054_620_007);
    let sent = vendor.ok_json("/message/ultragroup/publish.json", &json("rest_ultragroup_publish_request.json")).await;
    let uid = sent["messageUIDs"][0]["messageUID"].as_str().unwrap().to_owned();
    let edit = text("rest_ultragroup_modify_request.form").replace("D1U6-BSQP-O0BB-AR3P", &uid);
    vendor.ok("/ultragroup/msg/modify.json", &edit).await;
    let msgs = format!("groupId=ug_city&msgs=[{{\"msgUID\":\"{uid}\",\"busChannel\":\"ch_general\"}}]");
    // A repeat of the edit, whatever it says, is none.
    let repeat = format!(
        "groupId=ug_city&fromUserId=user_alice&msgUID={uid}&busChannel=ch_general&msgRandom=20261119101701\
         &content=%7B%22content%22%3A%22again%22%7D"
    );
    vendor.ok("/ultragroup/msg/modify.json", &repeat).await;
    let read = vendor.ok("/ultragroup/msg/get.json", &msgs).await;
    let expected = text("rest_ultragroup_msg_get_response.json").replace("D1U6-BSQP-O0BB-AR3P", &uid);
    assert_eq!(read, serde_json::from_str::<Value>(&expected).unwrap());
    vendor.at(1_795_054_620_007 + 60_001);
    vendor.ok("/ultragroup/msg/modify.json", &repeat).await;
    let read = vendor.ok("/ultragroup/msg/get.json", &msgs).await;
    assert_eq!(read["data"][0]["content"], "{\"content\":\"again\"}", "a minute later it is another one");
}
