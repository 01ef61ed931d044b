//! Hourly log files and queries.

use std::io::{Cursor, Read};

use serde_json::{Value, json};
use switchboard_emulators::{
    Faults,
    common::HistoryFaults,
    rongcloud::{ClientMessage, DataCentre, LogKeys, QueryOrder, Target},
};

use crate::support::{MOMENT, Vendor, fixture, json as json_fixture, text};

const HOUR: i64 = 3_600_000;
/// End of the hour 2026111910 in Beijing.
const HOUR_END: i64 = 1_795_057_200_000;

/// Plays the conversation of the documented log file and returns the recall command's own id.
async fn documented_conversation(vendor: &Vendor) -> String {
    vendor.ok("/group/create.json", "groupId=group_team&groupName=T&userId=user_alice&userId=user_bob").await;
    let user = |id: &str| vendor.emulator.user(id);
    let hello = r#"{"content":"hello bob","extra":"order-7"}"#;
    let message = ClientMessage::new(Target::User("user_bob".to_owned()), "RC:TxtMsg", hello);
    user("user_alice").send(message.with_uid("D1U6-B6SI-O124-3K1R")).await.unwrap();
    vendor.at(1_795_054_562_456);
    let message = ClientMessage::text(Target::Group("group_team".to_owned()), "on my way").with_os("Android");
    user("user_bob").send(message.with_uid("D1U6-BEP6-022C-67T7")).await.unwrap();
    vendor.at(1_795_054_725_900);
    user("user_carol").join_room("room_42").unwrap();
    let message = ClientMessage::text(Target::Room("room_42".to_owned()), "nice goal").with_os("Websocket");
    user("user_carol").send(message.with_uid("D1U6-CMM3-00IG-2BA3")).await.unwrap();
    vendor.at(1_795_054_756_030);
    user("user_alice").recall("D1U6-B6SI-O124-3K1R").unwrap().uid
}

fn entry(archive: &[u8]) -> (String, String) {
    let mut archive = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
    assert_eq!(archive.len(), 1);
    let mut file = archive.by_index(0).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    (file.name().unwrap().into_owned(), text)
}

async fn url(vendor: &Vendor, date: &str) -> String {
    let answer = vendor.ok("/message/history.json", &format!("date={date}")).await;
    assert_eq!(answer["date"], date);
    answer["url"].as_str().unwrap().to_owned()
}

