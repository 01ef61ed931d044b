//! Callbacks: whole requests verify, decode to the golden events, and are refused when anything signed was changed.

use std::time::Duration;

use bytes::Bytes;
use switchboard_contract::{
    CallbackCodec, CallbackStage, FixedVerdict, Inbound, InboundData, KeyClass, Provider, RawCallback, Rejection,
    Timestamp, VerifiedCallback,
};
use switchboard_rongcloud::{RongCloud, RongCloudConfig};

use crate::support::{self, APP_KEY, Request, fixture, fixture_json, golden, offline};

/// Whole signed requests: the path we would have given the vendor for it, and the time it was signed.
const SIGNED: &[(&str, &str, i64)] = &[
    ("callback_message_route_private.http", "", 1_795_054_530_158),
    ("callback_message_route_private_signtimestamp.http", "", 1_795_054_530_158),
    ("callback_message_route_private_signtimestamp_appkey.http", "", 1_795_054_530_158),
    ("online_status_callback.http", "", 1_795_054_530_183),
    ("callback_chatroom_status.http", "", 1_795_054_752_042),
    ("callback_audit_result.http", "", 1_795_054_752_830),
    ("callback_pre_send_request.http", "pre-send", 1_795_054_562_459),
];

/// Bodies alone.
const BODIES: &[(&str, &str)] = &[
    ("callback_message_route_private.form", ""),
    ("callback_message_route_group.form", ""),
    ("callback_message_route_group_directed.form", ""),
    ("callback_message_route_chatroom.form", ""),
    ("callback_message_route_recall.form", ""),
    ("callback_message_route_sensitive_blocked.form", ""),
    ("callback_message_route_server_api.form", ""),
    ("callback_message_route_ultragroup.form", ""),
    ("callback_message_route_ultragroup_modified.form", ""),
    ("callback_pre_send_request.form", "pre-send"),
    ("online_status_callback.json", ""),
    ("callback_chatroom_status.json", ""),
    ("callback_audit_result.json", ""),
    ("callback_message_operation_recall.json", ""),
    ("callback_message_operation_delete.json", ""),
    ("callback_group_operation.json", ""),
    ("callback_hosted_info_audit.json", ""),
    ("callback_bot_message_private.json", ""),
    ("nexconn_webhook_message_send.json", ""),
];

const RECEIVED: i64 = 1_795_054_800_000;

fn codec(provider: &RongCloud) -> &dyn CallbackCodec {
    provider.callbacks().unwrap()
}

fn decode_body(path: &str, body: impl Into<Bytes>) -> Vec<Inbound> {
    let raw = RawCallback {
        path: path.to_owned(),
        query: String::new(),
        headers: Vec::new(),
        body: body.into(),
        received_at: Timestamp(RECEIVED),
    };
    codec(&offline()).decode(&VerifiedCallback::assume_verified(raw, true))
}

fn verify(provider: &RongCloud, raw: RawCallback, now: i64) -> Result<VerifiedCallback, Rejection> {
    codec(provider).verify(raw, Timestamp(now)).map_err(|refused| refused.rejection)
}

fn stem(name: &str) -> String {
    name.replace('.', "_")
}

#[test]
fn whole_requests_verify_and_decode_to_the_golden_events() {
    let provider = offline();
    for (name, path, signed_at) in SIGNED {
        let request = Request::fixture(name);
        assert_eq!((request.method.as_str(), request.header("host")), ("POST", Some("receiver.example.test")));
        let media = if request.body.starts_with(['[', '{']) { "json" } else { "x-www-form-urlencoded" };
        assert_eq!(request.header("content-type").unwrap(), format!("application/{media};charset=UTF-8"));
        assert!(request.path.starts_with("/rongcloud/"), "{name}");
        let verified = verify(&provider, request.callback(path, RECEIVED), signed_at + 1000)
            .unwrap_or_else(|rejection| panic!("{name}: {rejection:?}"));
        assert!(verified.is_signed());
        golden::check(&stem(name), &codec(&provider).decode(&verified));
    }
}

#[test]
fn bodies_decode_to_the_golden_events() {
    for (name, path) in BODIES {
        golden::check(&stem(name), &decode_body(path, fixture(name)));
    }
}

