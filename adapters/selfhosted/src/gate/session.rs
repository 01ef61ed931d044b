//! One device that is logged in: its packets, its times, its end. What it receives is the business of [`feeding`].
//!
//! [`feeding`]: super::feeding

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::{AbortHandle, BoxFuture};
use futures::stream::{FuturesUnordered, StreamExt as _};
use switchboard_contract::reception::{Handle, Input, Lease, Reception, Restored, Settings, Worker};
use switchboard_contract::storage::{Backlog, PoisonPolicy, Reception as Mode, ShardCursor};
use switchboard_contract::{Error, Position, Result, Shard, Timestamp};

use super::cadence::Cadence;
use super::connection::refuse;
use super::listener::Shared;
use crate::frame::{Body, Command, Kind, Packet, encode_body};
use crate::proto;
use crate::service::{Act, Item, Route, RouteKick};
use crate::transport::{Lost, Transport};

pub(super) const SHARD: Shard = Shard(0);
pub(super) const ME: Worker = Worker(1);
/// How long a kicked client may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);

/// Something that was begun and is done.
pub(super) enum Finished {
    Reply(Packet),
    Cancelled { correlation: u64 },
    Saved(bool),
}

/// A pull that waits for its page.
pub(super) struct Pulling {
    pub(super) correlation: u64,
    pub(super) limit: usize,
}

/// Why a session ends.
pub(super) enum End {
    Gone,
    Silent,
    LoggedOut,
    Kicked(RouteKick),
    Fault { code: &'static str, message: String },
}

pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) route: Arc<Route>,
    network: proto::Network,
    cadence: Cadence,
    token_ends: Option<Timestamp>,
    pub(super) machine: Reception,
    /// What is fed to the machine and not acknowledged.
    pub(super) held: BTreeMap<u64, Arc<Item>>,
    /// What is sent and not acknowledged.
    pub(super) out: BTreeMap<u64, Handle>,
    /// The device takes entries as they come.
    pub(super) live: bool,
    pub(super) pulling: Option<Pulling>,
    /// The machine wants to store something.
    pub(super) unsaved: bool,
    pub(super) saving: bool,
    pub(super) begun: FuturesUnordered<BoxFuture<'static, Finished>>,
    pub(super) open: BTreeMap<u64, AbortHandle>,
    pub(super) packets: VecDeque<Packet>,
    /// Writes left in this second, and when it began.
    pub(super) allowance: (u32, Timestamp),
    last_heard: Timestamp,
}

