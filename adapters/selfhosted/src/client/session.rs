//! A client that stays: it connects again by itself, asks for what it missed, shows nothing twice, and repeats what it
//! wanted to send until it is answered.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::Rng as _;
use switchboard_contract::{Error, ErrorKind, MessageId, Result, Retry};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::connection::{Connection, Endpoint, Told};
use crate::frame::{Body, Command};
use crate::proto;

/// Entries are acknowledged together: so many at most, after this long at the latest.
const ACK_ENTRIES: u32 = 64;
const ACK_AFTER: Duration = Duration::from_millis(50);

/// Gives tokens: asked before every login, so that a new one can take the place of one that ended.
#[async_trait]
pub trait TokenSource: fmt::Debug + Send + Sync {
    /// A token for the user.
    ///
    /// # Errors
    /// Anything; the login is tried again later.
    async fn token(&self) -> Result<String>;
}

/// Who connects, and how.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Where the gate is.
    pub endpoint: Endpoint,
    /// Who.
    pub user: String,
    /// On which device; the same name for ever.
    pub device: String,
    /// Of which class.
    pub class: proto::DeviceClass,
    /// On which network.
    pub network: proto::Network,
    /// The first wait before connecting again; each further one doubles it, all with jitter.
    pub retry_first: Duration,
    /// The longest of these waits.
    pub retry_longest: Duration,
    /// A message without an answer for this long is sent again, on a new connection.
    pub answer_within: Duration,
}

impl ClientConfig {
    /// With everything else as it mostly is.
    pub fn new(endpoint: Endpoint, user: impl Into<String>, device: impl Into<String>) -> Self {
        Self {
            endpoint,
            user: user.into(),
            device: device.into(),
            class: proto::DeviceClass::Phone,
            network: proto::Network::Wifi,
            retry_first: Duration::from_millis(200),
            retry_longest: Duration::from_secs(30),
            answer_within: Duration::from_secs(5),
        }
    }
}

/// Where a client stands, for its user to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientState {
    /// It has no connection and tries to get one.
    Connecting,
    /// It fetches what it missed.
    Syncing {
        /// How much of it is there, in percent.
        percent: u8,
    },
    /// What happens comes as it happens.
    Online,
    /// The connection is there, and the service does not answer as it should.
    Degraded,
    /// The service ended the session for good: another device, a ban, a token that is not good.
    Ended,
}

/// A message on its way.
#[derive(Debug)]
struct Outgoing {
    send: proto::Send,
    reply: oneshot::Sender<Result<proto::Sent>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    added: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Outgoing>,
    ended: bool,
}

impl Queue {
    fn first(&self) -> Option<proto::Send> {
        self.waiting.lock().messages.front().map(|first| first.send.clone())
    }

    fn is_empty(&self) -> bool {
        self.waiting.lock().messages.is_empty()
    }

    /// Nothing is sent any more; whoever waits for an answer gets none.
    fn end(&self) {
        let mut waiting = self.waiting.lock();
        waiting.ended = true;
        waiting.messages.clear();
    }
}

/// Sends messages for a [`Client`], beside whoever takes its entries. Clones share the client's line.
#[derive(Clone, Debug)]
pub struct Sender(Arc<Queue>);

impl Sender {
    /// Sends a message, however often the connection breaks meanwhile. It arrives once. Somebody must take the
    /// client's entries meanwhile: the sender's own messages are among them.
    ///
    /// # Errors
    /// What the service refuses; `Closed` when the session has ended for good.
    pub async fn send(&self, to: proto::Target, content: proto::Content) -> Result<proto::Sent> {
        let closed = || Error::new(ErrorKind::Closed, "the session has ended");
        let send = proto::Send { to: Some(to), content: Some(content), client_id: MessageId::generate().to_string() };
        let (reply, answer) = oneshot::channel();
        {
            let mut waiting = self.0.waiting.lock();
            if waiting.ended {
                return Err(closed());
            }
            waiting.messages.push_back(Outgoing { send, reply });
        }
        self.0.added.notify_one();
        answer.await.unwrap_or_else(|_| Err(closed()))
    }
}

/// A client that stays. Dropping it ends it.
pub struct Client {
    queue: Arc<Queue>,
    entries: mpsc::Receiver<proto::Entry>,
    state: watch::Receiver<ClientState>,
    _stop: DropGuard,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("state", &*self.state.borrow()).finish_non_exhaustive()
    }
}

