//! Keys and bytes on redb: tables, transactions, the group-commit writer, the due-queue.
//!
//! The only place that names redb. It knows no domain type: a domain struct implements [`Record`]
//! next to itself, and the store moves bytes.
//!
//! Invariants:
//! - An operation is applied whole or not at all, and in the order in which the operations were given.
//! - What a [`Durability::Sync`] write acknowledged survives a power cut. What a [`Durability::Lazy`]
//!   one acknowledged survives a disk that fails for a while, and a power cut from the next fsync on
//!   ([`StoreOptions::flush_interval`] at the latest).
//!
//! Hazards:
//! - A write that answered [`Unavailable`](crate::error::ErrorKind::Unavailable) may have happened.
//! - A write whose future is dropped may happen all the same.
//! - The closure of a write runs on the writer thread, and all other writes wait for it: it must not
//!   wait for anything itself.
//! - A store that is dropped and not closed releases its file a moment later.
//! - With tokio's paused clock a timer fires before the writer thread answers: do not pause it in a
//!   test that writes.

mod backup;
mod check;
pub mod dated;
mod disk;
mod failure;
#[cfg(any(test, feature = "sandbox"))]
pub mod faults;
mod key;
pub mod layout;
mod migrations;
mod offline;
mod opening;
mod options;
mod problems;
pub mod queue;
mod read;
pub mod record;
mod shared;
mod space;
mod stats;
pub mod tables;
mod tx;
pub mod typed;
mod unchanged;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, RwLock, mpsc};

use redb::ReadableDatabase as _;
use tokio::sync::{Notify, Semaphore, oneshot};

pub use self::backup::{RESTORED, older_copies, restore};
pub use self::check::check;
#[cfg(any(test, feature = "sandbox"))]
pub use self::check::check_simulated;
pub use self::disk::{Disk, free_in, is_in_use};
pub use self::key::{Key, KeyParts};
pub use self::offline::{keys, reading};
pub use self::options::{Durability, StoreOptions};
pub use self::read::{Read, Reader};
pub use self::record::{Record, decode, encode};
pub use self::space::space;
pub use self::stats::StoreStats;
pub use self::tables::Table;
pub use self::tx::Tx;
pub use self::typed::{Rows, Typed, bytes_of, parts_of, refused_if_damaged, unless_damaged};

use self::disk::Meter;
use self::failure::{closed, unavailable};
use self::migrations::{MIGRATIONS, Migration};
use self::opening::prepare;
use self::shared::Shared;
use self::stats::StoreCounters;
use self::writer::{WriteJob, Writer, WriterCommand};
use crate::error::{Error, Result};
use crate::seal::Seal;
use crate::tasks::blocking;

/// The open store; clones are the same store.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    inbox: Sender<WriterCommand>,
}

impl Store {
    /// Opens the store, makes it when there is none, and migrates an older one (keeping a copy of
    /// the file beside it).
    pub fn open(disk: Disk, options: StoreOptions) -> Result<Self> {
        Self::open_with(disk, options, MIGRATIONS)
    }

    fn open_with(disk: Disk, options: StoreOptions, migrations: &[Migration]) -> Result<Self> {
        let meter = Arc::new(Meter::default());
        let database = disk.open(options.cache_bytes, &meter)?;
        prepare(&database, &disk, migrations)?;
        let shared = Arc::new(Shared {
            database: RwLock::new(Some(database)),
            reopened: AtomicU64::new(0),
            slots: Semaphore::new(options.queue),
            queue: options.queue,
            degraded: AtomicBool::new(false),
            compact_at_close: AtomicBool::new(false),
            counters: StoreCounters::default(),
            meter,
            signals: std::array::from_fn(|_| Arc::new(Notify::new())),
            path: match &disk {
                Disk::File(path) => Some(path.clone()),
                Disk::Unchanged(_) => None,
                #[cfg(any(test, feature = "sandbox"))]
                Disk::Simulated(_) => None,
            },
        });
        let (sender, receiver) = mpsc::channel();
        let writer = Writer::new(Arc::clone(&shared), receiver, disk, options);
        std::thread::Builder::new()
            .name("store".into())
            .spawn(move || writer.run())
            .map_err(Error::internal)?;
        Ok(Self {
            shared,
            inbox: sender,
        })
    }

    /// Reads in one transaction, on this thread: for points and short ranges.
    pub fn read<T>(&self, f: impl FnOnce(&Reader) -> Result<T>) -> Result<T> {
        let (reader, reopened) = self.begin()?;
        let result = f(&reader);
        self.end(reader, reopened);
        result
    }

    /// A view of the store, and how often the database had been opened anew before it.
    fn begin(&self) -> Result<(Reader, u64)> {
        let reopened = self.shared.reopened.load(Ordering::SeqCst);
        let begun = self
            .shared
            .with_database(|database| Ok(database.begin_read()?));
        let begun = begun.inspect_err(|failure| {
            if failure.is_disk() {
                self.suspect(reopened);
            }
        });
        Ok((Reader::new(begun?), reopened))
    }

