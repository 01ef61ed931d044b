//! One device that is logged in: its packets and its times. What it receives is the business of [`feeding`], what it waits
//! for of [`waiting`], its end of [`ending`].
//!
//! [`feeding`]: super::feeding
//! [`waiting`]: super::waiting
//! [`ending`]: super::ending

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::{AbortHandle, BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use switchboard_contract::reception::{Handle, Input, Lease, Reception, Restored, Settings, Worker};
use switchboard_contract::storage::{Backlog, PoisonPolicy, Reception as Mode, ShardCursor};
use switchboard_contract::{Position, Result, Shard, Timestamp};

use super::cadence::Cadence;
use super::ending::{End, storage_end};
use super::lending::Lending;
use super::listener::Shared;
use super::waiting::{Event, Timer};
use crate::bell::Caller;
use crate::frame::{Body, Command, Kind, Packet, encode_body};
use crate::outbox::Outbox;
use crate::proto;
use crate::service::{Piece, Route, RouteKick, rests_until};
use crate::transport::{Lost, Transport};

pub(super) const SHARD: Shard = Shard(0);
pub(super) const ME: Worker = Worker(1);
/// Bytes of one write, about.
pub(super) const FLUSH: usize = 256 << 10;

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
    /// The answer, as soon as it is known. It goes out when what the pull acknowledges is durable.
    pub(super) page: Option<Packet>,
}

/// How a session begins.
pub(super) struct Opening {
    pub(super) network: proto::Network,
    pub(super) cadence: Cadence,
    pub(super) token_ends: Option<Timestamp>,
    /// What the device has acknowledged, and the end of the log.
    pub(super) low: Position,
    pub(super) tail: u64,
    pub(super) concurrent: bool,
}

pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) route: Arc<Route>,
    pub(super) network: proto::Network,
    pub(super) cadence: Cadence,
    token_ends: Option<Timestamp>,
    pub(super) machine: Reception,
    pub(super) concurrent: bool,
    /// What is fed to the machine and not acknowledged, in ascending order; and how much that is.
    pub(super) held: VecDeque<Held>,
    pub(super) held_entries: usize,
    pub(super) held_bytes: usize,
    /// How many of them are sent.
    pub(super) out: usize,
    /// Acknowledgements come as one position: up to here everything is.
    pub(super) acked: u64,
    /// The device takes entries as they come.
    pub(super) live: bool,
    /// There may be something for it.
    pub(super) behind: bool,
    /// How far the log is known to go, and how far the machine was fed.
    pub(super) tail: u64,
    pub(super) fed: u64,
    /// Entries were put out since the last write, and when they were gathered.
    pub(super) fresh: Option<Timestamp>,
    /// No entries go out before: what comes meanwhile goes out together.
    pub(super) flush_at: Option<Timestamp>,
    pub(super) pulling: Option<Pulling>,
    /// There is something to store, and not before this time.
    pub(super) unsaved: bool,
    pub(super) save_at: Timestamp,
    pub(super) saving: bool,
    pub(super) begun: FuturesUnordered<BoxFuture<'static, Finished>>,
    pub(super) open: BTreeMap<u64, AbortHandle>,
    pub(super) outbox: Outbox,
    pub(super) lending: Lending,
    /// Writes left in this second, and when it began.
    pub(super) allowance: (u32, Timestamp),
    last_heard: Timestamp,
    /// The time of this step.
    at: Timestamp,
}

