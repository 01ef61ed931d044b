//! Messages in doubt: when to look for evidence, where, and what follows from it. No I/O, no clock.
//!
//! The order of evidence is: the callback's echo (which comes by itself), a query of the conversation, the hour's
//! file. Presence is proof at once. Absence is proof only where the vendor promises to show every own send, and only
//! after the time it names; a file that is not there proves nothing. Without proof a message is never sent again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use switchboard_contract::storage::Leg;
use switchboard_contract::{ConversationKind, HistoryFileLimits, MessageId, Provider, RoamingLimits, Timestamp};

use super::{AfterHold, SendingConfig};

const HOUR: Duration = Duration::from_secs(3600);

/// What can tell of an own send at one vendor.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub echoes: bool,
    pub query: Option<RoamingLimits>,
    /// Only where own sends stand in them.
    pub files: Option<HistoryFileLimits>,
}

impl Sources {
    pub(crate) fn of(provider: &dyn Provider) -> Self {
        Self {
            echoes: provider.messaging().limits().echoes,
            query: provider.roaming().map(|roaming| roaming.limits()),
            files: provider.history_files().map(|files| files.limits()).filter(|limits| limits.own_sends),
        }
    }

    fn query_for(&self, kind: ConversationKind) -> Option<&RoamingLimits> {
        self.query.as_ref().filter(|limits| limits.targets.contains(&kind))
    }
}

/// What to do about a message in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Query its conversation.
    Query,
    /// Read the file of the hour that begins then.
    File(Timestamp),
    /// Let its conversation go on.
    LetGo,
    /// Nothing can tell: it failed.
    GiveUp,
}

/// What a look found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Everything was read, and it was not there.
    NotThere,
    /// There was nothing to read, or not all of it could be.
    Nothing,
    /// The look failed; it may be repeated.
    Failed,
    /// This source cannot be used for this message.
    Unusable,
}

/// What follows from a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conclusion {
    /// It never arrived.
    Absent,
    /// Look on.
    Open,
}

/// One message in doubt.
#[derive(Debug)]
pub(crate) struct Doubt {
    pub leg: Leg,
    since: Timestamp,
    /// The vendor cannot have carried it out after this.
    settled: Timestamp,
    /// Set while it holds its conversation: until when, if that ends by itself.
    hold: Option<Option<Timestamp>>,
    query: Option<QueryPlan>,
    /// Hours whose files must be seen, with the next look at each.
    hours: BTreeMap<Timestamp, Timestamp>,
    files: Option<HistoryFileLimits>,
    looking: bool,
    failures: u32,
}

#[derive(Clone, Copy, Debug)]
struct QueryPlan {
    at: Timestamp,
    /// From when on absence is proof, if ever.
    conclusive: Option<Timestamp>,
}

impl Doubt {
    fn new(leg: Leg, sources: &Sources, config: &SendingConfig) -> Self {
        // While in doubt, a leg's next attempt stands for the moment the doubt began.
        let since = leg.next_attempt_at;
        let dispatched = leg.dispatched_at.unwrap_or(since);
        let settled = since.min(dispatched + config.call_timeout) + config.settle;
        let hold = match config.after_hold {
            AfterHold::Release => Some(since + config.in_doubt_hold),
            AfterHold::Wait | AfterHold::Fail => None,
        };
        let query = sources.query_for(leg.conversation.kind()).map(|limits| QueryPlan {
            at: if sources.echoes { since + config.echo_wait } else { since },
            conclusive: limits.own_sends_after.map(|lag| settled + lag),
        });
        let hours = sources.files.as_ref().map_or_else(BTreeMap::new, |limits| {
            let first = hour_of(dispatched - config.clock_skew);
            let last = hour_of(settled + config.clock_skew);
            std::iter::successors(Some(first), |hour| Some(*hour + HOUR))
                .take_while(|hour| *hour <= last)
                .map(|hour| (hour, hour + HOUR + limits.earliest))
                .collect()
        });
        Self {
            leg,
            since,
            settled,
            hold: Some(hold),
            query,
            hours,
            files: sources.files.clone(),
            looking: false,
            failures: 0,
        }
    }

    /// The part of the conversation to query, by the vendor's clock.
    pub(crate) fn span(&self, skew: Duration) -> (Timestamp, Timestamp) {
        (self.leg.dispatched_at.unwrap_or(self.since) - skew, self.settled + skew)
    }

