//! Users, logins, groups and rooms against a listener; names and settings.

use std::time::Duration;

use switchboard_contract::{
    ConversationKind, ErrorKind, GroupId, GroupRef, Groups, NewGroup, PresenceState, Provider, UserId, UserProfile,
    Users, VendorGroupId,
};
use switchboard_rongcloud::{RongCloudConfig, RoomEnd};

use crate::requests::users;
use crate::support::vendor::{Vendor, ok, reply, with_fixture};
use crate::support::{fixture, fixture_json, offline};

fn nobody() -> UserProfile {
    UserProfile::default()
}

#[tokio::test]
async fn a_login_token_is_the_vendors() {
    let vendor = Vendor::always(with_fixture("get_token_response.json")).await;
    let token = vendor.provider().login_token(&"user_alice".into(), &nobody()).await.unwrap();
    assert_eq!(
        token.token,
        "q1W2e3R4t5Y6u7I8o9P0aSdFgHjKlZxCvBnM1234567890abcdEFGH@demo.cn.example.test;demo.cn.example.test"
    );
    assert_eq!(token.expires_at, None);
    assert_eq!(fixture_json("get_token_response.json")["userId"], "user_alice");
    assert_eq!(vendor.only().body, "userId=user_alice&name=user_alice", "the vendor wants a name");
    let odd = Vendor::always(ok()).await;
    let error = odd.provider().login_token(&"user_alice".into(), &nobody()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
}

#[tokio::test]
async fn a_full_development_environment_is_forbidden() {
    let vendor = Vendor::always(reply(403, fixture("rest_error_403_2007.json"))).await;
    let error = vendor.provider().ensure(&"user_alice".into(), &nobody()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert_eq!(vendor.asked().len(), 1);
}

#[tokio::test]
async fn profiles_are_kept_within_the_vendors_limits() {
    let profile =
        |name: usize, avatar: usize| UserProfile { name: Some("é".repeat(name)), avatar: Some("a".repeat(avatar)) };
    let vendor = Vendor::always(with_fixture("get_token_response.json")).await;
    vendor.provider().ensure(&"u".into(), &profile(64, 1024)).await.unwrap();
    for wrong in [profile(65, 1), profile(1, 1025)] {
        let error = vendor.provider().ensure(&"u".into(), &wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(vendor.asked().len(), 1);
}

#[tokio::test]
async fn presence_is_read_as_text_and_as_a_number_in_the_order_asked() {
    let vendor = Vendor::start(|_, asked| match asked.body.as_str() {
        "userId=on" => with_fixture("user_check_online_response_online.json"),
        "userId=off" => with_fixture("user_check_online_response_offline.json"),
        "userId=number" => reply(200, r#"{"code":200,"status":1}"#),
        _ => reply(200, r#"{"code":200,"status":"7"}"#),
    })
    .await;
    let states = vendor.provider().presence(&users(&["off", "on", "number", "odd"])).await.unwrap();
    use PresenceState::{Offline, Online, Unknown};
    assert_eq!(states, [Offline, Online, Online, Unknown]);
}

#[tokio::test]
async fn bans_have_an_end_and_kicks_do_not_exist() {
    let vendor = Vendor::always(ok()).await;
    let provider = vendor.provider();
    let user = "user_mallory".into();
    provider.ban(&user, Some(Duration::from_millis(60_001))).await.unwrap();
    assert_eq!(vendor.only().body, "userId=user_mallory&minute=2", "never shorter than asked");
    for (duration, kind) in [
        (None, ErrorKind::Unsupported),
        (Some(Duration::ZERO), ErrorKind::InvalidInput),
        (Some(Duration::from_secs(43_200 * 60 + 1)), ErrorKind::InvalidInput),
    ] {
        assert_eq!(provider.ban(&user, duration).await.unwrap_err().kind(), kind);
    }
    assert_eq!(provider.kick(&user).await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(provider.offline_count(&user).await.unwrap_err().kind(), ErrorKind::Unsupported);
    let limits = Users::limits(&provider);
    assert!(!limits.kick && !limits.offline_count);
    assert_eq!(limits.max_ban, Some(Duration::from_secs(30 * 86_400)));
    assert_eq!(vendor.asked().len(), 1);
}

fn group_ref(id: &str, room: bool) -> GroupRef {
    GroupRef { id: id.into(), room }
}

#[tokio::test]
async fn large_groups_are_made_in_steps() {
    let vendor = Vendor::always(with_fixture("group_create_response_with_bound_notice.json")).await;
    let members: Vec<_> = (0..2100).map(|number| format!("u{number}").into()).collect();
    let new = NewGroup { id: Some("g".into()), room: false, name: String::new(), owner: "u7".into(), members };
    assert_eq!(vendor.provider().create(&new).await.unwrap(), VendorGroupId::from("g"));
    let asked = vendor.asked();
    let steps: Vec<_> =
        asked.iter().map(|asked| (asked.path.as_str(), asked.body.matches("userId=").count())).collect();
    assert_eq!(steps, [("/group/create.json", 1000), ("/group/join.json", 1000), ("/group/join.json", 100)]);
    assert!(asked[0].body.starts_with("userId=u7&userId=u0&"), "the owner is a member, and once");
    assert!(asked.iter().all(|asked| asked.body.ends_with("&groupId=g&groupName=g")));
}

/// The answer published for a group made with a notice: its extra fields are none of ours.
#[test]
fn an_answer_may_say_more_than_is_asked() {
    let answer = fixture_json("group_create_response_with_bound_notice.json");
    assert_eq!(answer, serde_json::json!({"code": 200, "messageUID": "D1U6-BEP6-022C-67T7", "memberCount": 2}));
}

#[tokio::test]
async fn members_are_listed_whole_or_not_at_all() {
    let groups = Vendor::always(with_fixture("group_user_query_response.json")).await;
    let found = groups.provider().members(&group_ref("group_team", false)).await.unwrap();
    assert_eq!(found, users(&["user_alice", "user_bob"]));
    assert_eq!(
        (groups.only().path.as_str(), groups.only().body.as_str()),
        ("/group/user/query.json", "groupId=group_team")
    );

    let rooms = Vendor::always(with_fixture("chatroom_user_query_response.json")).await;
    let found = rooms.provider().members(&group_ref("room_42", true)).await.unwrap();
    assert_eq!(found, users(&["user_alice", "user_bob"]));
    assert_eq!(rooms.only().body, "chatroomId=room_42&count=500&order=1");
    assert_eq!(fixture_json("chatroom_user_query_response.json")["total"], 2);
    let entered: Vec<_> = fixture_json("chatroom_user_query_response.json")["users"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| user["time"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(entered, ["2026-11-19 10:00:01", "2026-11-19 10:00:09"]);

    let crowded = Vendor::always(reply(200, r#"{"code":200,"total":501,"users":[{"id":"a"}]}"#)).await;
    let error = crowded.provider().members(&group_ref("room_42", true)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn groups_change_and_rooms_belong_to_their_clients() {
    let vendor = Vendor::always(ok()).await;
    let provider = vendor.provider();
    let (team, room) = (group_ref("team", false), group_ref("room", true));
    provider.add_members(&team, &users(&["a", "b"])).await.unwrap();
    provider.remove_members(&team, &users(&["b"])).await.unwrap();
    provider.dissolve(&team, &"a".into()).await.unwrap();
    provider.dissolve(&room, &"a".into()).await.unwrap();
    let asked: Vec<_> = vendor.asked().into_iter().map(|asked| (asked.path, asked.body)).collect();
    let expected = [
        ("/group/join.json", "userId=a&userId=b&groupId=team"),
        ("/group/quit.json", "userId=b&groupId=team"),
        ("/group/dismiss.json", "userId=a&groupId=team"),
        ("/chatroom/destroy.json", "chatroomId=room"),
    ];
    assert_eq!(asked, expected.map(|(path, body)| (path.to_owned(), body.to_owned())));
    for error in [
        provider.add_members(&room, &users(&["a"])).await.unwrap_err(),
        provider.remove_members(&room, &users(&["a"])).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
    let new = |id: Option<&str>, room, members: &[&str]| NewGroup {
        id: id.map(Into::into),
        room,
        name: "n".to_owned(),
        owner: "a".into(),
        members: users(members),
    };
    for (wrong, kind) in [
        (new(None, false, &[]), ErrorKind::InvalidInput),
        (new(Some("r"), true, &["b"]), ErrorKind::Unsupported),
        (NewGroup { name: "n".repeat(256), ..new(Some("g"), false, &[]) }, ErrorKind::InvalidInput),
    ] {
        assert_eq!(provider.create(&wrong).await.unwrap_err().kind(), kind);
    }
    assert_eq!(vendor.asked().len(), 4, "what is refused is not asked for");
}

#[tokio::test]
async fn a_group_and_a_room_are_told_apart() {
    let vendor = Vendor::start(|_, asked| match (asked.path.as_str(), asked.body.as_str()) {
        ("/chatroom/query.json", "chatroomId=room") => {
            reply(200, r#"{"code":200,"chatRooms":[{"chrmId":"room","name":"","time":"2026-11-19 10:00:00"}]}"#)
        }
        ("/chatroom/query.json", _) => reply(200, r#"{"code":200,"chatRooms":[]}"#),
        ("/group/user/query.json", "groupId=group_team") => with_fixture("group_user_query_response.json"),
        ("/group/user/query.json", _) => reply(200, r#"{"code":200,"users":[]}"#),
        _ => panic!("{asked:?}"),
    })
    .await;
    let provider = vendor.provider();
    assert_eq!(provider.kind_of(&"room".into()).await.unwrap(), Some(ConversationKind::Room));
    assert_eq!(provider.kind_of(&"group_team".into()).await.unwrap(), Some(ConversationKind::Group));
    assert_eq!(provider.kind_of(&"neither".into()).await.unwrap(), None);
}

#[test]
fn ids_keep_to_the_vendors_alphabet() {
    let naming = offline().naming();
    let spelled = |id: &str| naming.encode_user(&UserId::from(id)).map(|user| user.as_str().to_owned());
    for legal in ["alice", "A1+=-_", &"x".repeat(64)] {
        assert_eq!(spelled(legal).unwrap(), legal);
    }
    assert_eq!(spelled("wei.chen").unwrap(), "x=wei=2echen");
    assert_eq!(spelled("x=1").unwrap(), "x=x=3d1");
    assert_eq!(spelled("小林").unwrap(), "x==e5=b0=8f=e6=9e=97");
    assert_eq!(spelled(&"x".repeat(65)), None, "bound by table");
    for id in ["wei.chen", "x=1", "小林", "a b", "@"] {
        let user = naming.encode_user(&UserId::from(id)).unwrap();
        assert!(user.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+=-_".contains(&byte)));
        assert_eq!(naming.decode_user(&user), UserId::from(id));
        for names in [naming.groups, naming.rooms] {
            let group = names.encode(&GroupId::from(id)).unwrap();
            assert_eq!(names.decode(&group), GroupId::from(id));
        }
    }
}

#[test]
fn settings_are_checked_all_at_once() {
    let text = r#"
        app_key = "k e y"
        app_secret = ""
        former_secrets = [""]
        base_url = "http://127.0.0.1:1/"
        mark_key = "extra"
        probe_user = "a.b"
        [outbound]
        max_retries = 1
        base_urls = ["http://127.0.0.1:2/"]
        [callbacks]
        window = "0s"
        pre_send_path = "/pre/"
        [history]
        query_max_span = "1ms"
        max_log_bytes = 0
        [rooms]
        ends = { idle = "10m" }
        [quotas]
        group_per_second = 0
    "#;
    let config: RongCloudConfig = toml::from_str(text).unwrap();
    let faults = config.faults().join("\n");
    for field in [
        "app_key",
        "app_secret",
        "former_secrets",
        "base_url",
        "mark_key",
        "probe_user",
        "outbound.max_retries",
        "callbacks.window",
        "callbacks.pre_send_path",
        "history.query_max_span",
        "history.max_log_bytes",
        "rooms.ends",
        "quotas.group_per_second",
    ] {
        assert!(faults.contains(field), "{field} is missing in\n{faults}");
    }
    let error = config.build(crate::support::TestClock::at(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[test]
fn settings_are_typed_and_a_misspelt_one_is_refused() {
    let read = |more: &str| toml::from_str::<RongCloudConfig>(&format!("app_key = \"k\"\napp_secret = \"s\"\n{more}"));
    let config = read(
        "data_centre = \"singapore_b\"\nformer_secrets = [\"old\"]\n[signing]\ntime = \"milliseconds\"\n\
         headers = \"prefixed\"\n[history]\nquery_order = \"ascending\"\nquery_values = \"text\"\nlog_zone = \"utc\"\n\
         query_own_sends_after = \"5s\"\n[rooms]\nends = { after = \"2h\" }",
    )
    .unwrap();
    assert!(config.faults().is_empty(), "{:?}", config.faults());
    assert_eq!(config.rooms.ends, Some(RoomEnd::After(Duration::from_secs(7200))));
    for wrong in
        ["app_sekret = \"x\"", "[callbacks]\nwindows = \"1s\"", "[history]\nzone = \"utc\"", "[rooms]\nend = 1"]
    {
        assert!(read(wrong).is_err(), "{wrong}");
    }
    let shown = format!("{config:?}");
    assert!(!shown.contains("\"s\"") && !shown.contains("old"), "{shown}");
    let provider = read("").unwrap().build(crate::support::TestClock::at(0)).unwrap();
    assert!(!format!("{provider:?}").contains("\"s\""));
}
