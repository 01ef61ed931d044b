//! The flows of the source document, each numbered step.

use std::sync::Arc;

use switchboard_contract::{ErrorKind, Timestamp, UserId};
use switchboard_selfhosted::client::{Connection, Told};
use switchboard_selfhosted::frame::{Body, Command};
use switchboard_selfhosted::proto::{self, DeviceClass};
use switchboard_selfhosted::service::{PushHint, PushHook};

use crate::stage::{Stage, eventually, said, user};

#[tokio::test]
async fn s3_1_login_is_verified_and_sets_the_session() {
    let stage = Stage::open().await;
    // 1–2: the client has a token and asks with it.
    let login = stage.login("alice", "phone", DeviceClass::Phone).await;
    for (name, wrong) in [
        ("another's token", proto::Login { user: "bob".to_owned(), ..login.clone() }),
        ("no token", proto::Login { token: String::new(), ..login.clone() }),
        ("a changed token", proto::Login { token: format!("{}A", login.token), ..login.clone() }),
    ] {
        // 3–4: the token is judged.
        let connection = Connection::open(&stage.tcp()).await.unwrap();
        let refused = connection.login(wrong).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unauthorized, "{name}");
    }
    // 5: the session is there, and the client knows.
    let mut alice = Connection::open(&stage.tcp()).await.unwrap();
    let answer = alice.login(login.clone()).await.unwrap();
    assert!(answer.heartbeat_ms >= 1000 && answer.token_expires_at > answer.server_time);
    assert_eq!(stage.own.service().push(&"alice".into(), &proto::Push::default()), 1);
    assert!(matches!(alice.next().await, Some(Told::Push(_))));
    stage.own.service().ban(&"alice".into(), Timestamp(i64::MAX)).await.unwrap();
    let Some(Told::Kicked(kicked)) = alice.next().await else { panic!("no notice before the end") };
    assert_eq!(kicked.reason(), proto::kicked::Reason::Banned);
    let connection = Connection::open(&stage.tcp()).await.unwrap();
    assert_eq!(connection.login(login).await.unwrap_err().kind(), ErrorKind::Forbidden);
}

#[tokio::test]
async fn s3_2_logout_is_answered_and_nothing_comes_after_it() {
    let stage = Stage::open().await;
    let (alice, mut bob) = (stage.phone("alice").await, stage.phone("bob").await);
    // 1–2: the session ends, with an answer.
    assert_eq!(bob.ask(Command::Logout, Body::Empty).await.unwrap(), Body::Empty);
    // 3: the service knows: nothing is delivered, and the business hears of it.
    eventually("bob is offline", || async { stage.own.service().push(&"bob".into(), &proto::Push::default()) == 0 })
        .await;
    alice.says(user("bob"), "are you there").await;
    assert_eq!(bob.told().await, None);
    let told = stage.told().await;
    let gone = told.iter().filter(|entry| entry["by"] == "bob" && entry["presence"]["reason"] == "logout");
    assert_eq!(gone.count(), 1);
    assert_eq!(stage.phone("bob").await.answer.cursor, 0, "nothing was acknowledged");
}

#[tokio::test]
async fn s3_3_a_second_device_of_a_class_takes_the_place_of_the_first() {
    let stage = Stage::open().await;
    let mut phone = stage.device("alice", "old-phone", DeviceClass::Phone).await;
    let mut desktop = stage.device("alice", "desktop", DeviceClass::Desktop).await;
    // 6–8: found elsewhere, told, closed.
    let mut new = stage.device("alice", "new-phone", DeviceClass::Phone).await;
    let Some(Told::Kicked(kicked)) = phone.told().await else { panic!("no notice before the end") };
    assert_eq!((kicked.reason(), kicked.by_device.as_str()), (proto::kicked::Reason::OtherDevice, "new-phone"));
    assert_eq!(phone.told().await, None, "and the connection is closed");
    let bob = stage.phone("bob").await;
    desktop.catch_up().await;
    new.catch_up().await;
    bob.says(user("alice"), "hi").await;
    assert_eq!((desktop.hears().await, new.hears().await), ("hi".to_owned(), "hi".to_owned()), "both complete");
}

