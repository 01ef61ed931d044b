//! Sizes, counts, quotas, injected REST faults.

use std::time::Duration;

use serde_json::json;
use switchboard_emulators::{FaultAction, FaultStep, Faults};

use crate::support::{MOMENT, Vendor};

const SECOND: i64 = 1_795_054_531_000;
const MINUTE: i64 = 1_795_054_560_000;

fn recipients(key: &str, count: usize) -> String {
    (0..count).map(|number| format!("&{key}=u{number}")).collect()
}

fn publish(targets: &str) -> String {
    format!("fromUserId=a&objectName=RC:TxtMsg&content={{}}{targets}")
}

#[tokio::test]
async fn counts_and_sizes() {
    let vendor = Vendor::start().await;
    let private = "/message/private/publish.json";
    vendor.ok(private, &publish(&recipients("toUserId", 1000))).await;
    assert_eq!(vendor.refused(private, &publish(&recipients("toUserId", 1001))).await, (400, 1002));
    assert_eq!(
        vendor.refused("/message/system/publish.json", &publish(&recipients("toUserId", 101))).await,
        (400, 1002)
    );
    assert_eq!(vendor.refused("/message/group/publish.json", &publish(&recipients("toGroupId", 4))).await, (400, 1002));
    let sized = |bytes: usize| {
        let content = format!("\"{}\"", "x".repeat(bytes - 2));
        format!("fromUserId=a&toUserId=b&objectName=RC:TxtMsg&content={content}")
    };
    vendor.ok(private, &sized(128 * 1024)).await;
    assert_eq!(vendor.refused(private, &sized(128 * 1024 + 1)).await, (400, 1005));
    let no_json = "fromUserId=a&toUserId=b&objectName=RC:TxtMsg&content=plain";
    assert_eq!(vendor.refused(private, no_json).await, (400, 1002));
    vendor.ok(private, "fromUserId=a&toUserId=b&objectName=APP:Any&content=plain").await;
    let long_name = format!("fromUserId=a&toUserId=b&objectName={}&content={{}}", "X".repeat(33));
    assert_eq!(vendor.refused(private, &long_name).await, (400, 1005));
    let extra = publish("&toUserId=b&extraContent={\"a\":\"b\"}");
    assert_eq!(vendor.refused(private, &extra).await, (400, 1002), "needs expansion");
    assert_eq!(vendor.refused("/user/block.json", "userId=u&minute=43201").await, (400, 1002));
    assert_eq!(vendor.refused("/user/block.json", &format!("minute=1{}", recipients("userId", 21))).await, (400, 1002));
}

#[tokio::test]
async fn private_recipients_spend_the_minute() {
    let vendor = Vendor::start().await;
    let path = "/message/private/publish.json";
    for _ in 0..5 {
        vendor.ok(path, &publish(&recipients("toUserId", 1000))).await;
    }
    vendor.ok("/statusmessage/private/publish.json", &publish(&recipients("toUserId", 999))).await;
    assert_eq!(vendor.refused(path, &publish(&recipients("toUserId", 2))).await, (429, 1008));
    vendor.ok(path, &publish("&toUserId=last")).await;
    assert_eq!(vendor.refused(path, &publish("&toUserId=more")).await, (429, 1008));
    let expansion = "msgUID=x&userId=a&conversationType=1&targetId=b&extraKeyVal={\"k\":\"v\"}";
    assert_eq!(vendor.refused("/message/expansion/set.json", expansion).await, (429, 1008), "the same quota");
    vendor.at(MINUTE);
    vendor.ok(path, &publish("&toUserId=more")).await;
    assert_eq!(vendor.emulator.ledger().counters().rate_errors, 3);
    assert_eq!(vendor.emulator.ledger().counters().messages_total, 6001);
}

#[tokio::test]
async fn per_second_quotas() {
    let vendor = Vendor::start().await;
    let group = "/message/group/publish.json";
    for _ in 0..6 {
        vendor.ok(group, &publish("&toGroupId=a&toGroupId=b&toGroupId=c")).await;
    }
    assert_eq!(vendor.refused(group, &publish("&toGroupId=a&toGroupId=b&toGroupId=c")).await, (429, 1008));
    vendor.ok(group, &publish("&toGroupId=a&toGroupId=b")).await;
    assert_eq!(vendor.refused(group, &publish("&toGroupId=a")).await, (429, 1008));
    vendor.at(SECOND);
    vendor.ok(group, &publish("&toGroupId=a")).await;

    for _ in 0..200 {
        vendor.ok("/user/getToken.json", "userId=u").await;
    }
    assert_eq!(vendor.refused("/user/getToken.json", "userId=u").await, (429, 1008));
    for _ in 0..100 {
        vendor.ok("/user/checkOnline.json", "userId=u").await;
    }
    assert_eq!(vendor.refused("/user/checkOnline.json", "userId=u").await, (429, 1008));
    vendor.ok("/user/info.json", "userId=u").await;

    let ultra = json!({ "fromUserId": "a", "toGroupIds": ["g"], "objectName": "RC:TxtMsg", "content": "{}" });
    for _ in 0..20 {
        vendor.ok_json("/message/ultragroup/publish.json", &ultra).await;
    }
    assert_eq!(vendor.json("/message/ultragroup/publish.json", &ultra).await.0, 429, "20 a second and channel");
    let mut other = ultra.clone();
    other["busChannel"] = "other".into();
    vendor.ok_json("/message/ultragroup/publish.json", &other).await;
    vendor.emulator.update_settings(|settings| settings.quotas.enabled = false);
    vendor.ok(group, &publish("&toGroupId=a")).await;
    for _ in 0..30 {
        vendor.ok(group, &publish("&toGroupId=a")).await;
    }
}

