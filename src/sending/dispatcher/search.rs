//! Looking for evidence of messages in doubt, beside the dispatcher, within the quotas of queries and files.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use switchboard_contract::storage::{FailedAttempt, Leg};
use switchboard_contract::{
    ErrorKind, HistoryFile, Inbound, MessageId, Origin, Provider, ProviderId, Quota, Result, Retry, Roaming,
    RoamingQuery, TenantId, Timestamp,
};

use super::settle::Pending;
use super::{Dispatcher, Sought, within};
use crate::recovery::breaker::Gate;
use crate::recovery::verdict;
use crate::sending::context::Context;
use crate::sending::doubt::{Conclusion, Due, Finding, Sources};
use crate::sending::evidence::{carried_by_history, marked_lines};
use crate::sending::own::Carried;
use crate::sending::step::{Step, reason};

/// Searches under way at once.
const LOOKS_AT_ONCE: usize = 4;
/// Items handed on at once.
const ITEMS_AT_ONCE: usize = 256;

/// What is looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Query,
    File,
}

/// The quotas of both.
pub(super) fn quotas(sources: &Sources) -> Vec<(Source, Quota)> {
    let query = sources.query.as_ref().map(|limits| (Source::Query, limits.quota));
    let file = sources.files.as_ref().map(|limits| (Source::File, limits.quota));
    query.into_iter().chain(file).collect()
}

/// A search that is back.
#[derive(Debug)]
pub(super) struct Looked {
    due: Due,
    started: Timestamp,
    sought: Vec<MessageId>,
    outcome: Result<Seen>,
}

/// What was read.
#[derive(Debug, Default)]
struct Seen {
    found: Vec<(MessageId, Carried)>,
    /// Everything there is was read.
    whole: bool,
}

impl Dispatcher {
    /// Starts what is due for messages in doubt.
    pub(super) fn search(&mut self) {
        let now = self.ctx.clock.now();
        while let Some((message, due)) = self.doubts.due(now) {
            match due {
                // Nobody can be asked: the time in which evidence is sought has not begun.
                Due::LetGo if self.breaker.gate(now) != Gate::Open => self.hold_on(message, now),
                Due::LetGo => self.let_go(message, now),
                Due::GiveUp => {
                    if let Some(doubt) = self.doubts.remove(message) {
                        let step = Step::unknown(&doubt.leg, self.ctx.clock.now());
                        self.pending.push(Pending::of(doubt.leg, step));
                    }
                }
                Due::Query | Due::File(_) => {
                    if let Some(until) = self.no_room(due, now) {
                        self.doubts.postpone(message, due, until);
                    } else {
                        self.look(message, due, now);
                    }
                }
            }
        }
    }

    fn hold_on(&mut self, message: MessageId, now: Timestamp) {
        let until = now + self.ctx.config.in_doubt_hold;
        if let Some(doubt) = self.doubts.get(message) {
            self.ctx.holds.doubt(&doubt.leg.send.tenant, &doubt.leg.conversation, message, Some(until));
        }
        self.doubts.hold_on(message, until);
    }

    fn let_go(&mut self, message: MessageId, now: Timestamp) {
        if let Some(doubt) = self.doubts.get(message) {
            let leg = &doubt.leg;
            self.ctx.holds.release(&leg.send.tenant, &leg.conversation, message);
            self.queue.release(&leg.send.tenant, &leg.conversation, message, now);
        }
        self.doubts.let_go(message);
    }

    /// Until when a look must wait, if it must.
    fn no_room(&mut self, due: Due, now: Timestamp) -> Option<Timestamp> {
        let source = source_of(due);
        let soon = now + Duration::from_millis(10);
        if self.looks >= LOOKS_AT_ONCE {
            return Some(soon);
        }
        let free = self.look_quotas.room(source, &TenantId::default(), false, now) > 0;
        (!free).then(|| self.look_quotas.next_room(source, now).unwrap_or(soon).max(soon))
    }

