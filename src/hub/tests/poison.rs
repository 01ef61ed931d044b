//! One poisoned conversation among ten thousand.

use std::collections::HashMap;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use switchboard_contract::Clock as _;
use switchboard_contract::storage::SubscriberSpec;

use super::*;

const CONVERSATIONS: usize = 10_000;
const ROUNDS: usize = 3;
const AT_ONCE: usize = 500;
const TICK: Duration = Duration::from_millis(50);
const POISON: &str = "c4711";

/// What a run shows: the waits of the deliveries of all other conversations, by the hub's clock and ascending.
struct Run {
    house: House,
    orders: SubscriberName,
    stream: Subscription,
    waits: Vec<Duration>,
    refused: usize,
}

impl Run {
    /// Takes whatever is there, refusing what is poisoned.
    async fn drain(&mut self, said_at: &HashMap<(String, u64), Timestamp>, poisoned: bool) {
        let mut idle = 0;
        while idle < 2 {
            let Poll::Ready(delivery) = futures::poll!(pin!(self.stream.next())) else {
                idle += 1;
                rest().await;
                continue;
            };
            idle = 0;
            let delivery = delivery.expect("the stream is open");
            let place = place(&delivery);
            if poisoned && place.0 == POISON {
                assert_eq!(place.1, 1, "nothing overtakes what failed");
                self.refused += 1;
                delivery.nack(None).await.unwrap();
            } else {
                if place.0 != POISON {
                    self.waits.push(self.house.clock.now().since(said_at[&place]));
                }
                soon(delivery.ack()).await.unwrap();
            }
        }
    }
}

async fn run(poisoned: bool) -> Run {
    let house = House::new().await;
    let orders = house.subscriber("orders", SubscriberSpec::default()).await;
    let stream = house.stream(&orders).await;
    let mut run = Run { house, orders, stream, waits: Vec::new(), refused: 0 };
    let mut said_at = HashMap::new();
    let names: Vec<String> = (0..CONVERSATIONS).map(|number| format!("c{number}")).collect();
    for round in 1..=ROUNDS {
        for part in names.chunks(AT_ONCE) {
            let part: Vec<&str> = part.iter().map(String::as_str).collect();
            run.house.say(&part).await;
            let now = run.house.clock.now();
            said_at.extend(part.iter().map(|name| (((*name).to_owned(), round as u64), now)));
            run.drain(&said_at, poisoned).await;
            run.house.clock.advance(TICK);
        }
    }
    // Long enough for every retry of the poisoned event.
    for _ in 0..120 {
        run.house.clock.advance(Duration::from_secs(5));
        run.drain(&said_at, poisoned).await;
    }
    run.waits.sort_unstable();
    run
}

/// The bar: the others' 99th percentile is what it is without poison, and redriving the conversation alone has it
/// delivered whole and in order.
#[tokio::test]
async fn i03_one_poisoned_conversation_of_ten_thousand_delays_no_other_and_comes_back_in_order() {
    let (healthy, mut ill) = (run(false).await, run(true).await);
    let others = (CONVERSATIONS - 1) * ROUNDS;
    assert_eq!((healthy.waits.len(), ill.waits.len()), (others, others), "each of the others is delivered once");
    let p99 = |waits: &[Duration]| waits[waits.len() * 99 / 100];
    assert_eq!(p99(&ill.waits), p99(&healthy.waits));
    assert_eq!(ill.waits.last(), healthy.waits.last(), "nor is any single one of them delayed");
    assert_eq!(ill.refused as u32, SubscriberSpec::default().max_attempts);
    let parked = ill.house.hub.all_parked(&ill.house.tenant).await.unwrap();
    assert_eq!(parked.len(), 1);
    assert_eq!((&parked[0].0, &parked[0].1.conversation), (&ill.orders, &conversation(POISON)));

    ill.house.say(&[POISON]).await;
    rest().await;
    assert!(ill.house.hub.redrive(&ill.house.tenant, &ill.orders, &conversation(POISON)).await.unwrap());
    let again = take(&mut ill.stream, ROUNDS + 1).await;
    let expected: Vec<_> = (1..=ROUNDS as u64 + 1).map(|number| (POISON.to_owned(), number)).collect();
    assert_eq!(again.iter().map(place).collect::<Vec<_>>(), expected);
    ack_all(again).await;
    rest().await;
    assert!(ill.house.hub.all_parked(&ill.house.tenant).await.unwrap().is_empty());
}

/// Giving up the poisoned event lets its conversation go on behind it, also after a restart.
#[tokio::test]
async fn an_event_that_is_passed_over_never_comes_again_and_its_conversation_goes_on() {
    let house = House::new().await;
    let spec = SubscriberSpec { max_attempts: 1, ..SubscriberSpec::default() };
    let orders = house.subscriber("orders", spec).await;
    house.say(&["a", "b", "a", "a"]).await;
    let mut stream = house.stream(&orders).await;
    let first = take(&mut stream, 1).await.remove(0);
    assert_eq!(place(&first), ("a".into(), 1));
    first.nack(None).await.unwrap();
    let other = take(&mut stream, 1).await;
    assert_eq!(place(&other[0]), ("b".into(), 1));
    ack_all(other).await;
    rest().await;
    assert!(house.hub.pass_over(&house.tenant, &orders, &conversation("a")).await.unwrap());
    assert!(!house.hub.pass_over(&house.tenant, &orders, &conversation("b")).await.unwrap(), "it is not set aside");
    let house = house.after_crash().await;
    let mut stream = house.stream(&orders).await;
    let rest_of_it = take(&mut stream, 2).await;
    assert_eq!(rest_of_it.iter().map(place).collect::<Vec<_>>(), [("a".into(), 2), ("a".into(), 3)]);
    ack_all(rest_of_it).await;
    house.say(&["a"]).await;
    let next = take(&mut stream, 1).await;
    assert_eq!(place(&next[0]), ("a".into(), 4));
    ack_all(next).await;
    rest().await;
    assert!(house.hub.all_parked(&house.tenant).await.unwrap().is_empty());
    let house = house.after_crash().await;
    let mut stream = house.stream(&orders).await;
    for _ in 0..20 {
        assert!(futures::poll!(pin!(stream.next())).is_pending(), "nothing comes again");
        rest().await;
    }
}
