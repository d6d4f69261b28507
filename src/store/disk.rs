//! Where the bytes of the store are: a file, or (in tests and the sandbox) a simulated disk.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read as _};
use std::ops::Bound;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, Database, DatabaseError, StorageBackend};

#[cfg(any(test, feature = "sandbox"))]
use super::faults::SimulatedDisk;
use super::unchanged::Unchanged;
use crate::error::{Code, Error, Result};

/// The first bytes of every redb file.
const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";

/// Where the store is kept.
#[derive(Debug, Clone)]
pub enum Disk {
    /// A file; it is made when it does not exist.
    File(PathBuf),
    /// A file that must exist, and of which nothing is changed: what is written stays in memory.
    Unchanged(PathBuf),
    /// A disk in memory that can fail and crash.
    #[cfg(any(test, feature = "sandbox"))]
    Simulated(Arc<SimulatedDisk>),
}

/// Whether a process has the store at `path` open; an error when this user may not know.
pub fn is_in_use(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    // The lock that redb takes; ours goes with the handle.
    match file.try_lock() {
        Err(std::fs::TryLockError::WouldBlock) => Ok(true),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
        Ok(()) => Ok(false),
    }
}

/// How many bytes may still be written to the disk of a folder; `None` when that is not known.
pub fn free_in(folder: &Path) -> Option<u64> {
    let room = rustix::fs::statvfs(folder).ok()?;
    Some(room.f_bavail.saturating_mul(room.f_frsize))
}

/// Counts what goes to the medium.
#[derive(Debug, Default)]
pub(super) struct Meter {
    pub(super) syncs: AtomicU64,
    pub(super) bytes_written: AtomicU64,
    pub(super) bytes_read: AtomicU64,
    /// How often the whole file had to be read to be opened.
    pub(super) repairs: AtomicU64,
    /// The size of the file.
    pub(super) file_bytes: AtomicU64,
}

impl Disk {
    /// Opens the database, and makes it when there is none.
    pub(super) fn open(&self, cache_bytes: usize, meter: &Arc<Meter>) -> Result<Database> {
        let build = |inner: Box<dyn StorageBackend>| {
            let len = inner.len().map_err(|e| cannot_open(&self.name(), e))?;
            meter.file_bytes.store(len, Ordering::Relaxed);
            let (repaired, name) = (Arc::clone(meter), self.name());
            redb::Builder::new()
                .set_cache_size(cache_bytes)
                .set_repair_callback(move |session| {
                    if session.progress() == 0.0 {
                        repaired.repairs.fetch_add(1, Ordering::Relaxed);
                        tracing::info!(
                            store = name,
                            bytes = len,
                            "the store was not closed in order, and all of it is read"
                        );
                    }
                })
                .create_with_backend(Metered {
                    inner,
                    meter: Arc::clone(meter),
                })
                .map_err(|e| self.explain(e))
        };
        match self {
            Self::File(path) => {
                let failed = |e: io::Error| cannot_open(&self.name(), e);
                let Some(new) = self.create_if_absent(path)? else {
                    let file = FileBackend::new(existing(path)?).map_err(|e| self.explain(e))?;
                    return build(Box::new(file));
                };
                let file = FileBackend::new(new).map_err(|e| self.explain(e))?;
                let database = build(Box::new(file))?;
                publish(&with_suffix(path, "new"), path).map_err(failed)?;
                Ok(database)
            }
            Self::Unchanged(path) => {
                let opened = Unchanged::open(path, MAGIC);
                let opened = opened.map_err(|e| cannot_open(&self.name(), e))?;
                let in_use = || self.explain(DatabaseError::DatabaseAlreadyOpen);
                build(Box::new(opened.ok_or_else(in_use)?))
            }
            #[cfg(any(test, feature = "sandbox"))]
            Self::Simulated(disk) => {
                disk.forget_unfinished(MAGIC);
                build(Box::new(super::faults::Plug::new(Arc::clone(disk))))
            }
        }
    }

