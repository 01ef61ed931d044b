//! Who is online: user → devices → connections. In memory; a connection that goes takes its route along.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use prost::Message as _;
use switchboard_contract::{Timestamp, UserId};

use super::outlet::Outlet;
use super::run::{Piece, Run};
use crate::bell::Bell;
use crate::frame::{Command, Kind, Packet};
use crate::proto;

/// Entries that wait for one connection in memory, and their bytes. Beyond that it reads the log.
const QUEUE: usize = 1024;
const QUEUE_BYTES: usize = 512 << 10;
/// Notices that are not in the log (marks, pushes); the oldest go first.
const NOTICES: usize = 64;

/// Why a connection must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteKick {
    pub(crate) reason: proto::kicked::Reason,
    pub(crate) by_device: String,
}

impl RouteKick {
    pub(crate) fn new(reason: proto::kicked::Reason) -> Self {
        Self { reason, by_device: String::new() }
    }
}

/// One connection of a device that is logged in.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) session: u64,
    pub(crate) user: UserId,
    pub(crate) device: String,
    pub(crate) class: proto::DeviceClass,
    pub(crate) since: Timestamp,
    /// When something last came from it; milliseconds.
    pub(crate) seen: AtomicI64,
    /// How long it may be silent, in milliseconds: two of its heartbeats.
    pub(crate) patience: AtomicU64,
    /// The device has acknowledged everything up to here, durably or not.
    pub(crate) acked: AtomicU64,
    queue: Mutex<Queue>,
    pub(crate) bell: Bell,
}

#[derive(Debug, Default)]
struct Queue {
    runs: VecDeque<Arc<Run>>,
    /// In `runs`.
    entries: usize,
    bytes: usize,
    /// Everything of this user behind this position is in `runs`.
    from: u64,
    /// The last of them.
    tail: u64,
    notices: VecDeque<Packet>,
    kick: Option<RouteKick>,
    /// The connection, while its session lends it; and whether it still may be written to: not when the session has been
    /// woken, which must come first then.
    outlet: Option<Outlet>,
    lent: bool,
}

impl Queue {
    fn drop_first(&mut self) {
        if let Some(run) = self.runs.pop_front() {
            self.entries -= run.len();
            self.bytes -= run.size();
        }
        // Most connections have nothing to do most of the time.
        if self.runs.is_empty() && self.runs.capacity() > 8 {
            self.runs = VecDeque::new();
        }
    }

    fn pass(&mut self, position: u64) {
        while self.runs.front().is_some_and(|run| run.last() <= position) {
            self.drop_first();
        }
        self.from = self.from.max(position);
    }
}

/// What waits for a connection besides entries.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) tail: u64,
    pub(crate) notices: VecDeque<Packet>,
    pub(crate) kick: Option<RouteKick>,
}

impl Route {
    /// From here on the queue knows everything. The caller has seen the service's tail after it was registered.
    pub(crate) fn begin(&self, tail: u64) {
        let mut queue = self.queue.lock();
        queue.tail = queue.tail.max(tail);
        queue.pass(tail);
    }

    /// Returns whether the run now waits for [`write_out`](Self::write_out); otherwise the session is woken for it.
    fn offer(&self, run: &Arc<Run>) -> bool {
        let mut queue = self.queue.lock();
        queue.tail = queue.tail.max(run.last());
        let fits = queue.entries + run.len() <= QUEUE && queue.bytes + run.size() <= QUEUE_BYTES;
        if fits {
            queue.entries += run.len();
            queue.bytes += run.size();
            queue.runs.push_back(run.clone());
        } else {
            queue.pass(run.last());
            metrics::counter!("switchboard_gate_queue_overflows_total").increment(1);
        }
        if fits && run.is_wide() && queue.lent {
            return true;
        }
        queue.lent = false;
        drop(queue);
        self.bell.ring();
        false
    }

    /// Lends the connection, if all that has come for the device is written.
    pub(crate) fn lend(&self, outlet: Outlet) -> Result<(), Outlet> {
        let mut queue = self.queue.lock();
        if queue.tail > outlet.through || !queue.notices.is_empty() || queue.kick.is_some() {
            return Err(outlet);
        }
        queue.lent = true;
        queue.outlet = Some(outlet);
        Ok(())
    }

