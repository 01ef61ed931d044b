//! Requests against the published ones and against what the vendor's own SDKs were seen to send.

use serde_json::json;
use switchboard_contract::{
    Body, Custom, GroupRef, Groups, HistoryFiles, Native, NewGroup, OutboundMessage, Provider, RecallRequest, Roaming,
    RoamingQuery, SendOptions, Target, Timestamp, UserProfile, Users, VendorUserId,
};
use switchboard_rongcloud::{HeaderNames, QueryValues, RoomEnd, TimeUnit};

use crate::support::vendor::{Answer, Asked, Vendor, ok, with_fixture};
use crate::support::{APP_KEY, APP_SECRET, Request, fixture_json, fixture_text, pairs};

/// Pairs of a published request that this product never asks for, with the values that stand there. All others must
/// be in ours, and ours must have no other.
pub(crate) type Beyond = &'static [(&'static str, &'static str)];

pub(crate) fn message(from: &str, target: Target, body: Body) -> OutboundMessage {
    OutboundMessage {
        from: from.into(),
        target,
        body,
        ext: Default::default(),
        mark: None,
        mentions_everyone: false,
        mentions: Vec::new(),
        options: SendOptions::default(),
        headers: Default::default(),
    }
}

pub(crate) fn users(ids: &[&str]) -> Vec<VendorUserId> {
    ids.iter().map(|id| VendorUserId::from(*id)).collect()
}

pub(crate) fn group(id: &str, audience: &[&str]) -> Target {
    Target::Group { group: id.into(), channel: None, audience: users(audience) }
}

pub(crate) fn compare(name: &str, published: &str, asked: &Asked, ours_alone: Beyond, theirs_alone: Beyond) {
    let owned = |list: Beyond| list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let mut expected = pairs(published);
    expected.extend(owned(ours_alone));
    expected.sort();
    let mut found = asked.pairs();
    found.extend(owned(theirs_alone));
    found.sort();
    assert_eq!(found, expected, "{name}");
    assert_eq!(asked.header("content-type"), "application/x-www-form-urlencoded", "{name}");
}

async fn send(message: &OutboundMessage) -> Asked {
    let vendor = Vendor::always(ok()).await;
    vendor.provider().messaging().send(message).await.unwrap();
    vendor.only()
}

fn greeting() -> OutboundMessage {
    let mut greeting =
        message("user_alice", Target::Users(users(&["user_bob", "user_carol"])), Body::text("hello bob"));
    greeting.ext.insert("extra".to_owned(), json!("order-7"));
    greeting.options.push_text = Some("Alice: hello bob".to_owned());
    greeting.options.read_receipt = true;
    greeting
}

