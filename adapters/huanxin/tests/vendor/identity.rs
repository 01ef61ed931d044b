//! How users are spelled, and what the adapter says it can do.

use switchboard_contract::{ConversationKind, GroupNaming, Provider, UserId};

use crate::support::{JumpClock, config};

#[test]
fn users_are_spelled_in_the_vendors_alphabet_and_groups_named_by_the_vendor() {
    let client = config("http://127.0.0.1:9", "").build(JumpClock::new()).unwrap();
    let naming = client.naming();
    for plain in ["lin_qiao", "wei.chen", "ops-bot", "u1"] {
        assert_eq!(naming.encode_user(&UserId::from(plain)).unwrap().as_str(), plain);
    }
    let (upper, lower) = (UserId::from("Alice"), UserId::from("alice"));
    let spelled = naming.encode_user(&upper).unwrap();
    assert_ne!(Some(&spelled), naming.encode_user(&lower).as_ref(), "the vendor folds case");
    assert_eq!(naming.decode_user(&spelled), upper);
    assert!(naming.encode_user(&UserId::from("x".repeat(65))).is_none());
    assert!(matches!((naming.groups, naming.rooms), (GroupNaming::Vendor, GroupNaming::Vendor)));
}

#[test]
fn capabilities_are_the_vendors_published_limits() {
    let client = config("http://127.0.0.1:9", "").build(JumpClock::new()).unwrap();
    let all = client.capabilities();
    assert_eq!((all.vendor.as_str(), client.app().key.as_str()), ("huanxin", "acme-im#bridge"));
    assert_eq!((all.messaging.max_users, all.messaging.max_system_users, all.messaging.max_bytes), (600, 0, 5120));
    assert!(!all.messaging.targets.contains(&ConversationKind::System));
    let quota =
        |kind| all.messaging.quotas.iter().filter(|(of, _)| *of == kind).map(|(_, quota)| *quota).collect::<Vec<_>>();
    assert_eq!(quota(ConversationKind::Direct)[1].units, Some(6000));
    assert_eq!(quota(ConversationKind::Group)[0].calls, Some(20));
    assert_eq!(all.history_files.unwrap().quota.calls, Some(10));
    assert_eq!(all.kept_callbacks.unwrap().max_repeats, 10);
    assert_eq!(all.users.unwrap().max_ban, None);
    assert!(!all.groups.unwrap().business_ids && all.callbacks && all.roaming.is_some());
}
