//! What failed: the retry queue and the dead letters.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use switchboard_contract::storage::{Setback, SetbackChange, SetbackCount, SetbackFilter, SetbackKind, Setbacks};
use switchboard_contract::{App, Result, TenantId};

use super::MemoryStore;

/// All setbacks, by number and by name.
#[derive(Default)]
pub(super) struct Failures {
    by_number: BTreeMap<u64, Setback>,
    numbers: HashMap<(TenantId, SetbackKind, String), u64>,
    last: u64,
}

impl Failures {
    pub(super) fn change<'a>(&mut self, changes: impl Iterator<Item = &'a SetbackChange>) {
        for change in changes {
            match change {
                SetbackChange::Put(setback) => {
                    self.last += 1;
                    let name = (setback.tenant.clone(), setback.kind, setback.key.clone());
                    let before = self.numbers.insert(name, self.last);
                    before.map(|before| self.by_number.remove(&before));
                    self.by_number.insert(self.last, Setback { number: self.last, ..setback.as_ref().clone() });
                }
                SetbackChange::Clear { tenant, kind, key } => {
                    let number = self.numbers.remove(&(tenant.clone(), *kind, key.clone()));
                    number.map(|number| self.by_number.remove(&number));
                }
            }
        }
    }
}

#[async_trait]
impl Setbacks for MemoryStore {
    async fn setbacks(
        &self,
        tenant: &TenantId,
        filter: &SetbackFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Setback>> {
        let state = self.state()?;
        let behind = state.setbacks.by_number.range(after.saturating_add(1)..).map(|(_, one)| one);
        Ok(behind.filter(|one| one.tenant == *tenant && filter.admits(one)).take(limit).cloned().collect())
    }

    async fn setback(&self, tenant: &TenantId, kind: SetbackKind, key: &str) -> Result<Option<Setback>> {
        let state = self.state()?;
        let number = state.setbacks.numbers.get(&(tenant.clone(), kind, key.to_owned()));
        Ok(number.and_then(|number| state.setbacks.by_number.get(number)).cloned())
    }

    async fn due_setbacks(
        &self,
        tenant: &TenantId,
        app: &App,
        kind: SetbackKind,
        limit: usize,
    ) -> Result<Vec<Setback>> {
        let state = self.state()?;
        let filter =
            SetbackFilter { dead: Some(false), kind: Some(kind), app: Some(app.clone()), ..Default::default() };
        let all = state.setbacks.by_number.values();
        let mut due: Vec<_> = all.filter(|one| one.tenant == *tenant && filter.admits(one)).cloned().collect();
        due.sort_by_key(|one| (one.next_at, one.number));
        due.truncate(limit);
        Ok(due)
    }

    async fn setback_counts(&self) -> Result<Vec<SetbackCount>> {
        let state = self.state()?;
        let mut counts: BTreeMap<(TenantId, SetbackKind), (u64, u64)> = BTreeMap::new();
        for one in state.setbacks.by_number.values() {
            let (waiting, dead) = counts.entry((one.tenant.clone(), one.kind)).or_default();
            *(if one.is_dead() { dead } else { waiting }) += 1;
        }
        let count = |((tenant, kind), (waiting, dead))| SetbackCount { tenant, kind, waiting, dead };
        Ok(counts.into_iter().map(count).collect())
    }
}
