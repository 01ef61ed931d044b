//! What must not delay a reply or the journal: keeping refused callbacks, and telling of alerts. Bounded; what does
//! not fit is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::counter;
use serde_json::{Value, json};
use switchboard_contract::storage::{Commit, Draft, Quarantined, Store};
use switchboard_contract::{
    Clock, Event, EventData, EventId, EventKey, KeyClass, Notice, Origin, ProviderId, Result, TenantId, Topic,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::digest::digest;
use super::retry::{Backoff, Waits};
use super::source::{Refusals, Source};

/// Things in line.
const QUEUE: usize = 1_024;
/// Bytes in line.
const QUEUE_BYTES: usize = 8 << 20;
/// Retries of one thing before it is dropped and counted.
const RETRIES: usize = 3;

#[derive(Debug)]
enum Task {
    Keep(Box<Quarantined>),
    Tell(TenantId, Box<Notice>),
    Flush(oneshot::Sender<()>),
}

/// The near end of the line.
#[derive(Clone, Debug)]
pub(super) struct Aside {
    tasks: mpsc::Sender<Task>,
    bytes: Arc<AtomicUsize>,
}

/// The far end.
#[derive(Debug)]
pub(super) struct AsideWorker {
    tasks: mpsc::Receiver<Task>,
    bytes: Arc<AtomicUsize>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    backoff: Backoff,
    max_items: u32,
    stop: CancellationToken,
}

impl Aside {
    pub(super) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        backoff: Backoff,
        max_items: u32,
        stop: CancellationToken,
    ) -> (Self, AsideWorker) {
        let (sender, tasks) = mpsc::channel(QUEUE);
        let bytes = Arc::new(AtomicUsize::new(0));
        let worker = AsideWorker { tasks, bytes: bytes.clone(), store, clock, backoff, max_items, stop };
        (Self { tasks: sender, bytes }, worker)
    }

    /// Keeps a refused callback, if there is room in line.
    pub(super) fn keep(&self, item: Quarantined) {
        let size = item.raw.body.len() + item.raw.query.len();
        let fits = self
            .bytes
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |bytes| {
                (bytes + size <= QUEUE_BYTES).then_some(bytes + size)
            })
            .is_ok();
        let reason = item.reason.as_str();
        if !fits {
            dropped(reason);
        } else if self.tasks.try_send(Task::Keep(Box::new(item))).is_err() {
            self.bytes.fetch_sub(size, Ordering::AcqRel);
            dropped(reason);
        }
    }

    /// Journals a notice of our own, if there is room in line.
    pub(super) fn tell(&self, tenant: &TenantId, topic: Topic, kind: &str, provider: &ProviderId, detail: Value) {
        let notice = Notice { topic, kind: kind.to_owned(), provider: Some(provider.clone()), detail };
        if self.tasks.try_send(Task::Tell(tenant.clone(), Box::new(notice))).is_err() {
            dropped("notice");
        }
    }

    /// Tells of a time in which callbacks were refused: what came then must be fetched by other ways.
    pub(super) fn tell_refusals(&self, source: &Source, refusals: Refusals, until: switchboard_contract::Timestamp) {
        let detail = json!({ "since": refusals.since, "until": until, "refused": refusals.count });
        self.tell(&source.address.tenant, Topic::Backfill, "repair_window_opened", source.alias(), detail);
    }

    /// Resolves once everything now in line is done with.
    pub(super) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.tasks.send(Task::Flush(done)).await.is_ok() {
            // An error means the worker is gone, and with it the line.
            let _ = flushed.await;
        }
    }
}

impl AsideWorker {
    /// Works until stopped, then once through what is still in line.
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        while let Some(Some(task)) = stop.run_until_cancelled(self.tasks.recv()).await {
            self.work(task).await;
        }
        self.tasks.close();
        while let Some(task) = self.tasks.recv().await {
            self.work(task).await;
        }
    }

    async fn work(&self, task: Task) {
        match task {
            Task::Keep(item) => {
                let what = item.reason.as_str();
                let mut waits = self.backoff.waits();
                for attempt in 0..=RETRIES {
                    let outcome = self.store.put_aside((*item).clone(), self.max_items).await;
                    if self.is_done(what, attempt, outcome, &mut waits).await {
                        break;
                    }
                }
                self.bytes.fetch_sub(item.raw.body.len() + item.raw.query.len(), Ordering::AcqRel);
            }
            Task::Tell(tenant, notice) => {
                let draft = announcement(tenant, *notice, self.clock.as_ref());
                let commit = Commit { drafts: vec![draft], ..Commit::default() };
                let mut waits = self.backoff.waits();
                for attempt in 0..=RETRIES {
                    let outcome = self.store.commit(commit.clone()).await;
                    if self.is_done("notice", attempt, outcome, &mut waits).await {
                        break;
                    }
                }
            }
            Task::Flush(done) => {
                // Whoever asked may have left.
                let _ = done.send(());
            }
        }
    }

    /// Whether it was written or given up; waits before the next try otherwise.
    async fn is_done<T>(&self, what: &'static str, attempt: usize, outcome: Result<T>, waits: &mut Waits) -> bool {
        let Err(error) = outcome else { return true };
        if attempt == RETRIES || self.stop.is_cancelled() {
            tracing::error!(%error, what, "could not be kept");
            dropped(what);
            return true;
        }
        let wait = self.clock.sleep(waits.next());
        self.stop.run_until_cancelled(wait).await;
        false
    }
}

fn dropped(what: &'static str) {
    counter!("switchboard_ingest_aside_dropped_total", "what" => what).increment(1);
}

fn announcement(tenant: TenantId, notice: Notice, clock: &dyn Clock) -> Draft {
    let (id, now) = (EventId::generate(), clock.now());
    let data = EventData::Notice(notice);
    Draft {
        digest: digest(None, &data),
        key: EventKey::new(KeyClass::Internal, id.to_string()),
        sort_key: id.to_string(),
        raw: None,
        event: Event {
            id,
            tenant,
            app: None,
            conversation: None,
            sent_at: now,
            received_at: now,
            origin: Origin::Internal,
            late: false,
            data,
        },
    }
}
