//! What happens to the file before the store is open: whose it is, its tables, its version.

use std::collections::BTreeSet;

use redb::{Database, ReadTransaction, ReadableDatabase as _, TableHandle as _};

use super::backup;
use super::disk::{Disk, folder_of, not_ours, with_suffix};
use super::failure::Failure;
use super::migrations::{Migration, migrate, schema};
use super::read::definition;
use super::tables::{META, Table};
use super::tx::Tables;
use crate::error::{Code, Error, Result};

/// Checks whose file this is, makes the tables, brings an older schema up to date.
pub(super) fn prepare(database: &Database, disk: &Disk, migrations: &[Migration]) -> Result<()> {
    let newest = migrations.len() as u32 + 1;
    let name = disk.name();
    let transaction = database.begin_read().map_err(Failure::from)?;
    let version = version(&transaction, &name, newest)?;
    if version < newest {
        need_room(disk, version, backup::used_bytes(&transaction)?)?;
        keep_copy(&transaction, disk, version, newest)?;
    }
    let complete = version == newest && has_all_tables(&transaction)?;
    transaction.close().map_err(Failure::from)?;
    if complete {
        return Ok(());
    }
    let transaction = database.begin_write().map_err(Failure::from)?;
    for table in Table::all() {
        transaction
            .open_table(definition(table))
            .map_err(Failure::from)?;
    }
    {
        let mut tables = Tables::new(&transaction);
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

/// The schema that the file has; the newest where it is empty. Refuses what another program wrote, and
/// what a newer version of this one wrote.
fn version(transaction: &ReadTransaction, name: &str, newest: u32) -> Result<u32> {
    let fresh = transaction
        .list_tables()
        .map_err(Failure::from)?
        .next()
        .is_none();
    let version = if fresh {
        newest
    } else {
        schema(transaction).ok_or_else(|| not_ours(name))?
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
    Ok(version)
}

/// Copies a store that is to be migrated, for going back.
fn keep_copy(transaction: &ReadTransaction, disk: &Disk, version: u32, newest: u32) -> Result<()> {
    match disk {
        Disk::File(path) => {
            let copy = with_suffix(path, &format!("schema-{version}"));
            tracing::info!(store = disk.name(), from = version, to = newest, copy = %copy.display(),
                "the store is of an older version and is migrated; it is copied first, for going back to that version");
            backup::copy(transaction, &copy)?;
        }
        // Nothing of it is changed, so there is nothing to go back to.
        Disk::Unchanged(_) => {}
        #[cfg(any(test, feature = "sandbox"))]
        Disk::Simulated(_) => {}
    }
    Ok(())
}

fn has_all_tables(transaction: &ReadTransaction) -> Result<bool> {
    let known = transaction.list_tables().map_err(Failure::from)?;
    let known: BTreeSet<_> = known.map(|table| table.name().to_owned()).collect();
    Ok(Table::all().all(|table| known.contains(table.name())))
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
        Disk::File(path) | Disk::Unchanged(path) => folder_of(path).display().to_string(),
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
