//! The engine on a gate in another process, which is killed and comes back.

use reqwest::Method;
use serde_json::json;
use switchboard::{Body, Config, EventData, Outgoing, Subscriber, Switchboard, To, Topic, UserId};

use switchboard_selfhosted::client::{Connection, Endpoint, Told};
use switchboard_selfhosted::proto;

use crate::process::{SECRET, client, free_port, serve, token};
use crate::stage::{PATIENCE, said, text, user};
use crate::support::sidecar::Sidecar;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c8_the_business_program_runs_on_a_gate_elsewhere_and_goes_on_after_it_was_killed() {
    let (there, here, port) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), free_port());
    let mut gate = serve(there.path(), port, "");
    let mut config = Config::default();
    config.store.url = format!("sqlite://{}/engine.db", here.path().display());
    config.ingest.inbox.path = here.path().join("inbox");
    config.ingest.retry_longest = std::time::Duration::from_millis(500);
    let own = json!({ "kind": "selfhosted", "base_url": format!("tcp://127.0.0.1:{port}"), "secret": SECRET });
    config.providers.insert("main".into(), serde_json::from_value(own).unwrap());
    config.routing.default = Some("main".into());
    let switchboard = Switchboard::open(config).await.unwrap();
    let topics = [Topic::Messages, Topic::Connection, Topic::Presence];
    let mut events = switchboard.subscribe(Subscriber::named("shop").topics(topics)).await.unwrap();
    let mut customer = client(port, "customer");
    let mut links = Vec::new();
    for round in 0..2 {
        let asked = format!("where is my parcel {round}");
        // The shop is made at the gate with its first answer; the customer finds it from then on.
        if round == 0 {
            let hello = Outgoing::text("shop", To::user("customer"), "hello").client_id("hello");
            switchboard.send(hello).await.unwrap();
            while said(&tokio::time::timeout(PATIENCE, customer.next()).await.unwrap().unwrap()).is_none() {}
        }
        customer.send(user("shop").unwrap(), text(&asked).unwrap()).await.unwrap();
        let answered = loop {
            let delivery = tokio::time::timeout(PATIENCE, events.next()).await.expect("no event").unwrap();
            let event = delivery.event().unwrap();
            delivery.ack().await.unwrap();
            match event.data {
                EventData::Notice(notice) => links.push(notice.kind),
                EventData::Message(message) if message.from == UserId::from("customer") => {
                    let Some(Body::Text(said)) = message.body else { panic!() };
                    assert_eq!(said.text, asked, "nothing twice, nothing left out");
                    let answer = Outgoing::text("shop", To::user("customer"), format!("We have got \"{asked}\"."));
                    break switchboard.send(answer.client_id(format!("answer-{round}"))).await.unwrap();
                }
                _ => {}
            }
        };
        let heard = loop {
            let entry = tokio::time::timeout(PATIENCE, customer.next()).await.unwrap().unwrap();
            if let Some(words) = said(&entry).filter(|_| entry.by == "shop") {
                break words;
            }
        };
        assert_eq!(heard, format!("We have got \"{asked}\"."), "{answered:?}");
        if round == 0 {
            gate.kill();
            // The link is told to be down while nobody is there.
            while links.last().map(String::as_str) != Some("link_down") {
                let delivery = tokio::time::timeout(PATIENCE * 2, events.next()).await.expect("no word").unwrap();
                if let EventData::Notice(notice) = delivery.event().unwrap().data {
                    links.push(notice.kind);
                }
                delivery.ack().await.unwrap();
            }
            gate = serve(there.path(), port, "");
        }
    }
    assert_eq!(links, ["link_up", "link_down", "link_up"]);
    switchboard.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_5_a_push_over_http_is_shown_by_the_gate_itself_and_by_an_engine_elsewhere() {
    let (there, here, port) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), free_port());
    let gate = serve(there.path(), port, "");
    let engine = Sidecar::start(
        here.path(),
        &format!(
            "[store]\nurl = \"sqlite://engine.db\"\n[ingest.inbox]\npath = \"inbox\"\n[providers.own]\n\
             kind = \"selfhosted\"\nbase_url = \"tcp://127.0.0.1:{port}\"\nsecret = \"{SECRET}\"\n"
        ),
    );
    let mut alice = Connection::open(&Endpoint::tcp(format!("127.0.0.1:{port}"))).await.unwrap();
    let login = proto::Login { user: "alice".into(), token: token("alice"), device: "pc".into(), ..Default::default() };
    alice.login(login).await.unwrap();
    for (sidecar, left) in [(&gate, 3), (&engine, 2)] {
        let push = json!({ "topic": "stock", "data": { "left": left, "note": "\u{4f60}\"" } });
        assert_eq!(sidecar.send(Method::POST, "/v1/users/alice/push", &push).await, json!({ "devices": 1 }));
        let told = tokio::time::timeout(PATIENCE, alice.next()).await.expect("nothing was shown").unwrap();
        let Told::Push(shown) = told else { panic!("{told:?}") };
        assert_eq!(shown.topic, "stock");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown.data).unwrap(), push["data"]);
        assert_eq!(sidecar.send(Method::POST, "/v1/users/bob/push", &push).await, json!({ "devices": 0 }));
        let bare = sidecar.request(Method::POST, "/v1/users/alice/push").json(&json!({ "topic": "stock" }));
        assert_eq!(bare.send().await.unwrap().status(), 400);
    }
}
