//! Dead letters of every kind, and what waits for its next try: listed, looked at, redriven, dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics::gauge;
use serde_json::json;
use switchboard_contract::storage::{
    Commit, FailedAttempts, ParkedConversation, Setback, SetbackChange, SetbackFilter, SetbackKind,
};
use switchboard_contract::{
    App, ConversationId, Error, ErrorKind, MessageId, ProviderId, Result, SubscriberName, TenantId,
};

use super::letter::{Cursor, DeadLetter, DeadLetterFilter, DeadLetterPage, LettersDone, RefusedLetter};
use super::{Switchboard, Tenant};
use crate::recovery::Redriver;
use crate::sending::RedriveRisk;

/// Letters read at once while many are redriven or dropped.
const PAGE: usize = 500;

/// Who redrives the letters of each kind that is neither a send nor a delivery.
pub(super) type Redrivers = BTreeMap<SetbackKind, Arc<dyn Redriver>>;

fn missing() -> Error {
    Error::new(ErrorKind::NotFound, "no such dead letter")
}

fn delivery_id(subscriber: &SubscriberName, conversation: &ConversationId) -> String {
    format!("{}~{subscriber}~{conversation}", SetbackKind::Delivery)
}

/// The subscriber and conversation in the key of a delivery.
fn delivery_of(key: &str) -> Result<(SubscriberName, ConversationId)> {
    let (subscriber, conversation) = key.split_once('~').ok_or_else(missing)?;
    Ok((SubscriberName::from(subscriber), conversation.parse().map_err(|_| missing())?))
}

impl Switchboard {
    /// Brings the gauges of dead letters and of what waits for its next try up to date. The sidecar does so whenever its
    /// metrics are read.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn measure_letters(&self) -> Result<()> {
        let counts = self.inner.store.setback_counts().await?;
        for kind in SetbackKind::ALL.into_iter().filter(|kind| *kind != SetbackKind::Delivery) {
            let own = counts.iter().filter(|count| count.kind == kind);
            let (dead, waiting) = own.fold((0, 0), |sum, count| (sum.0 + count.dead, sum.1 + count.waiting));
            gauge!("switchboard_dead_letters", "kind" => kind.as_str()).set(dead as f64);
            gauge!("switchboard_retries_waiting", "kind" => kind.as_str()).set(waiting as f64);
        }
        Ok(())
    }
}

impl Tenant {
    /// Lists dead letters, or what waits for its next try, from `cursor` on.
    ///
    /// # Errors
    /// `InvalidInput` for a cursor that is none; `NotFound` for an unknown provider; `Storage`.
    pub async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<DeadLetterPage> {
        let cursor = cursor.map_or(Ok(Cursor::Number(0)), str::parse)?;
        let mut page = DeadLetterPage::default();
        let mut behind = None;
        match cursor {
            Cursor::Number(after) if filter.takes_others() => {
                let found = self.setbacks(filter, after, limit).await?;
                page.next =
                    found.last().filter(|_| found.len() == limit).map(|last| Cursor::Number(last.number).text());
                page.letters = found.into_iter().map(|one| self.letter(one)).collect();
            }
            Cursor::Number(_) => {}
            Cursor::Delivery(id) => behind = Some(id),
        }
        if page.next.is_some() || !filter.takes_deliveries() {
            return Ok(page);
        }
        let room = limit - page.letters.len();
        let mut parked = self.parked(filter).await?;
        if let Some(id) = behind {
            parked.retain(|letter| letter.id > id);
        }
        let more = parked.len() > room;
        parked.truncate(room);
        page.letters.append(&mut parked);
        if more {
            let last = page.letters.last().filter(|last| last.kind == SetbackKind::Delivery);
            page.next =
                Some(last.map_or(Cursor::Delivery(String::new()), |last| Cursor::Delivery(last.id.clone())).text());
        }
        Ok(page)
    }

