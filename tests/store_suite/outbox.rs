//! Sends and their legs.

use switchboard_contract::storage::{
    Appended, ChangeOutcome, Commit, Draft, Enqueued, InboxMark, LegChange, LegGuard, NewLeg, NewSend, Recipients,
    SendPayload,
};
use switchboard_contract::{
    App, Body, ClientMessageId, EventData, EventKey, KeyClass, MessageId, Position, SendId, SendOptions, SendState,
    SendStatus, Sequence, Timestamp, UserId, VendorMessageId,
};

use crate::fixture::{AnyStore, SHARD, all, app, direct, fresh, message, recall, tenant, vendor};

pub(crate) fn send(client: Option<&str>, text: &str, peers: &[&str]) -> NewSend {
    let users = peers.iter().map(|peer| UserId::from(*peer)).collect();
    NewSend {
        id: SendId::generate(),
        tenant: tenant(),
        client_message_id: client.map(ClientMessageId::from),
        digest: [u8::try_from(text.len()).unwrap(); 32],
        payload: SendPayload {
            from: UserId::from("alice"),
            to: Recipients::Users(users),
            channel: None,
            audience: Vec::new(),
            body: Body::text(text),
            ext: serde_json::Map::new(),
            mentions: None,
            options: SendOptions { silent: true, ..SendOptions::default() },
        },
        app: app(),
        created_at: Timestamp(10),
        expires_at: Some(Timestamp(99)),
        legs: peers
            .iter()
            .map(|peer| NewLeg {
                message_id: MessageId::generate(),
                conversation: direct(peer),
                recipient: Some(UserId::from(*peer)),
            })
            .collect(),
        drafts: Vec::new(),
    }
}

fn status(send: &NewSend, leg: usize, state: SendState) -> Draft {
    let mut draft = message(&send.legs[leg].conversation, "x", "status");
    draft.key = EventKey::new(KeyClass::Internal, draft.event.id.to_string());
    draft.raw = None;
    draft.event.data = EventData::SendStatus(SendStatus {
        send_id: send.id,
        message_id: send.legs[leg].message_id,
        client_message_id: send.client_message_id.clone(),
        state,
        reason: None,
        attempts: 0,
        vendor_id: None,
    });
    draft
}

pub(crate) fn step(send: &NewSend, leg: usize, expect: &[SendState], to: SendState) -> LegChange {
    LegChange {
        tenant: tenant(),
        message_id: send.legs[leg].message_id,
        expect: expect.to_vec(),
        to,
        attempts: 1,
        next_attempt_at: Timestamp(50),
        dispatched_at: Some(Timestamp(40)),
        reason: Some("because".to_owned()),
        history: None,
        vendor_id: None,
        setback: None,
        drafts: vec![status(send, leg, to)],
    }
}

pub(crate) async fn change(store: &AnyStore, changes: Vec<LegChange>) -> Vec<ChangeOutcome> {
    store.commit(Commit { changes, ..Commit::default() }).await.unwrap().changes
}

pub(crate) async fn a_send_is_accepted_once(store: &AnyStore) {
    let mut first = send(Some("order-1"), "hi", &["bob", "eve"]);
    first.drafts = vec![status(&first, 0, SendState::Queued)];
    assert_eq!(store.enqueue(vec![first.clone()]).await.unwrap(), [Enqueued::Fresh]);
    let mut again = send(Some("order-1"), "hi", &["bob"]);
    again.drafts = vec![status(&again, 0, SendState::Queued)];
    let other = send(Some("order-1"), "something else", &["bob"]);
    let unnamed = [send(None, "hi", &["bob"]), send(None, "hi", &["bob"])];
    let [one, two] = unnamed;
    assert_eq!(
        store.enqueue(vec![again.clone(), other, one, two]).await.unwrap(),
        [Enqueued::Repeated(first.id), Enqueued::Conflict(first.id), Enqueued::Fresh, Enqueued::Fresh]
    );
    assert_eq!(all(store).await.len(), 1, "a send not accepted journals nothing");
    assert_eq!(store.legs(&tenant(), again.id).await.unwrap(), []);
    assert_eq!(store.send_by_client_id(&tenant(), &"order-1".into()).await.unwrap(), Some(first.id));
    assert_eq!(store.send_by_client_id(&tenant(), &"order-2".into()).await.unwrap(), None);
    let legs = store.legs(&tenant(), first.id).await.unwrap();
    assert_eq!(legs.len(), 2);
    let leg = &legs[1];
    assert_eq!((leg.state, leg.attempts, leg.next_attempt_at), (SendState::Queued, 0, Timestamp(10)));
    assert_eq!((leg.dispatched_at, &leg.reason, &leg.vendor_id), (None, &None, &None));
    assert_eq!((leg.message_id, &leg.conversation), (first.legs[1].message_id, &direct("eve")));
    assert_eq!((&leg.app, leg.recipient.as_ref().unwrap().as_str()), (&app(), "eve"));
    assert_eq!((leg.send.payload.clone(), leg.send.id), (first.payload, first.id));
    assert_eq!((leg.send.created_at, leg.send.expires_at), (Timestamp(10), Some(Timestamp(99))));
}

