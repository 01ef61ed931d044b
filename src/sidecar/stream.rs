//! stub
use super::AppState;
use super::problem::Problem;
use serde_json::value::RawValue;
use utoipa_axum::router::OpenApiRouter;
pub(super) fn routes() -> OpenApiRouter<AppState> { OpenApiRouter::new() }
pub(super) fn raw_json(json: &[u8]) -> Result<Box<RawValue>, Problem> {
    serde_json::from_slice(json).map_err(|error| {
        switchboard_contract::Error::new(switchboard_contract::ErrorKind::Decode, "a stored event is damaged").with_source(error).into()
    })
}
