//! Request fixtures in, replies shaped like the reply fixtures out.

use reqwest::Method;
use serde_json::{Value, json};

use super::support::{FOUNDED, NOW, World, builder, fixture, same_shape, same_values, sample, text_to, wired};
use switchboard_emulators::huanxin::{HuanxinSettings, LoginDevice, Outgoing, Target, TtlUnit};

fn shaped(world: &World, name: &str, reply: &Value) {
    shaped_with(world, name, &[], reply);
}

/// As [`shaped`], with more of the sample's ids replaced by ours.
fn shaped_with(world: &World, name: &str, ids: &[(&str, &str)], reply: &Value) {
    let sample = sample(name, &[&world.ids(), ids].concat());
    // Those that an adapter has, too, are judged by what it makes of them.
    if super::flips::own_fixtures("huanxin").iter().any(|own| own == name) {
        same_values(name, &sample, reply);
    } else {
        same_shape(&sample, reply, name);
    }
}

/// The id the ledger has for the newest message.
fn last_id(world: &World) -> String {
    world.vendor.ledger().messages().pop().unwrap().vendor_id
}

#[tokio::test]
pub(crate) async fn tokens_of_every_kind() {
    let world = World::start().await;
    let (_, app) = world.bare(Method::POST, "/token", Some(fixture("token_request.json"))).await;
    shaped(&world, "token_response.json", &app);
    assert_eq!(app["expires_in"], 86_400);
    let (_, user) = world.bare(Method::POST, "/token", Some(fixture("token_user_password_request.json"))).await;
    shaped(&world, "token_user_response.json", &user);
    assert_eq!(user["expires_in"], 3_600);
    let (_, user) = world.post("/token", fixture("token_user_inherit_request.json")).await;
    shaped(&world, "token_user_response.json", &user);
    let body = json!({ "grant_type": "inherit", "username": "Fresh.User", "autoCreateUser": true });
    let (status, user) = world.post("/token", body).await;
    assert_eq!((status, &user["user"]["username"]), (200, &json!("fresh.user")));
    assert_eq!(user["expires_in"], 60 * 24 * 3600);
}

#[tokio::test]
async fn a_token_ends_with_its_lifetime_in_the_clusters_unit() {
    let mut settings = HuanxinSettings::default();
    settings.tokens.ttl_unit = TtlUnit::Milliseconds;
    let world = World::with(builder().settings(settings)).await;
    // The fixture asks for 86400, here milliseconds.
    world.vendor.time().advance(std::time::Duration::from_millis(86_399));
    assert_eq!(world.get("/users/lin_qiao").await.0, 200);
    world.vendor.time().advance(std::time::Duration::from_millis(1));
    let (status, error) = world.get("/users/lin_qiao").await;
    assert_eq!((status, &error["error"]), (401, &json!("unauthorized")));
}

#[tokio::test]
async fn a_permanent_token_never_ends() {
    let world = World::start().await;
    let mut request = fixture("token_request.json");
    request["ttl"] = json!(0);
    let (_, reply) = world.bare(Method::POST, "/token", Some(request)).await;
    let token = reply["access_token"].as_str().unwrap().to_owned();
    world.vendor.time().advance(std::time::Duration::from_secs(10 * 365 * 86_400));
    assert_eq!(world.send(Method::GET, "/users/lin_qiao", None, Some(&token)).await.0, 200);
}

#[tokio::test]
async fn a_dynamic_token_logs_its_user_in() {
    let example = fixture("token_user_dynamic_example.json");
    let token = example["token"].as_str().unwrap();
    let world = World::start().await;
    world.vendor.user("lin_qiao").login_with_token("android", token).unwrap();
    assert!(world.vendor.user("wei.chen").login_with_token("android", token).is_err());
    world.vendor.time().advance(std::time::Duration::from_secs(600));
    assert!(world.vendor.user("lin_qiao").login_with_token("ios", token).is_err());
    let forged = token.replace("ZHQteyJ", "ZHQteyK");
    assert!(world.vendor.user("lin_qiao").login_with_token("ios", &forged).is_err());
}

