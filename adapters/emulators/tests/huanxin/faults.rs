//! What breaks on request: lost answers, refusals, outages, dead domains, clock skew.

use serde_json::{Value, json};
use switchboard_emulators::common::{FaultAction, FaultStep, Faults, RestFaults};

use super::support::{NOW, World, builder, text_to};

async fn attempt(world: &World, base: &str) -> Result<u16, reqwest::Error> {
    let url = format!("{base}/acme-im/bridge/messages/users");
    let request = world.client.post(url).bearer_auth(&world.token).json(&text_to("wei.chen", "x"));
    Ok(request.send().await?.status().as_u16())
}

#[tokio::test]
async fn a_lost_answer_has_its_effect_and_a_lost_request_has_none() {
    let world = World::start().await;
    let script = vec![
        FaultStep::rest(2, "/messages", FaultAction::LostAnswer),
        FaultStep::rest(3, "/messages", FaultAction::LostRequest),
    ];
    world.vendor.set_faults(Faults { script, ..Faults::default() });
    let base = world.vendor.base_url();
    let mut stored = Vec::new();
    let mut answered = Vec::new();
    for _ in 0..4 {
        answered.push(attempt(&world, &base).await.ok());
        stored.push(world.vendor.ledger().messages().len());
    }
    assert_eq!(answered, [Some(200), None, None, Some(200)]);
    assert_eq!(stored, [1, 2, 2, 3]);
    let cut: Vec<u16> = world.vendor.ledger().requests().iter().rev().take(4).map(|call| call.status).collect();
    assert_eq!(cut, [200, 0, 0, 200]);
}

#[tokio::test]
async fn refusals_wear_the_vendors_form() {
    let world = World::start().await;
    let actions = [
        (FaultAction::RateLimited, 429, "reach_limit"),
        (FaultAction::MessageLimit, 403, "message_send_error"),
        (FaultAction::ServerError, 500, "web_application"),
        (FaultAction::Unauthorized, 401, "unauthorized"),
    ];
    for (action, status, error) in actions {
        let script = vec![FaultStep::rest(1, "/messages", action)];
        world.vendor.set_faults(Faults { script, ..Faults::default() });
        let (actual, body) = world.post("/messages/users", text_to("wei.chen", "x")).await;
        assert_eq!((actual, &body["error"]), (status, &json!(error)));
        assert_eq!(body["timestamp"], NOW);
    }
    let rest = RestFaults { html_error: 1.0, ..RestFaults::default() };
    world.vendor.set_faults(Faults { rest, ..Faults::default() });
    let (status, page) = world.post("/messages/users", text_to("wei.chen", "x")).await;
    assert_eq!(status, 502);
    assert!(page.as_str().unwrap().starts_with("<html>"));
    assert_eq!(world.vendor.ledger().counters().rate_errors, 2);
}

#[tokio::test]
async fn one_domain_may_die_while_the_other_lives() {
    let world = World::start().await;
    let (first, second) = (world.vendor.base_url(), world.vendor.start_extra_domain().await.unwrap());
    assert_eq!(attempt(&world, &first).await.ok(), Some(200));
    let dead_domains = vec![first.trim_start_matches("http://").to_owned()];
    world.vendor.set_faults(Faults { dead_domains, ..Faults::default() });
    assert!(attempt(&world, &first).await.is_err());
    assert_eq!(attempt(&world, &second).await.ok(), Some(200));
    world.vendor.set_faults(Faults { outage: true, ..Faults::default() });
    assert!(attempt(&world, &second).await.is_err());
    world.vendor.set_faults(Faults::default());
    assert_eq!(attempt(&world, &first).await.ok(), Some(200));
}

#[tokio::test]
async fn a_skewed_clock_shows_in_dates_and_timestamps() {
    let world = World::with(builder().faults(Faults { clock_skew_ms: 420_000, ..Faults::default() })).await;
    let request = world.client.get(world.url("/users/lin_qiao")).bearer_auth(&world.token);
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["date"], "Fri, 20 Nov 2026 18:47:00 GMT");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["timestamp"], NOW + 420_000);
}

#[tokio::test]
async fn everything_can_be_driven_over_http() {
    let world = World::start().await;
    let base = world.vendor.base_url();
    let act = |user: &str, action: &str, body: Value| {
        world.client.post(format!("{base}/_emulator/users/{user}/{action}")).json(&body).send()
    };
    assert_eq!(act("lin_qiao", "login", json!({ "os": "android" })).await.unwrap().status(), 200);
    let sent = act("lin_qiao", "send", json!({ "to": { "user": "wei.chen" }, "text": "hi" })).await.unwrap();
    let sent: Value = sent.json().await.unwrap();
    act("wei.chen", "login", json!({})).await.unwrap();
    let inbox: Value = act("wei.chen", "inbox", json!({})).await.unwrap().json().await.unwrap();
    assert_eq!(inbox["messages"][0]["msg_id"], sent["msg_id"]);
    assert_eq!(act("lin_qiao", "fly", json!({})).await.unwrap().status(), 422);
    let advance = world.client.post(format!("{base}/_emulator/clock/advance")).json(&json!({ "ms": 5_000 }));
    assert_eq!(advance.send().await.unwrap().json::<Value>().await.unwrap()["now_ms"], NOW + 5_000);
    let faults = json!({ "rest": { "server_error": 1.0 } });
    let put = world.client.put(format!("{base}/_emulator/faults")).json(&faults).send().await.unwrap();
    assert_eq!(put.status(), 204);
    assert_eq!(world.get("/users/lin_qiao").await.0, 500);
    let get = |path: &str| world.client.get(format!("{base}/_emulator/{path}")).send();
    let state: Value = get("state").await.unwrap().json().await.unwrap();
    assert_eq!(state["faults"]["rest"]["server_error"], 1.0);
    assert_eq!(state["vendor"]["messages"], 1);
    let ledger: Value = get("ledger").await.unwrap().json().await.unwrap();
    assert_eq!(ledger["messages"][0]["vendor_id"], sent["msg_id"]);
    assert_eq!(ledger["counters"], state["counters"]);
    let token = ledger["requests"].as_array().unwrap().iter().find(|call| call["path"] == "/acme-im/bridge/token");
    assert_eq!(token.unwrap()["body"], "", "credentials stay out of the ledger");
}
