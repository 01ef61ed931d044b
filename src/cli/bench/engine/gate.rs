//! The self-hosted service with its gate, on a database of its own.

use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use serde_json::json;
use switchboard_contract::storage::Store as _;
use switchboard_contract::{
    Body, CallHeaders, Error, ErrorKind, Ext, Link as _, NewGroup, OutboundMessage, Provider as _, Result, SendOptions,
    Target, TenantId, UserProfile,
};
use switchboard_selfhosted::{SelfHosted, SelfHostedConfig, Surroundings};

use crate::cli::bench::child::Ready;
use crate::cli::bench::engine::append::FILE;
use crate::cli::bench::gate::{GROUP, SECRET, user};
use crate::cli::bench::measure::{Figure, failed};
use crate::cli::bench::role::{ready, told_to_stop};
use crate::clock::SystemClock;
use crate::store::sqlite::{SqliteOptions, SqliteStore};

/// What the service has to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::cli::bench) struct Gate {
    /// Where its database is, or shall be.
    pub(in crate::cli::bench) dir: PathBuf,
    /// Users `u0` and on; they are made first.
    pub(in crate::cli::bench) users: usize,
    /// Whether all of them are in one group.
    pub(in crate::cli::bench) group: bool,
    /// Messages from `u1` that wait for `u0`.
    pub(in crate::cli::bench) waiting: usize,
}

/// Serves until told to stop.
pub(in crate::cli::bench) async fn run(gate: Gate) -> Result<Figure> {
    let store = SqliteStore::open(SqliteOptions::at(gate.dir.join(FILE))).await?;
    let settings = json!({
        "websocket": "127.0.0.1:0", "tcp": "off", "secret": SECRET, "writes_per_second": u32::MAX,
        "max_strangers": 20_000, "heartbeat": "5m", "login_within": "1m",
    });
    let config: SelfHostedConfig = serde_json::from_value(settings)
        .map_err(|error| Error::new(ErrorKind::Internal, "the service's settings").with_source(error))?;
    let log = store.timelines(&TenantId::default(), &config.app()).await?;
    let clock = Arc::new(SystemClock);
    let around = Surroundings { log, clock, secret: Vec::new(), verifier: None, push: None };
    let own = SelfHosted::start(config, around).await?;
    let mut made: FuturesUnordered<_> = FuturesUnordered::new();
    for number in 0..gate.users {
        let service = own.service().clone();
        made.push(async move { service.ensure(&user(number).as_str().into(), &UserProfile::default()).await });
        if made.len() >= 256
            && let Some(one) = made.next().await
        {
            one?;
        }
    }
    while let Some(one) = made.next().await {
        one?;
    }
    if gate.group {
        let members = (1..gate.users).map(|number| user(number).as_str().into()).collect();
        let (id, owner) = (Some(GROUP.into()), user(0).as_str().into());
        let new = NewGroup { id, room: false, name: "bench".to_owned(), owner, members };
        if let Some(groups) = own.groups() {
            groups.create(&new).await?;
        }
    }
    fill(&own, gate.waiting).await?;
    let address = own.gate().websocket();
    let address = address.ok_or_else(|| Error::new(ErrorKind::Internal, "the gate does not listen"))?;
    ready(Ready { address, meter: None });
    told_to_stop().await;
    own.close().await;
    store.close().await;
    Ok(Figure::default())
}

async fn fill(own: &SelfHosted, messages: usize) -> Result<()> {
    let text = "x".repeat(60);
    let mut open: FuturesUnordered<_> = FuturesUnordered::new();
    for _ in 0..messages {
        let message = OutboundMessage {
            from: user(1).as_str().into(),
            target: Target::Users(vec![user(0).as_str().into()]),
            body: Body::text(text.as_str()),
            ext: Ext::new(),
            mark: None,
            mentions_everyone: false,
            mentions: Vec::new(),
            options: SendOptions::default(),
            headers: CallHeaders::new(),
        };
        open.push(async move { own.messaging().send(&message).await });
        if open.len() >= 512
            && let Some(sent) = open.next().await
        {
            sent?;
        }
    }
    while let Some(sent) = open.next().await {
        sent?;
    }
    Ok(())
}

/// The database's file of a service that has stopped or serves.
pub(in crate::cli::bench) fn database(dir: &std::path::Path) -> Result<rusqlite::Connection> {
    rusqlite::Connection::open(dir.join(FILE)).map_err(failed("the service's database cannot be opened"))
}