#[test]
fn whole_requests_carry_the_bodies_published_alone() {
    for (whole, alone) in [
        ("callback_message_route_private.http", "callback_message_route_private.form"),
        ("callback_pre_send_request.http", "callback_pre_send_request.form"),
    ] {
        assert_eq!(Request::fixture(whole).body.as_bytes(), fixture(alone));
    }
    for (whole, alone) in [
        ("online_status_callback.http", "online_status_callback.json"),
        ("callback_chatroom_status.http", "callback_chatroom_status.json"),
        ("callback_audit_result.http", "callback_audit_result.json"),
    ] {
        let body: serde_json::Value = serde_json::from_str(&Request::fixture(whole).body).unwrap();
        assert_eq!(body, fixture_json(alone));
    }
}

#[test]
fn a_flipped_bit_of_the_signature_or_of_what_it_covers_is_refused() {
    let provider = offline();
    for (name, path, signed_at) in SIGNED {
        let good = Request::fixture(name).callback(path, RECEIVED);
        assert!(verify(&provider, good.clone(), *signed_at).is_ok());
        for part in ["signature", "nonce", "timestamp", "signTimestamp"] {
            let mut refused = 0;
            for bit in 0..7 {
                let Some(bad) = flipped(&good, part, bit) else { continue };
                let rejection = verify(&provider, bad, *signed_at).unwrap_err();
                assert!(matches!(rejection, Rejection::BadSignature), "{name} {part} bit {bit}: {rejection:?}");
                refused += 1;
            }
            assert!(refused >= 3 || !has(&good, part), "{name} {part}");
        }
    }
}

fn has(raw: &RawCallback, part: &str) -> bool {
    raw.query.contains(&format!("{part}=")) || raw.header(&format!("rc-{}", part.to_ascii_lowercase())).is_some()
}

/// The request with one bit of the first character of a value changed; `None` where that leaves another spelling of
/// the same value or no text.
fn flipped(good: &RawCallback, part: &str, bit: u32) -> Option<RawCallback> {
    let mut bad = good.clone();
    let change = |byte: u8| {
        let changed = char::from(byte ^ 1 << bit);
        let same = changed.eq_ignore_ascii_case(&char::from(byte));
        (changed.is_ascii_graphic() && !same && !"&#%+=".contains(changed)).then_some(changed)
    };
    let marker = format!("{part}=");
    let at = bad.query.split('&').scan(0, |offset, pair| {
        let start = *offset;
        *offset += pair.len() + 1;
        Some((start, pair))
    });
    if let Some((start, _)) = at.into_iter().find(|(_, pair)| pair.starts_with(&marker)) {
        let at = start + marker.len();
        let changed = change(bad.query.as_bytes()[at])?;
        bad.query.replace_range(at..=at, &changed.to_string());
        return Some(bad);
    }
    let name = format!("rc-{}", part.to_ascii_lowercase());
    let (_, value) = bad.headers.iter_mut().find(|(key, _)| *key == name)?;
    let changed = change(value.as_bytes()[0])?;
    value.replace_range(0..1, &changed.to_string());
    Some(bad)
}