pub(crate) async fn i07_a_client_key_holds_within_a_batch(store: &AnyStore) {
    let (one, two, three) =
        (send(Some("k"), "hi", &["a"]), send(Some("k"), "hi", &["a"]), send(Some("k"), "ho!", &["a"]));
    let id = one.id;
    assert_eq!(
        store.enqueue(vec![one, two, three]).await.unwrap(),
        [Enqueued::Fresh, Enqueued::Repeated(id), Enqueued::Conflict(id)]
    );
    assert_eq!(store.open_count(&app()).await.unwrap(), 1);
}

pub(crate) async fn a_step_is_taken_from_the_expected_state_only(store: &AnyStore) {
    use SendState::{Accepted, Cancelled, Delivered, Dispatched, Queued, Read};
    let one = send(None, "hi", &["bob"]);
    store.enqueue(vec![one.clone()]).await.unwrap();
    let mut unknown = step(&one, 0, &[Queued], Dispatched);
    unknown.message_id = MessageId::generate();
    // All in one commit: each sees what the one before it did, and only taken steps are journalled.
    let outcomes = change(
        store,
        vec![
            step(&one, 0, &[Dispatched], Accepted),
            step(&one, 0, &[Queued], Dispatched),
            unknown,
            step(&one, 0, &[Queued], Cancelled),
            step(&one, 0, &[Queued, Dispatched], Delivered),
        ],
    )
    .await;
    assert_eq!(
        outcomes,
        [
            ChangeOutcome::Stale(Queued),
            ChangeOutcome::Applied(vec![fresh(1, 1)]),
            ChangeOutcome::Unknown,
            ChangeOutcome::Stale(Dispatched),
            ChangeOutcome::Stale(Dispatched),
        ]
    );
    let leg = store.leg(&tenant(), one.legs[0].message_id).await.unwrap().unwrap();
    assert_eq!((leg.state, leg.attempts, leg.next_attempt_at), (Dispatched, 1, Timestamp(50)));
    assert_eq!((leg.dispatched_at, leg.reason.as_deref()), (Some(Timestamp(40)), Some("because")));
    let mut accepted = step(&one, 0, &[Dispatched], Accepted);
    accepted.vendor_id = Some(VendorMessageId::from("v1"));
    // The commit's own drafts come behind those of its steps.
    let commit =
        Commit { changes: vec![accepted], drafts: vec![message(&direct("bob"), "m", "hi")], ..Commit::default() };
    let committed = store.commit(commit).await.unwrap();
    assert_eq!(committed.changes, [ChangeOutcome::Applied(vec![fresh(2, 2)])]);
    assert_eq!(committed.drafts, [fresh(3, 3)]);
    let read = change(store, vec![step(&one, 0, &[Accepted], Read), step(&one, 0, &[Read], Read)]).await;
    assert_eq!(read, [ChangeOutcome::Applied(vec![fresh(4, 4)]), ChangeOutcome::Stale(Read)]);
    let leg = store.leg(&tenant(), one.legs[0].message_id).await.unwrap().unwrap();
    assert_eq!(leg.vendor_id, Some(VendorMessageId::from("v1")), "a step without an id leaves the one known");
    // What is told late is recorded without a step, and without an event.
    let mut told = step(&one, 0, &[Read], Read);
    (told.vendor_id, told.drafts) = (Some(VendorMessageId::from("v2")), Vec::new());
    assert_eq!(change(store, vec![told]).await, [ChangeOutcome::Applied(Vec::new())]);
    let leg = store.leg_by_vendor_id(&tenant(), &app(), &VendorMessageId::from("v2")).await.unwrap().unwrap();
    assert_eq!((leg.message_id, leg.state), (one.legs[0].message_id, Read));
}

