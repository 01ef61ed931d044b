//! What a device receives and acknowledges. That is the business of the reception machine, the same that serves the
//! business's subscribers; this file feeds it and carries out what it wants.

use std::collections::BTreeMap;
use std::sync::Arc;

use switchboard_contract::reception::{Action, Feed, Handle, Head, Input, Key, State};
use switchboard_contract::storage::{DeviceCursor, LineKind};
use switchboard_contract::{ConversationId, Error, ErrorKind, Position, Result, Sequence};

use super::session::{End, Finished, ME, Pulling, SHARD, Session, storage_end};
use crate::frame::{Body, Command, Kind, Packet, encode_body};
use crate::proto;
use crate::service::{Item, Route};

/// Entries written in one go.
const BURST: usize = 64;

impl Session {
    /// The next page, which acknowledges the last.
    pub(super) async fn pull(&mut self, correlation: u64, pull: &proto::Pull) -> Result<(), End> {
        self.acknowledge(pull.after);
        let most = self.shared.config.page_size.max(1);
        let limit = if pull.limit == 0 { most } else { pull.limit.min(most) } as usize;
        self.pulling = Some(Pulling { correlation, limit });
        self.answer_pull().await
    }

    /// Answers the pull that waits, if what it waits for is there: entries, or the certainty that there are none. With
    /// the empty page the device is online, in the very step in which its acknowledgement has reached the tail.
    pub(super) async fn answer_pull(&mut self) -> Result<(), End> {
        let Some(Pulling { correlation, limit }) = self.pulling else { return Ok(()) };
        self.store().await;
        if self.saving {
            // The page is answered when what it acknowledges is durable.
            return Ok(());
        }
        loop {
            let actions = self.apply(Input::Page { worker: ME, cursor: None, max: limit });
            let (entries, read) = self.carry_out(actions).await.map_err(|error| storage_end(&error))?;
            if !entries.is_empty() {
                self.pulling = None;
                self.packets.push_back(page(correlation, &entries)?);
                return Ok(());
            }
            if self.machine.state() == State::Online {
                self.pulling = None;
                self.live = true;
                self.packets.push_back(page(correlation, &[])?);
                return Ok(());
            }
            if !read {
                return Ok(());
            }
        }
    }

    /// Sends what is there, as far as the machine lets it out.
    pub(super) async fn deliver(&mut self) -> Result<()> {
        loop {
            let actions = self.apply(Input::Take(ME, BURST));
            let (entries, read) = self.carry_out(actions).await?;
            self.packets.extend(entries.iter().map(|item| item.packet.clone()));
            if self.packets.len() >= BURST || (entries.is_empty() && !read) {
                return Ok(());
            }
        }
    }

    /// Everything up to this position has arrived.
    pub(super) fn acknowledge(&mut self, through: u64) {
        let later = self.out.split_off(&through.saturating_add(1));
        let acked = std::mem::replace(&mut self.out, later);
        if acked.is_empty() {
            return;
        }
        let handles: Vec<Handle> = acked.values().copied().collect();
        self.apply(Input::Ack(&handles));
        let mut raised: BTreeMap<ConversationId, Sequence> = BTreeMap::new();
        for position in acked.keys() {
            let Some(item) = self.held.remove(position) else { continue };
            if let (LineKind::Message, Some(conversation), Some(sequence)) =
                (item.kind, &item.conversation, item.sequence)
                && item.by != self.route.user
            {
                let mark = raised.entry(conversation.clone()).or_default();
                *mark = sequence.max(*mark);
            }
        }
        for (conversation, sequence) in raised {
            self.shared.service.delivered(&self.route.user, &conversation, sequence.0);
        }
    }

