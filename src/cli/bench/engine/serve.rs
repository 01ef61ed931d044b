//! The sidecar, as `switchboard serve` runs it, with a store and an inbox of its own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use switchboard_contract::storage::{StartAt, SubscriberSpec};
use switchboard_contract::{Result, SubscriberName, TenantId};
use tokio::sync::watch;

use super::acking;
use crate::cli::bench::callbacks::{APP, CONVERSATIONS, SECRET, Vendor};
use crate::cli::bench::child::Ready;
use crate::cli::bench::engine::append::FILE;
use crate::cli::bench::events::Events;
use crate::cli::bench::measure::Figure;
use crate::cli::bench::meter;
use crate::cli::bench::raw::fanout::BURST;
use crate::cli::bench::role::{ready, told_to_stop};
use crate::config::Config;
use crate::sidecar::{Server, install_metrics};
use crate::switchboard::{Subscriber, Switchboard};

/// Where a stream is opened; `{}` stands for its number.
pub(in crate::cli::bench) const STREAM_PATH: &str = "/v1/subscribers/s{}/stream";
/// The API's token.
pub(in crate::cli::bench) const TOKEN: &str = "bench-token-of-no-worth";

/// Messages published and not yet read by the slowest stream, at most: what a subscriber may have in flight.
const WINDOW: u64 = 1024;

/// What the sidecar has to do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in crate::cli::bench) struct Serve {
    /// Where the store and the inbox are, or shall be.
    pub(in crate::cli::bench) dir: PathBuf,
    /// Whether the inbox is journalled, or only filled.
    pub(in crate::cli::bench) journal: bool,
    /// Whether a subscriber in the process acknowledges everything; the meter tells how much.
    pub(in crate::cli::bench) subscriber: bool,
    /// Subscribers for streams, `s0` and on, that want what comes from now on.
    pub(in crate::cli::bench) streams: usize,
    /// Whether messages are journalled as fast as the slowest stream reads; the meter hears how much.
    pub(in crate::cli::bench) publish: bool,
    /// Messages to append before anything else.
    pub(in crate::cli::bench) touch: u64,
    /// Conversations they are spread over; as many as everywhere when 0.
    pub(in crate::cli::bench) over: u64,
    /// Room for callbacks that are not journalled; 256 MiB when 0.
    pub(in crate::cli::bench) inbox_mib: u64,
}

impl Serve {
    /// One that does nothing by itself.
    pub(in crate::cli::bench) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), ..Self::default() }
    }

    fn config(&self) -> Result<Config> {
        let (dir, mut text) = (self.dir.display(), String::new());
        // An inbox that is only filled must hold a whole measurement.
        let inbox_mib = if self.journal || self.inbox_mib == 0 { 256 } else { self.inbox_mib };
        let written = write!(
            text,
            "[server]\nlisten = '127.0.0.1:0'\nmax_streams_per_token = 4096\n\
             [[tokens]]\nname = 'bench'\nsecret = '{TOKEN}'\nscopes = ['messages', 'subscribe', 'history', 'admin']\n\
             [store]\nurl = 'sqlite://{dir}/{FILE}'\n\
             [ingest.inbox]\npath = '{dir}/inbox'\ncapacity_bytes = {}\n\
             [log]\nlevel = 'error'\n\
             [routing]\ndefault = 'huanxin'\n",
            inbox_mib << 20_u64
        )
        .and_then(|()| Vendor::ALL.iter().try_for_each(|vendor| provider(*vendor, &mut text)));
        debug_assert!(written.is_ok(), "memory takes everything");
        Config::parse(&text)
    }
}

/// A provider whose vendor is never called: nothing here sends.
fn provider(vendor: Vendor, text: &mut String) -> std::fmt::Result {
    let kind = vendor.kind();
    let secrets = match vendor {
        Vendor::Huanxin => format!("client_id = 'c'\nclient_secret = 'c'\ncallback_secret = '{SECRET}'"),
        Vendor::RongCloud => format!("app_secret = '{SECRET}'"),
    };
    writeln!(text, "[providers.{kind}]\nkind = '{kind}'\napp_key = '{APP}'\nbase_url = 'http://127.0.0.1:9'\n{secrets}")
}

/// Serves until told to stop.
pub(in crate::cli::bench) async fn run(serve: Serve) -> Result<Figure> {
    let config = serve.config()?;
    let (listen, tokens) = (config.server.clone(), config.tokens.clone());
    let metrics = install_metrics()?;
    let switchboard = Switchboard::open(config).await?;
    if !serve.journal {
        switchboard.ingest().pause();
    }
    touch(&switchboard, serve.touch, if serve.over == 0 { CONVERSATIONS } else { serve.over }).await?;
    let tenant = TenantId::default();
    for number in 0..serve.streams {
        let name = SubscriberName::from(format!("s{number}"));
        let spec = SubscriberSpec { start: StartAt::Now, ..SubscriberSpec::default() };
        switchboard.hub().put(&tenant, &name, spec).await?;
    }
    let mut meter = None;
    if serve.subscriber {
        let delivered = Arc::new(AtomicU64::new(0));
        let subscription = switchboard.subscribe(Subscriber::named("bench").start(StartAt::Now)).await?;
        tokio::spawn(acking::acknowledge(subscription, Arc::clone(&delivered), u64::MAX));
        meter = Some(meter::tell(move || delivered.load(Ordering::Relaxed)).await?);
    }
    let server = Server::start(&switchboard, &listen, &tokens, Some(metrics)).await?;
    if serve.publish {
        let (address, slowest) = meter::hear().await?;
        tokio::spawn(publish(switchboard.clone(), slowest));
        meter = Some(address);
    }
    ready(Ready { address: server.address(), meter });
    told_to_stop().await;
    server.stop().await;
    switchboard.shutdown().await?;
    Ok(Figure::default())
}

/// Appends so many messages, spread over so many conversations.
async fn touch(switchboard: &Switchboard, messages: u64, conversations: u64) -> Result<()> {
    let tail = switchboard.store().tail(&TenantId::default(), switchboard_contract::Shard(0)).await?;
    let mut events = Events::new(tail.0, conversations);
    let mut left = messages;
    while left > 0 {
        let size = left.min(1024);
        switchboard.store().commit(events.commit(usize::try_from(size).unwrap_or(1))).await?;
        left -= size;
    }
    Ok(())
}

/// Journals burst after burst, within a window of the slowest stream. Ends when the streams' reader goes.
async fn publish(switchboard: Switchboard, mut slowest: watch::Receiver<u64>) -> Result<()> {
    let (mut events, mut published) = (Events::new(0, CONVERSATIONS), 0);
    // The reader tells its first number once every stream is open.
    while slowest.changed().await.is_ok() {
        while published + BURST as u64 <= *slowest.borrow_and_update() + WINDOW {
            switchboard.store().commit(events.commit(BURST)).await?;
            published += BURST as u64;
        }
    }
    Ok(())
}
