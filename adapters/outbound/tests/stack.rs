//! The layers against a real listener: what is repeated, how often, in which order, and what the caller hears.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::{
    Act, Counting, JumpClock, Table, TokioClock, Vendor, app, client, config, nobody, ok, read, send, status,
};
use switchboard_contract::{ErrorKind, Quota, Retry};
use switchboard_outbound::{CallBody, Outbound, Quotas, Replay};
use tokio::time::Instant;

fn clock() -> Arc<JumpClock> {
    Arc::new(JumpClock::default())
}

const CALLS: fn(u32, Duration) -> Quota = |calls, per| Quota { calls: Some(calls), units: None, per };

#[tokio::test]
async fn three_retries_are_four_attempts_and_then_exhausted() {
    let vendor = Vendor::start((0..9).map(|_| status(503)).collect()).await;
    let error = client(config(&[&vendor]), &clock()).call(read()).await.unwrap_err();
    assert_eq!(vendor.seen().len(), 4);
    assert_eq!(error.retry(), Retry::Exhausted { attempts: 4 });
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unavailable, Some("look")));
}

#[tokio::test]
async fn the_fourth_attempt_may_succeed() {
    let vendor = Vendor::start(vec![status(503), status(429), Act::Cut, ok()]).await;
    let reply = client(config(&[&vendor]), &clock()).call(read()).await.unwrap();
    assert_eq!((reply.status, vendor.seen().len()), (200, 4));
}

#[tokio::test]
async fn the_wait_the_vendor_names_is_kept() {
    let slow = Act::Reply(429, "content-type: application/json\r\nretry-after: 7", b"{}".to_vec());
    let vendor = Vendor::start(vec![slow, ok()]).await;
    let clock = clock();
    client(config(&[&vendor]), &clock).call(send()).await.unwrap();
    assert_eq!(*clock.waits.lock(), vec![Duration::from_secs(7)]);
    assert_eq!(vendor.seen().len(), 2, "a refusal before any effect is repeated even for a bare send");
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_is_the_callers_to_keep() {
    let slow = Act::Reply(429, "content-type: application/json\r\nretry-after: 3600", b"{}".to_vec());
    let vendor = Vendor::start(vec![slow]).await;
    let clock = clock();
    let error = client(config(&[&vendor]), &clock).call(send()).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Safe { after: Some(Duration::from_secs(3600)) });
    assert!(clock.waits.lock().is_empty());
}

#[tokio::test]
async fn a_bare_send_of_unknown_outcome_is_never_repeated() {
    for act in [Act::Cut, Act::Reply(502, "content-type: text/html", b"<html>".to_vec())] {
        let vendor = Vendor::start(vec![act]).await;
        let error = client(config(&[&vendor]), &clock()).call(send()).await.unwrap_err();
        assert_eq!(vendor.seen().len(), 1);
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::OutcomeUnknown));
    }
}

#[tokio::test]
async fn a_keyed_call_is_repeated_and_stays_in_doubt_when_the_last_answer_is_a_refusal() {
    let refusals = (0..3).map(|_| status(503));
    let vendor = Vendor::start([Act::Cut].into_iter().chain(refusals).collect()).await;
    let mut call = send();
    call.replay = Replay::Keyed;
    let error = client(config(&[&vendor]), &clock()).call(call).await.unwrap_err();
    assert_eq!(vendor.seen().len(), 4);
    assert_eq!(error.retry(), Retry::OutcomeUnknown, "the first attempt may have been carried out");
}

#[tokio::test]
async fn a_caller_with_its_own_retry_gets_one_attempt_and_the_plain_answer() {
    let vendor = Vendor::start(vec![status(503), ok()]).await;
    let error = client(config(&[&vendor]), &clock()).call(send().with_max_retries(0)).await.unwrap_err();
    assert_eq!(vendor.seen().len(), 1);
    assert_eq!(error.retry(), Retry::Safe { after: None });
}

#[tokio::test]
async fn no_connection_is_safe_to_repeat_and_names_no_address() {
    let gone = nobody().await;
    let call = send().with_max_retries(0).with_query("token", "sesame");
    let error = client(config(&[&gone]), &clock()).call(call).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Safe { after: None }));
    assert!(!format!("{error:?}").contains("sesame"), "addresses carry secrets");
}

