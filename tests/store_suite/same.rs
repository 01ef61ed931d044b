//! Two implementations, one meaning: whatever is done to both stores, both answer and hold the same.

use proptest::prelude::*;
use switchboard_contract::storage::{
    Commit, Draft, HistoryFilter, HistoryQuery, LegChange, NewSend, PageDirection, SequenceRange,
};
use switchboard_contract::{
    ConversationId, EventKey, KeyClass, MessageId, MessageRef, Origin, Position, SendState, Sequence, Timestamp,
    VendorMessageId,
};

use crate::fixture::{AnyStore, File, SHARD, all, app, direct, id_of, memory, message, recall, tenant};
use crate::outbox::{send, step};

#[derive(Clone, Debug)]
enum Act {
    Message { id: u8, peer: u8, text: u8, origin: u8 },
    Recall { id: u8, by_id: bool, with_id: bool, report: u8 },
    Send { key: Option<u8>, text: u8 },
    Step { leg: u8, to: u8, vendor: Option<u8> },
    Trim { keep: u8 },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..12u8, 0..3u8, 0..2u8, 0..3u8)
            .prop_map(|(id, peer, text, origin)| Act::Message { id, peer, text, origin }),
        3 => (0..12u8, any::<bool>(), any::<bool>(), 0..2u8)
            .prop_map(|(id, by_id, with_id, report)| Act::Recall { id, by_id, with_id, report }),
        2 => (proptest::option::of(0..3u8), 0..2u8).prop_map(|(key, text)| Act::Send { key, text }),
        2 => (0..4u8, 0..9u8, proptest::option::of(0..12u8)).prop_map(|(leg, to, vendor)| Act::Step { leg, to, vendor }),
        1 => (0..20u8).prop_map(|keep| Act::Trim { keep }),
    ]
}

/// Ids must be the same in both stores and on every run over them.
fn our_id(id: u8) -> MessageId {
    MessageId::from_bytes([id + 1; 16])
}

fn draft(act: &Act) -> Option<Draft> {
    match act {
        Act::Message { id, peer, text, origin } => {
            let mut draft = message(&direct(&format!("peer{peer}")), &format!("m{id}"), &format!("text {text}"));
            draft.event.origin = [Origin::Callback, Origin::File, Origin::Send][usize::from(*origin)];
            draft.event.sent_at = Timestamp(i64::from(*id % 4));
            if let switchboard_contract::EventData::Message(message) = &mut draft.event.data {
                message.id = our_id(*id);
            }
            assert_eq!(id_of(&draft), our_id(*id));
            Some(draft)
        }
        Act::Recall { id, by_id, with_id, report } => {
            let target = MessageRef {
                id: (*by_id || *with_id).then(|| our_id(*id)),
                vendor_id: (!*by_id).then(|| VendorMessageId::from(format!("m{id}"))),
            };
            let mut draft = recall(&direct("peer0"), target);
            draft.key = EventKey::new(KeyClass::Recall, format!("{id}-{report}"));
            Some(draft)
        }
        _ => None,
    }
}

/// What both stores are told to do together.
struct Script {
    commit: Commit,
    sends: Vec<NewSend>,
    trim: Option<u8>,
}

fn script(acts: &[Act], legs: &mut Vec<NewSend>) -> Script {
    let mut script = Script { commit: Commit::default(), sends: Vec::new(), trim: None };
    for act in acts {
        match act {
            Act::Send { key, text } => {
                let key = key.map(|key| format!("key{key}"));
                let new = send(key.as_deref(), &"x".repeat(usize::from(*text)), &["peer0", "peer1"]);
                legs.push(new.clone());
                script.sends.push(new);
            }
            Act::Step { leg, to, vendor } => {
                let Some(send) = legs.get(usize::from(*leg)) else { continue };
                let all: Vec<SendState> = (0..9).filter_map(SendState::from_code).collect();
                let to = all[usize::from(*to)];
                let vendor_id = vendor.map(|id| VendorMessageId::from(format!("m{id}")));
                script.commit.changes.push(LegChange { vendor_id, ..step(send, 0, &all, to) });
            }
            Act::Trim { keep } => script.trim = Some(*keep),
            _ => script.commit.drafts.extend(draft(act)),
        }
    }
    script
}

