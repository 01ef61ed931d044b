//! The two layers nearest to the wire: reading the answer, and signing the attempt.

use std::sync::Arc;

use http::HeaderMap;
use switchboard_contract::{Clock, Error, Retry};
use tower::{Service, ServiceExt};

use super::{Labels, Ticket, outcome, service};
use crate::call::VendorReply;
use crate::parts::{Classifier, clock_skew, retry_after};

/// Turns an answer into a success or the vendor's error.
#[derive(Clone, Debug)]
pub(crate) struct Classify<S> {
    pub(crate) inner: S,
    pub(crate) classifier: Arc<dyn Classifier>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) labels: Labels,
}

service!(Classify);

impl<S> Classify<S>
where
    S: Service<Ticket, Response = VendorReply, Error = Error> + Clone,
{
    async fn answer(self, ticket: Ticket) -> Result<VendorReply, Error> {
        let call = ticket.call.clone();
        let answered = self.inner.oneshot(ticket).await;
        if let Some(skew) = answered.as_ref().ok().and_then(|reply| clock_skew(&reply.headers, self.clock.now())) {
            metrics::gauge!("switchboard_vendor_clock_skew_seconds", self.labels.app_alone().to_vec()).set(skew);
        }
        let result = match answered {
            Ok(reply) => match self.classifier.check(&call, &reply) {
                Ok(()) => Ok(reply),
                Err(error) => Err(match (error.retry(), retry_after(&reply.headers, self.clock.now())) {
                    (Retry::Safe { .. }, Some(wait)) => error.with_retry(Retry::Safe { after: Some(wait) }),
                    _ => error,
                }),
            },
            Err(error) => Err(error),
        };
        metrics::counter!(
            "switchboard_vendor_attempts_total",
            self.labels.outcome(call.operation, outcome(&result)).to_vec()
        )
        .increment(1);
        result
    }
}

/// Signs each attempt, and once more after credentials were refused and could be renewed.
#[derive(Clone, Debug)]
pub(crate) struct Sign<S> {
    pub(crate) inner: S,
}

service!(Sign);

impl<S> Sign<S>
where
    S: Service<Ticket, Response = VendorReply, Error = Error> + Clone,
{
    async fn answer(self, ticket: Ticket) -> Result<VendorReply, Error> {
        let (first, signed) = signed(&ticket).await?;
        let reply = self.inner.clone().oneshot(first).await?;
        if reply.status != 401 || !ticket.signer.refused(&ticket.call, &reply, &signed).await {
            return Ok(reply);
        }
        let (again, _) = self::signed(&ticket).await?;
        self.inner.oneshot(again).await
    }
}

async fn signed(ticket: &Ticket) -> Result<(Ticket, HeaderMap), Error> {
    let mut headers = HeaderMap::new();
    ticket.signer.sign(&ticket.call, &mut headers).await?;
    Ok((Ticket { signed: headers.clone(), ..ticket.clone() }, headers))
}