    /// One of them.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for what is no id; `Storage`.
    pub async fn dead_letter(&self, id: &str) -> Result<DeadLetter> {
        let (kind, key) = Setback::parse_id(id)?;
        if kind == SetbackKind::Delivery {
            let (subscriber, conversation) = delivery_of(key)?;
            let filter = DeadLetterFilter {
                subscriber: Some(subscriber),
                conversation: Some(conversation),
                ..DeadLetterFilter::default()
            };
            return self.parked(&filter).await?.pop().ok_or_else(missing);
        }
        let found = self.switchboard.inner.store.setback(&self.id, kind, key).await?;
        found.map(|one| self.letter(one)).ok_or_else(missing)
    }

    /// Has one tried again, with as many attempts as something new: a message in its place before what its conversation
    /// has queued since, deliveries from the first open event on.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for what cannot be tried again as it is, above all a message of which nobody knows whether
    /// it arrived, unless `risk` accepts that it may arrive twice; what the vendor answers where it is asked at once;
    /// `Storage`.
    pub async fn redrive_dead_letter(&self, id: &str, risk: RedriveRisk) -> Result<()> {
        let letter = self.dead_letter(id).await?;
        let done = self.redrive_these(vec![letter], risk).await?;
        match done.refused.into_iter().next() {
            None => Ok(()),
            Some(refused) => Err(Error::new(ErrorKind::Conflict, refused.why)),
        }
    }

    /// Has every letter of a filter tried again. Messages of one conversation go in the order in which they were
    /// accepted. What cannot be tried again stays and is named; it keeps nothing else back.
    ///
    /// # Errors
    /// `NotFound` for an unknown provider; `RateLimited` when too much is queued; `Storage`. What was redriven before
    /// that stays so.
    pub async fn redrive_dead_letters(&self, filter: &DeadLetterFilter, risk: RedriveRisk) -> Result<LettersDone> {
        let all = self.every(filter).await?;
        self.redrive_these(all, risk).await
    }

    /// Drops one for good: a message stays failed, a fetch is not made, deliveries go on behind the event that failed.
    ///
    /// # Errors
    /// `NotFound`; `Storage`.
    pub async fn drop_dead_letter(&self, id: &str) -> Result<()> {
        let letter = self.dead_letter(id).await?;
        self.drop_these(vec![letter]).await.map(drop)
    }

    /// Drops every letter of a filter.
    ///
    /// # Errors
    /// As [`drop_dead_letter`](Self::drop_dead_letter).
    pub async fn drop_dead_letters(&self, filter: &DeadLetterFilter) -> Result<LettersDone> {
        let all = self.every(filter).await?;
        self.drop_these(all).await
    }

    async fn every(&self, filter: &DeadLetterFilter) -> Result<Vec<DeadLetter>> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.dead_letters(filter, cursor.as_deref(), PAGE).await?;
            all.extend(page.letters);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    async fn redrive_these(&self, letters: Vec<DeadLetter>, risk: RedriveRisk) -> Result<LettersDone> {
        let inner = &self.switchboard.inner;
        let (mut done, mut messages) = (LettersDone::default(), Vec::new());
        for letter in letters {
            let (kind, key) = Setback::parse_id(&letter.id)?;
            if kind == SetbackKind::Send {
                messages.push(key.parse::<MessageId>().map_err(|_| missing())?);
                continue;
            }
            let outcome = match kind {
                SetbackKind::Delivery => {
                    let (subscriber, conversation) = delivery_of(key)?;
                    inner.hub.redrive(&self.id, &subscriber, &conversation).await.map(drop)
                }
                _ => self.redrive_other(kind, key).await,
            };
            done.add(letter.id, outcome)?;
        }
        let sent = inner.sending.redrive_all(&self.id, &messages, risk).await?;
        done.done += sent.queued;
        let refused = |(message, why)| RefusedLetter { id: format!("{}~{message}", SetbackKind::Send), why };
        done.refused.extend(sent.refused.into_iter().map(refused));
        Ok(done)
    }

