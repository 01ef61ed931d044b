//! A walk over everything: the archive, the store and the vendor's query, while others write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use switchboard::ConversationId;
use switchboard::store::memory::MemoryStore;
use switchboard_contract::storage::{
    Archive, ArchivePage, Commit, Draft, HeldSpan, History, HistoryQuery, Journal, PageDirection,
};
use switchboard_contract::{
    App, Body, Clock, Event, EventData, EventId, EventKey, Message, MessageId, Origin, Result, TenantId, Timestamp,
    UserId, VendorMessageId,
};

use crate::stage::{START, Stage, Vendor, store};

const DAY: Duration = Duration::from_secs(86_400);

/// Messages of the walk; `SWITCHBOARD_PAGED` changes it.
fn messages() -> usize {
    std::env::var("SWITCHBOARD_PAGED").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000)
}

fn seed() -> u64 {
    std::env::var("SWITCHBOARD_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7)
}

/// An archive in memory: it holds what it was filled with, and no more.
#[derive(Debug)]
struct Cold {
    kept: MemoryStore,
    span: HeldSpan,
}

#[async_trait]
impl Archive for Cold {
    async fn page(&self, query: &HistoryQuery) -> Result<ArchivePage> {
        let page = self.kept.page(query).await?;
        Ok(ArchivePage { rows: page.keys.into_iter().zip(page.entries).collect(), next: page.next })
    }

    async fn held(&self, _: &TenantId, _: Option<&ConversationId>) -> Result<Vec<HeldSpan>> {
        Ok(vec![self.span])
    }
}

fn conversation() -> ConversationId {
    ConversationId::direct(&UserId::from("ann"), &UserId::from("bob"))
}

/// Numbers that look like chance.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn between(&mut self, from: Timestamp, to: Timestamp) -> Timestamp {
        // Many share a second.
        Timestamp((from.0 + self.below((to.0 - from.0).unsigned_abs()).cast_signed()) / 1000 * 1000)
    }
}

fn draft(app: &App, number: usize, at: Timestamp) -> Draft {
    let id = VendorMessageId::from(format!("made-{number:07}"));
    Draft {
        key: EventKey::message(&id),
        sort_key: id.as_str().to_owned(),
        digest: number as u64,
        raw: None,
        event: Event {
            id: EventId::generate(),
            tenant: TenantId::default(),
            app: Some(app.clone()),
            conversation: Some(conversation()),
            sent_at: at,
            received_at: at,
            origin: Origin::History,
            late: false,
            data: EventData::Message(Message {
                id: MessageId::generate(),
                vendor_id: Some(id),
                from: UserId::from("ann"),
                audience: Vec::new(),
                body: Some(Body::text("hi")),
                ext: serde_json::Map::new(),
                mentions: None,
                client_message_id: None,
                recalled: false,
            }),
        },
    }
}

async fn write(store: &dyn Journal, drafts: Vec<Draft>) {
    for part in drafts.chunks(2000) {
        store.commit(Commit { drafts: part.to_vec(), ..Commit::default() }).await.unwrap();
    }
}