#[tokio::test]
async fn an_attempt_without_answer_ends_and_a_read_is_tried_again() {
    let vendor = Vendor::start(vec![Act::Hang, ok()]).await;
    let mut config = config(&[&vendor]);
    config.attempt_timeout = Duration::from_millis(300);
    config.connect_timeout = Duration::from_millis(200);
    client(config.clone(), &clock()).call(read()).await.unwrap();

    let vendor = Vendor::start(vec![Act::Hang, ok()]).await;
    config.base_urls = vec![vendor.url.parse().unwrap()];
    let error = client(config, &clock()).call(send()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Timeout, Retry::OutcomeUnknown));
    assert_eq!(vendor.seen().len(), 1);
}

#[tokio::test]
async fn the_total_deadline_ends_everything() {
    let vendor = Vendor::start((0..9).map(|_| Act::Hang).collect()).await;
    let mut config = config(&[&vendor]);
    config.attempt_timeout = Duration::from_millis(200);
    config.connect_timeout = Duration::from_millis(100);
    config.total_deadline = Duration::from_millis(300);
    config.backoff_base = Duration::from_millis(1);
    let began = Instant::now();
    let error = client(config, &clock()).call(read()).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!((error.kind(), vendor.seen().len()), (ErrorKind::Timeout, 2));
}

#[tokio::test]
async fn each_attempt_is_signed_afresh_and_spends_quota() {
    let vendor = Vendor::start(vec![status(503), status(503), ok()]).await;
    let (clock, signer) = (clock(), Arc::new(Counting::default()));
    let client = Outbound::builder(config(&[&vendor]), app(), clock.clone(), Arc::new(Table))
        .with_signer(signer.clone())
        .with_quotas(Quotas::new().with("reads", CALLS(2, Duration::from_secs(40))))
        .with_seed(1)
        .build()
        .unwrap();
    client.call(read()).await.unwrap();
    let nonces: Vec<_> = vendor.seen().iter().map(|seen| seen.header("x-nonce").unwrap().to_owned()).collect();
    assert_eq!(nonces, ["1", "2", "3"]);
    let longest = clock.waits.lock().iter().max().copied().unwrap();
    assert!(longest > Duration::from_secs(35), "the third attempt waited for the window: {longest:?}");
}

#[tokio::test]
async fn waiting_for_quota_is_outside_the_attempt_and_inside_the_deadline() {
    let vendor = Vendor::start(vec![]).await;
    let mut config = config(&[&vendor]);
    config.attempt_timeout = Duration::from_millis(250);
    config.connect_timeout = Duration::from_millis(200);
    config.total_deadline = Duration::from_millis(900);
    let clock = Arc::new(TokioClock(Instant::now()));
    let quotas = Quotas::new()
        .with("reads", CALLS(1, Duration::from_millis(450)))
        .with("sends", CALLS(1, Duration::from_secs(60)));
    let client = Outbound::builder(config, app(), clock, Arc::new(Table)).with_quotas(quotas).build().unwrap();
    let twin = client.clone();
    client.call(read()).await.unwrap();
    let began = Instant::now();
    twin.call(read()).await.unwrap();
    assert!(began.elapsed() > Duration::from_millis(300), "clones share one quota");

    client.call(send()).await.unwrap();
    let error = client.call(send()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::RateLimited, Retry::Safe { after: None }));
    assert_eq!(vendor.seen().len(), 3, "the call that waited in vain never left");
}

#[tokio::test]
async fn refused_credentials_are_renewed_once_and_not_counted_as_a_retry() {
    for (renews, answers, requests) in [(true, 1, 2), (true, 2, 2), (false, 1, 1)] {
        let vendor = Vendor::start((0..answers).map(|_| status(401)).collect()).await;
        let signer = Arc::new(Counting { renews, ..Counting::default() });
        let client = client(config(&[&vendor]), &clock()).with_signer(signer.clone());
        let result = client.call(send().with_max_retries(0)).await;
        assert_eq!(vendor.seen().len(), requests, "renews {renews}, {answers} refusals");
        assert_eq!(result.is_ok(), renews && answers == 1);
        assert_eq!(*signer.refused.lock(), 1);
    }
}

#[tokio::test]
async fn a_dead_or_failing_address_is_left_and_not_revisited_within_the_damping() {
    let (dead, alive) = (nobody().await, Vendor::start(vec![ok(), status(503), ok()]).await);
    let clock = clock();
    let client = client(config(&[&dead, &alive]), &clock);
    client.call(send()).await.unwrap();
    client.call(send()).await.unwrap();
    assert_eq!(alive.seen().len(), 3, "stays with the address that answered, even after its own 503");

    clock.advance(Duration::from_secs(31));
    let error = client.call(send().with_max_retries(0)).await;
    assert!(error.is_ok());
    assert_eq!(alive.seen().len(), 4);
}

