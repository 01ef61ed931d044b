//! Users, groups and the identity map over HTTP.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use switchboard_emulators::huanxin::Target;

use crate::support::consumer::{subscribe, take, texts, until};
use crate::support::sidecar::Sidecar;
use crate::{SMALL, stage, text_to};

async fn call(sidecar: &Sidecar, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
    let response = sidecar.request(method, path).json(&body).send().await.unwrap();
    let status = response.status();
    (status, response.json().await.unwrap_or_default())
}

#[tokio::test]
async fn a_user_logs_in_with_the_token_we_give_and_can_be_kicked_and_banned() {
    let (_directory, vendors, sidecar) = stage().await;
    // Huanxin folds case, so this id must be spelled in another way there.
    let user = "Alice.B";
    let (status, _) = call(&sidecar, Method::PUT, "/v1/users/Alice.B", json!({ "name": "Alice B." })).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let mut spelled = Vec::new();
    for provider in ["huanxin", "rongcloud"] {
        let path = format!("/v1/users/{user}/login?provider={provider}");
        let (status, login) = call(&sidecar, Method::POST, &path, json!(null)).await;
        assert_eq!(status, StatusCode::OK, "{login}");
        assert_eq!(login["vendor"], provider);
        let (vendor_user, token) = (login["user"].as_str().unwrap(), login["token"].as_str().unwrap());
        if provider == "huanxin" {
            vendors.huanxin.user(vendor_user).login_with_token("android", token).unwrap();
        } else {
            vendors.rongcloud.user(vendor_user).login_with_token(token, "iOS").unwrap();
        }
        spelled.push(vendor_user.to_owned());
        let path = format!("/v1/users/{user}/presence?provider={provider}");
        assert_eq!(call(&sidecar, Method::GET, &path, json!(null)).await.1, json!({ "state": "online" }), "{provider}");
    }
    assert_eq!(spelled[0], spelled[0].to_lowercase());
    let (status, _) = call(&sidecar, Method::POST, "/v1/users/Alice.B/kick?provider=huanxin", json!(null)).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let presence = call(&sidecar, Method::GET, "/v1/users/Alice.B/presence?provider=huanxin", json!(null)).await.1;
    assert_eq!(presence, json!({ "state": "offline" }));

    for (provider, body) in [("huanxin", json!({})), ("rongcloud", json!({ "seconds": 600 }))] {
        let path = format!("/v1/users/{user}/ban?provider={provider}");
        let (status, problem) = call(&sidecar, Method::POST, &path, body).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{problem}");
        let refused = |spelled: &[String]| match provider {
            "huanxin" => vendors.huanxin.user(&spelled[0]).login("ios").is_err(),
            _ => vendors.rongcloud.user(&spelled[1]).login("Android").is_err(),
        };
        assert!(refused(&spelled), "{provider}: a banned user logs in");
        let (status, _) = call(&sidecar, Method::DELETE, &path, json!(null)).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert!(!refused(&spelled), "{provider}: the ban stays");
    }
    // What the vendor says of it is told in the business's own id.
    subscribe(&sidecar, "s", &["messages"]).await;
    vendors.huanxin.user(&spelled[0]).send_text(Target::User("shop".to_owned()), "hi").await.unwrap();
    let deliveries = take(&sidecar, "s", 1).await;
    assert_eq!(deliveries[0]["event"]["data"]["from"], user);
}

