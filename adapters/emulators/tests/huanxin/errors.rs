//! Every error fixture is provoked and compared: status, `error`, `exception`, `error_code` and text.

use reqwest::Method;
use serde_json::{Value, json};

use super::support::{World, builder, fixture, sample, text_to};
use switchboard_emulators::common::{FaultAction, FaultStep, Faults};
use switchboard_emulators::huanxin::{HuanxinSettings, Zone};

/// The status stands in the file's name. Only time and duration may differ.
fn is_error(name: &str, replace: &[(&str, &str)], (status, reply): (u16, Value)) {
    let mut expected = sample(name, replace);
    let mut actual = reply;
    for body in [&mut expected, &mut actual] {
        let body = body.as_object_mut().unwrap_or_else(|| panic!("{name}: not an object"));
        assert!(body.remove("timestamp").unwrap().is_i64());
        assert!(body.remove("duration").unwrap().is_i64());
    }
    assert_eq!(actual, expected, "{name}");
    assert_eq!(status.to_string(), name["error_".len()..][..3], "{name}");
}

#[tokio::test]
async fn tokens_and_authentication() {
    let world = World::start().await;
    let token = |body: Value| world.bare(Method::POST, "/token", Some(body));
    let body = json!({ "grant_type": "client_credentials", "client_secret": "x" });
    is_error("error_400_client_id_missing.json", &[], token(body).await);
    let mut body = fixture("token_request.json");
    body["client_secret"] = json!("wrong");
    is_error("error_400_client_secret_mismatch.json", &[], token(body).await);
    world.post("/users/lin_qiao/deactivate", json!({})).await;
    let banned = token(fixture("token_user_password_request.json")).await;
    is_error("error_400_user_banned_token.json", &[], banned);

    let ask = |token: &'static str| world.send(Method::GET, "/users/wei.chen", None, Some(token));
    is_error("error_401_corrupt_token.json", &[], ask("garbage").await);
    let (status, unknown) = ask("YWMt0000000000000000000000000000000000000000000").await;
    assert_eq!((status, &unknown["error_description"]), (401, &json!("Unable to authenticate")));
    is_error("error_401_expired_token.json", &[], world.bare(Method::GET, "/users/wei.chen", None).await);
    let script = vec![FaultStep::rest(1, "/users", FaultAction::Unauthorized)];
    world.vendor.set_faults(Faults { script, ..Faults::default() });
    is_error("error_401_oauth.json", &[], world.get("/users/wei.chen").await);
    world.vendor.change_settings(|settings| settings.tokens.auto_create_conflict_ms = 1_000);
    let inherit =
        || world.post("/token", json!({ "grant_type": "inherit", "username": "new", "autoCreateUser": true }));
    assert_eq!(inherit().await.0, 200);
    is_error("error_409_concurrent_autocreate.json", &[], inherit().await);
    world.vendor.time().advance(std::time::Duration::from_secs(1));
    assert_eq!(inherit().await.0, 200);
    world.vendor.expire_tokens();
    is_error("error_401_expired_token.json", &[], world.get("/users/wei.chen").await);
}

#[tokio::test]
async fn users_and_registration() {
    let world = World::start().await;
    let (_, app) = world.bare(Method::POST, "/token", Some(fixture("token_request.json"))).await;
    let uuid = app["application"].as_str().unwrap();
    let ids = [("5b1f0c2e-9a44-4d6b-8e1d-2f7c6a90b311", uuid)];
    let again = world.post("/users", fixture("rest_register_user_request.json")).await;
    is_error("error_400_duplicate_username.json", &ids, again);
    is_error("error_404_user_not_found.json", &[], world.get("/users/nobody").await);
    let names: Vec<String> = (0..101).map(|n| format!("u{n}")).collect();
    let many = world.post("/users/batch/status", json!({ "usernames": names })).await;
    is_error("error_400_batch_status_too_many.json", &[], many);
    let invalid = world.post("/users/batch/status", json!("no object")).await;
    is_error("error_400_invalid_request_body.json", &[], invalid);
    let url = format!("{}/acme-im/nope/users", world.vendor.base_url());
    let response = world.client.get(url).send().await.unwrap();
    let status = response.status().as_u16();
    is_error("error_404_app_not_found.json", &[], (status, response.json().await.unwrap()));
    world.vendor.change_settings(|settings| settings.users.open_registration = false);
    let body = json!({ "username": "self", "password": "p" });
    let closed = world.bare(Method::POST, "/users", Some(body.clone())).await;
    is_error("error_401_registration_closed.json", &[], closed);
    world.vendor.change_settings(|settings| settings.users.plan_cap = Some(4));
    is_error("error_429_resource_limited.json", &[], world.post("/users", body).await);
}

