//! The product behind the chat page, and the business it serves.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use switchboard_contract::{
    ConversationKind, Error, ErrorKind, EventData, LoginToken, Result, TenantId, Topic, UserId, UserProfile,
};
use tempfile::TempDir;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::past;
use crate::config::Config;
use crate::demo::stage::TOKEN;
use crate::hub::{Delivery, Subscription};
use crate::sending::{Outgoing, To};
use crate::sidecar::{Server, install_metrics};
use crate::switchboard::{Subscriber, Switchboard};

/// The gate's port, if it is free.
const GATE: u16 = 7070;
/// The user in whose name the business answers.
const SUPPORT: &str = "support";
/// How long a restart keeps the service away.
const DOWN: Duration = Duration::from_secs(3);
/// What was said longer ago was said before this run: nobody waits for an answer.
const FRESH: Duration = Duration::from_secs(300);

/// What runs behind the page. Its addresses stay over a restart.
#[derive(Debug)]
pub(super) struct Chat {
    path: PathBuf,
    temporary: Option<TempDir>,
    gate: SocketAddr,
    api: SocketAddr,
    running: Mutex<Option<Running>>,
    tasks: TaskTracker,
    restart: Notify,
}

#[derive(Debug)]
struct Running {
    switchboard: Switchboard,
    server: Server,
    support: JoinHandle<()>,
}

impl Chat {
    /// Opens it in `directory`, or in one that ends with it. A new one gets a past.
    pub(super) async fn open(directory: Option<PathBuf>) -> Result<Self> {
        let unusable = |error: std::io::Error| {
            Error::new(ErrorKind::Storage, format!("no directory for the chat's files: {error}")).with_source(error)
        };
        let (path, temporary) = match directory {
            Some(path) => {
                std::fs::create_dir_all(&path).map_err(unusable)?;
                (path, None)
            }
            None => {
                let made = tempfile::Builder::new().prefix("switchboard-chat-").tempdir().map_err(unusable)?;
                (made.path().to_owned(), Some(made))
            }
        };
        let (gate, api) = (free(GATE)?, free(0)?);
        let (running, tasks, restart) = (Mutex::default(), TaskTracker::new(), Notify::new());
        let chat = Self { path, temporary, gate, api, running, tasks, restart };
        past::tell(&chat.config()?).await?;
        *chat.running.lock().await = Some(chat.start().await?);
        Ok(chat)
    }

    async fn start(&self) -> Result<Running> {
        let config = self.config()?;
        let (server, tokens) = (config.server.clone(), config.tokens.clone());
        let switchboard = Switchboard::open(config).await?;
        let server = Server::start(&switchboard, &server, &tokens, Some(install_metrics()?)).await?;
        let support = switchboard.subscribe(Subscriber::named(SUPPORT).topics([Topic::Messages])).await?;
        let support = self.tasks.spawn(answer(support, switchboard.clone()));
        Ok(Running { switchboard, server, support })
    }

    /// What a user would write to run this for good, but for the addresses.
    fn config(&self) -> Result<Config> {
        let (directory, api, gate) = (self.path.display(), self.api, self.gate);
        let text = format!(
            r#"[server]
listen = "{api}"

[[tokens]]
name = "demo"
secret = "{TOKEN}"
scopes = ["messages", "subscribe", "history", "admin"]

[store]
url = "sqlite://{directory}/switchboard.db"

[ingest.inbox]
path = "{directory}/inbox"

[providers.own]
kind = "selfhosted"
websocket = "{gate}"
tcp = "off"

[routing]
default = "own"
"#
        );
        let path = self.path.join("switchboard.toml");
        std::fs::write(&path, text).map_err(|error| {
            Error::new(ErrorKind::Storage, "the configuration cannot be written").with_source(error)
        })?;
        Config::load(path)
    }

    pub(super) fn ask_for_restart(&self) {
        self.restart.notify_one();
    }

    /// Whenever it is asked for: takes everything down, stays away for a while, and comes back. That is what a
    /// deployment looks like from outside.
    pub(super) async fn restart_when_asked(&self) -> Result<()> {
        loop {
            self.restart.notified().await;
            let mut running = self.running.lock().await;
            if let Some(running) = running.take() {
                running.stop().await?;
            }
            tokio::time::sleep(DOWN).await;
            *running = Some(self.start().await?);
        }
    }

