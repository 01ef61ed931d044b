//! What the scripted vendor keeps: queries that lag behind, and files that grow.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use switchboard_contract::*;

use super::{Carried, Vendor, inbound};

const HOUR: i64 = 3_600_000;

#[async_trait]
impl Roaming for Vendor {
    fn limits(&self) -> RoamingLimits {
        RoamingLimits {
            max_page: self.manner.page,
            depth: None,
            max_span: None,
            own_sends_after: self.manner.query.filter(|_| self.manner.query_is_proof),
            targets: vec![ConversationKind::Direct, ConversationKind::Group],
            quota: Quota { calls: Some(100), units: None, per: Duration::from_secs(1) },
        }
    }

    async fn page(&self, query: &RoamingQuery) -> Result<RoamingPage> {
        self.is_up()?;
        let (now, lag) = (self.clock.now(), self.manner.query.unwrap_or_default());
        let skip: usize = query.cursor.as_deref().map_or(0, |cursor| cursor.parse().unwrap());
        let inner = self.inner.lock();
        let visible: Vec<&Carried> = inner
            .carried
            .iter()
            .filter(|carried| {
                let here = match (&carried.target, &query.target) {
                    (Target::Users(to), Target::Users(peer)) => {
                        (carried.from == query.viewer && to == peer)
                            || (peer[0] == carried.from && to[0] == query.viewer)
                    }
                    (one, other) => one == other,
                };
                here && (query.since..=query.until).contains(&carried.at) && carried.at + lag <= now
            })
            .collect();
        let end = skip + query.limit.min(self.manner.page) as usize;
        let items = visible.iter().take(end).skip(skip).map(|carried| inbound(carried)).collect();
        let next = (visible.len() > end).then(|| end.to_string());
        Ok(RoamingPage { items, next })
    }
}

#[async_trait]
impl HistoryFiles for Vendor {
    fn limits(&self) -> HistoryFileLimits {
        HistoryFileLimits {
            earliest: Duration::from_secs(3600),
            final_after: Duration::from_secs(24 * 3600),
            kept: Duration::from_secs(72 * 3600),
            own_sends: true,
            quota: Quota { calls: Some(10), units: None, per: Duration::from_secs(60) },
        }
    }

    async fn fetch(&self, hour: Timestamp) -> Result<HistoryFile> {
        let now = self.clock.now();
        if now.0 < hour.0 + 2 * HOUR {
            return Ok(HistoryFile::Absent);
        }
        // It grows: until it is final it lacks its second half.
        let whole = now.0 >= hour.0 + 25 * HOUR;
        let inner = self.inner.lock();
        let items: Vec<Inbound> = inner
            .carried
            .iter()
            .filter(|carried| (hour.0..hour.0 + HOUR).contains(&carried.at.0))
            .enumerate()
            .filter(|(n, _)| whole || n % 2 == 0)
            .map(|(_, carried)| inbound(carried))
            .collect();
        if items.is_empty() {
            return Ok(HistoryFile::Absent);
        }
        let lines = Box::new(FileLines { next: 0, text: String::new(), items: Arc::new(Items(items)) });
        Ok(HistoryFile::Ready(HourFile { bytes: 1, digest: [0; 32], lines }))
    }
}

/// A file whose lines are numbers of messages.
struct FileLines {
    next: usize,
    text: String,
    items: Arc<Items>,
}

#[derive(Debug)]
struct Items(Vec<Inbound>);

impl HourLines for FileLines {
    fn next(&mut self) -> Option<Result<HourLine<'_>>> {
        self.items.0.get(self.next)?;
        self.text = self.next.to_string();
        self.next += 1;
        Some(Ok(HourLine { text: self.text.as_bytes(), glance: None }))
    }

    fn decoder(&self) -> Arc<dyn HourDecoder> {
        self.items.clone()
    }
}

impl HourDecoder for Items {
    fn decode(&self, line: &Bytes) -> Vec<Inbound> {
        let number: usize = std::str::from_utf8(line).unwrap().parse().unwrap();
        vec![self.0[number].clone()]
    }
}