#[tokio::test]
pub(crate) async fn users_are_registered_read_listed_and_deleted() {
    let world = World::with(builder()).await;
    const UUID: &str = "0d2b6a10-77c1-4a0e-9b1a-6d3f5e2c1a90";
    let uuid = world.get("/users/lin_qiao").await.1["entities"][0]["uuid"].clone();
    let (_, gone) = world.call(Method::DELETE, "/users/lin_qiao", None).await;
    shaped_with(&world, "rest_delete_user_response.json", &[(UUID, uuid.as_str().unwrap())], &gone);
    let reply = world.post_fixture("/users", "rest_register_user_request.json").await;
    shaped(&world, "rest_register_user_response.json", &reply);
    world.call(Method::DELETE, "/users/lin_qiao", None).await;
    world.call(Method::DELETE, "/users/wei.chen", None).await;
    let reply = world.post_fixture("/users", "rest_register_users_batch_request.json").await;
    shaped(&world, "rest_register_users_batch_partial_response.json", &reply);
    assert_eq!(reply["data"][0]["username"], "ops-bot");
    world.call(Method::DELETE, "/users/ops-bot", None).await;
    let reply = world.post_fixture("/users", "rest_register_users_batch_request.json").await;
    assert_eq!((reply["data"].as_array().unwrap().len(), &reply["entities"][0]["username"]), (2, &json!("ops-bot")));
    for (user, password) in [("lin_qiao", "p1"), ("wei.chen", "p2"), ("ops-bot", "p3")] {
        let body = json!({ "grant_type": "password", "username": user, "password": password });
        assert_eq!(world.bare(Method::POST, "/token", Some(body)).await.0, 200, "{user}");
    }
    let (_, reply) = world.call(Method::PUT, "/users/lin_qiao", Some(json!({ "nickname": "Lin" }))).await;
    assert_eq!(reply["entities"][0]["nickname"], "Lin");
    let (_, reply) = world.get("/users/LIN_QIAO").await;
    assert_eq!(reply["entities"][0]["nickname"], "Lin");
    let (_, page) = world.get("/users?limit=2").await;
    shaped(&world, "rest_list_users_response.json", &page);
    let mut names = Vec::new();
    let mut path = "/users?limit=2".to_owned();
    loop {
        let (_, page) = world.get(&path).await;
        names.extend(page["entities"].as_array().unwrap().iter().map(|user| user["username"].clone()));
        let Some(cursor) = page["cursor"].as_str() else { break };
        path = format!("/users?limit=2&cursor={cursor}");
    }
    assert_eq!(json!(names), json!(["zhao_l", "lin_qiao", "wei.chen", "ops-bot"]));
}

#[tokio::test]
pub(crate) async fn a_user_is_as_old_as_the_registration() {
    let mut world = World::by(FOUNDED, builder()).await;
    world.call(Method::DELETE, "/users/lin_qiao", None).await;
    let created = world.post_fixture("/users", "rest_register_user_request.json").await["entities"][0].clone();
    world.at(NOW).await;
    let (_, reply) = world.get("/users/LIN_QIAO").await;
    let (before, after) = ("1794000000123", FOUNDED.to_string());
    let ids = [("0d2b6a10-77c1-4a0e-9b1a-6d3f5e2c1a90", created["uuid"].as_str().unwrap()), (before, after.as_str())];
    shaped_with(&world, "rest_get_user_response.json", &ids, &reply);
}

