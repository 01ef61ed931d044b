//! What a device receives and acknowledges. That is the business of the reception machine, the same that serves the
//! business's subscribers; this file feeds it and carries out what it wants.
//!
//! The machine is fed with pieces of runs, each as one event at the position of its first entry: what many devices get
//! is encoded once and counted once. A device acknowledges by position, which may lie within a piece.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use prost::encoding::{WireType, encode_key, encode_varint};
use switchboard_contract::reception::{Action, Feed, Head, Input, Key, State, Wanted};
use switchboard_contract::storage::{DeviceCursor, Glimpse, Timelines};
use switchboard_contract::{Position, Result, Sequence, Timestamp, UserId};

use super::ending::{End, storage_end};
use super::session::{FLUSH, Finished, Held, ME, Pulling, SHARD, Session};
use crate::frame::{Command, Kind, Packet};
use crate::service::{Piece, Run};

/// Pieces handed out in one step.
const BURST: usize = 64;
/// Bytes of a page, or of what is read from the log at a time, from which on no more is added.
const PAGE_BYTES: usize = 512 << 10;

/// What came of the machine's wishes.
#[derive(Default)]
struct Carried {
    /// What goes out.
    pieces: Vec<Piece>,
    /// How many the machine let out, those among them that have gone out already.
    taken: usize,
    /// Something was read for the machine.
    read: bool,
}

impl Session {
    /// The next page, which acknowledges the last.
    pub(super) async fn pull(&mut self, correlation: u64, pull: &crate::proto::Pull) -> Result<(), End> {
        self.acknowledge(pull.after);
        if self.saving {
            self.shared.service.saver().hurry();
        }
        let most = self.shared.config.page_size.max(1);
        let limit = if pull.limit == 0 { most } else { pull.limit.min(most) } as usize;
        self.pulling = Some(Pulling { correlation, limit, page: None });
        self.answer_pull().await
    }

    /// Answers the pull that waits, if what it waits for is there: entries, or the certainty that there are none. With
    /// the empty page the device is online, in the very step in which its acknowledgement has reached the tail.
    pub(super) async fn answer_pull(&mut self) -> Result<(), End> {
        let Some(Pulling { correlation, limit, .. }) = self.pulling else { return Ok(()) };
        let now = self.now();
        self.store(now).await;
        // What comes next is read while what the pull acknowledges becomes durable.
        while self.pulling.as_ref().is_some_and(|pulling| pulling.page.is_none()) {
            let actions = self.apply(Input::Page { worker: ME, cursor: None, max: limit });
            let Carried { pieces, read, .. } = self.carry_out(actions).await.map_err(|error| storage_end(&error))?;
            if !pieces.is_empty() {
                let page = Some(page(correlation, &pieces));
                self.pulling = Some(Pulling { correlation, limit, page });
            } else if !self.saving && self.machine.state() == State::Online {
                self.pulling = None;
                (self.live, self.behind) = (true, true);
                self.outbox.push(page(correlation, &[]));
            } else if !read {
                return Ok(());
            }
        }
        // The page is answered when what it acknowledges is durable.
        if !self.saving
            && let Some(page) = self.pulling.take().and_then(|pulling| pulling.page)
        {
            self.outbox.push(page);
        }
        Ok(())
    }

    /// Puts out what is there, as far as the machine lets it out and one write bears it.
    pub(super) async fn deliver(&mut self) -> Result<()> {
        loop {
            let actions = self.apply(Input::Take(ME, BURST));
            let Carried { pieces, taken, read } = self.carry_out(actions).await?;
            if let Some(last) = pieces.last() {
                self.fresh = Some(last.run.gathered_at().unwrap_or_else(|| self.now()));
                if last.run.is_wide() {
                    self.was_wide();
                }
            }
            // Less than was asked for, and nothing was read: there is no more.
            let all = taken < BURST && !read;
            pieces.into_iter().for_each(|piece| self.outbox.push_piece(piece));
            if all {
                // What there is no room for waits for an acknowledgement.
                self.behind = false;
                return Ok(());
            }
            if self.outbox.size() >= FLUSH {
                return Ok(());
            }
        }
    }