#[test]
fn every_generation_of_placing_the_signature_is_taken() {
    let provider = offline();
    let (time, nonce) = ("1795054530158", "918273645");
    let signature = "ebd6e9d16d68dc1f5ca8796b2d1c1dd2c98d3be6";
    let raw = |query: String, headers: &[(&str, &str)]| RawCallback {
        path: String::new(),
        query,
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body: Bytes::from_static(b"timestamp=1&nonce=2&signature=3"),
        received_at: Timestamp(RECEIVED),
    };
    let upper = signature.to_ascii_uppercase();
    let good = [
        raw(format!("timestamp={time}&nonce={nonce}&signature={signature}"), &[]),
        raw(format!("signTimestamp={time}&nonce={nonce}&signature={upper}"), &[]),
        raw(format!("appKey={APP_KEY}&timestamp={time}&nonce={nonce}&signature={signature}"), &[]),
        raw(format!("timestamp=7&signTimestamp={time}&nonce={nonce}&signature={signature}"), &[]),
        raw(format!("timestamp={time}&signTimestamp=7&nonce={nonce}&signature={signature}"), &[]),
        raw(String::new(), &[("rc-nonce", nonce), ("rc-timestamp", time), ("rc-signature", signature)]),
        raw("x=1".to_owned(), &[("app-key", APP_KEY), ("nonce", nonce), ("timestamp", time), ("signature", signature)]),
        raw(String::new(), &[("appkey", APP_KEY), ("nonce", nonce), ("timestamp", time), ("signature", signature)]),
    ];
    for raw in good {
        assert!(verify(&provider, raw.clone(), 1_795_054_530_158).is_ok(), "{} {:?}", raw.query, raw.headers);
    }
    let bad = [
        raw(String::new(), &[]),
        raw(format!("timestamp={time}&nonce={nonce}"), &[]),
        raw(format!("timestamp={time}&nonce={nonce}&signature="), &[]),
        raw(format!("timestamp={time}&nonce={nonce}&signature={}", &signature[1..]), &[]),
        raw(format!("timestamp={time}&nonce={nonce}&signature={signature}00"), &[]),
        raw(format!("timestamp={time}&signature={signature}"), &[]),
        raw(format!("nonce={nonce}&signature={signature}"), &[]),
        // A signature in the query takes nothing from the headers.
        raw(format!("signature={signature}"), &[("nonce", nonce), ("timestamp", time)]),
        // Values of the body are the message's own.
        raw(format!("nonce={nonce}&signature={signature}"), &[("content-type", "application/x-www-form-urlencoded")]),
    ];
    for raw in bad {
        let rejection = verify(&provider, raw.clone(), 1_795_054_530_158).unwrap_err();
        assert!(matches!(rejection, Rejection::BadSignature), "{} {:?}", raw.query, raw.headers);
    }
}

#[test]
fn another_app_is_told_apart_from_a_wrong_signature() {
    let mut raw = Request::fixture("callback_message_route_private.http").callback("", RECEIVED);
    raw.query = raw.query.replace(APP_KEY, "another");
    assert!(matches!(verify(&offline(), raw, 1_795_054_530_158), Err(Rejection::WrongApp)));
}

#[test]
fn former_secrets_are_still_taken_and_unknown_ones_are_not() {
    let raw = || Request::fixture("callback_message_route_private.http").callback("", RECEIVED);
    let mut config = RongCloudConfig::new(APP_KEY, "new-secret");
    assert!(matches!(
        verify(&support::provider(config.clone()), raw(), 1_795_054_530_158),
        Err(Rejection::BadSignature)
    ));
    config.former_secrets = vec!["older".to_owned().into(), support::APP_SECRET.to_owned().into()];
    assert!(verify(&support::provider(config), raw(), 1_795_054_530_158).is_ok());
}

#[test]
fn the_window_is_ten_minutes_both_ways_and_a_setting() {
    let provider = offline();
    let raw = || Request::fixture("callback_message_route_private.http").callback("", RECEIVED);
    let signed = 1_795_054_530_158;
    for now in [signed - 600_000, signed + 600_000] {
        assert!(verify(&provider, raw(), now).is_ok());
    }
    for now in [signed - 600_001, signed + 600_001] {
        let rejection = verify(&provider, raw(), now).unwrap_err();
        assert!(matches!(rejection, Rejection::Stale { signed_at } if signed_at == Timestamp(signed)), "{rejection:?}");
    }
    let mut config = RongCloudConfig::new(APP_KEY, support::APP_SECRET);
    config.callbacks.window = Duration::from_secs(3600);
    assert!(verify(&support::provider(config), raw(), signed + 3_600_000).is_ok());
}

#[test]
fn a_time_in_seconds_is_read_as_such() {
    // The vector of the REST signature in seconds is one of callbacks as well.
    let raw = RawCallback {
        path: String::new(),
        query: "timestamp=1795054530&nonce=482913775&signature=a383ee940e66b68374212a2132cc3ab594cf5bb0".to_owned(),
        headers: Vec::new(),
        body: Bytes::new(),
        received_at: Timestamp(RECEIVED),
    };
    assert!(verify(&offline(), raw.clone(), 1_795_054_530_000 + 599_000).is_ok());
    assert!(matches!(verify(&offline(), raw, 1_795_054_530_000 + 601_000), Err(Rejection::Stale { .. })));
}

