//! One value of one fixture flipped at a time, and whether any test notices.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

/// A test, as the attribute has made it: it has a runtime of its own, on the thread that calls it.
pub(crate) type Flow = (&'static str, fn());

thread_local! {
    static READING: RefCell<Reading> = RefCell::default();
}

#[derive(Default)]
struct Reading {
    /// A fixture, and what it says instead.
    flipped: Option<(String, Vec<u8>)>,
    read: BTreeSet<String>,
}

/// A fixture's bytes, or what stands in for them now.
pub(crate) fn read(vendor: &str, name: &str) -> Vec<u8> {
    let flipped = READING.with_borrow_mut(|reading| {
        reading.read.insert(name.to_owned());
        reading.flipped.as_ref().filter(|(flipped, _)| flipped == name).map(|(_, bytes)| bytes.clone())
    });
    flipped.unwrap_or_else(|| {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(vendor).join(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    })
}

/// Runs a flow on a thread of its own: whether it passes, and what it reads.
fn run(flow: fn(), flipped: Option<(String, Vec<u8>)>) -> (bool, BTreeSet<String>) {
    let thread = std::thread::spawn(move || {
        READING.with_borrow_mut(|reading| *reading = Reading { flipped, read: BTreeSet::new() });
        let passed = std::panic::catch_unwind(flow).is_ok();
        (passed, READING.with_borrow(|reading| reading.read.clone()))
    });
    thread.join().unwrap()
}

/// The fixtures that no adapter has, so that only the emulator's own tests can judge them.
pub(crate) fn own_fixtures(vendor: &str) -> Vec<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let names = |folder: PathBuf| -> BTreeSet<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let theirs = names(root.join("../../adapters").join(vendor).join("fixtures"));
    names(root.join("fixtures").join(vendor)).difference(&theirs).cloned().collect()
}

/// Every value of these fixtures that can be flipped without any of the flows noticing, as `fixture: value`.
pub(crate) fn unnoticed(vendor: &str, fixtures: &[String], flows: &[Flow]) -> BTreeSet<String> {
    // Thousands of expected panics are nobody's news.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut readers: BTreeMap<&str, Vec<fn()>> = BTreeMap::new();
    let mut broken = Vec::new();
    for (name, flow) in flows {
        let (passed, read) = run(*flow, None);
        if !passed {
            broken.push(*name);
        }
        for fixture in fixtures.iter().filter(|fixture| read.contains(*fixture)) {
            readers.entry(fixture).or_default().push(*flow);
        }
    }
    let mut left = BTreeSet::new();
    let mut flipped = 0;
    for fixture in fixtures {
        let readers = readers.get(fixture.as_str()).map_or(&[][..], Vec::as_slice);
        for (value, bytes) in flips(fixture, &read(vendor, fixture)) {
            flipped += 1;
            if readers.iter().all(|flow| run(*flow, Some((fixture.clone(), bytes.clone()))).0) {
                left.insert(format!("{fixture}: {value}"));
            }
        }
    }
    std::panic::set_hook(hook);
    assert!(broken.is_empty(), "these fail by themselves: {broken:?}");
    println!("{flipped} values of {} fixtures flipped, {} unnoticed", fixtures.len(), left.len());
    left
}

/// Each value of a fixture with its name, and the fixture with that value flipped.
fn flips(name: &str, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    if name.ends_with(".form") {
        return form(&text);
    }
    if name.ends_with(".http") {
        let (head, body) = text.split_once("\n\n").unwrap();
        let json: Value = serde_json::from_str(body.trim_end()).unwrap();
        // The recorded length of the body stands in the head.
        let same = |flipped: &str| flipped.len() == body.trim_end().len();
        let bodies = json_flips(&json).into_iter().map(|(name, value)| (name, value.to_string()));
        return bodies
            .filter(|(_, body)| same(body))
            .map(|(name, body)| (name, format!("{head}\n\n{body}").into()))
            .collect();
    }
    let json: Value = serde_json::from_str(&text).unwrap();
    json_flips(&json).into_iter().map(|(name, value)| (name, value.to_string().into_bytes())).collect()
}

fn form(text: &str) -> Vec<(String, Vec<u8>)> {
    let pairs: Vec<(String, String)> = form_urlencoded::parse(text.as_bytes()).into_owned().collect();
    let mut all = Vec::new();
    for (at, (key, value)) in pairs.iter().enumerate() {
        for (name, flipped) in text_flips(value) {
            let mut pairs = pairs.clone();
            pairs[at].1 = flipped;
            let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
            let name = if name.is_empty() { key.clone() } else { format!("{key}.{name}") };
            all.push((format!("{at} {name}"), form.into_bytes()));
        }
    }
    all
}

/// A text with one thing changed; one that is JSON inside, value by value.
fn text_flips(text: &str) -> Vec<(String, String)> {
    match serde_json::from_str::<Value>(text) {
        Ok(json @ (Value::Object(_) | Value::Array(_))) => {
            json_flips(&json).into_iter().map(|(name, value)| (name, value.to_string())).collect()
        }
        _ => vec![(String::new(), flipped(text))],
    }
}

/// The last letter or digit is another one; what has none gets one.
fn flipped(text: &str) -> String {
    let Some(at) = text.rfind(|letter: char| letter.is_ascii_alphanumeric()) else { return format!("{text}x") };
    let letter = match &text[at..=at] {
        "9" => "8",
        digit if digit.as_bytes()[0].is_ascii_digit() => "9",
        "x" => "y",
        _ => "x",
    };
    format!("{}{letter}{}", &text[..at], &text[at + 1..])
}

fn json_flips(json: &Value) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    match json {
        Value::Object(map) => {
            for (key, value) in map {
                for (name, value) in json_flips(value) {
                    let mut map = map.clone();
                    map.insert(key.clone(), value);
                    all.push((format!("{key}{}{name}", if name.is_empty() { "" } else { "." }), Value::Object(map)));
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                for (name, value) in json_flips(item) {
                    let mut items = items.clone();
                    items[at] = value;
                    all.push((format!("{at}{}{name}", if name.is_empty() { "" } else { "." }), Value::Array(items)));
                }
            }
        }
        Value::String(text) => {
            let texts = text_flips(text).into_iter();
            all.extend(texts.map(|(name, text)| (name, Value::String(text))));
        }
        Value::Number(number) => all.push((String::new(), Value::from(number.as_i64().unwrap() + 1))),
        Value::Bool(is) => all.push((String::new(), Value::Bool(!is))),
        Value::Null => all.push((String::new(), Value::from(1))),
    }
    all
}