#[tokio::test]
async fn i08_everything_is_paged_once_while_others_write_across_tiers_and_sources() {
    let (total, mut dice) = (messages(), Dice(seed()));
    println!("seed {}, {total} messages", seed());
    let (of_vendor, of_archive) = ((total / 100).clamp(10, 1000), total / 2);
    let mut stage = Stage::new(Vendor::RongCloud, seed()).await;
    stage.history.month.calls_per_hour = 100_000;
    // The clocks run fast here.
    (stage.history.recent.within, stage.history.month.within) = (DAY, DAY);
    stage.log_in(&["ann", "bob"]);
    let app = App::new("rongcloud", "filesappkey");
    // The vendor's: twenty days of which we know nothing.
    let mut expected = BTreeSet::new();
    for number in 0..of_vendor {
        expected.insert(stage.say("ann", "bob", &format!("number {number}")).await);
        stage.advance(20 * DAY / u32::try_from(of_vendor).unwrap());
    }
    stage.advance(8 * DAY);
    let now = stage.clock.now();
    // The archive's: the two months before that.
    let (cold, span) = (MemoryStore::new(), HeldSpan { since: START - 62 * DAY, until: now - 30 * DAY });
    let times = (0..of_archive).map(|number| (number, dice.between(span.since, span.until)));
    let archived: Vec<_> = times.map(|(number, at)| draft(&app, number, at)).collect();
    write(&cold, archived.clone()).await;
    stage.archive = Some(Arc::new(Cold { kept: cold, span }));
    let run = stage.run().await;
    // The store's: of the last month, beside the vendor's, and some that the archive holds as well.
    let kept: Vec<_> = (of_archive..total - of_vendor)
        .map(|number| draft(&app, number, dice.between(now - 30 * DAY + Duration::from_secs(1), now)))
        .collect();
    write(&**store(&run), kept.clone()).await;
    write(&**store(&run), archived.iter().step_by(50).cloned().collect()).await;
    expected.extend(archived.iter().chain(&kept).map(|draft| draft.key.id.clone()));

    for direction in [PageDirection::Older, PageDirection::Newer] {
        let (mut found, mut ahead, mut behind) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        let (mut cursor, mut edge, mut written) = (None, None, 0);
        loop {
            let limit = 1 + usize::try_from(dice.below(1000)).unwrap();
            let mut request = run.switchboard.history(&conversation()).fetch(true).direction(direction).limit(limit);
            if let Some(cursor) = cursor.take() {
                request = request.cursor(cursor);
            }
            let page = stage.drive(request.page()).await.unwrap();
            assert!(page.entries.len() <= limit);
            for entry in &page.entries {
                let EventData::Message(message) = entry.event().unwrap().data else { panic!("a message") };
                found.push((entry.sent_at, message.vendor_id.unwrap().to_string()));
                edge = Some(entry.sent_at);
            }
            let Some(next) = page.next else { break };
            cursor = Some(next);
            // Others write: before and behind where the walk is, and never in the very second.
            let more: Vec<_> = (0..dice.below(16)).filter(|_| written < 500).collect();
            let mut drafts = Vec::new();
            for _ in more {
                let at = dice.between(now - 30 * DAY + Duration::from_secs(1), now);
                let Some(edge) = edge.filter(|edge| edge.0.abs_diff(at.0) > 2000) else { continue };
                let number = 10_000_000 + written + usize::from(direction == PageDirection::Newer) * 1000;
                written += 1;
                let is_ahead = (direction == PageDirection::Older) == (at < edge);
                let draft = draft(&app, number, at);
                if is_ahead {
                    ahead.insert(draft.key.id.clone())
                } else {
                    behind.insert(draft.key.id.clone())
                };
                drafts.push(draft);
            }
            write(&**store(&run), drafts).await;
        }
        let times: Vec<_> = found.iter().map(|(at, _)| *at).collect();
        let ordered = match direction {
            PageDirection::Older => times.is_sorted_by(|one, other| one >= other),
            PageDirection::Newer => times.is_sorted(),
        };
        assert!(ordered, "{direction:?}: in order over every seam");
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        found.iter().for_each(|(_, id)| *counts.entry(id).or_default() += 1);
        let repeated: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).take(5).collect();
        assert!(repeated.is_empty(), "{direction:?}: {repeated:?}");
        let skipped: Vec<_> =
            expected.iter().chain(&ahead).filter(|id| !counts.contains_key(id.as_str())).take(5).collect();
        assert!(skipped.is_empty(), "{direction:?}: {skipped:?}");
        assert!(
            behind.iter().all(|id| !counts.contains_key(id.as_str())),
            "{direction:?}: behind the walk is behind it"
        );
        assert_eq!(counts.len(), expected.len() + ahead.len(), "{direction:?}: and nothing else");
        assert!(written > 50, "{direction:?}: somebody wrote: {written}");
        // For the walk back they are there from the start.
        expected.extend(ahead);
        expected.extend(behind);
    }
    run.stop().await;
}
