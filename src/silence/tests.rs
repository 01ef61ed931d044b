//! The model and the detector over weeks of random traffic, with a clock of numbers. Seeds are printed with a failure.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use switchboard_contract::Timestamp;
use switchboard_contract::storage::TrafficHour;

use super::SilenceConfig;
use super::detector::{Act, Cause, Detector};
use super::model::Model;
use crate::ingest::Arrivals;
use crate::reconcile::{HOUR, hour_of};

/// A Monday, 00:00 UTC.
const MONDAY: Timestamp = Timestamp(1_795_392_000_000);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Callbacks a second at a moment, times `scale`: busy days, quiet nights, weekends at a fifth.
fn rate(at: Timestamp, scale: f64) -> f64 {
    let hours = (at.0 - MONDAY.0).rem_euclid(7 * 24 * 3_600_000) as f64 / 3_600_000.0;
    let (day, hour) = ((hours / 24.0) as u32, hours % 24.0);
    // Smooth over the day: least at 04:00, most at 16:00.
    let wave = 0.5 - 0.5 * ((hour - 4.0) / 24.0 * std::f64::consts::TAU).cos();
    let weekday = if day < 5 { 1.0 } else { 0.2 };
    scale * weekday * (0.01 + wave * wave)
}

fn exponential(random: &mut StdRng, mean: f64) -> f64 {
    -mean * (1.0 - random.random::<f64>()).ln()
}

/// When the next callback comes. The rate may change long before: of callbacks at the highest rate those stay that the
/// rate of their moment has room for.
fn next_event(random: &mut StdRng, after: Timestamp, scale: f64) -> Timestamp {
    let most = scale * 1.01;
    let mut at = after;
    loop {
        at = at + Duration::from_secs_f64(exponential(random, 1.0 / most).max(0.001));
        if random.random::<f64>() * most < rate(at, scale) {
            return at;
        }
    }
}

