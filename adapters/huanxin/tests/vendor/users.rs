//! Users: registration, kick, ban, states, waiting messages.

use std::time::Duration;

use serde_json::json;
use switchboard_contract::{ErrorKind, PresenceState, UserProfile, Users, VendorUserId};

use crate::support::{Vendor, json_fixture};

fn lin() -> VendorUserId {
    "lin_qiao".into()
}

fn named(name: &str) -> UserProfile {
    UserProfile { name: Some(name.into()), avatar: None }
}

#[tokio::test]
async fn registration_is_the_published_request_with_a_password_nobody_knows() {
    let vendor = Vendor::start().await;
    vendor.answer_with(200, "rest_register_user_response.json").answer(200, "{}");
    vendor.client().ensure(&lin(), &named("Lin")).await.unwrap();
    let seen = vendor.seen();
    let mut expected = json_fixture("rest_register_user_request.json");
    let password = seen[0].json()[0]["password"].as_str().unwrap().to_owned();
    assert!((24..=64).contains(&password.len()));
    expected[0]["password"] = json!(password);
    assert_eq!((seen[0].line.as_str(), seen[0].json()), ("POST /acme-im/bridge/users", expected));
    assert_eq!(seen[1].line, "PUT /acme-im/bridge/metadata/user/lin_qiao");
    assert_eq!(seen[1].body, b"nickname=Lin");
}

#[tokio::test]
async fn registering_again_is_harmless_in_both_answers_and_updates_the_name() {
    let vendor = Vendor::start().await;
    vendor.answer_with(400, "error_400_duplicate_username.json").answer(200, "{}").answer(200, "{}");
    vendor.client().ensure(&lin(), &named("Lin")).await.unwrap();
    assert_eq!(vendor.seen()[1].line, "PUT /acme-im/bridge/users/lin_qiao");
    assert_eq!(vendor.seen()[1].json(), json!({"nickname": "Lin"}));

    let vendor = Vendor::start().await;
    vendor.answer_with(200, "rest_register_users_batch_partial_response.json");
    vendor.client().ensure(&"ops-bot".into(), &UserProfile::default()).await.unwrap();
    assert_eq!(vendor.seen().len(), 1);

    let vendor = Vendor::start().await;
    vendor.answer(200, r#"{"data":[{"username":"bad","registerUserFailReason":"username is not legal"}]}"#);
    let error = vendor.client().ensure(&"bad".into(), &UserProfile::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_full_plan_is_forbidden_and_not_retried() {
    let vendor = Vendor::start().await;
    vendor.answer_with(429, "error_429_resource_limited.json");
    let error = vendor.client().ensure(&lin(), &UserProfile::default()).await.unwrap_err();
    assert_eq!((error.kind(), vendor.seen().len()), (ErrorKind::Forbidden, 1));
}

#[tokio::test]
async fn kick_ban_and_unban_call_the_published_paths() {
    let vendor = Vendor::start().await;
    vendor
        .answer_with(200, "rest_disconnect_user_response.json")
        .answer_with(200, "rest_deactivate_user_response.json")
        .answer_with(200, "rest_activate_user_response.json");
    let client = vendor.client();
    client.kick(&lin()).await.unwrap();
    client.ban(&lin(), None).await.unwrap();
    client.unban(&lin()).await.unwrap();
    let lines: Vec<_> = vendor.seen().into_iter().map(|seen| seen.line).collect();
    assert_eq!(
        lines,
        [
            "GET /acme-im/bridge/users/lin_qiao/disconnect",
            "POST /acme-im/bridge/users/lin_qiao/deactivate",
            "POST /acme-im/bridge/users/lin_qiao/activate",
        ]
    );
    let error = client.ban(&lin(), Some(Duration::from_secs(60))).await.unwrap_err();
    assert_eq!((error.kind(), vendor.seen().len()), (ErrorKind::Unsupported, 3), "refused, not shortened");
}

#[tokio::test]
async fn states_come_in_the_order_asked_and_unknown_users_are_offline() {
    let vendor = Vendor::start().await;
    vendor.answer_with(200, "rest_users_batch_status_response.json");
    let users: [VendorUserId; 2] = ["lin_qiao".into(), "wei.chen".into()];
    let states = vendor.client().presence(&users).await.unwrap();
    assert_eq!(states, [PresenceState::Online, PresenceState::Offline]);
    let call = &vendor.seen()[0];
    assert_eq!(call.line, "POST /acme-im/bridge/users/batch/status");
    assert_eq!(call.json(), json_fixture("rest_users_batch_status_request.json"));

    let vendor = Vendor::start().await;
    vendor.answer(200, r#"{"data":[{"u100":"online"}]}"#).answer(200, r#"{"data":[{"u100":"away"}]}"#);
    let many: Vec<VendorUserId> = (0..101).map(|n| VendorUserId::from(format!("u{n}"))).collect();
    let states = vendor.client().presence(&many).await.unwrap();
    assert_eq!((states.len(), states[0], states[100]), (101, PresenceState::Offline, PresenceState::Unknown));
    let sizes: Vec<_> = vendor.seen().iter().map(|seen| seen.json()["usernames"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [100, 1]);
}

#[tokio::test]
async fn waiting_messages_are_counted() {
    let vendor = Vendor::start().await;
    vendor.answer_with(200, "rest_offline_msg_count_response.json");
    assert_eq!(vendor.client().offline_count(&"wei.chen".into()).await.unwrap(), 3);
    assert_eq!(vendor.seen()[0].line, "GET /acme-im/bridge/users/wei.chen/offline_msg_count");
    vendor.answer_with(404, "error_404_user_not_found.json");
    assert_eq!(vendor.client().offline_count(&lin()).await.unwrap_err().kind(), ErrorKind::NotFound);
}
