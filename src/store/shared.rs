//! What the handles of the store and its writer share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use redb::Database;
use tokio::sync::{Notify, Semaphore};

use super::disk::Meter;
use super::failure::Failure;
use super::stats::StoreCounters;
use crate::error::Result;

/// What the handles and the writer share.
pub(super) struct Shared {
    /// `None` while it is being reopened, and after closing.
    pub(super) database: RwLock<Option<Database>>,
    /// How often it was opened anew.
    pub(super) reopened: AtomicU64,
    /// One permit per write that may wait.
    pub(super) slots: Semaphore,
    pub(super) queue: usize,
    pub(super) degraded: AtomicBool,
    /// Whether the file is made smaller when the store is closed.
    pub(super) compact_at_close: AtomicBool,
    pub(super) counters: StoreCounters,
    pub(super) meter: Arc<Meter>,
    pub(super) signals: [Arc<Notify>; 64],
    /// Where the file is; `None` on a simulated disk.
    pub(super) path: Option<PathBuf>,
}

impl Shared {
    pub(super) fn with_database<T>(
        &self,
        f: impl FnOnce(&Database) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        f(database
            .as_ref()
            .ok_or(redb::StorageError::DatabaseClosed)?)
    }

    /// The same, while nobody else begins anything.
    pub(super) fn with_database_alone<T>(
        &self,
        f: impl FnOnce(&mut Database) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut database = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        f(database
            .as_mut()
            .ok_or(redb::StorageError::DatabaseClosed)?)
    }

    pub(super) fn take_database(&self) -> Option<Database> {
        self.database
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    pub(super) fn put_database(&self, database: Database) {
        *self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(database);
        self.reopened.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn give_signals(&self, signals: u64) {
        for (number, notify) in self.signals.iter().enumerate() {
            if signals >> number & 1 == 1 {
                notify.notify_waiters();
            }
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.slots.is_closed()
    }
}