    fn look(&mut self, message: MessageId, due: Due, now: Timestamp) {
        let sought = match due {
            Due::File(hour) => self.doubts.awaiting_file(hour),
            _ => vec![message],
        };
        let skew = self.ctx.config.clock_skew;
        let legs: Vec<Leg> =
            sought.iter().filter_map(|id| self.doubts.get(*id)).map(|doubt| doubt.leg.clone()).collect();
        let span = self.doubts.get(message).map(|doubt| doubt.span(skew)).unwrap_or_default();
        sought.iter().for_each(|id| self.doubts.looking(*id));
        let source = source_of(due);
        let ticket = self.look_quotas.reserve(source, &TenantId::default(), 1);
        self.look_quotas.left(source, ticket, now);
        self.looks += 1;
        self.metrics.look(match source {
            Source::Query => "query",
            Source::File => "file",
        });
        let search =
            Search { ctx: Arc::clone(&self.ctx), provider: self.post.provider(), aliases: self.aliases(&legs), legs };
        self.tasks.spawn(async move {
            let outcome = match due {
                Due::File(hour) => search.file(hour).await,
                _ => search.query(span).await,
            };
            super::Done::Looked(Looked { due, started: now, sought, outcome })
        });
    }

    fn aliases(&self, legs: &[Leg]) -> Vec<(TenantId, ProviderId)> {
        let tenants: HashSet<&TenantId> = legs.iter().map(|leg| &leg.send.tenant).collect();
        let setup = self.post.setup.lock();
        tenants
            .into_iter()
            .filter_map(|tenant| setup.tenants.get(tenant).map(|(alias, _)| (tenant.clone(), alias.clone())))
            .collect()
    }

    /// A search is back: acts on what it found, and on what it proved absent.
    pub(super) fn looked(&mut self, looked: Looked) {
        let Looked { due, started, sought, outcome } = looked;
        self.looks -= 1;
        let (found, finding) = match outcome {
            Ok(Seen { found, whole: true }) => (found, Finding::NotThere),
            Ok(Seen { found, whole: false }) => (found, Finding::Nothing),
            Err(error) => {
                tracing::warn!(provider = %self.alias, op = "search", ?due, messages = sought.len(), %error);
                let finding = match (error.kind(), error.retry()) {
                    (ErrorKind::Unsupported, _) => {
                        self.doubts.without(due);
                        Finding::Unusable
                    }
                    (ErrorKind::Forbidden | ErrorKind::NotFound | ErrorKind::InvalidInput, Retry::Never) => {
                        Finding::Unusable
                    }
                    _ => Finding::Failed,
                };
                (Vec::new(), finding)
            }
        };
        for (message, carried) in found {
            if let Some(doubt) = self.doubts.remove(message) {
                let step = Step::accepted(&doubt.leg, carried);
                self.pending.push(Pending::of(doubt.leg, step));
            }
        }
        for message in sought {
            let ctx = Arc::clone(&self.ctx);
            let retry = |failures| {
                let (min, max) = (ctx.config.pause_min, ctx.config.pause_max);
                ctx.jitter.wait(failures, min, max, None).max(min)
            };
            // Those found above are no longer in doubt, and nothing is concluded of them.
            if self.doubts.looked(message, due, started, finding, retry) == Conclusion::Absent
                && let Some(doubt) = self.doubts.remove(message)
            {
                self.absent(doubt.leg);
            }
        }
    }
}

impl Dispatcher {
    /// The message never arrived: it goes again, unless it has borne enough.
    fn absent(&mut self, leg: Leg) {
        let now = self.ctx.clock.now();
        let why = leg.reason.as_deref().unwrap_or_default();
        // Our own end cut that attempt off, or the app was down: neither says anything of the message.
        if why == reason::INTERRUPTED || (verdict::is_app_wide_word(why) && !self.is_at_fault(&leg)) {
            let step = Step::requeued(&leg, leg.attempts, now, reason::PROVED_ABSENT);
            return self.pending.push(Pending::of(leg, step));
        }
        let failure = FailedAttempt { at: now, outcome: reason::PROVED_ABSENT.to_owned(), code: None };
        self.again(leg, failure, None);
    }
}

fn source_of(due: Due) -> Source {
    match due {
        Due::File(_) => Source::File,
        Due::Query | Due::LetGo | Due::GiveUp => Source::Query,
    }
}

/// One search, away from the dispatcher.
struct Search {
    ctx: Arc<Context>,
    provider: Arc<dyn Provider>,
    aliases: Vec<(TenantId, ProviderId)>,
    legs: Vec<Leg>,
}

