//! One device that is logged in. What it has received and acknowledged is the business of the reception machine, the
//! same that serves the business's subscribers; this file feeds it and carries out what it wants.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::{AbortHandle, BoxFuture};
use futures::stream::{FuturesUnordered, StreamExt as _};
use switchboard_contract::reception::{
    Action, Feed, Handle, Head, Input, Key, Lease, Reception, Restored, Settings, State, Worker,
};
use switchboard_contract::storage::{Backlog, DeviceCursor, LineKind, PoisonPolicy, Reception as Mode, ShardCursor};
use switchboard_contract::{ConversationId, Error, ErrorKind, Position, Result, Sequence, Shard, Timestamp};

use super::cadence::Cadence;
use super::connection::refuse;
use super::listener::Shared;
use crate::frame::{Body, Command, Kind, Packet, encode_body};
use crate::proto;
use crate::service::{Act, Item, Route, RouteKick};
use crate::transport::{Lost, Transport};

const SHARD: Shard = Shard(0);
const ME: Worker = Worker(1);
/// Entries written in one go.
const BURST: usize = 64;
/// How long a kicked client may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);

/// Something that was begun and is done.
pub(super) enum Finished {
    Reply(Packet),
    Cancelled { correlation: u64 },
    Saved(bool),
}

/// A pull that waits for its page.
struct Pulling {
    correlation: u64,
    limit: usize,
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
    machine: Reception,
    /// What is fed to the machine and not acknowledged.
    held: BTreeMap<u64, Arc<Item>>,
    /// What is sent and not acknowledged.
    out: BTreeMap<u64, Handle>,
    /// The device takes entries as they come.
    live: bool,
    pulling: Option<Pulling>,
    /// The machine wants to store something.
    unsaved: bool,
    saving: bool,
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

    /// The next page, which acknowledges the last.
    pub(super) async fn pull(&mut self, correlation: u64, pull: &proto::Pull) -> Result<(), End> {
        self.acknowledge(pull.after);
        let most = self.shared.config.page_size.max(1);
        let limit = if pull.limit == 0 { most } else { pull.limit.min(most) } as usize;
        self.pulling = Some(Pulling { correlation, limit });
        self.answer_pull().await
    }

    /// Answers the pull that waits, if what it waits for is there: entries, or the certainty that there are none. With
    /// the empty page the device is online, in the very step in which its acknowledgement has reached the tail.
    async fn answer_pull(&mut self) -> Result<(), End> {
        let Some(Pulling { correlation, limit }) = self.pulling else { return Ok(()) };
        self.store().await;
        if self.saving {
            // The page is answered when what it acknowledges is durable.
            return Ok(());
        }
        loop {
            let actions = self.apply(Input::Page { worker: ME, cursor: None, max: limit });
            let (entries, read) = self.carry_out(actions).await.map_err(|error| storage_end(&error))?;
            if !entries.is_empty() {
                self.pulling = None;
                self.packets.push_back(page(correlation, &entries)?);
                return Ok(());
            }
            if self.machine.state() == State::Online {
                self.pulling = None;
                self.live = true;
                self.packets.push_back(page(correlation, &[])?);
                return Ok(());
            }
            if !read {
                return Ok(());
            }
        }
    }

    /// Sends what is there, as far as the machine lets it out.
    async fn deliver(&mut self) -> Result<()> {
        loop {
            let actions = self.apply(Input::Take(ME, BURST));
            let (entries, read) = self.carry_out(actions).await?;
            self.packets.extend(entries.iter().map(|item| item.packet.clone()));
            if self.packets.len() >= BURST || (entries.is_empty() && !read) {
                return Ok(());
            }
        }
    }

    /// Everything up to this position has arrived.
    fn acknowledge(&mut self, through: u64) {
        let later = self.out.split_off(&through.saturating_add(1));
        let acked = std::mem::replace(&mut self.out, later);
        if acked.is_empty() {
            return;
        }
        let handles: Vec<Handle> = acked.values().copied().collect();
        self.apply(Input::Ack(&handles));
        let mut raised: BTreeMap<ConversationId, Sequence> = BTreeMap::new();
        for position in acked.keys() {
            let Some(item) = self.held.remove(position) else { continue };
            if let (LineKind::Message, Some(conversation), Some(sequence)) =
                (item.kind, &item.conversation, item.sequence)
                && item.by != self.route.user
            {
                let mark = raised.entry(conversation.clone()).or_default();
                *mark = sequence.max(*mark);
            }
        }
        for (conversation, sequence) in raised {
            self.shared.service.delivered(&self.route.user, &conversation, sequence.0);
        }
    }

