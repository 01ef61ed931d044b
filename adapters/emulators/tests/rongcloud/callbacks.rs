//! How callbacks are signed, repeated, given up, paused and broken; the pre-send hook.

use std::time::Duration;

use serde_json::json as value;
use switchboard_emulators::{
    FaultAction, FaultStep, Faults, Time,
    common::DropReason,
    rongcloud::{CallbackUrls, ClientMessage, Push, Received, RongCloudSettings, SignatureStyle, Target},
};

use crate::support::{Arrived, MOMENT, Reaction, Receiver, Vendor, json, sign, text};

fn to_bob(text: &str) -> ClientMessage {
    ClientMessage::text(Target::User("bob".to_owned()), text)
}

async fn routed_to(receiver: &Receiver, change: impl FnOnce(&mut RongCloudSettings)) -> Vendor {
    let mut settings = RongCloudSettings::default();
    settings.callbacks.urls.routing = Some(format!("{}/route", receiver.url));
    change(&mut settings);
    Vendor::with(|builder| builder.settings(settings)).await
}

/// Like [`routed_to`], with the system's clock, for what only passing time shows.
async fn routed_live(receiver: &Receiver, change: impl FnOnce(&mut RongCloudSettings)) -> Vendor {
    let mut settings = RongCloudSettings::default();
    settings.callbacks.urls.routing = Some(format!("{}/route", receiver.url));
    change(&mut settings);
    Vendor::with(|builder| builder.settings(settings).time(Time::system())).await
}

async fn say(vendor: &Vendor, text: &str) -> String {
    vendor.emulator.user("alice").send(to_bob(text)).await.unwrap().uid
}

fn verified(arrived: &Arrived, timestamp: &str) -> bool {
    let query = arrived.query();
    let field = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    field("signature") == Some(sign(field("nonce").unwrap(), field(timestamp).unwrap()).as_str())
}

/// The parameter names of a captured request line.
fn documented_query(name: &str) -> Vec<String> {
    let captured = text(name);
    let uri = captured.split(' ').nth(1).unwrap();
    let query = uri.split_once('?').unwrap().1;
    query.split('&').map(|pair| pair.split_once('=').unwrap().0.to_owned()).collect()
}

#[tokio::test]
async fn signatures_sit_where_the_style_says() {
    let receiver = Receiver::start().await;
    let vendor = routed_to(&receiver, |_| ()).await;
    let rows = [
        (SignatureStyle::Timestamp, "callback_message_route_private.http", "timestamp"),
        (SignatureStyle::SignTimestamp, "callback_message_route_private_signtimestamp.http", "signTimestamp"),
        (
            SignatureStyle::AppKeySignTimestamp,
            "callback_message_route_private_signtimestamp_appkey.http",
            "signTimestamp",
        ),
    ];
    for (style, captured, timestamp) in rows {
        vendor.emulator.update_settings(|settings| settings.callbacks.signature_style = style);
        say(&vendor, "hi").await;
        let arrived = &receiver.take(1).await[0];
        let names: Vec<String> = arrived.query().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, documented_query(captured), "{style:?}");
        assert!(verified(arrived, timestamp), "{style:?}");
        assert_eq!(arrived.uri.path(), "/route");
    }
    for (style, prefix) in [(SignatureStyle::RcHeaders, "rc-"), (SignatureStyle::Headers, "")] {
        vendor.emulator.update_settings(|settings| settings.callbacks.signature_style = style);
        say(&vendor, "hi").await;
        let arrived = &receiver.take(1).await[0];
        let header = |name: &str| arrived.headers[format!("{prefix}{name}")].to_str().unwrap().to_owned();
        assert_eq!(arrived.uri.query(), None);
        assert_eq!(header("signature"), sign(&header("nonce"), &header("timestamp")), "{style:?}");
    }
    vendor.emulator.set_faults(Faults {
        script: vec![FaultStep::callback(1, "route", FaultAction::CorruptSignature)],
        ..Faults::default()
    });
    vendor.emulator.update_settings(|settings| settings.callbacks.signature_style = SignatureStyle::Timestamp);
    say(&vendor, "hi").await;
    assert!(!verified(&receiver.take(1).await[0], "timestamp"));
}

