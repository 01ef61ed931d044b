//! A vendor on script: it accepts, loses, refuses, cuts answers, shows history late, and counts against its quotas.

mod history;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use switchboard_contract::storage::{Commit, Draft, LegGuard, Store};
use switchboard_contract::*;

use crate::ingest::{Echo, EchoBook, EchoCandidate};

const SPELLING: Spelling = Spelling {
    allowed: |byte| byte.is_ascii_alphanumeric() || byte == b'-',
    prefix: "x-",
    escape: b'-',
    max_bytes: 64,
};

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Act {
    /// Taken and answered.
    Accept,
    /// Taken and answered without an id.
    AcceptWithoutId,
    /// Taken, and the answer never comes.
    Cut,
    /// Not taken, and the answer never comes.
    Lose,
    /// Taken, and the call never ends.
    Hang,
    /// Refused.
    Refuse(ErrorKind, Retry),
}

type Listener = (TenantId, Arc<dyn EchoBook>, Arc<dyn Store>);
type Script = Box<dyn FnMut(&OutboundMessage) -> Act + Send>;

/// One message the vendor carries.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    pub id: VendorMessageId,
    pub at: Timestamp,
    pub from: VendorUserId,
    pub target: Target,
    pub body: Body,
    pub mark: Option<String>,
}

#[derive(Default)]
struct Inner {
    carried: Vec<Carried>,
    calls: Vec<(Timestamp, ConversationKind, u32)>,
    rate_errors: usize,
    recalls: Vec<RecallRequest>,
    probes: usize,
    script: Option<Script>,
    /// How everything ends while it is down.
    down: Option<(ErrorKind, Retry)>,
}

/// Everything that differs between vendors.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    pub latency: Duration,
    pub echo_after: Option<Duration>,
    pub query: Option<Duration>,
    pub query_is_proof: bool,
    pub files: bool,
    pub quotas: Vec<(ConversationKind, Quota)>,
    pub max_users: u32,
    pub bodies: Vec<&'static str>,
    pub refuses_all: bool,
    pub page: u32,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(20),
            echo_after: None,
            query: None,
            query_is_proof: true,
            files: false,
            quotas: Vec::new(),
            max_users: 100,
            bodies: vec!["text", "custom"],
            refuses_all: false,
            page: 2,
        }
    }
}

pub(super) struct Vendor {
    app: App,
    manner: Manner,
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
    echoes: Mutex<Option<Listener>>,
}

impl fmt::Debug for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vendor({})", self.app)
    }
}

impl Vendor {
    pub(super) fn new(key: &str, manner: Manner, clock: Arc<dyn Clock>) -> Arc<Self> {
        let app = App::new("scripted", key);
        Arc::new(Self { app, manner, clock, inner: Mutex::default(), echoes: Mutex::default() })
    }

    /// The same vendor after a restart of ours.
    pub(super) fn again(&self, clock: Arc<dyn Clock>) -> Arc<Self> {
        let inner = std::mem::take(&mut *self.inner.lock());
        let (app, manner) = (self.app.clone(), self.manner.clone());
        Arc::new(Self { app, manner, clock, inner: Mutex::new(inner), echoes: Mutex::default() })
    }

    pub(super) fn script(&self, script: impl FnMut(&OutboundMessage) -> Act + Send + 'static) {
        self.inner.lock().script = Some(Box::new(script));
    }

    /// From now on nothing can be had from it, or everything again.
    pub(super) fn set_down(&self, down: Option<(ErrorKind, Retry)>) {
        self.inner.lock().down = down;
    }

    fn is_up(&self) -> Result<()> {
        match self.inner.lock().down {
            Some((kind, retry)) => Err(Error::new(kind, "it is down").with_retry(retry)),
            None => Ok(()),
        }
    }

    pub(super) fn connect(&self, tenant: TenantId, book: Arc<dyn EchoBook>, store: Arc<dyn Store>) {
        *self.echoes.lock() = Some((tenant, book, store));
    }

    pub(super) fn carried(&self) -> Vec<Carried> {
        self.inner.lock().carried.clone()
    }

    /// How often each text was carried to each place.
    pub(super) fn copies(&self) -> HashMap<(Target, String), usize> {
        let mut copies = HashMap::new();
        for carried in self.carried() {
            let Body::Text(text) = carried.body else { continue };
            *copies.entry((carried.target, text.text)).or_default() += 1;
        }
        copies
    }

    pub(super) fn calls(&self) -> Vec<(Timestamp, ConversationKind, u32)> {
        self.inner.lock().calls.clone()
    }

    pub(super) fn rate_errors(&self) -> usize {
        self.inner.lock().rate_errors
    }

    pub(super) fn recalls(&self) -> Vec<RecallRequest> {
        self.inner.lock().recalls.clone()
    }

