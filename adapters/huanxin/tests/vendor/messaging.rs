//! Sends and recalls compared with the published requests, and their answers read.

use serde_json::{Value, json};
use switchboard_contract::{
    Body, Command, Custom, ErrorKind, Location, Media, Messaging, OutboundMessage, RecallRequest, Retry, SendOptions,
    Target, Thumbnail, Timestamp, VendorUserId,
};

use crate::errors::text_to;
use crate::support::{JumpClock, NOW, Vendor, config, json_fixture};

const UPLOAD: &str = "https://rest.example.test/acme-im/bridge/chatfiles/6c2f5f40-5d1c-4b7e-9a53-0b1e2d3c4f55";
const SMALL: &str = "https://rest.example.test/acme-im/bridge/chatfiles/71a0c3de-2b44-4a55-8c11-9d0e8f7a6b21";
const GROUP: &str = "281474976710657";
const ROOM: &str = "281474976799001";

fn both(body: Body) -> OutboundMessage {
    let target = Target::Users(vec!["lin_qiao".into(), "wei.chen".into()]);
    OutboundMessage { target, body, ..text_to("lin_qiao") }
}

fn group(audience: Vec<VendorUserId>, body: Body) -> OutboundMessage {
    OutboundMessage { target: Target::Group { group: GROUP.into(), channel: None, audience }, ..both(body) }
}

fn ext(value: Value) -> switchboard_contract::Ext {
    value.as_object().unwrap().clone()
}

async fn sent(message: &OutboundMessage, settings: &str) -> (String, Value) {
    let vendor = Vendor::start().await;
    vendor.answer(200, r#"{"data":{}}"#);
    let client = config(&vendor.url, settings).build(JumpClock::new()).unwrap();
    client.check(message).unwrap();
    client.send(message).await.unwrap();
    let seen = vendor.seen().remove(0);
    (seen.line.clone(), seen.json())
}

fn media(name: &str, secret: &str) -> Media {
    Media { url: Some(UPLOAD.into()), name: Some(name.into()), secret: Some(secret.into()), ..Media::default() }
}

#[tokio::test]
async fn every_body_is_sent_as_published() {
    let thumbnail =
        Thumbnail { url: Some(SMALL.into()), secret: Some("fxSecretThumb01".into()), ..Thumbnail::default() };
    let clip = media("clip.mp4", "fxSecretVid01");
    let film = Media { duration: Some(12), size: Some(482_113), thumbnail: Some(thumbnail), ..clip };
    let photo = Media { width: Some(1080), height: Some(720), ..media("box.jpg", "fxSecretImg01") };
    let note = Media { duration: Some(7), ..media("note.amr", "fxSecretAud01") };
    let place =
        Location { latitude: 31.2304, longitude: 121.4737, address: Some("No. 1 Fixture Road".into()), map: None };
    let order = Custom { name: "order_card".into(), data: json!({"order_id": "7781", "state": "shipped"}) };
    for (file, body) in [
        ("rest_send_message_img_request.json", Body::Image(photo)),
        ("rest_send_message_audio_request.json", Body::Audio(note)),
        ("rest_send_message_video_request.json", Body::Video(film)),
        ("rest_send_message_file_request.json", Body::File(media("invoice.pdf", "fxSecretFil01"))),
        ("rest_send_message_loc_request.json", Body::Location(place)),
        (
            "rest_send_message_cmd_request.json",
            Body::Command(Command { name: "refresh-order".into(), ..Command::default() }),
        ),
        ("rest_send_message_custom_request.json", Body::Custom(order)),
    ] {
        let (line, request) = sent(&both(body), "").await;
        assert_eq!((line.as_str(), request), ("POST /acme-im/bridge/messages/users", json_fixture(file)), "{file}");
    }
}

#[tokio::test]
async fn text_to_users_is_sent_and_answered_as_published() {
    let message = OutboundMessage {
        ext: ext(json!({"trace_id": "tr-0001", "em_ignore_notification": false})),
        options: SendOptions { sync_to_sender: true, ..SendOptions::default() },
        ..both(Body::text("order 7781 has shipped"))
    };
    let vendor = Vendor::start().await;
    vendor.answer_with(200, "rest_send_message_response.json");
    let mut entries = vendor.client().send(&message).await.unwrap();
    assert_eq!(vendor.seen()[0].json(), json_fixture("rest_send_message_request.json"));
    entries.sort_by(|one, other| one.id.cmp(&other.id));
    let told: Vec<_> =
        entries.iter().map(|sent| (sent.user.as_ref().unwrap().as_str(), sent.id.as_ref().unwrap().as_str())).collect();
    assert_eq!(told, [("lin_qiao", "1502300411223344556"), ("wei.chen", "1502300411223344557")]);
}

#[tokio::test]
async fn groups_and_rooms_are_reached_as_published() {
    let asked = OutboundMessage {
        ext: ext(json!({"trace_id": "tr-0002"})),
        options: SendOptions { read_receipt: true, ..SendOptions::default() },
        ..group(Vec::new(), Body::text("stand-up in 5 minutes"))
    };
    let (line, request) = sent(&asked, "").await;
    assert_eq!(line, "POST /acme-im/bridge/messages/chatgroups");
    assert_eq!(request, json_fixture("rest_send_group_message_request.json"));

    let (line, request) = sent(&group(vec!["lin_qiao".into()], Body::text("only for you")), "").await;
    assert_eq!(line, "POST /acme-im/bridge/messages/chatgroups/users");
    assert_eq!(request, json_fixture("rest_send_group_targeted_message_request.json"));

    let gift = Body::Custom(Custom { name: "gift_1".into(), data: json!({"count": "3"}) });
    let room = OutboundMessage { target: Target::Room { room: ROOM.into() }, ..both(gift) };
    let (line, request) = sent(&room, "sending.room_level = 'low'").await;
    assert_eq!(line, "POST /acme-im/bridge/messages/chatrooms");
    assert_eq!(request, json_fixture("rest_send_chatroom_message_request.json"));

    for (message, file, id) in [
        (&asked, "rest_send_group_message_response.json", "1502300411223345001"),
        (&room, "rest_send_chatroom_message_response.json", "1502300411223346001"),
    ] {
        let vendor = Vendor::start().await;
        vendor.answer_with(200, file);
        let entries = vendor.client().send(message).await.unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].user.as_ref(), entries[0].id.as_ref().unwrap().as_str()), (None, id), "{file}");
    }
}

