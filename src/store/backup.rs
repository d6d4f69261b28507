//! A consistent copy of an open store.

use std::ffi::OsStr;
use std::fs::{DirEntry, File};
use std::io::{self, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{Database, Durability, ReadTransaction, TableDefinition, TableHandle as _};
use redb::{ReadableDatabase as _, ReadableTableMetadata as _};

use super::disk::{Disk, cannot_open, existing, not_ours, private, publish, with_suffix};
use super::failure::Failure;
use super::migrations::schema;
use super::offline::keys;
use super::read::definition;
use super::tables::{META, Table};
use crate::error::{Error, Result};
use crate::seal::{Seal, file::is_sealed};

/// How many rows one transaction of the copy takes: it bounds the memory.
const CHUNK: usize = 5000;
/// The copy is written in order and read by nobody.
const CACHE_BYTES: usize = 4 << 20;

/// Copies everything `from` sees to a file at `to`, which is whole or not there.
///
/// Hazard: as long as it runs, redb reuses no page that is freed, so the original grows.
pub(super) fn copy(from: &ReadTransaction, to: &Path) -> Result<u64> {
    let unfinished = with_suffix(to, "part");
    let result = copy_rows(from, &unfinished)
        .map_err(Error::from)
        .and_then(|()| {
            let failed = |e| cannot_open(&to.display().to_string(), e);
            publish(&unfinished, to).map_err(failed)?;
            Ok(std::fs::metadata(to).map_err(failed)?.len())
        });
    if result.is_err() {
        let _ = std::fs::remove_file(&unfinished);
    }
    result
}

/// Copies everything `from` sees to a sealed file at `to`; see [`super::Store::sealed_backup`].
pub(super) fn sealed(from: &ReadTransaction, seal: &Seal, room: &Path, to: &Path) -> Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::SeqCst);
    let name = format!("backup-{}-{number}.part", std::process::id());
    let unnamed = |name: &Path| -> io::Result<(File, File)> {
        let file = private(name)?;
        std::fs::remove_file(name)?;
        Ok((file.try_clone()?, file))
    };
    let failed = |e| cannot_open(&to.display().to_string(), e);
    let (file, mut copy) = unnamed(&room.join(name)).map_err(failed)?;
    fill(from, file).map_err(Error::from)?;
    copy.rewind().map_err(failed)?;
    seal.seal_file(copy, to)
}

/// The row of [`META`] that a store has from its making out of a backup until its first start.
pub const RESTORED: &[u8] = b"restored";

/// A store that was made of a backup and is not in its place yet; it goes with the value.
pub struct Restored {
    unfinished: PathBuf,
    to: PathBuf,
}

/// Makes a store for `to` of a backup, or of the copy that a migration kept, and marks it
/// [`RESTORED`].
pub fn restore(seal: &Seal, backup: &Path, to: &Path) -> Result<Restored> {
    let failed = |e| cannot_open(&to.display().to_string(), e);
    let restored = Restored {
        unfinished: with_suffix(to, "part"),
        to: to.to_owned(),
    };
    let unfinished = &restored.unfinished;
    if is_sealed(backup) {
        seal.open_file(backup, unfinished)?;
    } else {
        // Older versions did not seal: it is a store as it is, or `existing` refuses it.
        drop(existing(backup)?);
        let mut file = private(unfinished).map_err(failed)?;
        let mut clear = File::open(backup).map_err(failed)?;
        io::copy(&mut clear, &mut file).map_err(failed)?;
    }
    let name = Disk::File(backup.to_owned());
    let database = redb::Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_file(existing(unfinished)?)
        .map_err(|e| name.explain(e))?;
    let begun = database.begin_read().map_err(Failure::from)?;
    schema(&begun).ok_or_else(|| not_ours(&name.name()))?;
    drop(begun);
    mark(&database)?;
    Ok(restored)
}

fn mark(database: &Database) -> Result<(), Failure> {
    let transaction = database.begin_write()?;
    let mut meta = transaction.open_table(definition(META))?;
    meta.insert(RESTORED, b"".as_slice())?;
    drop(meta);
    Ok(transaction.commit()?)
}

impl Restored {
    /// The keys of one of its tables; none where its version has no such table.
    pub fn keys(&self, table: Table) -> Result<Vec<Vec<u8>>> {
        keys(&self.unfinished, table)
    }

    /// Puts it in its place.
    pub fn publish(self) -> Result<()> {
        publish(&self.unfinished, &self.to)
            .map_err(|e| cannot_open(&self.to.display().to_string(), e))
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        // It may be in its place.
        let _ = std::fs::remove_file(&self.unfinished);
    }
}

/// The copies of itself that migrations of the store at `path` left, by the schema of each:
/// `warung.redb.schema-1`.
pub fn older_copies(path: &Path) -> Result<Vec<(u32, PathBuf)>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(Vec::new());
    };
    let begins = format!("{}.schema-", name.to_string_lossy());
    let entries = std::fs::read_dir(folder).map_err(Error::internal)?;
    let version = |name: &OsStr| name.to_str()?.strip_prefix(&begins)?.parse().ok();
    let copy = |entry: DirEntry| Some((version(&entry.file_name())?, entry.path()));
    let mut copies: Vec<_> = entries.flatten().filter_map(copy).collect();
    copies.sort_unstable();
    Ok(copies)
}

/// How many bytes the rows of a store of any version take, with what is left over in their pages.
pub(super) fn used_bytes(from: &ReadTransaction) -> Result<u64, Failure> {
    let mut used = 0;
    for handle in from.list_tables()? {
        let definition: TableDefinition<&[u8], &[u8]> = TableDefinition::new(handle.name());
        let stats = from.open_table(definition)?.stats()?;
        used += stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes();
    }
    Ok(used)
}

fn copy_rows(from: &ReadTransaction, to: &Path) -> Result<(), Failure> {
    fill(from, private(to).map_err(redb::StorageError::from)?)
}

fn fill(from: &ReadTransaction, file: File) -> Result<(), Failure> {
    let copy = redb::Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_file(file)?;
    for handle in from.list_tables()? {
        let definition: TableDefinition<&[u8], &[u8]> = TableDefinition::new(handle.name());
        let source = from.open_table(definition)?;
        let mut rows = source.range::<&[u8]>(..)?;
        let mut left = source.len()?;
        loop {
            copy_chunk(&copy, definition, &mut rows)?;
            left = left.saturating_sub(CHUNK as u64);
            if left == 0 {
                break;
            }
        }
    }
    // The chunks were written without an fsync.
    copy.begin_write()?.commit()?;
    Ok(())
}

fn copy_chunk(
    to: &Database,
    definition: TableDefinition<&[u8], &[u8]>,
    rows: &mut redb::Range<&'static [u8], &'static [u8]>,
) -> Result<(), Failure> {
    let mut transaction = to.begin_write()?;
    transaction.set_durability(Durability::None)?;
    {
        let mut table = transaction.open_table(definition)?;
        for row in rows.take(CHUNK) {
            let (key, value) = row?;
            table.insert(key.value(), value.value())?;
        }
    }
    Ok(transaction.commit()?)
}
