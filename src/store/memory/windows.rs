//! Signs of life and repair windows.

use async_trait::async_trait;
use switchboard_contract::storage::{RepairWindow, RepairWindows};
use switchboard_contract::{App, Error, ErrorKind, Result, TenantId, Timestamp};

use super::MemoryStore;

#[async_trait]
impl RepairWindows for MemoryStore {
    async fn set_alive(&self, tenant: &TenantId, app: &App, at: Timestamp) -> Result<()> {
        let mut state = self.state()?;
        let known = state.alive.entry((tenant.clone(), app.clone())).or_insert(at);
        *known = at.max(*known);
        Ok(())
    }

    async fn alive(&self, tenant: &TenantId, app: &App) -> Result<Option<Timestamp>> {
        Ok(self.state()?.alive.get(&(tenant.clone(), app.clone())).copied())
    }

    async fn served(&self, app: &App) -> Result<Vec<(TenantId, Timestamp)>> {
        let state = self.state()?;
        let served = state.alive.iter().filter(|((_, of), _)| of == app);
        Ok(served.map(|((tenant, _), at)| (tenant.clone(), *at)).collect())
    }

    async fn put_window(&self, tenant: &TenantId, app: &App, window: &RepairWindow) -> Result<u64> {
        let mut state = self.state()?;
        let owner = (tenant.clone(), app.clone());
        if window.id == 0 {
            let id = state.windows.len() as u64 + 1;
            state.windows.insert(id, (owner, RepairWindow { id, ..window.clone() }));
            return Ok(id);
        }
        match state.windows.get_mut(&window.id) {
            Some((of, known)) if *of == owner => known.clone_from(window),
            _ => return Err(Error::new(ErrorKind::NotFound, "no such window")),
        }
        Ok(window.id)
    }

    async fn windows(&self, tenant: &TenantId, app: &App, open: bool, limit: usize) -> Result<Vec<RepairWindow>> {
        let state = self.state()?;
        let owner = (tenant.clone(), app.clone());
        let own = state.windows.values().rev().filter(|(of, _)| *of == owner).map(|(_, window)| window);
        Ok(own.filter(|window| !open || window.closed_at.is_none()).take(limit).cloned().collect())
    }
}
