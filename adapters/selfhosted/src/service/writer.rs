//! The one task that writes. It takes whatever waits, prepares it in order, writes it in one transaction, and only
//! then answers its callers and hands the lines to devices.

use std::sync::Arc;

use parking_lot::Mutex;
use prost::Message as _;
use switchboard_contract::storage::{Line, NewLine, Timelines, Written};
use switchboard_contract::{Clock, Error, ErrorKind, Position, Result, UserId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

use super::acts::{Act, Posted};
use super::gathering::Gathering;
use super::outlet::ShortWay;
use super::prepare::{After, Prepared, Preparer};
use super::push::{PushHint, Pushes, Watched};
use super::run::Runner;
use super::{Routes, ServiceConfig};
use crate::frame::{Command, Kind, Packet};
use crate::proto;

/// Acts that wait for the writer; more wait with their callers.
const QUEUE: usize = 4096;
/// Acts written in one transaction, at most.
pub(super) const BATCH: usize = 1024;

pub(super) enum Order {
    Act(Box<Act>, oneshot::Sender<Result<Posted>>),
    Know(UserId, oneshot::Sender<()>),
}

/// The way to the writer. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct WriterHandle(Arc<Mutex<Option<mpsc::Sender<Order>>>>);

/// What came of an act, once it is durable.
#[derive(Debug)]
pub(crate) struct Answer(oneshot::Receiver<Result<Posted>>);

impl Answer {
    pub(crate) async fn wait(self) -> Result<Posted> {
        self.0.await.unwrap_or_else(|_| Err(closed()))
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the service is stopping")
}

impl WriterHandle {
    fn sender(&self) -> Result<mpsc::Sender<Order>> {
        self.0.lock().clone().ok_or_else(closed)
    }

    pub(super) async fn submit(&self, act: Act) -> Result<Answer> {
        let (reply, answer) = oneshot::channel();
        self.sender()?.send(Order::Act(Box::new(act), reply)).await.map_err(|_| closed())?;
        Ok(Answer(answer))
    }

    /// The user exists from now on.
    pub(super) async fn know(&self, user: &UserId) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.sender()?.send(Order::Know(user.clone(), reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())
    }

    pub(super) async fn close(&self) {
        self.0.lock().take();
    }
}

pub(super) fn start(
    tasks: &TaskTracker,
    log: Arc<dyn Timelines>,
    clock: Arc<dyn Clock>,
    config: ServiceConfig,
    routes: Routes,
    tail: watch::Sender<u64>,
    pushes: Pushes,
) -> WriterHandle {
    let (sender, commands) = mpsc::channel(QUEUE);
    let gathering = Gathering::new(clock.clone(), config.flush_every);
    let short_way = ShortWay { tasks: tasks.clone(), clock: clock.clone(), pause: config.flush_every };
    let preparer = Preparer::new(log.clone(), clock, config);
    let writer = Writer { preparer, gathering, short_way, log, routes, tail, pushes, open: Vec::new() };
    tasks.spawn(writer.run(commands));
    WriterHandle(Arc::new(Mutex::new(Some(sender))))
}

struct Writer {
    preparer: Preparer,
    gathering: Gathering,
    short_way: ShortWay,
    log: Arc<dyn Timelines>,
    routes: Routes,
    tail: watch::Sender<u64>,
    pushes: Pushes,
    /// Prepared and not written yet.
    open: Vec<(Prepared, oneshot::Sender<Result<Posted>>)>,
}

impl Writer {
    async fn run(mut self, mut commands: mpsc::Receiver<Order>) {
        let mut batch = Vec::new();
        while commands.recv_many(&mut batch, BATCH).await > 0 {
            self.gathering.fill(&mut batch, &mut commands).await;
            for command in batch.drain(..) {
                match command {
                    Order::Know(user, reply) => {
                        self.preparer.know(user);
                        let _ = reply.send(());
                    }
                    Order::Act(act, reply) => self.prepare(*act, reply).await,
                }
            }
            self.write().await;
        }
    }

    async fn prepare(&mut self, act: Act, reply: oneshot::Sender<Result<Posted>>) {
        // What changes a line must find it written, and each change the one before.
        if matches!(act, Act::Recall { .. } | Act::Edit { .. }) {
            self.write().await;
        }
        match self.preparer.prepare(act).await {
            Ok(Prepared { done: Some(done), .. }) => drop(reply.send(Ok(done))),
            Ok(prepared) => self.open.push((prepared, reply)),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    async fn write(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let open = std::mem::take(&mut self.open);
        let lines: Vec<NewLine> = open.iter().filter_map(|(prepared, _)| prepared.line.clone()).collect();
        let count = lines.len();
        match self.log.append(lines).await {
            Ok(written) => {
                metrics::counter!("switchboard_gate_lines_total").increment(count as u64);
                self.settle(open, written).await;
            }
            Err(error) => {
                tracing::error!(%error, lines = count, "lines could not be written");
                metrics::counter!("switchboard_gate_write_failures_total").increment(1);
                // What was prepared on top of them is not true.
                self.preparer.forget();
                for (_, reply) in open {
                    let again = Error::new(error.kind(), error.message().to_owned()).with_retry(error.retry());
                    let _ = reply.send(Err(again));
                }
            }
        }
    }

    async fn settle(&mut self, open: Vec<(Prepared, oneshot::Sender<Result<Posted>>)>, written: Vec<Written>) {
        let last = written.iter().filter_map(|one| match one {
            Written::Fresh { position, .. } => Some(position.0),
            Written::Known(_) => None,
        });
        if let Some(last) = last.max() {
            // Before anything is offered: a device that logs in meanwhile either sees this or is offered the lines.
            self.tail.send_replace(last);
        }
        let mut waiting = Outgoing::default();
        for ((prepared, reply), written) in open.into_iter().zip(written) {
            let Some(line) = prepared.line else { continue };
            match written {
                Written::Known(known) => drop(reply.send(repeated(&known, line.digest))),
                Written::Fresh { position, sequence } => {
                    let line = stored(line, position, sequence);
                    let _ = reply.send(Ok(posted(&line, false, prepared.version)));
                    if let Some(audience) = prepared.audience {
                        if !waiting.takes(&audience) {
                            waiting.hand_out(self);
                        }
                        waiting.add(&line, audience);
                    }
                    self.follow(&line, prepared.after);
                }
            }
        }
        waiting.hand_out(self);
    }

    fn follow(&self, line: &Line, after: After) {
        match after {
            After::Nothing => {}
            After::Tell { users, marks } => {
                let packet = Packet::new(Kind::Notify, Command::State, 0, marks.encode_to_vec().into());
                for user in users {
                    self.routes.tell(&user, &packet);
                }
            }
            After::Watch(user) => {
                if let (Some(pushes), Some(conversation)) = (&self.pushes, line.conversation.clone()) {
                    let (message, from, sent_at) = (line.id, line.by.clone(), line.at);
                    let hint = PushHint { user, conversation, message, from, sent_at };
                    if pushes.try_send(Watched { hint, position: line.position }).is_err() {
                        metrics::counter!("switchboard_gate_push_unwatched_total").increment(1);
                    }
                }
            }
        }
    }
}

/// Lines that were written, joined while they are for the same readers.
#[derive(Default)]
struct Outgoing {
    audience: Arc<[UserId]>,
    runner: Runner,
}

impl Outgoing {
    fn takes(&self, audience: &Arc<[UserId]>) -> bool {
        !self.runner.is_full() && same(&self.audience, audience)
    }

    fn add(&mut self, line: &Line, audience: Arc<[UserId]>) {
        self.audience = audience;
        self.runner.push(line);
    }

    fn hand_out(&mut self, writer: &mut Writer) {
        let runner = std::mem::take(&mut self.runner);
        if !runner.is_empty() {
            let gathering = &mut writer.gathering;
            let wide = gathering.is_wide(runner.conversations(), self.audience.len());
            let run = runner.done(Some(gathering.begun()), wide);
            let (devices, lent) = writer.routes.offer(&self.audience[..], &run);
            writer.short_way.write(lent);
            gathering.handed_out(&run, devices);
        }
    }
}

/// Whether two audiences are the same people. Of larger ones only the shared list counts: a change makes a new one.
fn same(one: &Arc<[UserId]>, other: &Arc<[UserId]>) -> bool {
    Arc::ptr_eq(one, other)
        || matches!((&one[..], &other[..]), ([a, b], [c, d]) if (a == c && b == d) || (a == d && b == c))
}

/// The answer to a repeat: as the first time, unless it says something else.
fn repeated(known: &Line, digest: u64) -> Result<Posted> {
    if known.digest != 0 && digest != 0 && known.digest != digest {
        let text = format!("the client_id stands for another message already: {}", known.id);
        return Err(Error::new(ErrorKind::Conflict, text));
    }
    Ok(posted(known, true, 0))
}

fn stored(line: NewLine, position: Position, sequence: Option<switchboard_contract::Sequence>) -> Line {
    let NewLine { conversation, kind, id, by, client_id, digest, at, mark, payload, .. } = line;
    Line { position, sequence, conversation, kind, id, by, client_id, digest, at, mark, recalled: false, payload }
}

fn posted(line: &Line, repeated: bool, version: u32) -> Posted {
    Posted {
        id: line.id,
        conversation: line.conversation.clone(),
        position: line.position,
        sequence: line.sequence,
        at: line.at,
        repeated,
        version,
    }
}

/// Decodes what is stored of a line.
///
/// # Errors
/// `Decode` for bytes that no version of the service has written.
pub(super) fn entry(line: &Line) -> Result<proto::Entry> {
    proto::Entry::decode(line.payload.clone())
        .map_err(|error| Error::new(ErrorKind::Decode, "a stored line cannot be read").with_source(error))
}
