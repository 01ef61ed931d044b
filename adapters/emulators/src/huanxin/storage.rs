//! The paid store of callbacks that were given up, in slots of ten minutes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::history::{slot_name, ten_minutes};
use super::rules::CallbackRule;
use super::settings::Zone;
use crate::common::{CallbackJob, OutgoingCallback};

#[derive(Debug, Default)]
pub(crate) struct Storage {
    slots: BTreeMap<i64, Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    events: Vec<CallbackJob>,
    retries: u32,
}

/// One line of `GET /callbacks/storage/info`.
pub(crate) struct SlotInfo {
    pub(crate) date: String,
    pub(crate) size: usize,
    pub(crate) retry: u32,
}

impl Storage {
    pub(crate) fn keep(&mut self, job: CallbackJob, now_ms: i64, keep_ms: i64, most: usize) {
        self.slots.retain(|start, _| start.saturating_add(keep_ms) > now_ms);
        while self.slots.values().map(|slot| slot.events.len()).sum::<usize>() >= most.max(1) {
            self.slots.pop_first();
        }
        self.slots.entry(ten_minutes(now_ms)).or_default().events.push(job);
    }

    pub(crate) fn info(&self, zone: Zone, now_ms: i64, keep_ms: i64) -> Vec<SlotInfo> {
        self.slots
            .iter()
            .filter(|(start, _)| start.saturating_add(keep_ms) > now_ms)
            .map(|(start, slot)| SlotInfo {
                date: slot_name(*start, zone),
                size: slot.events.len(),
                retry: slot.retries,
            })
            .collect()
    }

    /// The events of a slot, addressed to `target` when given, else to their rule's address of now; none when there is
    /// no such slot.
    pub(crate) fn replay(
        &mut self,
        date: &str,
        zone: Zone,
        target: Option<&str>,
        rules: &[CallbackRule],
    ) -> Option<Vec<CallbackJob>> {
        let slot = self.slots.iter_mut().find(|(start, _)| slot_name(**start, zone) == date)?.1;
        slot.retries += 1;
        let moved = |job: &CallbackJob| {
            let gone = rules.iter().all(|rule| rule.url != job.url);
            rules.first().filter(|_| gone).map(|rule| rule.url.as_str())
        };
        Some(slot.events.iter().map(|job| redirect(job, target.or_else(|| moved(job)))).collect())
    }
}

fn redirect(job: &CallbackJob, target: Option<&str>) -> CallbackJob {
    let Some(target) = target.map(str::to_owned) else { return job.clone() };
    let render = Arc::clone(&job.render);
    CallbackJob {
        url: target.clone(),
        render: Arc::new(move |attempt, corrupt| OutgoingCallback { url: target.clone(), ..render(attempt, corrupt) }),
        ..job.clone()
    }
}
