//! Recall, edit, receipts, unread counts, the list of conversations, history.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use switchboard_contract::ErrorKind;
use switchboard_selfhosted::frame::{Body, Command};
use switchboard_selfhosted::proto::{self, entry::Event};

use crate::stage::{Device, Stage, said, text, user};

async fn list(device: &Device) -> Vec<proto::Conversation> {
    let ask = Body::ListConversations(proto::ListConversations::default());
    let Ok(Body::Conversations(found)) = device.ask(Command::Conversations, ask).await else { panic!() };
    found.conversations
}

async fn read(device: &Device, conversation: &str, through: u64) -> switchboard_contract::Result<Body> {
    let read = proto::Read { conversation: conversation.to_owned(), through };
    device.ask(Command::Read, Body::Read(read)).await
}

async fn recall(device: &Device, id: &str) -> switchboard_contract::Result<Body> {
    device.ask(Command::Recall, Body::RecallMessage(proto::RecallMessage { id: id.to_owned() })).await
}

#[tokio::test]
async fn a_recall_buries_the_message_everywhere() {
    let stage = Stage::open().await;
    let (mut alice, mut bob) = (stage.phone("alice").await, stage.phone("bob").await);
    let sent = alice.says(user("bob"), "a mistake").await;
    assert_eq!(bob.hears().await, "a mistake");
    assert_eq!(recall(&bob, &sent.id).await.unwrap_err().kind(), ErrorKind::Forbidden);
    for _ in 0..2 {
        recall(&alice, &sent.id).await.unwrap();
    }
    let entry = bob.entry().await;
    assert_eq!((entry.sequence, entry.event), (2, Some(Event::Recall(proto::Recall { target: sent.id.clone() }))));
    let mut desktop = stage.device("bob", "desktop", proto::DeviceClass::Desktop).await;
    let all = desktop.catch_up().await;
    assert_eq!(all.iter().filter_map(said).collect::<Vec<_>>(), ["-"], "its words are gone, its place is not");
    let edit = proto::EditMessage { id: sent.id, content: text("too late"), version: 0 };
    assert_eq!(alice.ask(Command::Edit, Body::EditMessage(edit)).await.unwrap_err().kind(), ErrorKind::Rejected);
    assert_eq!(recall(&alice, "nothing").await.unwrap_err().kind(), ErrorKind::InvalidInput);
    let own = alice.entry().await;
    assert!(said(&own).is_some(), "the sender's device saw the same in the same order");
}

#[tokio::test]
async fn h3_edits_that_come_out_of_order_end_at_the_highest_version() {
    let stage = Stage::open().await;
    let (alice, mut bob) = (stage.phone("alice").await, stage.phone("bob").await);
    let sent = alice.says(user("bob"), "v0").await;
    let edit = |version: u32, words: &str| {
        let edit = proto::EditMessage { id: sent.id.clone(), content: text(words), version };
        let alice = &alice;
        async move {
            match alice.ask(Command::Edit, Body::EditMessage(edit)).await.unwrap() {
                Body::Edited(edited) => (edited.version, edited.applied),
                other => panic!("{other:?}"),
            }
        }
    };
    assert_eq!(edit(0, "v1").await, (1, true));
    assert_eq!(edit(5, "v5").await, (5, true));
    assert_eq!(edit(3, "v3").await, (5, false));
    let history = proto::History { conversation: sent.conversation.clone(), before: 0, limit: 0 };
    let Ok(Body::HistoryPage(page)) = bob.ask(Command::History, Body::History(history)).await else { panic!() };
    assert_eq!(page.entries.iter().filter_map(said).collect::<Vec<_>>(), ["v5"]);
    let mut versions = Vec::new();
    while versions.len() < 2 {
        if let Some(Event::Edit(edit)) = bob.entry().await.event {
            versions.push(edit.version);
        }
    }
    assert_eq!(versions, [1, 5]);
}

