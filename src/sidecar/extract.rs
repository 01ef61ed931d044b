//! Request bodies and query strings, refused with the field that is wrong.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// A JSON body.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|rejection| {
        let status = rejection.status();
        let kind = if status == StatusCode::PAYLOAD_TOO_LARGE { "too_large" } else { "invalid_input" };
        Problem::new(status, kind, rejection.body_text())
    })
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = read(request, state).await?;
        let mut deserializer = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let path = error.path().to_string();
            let field = if path == "." { "body".to_owned() } else { path };
            Problem::new(
                StatusCode::BAD_REQUEST,
                "invalid_input",
                format!("{field}: {}", without_values(&error.inner().to_string())),
            )
        })?;
        deserializer
            .end()
            .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "invalid_input", format!("body: {error}")))?;
        Ok(Self(value))
    }
}

/// What a parser found wrong, without the text it found: that may be what a message says.
fn without_values(fault: &str) -> String {
    match (fault.find("string \""), fault.rfind("\", expected")) {
        (Some(from), Some(to)) if from < to => format!("{}a string{}", &fault[..from], &fault[to + 1..]),
        _ => fault.to_owned(),
    }
}

/// A body of text.
#[derive(Debug)]
pub(super) struct Text(pub(super) String);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = read(request, state).await?;
        String::from_utf8(bytes.into())
            .map(Self)
            .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "invalid_input", "body: not UTF-8"))
    }
}

/// The parts of the path.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Path::<T>::from_request_parts(parts, state)
            .await
            .map(|path| Self(path.0))
            .map_err(|rejection| Problem::new(rejection.status(), "invalid_input", rejection.body_text()))
    }
}

/// A query string.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Query::<T>::from_request_parts(parts, state)
            .await
            .map(|query| Self(query.0))
            .map_err(|rejection| Problem::new(StatusCode::BAD_REQUEST, "invalid_input", rejection.body_text()))
    }
}

/// A part of the path that must be one of our ids.
pub(super) fn id<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "invalid_input", format!("{field}: not an id")))
}
