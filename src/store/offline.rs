//! Reads a store that nobody has open.

use std::ops::ControlFlow;
use std::path::Path;

use redb::{ReadableDatabase as _, TableHandle as _};

use super::disk::existing;
use super::failure::Failure;
use super::migrations::{SCHEMA_VERSION, schema};
use super::read::{Read as _, Reader};
use super::tables::Table;
use crate::error::{Error, Result};

/// Enough for a scan.
pub(super) const CACHE_BYTES: usize = 8 << 20;

/// The keys of a table, in a store that nobody has open and that is in order; none where there is no
/// such table.
pub fn keys(path: &Path, table: Table) -> Result<Vec<Vec<u8>>> {
    let file = existing(path)?;
    let opened = redb::Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_file(file);
    let database = opened.map_err(Failure::from)?;
    let transaction = database.begin_read().map_err(Failure::from)?;
    let mut keys = Vec::new();
    let known = {
        let mut tables = transaction.list_tables().map_err(Failure::from)?;
        tables.any(|handle| handle.name() == table.name())
    };
    if !known {
        return Ok(keys);
    }
    let reader = Reader::new(transaction);
    reader.for_each_prefix(table, b"", |key, _| {
        keys.push(key.to_vec());
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(keys)
}

/// What `read` makes of a store that nobody has open and that is in order; `None` of one of an older version.
pub fn reading<T>(path: &Path, read: impl FnOnce(&Reader) -> Result<T>) -> Result<Option<T>> {
    let file = existing(path)?;
    let opened = redb::Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_file(file);
    let database = opened.map_err(Failure::from)?;
    let transaction = database.begin_read().map_err(Failure::from)?;
    match schema(&transaction) == Some(SCHEMA_VERSION) {
        true => read(&Reader::new(transaction)).map(Some),
        false => Ok(None),
    }
}

/// How much of the file at `path` is used, while nobody has it open.
pub(super) fn used_bytes(path: &Path) -> Result<u64> {
    let database = redb::Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_file(existing(path)?)
        .map_err(Error::internal)?;
    let transaction = database.begin_read().map_err(Failure::from)?;
    Reader::new(transaction).used_bytes()
}