#[tokio::test]
async fn messages() {
    let world = World::start().await;
    let send = |body: Value| world.post("/messages/users", body);
    let mut body = text_to("wei.chen", "x");
    body["from"] = json!("");
    is_error("error_400_from_empty.json", &[], send(body).await);
    let mut body = text_to("wei.chen", "x");
    body["to"] = json!((0..601).map(|n| format!("u{n}")).collect::<Vec<_>>());
    is_error("error_400_to_exceeds_limit.json", &[], send(body).await);
    let long = text_to("wei.chen", &"x".repeat(5 * 1024));
    is_error("error_400_message_too_large.json", &[], send(long).await);
    assert!(world.vendor.ledger().messages().is_empty(), "a refused send has no effect");

    let id = send(text_to("wei.chen", "x")).await.1["data"]["wei.chen"].clone();
    let recall = |id: Value, force: bool| {
        let body = json!({ "msg_id": id, "to": "wei.chen", "chat_type": "chat", "force": force });
        world.post("/messages/msg_recall", body)
    };
    is_error("error_403_recall_not_found.json", &[], recall(json!("123"), true).await);
    world.vendor.time().advance(std::time::Duration::from_millis(120_001));
    is_error("error_403_recall_time_limit.json", &[], recall(id.clone(), false).await);
    world.vendor.change_settings(|settings| settings.messages.recall = false);
    is_error("error_403_recall_unopened.json", &[], recall(id.clone(), true).await);
    world.vendor.change_settings(|settings| settings.messages.recall = true);
    assert_eq!(recall(id, true).await.0, 200);
}

#[tokio::test]
async fn groups() {
    let world = World::start().await;
    let path = format!("/chatgroups/{}/users/wei.chen", world.group);
    let again = world.post(&path, json!({})).await;
    is_error("error_403_already_in_group.json", &world.ids(), again);
    let path = format!("/chatgroups/{}", world.group);
    world.call(Method::DELETE, &path, None).await;
    is_error("error_404_group_not_found.json", &world.ids(), world.get(&path).await);
}

#[tokio::test]
async fn history_and_roaming() {
    let mut settings = HuanxinSettings::default();
    settings.history.zone = Zone::Utc;
    settings.history.roaming.enabled = false;
    let world = World::with(builder().settings(settings)).await;
    let bad = world.get("/chatmessages/20261101").await;
    is_error("error_400_history_bad_time.json", &[], bad);
    let old = world.get("/chatmessages/2026110108").await;
    is_error("error_400_history_expired_or_unstored.json", &[], old);
    let hour = world.vendor.history_hour(super::support::NOW - 4 * 3_600_000);
    let none = world.get(&format!("/chatmessages/{hour}")).await;
    is_error("error_404_history_not_found.json", &[("2026112003", &hour)], none);
    let closed = world.call(Method::DELETE, "/rest/message/roaming/chat/user/lin_qiao?userId=x&msgIdList=1", None);
    is_error("error_400_roaming_not_open.json", &[], closed.await);
}

#[tokio::test]
async fn files() {
    let mut settings = HuanxinSettings::default();
    settings.files.max_bytes = 10;
    let world = World::with(builder().settings(settings)).await;
    let upload = |size: usize| {
        let part = reqwest::multipart::Part::bytes(vec![1_u8; size]).file_name("f");
        let form = reqwest::multipart::Form::new().part("file", part);
        world.client.post(world.url("/chatfiles")).bearer_auth(&world.token).multipart(form).send()
    };
    let refused = upload(11).await.unwrap();
    let status = refused.status().as_u16();
    is_error("error_413_file_too_large.json", &[], (status, refused.json().await.unwrap()));
    let none = world.get("/chatfiles/6c2f5f40-5d1c-4b7e-9a53-0b1e2d3c4f55").await;
    is_error("error_404_file_not_found.json", &[], none);
    let stored: Value = upload(10).await.unwrap().json().await.unwrap();
    let uuid = stored["entities"][0]["uuid"].as_str().unwrap();
    world.vendor.time().advance(std::time::Duration::from_secs(7 * 86_400));
    let late = world.bare(Method::GET, &format!("/chatfiles/{uuid}"), None).await;
    is_error("error_404_file_expired.json", &[("6c2f5f40-5d1c-4b7e-9a53-0b1e2d3c4f55", uuid)], late);
}