#[tokio::test]
async fn only_for_those_online_is_sent_as_published_without_the_field_the_contract_has_no_place_for() {
    let message = OutboundMessage {
        options: SendOptions { online_only: true, ..SendOptions::default() },
        ..both(Body::text("typing hint"))
    };
    let (_, request) = sent(&message, "sending.env = 'test'").await;
    let mut expected = json_fixture("rest_send_message_online_only_request.json");
    let removed = expected.as_object_mut().unwrap().remove("roam_ignore_users");
    assert_eq!(removed, Some(json!(["wei.chen"])));
    assert_eq!(request, expected);
}

#[tokio::test]
async fn mark_mentions_and_silence_travel_in_ext() {
    let message = OutboundMessage {
        mark: Some("m-1".into()),
        mentions: vec!["wei.chen".into()],
        options: SendOptions { silent: true, ..SendOptions::default() },
        ..group(Vec::new(), Body::text("x"))
    };
    let (_, request) = sent(&message, "").await;
    assert_eq!(request["ext"], json!({"sb": "m-1", "em_at_list": ["wei.chen"], "em_ignore_notification": true}));
    let everyone = OutboundMessage { mentions: Vec::new(), mentions_everyone: true, ..message };
    assert_eq!(sent(&everyone, "sending.mention_key = 'at'").await.1["ext"]["at"], "ALL");
}

