//! The pre-send question: both payload forms, every answer, and the policy without one.

use std::time::Duration;

use serde_json::{Value, json};
use switchboard_emulators::huanxin::{FailurePolicy, Outgoing, PayloadForm, PreSendRule, Target};

use super::support::{Receiver, Reply, SECRET, World, builder, fixture, same_shape, sample, text_to};

async fn asked(change: impl FnOnce(&mut PreSendRule)) -> (World, Receiver) {
    let receiver = Receiver::start().await;
    let mut rule = PreSendRule::everything("ask", &receiver.url, SECRET);
    change(&mut rule);
    let world = World::with(builder().pre_send_rule(rule)).await;
    world.vendor.user("lin_qiao").login("android").unwrap();
    (world, receiver)
}

fn wei() -> Target {
    Target::User("wei.chen".into())
}

#[tokio::test]
async fn both_payload_forms_are_shaped_as_documented() {
    let (world, receiver) = asked(|_| {}).await;
    receiver.reply([Reply::Body(fixture("callback_pre_send_reply_allow.json"))]);
    world.vendor.user("lin_qiao").send_text(wei(), "is this allowed?").await.unwrap();
    let question = receiver.drain().remove(0);
    let expected = fixture("callback_pre_send_txt.json");
    same_shape(&expected, &question, "flat");
    assert_eq!(question["payload"], expected["payload"]);
    assert!(question.get("eventType").is_none());

    let (world, receiver) = asked(|rule| rule.payload = PayloadForm::Bodies).await;
    receiver.reply([Reply::Body(fixture("callback_pre_send_reply_allow.json"))]);
    let group = Target::Group(world.group.clone());
    world.vendor.user("lin_qiao").send_text(group, "is this allowed?").await.unwrap();
    let question = receiver.drain().remove(0);
    let expected = sample("callback_pre_send_txt_bodies_variant.json", &world.ids());
    same_shape(&expected, &question, "bodies");
    assert_eq!(question["payload"], expected["payload"]);
    assert_eq!((&question["chat_type"], &question["group_id"]), (&expected["chat_type"], &expected["group_id"]));
}

#[tokio::test]
async fn a_refusal_stops_the_message_and_its_callback() {
    let (world, receiver) = asked(|_| {}).await;
    let texts = [
        (fixture("callback_pre_send_reply_reject.json"), "HX:BLOCKED-42"),
        (json!({ "valid": false }), "custom logic denied"),
        (json!({ "valid": false, "code": "" }), "Message blocked by external logic"),
    ];
    for (reply, text) in texts {
        receiver.reply([Reply::Body(reply)]);
        let refused = world.vendor.user("lin_qiao").send_text(wei(), "x").await.unwrap_err();
        assert_eq!(refused.0, text);
    }
    assert!(world.vendor.ledger().messages().is_empty());
}

#[tokio::test]
pub(crate) async fn a_rewrite_changes_what_is_stored() {
    let (world, receiver) = asked(|_| {}).await;
    receiver.reply([Reply::Body(fixture("callback_pre_send_reply_rewrite.json"))]);
    let id = world.vendor.user("lin_qiao").send_text(wei(), "is this bad?").await.unwrap();
    assert_eq!(world.vendor.ledger().message(&id).unwrap().body["msg"], "is this ***?");
    let command = Outgoing { body: json!({ "type": "cmd", "action": "go" }), ..Outgoing::text(wei(), "") };
    receiver.reply([Reply::Body(json!({ "valid": true, "payload": { "action": "stop", "type": "cmd" } }))]);
    let id = world.vendor.user("lin_qiao").send(command).await.unwrap();
    assert_eq!(world.vendor.ledger().message(&id).unwrap().body["action"], "go", "commands are never rewritten");
}

#[tokio::test]
pub(crate) async fn a_room_message_takes_the_level_of_the_answer() {
    let (world, receiver) = asked(|_| {}).await;
    world.vendor.user("wei.chen").login("android").unwrap();
    receiver.reply([Reply::Body(fixture("callback_pre_send_reply_chatroom_level.json"))]);
    world.vendor.user("lin_qiao").send_text(Target::Room(world.room.clone()), "x").await.unwrap();
    assert_eq!(world.vendor.user("wei.chen").inbox()[0].level.as_deref(), Some("high"));
}

#[tokio::test]
async fn an_unusable_answer_falls_to_the_policy_without_a_retry() {
    let answers = [
        Reply::Status(500),
        Reply::Text("not json".into()),
        Reply::Body(json!({})),
        Reply::Body(json!({ "valid": "true" })),
        Reply::Body(json!({ "valid": true, "code": 7 })),
        Reply::Body(json!({ "valid": true, "code": "x".repeat(1_000) })),
    ];
    let (delivering, first) = asked(|_| {}).await;
    let (blocking, second) = asked(|rule| rule.on_failure = FailurePolicy::Block).await;
    for answer in answers {
        first.reply([answer.clone()]);
        delivering.vendor.user("lin_qiao").send_text(wei(), "x").await.unwrap();
        second.reply([answer]);
        let refused = blocking.vendor.user("lin_qiao").send_text(wei(), "x").await.unwrap_err();
        assert_eq!(refused.0, "custom internal error");
    }
    assert_eq!((first.drain().len(), second.drain().len()), (6, 6), "one question each");
    assert_eq!(delivering.vendor.ledger().counters().messages_total, 6);
    assert_eq!(blocking.vendor.ledger().counters().messages_total, 0);
}

#[tokio::test]
async fn an_answer_after_the_wait_time_comes_too_late() {
    let (world, receiver) = asked(|_| {}).await;
    receiver.reply([Reply::Hang]);
    let sending = tokio::spawn({
        let lin = world.vendor.user("lin_qiao");
        async move { lin.send_text(wei(), "x").await }
    });
    receiver.wait_for(1).await;
    world.vendor.time().advance(Duration::from_millis(200));
    let id = sending.await.unwrap().unwrap();
    assert!(world.vendor.ledger().message(&id).is_some(), "delivered although nobody agreed");
}

#[tokio::test]
async fn rest_sends_and_targeted_messages_are_not_asked_about() {
    let (world, receiver) = asked(|rule| rule.on_failure = FailurePolicy::Block).await;
    world.post("/messages/users", text_to("wei.chen", "x")).await;
    let targeted =
        Outgoing { users: Some(vec!["wei.chen".into()]), ..Outgoing::text(Target::Group(world.group.clone()), "x") };
    world.vendor.user("lin_qiao").send(targeted).await.unwrap();
    assert_eq!(receiver.drain().len(), 0);
    assert_eq!(world.vendor.ledger().counters().messages_total, 2);
}

#[tokio::test]
async fn a_silent_rule_lets_the_sender_believe_it_was_sent() {
    let (world, receiver) = asked(|rule| rule.report_error = false).await;
    receiver.reply([Reply::Body(fixture("callback_pre_send_reply_reject.json"))]);
    let id = world.vendor.user("lin_qiao").send_text(wei(), "x").await.unwrap();
    assert!(world.vendor.ledger().message(&id).is_none());
    let question: Value = receiver.drain().remove(0);
    assert_eq!(question["msg_id"], json!(id));
}
