//! A connection from its first packet to its end: the login, then the session.

use std::sync::Arc;

use switchboard_contract::storage::DeviceCursor;
use switchboard_contract::{Error, ErrorKind, Position, Result, Retry, UserId};
use tokio_util::sync::CancellationToken;

use super::business;
use super::listener::{Open, Shared, Stranger};
use super::session::{Opening, Session};
use crate::frame::{Body, Command, FrameError, Kind, Packet, decode_body, encode_body, flags};
use crate::outbox::Outbox;
use crate::proto;
use crate::service::Act;
use crate::transport::{Lost, Transport};

/// Device names longer than this are refused.
const MAX_DEVICE: usize = 128;

/// Who was let in, and what its first answer is.
pub(super) enum Admitted {
    Device(Box<Session>, Transport, Packet),
    Business(Box<business::Session>, Transport, u64),
}

impl Admitted {
    /// The session, to its end, in a task of its own: what it took to log in needs neither memory nor a look any more.
    pub(super) fn start(self, shared: &Shared, open: Open, stop: CancellationToken) {
        match self {
            Self::Device(session, transport, ack) => shared.tasks.spawn(async move {
                session.run(transport, ack).await;
                drop(open);
            }),
            Self::Business(session, transport, correlation) => shared.tasks.spawn(async move {
                session.run(transport, correlation, stop).await;
                drop(open);
            }),
        };
    }
}

/// The first packet, which must be a login. `None` for whoever is not let in; they have been told why.
pub(super) async fn admit(
    shared: &Arc<Shared>,
    mut transport: Transport,
    stranger: Stranger,
    stop: &CancellationToken,
) -> Option<Admitted> {
    let clock = shared.service.clock().clone();
    let deadline = clock.sleep(shared.config.login_within);
    let first = tokio::select! {
        first = transport.read() => first,
        () = deadline => {
            refuse(shared, transport, "login_deadline", "no login came in time").await;
            return None;
        }
        () = stranger.evicted.cancelled() => return None,
        () = stop.cancelled() => return None,
    };
    let packet = match first {
        Ok(packet) => packet,
        Err(Lost::Fault(fault)) => {
            refuse(shared, transport, fault.code(), &fault.to_string()).await;
            return None;
        }
        Err(_) => return None,
    };
    let login = match (packet.kind, packet.command, decode_body(&packet)) {
        (Kind::Request, Command::Login, Ok(Body::Login(login))) => login,
        (_, _, Err(fault)) => {
            refuse(shared, transport, fault.code(), &fault.to_string()).await;
            return None;
        }
        _ => {
            refuse(shared, transport, "login_first", "the first packet must be a login").await;
            return None;
        }
    };
    let refused = if login.user.is_empty() {
        match admit_business(shared, login).await {
            Ok(session) => return Some(Admitted::Business(Box::new(session), transport, packet.correlation)),
            Err(error) => error,
        }
    } else {
        let outcome = tokio::select! {
            outcome = log_in(shared, login) => outcome,
            () = stranger.evicted.cancelled() => return None,
        };
        match outcome {
            Ok((session, answer)) => {
                let body = encode_body(&Body::LoggedIn(answer));
                let ack = Packet::new(Kind::Ack, Command::Login, packet.correlation, body);
                metrics::counter!("switchboard_gate_logins_total", "outcome" => "ok").increment(1);
                return Some(Admitted::Device(session, transport, ack));
            }
            Err(error) => error,
        }
    };
    turn_away(shared, transport, packet.correlation, &refused).await;
    None
}

/// A login that is refused.
async fn turn_away(shared: &Shared, mut transport: Transport, correlation: u64, error: &Error) {
    metrics::counter!("switchboard_gate_logins_total", "outcome" => error.kind().as_str()).increment(1);
    let clock = shared.service.clock().clone();
    let mut out = Outbox::of(failed(Command::Login, correlation, error));
    let _ = transport.write(&mut out, shared.config.write_within, &*clock).await;
    transport.close(shared.config.write_within, &*clock).await;
}

/// A login without a user is a business's.
async fn admit_business(shared: &Arc<Shared>, login: proto::Login) -> Result<business::Session> {
    let refused = || Error::new(ErrorKind::Unauthorized, "no business may log in here");
    let business = shared.business.clone().ok_or_else(refused)?;
    if login.device.is_empty() || login.device.len() > MAX_DEVICE {
        return Err(Error::invalid("device", format!("must have 1 to {MAX_DEVICE} bytes")));
    }
    let verified = shared.service.verify_business(&login.token).await?;
    metrics::counter!("switchboard_gate_logins_total", "outcome" => "business").increment(1);
    let network = login.network();
    Ok(business::Session {
        shared: shared.clone(),
        business,
        reader: login.device,
        network,
        token_ends: verified.expires_at,
    })
}