#[tokio::test]
pub(crate) async fn logins_states_and_bans() {
    let world = World::start().await;
    let lin = world.vendor.user("lin_qiao");
    let device = |os: &str, resource: &str, uuid: &str, name: &str| LoginDevice {
        os: os.to_owned(),
        resource: resource.to_owned(),
        uuid: uuid.to_owned(),
        name: name.to_owned(),
    };
    lin.login_device(device("android", "android_7f1c2d", "9c31-fixture", "PIXEL-FIXTURE")).unwrap();
    lin.login_device(device("web", "web_1795200000123", "webim_fixture", "webim")).unwrap();
    for (path, name) in [
        ("/users/lin_qiao/resources", "rest_user_resources_response.json"),
        ("/users/lin_qiao/status", "rest_user_status_response.json"),
    ] {
        shaped(&world, name, &world.get(path).await.1);
    }
    let batch = world.post_fixture("/users/batch/status", "rest_users_batch_status_request.json").await;
    shaped(&world, "rest_users_batch_status_response.json", &batch);
    assert_eq!(batch["data"], json!([{ "lin_qiao": "online" }, { "wei.chen": "offline" }]));
    let resource = lin.login_device(device("android", "android_7f1c", "9c31-fixture", "PIXEL-FIXTURE")).unwrap();
    let path = format!("/users/lin_qiao/disconnect/{resource}");
    let (_, kicked) = world.call(Method::DELETE, &path, None).await;
    shaped(&world, "rest_disconnect_device_response.json", &kicked);
    assert_eq!(kicked["data"]["result"], true);
    shaped(&world, "rest_disconnect_user_response.json", &world.get("/users/lin_qiao/disconnect").await.1);
    let (_, banned) = world.post("/users/lin_qiao/deactivate", json!({})).await;
    shaped(&world, "rest_deactivate_user_response.json", &banned);
    assert_eq!(banned["entities"][0]["activated"], false);
    assert!(lin.login("android").is_err());
    shaped(&world, "rest_activate_user_response.json", &world.post("/users/lin_qiao/activate", json!({})).await.1);
    lin.login("android").unwrap();
    let body = json!({ "newpassword": "fixture-pass-2" });
    let (_, changed) = world.call(Method::PUT, "/users/lin_qiao/password", Some(body)).await;
    shaped(&world, "rest_change_password_response.json", &changed);
    let (status, _) = world.bare(Method::POST, "/token", Some(fixture("token_user_password_request.json"))).await;
    assert_eq!(status, 400);
}

#[tokio::test]
pub(crate) async fn the_offline_queue_is_counted_and_drained_by_a_login() {
    let world = World::start().await;
    let sent = world.post("/messages/users", text_to("wei.chen", "one")).await.1;
    let id = sent["data"]["wei.chen"].as_str().unwrap();
    let (_, count) = world.get("/users/wei.chen/offline_msg_count").await;
    shaped(&world, "rest_offline_msg_count_response.json", &count);
    assert_eq!(count["data"]["wei.chen"], 1);
    let (_, state) = world.get(&format!("/users/wei.chen/offline_msg_status/{id}")).await;
    shaped_with(&world, "rest_offline_msg_status_response.json", &[("1502300411223344556", id)], &state);
    assert_eq!(state["data"][id], "undelivered");
    world.vendor.user("wei.chen").login("ios").unwrap();
    let (_, state) = world.get(&format!("/users/wei.chen/offline_msg_status/{id}")).await;
    assert_eq!(state["data"][id], "delivered");
    assert_eq!(world.vendor.user("wei.chen").inbox()[0].body["msg"], "one");
}

#[tokio::test]
async fn every_type_is_sent_to_users() {
    let world = World::start().await;
    for kind in ["", "_audio", "_cmd", "_custom", "_file", "_img", "_loc", "_online_only", "_video"] {
        let request = format!("rest_send_message{kind}_request.json");
        let reply = world.post_fixture("/messages/users", &request).await;
        shaped(&world, "rest_send_message_response.json", &reply);
        let id = reply["data"]["lin_qiao"].as_str().unwrap();
        let message = world.vendor.ledger().message(id).unwrap();
        let request = fixture(&request);
        assert_eq!((&message.from, &message.target), (&"ops-bot".to_owned(), &"lin_qiao".to_owned()));
        assert_eq!(json!(message.message_type), request["type"]);
        assert_eq!(request.get("ext").unwrap_or(&Value::Null), &*message.ext);
    }
    assert_eq!(world.vendor.ledger().messages().len(), 18);
}

