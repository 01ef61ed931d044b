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
