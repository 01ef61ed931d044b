//! What works without a server: capabilities, the schema, the configuration.

use std::process::Stdio;

use serde_json::Value;

use crate::{complained, program, run, said};

const CONFIG: &str = r#"
[store]
url = "sqlite://cli.db"
[providers.huanxin]
kind = "huanxin"
app_key = "org#app"
client_id = "id"
client_secret = "secret"
base_url = "http://127.0.0.1:9"
[providers.rongcloud]
kind = "rongcloud"
app_key = "key"
app_secret = "secret"
[routing]
default = "huanxin"
"#;

fn configured() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("switchboard.toml"), CONFIG).unwrap();
    directory
}

#[test]
fn capabilities_equal_the_table_that_is_checked_in() {
    let directory = configured();
    let output = run(directory.path(), &["caps", "--json"]);
    assert_eq!((output.status.code(), complained(&output)), (Some(0), ""));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let table: Value = serde_json::from_str(include_str!("capabilities.json")).unwrap();
    assert_eq!(found, table, "what a vendor can do changed: look twice, then change tests/cli/capabilities.json");

    let one = run(directory.path(), &["caps", "--provider", "rongcloud", "--json"]);
    let one: Value = serde_json::from_slice(&one.stdout).unwrap();
    assert_eq!((one.as_object().unwrap().len(), &one["rongcloud"]), (1, &table["rongcloud"]));
    let text = run(directory.path(), &["caps"]);
    for words in ["huanxin (huanxin)", "rongcloud (rongcloud)", "sends to            direct, group, room, system"] {
        assert!(said(&text).contains(words), "{}", said(&text));
    }
    let nobody = run(directory.path(), &["caps", "--provider", "nobody"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(complained(&nobody).contains("no provider nobody"));
}

#[test]
fn the_schema_is_shown_and_brought_up_to_date() {
    let directory = configured();
    let steps = |arguments: &[&str]| -> Vec<Value> {
        let output = run(directory.path(), arguments);
        assert_eq!(output.status.code(), Some(0), "{}", complained(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let before = steps(&["migrate", "--status", "--json"]);
    assert!(!before.is_empty() && before.iter().all(|step| step["applied"] == false), "{before:?}");
    assert!(!directory.path().join("cli.db").exists(), "to look made a store");
    let shown = run(directory.path(), &["migrate", "--status"]);
    assert!(said(&shown).lines().all(|line| line.starts_with("open  0")), "{}", said(&shown));

    let done = steps(&["migrate", "--json"]);
    assert!(done.len() == before.len() && done.iter().all(|step| step["applied"] == true), "{done:?}");
    assert_eq!(steps(&["migrate", "--json"]), done, "a second time changes nothing");
    assert_eq!(steps(&["migrate", "--status", "--json"]), done);
    let shown = run(directory.path(), &["migrate", "--status"]);
    assert!(said(&shown).lines().all(|line| line.starts_with("done  0")), "{}", said(&shown));

    let directory = configured();
    std::fs::write(directory.path().join("cli.db"), "this is no database, and somebody may want it back").unwrap();
    let refused = run(directory.path(), &["migrate"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(complained(&refused).contains("cli.db"), "{}", complained(&refused));
    let kept = std::fs::read_to_string(directory.path().join("cli.db")).unwrap();
    assert!(kept.starts_with("this is no database"));
}

#[test]
fn check_tells_what_is_configured_and_prints_every_default() {
    let directory = configured();
    let good = run(directory.path(), &["check"]);
    assert_eq!((good.status.code(), complained(&good)), (Some(0), ""));
    for words in
        ["switchboard.toml: good", "provider huanxin: huanxin", "callbacks at /callbacks/rongcloud", "no [[tokens]]"]
    {
        assert!(said(&good).contains(words), "{}", said(&good));
    }
    let json = run(directory.path(), &["check", "--json"]);
    assert_eq!(json.status.code(), Some(0), "{}", complained(&json));
    let told: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&told["good"], &told["faults"]), (&true.into(), &serde_json::json!([])));
    assert_eq!(told["providers"]["huanxin"]["kind"], "huanxin");

    std::fs::write(directory.path().join("switchboard.toml"), CONFIG.replace("[store]", "[sotre]")).unwrap();
    let json = run(directory.path(), &["check", "--json"]);
    assert_eq!(json.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(told["good"], false);
    let fault = &told["faults"][0];
    assert_eq!((&fault["line"], &fault["path"]), (&2.into(), &"sotre".into()));
    assert_eq!(fault["hint"], "did you mean `store`?");

    // The printed defaults are a configuration.
    let defaults = run(directory.path(), &["check", "--print-default"]);
    std::fs::write(directory.path().join("switchboard.toml"), &defaults.stdout).unwrap();
    let good = run(directory.path(), &["check"]);
    assert_eq!(good.status.code(), Some(0), "{}", complained(&good));
    assert!(said(&good).contains("no provider"), "{}", said(&good));
}

#[test]
fn a_reader_that_hangs_up_is_no_error() {
    let directory = configured();
    let mut command = program(directory.path(), &["caps", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), complained(&output)), (Some(0), ""));
}
