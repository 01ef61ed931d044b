//! The few frames of the client's long connection that the vendor's web SDK needs: log in, send, receive, recall,
//! read, log out. Observed with SDK 4.21.1; not a documented contract.

mod content;
mod roaming;
mod session;
mod wire;

use std::collections::HashMap;

use tokio::sync::mpsc;

pub(crate) use roaming::encoded;
pub(crate) use session::connect;

/// What a session is told.
#[derive(Clone, Debug)]
pub(crate) enum Signal {
    /// Something new is in this conversation.
    New {
        /// The peer, group or room.
        queue: String,
        /// Groups and rooms live under another domain.
        group: bool,
    },
    /// The device was logged out.
    Ended,
}

/// Open sessions by user and resource.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: HashMap<String, Vec<(String, mpsc::UnboundedSender<Signal>)>>,
}

impl Sessions {
    fn add(&mut self, user: &str, resource: &str) -> mpsc::UnboundedReceiver<Signal> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.open.entry(user.to_owned()).or_default().push((resource.to_owned(), sender));
        receiver
    }

    /// Tells every session of a user; those that are gone are forgotten.
    pub(crate) fn tell(&mut self, user: &str, signal: &Signal) {
        if let Some(sessions) = self.open.get_mut(user) {
            sessions.retain(|(_, session)| session.send(signal.clone()).is_ok());
        }
    }

    /// Ends the session of a device.
    pub(crate) fn end(&mut self, user: &str, resource: &str) {
        if let Some(sessions) = self.open.get_mut(user) {
            for (_, session) in sessions.extract_if(.., |(name, _)| name == resource) {
                // A session that ended by itself listens no longer.
                let _ = session.send(Signal::Ended);
            }
        }
    }
}