    /// Hands the machine something; what it wants besides is remembered or returned.
    fn apply(&mut self, input: Input<'_>) -> Vec<Action> {
        let (now, mut actions) = (self.now(), Vec::new());
        self.machine.apply(now, input, &mut actions);
        self.unsaved |= actions.iter().any(|action| matches!(action, Action::Unsaved));
        actions.retain(|action| matches!(action, Action::Deliver(_) | Action::Read { .. } | Action::Save(_)));
        actions
    }

    /// Stores what the machine wants stored, one thing at a time.
    async fn store(&mut self) {
        if !self.unsaved || self.saving {
            return;
        }
        self.unsaved = false;
        for action in self.apply(Input::Collect) {
            let Action::Save(save) = action else { continue };
            let Some(cursor) = save.cursors.first() else {
                // Nothing moved; the machine still waits for the word.
                self.apply(Input::Saved);
                continue;
            };
            let Route { user, device, .. } = &*self.route;
            let cursor =
                DeviceCursor { user: user.clone(), device: device.clone(), low: cursor.low, seen_at: self.now() };
            self.saving = true;
            let saved = self.shared.service.saver().save(cursor).await;
            self.begun.push(Box::pin(async move {
                Finished::Saved(match saved {
                    Ok(answer) => answer.await.unwrap_or(false),
                    Err(_) => false,
                })
            }));
        }
    }

    /// Returns what goes out, and whether anything was read for the machine.
    async fn carry_out(&mut self, actions: Vec<Action>) -> Result<(Vec<Arc<Item>>, bool)> {
        let (mut entries, mut read) = (Vec::new(), false);
        for action in actions {
            match action {
                Action::Deliver(dispatch) => {
                    let position = dispatch.handle.place.position.0;
                    if let Some(item) = self.held.get(&position) {
                        self.out.insert(position, dispatch.handle);
                        entries.push(item.clone());
                    }
                }
                Action::Read { after, until, limit, .. } => {
                    self.feed(after, until, limit).await?;
                    read = true;
                }
                _ => {}
            }
        }
        Ok((entries, read))
    }

    /// From memory where possible: what is written now is on its way already.
    async fn feed(&mut self, after: Position, until: Position, limit: usize) -> Result<()> {
        let (items, until) = match self.route.take(after.0, limit) {
            Some((items, reached)) if reached > after.0 => (items, Position(reached)),
            _ => {
                let lines = self.shared.service.log().timeline(&self.route.user, after, until, limit).await?;
                let reached =
                    if lines.len() < limit { until } else { lines.last().map_or(until, |last| last.position) };
                (lines.iter().map(|line| Arc::new(Item::of(line))).collect(), reached)
            }
        };
        let heads: Vec<Head> = items.iter().map(|item| head(item)).collect();
        for item in items {
            self.held.insert(item.position.0, item);
        }
        self.apply(Input::Feed(Feed { shard: SHARD, after, until, heads: &heads, wanted: &|_| true }));
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

fn head(item: &Item) -> Head {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    // One worker has all conversations: two that meet under one key are merely kept in order together.
    let mut hasher = DefaultHasher::new();
    match (&item.conversation, item.sequence) {
        (Some(conversation), Some(_)) => conversation.hash(&mut hasher),
        _ => item.position.0.hash(&mut hasher),
    }
    Head { position: item.position, sequence: item.sequence.unwrap_or_default(), key: Key(hasher.finish()) }
}

fn page(correlation: u64, entries: &[Arc<Item>]) -> Result<Packet, End> {
    use prost::Message as _;
    let decoded = entries.iter().map(|item| proto::Entry::decode(item.packet.body.clone()));
    let entries = decoded.collect::<Result<Vec<_>, _>>().map_err(|error| {
        let error = Error::new(ErrorKind::Decode, "a stored line cannot be read").with_source(error);
        storage_end(&error)
    })?;
    let cursor = entries.last().map_or(0, |last| last.position);
    let body = encode_body(&Body::Page(proto::Page { entries, cursor }));
    Ok(Packet::new(Kind::Ack, Command::Pull, correlation, body))
}

/// The log cannot be read: the device connects again, and its cursor stands where it stood.
fn storage_end(error: &Error) -> End {
    tracing::warn!(%error, "a session ends because the log cannot be read");
    End::Fault { code: "storage", message: "cannot be read at present".to_owned() }
}
