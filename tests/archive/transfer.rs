//! Exports and imports.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use switchboard::transfer::{EVENTS_FILE, ExportManifest, ExportScope, ImportOptions, MANIFEST_FILE, import};
use switchboard::{ErrorKind, Switchboard};
use switchboard_contract::storage::{Appended, Entry, PageDirection};
use switchboard_contract::{Event, Position, Sequence};

use crate::stage::{DAY, NOW, SHARD, Stage, append, close, conversation, message, past, recall, tenant, walk};
use crate::support::sidecar::{Sidecar, TOKEN};

/// Writes an export as the command line does.
pub(crate) async fn export(switchboard: &Switchboard, scope: ExportScope, folder: &Path) -> ExportManifest {
    let mut export = switchboard.tenant(tenant()).export(scope);
    let mut lines = Vec::new();
    while let Some(more) = export.next().await.unwrap() {
        lines.extend_from_slice(&more);
    }
    let manifest = export.finish();
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join(EVENTS_FILE), lines).unwrap();
    std::fs::write(folder.join(MANIFEST_FILE), manifest.to_json().unwrap()).unwrap();
    manifest
}

/// The program, in the stage's folder and perhaps speaking to a sidecar.
pub(crate) fn binary(stage: &Stage, arguments: &[&str], sidecar: Option<&Sidecar>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
    command.args(arguments).current_dir(stage.path()).env("SWITCHBOARD_TOKEN", TOKEN);
    if let Some(sidecar) = sidecar {
        command.env("SWITCHBOARD_URL", &sidecar.url);
    }
    command
}

/// Messages, a recall, and a part of them archived.
async fn lived(stage: &Stage) -> Switchboard {
    let switchboard = stage.open().await;
    let old = past(4, 60, NOW - 300 * DAY);
    append(&**switchboard.store(), old.clone()).await;
    append(&**switchboard.store(), vec![recall(&old[9], NOW - 299 * DAY)]).await;
    switchboard.archiver().unwrap().run(&tenant(), None).await.unwrap();
    append(&**switchboard.store(), vec![recall(&old[17], NOW - DAY)]).await;
    let mut young = past(4, 20, NOW - 3 * DAY);
    young.iter_mut().for_each(|draft| draft.key.id.push('y'));
    append(&**switchboard.store(), young).await;
    switchboard
}

/// Entries without their places in the journal.
fn placeless(entries: &[Entry]) -> Vec<(Option<Sequence>, Vec<u8>)> {
    let json = |entry: &Entry| Event::at_position(&entry.json, Position(0)).unwrap().to_vec();
    entries.iter().map(|entry| (entry.sequence, json(entry))).collect()
}

#[tokio::test]
async fn an_export_restores_the_same_history_in_an_empty_instance() {
    let stage = Stage::new();
    let switchboard = lived(&stage).await;
    let folder = stage.path().join("export");
    let manifest = export(&switchboard, ExportScope::Everything, &folder).await;
    assert_eq!((manifest.conversations, manifest.messages, manifest.events), (4, 320, 322), "{manifest:?}");

    let other = Stage::new();
    let store = other.store().await;
    let mut told = Vec::new();
    let report = import(&*store, &folder, ImportOptions::default(), |done, all| told.push((done, all))).await.unwrap();
    assert_eq!((report.events, report.imported, report.known), (322, 322, 0));
    assert_eq!(told.last(), Some(&(322, 322)));
    // Once more: it is there.
    let again = import(&*store, &folder, ImportOptions::default(), |_, _| {}).await.unwrap();
    assert_eq!((again.imported, again.known), (0, 322));
    store.close().await;

    let restored = other.open().await;
    for of in 0..4 {
        for direction in [PageDirection::Older, PageDirection::Newer] {
            let (here, there) = (
                walk(&switchboard, &conversation(of), direction, 17).await,
                walk(&restored, &conversation(of), direction, 23).await,
            );
            assert_eq!(placeless(&here), placeless(&there), "conversation {of}");
        }
        let summary = |of: Switchboard, number| async move {
            of.store().conversation(&tenant(), &conversation(number)).await.unwrap()
        };
        assert_eq!(summary(switchboard.clone(), of).await, summary(restored.clone(), of).await);
    }
    let second = other.path().join("export");
    assert_eq!(export(&restored, ExportScope::Everything, &second).await, manifest);
    assert!(std::fs::read(folder.join(EVENTS_FILE)).unwrap() == std::fs::read(second.join(EVENTS_FILE)).unwrap());

    // Life goes on: what is known is known, what is new takes the next number, and nobody is given the past.
    let known = append(&**restored.store(), past(4, 1, NOW - 300 * DAY)).await;
    assert!(known.iter().all(|one| matches!(one, Appended::Known { .. })), "{known:?}");
    let last = restored.store().conversation(&tenant(), &conversation(2)).await.unwrap().unwrap().last_sequence;
    let fresh = append(&**restored.store(), vec![message(999, 2, NOW)]).await;
    let tail = restored.store().tail(&tenant(), SHARD).await.unwrap();
    assert_eq!(fresh[0], Appended::Fresh { position: tail, sequence: Some(Sequence(last.0 + 1)) });
    let backlog = restored.store().backlog(&tenant(), SHARD, Position(322), tail, 0, 10).await.unwrap();
    assert_eq!(
        (backlog.len(), backlog[0].range.first, backlog[0].range.last),
        (1, Sequence(last.0 + 1), Sequence(last.0 + 1))
    );
    // And it can be archived, from there.
    let moved = restored.archiver().unwrap().run(&tenant(), None).await.unwrap();
    assert_eq!(moved.messages, 240);
    assert_eq!(walk(&restored, &conversation(2), PageDirection::Older, 50).await.len(), 81);
    close(switchboard).await;
    close(restored).await;
}

