//! Devices that come and go, and the contacts of their users.

use std::sync::Arc;
use std::time::Duration;

use super::app::App;
use super::events::GroupRef;
use super::model::{Device, Group, User};
use crate::common::Domains;

/// The presence of a device that has gone.
const OFFLINE: &str = "0";

impl App {
    pub(crate) fn resource_of(&self, user: &str) -> String {
        let data = self.data.lock();
        let device = data.users.get(user).and_then(|user| user.devices.first());
        device.map_or_else(|| "android_emulator".to_owned(), |device| device.resource.clone())
    }

    pub(crate) fn change_contacts(&self, user: &str, operation: &str, other: &str) {
        let mut data = self.data.lock();
        let pairs = [(user.to_owned(), other.to_owned()), (other.to_owned(), user.to_owned())];
        for (owner, peer) in &pairs {
            let Some(owner) = data.users.get_mut(owner) else { continue };
            match operation {
                "accept" if !owner.contacts.contains(peer) => owner.contacts.push(peer.clone()),
                "remove" => owner.contacts.retain(|contact| contact != peer),
                _ => {}
            }
        }
        if let Some(owner) = data.users.get_mut(user) {
            match operation {
                "ban" if !owner.blocked.iter().any(|name| name == other) => {
                    owner.blocked.push(other.to_owned());
                }
                "allow" => owner.blocked.retain(|name| name != other),
                _ => {}
            }
        }
    }

    /// Takes devices away without a report: all, or the one with this resource.
    pub(crate) fn take_devices(&self, user: &str, resource: Option<&str>) -> Vec<Device> {
        let now_ms = self.now_ms();
        let mut data = self.data.lock();
        let Some(user) = data.users.get_mut(user) else { return Vec::new() };
        user.last_seen_ms = now_ms;
        let (gone, kept): (Vec<Device>, Vec<Device>) = std::mem::take(&mut user.devices)
            .into_iter()
            .partition(|device| resource.is_none_or(|resource| device.resource == resource));
        user.devices = kept;
        for device in &gone {
            if user.devices.iter().all(|kept| kept.os != device.os) {
                user.presence.insert(device.os.clone(), OFFLINE.to_owned());
            }
        }
        let name = user.name.clone();
        drop(data);
        let mut links = self.links.lock();
        gone.iter().for_each(|device| links.end(&name, &device.resource));
        drop(links);
        gone
    }

    /// Ends logins and reports each. False when there was none.
    pub(crate) fn drop_devices(self: &Arc<Self>, user: &str, resource: Option<&str>, reason: &'static str) -> bool {
        let gone = self.take_devices(user, resource);
        for device in &gone {
            self.emit(&self.status_event(user, device, reason));
        }
        if !gone.is_empty() {
            self.leave_rooms_later(user);
        }
        !gone.is_empty()
    }

    /// Members who stay offline leave the rooms by themselves; owners stay.
    pub(crate) fn leave_rooms_later(self: &Arc<Self>, user: &str) {
        let wait = Duration::from_millis(self.settings().users.room_leave_ms);
        let user = user.to_owned();
        self.later(wait, move |app| {
            let rooms: Vec<GroupRef> = {
                let data = app.data.lock();
                let online = data.users.get(&user).is_some_and(User::online);
                let in_room = |group: &&Group| group.room && group.has(&user) && group.owner != user && !online;
                data.groups.values().filter(in_room).map(GroupRef::from).collect()
            };
            for room in rooms {
                // Having left meanwhile is no failure.
                let _ = app.leave(&room.id, std::slice::from_ref(&user), "QUIT", &user);
            }
        });
    }

    /// Does something after a wait of the vendor's clock, unless the emulator stops first.
    pub(crate) fn later(self: &Arc<Self>, wait: Duration, work: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let app = Arc::clone(self);
        let stopping = self.domains.get().map(Domains::stopping).unwrap_or_default();
        tokio::spawn(async move {
            tokio::select! {
                () = app.time.sleep(wait) => work(&app),
                () = stopping.cancelled() => {}
            }
        });
    }
}
