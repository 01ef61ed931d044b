//! `kill -9` in the middle of a run and of an import, and every place a run can end at.
//! `SWITCHBOARD_SEED` repeats a run.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use switchboard::transfer::ExportScope;
use switchboard_contract::Timestamp;
use switchboard_contract::storage::PageDirection;

use crate::stage::{DAY, NOW, Stage, append, close, conversation, count, past, recall, tenant, walk};
use crate::support::sidecar::Sidecar;
use crate::transfer::{binary, export};

/// November 2023: old by any clock.
const OLD: Timestamp = Timestamp(1_700_000_000_000);
const CONFIG: &str = "[store]\nurl = \"sqlite://store.db\"\n[archive]\nlocation = \"archive\"\nevery = \"0s\"\n";
const CONVERSATIONS: u32 = 6;

fn seed() -> u64 {
    let seed = std::env::var("SWITCHBOARD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("SWITCHBOARD_SEED={seed}");
    seed
}

async fn histories(sidecar: &Sidecar) -> BTreeMap<String, Vec<Value>> {
    let mut found = BTreeMap::new();
    for of in 0..CONVERSATIONS {
        let (id, mut messages, mut cursor) = (conversation(of), Vec::new(), String::new());
        loop {
            let page = sidecar.get(&format!("/v1/conversations/{id}/messages?limit=100{cursor}")).await;
            messages.extend(page["messages"].as_array().unwrap().iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&before={next}"),
                None => break,
            }
        }
        found.insert(id.to_string(), messages);
    }
    found
}

/// Ten days of messages in the database.
async fn filled() -> Stage {
    let stage = Stage::new();
    let store = stage.store().await;
    for day in 0..10 {
        let mut drafts = past(CONVERSATIONS, 40, OLD + DAY * day);
        drafts.iter_mut().for_each(|draft| draft.key.id = format!("{day}-{}", draft.key.id));
        append(&*store, drafts).await;
    }
    store.close().await;
    stage
}

#[tokio::test]
async fn a_run_that_is_killed_loses_nothing_and_doubles_nothing() {
    let mut random = StdRng::seed_from_u64(seed());
    let stage = filled().await;
    let mut sidecar = Sidecar::start(stage.path(), CONFIG);
    let expected = histories(&sidecar).await;
    assert!(expected.values().all(|messages| messages.len() == 400));
    for round in 0..6 {
        sidecar.send(reqwest::Method::POST, "/v1/archive/run", &json!({ "older_than": "180d" })).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..120))).await;
        sidecar.kill();
        sidecar = Sidecar::start(stage.path(), CONFIG);
        assert_eq!(histories(&sidecar).await, expected, "round {round}");
        // More for the next round.
        if round < 3 {
            sidecar.terminate();
            let store = stage.store().await;
            let mut late = past(1, 1, OLD + DAY * round + Duration::from_millis(7));
            late[0].key.id = format!("late {round}");
            late[0].event.conversation = Some(switchboard::ConversationId::group(&"elsewhere".into()));
            append(&*store, late).await;
            store.close().await;
            sidecar = Sidecar::start(stage.path(), CONFIG);
        }
    }
    let run = binary(&stage, &["archive", "run", "--older-than", "180d", "--json"], Some(&sidecar)).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(histories(&sidecar).await, expected);
    let verified = sidecar.send(reqwest::Method::POST, "/v1/archive/verify", &json!({})).await;
    assert_eq!((&verified["good"], &verified["messages"]), (&true.into(), &2403.into()), "{verified}");
    let named = sidecar.get("/v1/archive").await["list"].as_array().unwrap().len();
    sidecar.terminate();
    let full = "SELECT count(*) FROM journal WHERE message IS NOT NULL AND length(json) > 0";
    assert_eq!(count(&stage.database(), full), 0);
    assert_eq!(count(&stage.database(), "SELECT sum(messages) FROM archived_days"), 2403);
    assert!(stage.files().len() >= named);
}

