//! Who is online: user → devices → connections. In memory; a connection that goes takes its route along.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use prost::Message as _;
use switchboard_contract::{Timestamp, UserId};
use tokio::sync::Notify;

use super::item::Item;
use crate::frame::{Command, Kind, Packet};
use crate::proto;

/// Entries that wait for one connection in memory. Beyond that it reads the log.
const QUEUE: usize = 512;
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
    queue: Mutex<Queue>,
    pub(crate) wake: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Arc<Item>>,
    /// Everything of this user behind this position is in `items`.
    from: u64,
    /// The last of them.
    tail: u64,
    notices: VecDeque<Packet>,
    kick: Option<RouteKick>,
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
        queue.from = queue.from.max(tail);
        queue.tail = queue.tail.max(tail);
        while queue.items.front().is_some_and(|item| item.position.0 <= tail) {
            queue.items.pop_front();
        }
    }

    fn offer(&self, item: &Arc<Item>) {
        let mut queue = self.queue.lock();
        queue.tail = queue.tail.max(item.position.0);
        if queue.items.len() >= QUEUE {
            queue.items.clear();
            queue.from = item.position.0;
        } else {
            queue.items.push_back(item.clone());
        }
        drop(queue);
        self.wake.notify_one();
    }

    fn tell(&self, packet: Packet) {
        let mut queue = self.queue.lock();
        if queue.notices.len() >= NOTICES {
            queue.notices.pop_front();
        }
        queue.notices.push_back(packet);
        drop(queue);
        self.wake.notify_one();
    }

    pub(crate) fn kick(&self, kick: RouteKick) {
        self.queue.lock().kick.get_or_insert(kick);
        self.wake.notify_one();
    }

    pub(crate) fn news(&self) -> News {
        let mut queue = self.queue.lock();
        News { tail: queue.tail, notices: std::mem::take(&mut queue.notices), kick: queue.kick.clone() }
    }

    /// The entries behind `after`, and how far they are all there are; `None` when the log must be read.
    pub(crate) fn take(&self, after: u64, limit: usize) -> Option<(Vec<Arc<Item>>, u64)> {
        let mut queue = self.queue.lock();
        if after < queue.from {
            return None;
        }
        while queue.items.front().is_some_and(|item| item.position.0 <= after) {
            queue.items.pop_front();
        }
        queue.from = after;
        let taken: Vec<_> = queue.items.iter().take(limit).cloned().collect();
        let until = match taken.last() {
            Some(last) if taken.len() < queue.items.len() => last.position.0,
            _ => queue.tail,
        };
        Some((taken, until))
    }
}

/// All routes. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes(Arc<Table>);

#[derive(Debug, Default)]
struct Table {
    users: RwLock<HashMap<UserId, Vec<Arc<Route>>>>,
    sessions: AtomicU64,
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
            session: self.0.sessions.fetch_add(1, Ordering::Relaxed) + 1,
            user: user.clone(),
            device: device.to_owned(),
            class,
            since: now,
            seen: AtomicI64::new(now.0),
            queue: Mutex::default(),
            wake: Notify::new(),
        });
        let mut users = self.0.users.write();
        let routes = users.entry(user.clone()).or_default();
        let (kept, replaced): (Vec<_>, Vec<_>) =
            routes.drain(..).partition(|other| other.device != device && other.class != class);
        *routes = kept;
        routes.push(route.clone());
        drop(users);
        for other in &replaced {
            let reason = proto::kicked::Reason::OtherDevice;
            other.kick(RouteKick { reason, by_device: device.to_owned() });
        }
        (route, replaced)
    }

    /// Removes a route. Returns whether it was still the one of its device.
    pub(crate) fn remove(&self, route: &Route) -> bool {
        let mut users = self.0.users.write();
        let Some(routes) = users.get_mut(&route.user) else { return false };
        let before = routes.len();
        routes.retain(|other| other.session != route.session);
        let was_there = routes.len() < before;
        if routes.is_empty() {
            users.remove(&route.user);
        }
        was_there
    }

    pub(crate) fn of(&self, user: &UserId) -> Vec<Arc<Route>> {
        self.0.users.read().get(user).cloned().unwrap_or_default()
    }

    /// Hands an item to every device of these users that is online.
    pub(crate) fn offer<'a>(&self, users: impl IntoIterator<Item = &'a UserId>, item: &Arc<Item>) {
        let table = self.0.users.read();
        for user in users {
            for route in table.get(user).into_iter().flatten() {
                route.offer(item);
            }
        }
    }

    pub(crate) fn tell(&self, user: &UserId, packet: &Packet) -> usize {
        let routes = self.of(user);
        routes.iter().for_each(|route| route.tell(packet.clone()));
        routes.len()
    }

    pub(crate) fn push(&self, user: &UserId, push: &proto::Push) -> usize {
        let correlation = self.0.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        let packet = Packet::new(Kind::Notify, Command::Push, correlation, push.encode_to_vec().into());
        self.tell(user, &packet)
    }

    pub(crate) fn kick_user(&self, user: &UserId, kick: RouteKick) {
        self.of(user).iter().for_each(|route| route.kick(kick.clone()));
    }

    pub(crate) fn kick_all(&self, kick: &RouteKick) {
        let all: Vec<_> = self.0.users.read().values().flatten().cloned().collect();
        all.iter().for_each(|route| route.kick(kick.clone()));
    }
}
