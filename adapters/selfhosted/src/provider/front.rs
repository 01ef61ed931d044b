//! The provider as the engine sees it, whichever office stands behind it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use switchboard_contract::{
    App, CallbackCodec, Clock, Error, ErrorKind, GroupNaming, Groups, Link, Messaging, Naming, Provider, RawCallback,
    Result, Roaming, Spelling, Users,
};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::callbacks::Seal;
use super::desk::{Answer, Call, Office};

/// Nearly every id is itself.
const SPELLING: Spelling =
    Spelling { allowed: |byte| byte.is_ascii_graphic(), prefix: "~", escape: b'~', max_bytes: 255 };

/// Checks and translates; the office answers.
pub(super) struct Front {
    pub(super) app: App,
    pub(super) office: Arc<dyn Office>,
    pub(super) seal: Seal,
    pub(super) max_content_bytes: usize,
    pub(super) clock: Arc<dyn Clock>,
    /// The longest look without anything.
    pub(super) patience: Duration,
    /// The last line handed out; none before the first look. One caller at a time.
    pub(super) handed_out: Mutex<Option<u64>>,
    pub(super) closed: CancellationToken,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("app", &self.app).field("office", &self.office).finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for Front {
    fn app(&self) -> &App {
        &self.app
    }

    fn naming(&self) -> Naming {
        Naming { users: SPELLING, groups: GroupNaming::Business(SPELLING), rooms: GroupNaming::Business(SPELLING) }
    }

    async fn probe(&self) -> Result<()> {
        self.office.call(Call::Probe).await.map(drop)
    }

    fn messaging(&self) -> &dyn Messaging {
        self
    }

    fn callbacks(&self) -> Option<&dyn CallbackCodec> {
        Some(&self.seal)
    }

    fn roaming(&self) -> Option<&dyn Roaming> {
        Some(self)
    }

    fn users(&self) -> Option<&dyn Users> {
        Some(self)
    }

    fn groups(&self) -> Option<&dyn Groups> {
        Some(self)
    }

    fn link(&self) -> Option<&dyn Link> {
        Some(self)
    }
}

/// How the engine learns of everything that happens at the service: it reads the log as a device reads its timeline.
/// The next look acknowledges the last.
#[async_trait]
impl Link for Front {
    async fn next(&self) -> Result<Vec<RawCallback>> {
        let mut handed_out = self.handed_out.lock().await;
        let wait_ms = u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX);
        let asked = self.office.call(Call::Next { after: *handed_out, wait_ms });
        let answer = tokio::select! {
            answer = asked => answer?,
            () = self.closed.cancelled() => return Err(Error::new(ErrorKind::Closed, "the link is closed")),
        };
        let Answer::Notice(notice) = answer else {
            return Err(Error::new(ErrorKind::Decode, "the service answered with something else"));
        };
        let Some(notice) = notice else { return Ok(Vec::new()) };
        *handed_out = Some(notice.last);
        let (path, query, received_at) = (String::new(), String::new(), self.clock.now());
        Ok(vec![RawCallback { path, query, headers: notice.headers, body: notice.body, received_at }])
    }

    async fn close(&self) {
        self.closed.cancel();
    }
}
