//! Who is connected, and the status events that follow.

use std::collections::BTreeMap;

use super::{
    callback::OnlineStatus,
    model::Session,
    state::{Core, Event},
};

/// Why a session ended, as the online-status callback tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Departure {
    /// The connection is gone: `1`.
    Offline,
    /// The user logged out: `2`.
    Logout,
}

impl Core {
    /// Connects a device and returns the session id.
    pub(crate) fn connect(&mut self, user: &str, os: &str, ip: &str, now_ms: i64) -> String {
        let session_id = format!("s-{:04x}", self.next_serial());
        let session = Session { os: os.to_owned(), ip: ip.to_owned() };
        self.user(user, now_ms).sessions.insert(session_id.clone(), session);
        self.emit(Event::Online(OnlineStatus {
            userid: user.to_owned(),
            status: "0",
            os: Some(os.to_owned()),
            time: now_ms,
            client_ip: ip.to_owned(),
            session_id: session_id.clone(),
        }));
        session_id
    }

    /// Ends one session, or all when none is named. Returns how many ended.
    pub(crate) fn leave(&mut self, user: &str, session: Option<&str>, departure: Departure, now_ms: i64) -> usize {
        let Some(account) = self.users.get_mut(user) else { return 0 };
        let ended: BTreeMap<String, Session> = match session {
            Some(id) => account.sessions.remove_entry(id).into_iter().collect(),
            None => std::mem::take(&mut account.sessions),
        };
        let count = ended.len();
        let status = match departure {
            Departure::Offline => "1",
            Departure::Logout => "2",
        };
        for (session_id, Session { ip, .. }) in ended {
            self.emit(Event::Online(OnlineStatus {
                userid: user.to_owned(),
                status,
                os: None,
                time: now_ms,
                client_ip: ip,
                session_id,
            }));
        }
        count
    }

    /// The server ends every session of a user.
    pub(crate) fn disconnect(&mut self, user: &str, now_ms: i64) {
        self.leave(user, None, Departure::Offline, now_ms);
    }
}
