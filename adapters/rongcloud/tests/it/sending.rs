//! Sending: what answers mean, what is refused before anything leaves, and what happens when the vendor falters.

use std::time::Duration;

use serde_json::json;
use switchboard_contract::{
    Body, Custom, ErrorKind, Messaging, OutboundMessage, Provider, RecallRequest, Retry, SendOptions, SentTo, Target,
    Timestamp,
};

use crate::requests::{group, message, users};
use crate::support::offline;
use crate::support::vendor::{Answer, Vendor, ok, reply, with_fixture};

fn to_both() -> OutboundMessage {
    message("user_alice", Target::Users(users(&["user_bob", "user_carol"])), Body::text("hello bob"))
}

fn told(user: Option<&str>, id: Option<&str>) -> SentTo {
    SentTo { user: user.map(Into::into), id: id.map(Into::into) }
}

#[tokio::test]
async fn the_ids_of_an_answer_belong_to_their_recipients() {
    let both = |bob, carol| vec![told(Some("user_bob"), bob), told(Some("user_carol"), carol)];
    let ultra = Target::Group { group: "ug_city".into(), channel: Some("ch_general".to_owned()), audience: vec![] };
    let room = Target::Room { room: "room_42".into() };
    for (fixture, target, expected) in [
        (
            "rest_private_publish_response.json",
            to_both().target,
            both(Some("D1U6-B6SI-O124-3K1R"), Some("D1U6-B6SI-O144-3K1S")),
        ),
        ("rest_private_publish_response_minimal.json", to_both().target, both(None, None)),
        ("rest_group_publish_response.json", group("group_team", &[]), vec![told(None, Some("D1U6-BEP6-022C-67T7"))]),
        ("rest_ultragroup_publish_response.json", ultra, vec![told(None, Some("D1U6-BSQP-O0BB-AR3P"))]),
        ("rest_chatroom_publish_response.json", room, vec![told(None, Some("D1U6-CMM3-00IG-2BA3"))]),
        ("rest_private_publish_response_minimal.json", group("group_team", &[]), vec![told(None, None)]),
    ] {
        let vendor = Vendor::always(with_fixture(fixture)).await;
        let sent = vendor.provider().send(&OutboundMessage { target, ..to_both() }).await.unwrap();
        assert_eq!(sent, expected, "{fixture}");
    }
}

#[test]
fn the_published_answers_name_the_conversations_they_are_for() {
    for (name, key, id) in [
        ("rest_group_publish_response.json", "groupId", "group_team"),
        ("rest_ultragroup_publish_response.json", "groupId", "ug_city"),
        ("rest_chatroom_publish_response.json", "chatroomId", "room_42"),
    ] {
        assert_eq!(crate::support::fixture_json(name)["messageUIDs"][0][key], id);
    }
}

#[tokio::test]
async fn an_accepted_send_with_odd_ids_is_still_accepted() {
    let vendor = Vendor::always(reply(200, r#"{"code":200,"messageUIDs":"none"}"#)).await;
    let sent = vendor.provider().send(&to_both()).await.unwrap();
    assert_eq!(sent, [told(Some("user_bob"), None), told(Some("user_carol"), None)]);
}

/// Published error answers: status, what it means, the code, and the words that come with it.
const ERRORS: &[(&str, u16, ErrorKind, Retry, &str, &str)] = &[
    ("rest_error_400_1002.json", 400, ErrorKind::InvalidInput, Retry::Never, "1002", "fromUserId is required"),
    (
        "rest_error_401_1001.json",
        401,
        ErrorKind::Unauthorized,
        Retry::Never,
        "1001",
        "app key and app secret do not match",
    ),
    ("rest_error_401_1004.json", 401, ErrorKind::Unauthorized, Retry::Never, "1004", "signature is invalid"),
    ("rest_error_403_2007.json", 403, ErrorKind::Forbidden, Retry::Never, "2007", "test user quota exceeded"),
    (
        "rest_error_429_1008.json",
        429,
        ErrorKind::RateLimited,
        Retry::Safe { after: None },
        "1008",
        "call frequency exceeded",
    ),
    ("rest_error_430_1009.json", 430, ErrorKind::Unsupported, Retry::Never, "1009", "service not enabled"),
    ("rest_error_500_1000.json", 500, ErrorKind::Unavailable, Retry::OutcomeUnknown, "1000", "internal error"),
    ("rest_error_504_1050.json", 504, ErrorKind::Timeout, Retry::OutcomeUnknown, "1050", "internal timeout"),
];

#[tokio::test]
async fn every_published_error_answers_whether_a_send_may_be_repeated() {
    for (name, status, kind, retry, code, words) in ERRORS {
        assert_eq!(crate::support::fixture_json(name)["errorMessage"], *words);
        let vendor = Vendor::always(reply(*status, crate::support::fixture(name))).await;
        let error = vendor.provider().send(&to_both()).await.unwrap_err();
        assert_eq!(error.kind(), *kind, "{name}");
        let answer = match error.retry() {
            Retry::Exhausted { .. } => panic!("{name}: a send was repeated"),
            answer => answer,
        };
        assert_eq!(answer, *retry, "{name}");
        assert_eq!(error.vendor_code(), Some(*code), "{name}");
        assert!(!error.to_string().contains("hello bob"), "a body in an error");
        assert_eq!(vendor.asked().len(), 1, "{name}: exactly one attempt");
    }
}

#[tokio::test]
async fn a_send_without_an_answer_is_of_unknown_outcome_and_made_once() {
    let vendor = Vendor::always(Answer::Never).await;
    let mut config = vendor.config();
    config.outbound.attempt_timeout = Duration::from_millis(300);
    config.outbound.connect_timeout = Duration::from_millis(200);
    let error = crate::support::provider(config).send(&to_both()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Timeout, Retry::OutcomeUnknown));
    assert_eq!(vendor.asked().len(), 1);
}

#[tokio::test]
async fn a_gateways_page_in_place_of_an_answer_leaves_the_outcome_open() {
    let vendor = Vendor::always(reply(502, "<html>bad gateway</html>")).await;
    let error = vendor.provider().send(&to_both()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::OutcomeUnknown));
    assert_eq!(vendor.asked().len(), 1);
}

