use std::collections::HashMap;
use std::time::Duration;

use switchboard_contract::*;

use super::vendor::{Act, Manner};
use super::world::{Dice, World, config};
use crate::sending::{Outgoing, SendingConfig, To};

/// Every failure there is, at random; the vendor's queries can prove each outcome.
fn trouble(seed: u64) -> impl FnMut(&OutboundMessage) -> Act + Send {
    let mut dice = Dice(seed);
    move |_| match dice.roll(12) {
        0 => Act::Cut,
        1 => Act::Lose,
        2 => Act::Refuse(ErrorKind::Unavailable, Retry::Safe { after: None }),
        3 => Act::Refuse(ErrorKind::RateLimited, Retry::Safe { after: Some(Duration::from_millis(300)) }),
        4 => Act::Refuse(ErrorKind::Internal, Retry::Safe { after: None }),
        5 => Act::Refuse(ErrorKind::Unauthorized, Retry::Never),
        6 => Act::AcceptWithoutId,
        7 => Act::Hang,
        _ => Act::Accept,
    }
}

/// 10⁵ steps of legs (each checked against the graph as it is journalled) under every failure at once: in each
/// conversation the messages arrive in the order in which they were sent, each once.
#[tokio::test(start_paused = true)]
async fn i03_i07_order_and_once_under_random_failures() {
    let mut steps = 0;
    for seed in 0..4 {
        let manner = Manner {
            query: Some(Duration::from_secs(5)),
            page: 50,
            echo_after: (seed % 2 == 0).then_some(Duration::from_secs(2)),
            ..Manner::default()
        };
        let config = SendingConfig { max_retries: 40, in_doubt_hold: Duration::from_secs(3600), ..config() };
        let (world, vendor) = World::with(manner, config).await;
        vendor.script(trouble(seed));
        let mut dice = Dice(seed + 100);
        let mut sent: HashMap<ConversationId, Vec<MessageId>> = HashMap::new();
        for n in 0..3500 {
            let to = match dice.roll(10) {
                0 => To::group(format!("g{}", dice.roll(5))),
                1 => To::users((0..dice.roll(20) + 1).map(|m| format!("u{m}"))),
                _ => To::user(format!("u{}", dice.roll(40))),
            };
            let receipt = world.send(&vendor, Outgoing::text("alice", to, format!("{n}"))).await;
            for (conversation, message) in receipt.messages {
                sent.entry(conversation).or_default().push(message);
            }
            if dice.roll(3) == 0 {
                world.clock.sleep(Duration::from_millis(dice.roll(400))).await;
            }
        }
        world.sending.idle().await;
        let (mut arrived, mut last): (HashMap<ConversationId, Vec<u64>>, _) = (HashMap::new(), 0);
        for carried in vendor.carried() {
            let Body::Text(text) = &carried.body else { continue };
            let number: u64 = text.text.parse().unwrap();
            arrived.entry(super::vendor::conversation(&carried)).or_default().push(number);
            last = last.max(number);
        }
        assert_eq!(last, 3499);
        for (conversation, numbers) in &arrived {
            assert!(numbers.is_sorted_by(|a, b| a < b), "seed {seed}: {conversation} {numbers:?}");
            assert_eq!(numbers.len(), sent[conversation].len(), "seed {seed}: {conversation}");
        }
        let journalled = world.journalled().await;
        assert!(journalled.values().all(|count| *count == 1));
        assert_eq!(journalled.len(), sent.values().map(Vec::len).sum::<usize>());
        let status = |event: &&Event| matches!(event.data, EventData::SendStatus(_));
        steps += world.journal().await.iter().filter(status).count();
    }
    assert!(steps >= 100_000, "{steps} steps");
}