    /// Since when it is in doubt.
    pub(crate) fn since(&self) -> Timestamp {
        self.since
    }

    fn can_be_proved(&self) -> bool {
        self.query.is_some_and(|query| query.conclusive.is_some()) || !self.hours.is_empty()
    }

    fn gives_up_at(&self, config: &SendingConfig) -> Timestamp {
        if self.can_be_proved() && config.after_hold != AfterHold::Fail {
            self.since + config.in_doubt_limit
        } else {
            self.since + config.in_doubt_hold
        }
    }

    /// The next thing to do and when.
    fn next(&self, config: &SendingConfig) -> (Timestamp, Due) {
        let give_up = (self.gives_up_at(config), Due::GiveUp);
        let let_go = self.hold.flatten().map(|until| (until, Due::LetGo));
        let query = self.query.map(|query| (query.at, Due::Query));
        let file = self.hours.iter().map(|(hour, at)| (*at, Due::File(*hour))).min_by_key(|(at, _)| *at);
        let looks = query.into_iter().chain(file).filter(|_| !self.looking);
        // Of things due at once, the one that is listed first: a last look before giving up.
        looks.chain(let_go).chain([give_up]).min_by_key(|(at, _)| *at).unwrap_or(give_up)
    }

    fn queried(&mut self, started: Timestamp, finding: Finding, retry: impl FnOnce(u32) -> Duration) -> Conclusion {
        let Some(plan) = &mut self.query else { return Conclusion::Open };
        match finding {
            Finding::NotThere if plan.conclusive.is_some_and(|at| started >= at) => return Conclusion::Absent,
            Finding::NotThere => {
                self.failures = 0;
                // Looks grow rarer; the one that counts comes as soon as it counts.
                let gap = started.since(self.since).max(Duration::from_secs(1));
                plan.at = plan.conclusive.map_or(started + gap, |at| at.min(started + gap));
            }
            Finding::Nothing | Finding::Failed => {
                self.failures += 1;
                plan.at = started + retry(self.failures);
            }
            Finding::Unusable => self.query = None,
        }
        Conclusion::Open
    }

    fn read(
        &mut self,
        hour: Timestamp,
        started: Timestamp,
        finding: Finding,
        retry: impl FnOnce(u32) -> Duration,
    ) -> Conclusion {
        let (Some(limits), Some(next)) = (&self.files, self.hours.get_mut(&hour)) else { return Conclusion::Open };
        let (ended, last) = (hour + HOUR, hour + HOUR + limits.final_after);
        match finding {
            Finding::NotThere if started >= last => {
                self.hours.remove(&hour);
                if self.hours.is_empty() {
                    return Conclusion::Absent;
                }
            }
            Finding::NotThere | Finding::Nothing => {
                let again = started + started.since(ended).max(HOUR);
                *next = if started < last { again.min(last) } else { started + HOUR };
                if *next > ended + limits.kept {
                    // It is gone by then: these hours can prove nothing any more.
                    self.hours.clear();
                }
            }
            Finding::Failed => {
                self.failures += 1;
                *next = started + retry(self.failures);
            }
            Finding::Unusable => self.hours.clear(),
        }
        Conclusion::Open
    }
}

fn hour_of(time: Timestamp) -> Timestamp {
    const MILLIS: i64 = 3_600_000;
    Timestamp(time.0.div_euclid(MILLIS) * MILLIS)
}

/// All messages in doubt of one app, by when something is due.
#[derive(Debug)]
pub(crate) struct Doubts {
    config: SendingConfig,
    sources: Sources,
    doubts: HashMap<MessageId, Doubt>,
    schedule: BTreeSet<(Timestamp, MessageId)>,
    scheduled: HashMap<MessageId, Timestamp>,
}

impl Doubts {
    pub(crate) fn new(config: SendingConfig, sources: Sources) -> Self {
        Self { config, sources, doubts: HashMap::new(), schedule: BTreeSet::new(), scheduled: HashMap::new() }
    }

