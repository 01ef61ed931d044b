//! The layers between the caller and the wire, each a tower service with a typed error.
//!
//! None of them needs back-pressure: they are always ready, and wait inside the call where the deadline sees it.

mod attempt;
mod deadline;
mod failover;
mod limit;
mod measure;
mod sign;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use futures::future::BoxFuture;
use http::HeaderMap;
use switchboard_contract::{App, Error};
use tokio::time::Instant;
use url::Url;

use crate::call::{VendorCall, VendorReply};
use crate::parts::Signer;

pub(crate) use attempt::AttemptTimeout;
pub(crate) use deadline::Deadline;
pub(crate) use failover::Failover;
pub(crate) use limit::Limit;
pub(crate) use measure::Measure;
pub(crate) use sign::{Classify, Sign};

/// What every layer answers with.
pub(crate) type Answer = BoxFuture<'static, Result<VendorReply, Error>>;

/// One call on its way through the layers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub(crate) call: Arc<VendorCall>,
    pub(crate) signer: Arc<dyn Signer>,
    pub(crate) trip: Arc<Trip>,
    /// When the total deadline strikes.
    pub(crate) deadline: Instant,
    /// Chosen by the fail-over layer.
    pub(crate) base: Option<Url>,
    /// Added by the signing layer.
    pub(crate) signed: HeaderMap,
}

/// How far a call has come: what decides, when time runs out, whether the vendor can have acted.
#[derive(Debug, Default)]
pub(crate) struct Trip {
    stage: AtomicU8,
    doubt: AtomicBool,
    fault: AtomicBool,
}

/// Where a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Between attempts, or getting credentials.
    Idle = 0,
    /// Waiting for its quota.
    Queued = 1,
    /// Handed to the network, no answer yet.
    InFlight = 2,
}

impl Trip {
    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::SeqCst);
    }

    pub(crate) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::SeqCst) {
            1 => Stage::Queued,
            2 => Stage::InFlight,
            _ => Stage::Idle,
        }
    }

    /// An attempt ended and nobody knows whether it was carried out.
    pub(crate) fn raise_doubt(&self) {
        self.doubt.store(true, Ordering::SeqCst);
    }

    /// Whether any attempt so far may have been carried out.
    pub(crate) fn in_doubt(&self) -> bool {
        self.doubt.load(Ordering::SeqCst)
    }

    /// The address itself failed: no connection, no answer, or a server error.
    pub(crate) fn blame_address(&self) {
        self.fault.store(true, Ordering::SeqCst);
    }

    /// Whether the address failed since the last look.
    pub(crate) fn take_blame(&self) -> bool {
        self.fault.swap(false, Ordering::SeqCst)
    }
}

/// The names under which the stack's metrics stand.
#[derive(Clone, Debug)]
pub(crate) struct Labels {
    pub(crate) vendor: Arc<str>,
    pub(crate) app: Arc<str>,
}

impl Labels {
    pub(crate) fn of(app: &App) -> Self {
        Self { vendor: app.kind.as_str().into(), app: app.key.as_str().into() }
    }

    /// Labels of one operation.
    pub(crate) fn operation(&self, operation: &'static str) -> [metrics::Label; 3] {
        [self.vendor(), self.app(), metrics::Label::new("operation", operation)]
    }

    /// Labels of one operation with its outcome: `ok` or an error kind.
    pub(crate) fn outcome(&self, operation: &'static str, outcome: &'static str) -> [metrics::Label; 4] {
        let [vendor, app, operation] = self.operation(operation);
        [vendor, app, operation, metrics::Label::new("outcome", outcome)]
    }

    /// Labels of one quota group.
    pub(crate) fn group(&self, group: &'static str) -> [metrics::Label; 3] {
        [self.vendor(), self.app(), metrics::Label::new("group", group)]
    }

    /// Labels of the app alone.
    pub(crate) fn app_only(&self) -> [metrics::Label; 2] {
        [self.vendor(), self.app()]
    }

    fn vendor(&self) -> metrics::Label {
        metrics::Label::new("vendor", self.vendor.clone())
    }

    fn app(&self) -> metrics::Label {
        metrics::Label::new("app", self.app.clone())
    }
}

/// The outcome label of a result.
pub(crate) fn outcome<T>(result: &Result<T, Error>) -> &'static str {
    result.as_ref().map_or_else(|error| error.kind().as_str(), |_| "ok")
}

/// Implements `tower::Service` for a layer by its `answer` method.
macro_rules! service {
    ($layer:ident) => {
        impl<S> tower::Service<$crate::layers::Ticket> for $layer<S>
        where
            S: tower::Service<
                    $crate::layers::Ticket,
                    Response = $crate::call::VendorReply,
                    Error = switchboard_contract::Error,
                    Future: Send,
                > + Clone
                + Send
                + 'static,
        {
            type Response = $crate::call::VendorReply;
            type Error = switchboard_contract::Error;
            type Future = $crate::layers::Answer;

            fn poll_ready(
                &mut self,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Result<(), switchboard_contract::Error>> {
                std::task::Poll::Ready(Ok(()))
            }

            fn call(&mut self, ticket: $crate::layers::Ticket) -> $crate::layers::Answer {
                Box::pin(self.clone().answer(ticket))
            }
        }
    };
}
pub(crate) use service;
