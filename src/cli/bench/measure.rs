//! Alternating rounds, medians, bars.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use switchboard_contract::{Error, ErrorKind, Result};
use tempfile::TempDir;

use super::delay::SlowDisk;
use super::machine::{Cores, Machine};

/// What the command line asked for.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Settings {
    /// Alternating rounds.
    pub(super) pairs: usize,
    /// Seconds of each measurement, when given.
    pub(super) seconds: Option<u64>,
    /// Rows of the large store; 0 for none.
    pub(super) store_rows: u64,
    /// Where files are made.
    pub(super) dir: PathBuf,
    /// Whether only the way is tried, with the smallest sizes: the figures mean nothing.
    pub(super) quick: bool,
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Keep-alive connections of the load generator.
    pub(super) connections: usize,
    /// Subscribers of one event.
    pub(super) subscribers: usize,
    /// Idle streams.
    pub(super) streams: usize,
    /// Conversations a server has to know.
    pub(super) known: u64,
    /// Messages to read again.
    pub(super) replayed: u64,
    /// Lines of an hour's file.
    pub(super) lines: u64,
    /// Messages of a past that is fetched.
    pub(super) fetched: u64,
    /// Messages journalled before measuring begins, so that the indexes are as far behind as they may be.
    pub(super) warm_rows: u64,
    /// Posted or read before measuring begins.
    pub(super) warm: Duration,
    /// What a process may still let go of after its streams are open.
    pub(super) settle: Duration,
    /// Room of an inbox.
    pub(super) inbox_mib: u64,
}

impl Sizes {
    const FULL: Self = Self {
        connections: 64,
        subscribers: 300,
        streams: 1000,
        known: 1_000_000,
        replayed: 200_000,
        lines: 1_000_000,
        fetched: 100_000,
        warm_rows: 120_000,
        warm: Duration::from_millis(500),
        settle: Duration::from_secs(3),
        inbox_mib: 1024,
    };
    const QUICK: Self = Self {
        connections: 4,
        subscribers: 5,
        streams: 5,
        known: 500,
        replayed: 500,
        lines: 2_000,
        fetched: 1_000,
        warm_rows: 300,
        warm: Duration::from_millis(200),
        settle: Duration::from_millis(100),
        inbox_mib: 64,
    };
}

/// Everything the suites share.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) settings: Settings,
    pub(super) machine: Machine,
    pub(super) cores: Cores,
    pub(super) sizes: Sizes,
    slow_disk: OnceCell<SlowDisk>,
    large: OnceCell<TempDir>,
}

impl Bench {
    pub(super) fn new(settings: Settings) -> Result<Self> {
        let machine = Machine::look(&settings.dir)?;
        let cores = Cores::choose();
        let sizes = if settings.quick { Sizes::QUICK } else { Sizes::FULL };
        Ok(Self { settings, machine, cores, sizes, slow_disk: OnceCell::new(), large: OnceCell::new() })
    }

    /// How long one measurement takes, without its warming up.
    pub(super) fn run_time(&self, default_seconds: u64) -> Duration {
        match self.settings.seconds {
            Some(seconds) => Duration::from_secs(seconds),
            None if self.settings.quick => Duration::from_millis(1000),
            None => Duration::from_secs(default_seconds),
        }
    }

    /// A directory that goes when it is dropped.
    pub(super) fn scratch(&self) -> Result<TempDir> {
        tempfile::Builder::new()
            .prefix("switchboard-bench-")
            .tempdir_in(&self.settings.dir)
            .map_err(failed("a directory could not be made"))
    }

    /// The layer that adds 2 ms to every fsync; compiled once.
    pub(super) fn slow_disk(&self) -> Result<&SlowDisk> {
        if let Some(made) = self.slow_disk.get() {
            return Ok(made);
        }
        let made = SlowDisk::compile(self.scratch()?)?;
        Ok(self.slow_disk.get_or_init(|| made))
    }

    /// The large store, made by `fill` when it is first asked for. What is measured over it adds little to it.
    pub(super) fn large(&self, fill: impl FnOnce(&Path) -> Result<()>) -> Result<&Path> {
        if let Some(made) = self.large.get() {
            return Ok(made.path());
        }
        let dir = self.scratch()?;
        fill(dir.path())?;
        Ok(self.large.get_or_init(|| dir).path())
    }

