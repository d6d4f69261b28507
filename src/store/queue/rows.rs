//! Rows that wait: how they come, are found, made due, counted and taken away.

use std::ops::ControlFlow;

use super::super::key::{Key, KeyParts};
use super::super::read::Read;
use super::super::tables::{QUEUE_LANES, QUEUE_ROWS};
use super::super::tx::Tx;
use super::lane::{Lane, LaneKey, LaneOrder, QueueRow, readable};
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// The counter that numbers rows.
const COUNTER: &str = "queue";

/// Adds a row to the end of a lane (or, by due time, where it belongs); returns its number.
pub fn enqueue(
    tx: &mut Tx,
    queue: u8,
    lane: &[u8],
    order: LaneOrder,
    due: Timestamp,
    payload: &[u8],
) -> Result<u64> {
    enqueue_all(tx, queue, lane, order, [(due, payload)])
}

/// Adds many rows to one lane; returns the number of the first, the others follow.
pub fn enqueue_all<P: AsRef<[u8]>>(
    tx: &mut Tx,
    queue: u8,
    lane: &[u8],
    order: LaneOrder,
    rows: impl IntoIterator<Item = (Timestamp, P), IntoIter: ExactSizeIterator>,
) -> Result<u64> {
    let rows = rows.into_iter();
    let count = rows.len() as u64;
    let first = tx.next_seqs(COUNTER, count)?;
    if count == 0 {
        return Ok(first);
    }
    let at = LaneKey::new(queue, lane);
    let old = at.load(tx)?;
    if old.is_some_and(|l| l.order != order) {
        return Err(Error::internal("a lane cannot change its order"));
    }
    let mut new = old;
    for (seq, (due, payload)) in (first..).zip(rows) {
        let payload = payload.as_ref();
        tx.put(
            QUEUE_ROWS,
            at.row(order, due, seq),
            QueueRow {
                attempts: 0,
                due,
                payload,
            }
            .encode(),
        );
        new = Some(match new {
            None => Lane { order, due, len: 1 },
            Some(l) => Lane {
                due: if order == LaneOrder::ByDue {
                    l.due.min(due)
                } else {
                    l.due
                },
                len: l.len + 1,
                ..l
            },
        });
    }
    at.store(tx, old, new);
    tx.signal(queue);
    Ok(first)
}

/// A row as it waits, claimed or not.
pub struct Waiting {
    lane: LaneKey,
    order: LaneOrder,
    pub(super) seq: u64,
    pub(super) due: Timestamp,
    pub(super) attempts: u32,
    pub(super) payload: Vec<u8>,
}

impl Waiting {
    /// The row; `None` when it is damaged.
    pub(super) fn read(
        lane: &LaneKey,
        order: LaneOrder,
        key: &[u8],
        value: &[u8],
    ) -> Result<Option<Self>> {
        let mut parts = KeyParts::new(&key[lane.0.len()..]);
        let (_, seq) = (parts.u64()?, parts.u64()?);
        Ok(readable(value).map(|entry| Self {
            lane: lane.clone(),
            order,
            seq,
            due: entry.due,
            attempts: entry.attempts,
            payload: entry.payload.to_vec(),
        }))
    }

    /// Writes the row with another due time, or takes it away; the lane follows.
    fn change(&self, tx: &mut Tx, due: Option<Timestamp>) -> Result<()> {
        let Some(old) = self.lane.load(tx)? else {
            return Err(Error::internal("a queue row without a lane"));
        };
        tx.delete(QUEUE_ROWS, &self.lane.row(self.order, self.due, self.seq));
        if let Some(due) = due {
            let entry = QueueRow {
                attempts: self.attempts,
                due,
                payload: &self.payload,
            };
            let key = self.lane.row(self.order, due, self.seq);
            tx.put(QUEUE_ROWS, key, entry.encode());
        }
        let len = old.len.saturating_sub(u64::from(due.is_none()));
        let new = self.lane.rescheduled(tx, Lane { len, ..old })?;
        self.lane.store(tx, Some(old), new);
        tx.signal(self.lane.0[0]);
        Ok(())
    }
}

