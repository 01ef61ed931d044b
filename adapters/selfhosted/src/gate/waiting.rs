//! What a session waits for, and how it asks.

use std::pin::pin;
use std::task::{Context, Poll};

use futures::future::FutureExt as _;
use futures::stream::StreamExt as _;
use switchboard_contract::{Clock, Result, Sleep, Timestamp};

use super::session::{Finished, Session};
use crate::bell::Caller;
use crate::frame::Packet;
use crate::transport::{Lost, Transport};

/// The next time at which something is to be done.
#[derive(Default)]
pub(super) struct Timer {
    due: Option<(Timestamp, Sleep)>,
    caller: Caller,
}

impl Timer {
    pub(super) fn set(&mut self, due: Timestamp, now: Timestamp, clock: &dyn Clock) {
        if self.due.as_ref().is_none_or(|(at, _)| *at > due) {
            self.due = Some((due, clock.sleep(due.since(now))));
            self.caller.renew();
        }
    }

    fn poll(&mut self, context: &Context<'_>) -> Poll<()> {
        let Some((_, sleep)) = &mut self.due else { return Poll::Pending };
        let over = self.caller.poll(context, |context| sleep.poll_unpin(context));
        if over.is_ready() {
            self.due = None;
        }
        over
    }
}

/// What a session waits for.
pub(super) enum Event {
    Finished(Finished),
    News,
    Packet(Result<Packet, Lost>),
    Time,
}

impl Session {
    /// What happens next.
    pub(super) fn poll_event(
        &mut self,
        transport: &mut Transport,
        reader: &Caller,
        timer: &mut Timer,
        context: &mut Context<'_>,
    ) -> Poll<Event> {
        if self.take_back() {
            return Poll::Ready(Event::News);
        }
        if !self.begun.is_empty()
            && let Poll::Ready(Some(done)) = self.begun.poll_next_unpin(context)
        {
            return Poll::Ready(Event::Finished(done));
        }
        // While entries wait for the end of a pause, more of them are no news.
        let listens = !self.live || !self.behind || self.flush_at.is_none();
        if listens && self.route.bell.poll_rung(context).is_ready() {
            return Poll::Ready(Event::News);
        }
        let room = self.begun.len() < self.shared.config.max_requests;
        if room && let Poll::Ready(packet) = reader.poll(context, |context| pin!(transport.read()).poll(context)) {
            return Poll::Ready(Event::Packet(packet));
        }
        if timer.poll(context).is_ready() {
            return Poll::Ready(Event::Time);
        }
        self.lend(transport);
        Poll::Pending
    }
}