#[tokio::test]
async fn s3_4_a_report_is_confirmed_and_reaches_the_business_once() {
    let stage = Stage::open().await;
    let alice = stage.phone("alice").await;
    let report =
        proto::Report { topic: "position".to_owned(), data: r#"{"lat":1.5}"#.to_owned(), client_id: "r1".to_owned() };
    // 1–2: sent, and confirmed when it is safe; a repeat changes nothing.
    for _ in 0..2 {
        assert_eq!(alice.ask(Command::Report, Body::Report(report.clone())).await.unwrap(), Body::Empty);
    }
    let wrong = proto::Report { data: "not json".to_owned(), client_id: String::new(), ..report };
    assert_eq!(alice.ask(Command::Report, Body::Report(wrong)).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    // 3–5: the business gets it.
    let told = stage.told().await;
    let reports: Vec<_> = told.iter().filter(|entry| entry["by"] == "alice" && !entry["report"].is_null()).collect();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0]["report"]["topic"], "position");
}

#[tokio::test]
async fn s3_5_a_push_reaches_whoever_is_online_and_nobody_else() {
    let stage = Stage::open().await;
    let push = proto::Push { topic: "sale".to_owned(), data: "{}".to_owned() };
    // 1–2: nobody is there: dropped.
    assert_eq!(stage.own.service().push(&"alice".into(), &push), 0);
    let mut alice = stage.phone("alice").await;
    // 3–4: on its way to each device.
    assert_eq!(stage.own.service().push(&"alice".into(), &push), 1);
    assert_eq!(alice.told().await, Some(Told::Push(push.clone())), "the first was not kept");
    // 5–6: the device confirms by the number it came with; that is counted, and nothing is shown again.
    assert_eq!(stage.own.service().push(&"alice".into(), &push), 1);
    assert_eq!(alice.told().await, Some(Told::Push(push)));
}

#[tokio::test]
async fn h9_presence_is_told_by_device_with_its_times_and_a_late_goodbye_changes_nothing() {
    let stage = Stage::open().await;
    let (alice, bob) = (stage.phone("alice").await, stage.phone("bob").await);
    let _desktop = stage.device("bob", "desktop", DeviceClass::Desktop).await;
    let ask = || async {
        let users = vec!["bob".to_owned(), "carol".to_owned()];
        let asked = Body::AskPresence(proto::AskPresence { users });
        let Body::Presences(found) = alice.ask(Command::Presence, asked).await.unwrap() else { panic!() };
        found.users
    };
    let found = ask().await;
    let mut devices: Vec<_> = found[0].devices.iter().map(|device| device.device.as_str()).collect();
    devices.sort_unstable();
    assert_eq!((devices, found[1].devices.len()), (vec!["desktop", "phone"], 0));
    assert!(found[0].devices.iter().all(|device| device.seen_at >= device.since && device.since > 0));
    // The phone comes back while its old connection is still ending: the end of the old one is no going offline.
    let again = stage.phone("bob").await;
    eventually("the old connection has ended", || async { stage.own.gate().connections() == 3 }).await;
    assert_eq!(ask().await[0].devices.len(), 2);
    drop((bob, again));
    eventually("the phone is offline", || async { ask().await[0].devices.len() == 1 }).await;
    // Four came and one has gone.
    eventually("that is written", || async { stage.log().await.tail().await.unwrap().0 >= 5 }).await;
    let told = stage.told().await;
    let of_bob = told.iter().filter(|entry| entry["by"] == "bob" && entry["presence"]["device"] == "phone");
    let states: Vec<_> = of_bob.map(|entry| entry["presence"]["online"] == true).collect();
    assert_eq!(states, [true, true, false], "in the order in which it happened");
}

