//! What the vendor's own SDKs were seen to send, and what we send for the same wish.

use serde_json::{Value, json};
use switchboard_contract::{
    Body, HistoryFiles, Messaging, RecallRequest, Roaming, RoamingQuery, Target, Timestamp, UserProfile, Users,
};
use switchboard_rongcloud::QueryValues;

use crate::requests::{Beyond, compare, group, message, private_query, signature_is_good, users};
use crate::support::vendor::{Asked, Vendor, ok, with_fixture};
use crate::support::{APP_KEY, Request, pairs};

/// Each capture: the path, what the SDK wrote that we never do, and what we write that it did not.
struct Capture {
    name: &'static str,
    path: &'static str,
    theirs: Beyond,
    ours: Beyond,
}

const OUR_PRIVATE: Beyond = &[("isIncludeSender", "0"), ("disablePush", "false"), ("isPersisted", "1")];
const OUR_GROUP: Beyond =
    &[("isIncludeSender", "0"), ("disablePush", "false"), ("isPersisted", "1"), ("isMentioned", "0")];
const TOKEN: &str = "/user/getToken.json";
const PRIVATE: &str = "/message/private/publish.json";
const GROUP: &str = "/message/group/publish.json";

const fn capture(name: &'static str, path: &'static str, theirs: Beyond, ours: Beyond) -> Capture {
    Capture { name, path, theirs, ours }
}

const CAPTURES: &[Capture] = &[
    capture("sdk_capture_go_get_token.http", TOKEN, &[], &[]),
    capture("sdk_capture_java_get_token.http", TOKEN, &[], &[]),
    capture("sdk_capture_node_get_token.http", TOKEN, &[], &[]),
    capture("sdk_capture_php_get_token.http", TOKEN, &[], &[]),
    capture("sdk_capture_python_get_token.http", TOKEN, &[], &[]),
    capture(
        "sdk_capture_go_private_publish.http",
        PRIVATE,
        &[
            ("contentAvailable", "0"),
            ("count", "1"),
            ("pushContent", ""),
            ("verifyBlacklist", "0"),
            ("isCounted", "1"),
            ("pushData", ""),
            ("expansion", "false"),
        ],
        &[],
    ),
    capture("sdk_capture_java_private_publish.http", PRIVATE, &[], OUR_PRIVATE),
    capture("sdk_capture_node_private_publish.http", PRIVATE, &[], OUR_PRIVATE),
    capture("sdk_capture_php_private_publish.http", PRIVATE, &[], OUR_PRIVATE),
    capture("sdk_capture_python_private_publish.http", PRIVATE, &[], OUR_PRIVATE),
    capture(
        "sdk_capture_go_group_publish.http",
        GROUP,
        &[("contentAvailable", "0"), ("expansion", "false"), ("pushContent", ""), ("pushData", "")],
        &[],
    ),
    capture("sdk_capture_node_group_publish.http", GROUP, &[], OUR_GROUP),
    capture("sdk_capture_python_group_publish.http", GROUP, &[], OUR_GROUP),
    capture("sdk_capture_node_recall.http", "/message/recall.json", &[], &[("isAdmin", "0"), ("isDelete", "0")]),
    capture("sdk_capture_python_recall.http", "/message/recall.json", &[], &[]),
    capture("sdk_capture_python_history.http", "/message/history.json", &[], &[]),
];

/// The call of ours that corresponds to a capture.
async fn ask_like(capture: &Capture) -> Asked {
    let vendor = Vendor::start(|_, asked| match asked.path.as_str() {
        TOKEN => with_fixture("get_token_response.json"),
        "/message/history.json" => with_fixture("history_response_no_data.json"),
        _ => ok(),
    })
    .await;
    let provider = vendor.provider();
    match capture.path {
        TOKEN => {
            let name = if capture.name.contains("java") { "Ann" } else { "Alice" };
            let avatar = Some("https://cdn.example.test/a.png".to_owned());
            let profile = UserProfile { name: Some(name.to_owned()), avatar };
            provider.ensure(&"user_alice".into(), &profile).await.unwrap();
        }
        PRIVATE => {
            let to = Target::Users(users(&["user_bob", "user_carol"]));
            provider.send(&message("user_alice", to, Body::text("hello"))).await.unwrap();
        }
        GROUP => {
            provider.send(&message("user_alice", group("group_team", &[]), Body::text("hello"))).await.unwrap();
        }
        "/message/recall.json" => {
            let recall = RecallRequest {
                id: "D1U6-B6SI-O124-3F9N".into(),
                from: "user_alice".into(),
                target: Target::Users(users(&["user_bob"])),
                sent_at: Timestamp(1_795_054_530_123),
            };
            provider.recall(&recall).await.unwrap();
        }
        _ => {
            provider.fetch(Timestamp(1_795_053_600_000)).await.unwrap();
        }
    }
    vendor.only()
}