    pub(super) fn probes(&self) -> usize {
        self.inner.lock().probes
    }

    /// Somebody else's message, so that an hour is not empty.
    pub(super) fn chatter(&self, at: Timestamp) {
        let from = VendorUserId::from("stranger");
        let target = Target::Users(vec!["other".into()]);
        self.inner.lock().carry(at, from, target, Body::text("chatter"), None);
    }

    fn over_quota(&self, kind: ConversationKind, units: u32, now: Timestamp) -> bool {
        let inner = self.inner.lock();
        self.manner.quotas.iter().filter(|(of, _)| *of == kind).any(|(_, quota)| {
            let recent = inner.calls.iter().filter(|(at, of, _)| *of == kind && now.since(*at) < quota.per);
            let (calls, sum) = recent.fold((0, 0), |(calls, sum), (_, _, units)| (calls + 1, sum + units));
            quota.calls.is_some_and(|most| calls + 1 > most) || quota.units.is_some_and(|most| sum + units > most)
        })
    }

    /// Calls back for a message, as ingest would take it in.
    pub(super) fn call_back(&self, carried: &Carried) {
        let Some(after) = self.manner.echo_after else { return };
        let Some((tenant, book, store)) = self.echoes.lock().clone() else { return };
        let (app, carried, clock) = (self.app.clone(), carried.clone(), Arc::clone(&self.clock));
        tokio::spawn(async move {
            clock.sleep(after).await;
            take_in(&*store, &*book, &tenant, &app, &carried, clock.now()).await;
        });
    }
}

impl Inner {
    fn carry(
        &mut self,
        at: Timestamp,
        from: VendorUserId,
        target: Target,
        body: Body,
        mark: Option<String>,
    ) -> Carried {
        let id = VendorMessageId::from(format!("v{:06}", self.carried.len()));
        let carried = Carried { id, at, from, target, body, mark };
        self.carried.push(carried.clone());
        carried
    }
}

fn user(spelled: &VendorUserId) -> UserId {
    UserId::from(SPELLING.decode(spelled.as_str()))
}

/// The conversation a message of the scripted vendor is in.
pub(super) fn conversation(carried: &Carried) -> ConversationId {
    let from = user(&carried.from);
    match &carried.target {
        Target::Users(users) => ConversationId::direct(&from, &user(&users[0])),
        Target::System(users) => ConversationId::system(&from, &user(&users[0])),
        Target::Group { group, .. } => ConversationId::group(&SPELLING.decode(group.as_str()).into()),
        Target::Room { room } => ConversationId::room(&SPELLING.decode(room.as_str()).into()),
    }
}

/// What ingest does with a message that came in: asks the book, and writes message and step together.
pub(super) async fn take_in(
    store: &dyn Store,
    book: &dyn EchoBook,
    tenant: &TenantId,
    app: &App,
    carried: &Carried,
    now: Timestamp,
) -> bool {
    let (conversation, sender) = (conversation(carried), user(&carried.from));
    let candidate = EchoCandidate {
        mark: carried.mark.as_deref(),
        vendor_id: &carried.id,
        sender: &sender,
        conversation: &conversation,
        sent_at: carried.at,
    };
    loop {
        let echo = book.echo(tenant, app, &candidate).await.unwrap();
        let ours = echo.is_some();
        let commit = echoed(tenant, app, carried, echo, now);
        match store.commit(commit).await {
            Ok(_) => return ours,
            Err(error) => assert!(LegGuard::is_broken(&error), "{error:?}"),
        }
    }
}

fn echoed(tenant: &TenantId, app: &App, carried: &Carried, echo: Option<Echo>, now: Timestamp) -> Commit {
    let (conversation, sender) = (conversation(carried), user(&carried.from));
    let data = EventData::Message(Message {
        id: echo.as_ref().map_or_else(MessageId::generate, |echo| echo.message_id),
        vendor_id: Some(carried.id.clone()),
        from: sender,
        audience: vec![],
        body: Some(carried.body.clone()),
        ext: Ext::new(),
        mentions: None,
        client_message_id: echo.as_ref().and_then(|echo| echo.client_message_id.clone()),
        recalled: false,
    });
    let key = echo.as_ref().and_then(|echo| echo.key.clone()).unwrap_or_else(|| EventKey::message(&carried.id));
    let draft = Draft {
        digest: crate::ingest::digest(Some(&conversation), &data),
        event: Event {
            id: EventId::generate(),
            tenant: tenant.clone(),
            app: Some(app.clone()),
            conversation: Some(conversation),
            sent_at: carried.at,
            received_at: now,
            origin: Origin::Callback,
            late: false,
            data,
        },
        key,
        sort_key: carried.id.as_str().to_owned(),
        raw: None,
    };
    let (change, only_if) = echo.map(|echo| (echo.change, echo.only_if)).unwrap_or_default();
    let (changes, only_if) = (change.into_iter().collect(), only_if.into_iter().collect());
    Commit { only_if, drafts: vec![draft], changes, ..Commit::default() }
}

