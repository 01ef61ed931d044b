//! TLS on either side of the gate.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use switchboard_contract::{Error, ErrorKind, Result};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A server's certificate chain and key, ready to be shown.
#[derive(Clone)]
pub struct ServerTls(pub(crate) TlsAcceptor);

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

fn wrong(what: &str, path: &Path) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> Error {
    let text = format!("{what}: {} cannot be used", path.display());
    move |error| Error::new(ErrorKind::Config, text.clone()).with_source(error)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let wrong = wrong("tls_certificate", path);
    let chain = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.into()))?;
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|error| wrong(error.into()))?;
    if chain.is_empty() { Err(wrong("it holds no certificate".into())) } else { Ok(chain) }
}

impl ServerTls {
    /// From PEM files: the chain, the server's own certificate first, and its key.
    ///
    /// # Errors
    /// `Config` for files that cannot be read or do not belong together.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self> {
        let wrong = wrong("tls_key", key);
        let chain = certificates(certificate)?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(error.into()))?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(error.into()))?
            .with_no_client_auth()
            .with_single_cert(chain, secret)
            .map_err(|error| wrong(error.into()))?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

/// A client that trusts whoever these certificates vouch for, and nobody else.
pub(crate) fn connector(trusted: &Path) -> Result<TlsConnector> {
    let wrong = wrong("trusted certificates", trusted);
    let mut roots = RootCertStore::empty();
    for certificate in certificates(trusted)? {
        roots.add(certificate).map_err(|error| wrong(error.into()))?;
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.into()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
