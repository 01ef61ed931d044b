//! RongCloud's own Node and Python SDKs, from npm and PyPI, as independent judges of the emulator: what they return and what
//! the ledger then holds.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use switchboard_emulators::{common::LedgerMessage, rongcloud::RongCloudEmulator};
use tokio::process::Command;

const SET_UP: &str = "run scripts/setup-tests, which installs the judges' packages";

fn judges() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("judges")
}

/// Runs a script against an emulator and returns what it printed.
async fn judged(emulator: &RongCloudEmulator, program: &str, script: &str) -> Value {
    let (app_key, app_secret) = emulator.credentials();
    let output = Command::new(program)
        .arg(judges().join(script))
        .args([emulator.base_url(), app_key, app_secret])
        .env("NO_PROXY", "127.0.0.1")
        .env("no_proxy", "127.0.0.1")
        .kill_on_drop(true)
        .output()
        .await
        .unwrap_or_else(|error| panic!("cannot run {program} ({error}); {SET_UP}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} failed ({SET_UP}): {errors}");
    let printed = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{script} printed no JSON ({error}): {printed}"))
}

async fn node(emulator: &RongCloudEmulator) -> Value {
    assert!(judges().join("node_modules/rongcloud-sdk/package.json").exists(), "the Node SDK is missing; {SET_UP}");
    judged(emulator, "node", "rongcloud_node_sdk.mjs").await
}

async fn python(emulator: &RongCloudEmulator) -> Value {
    let program = judges().join(".venv/bin/python");
    assert!(program.exists(), "the Python SDK's environment is missing; {SET_UP}");
    judged(emulator, program.to_str().unwrap(), "rongcloud_python_sdk.py").await
}

async fn start() -> RongCloudEmulator {
    let emulator = RongCloudEmulator::builder().credentials("demoappkey01", "demosecret01").start().await.unwrap();
    emulator.user("node_alice").join_room("node_room").unwrap();
    emulator.user("py_alice").join_room("py_room").unwrap();
    emulator
}

/// Every step must have succeeded but the ones named.
fn assert_all_succeed(results: &Value, except: &[&str]) {
    let steps = results.as_object().unwrap();
    for (name, answer) in steps {
        let succeeded = answer["code"] == 200;
        assert_eq!(succeeded, !except.contains(&name.as_str()), "{name}: {answer}");
    }
}

fn accepted(emulator: &RongCloudEmulator, kind: &str, target: &str) -> Vec<LedgerMessage> {
    let messages = emulator.ledger().messages();
    messages.into_iter().filter(|message| message.kind == kind && message.target == target).collect()
}

fn uid(answer: &Value, index: usize) -> &str {
    answer["messageUIDs"][index]["messageUID"].as_str().unwrap()
}

/// Names of the requests the emulator answered with anything but 200.
fn failed_requests(emulator: &RongCloudEmulator) -> Vec<String> {
    let requests = emulator.ledger().requests();
    requests.into_iter().filter(|request| request.status != 200).map(|request| request.path).collect()
}

#[tokio::test]
async fn the_node_sdk_agrees() {
    let emulator = start().await;
    let results = node(&emulator).await;
    assert_all_succeed(&results, &["refused"]);
    assert_eq!(failed_requests(&emulator), ["/message/private/publish.json"]);
    assert_eq!(results["refused"]["code"], 1002);
    assert_eq!(results["user.register"]["userId"], "node_alice");
    let token = results["user.register"]["token"].as_str().unwrap();
    emulator.user("node_alice").login_with_token(token, "PC").unwrap();
    assert_eq!(results["user.online"]["status"], "0");
    assert_eq!(results["user.blocked"]["users"][0]["userId"], "node_mallory");
    assert_eq!(results["user.blacklist"]["users"], json!([{ "id": "node_mallory" }, { "id": "node_trudy" }]));
    assert_eq!(results["user.tag.list"]["tags"], json!({ "node_alice": ["vip", "北京"], "node_bob": ["new"] }));
    let members = json!([{ "id": "node_alice" }, { "id": "node_bob" }, { "id": "node_carol" }]);
    assert_eq!(results["group.get"]["members"], members);
    assert_eq!(results["group.gone"]["members"], json!([]));
    assert_eq!(results["history.get"]["url"], "");
    assert_eq!(results["chatroom.get"]["members"][0]["id"], "node_alice");
    assert_eq!(results["chatroom.exist"]["members"][0]["isInChrm"], 1);
    assert_eq!(results["chatroom.exist"]["members"][1]["isInChrm"], 0);
    assert_eq!(results["chatroom.kept"]["chatrooms"], json!(["node_room"]));
    assert_eq!(results["chatroom.demoted"]["objectNames"], json!(["RC:TxtMsg"]));
    assert_eq!(results["words.list"]["words"].as_array().unwrap().len(), 2);

    let private = accepted(&emulator, "direct", "node_bob");
    assert_eq!(private[0].vendor_id, uid(&results["message.private"], 0));
    assert_eq!(private[0].body["content"], "hello 你好 & goodbye");
    assert!(private[0].recalled);
    let recall = private.iter().find(|message| message.message_type == "RC:RcCmd").unwrap();
    assert_eq!(recall.body["messageUId"], private[0].vendor_id);
    let copy = &accepted(&emulator, "direct", "node_carol")[0];
    assert_eq!((copy.vendor_id.as_str(), copy.recalled), (uid(&results["message.private"], 1), false));
    let templated: Vec<Value> = ["node_bob", "node_carol"]
        .iter()
        .flat_map(|user| accepted(&emulator, "direct", user))
        .map(|message| message.body["content"].clone())
        .filter(|content| content.as_str().is_some_and(|content| content.contains("won")))
        .collect();
    assert_eq!(templated, ["Bob won gold", "Carol won silver"]);
    let group = accepted(&emulator, "group", "node_team");
    assert_eq!(group[0].vendor_id, uid(&results["message.group"], 0));
    assert_eq!(group[1].body["mentionedInfo"]["userIdList"], json!(["node_bob"]));
    assert_eq!(accepted(&emulator, "room", "node_room").len(), 1);
    assert_eq!(accepted(&emulator, "system", "node_bob").len(), 1);
    assert_eq!(accepted(&emulator, "broadcast", "").len(), 1);
}

#[tokio::test]
async fn the_python_sdk_agrees() {
    let emulator = start().await;
    let results = python(&emulator).await;
    assert_all_succeed(&results, &["refused"]);
    assert_eq!(failed_requests(&emulator), ["/user/info.json"]);
    assert_eq!(results["refused"]["raw"]["code"], 1002);
    assert_eq!(results["user.query"]["userName"], "Alice L");
    assert_eq!(results["user.query"]["userPortrait"], "https://cdn.example.test/a2.png");
    assert_eq!(results["user.blocked"]["users"][0]["userId"], "py_mallory");
    assert_eq!(results["user.blacklist"]["users"], json!(["py_mallory", "py_trudy"]));
    assert_eq!(results["user.whitelist"]["users"], json!(["py_alice"]));
    assert_eq!(results["user.tag.get"]["result"], json!({ "py_alice": ["new"], "py_bob": ["new"] }));
    let members = json!([{ "id": "py_alice" }, { "id": "py_bob" }, { "id": "py_carol" }]);
    assert_eq!(results["group.query"]["users"], members);
    assert_eq!(results["group.of_user"]["groups"], json!([{ "id": "py_team", "name": "Friends" }]));
    assert_eq!(results["group.gag.query"]["users"][0]["userId"], "py_bob");
    assert_eq!(results["group.ban.query"]["groupinfo"], json!([{ "groupId": "py_team", "stat": 1 }]));
    assert_eq!(results["group.ban.whitelist"]["userids"], json!(["py_bob"]));
    assert_eq!(results["chatroom.query"]["chatRooms"][0]["chrmId"], "py_room");
    assert_eq!(results["chatroom.members"]["total"], 1);
    assert_eq!(results["chatroom.kept"]["chatroomIds"], json!(["py_room"]));
    assert_eq!(results["conversation.get"]["isMuted"], 1);

    let private = accepted(&emulator, "direct", "py_bob");
    assert_eq!(private[0].vendor_id, uid(&results["message.private"], 0));
    assert_eq!(private[0].body["content"], "hello 你好 & goodbye");
    assert!(private[0].recalled);
    assert!(private.iter().any(|message| message.message_type == "RC:RcCmd"));
    assert_eq!(accepted(&emulator, "group", "py_team").len(), 2);
    assert_eq!(accepted(&emulator, "room", "py_room").len(), 1);
    assert_eq!(accepted(&emulator, "system", "py_bob").len(), 1);
    assert_eq!(accepted(&emulator, "broadcast", "").len(), 1);
}

#[tokio::test]
async fn both_sdks_see_a_wrong_secret_as_the_vendor_tells_it() {
    let emulator = RongCloudEmulator::builder().credentials("demoappkey01", "another").start().await.unwrap();
    let base = emulator.base_url();
    let python = judges().join(".venv/bin/python");
    for (program, script) in [("node", "rongcloud_node_sdk.mjs"), (python.to_str().unwrap(), "rongcloud_python_sdk.py")]
    {
        let output = Command::new(program)
            .arg(judges().join(script))
            .args([base.as_str(), "demoappkey01", "demosecret01"])
            .kill_on_drop(true)
            .output()
            .await
            .unwrap_or_else(|error| panic!("cannot run {program} ({error}); {SET_UP}"));
        let printed = String::from_utf8_lossy(&output.stdout);
        let requests = emulator.ledger().requests();
        assert!(requests.iter().all(|request| request.status == 401), "{script}");
        if script.ends_with(".mjs") {
            let results: Value = serde_json::from_str(&printed).expect(SET_UP);
            assert_eq!(results["message.private"]["code"], "20000", "the SDK's own word for 1004");
        }
    }
    assert!(emulator.ledger().counters().requests_total > 50);
    assert_eq!(emulator.ledger().counters().messages_total, 0);
}
