//! `switchboard serve`.

use switchboard_contract::{Error, ErrorKind};
use tokio::signal::unix::{SignalKind, signal};

use super::{ConfigFile, LogLevel, start_logging, wait_for_stop};
use crate::config::Config;
use crate::sidecar::{Bound, install_metrics};
use crate::switchboard::Switchboard;

/// Run the sidecar until SIGTERM or Ctrl-C. On SIGHUP, log.level is read again.
#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    file: ConfigFile,
}

impl Serve {
    pub(crate) async fn run(self) -> Result<(), Error> {
        let config = Config::load(&self.file.config)?;
        let level = start_logging(&config.log)?;
        let metrics = install_metrics()?;
        let (server, tokens) = (config.server.clone(), config.tokens.clone());
        if tokens.is_empty() {
            tracing::warn!("no [[tokens]] are configured: callbacks are taken, and the API refuses everybody");
        }
        let bound = Bound::bind(&server).await?;
        let switchboard = Switchboard::open(config).await?;
        for provider in switchboard.providers().await? {
            tracing::info!(
                provider = %provider.alias, vendor = provider.kind, app = provider.app,
                receive_only = provider.receive_only, "callbacks at /callbacks/{}", provider.alias
            );
        }
        let server = bound.serve(&switchboard, &server, &tokens, Some(metrics));
        tokio::select! {
            stopped = wait_for_stop() => stopped?,
            failed = self.follow_level(&level) => failed?,
        }
        tracing::info!("stopping");
        server.stop().await;
        switchboard.shutdown().await
    }
}

impl Serve {
    /// Takes the log level anew from the configuration whenever SIGHUP comes. Everything else stays as it is. Ends only
    /// with an error.
    async fn follow_level(&self, level: &LogLevel) -> Result<(), Error> {
        let mut hang_up = signal(SignalKind::hangup()).map_err(unwatched)?;
        while hang_up.recv().await.is_some() {
            let config = Config::load(&self.file.config);
            if let Err(error) = config.and_then(|config| level.set(&config.log.level)) {
                tracing::error!(%error, "the log level stays as it is");
            }
        }
        Err(Error::new(ErrorKind::Internal, "signals are watched no more"))
    }
}

fn unwatched(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Internal, "signals cannot be watched").with_source(error)
}
