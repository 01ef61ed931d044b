//! Pulling the past on demand: planned, exact, and delivered to nobody who did not ask.

use std::collections::BTreeSet;
use std::time::Duration;

use switchboard::history::PlanSource;
use switchboard::{ConversationId, HistorySpan, Tier};
use switchboard_contract::storage::PageDirection;
use switchboard_contract::{Clock, ProviderId, TenantId, Timestamp, Topic, UserId};

use crate::stage::{HOUR, Run, Stage, Vendor};

const DAY: Duration = Duration::from_secs(86_400);

fn conversation() -> ConversationId {
    ConversationId::direct(&UserId::from("ann"), &UserId::from("bob"))
}

/// Every message of a tier (or of all), paged to the end.
async fn page(run: &Run, tier: Option<Tier>, limit: usize, direction: PageDirection) -> Vec<Timestamp> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let mut request = run.switchboard.history(&conversation()).limit(limit).direction(direction);
        if let Some(tier) = tier {
            request = request.tier(tier);
        }
        if let Some(cursor) = cursor.take() {
            request = request.cursor(cursor);
        }
        let slice = request.page().await.unwrap();
        found.extend(slice.entries.iter().map(|entry| entry.sent_at));
        match slice.next {
            Some(next) => cursor = Some(next),
            None => return found,
        }
    }
}

#[tokio::test]
async fn the_past_is_pulled_by_tiers_without_a_seam_and_delivered_to_nobody() {
    // RongCloud's queries reach half a year back; Huanxin's depth is a matter of the account's plan.
    for vendor in [Vendor::RongCloud, Vendor::Huanxin] {
        let stage = Stage::new(vendor, 1).await;
        stage.log_in(&["ann", "bob"]);
        for number in 0..90 {
            let (from, to) = if number % 2 == 0 { ("ann", "bob") } else { ("bob", "ann") };
            stage.say(from, to, &format!("day {number}")).await;
            stage.advance(DAY / 2);
        }
        // Nothing stands just where tiers meet: the clock goes on while we wait.
        stage.advance(HOUR);
        let run = stage.run().await;
        let tenant = run.switchboard.tenant(TenantId::default());
        let (conversation, tier, span) = (conversation(), Some(Tier::Month), HistorySpan::default());
        let plan = tenant.plan_history(&conversation, HistorySpan { tier, ..span }, None).await.unwrap();
        assert_eq!(plan[0].steps.len(), 1, "{vendor:?}: {plan:?}");
        assert_eq!(plan[0].steps[0].source, PlanSource::Query, "{vendor:?}");
        assert!(run.messages().await.is_empty(), "{vendor:?}: a plan contacts nobody");

        let pull = tenant.pull_history(&conversation, HistorySpan { tier, ..span }, None);
        let parts = stage.drive(pull).await.unwrap();
        assert!(parts.iter().all(|part| part.fault.is_none() && part.history > 0), "{vendor:?}: {parts:?}");
        let months = page(&run, tier, 7, PageDirection::Older).await;
        assert_eq!(parts.iter().map(|part| part.history).sum::<u64>(), months.len() as u64, "{vendor:?}: {parts:?}");
        assert_eq!(months.len(), 46, "{vendor:?}: 23 days, twice a day");
        let now = stage.clock.now();
        assert!(months.iter().all(|at| (7 * DAY..=30 * DAY).contains(&now.since(*at))), "{vendor:?}");

        let since = Some(now - 60 * DAY);
        let everything = HistorySpan { since, ..span };
        let parts = stage.drive(tenant.pull_history(&conversation, everything, None)).await.unwrap();
        assert!(parts.iter().all(|part| part.fault.is_none()), "{vendor:?}: {parts:?}");
        let mut tiers = Vec::new();
        for tier in [Tier::Recent, Tier::Month, Tier::Archive] {
            tiers.extend(page(&run, Some(tier), 13, PageDirection::Older).await);
        }
        let all = page(&run, None, 11, PageDirection::Older).await;
        assert_eq!(tiers, all, "{vendor:?}: the tiers are the whole, without a seam");
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 90, "{vendor:?}: each message once");
        let mut back = page(&run, None, 17, PageDirection::Newer).await;
        back.reverse();
        assert_eq!(back, all, "{vendor:?}: and the same in the other direction");
        let entries = run.entries().await;
        let delivered = entries.iter().filter(|entry| entry.topic == Topic::Messages).count();
        assert_eq!(delivered, 0, "{vendor:?}: history is delivered only when asked for");

        let again = stage.drive(tenant.pull_history(&conversation, everything, None)).await.unwrap();
        assert_eq!(again.iter().map(|part| part.history + part.brought).sum::<u64>(), 0, "{vendor:?}");
        run.stop().await;
    }
}

#[tokio::test]
async fn what_was_missed_since_we_began_is_delivered_late_by_a_pull_too() {
    let stage = Stage::without_queries(Vendor::RongCloud).await;
    let run = stage.run().await;
    stage.log_in(&["ann", "bob"]);
    stage.say("ann", "bob", "heard").await;
    stage.quiet(&run).await;
    run.stop().await;
    stage.advance(HOUR / 2);
    stage.say("ann", "bob", "missed").await;
    stage.advance(HOUR / 4);
    let run = stage.run().await;
    let tenant = run.switchboard.tenant(TenantId::default());
    let (conversation, provider) = (conversation(), ProviderId::from("main"));
    let pull = tenant.pull_history(&conversation, HistorySpan::default(), Some(&provider));
    let parts = stage.drive(pull).await.unwrap();
    assert_eq!(parts.iter().map(|part| part.brought).sum::<u64>(), 1, "{parts:?}");
    let entries = run.entries().await;
    let late: Vec<_> = entries.iter().filter(|entry| entry.topic == Topic::Messages && entry.late).collect();
    assert_eq!(late.len(), 1);
    run.stop().await;
}