    /// Everything up to this position has arrived.
    pub(super) fn acknowledge(&mut self, through: u64) {
        let (mut handles, mut kept, before) = (Vec::new(), Vec::new(), self.acked);
        while let Some(mut held) = self.held.pop_front_if(|held| held.at <= through) {
            match held.handle {
                Some(handle) if held.piece.last() <= through => {
                    handles.push(handle);
                    self.let_go(&held.piece);
                    self.acked = self.acked.max(held.piece.last());
                    self.shared.service.delivered(&self.route.user, &held.piece.run);
                    continue;
                }
                Some(_) => self.cut(&mut held.piece, through),
                None => {}
            }
            kept.push(held);
        }
        kept.into_iter().rev().for_each(|held| self.held.push_front(held));
        self.out -= handles.len();
        // Most devices have nothing to do most of the time.
        if self.held.is_empty() && self.held.capacity() > 8 {
            self.held = VecDeque::new();
        }
        if !handles.is_empty() {
            self.apply(Input::Ack(&handles));
        }
        if self.acked > before {
            self.look_again();
            if !self.concurrent {
                self.unsaved = true;
                self.route.acked.store(self.acked, Ordering::Relaxed);
            }
        }
    }

    /// Whether everything that the log is known to have is sent.
    pub(super) fn all_out(&self) -> bool {
        self.fed >= self.tail && self.held.len() == self.out
    }

    /// The machine may let out more than before. To look costs little, but nothing is lent meanwhile.
    pub(super) fn look_again(&mut self) {
        self.behind |= self.lent_until().is_none() || !self.all_out();
    }

    /// The first part of a piece is acknowledged.
    fn cut(&mut self, piece: &mut Piece, through: u64) {
        // What a piece was cut off before is not put back.
        let through = through.max(piece.first().position.0.saturating_sub(1));
        if let Some(last) = piece.items().iter().rev().map(|item| item.position.0).find(|at| *at <= through) {
            self.acked = self.acked.max(last);
        }
        if let Some(rest) = Piece::between(&piece.run, through, piece.last(), usize::MAX) {
            self.let_go(piece);
            self.hold(&rest);
            *piece = rest;
        }
    }

    fn hold(&mut self, piece: &Piece) {
        self.held_entries += piece.len();
        self.held_bytes += piece.size();
    }

    fn let_go(&mut self, piece: &Piece) {
        self.held_entries -= piece.len();
        self.held_bytes -= piece.size();
    }

    fn held_at(&mut self, position: u64) -> Option<&mut Held> {
        // Mostly it is the last one.
        if self.held.back().is_some_and(|held| held.at == position) {
            return self.held.back_mut();
        }
        let index = self.held.binary_search_by_key(&position, |held| held.at).ok()?;
        self.held.get_mut(index)
    }

    /// Hands the machine something; what it wants besides is remembered or returned.
    pub(super) fn apply(&mut self, input: Input<'_>) -> Vec<Action> {
        let (now, mut actions) = (self.now(), Vec::new());
        self.machine.apply(now, input, &mut actions);
        self.unsaved |= actions.iter().any(|action| matches!(action, Action::Unsaved));
        actions.retain(|action| {
            use Action::{Deliver, DeliverRun, Read, Save};
            matches!(action, Deliver(_) | DeliverRun(_) | Read { .. } | Save(_))
        });
        actions
    }

    /// Stores how far the device is: at once when a page waits for it, once in a while otherwise.
    pub(super) async fn store(&mut self, now: Timestamp) {
        if !self.unsaved || self.saving || (self.pulling.is_none() && now < self.save_at) {
            return;
        }
        self.unsaved = false;
        self.save_at = now + self.shared.config.cursors_every;
        let mut low = self.machine.low(SHARD);
        for action in self.apply(Input::Collect) {
            if let Action::Save(save) = action {
                low = save.cursors.first().map_or(low, |cursor| cursor.low.max(low));
            }
        }
        if !self.concurrent {
            low = low.max(Position(self.acked));
        }
        let (user, device) = (self.route.user.clone(), self.route.device.clone());
        self.saving = true;
        let (saver, cursor) = (self.shared.service.saver(), DeviceCursor { user, device, low, seen_at: now });
        let saved = if self.pulling.is_some() { saver.save(cursor).await } else { saver.save_later(cursor).await };
        self.begun.push(Box::pin(async move {
            Finished::Saved(match saved {
                Ok(answer) => answer.await.unwrap_or(false),
                Err(_) => false,
            })
        }));
    }

