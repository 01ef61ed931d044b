//! The tasks of one app.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use switchboard_contract::{ConversationId, GroupId, Timestamp};
use tokio::sync::mpsc;

use super::app::Source;
use super::groups::Wanted;
use super::hints::{Hint, Hints, Numbers};
use super::recent::Fill;
use super::runner::Runner;
use super::slots::{Slots, Triggered};
use super::telling::Telling;
use super::{Fetch, Trigger, fetchers, groups, recent, verify};
use crate::catchup::ProviderState;
use crate::identity::Identity;
use crate::ingest::{Seen, Sighting};

/// Hints followed at once: most of that is waiting for what is just behind.
const HINTS: usize = 256;

/// One app with its fetchers.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) source: Source,
    identity: Arc<Identity>,
    telling: Telling,
    hints: Runner<ConversationId, Hint>,
    recent: Runner<(), Fill>,
    groups: Runner<(), Wanted>,
}

impl App {
    pub(super) fn new(source: Source, identity: Arc<Identity>, telling: Telling) -> Self {
        let (config, clock) = (source.config.clone(), &source.clock);
        let (hints, automatic) = (&config.hints, &config.automatic);
        Self {
            hints: Runner::new(Slots::new(hints.max_waiting, hints.stale_after), clock.clone()),
            recent: Runner::new(Slots::new(1, automatic.stale_after), clock.clone()),
            groups: Runner::new(Slots::new(1, automatic.stale_after), clock.clone()),
            source,
            identity,
            telling,
        }
    }

    /// Works until dropped.
    pub(super) async fn run(self: Arc<Self>, sightings: mpsc::Receiver<Sighting>) {
        let hints = Hints { source: &self.source, telling: &self.telling };
        tokio::join!(
            self.watch(sightings),
            self.online(),
            self.verify(),
            self.hints.run(HINTS, |conversation, hint| hints.follow(conversation, hint), |conversation, hint| {
                tracing::warn!(provider = %self.source.alias, %conversation, "a hint waited too long and is dropped");
                self.telling.count(hint.cause, "stale");
            }),
            self.recent.run(
                1,
                |(), fill| recent::fill(&self.source, &self.telling, fill),
                |(), _| self.telling.fetched("recent", "stale"),
            ),
            self.groups.run(
                1,
                |(), wanted| groups::look(&self.source, &self.identity, &self.telling, wanted),
                |(), _| self.telling.fetched("groups", "stale"),
            ),
        );
    }

    /// Takes in what the way in saw.
    async fn watch(&self, mut sightings: mpsc::Receiver<Sighting>) {
        let mut numbers = Numbers::default();
        while let Some(Sighting { conversation, at, seen, .. }) = sightings.recv().await {
            match (seen, conversation) {
                (Seen::Named(target, by), Some(conversation)) => {
                    let window = self.source.config.hints.window;
                    self.hint(conversation, Hint::named(target, by.as_str(), at, window));
                }
                (Seen::Numbered(number), Some(conversation)) => {
                    if let Some(hint) = numbers.note(&conversation, number, at) {
                        self.hint(conversation, hint);
                    }
                }
                (Seen::GroupChanged(group, room), _) => self.look(Trigger::GroupChanged, Some((group, room))),
                // What happened nowhere can be looked for nowhere.
                (_, None) => {}
            }
        }
        std::future::pending().await
    }

    pub(super) fn hint(&self, conversation: ConversationId, hint: Hint) {
        let cause = hint.cause;
        if !self.source.config.hints.enabled || !fetchers(Trigger::Hint).contains(&Fetch::Conversation) {
            return;
        }
        if self.hints.trigger(conversation, hint) == Triggered::Refused {
            self.telling.count(cause, "refused");
        }
    }

    /// Asks for `recent` from a time on.
    pub(super) fn fill(&self, trigger: Trigger, since: Timestamp) {
        let cause = match trigger {
            Trigger::FirstWalk => "first_walk",
            Trigger::LoggedIn => "login",
            _ => "gap",
        };
        if self.source.config.automatic.enabled && fetchers(trigger).contains(&Fetch::Recent) {
            self.recent.trigger((), Fill { since, cause });
        }
    }

    /// Asks for one group, or for all.
    fn look(&self, trigger: Trigger, group: Option<(GroupId, bool)>) {
        if self.source.config.automatic.enabled && fetchers(trigger).contains(&Fetch::Groups) {
            let all = group.is_none();
            self.groups.trigger((), Wanted { all, some: BTreeSet::from_iter(group) });
        }
    }

    /// Each time the provider comes online: groups, and what the walk had no time for.
    async fn online(&self) {
        let Some(mut state) = self.source.catchup.watch(&self.source.alias) else { return };
        loop {
            if state.wait_for(|state| *state == ProviderState::Online).await.is_err() {
                return;
            }
            self.look(Trigger::LoggedIn, None);
            match self.missed_since().await {
                Ok(Some(since)) => self.fill(Trigger::LoggedIn, since),
                Ok(None) => self.telling.fetched("recent", "nothing"),
                Err(error) => tracing::warn!(provider = %self.source.alias, %error, "windows could not be read"),
            }
            if state.wait_for(|state| *state != ProviderState::Online).await.is_err() {
                return;
            }
        }
    }

    /// The beginning of the last walk's window, while it is not filled.
    async fn missed_since(&self) -> switchboard_contract::Result<Option<Timestamp>> {
        let source = &self.source;
        let newest = source.store.windows(&source.tenant, source.app(), false, 1).await?.pop();
        Ok(newest.filter(|window| !window.complete && source.catchup.asks()).map(|window| window.since))
    }

    /// Looks now and then whether rows are gone.
    async fn verify(&self) {
        loop {
            self.source.clock.sleep(self.source.config.hints.verify_every.max(Duration::from_secs(1))).await;
            if let Err(error) = verify::look(self).await {
                tracing::warn!(provider = %self.source.alias, %error, "the journal could not be verified");
            }
        }
    }
}
