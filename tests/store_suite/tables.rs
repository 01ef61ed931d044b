//! Bindings, the directory, the quarantine and settings.

use switchboard_contract::storage::{Binding, BindingKind, GroupRecord, QuarantineReason, Quarantined, UserRecord};
use switchboard_contract::{App, ErrorKind, GroupId, RawCallback, TenantId, Timestamp, UserId, UserProfile};

use crate::fixture::{AnyStore, app, append, direct, message, tenant};

fn pair(kind: BindingKind, business: &str, vendor: &str) -> Binding {
    Binding { kind, business: business.to_owned(), vendor: vendor.to_owned() }
}

pub(crate) async fn bindings_keep_the_older_pair(store: &AnyStore) {
    use BindingKind::{Group, Room};
    let asked = [pair(Group, "g1", "1"), pair(Room, "g1", "1"), pair(Group, "g2", "2")];
    assert_eq!(store.bind(&tenant(), &app(), &asked).await.unwrap(), asked);
    // The vendor's id is taken: the older pair is in force, whoever it names.
    let again = [pair(Group, "other", "1"), pair(Group, "g2", "2"), pair(Group, "g3", "3"), pair(Group, "x", "3")];
    let in_force = store.bind(&tenant(), &app(), &again).await.unwrap();
    assert_eq!(
        in_force,
        [pair(Group, "g1", "1"), pair(Group, "g2", "2"), pair(Group, "g3", "3"), pair(Group, "g3", "3")]
    );
    let wanted = [(Group, "2".to_owned()), (Room, "2".to_owned()), (Room, "1".to_owned())];
    let found = store.by_vendor(&tenant(), &app(), &wanted).await.unwrap();
    assert_eq!(found, [Some(pair(Group, "g2", "2")), None, Some(pair(Room, "g1", "1"))]);
    let wanted = [(Group, "g3".to_owned()), (Group, "other".to_owned())];
    let found = store.by_business(&tenant(), &app(), &wanted).await.unwrap();
    assert_eq!(found, [Some(pair(Group, "g3", "3")), None]);
    let page = store.bindings(&tenant(), &app(), Some((Group, "g1".to_owned())), 2).await.unwrap();
    assert_eq!(page, [pair(Group, "g2", "2"), pair(Group, "g3", "3")]);
    let rest = store.bindings(&tenant(), &app(), Some((Group, "g3".to_owned())), 2).await.unwrap();
    assert_eq!(rest, [pair(Room, "g1", "1")]);
    assert_eq!(store.bindings(&tenant(), &App::new("a", "b"), None, 2).await.unwrap(), []);
    assert_eq!(store.by_vendor(&"other".into(), &app(), &[(Group, "1".to_owned())]).await.unwrap(), [None]);
}