    /// Runs every side once in each round, in their order.
    pub(super) fn alternate(&self, name: &str, sides: &mut [Side<'_>]) -> Result<Rounds> {
        let pairs = self.settings.pairs;
        let bar = progress(name, (pairs * sides.len()) as u64);
        let mut figures = vec![Vec::with_capacity(pairs); sides.len()];
        for _ in 0..pairs {
            for (side, kept) in sides.iter_mut().zip(&mut figures) {
                bar.set_message(side.name);
                let figure = (side.measure)()?;
                if figure.faults > 0 {
                    let text = format!("{name}, {}: {} of {} failed", side.name, figure.faults, figure.count);
                    return Err(Error::new(ErrorKind::Rejected, text));
                }
                kept.push(figure);
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        Ok(Rounds(figures))
    }
}

/// A bar on a terminal; nothing elsewhere.
pub(super) fn progress(name: &str, steps: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:<12} [{bar:40}] {pos}/{len}  {elapsed_precise}  {msg}");
    let bar = ProgressBar::new(steps).with_prefix(name.to_owned());
    if let Ok(style) = style {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// One of the things that take turns.
pub(super) struct Side<'a> {
    name: &'static str,
    measure: Box<dyn FnMut() -> Result<Figure> + 'a>,
}

impl<'a> Side<'a> {
    pub(super) fn new(name: &'static str, measure: impl FnMut() -> Result<Figure> + 'a) -> Self {
        Self { name, measure: Box::new(measure) }
    }
}

/// What one measurement found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Figure {
    /// Things a second.
    pub(super) rate: f64,
    /// Things measured.
    pub(super) count: u64,
    /// Things that went wrong; with one of them a figure is worth nothing.
    pub(super) faults: u64,
    /// How long the slowest of the fastest half took, in microseconds, where each was timed.
    pub(super) p50_us: u64,
    /// How long the slowest of the fastest 99 % took.
    pub(super) p99_us: u64,
    /// Accepted and not yet delivered when measuring began.
    pub(super) backlog_before: u64,
    /// The same when it ended.
    pub(super) backlog_after: u64,
    /// Bytes of one of the things, where they are sent.
    pub(super) payload: u64,
    /// Resident memory of the process, in KiB, where it was asked for.
    pub(super) rss_kib: u64,
    /// The share of a core that the measured process took, where it was asked for.
    pub(super) share: f64,
}

impl Figure {
    /// So many within this time.
    pub(super) fn of(count: u64, took: Duration) -> Self {
        Self { rate: count as f64 / took.as_secs_f64().max(f64::EPSILON), count, ..Self::default() }
    }

    /// With how long each took, in microseconds.
    pub(super) fn timed(mut self, mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        let share = |of: f64| micros.get((micros.len() as f64 * of) as usize).map_or(0, |micros| u64::from(*micros));
        (self.p50_us, self.p99_us) = (share(0.5), share(0.99));
        self
    }
}

/// The figures of every side, round by round.
#[derive(Debug)]
pub(super) struct Rounds(Vec<Vec<Figure>>);

impl Rounds {
    /// The median of something of one side.
    pub(super) fn median(&self, side: usize, of: impl Fn(&Figure) -> f64) -> f64 {
        median(self.0[side].iter().map(of).collect())
    }

    /// One side's rate beside another's.
    pub(super) fn compare(&self, ours: usize, raw: usize) -> Comparison {
        self.compare_with(|round| (round[ours].rate, round[raw].rate))
    }

    /// Two numbers of each round beside one another.
    pub(super) fn compare_with(&self, of: impl Fn(&[&Figure]) -> (f64, f64)) -> Comparison {
        let rounds = self.0.first().map_or(0, Vec::len);
        let both: Vec<(f64, f64)> =
            (0..rounds).map(|round| of(&self.0.iter().map(|side| &side[round]).collect::<Vec<_>>())).collect();
        let ratios: Vec<f64> = both.iter().map(|(ours, raw)| ours / raw.max(f64::EPSILON)).collect();
        Comparison {
            ours: median(both.iter().map(|(ours, _)| *ours).collect()),
            raw: median(both.iter().map(|(_, raw)| *raw).collect()),
            lowest: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            highest: ratios.iter().copied().fold(0.0, f64::max),
            ratio: median(ratios),
        }
    }
}

/// Medians of two things that took turns. The ratio is the median of the rounds' ratios, not the ratio of the medians.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Comparison {
    pub(super) ours: f64,
    pub(super) raw: f64,
    pub(super) ratio: f64,
    /// The lowest ratio of any round.
    pub(super) lowest: f64,
    /// The highest.
    pub(super) highest: f64,
}

impl Comparison {
    /// A single value beside a fixed limit.
    pub(super) fn with_limit(ours: f64, limit: f64) -> Self {
        let ratio = ours / limit.max(f64::EPSILON);
        Self { ours, raw: limit, ratio, lowest: ratio, highest: ratio }
    }
}

/// What a ratio must be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Bar {
    /// At least this; with a higher one to aim at.
    AtLeast {
        /// The bar.
        bar: f64,
        /// The higher one.
        stretch: Option<f64>,
    },
    /// At most this.
    AtMost {
        /// The bar.
        bar: f64,
    },
}

