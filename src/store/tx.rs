//! Writing: one operation's view of the store, and the changes it asks for.

use std::any::Any;
use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use redb::{ReadableTable, WriteTransaction};

use super::failure::Failure;
use super::key::{Key, fits};
use super::layout::Values;
use super::read::{Read, Visit, definition, is_range};
use super::tables::{COUNT, META, Table};
use crate::error::{Error, Result};

/// A table that is open for writing.
type OpenTable<'txn> = redb::Table<'txn, &'static [u8], &'static [u8]>;

/// The tables of one redb transaction, each opened once, on first use.
pub(super) struct Tables<'txn> {
    transaction: &'txn WriteTransaction,
    open: [OnceCell<Box<OpenTable<'txn>>>; COUNT],
}

impl<'txn> Tables<'txn> {
    pub(super) fn new(transaction: &'txn WriteTransaction) -> Self {
        Self {
            transaction,
            open: [const { OnceCell::new() }; COUNT],
        }
    }

    fn table(&self, table: Table) -> Result<&OpenTable<'txn>, Failure> {
        let cell = &self.open[table.number()];
        if let Some(open) = cell.get() {
            return Ok(open);
        }
        let open = self.transaction.open_table(definition(table))?;
        Ok(cell.get_or_init(|| Box::new(open)))
    }

    /// Puts or deletes one row; says whether that changed anything.
    pub(super) fn apply(
        &mut self,
        table: Table,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<bool, Failure> {
        self.table(table)?;
        let open = self.open[table.number()]
            .get_mut()
            .expect("the table was opened a line above");
        match value {
            Some(value) => {
                open.insert(key, value)?;
                Ok(true)
            }
            None => Ok(open.remove(key)?.is_some()),
        }
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self
            .table(table)?
            .get(key)?
            .map(|value| value.value().to_vec()))
    }
}

/// One row to put, or to delete when there is no value.
pub(super) type Change = (Table, Vec<u8>, Option<Vec<u8>>);

/// The changes of one operation, not yet applied.
pub(super) struct Changes {
    tables: [BTreeMap<Vec<u8>, Option<Vec<u8>>>; COUNT],
    touched: u64,
}

impl Changes {
    pub(super) fn new() -> Self {
        Self {
            tables: [const { BTreeMap::new() }; COUNT],
            touched: 0,
        }
    }

    fn of(&self, table: Table) -> &BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        &self.tables[table.number()]
    }

    fn set(&mut self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.touched |= 1 << table.number();
        self.tables[table.number()].insert(key, value);
    }

    /// Takes all changes out, table by table and in the order of the keys.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Change> + '_ {
        let touched = std::mem::take(&mut self.touched);
        Table::all()
            .zip(&mut self.tables)
            .filter(move |(t, _)| touched >> t.number() & 1 == 1)
            .flat_map(|(table, rows)| {
                std::mem::take(rows)
                    .into_iter()
                    .map(move |(key, value)| (table, key, value))
            })
    }

    pub(super) fn clear(&mut self) {
        self.drain().for_each(drop);
    }
}

/// What one operation leaves to be done when the outcome of its batch is known.
#[derive(Default)]
pub(super) struct Aftermath {
    /// Dropped then, whatever the outcome.
    pub(super) held: Vec<Box<dyn Any + Send>>,
    /// One bit per signal to give.
    pub(super) signals: u64,
}

/// One operation on the store: it reads what was committed, what earlier operations of the batch
/// changed and what it changed itself.
///
/// Invariant: nothing of it is applied before its closure has returned Ok, and then everything is.
pub struct Tx<'a, 'txn> {
    pub(super) tables: &'a Tables<'txn>,
    pub(super) changes: &'a mut Changes,
    pub(super) aftermath: &'a mut Aftermath,
}