    /// Nobody else writes to the connection from now on. What still waits to be written out is news for the session.
    pub(crate) fn take_back(&self) -> Option<Outlet> {
        let mut queue = self.queue.lock();
        queue.lent = false;
        let outlet = queue.outlet.take()?;
        let waits = queue.tail > outlet.through;
        drop(queue);
        if waits {
            self.bell.ring();
        }
        Some(outlet)
    }

    /// Writes what waits to the connection, if it is lent; what does not go out wakes the session. Returns how many runs
    /// went out.
    pub(crate) fn write_out(&self, now: Timestamp, pause: Duration) -> u64 {
        let mut queue = self.queue.lock();
        let Queue { runs, outlet, lent, .. } = &mut *queue;
        let (Some(outlet), true) = (outlet, &lent) else { return 0 };
        let first = runs.partition_point(|run| run.last() <= outlet.through);
        let mut written = 0;
        for run in runs.range(first..) {
            if !outlet.write(run, now, pause) {
                *lent = false;
                drop(queue);
                self.bell.ring();
                return written;
            }
            written += 1;
        }
        written
    }

    fn tell(&self, packet: Packet) {
        let mut queue = self.queue.lock();
        if queue.notices.len() >= NOTICES {
            queue.notices.pop_front();
        }
        queue.notices.push_back(packet);
        drop(queue);
        self.bell.ring();
    }

    pub(crate) fn kick(&self, kick: RouteKick) {
        self.queue.lock().kick.get_or_insert(kick);
        self.bell.ring();
    }

    pub(crate) fn news(&self) -> News {
        let mut queue = self.queue.lock();
        News { tail: queue.tail, notices: std::mem::take(&mut queue.notices), kick: queue.kick.clone() }
    }

    /// The entries behind `after` up to `until`, at most so many, no run more once so many bytes are reached, and how far
    /// they are all there are; `None` when the log must be read. What is taken is gone from the queue.
    pub(crate) fn take(&self, after: u64, until: u64, limit: usize, bytes: usize) -> Option<(Vec<Piece>, u64)> {
        let mut queue = self.queue.lock();
        if after < queue.from {
            return None;
        }
        queue.pass(after);
        let (mut taken, mut left, mut spare, mut reached) = (Vec::new(), limit, bytes, after);
        while spare > 0
            && let Some(run) = queue.runs.front().cloned()
            && let Some(piece) = Piece::between(&run, reached, until, left)
        {
            left -= piece.len();
            spare = spare.saturating_sub(piece.size());
            reached = piece.last();
            taken.push(piece);
            if reached >= run.last() {
                queue.drop_first();
            }
        }
        let next = queue.runs.front().and_then(|run| run.next_behind(reached));
        let all = next.is_none_or(|next| next > until);
        let reached = if all { queue.tail.min(until).max(reached) } else { reached };
        queue.pass(reached);
        Some((taken, reached))
    }

    /// Entries and bytes that wait.
    #[cfg(test)]
    fn waiting(&self) -> (usize, usize) {
        let queue = self.queue.lock();
        (queue.entries, queue.bytes)
    }
}

/// Who is connected where: user → devices → connections. One gate keeps it in memory; several may share one, whose
/// routes to the other gates hand on what they are offered.
pub(crate) trait RouteTable: fmt::Debug + Send + Sync {
    /// Adds a route. Those it takes the place of, by device or by class, are gone from the table and returned.
    fn add(&self, route: Arc<Route>) -> Vec<Arc<Route>>;

    /// Removes a route. Returns whether it was still there.
    fn remove(&self, route: &Route) -> bool;

    /// Shows the routes of these users.
    fn visit(&self, users: &mut dyn Iterator<Item = &UserId>, show: &mut dyn FnMut(&Arc<Route>));

    /// Every route.
    fn all(&self) -> Vec<Arc<Route>>;
}

/// The table of one gate.
#[derive(Debug, Default)]
struct MemoryRoutes(RwLock<HashMap<UserId, Vec<Arc<Route>>>>);

impl RouteTable for MemoryRoutes {
    fn add(&self, route: Arc<Route>) -> Vec<Arc<Route>> {
        let mut users = self.0.write();
        let routes = users.entry(route.user.clone()).or_default();
        let (kept, replaced): (Vec<_>, Vec<_>) =
            routes.drain(..).partition(|other| other.device != route.device && other.class != route.class);
        *routes = kept;
        routes.push(route);
        replaced
    }