#[test]
fn the_pre_send_hook_is_told_by_its_path_and_answered_as_set() {
    let provider = offline();
    let codec = codec(&provider);
    let request = Request::fixture("callback_pre_send_request.http");
    for path in ["pre-send", "/pre-send/"] {
        assert_eq!(codec.stage(&request.callback(path, RECEIVED)), CallbackStage::Before);
    }
    for path in ["", "route", "pre-send/more"] {
        assert_eq!(codec.stage(&request.callback(path, RECEIVED)), CallbackStage::After);
    }
    let reply = |verdict| {
        let reply = codec.verdict(verdict).unwrap();
        assert_eq!((reply.status, reply.content_type), (200, "application/json"));
        serde_json::from_slice::<serde_json::Value>(&reply.body).unwrap()
    };
    assert_eq!(reply(FixedVerdict::Pass), fixture_json("callback_pre_send_reply_pass.json"));
    let mut documented = fixture_json("callback_pre_send_reply_reject.json");
    // A word to the sender is optional, and a fixed verdict has none.
    let extra = documented.as_object_mut().unwrap().remove("extra");
    assert_eq!(extra, Some("blocked by policy 12".into()));
    assert_eq!(reply(FixedVerdict::Reject), documented);
    assert_eq!(codec.accepted().status, 200);

    let mut config = RongCloudConfig::new(APP_KEY, support::APP_SECRET);
    config.callbacks.pre_send_path = "before".to_owned();
    let renamed = support::provider(config);
    assert_eq!(renamed.callbacks().unwrap().stage(&request.callback("before", RECEIVED)), CallbackStage::Before);
}

#[test]
fn a_pre_send_request_at_the_wrong_address_is_not_taken_for_the_message() {
    let events = decode_body("", fixture("callback_pre_send_request.form"));
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].key.class, KeyClass::Moderation);
}

#[test]
fn the_recall_of_one_message_has_one_key_whoever_reports_it() {
    let routed = &decode_body("", fixture("callback_message_route_recall.form"))[0];
    let reported = &decode_body("", fixture("callback_message_operation_recall.json"))[0];
    assert_eq!(routed.key, reported.key);
    assert_eq!((routed.key.class, routed.key.id.as_str()), (KeyClass::Recall, "D1U6-B6SI-O124-3K1R"));
    assert_eq!((&routed.place, routed.sent_at), (&reported.place, reported.sent_at));
}

#[test]
fn operations_come_as_an_object_and_as_an_array() {
    let one = fixture_json("callback_message_operation_recall.json");
    let other = fixture_json("callback_message_operation_delete.json");
    let batch = serde_json::to_vec(&serde_json::json!([one, other])).unwrap();
    let events = decode_body("", batch);
    let alone = decode_body("", serde_json::to_vec(&one).unwrap());
    assert_eq!(events.len(), 2);
    assert_eq!((&events[0].key, &events[0].data), (&alone[0].key, &alone[0].data));
    assert!(matches!(&events[1].data, InboundData::Unrecognised(kept) if kept.kind == "message_operation"));
}

#[test]
fn a_bad_item_does_not_spoil_its_batch() {
    let body = r#"[{"userid":"a","status":"0","time":1,"sessionId":"s"}, {"userid":"b"}, 7, {"new":{"deep":[1]}},
        {"userid":"c","status":9,"time":"2","sessionId":5}]"#;
    let events = decode_body("online", body);
    let kinds: Vec<_> = events.iter().map(|event| event.key.class).collect();
    use KeyClass::{Presence, Unrecognised};
    assert_eq!(kinds, [Presence, Unrecognised, Unrecognised, Unrecognised, Presence]);
    assert_eq!(events[3].raw, r#"{"new":{"deep":[1]}}"#);
    assert_eq!(events[4].key.id, "c/5/9/2");
}

#[test]
fn what_is_not_known_is_kept_byte_for_byte_under_a_key_that_a_retry_shares() {
    for (path, body) in [
        ("kv", &b"{\"chatRoomKv\":{\"k\":\"v\"}}"[..]),
        ("", b"{\"operateId\":\"op-1\",\"users\":[]}"),
        ("route", b"fromUserId=a&toUserId=b&channelType=HOLOGRAM&msgUID=u&msgTimestamp=1&objectName=x&content=y"),
        ("route", b"fromUserId=a&toUserId=b&channelType=PERSON&msgTimestamp=1&objectName=x&content=y"),
        ("route", b"fromUserId=a&toUserId=b&channelType=PERSON&msgUID=u&msgTimestamp=soon&objectName=x&content=y"),
        ("", b"[{\"half\":"),
        ("", b"\xff\xfe"),
        ("", b""),
    ] {
        let (first, second) = (decode_body(path, body), decode_body(path, body));
        assert_eq!(first.len(), 1, "{path}");
        assert!(matches!(first[0].data, InboundData::Unrecognised(_)), "{path}: {:?}", first[0].data);
        assert_eq!(first[0].raw, body);
        assert_eq!(first[0].key, second[0].key);
        assert_eq!(first[0].sent_at, Timestamp(RECEIVED));
    }
}

