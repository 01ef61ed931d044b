//! Devices that come and go, and the contacts of their users.

use super::app::App;
use super::events::GroupRef;
use super::model::{Device, Group, User};

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
        let (gone, kept) = std::mem::take(&mut user.devices)
            .into_iter()
            .partition(|device| resource.is_none_or(|resource| device.resource == resource));
        user.devices = kept;
        let name = user.name.clone();
        drop(data);
        let gone: Vec<Device> = gone;
        let mut sessions = self.sessions.lock();
        gone.iter().for_each(|device| sessions.end(&name, &device.resource));
        drop(sessions);
        gone
    }

    /// Ends sessions and reports each; a user without devices leaves the rooms.
    pub(crate) fn drop_devices(&self, user: &str, resource: Option<&str>, reason: &'static str) -> bool {
        let gone = self.take_devices(user, resource);
        for device in &gone {
            self.emit(&self.status_event(user, device, reason));
        }
        let rooms: Vec<GroupRef> = {
            let data = self.data.lock();
            let online = data.users.get(user).is_some_and(User::online);
            let in_room = |group: &&Group| group.room && group.has(user) && group.owner != user;
            let rooms = data.groups.values().filter(in_room).map(GroupRef::from);
            if online || gone.is_empty() { Vec::new() } else { rooms.collect() }
        };
        for room in rooms {
            // The user was in the room a moment ago; having left meanwhile is no failure.
            let _ = self.leave(&room.id, &[user.to_owned()], "QUIT", user);
        }
        !gone.is_empty()
    }
}