/// Status and archive at a link.
async fn download(vendor: &Vendor, url: &str) -> (u16, Vec<u8>) {
    let response = vendor.http.get(url).send().await.unwrap();
    (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
}

async fn lines(vendor: &Vendor, date: &str) -> Vec<String> {
    let (status, archive) = download(vendor, &url(vendor, date).await).await;
    assert_eq!(status, 200);
    entry(&archive).1.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_file_equals_the_documented_one() {
    let vendor = Vendor::start().await;
    let command = documented_conversation(&vendor).await;
    vendor.at(HOUR_END + HOUR);
    let url = url(&vendor, "2026111910").await;
    assert!(std::path::Path::new(&url).extension().is_some_and(|extension| extension == "zip"), "{url}");
    let (status, archive) = download(&vendor, &url).await;
    assert_eq!(status, 200);
    let (name, content) = entry(&archive);
    let (documented_name, documented) = entry(&fixture("history_archive_2026111910.zip"));
    assert_eq!(name, documented_name);
    assert_eq!(content.replace(&command, "D1U6-CU1F-G3Q4-3K1R"), documented);
    assert_eq!(documented, text("history_log_2026-11-19-10.txt"));
    let mut lines = content.lines();
    assert_eq!(lines.next(), Some(text("history_line_raw.txt").trim_end()));
    let group: Value = serde_json::from_str(&lines.next().unwrap()[19..]).unwrap();
    assert_eq!(group, json_fixture("history_line_group.json"));
}

#[tokio::test]
async fn the_old_form_and_lines_without_prefix() {
    let vendor = Vendor::start().await;
    vendor.emulator.update_settings(|settings| settings.log.keys = LogKeys::Old);
    documented_conversation(&vendor).await;
    vendor.at(HOUR_END + HOUR);
    assert_eq!(lines(&vendor, "2026111910").await[0], text("history_line_raw_old_form.txt").trim_end());
    vendor.emulator.update_settings(|settings| {
        settings.log.keys = LogKeys::New;
        settings.log.prefix = false;
    });
    let line: Value = serde_json::from_str(&lines(&vendor, "2026111910").await[0]).unwrap();
    assert_eq!(line, json_fixture("history_line.json"));
}

#[tokio::test]
async fn files_come_late_live_three_days_and_can_be_deleted() {
    let vendor = Vendor::start().await;
    documented_conversation(&vendor).await;
    for too_early in [MOMENT + HOUR, HOUR_END + HOUR - 1] {
        vendor.at(too_early);
        assert_eq!(url(&vendor, "2026111910").await, "");
    }
    vendor.at(HOUR_END + HOUR);
    let link = url(&vendor, "2026111910").await;
    assert_eq!(url(&vendor, "2026111910").await, link);
    assert_eq!(url(&vendor, "2026111909").await, "", "an hour without messages");
    vendor.ok("/message/history/delete.json", "date=2026111910").await;
    assert_eq!(download(&vendor, &link).await.0, 200, "not gone yet");
    vendor.at(HOUR_END + HOUR + 600_000);
    assert_eq!(url(&vendor, "2026111910").await, "");
    assert_eq!(download(&vendor, &link).await.0, 404);
    assert_eq!(vendor.refused("/message/history.json", "date=20261119").await, (400, 1002));

    let expiring = Vendor::start().await;
    documented_conversation(&expiring).await;
    expiring.at(HOUR_END + 72 * HOUR - 1);
    let link = url(&expiring, "2026111910").await;
    assert_eq!(download(&expiring, &link).await.0, 200);
    expiring.at(HOUR_END + 72 * HOUR);
    assert_eq!(download(&expiring, &link).await.0, 404);
    assert_eq!(download(&expiring, &link.replace("2026111910", "2026111911")).await.0, 404);
}

#[tokio::test]
async fn files_grow_go_missing_and_come_later_on_demand() {
    let vendor = Vendor::start().await;
    documented_conversation(&vendor).await;
    let history = |history: HistoryFaults| vendor.emulator.set_faults(Faults { history, ..Faults::default() });
    history(HistoryFaults { file_delay_ms: Some(1000), file_grows: true, ..HistoryFaults::default() });
    vendor.at(HOUR_END + 1000);
    assert_eq!(lines(&vendor, "2026111910").await.len(), 2, "half of it");
    vendor.at(HOUR_END + 1000 + 600_000);
    assert_eq!(lines(&vendor, "2026111910").await.len(), 4);
    history(HistoryFaults { file_missing_hours: vec!["2026111910".to_owned()], ..HistoryFaults::default() });
    vendor.at(HOUR_END + 10 * HOUR);
    assert_eq!(url(&vendor, "2026111910").await, "");
}

#[tokio::test]
async fn overseas_hours_and_times_are_utc() {
    let vendor = Vendor::start().await;
    vendor.emulator.update_settings(|settings| settings.data_centre = DataCentre::Overseas);
    documented_conversation(&vendor).await;
    vendor.at(HOUR_END + HOUR);
    assert_eq!(url(&vendor, "2026111910").await, "");
    let (_, archive) = download(&vendor, &url(&vendor, "2026111902").await).await;
    let (name, content) = entry(&archive);
    assert_eq!(name, "2026-11-19-02");
    assert!(content.starts_with("2026/11/19 02:15:30{"));
    assert!(content.contains(r#""dateTime":"2026-11-19 02:15:30.123""#));
}

#[tokio::test]
async fn what_the_log_holds() {
    let vendor = Vendor::start().await;
    vendor.emulator.update_settings(|settings| settings.log.delay_ms = 0);
    vendor
        .ok("/message/private/publish.json", "fromUserId=a&toUserId=b&toUserId=c&objectName=RC:TxtMsg&content={}")
        .await;
    vendor.ok("/statusmessage/private/publish.json", "fromUserId=a&toUserId=b&objectName=RC:TxtMsg&content={}").await;
    vendor.ok("/message/broadcast.json", "fromUserId=a&objectName=RC:TxtMsg&content={}").await;
    let multi_line = "{\n\"content\": \"two\\nlines\"\n}";
    vendor
        .emulator
        .user("a")
        .send(ClientMessage::new(Target::User("b".to_owned()), "RC:TxtMsg", multi_line))
        .await
        .unwrap();
    vendor
        .emulator
        .user("a")
        .send(ClientMessage::new(Target::User("b".to_owned()), "APP:Raw", "no json"))
        .await
        .unwrap();
    vendor.ok("/sensitiveword/add.json", "word=bomb").await;
    let blocked = ClientMessage::text(Target::User("b".to_owned()), "bomb");
    vendor.emulator.user("a").send(blocked).await.unwrap_err();
    vendor.at(HOUR_END);
    let lines: Vec<Value> =
        lines(&vendor, "2026111910").await.iter().map(|line| serde_json::from_str(&line[19..]).unwrap()).collect();
    assert_eq!(lines.len(), 5, "two recipients and three client messages; no status message, no broadcast");
    assert_eq!(lines[0]["source"], "Server");
    assert_eq!(lines[2]["content"]["content"], "two\nlines");
    assert_eq!(lines[3]["content"], "no json");
    assert_eq!(lines[4]["isSensitiveWord"], "true");
}

fn query(user: &str, target: &str, start: i64, end: i64) -> Value {
    json!({ "userId": user, "targetId": target, "startTime": start, "endTime": end, "includeStart": true, "pageSize": 100 })
}

fn texts(answer: &Value) -> Vec<String> {
    let items = answer["data"].as_array().unwrap();
    items
        .iter()
        .map(|item| {
            let content: Value = serde_json::from_str(item["content"].as_str().unwrap()).unwrap();
            content["content"].as_str().unwrap().to_owned()
        })
        .collect()
}

const PRIVATE: &str = "/v3/message/private/query.json";

#[tokio::test]
async fn a_query_equals_the_documented_answer() {
    let vendor = Vendor::start().await;
    let alice = vendor.emulator.user("user_alice");
    let to_bob = || Target::User("user_bob".to_owned());
    let hello = r#"{"content":"hello bob","extra":"order-7"}"#;
    let first = ClientMessage::new(to_bob(), "RC:TxtMsg", hello).with_expansion(&[("state", "new")]);
    alice.send(first.with_uid("D1U6-B6SI-O124-3K1R")).await.unwrap();
    vendor.at(1_795_054_752_030);
    alice.send(ClientMessage::text(to_bob(), "see you").with_uid("D1U6-CT27-G3O4-3K1R")).await.unwrap();
    for request in ["history_private_query_request.json", "history_private_query_request_string_values.json"] {
        let answer = vendor.ok_json(PRIVATE, &json_fixture(request)).await;
        assert_eq!(answer, json_fixture("history_private_query_response.json"), "{request}");
    }
}

#[tokio::test]
async fn paging_orders_and_spans() {
    let vendor = Vendor::start().await;
    for number in 0..25 {
        vendor.at(MOMENT + number * 10);
        let (from, to) = if number % 2 == 0 { ("a", "b") } else { ("b", "a") };
        let message = ClientMessage::text(Target::User(to.to_owned()), &number.to_string());
        vendor.emulator.user(from).send(message).await.unwrap();
    }
    let mut request = query("a", "b", MOMENT, MOMENT + 10_000);
    request.as_object_mut().unwrap().remove("pageSize");
    let newest = texts(&vendor.ok_json(PRIVATE, &request).await);
    let expected: Vec<String> = (15..25).rev().map(|number| number.to_string()).collect();
    assert_eq!(newest, expected, "ten by default, newest first");

    vendor.emulator.update_settings(|settings| settings.query.order = QueryOrder::Ascending);
    request["pageSize"] = 7.into();
    let mut seen = Vec::new();
    loop {
        let answer = vendor.ok_json(PRIVATE, &request).await;
        let Some(last) = answer["data"].as_array().unwrap().last() else { break };
        request["startTime"] = last["msgTime"].clone();
        request["includeStart"] = false.into();
        seen.extend(texts(&answer));
    }
    assert_eq!(seen, (0..25).map(|number| number.to_string()).collect::<Vec<_>>());

    assert_eq!(texts(&vendor.ok_json(PRIVATE, &query("a", "b", MOMENT + 10, MOMENT + 20)).await), ["1", "2"]);
    vendor.emulator.update_settings(|settings| settings.query.end_exclusive = true);
    assert_eq!(texts(&vendor.ok_json(PRIVATE, &query("a", "b", MOMENT + 10, MOMENT + 20)).await), ["1"]);
    let long = query("a", "b", MOMENT - 14 * 24 * HOUR - 1, MOMENT);
    assert_eq!(vendor.json(PRIVATE, &long).await.0, 400, "longer than 14 days");
    let mut large = query("a", "b", MOMENT, MOMENT + 1);
    large["pageSize"] = 101.into();
    assert_eq!(vendor.json(PRIVATE, &large).await.0, 400);
}

#[tokio::test]
async fn a_query_shows_one_users_view() {
    let vendor = Vendor::start().await;
    let publish =
        |extra: &str| format!("fromUserId=a&toUserId=b&objectName=RC:TxtMsg&content={{\"content\":\"{extra}\"}}");
    vendor.ok("/message/private/publish.json", &publish("plain")).await;
    vendor.ok("/message/private/publish.json", &(publish("copied") + "&isIncludeSender=1")).await;
    vendor.ok("/message/private/publish.json", &(publish("unstored") + "&isPersisted=0")).await;
    vendor
        .ok("/message/private/publish.json", "fromUserId=a&toUserId=b&objectName=RC:CmdMsg&content={\"content\":\"x\"}")
        .await;
    let view = |user: &str, peer: &str| query(user, peer, MOMENT, MOMENT + HOUR);
    assert_eq!(texts(&vendor.ok_json(PRIVATE, &view("b", "a")).await), ["copied", "plain"]);
    assert_eq!(texts(&vendor.ok_json(PRIVATE, &view("a", "b")).await), ["copied"]);
    assert_eq!(texts(&vendor.ok_json(PRIVATE, &view("c", "b")).await), Vec::<String>::new());

    let clean = format!("conversationType=1&fromUserId=b&targetId=a&msgTimestamp={MOMENT}");
    vendor.ok("/conversation/message/history/clean.json", &clean).await;
    assert!(texts(&vendor.ok_json(PRIVATE, &view("b", "a")).await).is_empty());
    assert_eq!(texts(&vendor.ok_json(PRIVATE, &view("a", "b")).await), ["copied"], "the other side stays");

    let sent = vendor.emulator.user("a").send(ClientMessage::text(Target::User("b".to_owned()), "gone")).await.unwrap();
    vendor.emulator.user("a").recall(&sent.uid).unwrap();
    assert_eq!(texts(&vendor.ok_json(PRIVATE, &view("a", "b")).await), ["copied"]);
    vendor.emulator.update_settings(|settings| settings.query.recalled = true);
    assert_eq!(texts(&vendor.ok_json(PRIVATE, &view("a", "b")).await), ["gone", "copied"]);
}

#[tokio::test]
async fn group_views_need_membership() {
    let vendor = Vendor::start().await;
    vendor.ok("/group/create.json", "groupId=g&groupName=G&userId=a&userId=b").await;
    vendor.emulator.user("a").send(ClientMessage::text(Target::Group("g".to_owned()), "hi")).await.unwrap();
    let path = "/v3/message/group/query.json";
    let view = |user: &str| query(user, "g", MOMENT, MOMENT + HOUR);
    assert_eq!(texts(&vendor.ok_json(path, &view("b")).await), ["hi"]);
    assert_eq!(vendor.json(path, &view("stranger")).await.0, 400);
    vendor.emulator.update_settings(|settings| settings.query.member_only = false);
    assert_eq!(texts(&vendor.ok_json(path, &view("stranger")).await), ["hi"]);
    vendor.at(MOMENT + 184 * 24 * HOUR);
    assert!(texts(&vendor.ok_json(path, &view("b")).await).is_empty(), "kept six months");
}

#[tokio::test]
async fn ultra_groups_by_time_and_around_a_message() {
    let vendor = Vendor::start().await;
    vendor.ok("/ultragroup/create.json", "groupId=ug&groupName=U&userId=a").await;
    let mut uids = Vec::new();
    for number in 0..5 {
        vendor.at(MOMENT + number);
        let target = Target::UltraGroup { group: "ug".to_owned(), channel: "ch".to_owned() };
        let message = ClientMessage::text(target, &number.to_string());
        uids.push(vendor.emulator.user("a").send(message).await.unwrap().uid);
    }
    let span = format!("groupId=ug&busChannel=ch&startTime={MOMENT}&endTime={}", MOMENT + 10);
    let answer = vendor.ok("/ultragroup/hismsg/query.json", &format!("{span}&pageSize=3")).await;
    assert_eq!(texts(&answer), ["4", "3", "2"]);
    let around = format!("groupId=ug&busChannel=ch&msgUID={}&prevNum=1&lastNum=2", uids[2]);
    assert_eq!(texts(&vendor.ok("/ultragroup/hismsg/msgid/query.json", &around).await), ["1", "2", "3", "4"]);
    let mut request = query("a", "ug", MOMENT, MOMENT + 10);
    request["busChannel"] = "ch".into();
    let answer = vendor.ok_json("/v3/message/ultragroup/query.json", &request).await;
    assert_eq!(answer["data"][0]["busChannel"], "ch");
    request["busChannel"] = "other".into();
    assert!(texts(&vendor.ok_json("/v3/message/ultragroup/query.json", &request).await).is_empty());
}
