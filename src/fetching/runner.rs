//! Runs the fetches of one kind: coalesced, so many at once.

use std::fmt;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use switchboard_contract::Clock;
use tokio::sync::Notify;

use super::slots::{Request, Slots, Triggered, Turn};

/// Where triggers come together.
pub(super) struct Runner<K, R> {
    slots: Mutex<Slots<K, R>>,
    rung: Notify,
    clock: Arc<dyn Clock>,
}

impl<K: fmt::Debug, R: fmt::Debug> fmt::Debug for Runner<K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("slots", &self.slots).finish_non_exhaustive()
    }
}

impl<K: Ord + Clone, R: Request> Runner<K, R> {
    pub(super) fn new(slots: Slots<K, R>, clock: Arc<dyn Clock>) -> Self {
        Self { slots: Mutex::new(slots), rung: Notify::new(), clock }
    }

    /// Asks for a fetch. Returns at once; whoever runs works it off.
    pub(super) fn trigger(&self, key: K, request: R) -> Triggered {
        let triggered = self.slots.lock().trigger(key, request, self.clock.now());
        self.rung.notify_one();
        triggered
    }

    /// Works until dropped, `parallel` fetches at once. What waited too long goes to `stale`.
    pub(super) async fn run<F: Future<Output = ()>>(
        &self,
        parallel: usize,
        work: impl Fn(K, R) -> F,
        stale: impl Fn(K, R),
    ) {
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < parallel {
                let turn = self.slots.lock().turn(self.clock.now());
                match turn {
                    Turn::Run(key, request) => {
                        let fetch = work(key.clone(), request);
                        under_way.push(async move {
                            fetch.await;
                            key
                        });
                    }
                    Turn::Stale(key, request) => stale(key, request),
                    Turn::Nothing => break,
                }
            }
            tokio::select! {
                Some(key) = under_way.next() => self.slots.lock().ended(&key),
                () = self.rung.notified() => {}
            }
        }
    }
}