    async fn carry_out(&mut self, actions: Vec<Action>) -> Result<Carried> {
        let mut carried = Carried::default();
        for action in actions {
            if let Action::Read { after, until, limit, .. } = action {
                carried.read |= self.feed(after, until, limit).await?;
                continue;
            }
            for handle in action.dispatches().map(|dispatch| dispatch.handle) {
                if let Some(held) = self.held_at(handle.place.position.0) {
                    let (again, piece) = (held.handle.replace(handle).is_some(), held.piece.clone());
                    self.out += usize::from(!again);
                    carried.taken += 1;
                    carried.pieces.extend(if again { Some(piece) } else { self.unwritten(piece) });
                }
            }
        }
        Ok(carried)
    }

    /// From memory where possible: what is written now is on its way already. Returns whether there was room for any.
    async fn feed(&mut self, after: Position, until: Position, limit: usize) -> Result<bool> {
        let config = &self.shared.config;
        let most = self.pulling.as_ref().map_or(config.max_in_flight.max(1) as usize, |pulling| pulling.limit);
        // Under concurrent reception the machine may put off what it was fed, and asks for it again.
        let (waiting, limit) = if self.concurrent { (self.out, limit.div_ceil(2)) } else { (self.held_entries, limit) };
        let room = most.saturating_sub(waiting).min(limit);
        let spare = match self.concurrent {
            true => PAGE_BYTES,
            false => config.max_unacked_bytes.saturating_sub(self.held_bytes).min(PAGE_BYTES),
        };
        if room == 0 || spare == 0 {
            return Ok(false);
        }
        let (pieces, until) = match self.route.take(after.0, until.0, room, spare) {
            Some((pieces, reached)) if reached > after.0 => (pieces, Position(reached)),
            _ => look_up(self.shared.service.log().clone(), &self.route.user, after, until, (room, spare)).await?,
        };
        let pieces: Vec<Piece> =
            if self.concurrent { pieces.into_iter().flat_map(Piece::singles).collect() } else { pieces };
        let heads: Arc<[Head]> = pieces.iter().map(|piece| self.head(piece)).collect();
        for piece in pieces {
            self.hold(&piece);
            let at = piece.first().position.0;
            if let Some(held) = self.held_at(at) {
                let other = std::mem::replace(&mut held.piece, piece);
                self.let_go(&other);
                continue;
            }
            let index = self.held.partition_point(|held| held.at < at);
            self.held.insert(index, Held { at, piece, handle: None });
        }
        self.fed = self.fed.max(until.0);
        self.apply(Input::Feed(Feed { shard: SHARD, after, until, heads: &heads, wanted: Wanted::All }));
        Ok(true)
    }

    fn head(&self, piece: &Piece) -> Head {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let item = piece.first();
        if !self.concurrent {
            // A device gets everything in the order of positions, as if it were one conversation.
            return Head { position: item.position, sequence: Sequence(item.position.0), key: Key(0) };
        }
        // One worker has all conversations: two that meet under one key are merely kept in order together.
        let mut hasher = DefaultHasher::new();
        match (&item.conversation, item.sequence) {
            (Some(conversation), Some(_)) => conversation.hash(&mut hasher),
            _ => item.position.0.hash(&mut hasher),
        }
        Head { position: item.position, sequence: item.sequence.unwrap_or_default(), key: Key(hasher.finish()) }
    }
}

/// What the log has for a user, as far as one look goes, and how far that is.
async fn look_up(
    log: Arc<dyn Timelines>,
    user: &UserId,
    after: Position,
    until: Position,
    (limit, bytes): (usize, usize),
) -> Result<(Vec<Piece>, Position)> {
    let lines = log.glimpses(user, after, until, limit).await?;
    let mut size = 0;
    let fits = |line: &&Glimpse| {
        let begins = size < bytes;
        size += line.payload.len();
        begins
    };
    let kept = lines.iter().take_while(fits).count();
    let all = kept == lines.len() && lines.len() < limit;
    let reached = if all { until } else { lines[..kept].last().map_or(until, |last| last.position) };
    let run = Run::stored(&lines[..kept])?;
    Ok((Piece::between(&run, after.0, until.0, usize::MAX).into_iter().collect(), reached))
}

/// The answer to a pull, written entry by entry as they are.
fn page(correlation: u64, pieces: &[Piece]) -> Packet {
    let size: usize = pieces.iter().map(Piece::size).sum();
    let mut body = BytesMut::with_capacity(size + 16);
    pieces.iter().for_each(|piece| piece.put_elements(&mut body));
    if let Some(last) = pieces.last() {
        encode_key(2, WireType::Varint, &mut body);
        encode_varint(last.last(), &mut body);
    }
    Packet::new(Kind::Ack, Command::Pull, correlation, body.freeze())
}