fn user_agent_is_its_own(name: &str, seen: &Request) -> bool {
    let known = [
        ("go", "rc-go-sdk/4.0.7"),
        ("java", "rc-java-sdk/${project.version}"),
        ("node", "rc-nodejs-sdk/3.1.1"),
        ("php", "rc-php-sdk/3.4.2"),
        ("python", "rc-python-sdk/3.2.0"),
    ];
    let sdk = name.trim_start_matches("sdk_capture_").split('_').next().unwrap();
    known.iter().any(|(known, agent)| *known == sdk && seen.header("user-agent") == Some(agent))
}

/// The content the SDKs put in beside the text: an empty user and an empty extra, or spaces between the tokens.
fn normal_content(capture: &Request) -> String {
    let (mut plain, content): (Vec<_>, Vec<_>) =
        pairs(&capture.body).into_iter().partition(|(key, _)| key != "content");
    for (key, text) in content {
        let mut value: Value = serde_json::from_str(&text).unwrap();
        let object = value.as_object_mut().unwrap();
        let user = object.remove("user");
        let empty = json!({"id": "", "name": "", "icon": "", "portrait": "", "extra": ""});
        assert!(user.is_none() || user == Some(empty));
        let extra = object.remove("extra");
        assert!(extra.is_none() || extra == Some(json!("")));
        plain.push((key, value.to_string()));
    }
    form_urlencoded::Serializer::new(String::new()).extend_pairs(plain).finish()
}

#[tokio::test]
async fn the_official_sdks_ask_for_the_same() {
    for capture in CAPTURES {
        let seen = Request::fixture(capture.name);
        assert_eq!((seen.method.as_str(), seen.path.as_str(), seen.query.as_str()), ("POST", capture.path, ""));
        assert_eq!(seen.header("host"), Some("api.example.test"), "{}", capture.name);
        assert_eq!(seen.header("app-key"), Some(APP_KEY), "{}", capture.name);
        assert!(signature_is_good(&seen), "{}", capture.name);
        assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded"), "{}", capture.name);
        assert!(user_agent_is_its_own(capture.name, &seen), "{}", capture.name);
        let asked = ask_like(capture).await;
        assert_eq!(asked.path, capture.path);
        compare(capture.name, &normal_content(&seen), &asked, capture.ours, capture.theirs);
    }
}

#[tokio::test]
async fn the_official_sdks_query_history_alike() {
    for (name, values) in [
        ("sdk_capture_go_private_query.http", QueryValues::Text),
        ("sdk_capture_java_private_query.http", QueryValues::Numbers),
    ] {
        let seen = Request::fixture(name);
        assert!(signature_is_good(&seen) && user_agent_is_its_own(name, &seen), "{name}");
        assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/v3/message/private/query.json"));
        assert_eq!(seen.header("app-key"), Some(APP_KEY));
        assert_eq!(seen.header("content-type"), Some("application/json"));
        let vendor = Vendor::always(ok()).await;
        let mut config = vendor.config();
        config.history.query_values = values;
        let query = RoamingQuery {
            since: Timestamp(1_795_054_500_000),
            until: Timestamp(1_795_054_800_000),
            ..private_query()
        };
        crate::support::provider(config).page(&query).await.unwrap();
        assert_eq!(vendor.only().json(), serde_json::from_str::<Value>(&seen.body).unwrap(), "{name}");
    }
}