#[tokio::test]
pub(crate) async fn groups_rooms_and_the_old_endpoint_take_sends() {
    let world = World::start().await;
    let reply = world.post_fixture("/messages/chatgroups", "rest_send_group_message_request.json").await;
    shaped(&world, "rest_send_group_message_response.json", &reply);
    let reply = world.post_fixture("/messages/chatrooms", "rest_send_chatroom_message_request.json").await;
    shaped(&world, "rest_send_chatroom_message_response.json", &reply);
    let name = "rest_send_group_targeted_message_request.json";
    let reply = world.post_fixture("/messages/chatgroups/users", name).await;
    assert!(reply["data"][&world.group].is_string());
    let reply = world.post_fixture("/messages?useMsgId=true", "rest_send_message_legacy_request.json").await;
    let id = last_id(&world);
    let name = "rest_send_message_legacy_use_msg_id_response.json";
    shaped_with(&world, name, &[("1502300411223344600", &id)], &reply);
    let last = || world.vendor.ledger().messages().pop().unwrap();
    let legacy = last();
    assert_eq!((legacy.from.as_str(), legacy.target.as_str()), ("ops-bot", "lin_qiao"));
    assert_eq!(
        (&*legacy.body, &*legacy.ext),
        (&json!({ "type": "txt", "msg": "hello" }), &json!({ "trace_id": "tr-0003" }))
    );
    let reply = world.post_fixture("/messages", "rest_send_message_legacy_request.json").await;
    assert_eq!(reply["data"], json!({ "lin_qiao": "success" }));
    let name = "rest_broadcast_online_users_request.json";
    let reply = world.post_fixture("/messages/users/broadcast", name).await;
    shaped(&world, "rest_broadcast_online_users_response.json", &reply);
    // One a minute.
    world.vendor.time().advance(std::time::Duration::from_secs(60));
    let before = world.vendor.ledger().messages().len();
    world.vendor.user("zhao_l").login("android").unwrap();
    world.post_fixture("/messages/users/broadcast", name).await;
    let broadcast = last();
    assert_eq!((world.vendor.ledger().messages().len(), broadcast.target.as_str()), (before + 1, "zhao_l"));
    assert_eq!((broadcast.from.as_str(), broadcast.message_type.as_str()), ("admin", "txt"));
    assert_eq!(
        (&*broadcast.body, &*broadcast.ext),
        (&json!({ "type": "txt", "msg": "maintenance at 02:00" }), &json!({ "k": "v" }))
    );
}

#[tokio::test]
async fn only_the_chosen_members_receive_a_targeted_message() {
    let world = World::start().await;
    for user in ["lin_qiao", "wei.chen"] {
        world.vendor.user(user).login("web").unwrap();
    }
    let name = "rest_send_group_targeted_message_request.json";
    world.post_fixture("/messages/chatgroups/users", name).await;
    assert_eq!(world.vendor.user("lin_qiao").inbox().len(), 1);
    assert_eq!(world.vendor.user("wei.chen").inbox().len(), 0);
}

#[tokio::test]
pub(crate) async fn a_stream_becomes_one_message_when_finished() {
    let world = World::start().await;
    let first = world.post_fixture("/stream_message/user", "rest_stream_message_first_chunk_request.json").await;
    let id = first["data"]["msgId"].as_str().unwrap();
    let next = |seq: i64, finish: bool| {
        json!({ "from": "ops-bot", "to": "lin_qiao",
            "body": { "msgId": id, "msg": "and the rest", "seq": seq, "finish": finish } })
    };
    assert_eq!(world.post("/stream_message/user", next(1, false)).await.0, 200);
    let (status, error) = world.post("/stream_message/user", next(1, false)).await;
    assert_eq!((status, &error["error_code"]), (400, &json!(14038)));
    world.post("/stream_message/user", next(2, true)).await;
    let (_, error) = world.post("/stream_message/user", next(3, false)).await;
    assert_eq!(error["error_code"], 14035);
    let message = world.vendor.ledger().message(id).unwrap();
    assert_eq!(message.body["msg"], "first piece and the restand the rest");
    assert_eq!(message.body["subType"], "markdown");
    let ids = [("1502300411223349001", message.vendor_id.as_str())];
    shaped_with(&world, "rest_stream_message_first_chunk_response.json", &ids, &first);
}

