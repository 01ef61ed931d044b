//! `switchboard emulate`.

use std::path::PathBuf;

use clap::Subcommand;
use switchboard_contract::{Error, ErrorKind};
use switchboard_emulators::huanxin::HuanxinEmulator;
use switchboard_emulators::rongcloud::RongCloudEmulator;
use switchboard_emulators::{Faults, StartError};

use super::{print_line, start_logging};
use crate::config::LogConfig;

/// Run a vendor's emulator until Ctrl-C. Act as an end user, set faults and read the ground truth below
/// `/_emulator/` of its address.
#[derive(Debug, clap::Args)]
pub(crate) struct Emulate {
    #[command(subcommand)]
    vendor: Vendor,
}

#[derive(Debug, Subcommand)]
enum Vendor {
    /// Huanxin (Easemob).
    Huanxin {
        #[command(flatten)]
        common: Common,
        /// The app key, org#app.
        #[arg(long, default_value = "demo#app")]
        app_key: String,
        /// The REST client id.
        #[arg(long, default_value = "demo-client")]
        client_id: String,
        /// The REST client secret.
        #[arg(long, default_value = "demo-client-secret")]
        client_secret: String,
        /// The secret that callbacks are signed with.
        #[arg(long, default_value = "demo-callback-secret")]
        callback_secret: String,
    },
    /// RongCloud.
    Rongcloud {
        #[command(flatten)]
        common: Common,
        /// The app key.
        #[arg(long, default_value = "demoappkey")]
        app_key: String,
        /// The app secret, for calls and callbacks alike.
        #[arg(long, default_value = "demo-app-secret")]
        app_secret: String,
    },
}

#[derive(Debug, clap::Args)]
struct Common {
    /// The port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 7001)]
    port: u16,
    /// Where callbacks go, such as http://127.0.0.1:8080/callbacks/main.
    #[arg(long)]
    callback_url: Option<String>,
    /// The seed of everything left to chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Faults as JSON, in the form of `PUT /_emulator/faults`.
    #[arg(long)]
    faults: Option<PathBuf>,
}

impl Common {
    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn faults(&self) -> Result<Faults, Error> {
        let Some(path) = &self.faults else { return Ok(Faults::default()) };
        let wrong = |error: String| Error::new(ErrorKind::InvalidInput, format!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
    }
}

impl Emulate {
    pub(crate) async fn run(self) -> Result<(), Error> {
        start_logging(&LogConfig::default())?;
        match self.vendor {
            Vendor::Huanxin { common, app_key, client_id, client_secret, callback_secret } => {
                let mut builder = HuanxinEmulator::builder()
                    .listen(common.address())
                    .credentials(&app_key, &client_id, &client_secret)
                    .seed(common.seed)
                    .faults(common.faults()?);
                if let Some(url) = &common.callback_url {
                    builder = builder.callback_url(url, &callback_secret);
                }
                let emulator = builder.start().await.map_err(not_started)?;
                started("Huanxin", &emulator.base_url(), common.seed);
                wait().await;
                emulator.shutdown().await;
            }
            Vendor::Rongcloud { common, app_key, app_secret } => {
                let mut builder = RongCloudEmulator::builder()
                    .listen(&common.address())
                    .credentials(&app_key, &app_secret)
                    .seed(common.seed)
                    .faults(common.faults()?);
                if let Some(url) = &common.callback_url {
                    builder = builder.callback_url(url);
                }
                let emulator = builder.start().await.map_err(not_started)?;
                started("RongCloud", &emulator.base_url(), common.seed);
                wait().await;
                emulator.shutdown().await;
            }
        }
        Ok(())
    }
}

fn started(vendor: &str, url: &str, seed: u64) {
    print_line(format_args!("{vendor} emulated at {url} (seed {seed}); state at {url}/_emulator/state"));
}

fn not_started(error: StartError) -> Error {
    Error::new(ErrorKind::Config, "the emulator could not be started").with_source(error)
}

async fn wait() {
    // A process that cannot watch for Ctrl-C runs until it is killed.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