/// A piece that is fed to the machine and not acknowledged.
pub(super) struct Held {
    /// The position it was fed with.
    pub(super) at: u64,
    pub(super) piece: Piece,
    /// By which name it is sent.
    pub(super) handle: Option<Handle>,
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>, route: Arc<Route>, opening: Opening) -> Self {
        let Opening { network, cadence, token_ends, low, tail, concurrent } = opening;
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
            concurrent,
            held: VecDeque::new(),
            held_entries: 0,
            held_bytes: 0,
            out: 0,
            acked: low.0,
            live: concurrent,
            behind: concurrent,
            tail,
            fed: low.0,
            fresh: None,
            flush_at: None,
            pulling: None,
            unsaved: false,
            save_at: now,
            saving: false,
            begun: FuturesUnordered::new(),
            open: BTreeMap::new(),
            outbox: Outbox::default(),
            lending: Lending::default(),
            last_heard: now,
            at: now,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.at
    }

    pub(super) async fn run(mut self: Box<Self>, mut transport: Transport, ack: Packet) {
        self.outbox.push(ack);
        self.lending.able = !self.concurrent && transport.plain().is_some();
        self.set_patience();
        let end = self.serve(&mut transport).await;
        // Rare and large beside the rest.
        Box::pin(self.finish(transport, end)).await;
    }

    async fn serve(&mut self, transport: &mut Transport) -> End {
        let clock = self.shared.service.clock().clone();
        let (mut timer, reader) = (Timer::default(), Caller::default());
        loop {
            if let Err(end) = self.put_out(transport).await {
                return end;
            }
            let now = clock.now();
            self.at = now;
            let Some(due) = self.next_due(now) else { return End::Silent };
            if self.token_ends.is_some_and(|end| end <= now) {
                return End::Kicked(RouteKick::new(proto::kicked::Reason::TokenEnded));
            }
            timer.set(due, now, &*clock);
            let event = poll_fn(|context| self.poll_event(transport, &reader, &mut timer, context)).await;
            self.at = clock.now();
            if let Err(error) = self.catch_up().await {
                return storage_end(&error);
            }
            let stepped = match event {
                Event::Finished(done) => self.finished(done).await,
                Event::News => self.news().await,
                Event::Packet(packet) => self.read(packet, transport).await,
                Event::Time => {
                    self.tick();
                    // Mostly it is the end of a pause, and something came meanwhile.
                    if self.route.bell.take() { self.news().await } else { Ok(()) }
                }
            };
            if let Err(end) = stepped {
                return end;
            }
        }
    }

    /// Writes what is there. Entries wait for the end of the pause since the last ones, unless something else goes out
    /// at once anyway.
    async fn put_out(&mut self, transport: &mut Transport) -> Result<(), End> {
        loop {
            let now = self.now();
            self.flush_at = self.flush_at.filter(|at| *at > now);
            if self.live && self.behind && (self.flush_at.is_none() || !self.outbox.is_empty()) {
                self.deliver().await.map_err(|error| storage_end(&error))?;
            }
            self.store(now).await;
            let fresh = self.fresh.take();
            if let (Some(gathered_at), false) = (fresh, self.behind) {
                let (pause, now) = (self.shared.config.flush_every, self.now());
                self.flush_at = Some(rests_until(gathered_at, now, pause));
            }
            let (within, clock) = (self.shared.config.write_within, &**self.shared.service.clock());
            match transport.write(&mut self.outbox, within, clock).await {
                Ok(()) => {}
                Err(Lost::Slow) => return Err(End::Kicked(RouteKick::new(proto::kicked::Reason::Slow))),
                Err(_) => return Err(End::Gone),
            }
            // More than one write bears goes on at once; how much there may be is bounded by what is not acknowledged.
            if fresh.is_none() || !self.behind {
                return Ok(());
            }
            self.at = clock.now();
        }
    }

    /// When something is to be done next; `None` when the device has been silent for too long.
    fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let silent_at = self.last_heard + self.cadence.interval() * 2;
        if silent_at <= now {
            return None;
        }
        let save_at = (self.unsaved && !self.saving).then_some(self.save_at);
        let next = [Some(silent_at), self.token_ends, self.machine.next_tick(), save_at, self.lent_until()]
            .into_iter()
            .flatten()
            .min();
        // A tick that is due already is done in a moment: the machine may have nothing for it to do.
        let next = next.unwrap_or(silent_at).max(now + Duration::from_millis(10));
        // Without anything to put out, nobody waits for the end of the pause.
        let flush_at = self.flush_at.filter(|_| self.live && self.behind);
        Some(flush_at.map_or(next, |at| at.min(next)))
    }

    fn tick(&mut self) {
        let now = self.now();
        if self.machine.next_tick().is_some_and(|due| due <= now) {
            self.apply(Input::Tick);
            self.behind = true;
        }
    }

    /// A packet, and those that came with it.
    async fn read(&mut self, first: Result<Packet, Lost>, transport: &mut Transport) -> Result<(), End> {
        let mut next = first.map(Some);
        loop {
            match next {
                Ok(Some(packet)) => self.heard(packet).await?,
                Ok(None) => return Ok(()),
                Err(Lost::Fault(fault)) => {
                    return Err(End::Fault { code: fault.code(), message: fault.to_string() });
                }
                Err(_) => return Err(End::Gone),
            }
            if self.begun.len() >= self.shared.config.max_requests || self.outbox.size() >= FLUSH {
                return Ok(());
            }
            next = transport.buffered();
        }
    }

    async fn news(&mut self) -> Result<(), End> {
        let news = self.route.news();
        news.notices.into_iter().for_each(|notice| self.outbox.push(notice));
        self.reach(news.tail);
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
                let body = encode_body(&Body::Empty);
                self.outbox.push(Packet::new(Kind::Ack, Command::Logout, packet.correlation, body));
                Err(End::LoggedOut)
            }
            (Kind::Request, _) => self.request(packet).await,
            _ => Err(End::Fault { code: "bad_body", message: "only the service sends this".to_owned() }),
        }
    }

    /// The table of routes waits for it as long, and a moment longer: the session ends by itself first.
    fn set_patience(&self) {
        let patience = self.cadence.interval() * 2 + Duration::from_millis(500);
        self.route.patience.store(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A heartbeat: the interval may grow.
    pub(super) fn beat(&mut self, network: proto::Network) -> Body {
        if network != proto::Network::Unspecified {
            self.network = network;
        }
        self.cadence.beat(&self.shared.config.heartbeat, self.network);
        self.set_patience();
        let heartbeat_ms = u32::try_from(self.cadence.interval().as_millis()).unwrap_or(u32::MAX);
        Body::HeartbeatSeen(proto::HeartbeatSeen { heartbeat_ms, server_time: self.now().0 })
    }

    /// Something that was begun is done, and whatever else is by now: one transaction brings many answers.
    async fn finished(&mut self, done: Finished) -> Result<(), End> {
        let mut next = Some(done);
        while let Some(done) = next {
            match done {
                Finished::Cancelled { correlation } => drop(self.open.remove(&correlation)),
                Finished::Reply(packet) => {
                    self.open.remove(&packet.correlation);
                    self.outbox.push(packet);
                }
                Finished::Saved(true) => {
                    self.confirm();
                    self.answer_pull().await?;
                }
                // The cursor is collected again with the next acknowledgement; until then nothing counts as durable.
                Finished::Saved(false) => {
                    return Err(End::Fault { code: "storage", message: "cannot be stored at present".to_owned() });
                }
            }
            next = self.begun.next().now_or_never().flatten();
        }
        Ok(())
    }

    pub(super) fn confirm(&mut self) {
        self.saving = false;
        self.apply(Input::Trouble(false));
        self.apply(Input::Saved);
        self.look_again();
    }
}
