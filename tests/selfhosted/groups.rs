//! Groups: both ways of spreading, roles, mutes, who sees what.

use serde_json::json;
use switchboard_contract::{ErrorKind, Result};
use switchboard_selfhosted::frame::{Body, Command};
use switchboard_selfhosted::proto::{self, change_group::Action};

use crate::stage::{Device, Stage, group, said};

async fn create(device: &Device, id: &str, members: &[&str]) -> Result<Body> {
    let members = members.iter().map(|name| (*name).to_owned()).collect();
    let group = proto::CreateGroup { id: id.to_owned(), name: "Team".to_owned(), members, room: false };
    device.ask(Command::GroupCreate, Body::CreateGroup(group)).await
}

async fn change(device: &Device, action: Action, users: &[&str], role: proto::Role) -> Result<Body> {
    let users = users.iter().map(|name| (*name).to_owned()).collect();
    let change = proto::ChangeGroup {
        id: "team".to_owned(),
        action: action.into(),
        users,
        role: role.into(),
        ..Default::default()
    };
    device.ask(Command::GroupChange, Body::ChangeGroup(change)).await
}

async fn act(device: &Device, action: Action, users: &[&str]) -> Result<Body> {
    change(device, action, users, proto::Role::Unspecified).await
}

async fn speak(device: &Device, words: &str) -> Result<proto::Sent> {
    let send = proto::Send { to: group("team"), content: crate::stage::text(words), client_id: String::new() };
    device.connection.send(send).await
}

/// What a user finds, messages and changes alike.
async fn view(stage: &Stage, user: &str) -> Vec<String> {
    let mut device = stage.device(user, "view", proto::DeviceClass::Tablet).await;
    let shown = |entry: &proto::Entry| match &entry.event {
        Some(proto::entry::Event::Group(change)) => Some(format!("[{} {}]", change.change, change.users.join(","))),
        _ => said(entry),
    };
    device.catch_up().await.iter().filter_map(shown).collect()
}

/// One scenario under three bounds: rows for nobody, for small groups, for all.
#[tokio::test]
async fn d12_s3_7_every_bound_shows_everybody_the_same() {
    let mut views = Vec::new();
    for bound in [0, 4, 1000] {
        let stage = Stage::with(json!({ "write_diffusion_up_to": bound })).await;
        let (alice, mut bob) = (stage.phone("alice").await, stage.phone("bob").await);
        create(&alice, "team", &["bob", "carol"]).await.unwrap();
        bob.entry().await;
        // 1–5: stored before the answer; 9–12: bob is online and gets it at once.
        let sent = speak(&alice, "one").await.unwrap();
        assert!(stage.log().await.line(sent.id.parse().unwrap()).await.unwrap().is_some());
        assert_eq!(bob.hears().await, "one");
        // Beyond four members the middle bound changes its way.
        act(&alice, Action::Add, &["dave", "eve"]).await.unwrap();
        speak(&bob, "two").await.unwrap();
        act(&alice, Action::Remove, &["carol"]).await.unwrap();
        speak(&alice, "three").await.unwrap();
        act(&alice, Action::Add, &["carol"]).await.unwrap();
        speak(&alice, "four").await.unwrap();
        // 7–8: those who were away find it.
        let mut all = Vec::new();
        for user in ["alice", "bob", "carol", "dave", "eve"] {
            all.push(view(&stage, user).await);
        }
        views.push(all);
    }
    assert_eq!(views[0], views[1]);
    assert_eq!(views[1], views[2]);
    let carol =
        ["[created alice,bob,carol]", "one", "[joined dave,eve]", "two", "[removed carol]", "[joined carol]", "four"];
    assert_eq!(views[0][2], carol);
    assert_eq!(views[0][3], ["[joined dave,eve]", "two", "[removed carol]", "three", "[joined carol]", "four"]);
}

