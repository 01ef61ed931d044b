//! A store that takes its time: what is answered before it has answered would be a lie.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use switchboard_contract::storage::{
    Account, ConversationMarks, DeviceCursor, Line, NewLine, TimelineConversation, TimelineGroup, Timelines, Written,
};
use switchboard_contract::{ConversationId, MessageId, Position, Result, Sequence, Timestamp, UserId};
use switchboard_selfhosted::proto::DeviceClass;
use tokio::sync::Semaphore;

use crate::stage::{Stage, said, user};

/// A store whose cursors are stored when somebody lets them.
#[derive(Debug)]
struct Slow {
    inner: Arc<dyn Timelines>,
    lets: Arc<Semaphore>,
}

#[async_trait]
impl Timelines for Slow {
    async fn save_devices(&self, cursors: Vec<DeviceCursor>) -> Result<()> {
        self.lets.acquire().await.unwrap().forget();
        self.inner.save_devices(cursors).await
    }

    async fn append(&self, lines: Vec<NewLine>) -> Result<Vec<Written>> {
        self.inner.append(lines).await
    }

    async fn tail(&self) -> Result<Position> {
        self.inner.tail().await
    }

    async fn log(&self, after: Position, limit: usize) -> Result<Vec<Line>> {
        self.inner.log(after, limit).await
    }

    async fn timeline(&self, user: &UserId, after: Position, until: Position, limit: usize) -> Result<Vec<Line>> {
        self.inner.timeline(user, after, until, limit).await
    }

    async fn line(&self, id: MessageId) -> Result<Option<Line>> {
        self.inner.line(id).await
    }

    async fn messages_before(&self, id: &ConversationId, before: Sequence, limit: usize) -> Result<Vec<Line>> {
        self.inner.messages_before(id, before, limit).await
    }

    async fn messages_between(
        &self,
        id: &ConversationId,
        after: Position,
        since: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Line>> {
        self.inner.messages_between(id, after, since, until, limit).await
    }

    async fn conversations_of(
        &self,
        user: &UserId,
        before: Position,
        limit: usize,
    ) -> Result<Vec<TimelineConversation>> {
        self.inner.conversations_of(user, before, limit).await
    }

    async fn timeline_group(&self, id: &ConversationId) -> Result<Option<TimelineGroup>> {
        self.inner.timeline_group(id).await
    }

    async fn members_at(&self, id: &ConversationId, position: Position) -> Result<Vec<UserId>> {
        self.inner.members_at(id, position).await
    }

    async fn takes_part(&self, user: &UserId, id: &ConversationId) -> Result<bool> {
        self.inner.takes_part(user, id).await
    }

    async fn account(&self, user: &UserId) -> Result<Option<Account>> {
        self.inner.account(user).await
    }

    async fn put_account(&self, account: &Account) -> Result<()> {
        self.inner.put_account(account).await
    }

    async fn device(&self, user: &UserId, device: &str) -> Result<Option<DeviceCursor>> {
        self.inner.device(user, device).await
    }

    async fn devices(&self, user: &UserId) -> Result<Vec<DeviceCursor>> {
        self.inner.devices(user).await
    }

    async fn raise_marks(&self, marks: Vec<(ConversationId, ConversationMarks)>) -> Result<()> {
        self.inner.raise_marks(marks).await
    }
}

#[tokio::test]
async fn i06_a_page_is_answered_only_when_what_it_acknowledges_is_durable() {
    let lets = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS >> 4));
    let given = lets.clone();
    let stage = Stage::over(move |inner| Arc::new(Slow { inner, lets: given })).await;
    let alice = stage.phone("alice").await;
    for n in 0..20 {
        alice.says(user("bob"), &n.to_string()).await;
    }
    let bob = stage.device("bob", "phone", DeviceClass::Phone).await;
    let first = bob.connection.pull(0, 10).await.unwrap();
    assert_eq!(first.entries.len(), 10);
    let stored = |cursor: u64| {
        let stage = &stage;
        async move {
            let device = stage.log().await.device(&"bob".into(), "phone").await.unwrap();
            device.is_some_and(|device| device.low.0 >= cursor)
        }
    };
    // Nobody lets the cursor be stored: the next page has to wait.
    lets.forget_permits(usize::MAX);
    let mut next = Box::pin(bob.connection.pull(first.cursor, 10));
    let early = tokio::time::timeout(Duration::from_millis(500), &mut next).await;
    assert!(early.is_err(), "the next page came while its acknowledgement was not stored");
    assert!(!stored(first.cursor).await);
    lets.add_permits(1);
    let second = next.await.unwrap();
    assert!(stored(first.cursor).await, "durable with the answer");
    assert_eq!(second.entries.iter().filter_map(said).next().as_deref(), Some("10"));
    // The same with the end: the device is not online before.
    let mut end = Box::pin(bob.connection.pull(second.cursor, 10));
    assert!(tokio::time::timeout(Duration::from_millis(500), &mut end).await.is_err());
    lets.add_permits(1);
    assert!(end.await.unwrap().entries.is_empty());
    assert!(stored(second.cursor).await);
    lets.add_permits(1000);
}
