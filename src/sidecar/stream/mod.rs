//! Streams of deliveries: a WebSocket that also takes acknowledgements, or server-sent events beside `POST …/ack`.

mod peer;
mod socket;

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use serde_json::json;
use serde_json::value::RawValue;
use switchboard_contract::{Error, ErrorKind, Result, SubscriberName};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::auth::{Caller, Subscribe};
use super::extract::Path;
use super::problem::Problem;
use crate::hub::{Subscription, WorkerOptions};
use peer::Peer;

/// A silent peer is asked for a sign of life this often, and given up after twice that.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Why a stream ends although its consumer did not ask for it.
const STOPPING: &str = "the sidecar is stopping";
/// Deliveries in one frame, at most.
const BATCH: usize = 256;

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
/// WebSocket frames to the consumer are `{"recovery":…}`, `{"state":…}`, `{"cursor":…,"deliveries":[…]}` and, for each
/// frame it sends, `{"acked":…}`, `{"nacked":…}` or `{"error":…}`. When the sidecar stops it closes with code 1001, and
/// server-sent events end with an `end` event that has the reason. The consumer sends `{"ack_cursor":cursor}` for
/// everything in a frame that is still open, `{"ack":[ids]}`, `{"ack_through":id}` or
/// `{"nack":{"ids":[…],"after_ms":…,"reason":…}}`. An answered acknowledgement is durable.
#[utoipa::path(get, path = "/v1/subscribers/{name}/stream", tag = "subscribers", params(("name" = String, Path)),
    responses((status = 101, description = "A WebSocket"), (status = 200, description = "Server-sent events: recovery, state, delivery"),
        (status = 404, body = Problem), (status = 429, description = "Too many open streams", body = Problem)))]
async fn open(
    State(state): State<AppState>,
    caller: Caller<Subscribe>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let permit = caller.stream_permit()?;
    let (tenant, name) = (caller.tenant().clone(), SubscriberName::from(name));
    let hub = state.switchboard.hub().clone();
    let wants_events = request
        .headers()
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
    let (response, upgraded) = socket::accept(request)?;
    let subscription = hub.stream(&tenant, &name, WorkerOptions { batch: BATCH }).await?;
    let peer = Peer { hub, tenant, name, flush_every: state.flush_every };
    tokio::spawn(async move {
        let _permit = permit;
        match upgraded.await {
            Ok(socket) => peer.run(socket, subscription, state.stop).await,
            // Whoever asked is gone before the answer was written.
            Err(error) => tracing::debug!(%error, "a stream was not opened"),
        }
    });
    Ok(response)
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
