#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use switchboard_contract::{
    Body, Combined, Command, ConversationKind, Custom, ErrorKind, Ext, Location, Media, Native, Thumbnail,
    Unrecognised, VendorUserId,
};

use super::{Beside, Codec, Encoded};

fn codec() -> Codec {
    Codec::new("sb")
}

static NO_FIELDS: LazyLock<Ext> = LazyLock::new(Ext::new);

fn plain() -> Beside<'static> {
    Beside { ext: &NO_FIELDS, mark: None, mentions_everyone: false, mentions: &[], push_text: None }
}

fn ext(value: Value) -> Ext {
    serde_json::from_value(value).unwrap()
}

fn refused(body: &Body, beside: Beside<'_>) -> ErrorKind {
    codec().encode(body, beside).unwrap_err().kind()
}

/// The published example of every built-in type.
fn examples() -> BTreeMap<String, Value> {
    serde_json::from_str(include_str!("../../fixtures/message_contents.json")).unwrap()
}

/// Which body each example must become, and with which fields, written apart from the code.
fn expected(name: &str) -> Value {
    let native = |content: Value| json!({"type": "native", "vendor": "rongcloud", "kind": name, "content": content});
    match name {
        "RC:TxtMsg" => json!({"type": "text", "text": "hello"}),
        "RC:ImgMsg" => json!({"type": "image", "url": "https://cdn.example.test/p.jpg",
            "thumbnail": {"data": "<base64 jpeg thumbnail, no line breaks>"}}),
        "RC:GIFMsg" => json!({"type": "image", "url": "https://cdn.example.test/p.gif", "size": 34563,
            "format": "gif", "width": 263, "height": 263}),
        "RC:VcMsg" => json!({"type": "audio", "data": "<base64 amr>", "duration": 3}),
        "RC:HQVCMsg" => json!({"type": "audio", "url": "https://cdn.example.test/v.aac", "duration": 7}),
        "RC:FileMsg" => json!({"type": "file", "url": "https://cdn.example.test/plan.pdf", "name": "plan.pdf",
            "size": 88123, "format": "pdf"}),
        "RC:LBSMsg" => json!({"type": "location", "latitude": 39.9042, "longitude": 116.4074,
            "address": "City centre", "map": "<base64 map thumbnail>"}),
        "RC:SightMsg" => json!({"type": "video", "url": "https://cdn.example.test/s.mp4", "name": "s.mp4",
            "size": 734320, "duration": 8, "thumbnail": {"data": "<base64 first frame>"}}),
        "RC:CombineMsg" => json!({"type": "combined", "summary": ["Alice: hi", "Bob: hey"],
            "names": ["Alice", "Bob"], "from": "direct", "file": {"url": "https://cdn.example.test/merged.html"}}),
        "RC:CombineV2Msg" => json!({"type": "combined", "summary": ["Alice: hi"], "names": ["Alice"], "count": 1,
            "from": "group", "items": []}),
        "RC:CmdMsg" => json!({"type": "command", "name": "refresh_wallet", "data": "{\"v\":2}"}),
        "RC:CmdNtf" => json!({"type": "command", "name": "score", "data": "{\"home\":1}", "notice": true}),
        "RC:ImgTextMsg" => native(json!({"title": "Deal", "content": "Half price",
            "imageUri": "https://cdn.example.test/t.png", "url": "https://shop.example.test/1"})),
        "RC:ReferenceMsg" => native(json!({"content": "agreed", "referMsgUserId": "user_bob",
            "referMsgUid": "D1U6-B6SI-O124-3K1R", "objName": "RC:TxtMsg",
            "referMsg": {"content": "shall we ship?"}})),
        "RC:InfoNtf" => native(json!({"message": "Bob joined", "extra": ""})),
        "RC:ContactNtf" => native(json!({"operation": "Request", "sourceUserId": "user_alice",
            "targetUserId": "user_bob", "message": "Hi, it is Alice", "extra": ""})),
        "RC:ProfileNtf" => native(json!({"operation": "Update", "data": "{\"name\":\"Alice L\"}", "extra": ""})),
        "RC:GrpNtf" => native(json!({"operatorUserId": "user_alice", "operation": "Add",
            "data": "{\"operatorNickname\":\"Alice\",\"targetUserIds\":[\"user_bob\"]}",
            "message": "Bob was added", "extra": ""})),
        "RC:chrmKVNotiMsg" => native(json!({"type": 1, "key": "host", "value": "user_alice", "extra": ""})),
        "RC:RcCmd" => native(json!({"conversationType": 1, "targetId": "user_bob",
            "messageUId": "D1U6-B6SI-O124-3K1R", "sentTime": 1_795_054_530_123_i64, "isDelete": false,
            "isAdmin": false})),
        "RC:TypSts" => native(json!({"typingContentType": "RC:TxtMsg"})),
        "RC:ReadNtf" => native(json!({"lastMessageSendTime": 1_795_054_530_123_i64,
            "messageUId": "D1U6-B6SI-O124-3K1R", "type": 1})),
        "RC:StreamMsg" => native(json!({"content": "partial answer", "type": "text", "complete": false})),
        other => panic!("a published type without an expectation: {other}"),
    }
}

