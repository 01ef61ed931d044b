//! The consumer at the other end of a WebSocket: what it is sent, and what it says.

use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;
use switchboard_contract::{Error, Result, SubscriberName, TenantId};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::sync::CancellationToken;

use super::socket::{Heard, Socket};
use super::{BATCH, PING_EVERY, STOPPING};
use crate::hub::{AckRequest, Batch, DeliveryId, Hub, Subscription};
use crate::sidecar::problem::Problem;
use crate::sidecar::subscribers::NackBody;

/// How long a peer may take to hear the last words.
const FAREWELL: Duration = Duration::from_secs(1);
/// Bytes of one write, about.
const WRITE: usize = 256 << 10;

/// What a consumer says on its WebSocket.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Said {
    Ack(Vec<DeliveryId>),
    AckThrough(DeliveryId),
    AckCursor(String),
    Nack(NackBody),
}

/// The consumer at the other end of a WebSocket.
pub(super) struct Peer {
    pub(super) hub: Hub,
    pub(super) tenant: TenantId,
    pub(super) name: SubscriberName,
    pub(super) flush_every: Duration,
}

impl Peer {
    pub(super) async fn run(self, mut socket: Socket, mut subscription: Subscription, stop: CancellationToken) {
        let farewell = self.serve(&mut socket, &mut subscription, stop).await;
        socket.close(farewell, FAREWELL).await;
        subscription.close();
    }

    /// Serves until the peer is gone, silent, or told to go: the frame to tell it with.
    async fn serve(
        &self,
        socket: &mut Socket,
        subscription: &mut Subscription,
        stop: CancellationToken,
    ) -> Option<CloseFrame> {
        let mut states = std::pin::pin!(subscription.states());
        let mut ping = tokio::time::interval(PING_EVERY);
        let mut rest = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
        let (mut resting, mut heard_at) = (false, Instant::now());
        // What it said is answered in order, and nothing more is read meanwhile.
        let mut answer: Option<BoxFuture<'_, String>> = None;
        socket.put_text(&json!({ "recovery": subscription.recovery() }).to_string());
        loop {
            while socket.waiting() < WRITE {
                let waits = socket.waiting() > 0;
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {
                        let reason = Utf8Bytes::from_static(STOPPING);
                        return Some(CloseFrame { code: CloseCode::Away, reason });
                    }
                    text = answered(&mut answer) => socket.put_text(&text),
                    heard = socket.next(), if answer.is_none() => {
                        heard_at = Instant::now();
                        if let Heard::Text(text) = heard? {
                            // Most of its time a stream is idle: what it needs to acknowledge need not be kept for it.
                            answer = Some(Box::pin(self.answer(text)));
                        }
                    }
                    Some(state) = states.next() => socket.put_text(&json!({ "state": state }).to_string()),
                    () = rest.as_mut(), if resting => resting = false,
                    batch = subscription.next_page(), if !resting => {
                        let batch = batch?;
                        socket.put(batch.json_room(), |out| deliver(out, &batch));
                        // What is there already need not wait.
                        resting = batch.len() < BATCH && !self.flush_every.is_zero();
                        if resting {
                            rest.as_mut().reset(Instant::now() + self.flush_every);
                        }
                    }
                    _ = ping.tick() => {
                        if answer.is_none() && heard_at.elapsed() > 2 * PING_EVERY {
                            return None;
                        }
                        socket.put_ping();
                    }
                    // With something to write only what is there already goes along.
                    () = std::future::ready(()), if waits => break,
                }
            }
            if !socket.flush().await {
                return None;
            }
        }
    }

    async fn answer(&self, text: Utf8Bytes) -> String {
        let answer = match serde_json::from_str::<Said>(&text) {
            Ok(said) => self.heed(said).await.unwrap_or_else(|error| json!({ "error": Problem::from(error) })),
            Err(error) => json!({ "error": Problem::from(Error::invalid("frame", error)) }),
        };
        answer.to_string()
    }

    async fn heed(&self, said: Said) -> Result<serde_json::Value> {
        let (tenant, name) = (&self.tenant, &self.name);
        let request = match said {
            Said::Ack(ids) => AckRequest::Ids(ids),
            Said::AckThrough(id) => AckRequest::Through(id),
            Said::AckCursor(cursor) => AckRequest::Cursor { cursor, worker: None },
            Said::Nack(body) => return Ok(json!({ "nacked": self.hub.nack(tenant, name, body.into()).await? })),
        };
        Ok(json!({ "acked": self.hub.ack(tenant, name, request).await? }))
    }
}

async fn answered<'a>(answer: &mut Option<BoxFuture<'a, String>>) -> String {
    let Some(waiting) = answer else { return std::future::pending().await };
    let text = waiting.await;
    *answer = None;
    text
}

/// One frame for all deliveries that came together; the events' bytes are copied as they are.
fn deliver(out: &mut Vec<u8>, batch: &Batch) {
    out.extend_from_slice(b"{\"cursor\":\"");
    out.extend_from_slice(batch.cursor().as_bytes());
    out.extend_from_slice(b"\",\"deliveries\":[");
    batch.write_json(out);
    out.extend_from_slice(b"]}");
}
