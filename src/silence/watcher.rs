//! The task that watches one app.

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use serde_json::json;
use switchboard_contract::storage::{Store, TrafficHour};
use switchboard_contract::{App, Clock, ProviderId, TenantId, Timestamp, Topic};
use tokio::sync::watch;

use super::SilenceConfig;
use super::detector::{Act, Cause, Detector};
use super::model::{KEPT, Model};
use crate::catchup::{Catchup, ProviderState};
use crate::ingest::{Arrivals, WeakIngest};
use crate::notices::Notices;
use crate::reconcile::{HOUR, hour_of};

/// A callback takes no longer than this to come.
const ON_ITS_WAY: Duration = Duration::from_secs(2);
/// While silence means nothing, it is looked this often whether it does again.
const AWAY: Duration = Duration::from_secs(5);
/// So often what was counted is written down.
const WRITE: Duration = Duration::from_secs(60);

pub(super) struct Watcher {
    pub(super) tenant: TenantId,
    pub(super) alias: ProviderId,
    pub(super) app: App,
    pub(super) store: Arc<dyn Store>,
    pub(super) ingest: WeakIngest,
    pub(super) catchup: Catchup,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: SilenceConfig,
    pub(super) notices: Notices,
    pub(super) silent: watch::Sender<Option<Timestamp>>,
}

/// What was counted so far.
struct Count {
    model: Model,
    detector: Detector,
    hour: TrafficHour,
    accepted: u64,
    looked: Timestamp,
    written: Timestamp,
    fetched: Timestamp,
    cause: Cause,
}

impl Watcher {
    /// Works until dropped, or until the way in is closed.
    pub(super) async fn run(self) {
        let now = self.clock.now();
        let hours = match self.store.traffic(&self.tenant, &self.app, now - KEPT).await {
            Ok(hours) => hours,
            // Without the weeks before it is watched by the last minutes alone.
            Err(error) => {
                tracing::error!(provider = %self.alias, %error, "the record of traffic cannot be read");
                Vec::new()
            }
        };
        let model = Model::new(hours);
        let mut count = Count {
            hour: model.hour(hour_of(now)).unwrap_or_else(|| fresh(hour_of(now))),
            detector: Detector::new(self.config.clone(), now),
            model,
            accepted: 0,
            looked: now,
            written: now,
            fetched: now,
            cause: Cause::Silence,
        };
        loop {
            let Some(next) = self.look(&mut count).await else { return };
            let now = self.clock.now();
            let next = next.min(hour_of(now) + HOUR).min(now + WRITE);
            self.clock.sleep(next.since(now).max(Duration::from_millis(100))).await;
        }
    }

    /// One look; when to look again, `None` when nothing is left to watch.
    async fn look(&self, count: &mut Count) -> Option<Timestamp> {
        let ingest = self.ingest.upgrade()?;
        let arrivals = ingest.arrivals(&self.alias)?;
        let now = self.clock.now();
        self.record(count, &arrivals, now).await;
        // An alarm leads to catching up itself; it lasts until callbacks come again.
        if !count.detector.is_silent() && !self.watching(&ingest) {
            count.detector.restart(now);
            return Some(now + AWAY);
        }
        let expected = count.model.expect(count.detector.since_last(&arrivals), now);
        gauge!("switchboard_callbacks_expected_per_second", "provider" => self.alias.as_str().to_owned())
            .set(expected.map_or(0.0, |expected| expected.rate));
        let (act, next) = count.detector.look(now, &arrivals, expected);
        match act {
            Act::Nothing => self.fetch_meanwhile(count, now),
            Act::Ask => {
                if self.something_was_said(count.detector.since()).await {
                    // What was said just now may be on its way to us.
                    let rate = expected.map_or(1.0, |expected| expected.rate);
                    self.clock.sleep(ON_ITS_WAY.min(Duration::from_secs_f64((0.5 / rate).max(0.25)))).await;
                    let came = ingest.arrivals(&self.alias).is_some_and(|now| now.accepted > arrivals.accepted);
                    if !came {
                        let Act::Alarm(cause) = count.detector.confirmed() else { return Some(next) };
                        self.alarm(count, cause, expected.map(|expected| expected.rate), "asked").await;
                    }
                }
            }
            Act::Alarm(cause) => self.alarm(count, cause, expected.map(|expected| expected.rate), "expected").await,
            Act::Back => self.back(count, now).await,
        }
        Some(next)
    }

    /// Whether silence would mean anything: not while we are catching up or cannot take callbacks.
    fn watching(&self, ingest: &crate::ingest::Ingest) -> bool {
        ingest.accepting().is_ok() && self.catchup.state(&self.alias) == Some(ProviderState::Online)
    }

