//! Callbacks: verified, told apart, decoded to golden events, answered.

use bytes::Bytes;
use serde_json::{Value, json};
use switchboard_contract::{
    Body, CallbackCodec, CallbackStage, FixedVerdict, InboundData, InboundPlace, KeyClass, Provider, RawCallback,
    Rejection, Timestamp, VerifiedCallback,
};
use switchboard_huanxin::Huanxin;

use crate::support::{JumpClock, NOW, compare_golden, config, fixture, json_fixture};

fn provider(more: &str) -> Huanxin {
    config("http://127.0.0.1:9", more).build(JumpClock::new()).unwrap()
}

fn raw(body: impl Into<Bytes>) -> RawCallback {
    RawCallback {
        path: String::new(),
        query: String::new(),
        headers: Vec::new(),
        body: body.into(),
        received_at: Timestamp(NOW + 70_000),
    }
}

fn codec(provider: &Huanxin) -> &dyn CallbackCodec {
    provider.callbacks().unwrap()
}

fn refusal(codec: &dyn CallbackCodec, body: Vec<u8>, now: i64) -> Rejection {
    let raw = raw(body);
    let refused = codec.verify(raw.clone(), Timestamp(now)).expect_err("must be refused");
    assert_eq!(refused.raw, raw, "the bytes are kept");
    refused.rejection
}

fn decode_json(value: &Value) -> Vec<switchboard_contract::Inbound> {
    let provider = provider("");
    codec(&provider).decode(&VerifiedCallback::assume_verified(raw(value.to_string()), true))
}

fn golden(name: &str) {
    let body = fixture(&format!("{name}.json"));
    let provider = provider("callbacks.unsigned = 'accept'");
    let codec = codec(&provider);
    let verified = codec.verify(raw(body), Timestamp(NOW + 70_000)).expect("the fixture is signed");
    assert_eq!(verified.is_signed(), name != "callback_reaction_unsigned");
    let before = name.starts_with("callback_pre_send");
    assert_eq!(codec.stage(verified.raw()) == CallbackStage::Before, before);
    compare_golden(name, &codec.decode(&verified));
}

macro_rules! golden {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { golden(stringify!($name)); })*
        /// Callbacks with a golden file, each a test of its own.
        pub(crate) const GOLDEN: &[&str] = &[$(stringify!($name)),*];
    };
}

golden! {
    callback_chatroom_leave, callback_contact_add, callback_conversation_read_ack, callback_group_create,
    callback_group_delete, callback_group_info_changed, callback_group_join, callback_group_leave_kick,
    callback_group_leave_quit, callback_group_mute_all, callback_group_mute_member, callback_group_owner_changed,
    callback_group_read_ack, callback_message_edit, callback_moderation, callback_muc_legacy_create,
    callback_offline_push_fail, callback_post_send_audio, callback_post_send_chatroom_custom, callback_post_send_cmd,
    callback_post_send_combine, callback_post_send_custom, callback_post_send_file,
    callback_post_send_group_offline_txt_member1, callback_post_send_group_offline_txt_member2,
    callback_post_send_group_txt, callback_post_send_img, callback_post_send_loc, callback_post_send_offline_txt,
    callback_post_send_txt, callback_post_send_video, callback_pre_send_txt, callback_pre_send_txt_bodies_variant,
    callback_reaction_unsigned, callback_read_ack, callback_recall, callback_user_login, callback_user_logout,
    callback_user_replaced,
}

#[test]
fn the_published_signature_vector_verifies_and_a_flipped_bit_does_not() {
    let vector = json_fixture("callback_signature_vector.json");
    let secret = vector["secret"].as_str().unwrap();
    let mut config = config("http://127.0.0.1:9", "");
    config.callback_secret =
        toml::from_str::<toml::Table>(&format!("x = ['old', '{secret}']")).unwrap()["x"].clone().try_into().unwrap();
    let provider = config.build(JumpClock::new()).unwrap();
    let body = |security: &str| {
        json!({"callId": vector["callId"], "timestamp": vector["timestamp"], "security": security, "chat_type": "chat"})
            .to_string()
            .into_bytes()
    };
    let security = vector["security"].as_str().unwrap();
    assert!(codec(&provider).verify(raw(body(security)), Timestamp(NOW)).is_ok(), "the second secret fits");
    let joined = format!("{}{}{}", vector["callId"].as_str().unwrap(), secret, vector["timestamp"]);
    assert_eq!(vector["md5_input"], joined);
    for at in 0..security.len() {
        for bit in 0..7 {
            let mut flipped = security.as_bytes().to_vec();
            flipped[at] ^= 1 << bit;
            let Ok(flipped) = String::from_utf8(flipped) else { continue };
            assert!(matches!(refusal(codec(&provider), body(&flipped), NOW), Rejection::BadSignature), "{flipped}");
        }
    }
    for cut in ["", &security[..31], "0"] {
        assert!(matches!(refusal(codec(&provider), body(cut), NOW), Rejection::BadSignature));
    }
}

