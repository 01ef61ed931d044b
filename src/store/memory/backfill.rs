//! Jobs that fetch the past, and the record of traffic.

use std::cmp::Reverse;

use async_trait::async_trait;
use switchboard_contract::storage::{BackfillItem, BackfillJob, BackfillPart, Backfills, Traffic, TrafficHour};
use switchboard_contract::{App, BackfillId, Result, TenantId, Timestamp};

use super::MemoryStore;
use super::state::State;
use crate::store::content::backfill_part;

impl State {
    pub(super) fn put_backfill(&mut self, tenant: &TenantId, job: &BackfillJob, item: Option<&BackfillItem>) {
        self.backfills.insert((tenant.clone(), job.id), job.clone());
        if let Some(item) = item
            && let Some(known) = self.backfill_items.get_mut(&(tenant.clone(), job.id, backfill_part(&item.part)))
        {
            known.clone_from(item);
        }
    }
}

#[async_trait]
impl Backfills for MemoryStore {
    async fn put_backfill(&self, tenant: &TenantId, job: &BackfillJob, item: Option<&BackfillItem>) -> Result<()> {
        self.state()?.put_backfill(tenant, job, item);
        Ok(())
    }

    async fn plan_backfill(&self, tenant: &TenantId, id: BackfillId, items: &[BackfillItem]) -> Result<()> {
        let mut state = self.state()?;
        for item in items {
            state.backfill_items.entry((tenant.clone(), id, backfill_part(&item.part))).or_insert_with(|| item.clone());
        }
        Ok(())
    }

    async fn planned_backfill(&self, tenant: &TenantId, id: BackfillId) -> Result<(u64, u64)> {
        let state = self.state()?;
        let own = state.backfill_items.iter().filter(|((of, job, _), _)| of == tenant && *job == id);
        let (files, conversations): (Vec<_>, Vec<_>) =
            own.partition(|(_, item)| matches!(item.part, BackfillPart::Hour(_)));
        Ok((files.len() as u64, conversations.len() as u64))
    }

    async fn backfill(&self, tenant: &TenantId, id: BackfillId) -> Result<Option<BackfillJob>> {
        Ok(self.state()?.backfills.get(&(tenant.clone(), id)).cloned())
    }

    async fn backfills(&self, tenant: &TenantId, open: bool, limit: usize) -> Result<Vec<BackfillJob>> {
        let state = self.state()?;
        let own = state.backfills.iter().rev().filter(|((of, _), _)| of == tenant).map(|(_, job)| job);
        Ok(own.filter(|job| !open || job.state.is_open()).take(limit).cloned().collect())
    }

    async fn next_backfill_item(&self, tenant: &TenantId, id: BackfillId) -> Result<Option<BackfillItem>> {
        let state = self.state()?;
        let own = state.backfill_items.iter().filter(|((of, job, _), _)| of == tenant && *job == id);
        let open = own.filter(|(_, item)| item.outcome.is_none());
        let order = |((_, _, name), item): &(&(TenantId, BackfillId, String), &BackfillItem)| {
            (Reverse(matches!(item.part, BackfillPart::Hour(_))), Reverse(item.rank), name.clone())
        };
        Ok(open.min_by_key(order).map(|(_, item)| item.clone()))
    }

    async fn ended_backfill_items(
        &self,
        tenant: &TenantId,
        id: BackfillId,
        outcome: &str,
        limit: usize,
    ) -> Result<Vec<BackfillItem>> {
        let state = self.state()?;
        let own = state.backfill_items.iter().filter(|((of, job, _), _)| of == tenant && *job == id);
        let ended = own.filter(|(_, item)| item.outcome.as_deref() == Some(outcome));
        Ok(ended.take(limit).map(|(_, item)| item.clone()).collect())
    }
}

#[async_trait]
impl Traffic for MemoryStore {
    async fn put_traffic(&self, tenant: &TenantId, app: &App, hour: &TrafficHour, keep: Timestamp) -> Result<()> {
        let mut state = self.state()?;
        let hours = state.traffic.entry((tenant.clone(), app.clone())).or_default();
        hours.insert(hour.hour, *hour);
        *hours = hours.split_off(&keep);
        Ok(())
    }

    async fn traffic(&self, tenant: &TenantId, app: &App, since: Timestamp) -> Result<Vec<TrafficHour>> {
        let state = self.state()?;
        let hours = state.traffic.get(&(tenant.clone(), app.clone()));
        Ok(hours.into_iter().flat_map(|hours| hours.range(since..)).map(|(_, hour)| *hour).collect())
    }
}