    fn remove(&self, route: &Route) -> bool {
        let mut users = self.0.write();
        let Some(routes) = users.get_mut(&route.user) else { return false };
        let before = routes.len();
        routes.retain(|other| other.session != route.session);
        let was_there = routes.len() < before;
        if routes.is_empty() {
            users.remove(&route.user);
        }
        was_there
    }

    fn visit(&self, users: &mut dyn Iterator<Item = &UserId>, show: &mut dyn FnMut(&Arc<Route>)) {
        let table = self.0.read();
        for user in users {
            table.get(user).into_iter().flatten().for_each(&mut *show);
        }
    }

    fn all(&self) -> Vec<Arc<Route>> {
        self.0.read().values().flatten().cloned().collect()
    }
}

/// All routes. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    table: Arc<dyn RouteTable>,
    sessions: Arc<AtomicU64>,
}

impl Default for Routes {
    fn default() -> Self {
        Self { table: Arc::new(MemoryRoutes::default()), sessions: Arc::default() }
    }
}

impl Routes {
    /// Adds a route. Those it takes the place of, by device or by class, are kicked and returned.
    pub(crate) fn add(
        &self,
        user: &UserId,
        device: &str,
        class: proto::DeviceClass,
        now: Timestamp,
    ) -> (Arc<Route>, Vec<Arc<Route>>) {
        let route = Arc::new(Route {
            session: self.sessions.fetch_add(1, Ordering::Relaxed) + 1,
            user: user.clone(),
            device: device.to_owned(),
            class,
            since: now,
            seen: AtomicI64::new(now.0),
            patience: AtomicU64::new(u64::MAX),
            acked: AtomicU64::new(0),
            queue: Mutex::default(),
            bell: Bell::default(),
        });
        let replaced = self.table.add(route.clone());
        for other in &replaced {
            let reason = proto::kicked::Reason::OtherDevice;
            other.kick(RouteKick { reason, by_device: device.to_owned() });
        }
        (route, replaced)
    }

    /// Removes a route. Returns whether it was still the one of its device.
    pub(crate) fn remove(&self, route: &Route) -> bool {
        self.table.remove(route)
    }

    pub(crate) fn of(&self, user: &UserId) -> Vec<Arc<Route>> {
        let mut found = Vec::new();
        self.table.visit(&mut std::iter::once(user), &mut |route| found.push(route.clone()));
        found
    }

