//! Every callback family: provoked, compared with its fixture, and its signature computed anew.

use md5::{Digest, Md5};
use reqwest::Method;
use serde_json::{Value, json};

use super::support::{NOW, Receiver, SECRET, World, builder, fixture, same_shape, sample, text_to, wired, wired_with};
use switchboard_emulators::huanxin::{CallIdForm, CallbackRule, EventFamily, HuanxinSettings, Outgoing, Target};

/// `lowercase hex MD5( callId + secret + decimal(timestamp) )`, computed here independently of the emulator.
fn verifies(callback: &Value, secret: &str) -> bool {
    let (Some(call_id), Some(security)) = (callback["callId"].as_str(), callback["security"].as_str()) else {
        return false;
    };
    let input = format!("{call_id}{secret}{}", callback["timestamp"]);
    hex::encode(Md5::digest(input)) == security
}

/// Waits for what is under way and returns the one callback that passes `wanted`.
async fn one(world: &World, receiver: &Receiver, wanted: impl Fn(&Value) -> bool) -> Value {
    world.vendor.wait_idle().await;
    let mut found: Vec<Value> = receiver.drain().into_iter().filter(wanted).collect();
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

fn shaped(world: &World, name: &str, callback: &Value) {
    same_shape(&sample(name, &world.ids()), callback, name);
    assert!(verifies(callback, SECRET), "{name}: {callback}");
}

fn kind<'a>(word: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |callback| callback["chat_type"] == word
}

#[tokio::test]
async fn the_documented_vector_verifies_in_every_signed_fixture() {
    let vector = fixture("callback_signature_vector.json");
    assert!(verifies(&vector, vector["secret"].as_str().unwrap()));
    let folder = format!("{}/fixtures/huanxin", env!("CARGO_MANIFEST_DIR"));
    let mut verified = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("callback_") && fixture(&name).get("security").is_some() {
            assert!(verifies(&fixture(&name), SECRET), "{name}");
            verified += 1;
        }
    }
    assert_eq!(verified, 39, "a signed fixture went missing");
}

#[tokio::test]
async fn a_message_of_every_type() {
    let (world, receiver) = wired().await;
    world.vendor.user("lin_qiao").login("android").unwrap();
    world.vendor.user("wei.chen").login("android").unwrap();
    world.vendor.wait_idle().await;
    receiver.drain();
    for word in ["txt", "img", "audio", "video", "file", "loc", "cmd", "custom", "combine"] {
        let expected = fixture(&format!("callback_post_send_{word}.json"));
        let mut body = expected["payload"]["bodies"][0].clone();
        if word == "custom" {
            body["customExts"] = body["v2:customExts"].clone();
            body.as_object_mut().unwrap().remove("v2:customExts");
        }
        let from = expected["from"].as_str().unwrap();
        let to = Target::User(expected["to"].as_str().unwrap().to_owned());
        let ext = expected["payload"]["ext"].clone();
        world.vendor.user(from).send(Outgoing { body, ext, ..Outgoing::text(to, "") }).await.unwrap();
        let mut callback = one(&world, &receiver, |callback| callback["eventType"] == "chat").await;
        shaped(&world, &format!("callback_post_send_{word}.json"), &callback);
        assert_eq!(callback["callId"], json!(format!("acme-im#bridge_{}", callback["msg_id"].as_str().unwrap())));
        // Everything else is equal to the sample, value by value.
        for key in ["callId", "msg_id", "timestamp", "security", "host"] {
            callback[key] = expected[key].clone();
        }
        assert_eq!(callback, expected, "{word}");
    }
}