pub(super) fn inbound(carried: &Carried) -> Inbound {
    let place = match &carried.target {
        Target::Users(users) => InboundPlace::Direct { from: carried.from.clone(), to: users[0].clone() },
        Target::System(users) => InboundPlace::System { from: carried.from.clone(), to: users[0].clone() },
        Target::Group { group, channel, .. } => InboundPlace::Group { group: group.clone(), channel: channel.clone() },
        Target::Room { room } => InboundPlace::GroupOrRoom { id: room.clone() },
    };
    Inbound {
        key: EventKey::message(&carried.id),
        place,
        sent_at: carried.at,
        sort_key: carried.id.as_str().to_owned(),
        data: InboundData::Message(InboundMessage {
            id: carried.id.clone(),
            from: carried.from.clone(),
            audience: vec![],
            body: carried.body.clone(),
            ext: Ext::new(),
            mentions_everyone: false,
            mentions: vec![],
        }),
        mark: carried.mark.clone(),
        clues: Clues::default(),
        raw: Bytes::new(),
    }
}

#[async_trait]
impl Provider for Vendor {
    fn app(&self) -> &App {
        &self.app
    }
    fn naming(&self) -> Naming {
        Naming { users: SPELLING, groups: GroupNaming::Business(SPELLING), rooms: GroupNaming::Business(SPELLING) }
    }
    async fn probe(&self) -> Result<()> {
        self.inner.lock().probes += 1;
        self.is_up()
    }
    fn messaging(&self) -> &dyn Messaging {
        self
    }
    fn roaming(&self) -> Option<&dyn Roaming> {
        self.manner.query.is_some().then_some(self)
    }
    fn history_files(&self) -> Option<&dyn HistoryFiles> {
        self.manner.files.then_some(self)
    }
}

#[async_trait]
impl Messaging for Vendor {
    fn limits(&self) -> MessagingLimits {
        MessagingLimits {
            bodies: self.manner.bodies.clone(),
            targets: vec![ConversationKind::Direct, ConversationKind::Group, ConversationKind::Room],
            max_users: self.manner.max_users,
            max_system_users: 0,
            max_bytes: 5000,
            quotas: self.manner.quotas.clone(),
            recall_window: None,
            echoes: self.manner.echo_after.is_some(),
            receipts: true,
        }
    }

    fn check(&self, message: &OutboundMessage) -> Result<()> {
        if message.options.silent || self.manner.refuses_all {
            return Err(Error::unsupported("silent"));
        }
        Ok(())
    }

    async fn send(&self, message: &OutboundMessage) -> Result<Vec<SentTo>> {
        self.clock.sleep(self.manner.latency / 2).await;
        self.is_up()?;
        let now = self.clock.now();
        let kind = message.target.kind();
        let to: Vec<Target> = match &message.target {
            Target::Users(users) => users.iter().map(|user| Target::Users(vec![user.clone()])).collect(),
            other => vec![other.clone()],
        };
        let units = u32::try_from(to.len()).unwrap();
        if self.over_quota(kind, units, now) {
            self.inner.lock().rate_errors += 1;
            return Err(Error::new(ErrorKind::RateLimited, "too fast"));
        }
        let act = {
            let mut inner = self.inner.lock();
            inner.calls.push((now, kind, units));
            inner.script.as_mut().map_or(Act::Accept, |script| script(message))
        };
        let mut answer = Vec::new();
        if !matches!(act, Act::Lose | Act::Refuse(..)) {
            for target in to {
                let user = if let Target::Users(users) = &target { users.first().cloned() } else { None };
                let (from, body, mark) = (message.from.clone(), message.body.clone(), message.mark.clone());
                let carried = self.inner.lock().carry(now, from, target, body, mark);
                self.call_back(&carried);
                answer.push(SentTo { user, id: (act != Act::AcceptWithoutId).then_some(carried.id) });
            }
        }
        self.clock.sleep(self.manner.latency / 2).await;
        match act {
            Act::Accept | Act::AcceptWithoutId => Ok(answer),
            Act::Cut | Act::Lose => Err(Error::new(ErrorKind::Internal, "no answer").with_retry(Retry::OutcomeUnknown)),
            Act::Hang => std::future::pending().await,
            Act::Refuse(kind, retry) => Err(Error::new(kind, "refused").with_retry(retry)),
        }
    }

    async fn recall(&self, recall: &RecallRequest) -> Result<()> {
        self.inner.lock().recalls.push(recall.clone());
        self.is_up()?;
        let inner = self.inner.lock();
        if inner.carried.iter().any(|carried| carried.id == recall.id) {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::NotFound, "no such message"))
        }
    }
}
