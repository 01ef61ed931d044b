//! Places in the journal, remembered as a few runs.

use switchboard_contract::Position;
use switchboard_contract::storage::PositionRun;

/// Runs kept of one hour; beyond it the nearest are joined.
const MOST: usize = 32;

/// A set of positions that may grow to cover the gaps between them.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs(Vec<(u64, u64)>);

impl Runs {
    pub(super) fn add(&mut self, position: Position) {
        let at = self.0.partition_point(|(_, last)| last.saturating_add(1) < position.0);
        match self.0.get_mut(at) {
            Some((first, last)) if position.0 + 1 >= *first => {
                (*first, *last) = ((*first).min(position.0), (*last).max(position.0));
                if let Some(&(next, end)) = self.0.get(at + 1)
                    && next <= self.0[at].1 + 1
                {
                    self.0[at].1 = end;
                    self.0.remove(at + 1);
                }
            }
            _ => self.0.insert(at, (position.0, position.0)),
        }
        if self.0.len() > 2 * MOST {
            self.join();
        }
    }

    /// Places that follow one another, or nearly.
    pub(super) fn add_run(&mut self, run: PositionRun) {
        let (mut first, mut last) = (run.first.0, run.last.0);
        self.0.retain(|(from, to)| {
            let apart = *from > last.saturating_add(1) || to.saturating_add(1) < first;
            if !apart {
                (first, last) = (first.min(*from), last.max(*to));
            }
            apart
        });
        let at = self.0.partition_point(|(_, to)| *to < first);
        self.0.insert(at, (first, last));
        if self.0.len() > 2 * MOST {
            self.join();
        }
    }

    /// Joins the nearest until few enough are left.
    fn join(&mut self) {
        while self.0.len() > MOST {
            let nearest = (1..self.0.len()).min_by_key(|at| self.0[*at].0 - self.0[at - 1].1);
            let Some(at) = nearest else { return };
            self.0[at - 1].1 = self.0[at].1;
            self.0.remove(at);
        }
    }

    pub(super) fn into_list(mut self) -> Vec<PositionRun> {
        self.join();
        let run = |(first, last)| PositionRun { first: Position(first), last: Position(last) };
        self.0.into_iter().map(run).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_position_is_covered_by_few_ascending_runs(positions in prop::collection::vec(1_u64..5000, 0..600)) {
            let mut runs = Runs::default();
            positions.iter().for_each(|position| runs.add(Position(*position)));
            let list = runs.into_list();
            prop_assert!(list.len() <= MOST);
            for pair in list.windows(2) {
                prop_assert!(pair[0].last.0 + 1 < pair[1].first.0, "{list:?}");
            }
            for position in positions {
                prop_assert!(list.iter().any(|run| (run.first.0..=run.last.0).contains(&position)));
            }
        }
    }

    proptest! {
        #[test]
        fn runs_and_places_mix(
            runs in prop::collection::vec((1_u64..4000, 0_u64..40), 0..60),
            positions in prop::collection::vec(1_u64..5000, 0..60),
        ) {
            let mut found = Runs::default();
            for (first, length) in &runs {
                found.add_run(PositionRun { first: Position(*first), last: Position(first + length) });
            }
            positions.iter().for_each(|position| found.add(Position(*position)));
            let list = found.into_list();
            for pair in list.windows(2) {
                prop_assert!(pair[0].last.0 + 1 < pair[1].first.0, "{list:?}");
            }
            let covers = |place: u64| list.iter().any(|run| (run.first.0..=run.last.0).contains(&place));
            for (first, length) in runs {
                prop_assert!((first..=first + length).all(covers));
            }
            prop_assert!(positions.into_iter().all(covers));
        }
    }

    #[test]
    fn neighbours_join_exactly() {
        let mut runs = Runs::default();
        [5, 7, 6, 1, 9, 3].into_iter().for_each(|position| runs.add(Position(position)));
        let list: Vec<_> = runs.into_list().iter().map(|run| (run.first.0, run.last.0)).collect();
        assert_eq!(list, [(1, 1), (3, 3), (5, 7), (9, 9)]);
    }
}
