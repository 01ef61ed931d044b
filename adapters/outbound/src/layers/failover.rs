//! Chooses the address of each attempt and reports the ones that failed.

use std::sync::Arc;

use switchboard_contract::{Clock, Error};
use tower::{Service, ServiceExt};

use super::{Labels, Ticket, service};
use crate::call::VendorReply;
use crate::domains::Domains;

#[derive(Clone, Debug)]
pub(crate) struct Failover<S> {
    pub(crate) inner: S,
    pub(crate) domains: Arc<Domains>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) labels: Labels,
}

service!(Failover);

impl<S> Failover<S>
where
    S: Service<Ticket, Response = VendorReply, Error = Error> + Clone,
{
    async fn answer(self, mut ticket: Ticket) -> Result<VendorReply, Error> {
        let (number, base) = self.domains.current();
        ticket.base = Some(base.clone());
        let trip = ticket.trip.clone();
        let result = self.inner.oneshot(ticket).await;
        if trip.take_blame() && self.domains.report(number, self.clock.now()) {
            metrics::counter!(
                "switchboard_vendor_failovers_total",
                vec![
                    metrics::Label::new("vendor", self.labels.vendor.clone()),
                    metrics::Label::new("app", self.labels.app.clone()),
                ]
            )
            .increment(1);
            tracing::warn!(vendor = %self.labels.vendor, app = %self.labels.app, "vendor address failed, next one taken");
        }
        result
    }
}