#[tokio::test]
pub(crate) async fn recall_edit_and_import() {
    let (world, receiver) = wired().await;
    let to_lin = world.post("/messages/users", text_to("lin_qiao", "x")).await.1["data"]["lin_qiao"].clone();
    let mut request = fixture("rest_recall_message_request.json");
    request["msg_id"] = to_lin.clone();
    let (_, reply) = world.post("/messages/msg_recall", request.clone()).await;
    shaped(&world, "rest_recall_message_response.json", &reply);
    assert!(world.vendor.ledger().message(to_lin.as_str().unwrap()).unwrap().recalled);
    for path in ["/messages/batch_recall", "/messages/recall"] {
        let to_lin = async || {
            let sent = world.post("/messages/users", text_to("lin_qiao", "x")).await.1;
            sent["data"]["lin_qiao"].as_str().unwrap().to_owned()
        };
        let old = to_lin().await;
        let group = world.post_fixture("/messages/chatgroups", "rest_send_group_message_request.json").await;
        let group = group["data"][&world.group].as_str().unwrap();
        // Longer ago than the window: only by force.
        world.vendor.time().advance(std::time::Duration::from_millis(120_001));
        let new = to_lin().await;
        let now = world.vendor.time().now_ms().to_string();
        for (direct, expected) in [(&old, 403), (&new, 200)] {
            let ids = [
                ("1502300411223344556", direct.as_str()),
                ("1502300411223345001", group),
                ("/messages/batch_recall", path),
                ("1795200000000", &now),
            ];
            let request = sample("rest_recall_messages_batch_request.json", &[&world.ids(), &ids[..]].concat());
            let (status, reply) = world.post(path, request).await;
            assert_eq!(status, expected, "{reply}");
            if status == 200 {
                shaped_with(&world, "rest_recall_messages_batch_response.json", &ids, &reply);
            }
        }
    }
    let now = world.vendor.time().now_ms().to_string();
    let mut first = text_to("lin_qiao", "x");
    first["ext"] = json!({ "kept": 1 });
    let id = world.post("/messages/users", first).await.1["data"]["lin_qiao"].clone();
    let path = format!("/messages/rewrite/{}", id.as_str().unwrap());
    let (_, reply) = world.call(Method::PUT, &path, Some(fixture("rest_modify_message_request.json"))).await;
    let ids = [("1502300411223344556", id.as_str().unwrap()), ("1795200000000", &now)];
    shaped_with(&world, "rest_modify_message_response.json", &ids, &reply);
    let edited = world.vendor.ledger().message(id.as_str().unwrap()).unwrap();
    assert_eq!((&edited.body["msg"], edited.edits), (&json!("order 7781 has shipped (tracking SF-1)"), 1));
    assert_eq!(*edited.ext, json!({ "kept": 1, "edited": "1" }));
    world.vendor.wait_idle().await;
    let edit = receiver.drain().into_iter().find(|event| event["chat_type"] == "edit").unwrap();
    assert_eq!(edit["payload"]["meta"]["edit_msg"]["operator"], "ops-bot");
    let reply = world.post_fixture("/messages/users/import", "rest_import_message_request.json").await;
    let ids = [("1502300411223347001", &*last_id(&world)), ("1795200000000", &now)];
    shaped_with(&world, "rest_import_message_response.json", &ids, &reply);
    let id = reply["data"]["msg_id"].as_str().unwrap();
    let imported = world.vendor.ledger().message(id).unwrap();
    assert_eq!((imported.from.as_str(), imported.target.as_str()), ("lin_qiao", "wei.chen"));
    assert_eq!(
        (&*imported.body, &*imported.ext),
        (&json!({ "type": "txt", "msg": "imported line" }), &json!({ "src": "legacy" }))
    );
    assert_eq!(imported.time_ms, 1_790_000_000_000);
    let reply = world.post_fixture("/messages/chatgroups/import", "rest_import_group_message_request.json").await;
    let imported = world.vendor.ledger().message(reply["data"]["msg_id"].as_str().unwrap()).unwrap();
    assert_eq!((imported.from.as_str(), &imported.target), ("lin_qiao", &world.group));
    assert_eq!((&imported.body["msg"], imported.time_ms), (&json!("imported group line"), 1_790_000_001_000));
}