#[tokio::test]
async fn broadcasts_are_two_an_hour_and_three_a_day() {
    let vendor = Vendor::start().await;
    let (path, body) = ("/message/broadcast.json", publish(""));
    vendor.ok(path, &body).await;
    vendor.ok(path, &body).await;
    assert_eq!(vendor.refused(path, &body).await, (429, 1008));
    vendor.at(MOMENT + 3_600_000);
    vendor.ok(path, &body).await;
    assert_eq!(vendor.refused(path, &body).await, (429, 1008));
    vendor.at(MOMENT + 86_400_000);
    vendor.ok(path, &body).await;
    vendor.emulator.update_settings(|settings| settings.messages.broadcast = false);
    assert_eq!(vendor.refused(path, &body).await, (429, 1008), "off looks like too often");
}

#[tokio::test]
async fn service_states_have_their_codes() {
    let vendor = Vendor::start().await;
    vendor.emulator.update_settings(|settings| {
        settings.development = true;
        settings.log.enabled = false;
        settings.query.enabled = false;
    });
    for number in 0..100 {
        vendor.ok("/user/getToken.json", &format!("userId=u{number}")).await;
    }
    assert_eq!(vendor.refused("/user/getToken.json", "userId=u100").await, (403, 2007));
    vendor.ok("/user/getToken.json", "userId=u7").await;
    assert_eq!(vendor.refused("/message/history.json", "date=2026111910").await, (430, 1009));
    let query = json!({ "userId": "a", "targetId": "b", "startTime": 1, "endTime": 2, "includeStart": true });
    assert_eq!(vendor.json("/v3/message/private/query.json", &query).await.0, 430);
    vendor.emulator.update_settings(|settings| settings.app_locked = true);
    assert_eq!(vendor.refused("/user/getToken.json", "userId=u7").await, (401, 1006));
    vendor.emulator.update_settings(|settings| {
        settings.app_locked = false;
        settings.restricted = true;
    });
    assert_eq!(vendor.refused("/user/getToken.json", "userId=u7").await, (401, 1007));
}

#[tokio::test]
async fn answers_are_gzipped_on_request_only() {
    let vendor = Vendor::start().await;
    let body = "userId=u";
    let request = |encoding: Option<&str>| {
        let request = vendor.request("/user/getToken.json").header("Content-Type", "application/x-www-form-urlencoded");
        let request = match encoding {
            Some(encoding) => request.header("Accept-Encoding", encoding),
            None => request,
        };
        request.body(body).send()
    };
    let encoding = |response: &reqwest::Response| response.headers().get("content-encoding").cloned();
    assert_eq!(encoding(&request(None).await.unwrap()), None);
    let packed = request(Some("gzip, deflate")).await.unwrap();
    assert_eq!(encoding(&packed).unwrap(), "gzip");
    let mut text = String::new();
    let bytes = packed.bytes().await.unwrap();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut text).unwrap();
    assert!(text.contains("\"code\":200"), "{text}");
    vendor.emulator.update_settings(|settings| settings.gzip = false);
    assert_eq!(encoding(&request(Some("gzip")).await.unwrap()), None);
}

#[tokio::test]
async fn injected_faults_have_the_vendors_form() {
    let vendor = Vendor::start().await;
    let path = "/message/private/publish.json";
    let step = |nth, action| FaultStep::rest(nth, "/message/", action);
    let script = vec![
        step(1, FaultAction::RateLimited),
        step(2, FaultAction::ServerError),
        step(3, FaultAction::Unauthorized),
        step(4, FaultAction::TimeoutAnswer),
        step(5, FaultAction::LostRequest),
        step(6, FaultAction::LostAnswer),
        step(7, FaultAction::HtmlError),
    ];
    vendor.emulator.set_faults(Faults { script, ..Faults::default() });
    let body = publish("&toUserId=b");
    let accepted = || vendor.emulator.ledger().messages().len();
    assert_eq!(vendor.refused(path, &body).await, (429, 1008));
    assert_eq!(vendor.refused(path, &body).await, (500, 1000));
    assert_eq!(vendor.refused(path, &body).await, (401, 1004));
    assert_eq!(accepted(), 0);
    assert_eq!(vendor.refused(path, &body).await, (504, 1050));
    assert_eq!(accepted(), 1, "answered with a timeout after it took effect");
    let send = || {
        let request = vendor.request(path).header("Content-Type", "application/x-www-form-urlencoded");
        request.body(body.clone()).timeout(Duration::from_secs(10)).send()
    };
    assert!(send().await.is_err());
    assert_eq!(accepted(), 1);
    assert!(send().await.is_err());
    assert_eq!(accepted(), 2, "cut after it took effect");
    let html = send().await.unwrap();
    assert_eq!(html.status(), 502);
    assert!(html.text().await.unwrap().starts_with("<html>"));
    vendor.ok(path, &body).await;
}

#[tokio::test]
async fn a_second_domain_serves_the_same_app() {
    let vendor = Vendor::start().await;
    let second = vendor.emulator.start_extra_domain().await.unwrap();
    vendor.ok("/user/getToken.json", "userId=u").await;
    let first = vendor.emulator.base_url().replace("http://", "");
    vendor.emulator.set_faults(Faults { dead_domains: vec![first], ..Faults::default() });
    let request = vendor.request("/user/getToken.json").body("userId=u");
    assert!(request.send().await.is_err());
    assert_eq!(vendor.emulator.base_urls()[1], format!("http://{second}"));
    let url = format!("http://{second}/_emulator/state");
    let state: serde_json::Value =
        serde_json::from_str(&vendor.http.get(url).send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(state["vendor"]["users"], 1);
}