#[test]
fn every_published_content_decodes_and_is_written_back_as_it_was() {
    let examples = examples();
    assert_eq!(examples.len(), 23);
    for (name, content) in examples {
        let decoded = codec().decode(&name, &content.to_string());
        assert_eq!(serde_json::to_value(&decoded.body).unwrap(), expected(&name), "{name}");
        assert_eq!((decoded.ext.len(), &decoded.mark), (0, &None), "{name}");
        let written = codec().encode(&decoded.body, plain()).unwrap();
        assert_eq!(written.object_name, name);
        let mut content = content;
        if !matches!(decoded.body, Body::Native(_)) {
            // An empty extra says nothing and is not repeated.
            content.as_object_mut().unwrap().remove("extra");
        }
        assert_eq!(serde_json::from_str::<Value>(&written.content).unwrap(), content, "{name}");
    }
}

#[test]
fn numbers_written_as_text_and_the_go_sdks_name_of_a_command_are_read() {
    let body = |name: &str, content: Value| codec().decode(name, &content.to_string()).body;
    let file = json!({"name": "a", "size": "88123", "type": "pdf", "fileUrl": "u"});
    let Body::File(media) = body("RC:FileMsg", file) else { panic!("no file") };
    assert_eq!(media.size, Some(88_123));
    let Body::Command(command) = body("RC:CmdNtf", json!({"operation": "score", "data": "x"})) else {
        panic!("no command")
    };
    assert_eq!((command.name.as_str(), command.notice), ("score", true));
}