#[tokio::test]
pub(crate) async fn groups_are_managed() {
    let mut world = World::by(FOUNDED, builder()).await;
    world.call(Method::DELETE, &format!("/chatgroups/{}", world.group), None).await;
    let reply = world.post_fixture("/chatgroups", "rest_group_create_request.json").await;
    shaped(&world, "rest_group_create_response.json", &reply);
    world.group = reply["data"]["groupid"].as_str().unwrap().to_owned();
    world.vendor.create_group("another", "zhao_l", &[]).unwrap();
    world.at(NOW).await;
    let path = |tail: &str| format!("/chatgroups/{}{tail}", world.group);
    let steps = [
        (Method::GET, path(""), None, "rest_group_detail_response.json"),
        (Method::GET, "/chatgroups?limit=1".to_owned(), None, "rest_group_list_response.json"),
        (Method::GET, "/chatgroups/user/lin_qiao".to_owned(), None, "rest_joined_groups_response.json"),
        (
            Method::POST,
            path("/users"),
            Some("rest_group_add_members_request.json"),
            "rest_group_add_members_response.json",
        ),
        (Method::GET, path("/users?pagenum=1&pagesize=20&joined_time=true"), None, "rest_group_members_response.json"),
        (Method::POST, path("/mute"), Some("rest_group_mute_request.json"), "rest_group_mute_response.json"),
        (Method::DELETE, path("/users/wei.chen"), None, "rest_group_remove_member_response.json"),
    ];
    const OWN: [&str; 3] =
        ["rest_group_list_response.json", "rest_joined_groups_response.json", "rest_group_mute_response.json"];
    for (method, path, body, name) in steps {
        let (status, reply) = world.call(method, &path, body.map(fixture)).await;
        assert_eq!(status, 200, "{path}: {reply}");
        let mut shape = sample(name, &world.ids());
        if OWN.contains(&name) {
            same_values(name, &shape, &reply);
        } else {
            // Only what the web samples print in pages of one: paging words are not echoed by every page.
            shape.as_object_mut().unwrap().remove("params");
            same_shape(&shape, &reply, &path);
        }
    }
    let (_, muted) = world.get(&path("/mute")).await;
    assert_eq!(muted["data"], json!([]), "a removed member is no longer muted");
    let (_, joined) = world.get(&path("/user/ops-bot/is_joined")).await;
    assert_eq!(joined["data"], true);
    let (_, moved) = world.call(Method::PUT, &path(""), Some(json!({ "newowner": "zhao_l" }))).await;
    assert_eq!(moved["data"]["newowner"], true);
    assert_eq!(world.call(Method::DELETE, &path(""), None).await.0, 200);
    assert_eq!(world.get(&path("")).await.0, 404);
}

#[tokio::test]
pub(crate) async fn rooms_presence_mutes_and_conversations() {
    let world = World::start().await;
    let reply = world.post_fixture("/chatrooms", "rest_chatroom_create_request.json").await;
    shaped(&world, "rest_chatroom_create_response.json", &reply);
    let room = reply["data"]["id"].as_str().unwrap();
    assert_eq!(world.get(&format!("/chatgroups/{room}")).await.0, 404, "a room is not a group");
    world.vendor.user("lin_qiao").login("android").unwrap();
    let path = "/users/lin_qiao/presence";
    let (_, reply) = world.post(path, json!({ "usernames": ["lin_qiao", "wei.chen"] })).await;
    assert_eq!(reply["result"][0]["status"], json!({ "android": "1" }));
    assert_eq!((&reply["result"][1]["status"], &reply["result"][1]["ext"]), (&json!({}), &json!("")), "never seen");
    let reply = world.post_fixture("/mutes", "rest_global_mute_request.json").await;
    shaped(&world, "rest_global_mute_response.json", &reply);
    let (_, mutes) = world.get("/mutes/wei.chen").await;
    for (kind, left) in [("chat", 3_600), ("groupchat", 3_600), ("chatroom", -1)] {
        assert_eq!(mutes["data"][kind], left, "{kind}: {mutes}");
    }
    world.vendor.user("wei.chen").login("android").unwrap();
    let refused = world.vendor.user("wei.chen").send_text(Target::User("lin_qiao".into()), "x").await;
    assert!(refused.is_err());
    world.vendor.user("lin_qiao").send_text(Target::User("wei.chen".into()), "seen").await.unwrap();
    let seen = async |user: &str, peer: &str| {
        let view = json!({ "username": user, "to": peer, "limit": 10, "order": "up" });
        world.call(Method::POST, "/v6/roaming/chat", Some(view)).await.1["data"]["messages"].as_array().unwrap().len()
    };
    assert_eq!((seen("lin_qiao", "wei.chen").await, seen("wei.chen", "lin_qiao").await), (1, 1));
    let body = fixture("rest_conversation_delete_request.json");
    let (_, reply) = world.call(Method::DELETE, "/users/lin_qiao/user_channel", Some(body)).await;
    shaped(&world, "rest_conversation_delete_response.json", &reply);
    assert_eq!((seen("lin_qiao", "wei.chen").await, seen("wei.chen", "lin_qiao").await), (0, 1));
}