/// The first row of a lane that asks for this. It reads the lane's rows up to it.
pub fn find(read: &impl Read, queue: u8, lane: &[u8], payload: &[u8]) -> Result<Option<Waiting>> {
    let at = LaneKey::new(queue, lane);
    let Some(Lane { order, .. }) = at.load(read)? else {
        return Ok(None);
    };
    let mut found = None;
    read.for_each_prefix(QUEUE_ROWS, &at.0, |key, value| {
        let row = Waiting::read(&at, order, key, value)?;
        found = row.filter(|row| row.payload == payload);
        Ok(match found {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        })
    })?;
    Ok(found)
}

/// Takes a row away, claimed or not. Settling a claim of it does nothing from then on.
pub fn remove(tx: &mut Tx, row: &Waiting) -> Result<()> {
    row.change(tx, None)
}

/// Makes a row due now. One that is being worked on may be done once more.
pub fn hasten_row(tx: &mut Tx, row: &Waiting, now: Timestamp) -> Result<()> {
    row.change(tx, Some(now))
}

/// Makes rows of a lane due now that are due later: the head of an ordered lane, or up to `limit` of
/// the others. Answers how many; less than `limit` when none is left.
pub fn hasten(tx: &mut Tx, queue: u8, lane: &[u8], now: Timestamp, limit: usize) -> Result<usize> {
    let at = LaneKey::new(queue, lane);
    let Some(Lane { order, .. }) = at.load(tx)? else {
        return Ok(0);
    };
    let mut later = Vec::new();
    tx.for_each_prefix(QUEUE_ROWS, &at.0, |key, value| {
        let Some(row) = Waiting::read(&at, order, key, value)? else {
            return Ok(ControlFlow::Continue(()));
        };
        if row.due > now {
            later.push(row);
        }
        Ok(match order {
            LaneOrder::ByDue if later.len() < limit => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        })
    })?;
    for row in &later {
        row.change(tx, Some(now))?;
    }
    Ok(later.len())
}

/// The lanes of a queue that may have rows that are due later than now. It reads a row for each lane.
pub fn later_lanes(read: &impl Read, queue: u8, now: Timestamp) -> Result<Vec<Vec<u8>>> {
    let mut lanes = Vec::new();
    read.for_each_prefix(QUEUE_LANES, &[queue], |key, _| {
        let lane = LaneKey(Key::new().tail(key)).load(read)?;
        if lane.is_some_and(|lane| lane.order == LaneOrder::ByDue || lane.due > now) {
            lanes.push(KeyParts::new(&key[1..]).escaped()?);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(lanes)
}

/// What the first row of a lane asks for, claimed or not.
pub fn head(read: &impl Read, queue: u8, lane: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut head = None;
    read.for_each_prefix(QUEUE_ROWS, &LaneKey::new(queue, lane).0, |_, value| {
        head = readable(value).map(|row| row.payload.to_vec());
        Ok(match head {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        })
    })?;
    Ok(head)
}

/// How many rows wait in a lane, claimed ones included.
pub fn lane_len(read: &impl Read, queue: u8, lane: &[u8]) -> Result<u64> {
    Ok(LaneKey::new(queue, lane)
        .load(read)?
        .map_or(0, |lane| lane.len))
}

/// How many rows wait in all lanes of a queue, claimed ones included. It reads a row for each lane.
pub fn len(read: &impl Read, queue: u8) -> Result<u64> {
    let mut len: u64 = 0;
    read.for_each_prefix(QUEUE_LANES, &[queue], |key, _| {
        let lane = LaneKey(Key::new().tail(key)).load(read)?;
        len = len.saturating_add(lane.map_or(0, |lane| lane.len));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(len)
}

/// Deletes up to `limit` rows of a lane; answers how many went, less than `limit` when it is empty now.
/// Settling a claim of a row that went does nothing from then on.
pub fn delete_page(tx: &mut Tx, queue: u8, lane: &[u8], limit: usize) -> Result<usize> {
    let at = LaneKey::new(queue, lane);
    let old = at.load(tx)?;
    let rows = tx.delete_some(QUEUE_ROWS, &at.0, limit)?;
    if let (Some(old), true) = (old, rows > 0) {
        let len = old.len.saturating_sub(rows as u64);
        let new = at.rescheduled(tx, Lane { len, ..old })?;
        at.store(tx, Some(old), new);
    }
    Ok(rows)
}