    fn end(&self, reader: Reader, reopened: u64) {
        if reader.failed() {
            self.suspect(reopened);
        }
    }

    /// Has the writer look at a disk that failed under a reader.
    fn suspect(&self, reopened: u64) {
        // While the store is known to fail, the writer is at it. It may be gone already.
        if !self.is_degraded() {
            let _ = self.inbox.send(WriterCommand::Suspect(reopened));
        }
    }

    /// Reads in one transaction, on a thread where it may take long: for scans. When nobody waits
    /// for it any more it breaks off at the next row.
    pub async fn read_slow<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Reader) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.clone();
        let waited_for = Arc::new(());
        let waits = Arc::downgrade(&waited_for);
        let read = blocking(move || {
            store.read(|reader| {
                reader.only_while(waits);
                f(reader)
            })
        });
        let result = read.await?;
        drop(waited_for);
        result
    }

    /// Runs `f` on the writer thread and answers its result when the durability is reached.
    ///
    /// When `f` fails or panics, nothing of it stays, and the operations beside it do not notice.
    pub fn write<T: Send + 'static>(
        &self,
        durability: Durability,
        f: impl FnOnce(&mut Tx) -> Result<T> + Send + 'static,
    ) -> impl Future<Output = Result<T>> + Send {
        let mut job = WriteJob::new(f);
        let answer = job.listen();
        async move {
            self.submit(durability, job).await?;
            let answer = answer.await.unwrap_or_else(|_| Err(closed()))?;
            let answer = answer.downcast::<T>();
            answer
                .map(|answer| *answer)
                .map_err(|_| Error::internal("an answer of another type"))
        }
    }

    /// Hands a lazy write to the writer and waits only for a free slot.
    ///
    /// Readers do not see it at once; later writes do. For rows whose loss costs a little work and
    /// which are written too often to wait for each: it fails only when the store is known to fail.
    pub fn write_later(
        &self,
        f: impl FnOnce(&mut Tx) -> Result<()> + Send + 'static,
    ) -> impl Future<Output = Result<()>> + Send {
        self.submit(Durability::Lazy, WriteJob::new(f))
    }

    async fn submit(&self, durability: Durability, job: WriteJob) -> Result<()> {
        if self.shared.degraded.load(Ordering::SeqCst) {
            return Err(unavailable());
        }
        self.shared
            .slots
            .acquire()
            .await
            .map_err(|_| closed())?
            .forget();
        self.inbox
            .send(WriterCommand::Write(durability, job))
            .map_err(|_| closed())
    }

    /// Waiters of signal `number` (below 64) are woken after every commit that [`Tx::signal`]led it.
    pub fn signal(&self, number: u8) -> Arc<Notify> {
        Arc::clone(&self.shared.signals[usize::from(number)])
    }

    /// Whether writes fail at present.
    pub fn is_degraded(&self) -> bool {
        self.shared.degraded.load(Ordering::SeqCst)
    }

    /// Counters since the start, and what waits now.
    pub fn stats(&self) -> StoreStats {
        self.shared.counters.snapshot(
            &self.shared.meter,
            self.shared
                .queue
                .saturating_sub(self.shared.slots.available_permits()),
            self.is_degraded(),
        )
    }

    /// The copies of itself that migrations left; see [`older_copies`].
    pub fn older_copies(&self) -> Result<Vec<(u32, PathBuf)>> {
        self.shared
            .path
            .as_deref()
            .map_or(Ok(Vec::new()), older_copies)
    }

    /// Writes a consistent copy to `to`, which is whole or not there; returns its size in bytes.
    pub async fn backup(&self, to: &Path) -> Result<u64> {
        let to = to.to_owned();
        self.copying(move |transaction| backup::copy(transaction, &to))
            .await
    }

    /// Writes a consistent copy to `to`, sealed, which is whole or not there. On the way it lies in
    /// the folder `room` without a name, so that no crash leaves a clear copy behind.
    pub async fn sealed_backup(&self, seal: Seal, room: PathBuf, to: &Path) -> Result<()> {
        let to = to.to_owned();
        self.copying(move |transaction| backup::sealed(transaction, &seal, &room, &to))
            .await
    }

    /// Copies what one transaction sees, on a thread where it may take long.
    async fn copying<T: Send + 'static>(
        &self,
        copy: impl FnOnce(&redb::ReadTransaction) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.clone();
        blocking(move || {
            let transaction = store
                .shared
                .with_database(|database| Ok(database.begin_read()?))?;
            copy(&transaction)
        })
        .await?
    }

    /// Refuses new writes, commits those that wait, and closes the file.
    pub async fn close(&self) {
        self.shared.slots.close();
        let (done, closed) = oneshot::channel();
        if self.inbox.send(WriterCommand::Close(done)).is_ok() {
            // An error means that another call closed it first.
            let _ = closed.await;
        }
    }
}

#[cfg(test)]
mod tests;
