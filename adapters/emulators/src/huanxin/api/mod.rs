//! The REST surface: entry by organisation and app, authentication, rates, envelopes, and the routes.

mod broadcast;
mod client;
mod contacts;
mod entry;
mod files;
mod groups;
mod history;
mod manage;
mod members;
mod presence;
mod request;
mod roaming;
mod send;
mod storage;
mod stream;
mod token;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::Response;

use super::app::App;
use super::error::ApiError;

pub(crate) use entry::vendor_router;

/// What a handler answers; errors are printed by the entry, which knows the clock.
type Answer = Result<Response, ApiError>;

/// Every route of an app, relative to `/{org}/{app}`.
fn app_routes(app: &Arc<App>) -> Router {
    Router::new()
        .merge(token::routes())
        .merge(users::routes())
        .merge(presence::routes())
        .merge(contacts::routes())
        .merge(send::routes())
        .merge(broadcast::routes())
        .merge(stream::routes())
        .merge(manage::routes())
        .merge(history::routes())
        .merge(roaming::routes())
        .merge(groups::routes(false))
        .merge(groups::routes(true))
        .merge(files::routes())
        .merge(storage::routes())
        .merge(client::routes())
        .route_layer(from_fn_with_state(Arc::clone(app), entry::count))
        .fallback(entry::no_route)
        .method_not_allowed_fallback(entry::wrong_method)
        .with_state(Arc::clone(app))
}