#[tokio::test]
async fn the_consoles_switches_decide_what_is_routed() {
    let receiver = Receiver::start().await;
    let vendor = routed_to(&receiver, |_| ()).await;
    let publish = "fromUserId=a&toUserId=b&toUserId=c&objectName=RC:TxtMsg&content={}";
    vendor.ok("/message/private/publish.json", publish).await;
    vendor.ok("/statusmessage/private/publish.json", publish).await;
    vendor.ok("/message/broadcast.json", "fromUserId=a&objectName=RC:TxtMsg&content={}").await;
    vendor.emulator.user("alice").typing("bob").await.unwrap();
    vendor.emulator.wait_idle().await;
    assert!(receiver.arrived().is_empty(), "all off by default");

    vendor.emulator.update_settings(|settings| settings.routing.server_api = true);
    vendor.ok("/message/private/publish.json", publish).await;
    vendor.ok("/statusmessage/private/publish.json", publish).await;
    vendor.ok("/message/broadcast.json", "fromUserId=a&objectName=RC:TxtMsg&content={}").await;
    vendor.emulator.wait_idle().await;
    let arrived = receiver.take(2).await;
    assert_eq!(arrived.len(), 2, "one per recipient, no status message, no broadcast");
    assert!(arrived.iter().all(|callback| callback.field("source").as_deref() == Some("Server")));

    vendor.emulator.update_settings(|settings| {
        settings.routing.status = true;
        settings.routing.per_recipient = false;
    });
    vendor.ok("/message/private/publish.json", publish).await;
    vendor.emulator.user("alice").typing("bob").await.unwrap();
    vendor.emulator.wait_idle().await;
    assert_eq!(receiver.take(2).await.len(), 2);

    vendor.emulator.update_settings(|settings| settings.routing.object_names = vec!["APP:Only".to_owned()]);
    say(&vendor, "hi").await;
    vendor.emulator.wait_idle().await;
    assert!(receiver.arrived().is_empty(), "filtered by type");
}

#[tokio::test]
async fn anything_but_200_is_tried_three_times_and_then_gone() {
    let receiver = Receiver::start().await;
    let vendor = routed_to(&receiver, |_| ()).await;
    receiver.then(Reaction::Status(500)).then(Reaction::Status(204));
    let uid = say(&vendor, "third time lucky").await;
    let arrived = receiver.take(3).await;
    assert!(arrived.iter().all(|callback| callback.field("msgUID").as_deref() == Some(uid.as_str())));
    assert!(arrived.iter().all(|callback| verified(callback, "timestamp")));
    assert_ne!(arrived[0].query(), arrived[1].query(), "signed anew");
    vendor.emulator.wait_idle().await;
    assert!(vendor.emulator.ledger().callbacks()[0].delivered);

    receiver.always(Reaction::Status(503));
    say(&vendor, "never").await;
    vendor.emulator.wait_idle().await;
    let record = vendor.emulator.ledger().callbacks().pop().unwrap();
    assert_eq!((record.attempts.len(), record.dropped), (3, Some(DropReason::Attempts)));
    assert_eq!(receiver.take(3).await.len(), 3);
    assert_eq!(vendor.emulator.ledger().counters().callback_failures, 5);
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let receiver = Receiver::start().await;
    let vendor = routed_live(&receiver, |settings| settings.callbacks.timeout_ms = 500).await;
    receiver.then(Reaction::Silence);
    say(&vendor, "slow").await;
    vendor.emulator.wait_idle().await;
    let record = vendor.emulator.ledger().callbacks().pop().unwrap();
    assert!(record.delivered);
    assert_eq!(record.attempts[0].error.as_deref(), Some("timeout"));
    assert_eq!(receiver.take(2).await.len(), 2);
}

