//! Tiers meet to the millisecond, and a page fetches what the store lacks before it is read.

use std::collections::BTreeSet;
use std::time::Duration;

use switchboard::history::{HistoryRequest, HistorySlice};
use switchboard::{ConversationId, HistorySpan, Tier};
use switchboard_contract::storage::{CoverageState, PageDirection};
use switchboard_contract::{Clock, TenantId, Timestamp, UserId};
use switchboard_emulators::Faults;
use switchboard_emulators::common::RestFaults;

use crate::stage::{HOUR, Run, START, Stage, Vendor};

const DAY: Duration = Duration::from_secs(86_400);
const MS: Duration = Duration::from_millis(1);

fn conversation() -> ConversationId {
    ConversationId::direct(&UserId::from("ann"), &UserId::from("bob"))
}

/// Pages to the end; the times found, and every page.
async fn walk(
    stage: &Stage,
    run: &Run,
    ask: impl Fn(HistoryRequest) -> HistoryRequest,
) -> (Vec<Timestamp>, Vec<HistorySlice>) {
    let (mut times, mut pages, mut cursor) = (Vec::new(), Vec::new(), None);
    loop {
        let mut request = ask(run.switchboard.history(&conversation()));
        if let Some(cursor) = cursor.take() {
            request = request.cursor(cursor);
        }
        let page = stage.drive(request.page()).await.unwrap();
        times.extend(page.entries.iter().map(|entry| entry.sent_at));
        cursor.clone_from(&page.next);
        pages.push(page);
        if cursor.is_none() {
            return (times, pages);
        }
    }
}

#[tokio::test]
async fn d1_a_message_at_a_bound_is_in_one_tier_in_beijing_and_in_utc() {
    // The bounds fall on midnight in UTC, on midnight in Beijing, and on no hour at all.
    for shift in [5 * HOUR, 21 * HOUR, Duration::from_millis(1_234_567)] {
        let stage = Stage::new(Vendor::RongCloud, 1).await;
        stage.log_in(&["ann", "bob"]);
        let now = START + shift + 31 * DAY;
        let ages = [30 * DAY + MS, 30 * DAY, 30 * DAY - MS, 7 * DAY + MS, 7 * DAY, 7 * DAY - MS];
        for age in ages {
            stage.advance((now - age).since(stage.clock.now()));
            stage.say("ann", "bob", "at a bound").await;
        }
        stage.advance((now - HOUR).since(stage.clock.now()));
        let run = stage.run().await;
        let tenant = run.switchboard.tenant(TenantId::default());
        let ours = conversation();
        let pull = tenant.pull_history(&ours, HistorySpan::default(), None);
        let brought: u64 = stage.drive(pull).await.unwrap().iter().map(|part| part.history).sum();
        assert_eq!(brought, 6, "{shift:?}");
        stage.advance(now.since(stage.clock.now()));
        for direction in [PageDirection::Older, PageDirection::Newer] {
            for limit in [1, 2, 50] {
                let mut all = Vec::new();
                for (tier, expected) in
                    [(Tier::Archive, &ages[..1]), (Tier::Month, &ages[1..4]), (Tier::Recent, &ages[4..])]
                {
                    let mut found = Vec::new();
                    let mut cursor = None;
                    loop {
                        let mut request = run.switchboard.history(&conversation()).tier(tier).fetch(false);
                        request = request.direction(direction).limit(limit);
                        if let Some(cursor) = cursor.take() {
                            request = request.cursor(cursor);
                        }
                        let page = request.page().await.unwrap();
                        found.extend(page.entries.iter().map(|entry| now.since(entry.sent_at)));
                        match page.next {
                            Some(next) => cursor = Some(next),
                            None => break,
                        }
                    }
                    if direction == PageDirection::Older {
                        found.reverse();
                    }
                    assert_eq!(found, expected, "{shift:?} {tier:?} {direction:?} in pages of {limit}");
                    all.extend(found);
                }
                assert_eq!(all, ages, "each message once");
            }
        }
        run.stop().await;
    }
}

/// Forty days, four times a day, of which we know nothing.
async fn forty_days(vendor: Vendor) -> Stage {
    let mut stage = Stage::new(vendor, 1).await;
    // The clocks run fast here.
    (stage.history.recent.within, stage.history.month.within) = (HOUR, HOUR);
    stage.log_in(&["ann", "bob"]);
    for number in 0..160 {
        let (from, to) = if number % 2 == 0 { ("ann", "bob") } else { ("bob", "ann") };
        stage.say(from, to, &format!("number {number}")).await;
        stage.advance(DAY / 4);
    }
    stage.advance(HOUR);
    stage
}

