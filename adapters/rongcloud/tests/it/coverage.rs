//! Every fixture is used by a test, and the coverage page says what the tests show. `REWRITE_COVERAGE=1` writes the
//! page anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use switchboard_contract::{Messaging, Provider};

use crate::support::{fixture_json, offline, root};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// File names of fixtures in the tests' sources, by the file that names them.
fn named() -> BTreeMap<String, BTreeSet<String>> {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    sources(&root().join("tests"), &mut files);
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let place = file.strip_prefix(root()).unwrap().display().to_string();
        for quoted in text.split('"').skip(1).step_by(1) {
            let name = quoted.rsplit('/').next().unwrap_or(quoted);
            names.entry(name.to_owned()).or_default().insert(place.clone());
        }
    }
    names
}

fn fixtures(folder: &str) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(root().join("fixtures").join(folder))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| name != "SHA256SUMS")
        .collect();
    names.sort();
    names
}

#[test]
fn every_fixture_is_used_by_a_test() {
    let named = named();
    let unused: Vec<_> = fixtures("").into_iter().filter(|name| !named.contains_key(name)).collect();
    assert!(unused.is_empty(), "no test names {unused:?}");
}

#[test]
fn every_golden_file_has_its_fixture() {
    let sources: BTreeSet<String> = fixtures("").iter().map(|name| name.replace('.', "_")).collect();
    let orphans: Vec<_> =
        fixtures("golden").into_iter().filter(|name| !sources.contains(name.trim_end_matches(".json"))).collect();
    assert!(orphans.is_empty(), "{orphans:?}");
}

/// What kinds of event and body a golden file holds.
fn kinds(name: &str) -> String {
    let golden = root().join("fixtures/golden").join(format!("{}.json", name.replace('.', "_")));
    let Ok(text) = std::fs::read_to_string(golden) else { return String::new() };
    let events: Value = serde_json::from_str(&text).unwrap();
    let kinds: BTreeSet<String> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            let (kind, data) = event["data"].as_object().unwrap().iter().next().unwrap();
            match data["body"]["type"].as_str() {
                Some(body) => format!("{kind} ({body})"),
                None => match data["change"].as_str().or(data["verdict"].as_str()).or(data["state"].as_str()) {
                    Some(word) => format!("{kind} ({word})"),
                    None => kind.clone(),
                },
            }
        })
        .collect();
    kinds.into_iter().collect::<Vec<_>>().join(", ")
}

fn page() -> String {
    let mut page = String::from(
        "# What the RongCloud adapter covers\n\nWritten by the adapter's tests; `REWRITE_COVERAGE=1 cargo nextest run \
         -p switchboard-rongcloud coverage` writes it anew.\n\n## Message types\n\n| RongCloud | Body | Both ways |\n\
         |---|---|---|\n",
    );
    let provider = offline();
    let callbacks = provider.callbacks().unwrap();
    for (name, content) in fixture_json("message_contents.json").as_object().unwrap() {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("fromUserId", "a"), ("toUserId", "b"), ("channelType", "PERSON"), ("msgUID", "u")])
            .extend_pairs([("msgTimestamp", "1"), ("objectName", name), ("content", &content.to_string())])
            .finish();
        let raw = switchboard_contract::RawCallback {
            path: String::new(),
            query: String::new(),
            headers: Vec::new(),
            body: body.into(),
            received_at: switchboard_contract::Timestamp(0),
        };
        let verified = switchboard_contract::VerifiedCallback::assume_verified(raw, true);
        let event = callbacks.decode(&verified).remove(0);
        let (body, both_ways) = match &event.data {
            switchboard_contract::InboundData::Message(found) => {
                let target = switchboard_contract::Target::Users(vec!["b".into()]);
                let back = crate::requests::message("a", target, found.body.clone());
                (found.body.kind(), if provider.check(&back).is_ok() { "yes" } else { "no" })
            }
            switchboard_contract::InboundData::Recall { .. } => ("an event: recall", "by a recall"),
            switchboard_contract::InboundData::Receipt { .. } => ("an event: receipt", "no"),
            other => panic!("{other:?}"),
        };
        page.push_str(&format!("| `{name}` | {body} | {both_ways} |\n"));
    }
    page.push_str("| any other `RC:…` | native | yes |\n| any other name | custom | yes |\n");
    page.push_str("\n## The vendor's documents\n\n| Fixture | Decodes to | Held by |\n|---|---|---|\n");
    let named = named();
    for fixture in fixtures("") {
        let places: Vec<_> = named.get(&fixture).into_iter().flatten().map(|place| format!("`{place}`")).collect();
        page.push_str(&format!("| `{fixture}` | {} | {} |\n", kinds(&fixture), places.join(", ")));
    }
    page
}

#[test]
fn the_coverage_page_says_what_the_tests_show() {
    let path = root().join("../../docs/coverage-rongcloud.md");
    let page = page();
    if std::env::var_os("REWRITE_COVERAGE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, page).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(kept, page, "run with REWRITE_COVERAGE=1 and read what changed");
}