#[tokio::test]
async fn a_vendor_that_cannot_be_reached_took_nothing() {
    let vendor = Vendor::always(ok()).await;
    let mut config = vendor.config();
    // A port that was free a moment ago and has no listener.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    config.base_url = Some(format!("http://{free}").parse().unwrap());
    let error = crate::support::provider(config).send(&to_both()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Safe { after: None }));
}

#[tokio::test]
async fn a_recall_may_be_repeated_and_is() {
    let vendor = Vendor::script(vec![reply(504, crate::support::fixture("rest_error_504_1050.json")), ok()]).await;
    let recall = RecallRequest {
        id: "u".into(),
        from: "user_alice".into(),
        target: Target::Users(users(&["user_bob"])),
        sent_at: Timestamp(1),
    };
    vendor.provider().recall(&recall).await.unwrap();
    assert_eq!(vendor.asked().len(), 2);

    let several = RecallRequest { target: to_both().target, ..recall };
    let error = vendor.provider().recall(&several).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn the_other_domain_takes_over() {
    let dead = Vendor::always(reply(503, "<html>down</html>")).await;
    let alive = Vendor::always(ok()).await;
    let mut config = dead.config();
    config.base_url = None;
    config.outbound.base_urls = vec![dead.url(), alive.url()];
    let provider = crate::support::provider(config);
    provider.probe().await.unwrap();
    assert_eq!((dead.asked().len(), alive.asked().len()), (1, 1));
    assert_eq!(alive.asked()[0].path, "/user/checkOnline.json");
    provider.send(&to_both()).await.unwrap();
    assert_eq!((dead.asked().len(), alive.asked().len()), (1, 2), "it stays with the one that works");
}

#[tokio::test]
async fn the_probe_tells_wrong_credentials_from_a_dead_vendor() {
    let wrong = Vendor::always(reply(401, crate::support::fixture("rest_error_401_1004.json"))).await;
    assert_eq!(wrong.provider().probe().await.unwrap_err().kind(), ErrorKind::Unauthorized);
    let dead = Vendor::always(reply(502, "")).await;
    let error = dead.provider().probe().await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Exhausted { attempts: 4 }));
    assert_eq!(dead.asked().len(), 4, "three retries after the first try");
}

fn with(target: Target, change: fn(&mut SendOptions)) -> OutboundMessage {
    let mut message = message("user_alice", target, Body::text("x"));
    change(&mut message.options);
    message
}

#[test]
fn what_the_vendor_would_ignore_is_refused() {
    let one = || Target::Users(users(&["user_bob"]));
    let ultra = || Target::Group { group: "u".into(), channel: Some("c".to_owned()), audience: vec![] };
    let room = || Target::Room { room: "r".into() };
    let system = || Target::System(users(&["user_bob"]));
    let mut direct_mention = with(one(), |_| {});
    direct_mention.mentions = users(&["user_bob"]);
    let mut room_mention = with(room(), |_| {});
    room_mention.mentions_everyone = true;
    for refused in [
        with(to_both().target, |options| options.sync_to_sender = true),
        with(one(), |options| (options.online_only, options.read_receipt) = (true, true)),
        with(one(), |options| (options.online_only, options.push_text) = (true, Some("p".to_owned()))),
        with(group("g", &[]), |options| options.read_receipt = true),
        with(group("g", &["a"]), |options| options.silent = true),
        with(group("g", &["a"]), |options| options.online_only = true),
        with(ultra(), |options| options.online_only = true),
        with(ultra(), |options| options.read_receipt = true),
        with(room(), |options| options.read_receipt = true),
        with(room(), |options| options.push_text = Some("p".to_owned())),
        with(system(), |options| options.online_only = true),
        with(system(), |options| options.read_receipt = true),
        with(system(), |options| options.sync_to_sender = true),
        direct_mention,
        room_mention,
    ] {
        let error = offline().check(&refused).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{refused:?}");
    }
    for taken in [
        with(one(), |options| options.sync_to_sender = true),
        with(one(), |options| options.read_receipt = true),
        with(group("g", &[]), |options| options.silent = true),
        with(ultra(), |options| options.silent = true),
        with(room(), |options| (options.silent, options.online_only) = (true, true)),
        with(system(), |options| options.push_text = Some("p".to_owned())),
    ] {
        offline().check(&taken).unwrap();
    }
}

