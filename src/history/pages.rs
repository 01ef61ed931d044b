//! One page out of the database and the archive together, without a seam.

use std::cmp::Ordering;
use std::sync::Arc;

use switchboard_contract::storage::{
    Archive, ArchivePage, Entry, HistoryKey, HistoryPage, HistoryQuery, PageDirection, Store,
};
use switchboard_contract::{Result, Timestamp};

/// Everything kept of the past.
#[derive(Clone, Debug)]
pub(crate) struct Pages {
    store: Arc<dyn Store>,
    archive: Option<Arc<dyn Archive>>,
}

impl Pages {
    pub(crate) fn new(store: Arc<dyn Store>, archive: Option<Arc<dyn Archive>>) -> Self {
        Self { store, archive }
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// One page of a conversation. First the database is read and then the archive: what moves from one to the other
    /// meanwhile is found.
    ///
    /// # Errors
    /// `Storage`.
    pub(crate) async fn page(&self, query: &HistoryQuery) -> Result<HistoryPage> {
        let kept = self.store.page(query).await?;
        let Some(archive) = &self.archive else { return Ok(kept) };
        let (since, until) = open_part(query, &kept);
        let held = archive.held(&query.tenant, Some(&query.conversation)).await?;
        if !held.iter().any(|span| span.meets(since, until)) {
            return Ok(kept);
        }
        Ok(merge(query, kept, archive.page(query).await?))
    }

    /// Whether the archive holds anything of this conversation.
    ///
    /// # Errors
    /// `Storage`.
    pub(crate) async fn archived(&self, query: &HistoryQuery) -> Result<bool> {
        match &self.archive {
            Some(archive) => Ok(!archive.held(&query.tenant, Some(&query.conversation)).await?.is_empty()),
            None => Ok(false),
        }
    }
}

/// The time in which another source could still add to this page.
fn open_part(query: &HistoryQuery, kept: &HistoryPage) -> (Option<Timestamp>, Option<Timestamp>) {
    // Bounds are excluded at their end.
    let behind = |key: &HistoryKey| Timestamp(key.sent_at.0.saturating_add(1));
    let last = kept.next.as_ref();
    match query.direction {
        PageDirection::Older => {
            let until = query.after.as_ref().map(behind);
            (query.since.max(last.map(|key| key.sent_at)), least(query.until, until))
        }
        PageDirection::Newer => {
            let since = query.after.as_ref().map(|key| key.sent_at);
            (query.since.max(since), least(query.until, last.map(behind)))
        }
    }
}

fn least(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Merges two pages of one query. What stands in both is taken from the first.
fn merge(query: &HistoryQuery, first: HistoryPage, second: ArchivePage) -> HistoryPage {
    let order = |one: &HistoryKey, other: &HistoryKey| match query.direction {
        PageDirection::Newer => one.cmp(other),
        PageDirection::Older => other.cmp(one),
    };
    // Beyond the end of a page that goes on nothing is known yet.
    let edge = match (first.next, second.next) {
        (Some(one), Some(other)) => Some(if order(&one, &other) == Ordering::Greater { other } else { one }),
        (one, other) => one.or(other),
    };
    let mut rows: Vec<(HistoryKey, Entry)> = first.keys.into_iter().zip(first.entries).collect();
    rows.extend(second.rows);
    // The sort is stable: the first page's row stays in front of its twin.
    rows.sort_by(|(one, _), (other, _)| order(one, other));
    rows.dedup_by(|(later, _), (earlier, _)| later == earlier);
    if let Some(edge) = &edge {
        rows.retain(|(key, _)| order(key, edge) != Ordering::Greater);
    }
    let more = edge.is_some() || rows.len() > query.limit;
    rows.truncate(query.limit);
    let next = rows.last().map(|(key, _)| key.clone()).or(edge).filter(|_| more);
    let (keys, entries) = rows.into_iter().unzip();
    HistoryPage { entries, keys, next }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use switchboard_contract::storage::HistoryFilter;
    use switchboard_contract::{ConversationId, MessageId, Position, Shard, TenantId, Topic, UserId};

    use super::*;

    fn key(number: u8) -> HistoryKey {
        // Several share a millisecond.
        HistoryKey {
            sent_at: Timestamp(i64::from(number / 3)),
            sort_key: format!("{number:03}"),
            message_id: MessageId::from_bytes([number; 16]),
        }
    }

    fn entry(number: u8, late: bool) -> Entry {
        Entry {
            shard: Shard(0),
            position: Position(u64::from(number)),
            sequence: None,
            topic: Topic::Messages,
            conversation: None,
            app: None,
            message_id: None,
            sent_at: key(number).sent_at,
            received_at: Timestamp(0),
            late,
            json: bytes::Bytes::new(),
        }
    }

    fn query(direction: PageDirection, after: Option<HistoryKey>, limit: usize) -> HistoryQuery {
        HistoryQuery {
            tenant: TenantId::default(),
            conversation: ConversationId::direct(&UserId::from("a"), &UserId::from("b")),
            direction,
            after,
            since: None,
            until: None,
            limit,
            filter: HistoryFilter::default(),
        }
    }

    /// A source that gives pages of at most `size`, shorter than asked perhaps, in which it does not end.
    fn page(source: &BTreeMap<HistoryKey, u8>, query: &HistoryQuery, size: usize, late: bool) -> HistoryPage {
        let mut all: Vec<_> = source.iter().collect();
        if query.direction == PageDirection::Older {
            all.reverse();
        }
        let behind = |key: &HistoryKey| {
            query.after.as_ref().is_none_or(|after| match query.direction {
                PageDirection::Older => key < after,
                PageDirection::Newer => key > after,
            })
        };
        all.retain(|(key, _)| behind(key));
        let taken: Vec<_> = all.iter().take(query.limit.min(size)).collect();
        let next = taken.last().filter(|_| all.len() > taken.len()).map(|(key, _)| (*key).clone());
        HistoryPage {
            entries: taken.iter().map(|(_, number)| entry(**number, late)).collect(),
            keys: taken.iter().map(|(key, _)| (*key).clone()).collect(),
            next,
        }
    }

    proptest! {
        #[test]
        fn i08_two_sources_are_one_walk(
            kept in prop::collection::btree_set(0_u8..90, 0..40),
            held in prop::collection::btree_set(0_u8..90, 0..40),
            limit in 1_usize..9,
            short in 1_usize..9,
            older in any::<bool>(),
        ) {
            let direction = if older { PageDirection::Older } else { PageDirection::Newer };
            let source = |numbers: &std::collections::BTreeSet<u8>| {
                numbers.iter().map(|number| (key(*number), *number)).collect::<BTreeMap<_, _>>()
            };
            let (first, second) = (source(&kept), source(&held));
            let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
            loop {
                let query = query(direction, after, limit);
                let HistoryPage { entries, keys, next } = page(&second, &query, short, true);
                let held = ArchivePage { rows: keys.into_iter().zip(entries).collect(), next };
                let merged = merge(&query, page(&first, &query, limit, false), held);
                prop_assert!(merged.entries.len() <= limit);
                prop_assert_eq!(merged.entries.len(), merged.keys.len());
                for entry in &merged.entries {
                    let number = u8::try_from(entry.position.0).unwrap();
                    prop_assert_eq!(entry.late, !kept.contains(&number), "what stands in both is the database's");
                    found.push(number);
                }
                pages += 1;
                prop_assert!(pages < 200);
                match merged.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
            let mut expected: Vec<u8> = kept.union(&held).copied().collect();
            if older {
                expected.reverse();
            }
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_full_page_asks_nobody_about_what_lies_beyond_it() {
        let source: BTreeMap<_, _> = (30..60).map(|number| (key(number), number)).collect();
        let query = query(PageDirection::Older, None, 10);
        let kept = page(&source, &query, 10, false);
        assert_eq!(open_part(&query, &kept), (Some(key(50).sent_at), None));
        let source = source.into_iter().take(3).collect();
        assert_eq!(open_part(&query, &page(&source, &query, 10, false)), (None, None), "the database ends here");
    }
}
