//! The messages of one day out of several places, in one order.

use std::collections::VecDeque;

use switchboard_contract::storage::ArchiveLedger;
use switchboard_contract::{Position, Result, TenantId};

use super::objects::Objects;
use super::read::{OpenFile, Unit};
use super::schema::Row;

/// Messages read from the database at once.
const PART: usize = 512;

/// Where rows come from, in the order of [`Row::order`].
pub(super) enum Source<'a> {
    /// The journal.
    Journal { ledger: &'a dyn ArchiveLedger, tenant: &'a TenantId, positions: VecDeque<Position> },
    /// A file of the archive.
    File { objects: &'a Objects, file: Box<OpenFile>, units: VecDeque<Unit> },
}

impl Source<'_> {
    async fn next(&mut self) -> Result<Option<Vec<Row>>> {
        match self {
            Self::Journal { ledger, tenant, positions } => {
                if positions.is_empty() {
                    return Ok(None);
                }
                let part: Vec<Position> = positions.drain(..PART.min(positions.len())).collect();
                let events = ledger.stored(tenant, &part).await?;
                Ok(Some(events.into_iter().filter_map(Row::new).collect()))
            }
            Self::File { objects, file, units } => {
                let Some(unit) = units.pop_front() else { return Ok(None) };
                file.rows(objects, &unit, true).await.map(Some)
            }
        }
    }
}

/// Several sources as one. Whether a row comes from the journal stands beside it.
pub(super) struct Merged<'a> {
    sources: Vec<(Source<'a>, VecDeque<Row>, bool)>,
}

impl<'a> Merged<'a> {
    pub(super) fn new(sources: Vec<Source<'a>>) -> Self {
        Self { sources: sources.into_iter().map(|source| (source, VecDeque::new(), false)).collect() }
    }

    /// The next row in order.
    pub(super) async fn next(&mut self) -> Result<Option<(Row, bool)>> {
        for (source, waiting, ended) in &mut self.sources {
            while waiting.is_empty() && !*ended {
                match source.next().await? {
                    Some(rows) => waiting.extend(rows),
                    None => *ended = true,
                }
            }
        }
        let fronts = self.sources.iter().enumerate().filter_map(|(at, (_, waiting, _))| Some((at, waiting.front()?)));
        let least = fronts.min_by(|(_, one), (_, other)| one.order().cmp(&other.order())).map(|(at, _)| at);
        let Some(least) = least else { return Ok(None) };
        let (source, waiting, _) = &mut self.sources[least];
        let fresh = matches!(source, Source::Journal { .. });
        Ok(waiting.pop_front().map(|row| (row, fresh)))
    }
}
