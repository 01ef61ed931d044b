//! Who has a conversation: at most one message of each is under way or in doubt at a time, over all apps, so that a
//! change of vendor keeps the order.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use switchboard_contract::{ConversationId, MessageId, TenantId, Timestamp};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug)]
struct Hold {
    message: MessageId,
    /// `None` while the call is under way: its end is certain to come.
    until: Option<Timestamp>,
    /// The order of a message that is queued and only keeps its place: an older one may go before it.
    queued: Option<u64>,
}

/// The conversations that are held. Bounded by the calls under way and the messages in doubt.
#[derive(Debug)]
pub(crate) struct Holds {
    held: Mutex<HashMap<(TenantId, ConversationId), Hold>>,
    refused: AtomicBool,
    released: watch::Sender<u64>,
}

impl Holds {
    pub(crate) fn new() -> Self {
        Self { held: Mutex::default(), refused: AtomicBool::new(false), released: watch::Sender::new(0) }
    }

    /// Takes the conversation for a message that was accepted as number `order`.
    ///
    /// # Errors
    /// When another message has it: until when at most, if that is known.
    pub(crate) fn claim(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        message: MessageId,
        order: u64,
        now: Timestamp,
    ) -> Result<(), Option<Timestamp>> {
        let mut held = self.held.lock();
        let hold =
            held.entry((tenant.clone(), conversation.clone())).or_insert(Hold { message, until: None, queued: None });
        let younger = hold.queued.is_some_and(|queued| queued > order);
        if hold.message != message && !younger && hold.until.is_none_or(|until| until > now) {
            // Stored before the lock is let go, so that the release that follows sees it.
            self.refused.store(true, Ordering::Relaxed);
            return Err(hold.until);
        }
        *hold = Hold { message, until: None, queued: None };
        Ok(())
    }

    /// Takes or keeps the conversation for a message in doubt; `until` ends the hold by itself. A conversation that
    /// another message has is left alone.
    pub(crate) fn doubt(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        message: MessageId,
        until: Option<Timestamp>,
    ) {
        self.keep(tenant, conversation, Hold { message, until, queued: None });
    }

    /// As [`doubt`](Self::doubt), for a message that is queued again as number `order`.
    pub(crate) fn queue(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        message: MessageId,
        order: u64,
        until: Timestamp,
    ) {
        self.keep(tenant, conversation, Hold { message, until: Some(until), queued: Some(order) });
    }

    fn keep(&self, tenant: &TenantId, conversation: &ConversationId, wanted: Hold) {
        let mut held = self.held.lock();
        let hold = held.entry((tenant.clone(), conversation.clone())).or_insert(wanted);
        if hold.message == wanted.message {
            *hold = wanted;
        }
    }

    /// Lets the conversation go, if this message has it.
    pub(crate) fn release(&self, tenant: &TenantId, conversation: &ConversationId, message: MessageId) {
        let key = (tenant.clone(), conversation.clone());
        let mut held = self.held.lock();
        if held.get(&key).is_some_and(|hold| hold.message == message) {
            held.remove(&key);
        }
        drop(held);
        if self.refused.swap(false, Ordering::Relaxed) {
            self.released.send_modify(|version| *version += 1);
        }
    }

    /// Changes whenever a conversation was let go after somebody had been refused one.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.released.subscribe()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_conversation_has_one_message_at_a_time_and_a_doubt_ends_by_itself() {
        let holds = Holds::new();
        let mut released = holds.watch();
        let (tenant, conversation) = (TenantId::default(), ConversationId::room(&"r".into()));
        let (one, other) = (MessageId::generate(), MessageId::generate());
        holds.claim(&tenant, &conversation, one, 1, Timestamp(0)).unwrap();
        holds.claim(&tenant, &conversation, one, 1, Timestamp(0)).unwrap();
        assert_eq!(holds.claim(&tenant, &conversation, other, 2, Timestamp(0)), Err(None));
        holds.doubt(&tenant, &conversation, other, None);
        holds.doubt(&tenant, &conversation, one, Some(Timestamp(10)));
        assert_eq!(holds.claim(&tenant, &conversation, other, 2, Timestamp(9)), Err(Some(Timestamp(10))));
        holds.claim(&tenant, &conversation, other, 2, Timestamp(10)).unwrap();
        holds.release(&tenant, &conversation, one);
        assert_eq!(holds.claim(&tenant, &conversation, one, 1, Timestamp(10)), Err(None));
        assert!(released.has_changed().unwrap());
        released.mark_unchanged();
        holds.release(&tenant, &conversation, other);
        assert!(released.has_changed().unwrap());
    }

    #[test]
    fn an_older_message_goes_before_one_that_only_waits() {
        let holds = Holds::new();
        let (tenant, conversation) = (TenantId::default(), ConversationId::room(&"r".into()));
        let (older, waiting, younger) = (MessageId::generate(), MessageId::generate(), MessageId::generate());
        holds.queue(&tenant, &conversation, waiting, 5, Timestamp(10));
        assert_eq!(holds.claim(&tenant, &conversation, younger, 6, Timestamp(0)), Err(Some(Timestamp(10))));
        holds.claim(&tenant, &conversation, older, 4, Timestamp(0)).unwrap();
        assert_eq!(holds.claim(&tenant, &conversation, waiting, 5, Timestamp(0)), Err(None), "it is under way now");
        holds.release(&tenant, &conversation, older);
        // In doubt it is no longer one that waits.
        holds.queue(&tenant, &conversation, waiting, 5, Timestamp(10));
        holds.doubt(&tenant, &conversation, waiting, Some(Timestamp(10)));
        assert_eq!(holds.claim(&tenant, &conversation, older, 4, Timestamp(0)), Err(Some(Timestamp(10))));
    }
}
