//! Paging by time through a history whose vendor gives no cursor. Pure.
//!
//! The only handle is a span of time, and messages share milliseconds, so each page after the first asks again for
//! the millisecond where the last one ended and leaves out what it has seen there. That holds under every reading of
//! the two bounds and of `includeStart`. Whether answers list the newest or the oldest message first is read from
//! them, unless a setting says it. Spans longer than the vendor admits are cut into windows, newest first.
//!
//! The end is an answer with nothing new, never a short page.

use std::collections::HashSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use switchboard_contract::{Error, ErrorKind, Result, RoamingQuery};

use crate::config::QueryOrder;
use crate::limits::MAX_PAGE;

/// Where a walk stands between two pages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Walk {
    /// The whole range, included at both ends.
    since: i64,
    until: i64,
    /// The window being read, included at both ends.
    low: i64,
    high: i64,
    /// The longest window.
    span: i64,
    direction: Direction,
    /// Whether the direction is known, not guessed.
    sure: bool,
    /// Ask for the largest page: the last one held nothing but what was seen.
    full: bool,
    /// The time of the last message taken from this window.
    at: Option<i64>,
    /// Messages taken whose time is at most a millisecond from `at`.
    seen: Vec<(i64, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Direction {
    /// Newest first.
    Down,
    /// Oldest first.
    Up,
}

/// What to ask the vendor for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) include_start: bool,
    pub(super) size: u32,
}

/// One message of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) at: i64,
    pub(super) id: &'a str,
}

/// What an answer is worth.
#[derive(Debug)]
pub(super) struct Step {
    /// Which of its messages are new and in range, by index.
    pub(super) taken: Vec<usize>,
    pub(super) next: Option<Walk>,
}

