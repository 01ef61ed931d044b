//! One device that is logged in: its packets, its times, its end. What it receives is the business of [`feeding`].
//!
//! [`feeding`]: super::feeding

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{AbortHandle, BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use switchboard_contract::reception::{Handle, Input, Lease, Reception, Restored, Settings, Worker};
use switchboard_contract::storage::{Backlog, PoisonPolicy, Reception as Mode, ShardCursor};
use switchboard_contract::{Clock, Error, Position, Result, Shard, Sleep, Timestamp};

use super::cadence::Cadence;
use super::connection::refuse;
use super::listener::Shared;
use crate::bell::Caller;
use crate::frame::{Body, Command, Kind, Packet, encode_body};
use crate::outbox::Outbox;
use crate::proto;
use crate::service::{Act, Piece, Route, RouteKick};
use crate::transport::{Lost, Transport};

pub(super) const SHARD: Shard = Shard(0);
pub(super) const ME: Worker = Worker(1);
/// How long a kicked client may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);
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

/// Why a session ends.
pub(super) enum End {
    Gone,
    Silent,
    LoggedOut,
    Kicked(RouteKick),
    Fault { code: &'static str, message: String },
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
    network: proto::Network,
    cadence: Cadence,
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
    /// Entries were put out since the last write, and when they were gathered.
    pub(super) fresh: Option<Timestamp>,
    /// No entries go out before: what comes meanwhile goes out together.
    flush_at: Option<Timestamp>,
    pub(super) pulling: Option<Pulling>,
    /// There is something to store, and not before this time.
    pub(super) unsaved: bool,
    pub(super) save_at: Timestamp,
    pub(super) saving: bool,
    pub(super) begun: FuturesUnordered<BoxFuture<'static, Finished>>,
    pub(super) open: BTreeMap<u64, AbortHandle>,
    pub(super) outbox: Outbox,
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

/// The next time at which something is to be done.
#[derive(Default)]
struct Timer {
    due: Option<(Timestamp, Sleep)>,
    caller: Caller,
}

impl Timer {
    fn set(&mut self, due: Timestamp, now: Timestamp, clock: &dyn Clock) {
        if self.due.as_ref().is_none_or(|(at, _)| *at > due) {
            self.due = Some((due, clock.sleep(due.since(now))));
            self.caller.renew();
        }
    }

    fn poll(&mut self, context: &Context<'_>) -> Poll<()> {
        let Some((_, sleep)) = &mut self.due else { return Poll::Pending };
        let over = self.caller.poll(context, |context| sleep.poll_unpin(context));
        if over.is_ready() {
            self.due = None;
        }
        over
    }
}

/// What a session waits for.
enum Event {
    Finished(Finished),
    News,
    Packet(Result<Packet, Lost>),
    Time,
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
            fresh: None,
            flush_at: None,
            pulling: None,
            unsaved: false,
            save_at: now,
            saving: false,
            begun: FuturesUnordered::new(),
            open: BTreeMap::new(),
            outbox: Outbox::default(),
            last_heard: now,
            at: now,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.at
    }

    pub(super) async fn run(mut self: Box<Self>, mut transport: Transport, ack: Packet) {
        self.outbox.push(ack);
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

    /// What happens next.
    fn poll_event(
        &mut self,
        transport: &mut Transport,
        reader: &Caller,
        timer: &mut Timer,
        context: &mut Context<'_>,
    ) -> Poll<Event> {
        if !self.begun.is_empty()
            && let Poll::Ready(Some(done)) = self.begun.poll_next_unpin(context)
        {
            return Poll::Ready(Event::Finished(done));
        }
        // While entries wait for the end of a pause, more of them are no news.
        let listens = !self.live || !self.behind || self.flush_at.is_none();
        if listens && self.route.bell.poll_rung(context).is_ready() {
            return Poll::Ready(Event::News);
        }
        let room = self.begun.len() < self.shared.config.max_requests;
        if room && let Poll::Ready(packet) = reader.poll(context, |context| pin!(transport.read()).poll(context)) {
            return Poll::Ready(Event::Packet(packet));
        }
        timer.poll(context).map(|()| Event::Time)
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
                self.flush_at = Some(gathered_at + self.shared.config.flush_every);
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
        let next = [Some(silent_at), self.token_ends, self.machine.next_tick(), save_at].into_iter().flatten().min();
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
        self.apply(Input::Tail(SHARD, Position(news.tail)));
        self.behind = true;
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

    fn confirm(&mut self) {
        self.saving = false;
        self.apply(Input::Trouble(false));
        self.apply(Input::Saved);
        self.behind = true;
    }

    /// What is acknowledged and not stored yet is stored before the end.
    async fn save_all(&mut self) {
        self.shared.service.saver().hurry();
        while self.saving || self.unsaved {
            if !self.saving {
                self.save_at = self.now();
                self.store(self.save_at).await;
                self.shared.service.saver().hurry();
                continue;
            }
            match self.begun.next().await {
                Some(Finished::Saved(true)) => self.confirm(),
                Some(Finished::Saved(false)) | None => return,
                Some(Finished::Reply(_) | Finished::Cancelled { .. }) => {}
            }
        }
    }

    async fn finish(mut self: Box<Self>, mut transport: Transport, end: End) {
        let clock = self.shared.service.clock().clone();
        let (user, device) = (self.route.user.clone(), self.route.device.clone());
        tokio::select! {
            () = self.save_all() => {}
            () = clock.sleep(FAREWELL) => {}
        }
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
                let _ = transport.write(&mut self.outbox, FAREWELL, &*clock).await;
                return refuse(&self.shared, transport, code, &message).await;
            }
            End::Kicked(kick) => {
                let kicked = proto::Kicked { reason: kick.reason.into(), by_device: kick.by_device };
                self.outbox.push(Packet::new(Kind::Notify, Command::Kick, 0, encode_body(&Body::Kicked(kicked))));
            }
            End::Gone | End::Silent | End::LoggedOut => {}
        }
        let _ = transport.write(&mut self.outbox, FAREWELL, &*clock).await;
        transport.close(FAREWELL, &*clock).await;
    }
}

/// The log cannot be read: the device connects again, and its cursor stands where it stood.
pub(super) fn storage_end(error: &Error) -> End {
    tracing::warn!(%error, "a session ends because the log cannot be read");
    End::Fault { code: "storage", message: "cannot be read at present".to_owned() }
}