#[test]
fn every_key_is_made_of_what_the_table_says() {
    let key = |path: &str, body: &[u8]| {
        let events = decode_body(path, body.to_vec());
        let key = &events[0].key;
        format!("{:?} {}", key.class, key.id)
    };
    for (name, expected) in [
        ("callback_message_route_private.form", "Message D1U6-B6SI-O124-3K1R"),
        ("callback_message_route_recall.form", "Recall D1U6-B6SI-O124-3K1R"),
        ("callback_message_operation_recall.json", "Recall D1U6-B6SI-O124-3K1R"),
        ("callback_message_route_ultragroup_modified.form", "Edit D1U6-BSQP-O0BB-AR3P/D1U6-C455-O0DB-AR3P"),
        ("online_status_callback.json", "Presence user_alice/s-7f10/0/1795054530123"),
        ("callback_chatroom_status.json", "Group room/room_42/0/0/1795054530123/user_alice"),
        ("callback_group_operation.json", "Group hosted/group_team/2/1795054562456/user_alice/user_carol"),
        ("callback_hosted_info_audit.json", "Group info/group_team/1/1795054562456/user_alice"),
        ("callback_audit_result.json", "Moderation D1U6-CT27-G3O4-3K1R/demo-provider/10001"),
        ("callback_pre_send_request.form", "Moderation pre-send/D1U6-BEP6-022C-67T7"),
        ("callback_bot_message_private.json", "Message D1U6-CT27-G3O4-3K1R"),
    ] {
        assert_eq!(key("", &fixture(name)), expected, "{name}");
    }
    let read =
        "fromUserId=bob&toUserId=alice&objectName=RC%3AReadNtf&channelType=PERSON&msgTimestamp=9&msgUID=u&content=";
    let with =
        |content: &str| format!("{read}{}", form_urlencoded::byte_serialize(content.as_bytes()).collect::<String>());
    let known = with(r#"{"lastMessageSendTime":5,"messageUId":"m","type":1}"#);
    assert_eq!(key("", known.as_bytes()), "Receipt read/m/bob");
    let unknown = with(r#"{"lastMessageSendTime":5,"type":1}"#);
    assert_eq!(key("", unknown.as_bytes()), "Receipt read/5/bob");
}

#[test]
fn message_ids_are_opaque() {
    for vector in fixture_json("message_uid_vectors.json").as_array().unwrap() {
        let uid = vector["messageUID"].as_str().unwrap();
        // The time inside an id is not looked at: the record's own stands.
        let inside = vector["time_ms"].as_i64().unwrap();
        let body = format!(
            "fromUserId=a&toUserId=b&objectName=RC%3ATxtMsg&content=%7B%22content%22%3A%22x%22%7D\
             &channelType=PERSON&msgTimestamp={}&msgUID={uid}",
            inside + 1
        );
        let event = decode_body("", body).remove(0);
        assert_eq!((event.key.id.as_str(), event.sort_key.as_str()), (uid, uid));
        assert_eq!(event.sent_at, Timestamp(inside + 1));
        // The derived reading of an id, here only to prove that the vectors were not changed by accident.
        let bits = uid
            .bytes()
            .filter(|byte| *byte != b'-')
            .fold(0_u128, |bits, byte| bits << 5 | u128::from(char::from(byte).to_digit(32).unwrap()));
        assert_eq!(bits >> 38, inside as u128, "{uid}");
        for (part, value) in [
            ("seq", bits >> 26 & 0xfff),
            ("conversation_type", bits >> 22 & 0xf),
            ("conversation_hash", bits & 0x3f_ffff),
        ] {
            assert!(vector[part].is_null() || vector[part].as_u64().map(u128::from) == Some(value), "{uid} {part}");
        }
    }
}
