//! Counts what the product counts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;

#[derive(Debug, Default)]
struct Counts(Mutex<HashMap<String, Arc<Count>>>);

#[derive(Debug, Default)]
struct Count(AtomicU64);

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::SeqCst);
    }

    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::SeqCst);
    }
}

/// Counts counters by name and labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recording(Arc<Counts>);

impl Recording {
    /// Everything counted from now on in this process.
    pub(crate) fn start() -> Self {
        let recording = Self::default();
        metrics::set_global_recorder(recording.clone()).unwrap();
        recording
    }

    pub(crate) fn of(&self, key: &str) -> u64 {
        self.0.0.lock().get(key).map_or(0, |count| count.0.load(Ordering::SeqCst))
    }

    #[allow(dead_code, reason = "not every program of tests asks for it")]
    pub(crate) fn names(&self, prefix: &str) -> usize {
        self.0.0.lock().keys().filter(|key| key.starts_with(prefix)).count()
    }
}

impl Recorder for Recording {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels: Vec<_> = key.labels().map(|label| label.value()).collect();
        let name = format!("{}{labels:?}", key.name());
        Counter::from_arc(self.0.0.lock().entry(name).or_default().clone())
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
