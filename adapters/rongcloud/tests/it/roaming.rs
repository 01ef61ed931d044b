//! Queries of one conversation, walked to their end against a listener that holds the messages.

use serde_json::{Value, json};
use switchboard_contract::{
    ConversationKind, ErrorKind, Inbound, InboundPlace, Roaming, RoamingQuery, Target, Timestamp,
};
use switchboard_rongcloud::QueryOrder;

use crate::requests::{group, users};
use crate::support::vendor::{Answer, Asked, Vendor, ok, reply, with_fixture};
use crate::support::{fixture, golden, offline};

fn query(target: Target) -> RoamingQuery {
    RoamingQuery {
        viewer: "user_alice".into(),
        target,
        since: Timestamp(1_795_054_529_123),
        until: Timestamp(1_795_054_752_030),
        limit: 20,
        cursor: None,
    }
}

fn bob() -> Target {
    Target::Users(users(&["user_bob"]))
}

async fn walk(vendor: &Vendor, order: QueryOrder, mut query: RoamingQuery) -> Vec<Inbound> {
    let mut config = vendor.config();
    config.history.query_order = order;
    let provider = crate::support::provider(config);
    let mut all = Vec::new();
    for _ in 0..200 {
        let page = provider.page(&query).await.unwrap();
        assert!(page.items.len() <= query.limit as usize);
        all.extend(page.items);
        match page.next {
            Some(next) => {
                assert_ne!(Some(&next), query.cursor.as_ref(), "a cursor repeats");
                query.cursor = Some(next);
            }
            None => return all,
        }
    }
    panic!("the walk does not end");
}

#[tokio::test]
async fn the_published_answer_decodes_to_the_golden_messages() {
    let vendor = Vendor::script(vec![with_fixture("history_private_query_response.json"), ok()]).await;
    let found = walk(&vendor, QueryOrder::Auto, query(bob())).await;
    golden::check("history_private_query_response_json", &found);
}

/// Thirty-one messages, five of them in one millisecond, from both sides.
fn stored() -> Vec<Value> {
    (0..31)
        .map(|number| {
            let at = if (10..15).contains(&number) { 1_795_054_540_010_i64 } else { 1_795_054_540_000 + number };
            let from = if number % 2 == 0 { "user_alice" } else { "user_bob" };
            json!({"targetId": "user_bob", "fromUserId": from, "messageUID": format!("uid-{number:02}"),
                "msgTime": at, "objectName": "RC:TxtMsg", "content": "{\"content\":\"x\"}",
                "expansion": false, "extraContent": ""})
        })
        .collect()
}

fn answer(asked: &Asked, descending: bool) -> Answer {
    let ask = asked.json();
    let number = |key: &str| ask[key].as_i64().unwrap();
    let (start, end, size) = (number("startTime"), number("endTime"), number("pageSize"));
    assert!((1..=100).contains(&size));
    let start = if ask["includeStart"] == true { start } else { start + 1 };
    let mut found: Vec<Value> = stored();
    found.retain(|item| (start..=end).contains(&item["msgTime"].as_i64().unwrap()));
    if descending {
        found.reverse();
    }
    found.truncate(size as usize);
    reply(200, json!({"code": 200, "data": found}).to_string())
}

#[tokio::test]
async fn every_message_comes_once_in_either_order() {
    for descending in [true, false] {
        for order in [QueryOrder::Auto, if descending { QueryOrder::Descending } else { QueryOrder::Ascending }] {
            for limit in [1, 2, 3, 7, 20, 100, 5000] {
                let vendor = Vendor::start(move |_, asked| answer(asked, descending)).await;
                let found = walk(&vendor, order, RoamingQuery { limit, ..query(bob()) }).await;
                let mut ids: Vec<_> = found.iter().map(|event| event.key.id.clone()).collect();
                ids.sort();
                let expected: Vec<_> = (0..31).map(|number| format!("uid-{number:02}")).collect();
                assert_eq!(ids, expected, "descending {descending}, {order:?}, {limit} at a time");
            }
        }
    }
}

