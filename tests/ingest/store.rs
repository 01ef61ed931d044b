//! The store in memory behind a database's bad days: locked, or refusing what somebody wrote.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use switchboard::store::memory::MemoryStore;
use switchboard_contract::storage::*;
use switchboard_contract::*;

#[derive(Clone, Debug, Default)]
pub(crate) struct Moody {
    inner: MemoryStore,
    /// Every write of events fails with this.
    pub(crate) locked: Arc<Mutex<Option<ErrorKind>>>,
    /// Events with this text are refused, with this error.
    pub(crate) poison: Arc<Mutex<Option<(&'static str, ErrorKind)>>>,
}

macro_rules! delegate {
    ($trait:ident { $(fn $name:ident($($arg:ident: $kind:ty),*) -> $answer:ty;)* } $($rest:tt)*) => {
        #[async_trait]
        impl $trait for Moody {
            $(async fn $name(&self, $($arg: $kind),*) -> $answer { self.inner.$name($($arg),*).await })*
            $($rest)*
        }
    };
}

delegate! { Journal {
    fn read(tenant: &TenantId, shard: Shard, after: Position, limit: usize) -> Result<Vec<Entry>>;
    fn read_conversation(
        tenant: &TenantId, conversation: &ConversationId, range: SequenceRange, limit: usize, newest: bool
    ) -> Result<Vec<Entry>>;
    fn backlog(
        tenant: &TenantId, shard: Shard, after: Position, until: Position, skip: usize, limit: usize
    ) -> Result<Vec<ConversationBacklog>>;
    fn tail(tenant: &TenantId, shard: Shard) -> Result<Position>;
    fn trimmed(tenant: &TenantId, shard: Shard) -> Result<Position>;
    fn trim(tenant: &TenantId, shard: Shard, until: Position) -> Result<u64>;
    fn position_before(tenant: &TenantId, shard: Shard, time: Timestamp) -> Result<Position>;
    fn find(tenant: &TenantId, app: &App, key: &EventKey) -> Result<Option<Entry>>;
    fn message(tenant: &TenantId, id: MessageId) -> Result<Option<Entry>>;
    fn raw(tenant: &TenantId, shard: Shard, position: Position) -> Result<Option<Bytes>>;
    fn variants(tenant: &TenantId, shard: Shard, position: Position) -> Result<Vec<Variant>>;
    fn consumed(inbox: &str) -> Result<u64>;
}
    async fn commit(&self, commit: Commit) -> Result<Committed> {
        // One write at a time is what a database with one writer does.
        if let Some(kind) = *self.locked.lock() {
            return Err(Error::new(kind, "database is locked"));
        }
        if let Some((text, kind)) = *self.poison.lock() {
            let refused = |draft: &Draft| match &draft.event.data {
                EventData::Message(message) => message.body == Some(Body::text(text)),
                _ => false,
            };
            if commit.drafts.iter().any(refused) {
                return Err(Error::new(kind, "refused"));
            }
        }
        self.inner.commit(commit).await
    }

    fn listen(&self, listener: Arc<dyn CommitListener>) {
        self.inner.listen(listener);
    }
}

delegate! { History {
    fn page(query: &HistoryQuery) -> Result<HistoryPage>;
    fn conversations(tenant: &TenantId, after: Option<&ConversationId>, limit: usize) -> Result<Vec<ConversationSummary>>;
    fn conversation(tenant: &TenantId, id: &ConversationId) -> Result<Option<ConversationSummary>>;
} }

delegate! { Outbox {
    fn enqueue(sends: Vec<NewSend>) -> Result<Vec<Enqueued>>;
    fn open_legs(app: &App, after: u64, limit: usize) -> Result<Vec<Leg>>;
    fn open_legs_of(app: &App, tenant: &TenantId, after: u64, limit: usize) -> Result<Vec<Leg>>;
    fn open_count(app: &App) -> Result<u64>;
    fn open_apps() -> Result<Vec<App>>;
    fn legs(tenant: &TenantId, send: SendId) -> Result<Vec<Leg>>;
    fn leg(tenant: &TenantId, message: MessageId) -> Result<Option<Leg>>;
    fn leg_by_vendor_id(tenant: &TenantId, app: &App, id: &VendorMessageId) -> Result<Option<Leg>>;
    fn early_receipts(app: &App, limit: usize) -> Result<Vec<BoundReceipt>>;
    fn forget_receipts(app: &App, ids: Vec<u64>, before: Timestamp, keep: u32) -> Result<u64>;
    fn send_by_client_id(tenant: &TenantId, id: &ClientMessageId) -> Result<Option<SendId>>;
    fn reroute(tenant: &TenantId, from: &App, to: &App) -> Result<u64>;
} }

delegate! { Subscribers {
    fn put_subscriber(
        tenant: &TenantId, name: &SubscriberName, spec: &SubscriberSpec, start: &[ShardCursor], now: Timestamp
    ) -> Result<bool>;
    fn subscriber(tenant: &TenantId, name: &SubscriberName) -> Result<Option<CursorState>>;
    fn subscribers(tenant: &TenantId) -> Result<Vec<(SubscriberName, CursorState)>>;
    fn rewind_subscriber(
        tenant: &TenantId, name: &SubscriberName, cursors: &[ShardCursor], now: Timestamp
    ) -> Result<bool>;
    fn remove_subscriber(tenant: &TenantId, name: &SubscriberName) -> Result<bool>;
    fn update_subscribers(updates: Vec<SubscriberUpdate>) -> Result<()>;
} }

delegate! { Bindings {
    fn by_vendor(tenant: &TenantId, app: &App, wanted: &[(BindingKind, String)]) -> Result<Vec<Option<Binding>>>;
    fn by_business(tenant: &TenantId, app: &App, wanted: &[(BindingKind, String)]) -> Result<Vec<Option<Binding>>>;
    fn bind(tenant: &TenantId, app: &App, bindings: &[Binding]) -> Result<Vec<Binding>>;
    fn bindings(
        tenant: &TenantId, app: &App, after: Option<(BindingKind, String)>, limit: usize
    ) -> Result<Vec<Binding>>;
    fn provisioned(tenant: &TenantId, app: &App, wanted: &[(BindingKind, String, String)]) -> Result<Vec<bool>>;
    fn set_provisioned(
        tenant: &TenantId, app: &App, items: &[(BindingKind, String, String)], made: bool
    ) -> Result<()>;
} }

delegate! { Directory {
    fn put_user(tenant: &TenantId, user: &UserRecord) -> Result<()>;
    fn user(tenant: &TenantId, id: &UserId) -> Result<Option<UserRecord>>;
    fn put_group(tenant: &TenantId, group: &GroupRecord) -> Result<()>;
    fn group(tenant: &TenantId, id: &GroupId, room: bool) -> Result<Option<GroupRecord>>;
    fn groups(tenant: &TenantId, after: Option<&GroupId>, limit: usize) -> Result<Vec<GroupRecord>>;
    fn change_members(
        tenant: &TenantId, id: &GroupId, room: bool, add: &[UserId], remove: &[UserId]
    ) -> Result<()>;
    fn remove_group(tenant: &TenantId, id: &GroupId, room: bool) -> Result<bool>;
} }

delegate! { Quarantine {
    fn put_aside(item: Quarantined, max_items: u32) -> Result<u64>;
    fn set_aside(tenant: &TenantId, after: u64, limit: usize) -> Result<Vec<Quarantined>>;
    fn release(tenant: &TenantId, id: u64) -> Result<bool>;
} }

delegate! { CoverageLedger {
    fn put_hour(tenant: &TenantId, app: &App, hour: &HourCoverage) -> Result<()>;
    fn hours(tenant: &TenantId, app: &App, from: Timestamp, until: Timestamp) -> Result<Vec<HourCoverage>>;
    fn known(tenant: &TenantId, app: &App, keys: &[EventKey]) -> Result<Vec<Option<Position>>>;
    fn known_run(
        tenant: &TenantId, app: &App, class: KeyClass, keys: &[&str]
    ) -> Result<Option<PositionRun>>;
    fn filed_since(tenant: &TenantId, app: &App, shard: Shard, after: Position) -> Result<u64>;
    fn repaired_in_all(tenant: &TenantId, app: &App) -> Result<u64>;
    fn messages_at(
        tenant: &TenantId, app: &App, shard: Shard, runs: &[PositionRun], since: Timestamp, until: Timestamp
    ) -> Result<u64>;
    fn gone_places(
        tenant: &TenantId, shard: Shard, among: PositionRun, limit: usize
    ) -> Result<Vec<PositionRun>>;
    fn gone_sequences(
        tenant: &TenantId, shard: Shard, places: &[PositionRun], limit: usize
    ) -> Result<Vec<SequenceHole>>;
    fn gone_from(tenant: &TenantId, conversation: &ConversationId, limit: usize) -> Result<Vec<SequenceHole>>;
} }

delegate! { ConversationLedger {
    fn put_range(
        tenant: &TenantId, app: &App, conversation: &ConversationId, range: &CoveredRange
    ) -> Result<()>;
    fn ranges(
        tenant: &TenantId, app: &App, conversation: &ConversationId, since: Timestamp, until: Timestamp
    ) -> Result<Vec<CoveredRange>>;
    fn incomplete(
        tenant: &TenantId, app: &App, after: Option<&ConversationId>, limit: usize
    ) -> Result<Vec<(ConversationId, CoveredRange)>>;
} }

delegate! { RepairWindows {
    fn set_alive(tenant: &TenantId, app: &App, at: Timestamp) -> Result<()>;
    fn alive(tenant: &TenantId, app: &App) -> Result<Option<Timestamp>>;
    fn served(app: &App) -> Result<Vec<(TenantId, Timestamp)>>;
    fn put_window(tenant: &TenantId, app: &App, window: &RepairWindow) -> Result<u64>;
    fn windows(tenant: &TenantId, app: &App, open: bool, limit: usize) -> Result<Vec<RepairWindow>>;
} }

delegate! { Backfills {
    fn put_backfill(tenant: &TenantId, job: &BackfillJob, item: Option<&BackfillItem>) -> Result<()>;
    fn plan_backfill(tenant: &TenantId, id: BackfillId, items: &[BackfillItem]) -> Result<()>;
    fn planned_backfill(tenant: &TenantId, id: BackfillId) -> Result<(u64, u64)>;
    fn backfill(tenant: &TenantId, id: BackfillId) -> Result<Option<BackfillJob>>;
    fn backfills(tenant: &TenantId, open: bool, limit: usize) -> Result<Vec<BackfillJob>>;
    fn next_backfill_item(tenant: &TenantId, id: BackfillId) -> Result<Option<BackfillItem>>;
    fn ended_backfill_items(
        tenant: &TenantId, id: BackfillId, outcome: &str, limit: usize
    ) -> Result<Vec<BackfillItem>>;
} }

delegate! { Traffic {
    fn put_traffic(tenant: &TenantId, app: &App, hour: &TrafficHour, keep: Timestamp) -> Result<()>;
    fn traffic(tenant: &TenantId, app: &App, since: Timestamp) -> Result<Vec<TrafficHour>>;
} }

delegate! { Setbacks {
    fn setbacks(tenant: &TenantId, filter: &SetbackFilter, after: u64, limit: usize) -> Result<Vec<Setback>>;
    fn setback(tenant: &TenantId, kind: SetbackKind, key: &str) -> Result<Option<Setback>>;
    fn due_setbacks(tenant: &TenantId, app: &App, kind: SetbackKind, limit: usize) -> Result<Vec<Setback>>;
    fn setback_counts() -> Result<Vec<SetbackCount>>;
} }

delegate! { Store {
    fn tenants() -> Result<Vec<TenantId>>;
    fn setting(name: &str) -> Result<Option<Vec<u8>>>;
    fn setting_or_insert(name: &str, value: &[u8]) -> Result<Vec<u8>>;
    fn ping() -> Result<()>;
    fn close() -> ();
} }
