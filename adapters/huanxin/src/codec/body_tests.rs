#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::option;
use proptest::prelude::*;
use switchboard_contract::{ErrorKind, Native, VendorKind};

use super::*;

fn raw(map: Map<String, Value>) -> Box<RawValue> {
    serde_json::value::to_raw_value(&map).unwrap()
}

fn words() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 /:.%\"\\\\你好\\n]{0,12}"
}

fn file() -> impl Strategy<Value = Media> {
    (words(), option::of(words()), option::of(words()), option::of(0..=i64::MAX as u64))
        .prop_map(|(url, name, secret, size)| Media { url: Some(url), name, secret, size, ..Media::default() })
}

fn film() -> impl Strategy<Value = Media> {
    let small = (option::of(words()), option::of(words()))
        .prop_map(|(url, secret)| Thumbnail { url, secret, ..Thumbnail::default() })
        .prop_filter("an empty thumbnail says nothing", |small| *small != Thumbnail::default());
    (file(), option::of(any::<u32>()), option::of(any::<u32>()), option::of(any::<u32>()), option::of(small))
        .prop_map(|(file, width, height, duration, thumbnail)| Media { width, height, duration, thumbnail, ..file })
}

/// Where the vendor requires the field, an empty one stands for none.
fn said() -> impl Strategy<Value = Option<String>> {
    option::of(words().prop_filter("says something", |text| !text.is_empty()))
}

fn location() -> impl Strategy<Value = Location> {
    (-90.0..=90.0, -180.0..=180.0, said()).prop_map(|(latitude, longitude, address)| Location {
        latitude,
        longitude,
        address,
        map: None,
    })
}

fn entries() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        proptest::collection::btree_map(words(), words(), 0..5).prop_map(|entries| json!(entries)),
    ]
}

fn combined() -> impl Strategy<Value = Combined> {
    let lines = proptest::collection::vec("[a-z:\\[\\] ]{0,8}", 0..4);
    (option::of(words()), lines, said(), option::of(any::<u32>()), option::of(file())).prop_map(
        |(title, summary, fallback, level, file)| Combined {
            title,
            summary,
            fallback,
            level,
            file,
            ..Combined::default()
        },
    )
}

fn bodies() -> impl Strategy<Value = Body> {
    prop_oneof![
        words().prop_map(Body::text),
        film().prop_map(|film| Body::Image(Media { duration: None, thumbnail: None, ..film })),
        film().prop_map(|film| Body::Audio(Media { width: None, height: None, thumbnail: None, ..film })),
        film().prop_map(Body::Video),
        file().prop_map(Body::File),
        location().prop_map(Body::Location),
        (words(), option::of(entries().prop_filter("an object", Value::is_object)))
            .prop_map(|(name, data)| Body::Command(Command { name, data, notice: false })),
        ("[a-zA-Z0-9_/.-]{1,32}", entries()).prop_map(|(name, data)| Body::Custom(Custom { name, data })),
        combined().prop_map(Body::Combined),
    ]
}

proptest! {
    #[test]
    fn every_body_the_vendor_can_carry_survives(body in bodies()) {
        let kind = wire_name(&body).unwrap();
        let mut wire = encode(&body).unwrap();
        prop_assert!(decode(&raw(wire.clone()), Some(kind)) == body, "as a REST request carries it");
        // Callbacks and history put the type inside.
        wire.insert("type".to_owned(), kind.into());
        prop_assert!(decode(&raw(wire), None) == body, "as a callback carries it");
    }

    #[test]
    fn nothing_makes_decoding_panic_or_lose_bytes(text in "\\{\"type\":\"(txt|img|loc|cmd|custom|video|x)\"(,\"(msg|url|lat|lng|size|length|action|customExts|v2:customExts)\":(1|-1|1e99|\"a\"|null|\\[\\]|\\[1\\]|\\{\\}|\\{\"width\":-1\\})){0,4}\\}") {
        if let Ok(raw) = RawValue::from_string(text.clone())
            && let Body::Unrecognised(kept) = decode(&raw, None)
        {
            prop_assert_eq!(kept.raw, text);
        }
    }
}

#[test]
fn what_the_vendor_cannot_carry_is_refused_and_never_dropped() {
    let url = || Media { url: Some("u".into()), ..Media::default() };
    let refused = [
        Body::Image(Media { data: Some("x".into()), ..url() }),
        Body::Image(Media { duration: Some(1), ..url() }),
        Body::Image(Media { thumbnail: Some(Thumbnail::default()), ..url() }),
        Body::Audio(Media { width: Some(1), ..url() }),
        Body::File(Media { format: Some("pdf".into()), ..url() }),
        Body::Video(Media { thumbnail: Some(Thumbnail { width: Some(1), ..Thumbnail::default() }), ..url() }),
        Body::Location(Location { map: Some("x".into()), ..Location::default() }),
        Body::Command(Command { name: "a".into(), data: Some(json!("text")), notice: false }),
        Body::Custom(Custom { name: "a".into(), data: json!({"n": 1}) }),
        Body::Combined(Combined { names: vec!["a".into()], ..Combined::default() }),
        Body::Combined(Combined { items: Some(json!([])), ..Combined::default() }),
        Body::Combined(Combined { summary: vec!["a\nb".into()], ..Combined::default() }),
        Body::Native(Native { vendor: VendorKind::from("x"), kind: "k".into(), content: Value::Null }),
        Body::Unrecognised(Unrecognised::default()),
    ];
    for body in refused {
        let shown = format!("{body:?}");
        assert_eq!(encode(&body).unwrap_err().kind(), ErrorKind::Unsupported, "{shown}");
    }
    let wrong = [
        Body::Image(Media::default()),
        Body::Location(Location { latitude: 90.1, ..Location::default() }),
        Body::Location(Location { longitude: f64::NAN, ..Location::default() }),
        Body::Custom(Custom { name: "no blanks".into(), data: Value::Null }),
        Body::Custom(Custom { name: "a".repeat(33), data: Value::Null }),
    ];
    for body in wrong {
        let shown = format!("{body:?}");
        assert_eq!(encode(&body).unwrap_err().kind(), ErrorKind::InvalidInput, "{shown}");
    }
}

#[test]
fn both_forms_of_custom_entries_and_places_read_alike() {
    let read = |text: &str| decode(&RawValue::from_string(text.to_owned()).unwrap(), None);
    let map = read(r#"{"type":"custom","customEvent":"e","customExts":{"a":"1","b":"2"}}"#);
    assert!(map == read(r#"{"type":"custom","customEvent":"e","customExts":[{"a":"1"},{"b":"2"}]}"#));
    assert!(
        map == read(
            r#"{"type":"custom","customEvent":"e","customExts":[{"x":"0"}],"v2:customExts":{"a":"1","b":"2"}}"#
        )
    );
    let texts = read(r#"{"type":"loc","lat":"31.2304","lng":"121.4737"}"#);
    assert!(texts == read(r#"{"type":"loc","lat":31.2304,"lng":121.4737}"#));
    assert!(read(r#"{"type":"cmd","msg":"go"}"#) == read(r#"{"type":"cmd","action":"go"}"#));
    assert!(matches!(read(r#"{"type":"hologram","msg":"x"}"#), Body::Unrecognised(kept) if kept.kind == "hologram"));
}