impl Client {
    /// Begins. `shown` is the position of the last entry that was shown before, 0 for none.
    pub fn start(config: ClientConfig, tokens: Arc<dyn TokenSource>, shown: u64) -> Self {
        let (show, entries) = mpsc::channel(64);
        let (tell, state) = watch::channel(ClientState::Connecting);
        let (queue, stop) = (Arc::<Queue>::default(), CancellationToken::new());
        let worker = Worker { config, tokens, queue: queue.clone(), show, tell, shown };
        let (ended, left) = (stop.clone(), queue.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = worker.run() => {}
            }
            left.end();
        });
        Self { queue, entries, state, _stop: stop.drop_guard() }
    }

    /// The next entry, each once and in order; `None` when the session has ended for good.
    pub async fn next(&mut self) -> Option<proto::Entry> {
        self.entries.recv().await
    }

    /// As [`Sender::send`].
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub async fn send(&self, to: proto::Target, content: proto::Content) -> Result<proto::Sent> {
        self.sender().send(to, content).await
    }

    /// Sends beside whoever takes the entries.
    pub fn sender(&self) -> Sender {
        Sender(self.queue.clone())
    }

    /// Where it stands, and news of it.
    pub fn state(&self) -> watch::Receiver<ClientState> {
        self.state.clone()
    }
}

struct Worker {
    config: ClientConfig,
    tokens: Arc<dyn TokenSource>,
    queue: Arc<Queue>,
    show: mpsc::Sender<proto::Entry>,
    tell: watch::Sender<ClientState>,
    shown: u64,
}

/// Why a connection is over.
enum Over {
    /// It may be tried again.
    Lost,
    /// There is no use in that.
    Ended,
}

fn judge(error: &Error) -> Over {
    match error.kind() {
        ErrorKind::Unauthorized | ErrorKind::Forbidden => Over::Ended,
        _ => Over::Lost,
    }
}

impl Worker {
    async fn run(mut self) {
        let mut failures = 0_u32;
        loop {
            self.tell.send_replace(ClientState::Connecting);
            match self.session(&mut failures).await {
                Over::Lost => {}
                Over::Ended => break,
            }
            let most = self.config.retry_first.saturating_mul(1 << failures.min(16)).min(self.config.retry_longest);
            failures += 1;
            // Never at once, and not all clients of a gate that restarts at the same time.
            let wait = most.mul_f64(rand::rng().random_range(0.5..=1.0));
            tokio::time::sleep(wait).await;
        }
        self.tell.send_replace(ClientState::Ended);
        self.queue.end();
    }

    async fn session(&mut self, failures: &mut u32) -> Over {
        let Ok(token) = self.tokens.token().await else { return Over::Lost };
        let Ok(mut connection) = Connection::open(&self.config.endpoint).await else { return Over::Lost };
        let login = proto::Login {
            user: self.config.user.clone(),
            token,
            device: self.config.device.clone(),
            device_class: self.config.class.into(),
            network: self.config.network.into(),
            reception: proto::Reception::AckOnline.into(),
        };
        let answer = match self.within(connection.login(login)).await {
            Ok(answer) => answer,
            Err(error) => return judge(&error),
        };
        let heartbeat = Duration::from_millis(answer.heartbeat_ms.into());
        self.tell.send_replace(ClientState::Syncing { percent: 0 });
        let mut after = 0;
        loop {
            let page = match self.within(connection.pull(after, 0)).await {
                Ok(page) => page,
                Err(error) => return judge(&error),
            };
            if page.entries.is_empty() {
                break;
            }
            after = page.cursor;
            for entry in page.entries {
                if self.shows(entry).await.is_err() {
                    return Over::Ended;
                }
            }
            let percent = percent(answer.cursor, after, answer.tail);
            self.tell.send_replace(ClientState::Syncing { percent });
        }
        *failures = 0;
        self.tell.send_replace(ClientState::Online);
        self.online(&mut connection, heartbeat).await
    }

    /// Waits for an answer while online; who looks is told when it is late.
    async fn answered<T>(&self, asked: impl Future<Output = Result<T>>) -> Result<T> {
        let mut asked = std::pin::pin!(self.within(asked));
        let late = self.config.answer_within / 4;
        match tokio::time::timeout(late, &mut asked).await {
            Ok(answer) => answer,
            Err(_) => {
                self.tell.send_replace(ClientState::Degraded);
                let answer = asked.await;
                self.tell.send_replace(ClientState::Online);
                answer
            }
        }
    }

    async fn within<T>(&self, asked: impl Future<Output = Result<T>>) -> Result<T> {
        let late = || Error::new(ErrorKind::Timeout, "no answer in time").with_retry(Retry::OutcomeUnknown);
        tokio::time::timeout(self.config.answer_within, asked).await.unwrap_or_else(|_| Err(late()))
    }

