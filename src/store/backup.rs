//! A consistent copy of an open store.

use std::path::Path;

use redb::ReadableTableMetadata as _;
use redb::{Database, Durability, ReadTransaction, TableDefinition, TableHandle as _};

use super::disk::{beside, cannot_open, private, publish};
use super::failure::Failure;
use crate::error::{Error, Result};

/// How many rows one transaction of the copy takes: it bounds the memory.
const CHUNK: usize = 5000;
/// The copy is written in order and read by nobody.
const CACHE_BYTES: usize = 4 << 20;

/// Copies everything `from` sees to a file at `to`, which is whole or not there.
///
/// Hazard: as long as it runs, redb reuses no page that is freed, so the original grows.
pub(super) fn copy(from: &ReadTransaction, to: &Path) -> Result<u64> {
    let unfinished = beside(to, "part");
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

fn copy_rows(from: &ReadTransaction, to: &Path) -> Result<(), Failure> {
    let file = private(to).map_err(redb::StorageError::from)?;
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
