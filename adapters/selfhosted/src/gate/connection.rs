//! A connection from its first packet to its end: the login, then the session.

use std::collections::VecDeque;
use std::sync::Arc;

use switchboard_contract::storage::DeviceCursor;
use switchboard_contract::{Error, ErrorKind, Position, Result, Retry, Timestamp, UserId};
use tokio_util::sync::CancellationToken;

use super::listener::{Shared, Stranger};
use super::session::Session;
use crate::frame::{Body, Command, FrameError, Kind, Packet, decode_body, encode_body, flags};
use crate::proto;
use crate::service::Act;
use crate::transport::{Lost, Transport};

/// Device names longer than this are refused.
const MAX_DEVICE: usize = 128;

pub(super) async fn run(shared: Arc<Shared>, mut transport: Transport, stranger: Stranger, stop: CancellationToken) {
    let clock = shared.service.clock().clone();
    let deadline = clock.sleep(shared.config.login_within);
    let first = tokio::select! {
        first = transport.read() => first,
        () = deadline => return refuse(&shared, transport, "login_deadline", "no login came in time").await,
        () = stranger.evicted.cancelled() => return,
        () = stop.cancelled() => return,
    };
    let packet = match first {
        Ok(packet) => packet,
        Err(Lost::Fault(fault)) => return refuse(&shared, transport, fault.code(), &fault.to_string()).await,
        Err(_) => return,
    };
    let login = match (packet.kind, packet.command, decode_body(&packet)) {
        (Kind::Request, Command::Login, Ok(Body::Login(login))) => login,
        (_, _, Err(fault)) => return refuse(&shared, transport, fault.code(), &fault.to_string()).await,
        _ => return refuse(&shared, transport, "login_first", "the first packet must be a login").await,
    };
    let session = tokio::select! {
        session = log_in(&shared, login) => session,
        () = stranger.evicted.cancelled() => return,
    };
    drop(stranger);
    match session {
        Ok((session, answer)) => {
            let ack = Packet::new(Kind::Ack, Command::Login, packet.correlation, encode_body(&Body::LoggedIn(answer)));
            metrics::counter!("switchboard_gate_logins_total", "outcome" => "ok").increment(1);
            session.run(transport, ack).await;
        }
        Err(error) => {
            metrics::counter!("switchboard_gate_logins_total", "outcome" => error.kind().as_str()).increment(1);
            let mut out = VecDeque::from([failed(Command::Login, packet.correlation, &error)]);
            let _ = transport.write(&mut out, shared.config.write_within, &*clock).await;
            transport.close(shared.config.write_within, &*clock).await;
        }
    }
}

/// Tells why, and closes.
pub(super) async fn refuse(shared: &Shared, mut transport: Transport, code: &str, message: &str) {
    metrics::counter!("switchboard_gate_closed_total", "reason" => code.to_owned()).increment(1);
    let fault = proto::Fault { code: code.to_owned(), message: message.to_owned(), retry: false, retry_after_ms: 0 };
    let clock = shared.service.clock().clone();
    let mut out = VecDeque::from([Packet::new(Kind::Notify, Command::Close, 0, encode_body(&Body::Fault(fault)))]);
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

async fn log_in(shared: &Arc<Shared>, login: proto::Login) -> Result<(Session, proto::LoggedIn)> {
    let service = &shared.service;
    let (class, network) = (login.device_class(), login.network());
    if login.device.is_empty() || login.device.len() > MAX_DEVICE {
        return Err(Error::invalid("device", format!("must have 1 to {MAX_DEVICE} bytes")));
    }
    let user = UserId::from(login.user.as_str());
    let verified = service.verify(&user, &login.token).await?;
    let now = service.clock().now();
    let known = service.log().device(&user, &login.device).await?;
    let low = known.map_or(Position::START, |known| known.low);
    // A device is known from its first login on: it counts as one that has taken nothing yet.
    let cursor = DeviceCursor { user: user.clone(), device: login.device.clone(), low, seen_at: now };
    let saved = service.saver().save(cursor).await?;
    if !saved.await.unwrap_or(false) {
        return Err(
            Error::new(ErrorKind::Storage, "the device could not be stored").with_retry(Retry::Safe { after: None })
        );
    }
    let (route, replaced) = service.routes().add(&user, &login.device, class, now);
    // The route is known to the writer before the tail is read, so nothing falls between log and queue.
    let tail = *service.tail().borrow();
    route.begin(tail);
    for other in replaced {
        metrics::counter!("switchboard_gate_kicks_total", "reason" => "other_device").increment(1);
        tracing::debug!(session = other.session, "a device of the same class took the place");
    }
    let presence = proto::Presence {
        online: true,
        device: login.device.clone(),
        device_class: class.into(),
        reason: "login".to_owned(),
    };
    drop(service.submit(Act::Presence { user: user.clone(), presence }).await?);
    let cadence = shared.cadences.of(&user, &login.device, network, &shared.config.heartbeat);
    let answer = proto::LoggedIn {
        session: route.session.to_string(),
        heartbeat_ms: u32::try_from(cadence.interval().as_millis()).unwrap_or(u32::MAX),
        cursor: low.0,
        server_time: now.0,
        token_expires_at: verified.expires_at.map_or(0, |until| until.0),
    };
    let concurrent = login.reception() == proto::Reception::Concurrent;
    let session = Session::new(shared.clone(), route, network, cadence, low, tail, concurrent, expiry(verified));
    Ok((session, answer))
}

fn expiry(verified: crate::service::Verified) -> Option<Timestamp> {
    verified.expires_at
}