#[tokio::test]
async fn groups_rooms_and_offline_receivers() {
    let (world, receiver) = wired().await;
    world.post(&format!("/chatgroups/{}/users/zhao_l", world.group), json!({})).await;
    world.vendor.wait_idle().await;
    receiver.drain();
    let group = Target::Group(world.group.clone());
    let id = world.vendor.user("lin_qiao").send_text(group, "stand-up in 5").await.unwrap();
    world.vendor.wait_idle().await;
    let mut events = receiver.drain();
    events.sort_by_key(|event| event["to"].to_string());
    let [to_group, to_wei, to_zhao] = events.as_slice() else { panic!("{events:#?}") };
    shaped(&world, "callback_post_send_group_txt.json", to_group);
    shaped(&world, "callback_post_send_group_offline_txt_member1.json", to_wei);
    shaped(&world, "callback_post_send_group_offline_txt_member2.json", to_zhao);
    assert_eq!(to_wei["callId"], to_zhao["callId"], "members of one message share it");
    assert!(events.iter().all(|event| event["msg_id"] == json!(id)));
    let room = Outgoing {
        body: json!({ "type": "custom", "customEvent": "order_card", "customExts": { "order_id": "7781", "state": "shipped" } }),
        ..Outgoing::text(Target::Room(world.room.clone()), "")
    };
    world.vendor.user("lin_qiao").send(room).await.unwrap();
    let callback = one(&world, &receiver, |_| true).await;
    shaped(&world, "callback_post_send_chatroom_custom.json", &callback);
    assert_eq!((&callback["chat_type"], &callback["payload"]["type"]), (&json!("groupchat"), &json!("chatroom")));
    world.post("/messages/users", text_to("wei.chen", "offline")).await;
    let offline = one(&world, &receiver, |callback| callback["eventType"] == "chat_offline").await;
    let mut expected = fixture("callback_post_send_offline_txt.json");
    expected["payload"]["ext"] = json!({});
    same_shape(&expected, &offline, "offline");
}

#[tokio::test]
async fn recall_reads_edits_and_reactions() {
    let (world, receiver) = wired().await;
    let (lin, wei) = (world.vendor.user("lin_qiao"), world.vendor.user("wei.chen"));
    wei.login("android").unwrap();
    let id = lin.send_text(Target::User("wei.chen".into()), "hi there").await.unwrap();
    world.vendor.wait_idle().await;
    receiver.drain();

    wei.read(&id).unwrap();
    let read = one(&world, &receiver, |_| true).await;
    shaped(&world, "callback_read_ack.json", &read);
    assert_eq!((&read["from"], &read["payload"]["ack_message_id"]), (&json!("wei.chen"), &json!(id)));
    wei.read_conversation("lin_qiao").unwrap();
    let read = one(&world, &receiver, kind("channel_ack")).await;
    shaped(&world, "callback_conversation_read_ack.json", &read);
    wei.react(&id, "thumbs_up").unwrap();
    let reaction = one(&world, &receiver, kind("notify")).await;
    same_shape(&fixture("callback_reaction_unsigned.json"), &reaction, "reaction");
    assert!(reaction.get("callId").is_none() && reaction.get("security").is_none());
    lin.edit(&id, &json!({ "msg": "hi there (edited)" })).unwrap();
    let edit = one(&world, &receiver, kind("edit")).await;
    let mut expected = fixture("callback_message_edit.json");
    expected["payload"]["ext"] = json!({});
    same_shape(&expected, &edit, "edit");
    assert_eq!(edit["payload"]["bodies"][0]["msg"], "hi there (edited)");
    let path = format!("/messages/rewrite/{id}");
    let body = json!({ "new_msg": { "type": "txt", "msg": "again" } });
    world.call(Method::PUT, &path, Some(body)).await;
    let edit = one(&world, &receiver, kind("edit")).await;
    let meta = &edit["payload"]["meta"]["edit_msg"];
    assert_eq!((&meta["operator"], &meta["count"]), (&json!("easemob_rest_app_admin"), &json!(2)));
    lin.recall(&id).unwrap();
    let recall = one(&world, &receiver, |_| true).await;
    shaped(&world, "callback_recall.json", &recall);
    assert_eq!((&recall["recall_id"], &recall["payload"]["ack_message_id"]), (&json!(id), &json!(id)));
    assert_ne!(recall["msg_id"], json!(id));
    assert!(wei.inbox().is_empty());
    let group = Outgoing { group_ack: true, ..Outgoing::text(Target::Group(world.group.clone()), "x") };
    let id = lin.send(group).await.unwrap();
    world.vendor.wait_idle().await;
    receiver.drain();
    wei.read(&id).unwrap();
    shaped(&world, "callback_group_read_ack.json", &one(&world, &receiver, |_| true).await);
}