impl Walk {
    /// Goes on from the query's cursor, or begins. `None` for an empty range.
    ///
    /// # Errors
    /// `InvalidInput` for a cursor that is not of this walk.
    pub(super) fn resume(query: &RoamingQuery, order: QueryOrder, max_span: Duration) -> Result<Option<Self>> {
        let (since, until) = (query.since.as_millis().max(0), query.until.as_millis());
        if since > until {
            return Ok(None);
        }
        let Some(cursor) = &query.cursor else {
            // Two milliseconds are kept back for the bounds of the pages after the first.
            let span = i64::try_from(max_span.as_millis()).unwrap_or(i64::MAX).saturating_sub(2).max(1);
            let (direction, sure) = match order {
                QueryOrder::Auto => (Direction::Down, false),
                QueryOrder::Descending => (Direction::Down, true),
                QueryOrder::Ascending => (Direction::Up, true),
            };
            let (low, high) = (since.max(until.saturating_sub(span)), until);
            let seen = Vec::new();
            return Ok(Some(Self { since, until, low, high, span, direction, sure, full: false, at: None, seen }));
        };
        let walk = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|json| serde_json::from_slice::<Self>(&json).ok());
        match walk {
            Some(walk) if (walk.since, walk.until) == (since, until) => Ok(Some(walk)),
            Some(_) => Err(Error::invalid("cursor", "belongs to another range")),
            None => Err(Error::invalid("cursor", "is not one that was given out")),
        }
    }

    pub(super) fn cursor(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("integers and texts are always JSON"))
    }

    /// # Errors
    /// `Internal` when more messages share a millisecond than a page can hold, so that none could be asked past.
    pub(super) fn ask(&self, limit: u32) -> Result<Ask> {
        let seen = u32::try_from(self.seen.len()).unwrap_or(MAX_PAGE);
        if seen >= MAX_PAGE {
            return Err(too_full());
        }
        let least = if self.sure { 1 } else { 2 };
        let size = if self.full { MAX_PAGE } else { limit.saturating_add(seen).clamp(least, MAX_PAGE) };
        Ok(match (self.at, self.direction) {
            (None, _) => Ask { start: self.low, end: self.high, include_start: true, size },
            (Some(at), Direction::Down) => {
                let start = (self.low - 1).max(0);
                // A millisecond beyond, even beyond the window: under one reading the end itself is left out.
                Ask { start, end: at + 1, include_start: self.low == 0, size }
            }
            (Some(at), Direction::Up) => {
                let start = (at - 1).max(0);
                Ask { start, end: self.high, include_start: at == 0, size }
            }
        })
    }

    /// Takes an answer that was asked for `size` messages.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub(super) fn step(mut self, answer: &[Seen<'_>], limit: usize, size: u32) -> Result<Step> {
        self.learn_direction(answer);
        let mut fresh = self.fresh(answer);
        match self.direction {
            Direction::Down => fresh.sort_by_key(|index| std::cmp::Reverse(answer[*index].at)),
            Direction::Up => fresh.sort_by_key(|index| answer[*index].at),
        }
        fresh.truncate(limit);
        let Some(last) = fresh.last() else {
            return Ok(Step { taken: fresh, next: self.past(answer.len() >= size as usize, size)? });
        };
        let at = answer[*last].at;
        self.seen.extend(fresh.iter().map(|index| (answer[*index].at, answer[*index].id.to_owned())));
        self.seen.retain(|(time, _)| time.abs_diff(at) <= 1);
        self.at = Some(at);
        self.full = false;
        Ok(Step { taken: fresh, next: Some(self) })
    }

    fn learn_direction(&mut self, answer: &[Seen<'_>]) {
        let (Some(first), Some(last)) = (answer.first(), answer.last()) else { return };
        if !self.sure && first.at != last.at {
            self.direction = if first.at > last.at { Direction::Down } else { Direction::Up };
            self.sure = true;
        }
    }

    fn fresh(&self, answer: &[Seen<'_>]) -> Vec<usize> {
        let mut known: HashSet<&str> = self.seen.iter().map(|(_, id)| id.as_str()).collect();
        let new = |(_, seen): &(usize, &Seen<'_>)| (self.low..=self.high).contains(&seen.at);
        answer.iter().enumerate().filter(new).filter(|(_, seen)| known.insert(seen.id)).map(|(at, _)| at).collect()
    }

    /// Nothing new came: a larger page, the other direction, the next window, or the end.
    fn past(mut self, page_was_full: bool, size: u32) -> Result<Option<Self>> {
        if page_was_full {
            if size >= MAX_PAGE {
                return Err(too_full());
            }
            self.full = true;
            return Ok(Some(self));
        }
        self.full = false;
        if !self.sure && self.at.is_some() && self.direction == Direction::Down {
            // Everything so far was of one millisecond: what there is may as well lie on its other side. That still
            // does not tell the order of the next window.
            self.direction = Direction::Up;
            return Ok(Some(self));
        }
        if !self.sure {
            self.direction = Direction::Down;
        }
        if self.low <= self.since {
            return Ok(None);
        }
        self.high = self.low - 1;
        self.low = self.since.max(self.high.saturating_sub(self.span));
        self.at = None;
        self.seen.clear();
        Ok(Some(self))
    }
}

fn too_full() -> Error {
    let why = format!("more than {MAX_PAGE} messages of one millisecond cannot be paged through");
    Error::new(ErrorKind::Internal, why)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;
    use switchboard_contract::{Target, Timestamp};

    use super::*;

    /// The vendor, in each reading of what its pages leave open.
    #[derive(Clone, Copy, Debug)]
    struct Vendor {
        descending: bool,
        end_included: bool,
        /// `includeStart` speaks of the bound where the page begins, not of the earlier one.
        start_is_where_the_page_begins: bool,
    }

    impl Vendor {
        fn answer<'a>(self, stored: &'a [(i64, String)], ask: Ask) -> Vec<Seen<'a>> {
            assert!(ask.size <= MAX_PAGE && ask.start <= ask.end, "{ask:?}");
            let late = self.start_is_where_the_page_begins && self.descending;
            let (low_in, high_in) =
                if late { (true, ask.include_start) } else { (ask.include_start, self.end_included) };
            let mut found: Vec<Seen<'a>> = stored
                .iter()
                .filter(|(at, _)| if low_in { *at >= ask.start } else { *at > ask.start })
                .filter(|(at, _)| if high_in { *at <= ask.end } else { *at < ask.end })
                .map(|(at, id)| Seen { at: *at, id })
                .collect();
            found.sort_by_key(|seen| seen.at);
            if self.descending {
                found.reverse();
            }
            found.truncate(ask.size as usize);
            found
        }
    }

    fn query(since: i64, until: i64, cursor: Option<String>) -> RoamingQuery {
        RoamingQuery {
            viewer: "a".into(),
            target: Target::Users(vec!["b".into()]),
            since: Timestamp(since),
            until: Timestamp(until),
            limit: 20,
            cursor,
        }
    }

    fn walk_all(
        vendor: Vendor,
        order: QueryOrder,
        span: u64,
        stored: &[(i64, String)],
        range: (i64, i64),
        limit: u32,
    ) -> Vec<String> {
        let (mut cursor, mut all) = (None, Vec::new());
        for _ in 0..5000 {
            let query = query(range.0, range.1, cursor.clone());
            let walk = Walk::resume(&query, order, Duration::from_millis(span)).unwrap();
            let Some(walk) = walk else { return all };
            let ask = walk.ask(limit).unwrap();
            assert!(ask.end - ask.start <= span as i64, "the span is kept");
            let answer = vendor.answer(stored, ask);
            let step = walk.step(&answer, limit as usize, ask.size).unwrap();
            assert!(step.taken.len() <= limit as usize);
            all.extend(step.taken.iter().map(|index| answer[*index].id.to_owned()));
            let next = step.next.map(|walk| walk.cursor());
            assert!(next.is_none() || next != cursor, "a cursor repeats");
            match next {
                Some(next) => cursor = Some(next),
                None => return all,
            }
        }
        panic!("the walk does not end");
    }

    #[test]
    fn a_window_of_a_single_millisecond_does_not_decide_the_order_of_the_next() {
        let vendor = Vendor { descending: true, end_included: true, start_is_where_the_page_begins: false };
        let stored: Vec<(i64, String)> = [1082, 1078, 1076].into_iter().map(|at| (at, format!("id-{at}"))).collect();
        let mut found = walk_all(vendor, QueryOrder::Auto, 6, &stored, (1000, 1084), 1);
        found.sort();
        assert_eq!(found, ["id-1076", "id-1078", "id-1082"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn each_message_of_the_range_comes_exactly_once(
            times in prop::collection::vec(0_i64..60, 0..80),
            range in (0_i64..70, 0_i64..70),
            limit in 1_u32..30,
            span in 5_u64..80,
            descending: bool,
            end_included: bool,
            start_is_where_the_page_begins: bool,
            known_order: bool,
        ) {
            let vendor = Vendor { descending, end_included, start_is_where_the_page_begins };
            let order = match (known_order, descending) {
                (false, _) => QueryOrder::Auto,
                (true, true) => QueryOrder::Descending,
                (true, false) => QueryOrder::Ascending,
            };
            // Where the ends of the range themselves are open to reading, nothing is stored at them.
            let open_ends = !end_included;
            let stored: Vec<(i64, String)> = times
                .iter()
                .enumerate()
                .map(|(number, at)| (1_000 + at * 2, format!("id-{number}")))
                .collect();
            let (since, until) = (1_000 + range.0 * 2 - i64::from(open_ends), 1_000 + range.1 * 2 + i64::from(open_ends));
            // Windows that meet at a message's own time need the end included, as the vendor's example shows it.
            let span = if end_included { span } else { 400 };
            let mut expected: Vec<&str> = stored
                .iter()
                .filter(|(at, _)| (since..=until).contains(at))
                .map(|(_, id)| id.as_str())
                .collect();
            let mut found = walk_all(vendor, order, span, &stored, (since, until), limit);
            found.sort();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_first_page_asks_for_the_range_and_later_ones_leave_the_start_out() {
        let walk = Walk::resume(&query(1000, 2000, None), QueryOrder::Descending, Duration::from_secs(9)).unwrap();
        let walk = walk.unwrap();
        assert_eq!(walk.ask(20).unwrap(), Ask { start: 1000, end: 2000, include_start: true, size: 20 });
        let answer = [Seen { at: 1900, id: "a" }, Seen { at: 1800, id: "b" }];
        let next = walk.step(&answer, 20, 20).unwrap().next.unwrap();
        assert_eq!(next.ask(20).unwrap(), Ask { start: 999, end: 1801, include_start: false, size: 21 });
    }

    #[test]
    fn a_cursor_of_another_walk_is_refused() {
        let walk = Walk::resume(&query(1000, 2000, None), QueryOrder::Auto, Duration::from_secs(9)).unwrap().unwrap();
        for query in [query(1000, 2001, Some(walk.cursor())), query(1000, 2000, Some("garbage".to_owned()))] {
            let error = Walk::resume(&query, QueryOrder::Auto, Duration::from_secs(9)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_millisecond_fuller_than_a_page_is_an_error_and_not_a_loss() {
        let stored: Vec<_> = (0..150).map(|number| (1500, format!("id-{number}"))).collect();
        let vendor = Vendor { descending: true, end_included: true, start_is_where_the_page_begins: false };
        let mut walk =
            Walk::resume(&query(1000, 2000, None), QueryOrder::Auto, Duration::from_secs(9)).unwrap().unwrap();
        let error = loop {
            let ask = match walk.ask(100) {
                Ok(ask) => ask,
                Err(error) => break error,
            };
            let answer = vendor.answer(&stored, ask);
            walk = walk.step(&answer, 100, ask.size).unwrap().next.expect("the walk ended and lost 50 messages");
        };
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
}
