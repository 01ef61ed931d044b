#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use proptest::prelude::*;
use switchboard_contract::storage::{FailedAttempts, Recipients, SendPayload, SendRecord};
use switchboard_contract::{App, Body, Ext, SendOptions, SendState, UserId};

use super::*;

/// Room for everything; conversations are free unless somebody says otherwise.
#[derive(Default)]
struct Free {
    elsewhere: HashSet<ConversationId>,
    pack: u32,
}

impl Rules for Free {
    fn room(&mut self, _: &TenantId, _: ConversationKind) -> u32 {
        u32::MAX
    }
    fn pack(&self, _: ConversationKind, _: SendId) -> u32 {
        self.pack
    }
    fn claim(&mut self, leg: &Leg) -> Result<(), Option<Timestamp>> {
        if self.elsewhere.contains(&leg.conversation) { Err(None) } else { Ok(()) }
    }
}

fn legs_of(tenant: &str, first_order: u64, to: &[&str]) -> Vec<Leg> {
    let from = UserId::from("sender");
    let users: Vec<UserId> = to.iter().map(|user| UserId::from(*user)).collect();
    let send = Arc::new(SendRecord {
        id: SendId::generate(),
        tenant: tenant.into(),
        client_message_id: None,
        payload: SendPayload {
            from: from.clone(),
            to: Recipients::Users(users.clone()),
            channel: None,
            audience: vec![],
            body: Body::text("hi"),
            ext: Ext::new(),
            mentions: None,
            options: SendOptions::default(),
        },
        created_at: Timestamp(0),
        expires_at: None,
    });
    let legs = users.into_iter().zip(first_order..).map(|(user, order)| Leg {
        send: Arc::clone(&send),
        order,
        message_id: MessageId::generate(),
        conversation: ConversationId::direct(&from, &user),
        recipient: Some(user),
        app: App::new("test", "app"),
        state: SendState::Queued,
        attempts: 0,
        history: FailedAttempts::default(),
        next_attempt_at: Timestamp(0),
        dispatched_at: None,
        reason: None,
        vendor_id: None,
    });
    legs.collect()
}

/// The store's side of `wants` and `loaded`. Returns how many legs were read.
fn fill(queue: &mut Queue, store: &BTreeMap<u64, Leg>, now: Timestamp) -> usize {
    let mut read = 0;
    while let Some((tenant, after, limit)) = queue.wants() {
        let page: Vec<Leg> = store
            .range(after + 1..)
            .map(|(_, leg)| leg)
            .filter(|leg| leg.send.tenant == tenant)
            .take(limit)
            .cloned()
            .collect();
        read += page.len();
        queue.loaded(&tenant, page, limit, now);
    }
    read
}

fn queue_of(tenants: &[&str], window: usize, per_conversation: usize) -> Queue {
    let mut queue = Queue::new(window, per_conversation);
    tenants.iter().for_each(|tenant| queue.admit(&TenantId::from(*tenant)));
    queue
}

fn stored(legs: impl IntoIterator<Item = Leg>) -> BTreeMap<u64, Leg> {
    legs.into_iter().map(|leg| (leg.order, leg)).collect()
}

#[test]
fn i11_tenants_take_turns_however_long_a_queue_is() {
    let many = (0..1000).flat_map(|n| legs_of("greedy", n + 1, &[&format!("u{n}")]));
    let store = stored(many.chain(legs_of("modest", 2000, &["bob"])));
    let mut queue = queue_of(&["greedy", "modest"], 16, 4);
    fill(&mut queue, &store, Timestamp(0));
    let mut rules = Free { pack: 1, ..Free::default() };
    let first: Vec<TenantId> = (0..2).map(|_| queue.pick(Timestamp(0), &mut rules).unwrap().tenant).collect();
    assert!(first.contains(&TenantId::from("modest")), "{first:?}");
}

#[test]
fn recipients_of_one_send_go_together_and_other_sends_do_not() {
    let store = stored(legs_of("t", 1, &["a", "b", "c", "d", "e"]).into_iter().chain(legs_of("t", 6, &["f", "g"])));
    let mut queue = queue_of(&["t"], 64, 4);
    fill(&mut queue, &store, Timestamp(0));
    let mut rules = Free { pack: 3, ..Free::default() };
    let sizes: Vec<usize> =
        std::iter::from_fn(|| queue.pick(Timestamp(0), &mut rules)).map(|pick| pick.legs.len()).collect();
    assert_eq!(sizes, [3, 2, 2]);
}

