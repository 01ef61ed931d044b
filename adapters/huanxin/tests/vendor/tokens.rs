//! The app's token and the tokens of users.

use std::time::Duration;

use switchboard_contract::{ErrorKind, Messaging, Provider, UserProfile, Users};

use crate::errors::text_to;
use crate::support::{JumpClock, NOW, Vendor, config, fixture, json_fixture};

#[tokio::test]
async fn the_token_request_and_answer_are_the_published_ones() {
    let vendor = Vendor::start().await;
    let clock = JumpClock::new();
    let client = config(&vendor.url, "token.ttl = '24h'").build(clock.clone()).unwrap();
    vendor.answer_with(200, "rest_list_users_response.json");
    client.probe().await.unwrap();
    let call = &vendor.token_calls()[0];
    assert_eq!((call.line.as_str(), call.json()), ("POST /acme-im/bridge/token", json_fixture("token_request.json")));
    assert_eq!(call.header("authorization"), None);
    let probe = &vendor.seen()[0];
    assert_eq!(probe.line, "GET /acme-im/bridge/users?limit=1");
    assert_eq!(probe.header("authorization"), Some("Bearer app-token"));
}

/// Serves the published answer itself: the listener's own token calls would hide it.
#[tokio::test]
async fn the_published_token_is_used_for_four_fifths_of_its_life() {
    let vendor = Vendor::start().await;
    vendor.own_tokens(vec![fixture("token_response.json"), fixture("token_response.json")]);
    let clock = JumpClock::new();
    let client = vendor.config().build(clock.clone()).unwrap();
    for (wait, calls) in [(0, 1), (69_119, 1), (1, 2)] {
        clock.advance(Duration::from_secs(wait));
        vendor.answer_with(200, "rest_list_users_response.json");
        client.probe().await.unwrap();
        assert_eq!(vendor.token_calls().len(), calls, "after another {wait} s");
    }
    let token = json_fixture("token_response.json")["access_token"].as_str().unwrap().to_owned();
    assert_eq!(vendor.seen()[0].header("authorization"), Some(format!("Bearer {token}").as_str()));
    assert_eq!(json_fixture("token_response.json")["expires_in"], 86400);
}

#[tokio::test]
async fn clusters_that_count_in_milliseconds_are_understood() {
    let vendor = Vendor::start().await;
    let short = br#"{"access_token":"t","expires_in":10000}"#.to_vec();
    vendor.own_tokens(vec![short.clone(), short]);
    let clock = JumpClock::new();
    let settings = "token = { ttl = '10s', unit = 'milliseconds' }";
    let client = config(&vendor.url, settings).build(clock.clone()).unwrap();
    for (wait, calls) in [(0, 1), (7_999, 1), (1, 2)] {
        clock.advance(Duration::from_millis(wait));
        vendor.answer_with(200, "rest_list_users_response.json");
        client.probe().await.unwrap();
        assert_eq!(vendor.token_calls().len(), calls);
    }
    assert_eq!(vendor.token_calls()[0].json()["ttl"], 10_000);
}

#[tokio::test]
async fn a_hundred_callers_fetch_one_token() {
    let vendor = Vendor::start().await;
    let client = vendor.client();
    for _ in 0..50 {
        vendor.answer_with(200, "rest_list_users_response.json");
    }
    let calls = (0..50).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.probe().await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    assert_eq!(vendor.token_calls().len(), 1);
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_and_the_call_repeated() {
    let vendor = Vendor::start().await;
    vendor.own_tokens(vec![
        br#"{"access_token":"old","expires_in":86400}"#.to_vec(),
        br#"{"access_token":"new","expires_in":86400}"#.to_vec(),
    ]);
    vendor.answer_with(401, "error_401_expired_token.json").answer_with(200, "rest_send_message_response.json");
    vendor.client().send(&text_to("lin_qiao")).await.unwrap();
    let tokens: Vec<_> = vendor.seen().iter().map(|seen| seen.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(tokens, ["Bearer old", "Bearer new"]);
}

#[tokio::test]
async fn refusals_in_a_row_do_not_hammer_the_token_call() {
    let vendor = Vendor::start().await;
    let client = vendor.client();
    for _ in 0..10 {
        vendor.answer_with(401, "error_401_oauth.json");
    }
    for _ in 0..5 {
        let error = client.send(&text_to("lin_qiao")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
    }
    // The first one, the renewal, and one more that the repeat of the first call could not avoid needing.
    assert_eq!(vendor.token_calls().len(), 2);
    assert_eq!(vendor.seen().len(), 6, "later calls are not repeated within the interval");
}

#[tokio::test]
async fn a_refusal_that_speaks_of_the_message_costs_no_token() {
    let vendor = Vendor::start().await;
    vendor.answer(401, r#"{"error":"message_rewrite_error","error_description":"not allowed"}"#);
    let error = vendor.client().send(&text_to("lin_qiao")).await.unwrap_err();
    assert_eq!((error.kind(), vendor.seen().len()), (ErrorKind::Forbidden, 1));
    assert_eq!(vendor.token_calls().len(), 1);
}

#[tokio::test]
async fn a_renewal_that_fails_leaves_the_old_token_in_use() {
    let vendor = Vendor::start().await;
    vendor.own_tokens(vec![br#"{"access_token":"old","expires_in":1000}"#.to_vec()]);
    let clock = JumpClock::new();
    let client = vendor.config().build(clock.clone()).unwrap();
    vendor.answer(200, "{}").answer(200, "{}");
    client.probe().await.unwrap();
    clock.advance(Duration::from_secs(900));
    vendor.refuse_tokens();
    client.probe().await.unwrap();
    clock.advance(Duration::from_secs(100));
    assert_eq!(client.probe().await.unwrap_err().kind(), ErrorKind::Unauthorized);
}

#[tokio::test]
async fn a_users_token_is_inherited_from_the_app() {
    let vendor = Vendor::start().await;
    vendor.answer_with(200, "token_user_response.json");
    let client = config(&vendor.url, "login.ttl = '1h'").build(JumpClock::new()).unwrap();
    let token = client.login_token(&"lin_qiao".into(), &UserProfile::default()).await.unwrap();
    let answer = json_fixture("token_user_response.json");
    assert_eq!(token.token, answer["access_token"].as_str().unwrap());
    assert_eq!(token.expires_at.unwrap().0, NOW + answer["expires_in"].as_i64().unwrap() * 1000);
    let call = &vendor.seen()[0];
    assert_eq!(call.line, "POST /acme-im/bridge/token");
    assert_eq!(call.json(), json_fixture("token_user_inherit_request.json"));
    assert_eq!(call.header("authorization"), Some("Bearer app-token"));
}

#[tokio::test]
async fn a_users_token_made_here_is_the_published_example() {
    let vendor = Vendor::start().await;
    vendor.answer_with(200, "rest_register_user_response.json");
    let example = json_fixture("token_user_dynamic_example.json");
    let settings = "login = { method = 'dynamic', ttl = '10m' }";
    let client = config(&vendor.url, settings).build(JumpClock::new()).unwrap();
    let token = client.login_token(&"lin_qiao".into(), &UserProfile::default()).await.unwrap();
    assert_eq!(token.token, example["token"].as_str().unwrap());
    assert_eq!(vendor.seen()[0].line, "POST /acme-im/bridge/users", "a token made here creates nobody");
    let inputs = &example["inputs"];
    assert_eq!((inputs["userId"].as_str(), inputs["ttl"].as_u64()), (Some("lin_qiao"), Some(600)));
}