/// Three weeks before, each hour as chance would have counted it.
fn learnt(random: &mut StdRng, scale: f64) -> Model {
    let mut hours = Vec::new();
    let mut hour = MONDAY - 3 * WEEK;
    while hour < MONDAY {
        let mean = (0..60).map(|minute| rate(hour + minute * HOUR / 60, scale) * 60.0).sum::<f64>();
        // The sum of many small chances, as a normal one.
        let noise: f64 = (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
        let callbacks = (mean + mean.sqrt() * noise).max(0.0).round() as u64;
        let longest = 3600.0 / (mean + 1.0) * (mean + 2.0).ln();
        let longest_gap = Duration::from_secs_f64(longest.min(3600.0));
        hours.push(TrafficHour { hour, callbacks, watched: HOUR, longest_gap });
        hour = hour + HOUR;
    }
    Model::new(hours)
}

/// What became of a stretch of traffic.
#[derive(Debug, Default)]
struct Seen {
    /// When it was an alarm, how long after the last callback, and at what expected rate.
    alarms: Vec<(Timestamp, Duration, f64)>,
    asked: u64,
}

/// Lives from `from` to `until`. From `silent` on callbacks are lost, and the vendor, asked, tells of what was.
fn live(
    random: &mut StdRng,
    model: &mut Model,
    scale: f64,
    (from, until): (Timestamp, Timestamp),
    silent: Option<Timestamp>,
) -> Seen {
    let mut detector = Detector::new(SilenceConfig::default(), from);
    let mut arrivals = Arrivals::default();
    let (mut seen, mut lost) = (Seen::default(), 0_u64);
    let mut now = from;
    let mut look = from;
    let mut event = next_event(random, from, scale);
    while now < until {
        if event <= look {
            now = event;
            if silent.is_some_and(|silent| now >= silent) {
                lost += 1;
            } else {
                arrivals.accepted += 1;
                arrivals.last = Some(now);
            }
            event = next_event(random, now, scale);
            continue;
        }
        now = look;
        if let Some(last) = arrivals.last {
            model.saw(last, arrivals.accepted);
        }
        let expected = model.expect(detector.since_last(&arrivals), now);
        let (mut act, next) = detector.look(now, &arrivals, expected);
        seen.asked += u64::from(act == Act::Ask);
        if act == Act::Ask && lost > 0 {
            act = detector.confirmed();
        }
        if let Act::Alarm(_) = act {
            seen.alarms.push((now, now.since(detector.since()), expected.map_or(0.0, |expected| expected.rate)));
            if silent.is_some() {
                return seen;
            }
        }
        look = next.min(hour_of(now) + HOUR).max(now + Duration::from_millis(100));
    }
    seen
}

/// A quiet night and a weekend are no alarm, though thousands of times more expected gaps pass than an alarm needs.
#[test]
fn no_quiet_that_was_expected_is_an_alarm() {
    for seed in 1..=6 {
        for scale in [0.02, 0.3, 4.0] {
            // At the highest rate two days are enough: a weekend's.
            let from = if scale > 1.0 { MONDAY + Duration::from_secs(4 * 24 * 3600 + 72_000) } else { MONDAY };
            let until = if scale > 1.0 { from + Duration::from_secs(36 * 3600) } else { MONDAY + WEEK };
            let mut random = StdRng::seed_from_u64(seed);
            let mut model = learnt(&mut random, scale);
            let seen = live(&mut random, &mut model, scale, (from, until), None);
            assert!(seen.alarms.is_empty(), "seed {seed}, scale {scale}: {:?}", seen.alarms);
            assert!(seen.asked > 0, "seed {seed}, scale {scale}: it was never in doubt, so nothing was tested");
        }
    }
}

/// Callbacks to be expected in a stretch of time.
fn due(from: Timestamp, until: Timestamp, scale: f64) -> f64 {
    let whole = until.since(from).as_secs_f64();
    let steps = 200;
    let step = |number: u32| from + until.since(from) * number / steps;
    (0..steps).map(|number| rate(step(number), scale) * whole / f64::from(steps)).sum()
}

/// Whenever callbacks stop, the alarm comes in time: 60 s where one a second is expected, else five expected gaps,
/// unless nothing was said until then, so that there was nothing to notice.
#[test]
fn a_silence_is_an_alarm_in_time() {
    let (mut late, mut tried, mut fast) = (0, 0, 0);
    for seed in 1..=150_u64 {
        let mut random = StdRng::seed_from_u64(seed);
        let scale = [0.05, 0.5, 4.0][seed as usize % 3];
        let mut model = learnt(&mut random, scale);
        let silent = MONDAY + Duration::from_secs(random.random_range(7_200..6 * 86_400));
        let from = silent - Duration::from_secs(7_200);
        let seen = live(&mut random, &mut model, scale, (from, silent + WEEK), Some(silent));
        let (at, after, expected) = *seen.alarms.last().unwrap_or_else(|| panic!("seed {seed}: no alarm at all"));
        let gaps = due(at - after, at, scale);
        tried += 1;
        if expected >= 1.0 {
            fast += 1;
            assert!(after.as_secs_f64() <= 60.0, "seed {seed}: {after:?} at {expected}/s");
        } else {
            late += u64::from(gaps > 5.0);
            assert!(gaps <= 20.0, "seed {seed}: {gaps} expected gaps, {after:?} at {expected}/s");
        }
    }
    assert!(fast > 10 && fast + 30 < tried, "both sides of the bar are tried: {fast} of {tried}");
    // Callbacks stop between two of them, so a gap is its quiet part before and its silent part after: of 4.75 gaps
    // that end without a callback 5.75 e^-4.75, about five of a hundred, had nobody say anything in the silent part.
    assert!(late * 20 <= tried, "{late} of {tried} were late");
}

#[test]
fn without_weeks_before_only_an_answer_makes_an_alarm_below_one_a_second() {
    let mut random = StdRng::seed_from_u64(1);
    let mut model = Model::new(Vec::new());
    let day = (MONDAY + Duration::from_secs(10 * 3600), MONDAY + Duration::from_secs(34 * 3600));
    let seen = live(&mut random, &mut model, 0.3, day, None);
    assert!(seen.alarms.is_empty(), "{:?}", seen.alarms);
    let silent = day.0 + Duration::from_secs(3600);
    let mut model = Model::new(Vec::new());
    let seen = live(&mut random, &mut model, 0.3, day, Some(silent));
    assert_eq!(seen.alarms.len(), 1);
}

#[test]
fn a_holiday_is_no_silence_and_the_present_does_not_fade_in_one() {
    let mut random = StdRng::seed_from_u64(3);
    let mut model = learnt(&mut random, 4.0);
    let noon = MONDAY + Duration::from_secs(12 * 3600);
    let usual = model.expect(noon, noon).unwrap().rate;
    // Fifty times less than on other Mondays.
    for minute in 0..30_u32 {
        model.saw(noon - HOUR / 2 + minute * HOUR / 60, u64::from(minute) * 3);
    }
    let expected = model.expect(noon, noon).unwrap().rate;
    assert!(expected < usual / 10.0, "{expected} instead of {usual}");
    let later = model.expect(noon, noon + HOUR / 4).unwrap().rate;
    assert!((later - expected).abs() < expected / 100.0, "silence does not lower what is expected: {later}");
}

#[test]
fn refusals_before_a_silence_make_a_ban_of_it() {
    let expected = |now: Timestamp| {
        let due = 2.0 * now.since(MONDAY).as_secs_f64();
        Some(super::model::Expectation { rate: 2.0, due, longest_gap: Duration::ZERO, learnt: true })
    };
    for (refused, cause) in [(90, Cause::Ban), (3, Cause::Silence)] {
        let mut detector = Detector::new(SilenceConfig::default(), MONDAY);
        let arrivals = Arrivals { accepted: 5, refused, last: Some(MONDAY), longest_gap: Duration::ZERO };
        let mut now = MONDAY;
        let found = loop {
            let (act, next) = detector.look(now, &arrivals, expected(now));
            match act {
                Act::Alarm(cause) => break cause,
                _ => now = next,
            }
            assert!(now.since(MONDAY) < Duration::from_secs(60));
        };
        assert_eq!(found, cause);
        let back = Arrivals { accepted: 6, last: Some(now), ..arrivals };
        assert_eq!(detector.look(now, &back, expected(now)).0, Act::Back);
        assert!(!detector.is_silent());
    }
}
