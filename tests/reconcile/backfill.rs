//! Jobs that fetch the past: newest first, delivered to nobody who did not ask, with a progress that is true.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use switchboard::backfill::{BackfillAct, BackfillRequest, BackfillView, Total};
use switchboard::sending::RedriveRisk;
use switchboard::{ConversationId, DeadLetterFilter, EventData};
use switchboard_contract::storage::{BackfillScope, BackfillState, SetbackKind};
use switchboard_contract::{BackfillId, Clock, ErrorKind, Origin, ProviderId, TenantId, Timestamp, Topic, UserId};
use switchboard_emulators::Faults;
use switchboard_emulators::common::{FaultAction, FaultStep, RestFaults};

use crate::stage::{HOUR, Run, Stage, Vendor};

fn direct(one: &str, other: &str) -> ConversationId {
    ConversationId::direct(&UserId::from(one), &UserId::from(other))
}

/// Two people talk for a while, a message every `step`.
async fn talk(stage: &Stage, (from, to): (&str, &str), messages: u32, step: Duration) {
    stage.log_in(&[from, to]);
    for number in 0..messages {
        let (from, to) = if number % 2 == 0 { (from, to) } else { (to, from) };
        stage.say(from, to, &format!("number {number}")).await;
        stage.advance(step);
    }
}

async fn start(run: &Run, request: BackfillRequest) -> BackfillId {
    let (tenant, alias) = (TenantId::default(), ProviderId::from("main"));
    run.switchboard.backfill().start(&tenant, &alias, request).await.unwrap().job.id
}

async fn get(run: &Run, id: BackfillId) -> BackfillView {
    run.switchboard.backfill().get(&TenantId::default(), id).await.unwrap()
}

async fn act(stage: &Stage, run: &Run, id: BackfillId, act: BackfillAct) -> BackfillState {
    stage.drive(run.switchboard.backfill().act(&TenantId::default(), id, act)).await.unwrap().job.state
}

/// When the messages in the journal were sent, in the order in which they were journalled.
async fn sent_at(run: &Run) -> Vec<Timestamp> {
    let events = run.entries().await.into_iter().map(|entry| entry.event().unwrap());
    events.filter(|event| matches!(event.data, EventData::Message(_))).map(|event| event.sent_at).collect()
}

