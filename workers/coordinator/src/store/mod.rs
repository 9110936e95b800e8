//! Nodes, jobs, images and the outbox, in SQLite: the truth about the fleet.
//!
//! There is one writer, so that a change is judged by what is there when it is made. Every change of a job's state goes through
//! [`transition`], which also writes the message that follows from it, in the same transaction. What others are told in this
//! process (the feed, the relay, the scheduler) is told after the commit.

mod agents;
mod driver_secrets;
pub mod errands;
mod error;
mod images;
mod jobs;
mod nodes;
pub mod outbox;
mod phase;
pub mod published;
mod reseal;
mod rows;
mod schedule;
mod statistics;
mod temp_urls;
mod transition;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use farrier::wire::api::StreamEvent;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, SqlitePool};
use tokio::sync::{Mutex, Notify, OwnedMutexGuard};
use tokio::time::timeout;

pub use agents::Rules;
pub use driver_secrets::MASK;
pub use error::StoreError;
pub use images::Images;
pub use jobs::{JobFilter, Jobs};
pub use nodes::{NodeFilter, Nodes};
pub use schedule::Bounds;
pub use statistics::Statistics;
pub use temp_urls::{Handed, TempUrlEntry};

use crate::feed::Feed;
use crate::vault::Vault;

/// How long a reader or writer waits for the database before it fails.
const BUSY: Duration = Duration::from_secs(10);
/// Connections that only read: they do not wait for the writer.
const READERS: u32 = 4;

/// The store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    writer: SqlitePool,
    reader: SqlitePool,
    /// Held by whoever writes, until what was written has been told: in that order the feed is told.
    turn: Arc<Mutex<()>>,
    feed: Feed,
    signals: Arc<Signals>,
    vault: Vault,
}

/// Who is told that there is work.
#[derive(Debug, Default)]
struct Signals {
    relay: Notify,
    scheduler: Notify,
    errands: Notify,
}

impl Store {
    /// Opens the database, makes it where it is not there, and brings it to the present version. Secrets go through the vault.
    ///
    /// # Errors
    /// It cannot be opened or migrated.
    pub async fn open(path: &Path, feed: Feed, vault: Vault) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .journal_mode(SqliteJournalMode::Wal)
            // A commit is on the medium before the message that follows from it is sent.
            .synchronous(SqliteSynchronous::Full)
            // What was deleted or sealed anew is not left lying in free pages.
            .pragma("secure_delete", "ON");
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(BUSY)
            // SQLite itself rolls back what a full file system interrupts. sqlx then fails to, and takes the connection to be
            // within a transaction for ever: one like that is closed, and another one opened.
            // (The test before it waits for a rollback that is under way.)
            .test_before_acquire(true)
            .before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }))
            .connect_with(options.clone())
            .await?;
        sqlx::migrate!("./migrations").run(&writer).await.map_err(StoreError::Migration)?;
        let reader = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(BUSY)
            .connect_with(options.read_only(true))
            .await?;
        Ok(Self { writer, reader, turn: Arc::default(), feed, signals: Arc::default(), vault })
    }

    /// Nodes, for the API.
    #[must_use]
    pub fn nodes(&self) -> Nodes<'_> {
        Nodes { store: self }
    }

    /// Jobs, for the API.
    #[must_use]
    pub fn jobs(&self) -> Jobs<'_> {
        Jobs { store: self }
    }

    /// The catalogue of images.
    #[must_use]
    pub fn images(&self) -> Images<'_> {
        Images { store: self }
    }

    /// Whether the store can be written: writes, and waits until that is durable.
    ///
    /// # Errors
    /// It cannot.
    pub async fn check(&self) -> Result<(), StoreError> {
        // A change that is not committed never reaches the file system.
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE probe SET written_at = ?").bind(tx.now).execute(&mut *tx.inner).await?;
        tx.commit().await
    }

    /// Waits until there is something in the outbox.
    pub async fn relay_wanted(&self) {
        self.signals.relay.notified().await;
    }

    /// Waits until there may be something to schedule.
    pub async fn schedule_wanted(&self) {
        self.signals.scheduler.notified().await;
    }

    /// Waits until there may be an errand to do.
    pub async fn errands_wanted(&self) {
        self.signals.errands.notified().await;
    }

    /// Closes the database, after what is under way.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    async fn begin(&self) -> Result<Tx, StoreError> {
        let turn = timeout(BUSY, Arc::clone(&self.turn).lock_owned()).await;
        let turn = turn.map_err(|_| StoreError::Unavailable(sqlx::Error::PoolTimedOut))?;
        let inner = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let now = rows::now();
        Ok(Tx {
            inner,
            now,
            feed: self.feed.clone(),
            signals: Arc::clone(&self.signals),
            vault: self.vault.clone(),
            after: After::default(),
            _turn: turn,
        })
    }
}

/// A transaction, and what is told once it is committed.
struct Tx {
    inner: sqlx::Transaction<'static, sqlx::Sqlite>,
    /// The time of everything in it, in microseconds since 1970.
    now: i64,
    feed: Feed,
    signals: Arc<Signals>,
    vault: Vault,
    after: After,
    _turn: OwnedMutexGuard<()>,
}

#[derive(Default)]
struct After {
    events: Vec<StreamEvent>,
    counts: Vec<transition::Count>,
    relay: bool,
    schedule: bool,
}

impl Tx {
    async fn commit(self) -> Result<(), StoreError> {
        self.inner.commit().await?;
        self.after.events.into_iter().for_each(|event| self.feed.publish(event));
        self.after.counts.into_iter().for_each(transition::Count::record);
        if self.after.relay {
            self.signals.relay.notify_one();
        }
        if self.after.schedule {
            self.signals.scheduler.notify_one();
            self.signals.errands.notify_one();
        }
        Ok(())
    }
}
