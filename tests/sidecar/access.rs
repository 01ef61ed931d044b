//! Who may call what, and for whom.

use std::collections::BTreeSet;

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::support::consumer::{subscribe, take, texts};
use crate::support::sidecar::Sidecar;
use crate::{arrives, receiver};

const SCOPES: [&str; 4] = ["messages", "subscribe", "history", "admin"];

fn secret(scope: &str) -> String {
    format!("only-for-{scope}-0123456789")
}

/// A token for each scope alone.
fn tokens() -> String {
    SCOPES
        .map(|scope| {
            format!("[[tokens]]\nname = \"{scope}\"\nsecret = \"{}\"\nscopes = [\"{scope}\"]\n", secret(scope))
        })
        .concat()
}

/// Every operation of the API's own description: method and path, filled in with names of nothing.
async fn operations(sidecar: &Sidecar) -> Vec<(Method, String)> {
    let document: Value =
        sidecar.http.get(format!("{}/openapi.json", sidecar.url)).send().await.unwrap().json().await.unwrap();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let parts = path
            .split('/')
            .map(|part| if part.starts_with('{') { "01890000-0000-7000-8000-000000000000" } else { part });
        let path = parts.collect::<Vec<_>>().join("/");
        for method in methods.as_object().unwrap().keys() {
            if let Ok(method @ (Method::GET | Method::PUT | Method::POST | Method::DELETE | Method::PATCH)) =
                method.to_uppercase().parse()
            {
                operations.push((method, path.clone()));
            }
        }
    }
    assert!(operations.len() >= 25, "the document describes only {operations:?}");
    operations
}

async fn problem(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
    if status == StatusCode::UNAUTHORIZED {
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
    }
    (status, response.json().await.unwrap_or_default())
}

#[tokio::test]
async fn every_operation_refuses_callers_without_a_valid_token() {
    let (_directory, sidecar) = receiver("");
    let mut refused = 0;
    for (method, path) in operations(&sidecar).await {
        let call = || sidecar.http.request(method.clone(), format!("{}{path}", sidecar.url));
        let valid = crate::support::sidecar::TOKEN;
        for request in [
            call(),
            call().bearer_auth("not-a-token-of-ours"),
            call().bearer_auth(""),
            call().bearer_auth(&valid[1..]),
            call().bearer_auth(format!("{valid}x")),
            call().basic_auth("test", Some(valid)),
            call().header("authorization", valid),
            call().query(&[("token", valid), ("access_token", valid)]),
        ] {
            let (status, problem) = problem(request).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}: {problem}");
            assert_eq!(problem["type"], "urn:switchboard:problem:unauthorized");
            refused += 1;
        }
    }
    let counted = sidecar.metric("switchboard_api_refused_total").await;
    assert!((counted - f64::from(refused)).abs() < 0.5, "{counted} of {refused} were counted");
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        let status = sidecar.http.get(format!("{}{path}", sidecar.url)).send().await.unwrap().status();
        assert_eq!(status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn every_operation_needs_exactly_one_scope_before_it_reads_anything() {
    let (_directory, sidecar) = receiver(&tokens());
    let mut needed = BTreeSet::new();
    for (method, path) in operations(&sidecar).await {
        let mut lets_in = Vec::new();
        for scope in SCOPES {
            // Neither body nor query: what is refused is refused for the scope alone.
            let request = sidecar.http.request(method.clone(), format!("{}{path}", sidecar.url));
            let (status, problem) = problem(request.bearer_auth(secret(scope))).await;
            assert_ne!(status, StatusCode::UNAUTHORIZED);
            if status == StatusCode::FORBIDDEN {
                assert!(problem["detail"].as_str().unwrap().contains("lacks the scope"), "{problem}");
            } else {
                lets_in.push(scope);
            }
        }
        assert_eq!(lets_in.len(), 1, "{method} {path} lets in {lets_in:?}");
        needed.extend(lets_in);
    }
    assert_eq!(needed, BTreeSet::from(SCOPES), "a scope opens nothing");
}

#[tokio::test]
async fn i11_a_tenant_sees_nothing_of_another() {
    let other = "[[tokens]]\nname = \"other\"\nsecret = \"of-another-tenant-0123\"\ntenant = \"other\"\n\
                 scopes = [\"messages\", \"subscribe\", \"history\", \"admin\"]\n";
    let (_directory, sidecar) = receiver(other);
    subscribe(&sidecar, "s", &["messages"]).await;
    arrives(&sidecar, "1", "alice", "bob", "private").await;
    let deliveries = take(&sidecar, "s", 1).await;
    assert_eq!(texts(&deliveries), ["private"]);
    let message = deliveries[0]["event"]["data"]["id"].as_str().unwrap();

    let call = |method: Method, path: &str| {
        sidecar.http.request(method, format!("{}{path}", sidecar.url)).bearer_auth("of-another-tenant-0123")
    };
    for (method, path) in [
        (Method::GET, "/v1/conversations/direct~alice~bob/messages".to_owned()),
        (Method::GET, format!("/v1/messages/{message}")),
        (Method::POST, format!("/v1/messages/{message}/recall")),
        (Method::GET, "/v1/subscribers/s".to_owned()),
        (Method::GET, "/v1/subscribers/s/events".to_owned()),
        (Method::DELETE, "/v1/subscribers/s".to_owned()),
        (Method::GET, "/v1/identity-map?provider=huanxin".to_owned()),
        (Method::POST, "/v1/users/alice/login?provider=huanxin".to_owned()),
    ] {
        let (status, problem) = problem(call(method, &path)).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {problem}");
    }
    for (path, field) in
        [("/v1/conversations", "conversations"), ("/v1/subscribers", "subscribers"), ("/v1/providers", "providers")]
    {
        let (status, answer) = problem(call(Method::GET, path)).await;
        assert_eq!((status, &answer[field]), (StatusCode::OK, &json!([])), "{path}");
    }
    // Its own subscriber of the same name is another one.
    let (status, _) = problem(call(Method::PUT, "/v1/subscribers/s").json(&json!({}))).await;
    assert_eq!(status, StatusCode::CREATED);
    let (status, page) = problem(call(Method::GET, "/v1/subscribers/s/events")).await;
    assert_eq!((status, &page["deliveries"]), (StatusCode::OK, &json!([])));
}
