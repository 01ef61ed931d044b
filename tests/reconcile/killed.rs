//! `kill -9` of a real process in the middle of a job.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use switchboard_emulators::huanxin::{HuanxinEmulator, HuanxinSettings, Target};

use crate::support::sidecar::{Sidecar, TOKEN};

const APP: &str = "acme#killed";
const MESSAGES: usize = 2_000;
/// The adapter's page.
const PAGE: usize = 50;

async fn vendor() -> HuanxinEmulator {
    let mut settings = HuanxinSettings::default();
    settings.ledger.requests = 10_000;
    let builder = HuanxinEmulator::builder().listen("127.0.0.1:0").credentials(APP, "id", "secret");
    let vendor = builder.settings(settings).seed(1).start().await.unwrap();
    for number in 0..MESSAGES {
        let (from, to) = if number % 2 == 0 { ("ann", "bob") } else { ("bob", "ann") };
        vendor.user(from).send_text(Target::User(to.to_owned()), &format!("number {number}")).await.unwrap();
    }
    vendor
}

/// How often each page was asked for, by what was asked.
fn pages(vendor: &HuanxinEmulator) -> BTreeMap<String, usize> {
    let mut pages = BTreeMap::new();
    for request in vendor.ledger().requests().iter().filter(|request| request.path.contains("/roaming/chat")) {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        *pages.entry(body["cursor"].to_string()).or_default() += 1;
    }
    pages
}

/// What `switchboard backfill` says.
fn said(sidecar: &Sidecar, arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_switchboard"))
        .arg("backfill")
        .args(arguments)
        .args(["--json", "--url", &sidecar.url, "--token", TOKEN])
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i05_killed_at_forty_percent_a_job_resumes_and_fetches_at_most_one_page_twice() {
    let vendor = vendor().await;
    let directory = tempfile::tempdir().unwrap();
    // Nothing but the job asks the vendor, so that every page asked for is the job's.
    let config = format!(
        "[history.automatic]\nenabled = false\n[history.hints]\nenabled = false\n[catchup]\nqueries = false\n\
         [silence]\nenabled = false\n[store]\nurl = \"sqlite://killed.db\"\n[backfill]\npages_per_second = 40\n\
         [providers.main]\nkind = \"huanxin\"\napp_key = \"{APP}\"\nclient_id = \"id\"\nclient_secret = \"secret\"\n\
         callback_secret = \"callback-secret\"\nbase_url = \"{}\"\n",
        vendor.base_url()
    );
    let mut sidecar = Sidecar::start(directory.path(), &config);
    let job = said(&sidecar, &["start", "--conversation", "direct~ann~bob"]);
    let id = job["id"].as_str().unwrap().to_owned();
    let deadline = Instant::now() + Duration::from_secs(60);
    while pages(&vendor).len() * PAGE < MESSAGES * 2 / 5 {
        assert!(Instant::now() < deadline, "it does not get on: {}", sidecar.log.text());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sidecar.kill();
    let before: usize = pages(&vendor).values().sum();
    assert!(before * PAGE < MESSAGES * 3 / 4, "it was killed on its way: {before} pages");

    let sidecar = Sidecar::start(directory.path(), &config);
    let status = loop {
        let status = said(&sidecar, &["status", &id]);
        if status["state"] != json!("running") && status["state"] != json!("queued") {
            break status;
        }
        assert!(Instant::now() < deadline, "it does not end: {status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((status["state"].as_str(), status["progress"]["percent"].as_f64()), (Some("done"), Some(100.0)));
    let pages = pages(&vendor);
    let twice: usize = pages.values().map(|times| times - 1).sum();
    assert!(twice <= 1, "{twice} pages were fetched twice: {pages:?}");
    assert!(pages.len() >= MESSAGES / PAGE);

    let (mut found, mut before) = (Vec::new(), None::<String>);
    loop {
        let cursor = before.take().map(|before| format!("&before={before}")).unwrap_or_default();
        let page = sidecar.get(&format!("/v1/conversations/direct~ann~bob/messages?limit=200{cursor}")).await;
        let messages = page["messages"].as_array().unwrap();
        found.extend(messages.iter().map(|message| message["id"].to_string()));
        match page["next"].as_str() {
            Some(next) => before = Some(next.to_owned()),
            None => break,
        }
    }
    found.sort();
    found.dedup();
    assert_eq!(found.len(), MESSAGES, "each message of it once");
}
