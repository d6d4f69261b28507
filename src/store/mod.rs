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
pub mod queue;
mod read;
pub mod record;
mod space;
mod stats;
pub mod tables;
mod tx;
pub mod typed;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError, RwLock, mpsc};
use std::time::Duration;

use redb::{Database, ReadableDatabase as _};
use tokio::sync::{Notify, Semaphore, oneshot};

pub use self::backup::{RESTORED, older_copies, restore};
#[cfg(any(test, feature = "sandbox"))]
pub use self::check::check_simulated;
pub use self::check::{check, keys};
pub use self::disk::{Disk, is_in_use};
pub use self::key::{Key, KeyParts};
pub use self::read::{Read, Reader};
pub use self::record::{Record, decode, encode};
pub use self::space::space;
pub use self::stats::StoreStats;
pub use self::tables::Table;
pub use self::tx::Tx;
pub use self::typed::{Rows, Typed, bytes_of, parts_of, unless_damaged};

use self::disk::{Meter, folder_of, not_ours, with_suffix};
use self::failure::{Failure, closed, unavailable};
use self::stats::StoreCounters;
use self::tables::{META, MIGRATIONS, Migration};
use self::writer::{WriteWork, Writer, WriterCommand};
use crate::error::{Code, Error, Result};
use crate::seal::Seal;

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// After the fsync.
    Sync,
    /// As soon as everybody can see it; it is on the disk with the next `Sync` write, or after
    /// [`StoreOptions::flush_interval`].
    Lazy,
}

/// How the store uses the machine.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// redb's cache.
    pub cache_bytes: usize,
    /// How many writes may wait before [`Store::write`] itself waits.
    pub queue: usize,
    /// How long a lazy write may stay off the disk.
    pub flush_interval: Duration,
    /// From which size of the file on each fsynced commit also writes down which pages are free, so
    /// that an open after a crash need not read the whole file to find out. It costs a second fsync
    /// per commit and about 0.01 % of the file; a smaller file is read in a moment.
    pub quick_repair_from: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 8 << 20,
            queue: 1024,
            flush_interval: Duration::from_millis(250),
            quick_repair_from: 32 << 20,
        }
    }
}

/// The open store; clones are the same store.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    inbox: Sender<WriterCommand>,
}

/// What the handles and the writer share.
struct Shared {
    /// `None` while it is being reopened, and after closing.
    database: RwLock<Option<Database>>,
    /// How often it was opened anew.
    reopened: AtomicU64,
    /// One permit per write that may wait.
    slots: Semaphore,
    queue: usize,
    degraded: AtomicBool,
    /// Whether the file is made smaller when the store is closed.
    compact_at_close: AtomicBool,
    counters: StoreCounters,
    meter: Arc<Meter>,
    signals: [Arc<Notify>; 64],
    /// Where the file is; `None` on a simulated disk.
    path: Option<PathBuf>,
}

impl Shared {
    fn with_database<T>(
        &self,
        f: impl FnOnce(&Database) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        f(database
            .as_ref()
            .ok_or(redb::StorageError::DatabaseClosed)?)
    }

