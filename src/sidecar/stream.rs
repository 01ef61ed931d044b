//! Streams of deliveries: a WebSocket that also takes acknowledgements, or server-sent events beside `POST …/ack`.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{SinkExt, Stream, StreamExt, stream};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use switchboard_contract::{Error, ErrorKind, Result, SubscriberName, TenantId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::auth::{Caller, Subscribe};
use super::extract::Path;
use super::problem::Problem;
use super::subscribers::NackBody;
use crate::hub::{AckRequest, Batch, DeliveryId, Hub, Subscription, WorkerOptions};

/// A peer that takes nothing for this long is gone; it goes on from its last acknowledgement when it comes back.
const SEND_WITHIN: Duration = Duration::from_secs(30);
/// A silent peer is asked for a sign of life this often, and given up after twice that.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Why a stream ends although its consumer did not ask for it.
const STOPPING: &str = "the sidecar is stopping";
/// Deliveries in one frame, at most.
const BATCH: usize = 256;
/// Small: a thousand idle streams must not cost megabytes. A consumer's frames are acknowledgements.
const READ_BUFFER: usize = 1 << 10;
const WRITE_BUFFER: usize = 4 << 10;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(open))
}

/// The stored bytes of an event as a JSON value, without reading it.
pub(super) fn raw_json(json: &[u8]) -> Result<Box<RawValue>, Problem> {
    serde_json::from_slice(json)
        .map_err(|error| Error::new(ErrorKind::Decode, "a stored event is damaged").with_source(error).into())
}

/// Opens a stream: a WebSocket, or server-sent events when asked for `text/event-stream`.
///
/// WebSocket frames to the consumer are `{"recovery":…}`, `{"state":…}`, `{"deliveries":[…]}` and, for each frame it
/// sends, `{"acked":…}`, `{"nacked":…}` or `{"error":…}`. When the sidecar stops it closes with code 1001, and
/// server-sent events end with an `end` event that has the reason. The consumer sends `{"ack":[ids]}`, `{"ack_through":id}` or
/// `{"nack":{"ids":[…],"after_ms":…,"reason":…}}`. An answered acknowledgement is durable.
#[utoipa::path(get, path = "/v1/subscribers/{name}/stream", tag = "subscribers", params(("name" = String, Path)),
    responses((status = 101, description = "A WebSocket"), (status = 200, description = "Server-sent events: recovery, state, delivery"),
        (status = 404, body = Problem), (status = 429, description = "Too many open streams", body = Problem)))]
async fn open(
    State(state): State<AppState>,
    caller: Caller<Subscribe>,
    Path(name): Path<String>,
    headers: HeaderMap,
    upgrade: std::result::Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let permit = caller.stream_permit()?;
    let (tenant, name) = (caller.tenant().clone(), SubscriberName::from(name));
    let hub = state.switchboard.hub().clone();
    let wants_events = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/event-stream"));
    if wants_events {
        let subscription = hub.stream(&tenant, &name, WorkerOptions::default()).await?;
        let stopped = state.stop.clone();
        let farewell = stream::once(async move {
            let reason = json!({ "reason": STOPPING }).to_string();
            stopped.is_cancelled().then(|| Ok(SseEvent::default().event("end").data(reason)))
        });
        let events = events(subscription)
            .take_until(state.stop.clone().cancelled_owned())
            .chain(farewell.filter_map(std::future::ready));
        // The permit lives as long as the stream does.
        let events = events.map(move |event| {
            let _ = &permit;
            event
        });
        return Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(PING_EVERY)).into_response());
    }
    let upgrade =
        upgrade.map_err(|rejection| Problem::new(rejection.status(), "invalid_input", rejection.body_text()))?;
    let subscription = hub.stream(&tenant, &name, WorkerOptions { batch: BATCH }).await?;
    let peer = Peer { hub, tenant, name };
    let upgrade = upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(4 << 20)
        .max_message_size(1 << 20);
    Ok(upgrade.on_upgrade(async move |socket| {
        let _permit = permit;
        peer.run(socket, subscription, state.stop).await;
    }))
}