#[tokio::test]
async fn i08_a_page_of_the_month_fetches_what_it_lacks_and_asks_once() {
    for vendor in [Vendor::RongCloud, Vendor::Huanxin] {
        let stage = forty_days(vendor).await;
        let run = stage.run().await;
        let first = run.switchboard.history(&conversation()).tier(Tier::Month).limit(7).page();
        let first = stage.drive(first).await.unwrap();
        assert_eq!((first.entries.len(), first.gaps.len()), (7, 0), "{vendor:?}");
        let few = run.messages().await.len();
        assert!(few < 92, "{vendor:?}: a page fetches what it needs, not the month: {few}");
        let (older, pages) = walk(&stage, &run, |request| request.tier(Tier::Month).limit(7)).await;
        assert_eq!(older.iter().collect::<BTreeSet<_>>().len(), older.len(), "{vendor:?}: each once");
        assert_eq!(older.len(), 92, "{vendor:?}: 23 days, four times a day");
        assert!(older.is_sorted_by(|one, other| one >= other));
        assert!(pages.iter().all(|page| page.gaps.is_empty()), "{vendor:?}");
        let asked = stage.queries_asked();
        let (mut newer, _) =
            walk(&stage, &run, |request| request.tier(Tier::Month).limit(9).direction(PageDirection::Newer)).await;
        newer.reverse();
        // The walks' own moments differ by less than the messages do.
        assert_eq!(newer, older, "{vendor:?}");
        assert!(stage.queries_asked() - asked <= 2, "{vendor:?}: what is here is asked for no more");
        let entries = run.entries().await;
        assert!(entries.iter().all(|entry| entry.topic != switchboard_contract::Topic::Messages), "{vendor:?}");
        run.stop().await;
    }
}

#[tokio::test]
async fn a_walk_over_all_tiers_tells_what_only_a_job_brings() {
    let stage = forty_days(Vendor::RongCloud).await;
    let run = stage.run().await;
    let (found, pages) = walk(&stage, &run, |request| request.fetch(true).limit(40)).await;
    assert_eq!(found.len(), 119, "thirty days");
    let gaps: Vec<_> = pages.iter().flat_map(|page| &page.gaps).collect();
    assert!(!gaps.is_empty() && gaps.iter().all(|gap| gap.tier == Tier::Archive), "{gaps:?}");
    assert_eq!(gaps[0].state, CoverageState::Suspect);
    // A plain read asks nobody.
    let asked = stage.queries_asked();
    let (plain, _) = walk(&stage, &run, |request| request.limit(40)).await;
    assert_eq!((plain, stage.queries_asked()), (found, asked));
    run.stop().await;
}

#[tokio::test]
async fn a_vendor_that_fails_is_a_gap_and_a_slow_one_a_shorter_page() {
    let mut stage = forty_days(Vendor::RongCloud).await;
    stage.history.month.within = HOUR / 6;
    let run = stage.run().await;
    let rest = RestFaults { slow_ms: 250_000, ..RestFaults::default() };
    stage.set_faults(Faults { rest, ..Faults::default() });
    let (slowly, pages) = walk(&stage, &run, |request| request.tier(Tier::Month).limit(1000)).await;
    assert!(pages.len() > 1, "what there was no time for comes with a later page");
    assert_eq!(slowly.len(), 92, "and nothing is left out");
    run.stop().await;

    let mut stage = forty_days(Vendor::RongCloud).await;
    stage.history.month.within = HOUR / 6;
    let run = stage.run().await;
    let rest = RestFaults { slow_ms: 3_600_000, ..RestFaults::default() };
    stage.set_faults(Faults { rest, ..Faults::default() });
    let page = run.switchboard.history(&conversation()).tier(Tier::Month).page();
    let failed = stage.drive(page).await;
    // Nothing ever happened here, so there is not even a conversation.
    assert!(failed.is_err(), "{failed:?}");
    stage.set_faults(Faults::default());
    let page = run.switchboard.history(&conversation()).tier(Tier::Month).limit(4).page();
    assert_eq!(stage.drive(page).await.unwrap().entries.len(), 4);
    stage.set_faults(Faults { rest: RestFaults { slow_ms: 3_600_000, ..RestFaults::default() }, ..Faults::default() });
    let page = run.switchboard.history(&conversation()).tier(Tier::Month).limit(1000).page();
    let page = stage.drive(page).await.unwrap();
    assert!(!page.entries.is_empty() && page.gaps.iter().any(|gap| gap.tier == Tier::Month), "{:?}", page.gaps);
    run.stop().await;
}
