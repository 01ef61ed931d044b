//! How far a job is, and how long it will take. Pure.
//!
//! A job's parts are files of hours and conversations. Each counts as one; where a span of time was asked for, the
//! conversation being read counts as far as its span is read. No vendor says how much a conversation holds: with few
//! parts and no span nobody knows how much is left, and nothing is claimed.

use std::time::Duration;

use serde::Serialize;
use switchboard_contract::ProviderId;
use switchboard_contract::storage::{BackfillItem, BackfillJob, BackfillPart, BackfillTally};

/// A job as the API and the command line show it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackfillView {
    /// The provider's alias.
    pub provider: ProviderId,
    /// The job.
    #[serde(flatten)]
    pub job: BackfillJob,
    /// What it is at: a conversation's id, or the beginning of an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// How far it is.
    pub progress: Progress,
}

/// How far a job is. Durations are seconds in JSON; what is unknown is `null`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Progress {
    /// Whether the amount of work is known.
    pub total: Total,
    /// Part of the work that is done, in percent.
    pub percent: Option<f64>,
    /// Parts that are left.
    pub remaining: Option<u64>,
    /// How long the rest will take if it goes on as so far.
    pub eta_seconds: Option<f64>,
    /// Messages fetched in a second of work.
    pub messages_per_second: Option<f64>,
    /// Time worked.
    pub active_seconds: f64,
}

/// With fewer parts than these, one part may be most of the work.
const MANY: u64 = 10;

/// Whether an amount is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Total {
    /// It is.
    Known,
    /// It is not.
    #[default]
    Unknown,
}

/// The part of an item that is done, 0 to 1.
fn fraction(item: &BackfillItem) -> f64 {
    let Some(reached) = item.reached else { return 0.0 };
    let span = item.until.since(item.since).as_secs_f64();
    if span <= 0.0 {
        return 0.0;
    }
    (item.until.since(reached).as_secs_f64() / span).clamp(0.0, 1.0)
}

/// How far a job is, with `item` as the part it is at.
pub(super) fn progress(job: &BackfillJob, item: Option<&BackfillItem>) -> Progress {
    let active = job.hours.active + job.conversations.active;
    let seconds = active.as_secs_f64();
    let messages_per_second = (seconds > 0.0).then(|| job.messages as f64 / seconds);
    let bare = Progress { messages_per_second, active_seconds: seconds, ..Progress::default() };
    if !job.state.is_open() {
        let done = job.state == switchboard_contract::storage::BackfillState::Done;
        let percent = done.then_some(100.0);
        let total = if done { Total::Known } else { Total::Unknown };
        return Progress { total, percent, remaining: done.then_some(0), eta_seconds: done.then_some(0.0), ..bare };
    }
    if job.plans == 0 {
        return bare;
    }
    let parts = job.hours.total + job.conversations.total;
    let remaining = parts.saturating_sub(job.hours.done + job.conversations.done);
    let bare = Progress { remaining: Some(remaining), ..bare };
    let reading = item.filter(|item| job.since.is_some() && matches!(item.part, BackfillPart::Conversation(_)));
    let left = [left(&job.hours, None), left(&job.conversations, reading.map(fraction))];
    let ([Some(hours), Some(conversations)], true) = (left, job.since.is_some() || parts >= MANY) else {
        return bare;
    };
    let eta = hours + conversations;
    // By time, since files and conversations take differently long; without time, by parts.
    let percent = if seconds + eta > 0.0 { 100.0 * seconds / (seconds + eta) } else { 0.0 };
    Progress { total: Total::Known, percent: Some(percent), remaining: Some(remaining), eta_seconds: Some(eta), ..bare }
}

/// How long the rest of one kind will take, in seconds; `None` while nothing tells. `within`: how much of the part being
/// read is done, where its length is known.
fn left(tally: &BackfillTally, within: Option<f64>) -> Option<f64> {
    let open = tally.total.saturating_sub(tally.done) as f64;
    if open <= 0.0 {
        return Some(0.0);
    }
    match within {
        Some(within) => {
            let done = tally.done as f64 + within;
            (done > 0.0 && tally.active > Duration::ZERO).then(|| (open - within) * tally.active.as_secs_f64() / done)
        }
        None => (tally.done > 0).then(|| {
            let each = tally.settled.as_secs_f64() / tally.done as f64;
            (open * each - tally.active.saturating_sub(tally.settled).as_secs_f64()).max(0.0)
        }),
    }
}

