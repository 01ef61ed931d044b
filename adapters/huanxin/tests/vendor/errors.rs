//! The vendor's published error bodies, over the wire.

use switchboard_contract::{
    Body, ErrorKind, ErrorKind::*, Ext, Messaging, OutboundMessage, Retry, SendOptions, Target,
};

use crate::support::Vendor;

const SAFE: Retry = Retry::Safe { after: None };

pub(crate) fn text_to(user: &str) -> OutboundMessage {
    OutboundMessage {
        from: "ops-bot".into(),
        target: Target::Users(vec![user.into()]),
        body: Body::text("hello"),
        ext: Ext::new(),
        mark: None,
        mentions_everyone: false,
        mentions: Vec::new(),
        options: SendOptions::default(),
        headers: Default::default(),
    }
}

/// File, kind, retry, vendor code.
#[rustfmt::skip]
pub(crate) const ERRORS: &[(&str, ErrorKind, Retry, &str)] = &[
    ("error_400_batch_status_too_many", InvalidInput, Retry::Never, "illegal_argument"),
    ("error_400_client_id_missing", InvalidInput, Retry::Never, "illegal_argument"),
    ("error_400_client_secret_mismatch", Unauthorized, Retry::Never, "invalid_grant"),
    ("error_400_duplicate_username", Conflict, Retry::Never, "duplicate_unique_property_exists"),
    ("error_400_from_empty", InvalidInput, Retry::Never, "message_send_error/14001"),
    ("error_400_history_bad_time", InvalidInput, Retry::Never, "illegal_argument"),
    ("error_400_history_expired_or_unstored", NotFound, Retry::Never, "illegal_argument/unstored"),
    ("error_400_invalid_request_body", InvalidInput, Retry::Never, "invalid_request_body"),
    ("error_400_message_too_large", TooLarge, Retry::Never, "message_send_error/14007"),
    ("error_400_roaming_not_open", Unsupported, Retry::Never, "service open exception"),
    ("error_400_to_exceeds_limit", InvalidInput, Retry::Never, "message_send_error"),
    ("error_400_user_banned_token", Forbidden, Retry::Never, "invalid_grant"),
    ("error_401_corrupt_token", Unauthorized, Retry::Never, "auth_bad_access_token"),
    ("error_401_expired_token", Unauthorized, Retry::Never, "unauthorized"),
    ("error_401_oauth", Unauthorized, Retry::Never, "unauthorized"),
    ("error_401_registration_closed", Unauthorized, Retry::Never, "unauthorized"),
    ("error_403_already_in_group", Conflict, Retry::Never, "forbidden_op"),
    ("error_403_message_send_reach_limit", RateLimited, Retry::Safe { after: Some(std::time::Duration::from_secs(10)) }, "message_send_error"),
    ("error_403_recall_not_found", NotFound, Retry::Never, "message_recall_error"),
    ("error_403_recall_time_limit", Rejected, Retry::Never, "message_recall_error"),
    ("error_403_recall_unopened", Unsupported, Retry::Never, "forbidden_op"),
    ("error_404_app_not_found", Config, Retry::Never, "organization_application_not_found"),
    ("error_404_file_expired", NotFound, Retry::Never, "file_expired"),
    ("error_404_file_not_found", NotFound, Retry::Never, "entity_not_found"),
    ("error_404_group_not_found", NotFound, Retry::Never, "resource_not_found"),
    ("error_404_history_not_found", NotFound, Retry::Never, "storage_object_not_found/unstored"),
    ("error_404_user_not_found", NotFound, Retry::Never, "service_resource_not_found"),
    ("error_409_concurrent_autocreate", Conflict, Retry::Safe { after: Some(std::time::Duration::from_secs(1)) }, "concurrent_operation_error"),
    ("error_413_file_too_large", TooLarge, Retry::Never, "file exceeding maximum limit"),
    ("error_429", RateLimited, SAFE, "reach_limit"),
    ("error_429_resource_limited", Forbidden, Retry::Never, "resource_limited"),
];

#[tokio::test]
async fn every_published_error_body_means_what_the_table_says() {
    for (name, kind, retry, code) in ERRORS {
        let vendor = Vendor::start().await;
        let status: u16 = name[6..9].parse().unwrap();
        let file = format!("{name}.json");
        // A refused token is renewed once; the second refusal stands.
        vendor.answer_with(status, &file).answer_with(status, &file);
        let error = vendor.client().send(&text_to("lin_qiao")).await.unwrap_err();
        assert_eq!((error.kind(), error.retry(), error.vendor_code()), (*kind, *retry, Some(*code)), "{name}");
        assert_eq!(vendor.seen().len(), if status == 401 { 2 } else { 1 }, "{name}");
    }
}