impl Tx<'_, '_> {
    /// Inserts a row, or replaces its value.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        let (key, value) = (key.into(), value.into());
        debug_assert!(
            fits(table.key(), &key),
            "{table:?} has no such key: {key:02x?}"
        );
        if let Values::Versioned(newest) | Values::Dated(newest) = table.values() {
            debug_assert!(
                value.first().is_some_and(|v| (1..=newest).contains(v)),
                "{table:?}: value without a known version"
            );
        }
        debug_assert!(
            !table.is_dated() || super::dated::date(&value).is_some(),
            "{table:?}: a value without a date is never forgotten"
        );
        self.changes.set(table, key, Some(value));
    }

    /// Deletes a row if it is there.
    pub fn delete(&mut self, table: Table, key: &[u8]) {
        self.changes.set(table, key.to_vec(), None);
    }

    /// Copies every row whose key begins with `from` to the key that begins with `to` instead.
    pub fn copy_prefix(&mut self, table: Table, from: &[u8], to: &[u8]) -> Result<()> {
        let mut rows = Vec::new();
        self.for_each_prefix(table, from, |key, value| {
            rows.push(([to, &key[from.len()..]].concat(), value.to_vec()));
            Ok(ControlFlow::Continue(()))
        })?;
        for (key, value) in rows {
            self.put(table, key, value);
        }
        Ok(())
    }

    /// Deletes every row whose key begins with `prefix`; says how many.
    pub fn delete_prefix(&mut self, table: Table, prefix: &[u8]) -> Result<u64> {
        let mut keys = Vec::new();
        self.for_each_prefix(table, prefix, |key, _| {
            keys.push(key.to_vec());
            Ok(ControlFlow::Continue(()))
        })?;
        let count = keys.len() as u64;
        for key in keys {
            self.changes.set(table, key, None);
        }
        Ok(count)
    }

    /// Deletes up to `limit` rows whose key begins with `prefix`; says how many, less than `limit` when
    /// none is left.
    pub fn delete_some(&mut self, table: Table, prefix: &[u8], limit: usize) -> Result<usize> {
        let mut keys = Vec::new();
        if limit > 0 {
            self.for_each_prefix(table, prefix, |key, _| {
                keys.push(key.to_vec());
                Ok(if keys.len() < limit {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                })
            })?;
        }
        let count = keys.len();
        for key in keys {
            self.changes.set(table, key, None);
        }
        Ok(count)
    }

    /// The next number of a counter, from 1; no number is given out twice.
    pub fn next_seq(&mut self, counter: &'static str) -> Result<u64> {
        self.next_seqs(counter, 1)
    }

    /// The first of the next `count` numbers of a counter.
    pub fn next_seqs(&mut self, counter: &'static str, count: u64) -> Result<u64> {
        let key = Key::new().tail("seq/").tail(counter);
        let last = match self.get(META, &key)? {
            Some(bytes) => u64::from_be_bytes(
                bytes
                    .try_into()
                    .map_err(|_| Error::internal("damaged counter"))?,
            ),
            None => 0,
        };
        self.put(META, key, (last + count).to_be_bytes());
        Ok(last + 1)
    }

    /// Keeps `guard` until the outcome of this transaction is known, and then drops it, whether the
    /// transaction was committed or not.
    pub fn hold(&mut self, guard: impl Any + Send) {
        self.aftermath.held.push(Box::new(guard));
    }

    /// Gives signal `number` (below 64) when this transaction has been committed.
    pub fn signal(&mut self, number: u8) {
        debug_assert!(number < 64);
        self.aftermath.signals |= 1 << number;
    }
}

impl Read for Tx<'_, '_> {
    fn view<T>(&self, table: Table, key: &[u8], f: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        if let Some(changed) = self.changes.of(table).get(key) {
            return Ok(changed.as_deref().map(f));
        }
        let found = self.tables.table(table)?.get(key).map_err(Failure::from)?;
        Ok(found.map(|value| f(value.value())))
    }

    fn walk(
        &self,
        table: Table,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        reverse: bool,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        if !is_range(lower, upper) {
            return Ok(());
        }
        let mut stored = self
            .tables
            .table(table)?
            .range::<&[u8]>((lower, upper))
            .map_err(Failure::from)?;
        let mut changed = self.changes.of(table).range::<[u8], _>((lower, upper));
        let mut next_stored = || {
            let row = if reverse {
                stored.next_back()
            } else {
                stored.next()
            };
            row.transpose().map_err(Failure::from)
        };
        let mut next_changed = || {
            if reverse {
                changed.next_back()
            } else {
                changed.next()
            }
        };
        let mut row = next_stored()?;
        let mut change = next_changed();
        loop {
            let order = match (&row, change) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((key, _)), Some((other, _))) => {
                    let order = key.value().cmp(other.as_slice());
                    if reverse { order.reverse() } else { order }
                }
            };
            let flow = if order == Ordering::Less {
                let (key, value) = row.take().expect("an order of Less has a stored row");
                visit(key.value(), value.value())?
            } else {
                let (key, value) = change.take().expect("any other order has a change");
                match value {
                    Some(value) => visit(key, value)?,
                    None => ControlFlow::Continue(()),
                }
            };
            if flow.is_break() {
                return Ok(());
            }
            if order != Ordering::Greater {
                row = next_stored()?;
            }
            if order != Ordering::Less {
                change = next_changed();
            }
        }
    }
}
