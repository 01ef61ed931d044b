//! A group with many devices online: what all of them get is written for them, and each has its own pace.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use serde_json::json;
use switchboard_contract::{Position, UserProfile};
use switchboard_selfhosted::client::{Connection, Endpoint, Told};
use switchboard_selfhosted::frame::{Body, Command};
use switchboard_selfhosted::proto::{self, DeviceClass};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

use crate::recording::Recording;
use crate::stage::{Device, Stage, eventually, group, said, user};

const MEMBERS: usize = 48;
const MESSAGES: usize = 100;
/// Entries that may be out; the rest waits for an acknowledgement.
const OUT: usize = 10;
/// What is said to one member.
const ASIDE: &str = "aside";

/// How a device reads.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Habit {
    /// Acknowledges each so many entries.
    Every(usize),
    /// Acknowledges nothing until everything that may be out has come twice; that is once enough.
    Late,
    /// Asks for something with every entry.
    Busy,
    /// Goes away and comes back after so many entries.
    Restless(usize),
}

fn habit(member: usize) -> Habit {
    match member % 8 {
        0 => Habit::Late,
        1 => Habit::Busy,
        2 => Habit::Restless(40),
        other => Habit::Every(other),
    }
}

/// The founder of a group of all members.
async fn team(stage: &Stage) -> Device {
    let founder = stage.phone("alice").await;
    let members: Vec<String> = (0..MEMBERS).map(|member| format!("m{member}")).collect();
    for member in &members {
        stage.own.service().ensure(&member.as_str().into(), &UserProfile::default()).await.unwrap();
    }
    let create = proto::CreateGroup { id: "team".to_owned(), name: "Team".to_owned(), members, room: false };
    founder.ask(Command::GroupCreate, Body::CreateGroup(create)).await.unwrap();
    founder
}

fn endpoint(stage: &Stage, member: usize) -> Endpoint {
    if member.is_multiple_of(2) { stage.tcp() } else { stage.websocket() }
}

/// A member's device, and what it finds when it comes.
async fn online(stage: &Stage, endpoint: &Endpoint, member: usize) -> (Device, Vec<proto::Entry>) {
    let connection = Connection::open(endpoint).await.unwrap();
    let answer = connection.login(stage.login(&format!("m{member}"), "phone", DeviceClass::Phone).await).await.unwrap();
    let mut device = Device { connection, answer };
    let found = device.catch_up().await;
    (device, found)
}

async fn all_online(stage: &Stage, members: Range<usize>) -> Vec<Device> {
    let mut devices = Vec::new();
    for member in members {
        devices.push(online(stage, &endpoint(stage, member), member).await.0);
    }
    devices
}