#[tokio::test]
pub(crate) async fn who_left_is_shown_with_the_time_and_the_device() {
    let mut world = World::by(1_795_100_000_000, builder()).await;
    let wei = world.vendor.user("wei.chen");
    wei.login("webim").unwrap();
    let (status, _) = world.post("/users/wei.chen/presence/webim/7", json!({ "ext": "busy" })).await;
    assert_eq!(status, 200);
    wei.logout();
    world.at(1_795_199_000_000).await;
    world.vendor.user("lin_qiao").login("android").unwrap();
    let reply = world.post_fixture("/users/lin_qiao/presence", "rest_presence_query_request.json").await;
    let name = "rest_presence_query_response.json";
    same_values(name, &fixture(name), &reply);
    wei.login("webim").unwrap();
    let reply = world.post_fixture("/users/lin_qiao/presence", "rest_presence_query_request.json").await;
    assert_eq!(reply["result"][1]["status"], json!({ "webim": "1" }), "back again");
}

#[tokio::test]
pub(crate) async fn files_go_up_and_down() {
    let world = World::start().await;
    let part = reqwest::multipart::Part::bytes(vec![7_u8; 3_279]).file_name("invoice.pdf");
    let form = reqwest::multipart::Form::new().part("file", part);
    let request = world.client.post(world.url("/chatfiles")).bearer_auth(&world.token);
    let reply = request.header("restrict-access", "true").multipart(form).send().await.unwrap();
    let reply: Value = reply.json().await.unwrap();
    shaped(&world, "rest_chatfile_upload_response.json", &reply);
    let entity = &reply["entities"][0];
    let url = format!("{}/{}", reply["uri"].as_str().unwrap(), entity["uuid"].as_str().unwrap());
    let bytes = |url: String| async { world.client.get(url).send().await.unwrap() };
    assert_eq!(bytes(url.clone()).await.status(), 401);
    let shared = format!("{url}?share-secret={}", entity["share-secret"].as_str().unwrap());
    assert_eq!(bytes(shared).await.bytes().await.unwrap().len(), 3_279);
    let uuid = entity["uuid"].as_str().unwrap();
    let ids = [("6c2f5f40-5d1c-4b7e-9a53-0b1e2d3c4f55", uuid)];
    let body = sample("rest_chatfile_lifetime_request.json", &ids);
    let (_, reply) = world.call(Method::PUT, "/users/lin_qiao/chatfiles/lifetime", Some(body)).await;
    shaped_with(&world, "rest_chatfile_lifetime_response.json", &ids, &reply);
    assert_eq!(reply["data"][uuid], "success");
    let file =
        Outgoing { body: json!({ "type": "file", "url": url }), ..Outgoing::text(Target::User("wei.chen".into()), "") };
    let id = world.vendor.user("lin_qiao").send(file).await.unwrap();
    let stored = world.vendor.ledger().message(&id).unwrap();
    assert_eq!((&stored.body["filename"], &stored.body["file_length"]), (&json!("invoice.pdf"), &json!(3_279)));
}

#[tokio::test]
pub(crate) async fn host_discovery_names_every_domain() {
    let world = World::start().await;
    let extra = world.vendor.start_extra_domain().await.unwrap();
    let url = format!("{extra}/easemob/server.json?app_key=acme-im%23bridge");
    let reply: Value = world.client.get(url).send().await.unwrap().json().await.unwrap();
    let name = "client_dns_server_json_response.json";
    let port = extra.rsplit(':').next().unwrap();
    // Here one listener serves both.
    same_values(name, &sample(name, &[("18080", port), ("18081", port)]), &reply);
    let hosts = reply["rest"]["hosts"].as_array().unwrap();
    assert_eq!(hosts.len(), 2);
    assert!(extra.ends_with(hosts[0]["port"].as_str().unwrap()), "the one asked comes first");
}

#[tokio::test]
async fn user_ids_are_folded_everywhere() {
    let world = World::start().await;
    world.vendor.user("Wei.Chen").login("android").unwrap();
    let mut request = text_to("WEI.CHEN", "folded");
    request["from"] = json!("Ops-Bot");
    let (_, reply) = world.post("/messages/users", request).await;
    let id = reply["data"]["wei.chen"].as_str().unwrap();
    let message = world.vendor.ledger().message(id).unwrap();
    assert_eq!((message.from.as_str(), message.target.as_str()), ("ops-bot", "wei.chen"));
    assert_eq!(world.vendor.user("wei.chen").inbox().len(), 1);
    assert_eq!(message.time_ms, NOW);
}
