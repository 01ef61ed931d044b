//! The commands that talk to a running sidecar, and those that run.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::consumer::until;
use crate::support::sidecar::{Sidecar, TOKEN};
use crate::support::vendors::Vendors;
use crate::{complained, program, said};

const SMALL: &str = "[store]\nurl = \"sqlite://cli.db\"\n[ingest]\nmax_body_bytes = 65536\n[ingest.inbox]\n\
                     path = \"inbox\"\nsegment_bytes = 1048576\ncapacity_bytes = 4194304\n";

struct Stage {
    directory: tempfile::TempDir,
    vendors: Vendors,
    sidecar: Sidecar,
}

impl Stage {
    async fn set() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let vendors = Vendors::start(1).await;
        let sidecar = Sidecar::start(directory.path(), &format!("{SMALL}{}", vendors.config()));
        vendors.call_back(&sidecar.url);
        Self { directory, vendors, sidecar }
    }

    /// Runs a command against the sidecar, beside the emulators of this process.
    async fn run(&self, arguments: &[&str]) -> Output {
        self.run_as(TOKEN, arguments).await
    }

    async fn run_as(&self, token: &str, arguments: &[&str]) -> Output {
        let mut command = program(self.directory.path(), arguments);
        command.env("SWITCHBOARD_URL", &self.sidecar.url).env("SWITCHBOARD_TOKEN", token);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// As [`run`](Self::run); must succeed. What it printed.
    async fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert_eq!((output.status.code(), complained(&output)), (Some(0), ""), "{arguments:?}");
        said(&output).to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_sent_followed_and_traced() {
    let stage = Stage::set().await;
    let send = ["send", "--from", "shop", "--user", "bob", "--text", "hello", "--client-id", "cli-1"];
    let answer: Value = serde_json::from_str(&stage.says(&[&send[..], &["--json"]].concat()).await).unwrap();
    let message = answer["messages"][0]["id"].as_str().unwrap().to_owned();
    let again = stage.says(&send).await;
    assert!(again.contains("nothing was sent again") && again.contains(&message), "{again}");
    let tail = stage.says(&["tail", "--count", "1", "--json"]).await;
    let delivery: Value = serde_json::from_str(tail.trim()).unwrap();
    assert_eq!(delivery["event"]["data"]["id"], message.as_str());
    assert_eq!(delivery["event"]["data"]["body"]["text"], "hello");
    stage.vendors.idle().await;
    assert_eq!(stage.vendors.huanxin.ledger().messages().len(), 1);

    let trace: Value = serde_json::from_str(&stage.says(&["trace", &message, "--json"]).await).unwrap();
    assert_eq!(trace["send"]["messages"][0]["state"], "accepted");
    let trace = stage.says(&["trace", &message]).await;
    let vendor_id = &stage.vendors.huanxin.ledger().messages()[0].vendor_id;
    for (what, value) in [
        ("came by", "send"),
        ("conversation", "direct~bob~shop"),
        ("sequence", "1"),
        ("from", "shop"),
        ("vendor's id", vendor_id.as_str()),
        ("client id", "cli-1"),
        ("state", "accepted"),
        ("attempts", "1"),
    ] {
        let line = trace.lines().find(|line| line.starts_with(what)).unwrap_or_else(|| panic!("no {what} in\n{trace}"));
        assert!(line.contains(value), "{what}: {line}");
    }

    // What a customer wrote has a way, too.
    stage.vendors.on_huanxin("alice", "shop", "where is it").await;
    let line = stage.says(&["tail", "--count", "1"]).await;
    assert!(line.contains("alice: where is it") && line.contains("direct~alice~shop"), "{line}");
    let page = stage.sidecar.get("/v1/conversations/direct~alice~shop/messages").await;
    let message = page["messages"][0]["data"]["id"].as_str().unwrap().to_owned();
    let trace = stage.says(&["trace", &message]).await;
    assert!(trace.lines().any(|line| line.starts_with("came by") && line.contains("callback")), "{trace}");
    assert!(!trace.contains("where is it"), "a trace shows no body: {trace}");
    let quiet = stage.says(&["tail", "--idle", "1"]).await;
    assert_eq!(quiet, "", "tail acknowledges what it showed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_ext_and_several_recipients_go_the_same_way() {
    let stage = Stage::set().await;
    let place = r#"{"type":"location","latitude":39.9,"longitude":116.4,"address":"here"}"#;
    let send = ["send", "--from", "shop", "--user", "bob,carol", "--body", place, "--ext", r#"{"order":7}"#, "--json"];
    let answer: Value = serde_json::from_str(&stage.says(&send).await).unwrap();
    assert_eq!(answer["messages"].as_array().unwrap().len(), 2);
    let lines = stage.says(&["tail", "--name", "other", "--count", "2", "--json"]).await;
    for line in lines.lines() {
        let event = &serde_json::from_str::<Value>(line).unwrap()["event"];
        assert_eq!(event["data"]["body"]["latitude"], 39.9);
        assert_eq!(event["data"]["ext"], json!({ "order": 7 }));
    }
    assert_eq!(lines.lines().count(), 2);
    for (arguments, code, words) in [
        (vec!["send", "--from", "a", "--user", "b", "--body", "{"], 1, "--body"),
        (vec!["send", "--from", "a", "--user", "b", "--text", "x", "--ext", "[]"], 1, "ext"),
        (vec!["send", "--from", "a", "--user", "b", "--body", r#"{"type":"telepathy"}"#], 1, "400"),
        (vec!["trace", "nonsense"], 1, "400"),
        (vec!["trace", "01890000-0000-7000-8000-000000000000"], 1, "404"),
        (vec!["tail", "--topics", "gossip"], 1, "topics"),
    ] {
        let output = stage.run(&arguments).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(complained(&output).contains(words), "{arguments:?}: {}", complained(&output));
    }
    let stranger = stage.run_as("not-the-right-token", &["trace", "x"]).await;
    assert_eq!(stranger.status.code(), Some(1));
    assert!(complained(&stranger).contains("401") && !complained(&stranger).contains("not-the-right-token"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_listed_shown_redriven_and_dropped() {
    let stage = Stage::set().await;
    // A group that nobody has made: the vendor refuses it for good.
    stage.says(&["send", "--from", "shop", "--group", "nowhere", "--text", "hello"]).await;
    let listed = async || -> Vec<Value> {
        let page: Value = serde_json::from_str(&stage.says(&["dead-letters", "list", "--json"]).await).unwrap();
        page["letters"].as_array().unwrap().clone()
    };
    until("a dead letter", async || listed().await.len() == 1).await;
    let id = listed().await[0]["id"].as_str().unwrap().to_owned();
    let list = stage.says(&["dead-letters", "list", "--kind", "send", "--conv", "group~nowhere"]).await;
    assert!(list.starts_with(&id) && list.contains("not_found after 1 attempts"), "{list}");
    assert_eq!(stage.says(&["dead-letters", "list", "--reason", "timeout"]).await, "");
    assert_eq!(stage.says(&["dead-letters", "list", "--waiting"]).await, "");
    let show = stage.says(&["dead-letters", "show", &id]).await;
    assert!(show.lines().count() == 3 && show.contains("not_found") && show.contains("about"), "{show}");
    assert!(!show.contains("hello"), "no body in a dead letter: {show}");
    // It is really tried again, and fails again: another attempt stands in its history.
    assert_eq!(stage.says(&["dead-letters", "redrive", "--conv", "group~nowhere"]).await.trim(), "1 tried again");
    until("it failed again", async || {
        listed().await.first().is_some_and(|letter| letter["history"].as_array().unwrap().len() == 2)
    })
    .await;
    assert_eq!(stage.says(&["dead-letters", "redrive", &id]).await.trim(), "1 tried again");
    until("and again", async || {
        listed().await.first().is_some_and(|letter| letter["history"].as_array().unwrap().len() == 3)
    })
    .await;
    assert_eq!(stage.says(&["dead-letters", "drop", &id]).await.trim(), "1 dropped");
    assert!(listed().await.is_empty());
    assert_eq!(stage.says(&["dead-letters", "drop", "--all"]).await.trim(), "0 dropped");
    for (arguments, words) in [
        (vec!["dead-letters", "show", &id], "404"),
        (vec!["dead-letters", "redrive"], "all"),
        (vec!["dead-letters", "list", "--since", "yesterday"], "since"),
    ] {
        let output = stage.run(&arguments).await;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(complained(&output).contains(words), "{arguments:?}: {}", complained(&output));
    }
}

/// The address of an emulator run as a process, and the process.
fn emulator(directory: &Path, vendor: &str) -> (std::process::Child, String) {
    let mut command = program(directory, &["emulate", vendor, "--port", "0"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    (child, url)
}

#[tokio::test]
async fn emulators_run_as_processes_and_can_be_steered() {
    let directory = tempfile::tempdir().unwrap();
    let http = reqwest::Client::new();
    for vendor in ["huanxin", "rongcloud"] {
        let (mut child, url) = emulator(directory.path(), vendor);
        let act = format!("{url}/_emulator/users/alice/send");
        let body = json!({ "to": { "user": "bob" }, "text": "hi" });
        assert_eq!(http.post(act).json(&body).send().await.unwrap().status(), 200, "{vendor}");
        let ledger: Value = http.get(format!("{url}/_emulator/ledger")).send().await.unwrap().json().await.unwrap();
        assert_eq!(ledger["messages"].as_array().unwrap().len(), 1, "{vendor}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[tokio::test]
async fn serve_ends_with_0_when_asked_to_and_with_1_when_it_cannot_start() {
    let directory = tempfile::tempdir().unwrap();
    let config = format!("{SMALL}{}", Vendors::nowhere());
    let mut sidecar = Sidecar::start(directory.path(), &config);
    let other = tempfile::tempdir().unwrap();
    let address = sidecar.url.trim_start_matches("http://").to_owned();
    // The address, the store and the inbox are taken.
    for (directory, listen, words) in
        [(other.path(), address.as_str(), "listen"), (directory.path(), "127.0.0.1:0", "")]
    {
        let mut command = Sidecar::command(directory, &config);
        let output = command.env("SWITCHBOARD__SERVER__LISTEN", listen).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", complained(&output));
        assert!(complained(&output).lines().any(|line| line.starts_with("error: ") && line.contains(words)));
    }
    until("it still runs", async || sidecar.http.get(format!("{}/healthz", sidecar.url)).send().await.is_ok()).await;
    let began = std::time::Instant::now();
    assert_eq!(sidecar.terminate().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_level_changes_while_it_runs() {
    let directory = tempfile::tempdir().unwrap();
    let mut sidecar = Sidecar::start(directory.path(), &format!("{SMALL}{}", Vendors::nowhere()));
    let file = directory.path().join("switchboard.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let set = |level: &str| {
        std::fs::write(&file, text.replace("level = \"info\"", &format!("level = \"{level}\""))).unwrap();
        sidecar.hang_up();
    };
    set("info,switchboard=debug");
    until("it says so", async || sidecar.log.text().contains("level=\"info,switchboard=debug\"")).await;
    std::fs::write(&file, "[log").unwrap();
    sidecar.hang_up();
    until("a file that is none changes nothing", async || sidecar.log.text().contains("stays as it is")).await;
    set("error");
    until("it says so, for the last time", async || sidecar.log.text().contains("level=\"error\"")).await;
    assert_eq!(sidecar.terminate().code(), Some(0));
    assert!(!sidecar.log.text().contains("stopping"), "{}", sidecar.log.text());
}

#[test]
fn the_demo_tells_its_story() {
    let directory = tempfile::tempdir().unwrap();
    let output = program(directory.path(), &["demo", "--messages", "8", "--seed", "3"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", complained(&output));
    for words in
        ["1. A conversation on Huanxin", "4. The same conversation, on RongCloud", "copies the vendor accepted"]
    {
        assert!(said(&output).contains(words), "{}", said(&output));
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "the demo left files behind");
}