impl Search {
    /// Reads the part of the conversation where the message would be, through its sender's eyes.
    async fn query(&self, (since, until): (Timestamp, Timestamp)) -> Result<Seen> {
        let (Some(roaming), Some(leg)) = (self.provider.roaming(), self.legs.first()) else {
            return Err(switchboard_contract::Error::unsupported("roaming"));
        };
        let sought = Sought::spell(leg, &*self.provider, &self.ctx.identity).await?;
        let limits = roaming.limits();
        let now = self.ctx.clock.now();
        if limits.depth.is_some_and(|depth| since < now - depth) {
            // What is older than it shows is not absent for that.
            return Ok(Seen::default());
        }
        let mut seen = Seen { found: Vec::new(), whole: true };
        let mut pages = 0;
        let step = limits.max_span.unwrap_or(Duration::MAX);
        let mut from = since;
        while seen.found.is_empty() && from <= until {
            let to = (from + step).min(until);
            let mut query = RoamingQuery {
                viewer: sought.from.clone(),
                target: sought.target.clone(),
                since: from,
                until: to,
                limit: limits.max_page,
                cursor: None,
            };
            loop {
                if pages == self.ctx.config.max_pages {
                    seen.whole = false;
                    return Ok(seen);
                }
                pages += 1;
                let page = self.page(roaming, &query).await?;
                let hit = page.items.iter().find(|item| sought.is(item, &self.ctx.marks, &leg.send.tenant));
                let carried = hit.and_then(|item| carried_by_history(item, Origin::Query));
                seen.found.extend(carried.map(|carried| (leg.message_id, carried)));
                self.hand_on(Origin::Query, page.items).await;
                if !seen.found.is_empty() || page.next.is_none() {
                    break;
                }
                if page.next == query.cursor {
                    seen.whole = false;
                    return Ok(seen);
                }
                query.cursor = page.next;
            }
            from = to + Duration::from_millis(1);
        }
        Ok(seen)
    }

    async fn page(&self, roaming: &dyn Roaming, query: &RoamingQuery) -> Result<switchboard_contract::RoamingPage> {
        let late = || Err(switchboard_contract::Error::new(ErrorKind::Timeout, "the query was not answered"));
        within(&*self.ctx.clock, self.ctx.config.call_timeout, roaming.page(query)).await.unwrap_or_else(late)
    }

    /// Reads the hour's file for every message that may stand in it.
    async fn file(&self, hour: Timestamp) -> Result<Seen> {
        let Some(files) = self.provider.history_files() else {
            return Err(switchboard_contract::Error::unsupported("history files"));
        };
        let late = || Err(switchboard_contract::Error::new(ErrorKind::Timeout, "the file did not come"));
        let fetched = within(&*self.ctx.clock, FILE_TIMEOUT, files.fetch(hour)).await.unwrap_or_else(late)?;
        let HistoryFile::Ready(file) = fetched else { return Ok(Seen::default()) };
        let marks = self.ctx.marks.clone();
        let sends = self.legs.iter().map(|leg| (leg.send.tenant.clone(), leg.send.id)).collect();
        let lines = tokio::task::spawn_blocking(move || marked_lines(file.events(), &sends, &marks)).await.map_err(
            |error| switchboard_contract::Error::new(ErrorKind::Internal, "reading a file stopped").with_source(error),
        )??;
        let mut seen = Seen { found: Vec::new(), whole: true };
        for leg in &self.legs {
            let sought = Sought::spell(leg, &*self.provider, &self.ctx.identity).await?;
            let hit = lines.iter().find(|item| sought.is(item, &self.ctx.marks, &leg.send.tenant));
            let carried = hit.and_then(|item| carried_by_history(item, Origin::File));
            seen.found.extend(carried.map(|carried| (leg.message_id, carried)));
        }
        self.hand_on(Origin::File, lines).await;
        Ok(seen)
    }

    /// Has what was found journalled. Our own messages are known as accepted whether this succeeds or not.
    async fn hand_on(&self, origin: Origin, items: Vec<Inbound>) {
        let Some(slot) = self.ctx.sink.load_full() else { return };
        for (tenant, alias) in &self.aliases {
            for part in items.chunks(ITEMS_AT_ONCE) {
                let submit = slot.0.submit(tenant, alias, origin, part.to_vec());
                match within(&*self.ctx.clock, self.ctx.config.call_timeout, submit).await {
                    Some(Ok(())) => {}
                    Some(Err(error)) => tracing::warn!(provider = %alias, op = "hand_on", %error),
                    None => tracing::warn!(provider = %alias, op = "hand_on", "it took too long"),
                }
            }
        }
    }
}

/// The deadline of one file, which may be large.
const FILE_TIMEOUT: Duration = Duration::from_secs(600);