#[tokio::test]
async fn a_server_error_moves_to_the_next_address() {
    let (first, second) = (Vendor::start(vec![status(503)]).await, Vendor::start(vec![]).await);
    client(config(&[&first, &second]), &clock()).call(read()).await.unwrap();
    assert_eq!((first.seen().len(), second.seen().len()), (1, 1));
}

#[tokio::test]
async fn an_answer_above_the_limit_is_not_read_to_its_end() {
    let huge = || Act::Reply(200, "content-type: application/json", vec![b' '; 4096]);
    let vendor = Vendor::start(vec![huge(), huge()]).await;
    let mut config = config(&[&vendor]);
    config.max_response_bytes = 1000;
    let client = client(config, &clock());
    let error = client.call(read()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::TooLarge, Retry::Never));
    let error = client.call(send()).await.unwrap_err();
    assert_eq!(error.retry(), Retry::OutcomeUnknown, "the send was answered, so it was carried out");
    assert_eq!(vendor.seen().len(), 2);
}

#[tokio::test]
async fn no_connection_carries_more_requests_than_allowed() {
    let vendor = Vendor::start(vec![]).await;
    let mut config = config(&[&vendor]);
    config.max_requests_per_connection = Some(2);
    let client = client(config, &clock());
    for _ in 0..7 {
        client.call(read()).await.unwrap();
    }
    let mut per_connection = std::collections::BTreeMap::<usize, usize>::new();
    for seen in vendor.seen() {
        *per_connection.entry(seen.connection).or_default() += 1;
    }
    assert_eq!(per_connection.values().sum::<usize>(), 7);
    assert!(per_connection.values().all(|count| *count <= 2), "{per_connection:?}");
    assert_eq!(per_connection.len(), 4, "and connections are reused up to that");
}

#[tokio::test]
async fn bodies_headers_and_queries_arrive_as_given() {
    let vendor = Vendor::start(vec![]).await;
    let client = client(config(&[&vendor]), &clock());
    let part = switchboard_outbound::Part {
        name: "file".into(),
        file_name: Some("a.txt".into()),
        content_type: Some("text/plain".into()),
        bytes: bytes::Bytes::from_static(b"hello"),
    };
    for body in [
        CallBody::Json(bytes::Bytes::from_static(b"{\"a\":1}")),
        CallBody::Form(bytes::Bytes::from_static(b"a=1&b=%20")),
        CallBody::Multipart(vec![part]),
    ] {
        client.call(send().with_body(body).with_query("q", "a b&c")).await.unwrap();
    }
    let seen = vendor.seen();
    assert!(seen[0].head.starts_with("POST /send?q=a+b%26c HTTP/1.1"), "{}", seen[0].head);
    assert_eq!((seen[0].header("content-type"), &seen[0].body[..]), (Some("application/json"), &b"{\"a\":1}"[..]));
    assert_eq!(seen[1].header("content-type"), Some("application/x-www-form-urlencoded"));
    let multipart = String::from_utf8(seen[2].body.clone()).unwrap();
    assert!(multipart.contains("name=\"file\"; filename=\"a.txt\"") && multipart.contains("hello"), "{multipart}");
}

#[test]
fn metrics_tell_attempts_errors_unknown_codes_and_waits() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let vendor = Vendor::start(vec![status(503), ok(), status(501)]).await;
            let quotas = Quotas::new().with("reads", CALLS(2, Duration::from_secs(40)));
            let client = Outbound::builder(config(&[&vendor]), app(), clock(), Arc::new(Table))
                .with_quotas(quotas)
                .build()
                .unwrap();
            client.call(read()).await.unwrap();
            client.call(read()).await.unwrap_err();
        });
    });
    let text = handle.render();
    for line in [
        r#"switchboard_vendor_attempts_total{vendor="acme",app="app-1",operation="look",outcome="ok"} 1"#,
        r#"switchboard_vendor_attempts_total{vendor="acme",app="app-1",operation="look",outcome="unavailable"} 1"#,
        r#"switchboard_vendor_retries_total{vendor="acme",app="app-1",operation="look"} 1"#,
        r#"switchboard_vendor_errors_total{vendor="acme",app="app-1",operation="look",outcome="internal"} 1"#,
        r#"switchboard_vendor_unknown_codes_total{vendor="acme",app="app-1",operation="look"} 1"#,
        r#"switchboard_vendor_quota_waiting{vendor="acme",app="app-1",group="reads"} 0"#,
        r#"switchboard_vendor_quota_wait_seconds_count{vendor="acme",app="app-1",group="reads"} 3"#,
        r#"switchboard_vendor_call_seconds_count{vendor="acme",app="app-1",operation="look",outcome="ok"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}