    /// What was shown before is not shown again. An error means that nobody looks any more.
    async fn shows(&mut self, entry: proto::Entry) -> Result<(), ()> {
        if entry.position <= self.shown {
            return Ok(());
        }
        let position = entry.position;
        self.show.send(entry).await.map_err(|_| ())?;
        self.shown = position;
        Ok(())
    }

    async fn online(&mut self, connection: &mut Connection, heartbeat: Duration) -> Over {
        let mut beat = tokio::time::interval(heartbeat);
        beat.tick().await;
        let mut acks = Acks::default();
        loop {
            let queue = self.queue.clone();
            let waiting = !queue.is_empty();
            tokio::select! {
                biased;
                () = acks.due() => {
                    if acks.send(connection).await.is_err() {
                        return Over::Lost;
                    }
                }
                told = connection.next() => match told {
                    Some(Told::Entry(entry)) => {
                        acks.shown(entry.position);
                        if self.shows(entry).await.is_err() {
                            return Over::Ended;
                        }
                    }
                    Some(Told::Kicked(kicked)) => return after_kick(&kicked),
                    Some(Told::Closed(_)) | None => return Over::Lost,
                    Some(Told::Marks(_) | Told::Push(_)) => {}
                },
                () = queue.added.notified(), if !waiting => {}
                () = std::future::ready(()), if waiting => {
                    if let Some(over) = self.send_first(connection).await {
                        return over;
                    }
                }
                _ = beat.tick() => {
                    let body = Body::Heartbeat(proto::Heartbeat { network: self.config.network.into() });
                    match self.answered(connection.request(Command::Heartbeat, &body)).await {
                        Ok(Body::HeartbeatSeen(seen)) => {
                            let every = Duration::from_millis(seen.heartbeat_ms.max(1).into());
                            beat = tokio::time::interval(every);
                            beat.tick().await;
                        }
                        _ => return Over::Lost,
                    }
                }
            }
        }
    }

    /// Sends the first message that waits. It stays first until it is answered.
    async fn send_first(&self, connection: &Connection) -> Option<Over> {
        let send = self.queue.first()?;
        let outcome = self.answered(connection.send(send)).await;
        match outcome {
            Err(error) if error.retry() != Retry::Never && error.kind() != ErrorKind::RateLimited => Some(Over::Lost),
            Err(error) if error.kind() == ErrorKind::RateLimited => {
                let after = match error.retry() {
                    Retry::Safe { after: Some(after) } => after,
                    _ => Duration::from_millis(200),
                };
                tokio::time::sleep(after).await;
                None
            }
            answered => {
                if let Some(first) = self.queue.waiting.lock().messages.pop_front() {
                    // A caller that no longer waits needs no answer.
                    let _ = first.reply.send(answered);
                }
                None
            }
        }
    }
}

/// How much of the way is gone; all of it only when it is.
fn percent(from: u64, at: u64, to: u64) -> u8 {
    let (gone, all) = (at.saturating_sub(from), to.saturating_sub(from));
    let percent = gone.saturating_mul(100).checked_div(all).unwrap_or(99);
    u8::try_from(percent).unwrap_or(99).min(99)
}

/// What was shown and is not acknowledged yet.
#[derive(Debug, Default)]
struct Acks {
    last: u64,
    count: u32,
    at: Option<tokio::time::Instant>,
}

impl Acks {
    fn shown(&mut self, position: u64) {
        self.last = self.last.max(position);
        self.count += 1;
        self.at.get_or_insert_with(|| tokio::time::Instant::now() + ACK_AFTER);
    }

    async fn due(&self) {
        match self.at {
            Some(_) if self.count >= ACK_ENTRIES => {}
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    async fn send(&mut self, connection: &Connection) -> Result<()> {
        (self.count, self.at) = (0, None);
        connection.acknowledge(self.last).await
    }
}

fn after_kick(kicked: &proto::Kicked) -> Over {
    use proto::kicked::Reason;
    match kicked.reason() {
        Reason::OtherDevice | Reason::Banned | Reason::Forced => Over::Ended,
        Reason::TokenEnded | Reason::Shutdown | Reason::Slow | Reason::Unspecified => Over::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_a_client_is_grows_and_ends_with_the_end() {
        let seen: Vec<u8> = [100, 150, 199, 200, 999].map(|at| percent(100, at, 200)).into();
        assert_eq!(seen, [0, 50, 99, 99, 99]);
        assert_eq!(percent(5, 5, 5), 99);
    }
}
