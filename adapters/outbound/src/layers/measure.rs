//! The outermost layer: one span for the whole call, its latency and its error.

use std::sync::Arc;

use switchboard_contract::{Clock, Error, ErrorKind};
use tower::{Service, ServiceExt};
use tracing::Instrument;

use super::{Labels, Ticket, outcome, service};
use crate::call::VendorReply;
use crate::parts::clock_skew;

#[derive(Clone, Debug)]
pub(crate) struct Measure<S> {
    pub(crate) inner: S,
    pub(crate) labels: Labels,
    pub(crate) clock: Arc<dyn Clock>,
}

service!(Measure);

impl<S> Measure<S>
where
    S: Service<Ticket, Response = VendorReply, Error = Error> + Clone,
{
    async fn answer(self, ticket: Ticket) -> Result<VendorReply, Error> {
        let operation = ticket.call.operation;
        let span =
            tracing::info_span!("vendor_call", vendor = %self.labels.vendor, app = %self.labels.app, op = operation);
        let began = tokio::time::Instant::now();
        let result = self.inner.oneshot(ticket).instrument(span).await;
        let took = began.elapsed();
        metrics::histogram!(
            "switchboard_vendor_call_seconds",
            self.labels.outcome(operation, outcome(&result)).to_vec()
        )
        .record(took.as_secs_f64());
        match result {
            Ok(mut reply) => {
                if let Some(skew) = clock_skew(&reply.headers, self.clock.now()) {
                    metrics::gauge!("switchboard_vendor_clock_skew_seconds", self.labels.app_only().to_vec()).set(skew);
                }
                reply.took = took;
                Ok(reply)
            }
            Err(error) => {
                metrics::counter!(
                    "switchboard_vendor_errors_total",
                    self.labels.outcome(operation, error.kind().as_str()).to_vec()
                )
                .increment(1);
                // The tables send every documented code elsewhere, so what ends here is new.
                if error.kind() == ErrorKind::Internal && error.vendor_code().is_some() {
                    metrics::counter!(
                        "switchboard_vendor_unknown_codes_total",
                        self.labels.operation(operation).to_vec()
                    )
                    .increment(1);
                }
                Err(error.with_operation(operation))
            }
        }
    }
}
