//! Reading: one trait for a read transaction and for a write transaction in progress.

use std::cell::{Cell, OnceCell};
use std::ops::{Bound, ControlFlow, RangeBounds};
use std::sync::Weak;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTableMetadata as _};

use super::failure::Failure;
use super::key::Key;
use super::tables::{COUNT, META, Table};
use crate::error::{Error, Result};

/// A row: key and value.
pub(super) type Row = (Vec<u8>, Vec<u8>);

/// Is shown rows, and says whether to go on.
pub(super) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>> + 'a;

/// A table that is open for reading.
type OpenTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// What can be asked of the store; implemented by [`Reader`] and by [`Tx`](super::Tx), so that a
/// domain function runs in either.
pub trait Read {
    /// Shows the value of `key` to `f` without copying it.
    fn view<T>(&self, table: Table, key: &[u8], f: impl FnOnce(&[u8]) -> T) -> Result<Option<T>>;

    /// Shows the rows between two bounds to `visit`, in order or in reverse, until it breaks off.
    fn walk(
        &self,
        table: Table,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        reverse: bool,
        visit: &mut Visit<'_>,
    ) -> Result<()>;

    /// The value of `key`.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.view(table, key, <[u8]>::to_vec)
    }

    /// Whether there is a row `key`.
    fn exists(&self, table: Table, key: &[u8]) -> Result<bool> {
        Ok(self.view(table, key, |_| ())?.is_some())
    }

    /// The last number that a counter gave out; 0 before the first.
    fn last_seq(&self, counter: &str) -> Result<u64> {
        let key = Key::new().tail("seq/").tail(counter);
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).unwrap_or(0);
        Ok(self.view(META, &key, number)?.unwrap_or(0))
    }

    /// Up to `limit` rows of a range, in order or in reverse.
    fn range(
        &self,
        table: Table,
        range: impl RangeBounds<Vec<u8>>,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Row>> {
        let lower = range.start_bound().map(Vec::as_slice);
        let upper = range.end_bound().map(Vec::as_slice);
        collect(self, table, lower, upper, limit, reverse)
    }

    /// Up to `limit` rows whose keys begin with `prefix`, those after the key `after` if given.
    fn prefix(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>> {
        let end = prefix_end(prefix);
        let lower = after.map_or(Bound::Included(prefix), Bound::Excluded);
        collect(self, table, lower, upper(&end), limit, false)
    }

    /// The first row whose key begins with `prefix`.
    fn first(&self, table: Table, prefix: &[u8]) -> Result<Option<Row>> {
        Ok(self.prefix(table, prefix, None, 1)?.pop())
    }

    /// The last row whose key begins with `prefix`.
    fn last(&self, table: Table, prefix: &[u8]) -> Result<Option<Row>> {
        let end = prefix_end(prefix);
        Ok(collect(self, table, Bound::Included(prefix), upper(&end), 1, true)?.pop())
    }

    /// How many rows have keys that begin with `prefix`.
    fn count(&self, table: Table, prefix: &[u8]) -> Result<usize> {
        let mut count = 0;
        self.for_each_prefix(table, prefix, |_, _| {
            count += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(count)
    }

    /// Shows every row whose key begins with `prefix` to `visit`, in order, until it breaks off.
    fn for_each_prefix(
        &self,
        table: Table,
        prefix: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let end = prefix_end(prefix);
        self.walk(
            table,
            Bound::Included(prefix),
            upper(&end),
            false,
            &mut visit,
        )
    }
}

fn collect(
    read: &(impl Read + ?Sized),
    table: Table,
    lower: Bound<&[u8]>,
    upper: Bound<&[u8]>,
    limit: usize,
    reverse: bool,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    if limit > 0 {
        read.walk(table, lower, upper, reverse, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            Ok(if rows.len() < limit {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            })
        })?;
    }
    Ok(rows)
}

/// The first key after all that begin with `prefix`; `None` when there is no such key.
pub(super) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|byte| *byte != 0xFF)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end)
}

fn upper(end: &Option<Vec<u8>>) -> Bound<&[u8]> {
    end.as_deref().map_or(Bound::Unbounded, Bound::Excluded)
}

/// Whether redb may be asked for this range: it panics on one that ends before it begins.
pub(super) fn is_range(lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> bool {
    use Bound::{Excluded, Included, Unbounded};
    match (lower, upper) {
        (Unbounded, _) | (_, Unbounded) => true,
        (Included(a), Included(b)) => a <= b,
        (Included(a) | Excluded(a), Excluded(b)) | (Excluded(a), Included(b)) => a < b,
    }
}

/// A consistent view of the whole store, as of the moment it was made.
pub struct Reader {
    transaction: ReadTransaction,
    open: [OnceCell<Box<OpenTable>>; COUNT],
    failed: Cell<bool>,
    /// Gone when nobody waits for what is read.
    waits: OnceCell<Weak<()>>,
}

impl Reader {
    pub(super) fn new(transaction: ReadTransaction) -> Self {
        Self {
            transaction,
            open: [const { OnceCell::new() }; COUNT],
            failed: Cell::new(false),
            waits: OnceCell::new(),
        }
    }

    /// How many bytes all tables take, with what is left over in their pages.
    pub(super) fn used_bytes(&self) -> Result<u64> {
        let mut used = 0;
        for table in Table::all() {
            let stats = self.note(self.table(table)?.stats())?;
            used += stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes();
        }
        Ok(used)
    }

    /// Breaks off when this is gone.
    pub(super) fn only_while(&self, waits: Weak<()>) {
        let _ = self.waits.set(waits);
    }

    fn is_abandoned(&self) -> bool {
        self.waits.get().is_some_and(|w| w.strong_count() == 0)
    }

    /// Whether the disk failed under this reader.
    pub(super) fn failed(&self) -> bool {
        self.failed.get()
    }

    fn table(&self, table: Table) -> Result<&OpenTable> {
        let cell = &self.open[table.number()];
        if let Some(open) = cell.get() {
            return Ok(open);
        }
        let open = self.note(self.transaction.open_table(definition(table)))?;
        Ok(cell.get_or_init(|| Box::new(open)))
    }

    fn note<T, E: Into<Failure>>(&self, result: std::result::Result<T, E>) -> Result<T> {
        result.map_err(|e| {
            let failure = e.into();
            self.failed.set(self.failed.get() || failure.is_disk());
            failure.into()
        })
    }
}

impl Read for Reader {
    fn view<T>(&self, table: Table, key: &[u8], f: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        let found = self.note(self.table(table)?.get(key))?;
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
        let mut rows = self.note(self.table(table)?.range::<&[u8]>((lower, upper)))?;
        while let Some(row) = if reverse {
            rows.next_back()
        } else {
            rows.next()
        } {
            let (key, value) = self.note(row)?;
            if self.is_abandoned() {
                return Err(Error::invalid("nobody waits for this any more"));
            }
            if visit(key.value(), value.value())?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// redb's name for a table.
pub(super) fn definition(
    table: Table,
) -> redb::TableDefinition<'static, &'static [u8], &'static [u8]> {
    redb::TableDefinition::new(table.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_skips_bytes_that_cannot_grow() {
        assert_eq!(prefix_end(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(prefix_end(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(prefix_end(b"\xff"), None);
        assert_eq!(prefix_end(b""), None);
    }
}