#[cfg(test)]
mod tests {
    use switchboard_contract::storage::{BackfillScope, BackfillState};
    use switchboard_contract::{App, BackfillId, ConversationId, GroupId, Timestamp};

    use super::*;

    fn tally(total: u64, done: u64, seconds: u64) -> BackfillTally {
        let time = Duration::from_secs(seconds);
        BackfillTally { total, done, active: time, settled: time }
    }

    fn job(hours: BackfillTally, conversations: BackfillTally) -> BackfillJob {
        BackfillJob {
            id: BackfillId::generate(),
            app: App::new("vendor", "app"),
            scope: BackfillScope::App,
            since: Some(Timestamp(0)),
            until: Timestamp(1_000_000),
            max_messages: None,
            state: BackfillState::Running,
            reason: None,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
            plans: 1,
            hours,
            conversations,
            pages: 0,
            messages: 300,
            inserted: 0,
            missed: 0,
            capped: 0,
            absent: 0,
            failed: 0,
        }
    }

    fn item(reached: Option<i64>) -> BackfillItem {
        BackfillItem {
            part: BackfillPart::Conversation(ConversationId::group(&GroupId::from("g"))),
            rank: 0,
            since: Timestamp(0),
            until: Timestamp(1_000_000),
            cursor: None,
            reached: reached.map(Timestamp),
            messages: 0,
            attempts: 0,
            outcome: None,
            fault: None,
        }
    }

    #[test]
    fn a_part_counts_as_far_as_its_time_is_read() {
        let found = progress(&job(tally(0, 0, 0), tally(10, 2, 25)), Some(&item(Some(500_000))));
        assert_eq!((found.percent, found.eta_seconds, found.remaining), (Some(25.0), Some(75.0), Some(8)));
        assert_eq!(found.messages_per_second, Some(12.0));
    }

    #[test]
    fn files_and_conversations_are_measured_apart() {
        let found = progress(&job(tally(72, 72, 432), tally(100, 10, 4)), None);
        assert_eq!(found.eta_seconds, Some(36.0));
        let early = progress(&job(tally(72, 10, 60), tally(100, 0, 0)), None);
        assert_eq!((early.total, early.percent, early.eta_seconds), (Total::Unknown, None, None));
        assert_eq!(early.remaining, Some(162), "how many parts are left is known all the same");
    }

    #[test]
    fn what_nobody_knows_is_not_claimed() {
        let unbounded = BackfillJob { since: None, ..job(tally(0, 0, 0), tally(4, 2, 30)) };
        let found = progress(&unbounded, Some(&item(Some(500_000))));
        assert_eq!((found.total, found.percent, found.eta_seconds), (Total::Unknown, None, None));
        assert_eq!(found.remaining, Some(2));
        let many = BackfillJob { since: None, ..job(tally(0, 0, 0), tally(40, 10, 30)) };
        assert_eq!(progress(&many, Some(&item(Some(500_000)))).percent, Some(25.0), "by whole conversations");
        // In the middle of one, its time counts as worked and not as a rate.
        let mut amid = many.clone();
        amid.conversations.active += Duration::from_secs(2);
        let found = progress(&amid, None);
        assert_eq!((found.eta_seconds, found.active_seconds), (Some(88.0), 32.0));
        assert_eq!(found.messages_per_second, Some(300.0 / 32.0));
        let unplanned = BackfillJob { plans: 0, ..job(tally(0, 0, 0), tally(0, 0, 0)) };
        assert_eq!(progress(&unplanned, None).percent, None);
        let done = BackfillJob { state: BackfillState::Done, ..unbounded };
        assert_eq!(progress(&done, None).percent, Some(100.0));
    }
}
