//! The schema's version, and what makes a store of an older one up to date.

use redb::ReadTransaction;

use super::key::{Key, KeyParts};
use super::read::{Read as _, definition};
use super::tables::{EVENT_ORDER, EVENTS, META};
use super::tx::{Aftermath, Changes, Tables, Tx};
use crate::error::Result;

/// Makes schema `n + 1` out of schema `n`, a stretch of rows at a time so that memory stays bounded;
/// all of it happens in one redb transaction.
pub(super) struct Migration {
    /// What it does, for the log.
    pub(super) what: &'static str,
    /// Works on the rows after the one at which the last stretch ended.
    pub(super) stretch: fn(&mut Tx, after: Option<Vec<u8>>) -> Result<Stretch>,
}

/// What one stretch of a migration did.
pub(super) struct Stretch {
    /// How many rows were looked at.
    pub(super) rows: u64,
    /// The last of them; `None` when that was the end.
    pub(super) last: Option<Vec<u8>>,
}

/// What to do to a file of an older schema: entry `n - 1` makes schema `n + 1` out of `n`.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration {
        what: "indexes the events of all sessions by their order",
        stretch: order_events,
    },
    Migration {
        what: "keeps versions from the store that cannot read sealed rows",
        stretch: nothing,
    },
    Migration {
        what: "keeps versions from the store that cannot read typed events",
        stretch: nothing,
    },
];

/// How many rows a stretch takes.
const STRETCH: usize = 5000;

/// Schema 2 reads the log of all sessions by [`EVENT_ORDER`], and no longer session by session.
fn order_events(tx: &mut Tx, after: Option<Vec<u8>>) -> Result<Stretch> {
    let rows = tx.prefix(EVENTS, b"", after.as_deref(), STRETCH)?;
    for (key, _) in &rows {
        let mut parts = KeyParts::new(key);
        let (sid, seq) = (parts.u32()?, parts.u64()?);
        tx.put(EVENT_ORDER, Key::new().u64(seq), sid.to_be_bytes());
    }
    Ok(Stretch {
        rows: rows.len() as u64,
        last: rows.into_iter().next_back().map(|(key, _)| key),
    })
}

/// In schema 3 secrets of `wa_rows` are sealed, and in schema 4 [`EVENTS`] are typed. The store has no key
/// and knows no types: whoever opens it seals the rows (`at_rest.rs`) and writes the events anew
/// (`domain/event/upgrade.rs`).
fn nothing(_: &mut Tx, _: Option<Vec<u8>>) -> Result<Stretch> {
    Ok(Stretch {
        rows: 0,
        last: None,
    })
}

/// The version of the layouts; a file with a greater one is refused.
pub(super) const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32 + 1;

/// The schema number of one of our files.
pub(super) fn schema(transaction: &ReadTransaction) -> Option<u32> {
    let meta = transaction.open_table(definition(META)).ok()?;
    if meta.get(b"application".as_slice()).ok()??.value() != b"warung" {
        return None;
    }
    let version = meta.get(b"schema".as_slice()).ok()??;
    let version = u32::from_be_bytes(version.value().try_into().ok()?);
    (version > 0).then_some(version)
}

/// Runs one migration to its end, stretch by stretch.
pub(super) fn migrate(tables: &mut Tables, migration: &Migration) -> Result<()> {
    let mut changes = Changes::new();
    let (mut rows, mut after) = (0, None);
    loop {
        let mut aftermath = Aftermath::default();
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
