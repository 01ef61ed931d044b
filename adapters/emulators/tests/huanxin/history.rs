//! Hourly files and the roaming query.

use std::io::Read;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use reqwest::Method;
use serde_json::{Value, json};
use switchboard_emulators::common::{Faults, HistoryFaults};
use switchboard_emulators::huanxin::{EmptyHour, HuanxinSettings, Outgoing, Target, Zone};

use super::support::{NOW, World, builder, fixture, fixture_text, same_shape, same_values, sample, text_to};

const HOUR: u64 = 3_600;

async fn world(zone: Zone) -> World {
    let mut settings = HuanxinSettings::default();
    settings.history.zone = zone;
    settings.quotas.enabled = false;
    World::with(builder().settings(settings)).await
}

/// The named hour's address; none when refused.
async fn address(world: &World, hour: &str) -> Result<String, u16> {
    let (status, reply) = world.get(&format!("/chatmessages/{hour}")).await;
    if status != 200 {
        return Err(status);
    }
    same_shape(&fixture("rest_history_file_response.json"), &reply, "history");
    let url = reply["data"][0]["url"].as_str().unwrap();
    assert!(url.contains("Expires=") && url.contains("OSSAccessKeyId=") && url.contains("Signature="));
    Ok(url.to_owned())
}

async fn lines(world: &World, url: &str) -> Vec<Value> {
    let response = world.client.get(url).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let bytes = response.bytes().await.unwrap();
    assert_eq!(bytes[..2], [0x1f, 0x8b], "gzip by its magic bytes");
    let mut text = String::new();
    GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn texts(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["payload"]["bodies"][0]["msg"].as_str().unwrap()).collect()
}

