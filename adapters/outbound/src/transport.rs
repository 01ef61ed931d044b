//! The wire: one attempt over HTTP, its connections, and what its failures mean.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use parking_lot::Mutex;
use switchboard_contract::{Error, ErrorKind, Result, Retry};
use url::Url;

use crate::call::{CallBody, Replay, VendorCall, VendorReply};
use crate::config::OutboundConfig;
use crate::layers::{Answer, Stage, Ticket};

/// HTTP clients in generations: when one has served as many requests as a single connection may, a new one with new
/// connections takes its place, and the old one ends with its last call.
#[derive(Debug)]
pub(crate) struct Clients {
    config: OutboundConfig,
    current: Mutex<(reqwest::Client, u32)>,
}

impl Clients {
    pub(crate) fn new(config: &OutboundConfig) -> Result<Self> {
        let first = build(config, true)?;
        Ok(Self { config: config.clone(), current: Mutex::new((first, 0)) })
    }

    fn take(&self) -> Result<reqwest::Client> {
        let mut current = self.current.lock();
        if self.config.max_requests_per_connection.is_some_and(|limit| current.1 >= limit) {
            *current = (build(&self.config, true)?, 0);
        }
        current.1 += 1;
        Ok(current.0.clone())
    }
}

/// `api`: for calls, which follow no redirect and decompress; otherwise for files, which come as they are.
pub(crate) fn build(config: &OutboundConfig, api: bool) -> Result<reqwest::Client> {
    let redirect = if api { reqwest::redirect::Policy::none() } else { reqwest::redirect::Policy::limited(3) };
    let mut builder = reqwest::Client::builder()
        .connect_timeout(config.connect_timeout)
        .pool_idle_timeout(config.idle_timeout)
        .pool_max_idle_per_host(config.max_idle_per_host)
        .redirect(redirect)
        .referer(false)
        // The stack's own retry layer is the only one.
        .retry(reqwest::retry::never())
        .gzip(api)
        .user_agent(&config.user_agent);
    if !config.use_proxy {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| {
        Error::new(ErrorKind::Config, "the HTTP client cannot be built").with_source(error.without_url())
    })
}

/// The innermost service.
#[derive(Clone, Debug)]
pub(crate) struct Send {
    pub(crate) clients: Arc<Clients>,
    pub(crate) max_response_bytes: usize,
}

impl tower::Service<Ticket> for Send {
    type Response = VendorReply;
    type Error = Error;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ticket: Ticket) -> Answer {
        Box::pin(self.clone().answer(ticket))
    }
}

impl Send {
    async fn answer(self, ticket: Ticket) -> Result<VendorReply> {
        let client = self.clients.take()?;
        let base = ticket.base.as_ref().ok_or_else(|| Error::new(ErrorKind::Internal, "no address was chosen"))?;
        let request = request(&client, base, &ticket)?;
        ticket.trip.enter(Stage::InFlight);
        let result = self.exchange(client, request, &ticket).await;
        ticket.trip.enter(Stage::Idle);
        if result.as_ref().map_or_else(|error| error.kind() != ErrorKind::TooLarge, |reply| reply.status >= 500) {
            ticket.trip.blame_address();
        }
        result
    }

    async fn exchange(
        &self,
        client: reqwest::Client,
        request: reqwest::Request,
        ticket: &Ticket,
    ) -> Result<VendorReply> {
        let mut response = client.execute(request).await.map_err(transport_error)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(transport_error)? {
            if body.len() + chunk.len() > self.max_response_bytes {
                return Err(too_large(ticket.call.replay, self.max_response_bytes));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(VendorReply { status, headers, body: body.freeze(), took: Duration::ZERO })
    }
}

fn request(client: &reqwest::Client, base: &Url, ticket: &Ticket) -> Result<reqwest::Request> {
    let call = &ticket.call;
    let mut request = client.request(call.method.clone(), address(base, call)?);
    request = match &call.body {
        CallBody::None => request,
        CallBody::Json(bytes) => typed(request, "application/json", bytes),
        CallBody::Form(bytes) => typed(request, "application/x-www-form-urlencoded", bytes),
        CallBody::Multipart(parts) => request.multipart(multipart(parts)?),
    };
    request
        .headers(call.headers.clone())
        .headers(ticket.signed.clone())
        .build()
        .map_err(|error| Error::new(ErrorKind::InvalidInput, "not a valid request").with_source(error.without_url()))
}

fn typed(request: reqwest::RequestBuilder, kind: &'static str, bytes: &Bytes) -> reqwest::RequestBuilder {
    request.header(CONTENT_TYPE, HeaderValue::from_static(kind)).body(bytes.clone())
}

fn multipart(parts: &[crate::call::Part]) -> Result<reqwest::multipart::Form> {
    let mut form = reqwest::multipart::Form::new();
    for part in parts {
        let mut piece = reqwest::multipart::Part::stream_with_length(part.bytes.clone(), part.bytes.len() as u64);
        if let Some(name) = &part.file_name {
            piece = piece.file_name(name.clone());
        }
        if let Some(kind) = &part.content_type {
            piece = piece.mime_str(kind).map_err(|error| Error::invalid("content_type", error))?;
        }
        form = form.part(part.name.clone(), piece);
    }
    Ok(form)
}

fn address(base: &Url, call: &VendorCall) -> Result<Url> {
    let text = format!("{}{}", base.as_str().trim_end_matches('/'), call.path);
    let mut url: Url = text.parse().map_err(|error| Error::invalid("path", error))?;
    if !call.query.is_empty() {
        url.query_pairs_mut().extend_pairs(&call.query);
    }
    Ok(url)
}

fn too_large(replay: Replay, limit: usize) -> Error {
    let retry = if replay == Replay::ReadOnly { Retry::Never } else { Retry::OutcomeUnknown };
    Error::new(ErrorKind::TooLarge, format!("the answer is larger than {limit} bytes")).with_retry(retry)
}

/// Connection refused, name not found and failed TLS end before anything of the request was sent. Everything later may
/// have reached the vendor.
pub(crate) fn transport_error(error: reqwest::Error) -> Error {
    let (kind, words, retry) = if error.is_builder() {
        (ErrorKind::InvalidInput, "not a valid request", Retry::Never)
    } else if error.is_connect() {
        (ErrorKind::Unavailable, "no connection to the vendor", Retry::Safe { after: None })
    } else if error.is_timeout() {
        (ErrorKind::Timeout, "the vendor did not answer", Retry::OutcomeUnknown)
    } else {
        (ErrorKind::Unavailable, "the connection to the vendor broke", Retry::OutcomeUnknown)
    };
    // Addresses can carry tokens in their query.
    Error::new(kind, words).with_retry(retry).with_source(error.without_url())
}
