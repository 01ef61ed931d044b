//! The emulators, the sidecar and the files of a demo.

use std::path::{Path, PathBuf};

use switchboard_contract::{Error, ErrorKind, Result};
use switchboard_emulators::huanxin::HuanxinEmulator;
use switchboard_emulators::rongcloud::{RongCloudEmulator, RongCloudSettings};
use switchboard_emulators::{Faults, StartError};
use tempfile::TempDir;

use crate::config::Config;
use crate::sidecar::{Bound, Server, install_metrics};
use crate::switchboard::Switchboard;

/// The API token of the demo; it listens on loopback alone.
pub(super) const TOKEN: &str = "demo-token-0123456789";
const HUANXIN_APP: &str = "demo#shop";
const CALLBACK_SECRET: &str = "demo-callback-secret";

/// Which vendor carries new messages. This is all that a change of vendor changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vendor {
    Huanxin,
    RongCloud,
}

/// Everything that runs.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) huanxin: HuanxinEmulator,
    pub(super) rongcloud: RongCloudEmulator,
    directory: Option<TempDir>,
    path: PathBuf,
    /// The sidecar keeps its address over a restart, as a vendor's console knows it.
    address: Option<std::net::SocketAddr>,
    running: Option<(Switchboard, Server)>,
}

impl Stage {
    pub(super) async fn set(seed: u64) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("switchboard-demo-")
            .tempdir()
            .map_err(|error| Error::new(ErrorKind::Storage, "no directory for the demo's files").with_source(error))?;
        let huanxin = HuanxinEmulator::builder()
            .listen("127.0.0.1:0")
            .credentials(HUANXIN_APP, "demo-client", "demo-client-secret")
            .seed(seed)
            .start()
            .await
            .map_err(not_started)?;
        let mut settings = RongCloudSettings::default();
        // The console's switch without which the vendor says nothing of our own sends.
        settings.routing.server_api = true;
        // Its customer types faster than a thumb can.
        settings.messages.client_per_second = u32::MAX;
        let rongcloud = RongCloudEmulator::builder()
            .listen("127.0.0.1:0")
            .credentials("demoappkey", "demo-app-secret")
            .settings(settings)
            .seed(seed)
            .start()
            .await
            .map_err(not_started)?;
        let path = directory.path().to_owned();
        Ok(Self { huanxin, rongcloud, directory: Some(directory), path, address: None, running: None })
    }

    /// Starts (or restarts) the product with `vendor` carrying new messages.
    pub(super) async fn start(&mut self, vendor: Vendor) -> Result<()> {
        self.stop().await?;
        let text = self.configuration(vendor);
        std::fs::write(self.config_path(), &text).map_err(|error| {
            Error::new(ErrorKind::Storage, "the configuration cannot be written").with_source(error)
        })?;
        let config = Config::load(self.config_path())?;
        let (server, tokens) = (config.server.clone(), config.tokens.clone());
        let bound = Bound::bind(&server).await?;
        self.address = Some(bound.address());
        let url = format!("http://{}", bound.address());
        self.huanxin.set_callback_url(&format!("{url}/callbacks/huanxin"), CALLBACK_SECRET);
        self.rongcloud.set_callback_url(&format!("{url}/callbacks/rongcloud"));
        let switchboard = Switchboard::open(config).await?;
        let server = bound.serve(&switchboard, &server, &tokens, Some(install_metrics()?));
        self.running = Some((switchboard, server));
        Ok(())
    }

    async fn stop(&mut self) -> Result<()> {
        if let Some((switchboard, server)) = self.running.take() {
            server.stop().await;
            switchboard.shutdown().await?;
        }
        Ok(())
    }

    /// Ends everything; with `keep` the files stay.
    pub(super) async fn strike(mut self, keep: bool) -> Result<()> {
        let stopped = self.stop().await;
        self.huanxin.shutdown().await;
        self.rongcloud.shutdown().await;
        if let Some(directory) = self.directory.take()
            && keep
        {
            // The files outlive the demo when somebody asked to look at them.
            let _ = directory.keep();
        }
        stopped
    }

    /// The two configurations differ in `receive_only` and `routing`, and in nothing else.
    fn configuration(&self, vendor: Vendor) -> String {
        let listen = self.address.map_or_else(|| "127.0.0.1:0".to_owned(), |address| address.to_string());
        let (active, huanxin_only, rongcloud_only) = match vendor {
            Vendor::Huanxin => ("huanxin", false, true),
            Vendor::RongCloud => ("rongcloud", true, false),
        };
        let directory = self.path.display();
        format!(
            r#"[server]
listen = "{listen}"

[[tokens]]
name = "demo"
secret = "{TOKEN}"
scopes = ["messages", "subscribe", "history", "admin"]

[store]
url = "sqlite://{directory}/switchboard.db"

[ingest.inbox]
path = "{directory}/inbox"

[providers.huanxin]
kind = "huanxin"
receive_only = {huanxin_only}
app_key = "{HUANXIN_APP}"
client_id = "demo-client"
client_secret = "demo-client-secret"
callback_secret = "{CALLBACK_SECRET}"
base_url = "{}"

[providers.rongcloud]
kind = "rongcloud"
receive_only = {rongcloud_only}
app_key = "demoappkey"
app_secret = "demo-app-secret"
base_url = "{}"
callbacks = {{ server_messages = true }}

[routing]
default = "{active}"
"#,
            self.huanxin.base_url(),
            self.rongcloud.base_url(),
        )
    }

    pub(super) fn set_faults(&self, vendor: Vendor, faults: Faults) {
        match vendor {
            Vendor::Huanxin => self.huanxin.set_faults(faults),
            Vendor::RongCloud => self.rongcloud.set_faults(faults),
        }
    }

    pub(super) fn switchboard(&self) -> Result<&Switchboard> {
        let running = self.running.as_ref().map(|(switchboard, _)| switchboard);
        running.ok_or_else(|| Error::new(ErrorKind::Closed, "the sidecar does not run"))
    }

    pub(super) fn url(&self) -> String {
        self.address.map(|address| format!("http://{address}")).unwrap_or_default()
    }

    pub(super) fn directory(&self) -> &Path {
        &self.path
    }

    pub(super) fn config_path(&self) -> PathBuf {
        self.path.join("switchboard.toml")
    }
}

fn not_started(error: StartError) -> Error {
    Error::new(ErrorKind::Config, "an emulator could not be started").with_source(error)
}