/// Replays the sample file's messages through clients and REST and expects the same lines back.
#[tokio::test]
async fn a_file_holds_every_body_type_as_the_sample_does() {
    let world = world(Zone::Beijing).await;
    let samples: Vec<Value> =
        fixture_text("history_file_sample.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let hour = world.vendor.history_hour(NOW);
    for line in &samples {
        let mut body = line["payload"]["bodies"][0].clone();
        if body["type"] == "custom" {
            body["customExts"] = body["v2:customExts"].clone();
            body.as_object_mut().unwrap().remove("v2:customExts");
        }
        let to = line["to"].as_str().unwrap().to_owned();
        let to = match line["chat_type"].as_str().unwrap() {
            "chat" => Target::User(to),
            "groupchat" => Target::Group(world.group.clone()),
            _ => Target::Room(world.room.clone()),
        };
        let message = Outgoing { body, ext: line["payload"]["ext"].clone(), ..Outgoing::text(to, "") };
        world.vendor.user(line["from"].as_str().unwrap()).send(message).await.unwrap();
    }
    world.vendor.time().advance(Duration::from_secs(3 * HOUR));
    world.vendor.change_settings(|settings| settings.tokens.default_ttl_s = 1);
    let url = address(&world, &hour).await.unwrap();
    let stored = lines(&world, &url).await;
    assert_eq!(stored.len(), samples.len());
    for (stored, sample) in stored.iter().zip(&samples) {
        let mut expected = sample.clone();
        for key in ["msg_id", "timestamp"] {
            expected[key] = stored[key].clone();
        }
        for place in [&mut expected["to"], &mut stored.clone()["to"]] {
            assert!(place.is_string());
        }
        expected["to"] = stored["to"].clone();
        expected["payload"]["to"] = stored["payload"]["to"].clone();
        assert_eq!(stored, &expected);
    }
    same_shape(&fixture("history_file_line_txt.json"), &stored[0], "line");
}

#[tokio::test]
async fn hours_follow_the_clusters_zone() {
    for (zone, hour) in [(Zone::Beijing, "2026112102"), (Zone::Utc, "2026112018")] {
        let world = world(zone).await;
        assert_eq!(world.vendor.history_hour(NOW), hour);
        world.post("/messages/users", text_to("wei.chen", "x")).await;
        world.vendor.time().advance(Duration::from_secs(2 * HOUR));
        let url = address(&world, hour).await.unwrap();
        assert_eq!(texts(&lines(&world, &url).await), ["x"]);
    }
}

#[tokio::test]
async fn a_file_appears_after_its_delay_and_goes_after_three_days() {
    let world = world(Zone::Utc).await;
    world.post("/messages/users", text_to("wei.chen", "x")).await;
    let hour = world.vendor.history_hour(NOW);
    let end = 20 * 60;
    assert_eq!(address(&world, &hour).await, Err(400));
    world.vendor.time().advance(Duration::from_secs(end + HOUR - 1));
    assert_eq!(address(&world, &hour).await, Err(400), "not yet stored");
    world.vendor.time().advance(Duration::from_secs(1));
    assert!(address(&world, &hour).await.is_ok());
    let delay = HistoryFaults { file_delay_ms: Some(5 * 3_600_000), ..HistoryFaults::default() };
    world.vendor.set_faults(Faults { history: delay, ..Faults::default() });
    assert_eq!(address(&world, &hour).await, Err(400));
    let missing = HistoryFaults { file_missing_hours: vec![hour.clone()], ..HistoryFaults::default() };
    world.vendor.set_faults(Faults { history: missing, ..Faults::default() });
    assert_eq!(address(&world, &hour).await, Err(404));
    world.vendor.set_faults(Faults::default());
    world.vendor.time().advance(Duration::from_secs(72 * HOUR));
    let token = world.fresh_token().await;
    let path = format!("/chatmessages/{hour}");
    assert_eq!(world.send(Method::GET, &path, None, Some(&token)).await.0, 400);
}

#[tokio::test]
async fn an_address_expires_and_cannot_be_forged() {
    let world = world(Zone::Utc).await;
    world.post("/messages/users", text_to("wei.chen", "x")).await;
    let hour = world.vendor.history_hour(NOW);
    world.vendor.time().advance(Duration::from_secs(2 * HOUR));
    let url = address(&world, &hour).await.unwrap();
    let status = |url: String| async { world.client.get(url).send().await.unwrap().status().as_u16() };
    assert_eq!(status(url.replace("Expires=", "Expires=9")).await, 403);
    assert_eq!(status(url.split('?').next().unwrap().to_owned()).await, 403);
    world.vendor.time().advance(Duration::from_secs(1_800));
    assert_eq!(status(url.clone()).await, 200);
    world.vendor.time().advance(Duration::from_secs(1));
    assert_eq!(status(url).await, 403);
    assert!(address(&world, &hour).await.is_ok(), "asking again gives a new address");
}

#[tokio::test]
async fn a_growing_file_is_first_half_there() {
    let world = world(Zone::Utc).await;
    for text in ["a", "b", "c", "d"] {
        world.post("/messages/users", text_to("wei.chen", text)).await;
    }
    let grows = HistoryFaults { file_grows: true, ..HistoryFaults::default() };
    world.vendor.set_faults(Faults { history: grows, ..Faults::default() });
    let hour = world.vendor.history_hour(NOW);
    world.vendor.time().advance(Duration::from_secs(2 * HOUR));
    let url = address(&world, &hour).await.unwrap();
    assert_eq!(texts(&lines(&world, &url).await), ["a", "b"]);
    world.vendor.time().advance(Duration::from_secs(HOUR));
    let url = address(&world, &hour).await.unwrap();
    assert_eq!(texts(&lines(&world, &url).await), ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_recall_before_publication_removes_the_line_and_later_only_by_setting() {
    let world = world(Zone::Utc).await;
    let mut ids = Vec::new();
    for text in ["early", "late", "kept"] {
        let sent = world.post("/messages/users", text_to("wei.chen", text)).await.1;
        ids.push(sent["data"]["wei.chen"].clone());
    }
    let recall = |id: Value| {
        let body = json!({ "msg_id": id, "to": "wei.chen", "chat_type": "chat", "force": true });
        world.post("/messages/msg_recall", body)
    };
    assert_eq!(recall(ids[0].clone()).await.0, 200);
    let hour = world.vendor.history_hour(NOW);
    world.vendor.time().advance(Duration::from_secs(3 * HOUR));
    assert_eq!(recall(ids[1].clone()).await.0, 200);
    let path = format!("/messages/rewrite/{}", ids[2].as_str().unwrap());
    let edit = json!({ "new_msg": { "type": "txt", "msg": "edited" } });
    assert_eq!(world.call(Method::PUT, &path, Some(edit)).await.0, 200);
    let url = address(&world, &hour).await.unwrap();
    assert_eq!(texts(&lines(&world, &url).await), ["late", "kept"]);
    world.vendor.change_settings(|settings| settings.history.rewrites = true);
    assert_eq!(texts(&lines(&world, &url).await), ["edited"]);
}

#[tokio::test]
async fn settings_choose_what_an_hour_shows() {
    let world = world(Zone::Utc).await;
    world.vendor.change_settings(|settings| {
        settings.history.files_per_hour = 2;
        settings.history.content_encoding = true;
        settings.history.empty_hour = EmptyHour::EmptyFile;
    });
    for text in ["a", "b", "c"] {
        world.post("/messages/users", text_to("wei.chen", text)).await;
    }
    world.post_fixture("/messages/users", "rest_send_message_online_only_request.json").await;
    let hour = world.vendor.history_hour(NOW);
    world.vendor.time().advance(Duration::from_secs(2 * HOUR));
    let (_, reply) = world.get(&format!("/chatmessages/{hour}")).await;
    let urls: Vec<&str> = reply["data"].as_array().unwrap().iter().map(|file| file["url"].as_str().unwrap()).collect();
    assert_eq!(urls.len(), 2);
    let response = world.client.get(urls[0]).send().await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let (first, second) = (lines(&world, urls[0]).await, lines(&world, urls[1]).await);
    assert_eq!((texts(&first), texts(&second)), (vec!["a", "c"], vec!["b"]));
    let empty = world.vendor.history_hour(NOW - 5 * 3_600_000);
    let url = address(&world, &empty).await.unwrap();
    assert!(lines(&world, &url).await.is_empty());
}

async fn page(world: &World, body: Value) -> (Vec<String>, Option<String>) {
    let path = if body.get("groupId").is_some() { "/v6/roaming/group" } else { "/v6/roaming/chat" };
    let (status, reply) = world.post(path, body).await;
    assert_eq!(status, 200, "{reply}");
    let messages = reply["data"]["messages"].as_array().unwrap();
    let texts = texts(messages).into_iter().map(str::to_owned).collect();
    (texts, reply["data"]["pagination"]["cursor"].as_str().map(str::to_owned))
}

#[tokio::test]
async fn roaming_pages_both_ways_to_the_end() {
    let world = world(Zone::Utc).await;
    for n in 0..5 {
        let (from, to) = if n % 2 == 0 { ("lin_qiao", "wei.chen") } else { ("wei.chen", "lin_qiao") };
        world.vendor.user(from).send_text(Target::User(to.into()), &n.to_string()).await.unwrap();
    }
    for (order, expected) in [("down", "4 3|2 1|0"), ("up", "0 1|2 3|4")] {
        let mut pages = Vec::new();
        let mut cursor = String::new();
        loop {
            let body =
                json!({ "username": "lin_qiao", "to": "wei.chen", "limit": 2, "order": order, "cursor": cursor });
            let (texts, next) = page(&world, body).await;
            pages.push(texts.join(" "));
            let Some(next) = next else { break };
            cursor = next;
        }
        assert_eq!(pages.join("|"), expected);
    }
    let body = json!({ "username": "lin_qiao", "to": "wei.chen", "limit": 2, "cursor": "garbage" });
    assert_eq!(world.post("/v6/roaming/chat", body).await.0, 400);
}

#[tokio::test]
pub(crate) async fn roaming_shows_what_its_user_may_see() {
    let world = world(Zone::Utc).await;
    let group = world.group.clone();
    let lin = world.vendor.user("lin_qiao");
    lin.send_text(Target::Group(group.clone()), "all").await.unwrap();
    let targeted =
        Outgoing { users: Some(vec!["nobody".into()]), ..Outgoing::text(Target::Group(group.clone()), "few") };
    lin.send(targeted).await.unwrap();
    let view = |user: &str| json!({ "username": user, "groupId": group, "limit": 10, "order": "up" });
    assert_eq!(page(&world, view("wei.chen")).await.0, ["all"]);
    assert_eq!(page(&world, view("lin_qiao")).await.0, ["all", "few"]);
    assert_eq!(page(&world, view("zhao_l")).await.0, [""; 0], "not a member");
    let first = lin.send_text(Target::User("wei.chen".into()), "one").await.unwrap();
    lin.send_text(Target::User("wei.chen".into()), "two").await.unwrap();
    let path = format!("/rest/message/roaming/chat/user/lin_qiao?userId=wei.chen&msgIdList={first}&isNotify=true");
    let (_, reply) = world.call(Method::DELETE, &path, None).await;
    let name = "rest_roaming_delete_response.json";
    same_values(name, &fixture(name), &reply);
    let view = |user: &str, peer: &str| json!({ "username": user, "to": peer, "limit": 10, "order": "up" });
    assert_eq!(page(&world, view("lin_qiao", "wei.chen")).await.0, ["two"]);
    assert_eq!(page(&world, view("wei.chen", "lin_qiao")).await.0, ["one", "two"], "one-way");
    world.vendor.time().advance(Duration::from_secs(8 * 24 * HOUR));
    let token = world.fresh_token().await;
    let late = world.send(Method::POST, "/v6/roaming/chat", Some(view("wei.chen", "lin_qiao")), Some(&token)).await;
    assert_eq!(late.1["data"]["messages"], json!([]), "beyond the plan's retention");
    world.vendor.change_settings(|settings| settings.history.roaming.deployed = false);
    let gone = world.send(Method::POST, "/v6/roaming/chat", Some(view("lin_qiao", "wei.chen")), Some(&token)).await;
    assert_eq!(gone.0, 404);
}

/// The protobuf of a roaming message, and its id; the id comes first.
fn decoded(message: &Value) -> (u64, Vec<u8>) {
    let bytes = STANDARD.decode(message["msg"].as_str().unwrap()).unwrap();
    assert_eq!(bytes[0], 8, "field 1, a number");
    let end = 1 + bytes[1..].iter().position(|byte| byte & 0x80 == 0).unwrap();
    let id = bytes[1..=end].iter().rev().fold(0, |id, byte| id << 7 | u64::from(byte & 0x7f));
    (id, bytes[end + 1..].to_vec())
}

#[tokio::test]
pub(crate) async fn clients_roam_with_their_own_token() {
    let mut settings = HuanxinSettings::default();
    settings.quotas.enabled = false;
    // When the sample's message was sent.
    let mut world = World::by(1_795_140_000_101, builder().settings(settings)).await;
    let wei = world.vendor.user("wei.chen");
    let sent = wei.send_text(Target::User("lin_qiao".into()), "roamed line").await.unwrap();
    world.at(NOW).await;
    let (_, reply) = world.bare(Method::POST, "/token", Some(fixture("token_user_password_request.json"))).await;
    let token = reply["access_token"].as_str().unwrap();
    let request = || fixture("client_web_messageroaming_request.json");
    let path = "/users/lin_qiao/messageroaming";
    let roam = async |body: Value| {
        let (status, reply) = world.send(Method::POST, path, Some(body), Some(token)).await;
        assert_eq!(status, 200, "{reply}");
        reply
    };
    let reply = roam(request()).await;
    let name = "client_web_messageroaming_response.json";
    let (mut expected, mut actual) = (sample(name, &world.ids()), reply.clone());
    let (id, shown) = decoded(&actual["data"]["msgs"][0]);
    let (_, sampled) = decoded(&expected["data"]["msgs"][0]);
    assert_eq!((id.to_string(), shown), (sent, sampled));
    for reply in [&mut expected, &mut actual] {
        reply["data"].as_object_mut().unwrap().remove("msgs");
    }
    same_values(name, &expected, &actual);
    assert_eq!((&reply["data"]["is_last"], reply["data"]["msgs"].as_array().unwrap().len()), (&json!(true), 1));

    for n in 0..20 {
        wei.send_text(Target::User("lin_qiao".into()), &format!("later {n:02}")).await.unwrap();
    }
    let reply = roam(request()).await;
    let msgs = reply["data"]["msgs"].as_array().unwrap();
    assert_eq!((&reply["data"]["is_last"], msgs.len()), (&json!(false), 20));
    assert!(decoded(&msgs[0]).1.ends_with(b"later 19"), "the newest first");
    let mut next = request();
    next["start"] = reply["data"]["next_key"].clone();
    let reply = roam(next).await;
    assert_eq!((&reply["data"]["is_last"], decoded(&reply["data"]["msgs"][0]).0), (&json!(true), id));
    let others = world.send(Method::POST, "/users/wei.chen/messageroaming", Some(request()), Some(token)).await;
    assert_eq!(others.0, 401, "a user reads his own view only");
}