#[test]
fn a_content_that_breaks_its_types_promise_is_kept_as_it_came() {
    for (name, content) in [
        ("RC:TxtMsg", "not json"),
        ("RC:TxtMsg", r#"{"text":"no content key"}"#),
        ("RC:FileMsg", r#"{"size":"big"}"#),
        ("RC:LBSMsg", r#"{"poi":"nowhere"}"#),
        ("RC:InfoNtf", "[1]"),
        ("RC:Future", "not json"),
    ] {
        let decoded = codec().decode(name, content);
        assert_eq!(decoded.body, Body::Unrecognised(Unrecognised::keep(name, content.as_bytes())), "{name}");
    }
    let decoded = codec().decode("RC:LBSMsg", r#"{"poi":"nowhere","extra":"{\"k\":1,\"sb\":\"m\"}"}"#);
    assert_eq!((decoded.ext, decoded.mark), (ext(json!({"k": 1})), Some("m".to_owned())));
}

#[test]
fn what_only_another_vendor_carries_is_refused() {
    let media = |change: fn(&mut Media)| {
        let mut media = Media { url: Some("https://x.test/1".to_owned()), ..Media::default() };
        change(&mut media);
        media
    };
    let unsupported = [
        Body::Image(media(|media| media.secret = Some("s".to_owned()))),
        Body::Image(media(|media| {
            media.thumbnail = Some(Thumbnail { url: Some("t".to_owned()), ..Thumbnail::default() });
        })),
        Body::Image(media(|media| media.data = Some("aGk=".to_owned()))),
        Body::Audio(media(|media| media.data = Some("aGk=".to_owned()))),
        Body::Audio(media(|media| media.width = Some(1))),
        Body::Video(media(|media| media.secret = Some("s".to_owned()))),
        Body::File(media(|media| media.thumbnail = Some(Thumbnail::default()))),
        Body::Combined(Combined { title: Some("t".to_owned()), ..Combined::default() }),
        Body::Combined(Combined { level: Some(1), ..Combined::default() }),
        Body::Combined(Combined { file: Some(media(|media| media.size = Some(1))), ..Combined::default() }),
        Body::Unrecognised(Unrecognised::keep("x", b"y")),
        Body::Native(Native { vendor: "huanxin".into(), kind: "x".to_owned(), content: json!({}) }),
    ];
    for body in unsupported {
        assert_eq!(refused(&body, plain()), ErrorKind::Unsupported, "{}", serde_json::to_value(&body).unwrap());
    }
    let native = |kind: &str, content: Value| {
        Body::Native(Native { vendor: "rongcloud".into(), kind: kind.to_owned(), content })
    };
    let custom = |name: &str, data: Value| Body::Custom(Custom { name: name.to_owned(), data });
    let invalid = [
        Body::Image(Media::default()),
        Body::Location(Location { latitude: 91.0, ..Location::default() }),
        Body::Location(Location { longitude: f64::NAN, ..Location::default() }),
        Body::Command(Command { name: "n".to_owned(), data: Some(Value::Null), notice: false }),
        native("RC:TxtMsg", json!({"content": "x"})),
        native("app:mine", json!({})),
        native("RC:InfoNtf", json!("text")),
        custom("RC:Mine", json!({})),
        custom("", json!({})),
        custom(&"x".repeat(33), json!({})),
        custom("app:x", json!({"extra": "{\"sb\":\"forged\"}"})),
        custom("app:x", json!({"mentionedInfo": {"type": 1, "userIdList": []}})),
    ];
    for body in invalid {
        assert_eq!(refused(&body, plain()), ErrorKind::InvalidInput, "{}", serde_json::to_value(&body).unwrap());
    }
}

#[test]
fn a_custom_content_that_is_no_object_carries_nothing_beside_it() {
    let body = Body::Custom(Custom { name: "app:raw".to_owned(), data: json!("plain text") });
    let with_mark = codec().encode(&body, Beside { mark: Some("m"), ..plain() }).unwrap();
    assert_eq!(with_mark, Encoded { object_name: "app:raw".into(), content: "plain text".to_owned() });
    let fields = ext(json!({"k": 1}));
    assert_eq!(refused(&body, Beside { ext: &fields, ..plain() }), ErrorKind::Unsupported);
    assert_eq!(refused(&body, Beside { mentions_everyone: true, ..plain() }), ErrorKind::Unsupported);
}

#[test]
fn a_content_of_the_businesss_own_gets_the_mark_where_it_has_room() {
    let write = |data: Value| {
        let body = Body::Custom(Custom { name: "app:order".to_owned(), data });
        let written = codec().encode(&body, Beside { mark: Some("m"), ..plain() })?;
        Ok::<_, switchboard_contract::Error>(serde_json::from_str::<Value>(&written.content).unwrap())
    };
    assert_eq!(write(json!({"a": 1})).unwrap(), json!({"a": 1, "extra": "{\"sb\":\"m\"}"}));
    assert_eq!(write(json!({"extra": "mine"})).unwrap(), json!({"extra": "mine", "sb": "{\"sb\":\"m\"}"}));
    assert_eq!(write(json!({"extra": "mine", "sb": 1})).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn mentions_that_are_not_well_formed_are_left_alone() {
    let read = |info: Value| {
        let content = json!({"content": "x", "mentionedInfo": info}).to_string();
        let decoded = codec().decode("RC:TxtMsg", &content);
        (decoded.mentions_everyone, decoded.mentions.len())
    };
    assert_eq!(read(json!({"type": 1, "userIdList": []})), (true, 0));
    assert_eq!(read(json!({"type": 1})), (true, 0));
    assert_eq!(read(json!({"type": 2, "userIdList": ["a", "b"], "mentionedContent": "x"})), (false, 2));
    for nothing in [json!({"type": 2, "userIdList": []}), json!({"type": 9}), json!("x"), json!(null)] {
        assert_eq!(read(nothing), (false, 0));
    }
}

fn text() -> impl Strategy<Value = String> {
    ".{0,12}"
}

fn maybe_text() -> impl Strategy<Value = Option<String>> {
    prop::option::of(text())
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1.0e6..1.0e6_f64).prop_map(Value::from),
        text().prop_map(Value::from),
        Just(json!("{\"looks\":\"like json\"}")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            object(inner).prop_map(Value::Object),
        ]
    })
}

fn object(values: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let key = prop_oneof!["[a-z]{1,4}", Just("extra".to_owned()), ".{0,4}"];
    prop::collection::btree_map(key, values, 0..4).prop_map(|map| map.into_iter().collect())
}

fn any_ext() -> impl Strategy<Value = Ext> {
    prop_oneof![
        3 => object(json_value()),
        1 => text().prop_map(|plain| ext(json!({"extra": plain}))),
    ]
    .prop_filter("the reserved key is refused", |ext| !ext.contains_key("sb"))
}

prop_compose! {
    fn media()(
        url in text(), name in maybe_text(), size: Option<u32>, format in maybe_text(),
        width: Option<u16>, height: Option<u16>, duration: Option<u16>,
        thumbnail in prop::option::of((text(), any::<Option<u16>>(), any::<Option<u16>>())),
    ) -> Media {
        Media {
            url: Some(url), data: None, name, size: size.map(u64::from), format,
            width: width.map(u32::from), height: height.map(u32::from), duration: duration.map(u32::from),
            secret: None,
            thumbnail: thumbnail.map(|(data, width, height)| Thumbnail {
                data: Some(data), width: width.map(u32::from), height: height.map(u32::from), ..Thumbnail::default()
            }),
        }
    }
}

fn body() -> impl Strategy<Value = Body> {
    let kinds = prop::option::of(prop_oneof![
        Just(ConversationKind::Direct),
        Just(ConversationKind::Group),
        Just(ConversationKind::Room),
        Just(ConversationKind::System),
    ]);
    let not_null = || prop::option::of(json_value().prop_filter("null says nothing", |value| !value.is_null()));
    prop_oneof![
        text().prop_map(Body::text),
        media().prop_map(|media| Body::Image(Media { duration: None, ..media })),
        media().prop_map(|media| Body::Image(Media { duration: None, format: Some("gif".to_owned()), ..media })),
        (media(), any::<bool>()).prop_map(|(media, inline)| {
            let (url, data) = if inline { (None, media.url) } else { (media.url, None) };
            Body::Audio(Media { url, data, width: None, height: None, thumbnail: None, ..media })
        }),
        media().prop_map(Body::Video),
        media().prop_map(|media| {
            Body::File(Media { width: None, height: None, duration: None, thumbnail: None, ..media })
        }),
        (-90.0..90.0_f64, -180.0..180.0_f64, maybe_text(), maybe_text()).prop_map(
            |(latitude, longitude, address, map)| Body::Location(Location { latitude, longitude, address, map })
        ),
        (text(), not_null(), any::<bool>()).prop_map(|(name, data, notice)| Body::Command(Command {
            name,
            data,
            notice
        })),
        ("[a-z:]{1,32}", json_value()).prop_map(|(name, data)| Body::Custom(Custom { name, data })),
        object(json_value()).prop_map(|object| Body::Native(Native {
            vendor: "rongcloud".into(),
            kind: "RC:InfoNtf".to_owned(),
            content: Value::Object(object),
        })),
        (
            prop::collection::vec(text(), 0..3),
            prop::collection::vec(text(), 0..3),
            any::<Option<u16>>(),
            kinds,
            not_null(),
            maybe_text()
        )
            .prop_map(|(summary, names, count, from, items, url)| Body::Combined(Combined {
                summary,
                names,
                count: count.map(u32::from),
                from,
                items,
                file: url.map(|url| Media { url: Some(url), ..Media::default() }),
                ..Combined::default()
            })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn what_is_sent_comes_back(
        body in body(),
        ext in any_ext(),
        mark in prop::option::of("[A-Za-z0-9._-]{1,20}"),
        mentions_everyone: bool,
        mentions in prop::collection::vec("[a-z]{1,8}", 0..3),
    ) {
        let mentions: Vec<VendorUserId> = mentions.into_iter().map(VendorUserId::from).collect();
        let room = match &body {
            Body::Custom(custom) => custom.data.is_object(),
            _ => true,
        };
        let none = Ext::new();
        let beside = if room {
            Beside { ext: &ext, mark: mark.as_deref(), mentions_everyone, mentions: &mentions, push_text: None }
        } else {
            Beside { ext: &none, ..plain() }
        };
        let written = codec().encode(&body, beside).unwrap();
        let decoded = codec().decode(&written.object_name, &written.content);
        prop_assert_eq!(serde_json::to_value(&decoded.body).unwrap(), serde_json::to_value(&body).unwrap());
        prop_assert_eq!(decoded.body, body);
        prop_assert_eq!(&decoded.ext, beside.ext);
        prop_assert_eq!(decoded.mark.as_deref(), beside.mark);
        prop_assert_eq!(decoded.mentions_everyone, beside.mentions_everyone);
        prop_assert_eq!(decoded.mentions, beside.mentions);
    }

    #[test]
    fn nothing_a_client_writes_makes_it_fail(name in "(RC:[A-Za-z]{1,10}|.{0,10})", content in ".{0,60}") {
        let _ = codec().decode(&name, &content);
    }
}