/// Tells why, and closes.
pub(super) async fn refuse(shared: &Shared, mut transport: Transport, code: &str, message: &str) {
    metrics::counter!("switchboard_gate_closed_total", "reason" => code.to_owned()).increment(1);
    let fault = proto::Fault { code: code.to_owned(), message: message.to_owned(), retry: false, retry_after_ms: 0 };
    let clock = shared.service.clock().clone();
    let mut out = Outbox::of(Packet::new(Kind::Notify, Command::Close, 0, encode_body(&Body::Fault(fault))));
    let _ = transport.write(&mut out, shared.config.write_within, &*clock).await;
    transport.close(shared.config.write_within, &*clock).await;
}

/// An ack that tells of a failure.
pub(super) fn failed(command: Command, correlation: u64, error: &Error) -> Packet {
    let (retry, after) = match error.retry() {
        Retry::Safe { after } => (true, after),
        Retry::OutcomeUnknown => (true, None),
        _ => (matches!(error.kind(), ErrorKind::Closed | ErrorKind::Storage | ErrorKind::StorageFull), None),
    };
    let fault = proto::Fault {
        code: error.kind().as_str().to_owned(),
        message: error.message().to_owned(),
        retry,
        retry_after_ms: after.map_or(0, |after| u32::try_from(after.as_millis()).unwrap_or(u32::MAX)),
    };
    let body = encode_body(&Body::Fault(fault));
    Packet { flags: flags::ERROR, ..Packet::new(Kind::Ack, command, correlation, body) }
}

/// What a frame that cannot be read means to a request.
pub(super) fn unreadable(fault: &FrameError) -> Error {
    Error::new(ErrorKind::InvalidInput, fault.to_string())
}

async fn log_in(shared: &Arc<Shared>, login: proto::Login) -> Result<(Box<Session>, proto::LoggedIn)> {
    let service = &shared.service;
    let (class, network) = (login.device_class(), login.network());
    if login.device.is_empty() || login.device.len() > MAX_DEVICE {
        return Err(Error::invalid("device", format!("must have 1 to {MAX_DEVICE} bytes")));
    }
    let user = UserId::from(login.user.as_str());
    let verified = service.verify(&user, &login.token).await?;
    let now = service.clock().now();
    let (route, replaced) = service.routes().add(&user, &login.device, class, now);
    let guard = Unplaced { shared, route: Some(route.clone()) };
    for other in &replaced {
        metrics::counter!("switchboard_gate_kicks_total", "reason" => "other_device").increment(1);
        tracing::debug!(session = other.session, "a device of the same class took the place");
    }
    let known = service.log().device(&user, &login.device).await?;
    // What the same device acknowledged on a connection that is just ending may not be stored yet.
    let before = replaced.iter().filter(|other| other.device == login.device);
    let acked = before.map(|other| other.acked.load(std::sync::atomic::Ordering::Relaxed)).max().unwrap_or(0);
    let low = known.map_or(Position::START, |known| known.low).max(Position(acked));
    route.acked.store(low.0, std::sync::atomic::Ordering::Relaxed);
    // A device is known from its first login on: it counts as one that has taken nothing yet.
    let cursor = DeviceCursor { user: user.clone(), device: login.device.clone(), low, seen_at: now };
    let saved = service.saver().save(cursor).await?;
    if !saved.await.unwrap_or(false) {
        return Err(
            Error::new(ErrorKind::Storage, "the device could not be stored").with_retry(Retry::Safe { after: None })
        );
    }
    // The route is known to the writer before the tail is read, so nothing falls between log and queue.
    let tail = *service.tail().borrow();
    route.begin(tail);
    let presence = proto::Presence {
        online: true,
        device: login.device.clone(),
        device_class: class.into(),
        reason: "login".to_owned(),
    };
    drop(service.submit(Act::Presence { user: user.clone(), presence }).await?);
    guard.placed();
    let cadence = shared.cadences.of(&user, &login.device, network, &shared.config.heartbeat);
    let answer = proto::LoggedIn {
        session: route.session.to_string(),
        heartbeat_ms: u32::try_from(cadence.interval().as_millis()).unwrap_or(u32::MAX),
        cursor: low.0,
        server_time: now.0,
        token_expires_at: verified.expires_at.map_or(0, |until| until.0),
        tail,
    };
    let concurrent = login.reception() == proto::Reception::Concurrent;
    let opening = Opening { network, cadence, token_ends: verified.expires_at, low, tail, concurrent };
    Ok((Box::new(Session::new(shared.clone(), route, opening)), answer))
}

/// A route whose login is not done; gone if that does not come to a good end.
struct Unplaced<'a> {
    shared: &'a Arc<Shared>,
    route: Option<Arc<crate::service::Route>>,
}

impl Unplaced<'_> {
    fn placed(mut self) {
        self.route = None;
    }
}

impl Drop for Unplaced<'_> {
    fn drop(&mut self) {
        if let Some(route) = self.route.take() {
            self.shared.service.routes().remove(&route);
        }
    }
}
