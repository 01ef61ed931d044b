//! The deadline of the whole call.

use switchboard_contract::{Error, ErrorKind, Retry};
use tower::{Service, ServiceExt};

use super::{Stage, Ticket, service};
use crate::call::{Replay, VendorReply};

#[derive(Clone, Debug)]
pub(crate) struct Deadline<S> {
    pub(crate) inner: S,
}

service!(Deadline);

impl<S> Deadline<S>
where
    S: Service<Ticket, Response = VendorReply, Error = Error> + Clone,
{
    async fn answer(self, ticket: Ticket) -> Result<VendorReply, Error> {
        let (trip, deadline, replay) = (ticket.trip.clone(), ticket.deadline, ticket.call.replay);
        if let Ok(result) = tokio::time::timeout_at(deadline, self.inner.oneshot(ticket)).await {
            return result;
        }
        let stage = trip.stage();
        let may_have_acted = stage == Stage::InFlight || (trip.in_doubt() && replay != Replay::ReadOnly);
        let kind = if stage == Stage::Queued { ErrorKind::RateLimited } else { ErrorKind::Timeout };
        let words = match stage {
            Stage::Queued => "the deadline passed while waiting for the quota",
            Stage::InFlight => "the deadline passed while waiting for the answer",
            Stage::Idle => "the deadline passed",
        };
        let retry = if may_have_acted { Retry::OutcomeUnknown } else { Retry::Safe { after: None } };
        Err(Error::new(kind, words).with_retry(retry))
    }
}
