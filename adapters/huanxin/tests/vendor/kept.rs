//! The paid store of failed callbacks: listed and replayed as published, under either path, and told from an account
//! without it.

use serde_json::json;
use switchboard_contract::{ErrorKind, KeptCallbacks, Timestamp};

use crate::support::{Vendor, json_fixture};

#[tokio::test]
async fn slots_and_replays_are_asked_for_as_published() {
    let vendor = Vendor::start().await;
    vendor.answer_with(200, "rest_callback_storage_info_response.json");
    let client = vendor.client();
    let slots = client.slots().await.unwrap();
    let seen: Vec<_> = slots.iter().map(|slot| (slot.name.as_str(), slot.callbacks, slot.repeats)).collect();
    assert_eq!(seen, [("202611200940", 15, 0), ("202611200950", 103, 1)]);
    // 09:40 in Beijing, for ten minutes.
    assert_eq!((slots[0].since, slots[0].until), (Timestamp(1_795_138_800_000), Timestamp(1_795_139_400_000)));

    vendor.answer_with(200, "rest_callback_storage_retry_response.json");
    client.send_again(&slots[0]).await.unwrap();
    let seen = vendor.seen();
    assert_eq!(seen[0].line, "GET /acme-im/bridge/callbacks/storage/info");
    assert_eq!(seen[1].line, "POST /acme-im/bridge/callbacks/storage/retry");
    // The address is the rule's own: we ask for no other.
    let mut published = json_fixture("rest_callback_storage_retry_request.json");
    published.as_object_mut().unwrap().remove("targetUrl");
    assert_eq!(seen[1].json(), published);
}

#[tokio::test]
async fn the_other_spelling_of_the_path_is_tried_and_a_missing_service_is_unsupported() {
    let vendor = Vendor::start().await;
    let client = vendor.client();
    let absent = json!({ "error": "service_resource_not_found", "error_description": "Service resource not found" });
    vendor.answer(404, absent.to_string()).answer_with(200, "rest_callback_storage_info_response.json");
    assert_eq!(client.slots().await.unwrap().len(), 2);
    assert_eq!(vendor.seen()[1].line, "GET /acme-im/bridge/callback/storage/info");

    let refused = json!({ "error": "forbidden_op", "error_description": "callback storage service is unopened" });
    vendor.answer(403, refused.to_string());
    assert_eq!(client.slots().await.unwrap_err().kind(), ErrorKind::Unsupported);
    // What is not the vendor's own answer may be a proxy's, so each path is tried four times.
    for _ in 0..8 {
        vendor.answer(404, "no such path");
    }
    assert_eq!(client.slots().await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_slot_the_vendor_refuses_to_replay_is_not_found_and_an_odd_time_is_an_error() {
    let vendor = Vendor::start().await;
    let client = vendor.client();
    vendor.answer_with(200, "rest_callback_storage_info_response.json");
    let slot = client.slots().await.unwrap().remove(0);
    vendor.answer(200, json!({ "data": "failure" }).to_string());
    assert_eq!(client.send_again(&slot).await.unwrap_err().kind(), ErrorKind::NotFound);
    vendor.answer(200, json!({ "data": [{ "date": "yesterday", "size": 1 }] }).to_string());
    assert_eq!(client.slots().await.unwrap_err().kind(), ErrorKind::Decode);
}