/// What a member hears until it has heard everything: each once, in order, whatever its device gets twice.
async fn listen(stage: &Stage, member: usize, mut device: Device) -> Vec<String> {
    let (habit, mut heard, mut last, mut unacknowledged, mut repeats) =
        (habit(member), Vec::new(), 0, 0, BTreeSet::new());
    let (mut away, mut patient) = (false, false);
    while heard.len() < MESSAGES {
        let Some(Told::Entry(entry)) = device.told().await else { panic!("member {member} is told something else") };
        if entry.position <= last {
            assert_eq!(habit, Habit::Late, "member {member} gets position {} again", entry.position);
            repeats.insert(entry.position);
        } else {
            last = entry.position;
            heard.extend(said(&entry).filter(|words| words != ASIDE));
            unacknowledged += 1;
            assert!(unacknowledged <= OUT, "member {member} is sent more than may be out");
        }
        let acknowledges = match habit {
            Habit::Every(few) => unacknowledged >= few,
            Habit::Late => patient || repeats.len() >= OUT,
            Habit::Busy => {
                let beat = proto::Heartbeat::default();
                device.ask(Command::Heartbeat, Body::Heartbeat(beat)).await.unwrap();
                true
            }
            Habit::Restless(_) => true,
        };
        if acknowledges {
            device.connection.acknowledge(last).await.unwrap();
            unacknowledged = 0;
            patient |= !repeats.is_empty();
        }
        if let (Habit::Restless(few), false) = (habit, away)
            && heard.len() >= few
        {
            away = true;
            let (again, found) = online(stage, &endpoint(stage, member), member).await;
            device = again;
            for missed in found {
                if missed.position > last {
                    last = missed.position;
                    heard.extend(said(&missed));
                }
            }
        }
    }
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d12_many_devices_of_a_group_get_everything_once_in_order_each_at_its_own_pace() {
    let counts = Recording::start();
    let stage = Stage::with(json!({ "max_in_flight": OUT })).await;
    let alice = team(&stage).await;
    let devices = all_online(&stage, 0..MEMBERS).await;
    let speaking = async {
        for n in 0..MESSAGES {
            alice.says(group("team"), &n.to_string()).await;
            // What only some get comes between what all get.
            if n % 7 == 0 {
                alice.says(user("m3"), ASIDE).await;
                alice.says(user("m47"), ASIDE).await;
            }
        }
    };
    let listening = devices.into_iter().enumerate().map(|(member, device)| listen(&stage, member, device));
    let everything: Vec<String> = (0..MESSAGES).map(|n| n.to_string()).collect();
    let ((), heard) = tokio::join!(speaking, futures::future::join_all(listening));
    for (member, heard) in heard.into_iter().enumerate() {
        assert_eq!(heard, everything, "member {member}");
    }
    let shared = counts.of("switchboard_gate_shared_writes_total[]");
    assert!(
        shared > (MEMBERS * MESSAGES / 4) as u64,
        "of {} writes only {shared} went the short way",
        MEMBERS * MESSAGES
    );
}

/// A link with little room that lets nothing through to the device while it is closed.
async fn link(to: SocketAddr) -> (String, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (open, mut opened) = watch::channel(true);
    tokio::spawn(async move {
        let device = listener.accept().await.unwrap().0;
        let gate = TcpSocket::new_v4().unwrap();
        gate.set_recv_buffer_size(8192).unwrap();
        let gate = gate.connect(to).await.unwrap();
        let ((mut from_device, mut to_device), (mut from_gate, mut to_gate)) = (device.into_split(), gate.into_split());
        let down = async {
            let mut buffer = [0; 4096];
            while opened.wait_for(|open| *open).await.is_ok()
                && let Ok(read @ 1..) = from_gate.read(&mut buffer).await
            {
                to_device.write_all(&buffer[..read]).await.unwrap();
            }
        };
        tokio::join!(down, tokio::io::copy(&mut from_device, &mut to_gate)).1.unwrap();
    });
    (address, open)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i09_whoever_takes_nothing_for_a_while_goes_on_in_the_middle_of_what_was_cut_off() {
    for websocket in [false, true] {
        let stage = Stage::with(json!({ "max_in_flight": 1000, "max_unacked_bytes": 16_000_000 })).await;
        let alice = team(&stage).await;
        let gate = stage.own.gate();
        let (address, open) = link(if websocket { gate.websocket() } else { gate.tcp() }.unwrap()).await;
        let to = if websocket { Endpoint::websocket(address) } else { Endpoint::tcp(address) };
        let (mut slow, _) = online(&stage, &to, 0).await;
        let others = all_online(&stage, 1..MEMBERS).await;
        let others = tokio::spawn(futures::future::join_all(others.into_iter().map(|mut other| async move {
            for n in 0..MESSAGES {
                assert!(other.hears().await.starts_with(&format!("{n} ")));
            }
        })));
        for n in 0..MESSAGES {
            open.send_replace(n < 5);
            alice.says(group("team"), &format!("{n} {}", "x".repeat(60_000))).await;
        }
        others.await.unwrap();
        open.send_replace(true);
        for n in 0..MESSAGES {
            assert!(slow.hears().await.starts_with(&format!("{n} ")));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i09_what_was_written_for_a_session_comes_again_like_everything_else() {
    let stage = Stage::open().await;
    let alice = team(&stage).await;
    let mut devices = all_online(&stage, 0..MEMBERS).await;
    // The first wakes the sessions; the others are written for them. Most are acknowledged, which is stored; of the last ones
    // no session hears anything.
    let acknowledged = MESSAGES - 3;
    for n in 0..MESSAGES {
        if n == acknowledged {
            eventually("the cursor is stored", || async {
                stored(&stage).await >= stage.log().await.tail().await.unwrap()
            })
            .await;
        }
        alice.says(group("team"), &n.to_string()).await;
        for device in &mut devices {
            let heard = if n < acknowledged { Some(device.entry().await) } else { entry(device).await };
            assert_eq!(heard.as_ref().and_then(said), Some(n.to_string()));
        }
    }
    let again = async {
        for n in acknowledged..MESSAGES {
            assert_eq!(entry(&mut devices[0]).await.as_ref().and_then(said), Some(n.to_string()));
        }
    };
    // Ten seconds after each was sent, and one for the session to learn of it.
    tokio::time::timeout(Duration::from_secs(15), again).await.expect("they come again in time");
}

/// The next entry, which is not acknowledged.
async fn entry(device: &mut Device) -> Option<proto::Entry> {
    match device.told().await {
        Some(Told::Entry(entry)) => Some(entry),
        _ => None,
    }
}

/// How far the first member's device is, durably.
async fn stored(stage: &Stage) -> Position {
    stage.log().await.device(&"m0".into(), "phone").await.unwrap().unwrap().low
}