fn events(subscription: Subscription) -> impl Stream<Item = std::result::Result<SseEvent, Infallible>> {
    let first = SseEvent::default().event("recovery").data(json!(subscription.recovery()).to_string());
    let states = subscription.states().map(|state| SseEvent::default().event("state").data(json!(state).to_string()));
    let deliveries = stream::unfold(subscription, |mut subscription| async move {
        let delivery = subscription.next().await?;
        let id = delivery.id().to_string();
        let json = String::from_utf8_lossy(&delivery.to_json()).into_owned();
        Some((SseEvent::default().event("delivery").id(id).data(json), subscription))
    });
    // The stream ends with its deliveries, whatever the states do.
    let deliveries = deliveries.map(Some).chain(stream::once(async { None }));
    let rest = stream::select(deliveries, states.map(Some)).take_while(|event| std::future::ready(event.is_some()));
    stream::once(async move { Some(first) }).chain(rest).filter_map(std::future::ready).map(Ok)
}

/// What a consumer says on its WebSocket.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Said {
    Ack(Vec<DeliveryId>),
    AckThrough(DeliveryId),
    Nack(NackBody),
}

/// The consumer at the other end of a WebSocket.
struct Peer {
    hub: Hub,
    tenant: TenantId,
    name: SubscriberName,
}

impl Peer {
    async fn run(self, socket: WebSocket, mut subscription: Subscription, stop: tokio_util::sync::CancellationToken) {
        let (mut out, incoming) = socket.split();
        let mut answers = std::pin::pin!(self.answers(incoming));
        let mut states = std::pin::pin!(subscription.states());
        let mut ping = tokio::time::interval(PING_EVERY);
        let mut next = Some(Message::text(json!({ "recovery": subscription.recovery() }).to_string()));
        let mut farewell = None;
        // Sending stands in one place: the room for it is part of what an idle stream costs.
        while let Some(message) = next.take()
            && send(&mut out, message).await
        {
            next = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    let reason = Utf8Bytes::from_static(STOPPING);
                    farewell = Some(CloseFrame { code: close_code::AWAY, reason });
                    None
                }
                answer = answers.next() => answer.map(Message::text),
                Some(state) = states.next() => Some(Message::text(json!({ "state": state }).to_string())),
                batch = subscription.next_page() => batch.map(|batch| Message::text(frame(&batch))),
                _ = ping.tick() => Some(Message::Ping(bytes::Bytes::new())),
            };
        }
        // A peer that is gone does not hear the good-bye.
        let _ = tokio::time::timeout(Duration::from_secs(1), out.send(Message::Close(farewell))).await;
        subscription.close();
    }

    /// Reads until the peer is gone or silent, and answers what it says in order.
    fn answers(&self, incoming: stream::SplitStream<WebSocket>) -> impl Stream<Item = String> + '_ {
        stream::unfold(incoming, move |mut incoming| async move {
            loop {
                let message = tokio::time::timeout(2 * PING_EVERY, incoming.next()).await;
                let text = match message.ok()??.ok()? {
                    Message::Text(text) => text,
                    Message::Ping(_) | Message::Pong(_) => continue,
                    Message::Close(_) | Message::Binary(_) => return None,
                };
                // Most of its time a stream is idle: what it needs to acknowledge need not be kept for it.
                let answer = Box::pin(self.answer(&text)).await;
                return Some((answer, incoming));
            }
        })
    }

    async fn answer(&self, text: &str) -> String {
        let answer = match serde_json::from_str::<Said>(text) {
            Ok(said) => self.heed(said).await.unwrap_or_else(|error| json!({ "error": Problem::from(error) })),
            Err(error) => json!({ "error": Problem::from(Error::invalid("frame", error)) }),
        };
        answer.to_string()
    }

    async fn heed(&self, said: Said) -> Result<serde_json::Value> {
        let (tenant, name) = (&self.tenant, &self.name);
        Ok(match said {
            Said::Ack(ids) => json!({ "acked": self.hub.ack(tenant, name, AckRequest::Ids(ids)).await? }),
            Said::AckThrough(id) => json!({ "acked": self.hub.ack(tenant, name, AckRequest::Through(id)).await? }),
            Said::Nack(body) => json!({ "nacked": self.hub.nack(tenant, name, body.into()).await? }),
        })
    }
}

async fn send(out: &mut stream::SplitSink<WebSocket, Message>, message: Message) -> bool {
    matches!(tokio::time::timeout(SEND_WITHIN, out.send(message)).await, Ok(Ok(())))
}

/// One frame for all deliveries that came together; the events' bytes are copied as they are.
fn frame(batch: &Batch) -> String {
    let mut frame = b"{\"deliveries\":[".to_vec();
    batch.write_json(&mut frame);
    frame.extend_from_slice(b"]}");
    // Events were encoded from text and are UTF-8; a damaged one must not take the stream down.
    String::from_utf8(frame).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
