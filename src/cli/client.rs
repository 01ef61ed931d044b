//! Talking to a running sidecar.

use serde::Serialize;
use serde::de::DeserializeOwned;
use switchboard_contract::{Error, ErrorKind};

/// Where the sidecar is, and how to be let in.
#[derive(clap::Args)]
pub(crate) struct Sidecar {
    /// The sidecar's address.
    #[arg(long, env = "SWITCHBOARD_URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
    /// An API token. Better given in the environment than on the command line.
    #[arg(long, env = "SWITCHBOARD_TOKEN", hide_env_values = true)]
    pub(crate) token: String,
}

impl std::fmt::Debug for Sidecar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sidecar({})", self.url)
    }
}

/// An HTTP client of the API.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    sidecar: Sidecar,
}

impl Client {
    pub(crate) fn new(sidecar: Sidecar) -> Self {
        Self { http: reqwest::Client::new(), sidecar }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.call(self.http.get(self.address(path))).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        self.call(self.http.post(self.address(path)).json(body)).await
    }

    /// Sends a file as it is.
    pub(crate) async fn upload<T: DeserializeOwned>(&self, path: &str, file: tokio::fs::File) -> Result<T, Error> {
        self.call(self.http.post(self.address(path)).body(reqwest::Body::from(file))).await
    }

    /// For answers without a body.
    pub(crate) async fn put(&self, path: &str, body: &impl Serialize) -> Result<(), Error> {
        let request = self.http.put(self.address(path)).json(body);
        self.answer(request).await.map(drop)
    }

    /// For answers that are read as they come.
    pub(crate) async fn open(&self, path: &str) -> Result<reqwest::Response, Error> {
        let response = self.response(self.http.get(self.address(path))).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        Err(refused(status, &response.bytes().await.map_err(|error| self.unreachable(error))?))
    }

    /// For calls and answers without a body.
    pub(crate) async fn send_empty(&self, method: reqwest::Method, path: &str) -> Result<(), Error> {
        self.answer(self.http.request(method, self.address(path))).await.map(drop)
    }

    async fn call<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, Error> {
        let bytes = self.answer(request).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::new(ErrorKind::Decode, "the sidecar's answer cannot be read").with_source(error))
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Vec<u8>, Error> {
        let response = self.response(request).await?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|error| self.unreachable(error))?;
        if status.is_success() { Ok(bytes.to_vec()) } else { Err(refused(status, &bytes)) }
    }

    async fn response(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, Error> {
        request.bearer_auth(&self.sidecar.token).send().await.map_err(|error| self.unreachable(error))
    }

    fn unreachable(&self, error: reqwest::Error) -> Error {
        let text = format!("the sidecar at {} cannot be reached", self.sidecar.url);
        Error::new(ErrorKind::Unavailable, text).with_source(error)
    }

    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.sidecar.url.trim_end_matches('/'))
    }
}

/// What the sidecar said no to, in its words.
fn refused(status: reqwest::StatusCode, bytes: &[u8]) -> Error {
    #[derive(serde::Deserialize)]
    struct Problem {
        detail: String,
    }
    let detail = serde_json::from_slice::<Problem>(bytes).map(|problem| problem.detail);
    Error::new(ErrorKind::Rejected, format!("{status}: {}", detail.unwrap_or_default()))
}