#[tokio::test]
async fn h4_marks_never_go_back_and_reach_the_other_side_and_the_other_devices() {
    let stage = Stage::open().await;
    let (mut alice, mut bob) = (stage.phone("alice").await, stage.phone("bob").await);
    let mut desktop = stage.device("bob", "desktop", proto::DeviceClass::Desktop).await;
    desktop.catch_up().await;
    let mut conversation = String::new();
    for n in 0..3 {
        conversation = alice.says(user("bob"), &n.to_string()).await.conversation;
        bob.hears().await;
        desktop.hears().await;
    }
    assert_eq!(list(&bob).await[0].unread, 3);
    read(&bob, &conversation, 2).await.unwrap();
    read(&bob, &conversation, 1).await.unwrap();
    assert_eq!(list(&bob).await[0].unread, 1);
    assert_eq!(list(&desktop).await[0].unread, 1, "on every device");
    let Some(Event::Receipt(receipt)) = desktop.entry().await.event else { panic!("the other device is told") };
    assert_eq!((receipt.kind(), receipt.through), (proto::receipt::Kind::Read, 2));
    let mut read_marks = Vec::new();
    while read_marks.len() < 2 {
        let marks = alice.marks().await;
        if marks.read > 0 {
            read_marks.push(marks.read);
        }
    }
    assert_eq!(read_marks, [2, 1], "as they were said; the stored mark keeps the highest");
    assert_eq!(list(&alice).await[0].peer_read, 2);
    read(&bob, &conversation, 99).await.unwrap();
    assert_eq!(list(&bob).await[0].read, 3, "nobody is further than the conversation");
    let stranger = stage.phone("eve").await;
    assert_eq!(read(&stranger, &conversation, 1).await.unwrap_err().kind(), ErrorKind::NotFound);
    let history = proto::History { conversation, before: 0, limit: 0 };
    let refused = stranger.ask(Command::History, Body::History(history)).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotFound);
}

