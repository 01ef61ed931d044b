//! The deadline of one attempt.

use std::time::Duration;

use switchboard_contract::{Error, ErrorKind, Retry};
use tower::{Service, ServiceExt};

use super::{Stage, Ticket, service};
use crate::call::VendorReply;

#[derive(Clone, Debug)]
pub(crate) struct AttemptTimeout<S> {
    pub(crate) inner: S,
    pub(crate) limit: Duration,
}

service!(AttemptTimeout);

impl<S> AttemptTimeout<S>
where
    S: Service<Ticket, Response = VendorReply, Error = Error> + Clone,
{
    async fn answer(self, ticket: Ticket) -> Result<VendorReply, Error> {
        let trip = ticket.trip.clone();
        match tokio::time::timeout(self.limit, self.inner.oneshot(ticket)).await {
            Ok(result) => result,
            Err(_) => Err(timed_out(&trip, "no answer within the attempt's time")),
        }
    }
}

fn timed_out(trip: &super::Trip, words: &str) -> Error {
    let retry = if trip.stage() == Stage::InFlight {
        trip.blame_address();
        Retry::OutcomeUnknown
    } else {
        Retry::Safe { after: None }
    };
    trip.enter(Stage::Idle);
    Error::new(ErrorKind::Timeout, words).with_retry(retry)
}