#[tokio::test]
async fn logins_logouts_and_replacements() {
    let (world, receiver) = wired().await;
    let lin = world.vendor.user("lin_qiao");
    lin.login("android").unwrap();
    shaped(&world, "callback_user_login.json", &one(&world, &receiver, |_| true).await);
    lin.login("android").unwrap();
    let reason = |word: &'static str| move |callback: &Value| callback["reason"] == word;
    let replaced = one(&world, &receiver, reason("replaced")).await;
    shaped(&world, "callback_user_replaced.json", &replaced);
    lin.logout();
    let logout = one(&world, &receiver, reason("logout")).await;
    shaped(&world, "callback_user_logout.json", &logout);
    assert_eq!(logout["user"].as_str().unwrap().split('/').next(), Some("acme-im#bridge_lin_qiao@easemob.com"));
}

#[tokio::test]
async fn group_operations() {
    let (world, receiver) = wired().await;
    let reply = world.post_fixture("/chatgroups", "rest_group_create_request.json").await;
    let id = reply["data"]["groupid"].as_str().unwrap().to_owned();
    let path = |tail: &str| format!("/chatgroups/{id}{tail}");
    let created = one(&world, &receiver, |_| true).await;
    let mut expected = fixture("callback_group_create.json");
    expected["payload"]["role"] = json!({ "lin_qiao": "owner" });
    same_shape(&expected, &created, "create");
    assert!(verifies(&created, SECRET));
    let steps = [
        (Method::POST, path("/users/zhao_l"), json!({}), "callback_group_join.json"),
        (Method::POST, path("/mute"), fixture("rest_group_mute_request.json"), "callback_group_mute_member.json"),
        (Method::POST, path("/ban"), json!({}), "callback_group_mute_all.json"),
        (Method::PUT, path(""), json!({ "newowner": "zhao_l" }), "callback_group_owner_changed.json"),
        (Method::DELETE, path("/users/wei.chen"), json!({}), "callback_group_leave_kick.json"),
        (
            Method::PUT,
            path(""),
            json!({ "groupname": "night shift 2", "description": "ops (new)", "maxusers": 500 }),
            "callback_group_info_changed.json",
        ),
        (Method::DELETE, path(""), json!({}), "callback_group_delete.json"),
    ];
    for (method, path, body, name) in steps {
        let (status, reply) = world.call(method, &path, Some(body)).await;
        assert_eq!(status, 200, "{path}: {reply}");
        let callback = one(&world, &receiver, |_| true).await;
        shaped(&world, name, &callback);
        let expected = fixture(name);
        assert_eq!(
            (&callback["operation"], &callback["payload"]["type"]),
            (&expected["operation"], &expected["payload"]["type"])
        );
    }
    world.vendor.user("wei.chen").leave(&world.group).unwrap();
    shaped(&world, "callback_group_leave_quit.json", &one(&world, &receiver, |_| true).await);
    let wei = world.vendor.user("wei.chen");
    wei.login("android").unwrap();
    wei.logout();
    let events = |word: &'static str| move |callback: &Value| callback["operation"] == word;
    one(&world, &receiver, |callback| callback["reason"] == "logout").await;
    while world.vendor.time().sleepers() == 0 {
        tokio::task::yield_now().await;
    }
    world.vendor.time().advance(std::time::Duration::from_secs(120));
    receiver.wait_for(1).await;
    let left = one(&world, &receiver, events("LEAVE")).await;
    shaped(&world, "callback_chatroom_leave.json", &left);
}