#[tokio::test]
async fn a_direct_message_is_between_the_viewer_and_the_peer() {
    let vendor = Vendor::start(|_, asked| answer(asked, true)).await;
    let found = walk(&vendor, QueryOrder::Auto, query(bob())).await;
    for event in found {
        let InboundPlace::Direct { from, to } = &event.place else { panic!("{:?}", event.place) };
        let expected = if from.as_str() == "user_alice" { "user_bob" } else { "user_alice" };
        assert_eq!(to.as_str(), expected);
        assert!(event.raw.starts_with(b"{"), "its own bytes alone");
    }
}

#[tokio::test]
async fn each_kind_of_conversation_has_its_path_and_place() {
    let ultra = Target::Group { group: "ug".into(), channel: Some("ch".to_owned()), audience: vec![] };
    for (target, path, place) in [
        (group("g", &[]), "group", InboundPlace::Group { group: "g".into(), channel: None }),
        (ultra, "ultragroup", InboundPlace::Group { group: "ug".into(), channel: Some("ch".to_owned()) }),
        (Target::Room { room: "r".into() }, "chatroom", InboundPlace::Room { room: "r".into() }),
    ] {
        let vendor = Vendor::start(|_, asked| answer(asked, true)).await;
        let page = vendor.provider().page(&query(target)).await.unwrap();
        let asked = vendor.only();
        assert_eq!(asked.path, format!("/v3/message/{path}/query.json"));
        assert_eq!(asked.json().get("busChannel"), (path == "ultragroup").then(|| json!("ch")).as_ref());
        assert!(!page.items.is_empty() && page.items.iter().all(|event| event.place == place));
    }
    let error = offline().page(&query(Target::System(users(&["u"])))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(
        Roaming::limits(&offline()).targets,
        [ConversationKind::Direct, ConversationKind::Group, ConversationKind::Room]
    );
}

#[tokio::test]
async fn long_ranges_are_asked_for_in_spans_the_vendor_admits() {
    let vendor = Vendor::start(|_, asked| answer(asked, true)).await;
    let day = 86_400_000;
    let range = RoamingQuery {
        since: Timestamp(1_795_054_540_000 - 30 * day),
        until: Timestamp(1_795_054_540_000 + 30 * day),
        ..query(bob())
    };
    let found = walk(&vendor, QueryOrder::Auto, range).await;
    assert_eq!(found.len(), 31);
    for asked in vendor.asked() {
        let ask = asked.json();
        let span = ask["endTime"].as_i64().unwrap() - ask["startTime"].as_i64().unwrap();
        assert!(span <= 14 * day, "{span}");
    }
}

#[tokio::test]
async fn an_empty_range_asks_nothing_and_a_strange_cursor_is_refused() {
    let vendor = Vendor::always(ok()).await;
    let provider = vendor.provider();
    let nothing = RoamingQuery { until: Timestamp(0), ..query(bob()) };
    let page = provider.page(&nothing).await.unwrap();
    assert!(page.items.is_empty() && page.next.is_none());
    let strange = RoamingQuery { cursor: Some("12".to_owned()), ..query(bob()) };
    assert_eq!(provider.page(&strange).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    let two = query(Target::Users(users(&["a", "b"])));
    assert_eq!(provider.page(&two).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(vendor.asked().is_empty());
}

#[tokio::test]
async fn a_service_not_ordered_is_no_empty_history() {
    let vendor = Vendor::always(reply(430, fixture("rest_error_430_1009.json"))).await;
    assert_eq!(vendor.provider().page(&query(bob())).await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn an_item_that_cannot_be_read_is_kept_beside_the_others() {
    let good = stored().remove(0);
    let body = json!({"code": 200, "data": [good, {"odd": true}]}).to_string();
    let vendor = Vendor::always(reply(200, body)).await;
    let page = vendor.provider().page(&query(bob())).await.unwrap();
    let mut raws: Vec<_> = page.items.iter().map(|event| event.raw.clone()).collect();
    raws.sort();
    assert_eq!(raws.len(), 2);
    assert!(raws.contains(&bytes::Bytes::from_static(b"{\"odd\":true}")));
    let odd = Vendor::always(reply(200, r#"{"code":200,"data":[{"odd":true}]}"#)).await;
    assert_eq!(odd.provider().page(&query(bob())).await.unwrap_err().kind(), ErrorKind::Decode);
}
