//! Bad weather: a link that delays and cuts, and a service that is killed.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use switchboard_contract::{Result, UserId};
use switchboard_selfhosted::client::{Client, ClientConfig, Endpoint, TokenSource};
use switchboard_selfhosted::service::Service;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::stage::{PATIENCE, Stage, said, text, user};

#[derive(Debug)]
struct Tokens(Service, UserId);

#[async_trait::async_trait]
impl TokenSource for Tokens {
    async fn token(&self) -> Result<String> {
        self.0.token(&self.1).await.map(|(token, _)| token)
    }
}

/// When connections were taken.
type Taken = Arc<parking_lot::Mutex<Vec<tokio::time::Instant>>>;

/// Passes bytes on, some of them late, and cuts every connection after a while, with whatever is on its way.
async fn weather(to: std::net::SocketAddr, seed: u64, lives: std::ops::Range<u64>) -> (String, Taken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let taken = Taken::default();
    let kept = taken.clone();
    tokio::spawn(async move {
        let mut random = StdRng::seed_from_u64(seed);
        while let Ok((client, _)) = listener.accept().await {
            kept.lock().push(tokio::time::Instant::now());
            let (life, seed) = (random.random_range(lives.clone()), random.random());
            let Ok(server) = TcpStream::connect(to).await else { continue };
            let ((client_in, client_out), (server_in, server_out)) = (client.into_split(), server.into_split());
            tokio::spawn(async move {
                tokio::select! {
                    () = pass(client_in, server_out, seed) => {}
                    () = pass(server_in, client_out, seed ^ 1) => {}
                    () = tokio::time::sleep(Duration::from_millis(life)) => {}
                }
            });
        }
    });
    (address, taken)
}

/// Three in ten packets are late or lost. What is lost comes when it is sent again, as TCP does.
async fn pass(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut buffer = [0; 512];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        match random.random_range(0..20) {
            0..3 => tokio::time::sleep(Duration::from_millis(random.random_range(0..30))).await,
            3..6 => tokio::time::sleep(Duration::from_millis(200)).await,
            _ => {}
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

fn client(stage: &Stage, address: &str, name: &str) -> Client {
    let config = ClientConfig {
        retry_first: Duration::from_millis(5),
        retry_longest: Duration::from_millis(50),
        answer_within: Duration::from_millis(500),
        ..ClientConfig::new(Endpoint::tcp(address), name, "phone")
    };
    Client::start(config, Arc::new(Tokens(stage.own.service().clone(), UserId::from(name))), 0)
}

/// Nothing is lost, nothing is shown twice, the order is kept: `SWITCHBOARD_SEEDS` runs more than 20.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_c8_a_link_that_delays_and_cuts_loses_nothing_and_shows_nothing_twice() {
    let seeds: u64 = std::env::var("SWITCHBOARD_SEEDS").map_or(20, |text| text.parse().unwrap());
    let first: u64 = std::env::var("SWITCHBOARD_SEED").map_or_else(|_| rand::random(), |text| text.parse().unwrap());
    println!("SWITCHBOARD_SEED={first}");
    let mut rest = (0..seeds).map(|n| first.wrapping_add(n)).peekable();
    while rest.peek().is_some() {
        // Nearly all of the time is waiting.
        futures::future::join_all(rest.by_ref().take(5).map(one_conversation)).await;
    }
}

async fn one_conversation(seed: u64) {
    const MESSAGES: usize = 25;
    let stage = Stage::open().await;
    let (address, _) = weather(stage.own.gate().tcp().unwrap(), seed, 20..400).await;
    let (alice, mut bob) = (client(&stage, &address, "alice"), client(&stage, &address, "bob"));
    let sending = async {
        for n in 0..MESSAGES {
            alice.send(user("bob").unwrap(), text(&n.to_string()).unwrap()).await.unwrap();
        }
    };
    let receiving = async {
        let mut seen = Vec::new();
        while seen.len() < MESSAGES {
            let entry = bob.next().await.expect("the session ended");
            seen.extend(said(&entry).map(|words| (entry.sequence, words)));
        }
        seen
    };
    let both = async { tokio::join!(sending, receiving).1 };
    let seen = tokio::time::timeout(PATIENCE * 3, both).await;
    let seen = seen.unwrap_or_else(|_| panic!("something was lost, seed {seed}"));
    let expected: Vec<_> = (0..MESSAGES).map(|n| (n as u64 + 1, n.to_string())).collect();
    assert_eq!(seen, expected, "seed {seed}");
    let more = tokio::time::timeout(Duration::from_millis(50), bob.next()).await;
    assert!(more.is_err() || more.is_ok_and(|entry| entry.is_some_and(|entry| said(&entry).is_none())));
}

/// The link is cut every three seconds; the clients are back within their bounds and no sooner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_c8_a_link_cut_every_three_seconds_loses_nothing_and_is_not_stormed() {
    const SEEDS: u64 = 20;
    let first: u64 = std::env::var("SWITCHBOARD_SEED").map_or_else(|_| rand::random(), |text| text.parse().unwrap());
    println!("SWITCHBOARD_SEED={first}");
    // All of the time is waiting: all seeds at once.
    futures::future::join_all((0..SEEDS).map(|n| three_cuts(first.wrapping_add(n)))).await;
}

async fn three_cuts(seed: u64) {
    const FOR: Duration = Duration::from_secs(8);
    let stage = Stage::open().await;
    let gate = stage.own.gate().tcp().unwrap();
    let (to_alice, taken) = weather(gate, seed, 2900..3100).await;
    let (to_bob, _) = weather(gate, seed ^ 7, 2900..3100).await;
    let (mut own, mut bob) = (client(&stage, &to_alice, "alice"), client(&stage, &to_bob, "bob"));
    let alice = own.sender();
    tokio::spawn(async move { while own.next().await.is_some() {} });
    let began = tokio::time::Instant::now();
    let sending = async {
        let mut sent = 0_u64;
        while began.elapsed() < FOR {
            alice.send(user("bob").unwrap(), text(&sent.to_string()).unwrap()).await.unwrap();
            sent += 1;
        }
        sent
    };
    let (tell, mut told) = tokio::sync::watch::channel(None);
    let receiving = async {
        let (mut seen, mut all) = (Vec::new(), None);
        while all.is_none_or(|all: u64| (seen.len() as u64) < all) {
            tokio::select! {
                entry = bob.next() => {
                    let entry = entry.expect("the session ended");
                    seen.extend(said(&entry).map(|words| (entry.sequence, words)));
                }
                _ = told.changed(), if all.is_none() => all = *told.borrow(),
            }
        }
        seen
    };
    let sending = async { tell.send_replace(Some(sending.await)) };
    let both = async { tokio::join!(sending, receiving).1 };
    let seen = tokio::time::timeout(PATIENCE * 3, both).await;
    let seen = seen.unwrap_or_else(|_| panic!("something was lost, seed {seed}"));
    let expected: Vec<_> = (0..seen.len() as u64).map(|n| (n + 1, n.to_string())).collect();
    assert_eq!(seen, expected, "seed {seed}");
    let taken = taken.lock().clone();
    assert!(taken.len() >= 3, "the link was cut and came back, seed {seed}");
    for two in taken.windows(2) {
        // Half of the first wait is the least; the client was connected before, so its waits begin anew.
        assert!(two[1] - two[0] >= Duration::from_micros(2500), "back too soon, seed {seed}");
        assert!(two[1] - two[0] < Duration::from_secs(8), "back too late, seed {seed}");
    }
}