    /// The same, while nobody else begins anything.
    fn with_database_alone<T>(
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

    fn take_database(&self) -> Option<Database> {
        self.database
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn put_database(&self, database: Database) {
        *self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(database);
        self.reopened.fetch_add(1, Ordering::SeqCst);
    }

    fn give_signals(&self, signals: u64) {
        for (number, notify) in self.signals.iter().enumerate() {
            if signals >> number & 1 == 1 {
                notify.notify_waiters();
            }
        }
    }

    fn is_closing(&self) -> bool {
        self.slots.is_closed()
    }
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
        let reopened = self.shared.reopened.load(Ordering::SeqCst);
        let suspect = || {
            // While the store is known to fail, the writer is at it. It may be gone already.
            if !self.is_degraded() {
                let _ = self.inbox.send(WriterCommand::Suspect(reopened));
            }
        };
        let begun = self
            .shared
            .with_database(|database| Ok(database.begin_read()?));
        let begun = begun.inspect_err(|failure| {
            if failure.is_disk() {
                suspect();
            }
        });
        let reader = Reader::new(begun?);
        let result = f(&reader);
        if reader.failed() {
            suspect();
        }
        result
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
        let read = tokio::task::spawn_blocking(move || {
            store.read(|reader| {
                reader.only_while(waits);
                f(reader)
            })
        });
        let result = read.await.map_err(Error::internal)?;
        drop(waited_for);
        result
    }

    /// Runs `f` on the writer thread and answers its result when the durability is reached.
    ///
    /// When `f` fails or panics, nothing of it stays, and the operations beside it do not notice.
    pub async fn write<T: Send + 'static>(
        &self,
        durability: Durability,
        f: impl FnOnce(&mut Tx) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (caller, answer) = oneshot::channel();
        self.submit(durability, WriteWork::new(f, Some(caller)))
            .await?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Hands a lazy write to the writer and waits only for a free slot.
    ///
    /// Readers do not see it at once; later writes do. For rows whose loss costs a little work and
    /// which are written too often to wait for each: it fails only when the store is known to fail.
    pub async fn write_later(
        &self,
        f: impl FnOnce(&mut Tx) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        self.submit(Durability::Lazy, WriteWork::new(f, None)).await
    }

    async fn submit(
        &self,
        durability: Durability,
        work: impl writer::WriteJob + 'static,
    ) -> Result<()> {
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
            .send(WriterCommand::Write(durability, Box::new(work)))
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
        let store = self.clone();
        let to = to.to_owned();
        tokio::task::spawn_blocking(move || {
            let transaction = store
                .shared
                .with_database(|database| Ok(database.begin_read()?))?;
            backup::copy(&transaction, &to)
        })
        .await
        .map_err(Error::internal)?
    }

    /// Writes a consistent copy to `to`, sealed, which is whole or not there. On the way it lies in
    /// the folder `room` without a name, so that no crash leaves a clear copy behind.
    pub async fn sealed_backup(&self, seal: Seal, room: PathBuf, to: &Path) -> Result<()> {
        let store = self.clone();
        let to = to.to_owned();
        tokio::task::spawn_blocking(move || {
            let transaction = store
                .shared
                .with_database(|database| Ok(database.begin_read()?))?;
            backup::sealed(&transaction, &seal, &room, &to)
        })
        .await
        .map_err(Error::internal)?
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

/// Checks whose file this is, makes the tables, brings an older schema up to date.
fn prepare(database: &Database, disk: &Disk, migrations: &[Migration]) -> Result<()> {
    let newest = migrations.len() as u32 + 1;
    let name = disk.name();
    let transaction = database.begin_read().map_err(Failure::from)?;
    let fresh = transaction
        .list_tables()
        .map_err(Failure::from)?
        .next()
        .is_none();
    let version = if fresh {
        newest
    } else {
        schema(&transaction).ok_or_else(|| not_ours(&name))?
    };
    if version > newest {
        return Err(Error::new(
            Code::StoreUnknown,
            format!(
                "{name} was written by a newer version of this program (schema {version}, this one \
                 knows up to {newest}); use that version, or restore (`warung restore`) a backup or the \
                 copy {name}.schema-{newest} that it kept when it migrated the store"
            ),
        ));
    }
    if version < newest {
        need_room(disk, version, backup::used_bytes(&transaction)?)?;
    }
    match disk {
        Disk::File(path) if version < newest => {
            let copy = with_suffix(path, &format!("schema-{version}"));
            tracing::info!(store = name, from = version, to = newest, copy = %copy.display(),
                "the store is of an older version and is migrated; it is copied first, for going back to that version");
            backup::copy(&transaction, &copy)?;
        }
        _ => {}
    }
    transaction.close().map_err(Failure::from)?;
    let missing = |t: &redb::ReadTransaction| -> Result<bool, Failure> {
        let known = t
            .list_tables()?
            .map(|h| redb::TableHandle::name(&h).to_owned());
        let known: std::collections::BTreeSet<_> = known.collect();
        Ok(Table::all().any(|table| !known.contains(table.name())))
    };
    let complete = version == newest && !missing(&database.begin_read().map_err(Failure::from)?)?;
    if complete {
        return Ok(());
    }
    let transaction = database.begin_write().map_err(Failure::from)?;
    for table in Table::all() {
        transaction
            .open_table(read::definition(table))
            .map_err(Failure::from)?;
    }
    {
        let mut tables = tx::Tables::new(&transaction);
        for migration in &migrations[version as usize - 1..] {
            migrate(&mut tables, migration)?;
        }
        tables.apply(META, b"application", Some(b"warung"))?;
        tables.apply(META, b"schema", Some(&newest.to_be_bytes()))?;
    }
    transaction.commit().map_err(Failure::from)?;
    if version < newest {
        tracing::info!(store = name, schema = newest, "the store is migrated");
    }
    Ok(())
}

/// Refuses a migration that would fill the disk up in the middle, when the older version could not
/// open the store any more and this one not yet.
fn need_room(disk: &Disk, version: u32, used: u64) -> Result<()> {
    // The copy, what is written anew before the old pages are free, and once more while the copy or
    // the store is sealed.
    let needed = used.saturating_mul(3).saturating_add(1 << 20);
    let Some(free) = disk.free().filter(|free| *free < needed) else {
        return Ok(());
    };
    let place = match disk {
        Disk::File(path) => folder_of(path).display().to_string(),
        #[cfg(any(test, feature = "sandbox"))]
        Disk::Simulated(_) => disk.name(),
    };
    let (needed, free) = (needed.div_ceil(1 << 20), free >> 20);
    Err(Error::new(
        Code::StoreUnavailable,
        format!(
            "{} is of an older version (schema {version}) and cannot be migrated: that and the copy that \
             is kept need {needed} MiB in {place}, where {free} MiB are free. Nothing was changed: make \
             room there, or go on with the older version",
            disk.name()
        ),
    ))
}

/// Runs one migration to its end, stretch by stretch.
fn migrate(tables: &mut tx::Tables, migration: &Migration) -> Result<()> {
    let mut changes = tx::Changes::new();
    let (mut rows, mut after) = (0, None);
    loop {
        let mut aftermath = tx::Aftermath::default();
        let stretch = (migration.stretch)(
            &mut Tx {
                tables,
                changes: &mut changes,
                aftermath: &mut aftermath,
            },
            after,
        )?;
        for (table, key, value) in changes.drain() {
            tables.apply(table, &key, value.as_deref())?;
        }
        rows += stretch.rows;
        after = stretch.last;
        if after.is_none() {
            break;
        }
    }
    tracing::info!(rows, "the migration {}", migration.what);
    Ok(())
}

/// The schema number of one of our files.
fn schema(transaction: &redb::ReadTransaction) -> Option<u32> {
    let meta = transaction.open_table(read::definition(META)).ok()?;
    if meta.get(b"application".as_slice()).ok()??.value() != b"warung" {
        return None;
    }
    let version = meta.get(b"schema".as_slice()).ok()??;
    let version = u32::from_be_bytes(version.value().try_into().ok()?);
    (version > 0).then_some(version)
}

#[cfg(test)]
mod tests;