    /// Hands the machine something; what it wants besides is remembered or returned.
    pub(super) fn apply(&mut self, input: Input<'_>) -> Vec<Action> {
        let (now, mut actions) = (self.now(), Vec::new());
        self.machine.apply(now, input, &mut actions);
        self.unsaved |= actions.iter().any(|action| matches!(action, Action::Unsaved));
        actions.retain(|action| matches!(action, Action::Deliver(_) | Action::Read { .. } | Action::Save(_)));
        actions
    }

    /// Stores what the machine wants stored, one thing at a time.
    pub(super) async fn store(&mut self) {
        if !self.unsaved || self.saving {
            return;
        }
        self.unsaved = false;
        for action in self.apply(Input::Collect) {
            let Action::Save(save) = action else { continue };
            let Some(cursor) = save.cursors.first() else {
                // Nothing moved; the machine still waits for the word.
                self.apply(Input::Saved);
                continue;
            };
            let Route { user, device, .. } = &*self.route;
            let cursor =
                DeviceCursor { user: user.clone(), device: device.clone(), low: cursor.low, seen_at: self.now() };
            self.saving = true;
            let saved = self.shared.service.saver().save(cursor).await;
            self.begun.push(Box::pin(async move {
                Finished::Saved(match saved {
                    Ok(answer) => answer.await.unwrap_or(false),
                    Err(_) => false,
                })
            }));
        }
    }

    /// Returns what goes out, and whether anything was read for the machine.
    async fn carry_out(&mut self, actions: Vec<Action>) -> Result<(Vec<Arc<Item>>, bool)> {
        let (mut entries, mut read) = (Vec::new(), false);
        for action in actions {
            match action {
                Action::Deliver(dispatch) => {
                    let position = dispatch.handle.place.position.0;
                    if let Some(item) = self.held.get(&position) {
                        self.out.insert(position, dispatch.handle);
                        entries.push(item.clone());
                    }
                }
                Action::Read { after, until, limit, .. } => {
                    self.feed(after, until, limit).await?;
                    read = true;
                }
                _ => {}
            }
        }
        Ok((entries, read))
    }

    /// From memory where possible: what is written now is on its way already.
    async fn feed(&mut self, after: Position, until: Position, limit: usize) -> Result<()> {
        let (items, until) = match self.route.take(after.0, limit) {
            Some((items, reached)) if reached > after.0 => (items, Position(reached)),
            _ => {
                let lines = self.shared.service.log().timeline(&self.route.user, after, until, limit).await?;
                let reached =
                    if lines.len() < limit { until } else { lines.last().map_or(until, |last| last.position) };
                (lines.iter().map(|line| Arc::new(Item::of(line))).collect(), reached)
            }
        };
        let heads: Vec<Head> = items.iter().map(|item| head(item)).collect();
        for item in items {
            self.held.insert(item.position.0, item);
        }
        self.apply(Input::Feed(Feed { shard: SHARD, after, until, heads: &heads, wanted: &|_| true }));
        Ok(())
    }
}

fn head(item: &Item) -> Head {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    // One worker has all conversations: two that meet under one key are merely kept in order together.
    let mut hasher = DefaultHasher::new();
    match (&item.conversation, item.sequence) {
        (Some(conversation), Some(_)) => conversation.hash(&mut hasher),
        _ => item.position.0.hash(&mut hasher),
    }
    Head { position: item.position, sequence: item.sequence.unwrap_or_default(), key: Key(hasher.finish()) }
}

fn page(correlation: u64, entries: &[Arc<Item>]) -> Result<Packet, End> {
    use prost::Message as _;
    let decoded = entries.iter().map(|item| proto::Entry::decode(item.packet.body.clone()));
    let entries = decoded.collect::<Result<Vec<_>, _>>().map_err(|error| {
        let error = Error::new(ErrorKind::Decode, "a stored line cannot be read").with_source(error);
        storage_end(&error)
    })?;
    let cursor = entries.last().map_or(0, |last| last.position);
    let body = encode_body(&Body::Page(proto::Page { entries, cursor }));
    Ok(Packet::new(Kind::Ack, Command::Pull, correlation, body))
}