#[test]
fn a_changed_call_id_time_secret_or_app_is_refused() {
    let provider = provider("");
    let good = json_fixture("callback_post_send_txt.json");
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body.to_string().into_bytes()
    };
    let codec = codec(&provider);
    assert!(matches!(refusal(codec, with("callId", json!("x")), NOW), Rejection::BadSignature));
    assert!(matches!(refusal(codec, with("timestamp", json!(NOW)), NOW), Rejection::BadSignature));
    assert!(matches!(refusal(codec, with("security", Value::Null), NOW), Rejection::BadSignature));
    assert!(matches!(refusal(codec, with("appkey", json!("acme-im#other")), NOW), Rejection::WrongApp));
    assert!(matches!(refusal(codec, b"<xml>".to_vec(), NOW), Rejection::Malformed(_)));
    assert!(matches!(refusal(codec, b"[]".to_vec(), NOW), Rejection::Malformed(_)));
    let bare = config("http://127.0.0.1:9", "");
    let bare = switchboard_huanxin::HuanxinConfig { callback_secret: Default::default(), ..bare };
    let bare = bare.build(JumpClock::new()).unwrap();
    let body = fixture("callback_post_send_txt.json");
    assert!(matches!(refusal(bare.callbacks().unwrap(), body, NOW), Rejection::BadSignature), "no secret, no entry");
}

#[test]
fn the_time_window_has_no_past_and_ten_minutes_of_future_unless_set() {
    let body = || fixture("callback_post_send_txt.json");
    let signed = 1_795_200_000_101;
    let day = 24 * 3_600_000;
    let open = provider("");
    assert!(codec(&open).verify(raw(body()), Timestamp(signed + 400 * day)).is_ok(), "replays keep their old time");
    assert!(codec(&open).verify(raw(body()), Timestamp(signed - 600_000)).is_ok());
    let stale = refusal(codec(&open), body(), signed - 600_001);
    assert!(matches!(stale, Rejection::Stale { signed_at } if signed_at == Timestamp(signed)));
    let strict = provider("callbacks.max_age = '1h'");
    assert!(codec(&strict).verify(raw(body()), Timestamp(signed + 3_600_000)).is_ok());
    assert!(matches!(refusal(codec(&strict), body(), signed + 3_600_001), Rejection::Stale { .. }));
}

#[test]
fn unsigned_kinds_follow_the_policy_and_other_kinds_never_go_unsigned() {
    let reaction = || fixture("callback_reaction_unsigned.json");
    assert!(matches!(refusal(codec(&provider("")), reaction(), NOW + 64_101), Rejection::BadSignature));
    let lenient = provider("callbacks.unsigned = 'accept'");
    let verified = codec(&lenient).verify(raw(reaction()), Timestamp(NOW + 64_101)).unwrap();
    assert!(!verified.is_signed());
    let mut message = json_fixture("callback_post_send_txt.json");
    message.as_object_mut().unwrap().remove("security");
    assert!(matches!(
        refusal(codec(&lenient), message.to_string().into_bytes(), NOW + 64_101),
        Rejection::BadSignature
    ));
}

#[test]
fn replies_are_what_the_vendor_counts_as_success() {
    let provider = provider("callbacks.reject_code = 'HX:BLOCKED-42'");
    let codec = codec(&provider);
    let accepted = codec.accepted();
    assert_eq!((accepted.status, accepted.body.len() < 1000), (200, true));
    for (verdict, file) in [
        (FixedVerdict::Pass, "callback_pre_send_reply_allow.json"),
        (FixedVerdict::Reject, "callback_pre_send_reply_reject.json"),
    ] {
        let reply = codec.verdict(verdict).unwrap();
        assert_eq!((reply.status, reply.content_type), (200, "application/json"));
        assert_eq!(serde_json::from_slice::<Value>(&reply.body).unwrap(), json_fixture(file), "{file}");
        assert!(std::str::from_utf8(&reply.body).unwrap().chars().count() <= 1000);
    }
}

#[test]
fn one_message_and_its_offline_members_are_three_keys_whatever_the_call_id() {
    let key = |file: &str| decode_json(&json_fixture(file))[0].key.clone();
    let message = key("callback_post_send_group_txt.json");
    let one = key("callback_post_send_group_offline_txt_member1.json");
    let other = key("callback_post_send_group_offline_txt_member2.json");
    assert_eq!((message.class, message.id.as_str()), (KeyClass::Message, "1502300411223345001"));
    assert_eq!((one.class, one.id.as_str()), (KeyClass::Offline, "1502300411223345001/wei.chen"));
    assert_eq!(other.id, "1502300411223345001/zhao_l");
    for file in ["callback_post_send_txt.json", "callback_group_mute_all.json", "callback_user_login.json"] {
        let mut again = json_fixture(file);
        again["callId"] = json!("acme-im#bridge_another");
        assert_eq!(decode_json(&again)[0].key, key(file), "{file}");
    }
}