#[tokio::test]
async fn a_group_is_made_at_the_vendor_when_it_is_first_used() {
    let (_directory, vendors, sidecar) = stage().await;
    subscribe(&sidecar, "s", &["messages"]).await;
    let body = json!({ "name": "Team", "owner": "shop", "members": ["shop", "alice", "bob"] });
    assert_eq!(call(&sidecar, Method::PUT, "/v1/groups/team-7", body).await.0, StatusCode::NO_CONTENT);
    let room = json!({ "name": "Hall", "owner": "shop" });
    assert_eq!(call(&sidecar, Method::PUT, "/v1/groups/hall?room=true", room).await.0, StatusCode::NO_CONTENT);
    let list = sidecar.get("/v1/groups?limit=1").await;
    let next = list["next"].as_str().unwrap();
    let rest = sidecar.get(&format!("/v1/groups?limit=1&after={next}")).await;
    let ids: Vec<&Value> = [&list, &rest].iter().map(|page| &page["groups"][0]["id"]).collect();
    assert_eq!(ids, ["hall", "team-7"]);

    let sent = sidecar.send(Method::POST, "/v1/messages", &text_to(json!({ "group": "team-7" }), "welcome")).await;
    assert_eq!(sent["messages"][0]["conversation"], "group~team-7");
    assert_eq!(texts(&take(&sidecar, "s", 1).await), ["welcome"]);
    let message = vendors.huanxin.ledger().messages()[0].clone();
    assert_eq!(message.kind, "group");
    assert_ne!(message.target, "team-7", "Huanxin chooses its own ids");

    // A member answers at the vendor, in the vendor's group; we hear it in ours.
    vendors.huanxin.user("alice").send_text(Target::Group(message.target.clone()), "thanks").await.unwrap();
    let heard = take(&sidecar, "s", 1).await;
    assert_eq!((texts(&heard), &heard[0]["event"]["subject"]), (vec!["thanks"], &json!("group~team-7")));

    let change = json!({ "add": ["carol"], "remove": ["bob"] });
    assert_eq!(call(&sidecar, Method::POST, "/v1/groups/team-7/members", change).await.0, StatusCode::NO_CONTENT);
    let group = sidecar.get("/v1/groups/team-7").await;
    let mut members: Vec<&str> =
        group["members"].as_array().unwrap().iter().map(|member| member.as_str().unwrap()).collect();
    members.sort_unstable();
    assert_eq!((members, &group["owner"]), (vec!["alice", "carol", "shop"], &json!("shop")));
    let target = || Target::Group(message.target.clone());
    vendors.huanxin.user("carol").send_text(target(), "hello").await.unwrap();
    vendors.huanxin.user("bob").send_text(target(), "let me in").await.unwrap_err();
    assert_eq!(texts(&take(&sidecar, "s", 1).await), ["hello"]);

    assert_eq!(call(&sidecar, Method::DELETE, "/v1/groups/team-7", json!(null)).await.0, StatusCode::NO_CONTENT);
    assert_eq!(call(&sidecar, Method::GET, "/v1/groups/team-7", json!(null)).await.0, StatusCode::NOT_FOUND);
    vendors.huanxin.user("alice").send_text(target(), "anybody here?").await.unwrap_err();
}

#[tokio::test]
async fn an_identity_map_moves_to_another_store() {
    let (_directory, vendors, sidecar) = stage().await;
    let body = json!({ "name": "Team", "owner": "shop", "members": ["shop", "alice"] });
    call(&sidecar, Method::PUT, "/v1/groups/team-7", body).await;
    let long = "a-user-id-that-is-much-longer-than-the-sixty-four-bytes-that-huanxin-takes-0001";
    sidecar.send(Method::POST, "/v1/messages", &text_to(json!({ "group": "team-7" }), "hi")).await;
    sidecar.send(Method::POST, "/v1/messages", &text_to(json!({ "user": long }), "hi")).await;
    until("both are at the vendor", async || vendors.huanxin.ledger().messages().len() == 2).await;
    let path = "/v1/identity-map?provider=huanxin";
    let response = sidecar.request(Method::GET, path).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let exported = response.text().await.unwrap();
    let lines: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["business"] == "team-7" && line["kind"] == "group"), "{exported}");
    assert!(lines.iter().any(|line| line["business"] == long && line["kind"] == "user"), "{exported}");

    // A fresh store, which would otherwise give the vendor's group a name of its own.
    let directory = tempfile::tempdir().unwrap();
    let other = Sidecar::start(directory.path(), &format!("{SMALL}{}", vendors.config()));
    let import = async |lines: String| -> Value {
        other.request(Method::POST, path).body(lines).send().await.unwrap().json().await.unwrap()
    };
    let bound = lines.len();
    for _ in 0..2 {
        let answer = import(exported.clone()).await;
        assert_eq!(answer, json!({ "bound": bound, "malformed": [], "conflicts": [] }), "repeating it is harmless");
    }
    let vendor = |business: &str| {
        lines.iter().find(|line| line["business"] == business).unwrap()["vendor"].as_str().unwrap().to_owned()
    };
    let wrong = json!({ "kind": "group", "business": "another", "vendor": vendor("team-7") });
    let answer = import(format!("{wrong}\nnot json\n")).await;
    assert_eq!((&answer["bound"], &answer["conflicts"]), (&json!(0), &json!([1])), "{answer}");
    assert_eq!(answer["malformed"][0][0], 2);
    let again = other.request(Method::GET, path).send().await.unwrap().text().await.unwrap();
    assert_eq!(again, exported);

    vendors.call_back(&other.url);
    subscribe(&other, "s", &["messages"]).await;
    vendors.huanxin.user("alice").send_text(Target::Group(vendor("team-7")), "still here").await.unwrap();
    vendors.huanxin.user(&vendor(long)).send_text(Target::User("shop".to_owned()), "me too").await.unwrap();
    let heard = take(&other, "s", 2).await;
    let group = heard.iter().find(|one| one["event"]["subject"] == "group~team-7").unwrap();
    assert_eq!(texts(std::slice::from_ref(group)), ["still here"]);
    let direct = heard.iter().find(|one| one["event"]["subject"] != "group~team-7").unwrap();
    assert_eq!(direct["event"]["data"]["from"], long);
}