    /// A token with which the user's page logs in at the gate. In a real business its own login page asks for this.
    pub(super) async fn login(&self, user: &str) -> Result<LoginToken> {
        let profile = UserProfile { name: Some(user.to_owned()), ..UserProfile::default() };
        let (provider, id) = self.at_provider(user).await?;
        let users = provider.users().ok_or_else(|| Error::unsupported("users"))?;
        users.login_token(&id, &profile).await
    }

    /// Forces the user off every device.
    pub(super) async fn kick(&self, user: &str) -> Result<()> {
        let (provider, id) = self.at_provider(user).await?;
        provider.users().ok_or_else(|| Error::unsupported("users"))?.kick(&id).await
    }

    async fn at_provider(
        &self,
        user: &str,
    ) -> Result<(std::sync::Arc<dyn switchboard_contract::Provider>, switchboard_contract::VendorUserId)> {
        let away = || Error::new(ErrorKind::Unavailable, "the service is away for a moment");
        // While it restarts nobody waits for it.
        let running = self.running.try_lock().map_err(|_| away())?;
        let switchboard = &running.as_ref().ok_or_else(away)?.switchboard;
        let tenant = TenantId::default();
        let provider = switchboard.tenant(tenant.clone()).provider(None)?;
        let id = switchboard.identity().vendor_user(&tenant, &*provider, &UserId::from(user)).await?;
        Ok((provider, id))
    }

    pub(super) fn gate_url(&self) -> String {
        format!("ws://{}", self.gate)
    }

    pub(super) fn api_url(&self) -> String {
        format!("http://{}", self.api)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.path
    }

    /// Ends everything, and the files too when they are nobody's.
    pub(super) async fn close(&self) -> Result<()> {
        let stopped = match self.running.lock().await.take() {
            Some(running) => running.stop().await,
            None => Ok(()),
        };
        self.tasks.close();
        self.tasks.wait().await;
        if let Some(directory) = &self.temporary {
            let _ = std::fs::remove_dir_all(directory.path());
        }
        stopped
    }
}

impl Running {
    async fn stop(self) -> Result<()> {
        self.server.stop().await;
        let stopped = self.switchboard.shutdown().await;
        self.support.abort();
        stopped
    }
}

/// A port of the loopback that is free now: this one, or any.
fn free(port: u16) -> Result<SocketAddr> {
    let at = |port| std::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let found = at(port).or_else(|_| at(0)).and_then(|listener| listener.local_addr());
    found.map_err(|error| Error::new(ErrorKind::Config, "no port is free").with_source(error))
}

/// The business: whoever writes to it gets an answer. It meets nothing but the engine.
async fn answer(mut messages: Subscription, switchboard: Switchboard) {
    while let Some(delivery) = messages.next().await {
        if let Err(error) = reply(&delivery, &switchboard).await {
            tracing::warn!(%error, "support could not answer");
        }
        if let Err(error) = delivery.ack().await {
            tracing::warn!(%error, "support could not acknowledge");
        }
    }
}

async fn reply(delivery: &Delivery, switchboard: &Switchboard) -> Result<()> {
    let event = delivery.event()?;
    let (Some(conversation), EventData::Message(message)) = (&event.conversation, &event.data) else { return Ok(()) };
    let me = UserId::from(SUPPORT);
    let direct = conversation.kind() == ConversationKind::Direct;
    let (Some(customer), true) = (conversation.peer_of(&me), direct) else { return Ok(()) };
    let for_me = conversation.parts().iter().any(|part| part == SUPPORT) && message.from != me && !message.recalled;
    if !for_me || switchboard.clock().now().since(event.sent_at) > FRESH {
        return Ok(());
    }
    let number = delivery.entry().sequence.map_or(0, |sequence| sequence.0);
    let text = format!(
        "Hello {customer}, this is no person but a program: it subscribed to Switchboard, got line {number} of our \
         conversation from it, and answers through it."
    );
    // Under one key for each message: a repeat after a crash is harmless.
    let key = format!("answer-{}", message.id);
    switchboard.send(Outgoing::text(SUPPORT, To::user(customer), text).client_id(key)).await.map(drop)
}
