//! What is remembered of one app's ids, bounded.

use std::sync::atomic::{AtomicU64, Ordering};

use moka::sync::Cache;
use parking_lot::Mutex;
use switchboard_contract::{GroupId, UserId, VendorGroupId, VendorUserId};

/// Users remembered in each direction. An entry is about 200 bytes.
const USERS: u64 = 65_536;
/// Groups and rooms remembered in each direction.
const GROUPS: u64 = 32_768;

/// A business group id and whether it is a room.
pub(super) type GroupName = (GroupId, bool);

#[derive(Debug)]
pub(super) struct AppMap {
    pub(super) users_in: Cache<VendorUserId, UserId>,
    pub(super) users_out: Cache<UserId, VendorUserId>,
    pub(super) groups_in: Cache<VendorGroupId, GroupName>,
    pub(super) groups_out: Cache<GroupName, VendorGroupId>,
    /// Whether the table binds any user of this app; `None` until asked.
    users_bound: Mutex<Option<bool>>,
    /// Rises with every binding, so that an answer looked up before it is not remembered after it.
    generation: AtomicU64,
}

impl Default for AppMap {
    fn default() -> Self {
        Self {
            users_in: Cache::new(USERS),
            users_out: Cache::new(USERS),
            groups_in: Cache::new(GROUPS),
            groups_out: Cache::new(GROUPS),
            users_bound: Mutex::new(None),
            generation: AtomicU64::new(0),
        }
    }
}

impl AppMap {
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Runs `remember` unless something was bound since `generation`.
    pub(super) fn remember(&self, generation: u64, remember: impl FnOnce(&Self)) {
        if self.generation() == generation {
            remember(self);
        }
    }

    pub(super) fn users_bound(&self) -> Option<bool> {
        *self.users_bound.lock()
    }

    pub(super) fn set_users_bound(&self, generation: u64, bound: bool) {
        let mut known = self.users_bound.lock();
        if self.generation() == generation {
            *known = Some(bound);
        }
    }

    /// A user was bound: spelling alone no longer answers, and what it answered is forgotten.
    pub(super) fn user_bound(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        if self.users_bound.lock().replace(true) != Some(true) {
            self.users_in.invalidate_all();
            self.users_out.invalidate_all();
        }
    }

    pub(super) fn group_bound(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Any number of pairs changed.
    pub(super) fn forget(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        *self.users_bound.lock() = None;
        self.users_in.invalidate_all();
        self.users_out.invalidate_all();
        self.groups_in.invalidate_all();
        self.groups_out.invalidate_all();
    }
}
