//! Queries of one conversation. No fixture is published; the shapes are those of the contract's text.

use serde_json::{Value, json};
use switchboard_contract::{ErrorKind, InboundPlace, Provider, Roaming, RoamingQuery, Target, Timestamp};

use crate::support::{JumpClock, NOW, Vendor, config, json_fixture};

fn query(target: Target) -> RoamingQuery {
    RoamingQuery {
        viewer: "lin_qiao".into(),
        target,
        since: Timestamp(NOW - 1000),
        until: Timestamp(NOW),
        limit: 500,
        cursor: None,
    }
}

fn direct() -> RoamingQuery {
    query(Target::Users(vec!["wei.chen".into()]))
}

fn page(messages: Value, cursor: Value) -> String {
    json!({"data": {"messages": messages, "pagination": {"cursor": cursor}}}).to_string()
}

#[tokio::test]
async fn a_direct_and_a_group_query_are_asked_and_read() {
    let vendor = Vendor::start().await;
    let line = json_fixture("history_file_line_txt.json");
    vendor.answer(200, page(json!([line]), json!("c-2"))).answer(200, page(json!([]), Value::Null));
    let client = vendor.client();
    let first = client.page(&direct()).await.unwrap();
    assert_eq!((first.items.len(), first.next.as_deref()), (1, Some("c-2")));
    assert!(matches!(first.items[0].place, InboundPlace::Direct { .. }));
    assert_eq!(serde_json::from_slice::<Value>(&first.items[0].raw).unwrap(), line, "each item keeps its own bytes");

    let group = Target::Group { group: "281474976710657".into(), channel: None, audience: Vec::new() };
    let last = client.page(&RoamingQuery { cursor: first.next, ..query(group) }).await.unwrap();
    assert_eq!((last.items.len(), last.next), (0, None));
    let seen = vendor.seen();
    assert_eq!(seen[0].line, "POST /api/server/v6/acme-im/bridge/roaming/chat");
    assert_eq!(
        seen[0].json(),
        json!({"username": "lin_qiao", "to": "wei.chen", "limit": 50, "order": "down",
               "startTimestamp": NOW - 1000, "endTimestamp": NOW})
    );
    assert_eq!(seen[1].line, "POST /api/server/v6/acme-im/bridge/roaming/group");
    assert_eq!((&seen[1].json()["groupId"], &seen[1].json()["cursor"]), (&json!("281474976710657"), &json!("c-2")));
}

#[tokio::test]
async fn an_account_without_the_service_is_unsupported_and_not_empty() {
    for (status, body) in [
        (404, "<html>not found</html>".as_bytes().to_vec()),
        (404, crate::support::fixture("error_404_user_not_found.json")),
        (400, crate::support::fixture("error_400_roaming_not_open.json")),
    ] {
        let vendor = Vendor::start().await;
        for _ in 0..4 {
            vendor.answer(status, body.clone());
        }
        let error = vendor.client().page(&direct()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{status}");
    }
    let off = config("http://127.0.0.1:9", "roaming.enabled = false").build(JumpClock::new()).unwrap();
    assert!(off.roaming().is_none() && off.capabilities().roaming.is_none());
}

#[tokio::test]
async fn the_fields_names_are_settings_and_a_wrong_name_is_no_empty_page() {
    let vendor = Vendor::start().await;
    let body = json!({"data": {"msgs": [json_fixture("history_file_line_txt.json")], "next": ""}}).to_string();
    vendor.answer(200, body.clone()).answer(200, body);
    let settings = "roaming = { messages = '/data/msgs', cursor = '/data/next', order = 'desc' }";
    let client = config(&vendor.url, settings).build(JumpClock::new()).unwrap();
    let page = client.page(&direct()).await.unwrap();
    assert_eq!((page.items.len(), page.next), (1, None));
    assert_eq!(vendor.seen()[0].json()["order"], "desc");
    assert_eq!(vendor.client().page(&direct()).await.unwrap_err().kind(), ErrorKind::Decode);
}

#[tokio::test]
async fn an_entry_that_is_not_understood_does_not_cost_the_page() {
    let vendor = Vendor::start().await;
    let line = json_fixture("history_file_line_txt.json");
    vendor.answer(200, page(json!([{"strange": 1}, line]), json!("")));
    let page = vendor.client().page(&direct()).await.unwrap();
    assert_eq!(page.items.len(), 2);
}

#[tokio::test]
async fn rooms_and_backward_ranges_are_refused() {
    let client = Vendor::start().await.client();
    let room = client.page(&query(Target::Room { room: "1".into() })).await.unwrap_err();
    assert_eq!(room.kind(), ErrorKind::Unsupported);
    let backward = RoamingQuery { until: Timestamp(0), ..direct() };
    assert_eq!(client.page(&backward).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}
