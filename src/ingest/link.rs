//! A provider's own connection: what it brings is received as any callback is, and acknowledged only once it is kept.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use switchboard_contract::{ErrorKind, Link, Provider, ProviderId, RawCallback, TenantId, Timestamp, Topic};

use super::health::WeakIngest;
use super::{Ingest, start};

/// A link that answers is told to be alive at most this often.
const BEAT: Duration = Duration::from_secs(30);

impl Ingest {
    /// Reads the provider's link, if it has one, until the way in stops.
    pub(super) fn follow(&self, alias: &ProviderId, tenant: &TenantId, provider: &Arc<dyn Provider>) {
        if provider.link().is_none() {
            return;
        }
        let core = self.core();
        let follower = Follower {
            ingest: self.downgrade(),
            alias: alias.clone(),
            tenant: tenant.clone(),
            provider: provider.clone(),
            up: None,
            beaten: None,
        };
        let waits = super::Backoff::new(core.config.retry_first, core.config.retry_longest);
        let clock = core.clock.clone();
        let stop = core.stop.clone();
        start(&self.0.tasks, "link", async move {
            let mut follower = follower;
            let work = async {
                let mut wait = waits.waits();
                while let Some(tried) = follower.step().await {
                    if tried {
                        wait = waits.waits();
                    } else {
                        clock.sleep(wait.next()).await;
                    }
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }
}

struct Follower {
    ingest: WeakIngest,
    alias: ProviderId,
    tenant: TenantId,
    provider: Arc<dyn Provider>,
    /// What was last told of the link.
    up: Option<bool>,
    /// When it was last told to be alive.
    beaten: Option<Timestamp>,
}

impl Follower {
    /// One look. `None` when there is nothing left to follow, `Some(false)` when the link gave nothing but an error.
    async fn step(&mut self) -> Option<bool> {
        let provider = self.provider.clone();
        let link: &dyn Link = provider.link()?;
        match link.next().await {
            Ok(callbacks) => {
                self.tell(true, None)?;
                self.beat()?;
                for callback in callbacks {
                    self.keep(callback).await?;
                }
                Some(true)
            }
            Err(error) if error.kind() == ErrorKind::Closed => None,
            Err(error) => {
                tracing::warn!(provider = %self.alias, %error, "a link is down");
                metrics::counter!("switchboard_link_failures_total", "provider" => self.alias.to_string()).increment(1);
                self.tell(false, Some(error.kind()))?;
                Some(false)
            }
        }
    }

    /// Until it is kept: the next look would acknowledge it.
    async fn keep(&self, callback: RawCallback) -> Option<()> {
        loop {
            let ingest = self.ingest.upgrade()?;
            let answer = ingest.receive(&self.alias, callback.clone()).await;
            match answer.status {
                // What is refused for good stands in quarantine or is counted; asking again would change nothing.
                503 => ingest.core().clock.sleep(ingest.core().config.retry_longest).await,
                _ => return Some(()),
            }
        }
    }

    /// A sign of life: every look that ends well is one, whether it brought anything or not.
    fn beat(&mut self) -> Option<()> {
        let ingest = self.ingest.upgrade()?;
        let now = ingest.core().clock.now();
        if self.beaten.is_none_or(|last| now.since(last) >= BEAT) {
            self.beaten = Some(now);
            let detail = json!({ "every_seconds": BEAT.as_secs() });
            ingest.core().aside.tell(&self.tenant, Topic::Heartbeat, "link_alive", &self.alias, detail);
        }
        Some(())
    }

    fn tell(&mut self, up: bool, why: Option<ErrorKind>) -> Option<()> {
        let ingest = self.ingest.upgrade()?;
        if self.up.replace(up) != Some(up) {
            let word = if up { "link_up" } else { "link_down" };
            let detail = json!({ "reason": why.map(ErrorKind::as_str) });
            metrics::gauge!("switchboard_link_up", "provider" => self.alias.to_string()).set(f64::from(u8::from(up)));
            ingest.core().aside.tell(&self.tenant, Topic::Connection, word, &self.alias, detail);
        }
        Some(())
    }
}