    /// Hands a run to every device of these users that is online. Returns how many there are, and those whose connection
    /// is lent: there it is to be [written out](Route::write_out).
    pub(crate) fn offer<'a>(
        &self,
        users: impl IntoIterator<Item = &'a UserId>,
        run: &Arc<Run>,
    ) -> (usize, Vec<Arc<Route>>) {
        let (mut offered, mut lent) = (0, Vec::new());
        self.table.visit(&mut users.into_iter(), &mut |route| {
            if route.offer(run) {
                lent.push(route.clone());
            }
            offered += 1;
        });
        (offered, lent)
    }

    pub(crate) fn tell(&self, user: &UserId, packet: &Packet) -> usize {
        let mut told = 0;
        self.table.visit(&mut std::iter::once(user), &mut |route| {
            route.tell(packet.clone());
            told += 1;
        });
        told
    }

    pub(crate) fn push(&self, user: &UserId, push: &proto::Push) -> usize {
        let correlation = self.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        let packet = Packet::new(Kind::Notify, Command::Push, correlation, push.encode_to_vec().into());
        self.tell(user, &packet)
    }

    pub(crate) fn kick_user(&self, user: &UserId, kick: RouteKick) {
        self.of(user).iter().for_each(|route| route.kick(kick.clone()));
    }

    pub(crate) fn kick_all(&self, kick: &RouteKick) {
        self.table.all().iter().for_each(|route| route.kick(kick.clone()));
    }

    /// Takes away the routes of connections that have been silent for longer than they may, whatever holds them up.
    pub(crate) fn sweep(&self, now: Timestamp) -> usize {
        let silent = |route: &&Arc<Route>| {
            let patience = Duration::from_millis(route.patience.load(Ordering::Relaxed));
            now.since(Timestamp(route.seen.load(Ordering::Relaxed))) > patience
        };
        let stale: Vec<_> = self.table.all();
        let stale = stale.iter().filter(silent).filter(|route| self.table.remove(route));
        stale.map(|route| route.kick(RouteKick::new(proto::kicked::Reason::Unspecified))).count()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::service::sample::line;

    fn run(positions: &[u64], bytes: usize) -> Arc<Run> {
        Run::of(&positions.iter().map(|position| line(*position, "alice", bytes)).collect::<Vec<_>>())
    }

    fn route() -> (Routes, Arc<Route>) {
        let routes = Routes::default();
        let (route, _) = routes.add(&"bob".into(), "phone", proto::DeviceClass::Phone, Timestamp(0));
        route.begin(0);
        (routes, route)
    }

    fn taken(route: &Route, after: u64, limit: usize) -> Option<(Vec<u64>, u64)> {
        taken_to(route, after, u64::MAX, limit)
    }

    fn taken_to(route: &Route, after: u64, until: u64, limit: usize) -> Option<(Vec<u64>, u64)> {
        let (pieces, until) = route.take(after, until, limit, usize::MAX)?;
        let positions = pieces.iter().flat_map(|piece| piece.items().iter().map(|item| item.position.0));
        Some((positions.collect(), until))
    }

    #[test]
    fn runs_are_taken_in_pieces_each_entry_once() {
        let (routes, route) = route();
        let bob = UserId::from("bob");
        routes.offer([&bob], &run(&[1, 2, 5], 10));
        routes.offer([&bob], &run(&[6, 9], 10));
        assert_eq!(taken(&route, 0, 2), Some((vec![1, 2], 2)));
        assert_eq!(taken(&route, 2, 2), Some((vec![5, 6], 6)));
        assert_eq!(taken(&route, 6, 9), Some((vec![9], 9)));
        assert_eq!(taken(&route, 9, 9), Some((vec![], 9)));
        assert_eq!(taken(&route, 8, 9), None, "what was passed stands in the log");
        // Read from the log up to the middle of a run: the rest of it comes from memory.
        routes.offer([&bob], &run(&[10, 12, 14], 10));
        assert_eq!(taken_to(&route, 11, 13, 9), Some((vec![12], 13)));
        assert_eq!(taken_to(&route, 13, 13, 9), Some((vec![], 13)));
        assert_eq!(taken(&route, 13, 9), Some((vec![14], 14)));
        // Bytes are a bound as well; what is left stays.
        routes.offer([&bob], &run(&[20], 1000));
        routes.offer([&bob], &run(&[21], 1000));
        routes.offer([&bob], &run(&[22], 1000));
        let (pieces, reached) = route.take(14, u64::MAX, 9, 1500).unwrap();
        assert_eq!((pieces.len(), reached), (2, 21));
        assert_eq!(taken(&route, 21, 9), Some((vec![22], 22)));
    }

    #[test]
    fn i09_whoever_reads_slowly_costs_no_more_than_the_queue() {
        let (routes, route) = route();
        let bob = UserId::from("bob");
        for position in 1..10_000 {
            routes.offer([&bob], &run(&[position], 1000));
            let (entries, bytes) = route.waiting();
            assert!(entries <= QUEUE && bytes <= QUEUE_BYTES);
        }
        assert!(taken(&route, 0, 9).is_none(), "the log must be read");
        let from = route.queue.lock().from;
        assert_eq!(taken(&route, from, 1).unwrap().0, [from + 1], "and from there on memory has all of it");
    }

    #[test]
    fn i7_a_route_that_is_silent_for_two_heartbeats_is_gone_whatever_its_connection_does() {
        let (routes, route) = route();
        let bob = UserId::from("bob");
        route.patience.store(400, Ordering::Relaxed);
        assert_eq!(routes.sweep(Timestamp(400)), 0);
        route.seen.store(300, Ordering::Relaxed);
        assert_eq!((routes.sweep(Timestamp(700)), routes.of(&bob).len()), (0, 1));
        assert_eq!((routes.sweep(Timestamp(701)), routes.of(&bob).len()), (1, 0));
        assert!(route.news().kick.is_some(), "and its connection is told");
        assert_eq!(routes.sweep(Timestamp(9000)), 0);
    }
}