#[test]
fn group_operations_that_differ_have_keys_that_differ() {
    let base = json_fixture("callback_group_mute_member.json");
    let mut keys = vec![decode_json(&base)[0].key.clone()];
    for (pointer, value) in [
        ("/payload/member", json!(["zhao_l"])),
        ("/payload/type", json!("REMOVE")),
        ("/timestamp", json!(1)),
        ("/id", json!("1")),
        ("/operation", json!("BLOCK")),
    ] {
        let mut changed = base.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        keys.push(decode_json(&changed)[0].key.clone());
    }
    let count = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), count, "{keys:?}");
}

#[test]
fn a_group_and_a_room_are_told_apart_or_left_open() {
    let place = |content_type: Value, kind: Value| {
        let mut body = json_fixture("callback_post_send_group_txt.json");
        body["content_type"] = content_type;
        body["payload"]["type"] = kind;
        decode_json(&body)[0].place.clone()
    };
    let (room, group) = (json!("chat:room:text"), json!("chat:group:text"));
    assert!(matches!(place(room.clone(), json!("groupchat")), InboundPlace::Room { .. }), "the surest sign wins");
    assert!(matches!(place(group, Value::Null), InboundPlace::Group { .. }));
    assert!(matches!(place(Value::Null, json!("chatroom")), InboundPlace::Room { .. }));
    assert!(matches!(place(json!("chatroom:txt"), Value::Null), InboundPlace::Room { .. }), "the older word");
    assert!(matches!(place(json!("chat:txt"), Value::Null), InboundPlace::GroupOrRoom { .. }));
    assert!(matches!(place(Value::Null, Value::Null), InboundPlace::GroupOrRoom { .. }));
}

#[test]
fn our_mark_is_taken_out_of_ext() {
    let mut body = json_fixture("callback_post_send_txt.json");
    body["payload"]["ext"]["sb"] = json!("mark-1");
    let event = &decode_json(&body)[0];
    assert_eq!(event.mark.as_deref(), Some("mark-1"));
    let InboundData::Message(message) = &event.data else { panic!("a message") };
    assert_eq!(json!(message.ext), json!({"trace_id": "tr-c1"}));
}

#[test]
fn what_is_not_understood_is_kept_byte_for_byte() {
    for (text, kind) in [
        (r#"{"eventType":"chat","chat_type":"hologram","msg_id":"1","timestamp":5}"#, "chat:hologram"),
        (
            r#"{"eventType":"new_kind","chat_type":"chat","msg_id":"1","from":"a","to":"b","payload":{"bodies":[]}}"#,
            "new_kind:chat",
        ),
        (r#"{"event":"group_op_event","operation":"X"}"#, "group_op_event:X"),
        (r#"{"chat_type":"chat","msg_id":"1","payload":[1]}"#, "chat"),
        (r#"{"chat_type":{}}"#, "malformed"),
        ("not json", "malformed"),
        (r#"{"chat_type":"notify","payload":{"type":"thread","data":[]}}"#, "notify"),
    ] {
        let provider = provider("");
        let events = codec(&provider).decode(&VerifiedCallback::assume_verified(raw(text.as_bytes().to_vec()), true));
        assert_eq!(events.len(), 1);
        let InboundData::Unrecognised(kept) = &events[0].data else { panic!("{text}: {:?}", events[0].data) };
        assert_eq!((kept.raw.as_str(), kept.kind.as_str()), (text, kind));
        assert_eq!(events[0].key.class, KeyClass::Unrecognised);
    }
    let mut unknown = json!({"chat_type": "hologram", "timestamp": 5, "callId": "a", "security": "b"});
    let key = decode_json(&unknown)[0].key.clone();
    unknown["callId"] = json!("other");
    unknown["security"] = json!("other");
    assert_eq!(decode_json(&unknown)[0].key, key, "two rules report one event under two signatures");
    unknown["timestamp"] = json!(6);
    assert_ne!(decode_json(&unknown)[0].key, key);
}

#[test]
fn an_unknown_body_leaves_the_message_standing() {
    let mut body = json_fixture("callback_post_send_txt.json");
    body["payload"]["bodies"] = json!([{"type": "hologram", "depth": 3}]);
    let event = &decode_json(&body)[0];
    let InboundData::Message(message) = &event.data else { panic!("a message") };
    assert!(matches!(&message.body, Body::Unrecognised(kept) if kept.kind == "hologram"));
    assert_eq!(event.key.class, KeyClass::Message);
}

#[test]
fn a_pre_send_request_is_told_from_every_notice() {
    let provider = provider("");
    for file in GOLDEN {
        let stage = codec(&provider).stage(&raw(fixture(&format!("{file}.json"))));
        assert_eq!(stage == CallbackStage::Before, file.starts_with("callback_pre_send"), "{file}");
    }
    assert_eq!(codec(&provider).stage(&raw("nonsense")), CallbackStage::After);
}