#[tokio::test]
async fn many_failures_pause_delivery_for_a_minute() {
    let receiver = Receiver::start().await;
    let vendor = routed_to(&receiver, |settings| settings.callbacks.pause_after_failures = 6).await;
    receiver.always(Reaction::Status(500));
    for _ in 0..2 {
        say(&vendor, "refused").await;
        vendor.emulator.wait_idle().await;
    }
    assert_eq!(vendor.emulator.ledger().counters().bans, 1);
    receiver.always(Reaction::Status(200));
    receiver.take(6).await;
    say(&vendor, "lost in the pause").await;
    vendor.emulator.wait_idle().await;
    assert!(receiver.arrived().is_empty());
    let record = vendor.emulator.ledger().callbacks().pop().unwrap();
    assert_eq!(record.dropped, Some(DropReason::Banned));
    vendor.at(MOMENT + 60_000);
    say(&vendor, "again").await;
    assert_eq!(receiver.take(1).await.len(), 1);
}

#[tokio::test]
async fn a_pause_may_hold_events_instead() {
    let receiver = Receiver::start().await;
    let vendor = routed_to(&receiver, |settings| {
        settings.callbacks.pause_after_failures = 3;
        settings.callbacks.pause_holds = true;
    })
    .await;
    receiver.then(Reaction::Status(500)).then(Reaction::Status(500)).then(Reaction::Status(500));
    say(&vendor, "refused").await;
    vendor.emulator.wait_idle().await;
    receiver.take(3).await;
    let uid = say(&vendor, "held").await;
    assert!(receiver.arrived().is_empty());
    // The event may not have reached its wait yet; moving on in small steps wakes it whenever it does.
    for step in 1..=240 {
        vendor.at(MOMENT + step * 500);
        tokio::task::yield_now().await;
    }
    assert_eq!(receiver.take(1).await[0].field("msgUID"), Some(uid));
}

#[tokio::test]
async fn callbacks_are_dropped_doubled_and_reordered_on_script() {
    let receiver = Receiver::start().await;
    let vendor = routed_to(&receiver, |_| ()).await;
    vendor.emulator.set_faults(Faults {
        script: vec![
            FaultStep::callback(1, "route", FaultAction::Drop),
            FaultStep::callback(2, "route", FaultAction::Duplicate),
            FaultStep::callback(3, "route", FaultAction::DropFirstAttempt),
        ],
        ..Faults::default()
    });
    say(&vendor, "dropped").await;
    let twice = say(&vendor, "twice").await;
    vendor.emulator.wait_idle().await;
    let uids: Vec<Option<String>> = receiver.take(2).await.iter().map(|callback| callback.field("msgUID")).collect();
    assert_eq!(uids, [Some(twice.clone()), Some(twice)]);
    let late = say(&vendor, "second attempt").await;
    assert_eq!(receiver.take(1).await[0].field("msgUID"), Some(late));
    vendor.emulator.wait_idle().await;
    assert_eq!(vendor.emulator.ledger().callbacks()[2].attempts.len(), 2);

    vendor.emulator.set_faults(Faults {
        script: vec![FaultStep::callback(1, "route", FaultAction::Reorder)],
        ..Faults::default()
    });
    let first = say(&vendor, "one").await;
    let second = say(&vendor, "two").await;
    let early = receiver.take(1).await;
    assert_eq!(early[0].field("msgUID"), Some(second));
    vendor.emulator.wait_idle().await;
    let all: Vec<Arrived> = early.into_iter().chain(receiver.arrived()).collect();
    assert_eq!(all.last().unwrap().field("msgUID"), Some(first));
}

#[tokio::test]
async fn the_callback_address_changes_while_running() {
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    let vendor = routed_to(&old, |_| ()).await;
    say(&vendor, "one").await;
    old.take(1).await;
    vendor.emulator.set_callback_url(&new.url);
    say(&vendor, "two").await;
    assert_eq!(new.take(1).await.len(), 1);
    vendor.emulator.set_callback_urls(CallbackUrls::default());
    say(&vendor, "three").await;
    vendor.emulator.wait_idle().await;
    assert!(old.arrived().is_empty() && new.arrived().is_empty());
}

