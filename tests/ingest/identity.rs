//! The identity map and provisioning.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::TryStreamExt as _;
use proptest::prelude::*;
use switchboard::identity::{Identity, Provisioner, SeenGroup};
use switchboard::store::memory::MemoryStore;
use switchboard_contract::storage::{Recipients, SendPayload, Store};
use switchboard_contract::*;

use crate::provider::Fake;
use crate::stage::{Stage, until};

fn tenant() -> TenantId {
    TenantId::default()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

/// Pairs an import may bind: they collide with spellings on purpose.
fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    let id = prop_oneof!["[ab]{1,2}", "[A-C]", "[a-z]{70}"];
    proptest::collection::vec((id, "[ab]{1,2}"), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_two_ids_ever_share_one_and_every_id_comes_back(
        imported in pairs(),
        outgoing in proptest::collection::vec(prop_oneof!["[ab]{1,2}", "[A-C]{1,2}", "[a-z]{70}", ".{1,6}"], 0..12),
        incoming in proptest::collection::vec("[ab]{1,2}", 0..6),
        restart: bool,
    ) {
        run(async {
            let (store, fake) = (Arc::new(MemoryStore::new()), Fake::obedient());
            let mut identity = Identity::new(store.clone());
            let lines: String = imported
                .iter()
                .map(|(business, vendor)| serde_json::json!({"kind": "user", "business": business, "vendor": vendor}).to_string() + "\n")
                .collect();
            identity.import(&tenant(), fake.app(), &lines).await.unwrap();

            let (mut to_vendor, mut to_business) = (HashMap::new(), HashMap::new());
            for vendor in incoming.iter().map(|id| VendorUserId::from(id.as_str())) {
                let business = identity.business_user(&tenant(), fake.as_ref(), &vendor).await.unwrap();
                to_business.insert(vendor.clone(), business.clone());
                prop_assert_eq!(&identity.vendor_user(&tenant(), fake.as_ref(), &business).await.unwrap(), &vendor);
            }
            if restart {
                identity = Identity::new(store);
            }
            for business in outgoing.iter().map(|id| UserId::from(id.as_str())) {
                let vendor = identity.vendor_user(&tenant(), fake.as_ref(), &business).await.unwrap();
                prop_assert!(vendor.as_str().len() <= 64);
                prop_assert_eq!(&identity.business_user(&tenant(), fake.as_ref(), &vendor).await.unwrap(), &business);
                to_vendor.insert(business, vendor);
            }
            let distinct: HashSet<_> = to_vendor.values().collect();
            prop_assert_eq!(distinct.len(), to_vendor.len());
            for (vendor, business) in &to_business {
                prop_assert_eq!(&identity.business_user(&tenant(), fake.as_ref(), vendor).await.unwrap(), business);
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_map_survives_export_and_import() {
    let fake = Fake::obedient();
    let identity = Identity::new(Arc::new(MemoryStore::new()));
    let mut lines = String::new();
    for number in 0..2500 {
        lines += &format!("{{\"kind\":\"user\",\"business\":\"b{number}\",\"vendor\":\"v{number}\"}}\n");
    }
    lines += "\n{\"kind\":\"room\",\"business\":\"lobby\",\"vendor\":\"77\"}\nnot json\n";
    lines += "{\"kind\":\"user\",\"business\":\"b1\",\"vendor\":\"v9999\"}\n{\"kind\":\"user\",\"business\":\"x\",\"vendor\":\"v2\"}\n";
    let imported = identity.import(&tenant(), fake.app(), &lines).await.unwrap();
    assert_eq!(imported.bound, 2501);
    assert_eq!(imported.malformed.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2503]);
    assert_eq!(imported.conflicts, [2504, 2505]);

    let pieces: Vec<_> = identity.export(&tenant(), fake.app()).try_collect().await.unwrap();
    let text = String::from_utf8(pieces.concat()).unwrap();
    assert_eq!(text.lines().count(), 2501);
    let other = Identity::new(Arc::new(MemoryStore::new()));
    assert_eq!(other.import(&tenant(), fake.app(), &text).await.unwrap().bound, 2501);
    let user = other.business_user(&tenant(), fake.as_ref(), &"v42".into()).await.unwrap();
    assert_eq!(user.as_str(), "b42");
    let room = other.known_group(&tenant(), fake.app(), &"77".into()).await.unwrap();
    assert_eq!(room, Some(("lobby".into(), true)));
}

#[tokio::test]
async fn a_group_seen_first_at_the_vendor_never_takes_the_name_of_another() {
    let stage = Stage::new(Fake::naming_itself()).await;
    stage.define_group("1001", &[]).await;
    let seen = SeenGroup { vendor: "1001".into(), room: false };
    let name = stage.identity.bind_seen(&stage.tenant, stage.fake.as_ref(), &seen).await.unwrap();
    assert_eq!(name.as_str(), "fake:1001");
    let seen = SeenGroup { vendor: "1002".into(), room: false };
    let name = stage.identity.bind_seen(&stage.tenant, stage.fake.as_ref(), &seen).await.unwrap();
    assert_eq!(name.as_str(), "1002");
    assert_eq!(stage.identity.bind_seen(&stage.tenant, stage.fake.as_ref(), &seen).await.unwrap(), name);
    let taken =
        stage.identity.bind_group(&stage.tenant, stage.fake.app(), &"other".into(), false, &"1002".into()).await;
    assert_eq!(taken.unwrap_err().kind(), ErrorKind::Conflict);
}

fn to_group(group: &str) -> SendPayload {
    SendPayload {
        from: "owner".into(),
        to: Recipients::Group(group.into()),
        channel: None,
        audience: Vec::new(),
        body: Body::text("hi"),
        ext: Ext::new(),
        mentions: None,
        options: SendOptions::default(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_made_once_with_all_its_members_however_many_want_it() {
    for fake in [Fake::naming_itself(), Fake::obedient()] {
        let stage = Stage::new(fake.clone()).await;
        let members: Vec<String> = (0..10).map(|number| format!("user{number}")).collect();
        stage.define_group("team", &members.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (provisioner, fake, tenant) = (stage.provisioner.clone(), fake.clone(), stage.tenant.clone());
            senders.spawn(
                async move { provisioner.prepare(&tenant, fake.as_ref(), &to_group("team"), &[]).await.unwrap() },
            );
        }
        let prepared: HashSet<_> = senders.join_all().await.into_iter().map(|one| one.target).collect();
        assert_eq!(prepared.len(), 1);
        assert_eq!(fake.vendor.groups.lock().len(), 1);
        assert_eq!(fake.vendor.groups.lock()[0].members.len(), 2, "owner and two are what one call takes");
        let added: usize = fake.vendor.added.lock().iter().map(Vec::len).sum();
        assert_eq!(added, 8);
        assert!(fake.vendor.users.lock().values().all(|count| *count == 1));
        assert_eq!(fake.vendor.users.lock().len(), 11);

        // A member who joins later is added, the others are left alone; a restart asks the vendor for nothing.
        let store: Arc<dyn Store> = Arc::new(stage.store.clone());
        store.change_members(&stage.tenant, &"team".into(), false, &["late".into()], &[]).await.unwrap();
        let again = Provisioner::new(Arc::new(Identity::new(store.clone())), store);
        again.prepare(&stage.tenant, fake.as_ref(), &to_group("team"), &[]).await.unwrap();
        assert_eq!(fake.vendor.groups.lock().len(), 1);
        assert_eq!(fake.vendor.added.lock().last().unwrap(), &[VendorUserId::from("late")]);
        assert!(fake.vendor.users.lock().values().all(|count| *count == 1));
    }
}

#[tokio::test]
async fn a_group_nobody_defined_is_not_found() {
    let stage = Stage::new(Fake::naming_itself()).await;
    let prepared = stage.provisioner.prepare(&stage.tenant, stage.fake.as_ref(), &to_group("ghost"), &[]).await;
    assert_eq!(prepared.unwrap_err().kind(), ErrorKind::NotFound);
    // One seen at the vendor needs no definition.
    let seen = SeenGroup { vendor: "1002".into(), room: false };
    stage.identity.bind_seen(&stage.tenant, stage.fake.as_ref(), &seen).await.unwrap();
    stage.provisioner.prepare(&stage.tenant, stage.fake.as_ref(), &to_group("1002"), &[]).await.unwrap();
    assert!(stage.fake.vendor.groups.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_that_fails_or_is_given_up_no_longer_holds_anybody() {
    let stage = Stage::new(Fake::naming_itself()).await;
    stage.define_group("team", &[]).await;
    let gate = stage.fake.vendor.hold();
    gate.add_permits(1);
    let (provisioner, fake, tenant) = (stage.provisioner.clone(), stage.fake.clone(), stage.tenant.clone());
    let making = tokio::spawn(async move { provisioner.prepare(&tenant, fake.as_ref(), &to_group("team"), &[]).await });
    until(|| stage.provisioner.creating(stage.fake.app())).await;
    making.abort();
    stage.provisioner.settled(stage.fake.app()).await;
    *stage.fake.vendor.broken.lock() = true;
    gate.add_permits(10);
    let failed = stage.provisioner.prepare(&stage.tenant, stage.fake.as_ref(), &to_group("team"), &[]).await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(!stage.provisioner.creating(stage.fake.app()));
}