#[tokio::test]
async fn a_conversation_and_a_user_are_exported_by_themselves() {
    let stage = Stage::new();
    let switchboard = lived(&stage).await;
    let one = stage.path().join("one");
    let manifest = export(&switchboard, ExportScope::Conversation(conversation(1)), &one).await;
    assert_eq!((manifest.conversations, manifest.messages), (1, 80));
    let user = stage.path().join("user");
    let manifest = export(&switchboard, ExportScope::User("alice".into()), &user).await;
    // Both direct conversations whole; of each group her own: every third.
    assert_eq!((manifest.conversations, manifest.messages), (4, 2 * 80 + 2 * (20 + 7)), "{manifest:?}");
    for (folder, number) in [(&one, 1), (&user, 3)] {
        let other = Stage::new();
        let store = other.store().await;
        import(&*store, folder, ImportOptions::default(), |_, _| {}).await.unwrap();
        store.close().await;
        let restored = other.open().await;
        let again = other.path().join("again");
        let scope = ExportManifest::from_json(&std::fs::read(folder.join(MANIFEST_FILE)).unwrap()).unwrap().scope;
        export(&restored, scope, &again).await;
        assert!(std::fs::read(folder.join(EVENTS_FILE)).unwrap() == std::fs::read(again.join(EVENTS_FILE)).unwrap());
        // With gaps where others spoke.
        let found = walk(&restored, &conversation(number), PageDirection::Newer, 10).await;
        assert!(found.iter().map(|entry| entry.sequence).is_sorted() && !found.is_empty());
        close(restored).await;
    }
    let unknown = ExportScope::Conversation(conversation(77));
    let refused = switchboard.tenant(tenant()).export(unknown).next().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    close(switchboard).await;
}

#[tokio::test]
async fn what_was_tampered_with_is_refused_with_its_line_and_nothing_is_written() {
    let stage = Stage::new();
    let switchboard = lived(&stage).await;
    let folder = stage.path().join("export");
    export(&switchboard, ExportScope::Everything, &folder).await;
    close(switchboard).await;
    let whole = std::fs::read_to_string(folder.join(EVENTS_FILE)).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let with = |at: usize, line: &str| {
        let mut changed = lines.clone();
        changed[at] = line;
        changed.join("\n") + "\n"
    };
    let mut swapped = lines.clone();
    swapped.swap(40, 41);
    let mut shorter = lines.clone();
    shorter.remove(99);
    let word = lines[16].replacen("message ", "massage ", 1);
    assert_ne!(word, lines[16]);
    for (text, told) in [
        (with(16, &word), "line 17 is not what was exported"),
        (with(3, "garbage"), "line 4 is no line of an export"),
        (with(7, ""), "line 8 is no line of an export"),
        (swapped.join("\n") + "\n", "line 41 is not what was exported"),
        (shorter.join("\n") + "\n", "line 100 is not what was exported"),
        (lines[..300].join("\n") + "\n", "has 300 lines that are not the 322 of its manifest"),
        (whole.trim_end().to_owned(), "line 322 has no end"),
        (String::new(), "has 0 lines"),
    ] {
        std::fs::write(folder.join(EVENTS_FILE), text).unwrap();
        let other = Stage::new();
        let store = other.store().await;
        let refused = import(&*store, &folder, ImportOptions::default(), |_, _| {}).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        assert!(refused.message().contains(told), "{told}: {}", refused.message());
        assert_eq!(store.tail(&tenant(), SHARD).await.unwrap(), Position(0));
        store.close().await;
    }
    std::fs::write(folder.join(EVENTS_FILE), &whole).unwrap();
    std::fs::write(folder.join(MANIFEST_FILE), "{}").unwrap();
    let other = Stage::new();
    let store = other.store().await;
    let refused = import(&*store, &folder, ImportOptions::default(), |_, _| {}).await.unwrap_err();
    assert!(refused.message().contains("manifest.json"), "{refused}");
    store.close().await;
}

