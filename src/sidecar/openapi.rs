//! The API's routes with their OpenAPI document, generated from the handlers.

use axum::Json;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;

use super::{
    AppState, backfills, conversations, coverage, dead_letters, export, groups, identity, messages, providers, pulling,
    stream, subscribers, users,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Switchboard", description = "Middleware between a business and its instant-messaging vendor."),
    security(("bearer" = [])),
    modifiers(&Bearer)
)]
struct Document;

struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

fn routes() -> OpenApiRouter<AppState> {
    let router = OpenApiRouter::with_openapi(Document::openapi());
    #[cfg(feature = "archive")]
    let router = router.merge(super::archive::routes());
    router
        .merge(messages::routes())
        .merge(conversations::routes())
        .merge(coverage::routes())
        .merge(export::routes())
        .merge(backfills::routes())
        .merge(subscribers::routes())
        .merge(stream::routes())
        .merge(users::routes())
        .merge(groups::routes())
        .merge(providers::routes())
        .merge(pulling::routes())
        .merge(identity::routes())
        .merge(dead_letters::routes())
}

/// The routes, and `/openapi.json` that describes them.
pub(super) fn router(state: AppState) -> OpenApiRouter {
    let document = document();
    routes().route("/openapi.json", get(async move || Json(document.clone()))).with_state(state)
}

/// The OpenAPI document of the API.
pub fn document() -> utoipa::openapi::OpenApi {
    routes().split_for_parts().1
}