fn slow(stage: &Stage, millis: u64) {
    let rest = RestFaults { slow_ms: millis, ..RestFaults::default() };
    stage.set_faults(Faults { rest, ..Faults::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_comes_newest_first_as_history_and_is_delivered_to_nobody() {
    for vendor in [Vendor::Huanxin, Vendor::RongCloud] {
        let stage = Stage::new(vendor, 1).await;
        talk(&stage, ("ann", "bob"), 260, HOUR).await;
        let run = stage.run().await;
        let id = start(&run, BackfillRequest::of(BackfillScope::Conversation(direct("ann", "bob")))).await;
        stage.drive(run.switchboard.backfill().idle()).await;
        let view = get(&run, id).await;
        assert_eq!((view.job.state, view.job.inserted, view.job.missed), (BackfillState::Done, 260, 0), "{vendor:?}");
        assert_eq!(view.progress.percent, Some(100.0));
        let times = sent_at(&run).await;
        let page = if vendor == Vendor::Huanxin { 50 } else { 100 };
        for pair in times.chunks(page).collect::<Vec<_>>().windows(2) {
            assert!(pair[0].iter().min() > pair[1].iter().max(), "{vendor:?}: newer pages first");
        }
        for entry in run.entries().await {
            let event = entry.event().unwrap();
            if matches!(event.data, EventData::Message(_)) {
                assert_eq!((event.origin, entry.topic, event.late), (Origin::History, Topic::History, false));
            }
        }
        let again = start(&run, BackfillRequest::of(BackfillScope::Conversation(direct("ann", "bob")))).await;
        stage.drive(run.switchboard.backfill().idle()).await;
        let again = get(&run, again).await.job;
        assert_eq!((again.messages, again.inserted), (260, 0), "{vendor:?}: a second one brings nothing new");
        for (kind, times) in [("backfill_started", 2), ("backfill_done", 2)] {
            assert_eq!(run.notices(kind).await.len(), times, "{vendor:?}: {kind}");
        }
        run.stop().await;
    }
}

/// What was claimed while a job ran, against what came true: seconds worked, percent and rest.
async fn claims(run: &Run, id: BackfillId) -> Vec<(f64, Option<f64>, Option<f64>)> {
    let told = run.notices("backfill_progress").await;
    let of = told.iter().filter(|told| told["job"] == json!(id)).map(|told| &told["progress"]);
    of.map(|told| (told["active_seconds"].as_f64().unwrap(), told["percent"].as_f64(), told["eta_seconds"].as_f64()))
        .collect()
}

fn assert_true_after_a_tenth(claims: &[(f64, Option<f64>, Option<f64>)], whole: f64) {
    let mut checked = 0;
    for (worked, percent, eta) in claims.iter().filter(|(worked, ..)| *worked >= whole / 10.0) {
        let (percent, eta) = (percent.unwrap(), eta.unwrap());
        assert!((percent - 100.0 * worked / whole).abs() <= 10.0, "{percent} % after {worked} of {whole} s");
        assert!((worked + eta - whole).abs() <= whole / 10.0, "{eta} s left after {worked} of {whole} s");
        checked += 1;
    }
    assert!(checked > 10, "too few claims to tell: {checked} of {}", claims.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_and_eta_are_true_where_the_total_is_known_and_unknown_elsewhere() {
    let mut stage = Stage::new(Vendor::Huanxin, 1).await;
    let began = stage.clock.now();
    talk(&stage, ("ann", "bob"), 2_000, HOUR / 20).await;
    let run = stage.run().await;
    slow(&stage, 20_000);
    let conversation = BackfillScope::Conversation(direct("ann", "bob"));
    // With a span, the total is known: each page is a part of it.
    let request = BackfillRequest { since: Some(began), ..BackfillRequest::of(conversation.clone()) };
    let id = start(&run, request).await;
    // What a page takes shall be the vendor's time, not that of a busy machine.
    stage.step = Duration::from_millis(250);
    stage.drive(run.switchboard.backfill().idle()).await;
    stage.step = Duration::from_secs(1);
    let done = get(&run, id).await;
    assert_eq!((done.job.state, done.job.messages), (BackfillState::Done, 2_000));
    assert!(done.progress.active_seconds > 400.0, "{:?}", done.progress);
    assert_true_after_a_tenth(&claims(&run, id).await, done.progress.active_seconds);

    // Without, nobody knows, and nothing is claimed.
    let id = start(&run, BackfillRequest::of(conversation)).await;
    stage.drive(run.switchboard.backfill().idle()).await;
    let claimed = claims(&run, id).await;
    let open = &claimed[..claimed.len() - 1];
    assert!(open.len() > 30 && open.iter().all(|(_, percent, eta)| percent.is_none() && eta.is_none()), "{open:?}");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_and_an_app_are_fetched_by_conversation_and_by_file() {
    let mut stage = Stage::new(Vendor::Huanxin, 1).await;
    // Nobody here has ever heard of most of these.
    for number in 0..24 {
        talk(&stage, ("ann", &format!("user{number}")), 60, Duration::from_secs(10)).await;
    }
    talk(&stage, ("eve", "bob"), 10, Duration::from_secs(10)).await;
    stage.advance(3 * HOUR);
    let run = stage.run().await;
    stage.drive(run.switchboard.catchup().online()).await;
    let user = start(&run, BackfillRequest::of(BackfillScope::User(UserId::from("ann")))).await;
    stage.drive(run.switchboard.backfill().idle()).await;
    assert_eq!(get(&run, user).await.job.messages, 0, "no query finds what nobody knows");

    let app = start(&run, BackfillRequest::of(BackfillScope::App)).await;
    stage.drive(run.switchboard.backfill().idle()).await;
    let view = get(&run, app).await;
    assert_eq!((view.job.state, view.job.inserted), (BackfillState::Done, 24 * 60 + 10), "{view:?}");
    assert_eq!(view.job.conversations.total, 25, "the files named them: {view:?}");
    assert_eq!(run.messages().await.len(), 24 * 60 + 10);
    assert_eq!(stage.rate_errors(), 0);
    let hours: Vec<_> = run.notices("backfill_progress").await;
    assert!(!hours.is_empty());

    // Now they are known, and a user's are told from the others.
    slow(&stage, 5_000);
    let user = start(&run, BackfillRequest::of(BackfillScope::User(UserId::from("ann")))).await;
    stage.step = Duration::from_millis(100);
    stage.drive(run.switchboard.backfill().idle()).await;
    stage.step = Duration::from_secs(1);
    let view = get(&run, user).await;
    assert_eq!((view.job.conversations.total, view.job.messages, view.job.inserted), (24, 24 * 60, 0), "{view:?}");
    // Many parts: the total is known without a span.
    assert_true_after_a_tenth(&claims(&run, user).await, view.progress.active_seconds);

    let capped = BackfillRequest { max_messages: Some(20), ..BackfillRequest::of(BackfillScope::App) };
    let capped = start(&run, capped).await;
    stage.drive(run.switchboard.backfill().idle()).await;
    let job = get(&run, capped).await.job;
    assert_eq!(job.capped, 24, "all but the conversation of ten: {job:?}");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_take_turns_pause_resume_end_and_survive_a_restart() {
    let stage = Stage::new(Vendor::Huanxin, 1).await;
    talk(&stage, ("ann", "bob"), 1_000, Duration::from_secs(60)).await;
    talk(&stage, ("ann", "eve"), 1_000, Duration::from_secs(60)).await;
    let run = stage.run().await;
    slow(&stage, 10_000);
    let one = start(&run, BackfillRequest::of(BackfillScope::Conversation(direct("ann", "bob")))).await;
    let other = start(&run, BackfillRequest::of(BackfillScope::Conversation(direct("ann", "eve")))).await;
    let both = async {
        while get(&run, one).await.job.pages < 3 || get(&run, other).await.job.pages < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    stage.drive(both).await;
    let states = [get(&run, one).await.job.state, get(&run, other).await.job.state];
    assert!(states.contains(&BackfillState::Running) && states.contains(&BackfillState::Queued), "{states:?}");
    assert!(get(&run, one).await.job.pages < 19, "the second did not wait for the end of the first");

    assert_eq!(act(&stage, &run, one, BackfillAct::Pause).await, BackfillState::Paused);
    assert_eq!(act(&stage, &run, one, BackfillAct::Pause).await, BackfillState::Paused, "twice is once");
    let paused = get(&run, one).await.job.pages;
    stage.drive(run.switchboard.backfill().idle()).await;
    assert_eq!(get(&run, other).await.job.state, BackfillState::Done);
    assert_eq!(get(&run, one).await.job.pages, paused, "a paused job fetches nothing");
    run.stop().await;

    let run = stage.run().await;
    assert_eq!(get(&run, one).await.job.state, BackfillState::Paused, "also after a restart");
    assert_eq!(act(&stage, &run, one, BackfillAct::Resume).await, BackfillState::Queued);
    stage.drive(run.switchboard.backfill().idle()).await;
    let view = get(&run, one).await;
    assert_eq!((view.job.state, view.job.messages), (BackfillState::Done, 1_000), "it went on where it was");
    assert_eq!(run.messages().await.len(), 2_000);

    let third = start(&run, BackfillRequest::of(BackfillScope::Conversation(direct("ann", "bob")))).await;
    assert_eq!(act(&stage, &run, third, BackfillAct::Cancel).await, BackfillState::Cancelled);
    let over = run.switchboard.backfill().act(&TenantId::default(), third, BackfillAct::Resume).await;
    assert_eq!(over.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(get(&run, third).await.progress.total, Total::Unknown);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_spends_no_tries_and_a_bad_page_only_its_own() {
    let stage = Stage::new(Vendor::Huanxin, 1).await;
    talk(&stage, ("ann", "bob"), 200, Duration::from_secs(60)).await;
    let run = stage.run().await;
    stage.set_faults(Faults { outage: true, ..Faults::default() });
    let id = start(&run, BackfillRequest::of(BackfillScope::Conversation(direct("ann", "bob")))).await;
    let began = stage.clock.now();
    let ten_minutes = async {
        while stage.clock.now().since(began) < Duration::from_secs(600) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    stage.drive(ten_minutes).await;
    let job = get(&run, id).await.job;
    assert_eq!((job.state, job.failed, job.messages), (BackfillState::Running, 0, 0), "{job:?}");
    stage.set_faults(Faults::default());
    stage.drive(run.switchboard.backfill().idle()).await;
    let job = get(&run, id).await.job;
    assert_eq!((job.state, job.failed, job.messages), (BackfillState::Done, 0, 200), "{job:?}");

    // The vendor is there, and this page is not.
    stage.huanxin().change_settings(|settings| settings.history.roaming.messages_field = "elsewhere".to_owned());
    let id = start(&run, BackfillRequest::of(BackfillScope::Conversation(direct("ann", "bob")))).await;
    stage.drive(run.switchboard.backfill().idle()).await;
    let job = get(&run, id).await.job;
    assert_eq!((job.state, job.failed), (BackfillState::Done, 1), "{job:?}");

    // What was given up is a dead letter, and a job of its own once somebody redrives it.
    let tenant = run.switchboard.tenant("default");
    let letters = tenant.dead_letters(&DeadLetterFilter::default(), None, 10).await.unwrap().letters;
    let [letter] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!((letter.kind, letter.attempts), (SetbackKind::Job, 1), "an answer that cannot be read is final");
    assert_eq!(letter.conversation, Some(direct("ann", "bob")));
    stage.huanxin().change_settings(|settings| settings.history.roaming.messages_field = "messages".to_owned());
    tenant.redrive_dead_letter(&letter.id, RedriveRisk::None).await.unwrap();
    assert!(tenant.dead_letters(&DeadLetterFilter::default(), None, 10).await.unwrap().letters.is_empty());
    stage.drive(run.switchboard.backfill().idle()).await;
    let newest = run.switchboard.backfill().list(&TenantId::default(), false, 1).await.unwrap().remove(0).job;
    assert_eq!((newest.state, newest.failed, newest.messages), (BackfillState::Done, 0, 200), "{newest:?}");

    // Every try of the page fails while the vendor answers otherwise: three after the first.
    let script = (1..=64).map(|nth| FaultStep::rest(nth, "/roaming", FaultAction::HtmlError)).collect();
    stage.set_faults(Faults { script, ..Faults::default() });
    let id = start(&run, BackfillRequest::of(BackfillScope::Conversation(direct("ann", "bob")))).await;
    stage.drive(run.switchboard.backfill().idle()).await;
    let job = get(&run, id).await.job;
    assert_eq!((job.state, job.failed), (BackfillState::Done, 1), "{job:?}");
    let letters = tenant.dead_letters(&DeadLetterFilter::default(), None, 10).await.unwrap().letters;
    assert_eq!(letters.iter().map(|letter| letter.attempts).collect::<Vec<_>>(), [4], "{letters:?}");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_served_over_http_with_their_faults_named() {
    let stage = Stage::new(Vendor::Huanxin, 1).await;
    talk(&stage, ("ann", "bob"), 30, Duration::from_secs(60)).await;
    stage.advance(HOUR);
    let run = stage.run().await;
    let call = json!({ "conversation": "direct~ann~bob", "max_messages": 10 });
    let (status, job) = run.call(Method::POST, "/v1/backfills", Some(call)).await;
    assert_eq!((status, job["provider"].as_str(), job["state"].as_str()), (202, Some("main"), Some("queued")), "{job}");
    let id = job["id"].as_str().unwrap().to_owned();
    stage.drive(run.switchboard.backfill().idle()).await;
    let (status, job) = run.call(Method::GET, &format!("/v1/backfills/{id}"), None).await;
    assert_eq!((status, job["state"].as_str(), job["inserted"].as_u64()), (200, Some("done"), Some(10)), "{job}");
    assert_eq!(job["progress"]["percent"], 100.0);
    let (_, list) = run.call(Method::GET, "/v1/backfills", None).await;
    assert_eq!(list["backfills"].as_array().map(Vec::len), Some(1), "{list}");
    let (_, list) = run.call(Method::GET, "/v1/backfills?open=true", None).await;
    assert_eq!(list["backfills"].as_array().map(Vec::len), Some(0), "{list}");
    let unknown = BackfillId::generate();
    let refused: [(Method, String, Option<Value>, u16); 9] = [
        (Method::POST, "/v1/backfills".to_owned(), Some(json!({ "provider": "none" })), 404),
        (Method::POST, "/v1/backfills".to_owned(), Some(json!({ "user": "a", "conversation": "direct~a~b" })), 400),
        (Method::POST, "/v1/backfills".to_owned(), Some(json!({ "conversation": "nonsense" })), 400),
        (Method::POST, "/v1/backfills".to_owned(), Some(json!({ "conversation": "room~lobby" })), 422),
        (Method::POST, "/v1/backfills".to_owned(), Some(json!({ "max_messages": 0 })), 400),
        (Method::POST, "/v1/backfills".to_owned(), Some(json!({ "since": i64::MAX })), 400),
        (Method::GET, format!("/v1/backfills/{unknown}"), None, 404),
        (Method::GET, "/v1/backfills/nonsense".to_owned(), None, 400),
        (Method::POST, format!("/v1/backfills/{id}/pause"), Some(json!({})), 409),
    ];
    for (method, path, body, expected) in refused {
        let (status, answer) = run.call(method, &path, body).await;
        assert_eq!(status, expected, "{path}: {answer}");
    }
    run.stop().await;
}
