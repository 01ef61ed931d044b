//! `switchboard serve`.

use switchboard_contract::Error;

use super::{ConfigFile, start_logging, wait_for_stop};
use crate::config::Config;
use crate::sidecar::{Server, install_metrics};
use crate::switchboard::Switchboard;

/// Run the sidecar until SIGTERM or Ctrl-C.
#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    file: ConfigFile,
}

impl Serve {
    pub(crate) async fn run(self) -> Result<(), Error> {
        let config = Config::load(&self.file.config)?;
        start_logging(&config.log)?;
        let metrics = install_metrics()?;
        let (server, tokens) = (config.server.clone(), config.tokens.clone());
        if tokens.is_empty() {
            tracing::warn!("no [[tokens]] are configured: callbacks are taken, and the API refuses everybody");
        }
        let switchboard = Switchboard::open(config).await?;
        for provider in switchboard.providers().await? {
            tracing::info!(
                provider = %provider.alias, vendor = provider.kind, app = provider.app,
                receive_only = provider.receive_only, "callbacks at /callbacks/{}", provider.alias
            );
        }
        let server = Server::start(&switchboard, &server, &tokens, Some(metrics)).await?;
        wait_for_stop().await?;
        tracing::info!("stopping");
        server.stop().await;
        switchboard.shutdown().await
    }
}
