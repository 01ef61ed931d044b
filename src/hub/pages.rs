//! The past: pages of the journal, read once for everybody who needs them at about the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::sync::Cache;
use switchboard_contract::storage::Store;
use switchboard_contract::{Position, Result, Shard, TenantId};
use tokio::sync::OnceCell;

use super::chunk::{Chunk, Keys};
use super::config::HubConfig;

/// Events in a page.
const PAGE: u64 = 512;

type Place = (TenantId, Shard, u64);

/// A page that is whole never changes, recalls aside; one at the end of the journal is read anew each time.
#[derive(Debug)]
pub(super) struct Pages {
    store: Arc<dyn Store>,
    keys: Keys,
    cache: Cache<Place, Arc<OnceCell<Arc<Chunk>>>>,
    recalls: AtomicU64,
}

impl Pages {
    pub(super) fn new(store: Arc<dyn Store>, keys: Keys, config: &HubConfig) -> Self {
        let weight = |_: &Place, page: &Arc<OnceCell<Arc<Chunk>>>| {
            u32::try_from(page.get().map_or(PAGE as usize * 1024, |chunk| chunk.bytes)).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder()
            .max_capacity(config.page_cache_bytes)
            .weigher(weight)
            .time_to_live(config.page_cache_ttl)
            .build();
        Self { store, keys, cache, recalls: AtomicU64::new(0) }
    }

    /// The page that goes on right behind `after`. It may begin earlier, and covers at least one position unless
    /// the journal ends there.
    pub(super) async fn behind(
        &self,
        tenant: &TenantId,
        shard: Shard,
        after: Position,
        recalls: u64,
    ) -> Result<Arc<Chunk>> {
        if self.recalls.swap(recalls, Ordering::AcqRel) != recalls {
            self.cache.invalidate_all();
        }
        let number = after.0 / PAGE;
        let place = (tenant.clone(), shard, number);
        let cell = self.cache.get_with(place.clone(), Arc::default);
        let end = Position((number + 1) * PAGE);
        let page = cell.get_or_try_init(|| self.read(tenant, shard, Position(number * PAGE), end)).await;
        match page {
            Ok(page) if page.until == end => Ok(Arc::clone(page)),
            Ok(page) => {
                let page = Arc::clone(page);
                self.cache.invalidate(&place);
                // Somebody else may have read it when it was shorter.
                if page.until > after { Ok(page) } else { self.read(tenant, shard, Position(number * PAGE), end).await }
            }
            Err(error) => {
                self.cache.invalidate(&place);
                Err(error)
            }
        }
    }

    async fn read(&self, tenant: &TenantId, shard: Shard, after: Position, end: Position) -> Result<Arc<Chunk>> {
        let mut entries = self.store.read(tenant, shard, after, PAGE as usize).await?;
        let beyond = entries.last().is_some_and(|entry| entry.position > end);
        entries.retain(|entry| entry.position <= end);
        let until = match entries.last() {
            _ if beyond => end,
            Some(last) => last.position,
            // Nothing here: the end, or retention has been here.
            None => self.store.tail(tenant, shard).await?.min(end).max(after),
        };
        Ok(Arc::new(Chunk::read(&self.keys, after, until, entries)))
    }
}
