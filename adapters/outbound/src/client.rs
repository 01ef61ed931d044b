//! The client: the layers put together once, shared by its clones.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use switchboard_contract::{App, Clock, Error, Result, Timestamp};
use tokio::time::Instant;
use tower::ServiceExt;
use tower::retry::Retry;
use tower::util::BoxCloneSyncService;

use crate::call::{VendorCall, VendorReply};
use crate::config::OutboundConfig;
use crate::domains::Domains;
use crate::layers::{AttemptTimeout, Classify, Deadline, Failover, Labels, Limit, Measure, Sign, Ticket, Trip};
use crate::parts::{Classifier, NoSigner, Signer};
use crate::quota::{Limiter, Quotas};
use crate::retry::{Backoff, RetryPolicy};
use crate::transport::{Clients, Send, build};

/// Calls one vendor for one app. Clones share connections, quotas and the address in use.
#[derive(Clone)]
pub struct Outbound {
    shared: Arc<Shared>,
    signer: Arc<dyn Signer>,
}

struct Shared {
    config: OutboundConfig,
    clock: Arc<dyn Clock>,
    limiter: Arc<Limiter>,
    labels: Labels,
    policy: RetryPolicy,
    files: reqwest::Client,
    stack: BoxCloneSyncService<Ticket, VendorReply, Error>,
}

/// What an [`Outbound`] is made of.
#[derive(Debug)]
pub struct OutboundBuilder {
    config: OutboundConfig,
    app: App,
    clock: Arc<dyn Clock>,
    classifier: Arc<dyn Classifier>,
    signer: Arc<dyn Signer>,
    quotas: Quotas,
    seed: Option<u64>,
}

impl OutboundBuilder {
    /// Adds credentials; without, calls go unsigned.
    #[must_use]
    pub fn with_signer(mut self, signer: Arc<dyn Signer>) -> Self {
        self.signer = signer;
        self
    }

    /// Keeps within these quotas; without, nothing is limited.
    #[must_use]
    pub fn with_quotas(mut self, quotas: Quotas) -> Self {
        self.quotas = quotas;
        self
    }

    /// Makes the jitter of the waits repeatable.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Puts the layers together.
    ///
    /// # Errors
    /// `Config` naming every fault of the settings.
    pub fn build(self) -> Result<Outbound> {
        let Self { config, app, clock, classifier, signer, quotas, seed } = self;
        config.validate()?;
        let labels = Labels::of(&app);
        let random = seed.map_or_else(SmallRng::from_os_rng, SmallRng::seed_from_u64);
        let backoff = Backoff::new(&config, Arc::new(Mutex::new(random)));
        let policy = RetryPolicy::new(backoff, config.max_retries, clock.clone(), labels.clone());
        let domains = Arc::new(Domains::new(config.base_urls.clone(), config.failover_damping));
        let limiter = Arc::new(Limiter::new(&quotas, config.quota_share, clock.clone()));

        // Innermost first; the order is that of the crate's documentation, read from its end.
        let send = Send { clients: Arc::new(Clients::new(&config)?), max_response_bytes: config.max_response_bytes };
        let sign = Sign { inner: send };
        let classify = Classify { inner: sign, classifier, clock: clock.clone(), labels: labels.clone() };
        let attempt = AttemptTimeout { inner: classify, limit: config.attempt_timeout };
        let limit = Limit { inner: attempt, limiter: limiter.clone(), labels: labels.clone() };
        let failover = Failover { inner: limit, domains, clock: clock.clone(), labels: labels.clone() };
        let retry = Retry::new(policy.clone(), failover);
        let deadline = Deadline { inner: retry };
        let measure = Measure { inner: deadline, labels: labels.clone(), clock: clock.clone() };

        let files = build(&config, false)?;
        let stack = BoxCloneSyncService::new(measure);
        Ok(Outbound { shared: Arc::new(Shared { config, clock, limiter, labels, policy, files, stack }), signer })
    }
}

impl Outbound {
    /// Starts to put a client together.
    pub fn builder(
        config: OutboundConfig,
        app: App,
        clock: Arc<dyn Clock>,
        classifier: Arc<dyn Classifier>,
    ) -> OutboundBuilder {
        OutboundBuilder {
            config,
            app,
            clock,
            classifier,
            signer: Arc::new(NoSigner),
            quotas: Quotas::new(),
            seed: None,
        }
    }

    /// The same client, quotas and connections with other credentials. A signer that calls the vendor for its token
    /// holds a clone of its own with [`NoSigner`].
    #[must_use]
    pub fn with_signer(&self, signer: Arc<dyn Signer>) -> Self {
        Self { shared: self.shared.clone(), signer }
    }

    /// Makes a call and reads the answer whole. Dropping the future abandons the call, whose outcome is then unknown.
    ///
    /// # Errors
    /// The classifier's, `Timeout` for the deadlines, `Unavailable` for the network, `RateLimited` when the deadline
    /// passed while waiting for the quota, `TooLarge` for an answer above the limit. The error's
    /// [`Retry`](switchboard_contract::Retry) says whether the vendor can have carried the call out.
    pub async fn call(&self, call: VendorCall) -> Result<VendorReply> {
        let ticket = Ticket {
            call: Arc::new(call),
            signer: self.signer.clone(),
            trip: Arc::new(Trip::default()),
            deadline: Instant::now() + self.shared.config.total_deadline,
            base: None,
            signed: http::HeaderMap::new(),
        };
        self.shared.stack.clone().oneshot(ticket).await
    }

    /// Another process, such as an earlier life of this one, may have made calls until `ended`: every quota but those
    /// of the groups in `except` counts as used up by them.
    pub fn charge_earlier(&self, ended: Timestamp, except: &[&str]) {
        self.shared.limiter.charge(ended, except);
    }

    /// The settings.
    pub fn config(&self) -> &OutboundConfig {
        &self.shared.config
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    pub(crate) fn labels(&self) -> &Labels {
        &self.shared.labels
    }

    pub(crate) fn policy(&self) -> RetryPolicy {
        self.shared.policy.clone()
    }

    pub(crate) fn files(&self) -> &reqwest::Client {
        &self.shared.files
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").field("vendor", &self.shared.labels.vendor).finish_non_exhaustive()
    }
}
