//! The comparison of a file with the journal: what is missing is journalled. Only lines that are not known are decoded.

use switchboard_contract::storage::{Appended, PositionRun};
use switchboard_contract::{
    Error, ErrorKind, EventKey, HourDecoder, HourFile, Inbound, InboundData, KeyClass, Origin, Result, Timestamp,
};

use super::look::{Aim, Pass, Subject, closed};
use super::reading::{self, Batch, Line};
use super::runs::Runs;

impl Subject {
    /// Compares a file with the journal; the error at which it breaks off, if it does.
    pub(super) async fn compare(
        &self,
        file: HourFile,
        aim: Aim<'_>,
        runs: &mut Runs,
        pass: &mut Pass,
    ) -> Result<Option<Error>> {
        let decoder = file.lines.decoder();
        let mut reading = reading::read(file.lines, self.config.batch_lines, self.config.batch_bytes);
        while let Some(batch) = reading.next().await {
            match batch {
                Ok(batch) => {
                    let items = self.unknown(&batch, &*decoder, aim, runs, pass).await?;
                    self.bring(items, aim, runs, pass).await?;
                    reading.used(batch);
                }
                Err(error) if matches!(error.kind(), ErrorKind::Decode | ErrorKind::Internal) => {
                    return Ok(Some(error));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// What a batch holds and the journal does not, decoded, in the order of the file.
    async fn unknown(
        &self,
        batch: &Batch,
        decoder: &dyn HourDecoder,
        aim: Aim<'_>,
        runs: &mut Runs,
        pass: &mut Pass,
    ) -> Result<Vec<Inbound>> {
        pass.skipped += batch.skipped;
        let wanted = |sent_at: Timestamp| aim.manner.history || sent_at >= self.began;
        let mut lines: Vec<Line<'_>> = batch.lines().collect();
        pass.lines += lines.iter().filter(|line| line.message.is_some()).count() as u64;
        lines.retain(|line| line.message.is_none_or(|(_, sent_at)| wanted(sent_at)));
        if !self.config.compare_content {
            self.leave_out_known(&mut lines, runs).await?;
        }
        let (mut items, mut told) = (Vec::new(), Vec::new());
        for line in lines {
            let decoded = decoder.decode(&line.text());
            pass.lines += if line.message.is_none() { decoded.len() as u64 } else { 0 };
            for item in decoded.into_iter().filter(|item| wanted(item.sent_at)) {
                // What was looked up under the id that the line shows is not looked up again.
                told.push(line.message.is_some_and(|(id, _)| item.key.class == KeyClass::Message && item.key.id == id));
                items.push(item);
            }
        }
        if self.config.compare_content || told.iter().all(|told| *told) {
            return Ok(items);
        }
        let keys: Vec<_> =
            items.iter().zip(&told).filter(|(_, told)| !**told).map(|(item, _)| item.key.clone()).collect();
        let mut known = self.store.known(&self.tenant, self.provider.app(), &keys).await?.into_iter();
        let places = told.into_iter().map(|told| if told { None } else { known.next().flatten() });
        let mut missing = Vec::new();
        for (item, place) in items.into_iter().zip(places) {
            match place {
                Some(place) if item.key.class == KeyClass::Message => runs.add(place),
                Some(_) => {}
                None => missing.push(item),
            }
        }
        Ok(missing)
    }

    /// Leaves out the lines that show a message which is in the journal, and notes where it stands.
    async fn leave_out_known(&self, lines: &mut Vec<Line<'_>>, runs: &mut Runs) -> Result<()> {
        let ids: Vec<&str> = lines.iter().filter_map(|line| Some(line.message?.0)).collect();
        if let Some(run) = self.all_known(&ids).await? {
            runs.add_run(run);
            lines.retain(|line| line.message.is_none());
            return Ok(());
        }
        let keys: Vec<_> = ids.iter().map(|id| EventKey::new(KeyClass::Message, *id)).collect();
        let mut known = self.store.known(&self.tenant, self.provider.app(), &keys).await?.into_iter();
        lines.retain(|line| {
            let place = line.message.and_then(|_| known.next().flatten());
            place.into_iter().for_each(|place| runs.add(place));
            place.is_none()
        });
        Ok(())
    }

    /// Journals what is missing.
    async fn bring(&self, items: Vec<Inbound>, aim: Aim<'_>, runs: &mut Runs, pass: &mut Pass) -> Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        let (mut messages, mut others) = (Vec::new(), Vec::new());
        items.into_iter().for_each(|item| sort(item, &mut messages, &mut others));
        let (old, missed): (Vec<_>, Vec<_>) = messages.into_iter().partition(|item| item.sent_at < self.began);
        if !missed.is_empty() && !std::mem::replace(&mut pass.marked, true) {
            self.mark(aim).await?;
        }
        let (fresh, refused) = self.journal(Origin::File, missed, Some(&mut *runs)).await?;
        self.telling.repaired(fresh);
        pass.repaired += fresh;
        pass.skipped += refused;
        let (fresh, refused) = self.journal(Origin::History, old, Some(runs)).await?;
        pass.history += fresh;
        pass.skipped += refused;
        let (old, missed): (Vec<_>, Vec<_>) = others.into_iter().partition(|item| item.sent_at < self.began);
        for (origin, items) in [(Origin::File, missed), (Origin::History, old)] {
            let (fresh, refused) = self.journal(origin, items, None).await?;
            pass.others += fresh;
            pass.skipped += refused;
        }
        Ok(())
    }

    /// Where messages stand, if none of them is missing and little else stands between: the common case.
    async fn all_known(&self, ids: &[&str]) -> Result<Option<PositionRun>> {
        if ids.is_empty() {
            return Ok(None);
        }
        let run = self.store.known_run(&self.tenant, self.provider.app(), KeyClass::Message, ids).await?;
        let near = |run: &PositionRun| run.last.0 - run.first.0 < 4 * ids.len() as u64 + 64;
        Ok(run.filter(near))
    }

    /// Journals events; how many were new, and how many the store refused.
    async fn journal(&self, origin: Origin, items: Vec<Inbound>, runs: Option<&mut Runs>) -> Result<(u64, u64)> {
        if items.is_empty() {
            return Ok((0, 0));
        }
        let asked = items.len();
        let ingest = self.ingest.upgrade().ok_or_else(closed)?;
        let answers = ingest.submit(&self.tenant, &self.alias, origin, items).await?;
        if let Some(runs) = runs {
            answers.iter().for_each(|appended| runs.add(appended.position()));
        }
        let fresh = answers.iter().filter(|appended| matches!(appended, Appended::Fresh { .. })).count();
        Ok((fresh as u64, (asked - answers.len()) as u64))
    }
}

/// Messages go before what speaks of them; both keep their order.
fn sort(item: Inbound, messages: &mut Vec<Inbound>, others: &mut Vec<Inbound>) {
    match item.data {
        InboundData::Message(_) => messages.push(item),
        _ => others.push(item),
    }
}