pub(crate) async fn a_taken_business_id_is_a_conflict(store: &AnyStore) {
    use BindingKind::Group;
    store.bind(&tenant(), &app(), &[pair(Group, "g1", "1")]).await.unwrap();
    let error = store.bind(&tenant(), &app(), &[pair(Group, "g2", "2"), pair(Group, "g1", "9")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let within = [pair(Group, "g3", "3"), pair(Group, "g3", "4")];
    assert_eq!(store.bind(&tenant(), &app(), &within).await.unwrap_err().kind(), ErrorKind::Conflict);
    let all = store.bindings(&tenant(), &app(), None, 9).await.unwrap();
    assert_eq!(all, [pair(Group, "g1", "1")], "all or nothing");
    let elsewhere = App::new("rongcloud", "key");
    store.bind(&tenant(), &elsewhere, &[pair(Group, "g1", "9")]).await.unwrap();
}

pub(crate) async fn provisioned_things_are_remembered(store: &AnyStore) {
    let user = (BindingKind::User, "bob".to_owned(), String::new());
    let member = (BindingKind::Group, "g".to_owned(), "bob".to_owned());
    let wanted = [user.clone(), member.clone()];
    assert_eq!(store.provisioned(&tenant(), &app(), &wanted).await.unwrap(), [false, false]);
    store.set_provisioned(&tenant(), &app(), &wanted, true).await.unwrap();
    store.set_provisioned(&tenant(), &app(), &wanted, true).await.unwrap();
    assert_eq!(store.provisioned(&tenant(), &app(), &wanted).await.unwrap(), [true, true]);
    store.set_provisioned(&tenant(), &app(), &[member], false).await.unwrap();
    assert_eq!(store.provisioned(&tenant(), &app(), &wanted).await.unwrap(), [true, false]);
}

fn group(id: &str, room: bool, members: &[&str]) -> GroupRecord {
    GroupRecord {
        id: GroupId::from(id),
        room,
        name: format!("name of {id}"),
        owner: UserId::from("zoe"),
        members: members.iter().map(|user| UserId::from(*user)).collect(),
    }
}

pub(crate) async fn users_and_groups_are_kept(store: &AnyStore) {
    let profile = UserProfile { name: Some("Bob".to_owned()), avatar: None };
    let user = UserRecord { id: UserId::from("bob"), profile };
    assert_eq!(store.user(&tenant(), &user.id).await.unwrap(), None);
    store.put_user(&tenant(), &user).await.unwrap();
    store.put_user(&tenant(), &user).await.unwrap();
    assert_eq!(store.user(&tenant(), &user.id).await.unwrap(), Some(user));
    let (one, id) = (group("g", false, &["zoe", "bob", "eve"]), GroupId::from("g"));
    store.put_group(&tenant(), &one).await.unwrap();
    assert_eq!(store.group(&tenant(), &id, false).await.unwrap(), Some(one));
    assert_eq!(store.group(&tenant(), &id, true).await.unwrap(), None);
    let (add, remove) = (["amy".into(), "bob".into()], ["eve".into(), "nobody".into()]);
    store.change_members(&tenant(), &id, false, &add, &remove).await.unwrap();
    let known = store.group(&tenant(), &id, false).await.unwrap().unwrap();
    assert_eq!(known.members, ["zoe", "bob", "amy"].map(UserId::from));
    store.put_group(&tenant(), &group("g", false, &["zoe"])).await.unwrap();
    assert_eq!(store.group(&tenant(), &id, false).await.unwrap(), Some(group("g", false, &["zoe"])));
    let unknown = store.change_members(&tenant(), &id, true, &add, &[]).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    assert!(store.remove_group(&tenant(), &id, false).await.unwrap());
    assert!(!store.remove_group(&tenant(), &id, false).await.unwrap());
    store.put_group(&tenant(), &group("g", false, &[])).await.unwrap();
    assert!(store.group(&tenant(), &id, false).await.unwrap().unwrap().members.is_empty());
}

pub(crate) async fn a_page_never_splits_one_id(store: &AnyStore) {
    for (id, room) in [("b", true), ("a", false), ("b", false), ("c", true)] {
        store.put_group(&tenant(), &group(id, room, &["zoe"])).await.unwrap();
    }
    let page = |after: Option<&str>, limit| {
        let (store, after) = (store.clone(), after.map(GroupId::from));
        async move {
            let groups = store.groups(&tenant(), after.as_ref(), limit).await.unwrap();
            groups.iter().map(|group| format!("{}{}", group.id, u8::from(group.room))).collect::<Vec<_>>()
        }
    };
    assert_eq!(page(None, 9).await, ["a0", "b0", "b1", "c1"]);
    assert_eq!(page(None, 2).await, ["a0"]);
    assert_eq!(page(Some("a"), 2).await, ["b0", "b1"]);
    assert_eq!(page(Some("a"), 1).await, ["b0", "b1"]);
    assert_eq!(page(Some("b"), 1).await, ["c1"]);
    assert_eq!(page(Some("c"), 1).await, Vec::<String>::new());
}

pub(crate) async fn the_quarantine_is_bounded(store: &AnyStore) {
    let item = |key: &str, body: u8| Quarantined {
        id: 0,
        tenant: tenant(),
        app: App::new("huanxin", key),
        reason: QuarantineReason::BadSignature,
        raw: RawCallback {
            path: "notify".to_owned(),
            query: "a=b".to_owned(),
            headers: vec![("x-sign".to_owned(), "1".to_owned())],
            body: vec![body].into(),
            received_at: Timestamp(7),
        },
    };
    let other = store.put_aside(item("other", 0), 2).await.unwrap();
    let mut ids = Vec::new();
    for body in 1..=4 {
        ids.push(store.put_aside(item("one", body), 2).await.unwrap());
    }
    assert!(other < ids[0] && ids.is_sorted());
    let kept = store.set_aside(&tenant(), 0, 9).await.unwrap();
    assert_eq!(kept.iter().map(|item| item.id).collect::<Vec<_>>(), [other, ids[2], ids[3]]);
    assert_eq!(kept[1], Quarantined { id: ids[2], ..item("one", 3) });
    assert_eq!(store.set_aside(&tenant(), ids[2], 9).await.unwrap().len(), 1);
    assert!(!store.release(&"other".into(), ids[3]).await.unwrap());
    assert!(store.release(&tenant(), ids[3]).await.unwrap());
    assert!(!store.release(&tenant(), ids[3]).await.unwrap());
    assert!(store.put_aside(item("one", 9), 2).await.unwrap() > ids[3], "a number is never used twice");
}

pub(crate) async fn the_quarantine_keeps_every_reason(store: &AnyStore) {
    let reasons = (0..).map_while(QuarantineReason::from_code).collect::<Vec<_>>();
    assert!(reasons.contains(&QuarantineReason::Refused));
    for reason in &reasons {
        let raw = RawCallback {
            path: String::new(),
            query: String::new(),
            headers: Vec::new(),
            body: vec![1].into(),
            received_at: Timestamp(7),
        };
        let item = Quarantined { id: 0, tenant: tenant(), app: app(), reason: *reason, raw };
        store.put_aside(item, 10).await.unwrap();
    }
    let kept = store.set_aside(&tenant(), 0, 10).await.unwrap();
    assert_eq!(kept.iter().map(|item| item.reason).collect::<Vec<_>>(), reasons);
}

pub(crate) async fn settings_are_written_once(store: &AnyStore) {
    assert_eq!(store.setting("key").await.unwrap(), None);
    let (one, two) = (store.setting_or_insert("key", b"1"), store.setting_or_insert("key", b"2"));
    let (one, two) = futures::join!(one, two);
    assert_eq!(one.unwrap(), two.unwrap());
    assert!(store.setting("key").await.unwrap().is_some());
    store.ping().await.unwrap();
}

pub(crate) async fn every_tenant_is_known(store: &AnyStore) {
    assert_eq!(store.tenants().await.unwrap(), []);
    append(store, vec![message(&direct("bob"), "m", "hi")]).await;
    store.set_alive(&TenantId::from("quiet"), &app(), Timestamp(1)).await.unwrap();
    assert_eq!(store.tenants().await.unwrap(), [tenant(), TenantId::from("quiet")]);
}

pub(crate) async fn a_closed_store_says_so(store: &AnyStore) {
    append(store, vec![message(&direct("bob"), "m", "hi")]).await;
    store.close().await;
    let kinds = [
        store.ping().await.unwrap_err().kind(),
        store.commit(Default::default()).await.unwrap_err().kind(),
        store.enqueue(Vec::new()).await.unwrap_err().kind(),
        store.consumed("main").await.unwrap_err().kind(),
        store.setting_or_insert("key", b"1").await.unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::Closed; 5]);
    store.close().await;
}