const PRIVATE_BEYOND: Beyond = &[
    ("pushData", r#"{"k":"v"}"#),
    ("count", "1"),
    ("verifyBlacklist", "0"),
    ("isCounted", "1"),
    ("contentAvailable", "0"),
    ("expansion", "true"),
    ("extraContent", r#"{"state":"new"}"#),
    ("pushExt", r#"{"title":"New message","forceShowPushContent":0}"#),
    ("disableUpdateLastMsg", "false"),
];

#[tokio::test]
async fn a_private_message_is_asked_for_as_published() {
    let asked = send(&greeting()).await;
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/message/private/publish.json"));
    compare("private", &fixture_text("rest_private_publish_request.form"), &asked, &[], PRIVATE_BEYOND);
}

#[tokio::test]
async fn a_whole_published_request_has_our_headers_and_path() {
    let published = Request::fixture("rest_private_publish_request.http");
    assert_eq!((published.method.as_str(), published.path.as_str()), ("POST", "/message/private/publish.json"));
    assert_eq!(published.header("host"), Some("api.rong-api.com"));
    assert_eq!(published.header("x-request-id"), Some("3f0c5b8f5f7f4d1e9a4b2c6d7e8f9a0b"));
    assert_eq!(published.body, fixture_text("rest_private_publish_request.form"));
    assert_eq!(published.header("app-key"), Some(APP_KEY));
    assert!(signature_is_good(&published), "the published signature");
    let asked = send(&greeting()).await;
    for (name, _) in &published.headers {
        // A request id is optional.
        assert!(name == "x-request-id" || asked.headers.contains_key(name.as_str()), "{name}");
    }
    assert_eq!(asked.header("app-key"), APP_KEY);
    assert_eq!(asked.header("content-type"), published.header("content-type").unwrap());
}

/// By the standard library of another language this would be one line; here it is the crate's own vectors that make
/// the function trustworthy.
pub(crate) fn signature_is_good(request: &Request) -> bool {
    use sha1::Digest as _;
    let part = |name: &str| request.header(name).unwrap();
    let signed = format!("{APP_SECRET}{}{}", part("nonce"), part("timestamp"));
    hex::encode(sha1::Sha1::digest(signed)) == part("signature")
}

#[tokio::test]
async fn group_messages_are_asked_for_as_published() {
    let mut plain = message("user_alice", group("group_team", &[]), Body::text("standup in 5"));
    plain.options.sync_to_sender = true;
    let asked = send(&plain).await;
    assert_eq!(asked.path, "/message/group/publish.json");
    let beyond: Beyond = &[("pushContent", ""), ("pushData", ""), ("contentAvailable", "0"), ("expansion", "false")];
    compare("group", &fixture_text("rest_group_publish_request.form"), &asked, &[], beyond);

    let directed =
        message("user_alice", group("group_team", &["user_bob", "user_carol"]), Body::text("only you two see this"));
    let asked = send(&directed).await;
    assert_eq!(asked.path, "/message/group/publish.json");
    let ours: Beyond = &[("isIncludeSender", "0"), ("isMentioned", "0")];
    compare("directed", &fixture_text("rest_group_publish_directed_request.form"), &asked, ours, &[]);

    let mut mention = message("user_alice", group("group_team", &[]), Body::text("@Bob please review"));
    mention.mentions = users(&["user_bob"]);
    mention.options.push_text = Some("Alice mentioned you".to_owned());
    let asked = send(&mention).await;
    let ours: Beyond = &[("isIncludeSender", "0"), ("disablePush", "false"), ("pushContent", "Alice mentioned you")];
    compare("mention", &fixture_text("rest_group_publish_mention_request.form"), &asked, ours, &[]);
}

#[tokio::test]
async fn room_system_and_status_messages_are_asked_for_as_published() {
    let mut room = message("user_alice", Target::Room { room: "room_42".into() }, Body::text("nice goal"));
    room.options = SendOptions { online_only: true, sync_to_sender: true, ..SendOptions::default() };
    let asked = send(&room).await;
    assert_eq!(asked.path, "/message/chatroom/publish.json");
    compare("room", &fixture_text("rest_chatroom_publish_request.form"), &asked, &[], &[]);

    let notice = Body::Native(Native {
        vendor: "rongcloud".into(),
        kind: "RC:InfoNtf".to_owned(),
        content: json!({"message": "Maintenance tonight", "extra": ""}),
    });
    let mut system = message("user_system", Target::System(users(&["user_bob", "user_carol"])), notice);
    system.options.silent = true;
    let asked = send(&system).await;
    assert_eq!(asked.path, "/message/system/publish.json");
    // The order of the keys inside a content is free: compared as JSON, and put in our order for the rest.
    let published = fixture_text("rest_system_publish_request.form");
    let theirs = r#"{"message":"Maintenance tonight","extra":""}"#;
    let ours = r#"{"extra":"","message":"Maintenance tonight"}"#;
    let content = |body: &str| pairs(body).into_iter().find(|(key, _)| key == "content").unwrap().1;
    assert_eq!((content(&published).as_str(), content(&asked.body).as_str()), (theirs, ours));
    let escape = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20");
    let published = published.replace(&escape(theirs), &escape(ours)).replace("isPersisted=0", "isPersisted=1");
    compare("system", &published, &asked, &[], &[("contentAvailable", "0")]);
    assert!(fixture_text("rest_system_publish_request.form").contains("&isPersisted=0&"), "stored by ours alone");

    let cursor = Body::Custom(Custom { name: "APP:Cursor".to_owned(), data: json!({"x": 3, "y": 4}) });
    let mut status = message("user_alice", Target::Users(users(&["user_bob"])), cursor);
    status.options.online_only = true;
    let asked = send(&status).await;
    assert_eq!(asked.path, "/statusmessage/private/publish.json");
    let beyond: Beyond = &[("verifyBlacklist", "0")];
    compare("status", &fixture_text("rest_statusmessage_private_request.form"), &asked, &[], beyond);

    let mut status = message("user_alice", group("group_team", &[]), Body::text("typing"));
    status.options.online_only = true;
    assert_eq!(send(&status).await.path, "/statusmessage/group/publish.json");
}

#[tokio::test]
async fn ultra_group_messages_are_asked_for_as_published() {
    let target = Target::Group { group: "ug_city".into(), channel: Some("ch_general".to_owned()), audience: vec![] };
    let asked = send(&message("user_alice", target, Body::text("hi channel"))).await;
    assert_eq!(asked.path, "/message/ultragroup/publish.json");
    assert_eq!(asked.header("content-type"), "application/json");
    let mut published = fixture_json("rest_ultragroup_publish_request.json");
    let object = published.as_object_mut().unwrap();
    for (key, value) in [
        ("isCounted", json!(1)),
        ("contentAvailable", json!(0)),
        ("expansion", json!(true)),
        ("extraContent", json!("{\"pin\":\"0\"}")),
        ("msgRandom", json!(20_261_119_101_700_i64)),
    ] {
        assert_eq!(object.remove(key), Some(value), "{key}");
    }
    assert_eq!(asked.json(), published);
}

#[tokio::test]
async fn a_recall_is_asked_for_as_published() {
    let vendor = Vendor::always(ok()).await;
    let recall = |target| RecallRequest {
        id: "D1U6-B6SI-O124-3K1R".into(),
        from: "user_alice".into(),
        target,
        sent_at: Timestamp(1_795_054_530_123),
    };
    let provider = vendor.provider();
    provider.messaging().recall(&recall(Target::Users(users(&["user_bob"])))).await.unwrap();
    let asked = vendor.only();
    assert_eq!(asked.path, "/message/recall.json");
    let beyond: Beyond = &[("disablePush", "false"), ("extra", "typo"), ("disableUpdateLastMsg", "false")];
    compare("recall", &fixture_text("rest_recall_request.form"), &asked, &[], beyond);

    let ultra = Target::Group { group: "ug".into(), channel: Some("ch".to_owned()), audience: vec![] };
    for (target, kind, id, channel) in [
        (group("g", &[]), "3", "g", None),
        (Target::Room { room: "r".into() }, "4", "r", None),
        (Target::System(users(&["u"])), "6", "u", None),
        (ultra, "10", "ug", Some("ch")),
    ] {
        provider.messaging().recall(&recall(target)).await.unwrap();
        let pairs = vendor.asked().last().unwrap().pairs();
        let value = |key: &str| pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        assert_eq!((value("conversationType"), value("targetId")), (Some(kind), Some(id)));
        assert_eq!(value("busChannel"), channel);
    }
}

#[tokio::test]
async fn users_groups_and_rooms_are_asked_for_as_published() {
    let vendor = Vendor::start(|_, asked| match asked.path.as_str() {
        "/user/getToken.json" => with_fixture("get_token_response.json"),
        _ => ok(),
    })
    .await;
    let mut config = vendor.config();
    config.rooms.ends = Some(RoomEnd::After(std::time::Duration::from_secs(7200)));
    let provider = crate::support::provider(config);
    let last = || vendor.asked().last().unwrap().clone();

    let profile =
        UserProfile { name: Some("Alice".to_owned()), avatar: Some("https://cdn.example.test/a.png".to_owned()) };
    provider.ensure(&"user_alice".into(), &profile).await.unwrap();
    compare("getToken", &fixture_text("get_token_request.form"), &last(), &[], &[]);
    assert_eq!(last().body, fixture_text("get_token_request.form"), "the very bytes");

    provider.ban(&"user_mallory".into(), Some(std::time::Duration::from_secs(1800))).await.unwrap();
    assert_eq!((last().path.as_str(), last().body), ("/user/block.json", fixture_text("user_block_request.form")));
    provider.unban(&"user_mallory".into()).await.unwrap();
    assert_eq!((last().path.as_str(), last().body), ("/user/unblock.json", fixture_text("user_unblock_request.form")));

    let team = NewGroup {
        id: Some("group_team".into()),
        room: false,
        name: "Team".to_owned(),
        owner: "user_alice".into(),
        members: users(&["user_alice", "user_bob"]),
    };
    provider.create(&team).await.unwrap();
    assert_eq!((last().path.as_str(), last().body), ("/group/create.json", fixture_text("group_create_request.form")));
    let team = GroupRef { id: "group_team".into(), room: false };
    provider.add_members(&team, &users(&["user_carol"])).await.unwrap();
    assert_eq!(last().path, "/group/join.json");
    compare("join", &fixture_text("group_join_request.form"), &last(), &[], &[("groupName", "Team")]);

    let room = NewGroup {
        id: Some("room_42".into()),
        room: true,
        name: String::new(),
        owner: "user_alice".into(),
        members: vec![],
    };
    provider.create(&room).await.unwrap();
    assert_eq!(last().path, "/chatroom/create_new.json");
    let beyond: Beyond = &[
        ("isBan", "false"),
        ("whiteUserIds", "user_alice"),
        ("entryOwnerId", "user_alice"),
        ("entryInfo", r#"{"host":"user_alice"}"#),
    ];
    compare("room", &fixture_text("chatroom_create_new_request.form"), &last(), &[], beyond);
}

pub(crate) fn private_query() -> RoamingQuery {
    RoamingQuery {
        viewer: "user_alice".into(),
        target: Target::Users(users(&["user_bob"])),
        since: Timestamp(1_795_054_529_123),
        until: Timestamp(1_795_054_752_030),
        limit: 20,
        cursor: None,
    }
}

#[tokio::test]
async fn history_is_asked_for_as_published() {
    let vendor = Vendor::always(with_fixture("history_response_no_data.json")).await;
    vendor.provider().fetch(Timestamp(1_795_053_600_000)).await.unwrap();
    assert_eq!(vendor.only().path, "/message/history.json");
    assert_eq!(vendor.only().body, fixture_text("history_request.form"));

    for (values, published) in [
        (QueryValues::Numbers, "history_private_query_request.json"),
        (QueryValues::Text, "history_private_query_request_string_values.json"),
    ] {
        let vendor = Vendor::always(ok()).await;
        let mut config = vendor.config();
        config.history.query_values = values;
        crate::support::provider(config).page(&private_query()).await.unwrap();
        assert_eq!(vendor.only().path, "/v3/message/private/query.json");
        assert_eq!(vendor.only().json(), fixture_json(published));
    }
}

#[tokio::test]
async fn every_attempt_is_signed_afresh_in_the_form_that_was_set() {
    let failing: Answer = with_fixture("rest_error_500_1000.json");
    let Answer::Reply(_, body) = failing else { panic!("no reply") };
    let vendor = Vendor::start(move |number, _| match number {
        0 | 1 => Answer::Reply(500, body.clone()),
        _ => ok(),
    })
    .await;
    let mut config = vendor.config();
    config.signing.time = TimeUnit::Milliseconds;
    config.signing.headers = HeaderNames::Prefixed;
    crate::support::provider(config).probe().await.unwrap();
    let asked = vendor.asked();
    assert_eq!(asked.len(), 3);
    let mut nonces: Vec<&str> = asked.iter().map(|asked| asked.header("rc-nonce")).collect();
    nonces.sort_unstable();
    nonces.dedup();
    assert_eq!(nonces.len(), 3, "a nonce was used again");
    for asked in &asked {
        use sha1::Digest as _;
        assert_eq!(asked.header("rc-app-key"), APP_KEY);
        assert_eq!(asked.header("rc-timestamp").len(), 13);
        let signed = format!("{APP_SECRET}{}{}", asked.header("rc-nonce"), asked.header("rc-timestamp"));
        assert_eq!(asked.header("rc-signature"), hex::encode(sha1::Sha1::digest(signed)));
    }
}