    /// An empty, locked file beside `path` when there is nothing at `path` yet.
    ///
    /// The database is laid out there and renamed while it is open and locked, because redb refuses
    /// a file whose making was cut short for ever after, and so that of two processes that start
    /// together only one makes it.
    fn create_if_absent(&self, path: &Path) -> Result<Option<File>> {
        let failed = |e: io::Error| cannot_open(&self.name(), e);
        let absent = || match std::fs::metadata(path) {
            Ok(found) => Ok(found.len() == 0),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(e) => Err(failed(e)),
        };
        if !absent()? {
            return Ok(None);
        }
        let name = with_suffix(path, "new");
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&name)
            .map_err(failed)?;
        if file.try_lock().is_err() {
            return Err(self.explain(DatabaseError::DatabaseAlreadyOpen));
        }
        if !absent()? {
            let _ = std::fs::remove_file(&name);
            return Ok(None);
        }
        file.set_len(0).map_err(failed)?;
        Ok(Some(file))
    }

    /// How many bytes there is room for beside the store; `None` when that is not known.
    pub(super) fn free(&self) -> Option<u64> {
        match self {
            Self::File(path) => free_in(folder_of(path)),
            Self::Unchanged(_) => None,
            #[cfg(any(test, feature = "sandbox"))]
            Self::Simulated(disk) => disk.free(),
        }
    }

    /// Finds out whether the medium takes writes again, without touching the database.
    pub(super) fn probe(&self) -> io::Result<()> {
        match self {
            Self::File(path) => {
                let probe = with_suffix(path, "probe");
                let result = private(&probe).and_then(|mut file| {
                    io::copy(&mut io::repeat(0).take(1 << 20), &mut file)?;
                    file.sync_data()
                });
                let _ = std::fs::remove_file(&probe);
                result
            }
            Self::Unchanged(_) => Ok(()),
            #[cfg(any(test, feature = "sandbox"))]
            Self::Simulated(disk) => disk.probe(),
        }
    }

    /// The name for sentences.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(path) | Self::Unchanged(path) => path.display().to_string(),
            #[cfg(any(test, feature = "sandbox"))]
            Self::Simulated(_) => "the simulated disk".into(),
        }
    }

    pub(super) fn explain(&self, error: DatabaseError) -> Error {
        let name = self.name();
        match error {
            DatabaseError::DatabaseAlreadyOpen => Error::new(
                Code::StoreInUse,
                format!("{name} is in use by another process; stop that one first"),
            ),
            DatabaseError::UpgradeRequired(_) => Error::new(
                Code::StoreUnknown,
                format!("{name} has an old file format that this version cannot read"),
            ),
            DatabaseError::Storage(redb::StorageError::Io(e)) => cannot_open(&name, e),
            other => Error::new(
                Code::StoreDamaged,
                format!("{name} is damaged; restore a backup"),
            )
            .because(other),
        }
    }
}

/// Opens a file that must be there, refuses one that is no database, and closes it to other users.
pub(super) fn existing(path: &Path) -> Result<File> {
    let name = path.display().to_string();
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|e| cannot_open(&name, e))?;
    let mut start = [0; MAGIC.len()];
    if file.read_exact(&mut start).is_err() || start != MAGIC {
        return Err(not_ours(&name));
    }
    let mode = file
        .metadata()
        .map_err(|e| cannot_open(&name, e))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))
            .map_err(|e| cannot_open(&name, e))?;
    }
    Ok(file)
}

/// Makes an empty file that only its owner may read.
pub(super) fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// Puts a finished file in its place, so that it is whole or not there even after a power cut.
pub(super) fn publish(finished: &Path, path: &Path) -> io::Result<()> {
    File::open(finished)?.sync_all()?;
    std::fs::rename(finished, path)?;
    File::open(folder_of(path))?.sync_all()
}

/// The folder that a file lies in.
pub(super) fn folder_of(path: &Path) -> &Path {
    let named = path.parent().filter(|p| !p.as_os_str().is_empty());
    named.unwrap_or(Path::new("."))
}

/// `NAME.suffix` in the same folder.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

pub(super) fn cannot_open(name: &str, error: io::Error) -> Error {
    Error::new(
        Code::StoreUnavailable,
        format!("{name} cannot be opened: {error}"),
    )
    .because(error)
}

pub(super) fn not_ours(name: &str) -> Error {
    Error::new(
        Code::StoreUnknown,
        format!("{name} is not a store of this program"),
    )
}

/// Passes everything on and counts it.
#[derive(Debug)]
struct Metered {
    inner: Box<dyn StorageBackend>,
    meter: Arc<Meter>,
}

impl StorageBackend for Metered {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.meter
            .bytes_read
            .fetch_add(out.len() as u64, Ordering::Relaxed);
        self.inner.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)?;
        self.meter.file_bytes.store(len, Ordering::Relaxed);
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        self.meter.syncs.fetch_add(1, Ordering::Relaxed);
        self.inner.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.meter
            .bytes_written
            .fetch_add(data.len() as u64, Ordering::Relaxed);
        self.inner.write(offset, data)
    }
    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }
    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }
    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }
    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }
    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }
    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