#[tokio::test]
async fn the_callback_address_changes_over_http_too() {
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    let vendor = routed_to(&old, |_| ()).await;
    let put = |body: serde_json::Value| {
        let url = format!("{}/_emulator/callback_url", vendor.emulator.base_url());
        let request = vendor.http.put(url).json(&body);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    for refused in [value!({}), value!({ "url": "not a url" }), value!({ "url": "ftp://127.0.0.1/" })] {
        assert_eq!(put(refused.clone()).await, 422, "{refused}");
    }
    say(&vendor, "one").await;
    assert_eq!(old.take(1).await.len(), 1, "a refused request changes nothing");
    for body in [value!({ "url": new.url }), value!({ "url": new.url, "secret": "of no use here" })] {
        assert_eq!(put(body).await, 204);
        say(&vendor, "two").await;
        let seen = new.take(1).await;
        assert!(verified(&seen[0], "timestamp"), "signed with the app's secret");
    }
    vendor.emulator.wait_idle().await;
    assert!(old.arrived().is_empty());
}

#[tokio::test]
async fn recalls_through_the_server_api_may_stay_untold() {
    let receiver = Receiver::start().await;
    let urls = CallbackUrls { message_operation: Some(receiver.url.clone()), ..CallbackUrls::default() };
    let vendor = Vendor::with(|builder| builder.callback_urls(urls)).await;
    let recall = "fromUserId=a&conversationType=1&targetId=b&messageUID=D1U6-B6SI-O124-3K1R&sentTime=1795054000000";
    vendor.ok("/message/recall.json", recall).await;
    let told = &receiver.take(1).await[0];
    assert_eq!((told.json()["eventType"].as_i64(), told.json()["source"].as_str()), (Some(1), Some("Server")));
    vendor.emulator.update_settings(|settings| settings.callbacks.server_api_operations = false);
    vendor.ok("/message/recall.json", recall).await;
    vendor.emulator.wait_idle().await;
    assert!(receiver.arrived().is_empty());
}

async fn hooked(hook: &Receiver, timeout_ms: u64) -> Vendor {
    let urls = CallbackUrls { pre_send: Some(format!("{}/rongcloud/presend", hook.url)), ..CallbackUrls::default() };
    let mut settings = RongCloudSettings::default();
    settings.callbacks.urls = urls;
    settings.callbacks.pre_send_timeout_ms = timeout_ms;
    Vendor::with(|builder| builder.settings(settings).time(Time::system())).await
}

fn contents(inbox: Vec<Received>) -> Vec<String> {
    inbox.into_iter().map(|message| message.content).collect()
}

#[tokio::test]
pub(crate) async fn the_hook_decides_and_replaces() {
    let hook = Receiver::start().await;
    let vendor = hooked(&hook, 5000).await;
    let alice = vendor.emulator.user("alice");
    hook.then(Reaction::Json(json("callback_pre_send_reply_pass.json")))
        .then(Reaction::Json(json("callback_pre_send_reply_reject.json")))
        .then(Reaction::Json(json("callback_pre_send_reply_replace.json")))
        .then(Reaction::Status(500))
        .then(Reaction::Json(value!({ "unexpected": true })));
    alice.send(to_bob("passed")).await.unwrap();
    let refusal = alice.send(to_bob("rejected")).await.unwrap_err();
    assert_eq!((refusal.code, refusal.reason.as_str()), (20_112, "blocked by policy 12"));
    alice.send(to_bob("is this ok?")).await.unwrap();
    alice.send(to_bob("hook broken")).await.unwrap();
    alice.send(to_bob("hook confused")).await.unwrap();
    let texts = ["passed", "is this **?", "hook broken", "hook confused"];
    let expected: Vec<String> = texts.map(|text| value!({ "content": text }).to_string()).to_vec();
    assert_eq!(contents(vendor.emulator.user("bob").inbox()), expected);
    let replaced = vendor.emulator.user("bob").inbox().remove(1).push;
    assert_eq!(replaced, Some(Push { content: "New message".to_owned(), ..Push::default() }));
    assert_eq!(vendor.emulator.ledger().messages().len(), 4);
    let publish = "fromUserId=a&toUserId=b&objectName=RC:TxtMsg&content={}";
    vendor.ok("/message/private/publish.json", publish).await;
    assert_eq!(hook.take(5).await.len(), 5, "the Server API does not ask");
}

#[tokio::test]
async fn a_silent_hook_delays_and_then_delivers() {
    let hook = Receiver::start().await;
    let vendor = hooked(&hook, 30).await;
    hook.always(Reaction::Silence);
    vendor.emulator.user("alice").send(to_bob("patience")).await.unwrap();
    assert_eq!(vendor.emulator.user("bob").inbox().len(), 1);
    assert_eq!(hook.take(1).await.len(), 1, "one attempt");
}

#[tokio::test]
pub(crate) async fn a_pass_of_two_skips_the_word_filter() {
    let hook = Receiver::start().await;
    let vendor = hooked(&hook, 5000).await;
    vendor.ok("/sensitiveword/add.json", "word=bomb").await;
    hook.then(Reaction::Json(json("callback_pre_send_reply_pass_skip_other_checks.json")));
    hook.then(Reaction::Json(json("callback_pre_send_reply_pass.json")));
    let alice = vendor.emulator.user("alice");
    alice.send(to_bob("bomb")).await.unwrap();
    assert_eq!(alice.send(to_bob("bomb")).await.unwrap_err().code, 21_501);
    // What a hook writes is looked at like what the sender wrote.
    vendor.ok("/sensitiveword/add.json", "word=is this").await;
    hook.then(Reaction::Json(json("callback_pre_send_reply_replace.json")));
    assert_eq!(alice.send(to_bob("harmless")).await.unwrap_err().code, 21_501);
}

#[tokio::test]
async fn the_hooks_question_equals_the_documented_one() {
    let hook = Receiver::start().await;
    let urls = CallbackUrls { pre_send: Some(format!("{}/rongcloud/presend", hook.url)), ..CallbackUrls::default() };
    let vendor = Vendor::with(|builder| builder.callback_urls(urls)).await;
    vendor.ok("/group/create.json", "groupId=group_team&groupName=T&userId=user_alice").await;
    vendor.at(1_795_054_562_456);
    let message = ClientMessage::text(Target::Group("group_team".to_owned()), "is this ok?")
        .with_push_content("is this ok?")
        .with_uid("D1U6-BEP6-022C-67T7");
    vendor.emulator.user("user_alice").send(message).await.unwrap();
    let arrived = &hook.take(1).await[0];
    // The fixture leaves a question mark bare; the vendor's exact escaping is not documented.
    let unescaped: Vec<(String, String)> =
        form_urlencoded::parse(text("callback_pre_send_request.form").as_bytes()).into_owned().collect();
    assert_eq!(arrived.pairs(), unescaped);
    assert!(verified(arrived, "timestamp"));
    let names: Vec<String> = arrived.query().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, documented_query("callback_pre_send_request.http"));
}

#[tokio::test]
async fn a_burst_of_callbacks_arrives_whole() {
    let receiver = Receiver::start().await;
    let vendor = routed_live(&receiver, |_| ()).await;
    let count = 2000;
    for number in 0..count {
        say(&vendor, &number.to_string()).await;
    }
    tokio::time::timeout(Duration::from_secs(60), vendor.emulator.wait_idle()).await.unwrap();
    let counters = vendor.emulator.ledger().counters();
    assert_eq!((counters.callbacks_delivered, counters.callback_failures), (count, 0));
}
