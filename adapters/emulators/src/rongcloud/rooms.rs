//! Life of chatrooms: made by a call or by the first to join, ended by a call, a rule or idleness.

use super::{
    callback::ChatroomStatus,
    model::Room,
    state::{Core, Event},
};

const NORMAL_CALL: u8 = 0;
const BANNED: u8 = 2;
const AUTO_DESTROY: u8 = 3;

const CREATE: u8 = 0;
const JOIN: u8 = 1;
const QUIT: u8 = 2;
const DESTROY: u8 = 3;

impl Core {
    fn room_event(&mut self, room: &str, users: &[&str], status: u8, kind: u8, now_ms: i64) {
        self.emit(Event::Chatroom(ChatroomStatus {
            chatroom_id: room.to_owned(),
            user_ids: users.iter().map(|user| (*user).to_owned()).collect(),
            status,
            kind,
            time: now_ms,
        }));
    }

    /// The room, made (and announced) when it does not exist.
    pub(crate) fn room_or_create(&mut self, id: &str, creator: Option<&str>, now_ms: i64) -> &mut Room {
        if !self.rooms.contains_key(id) {
            let creators: Vec<&str> = creator.into_iter().collect();
            self.room_event(id, &creators, NORMAL_CALL, CREATE, now_ms);
        }
        self.rooms.entry(id.to_owned()).or_insert_with(|| Room {
            created_ms: now_ms,
            active_ms: now_ms,
            ..Room::default()
        })
    }

    /// A user enters; entering twice is no event.
    pub(crate) fn join_room(&mut self, id: &str, user: &str, now_ms: i64) {
        let room = self.room_or_create(id, Some(user), now_ms);
        room.active_ms = now_ms;
        if room.members.insert(user.to_owned(), now_ms).is_none() {
            self.room_event(id, &[user], NORMAL_CALL, JOIN, now_ms);
        }
    }

    /// A user leaves; `false` when the user was not there.
    pub(crate) fn quit_room(&mut self, id: &str, user: &str, now_ms: i64) -> bool {
        self.remove_from_room(id, user, NORMAL_CALL, now_ms)
    }

    /// A user is put out by a ban.
    pub(crate) fn ban_from_room(&mut self, id: &str, user: &str, now_ms: i64) {
        self.remove_from_room(id, user, BANNED, now_ms);
    }

    fn remove_from_room(&mut self, id: &str, user: &str, status: u8, now_ms: i64) -> bool {
        let left = self.rooms.get_mut(id).and_then(|room| {
            room.members.remove(user)?;
            room.entries.retain(|_, entry| !(entry.auto_delete && entry.owner == user));
            Some(())
        });
        if left.is_some() {
            self.room_event(id, &[user], status, QUIT, now_ms);
        }
        left.is_some()
    }

    /// A call destroys the room.
    pub(crate) fn destroy_room(&mut self, id: &str, now_ms: i64) {
        if self.rooms.remove(id).is_some() {
            self.room_event(id, &[], NORMAL_CALL, DESTROY, now_ms);
        }
    }

    /// Destroys rooms that are due: idle ones, and those whose fixed time has come. Keep-alive rooms stay.
    pub(crate) fn sweep_rooms(&mut self, now_ms: i64) {
        let idle_ms = i64::try_from(self.settings.chatrooms.idle_destroy_ms).unwrap_or(i64::MAX);
        let due: Vec<String> = self
            .rooms
            .iter()
            .filter(|(_, room)| !room.keepalive && room_ends_ms(room, idle_ms) <= now_ms)
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            self.rooms.remove(&id);
            self.room_event(&id, &[], AUTO_DESTROY, DESTROY, now_ms);
        }
    }
}

fn room_ends_ms(room: &Room, idle_ms: i64) -> i64 {
    match room.destroy {
        None => room.active_ms.saturating_add(idle_ms),
        Some(rule) if rule.kind == 0 => room.active_ms.saturating_add(rule.minutes * 60_000),
        Some(rule) => room.created_ms.saturating_add(rule.minutes * 60_000),
    }
}
