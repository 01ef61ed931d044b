//! The few frames of the client's long connection that the vendor's web SDK needs: log in, send, receive, recall,
//! read, log out. Observed with SDK 4.21.1; not a documented contract.

mod content;
mod link;
mod roaming;
mod wire;

use std::collections::HashMap;

use tokio::sync::mpsc;

pub(crate) use link::connect;
pub(crate) use roaming::{DIRECT_DOMAIN, GROUP_DOMAIN, encoded};

/// What a link is told.
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

/// Open links by user and resource.
#[derive(Debug, Default)]
pub(crate) struct Links {
    open: HashMap<String, Vec<(String, mpsc::UnboundedSender<Signal>)>>,
}

impl Links {
    fn add(&mut self, user: &str, resource: &str) -> mpsc::UnboundedReceiver<Signal> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.open.entry(user.to_owned()).or_default().push((resource.to_owned(), sender));
        receiver
    }

    /// Tells every link of a user; those that are gone are forgotten.
    pub(crate) fn tell(&mut self, user: &str, signal: &Signal) {
        if let Some(links) = self.open.get_mut(user) {
            links.retain(|(_, link)| link.send(signal.clone()).is_ok());
        }
    }

    /// Ends the link of a device.
    pub(crate) fn end(&mut self, user: &str, resource: &str) {
        if let Some(links) = self.open.get_mut(user) {
            for (_, link) in links.extract_if(.., |(name, _)| name == resource) {
                // A link that ended by itself listens no longer.
                let _ = link.send(Signal::Ended);
            }
        }
    }
}
