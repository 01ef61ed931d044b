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

    for (method, path, body, expected) in [
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
