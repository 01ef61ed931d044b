//! The same over HTTP, as the command line asks for it.

use reqwest::Method;
use serde_json::json;
use switchboard_contract::Clock;
use switchboard_emulators::Faults;
use switchboard_emulators::common::CallbackFaults;

use crate::stage::{HOUR, START, Stage, Vendor};

#[tokio::test]
async fn coverage_reconciliation_plans_and_windows_are_served() {
    let stage = Stage::new(Vendor::Huanxin, 1).await;
    let run = stage.run().await;
    stage.log_in(&["ann", "bob"]);
    let callbacks = CallbackFaults { drop: 1.0, ..CallbackFaults::default() };
    stage.set_faults(Faults { callbacks, ..Faults::default() });
    for number in 0..4 {
        stage.say("ann", "bob", &format!("unheard {number}")).await;
    }
    stage.advance(HOUR);
    let (status, answer) = run.call(Method::GET, "/v1/conversations/direct~ann~bob/plan?tier=recent", None).await;
    assert_eq!((status, answer["plans"][0]["steps"][0]["source"].as_str()), (200, Some("query")), "{answer}");

    stage.pass(&run, 34).await;
    let until = (START + HOUR).0;
    let path = format!("/v1/coverage?provider=main&from={}&until={until}", START.0);
    let (status, answer) = run.call(Method::GET, &path, None).await;
    assert_eq!((status, answer["apps"][0]["percent"].as_f64()), (200, Some(100.0)), "{answer}");
    assert_eq!(answer["apps"][0]["repaired"], 4);

    let call = json!({ "from": START.0, "until": until, "again": true });
    let reconcile = run.call(Method::POST, "/v1/reconcile", Some(call));
    let (status, answer) = stage.drive(reconcile).await;
    assert_eq!((status, answer["providers"][0]["hours"][0]["lines"].as_u64()), (200, Some(4)), "{answer}");
    assert_eq!(answer["providers"][0]["repaired"], 0);

    let (status, answer) = run.call(Method::POST, "/v1/conversations/direct~ann~bob/pull", None).await;
    assert_eq!((status, answer["parts"][0]["brought"].as_u64()), (200, Some(0)), "{answer}");
    let (status, answer) = run.call(Method::GET, "/v1/providers/main/windows", None).await;
    assert_eq!((status, answer["windows"].as_array().map(Vec::len)), (200, Some(0)), "{answer}");
    let (_, answer) = run.call(Method::GET, "/v1/providers", None).await;
    assert_eq!(answer["providers"][0]["state"], "online");

    let path = format!("/v1/conversations/direct~ann~bob/coverage?from={}&until={until}", START.0);
    let (status, answer) = run.call(Method::GET, &path, None).await;
    assert_eq!((status, answer["apps"][0]["percent"].as_f64()), (200, Some(100.0)), "{answer}");
    assert_eq!((&answer["removed"], &answer["apps"][0]["holes"]), (&json!([]), &json!([])), "{answer}");
    let (status, answer) = run.call(Method::GET, "/v1/coverage/conversations?provider=main", None).await;
    assert_eq!((status, &answer["ranges"]), (200, &json!([])), "{answer}");
    let messages = "/v1/conversations/direct~ann~bob/messages";
    let (status, answer) = run.call(Method::GET, &format!("{messages}?type=text&sender=ann&limit=3"), None).await;
    assert_eq!((status, answer["messages"].as_array().map(Vec::len)), (200, Some(3)), "{answer}");
    assert!(answer["gaps"].is_null(), "nobody was asked for what is missing: {answer}");
    let next = answer["next"].as_str().unwrap().to_owned();
    let (_, answer) = run.call(Method::GET, &format!("{messages}?before={next}"), None).await;
    assert_eq!((answer["messages"].as_array().map(Vec::len), &answer["next"]), (Some(1), &json!(null)), "{answer}");
    let path = format!("{messages}?fetch=true&type=image&until={until}");
    let (status, answer) = stage.drive(run.call(Method::GET, &path, None)).await;
    assert_eq!((status, answer["messages"].as_array().map(Vec::len)), (200, Some(0)), "{answer}");
    let gap = &answer["gaps"][0];
    assert_eq!((gap["tier"].as_str(), gap["state"].as_str()), (Some("archive"), Some("suspect")), "{answer}");

    for (method, path, body, expected) in [
        (Method::GET, "/v1/conversations/direct~ann~bob/coverage?from=0", None, 400),
        (Method::GET, "/v1/conversations/direct~ann~bob/coverage?provider=none", None, 404),
        (Method::GET, "/v1/coverage/conversations?provider=none", None, 404),
        (Method::GET, "/v1/coverage/conversations?after=nonsense", None, 400),
        (Method::GET, "/v1/conversations/direct~ann~bob/messages?before=nonsense", None, 400),
        (Method::GET, "/v1/coverage?provider=none", None, 404),
        (Method::GET, "/v1/coverage?from=0", None, 400),
        (Method::POST, "/v1/reconcile", Some(json!({ "provider": "none" })), 404),
        (Method::POST, "/v1/reconcile", Some(json!({ "form": 1 })), 400),
        (Method::GET, "/v1/conversations/nonsense/plan", None, 400),
        (Method::GET, "/v1/conversations/direct~ann~bob/plan?provider=none", None, 404),
        (Method::GET, "/v1/providers/none/windows", None, 404),
    ] {
        let (status, answer) = run.call(method, path, body).await;
        assert_eq!(status, expected, "{path}: {answer}");
    }
    assert!(stage.clock.now() > START);
    run.stop().await;
}
