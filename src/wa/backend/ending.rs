//! Rows that end: the index of when they do, and the sweep that deletes them.

use std::ops::Bound;

use whatsapp_rust::wacore::store::error::Result;

use super::rows::{RowKind, SEALED, parts};
use super::{Backend, SWEEP};
use crate::error::Result as OurResult;
use crate::store::tables::{WA, WA_EXPIRY};
use crate::store::{Durability, Key, Read as _, Tx};

impl Backend {
    /// Deletes the rows of a kind that end before `cutoff`; says how many. The library's cutoffs are
    /// by the machine's clock: while that is not believed, nothing ends.
    pub(super) async fn delete_ended(&self, kind: RowKind, cutoff: i64) -> Result<u32> {
        if self.clock.believed().is_none() {
            return Ok(0);
        }
        let prefix = self.key(kind);
        let mut total = 0;
        loop {
            let prefix = prefix.clone();
            let sweep = move |tx: &mut Tx| {
                let end = prefix.clone().u64(sortable(cutoff));
                let ended = tx.range(
                    WA_EXPIRY,
                    (
                        Bound::Included(prefix.to_vec()),
                        Bound::Excluded(end.into_bytes()),
                    ),
                    SWEEP,
                    false,
                )?;
                for (key, _) in &ended {
                    let row = prefix.clone().tail(&key[prefix.len() + 8..]);
                    tx.delete(WA, &row);
                    tx.delete(WA_EXPIRY, key);
                }
                Ok(ended.len())
            };
            let count = self.write(Durability::Lazy, sweep).await?;
            total += count;
            if count < SWEEP {
                return Ok(u32::try_from(total).unwrap_or(u32::MAX));
            }
        }
    }
}

/// Puts a row that ends, and moves its entry in the index; `old_end` is the end that it had.
pub(super) fn put_ending(
    tx: &mut Tx,
    key: Key,
    old_end: Option<i64>,
    end: Option<i64>,
    value: Vec<u8>,
) {
    if old_end != end {
        if let Some(end) = old_end {
            tx.delete(WA_EXPIRY, &expiry_key(&key, end));
        }
        if let Some(end) = end {
            tx.put(WA_EXPIRY, expiry_key(&key, end), []);
        }
    }
    tx.put(WA, key, value);
}

/// Deletes a row that begins with the time it was stored at, and its entry in the index; returns
/// what follows that time, sealed.
pub(super) fn take_stored(tx: &mut Tx, key: &Key) -> OurResult<Option<Vec<u8>>> {
    let found = tx.view(WA, key, stored)?.transpose()?;
    Ok(found.map(|(at, bytes)| {
        tx.delete(WA_EXPIRY, &expiry_key(key, at));
        tx.delete(WA, key);
        bytes
    }))
}

/// Puts a row that begins with the time it is stored at.
pub(super) fn put_stored(tx: &mut Tx, key: Key, now: i64, sealed: &[u8]) -> OurResult<()> {
    let old = tx.view(WA, &key, stored_at)?.transpose()?;
    let mut value = Vec::with_capacity(9 + sealed.len());
    value.push(SEALED);
    value.extend_from_slice(&now.to_be_bytes());
    value.extend_from_slice(sealed);
    put_ending(tx, key, old, Some(now), value);
    Ok(())
}

/// The key of a row's entry in the index of ends.
fn expiry_key(row: &Key, end: i64) -> Key {
    let (session_and_kind, rest) = row.split_at(5);
    Key::new()
        .tail(session_and_kind)
        .u64(sortable(end))
        .tail(rest)
}

/// Seconds as bits that sort also before 1970.
fn sortable(secs: i64) -> u64 {
    (secs as u64) ^ (1 << 63)
}

fn stored_at(value: &[u8]) -> OurResult<i64> {
    Ok(parts(value)?.u64()? as i64)
}

/// When the row was stored, in seconds, and what follows, sealed.
pub(super) fn stored(value: &[u8]) -> OurResult<(i64, Vec<u8>)> {
    let mut parts = parts(value)?;
    Ok((parts.u64()? as i64, parts.tail().to_vec()))
}
