//! A session of a business: calls and their answers, signs of life, and nothing that is delivered unasked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{AbortHandle, BoxFuture, FutureExt as _, abortable};
use futures::stream::{FuturesUnordered, StreamExt as _};
use switchboard_contract::{Error, ErrorKind, Result, Timestamp};
use tokio_util::sync::CancellationToken;

use super::cadence::Cadence;
use super::connection::{failed, unreadable};
use super::listener::Shared;
use crate::frame::{Body, Command, Kind, Packet, decode_body, encode_body};
use crate::outbox::Outbox;
use crate::proto;
use crate::transport::{Lost, Transport};

/// Answers what a business asks.
#[async_trait]
pub(crate) trait Business: fmt::Debug + Send + Sync {
    /// Carries it out. `reader` names the business, as its login did.
    ///
    /// # Errors
    /// What is refused.
    async fn call(&self, reader: &str, call: proto::BusinessCall) -> Result<proto::BusinessAnswer>;
}

pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) business: Arc<dyn Business>,
    pub(super) reader: String,
    pub(super) network: proto::Network,
    pub(super) token_ends: Option<Timestamp>,
}

/// Why it ends.
enum End {
    Gone,
    Kicked(proto::kicked::Reason),
    LoggedOut,
}

type Done = (u64, Option<Packet>);

impl Session {
    /// Answers the login, and whatever follows until the end.
    pub(super) async fn run(self: Box<Self>, mut transport: Transport, correlation: u64, stop: CancellationToken) {
        let clock = self.shared.service.clock().clone();
        let mut cadence = Cadence::new(&self.shared.config.heartbeat);
        let now = clock.now();
        let answer = proto::LoggedIn {
            session: format!("business/{}", self.reader),
            heartbeat_ms: millis(cadence.interval()),
            cursor: 0,
            server_time: now.0,
            token_expires_at: self.token_ends.map_or(0, |end| end.0),
            tail: *self.shared.service.tail().borrow(),
        };
        let mut out =
            Outbox::of(Packet::new(Kind::Ack, Command::Login, correlation, encode_body(&Body::LoggedIn(answer))));
        let end = self.serve(&mut transport, &mut out, &mut cadence, &stop).await;
        if let End::Kicked(reason) = end {
            let kicked = Body::Kicked(proto::Kicked { reason: reason.into(), by_device: String::new() });
            out.push(Packet::new(Kind::Notify, Command::Kick, 0, encode_body(&kicked)));
        }
        let _ = transport.write(&mut out, Duration::from_secs(1), &*clock).await;
        transport.close(Duration::from_secs(1), &*clock).await;
    }

    async fn serve(
        &self,
        transport: &mut Transport,
        out: &mut Outbox,
        cadence: &mut Cadence,
        stop: &CancellationToken,
    ) -> End {
        let clock = self.shared.service.clock().clone();
        let mut open: BTreeMap<u64, AbortHandle> = BTreeMap::new();
        let mut begun: FuturesUnordered<BoxFuture<'static, Done>> = FuturesUnordered::new();
        let mut heard = clock.now();
        loop {
            match transport.write(out, self.shared.config.write_within, &*clock).await {
                Ok(()) => {}
                Err(Lost::Slow) => return End::Kicked(proto::kicked::Reason::Slow),
                Err(_) => return End::Gone,
            }
            let now = clock.now();
            let silent_at = heard + cadence.interval() * 2;
            if silent_at <= now {
                return End::Gone;
            }
            if self.token_ends.is_some_and(|end| end <= now) {
                return End::Kicked(proto::kicked::Reason::TokenEnded);
            }
            let due = self.token_ends.map_or(silent_at, |end| end.min(silent_at));
            let room = begun.len() < self.shared.config.max_requests;
            tokio::select! {
                biased;
                () = stop.cancelled() => return End::Kicked(proto::kicked::Reason::Shutdown),
                Some(done) = begun.next() => {
                    let mut next = Some(done);
                    while let Some((correlation, packet)) = next {
                        open.remove(&correlation);
                        packet.into_iter().for_each(|packet| out.push(packet));
                        next = begun.next().now_or_never().flatten();
                    }
                }
                packet = transport.read(), if room => {
                    let Ok(packet) = packet else { return End::Gone };
                    heard = now;
                    match (packet.kind, packet.command) {
                        (Kind::Cancel, _) => {
                            if let Some(handle) = open.remove(&packet.correlation) {
                                handle.abort();
                            }
                        }
                        (Kind::Request, Command::Logout) => {
                            let body = encode_body(&Body::Empty);
                            out.push(Packet::new(Kind::Ack, Command::Logout, packet.correlation, body));
                            return End::LoggedOut;
                        }
                        _ => {
                            if let Some((handle, work)) = self.begin(&packet, cadence, out, now) {
                                open.insert(packet.correlation, handle);
                                begun.push(work);
                            }
                        }
                    }
                }
                () = clock.sleep(due.since(now)) => {}
            }
        }
    }

    /// Begins a call; everything else is answered at once.
    fn begin(
        &self,
        packet: &Packet,
        cadence: &mut Cadence,
        out: &mut Outbox,
        now: Timestamp,
    ) -> Option<(AbortHandle, BoxFuture<'static, Done>)> {
        let (command, correlation) = (packet.command, packet.correlation);
        match decode_body(packet) {
            Ok(Body::BusinessCall(call)) => {
                let (business, reader) = (self.business.clone(), self.reader.clone());
                let (work, handle) = abortable(async move { business.call(&reader, call).await });
                let work = async move {
                    let packet = match work.await {
                        Ok(Ok(answer)) => {
                            let body = encode_body(&Body::BusinessAnswer(answer));
                            Some(Packet::new(Kind::Ack, command, correlation, body))
                        }
                        Ok(Err(error)) => Some(failed(command, correlation, &error)),
                        Err(_) => None,
                    };
                    (correlation, packet)
                };
                return Some((handle, Box::pin(work)));
            }
            Ok(Body::Heartbeat(beat)) => {
                let network = match beat.network() {
                    proto::Network::Unspecified => self.network,
                    told => told,
                };
                cadence.beat(&self.shared.config.heartbeat, network);
                let seen = proto::HeartbeatSeen { heartbeat_ms: millis(cadence.interval()), server_time: now.0 };
                out.push(Packet::new(Kind::Ack, command, correlation, encode_body(&Body::HeartbeatSeen(seen))));
            }
            Ok(_) => {
                let error = Error::new(ErrorKind::InvalidInput, "a business asks with `business` alone");
                out.push(failed(command, correlation, &error));
            }
            Err(fault) => out.push(failed(command, correlation, &unreadable(&fault))),
        }
        None
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