#[tokio::test]
async fn what_the_vendor_cannot_honour_is_refused_before_anything_is_sent() {
    let vendor = Vendor::start().await;
    let client = vendor.client();
    let with = |options: SendOptions, target: Target| OutboundMessage { options, target, ..text_to("a") };
    let room = || Target::Room { room: ROOM.into() };
    let push = SendOptions { push_text: Some("x".into()), ..SendOptions::default() };
    let online = SendOptions { online_only: true, ..SendOptions::default() };
    let receipt = SendOptions { read_receipt: true, ..SendOptions::default() };
    let channel = Target::Group { group: GROUP.into(), channel: Some("c".into()), audience: Vec::new() };
    let many = Target::Users((0..601).map(|n| VendorUserId::from(format!("u{n}"))).collect());
    let audience = (0..21).map(|n| VendorUserId::from(format!("u{n}"))).collect();
    let crowd = Target::Group { group: GROUP.into(), channel: None, audience };
    let taken = OutboundMessage { ext: ext(json!({"sb": 1})), ..text_to("a") };
    let plain = SendOptions::default;
    for (message, kind) in [
        (with(push, room()), ErrorKind::Unsupported),
        (with(online, room()), ErrorKind::Unsupported),
        (with(receipt, room()), ErrorKind::Unsupported),
        (with(plain(), channel), ErrorKind::Unsupported),
        (with(plain(), Target::System(vec!["a".into()])), ErrorKind::Unsupported),
        (with(plain(), many), ErrorKind::InvalidInput),
        (with(plain(), Target::Users(Vec::new())), ErrorKind::InvalidInput),
        (with(plain(), crowd), ErrorKind::InvalidInput),
        (taken, ErrorKind::InvalidInput),
        (OutboundMessage { body: Body::text("x".repeat(5 * 1024)), ..text_to("a") }, ErrorKind::TooLarge),
    ] {
        assert_eq!(client.check(&message).unwrap_err().kind(), kind);
        assert_eq!(client.send(&message).await.unwrap_err().kind(), kind);
    }
    assert!(vendor.seen().is_empty() && vendor.token_calls().is_empty());
}

#[tokio::test]
async fn a_send_is_attempted_once_and_its_doubt_is_told() {
    for (status, body, retry) in [
        (502, "<html>", Retry::OutcomeUnknown),
        (503, r#"{"error":"busy"}"#, Retry::OutcomeUnknown),
        (200, r#"{"data":"not a map"}"#, Retry::OutcomeUnknown),
        (200, "<html>", Retry::OutcomeUnknown),
        (404, "<html>", Retry::Safe { after: None }),
    ] {
        let vendor = Vendor::start().await;
        vendor.answer(status, body);
        let error = vendor.client().send(&text_to("a")).await.unwrap_err();
        assert_eq!((error.retry(), vendor.seen().len()), (retry, 1), "{status} {body}");
        assert_eq!(error.operation(), if body.contains("data") { None } else { Some("send") });
    }
}

#[tokio::test]
async fn a_recall_is_the_published_request_without_the_field_the_contract_has_no_place_for() {
    let vendor = Vendor::start().await;
    vendor.answer_with(200, "rest_recall_message_response.json");
    let client = config(&vendor.url, "sending.recall_force = true").build(JumpClock::new()).unwrap();
    let mut recall = RecallRequest {
        id: "1502300411223344556".into(),
        from: "ops-bot".into(),
        target: Target::Users(vec!["lin_qiao".into()]),
        sent_at: Timestamp(NOW),
    };
    client.recall(&recall).await.unwrap();
    let call = &vendor.seen()[0];
    let mut expected = json_fixture("rest_recall_message_request.json");
    let removed = expected.as_object_mut().unwrap().remove("recallMessageExtensionInfo");
    assert_eq!(removed, Some(json!(r#"{"why":"typo"}"#)));
    assert_eq!((call.line.as_str(), call.json()), ("POST /acme-im/bridge/messages/msg_recall", expected));

    for (target, kind) in [
        (Target::Group { group: GROUP.into(), channel: None, audience: Vec::new() }, "groupchat"),
        (Target::Room { room: ROOM.into() }, "chatroom"),
    ] {
        vendor.answer(200, "{}");
        recall.target = target;
        vendor.client().recall(&recall).await.unwrap();
        let request = vendor.seen().pop().unwrap().json();
        assert_eq!((request["chat_type"].as_str(), request["force"].as_bool()), (Some(kind), Some(false)));
    }
    for (file, kind) in [
        ("error_403_recall_time_limit.json", ErrorKind::Rejected),
        ("error_403_recall_not_found.json", ErrorKind::NotFound),
    ] {
        vendor.answer_with(403, file);
        assert_eq!(vendor.client().recall(&recall).await.unwrap_err().kind(), kind, "{file}");
    }
}