    /// Takes a leg in doubt. Returns until when it holds its conversation, if that ends by itself.
    pub(crate) fn insert(&mut self, leg: Leg) -> Option<Timestamp> {
        let message = leg.message_id;
        let doubt = Doubt::new(leg, &self.sources, &self.config);
        let hold = doubt.hold.flatten();
        self.doubts.insert(message, doubt);
        self.reschedule(message);
        hold
    }

    pub(crate) fn get(&self, message: MessageId) -> Option<&Doubt> {
        self.doubts.get(&message)
    }

    /// Takes a message that is in doubt no longer.
    pub(crate) fn remove(&mut self, message: MessageId) -> Option<Doubt> {
        if let Some(at) = self.scheduled.remove(&message) {
            self.schedule.remove(&(at, message));
        }
        self.doubts.remove(&message)
    }

    /// The first thing that is due.
    pub(crate) fn due(&self, now: Timestamp) -> Option<(MessageId, Due)> {
        let (at, message) = self.schedule.first()?;
        let doubt = self.doubts.get(message).filter(|_| *at <= now)?;
        Some((*message, doubt.next(&self.config).1))
    }

    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.schedule.first().map(|(at, _)| *at)
    }

    /// A look for this message leaves; until it is back nothing else is looked for.
    pub(crate) fn looking(&mut self, message: MessageId) {
        self.change(message, |doubt| doubt.looking = true);
    }

    /// The look could not be made now.
    pub(crate) fn postpone(&mut self, message: MessageId, due: Due, until: Timestamp) {
        self.change(message, |doubt| match due {
            Due::Query => {
                if let Some(query) = &mut doubt.query {
                    query.at = query.at.max(until);
                }
            }
            Due::File(hour) => {
                if let Some(next) = doubt.hours.get_mut(&hour) {
                    *next = (*next).max(until);
                }
            }
            Due::LetGo | Due::GiveUp => {}
        });
    }

    /// It holds its conversation longer.
    pub(crate) fn hold_on(&mut self, message: MessageId, until: Timestamp) {
        self.change(message, |doubt| doubt.hold = doubt.hold.map(|_| Some(until)));
    }

    /// Its conversation goes on.
    pub(crate) fn let_go(&mut self, message: MessageId) {
        self.change(message, |doubt| doubt.hold = None);
    }

    /// Every message whose place may be in the file of this hour, and that is not being looked for already.
    pub(crate) fn awaiting_file(&self, hour: Timestamp) -> Vec<MessageId> {
        let waits = |doubt: &&Doubt| !doubt.looking && doubt.hours.contains_key(&hour);
        self.doubts.values().filter(waits).map(|doubt| doubt.leg.message_id).collect()
    }

    /// A look is back; `started` is when it left.
    pub(crate) fn looked(
        &mut self,
        message: MessageId,
        due: Due,
        started: Timestamp,
        finding: Finding,
        retry: impl FnOnce(u32) -> Duration,
    ) -> Conclusion {
        self.change(message, |doubt| {
            doubt.looking = false;
            match due {
                Due::Query => doubt.queried(started, finding, retry),
                Due::File(hour) => doubt.read(hour, started, finding, retry),
                Due::LetGo | Due::GiveUp => Conclusion::Open,
            }
        })
        .unwrap_or(Conclusion::Open)
    }

    /// This account does not have the service: nobody needs to ask again.
    pub(crate) fn without(&mut self, due: Due) {
        match due {
            Due::Query => self.sources.query = None,
            Due::File(_) => self.sources.files = None,
            Due::LetGo | Due::GiveUp => {}
        }
    }

    pub(crate) fn ids(&self) -> Vec<MessageId> {
        self.doubts.keys().copied().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.doubts.len()
    }

    /// Since when the oldest has been in doubt.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.doubts.values().map(Doubt::since).min()
    }

    fn change<T>(&mut self, message: MessageId, change: impl FnOnce(&mut Doubt) -> T) -> Option<T> {
        let outcome = change(self.doubts.get_mut(&message)?);
        self.reschedule(message);
        Some(outcome)
    }

    fn reschedule(&mut self, message: MessageId) {
        if let Some(at) = self.scheduled.remove(&message) {
            self.schedule.remove(&(at, message));
        }
        if let Some(doubt) = self.doubts.get(&message) {
            let at = doubt.next(&self.config).0;
            self.scheduled.insert(message, at);
            self.schedule.insert((at, message));
        }
    }
}
