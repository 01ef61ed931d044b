//! The vendor's quotas, spent by every attempt.

use std::sync::Arc;
use std::time::Duration;

use switchboard_contract::{Error, ErrorKind, Retry};
use tower::{Service, ServiceExt};

use super::{Labels, Stage, Ticket, service};
use crate::call::VendorReply;
use crate::quota::Limiter;

/// A vendor that names a longer wait than this is not believed for the whole group; the caller still hears it.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub(crate) struct Limit<S> {
    pub(crate) inner: S,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) labels: Labels,
}

service!(Limit);

impl<S> Limit<S>
where
    S: Service<Ticket, Response = VendorReply, Error = Error> + Clone,
{
    async fn answer(self, ticket: Ticket) -> Result<VendorReply, Error> {
        let group = ticket.call.group;
        ticket.trip.enter(Stage::Queued);
        let waiting = Waiting::new(&self.labels, group);
        let spent = self.limiter.acquire(group, ticket.call.units).await;
        drop(waiting);
        metrics::histogram!("switchboard_vendor_quota_wait_seconds", self.labels.group(group).to_vec())
            .record(spent.waited().as_secs_f64());
        ticket.trip.enter(Stage::Idle);
        let result = self.inner.oneshot(ticket).await;
        drop(spent);
        if let Err(error) = &result
            && let (ErrorKind::RateLimited, Retry::Safe { after: Some(wait) }) = (error.kind(), error.retry())
        {
            self.limiter.pause(group, wait.min(LONGEST_PAUSE));
        }
        result
    }
}

/// Counts a waiting call, also when its future is dropped.
struct Waiting(metrics::Gauge);

impl Waiting {
    fn new(labels: &Labels, group: &'static str) -> Self {
        let gauge = metrics::gauge!("switchboard_vendor_quota_waiting", labels.group(group).to_vec());
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