#[tokio::test]
async fn s3_6_a_message_is_stored_before_its_ack_and_known_as_delivered_after() {
    let stage = Stage::open().await;
    let (mut alice, mut bob) = (stage.phone("alice").await, stage.phone("bob").await);
    // 1–5: the answer comes when the message is in the log.
    let sent = alice.says(user("bob"), "hello 你好 🦀").await;
    let line = stage.log().await.line(sent.id.parse().unwrap()).await.unwrap().expect("stored before the ack");
    assert_eq!((line.position.0, line.sequence.unwrap().0), (sent.position, sent.sequence));
    assert_eq!(sent.sequence, 1);
    // 6–9: bob's device gets it and confirms.
    let entry = bob.entry().await;
    assert_eq!((said(&entry).as_deref(), entry.id, entry.by.as_str()), (Some("hello 你好 🦀"), sent.id, "alice"));
    // 10–11: the message is delivered, and its sender is told.
    let marks = alice.marks().await;
    assert_eq!((marks.user.as_str(), marks.delivered, marks.read), ("bob", 1, 0));
    let told = stage.told().await;
    let receipts: Vec<_> = told.iter().filter(|entry| !entry["receipt"].is_null()).collect();
    assert_eq!(receipts.len(), 1);
    assert_eq!(receipts[0]["receipt"]["kind"], "KIND_DELIVERED");
    // Who is not there finds it later, also after a restart.
    drop(bob);
    eventually("bob is gone", || async { stage.own.service().push(&"bob".into(), &proto::Push::default()) == 0 }).await;
    alice.says(user("bob"), "later").await;
    let stage = stage.again().await;
    let mut bob = stage.device("bob", "phone", DeviceClass::Phone).await;
    let words: Vec<_> = bob.catch_up().await.iter().filter_map(said).collect();
    assert_eq!(words, ["later"]);
    assert_eq!(stage.log().await.takes_part(&UserId::from("bob"), &line.conversation.unwrap()).await.ok(), Some(true));
}

#[derive(Debug, Default)]
struct Phones(parking_lot::Mutex<Vec<PushHint>>);

#[async_trait::async_trait]
impl PushHook for Phones {
    async fn push(&self, hint: &PushHint) -> switchboard_contract::Result<()> {
        self.0.lock().push(hint.clone());
        Ok(())
    }
}

#[tokio::test]
async fn g11_who_takes_nothing_for_a_while_is_called_once_and_told_nothing() {
    let phones = Arc::new(Phones::default());
    let stage = Stage::hooked(serde_json::json!({ "push_after": "300ms" }), Some(phones.clone())).await;
    let (alice, mut bob) = (stage.phone("alice").await, stage.phone("bob").await);
    alice.says(user("bob"), "taken").await;
    assert_eq!(bob.hears().await, "taken");
    let sent = alice.says(user("carol"), "a secret").await;
    eventually("carol's phone is called", || async { !phones.0.lock().is_empty() }).await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let hints = phones.0.lock().clone();
    assert_eq!(hints.len(), 1, "once, and not for what was taken");
    assert_eq!((hints[0].user.as_str(), hints[0].message.to_string()), ("carol", sent.id));
    assert!(!serde_json::to_string(&hints[0]).unwrap().contains("secret"));
}

#[tokio::test]
async fn i07_a_repeated_send_is_answered_like_the_first() {
    let stage = Stage::open().await;
    let (alice, mut bob) = (stage.phone("alice").await, stage.phone("bob").await);
    let send = proto::Send { to: user("bob"), content: crate::stage::text("once"), client_id: "c-1".to_owned() };
    let first = alice.connection.send(send.clone()).await.unwrap();
    let second = alice.connection.send(send.clone()).await.unwrap();
    assert_eq!(proto::Sent { repeated: true, ..first.clone() }, second);
    assert!(!first.repeated);
    // The same key with other words, or to somebody else, is a mistake of the sender's, not a repeat.
    for other in [
        proto::Send { content: crate::stage::text("other words"), ..send.clone() },
        proto::Send { to: user("carol"), ..send.clone() },
    ] {
        let refused = alice.connection.send(other).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        assert!(refused.message().contains(&first.id), "it names the first");
    }
    let edit = proto::EditMessage { id: first.id.clone(), content: crate::stage::text("edited"), version: 0 };
    alice.ask(Command::Edit, Body::EditMessage(edit)).await.unwrap();
    assert!(
        alice.connection.send(send.clone()).await.unwrap().repeated,
        "an edit does not change what the key stands for"
    );
    alice.says(user("bob"), "end").await;
    assert_eq!((bob.hears().await, bob.hears().await), ("once".to_owned(), "end".to_owned()));
    let nobody = proto::Send { to: user("nobody"), client_id: "c-2".to_owned(), ..send };
    assert_eq!(alice.connection.send(nobody).await.unwrap_err().kind(), ErrorKind::NotFound);
}
