//! Events from other sources than callbacks: files, queries, evidence of own sends. The same dedupe, no inbox: who
//! submits can fetch them again.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use switchboard_contract::storage::{Appended, LegGuard, PageMark, QuarantineReason};
use switchboard_contract::{Error, ErrorKind, Inbound, Origin, ProviderId, RawCallback, Result, TenantId, Topic};

use tokio_util::sync::CancellationToken;

use super::Ingest;
use super::receive::quarantined;
use super::resolve::{Arrival, Gathered};
use super::retry::is_transient;
use super::source::Source;
use super::witness;

impl Ingest {
    /// Journals decoded events of the provider registered under `alias`, in order, and says what became of each:
    /// for a message found with its recipient offline, of the message. Events already known change nothing.
    /// Durable when it returns. An event that the store refuses for its content goes to quarantine with an alert and
    /// is left out of the answer; the others are journalled.
    ///
    /// From files and queries events are marked `late`, unless they are own sends.
    ///
    /// # Errors
    /// `NotFound` for an alias not registered with this tenant; `Storage`, `StorageFull`: then a part may have been
    /// journalled, and repeating the call is harmless.
    pub async fn submit(
        &self,
        tenant: &TenantId,
        alias: &ProviderId,
        origin: Origin,
        items: Vec<Inbound>,
    ) -> Result<Vec<Appended>> {
        self.take(tenant, alias, origin, items, false, &mut None).await
    }

    /// As [`submit`](Self::submit), for what may be missing: an event known already leaves no trace, whatever it says.
    /// With the last of the items `page` is written, and taken when it is.
    pub(crate) async fn submit_missing(
        &self,
        tenant: &TenantId,
        alias: &ProviderId,
        origin: Origin,
        items: Vec<Inbound>,
        page: &mut Option<PageMark>,
    ) -> Result<Vec<Appended>> {
        self.take(tenant, alias, origin, items, true, page).await
    }

    async fn take(
        &self,
        tenant: &TenantId,
        alias: &ProviderId,
        origin: Origin,
        items: Vec<Inbound>,
        only_missing: bool,
        page: &mut Option<PageMark>,
    ) -> Result<Vec<Appended>> {
        let core = self.core();
        let source = core.sources.by_alias(alias).filter(|source| source.address.tenant == *tenant);
        let Some(source) = source else {
            return Err(Error::new(ErrorKind::NotFound, "no such provider").with_provider(alias.clone()));
        };
        let unhurried = CancellationToken::new();
        for item in &items {
            if !core.settler.settle_now(&source, &item.place).await? {
                core.settler.settle(&source, &item.place, &unhurried).await;
            }
        }
        let mut answers = Vec::with_capacity(items.len());
        let mut rest = items.as_slice();
        let mut careful = 0_usize;
        while !rest.is_empty() {
            let limit = if careful > 0 { 1 } else { core.config.batch_events };
            let last = rest.len() <= limit;
            let part = &rest[..rest.len().min(limit)];
            let mut gathered = Gathered::default();
            gathered.commit.only_missing = only_missing;
            gathered.commit.page = page.as_ref().filter(|_| last).cloned().map(Box::new);
            let (used, outcome) = self.write(&source, origin, part, gathered).await;
            match outcome {
                Ok(written) => {
                    page.take_if(|page| {
                        page.count(&written);
                        used == rest.len()
                    });
                    answers.extend(written);
                }
                // A send moved on between look-up and write: nothing is written, and the look-up is made again.
                Err(error) if LegGuard::is_broken(&error) => continue,
                Err(error) if is_transient(&error) => return Err(error),
                Err(_) if used > 1 => {
                    careful = used;
                    continue;
                }
                Err(error) => self.set_aside(&source, &rest[0], &error).await?,
            }
            careful = careful.saturating_sub(used);
            rest = &rest[used..];
        }
        Ok(answers)
    }

    /// Writes the first items in one transaction; how many were tried, and what became of them.
    async fn write(
        &self,
        source: &Arc<Source>,
        origin: Origin,
        items: &[Inbound],
        mut gathered: Gathered,
    ) -> (usize, Result<Vec<Appended>>) {
        let core = self.core();
        let arrival = Arrival { source, origin, at: core.clock.now() };
        let asked = items.iter().map(|item| (source.as_ref(), item));
        if let Err(error) = core.resolver.ask(asked, &mut gathered).await {
            return (1, Err(error));
        }
        // Where each item's own draft stands.
        let mut firsts = Vec::new();
        for item in items {
            if gathered.must_be_written_before(item) || gathered.bytes > core.config.batch_bytes {
                break;
            }
            firsts.push(gathered.commit.drafts.len());
            if let Err(error) = core.resolver.resolve(arrival, item, &mut gathered).await {
                return (firsts.len(), Err(error));
            }
        }
        if firsts.len() < items.len() {
            gathered.commit.page = None;
        }
        let sightings = gathered.sightings;
        let outcome = core.store.commit(gathered.commit).await.map(|committed| {
            witness::tell(&core.witness, sightings);
            committed.drafts.iter().for_each(|appended| source.count_appended(appended));
            firsts.iter().filter_map(|at| committed.drafts.get(*at).copied()).collect()
        });
        (firsts.len(), outcome)
    }

    async fn set_aside(&self, source: &Source, item: &Inbound, error: &Error) -> Result<()> {
        let core = self.core();
        tracing::error!(provider = %source.alias(), op = "submit", %error, "the store refuses an event");
        let alias = source.alias().as_str().to_owned();
        metrics::counter!("switchboard_ingest_refused_total", "provider" => alias).increment(1);
        let raw = RawCallback {
            path: String::new(),
            query: String::new(),
            headers: Vec::new(),
            body: Bytes::clone(&item.raw),
            received_at: core.clock.now(),
        };
        let kept = quarantined(source, raw, QuarantineReason::Refused);
        core.store.put_aside(kept, core.config.quarantine_items).await?;
        let detail = json!({ "reason": error.kind().as_str(), "class": item.key.class.code() });
        core.aside.tell(&source.address.tenant, Topic::Connection, "event_refused", source.alias(), detail);
        Ok(())
    }
}