/// How a figure stands to its bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Verdict {
    /// It reaches the higher bar as well.
    Stretch,
    /// It reaches the bar.
    Pass,
    /// It does not.
    Below,
}

impl Bar {
    fn judge(self, ratio: f64) -> Verdict {
        match self {
            Self::AtLeast { stretch: Some(stretch), .. } if ratio >= stretch => Verdict::Stretch,
            Self::AtLeast { bar, .. } if ratio >= bar => Verdict::Pass,
            Self::AtMost { bar } if ratio <= bar => Verdict::Pass,
            Self::AtLeast { .. } | Self::AtMost { .. } => Verdict::Below,
        }
    }
}

/// A line of the report.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    /// What was measured.
    pub(super) name: String,
    /// The unit of both figures.
    pub(super) unit: &'static str,
    /// What it is measured against.
    pub(super) against: String,
    #[serde(flatten)]
    pub(super) comparison: Comparison,
    /// What the ratio must be, when it must be anything.
    pub(super) bar: Option<Bar>,
    /// Whether it is.
    pub(super) verdict: Option<Verdict>,
    /// What a reader must know beside it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) note: String,
}

impl Finding {
    pub(super) fn new(name: &str, unit: &'static str, against: &str, comparison: Comparison) -> Self {
        Self {
            name: name.to_owned(),
            unit,
            against: against.to_owned(),
            comparison,
            bar: None,
            verdict: None,
            note: String::new(),
        }
    }

    /// The ratio must be at least `bar`.
    pub(super) fn at_least(self, bar: f64, stretch: Option<f64>) -> Self {
        self.judged(Bar::AtLeast { bar, stretch })
    }

    /// The figure must not be above what it is measured against.
    pub(super) fn at_most_that(self) -> Self {
        self.judged(Bar::AtMost { bar: 1.0 })
    }

    fn judged(mut self, bar: Bar) -> Self {
        self.verdict = Some(bar.judge(self.comparison.ratio));
        self.bar = Some(bar);
        self
    }

    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// The middle one; of an even number the mean of the middle two. 0 of none.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// An error of the machine under the bench.
pub(super) fn failed<E>(what: &'static str) -> impl Fn(E) -> Error
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |error| Error::new(ErrorKind::Internal, format!("{what}: {error}")).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(ours: &[f64], raw: &[f64]) -> Rounds {
        let side = |rates: &[f64]| rates.iter().map(|rate| Figure { rate: *rate, ..Figure::default() }).collect();
        Rounds(vec![side(ours), side(raw)])
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_not_of_the_sides() {
        // The machine slows down from round to round; within each round the ratio is one half.
        let comparison = rounds(&[50.0, 30.0, 10.0], &[100.0, 60.0, 20.0]).compare(0, 1);
        assert!((comparison.ratio - 0.5).abs() < 1e-9);
        assert!((comparison.ours - 30.0).abs() < 1e-9 && (comparison.raw - 60.0).abs() < 1e-9);
        // One disturbed round moves neither median.
        let comparison = rounds(&[50.0, 1.0, 10.0], &[100.0, 60.0, 20.0]).compare(0, 1);
        assert!((comparison.ratio - 0.5).abs() < 1e-9);
        assert!(comparison.lowest < 0.02);
    }

    #[test]
    fn percentiles_are_taken_of_what_was_sorted() {
        let figure = Figure::default().timed((1..=1000).rev().collect());
        assert_eq!((figure.p50_us, figure.p99_us), (501, 991));
        assert_eq!(Figure::default().timed(Vec::new()).p99_us, 0);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert!((median(vec![4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-9);
        assert!(median(Vec::new()).abs() < 1e-9);
    }

    #[test]
    fn bars_are_judged_by_the_ratio() {
        let at = |ours| Finding::new("x", "1/s", "raw", Comparison::with_limit(ours, 100.0)).at_least(0.3, Some(0.5));
        assert_eq!(at(29.0).verdict, Some(Verdict::Below));
        assert_eq!(at(30.0).verdict, Some(Verdict::Pass));
        assert_eq!(at(50.0).verdict, Some(Verdict::Stretch));
        let most = |ours| Finding::new("x", "MiB", "limit", Comparison::with_limit(ours, 100.0)).at_most_that();
        assert_eq!(most(100.0).verdict, Some(Verdict::Pass));
        assert_eq!(most(101.0).verdict, Some(Verdict::Below));
    }
}