#[tokio::test]
async fn a_store_that_is_not_empty_is_refused_unless_it_is_to_be_merged() {
    let stage = Stage::new();
    let switchboard = lived(&stage).await;
    let folder = stage.path().join("export");
    export(&switchboard, ExportScope::Everything, &folder).await;
    close(switchboard).await;

    let other = Stage::new();
    let store = other.store().await;
    append(&*store, past(4, 30, NOW - 300 * DAY)).await;
    let refused = import(&*store, &folder, ImportOptions::default(), |_, _| {}).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    let merge = ImportOptions { merge: true };
    let first = import(&*store, &folder, merge, |_, _| {}).await.unwrap();
    assert_eq!((first.imported, first.known + first.other), (322 - 120, 120), "{first:?}");
    let second = import(&*store, &folder, merge, |_, _| {}).await.unwrap();
    assert_eq!(second.imported, 0, "{second:?}");
    store.close().await;
    let restored = other.open().await;
    let found = walk(&restored, &conversation(1), PageDirection::Newer, 33).await;
    assert_eq!(found.len(), 80);
    assert!(found.iter().map(|entry| entry.sent_at).is_sorted());
    close(restored).await;
}

#[tokio::test]
async fn the_command_line_exports_and_imports() {
    let stage = Stage::new();
    close(lived(&stage).await).await;
    let config = "[store]\nurl = \"sqlite://store.db\"\n[archive]\nlocation = \"archive\"\nevery = \"0s\"\n";
    let sidecar = Sidecar::start(stage.path(), config);
    let run = |arguments: &[&str]| {
        let output = binary(&stage, arguments, Some(&sidecar)).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said, complained) = run(&["export", "--out", "whole", "--json"]);
    assert_eq!((code, complained.as_str()), (Some(0), ""));
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["events"], 322);
    let (code, _, complained) = run(&["export", "--out", "whole"]);
    assert!(code == Some(1) && complained.contains("whole exists"), "{complained}");
    let (code, _, complained) = run(&["export", "--out", "none", "--conversation", "group~nowhere"]);
    assert!(code == Some(1) && complained.contains("no such conversation"), "{complained}");
    assert!(!stage.path().join("none").exists() && !stage.path().join("none.part").exists());
    let (code, said, _) = run(&["export", "--out", "alice", "--user", "alice"]);
    assert!(code == Some(0) && said.contains("4 conversations"), "{said}");

    let (code, said, _) = run(&["archive", "status"]);
    assert!(code == Some(0) && said.contains("240 messages in 1 files"), "{said}");
    let (code, said, _) = run(&["archive", "verify", "--json"]);
    assert_eq!((code, serde_json::from_str::<Value>(&said).unwrap()["good"].clone()), (Some(0), true.into()));
    let (code, _, complained) = run(&["archive", "run", "--older-than", "1h"]);
    assert!(code == Some(1) && complained.contains("at least 1 day"), "{complained}");
    let (code, said, _) = run(&["archive", "run", "--older-than", "180d", "--json"]);
    let told: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &told["state"], &told["report"]["rewritten"]), (Some(0), &"done".into(), &1.into()), "{told}");

    let other = Stage::new();
    std::fs::write(other.path().join("switchboard.toml"), "[store]\nurl = \"sqlite://store.db\"\n").unwrap();
    let folder = stage.path().join("whole");
    let output = binary(&other, &["import", folder.to_str().unwrap()], None).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("322 of 322 events imported"));
    // A running sidecar has the file.
    let taken = binary(&stage, &["import", folder.to_str().unwrap()], None).output().unwrap();
    assert_eq!(taken.status.code(), Some(1));
}
