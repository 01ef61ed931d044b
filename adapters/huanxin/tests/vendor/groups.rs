//! Groups and rooms: made, filled, emptied, listed, told apart, ended.

use serde_json::json;
use switchboard_contract::{ConversationKind, ErrorKind, GroupRef, Groups, NewGroup, VendorUserId};
use switchboard_huanxin::Huanxin;

use crate::support::{JumpClock, Vendor, config, json_fixture};

const GROUP: &str = "281474976710657";
const ROOM: &str = "281474976799001";

fn group() -> GroupRef {
    GroupRef { id: GROUP.into(), room: false }
}

fn users<const N: usize>(names: [&str; N]) -> Vec<VendorUserId> {
    names.into_iter().map(VendorUserId::from).collect()
}

fn client(vendor: &Vendor, settings: &str) -> Huanxin {
    config(&vendor.url, settings).build(JumpClock::new()).unwrap()
}

fn new(room: bool, name: &str) -> NewGroup {
    NewGroup { id: None, room, name: name.into(), owner: "lin_qiao".into(), members: users(["wei.chen", "lin_qiao"]) }
}

#[tokio::test]
async fn groups_and_rooms_are_made_by_the_published_requests() {
    let vendor = Vendor::start().await;
    vendor.answer_with(200, "rest_group_create_response.json").answer_with(200, "rest_chatroom_create_response.json");
    let settings = "groups = { description = 'ops', custom = 'tag=ops', max_users = 300 }";
    let id = client(&vendor, settings).create(&new(false, "night shift")).await.unwrap();
    assert_eq!(id.as_str(), GROUP);
    let settings = "groups = { description = 'live', custom = '' }";
    let id = client(&vendor, settings).create(&new(true, "launch room")).await.unwrap();
    assert_eq!(id.as_str(), ROOM);
    let seen = vendor.seen();
    assert_eq!(seen[0].line, "POST /acme-im/bridge/chatgroups");
    assert_eq!(seen[0].json(), json_fixture("rest_group_create_request.json"));
    assert_eq!(seen[1].line, "POST /acme-im/bridge/chatrooms");
    assert_eq!(seen[1].json(), json_fixture("rest_chatroom_create_request.json"));
}

#[tokio::test]
async fn the_vendor_chooses_ids_and_a_create_is_never_repeated_in_doubt() {
    let vendor = Vendor::start().await;
    let named = NewGroup { id: Some("mine".into()), ..new(false, "x") };
    assert_eq!(vendor.client().create(&named).await.unwrap_err().kind(), ErrorKind::Unsupported);
    vendor.answer(502, "<html>");
    vendor.client().create(&new(false, "x")).await.unwrap_err();
    assert_eq!(vendor.seen().len(), 1);
}

#[tokio::test]
async fn members_are_added_sixty_at_a_time_and_those_in_are_left_alone() {
    let vendor = Vendor::start().await;
    vendor.answer_with(200, "rest_group_add_members_response.json");
    vendor.client().add_members(&group(), &users(["ops-bot", "zhao_l"])).await.unwrap();
    let call = &vendor.seen()[0];
    assert_eq!(call.line, format!("POST /acme-im/bridge/chatgroups/{GROUP}/users"));
    assert_eq!(call.json(), json_fixture("rest_group_add_members_request.json"));

    let vendor = Vendor::start().await;
    vendor
        .answer_with(403, "error_403_already_in_group.json")
        .answer_with(403, "error_403_already_in_group.json")
        .answer(200, "{}");
    vendor.client().add_members(&group(), &users(["wei.chen", "zhao_l"])).await.unwrap();
    let added: Vec<_> = vendor.seen().iter().map(|seen| seen.json()["usernames"].clone()).collect();
    assert_eq!(added, [json!(["wei.chen", "zhao_l"]), json!(["wei.chen"]), json!(["zhao_l"])]);

    let vendor = Vendor::start().await;
    vendor.answer(200, "{}").answer(200, "{}");
    let many: Vec<_> = (0..61).map(|n| VendorUserId::from(format!("u{n}"))).collect();
    let room = GroupRef { id: ROOM.into(), room: true };
    vendor.client().add_members(&room, &many).await.unwrap();
    assert_eq!(vendor.seen()[1].line, format!("POST /acme-im/bridge/chatrooms/{ROOM}/users"));
    assert_eq!(vendor.seen()[1].json(), json!({"usernames": ["u60"]}));
}

