//! The vendor's own web SDK (npm `easemob-websdk`, unchanged, in jsdom) drives the emulator: registration, both
//! logins, groups, presence, attributes, and messages over its long connection. What it reports is compared with the
//! emulator's ledger.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde_json::{Value, json};
use switchboard_emulators::common::Source;
use switchboard_emulators::huanxin::HuanxinEmulator;
use tokio::sync::mpsc;

const APP_KEY: &str = "judge-org#judge-app";

/// What the script printed, by step.
async fn run_script(base: &str) -> HashMap<String, Value> {
    let judges = Path::new(env!("CARGO_MANIFEST_DIR")).join("judges");
    assert!(
        judges.join("node_modules/easemob-websdk").is_dir() && judges.join("node_modules/jsdom").is_dir(),
        "the vendors' SDKs are not installed: run `scripts/setup-tests` (npm ci --prefix adapters/emulators/judges)"
    );
    let output = tokio::process::Command::new("node")
        .arg("huanxin_web_sdk.mjs")
        .args([base, APP_KEY])
        .current_dir(judges)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("node is not installed: run `scripts/setup-tests`");
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the script failed\n{text}\n{errors}");
    let step = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        (line["step"].as_str().unwrap().to_owned(), line["result"].take())
    };
    text.lines().map(step).collect()
}

/// Receives callbacks.
async fn receiver() -> (String, mpsc::UnboundedReceiver<Value>) {
    let (sender, received) = mpsc::unbounded_channel();
    let take = |State(sender): State<mpsc::UnboundedSender<Value>>, body: String| async move {
        sender.send(serde_json::from_str(&body).unwrap()).unwrap();
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let router = Router::new().route("/hook", post(take)).with_state(sender);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, received)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vendors_web_sdk_is_content() {
    let (url, mut callbacks) = receiver().await;
    let vendor = HuanxinEmulator::builder()
        .credentials(APP_KEY, "judge-id", "judge-secret")
        .callback_url(url, "judge-callback-secret")
        .start()
        .await
        .unwrap();
    let steps = run_script(&vendor.base_url()).await;
    vendor.wait_idle().await;

    assert_eq!(steps["register"], json!(["judge_lin", "judge.wei", "judge-zhao"]));
    assert_text(&steps["register_twice"], "duplicate_unique_property_exists");
    assert_text(&steps["wrong_password"], "invalid password");
    assert_eq!(steps["password_login"], json!({ "connected": true, "token": "YWMt" }));
    assert_eq!(steps["token_login"], json!({ "connected": true }));
    check_groups(&steps);
    assert_eq!(
        steps["presence"],
        json!({ "judge_lin": { "webim": "1" }, "judge.wei": { "webim": "1" }, "judge-zhao": {} })
    );
    assert_eq!(steps["presence_ext"], "judging");
    assert_eq!(steps["attributes"], json!({ "nickname": "Judge Lin", "phone": "0", "sign": "字" }));
    check_messages(&vendor, &steps);
    callbacks.close();
    let mut events = Vec::new();
    while let Some(event) = callbacks.recv().await {
        events.push(event);
    }
    check_callbacks(&steps, &events);
    vendor.shutdown().await;
}

fn assert_text(refusal: &Value, expected: &str) {
    let text = refusal["text"].as_str().unwrap();
    assert!(text.contains(expected), "{refusal}");
}

fn check_groups(steps: &HashMap<String, Value>) {
    let group = &steps["group"];
    assert_eq!(
        (&group["name"], &group["owner"], &group["count"], &group["maxusers"]),
        (&json!("judges"), &json!("judge_lin"), &json!(2), &json!(50))
    );
    assert_eq!(steps["members"], json!(["judge-zhao", "judge.wei", "judge_lin"]));
    assert_eq!(steps["muted"], json!(["judge.wei"]));
    assert_eq!(steps["members_after_removal"], json!(["judge.wei", "judge_lin"]));
    assert_eq!(steps["joined"], json!([group["groupId"]]));
    assert_text(&steps["unknown_group"], "does not exist");
}

/// The ledger knows the messages under the ids the SDK was given, with what the SDK sent.
fn check_messages(vendor: &HuanxinEmulator, steps: &HashMap<String, Value>) {
    let message = |step: &str| {
        let step = &steps[step];
        let message = vendor.ledger().message(step["sent"].as_str().unwrap()).unwrap();
        assert_eq!(message.source, Source::Client);
        message
    };
    let direct = message("direct");
    assert_eq!(steps["direct"]["id"], steps["direct"]["sent"], "received under the id it was sent with");
    assert_eq!(steps["direct"]["from"], "judge_lin");
    assert_eq!(direct.body["msg"], "hello from the SDK");
    assert_eq!((&direct.ext["trace"], &direct.ext["n"]), (&json!("judge-1"), &json!(7)));
    assert_eq!(steps["direct"]["ext"]["trace"], "judge-1");
    let group = message("group_message");
    assert_eq!((group.kind.as_str(), json!(group.target)), ("group", steps["group"]["groupId"].clone()));
    assert!(group.recalled);
    let custom = message("custom");
    assert_eq!(custom.body["v2:customExts"], json!({ "order_id": "7781" }));
    assert_eq!(steps["custom"]["exts"], json!({ "order_id": "7781" }));
    let newest_first = json!([steps["custom"]["sent"], steps["direct"]["sent"]]);
    assert_eq!(steps["roaming"], json!({ "ids": newest_first, "ended": [false, true] }));
    assert_eq!(vendor.ledger().counters().messages_total, 3);
    let seen = |path: &str| vendor.ledger().requests().iter().any(|call| call.path.contains(path));
    for path in ["/users", "/token", "/chatgroups?resource=", "/presence", "/metadata/user/"] {
        assert!(seen(path), "the SDK never called {path}");
    }
}

fn check_callbacks(steps: &HashMap<String, Value>, events: &[Value]) {
    let about = |kind: &str, key: &str, id: &Value| {
        events.iter().filter(|event| event["chat_type"] == kind && event[key] == *id).count()
    };
    assert_eq!(about("chat", "msg_id", &steps["direct"]["sent"]), 1);
    assert_eq!(about("groupchat", "msg_id", &steps["group_message"]["sent"]), 1);
    assert_eq!(about("recall", "recall_id", &steps["group_message"]["sent"]), 1);
    let acked = events.iter().filter(|event| event["chat_type"] == "read_ack");
    let acked: Vec<&Value> = acked.map(|event| &event["payload"]["ack_message_id"]).collect();
    assert_eq!(acked, [&steps["direct"]["sent"]]);
    let status = |reason: &str| events.iter().filter(|event| event["reason"] == reason).count();
    assert_eq!(status("login"), 2);
}
