//! Large files: streamed to a temporary file with a size limit and a digest, in bounded memory.

use std::fmt;
use std::io::{Read as _, Seek, SeekFrom};

use http::HeaderMap;
use sha2::{Digest, Sha256};
use switchboard_contract::{Error, ErrorKind, Result, Retry};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use url::Url;

use crate::call::Replay;
use crate::client::Outbound;
use crate::layers::outcome;
use crate::transport::transport_error;

/// A file to fetch from an address that a vendor named. Carries no credentials but those in it.
#[derive(Clone)]
pub struct Download {
    /// Where.
    pub url: Url,
    /// Further headers.
    pub headers: HeaderMap,
    /// What it is called in logs, metrics and errors.
    pub operation: &'static str,
}

/// Shows the host alone: such addresses are signed.
impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("operation", &self.operation).field("host", &self.url.host_str()).finish()
    }
}

/// A fetched file.
#[derive(Debug)]
pub struct Downloaded {
    /// The file, at its beginning. It has no name, and goes when it is closed.
    pub file: std::fs::File,
    /// Its size.
    pub bytes: u64,
    /// The SHA-256 of its bytes, exactly as they came.
    pub sha256: [u8; 32],
}

impl Downloaded {
    /// A file that somebody else fetched. Reads all of it, and blocks meanwhile.
    ///
    /// # Errors
    /// `Storage` when it cannot be read.
    pub fn of(mut file: std::fs::File) -> Result<Self> {
        let unreadable = |error| Error::new(ErrorKind::Storage, "the file cannot be read").with_source(error);
        let (mut sha, mut buffer, mut bytes) = (Sha256::new(), vec![0; 64 << 10], 0_u64);
        loop {
            match file.read(&mut buffer).map_err(unreadable)? {
                0 => break,
                read => {
                    sha.update(&buffer[..read]);
                    bytes += read as u64;
                }
            }
        }
        file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        Ok(Self { file, bytes, sha256: sha.finalize().into() })
    }
}

impl Outbound {
    /// Fetches a file, repeating what may be repeated. Nothing of it is decompressed.
    ///
    /// # Errors
    /// `NotFound` for 404, `Forbidden` for 401 and 403 (a signed address that expired), `TooLarge` above
    /// [`max_download_bytes`](crate::OutboundConfig::max_download_bytes), `Unavailable` or `Timeout` for the network,
    /// `StorageFull` or `Storage` for the temporary file.
    pub async fn download(&self, download: &Download) -> Result<Downloaded> {
        let deadline = Instant::now() + self.config().download_timeout;
        let mut policy = self.policy();
        loop {
            let attempt = tokio::time::timeout_at(deadline, self.fetch(download)).await;
            let result = attempt.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Timeout, "the download took too long").with_retry(Retry::Never))
            });
            metrics::counter!(
                "switchboard_vendor_attempts_total",
                self.labels().outcome(download.operation, outcome(&result)).to_vec()
            )
            .increment(1);
            let mut error = match result {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            match policy.next(&mut error, Replay::ReadOnly, None, deadline) {
                Some(wait) => self.clock().sleep(wait).await,
                None => return Err(error.with_operation(download.operation)),
            }
        }
    }

    async fn fetch(&self, download: &Download) -> Result<Downloaded> {
        let request = self.files().get(download.url.clone()).headers(download.headers.clone());
        let mut response = request.send().await.map_err(transport_error)?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(refusal(status));
        }
        let limit = self.config().max_download_bytes;
        let mut file = tokio::fs::File::from_std(tempfile::tempfile().map_err(disk)?);
        let (mut bytes, mut digest) = (0_u64, Sha256::new());
        while let Some(chunk) = response.chunk().await.map_err(transport_error)? {
            bytes += chunk.len() as u64;
            if bytes > limit {
                return Err(Error::new(ErrorKind::TooLarge, format!("the file is larger than {limit} bytes")));
            }
            digest.update(&chunk);
            file.write_all(&chunk).await.map_err(disk)?;
        }
        file.flush().await.map_err(disk)?;
        let mut file = file.into_std().await;
        file.seek(SeekFrom::Start(0)).map_err(disk)?;
        Ok(Downloaded { file, bytes, sha256: digest.finalize().into() })
    }
}

fn refusal(status: u16) -> Error {
    let (kind, retry) = match status {
        404 | 410 => (ErrorKind::NotFound, Retry::Never),
        401 | 403 => (ErrorKind::Forbidden, Retry::Never),
        429 => (ErrorKind::RateLimited, Retry::Safe { after: None }),
        408 | 500.. => (ErrorKind::Unavailable, Retry::Safe { after: None }),
        _ => (ErrorKind::Unavailable, Retry::Never),
    };
    Error::new(kind, "the file was refused").with_retry(retry).with_vendor_code(status.to_string())
}

fn disk(error: std::io::Error) -> Error {
    let full = error.kind() == std::io::ErrorKind::StorageFull;
    let kind = if full { ErrorKind::StorageFull } else { ErrorKind::Storage };
    Error::new(kind, "the temporary file cannot be written").with_source(error)
}
