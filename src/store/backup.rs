//! A consistent copy of an open store.

use std::fs::File;
use std::io::{self, Seek as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::ReadableTableMetadata as _;
use redb::{Database, Durability, ReadTransaction, TableDefinition, TableHandle as _};

use super::disk::{cannot_open, existing, private, publish, with_suffix};
use super::failure::Failure;
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

/// Makes a store at `to` of a backup, or of the copy that a migration kept.
pub fn restore(seal: &Seal, backup: &Path, to: &Path) -> Result<()> {
    let failed = |e| cannot_open(&to.display().to_string(), e);
    let unfinished = with_suffix(to, "part");
    if is_sealed(backup) {
        seal.open_file(backup, &unfinished)?;
    } else {
        // Older versions did not seal: it is a store as it is, or `existing` refuses it.
        drop(existing(backup)?);
        let mut file = private(&unfinished).map_err(failed)?;
        let mut clear = File::open(backup).map_err(failed)?;
        io::copy(&mut clear, &mut file).map_err(failed)?;
    }
    drop(existing(&unfinished)?);
    publish(&unfinished, to).map_err(failed)
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
