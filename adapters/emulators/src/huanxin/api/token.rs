//! `POST /token`: app tokens and user tokens.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::response::IntoResponse;
use axum::routing::post;
use serde_json::json;

use super::super::app::App;
use super::super::error::ApiError;
use super::super::tokens::Subject;
use super::Answer;
use super::request::{Call, Fields};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/token", post(token))
}

async fn token(call: Call, body: Fields) -> Answer {
    match body.text("grant_type") {
        Some("client_credentials") => app_token(&call, &body),
        Some("password") => password(&call, &body),
        Some("inherit") => inherit(&call, &body),
        _ => Err(ApiError::argument("grant_type must be provided.")),
    }
}

fn app_token(call: &Call, body: &Fields) -> Answer {
    let app = &call.app;
    let id = body.text("client_id").ok_or_else(|| ApiError::argument("client_id must be provided."))?;
    let secret = body.text("client_secret").ok_or_else(|| ApiError::argument("client_secret must be provided"))?;
    if id != app.id.client_id {
        return Err(ApiError::new(400, "invalid_grant", "client_id does not match"));
    }
    if secret != app.id.client_secret {
        return Err(ApiError::new(400, "invalid_grant", "client_secret does not match"));
    }
    let issued = app.tokens.lock().issue(Subject::App, body.number("ttl"), &app.settings().tokens, app.now_ms());
    let reply = json!({
        "access_token": issued.token, "expires_in": issued.expires_in, "application": app.id.uuid,
    });
    Ok(Json(reply).into_response())
}

fn password(call: &Call, body: &Fields) -> Answer {
    let name = user_name(call, body)?;
    let password = body.text("password").ok_or_else(|| ApiError::argument("password must be provided"))?;
    let matches = {
        let data = call.app.data.lock();
        let user = data.users.get(&name);
        let user = user.ok_or_else(|| ApiError::new(404, "invalid_grant", "user not found"))?;
        user.password == password
    };
    if !matches {
        return Err(ApiError::new(400, "invalid_grant", "invalid password"));
    }
    grant(call, body, &name)
}

fn inherit(call: &Call, body: &Fields) -> Answer {
    match &call.caller {
        Ok(Subject::App) => {}
        Ok(Subject::User(_)) => return Err(ApiError::corrupt_token()),
        Err(error) => return Err(error.clone()),
    }
    let name = user_name(call, body)?;
    let created_ms = call.app.data.lock().users.get(&name).map(|user| user.created_ms);
    let conflict_ms = call.app.settings().tokens.auto_create_conflict_ms;
    if body.flag("autoCreateUser") == Some(true)
        && created_ms.is_some_and(|created_ms| call.app.now_ms() - created_ms < conflict_ms)
    {
        return Err(ApiError::new(409, "concurrent_operation_error", "concurrency create app user failed"));
    }
    if created_ms.is_none() {
        if body.flag("autoCreateUser") != Some(true) {
            return Err(ApiError::new(404, "invalid_grant", "user not found"));
        }
        call.app.register(&name, "", None)?;
    }
    grant(call, body, &name)
}

fn user_name(call: &Call, body: &Fields) -> Result<String, ApiError> {
    let name = body.text("username").ok_or_else(|| ApiError::argument("username must be provided"))?;
    call.app.legal_name(name)
}

fn grant(call: &Call, body: &Fields, name: &str) -> Answer {
    let app = &call.app;
    let (activated, entity) = app.with_user(name, |user| (user.activated, user.entity()))?;
    if !activated {
        return Err(ApiError::new(400, "invalid_grant", "user not activated"));
    }
    let subject = Subject::User(name.to_owned());
    let issued = app.tokens.lock().issue(subject, body.number("ttl"), &app.settings().tokens, app.now_ms());
    let reply = json!({ "access_token": issued.token, "expires_in": issued.expires_in, "user": entity });
    Ok(Json(reply).into_response())
}