async fn play(store: &AnyStore, script: &Script) -> String {
    let enqueued = store.enqueue(script.sends.clone()).await.unwrap();
    let committed = store.commit(script.commit.clone()).await.unwrap();
    if let Some(keep) = script.trim {
        let tail = store.tail(&tenant(), SHARD).await.unwrap();
        store.trim(&tenant(), SHARD, Position(tail.0.saturating_sub(u64::from(keep)))).await.unwrap();
    }
    format!("{enqueued:?} {committed:?}")
}

async fn compare(one: &AnyStore, other: &AnyStore) {
    assert_eq!(all(one).await, all(other).await);
    let (tail, trimmed) = (one.tail(&tenant(), SHARD).await.unwrap(), one.trimmed(&tenant(), SHARD).await.unwrap());
    assert_eq!(tail, other.tail(&tenant(), SHARD).await.unwrap());
    assert_eq!(trimmed, other.trimmed(&tenant(), SHARD).await.unwrap());
    for at in 1..=tail.0 {
        let raws = (one.raw(&tenant(), SHARD, Position(at)).await, other.raw(&tenant(), SHARD, Position(at)).await);
        assert_eq!(raws.0.unwrap(), raws.1.unwrap());
        let range = (Position(at / 2), Position(at));
        let mine = one.backlog(&tenant(), SHARD, range.0, range.1, 0, 9).await.unwrap();
        assert_eq!(mine, other.backlog(&tenant(), SHARD, range.0, range.1, 0, 9).await.unwrap());
    }
    for id in 0..12 {
        let (mine, theirs) = (one.message(&tenant(), our_id(id)).await, other.message(&tenant(), our_id(id)).await);
        assert_eq!(mine.unwrap(), theirs.unwrap());
    }
    for peer in 0..3 {
        let id = direct(&format!("peer{peer}"));
        let (mine, theirs) = (one.conversation(&tenant(), &id).await, other.conversation(&tenant(), &id).await);
        assert_eq!(mine.unwrap(), theirs.unwrap());
        let range = SequenceRange { first: Sequence(2), last: Sequence(9) };
        let mine = one.read_conversation(&tenant(), &id, range, 3, true).await;
        assert_eq!(mine.unwrap(), other.read_conversation(&tenant(), &id, range, 3, true).await.unwrap());
        for direction in [PageDirection::Older, PageDirection::Newer] {
            let (mine, theirs) = (history(one, &id, direction).await, history(other, &id, direction).await);
            assert_eq!(mine, theirs, "{direction:?}");
        }
    }
    let (mine, theirs) = (one.open_legs(&app(), 0, 99).await.unwrap(), other.open_legs(&app(), 0, 99).await.unwrap());
    // Numbers of legs may have gaps; their order may not differ.
    let faces = |legs: &[switchboard_contract::storage::Leg]| {
        legs.iter().map(|leg| (leg.message_id, leg.state, leg.vendor_id.clone())).collect::<Vec<_>>()
    };
    assert_eq!(faces(&mine), faces(&theirs));
    let aside = (one.set_aside(&tenant(), 0, 99).await.unwrap(), other.set_aside(&tenant(), 0, 99).await.unwrap());
    assert_eq!(aside.0, aside.1);
}

async fn history(store: &AnyStore, conversation: &ConversationId, direction: PageDirection) -> Vec<Position> {
    let filter = HistoryFilter { bodies: vec!["text".to_owned()], ..HistoryFilter::default() };
    let mut query = HistoryQuery {
        tenant: tenant(),
        conversation: conversation.clone(),
        direction,
        after: None,
        since: None,
        until: Some(Timestamp(3)),
        limit: 2,
        filter,
    };
    let mut places = Vec::new();
    loop {
        let page = store.page(&query).await.unwrap();
        places.extend(page.entries.iter().map(|entry| entry.position));
        query.after = page.next;
        if query.after.is_none() {
            return places;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn i04_i05_both_stores_answer_and_hold_the_same(
        commits in prop::collection::vec(prop::collection::vec(act(), 1..8), 1..10),
        behind in prop_oneof![Just(1_usize), Just(3), Just(20), Just(100)],
        reopened in 0..12_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let file = File::new();
            let (one, mut other) = (memory(), file.open_behind(behind).await);
            let mut legs = Vec::new();
            for (at, acts) in commits.iter().enumerate() {
                let script = script(acts, &mut legs);
                assert_eq!(play(&one, &script).await, play(&other, &script).await);
                if at == reopened {
                    other.close().await;
                    other = file.open_behind(behind).await;
                }
            }
            compare(&one, &other).await;
            other.close().await;
        });
    }
}
