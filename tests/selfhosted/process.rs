//! A gate in a process of its own: killed while it is used, and knocked at by thousands who say nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use switchboard_contract::{Result, Timestamp, UserId};
use switchboard_selfhosted::client::{Client, ClientConfig, Connection, Endpoint, TokenSource};
use switchboard_selfhosted::proto;
use switchboard_selfhosted::service::TokenIssuer;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::stage::{PATIENCE, said, text, user};
use crate::support::sidecar::Sidecar;

pub(crate) const SECRET: &str = "a secret for both sides";

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `switchboard serve` with a gate at this port and nothing else.
pub(crate) fn serve(dir: &Path, port: u16, more: &str) -> Sidecar {
    let config = format!(
        "[store]\nurl = \"sqlite://gate.db\"\n[ingest.inbox]\npath = \"inbox\"\n[providers.own]\nkind = \"selfhosted\"\n\
         websocket = \"off\"\ntcp = \"127.0.0.1:{port}\"\nsecret = \"{SECRET}\"\nwrites_per_second = 100000\n{more}"
    );
    Sidecar::start(dir, &config)
}

pub(crate) fn token(name: &str) -> String {
    TokenIssuer::new(SECRET.as_bytes()).issue(&UserId::from(name), Timestamp(i64::MAX))
}

#[derive(Debug)]
struct Tokens(String);

#[async_trait::async_trait]
impl TokenSource for Tokens {
    async fn token(&self) -> Result<String> {
        Ok(token(&self.0))
    }
}

pub(crate) fn client(port: u16, name: &str) -> Client {
    let config = ClientConfig {
        retry_first: Duration::from_millis(20),
        retry_longest: Duration::from_millis(300),
        answer_within: Duration::from_secs(3),
        ..ClientConfig::new(Endpoint::tcp(format!("127.0.0.1:{port}")), name, "phone")
    };
    Client::start(config, Arc::new(Tokens(name.to_owned())), 0)
}

/// What a recipient saw, in order.
type Seen = Arc<Mutex<Vec<(u64, String)>>>;

/// `SWITCHBOARD_CRASH_ROUNDS` kills it more often.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i02_whatever_was_acknowledged_to_a_sender_is_delivered_though_the_gate_is_killed() {
    const PAIRS: usize = 4;
    let rounds: u32 = std::env::var("SWITCHBOARD_CRASH_ROUNDS").map_or(3, |text| text.parse::<u32>().unwrap().min(50));
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut gate = serve(dir.path(), port, "");
    let (mut acked, mut seen, mut tasks): (Vec<Seen>, Vec<Seen>, _) = (Vec::new(), Vec::new(), Vec::new());
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    for pair in 0..PAIRS {
        let (mut own, to) = (client(port, &format!("from{pair}")), format!("to{pair}"));
        let from = own.sender();
        let mut reader = client(port, &to);
        let (sent, shown, stop) = (Seen::default(), Seen::default(), stop.clone());
        acked.push(sent.clone());
        seen.push(shown.clone());
        // The sender's own messages come to its device too.
        tokio::spawn(async move { while own.next().await.is_some() {} });
        tokio::spawn(async move {
            while let Some(entry) = reader.next().await {
                if let Some(words) = said(&entry) {
                    shown.lock().push((entry.sequence, words));
                }
            }
        });
        tasks.push(tokio::spawn(async move {
            let mut number = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let words = number.to_string();
                match from.send(user(&to).unwrap(), text(&words).unwrap()).await {
                    Ok(answer) => sent.lock().push((answer.sequence, words)),
                    // The recipient has not logged in for the first time yet.
                    Err(error) => {
                        assert_eq!(error.kind(), switchboard_contract::ErrorKind::NotFound, "{error}");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
                number += 1;
            }
        }));
    }
    let count = |all: &[Seen]| all.iter().map(|one| one.lock().len()).sum::<usize>();
    for _ in 0..rounds {
        let (before, began) = (count(&acked), Instant::now());
        // Everybody is back by themselves, and there is load.
        while count(&acked) < before + 200 {
            assert!(began.elapsed() < PATIENCE * 2, "the clients did not come back: {}", gate.log.text());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        gate.kill();
        gate = serve(dir.path(), port, "");
    }
    let before = count(&acked);
    let began = Instant::now();
    while count(&acked) < before + 50 {
        assert!(began.elapsed() < PATIENCE * 2, "the clients did not come back: {}", gate.log.text());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for task in tasks {
        tokio::time::timeout(PATIENCE * 2, task).await.expect("a send was never answered").unwrap();
    }
    let began = Instant::now();
    for (sent, shown) in acked.iter().zip(&seen) {
        let sent: BTreeMap<u64, String> = sent.lock().iter().cloned().collect();
        while shown.lock().last().map(|last| last.0) < sent.keys().next_back().copied() {
            assert!(began.elapsed() < PATIENCE * 2, "something acknowledged never came");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let shown = shown.lock().clone();
        assert!(shown.windows(2).all(|two| two[0].0 < two[1].0), "twice or out of order: {shown:?}");
        let shown: BTreeMap<u64, String> = shown.into_iter().collect();
        for (sequence, words) in sent {
            assert_eq!(shown.get(&sequence), Some(&words), "acknowledged to the sender as {sequence}");
        }
    }
}

async fn median_login(port: u16) -> Duration {
    let mut took = Vec::new();
    for n in 0..31 {
        let began = Instant::now();
        let connection = Connection::open(&Endpoint::tcp(format!("127.0.0.1:{port}"))).await.unwrap();
        let name = format!("user{n}");
        let login = proto::Login { token: token(&name), user: name, device: "phone".to_owned(), ..Default::default() };
        connection.login(login).await.unwrap();
        took.push(began.elapsed());
    }
    took.sort_unstable();
    took[took.len() / 2]
}

#[tokio::test]
async fn i08_ten_thousand_who_say_nothing_do_not_slow_a_login_down() {
    const SILENT: usize = 10_000;
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let _gate = serve(dir.path(), port, "login_within = \"5m\"\n");
    median_login(port).await;
    let alone = median_login(port).await;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut silent = Vec::new();
    for n in 0..SILENT {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Some say nothing, others begin a packet and never end it.
        let _ = match n % 3 {
            0 => Ok(()),
            1 => stream.write_all(&[0x53, 0x42, 1]).await,
            _ => stream.write_all(&[0x53, 0x42, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 1]).await,
        };
        silent.push(stream);
    }
    let among = median_login(port).await;
    let ratio = among.as_secs_f64() / alone.as_secs_f64();
    println!("a login took {alone:?} alone and {among:?} among {SILENT} silent connections: {ratio:.2}");
    assert!(ratio <= 2.0, "a login took {alone:?} alone and {among:?} among the silent");
}
