//! The engine on the self-hosted service: a business that answers its customers, with nothing but the kind configured.

use std::time::Duration;

use serde_json::json;
use switchboard::{Body, Config, EventData, Outgoing, Subscriber, Switchboard, To, Topic, UserId};
use switchboard_contract::{ProviderId, UserProfile, VendorUserId};
use switchboard_selfhosted::client::{Connection, Endpoint, Told};
use switchboard_selfhosted::proto;

use crate::stage::{PATIENCE, said, text, user};

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn the_business_program_of_the_vendors_runs_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let file = dir.path().join("switchboard.toml");
    let settings = format!(
        "[store]\nurl = \"sqlite://{0}/engine.db\"\n[ingest.inbox]\npath = \"{0}/inbox\"\n\
         [providers.main]\nkind = \"selfhosted\"\nwebsocket = \"off\"\ntcp = \"127.0.0.1:{port}\"\n",
        dir.path().display(),
    );
    std::fs::write(&file, settings).unwrap();
    for round in 0..2 {
        let switchboard = Switchboard::open(Config::load(&file).unwrap()).await.unwrap();
        let mut events = switchboard.subscribe(Subscriber::named("shop").topics([Topic::Messages])).await.unwrap();
        let provider = switchboard.provider(&ProviderId::from("main")).unwrap();
        let customer = VendorUserId::from("customer");
        let users = provider.users().unwrap();
        users.ensure(&"shop".into(), &UserProfile::default()).await.unwrap();
        let token = users.login_token(&customer, &UserProfile::default()).await.unwrap().token;

        let mut device = Connection::open(&Endpoint::tcp(format!("127.0.0.1:{port}"))).await.unwrap();
        let login =
            proto::Login { user: "customer".to_owned(), token, device: "phone".to_owned(), ..Default::default() };
        device.login(login).await.unwrap();
        let asked = format!("where is my parcel {round}");
        let send = proto::Send { to: user("shop"), content: text(&asked), client_id: format!("q{round}") };
        device.send(send).await.unwrap();

        let answered = loop {
            let delivery = tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap();
            let event = delivery.event().unwrap();
            let EventData::Message(message) = event.data else { continue };
            delivery.ack().await.unwrap();
            if message.from == UserId::from("shop") {
                continue;
            }
            let Some(Body::Text(said)) = message.body else { panic!() };
            assert_eq!((message.from.as_str(), said.text.as_str()), ("customer", asked.as_str()), "nothing twice");
            let answer = Outgoing::text("shop", To::user("customer"), format!("We have got \"{}\".", said.text))
                .client_id(format!("answer-{}", message.id));
            break switchboard.send(answer).await.unwrap();
        };
        tokio::time::timeout(PATIENCE, switchboard.sending().idle()).await.unwrap();
        let mut after = 0;
        let heard = loop {
            let page = device.pull(after, 0).await.unwrap();
            if let Some(words) = page.entries.iter().filter(|entry| entry.by == "shop").filter_map(said).last()
                && words.contains(&asked)
            {
                break words;
            }
            if page.entries.is_empty() {
                match tokio::time::timeout(PATIENCE, device.next()).await.unwrap() {
                    Some(Told::Entry(entry)) if entry.by == "shop" => break said(&entry).unwrap(),
                    _ => {}
                }
            }
            after = page.cursor.max(after);
        };
        assert_eq!(heard, format!("We have got \"{asked}\"."));
        drop((device, answered));
        tokio::time::timeout(Duration::from_secs(30), switchboard.shutdown()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_links_state_reaches_the_connection_topic() {
    let store: std::sync::Arc<dyn switchboard_contract::storage::Store> =
        std::sync::Arc::new(switchboard::store::memory::MemoryStore::new());
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.ingest.inbox.path = dir.path().join("inbox");
    let own = serde_json::from_value(json!({ "kind": "selfhosted", "websocket": "off", "tcp": "off" })).unwrap();
    config.providers.insert("own".into(), own);
    let switchboard = Switchboard::builder().config(config).store(store).open().await.unwrap();
    let events =
        switchboard.subscribe(Subscriber::named("ops").topics([Topic::Connection, Topic::Heartbeat, Topic::Groups]));
    let mut events = events.await.unwrap();
    let provider = switchboard.provider(&ProviderId::from("own")).unwrap();
    provider.users().unwrap().ensure(&"alice".into(), &UserProfile::default()).await.unwrap();
    let new = switchboard_contract::NewGroup {
        id: Some("team".into()),
        room: false,
        name: "Team".to_owned(),
        owner: "alice".into(),
        members: Vec::new(),
    };
    provider.groups().unwrap().create(&new).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let delivery = tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap();
        match delivery.event().unwrap().data {
            EventData::Notice(notice) => seen.push(notice.kind),
            EventData::Group(group) => seen.push(group.change),
            other => panic!("{other:?}"),
        }
        delivery.ack().await.unwrap();
    }
    seen.sort();
    assert_eq!(seen, ["created", "link_alive", "link_up"]);
    switchboard.shutdown().await.unwrap();
}