#[tokio::test]
async fn contacts_moderation_push_and_the_legacy_form() {
    let mut settings = HuanxinSettings::default();
    settings.callbacks.moderation = true;
    settings.callbacks.push_results = true;
    settings.callbacks.legacy_groups = true;
    let (world, receiver) = wired_with(builder().settings(settings)).await;
    world.vendor.user("lin_qiao").contact("add", "wei.chen").unwrap();
    shaped(&world, "callback_contact_add.json", &one(&world, &receiver, |_| true).await);
    world.vendor.user("lin_qiao").send_text(Target::User("wei.chen".into()), "hi").await.unwrap();
    world.vendor.wait_idle().await;
    let events = receiver.drain();
    let find = |key: &str, word: &str| events.iter().find(|event| event[key] == word).unwrap();
    shaped(&world, "callback_moderation.json", find("eventType", "moderation"));
    shaped(&world, "callback_offline_push_fail.json", find("step", "push"));
    assert_eq!(events.len(), 4);
    world.post_fixture("/chatgroups", "rest_group_create_request.json").await;
    let legacy = one(&world, &receiver, kind("muc")).await;
    shaped(&world, "callback_muc_legacy_create.json", &legacy);
}

#[tokio::test]
async fn rules_filter_route_and_sign_each_their_own_way() {
    let receiver = Receiver::start().await;
    let rule = |name: &str, secret: &str| CallbackRule::everything(name, &receiver.url, secret);
    let rules = [
        CallbackRule { events: vec![EventFamily::Message], chat_offline: false, ..rule("first", "s1") },
        CallbackRule { from_rest: false, events: vec![EventFamily::Message], ..rule("clients", "s2") },
        CallbackRule { env: Some("test".into()), ..rule("route", "s3") },
        CallbackRule { ext_keys: vec!["order".into()], ..rule("ext", "s4") },
    ];
    let builder = rules.into_iter().fold(builder(), switchboard_emulators::huanxin::HuanxinBuilder::callback_rule);
    let world = World::with(builder).await;
    receiver.drain();
    let secrets = |events: &[Value]| {
        let mut all: Vec<&str> = events
            .iter()
            .map(|event| ["s1", "s2", "s3", "s4"].into_iter().find(|secret| verifies(event, secret)).unwrap())
            .collect();
        all.sort_unstable();
        all.join(",")
    };
    let mut body = text_to("wei.chen", "x");
    world.post("/messages/users", body.clone()).await;
    world.vendor.wait_idle().await;
    assert_eq!(secrets(&receiver.drain()), "s1");
    body["ext"] = json!({ "order": 1 });
    world.post("/messages/users", body.clone()).await;
    world.vendor.wait_idle().await;
    assert_eq!(secrets(&receiver.drain()), "s1,s4,s4");
    body["env"] = json!("test");
    world.post("/messages/users", body.clone()).await;
    world.vendor.wait_idle().await;
    assert_eq!(secrets(&receiver.drain()), "s3,s3", "the default route does not apply");
    body["env"] = json!("nowhere");
    world.post("/messages/users", body).await;
    world.vendor.wait_idle().await;
    assert_eq!(receiver.drain().len(), 0, "an unknown route brings nothing");
    world.vendor.user("lin_qiao").send_text(Target::User("wei.chen".into()), "x").await.unwrap();
    world.vendor.wait_idle().await;
    assert_eq!(secrets(&receiver.drain()), "s1,s2,s2");
}

#[tokio::test]
async fn streams_and_imports_are_silent_and_call_ids_take_both_forms() {
    let mut settings = HuanxinSettings::default();
    settings.callbacks.call_id = CallIdForm::Uuid;
    let (world, receiver) = wired_with(builder().settings(settings)).await;
    world.post_fixture("/messages/users/import", "rest_import_message_request.json").await;
    let mut chunk = fixture("rest_stream_message_first_chunk_request.json");
    chunk["body"]["finish"] = json!(true);
    world.post("/stream_message/user", chunk).await;
    world.vendor.wait_idle().await;
    assert_eq!(receiver.drain().len(), 0);
    assert_eq!(world.vendor.ledger().counters().messages_total, 2);
    world.vendor.user("lin_qiao").login("web").unwrap();
    world.vendor.wait_idle().await;
    receiver.drain();
    world.post("/messages/users", text_to("lin_qiao", "x")).await;
    let callback = one(&world, &receiver, |_| true).await;
    let id = callback["callId"].as_str().unwrap();
    assert!(!id.ends_with(callback["msg_id"].as_str().unwrap()) && id.len() == "acme-im#bridge_".len() + 36);
    assert!(verifies(&callback, SECRET));
    assert_eq!(callback["timestamp"], NOW);
}