#[tokio::test]
async fn an_unknown_group_is_told_from_an_unknown_member() {
    let vendor = Vendor::start().await;
    vendor.answer_with(404, "error_404_group_not_found.json");
    let error = vendor.client().add_members(&group(), &users(["a"])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    vendor.answer_with(404, "error_404_group_not_found.json");
    let error = vendor.client().remove_members(&group(), &users(["a"])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    let gone = r#"{"error":"resource_not_found","error_description":"username a doesn't exist!"}"#;
    let out = r#"{"error":"forbidden_op","error_description":"users [a] are not members of this group!"}"#;
    let vendor = Vendor::start().await;
    vendor.answer(403, out).answer(404, gone).answer_with(200, "rest_group_remove_member_response.json");
    vendor.client().remove_members(&group(), &users(["a", "wei.chen"])).await.unwrap();
    let lines: Vec<_> = vendor.seen().into_iter().map(|seen| seen.line).collect();
    let line = |users: &str| format!("DELETE /acme-im/bridge/chatgroups/{GROUP}/users/{users}");
    assert_eq!(lines, [line("a,wei.chen"), line("a"), line("wei.chen")]);
}

#[tokio::test]
async fn members_are_read_to_the_page_that_says_nothing_new() {
    let vendor = Vendor::start().await;
    vendor
        .answer_with(200, "rest_group_members_response.json")
        .answer(200, r#"{"data":[{"admin":"zhao_l"}]}"#)
        .answer(200, r#"{"data":[]}"#);
    let members = vendor.client().members(&group()).await.unwrap();
    assert_eq!(members, users(["lin_qiao", "wei.chen", "zhao_l"]));
    let line = format!("GET /acme-im/bridge/chatgroups/{GROUP}/users?pagenum=2&pagesize=100");
    assert_eq!(vendor.seen()[1].line, line, "a short page is not the end");

    let vendor = Vendor::start().await;
    for _ in 0..2 {
        vendor.answer_with(200, "rest_group_members_response.json");
    }
    assert_eq!(vendor.client().members(&group()).await.unwrap().len(), 2, "a vendor that ignores the page number");
}

#[tokio::test]
async fn an_id_is_looked_up_as_a_group_then_as_a_room() {
    let vendor = Vendor::start().await;
    let client = vendor.client();
    vendor.answer_with(200, "rest_group_detail_response.json");
    assert_eq!(client.kind_of(&GROUP.into()).await.unwrap(), Some(ConversationKind::Group));
    vendor.answer_with(404, "error_404_group_not_found.json").answer(200, format!(r#"{{"data":[{{"id":"{ROOM}"}}]}}"#));
    assert_eq!(client.kind_of(&ROOM.into()).await.unwrap(), Some(ConversationKind::Room));
    for _ in 0..2 {
        vendor.answer_with(404, "error_404_group_not_found.json");
    }
    assert_eq!(client.kind_of(&"1".into()).await.unwrap(), None);
    let lines: Vec<_> = vendor.seen().into_iter().map(|seen| seen.line).collect();
    assert_eq!(
        lines[1..3],
        [format!("GET /acme-im/bridge/chatgroups/{ROOM}"), format!("GET /acme-im/bridge/chatrooms/{ROOM}")]
    );
    vendor.answer(502, "<html>").answer(502, "<html>").answer(502, "<html>").answer(502, "<html>");
    assert!(client.kind_of(&GROUP.into()).await.is_err(), "an outage is not an unknown id");
}

#[tokio::test]
async fn ending_a_group_twice_is_harmless() {
    let vendor = Vendor::start().await;
    vendor.answer(200, "{}").answer_with(404, "error_404_group_not_found.json");
    for _ in 0..2 {
        vendor.client().dissolve(&group(), &"lin_qiao".into()).await.unwrap();
    }
    assert_eq!(vendor.seen()[0].line, format!("DELETE /acme-im/bridge/chatgroups/{GROUP}"));
}