/// Messages, recalls and read marks in any order on two devices: the count is what its definition says.
#[tokio::test]
async fn h5_unread_is_what_is_above_the_mark_not_own_and_not_recalled() {
    let stage = Stage::open().await;
    let seed: u64 = std::env::var("SWITCHBOARD_SEED").map_or_else(|_| rand::random(), |text| text.parse().unwrap());
    println!("SWITCHBOARD_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let alice = stage.phone("alice").await;
    let phone = stage.phone("bob").await;
    let desktop = stage.device("bob", "desktop", proto::DeviceClass::Desktop).await;
    let mut model: BTreeMap<u64, (bool, bool, String)> = BTreeMap::new();
    let (mut mark, mut conversation) = (0, String::new());
    for step in 0..120 {
        match random.random_range(0..10) {
            0..=4 => {
                let sent = alice.says(user("bob"), &step.to_string()).await;
                conversation.clone_from(&sent.conversation);
                model.insert(sent.sequence, (false, false, sent.id));
            }
            5 => {
                let sent = phone.says(user("alice"), &step.to_string()).await;
                conversation.clone_from(&sent.conversation);
                model.insert(sent.sequence, (true, false, sent.id));
            }
            6 | 7 => {
                let alive: Vec<u64> =
                    model.iter().filter(|(_, (own, gone, _))| !own && !gone).map(|(number, _)| *number).collect();
                if !alive.is_empty() {
                    let number = alive[random.random_range(0..alive.len())];
                    let message = model.get_mut(&number).unwrap();
                    message.1 = true;
                    recall(&alice, &message.2).await.unwrap();
                }
            }
            _ if !model.is_empty() => {
                let through = random.random_range(1..=*model.keys().last().unwrap());
                let device = if random.random() { &phone } else { &desktop };
                // A mark among the first numbers may cover no message yet.
                if read(device, &conversation, through).await.is_ok() {
                    let covered = model.range(..=through).next_back().map_or(0, |(number, _)| *number);
                    mark = mark.max(covered);
                }
            }
            _ => {}
        }
        if conversation.is_empty() {
            continue;
        }
        let expected = model.iter().filter(|(number, (own, gone, _))| **number > mark && !own && !gone).count();
        for device in [&phone, &desktop] {
            assert_eq!(list(device).await[0].unread, expected as u64, "seed {seed}, step {step}");
        }
    }
}

#[tokio::test]
async fn i08_history_pages_back_to_the_first_message() {
    let stage = Stage::open().await;
    let (alice, bob) = (stage.phone("alice").await, stage.phone("bob").await);
    let mut conversation = String::new();
    for n in 0..23 {
        conversation = alice.says(user("bob"), &n.to_string()).await.conversation;
    }
    let (mut found, mut before) = (Vec::new(), 0);
    loop {
        let ask = proto::History { conversation: conversation.clone(), before, limit: 5 };
        let Ok(Body::HistoryPage(page)) = bob.ask(Command::History, Body::History(ask)).await else { panic!() };
        found.extend(page.entries.iter().filter_map(said));
        before = page.next;
        if before == 0 {
            break;
        }
    }
    assert_eq!(found, (0..23).rev().map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_sealed_payload_passes_unread() {
    let stage = Stage::open().await;
    let (alice, mut bob) = (stage.phone("alice").await, stage.phone("bob").await);
    let sealed = bytes::Bytes::from_static(&[0, 159, 146, 150, 255]);
    let content = Some(proto::Content { sealed: sealed.clone(), ..Default::default() });
    let send = proto::Send { to: user("bob"), content, client_id: String::new() };
    alice.connection.send(send).await.unwrap();
    let Some(Event::Message(message)) = bob.entry().await.event else { panic!() };
    assert_eq!(message.content.unwrap().sealed, sealed);
    let both = proto::Content { sealed, ..text("x").unwrap() };
    let send = proto::Send { to: user("bob"), content: Some(both), client_id: String::new() };
    assert_eq!(alice.connection.send(send).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// The newest of every conversation is there before any of the backlog is pulled, and the backlog comes in order.
#[tokio::test]
async fn c6_the_newest_page_of_each_conversation_is_seen_first_and_the_order_stays() {
    const PEOPLE: usize = 40;
    let stage = Stage::open().await;
    let service = stage.own.service();
    for n in 0..PEOPLE {
        service
            .ensure(&format!("friend{n}").as_str().into(), &switchboard_contract::UserProfile::default())
            .await
            .unwrap();
    }
    for round in 0..10 {
        for n in 0..PEOPLE {
            let message = switchboard_contract::OutboundMessage {
                from: format!("friend{n}").as_str().into(),
                target: switchboard_contract::Target::Users(vec!["bob".into()]),
                body: switchboard_contract::Body::text(format!("{n}/{round}")),
                ext: switchboard_contract::Ext::new(),
                mark: None,
                mentions_everyone: false,
                mentions: Vec::new(),
                options: switchboard_contract::SendOptions::default(),
                headers: switchboard_contract::CallHeaders::new(),
            };
            switchboard_contract::Provider::messaging(&stage.own).send(&message).await.unwrap();
        }
    }
    let mut bob = stage.device("bob", "phone", proto::DeviceClass::Phone).await;
    let listed = list(&bob).await;
    assert_eq!(listed.len(), PEOPLE);
    for one in &listed {
        assert_eq!((one.unread, one.last.as_ref().and_then(said).unwrap().ends_with("/9")), (10, true));
        let ask = proto::History { conversation: one.id.clone(), before: 0, limit: 3 };
        let Ok(Body::HistoryPage(page)) = bob.ask(Command::History, Body::History(ask)).await else { panic!() };
        assert_eq!(page.entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [10, 9, 8]);
    }
    let all = bob.catch_up().await;
    assert_eq!(all.len(), PEOPLE * 10);
    assert!(all.windows(2).all(|two| two[0].position < two[1].position), "in the order in which it was said");
}