#[tokio::test]
async fn a_run_that_ended_behind_its_list_is_taken_up_again() {
    let stage = filled().await;
    let before = stage.path().join("before.db");
    std::fs::copy(stage.database(), &before).unwrap();
    let switchboard = stage.open().await;
    let expected = walk(&switchboard, &conversation(0), PageDirection::Older, 90).await;
    assert_eq!(switchboard.archiver().unwrap().run(&tenant(), None).await.unwrap().messages, 2400);
    let files = stage.files();
    close(switchboard).await;

    // The list is durable, and of what followed nothing is.
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", stage.database().display()));
    }
    std::fs::copy(&before, stage.database()).unwrap();
    // The installation keeps its name: it was told to the database before the first file.
    let owner: Value =
        serde_json::from_slice(&std::fs::read(stage.path().join("archive/default/manifest.json")).unwrap()).unwrap();
    let owner = hex::decode(owner["owner"].as_str().unwrap()).unwrap();
    let store = stage.store().await;
    store.setting_or_insert("archive/owner", &owner).await.unwrap();
    store.close().await;
    // Nobody names this one: a crash before the list.
    let orphan = stage.path().join("archive/default/2023-11-14/00000009-0000.parquet");
    std::fs::write(&orphan, "half a file").unwrap();

    let switchboard = stage.open().await;
    assert_eq!(walk(&switchboard, &conversation(0), PageDirection::Older, 90).await, expected, "each once");
    // It becomes a tombstone while both have it.
    let target = {
        let mut drafts = past(CONVERSATIONS, 40, OLD);
        drafts.iter_mut().for_each(|draft| draft.key.id = format!("0-{}", draft.key.id));
        drafts.swap_remove(0)
    };
    append(&**switchboard.store(), vec![recall(&target, NOW)]).await;
    let report = switchboard.archiver().unwrap().run(&tenant(), None).await.unwrap();
    assert_eq!((report.recovered, report.messages, report.removed), (2400, 0, 1), "{report:?}");
    assert!(!orphan.exists());
    assert_eq!(report.rewritten, 1, "the tombstone reaches its file at once");
    let found = walk(&switchboard, &conversation(0), PageDirection::Older, 90).await;
    assert_eq!(found.len(), expected.len());
    assert_eq!(found[..found.len() - 1], expected[..expected.len() - 1]);
    let dead = found[found.len() - 1].event().unwrap();
    assert!(matches!(dead.data, switchboard::EventData::Message(message) if message.recalled));
    let verified = switchboard.archiver().unwrap().verify(&tenant()).await.unwrap();
    assert!(verified.good && verified.messages == 2400, "{verified:?}");
    assert!(files.iter().filter(|file| file.exists()).count() >= 9);
    close(switchboard).await;
}

#[tokio::test]
async fn an_import_that_is_killed_goes_on_where_it_ended() {
    let mut random = StdRng::seed_from_u64(seed());
    let from = filled().await;
    let switchboard = from.open().await;
    let folder = from.path().join("export");
    export(&switchboard, ExportScope::Everything, &folder).await;
    close(switchboard).await;

    let to = Stage::new();
    std::fs::write(to.path().join("switchboard.toml"), "[store]\nurl = \"sqlite://store.db\"\n").unwrap();
    let arguments = ["import", folder.to_str().unwrap(), "--json"];
    let mut killed = 0;
    for _ in 0..6 {
        let mut child = binary(&to, &arguments, None).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(random.random_range(20..400))).await;
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            killed += 1;
        }
        child.wait().unwrap();
    }
    println!("killed {killed} times");
    let last = binary(&to, &arguments, None).output().unwrap();
    assert!(last.status.success(), "{}", String::from_utf8_lossy(&last.stderr));
    let report: Value = serde_json::from_slice(&last.stdout).unwrap();
    assert_eq!(report["known"].as_u64().unwrap() + report["imported"].as_u64().unwrap(), 2400, "{report}");
    let switchboard = to.open().await;
    let again = to.path().join("again");
    export(&switchboard, ExportScope::Everything, &again).await;
    for file in ["events.ndjson", "manifest.json"] {
        assert!(std::fs::read(folder.join(file)).unwrap() == std::fs::read(again.join(file)).unwrap(), "{file}");
    }
    close(switchboard).await;
}
