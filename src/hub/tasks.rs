//! What runs beside the workers: the herald wakes them, the committer stores their progress, the keeper watches time.

use std::sync::Arc;
use std::time::Duration;

use switchboard_contract::reception::{Input, State};
use switchboard_contract::storage::SubscriberUpdate;
use switchboard_contract::{Result, Timestamp};

use super::core::Core;
use super::meters::Sums;
use super::restore;
use super::shared::Shared;

/// Wakes subscribers when the journal has grown. Beside the writer of the store, so that it never waits for us.
pub(super) async fn herald(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.tails.herald.notified() => {}
            () = shared.stop.cancelled() => return,
        }
        for tail in shared.tails.moved() {
            tail.wake();
        }
    }
}

/// Stores what has changed, of all subscribers in one transaction, as fast as the store answers: while it writes,
/// the next changes gather.
pub(super) async fn committer(shared: Arc<Shared>) {
    loop {
        let cores = shared.take_unsaved();
        if cores.is_empty() {
            tokio::select! {
                () = shared.to_save.notified() => continue,
                () = shared.last_call.cancelled() => return,
            }
        }
        save(&shared, &cores).await;
    }
}

async fn save(shared: &Arc<Shared>, cores: &[Arc<Core>]) {
    let _writing = shared.writing.lock().await;
    let mut updates = Vec::with_capacity(cores.len());
    let mut saved = Vec::with_capacity(cores.len());
    for core in cores {
        core.dequeue();
        match collect(shared, core).await {
            Ok(Some((epoch, update))) => {
                updates.push(update);
                saved.push((epoch, core));
            }
            Ok(None) => {}
            Err(error) => tracing::error!(subscriber = %core.name, %error, "progress could not be put together"),
        }
    }
    if updates.is_empty() {
        return;
    }
    if !write(shared, &saved, updates).await {
        return;
    }
    for (epoch, core) in saved {
        confirm(shared, core, epoch);
    }
}

fn confirm(shared: &Shared, core: &Arc<Core>, epoch: u64) {
    let mut inner = core.lock();
    if inner.epoch != epoch {
        return;
    }
    let before = inner.machine.state();
    core.apply(shared, &mut inner, Input::Saved);
    let number = inner.saved_number();
    let wakes = inner.machine.state() != before;
    let known: Vec<_> = inner.machine.set_aside_now().map(|record| record.key).collect();
    if !inner.names.is_empty() && inner.names.len() > known.len() {
        inner.names.retain(|key, _| known.contains(key));
    }
    drop(inner);
    core.saved.send_replace(number);
    if wakes {
        core.wake();
    }
}

/// What one subscriber has to store.
async fn collect(shared: &Arc<Shared>, core: &Arc<Core>) -> Result<Option<(u64, SubscriberUpdate)>> {
    let (save, epoch) = {
        let mut inner = core.lock();
        let step = core.apply(shared, &mut inner, Input::Collect);
        match step.save {
            Some(save) if !inner.closed => (save, inner.epoch),
            _ => return Ok(None),
        }
    };
    for record in &save.park {
        let mut failures = 0;
        while let Err(error) = shared.conversation(core, record.key, record.place).await {
            failures += 1;
            tracing::warn!(subscriber = %core.name, %error, failures, "a parked conversation could not be looked up");
            shared.trouble(core, true);
            pause(shared, failures).await;
            if shared.last_call.is_cancelled() {
                return Err(error);
            }
        }
    }
    let now = shared.clock.now();
    let mut inner = core.lock();
    let inner = &mut *inner;
    let present = !inner.workers.is_empty();
    if present {
        inner.seen_at = now;
    }
    // Each save could tell it, and would write a row more for that.
    let longest = inner.spec.expires_after.unwrap_or(Duration::MAX);
    let every = shared.config.seen_every.min(longest / 4);
    let seen_at = (present && now.since(inner.seen_stored) >= every).then_some(now);
    inner.seen_stored = seen_at.unwrap_or(inner.seen_stored);
    let update = restore::update(&core.tenant, &core.name, *save, &inner.names, &mut inner.reasons, seen_at);
    Ok(Some((epoch, update)))
}

/// Writes until the store takes it. Returns whether it did.
async fn write(shared: &Shared, cores: &[(u64, &Arc<Core>)], updates: Vec<SubscriberUpdate>) -> bool {
    let mut failures = 0;
    loop {
        match shared.store.update_subscribers(updates.clone()).await {
            Ok(()) => {
                if failures > 0 {
                    cores.iter().for_each(|(_, core)| shared.trouble(core, false));
                }
                shared.meters.saves.increment(1);
                shared.meters.saved_subscribers.increment(updates.len() as u64);
                return true;
            }
            Err(error) => {
                failures += 1;
                shared.meters.save_failures.increment(1);
                tracing::warn!(%error, failures, subscribers = updates.len(), "cursors could not be stored");
                cores.iter().for_each(|(_, core)| shared.trouble(core, true));
                if shared.last_call.is_cancelled() {
                    return false;
                }
                pause(shared, failures).await;
            }
        }
    }
}