#[tokio::test]
async fn h7_roles_and_mutes_decide_who_may_what() {
    let stage = Stage::open().await;
    let (alice, bob, carol) = (stage.phone("alice").await, stage.phone("bob").await, stage.phone("carol").await);
    let eve = stage.phone("eve").await;
    create(&alice, "team", &["bob", "carol"]).await.unwrap();
    create(&alice, "team", &["bob"]).await.unwrap();
    assert_eq!(create(&bob, "team", &[]).await.unwrap_err().kind(), ErrorKind::Conflict);
    let forbidden = |outcome: Result<Body>| assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Forbidden);
    assert_eq!(speak(&eve, "let me in").await.unwrap_err().kind(), ErrorKind::Forbidden);
    forbidden(act(&bob, Action::Add, &["eve"]).await);
    forbidden(act(&bob, Action::Dissolve, &[]).await);
    change(&alice, Action::SetRole, &["bob"], proto::Role::Admin).await.unwrap();
    act(&bob, Action::Mute, &["carol"]).await.unwrap();
    assert_eq!(speak(&carol, "mmm").await.unwrap_err().kind(), ErrorKind::Forbidden);
    forbidden(act(&bob, Action::Mute, &["alice"]).await);
    act(&bob, Action::Unmute, &["carol"]).await.unwrap();
    speak(&carol, "thank you").await.unwrap();
    act(&bob, Action::MuteAll, &[]).await.unwrap();
    assert_eq!(speak(&carol, "again").await.unwrap_err().kind(), ErrorKind::Forbidden);
    speak(&bob, "admins may").await.unwrap();
    forbidden(act(&alice, Action::Leave, &[]).await);
    act(&carol, Action::Leave, &[]).await.unwrap();
    let get = |device: Device| async move {
        let get = proto::GetGroup { id: "team".to_owned(), room: false };
        device.ask(Command::GroupGet, Body::GetGroup(get)).await
    };
    // It is the same after a restart: nothing of it was in memory alone.
    let stage = stage.again().await;
    let Ok(Body::Group(found)) = get(stage.phone("alice").await).await else { panic!() };
    let roles: Vec<_> = found.members.iter().map(|member| (member.user.as_str(), member.role())).collect();
    assert_eq!(roles, [("alice", proto::Role::Owner), ("bob", proto::Role::Admin)]);
    assert!(found.muted);
    assert_eq!(get(stage.phone("carol").await).await.unwrap_err().kind(), ErrorKind::NotFound);
    let alice = stage.phone("alice").await;
    act(&alice, Action::Dissolve, &[]).await.unwrap();
    assert_eq!(speak(&alice, "hello?").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn l1_two_tenants_in_one_store_see_nothing_of_each_other() {
    use switchboard_contract::storage::Store;
    use switchboard_contract::{Link, Provider, TenantId, UserId, UserProfile};
    use switchboard_selfhosted::client::{Connection, Endpoint};
    use switchboard_selfhosted::{SelfHosted, SelfHostedConfig, Surroundings};

    let dir = tempfile::tempdir().unwrap();
    let options = switchboard::store::sqlite::SqliteOptions::at(dir.path().join("both.db"));
    let store = switchboard::store::sqlite::SqliteStore::open(options).await.unwrap();
    let mut gates = Vec::new();
    for (tenant, secret) in [("one", "the secret of one tenant"), ("two", "the secret of the other")] {
        let settings = json!({ "websocket": "off", "tcp": "127.0.0.1:0", "secret": secret });
        let config: SelfHostedConfig = serde_json::from_value(settings).unwrap();
        let log = store.timelines(&TenantId::from(tenant), &config.app()).await.unwrap();
        let clock = std::sync::Arc::new(switchboard::clock::SystemClock);
        let around = Surroundings { log, clock, secret: Vec::new(), verifier: None, push: None };
        let own = SelfHosted::start(config, around).await.unwrap();
        for user in ["alice", "bob"] {
            own.service().ensure(&user.into(), &UserProfile::default()).await.unwrap();
        }
        gates.push(own);
    }
    let log_in = |gate: usize, by: usize, user: &str| {
        let (endpoint, user) = (Endpoint::tcp(gates[gate].gate().tcp().unwrap().to_string()), user.to_owned());
        let service = gates[by].service().clone();
        async move {
            let (token, _) = service.token(&UserId::from(user.as_str())).await.unwrap();
            let connection = Connection::open(&endpoint).await.unwrap();
            let login = proto::Login { user, token, device: "phone".to_owned(), ..Default::default() };
            connection.login(login).await.map(|answer| Device { connection, answer })
        }
    };
    let mut devices = Vec::new();
    for gate in 0..2 {
        for user in ["alice", "bob"] {
            let mut device = log_in(gate, gate, user).await.unwrap();
            device.catch_up().await;
            devices.push(device);
        }
    }
    assert_eq!(log_in(0, 1, "alice").await.unwrap_err().kind(), ErrorKind::Unauthorized, "another tenant's token");
    create(&devices[0], "team", &["bob"]).await.unwrap();
    devices[0].says(group("team"), "for one alone").await;
    devices[2].says(crate::stage::user("bob"), "for two alone").await;
    assert_eq!(devices[1].hears().await, "for one alone");
    assert_eq!(devices[3].hears().await, "for two alone");
    assert_eq!(speak(&devices[2], "let me in").await.unwrap_err().kind(), ErrorKind::NotFound, "no such group there");
    for (gate, words) in [(0, "for one alone"), (1, "for two alone")] {
        let mut told = String::new();
        for notice in gates[gate].link().unwrap().next().await.unwrap() {
            told.push_str(std::str::from_utf8(&notice.body).unwrap());
        }
        assert_eq!((told.contains(words), told.contains("alone")), (true, true));
        assert_eq!(told.matches("alone").count(), told.matches(words).count(), "nothing of the other");
        gates[gate].close().await;
    }
}