#[test]
fn a_conversation_that_is_somebody_elses_waits_until_it_is_let_go() {
    let store = stored(legs_of("t", 1, &["a"]));
    let mut queue = queue_of(&["t"], 64, 4);
    fill(&mut queue, &store, Timestamp(0));
    let mut rules = Free { elsewhere: HashSet::from([store[&1].conversation.clone()]), pack: 1 };
    assert!(queue.pick(Timestamp(0), &mut rules).is_none());
    assert_eq!(queue.next_retry(), None);
    rules.elsewhere.clear();
    assert!(queue.pick(Timestamp(0), &mut rules).is_none(), "nobody has said so yet");
    queue.unblock(Timestamp(0));
    assert_eq!(queue.pick(Timestamp(0), &mut rules).unwrap().legs[0].order, 1);
}

#[test]
fn a_long_conversation_is_read_about_once_however_small_its_share_of_the_window() {
    let mut store = stored((0..2000).flat_map(|n| legs_of("t", n + 1, &["same"])));
    let mut queue = queue_of(&["t"], 64, 8);
    let mut rules = Free { pack: 1, ..Free::default() };
    let mut read = fill(&mut queue, &store, Timestamp(0));
    assert_eq!(queue.len(), 8, "the share of one conversation");
    for expected in 1..=2000 {
        let pick = queue.pick(Timestamp(0), &mut rules).unwrap();
        assert_eq!(pick.legs[0].order, expected);
        store.remove(&expected);
        queue.finish(&pick.legs[0], Timestamp(0));
        read += fill(&mut queue, &store, Timestamp(0));
    }
    assert!(queue.is_idle());
    assert!(read < 3 * 2000, "{read} legs read");
}

proptest! {
    /// Under random retries, expiries and releases every message goes out, in order within its conversation, and
    /// never two of one conversation at once.
    #[test]
    fn i03_order_within_a_conversation_and_nothing_lost(
        users in proptest::collection::vec(0u8..6, 1..120),
        choices in proptest::collection::vec((0u8..10, 0usize..8), 1..2000),
        window in 1usize..40,
        per_conversation in 1usize..6,
    ) {
        let mut store = stored(users.iter().zip(1u64..).flat_map(|(user, order)| {
            legs_of(if user % 2 == 0 { "even" } else { "odd" }, order, &[&format!("u{user}")])
        }));
        let mut expected: BTreeMap<ConversationId, Vec<u64>> = BTreeMap::new();
        for leg in store.values() {
            expected.entry(leg.conversation.clone()).or_default().push(leg.order);
        }
        let mut queue = queue_of(&["even", "odd"], window, per_conversation);
        let mut rules = Free { pack: 1, ..Free::default() };
        let mut out: Vec<Leg> = Vec::new();
        let mut sent: BTreeMap<ConversationId, Vec<u64>> = BTreeMap::new();
        let mut now = Timestamp(0);
        let endless = choices.iter().cycle().take(200_000);
        for (step, (choice, which)) in endless.enumerate() {
            fill(&mut queue, &store, now);
            if *choice < 4 {
                if let Some(pick) = queue.pick(now, &mut rules) {
                    for leg in pick.legs {
                        prop_assert!(out.iter().all(|other| other.conversation != leg.conversation));
                        out.push(leg);
                    }
                }
            } else if !out.is_empty() {
                let leg = out.remove(which % out.len());
                // Not for ever: a script of nothing but retries would never end.
                if *choice == 9 && step < 1000 {
                    let mut leg = leg;
                    leg.next_attempt_at = Timestamp(now.0 + 5);
                    store.insert(leg.order, leg.clone());
                    queue.put_back(leg, now);
                } else {
                    sent.entry(leg.conversation.clone()).or_default().push(leg.order);
                    store.remove(&leg.order);
                    queue.finish(&leg, now);
                }
            }
            now = Timestamp(now.0 + 1);
            if store.is_empty() && out.is_empty() { break; }
        }
        if choices.iter().any(|(choice, _)| *choice < 4) && choices.iter().any(|(choice, _)| (4..10).contains(choice)) {
            prop_assert!(store.is_empty(), "{} left", store.len());
            prop_assert_eq!(sent, expected);
            prop_assert!(queue.is_idle());
        }
    }
}
