//! Pages of history as the library gives them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use switchboard_contract::storage::{PageDirection, Store};
use switchboard_contract::{ConversationId, Result, TenantId};

use crate::cli::bench::engine::append::options;
use crate::cli::bench::events::conversation;
use crate::cli::bench::measure::Figure;
use crate::clock::SystemClock;
use crate::history::{HistoryConfig, HistoryRequest, Pages};
use crate::store::sqlite::SqliteStore;

/// Messages of a first page.
pub(in crate::cli::bench) const FIRST: usize = 50;
/// Messages of a page of whoever reads everything.
pub(in crate::cli::bench) const PAGE: usize = 1000;

/// Which pages to read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::cli::bench) struct FirstPages {
    /// Where the store is.
    pub(in crate::cli::bench) dir: PathBuf,
    /// So many conversations in turn.
    pub(in crate::cli::bench) chosen: u64,
    /// Of so many there are.
    pub(in crate::cli::bench) conversations: u64,
    /// For so long, after each of them was read once.
    pub(in crate::cli::bench) run_ms: u64,
}

struct Reader {
    store: Arc<dyn Store>,
    config: Arc<HistoryConfig>,
}

impl Reader {
    async fn open(dir: &Path) -> Result<Self> {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(options(dir)).await?);
        Ok(Self { store, config: Arc::default() })
    }

    fn request(&self, conversation: &ConversationId) -> HistoryRequest {
        let pages = Pages::new(self.store.clone(), None);
        let (clock, tenant) = (Arc::new(SystemClock), TenantId::default());
        HistoryRequest::new(pages, clock, tenant, conversation.clone(), self.config.clone(), None)
    }
}

/// Reads the first page of one conversation after another.
pub(in crate::cli::bench) async fn first_pages(wanted: FirstPages) -> Result<Figure> {
    let reader = Reader::open(&wanted.dir).await?;
    let step = (wanted.conversations / wanted.chosen.max(1)).max(1);
    let conversations: Vec<_> = (0..wanted.chosen).map(|at| conversation(at * step)).collect();
    let (mut count, mut faults) = (0, 0);
    for one in &conversations {
        reader.request(one).limit(FIRST).page().await?;
    }
    let (begun, limit) = (Instant::now(), Duration::from_millis(wanted.run_ms));
    while begun.elapsed() < limit {
        for one in &conversations {
            let page = reader.request(one).limit(FIRST).page().await?;
            faults += u64::from(page.entries.is_empty());
            count += 1;
        }
    }
    let took = begun.elapsed();
    reader.store.close().await;
    Ok(Figure { faults, ..Figure::of(count, took) })
}

/// Reads one conversation from its first message to its last.
pub(in crate::cli::bench) async fn whole(dir: &Path) -> Result<Figure> {
    let reader = Reader::open(dir).await?;
    let one = conversation(0);
    let expected = reader.store.conversation(&TenantId::default(), &one).await?.map_or(0, |one| one.last_sequence.0);
    let (mut count, mut cursor) = (0, None);
    let begun = Instant::now();
    loop {
        let mut request = reader.request(&one).direction(PageDirection::Newer).limit(PAGE);
        if let Some(cursor) = cursor.take() {
            request = request.cursor(cursor);
        }
        let page = request.page().await?;
        count += page.entries.len() as u64;
        std::hint::black_box(&page.entries);
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    let took = begun.elapsed();
    reader.store.close().await;
    Ok(Figure { faults: expected.abs_diff(count), ..Figure::of(count, took) })
}