pub(crate) async fn open_legs_come_in_order(store: &AnyStore) {
    use SendState::{Accepted, Cancelled, Dispatched, InDoubt, Queued};
    let one = send(None, "hi", &["a", "b", "c"]);
    let two = send(None, "ho", &["d", "e"]);
    store.enqueue(vec![one.clone(), two.clone()]).await.unwrap();
    let steps = vec![
        step(&one, 0, &[Queued], Dispatched),
        step(&one, 1, &[Queued], Accepted),
        step(&two, 0, &[Queued], Cancelled),
        step(&one, 0, &[Dispatched], InDoubt),
    ];
    change(store, steps).await;
    let legs = store.open_legs(&app(), 0, 10).await.unwrap();
    let expected = [one.legs[0].message_id, one.legs[2].message_id, two.legs[1].message_id];
    assert_eq!(legs.iter().map(|leg| leg.message_id).collect::<Vec<_>>(), expected);
    assert!(legs.is_sorted_by_key(|leg| leg.order));
    let next = store.open_legs(&app(), legs[0].order, 1).await.unwrap();
    assert_eq!(next, [legs[1].clone()]);
    assert_eq!(store.open_count(&app()).await.unwrap(), 3);
    assert_eq!(store.open_apps().await.unwrap(), [app()]);
    assert_eq!(store.open_count(&App::new("huanxin", "none")).await.unwrap(), 0);
}

pub(crate) async fn i11_open_legs_of_one_tenant_skip_those_of_others(store: &AnyStore) {
    let (mut theirs, ours) = (send(None, "hi", &["a", "b", "c"]), send(None, "ho", &["d", "e"]));
    theirs.tenant = "greedy".into();
    let late = send(None, "ha", &["f"]);
    store.enqueue(vec![theirs.clone(), ours.clone(), late.clone()]).await.unwrap();
    change(store, vec![step(&ours, 0, &[SendState::Queued], SendState::Cancelled)]).await;
    let legs = store.open_legs_of(&app(), &tenant(), 0, 10).await.unwrap();
    let ids: Vec<_> = legs.iter().map(|leg| leg.message_id).collect();
    assert_eq!(ids, [ours.legs[1].message_id, late.legs[0].message_id]);
    assert_eq!(store.open_legs_of(&app(), &tenant(), 0, 1).await.unwrap(), [legs[0].clone()]);
    assert_eq!(store.open_legs_of(&app(), &tenant(), legs[0].order, 10).await.unwrap(), [legs[1].clone()]);
    assert_eq!(store.open_legs_of(&app(), &"greedy".into(), 0, 10).await.unwrap().len(), 3);
    assert_eq!(store.open_legs_of(&app(), &"nobody".into(), 0, 10).await.unwrap(), []);
    assert_eq!(store.open_legs_of(&App::new("huanxin", "none"), &tenant(), 0, 10).await.unwrap(), []);
}

pub(crate) async fn a_failed_leg_may_be_queued_again(store: &AnyStore) {
    use SendState::{Failed, Queued};
    let one = send(None, "hi", &["bob"]);
    store.enqueue(vec![one.clone()]).await.unwrap();
    let steps =
        vec![step(&one, 0, &[Queued], Failed), step(&one, 0, &[Failed], Queued), step(&one, 0, &[Failed], Queued)];
    let outcomes = change(store, steps).await;
    assert!(matches!(outcomes[1], ChangeOutcome::Applied(_)), "{outcomes:?}");
    assert_eq!(outcomes[2], ChangeOutcome::Stale(Queued));
    let open = store.open_legs(&app(), 0, 9).await.unwrap();
    assert_eq!(open.iter().map(|leg| leg.message_id).collect::<Vec<_>>(), [one.legs[0].message_id]);
}

pub(crate) async fn i05_a_commit_whose_leg_moved_on_writes_nothing(store: &AnyStore) {
    use SendState::{Accepted, Dispatched, InDoubt, Queued};
    let one = send(None, "hi", &["bob"]);
    store.enqueue(vec![one.clone()]).await.unwrap();
    change(store, vec![step(&one, 0, &[Queued], Dispatched)]).await;
    let before = all(store).await.len();
    let guard = |states: &[SendState]| LegGuard {
        tenant: tenant(),
        message_id: one.legs[0].message_id,
        states: states.to_vec(),
    };
    let commit = |only_if: LegGuard, name: &str| Commit {
        only_if: vec![only_if],
        drafts: vec![message(&direct("bob"), name, "hi")],
        changes: vec![step(&one, 0, &[Dispatched], Accepted)],
        consumed: Some(InboxMark { inbox: "main".to_owned(), offset: 7 }),
        ..Commit::default()
    };
    // Beside a commit of the same transaction that needs nothing and must not suffer from it.
    let refused = store.commit(commit(guard(&[Queued, InDoubt]), "m"));
    let fine = store.commit(Commit { drafts: vec![message(&direct("bob"), "other", "hi")], ..Commit::default() });
    let (refused, fine) = futures::join!(refused, fine);
    let error = refused.unwrap_err();
    assert!(LegGuard::is_broken(&error), "{error:?}");
    assert!(matches!(fine.unwrap().drafts[..], [Appended::Fresh { .. }]));
    let nobody = LegGuard { message_id: MessageId::generate(), ..guard(&[Queued, Dispatched]) };
    assert!(LegGuard::is_broken(&store.commit(commit(nobody, "m")).await.unwrap_err()), "nor does one without a leg");
    assert_eq!(all(store).await.len(), before + 1);
    assert_eq!(store.consumed("main").await.unwrap(), 0);
    assert_eq!(store.leg(&tenant(), one.legs[0].message_id).await.unwrap().unwrap().state, Dispatched);
    // It is asked before the commit's own steps.
    let taken = store.commit(commit(guard(&[Queued, Dispatched]), "m")).await.unwrap();
    assert!(matches!(taken.drafts[..], [Appended::Fresh { .. }]));
    assert_eq!(store.consumed("main").await.unwrap(), 7);
    assert_eq!(store.leg(&tenant(), one.legs[0].message_id).await.unwrap().unwrap().state, Accepted);
}

