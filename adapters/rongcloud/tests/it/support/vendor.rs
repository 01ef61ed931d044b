//! A real listener in the vendor's place: it answers each request as the test says and remembers what it was asked.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use std::sync::Mutex;
use switchboard_outbound::Url;
use switchboard_rongcloud::{RongCloud, RongCloudConfig};

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        super::pairs(&self.body)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Reply(u16, Bytes),
    /// The request is taken and never answered.
    Never,
}

pub(crate) fn reply(status: u16, body: impl Into<Bytes>) -> Answer {
    Answer::Reply(status, body.into())
}

pub(crate) fn ok() -> Answer {
    reply(200, &br#"{"code":200}"#[..])
}

pub(crate) fn with_fixture(name: &str) -> Answer {
    reply(200, super::fixture(name))
}

#[derive(Clone)]
pub(crate) struct Vendor {
    url: Url,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Vendor {
    /// Starts a listener whose answers `answer` gives, told the number of the request and the request.
    pub(crate) async fn start(answer: impl Fn(usize, &Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), asked.clone());
        let serve = move |request: Request| {
            let (answer, log) = (answer.clone(), log.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 24).await.unwrap();
                let asked = Asked {
                    method: parts.method.to_string(),
                    path: parts.uri.to_string(),
                    headers: parts.headers,
                    body: String::from_utf8(body.to_vec()).unwrap(),
                };
                let number = {
                    let mut log = log.lock().unwrap();
                    log.push(asked.clone());
                    log.len() - 1
                };
                match answer(number, &asked) {
                    Answer::Never => std::future::pending().await,
                    Answer::Reply(status, body) => {
                        let mut response = Response::new(Body::from(body));
                        *response.status_mut() = StatusCode::from_u16(status).unwrap();
                        response
                    }
                }
            }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(serve)).await });
        Self { url, asked }
    }

    pub(crate) async fn always(answer: Answer) -> Self {
        Self::start(move |_, _| answer.clone()).await
    }

    /// Answers in order; one request more than that is a fault of the test's subject.
    pub(crate) async fn script(answers: Vec<Answer>) -> Self {
        Self::start(move |number, asked| {
            answers.get(number).unwrap_or_else(|| panic!("unexpected request {number}: {asked:?}")).clone()
        })
        .await
    }

    pub(crate) fn url(&self) -> Url {
        self.url.clone()
    }

    pub(crate) fn config(&self) -> RongCloudConfig {
        let mut config = RongCloudConfig::new(super::APP_KEY, super::APP_SECRET);
        config.base_url = Some(self.url());
        config.outbound.use_proxy = false;
        config
    }

    pub(crate) fn provider(&self) -> RongCloud {
        super::provider(self.config())
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn only(&self) -> Asked {
        let asked = self.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked[0].clone()
    }
}
