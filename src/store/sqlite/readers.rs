//! Connections to read on.
//!
//! The driver's own pool asks each connection for a sign of life when it comes back, which costs as much again as most
//! of our reads: a way to the connection's thread and back. These are connections to a file of our own, and who comes
//! first takes the one that was used last, whose pages and statements are warm.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;
use sqlx::sqlite::{SqliteConnectOptions, SqliteQueryResult, SqliteRow, SqliteStatement, SqliteTypeInfo};
use sqlx::{
    ConnectOptions as _, Connection as _, Describe, Either, Error, Execute, Executor, SqlStr, Sqlite, SqliteConnection,
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// A few connections, opened when they are first needed.
pub(super) struct Readers {
    options: SqliteConnectOptions,
    idle: Mutex<Vec<SqliteConnection>>,
    permits: Semaphore,
    most: u32,
    within: Duration,
}

impl Readers {
    /// At most `most` connections, for which whoever needs one waits `within` at most. Opens the first.
    pub(super) async fn open(options: SqliteConnectOptions, most: u32, within: Duration) -> sqlx::Result<Self> {
        let first = options.connect().await?;
        let (idle, most) = (Mutex::new(vec![first]), most.max(1));
        Ok(Self { options, idle, permits: Semaphore::new(most as usize), most, within })
    }

    /// A connection, for as long as it is held.
    ///
    /// # Errors
    /// `PoolTimedOut`, `PoolClosed`, and whatever opening the file answers.
    pub(super) async fn acquire(&self) -> sqlx::Result<Reader<'_>> {
        // Mostly there is one, and no clock is needed.
        let permit = match self.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) => match tokio::time::timeout(self.within, self.permits.acquire()).await {
                Ok(Ok(permit)) => permit,
                Ok(Err(_)) => return Err(Error::PoolClosed),
                Err(_) => return Err(Error::PoolTimedOut),
            },
        };
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        Ok(Reader { readers: self, connection: Some(connection), _permit: permit })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.permits.is_closed()
    }

    /// Waits for whoever reads, and closes every connection. Nobody gets one from now on.
    pub(super) async fn close(&self) {
        let all = self.permits.acquire_many(self.most).await;
        self.permits.close();
        drop(all);
        let idle = std::mem::take(&mut *self.idle.lock());
        for connection in idle {
            if let Err(error) = connection.close().await {
                tracing::warn!(%error, "a connection to read on did not close well");
            }
        }
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

/// A connection on loan. What it was asked and nobody waits for any more ends before the next question is answered.
pub(super) struct Reader<'a> {
    readers: &'a Readers,
    /// `None` only when it is about to be dropped.
    connection: Option<SqliteConnection>,
    _permit: SemaphorePermit<'a>,
}

impl Reader<'_> {
    /// An answer; a connection whose thread is gone is not used again.
    fn checked<T>(mut self, answer: sqlx::Result<T>) -> sqlx::Result<T> {
        if matches!(answer, Err(Error::WorkerCrashed)) {
            self.connection = None;
        }
        answer
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.readers.idle.lock().extend(self.connection.take());
    }
}

impl Deref for Reader<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        self.connection.as_ref().expect("held until it is dropped")
    }
}

impl DerefMut for Reader<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.connection.as_mut().expect("held until it is dropped")
    }
}

type Step = Either<SqliteQueryResult, SqliteRow>;

/// One statement on the next free connection.
impl<'c> Executor<'c> for &'c Readers {
    type Database = Sqlite;

    /// Everything at once: what reads much at a time [acquires](Readers::acquire) a connection.
    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, sqlx::Result<Step>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        let all = async move {
            let mut reader = self.acquire().await?;
            let steps: sqlx::Result<Vec<Step>> = reader.fetch_many(query).try_collect().await;
            let steps = reader.checked(steps)?;
            Ok::<_, Error>(futures::stream::iter(steps.into_iter().map(Ok)))
        };
        futures::stream::once(all).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<SqliteRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        Box::pin(async move {
            let mut reader = self.acquire().await?;
            let row = reader.fetch_optional(query).await;
            reader.checked(row)
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [SqliteTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<SqliteStatement>>
    where
        'c: 'e,
    {
        Box::pin(async move { self.acquire().await?.prepare_with(sql, parameters).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<Describe<Sqlite>>>
    where
        'c: 'e,
    {
        Box::pin(async move { self.acquire().await?.describe(sql).await })
    }
}