async fn pause(shared: &Shared, failures: u32) {
    tokio::select! {
        () = shared.clock.sleep(Duration::from_millis(25 << failures.min(7))) => {}
        () = shared.last_call.cancelled() => {}
    }
}

/// Watches deadlines and pauses, asks the journal for what no hint announced, and looks after idle subscribers.
pub(super) async fn keeper(shared: Arc<Shared>) {
    let mut rounds = shared.clock.now();
    loop {
        let now = shared.clock.now();
        if now >= rounds {
            look_around(&shared, now).await;
            rounds = now + shared.config.poll;
        }
        shared.reset_ticks();
        for core in shared.all_cores() {
            tick(&shared, &core, now);
        }
        let next = rounds.min(shared.earliest_tick());
        let wait = next.since(shared.clock.now()).max(Duration::from_millis(1));
        tokio::select! {
            () = shared.clock.sleep(wait) => {}
            () = shared.keeper.notified() => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

fn tick(shared: &Shared, core: &Arc<Core>, now: Timestamp) {
    let mut inner = core.lock();
    if inner.machine.next_tick().is_some_and(|due| due <= now) {
        core.apply(shared, &mut inner, Input::Tick);
        core.wake();
    }
    if let Some(due) = inner.machine.next_tick() {
        shared.note_tick(due);
    }
}

async fn look_around(shared: &Arc<Shared>, now: Timestamp) {
    for tail in shared.tails.all() {
        match shared.store.tail(&tail.tenant, tail.shard).await {
            Ok(end) if tail.raise(end) => tail.wake(),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the end of the journal could not be read"),
        }
    }
    let mut sums = Sums::default();
    let mut seen = Vec::new();
    for core in shared.all_cores() {
        if let Some(update) = look_at(shared, &core, now, &mut sums) {
            seen.push(update);
        }
    }
    if !seen.is_empty()
        && let Err(error) = shared.store.update_subscribers(seen).await
    {
        tracing::warn!(%error, "presence could not be stored");
    }
    shared.meters.show(&sums);
    unload(shared, now);
    shared.tails.sweep();
    shared.meters.tail_bytes.set(shared.tails.bytes() as f64);
}

fn look_at(shared: &Shared, core: &Arc<Core>, now: Timestamp, sums: &mut Sums) -> Option<SubscriberUpdate> {
    let mut inner = core.lock();
    core.tell_tails(shared, &mut inner, now);
    let idle: Vec<_> = inner
        .pullers
        .iter()
        .filter(|(_, puller)| now.since(puller.seen) > shared.config.pull_idle)
        .map(|(name, puller)| (name.clone(), puller.worker))
        .collect();
    for (name, worker) in idle {
        inner.pullers.remove(&name);
        inner.workers.retain(|other| *other != worker);
        core.apply(shared, &mut inner, Input::Leave { worker, lost: false });
    }
    let lag = inner.machine.lag();
    sums.lag += lag;
    sums.lag_max = sums.lag_max.max(lag);
    sums.in_flight += inner.machine.in_flight();
    sums.parked += inner.machine.set_aside_now().count();
    sums.loaded += 1;
    core.refresh(&inner);
    inner.relax();
    if inner.workers.is_empty() || now.since(inner.seen_at) < shared.config.seen_every {
        return None;
    }
    // What was only passed over is stored now and then.
    core.apply(shared, &mut inner, Input::Flush);
    (inner.seen_at, inner.seen_stored) = (now, now);
    Some(SubscriberUpdate {
        tenant: core.tenant.clone(),
        name: core.name.clone(),
        cursors: Vec::new(),
        park: Vec::new(),
        unpark: Vec::new(),
        attempts: Vec::new(),
        seen_at: Some(now),
    })
}

/// Lets go of subscribers that nobody uses and that have nothing to store.
fn unload(shared: &Shared, now: Timestamp) {
    let mut cores = shared.cores.lock();
    cores.retain(|_, cell| {
        let Some(core) = cell.get() else { return true };
        if Arc::strong_count(core) > 1 || Arc::strong_count(cell) > 1 {
            return true;
        }
        let inner = core.lock();
        let busy = !inner.workers.is_empty() || inner.machine.state() != State::Connecting;
        let unsaved = inner.ticket() > inner.saved_number();
        busy || unsaved || now.since(inner.used_at) < shared.config.unload_after
    });
}
