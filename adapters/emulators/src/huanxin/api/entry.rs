//! From the network to an app's routes: which app, who calls, how often, and the faces of failure.

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower::ServiceExt;
use tower_http::cors::CorsLayer;

use super::super::app::App;
use super::super::error::{ApiError, Failed, RateError};
use super::super::msync::connect;
use super::request::Call;
use super::{Answer, app_routes, client, history};
use crate::common::{FaultAction, FaultReplies, GateState, Time, gate};

/// Everything the vendor serves on one listener: the app, host discovery and the object store.
pub(crate) fn vendor_router(app: &Arc<App>) -> Router {
    let state = GateState {
        faults: Arc::clone(&app.faults),
        ledger: app.ledger.clone(),
        time: app.time.clone(),
        replies: Arc::new(VendorReplies { time: app.time.clone() }),
    };
    let inner = app_routes(app);
    let entry = move |State(app): State<Arc<App>>, request: Request| enter(app, inner.clone(), request);
    Router::new()
        .route("/easemob/server.json", get(client::hosts))
        .route("/websocket", get(connect))
        .route("/history/{class}/{org}/{app}/{file}", get(history::download))
        .fallback(entry)
        .with_state(Arc::clone(app))
        .layer(from_fn_with_state(app.time.clone(), print_errors))
        .layer(from_fn_with_state(state, gate))
        // Browsers run the vendor's web SDK from other origins.
        .layer(CorsLayer::permissive())
}

/// `/{org}/{app}/rest`, or `/api/server/v6/{org}/{app}/rest`, shown to the routes as `/rest` and `/v6/rest`.
async fn enter(app: Arc<App>, routes: Router, mut request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let Some((org, name, rest)) = split(&path) else {
        return ApiError::new(404, "resource_not_found", "no such path").into_response();
    };
    if org != app.id.org || name != app.id.app {
        return ApiError::no_app(org, name, rest.trim_start_matches("/v6")).into_response();
    }
    let caller = authenticate(&app, &request);
    let query = request.uri().query().unwrap_or_default().to_owned();
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let call = Call {
        method: request.method().as_str().to_lowercase(),
        path: rest.clone(),
        host: host.unwrap_or("localhost").to_owned(),
        query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        caller,
        app,
    };
    let target = if query.is_empty() { rest } else { format!("{rest}?{query}") };
    let Ok(uri) = target.parse::<Uri>() else { return ApiError::body().into_response() };
    *request.uri_mut() = uri;
    request.extensions_mut().insert(call);
    routes.oneshot(request).await.into_response()
}

fn split(path: &str) -> Option<(&str, &str, String)> {
    let (v6, rest) = match path.strip_prefix("/api/server/v6/") {
        Some(rest) => ("/v6", rest),
        None => ("", path.strip_prefix('/')?),
    };
    let (org, rest) = rest.split_once('/')?;
    let (app, rest) = rest.split_once('/').unwrap_or((rest, ""));
    Some((org, app, format!("{v6}/{rest}")))
}

fn authenticate(app: &App, request: &Request) -> Result<super::super::tokens::Subject, ApiError> {
    let header = request.headers().get(header::AUTHORIZATION).ok_or_else(ApiError::expired_token)?;
    let text = header.to_str().map_err(|_| ApiError::corrupt_token())?;
    let token = text.strip_prefix("Bearer ").ok_or_else(ApiError::corrupt_token)?;
    app.tokens.lock().check(token.trim(), app.now_ms())
}

/// Counts the call against its endpoint's rate.
pub(super) async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let method = request.method().as_str();
    let endpoint = format!("{method} {path}");
    let (name, key) = rate_of(method, path);
    if let Err(refused) = app.count_call(name, key.unwrap_or(&endpoint)) {
        return refused.into_response();
    }
    next.run(request).await
}

/// The rate an endpoint falls under and, for shared ones, the common counter.
fn rate_of(method: &str, path: &str) -> (&'static str, Option<&'static str>) {
    match (method, path) {
        (_, "/token") => ("token", None),
        (_, "/messages/users") => ("send_users", Some("send_users")),
        (_, "/messages/chatgroups") => ("send_groups", Some("send_groups")),
        (_, "/messages/chatrooms") => ("send_rooms", Some("send_rooms")),
        (_, "/messages/chatgroups/users" | "/messages/chatrooms/users") => ("send_targeted", None),
        (_, "/chatmessages/{hour}") => ("history", None),
        ("POST", "/chatrooms") => ("room_create", None),
        ("DELETE", "/users") => ("bulk_delete_users", None),
        (_, path) if path.contains("/presence") => ("presence", None),
        (_, path) if path.starts_with("/users") && !path.contains("/user_channel") => ("users", Some("users")),
        _ => ("default", None),
    }
}

/// A path nothing answers to.
pub(super) async fn no_route() -> Answer {
    Err(ApiError::new(404, "service_resource_not_found", "Service resource not found"))
}

/// The vendor answers a wrong method with 500.
pub(super) async fn wrong_method() -> Answer {
    Err(ApiError::new(500, "unsupported_service_operation", "Service operation not supported"))
}

/// Prints the errors handlers returned, with the vendor's time.
async fn print_errors(State(time): State<Time>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    match response.extensions_mut().remove::<Failed>() {
        Some(Failed(error)) => error.at(time.now_ms()).into_response(),
        None => response,
    }
}

/// The vendor's form of injected failures.
pub(crate) struct VendorReplies {
    time: Time,
}

impl FaultReplies for VendorReplies {
    fn reply(&self, fault: FaultAction, _: &str) -> Response {
        let error = match fault {
            FaultAction::RateLimited => ApiError::rate(),
            FaultAction::MessageLimit => ApiError::message_limit(),
            FaultAction::Unauthorized => ApiError::oauth(),
            _ => ApiError::server(),
        };
        error.at(self.time.now_ms()).into_response()
    }

    fn script_path<'a>(&self, path: &'a str) -> &'a str {
        let rest = path.strip_prefix("/api/server/v6").unwrap_or(path);
        // Skips organisation and app; shared paths have neither.
        if rest.starts_with("/history/") || rest.starts_with("/easemob/") {
            return rest;
        }
        rest.match_indices('/').nth(2).map_or(rest, |(at, _)| &rest[at..])
    }

    fn is_send(&self, path: &str) -> bool {
        let path = self.script_path(path);
        let send = ["/messages/users", "/messages/chatgroups", "/messages/chatrooms"];
        path == "/messages" || send.iter().any(|prefix| path.starts_with(prefix)) && !path.ends_with("/import")
    }

    fn is_secret(&self, path: &str) -> bool {
        let path = self.script_path(path);
        path == "/token" || path == "/users" || path.ends_with("/password")
    }

    fn has_credentials(&self, request: &Request) -> bool {
        request.headers().contains_key(header::AUTHORIZATION)
    }

    fn is_rate_error(&self, response: &Response) -> bool {
        response.extensions().get::<RateError>().is_some()
    }
}