impl Session {
    #[allow(clippy::too_many_arguments, reason = "the parts of a login, used once")]
    pub(super) fn new(
        shared: Arc<Shared>,
        route: Arc<Route>,
        network: proto::Network,
        cadence: Cadence,
        low: Position,
        tail: u64,
        concurrent: bool,
        token_ends: Option<Timestamp>,
    ) -> Self {
        let (config, now) = (&shared.config, shared.service.clock().now());
        let settings = Settings {
            reception: if concurrent { Mode::Concurrent } else { Mode::AckOnline },
            backlog: Backlog::OldestFirst,
            max_in_flight: config.max_in_flight.max(1) as usize,
            page_size: config.page_size.max(1) as usize,
            ack_deadline: config.ack_within,
            // A device never loses a conversation: what it does not acknowledge comes again.
            max_attempts: u32::MAX,
            poison: PoisonPolicy::Block,
            retry_base: Duration::from_secs(1),
            retry_cap: Duration::from_secs(60),
        };
        let cursor = ShardCursor { shard: SHARD, low, acked: Vec::new() };
        let restored = Restored { cursors: vec![cursor], ..Restored::default() };
        let mut machine = Reception::restore(settings, restored, Lease(1), now);
        let mut actions = Vec::new();
        machine.apply(now, Input::Tail(SHARD, Position(tail)), &mut actions);
        machine.apply(now, Input::Join(ME), &mut actions);
        Self {
            allowance: (config.writes_per_second, now),
            shared,
            route,
            network,
            cadence,
            token_ends,
            machine,
            held: BTreeMap::new(),
            out: BTreeMap::new(),
            live: concurrent,
            pulling: None,
            unsaved: false,
            saving: false,
            begun: FuturesUnordered::new(),
            open: BTreeMap::new(),
            packets: VecDeque::new(),
            last_heard: now,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.shared.service.clock().now()
    }

    pub(super) async fn run(mut self, mut transport: Transport, ack: Packet) {
        self.packets.push_back(ack);
        let end = self.serve(&mut transport).await;
        self.finish(transport, end).await;
    }

    async fn serve(&mut self, transport: &mut Transport) -> End {
        let clock = self.shared.service.clock().clone();
        loop {
            if self.live
                && let Err(error) = self.deliver().await
            {
                return storage_end(&error);
            }
            self.store().await;
            match transport.write(&mut self.packets, self.shared.config.write_within, &*clock).await {
                Ok(()) => {}
                Err(Lost::Slow) => return End::Kicked(RouteKick::new(proto::kicked::Reason::Slow)),
                Err(_) => return End::Gone,
            }
            let Some(wait) = self.until_next() else { return End::Silent };
            if self.token_ends.is_some_and(|end| end <= self.now()) {
                return End::Kicked(RouteKick::new(proto::kicked::Reason::TokenEnded));
            }
            let room = self.begun.len() < self.shared.config.max_requests;
            let route = self.route.clone();
            let stepped = tokio::select! {
                biased;
                Some(done) = self.begun.next() => self.finished(done).await,
                () = route.wake.notified() => self.news().await,
                packet = transport.read(), if room => match packet {
                    Ok(packet) => self.heard(packet).await,
                    Err(Lost::Fault(fault)) => Err(End::Fault { code: fault.code(), message: fault.to_string() }),
                    Err(_) => Err(End::Gone),
                },
                () = clock.sleep(wait) => {
                    self.apply(Input::Tick);
                    Ok(())
                }
            };
            if let Err(end) = stepped {
                return end;
            }
        }
    }

    /// How long nothing needs to be done; `None` when the device has been silent for too long.
    fn until_next(&self) -> Option<Duration> {
        let now = self.now();
        let silent_at = self.last_heard + self.cadence.interval() * 2;
        if silent_at <= now {
            return None;
        }
        let next = [Some(silent_at), self.token_ends, self.machine.next_tick()].into_iter().flatten().min();
        // A tick that is due already is done in a moment: the machine may have nothing for it to do.
        next.map(|next| next.since(now).max(Duration::from_millis(10)))
    }

    async fn news(&mut self) -> Result<(), End> {
        let news = self.route.news();
        self.packets.extend(news.notices);
        self.apply(Input::Tail(SHARD, Position(news.tail)));
        if let Some(kick) = news.kick {
            // A service that stops hands out what it has, as far as that goes in one step.
            if self.live && kick.reason == proto::kicked::Reason::Shutdown {
                self.deliver().await.map_err(|error| storage_end(&error))?;
            }
            return Err(End::Kicked(kick));
        }
        self.answer_pull().await
    }

    async fn heard(&mut self, packet: Packet) -> Result<(), End> {
        self.last_heard = self.now();
        self.route.seen.store(self.last_heard.0, Ordering::Relaxed);
        match (packet.kind, packet.command) {
            (Kind::Ack, Command::Deliver) => {
                self.acknowledge(packet.correlation);
                Ok(())
            }
            (Kind::Ack, Command::Push) => {
                metrics::counter!("switchboard_gate_push_acks_total").increment(1);
                Ok(())
            }
            (Kind::Cancel, _) => {
                if let Some(handle) = self.open.remove(&packet.correlation) {
                    handle.abort();
                }
                Ok(())
            }
            (Kind::Request, Command::Logout) => {
                self.packets.push_back(Packet::new(
                    Kind::Ack,
                    Command::Logout,
                    packet.correlation,
                    encode_body(&Body::Empty),
                ));
                Err(End::LoggedOut)
            }
            (Kind::Request, _) => self.request(packet).await,
            _ => Err(End::Fault { code: "bad_body", message: "only the service sends this".to_owned() }),
        }
    }

    /// A heartbeat: the interval may grow.
    pub(super) fn beat(&mut self, network: proto::Network) -> Body {
        if network != proto::Network::Unspecified {
            self.network = network;
        }
        self.cadence.beat(&self.shared.config.heartbeat, self.network);
        let heartbeat_ms = u32::try_from(self.cadence.interval().as_millis()).unwrap_or(u32::MAX);
        Body::HeartbeatSeen(proto::HeartbeatSeen { heartbeat_ms, server_time: self.now().0 })
    }

    async fn finished(&mut self, done: Finished) -> Result<(), End> {
        match done {
            Finished::Cancelled { correlation } => drop(self.open.remove(&correlation)),
            Finished::Reply(packet) => {
                self.open.remove(&packet.correlation);
                self.packets.push_back(packet);
            }
            Finished::Saved(true) => {
                self.saving = false;
                self.apply(Input::Trouble(false));
                self.apply(Input::Saved);
                self.answer_pull().await?;
            }
            // The cursor is collected again with the next acknowledgement; until then nothing counts as durable.
            Finished::Saved(false) => {
                return Err(End::Fault { code: "storage", message: "cannot be stored at present".to_owned() });
            }
        }
        Ok(())
    }

    async fn finish(mut self, mut transport: Transport, end: End) {
        let clock = self.shared.service.clock().clone();
        let (user, device) = (self.route.user.clone(), self.route.device.clone());
        let was_there = self.shared.service.routes().remove(&self.route);
        if matches!(end, End::Silent) {
            self.cadence.lost(&self.shared.config.heartbeat);
        }
        self.shared.cadences.keep(&user, &device, self.network, self.cadence);
        let reason = match &end {
            End::Gone => "gone",
            End::Silent => "silent",
            End::LoggedOut => "logout",
            End::Kicked(_) => "kicked",
            End::Fault { code, .. } => code,
        };
        metrics::counter!("switchboard_gate_closed_total", "reason" => reason).increment(1);
        // A device that is back already under its name has not gone.
        let back = self.shared.service.routes().of(&user).iter().any(|other| other.device == device);
        if !back && (was_there || matches!(end, End::Kicked(_))) {
            let class = self.route.class.into();
            let presence = proto::Presence { online: false, device, device_class: class, reason: reason.to_owned() };
            if let Err(error) = self.shared.service.submit(Act::Presence { user, presence }).await {
                tracing::debug!(%error, "a log-out was not recorded");
            }
        }
        match end {
            End::Fault { code, message } => {
                let _ = transport.write(&mut self.packets, FAREWELL, &*clock).await;
                return refuse(&self.shared, transport, code, &message).await;
            }
            End::Kicked(kick) => {
                let kicked = proto::Kicked { reason: kick.reason.into(), by_device: kick.by_device };
                self.packets.push_back(Packet::new(Kind::Notify, Command::Kick, 0, encode_body(&Body::Kicked(kicked))));
            }
            End::Gone | End::Silent | End::LoggedOut => {}
        }
        let _ = transport.write(&mut self.packets, FAREWELL, &*clock).await;
        transport.close(FAREWELL, &*clock).await;
    }
}

/// The log cannot be read: the device connects again, and its cursor stands where it stood.
pub(super) fn storage_end(error: &Error) -> End {
    tracing::warn!(%error, "a session ends because the log cannot be read");
    End::Fault { code: "storage", message: "cannot be read at present".to_owned() }
}