    /// Adds what came since the last look to its hour, and writes it down now and then.
    async fn record(&self, count: &mut Count, arrivals: &Arrivals, now: Timestamp) {
        let hour = hour_of(now);
        if hour != count.hour.hour {
            self.write(count, now).await;
            count.hour = count.model.hour(hour).unwrap_or_else(|| fresh(hour));
        }
        count.hour.callbacks += arrivals.accepted.saturating_sub(count.accepted);
        if !count.detector.is_silent() {
            // A look that comes late saw nothing of the time before.
            count.hour.watched += now.since(count.looked).min(WRITE * 2);
            count.hour.longest_gap = count.hour.longest_gap.max(arrivals.longest_gap);
        }
        count.accepted = arrivals.accepted;
        count.looked = now;
        if let Some(last) = arrivals.last {
            count.model.saw(last, arrivals.accepted);
        }
        if now.since(count.written) >= WRITE {
            self.write(count, now).await;
        }
    }

    async fn write(&self, count: &mut Count, now: Timestamp) {
        count.written = now;
        count.model.put(count.hour);
        if count.hour.watched.is_zero() {
            return;
        }
        let written = self.store.put_traffic(&self.tenant, &self.app, &count.hour, count.hour.hour - KEPT).await;
        if let Err(error) = written {
            tracing::warn!(provider = %self.alias, %error, "the record of traffic could not be written");
        }
    }

    /// Asks the vendor for what its most recent conversations have; what was missed is journalled by the way.
    async fn something_was_said(&self, since: Timestamp) -> bool {
        if self.config.ask_conversations == 0 {
            return false;
        }
        counter!("switchboard_silence_asked_total", "provider" => self.alias.as_str().to_owned()).increment(1);
        let found = self.catchup.evidence(&self.tenant, &self.alias, since, self.config.ask_conversations).await;
        match found {
            Ok(found) => found.is_some_and(|messages| messages > 0),
            Err(error) => {
                tracing::debug!(provider = %self.alias, %error, "the vendor could not be asked");
                false
            }
        }
    }

    async fn alarm(&self, count: &mut Count, cause: Cause, expected: Option<f64>, by: &'static str) {
        let (since, now) = (count.detector.since(), self.clock.now());
        (count.cause, count.fetched) = (cause, now);
        tracing::error!(
            provider = %self.alias, app = %self.app, cause = cause.as_str(), since = %since.to_rfc3339(),
            expected_per_second = expected, by, "callbacks do not come"
        );
        let alias = self.alias.as_str().to_owned();
        counter!("switchboard_silence_alerts_total", "provider" => alias.clone(), "cause" => cause.as_str())
            .increment(1);
        gauge!("switchboard_callbacks_silent", "provider" => alias).set(1.0);
        self.silent.send_replace(Some(since));
        self.repair(since, cause);
        let detail = json!({
            "since": since.to_rfc3339(), "cause": cause.as_str(), "expected_per_second": expected, "by": by,
            "after_seconds": now.since(since).as_secs_f64(),
        });
        self.notices.tell(Topic::ProviderHealth, "callbacks_silent", &since.0.to_string(), detail).await;
    }

    /// Opens a repair window from the last callback on, and fetches what can be had at once.
    fn repair(&self, since: Timestamp, cause: Cause) {
        if let Err(error) = self.catchup.catch_up(&self.tenant, &self.alias, since, cause.as_str()) {
            tracing::error!(provider = %self.alias, %error, "a repair window could not be opened");
        }
    }

    fn fetch_meanwhile(&self, count: &mut Count, now: Timestamp) {
        if count.detector.is_silent() && now.since(count.fetched) >= self.config.fetch_every {
            count.fetched = now;
            self.repair(count.detector.since(), count.cause);
        }
    }

    async fn back(&self, count: &mut Count, now: Timestamp) {
        let since = self.silent.send_replace(None).unwrap_or(now);
        let seconds = now.since(since).as_secs_f64();
        tracing::warn!(provider = %self.alias, app = %self.app, seconds, "callbacks come again");
        gauge!("switchboard_callbacks_silent", "provider" => self.alias.as_str().to_owned()).set(0.0);
        count.model.forget_recent();
        self.repair(since, count.cause);
        let detail = json!({ "since": since.to_rfc3339(), "seconds": seconds, "cause": count.cause.as_str() });
        self.notices.tell(Topic::ProviderHealth, "callbacks_back", &since.0.to_string(), detail).await;
    }
}

fn fresh(hour: Timestamp) -> TrafficHour {
    TrafficHour { hour, callbacks: 0, watched: Duration::ZERO, longest_gap: Duration::ZERO }
}