#[test]
fn limits_are_kept_before_anything_leaves() {
    let kind = |message: &OutboundMessage| offline().check(message).unwrap_err().kind();
    let many = |count: usize| (0..count).map(|number| format!("u{number}").into()).collect::<Vec<_>>();
    let target = |target| OutboundMessage { target, ..to_both() };
    let long = "x".repeat(65);
    for wrong in [
        target(Target::Users(vec![])),
        target(Target::Users(many(1001))),
        target(Target::System(vec![])),
        target(Target::System(many(101))),
        target(Target::Users(users(&[&long]))),
        target(group("", &[])),
        target(group(&long, &[])),
        target(Target::Room { room: "".into() }),
        target(Target::Group { group: "g".into(), channel: Some("x".repeat(21)), audience: vec![] }),
        OutboundMessage { from: long.as_str().into(), ..to_both() },
    ] {
        assert_eq!(kind(&wrong), ErrorKind::InvalidInput, "{wrong:?}");
    }
    offline().check(&target(Target::Users(many(1000)))).unwrap();
    offline().check(&target(Target::System(many(100)))).unwrap();

    // {"content":"…"} is 14 bytes around the text.
    let text = |bytes: usize| OutboundMessage { body: Body::text("x".repeat(bytes)), ..to_both() };
    offline().check(&text(128 * 1024 - 14)).unwrap();
    assert_eq!(kind(&text(128 * 1024 - 13)), ErrorKind::TooLarge);

    let mut reserved = to_both();
    reserved.ext.insert("sb".to_owned(), json!("forged"));
    assert_eq!(kind(&reserved), ErrorKind::InvalidInput);
    let recall = Body::Native(switchboard_contract::Native {
        vendor: "rongcloud".into(),
        kind: "RC:RcCmd".to_owned(),
        content: json!({"messageUId": "u"}),
    });
    assert_eq!(kind(&OutboundMessage { body: recall, ..to_both() }), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn the_mark_and_the_fields_travel_and_come_back() {
    let vendor = Vendor::always(ok()).await;
    let provider = vendor.provider();
    for body in [
        Body::text("hi"),
        Body::Custom(Custom { name: "app:order".to_owned(), data: json!({"n": 1, "extra": "mine"}) }),
    ] {
        let mut outbound = message("user_alice", group("group_team", &[]), body.clone());
        outbound.ext.insert("k".to_owned(), json!({"deep": [1, null]}));
        outbound.mark = Some("v1.mark.mac".to_owned());
        outbound.mentions = users(&["user_bob"]);
        outbound.mentions_everyone = true;
        provider.send(&outbound).await.unwrap();
        let pairs = vendor.asked().last().unwrap().pairs();
        let value = |key: &str| pairs.iter().find(|(name, _)| name == key).unwrap().1.clone();
        assert_eq!(value("isMentioned"), "1");
        let echo = form_urlencoded::Serializer::new(String::new())
            .append_pair("fromUserId", "user_alice")
            .append_pair("toUserId", "group_team")
            .append_pair("channelType", "GROUP")
            .append_pair("objectName", &value("objectName"))
            .append_pair("content", &value("content"))
            .append_pair("msgUID", "u")
            .append_pair("msgTimestamp", "1")
            .finish();
        let raw = switchboard_contract::RawCallback {
            path: String::new(),
            query: String::new(),
            headers: Vec::new(),
            body: echo.into(),
            received_at: Timestamp(2),
        };
        let verified = switchboard_contract::VerifiedCallback::assume_verified(raw, true);
        let event = provider.callbacks().unwrap().decode(&verified).remove(0);
        assert_eq!(event.mark.as_deref(), Some("v1.mark.mac"));
        let switchboard_contract::InboundData::Message(found) = event.data else { panic!("no message") };
        assert_eq!((found.body, found.ext), (body, outbound.ext));
        assert_eq!((found.mentions_everyone, found.mentions), (true, outbound.mentions));
    }
}

#[test]
fn the_limits_say_what_the_settings_say() {
    let limits = Messaging::limits(&offline());
    assert_eq!((limits.max_users, limits.max_system_users, limits.max_bytes), (1000, 100, 131_072));
    assert!(!limits.echoes && !limits.receipts);
    assert_eq!(limits.recall_window, None);
    let mut config = switchboard_rongcloud::RongCloudConfig::new("k", "s");
    config.callbacks.server_messages = true;
    assert!(Messaging::limits(&crate::support::provider(config)).echoes);
    let capabilities = offline().capabilities();
    assert!(capabilities.callbacks && capabilities.roaming.is_some() && capabilities.history_files.is_some());
    assert_eq!(capabilities.vendor, "rongcloud");
}