pub(crate) async fn only_queued_legs_are_rerouted(store: &AnyStore) {
    use SendState::{Dispatched, Queued};
    let one = send(None, "hi", &["a", "b", "c"]);
    store.enqueue(vec![one.clone()]).await.unwrap();
    change(store, vec![step(&one, 1, &[Queued], Dispatched)]).await;
    let other = App::new("rongcloud", "key");
    assert_eq!(store.reroute(&tenant(), &app(), &other).await.unwrap(), 2);
    assert_eq!(store.reroute(&"other".into(), &app(), &other).await.unwrap(), 0);
    let ids = |legs: Vec<switchboard_contract::storage::Leg>| legs.iter().map(|leg| leg.message_id).collect::<Vec<_>>();
    let moved = store.open_legs(&other, 0, 9).await.unwrap();
    assert_eq!(ids(moved), [one.legs[0].message_id, one.legs[2].message_id]);
    assert_eq!(ids(store.open_legs(&app(), 0, 9).await.unwrap()), [one.legs[1].message_id]);
    assert_eq!(store.open_apps().await.unwrap(), [app(), other]);
}

pub(crate) async fn legs_are_found_by_every_id(store: &AnyStore) {
    use SendState::{Accepted, Queued};
    let one = send(None, "hi", &["bob"]);
    store.enqueue(vec![one.clone()]).await.unwrap();
    let mut accepted = step(&one, 0, &[Queued], Accepted);
    accepted.vendor_id = Some(VendorMessageId::from("v1"));
    // A recall in the same commit already knows whose message the vendor's id names.
    let commit =
        Commit { changes: vec![accepted], drafts: vec![recall(&direct("bob"), vendor("v1"))], ..Commit::default() };
    store.commit(commit).await.unwrap();
    let id = VendorMessageId::from("v1");
    let leg = store.leg_by_vendor_id(&tenant(), &app(), &id).await.unwrap().unwrap();
    assert_eq!(leg.message_id, one.legs[0].message_id);
    assert_eq!(store.leg_by_vendor_id(&tenant(), &App::new("huanxin", "none"), &id).await.unwrap(), None);
    assert_eq!(store.leg_by_vendor_id(&"other".into(), &app(), &id).await.unwrap(), None);
    let asked = [id.clone(), "unheard".into(), id.clone()];
    assert_eq!(store.known_vendor_ids(&tenant(), &app(), &asked).await.unwrap(), [id].into());
    let elsewhere = App::new("huanxin", "none");
    assert!(store.known_vendor_ids(&tenant(), &elsewhere, &asked).await.unwrap().is_empty());
    assert!(store.known_vendor_ids(&"other".into(), &app(), &asked).await.unwrap().is_empty());
    assert_eq!(store.leg(&tenant(), MessageId::generate()).await.unwrap(), None);
    let entries = store.read(&tenant(), SHARD, Position(1), 9).await.unwrap();
    let mut event = entries[0].event().unwrap();
    assert_eq!(event.data.target_mut().unwrap().id, Some(leg.message_id));
    assert_eq!(entries[0].sequence, Some(Sequence(2)));
    // Another recall, later, learns it from the stored leg.
    let mut again = recall(&direct("bob"), vendor("v1"));
    again.key = EventKey::new(KeyClass::Recall, "another");
    store.commit(Commit { drafts: vec![again], ..Commit::default() }).await.unwrap();
    let entries = store.read(&tenant(), SHARD, Position(2), 9).await.unwrap();
    assert_eq!(entries[0].event().unwrap().data.target_mut().unwrap().id, Some(leg.message_id));
}