    async fn redrive_other(&self, kind: SetbackKind, key: &str) -> Result<()> {
        let inner = &self.switchboard.inner;
        let letter = inner.store.setback(&self.id, kind, key).await?.ok_or_else(missing)?;
        let unknown = || Error::new(ErrorKind::Conflict, format!("nothing here redrives a {kind}"));
        let redriver = inner.redrivers.get(&kind).ok_or_else(unknown)?;
        redriver.redrive(&letter, inner.clock.now()).await
    }

    async fn drop_these(&self, letters: Vec<DeadLetter>) -> Result<LettersDone> {
        let inner = &self.switchboard.inner;
        let (mut done, mut gone) = (LettersDone::default(), Vec::new());
        for letter in letters {
            tracing::warn!(
                op = "drop_dead_letter",
                id = letter.id,
                reason = letter.reason,
                "a dead letter was dropped"
            );
            let (kind, key) = Setback::parse_id(&letter.id)?;
            if kind == SetbackKind::Delivery {
                let (subscriber, conversation) = delivery_of(key)?;
                let outcome = inner.hub.pass_over(&self.id, &subscriber, &conversation).await.map(drop);
                done.add(letter.id, outcome)?;
            } else {
                gone.push(SetbackChange::Clear { tenant: self.id.clone(), kind, key: key.to_owned() });
            }
        }
        done.done += gone.len() as u64;
        if !gone.is_empty() {
            inner.store.commit(Commit { setbacks: gone, ..Commit::default() }).await?;
        }
        Ok(done)
    }

    async fn setbacks(&self, filter: &DeadLetterFilter, after: u64, limit: usize) -> Result<Vec<Setback>> {
        let app = match &filter.provider {
            Some(alias) => Some(self.provider(Some(alias))?.app().clone()),
            None => None,
        };
        let filter = SetbackFilter {
            dead: Some(!filter.waiting),
            kind: filter.kind,
            app,
            conversation: filter.conversation.clone(),
            reason: filter.reason.clone(),
            since: filter.since,
            until: filter.until,
        };
        self.switchboard.inner.store.setbacks(&self.id, &filter, after, limit).await
    }

    /// The deliveries that were given up, in the order of their ids.
    async fn parked(&self, filter: &DeadLetterFilter) -> Result<Vec<DeadLetter>> {
        let mut letters = Vec::new();
        for (subscriber, parked) in self.switchboard.inner.hub.all_parked(&self.id).await? {
            let letter = parked_letter(&subscriber, parked);
            if filter.admits(&letter, &subscriber) {
                letters.push(letter);
            }
        }
        letters.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(letters)
    }

    fn letter(&self, one: Setback) -> DeadLetter {
        DeadLetter {
            id: one.id(),
            kind: one.kind,
            provider: one.app.as_ref().and_then(|app| self.alias_of(app)),
            app: one.app.map(|app| app.key),
            conversation: one.conversation,
            reason: one.reason,
            attempts: one.attempts,
            history: one.history,
            about: one.detail,
            since: one.since,
            next_try_at: one.next_at,
        }
    }

    fn alias_of(&self, app: &App) -> Option<ProviderId> {
        let own = |tenant: &TenantId| *tenant == self.id;
        let mut all = self.switchboard.inner.providers.iter();
        all.find(|(_, one)| own(&one.tenant) && one.provider.app() == app).map(|(alias, _)| alias.clone())
    }
}

fn parked_letter(subscriber: &SubscriberName, parked: ParkedConversation) -> DeadLetter {
    DeadLetter {
        id: delivery_id(subscriber, &parked.conversation),
        kind: SetbackKind::Delivery,
        provider: None,
        app: None,
        conversation: Some(parked.conversation),
        reason: parked.reason,
        attempts: parked.attempts,
        history: FailedAttempts::default(),
        about: json!({ "subscriber": subscriber, "sequence": parked.from, "position": parked.position }),
        since: parked.since,
        next_try_at: None,
    }
}
