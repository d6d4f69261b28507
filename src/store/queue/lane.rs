//! Lanes and their rows as they lie in the store.

use std::ops::ControlFlow;

use super::super::key::{Key, KeyParts};
use super::super::read::Read;
use super::super::tables::{QUEUE_DUE, QUEUE_LANES, QUEUE_ROWS};
use super::super::tx::Tx;
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// The version byte of lanes and rows.
const VERSION: u8 = 1;

/// How the rows of a lane follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneOrder {
    /// One after the other, as enqueued: a row that waits for its retry holds up those behind it.
    Fifo,
    /// Each when it is due: a row that waits for its retry holds up nobody.
    ByDue,
}

/// A lane's row: what is needed to know when it has work, without looking at its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lane {
    pub(super) order: LaneOrder,
    pub(super) due: Timestamp,
    pub(super) len: u64,
}

/// A queue row's value.
pub(super) struct QueueRow<'a> {
    pub(super) attempts: u32,
    pub(super) due: Timestamp,
    pub(super) payload: &'a [u8],
}

/// `queue, lane`: the key of the lane and the beginning of the keys of its rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LaneKey(pub(super) Key);

impl LaneKey {
    pub(super) fn new(queue: u8, lane: &[u8]) -> Self {
        Self(Key::new().u8(queue).escaped(lane))
    }

    pub(super) fn row(&self, order: LaneOrder, due: Timestamp, seq: u64) -> Key {
        match order {
            LaneOrder::Fifo => self.0.clone().u64(0).u64(seq),
            LaneOrder::ByDue => self.0.clone().time(due).u64(seq),
        }
    }

    pub(super) fn due(&self, due: Timestamp) -> Key {
        Key::new().u8(self.0[0]).time(due).tail(&self.0[1..])
    }

    /// The lane; one whose row is damaged is what its rows say. Ask before any of them changes.
    pub(super) fn load(&self, read: &impl Read) -> Result<Option<Lane>> {
        match read.view(QUEUE_LANES, &self.0, Lane::decode)? {
            Some(Err(error)) => {
                tracing::debug!(?error, "a damaged lane of the queue is read from its rows");
                self.of_rows(read)
            }
            lane => lane.transpose(),
        }
    }

    fn of_rows(&self, read: &impl Read) -> Result<Option<Lane>> {
        let (mut order, mut due, mut len) = (None, None, 0);
        read.for_each_prefix(QUEUE_ROWS, &self.0, |key, value| {
            len += 1;
            // In a lane that is not ordered rows lie by their time, which is never 0.
            order = order.or(Some(match KeyParts::new(&key[self.0.len()..]).u64()? {
                0 => LaneOrder::Fifo,
                _ => LaneOrder::ByDue,
            }));
            due = due.or_else(|| readable(value).map(|row| row.due));
            Ok(ControlFlow::Continue(()))
        })?;
        let due = due.unwrap_or_default();
        Ok(order.map(|order| Lane { order, due, len }))
    }

    /// Writes the lane and its entry in the index, as far as they have changed.
    pub(super) fn store(&self, tx: &mut Tx, old: Option<Lane>, new: Option<Lane>) {
        if old == new {
            return;
        }
        match new {
            Some(lane) => tx.put(QUEUE_LANES, self.0.clone(), lane.encode()),
            None => tx.delete(QUEUE_LANES, &self.0),
        }
        if old.map(|l| l.due) != new.map(|l| l.due) {
            if let Some(lane) = old {
                tx.delete(QUEUE_DUE, &self.due(lane.due));
            }
            if let Some(lane) = new {
                tx.put(QUEUE_DUE, self.due(lane.due), [lane.order.byte()]);
            }
        }
    }

    /// The lane with the due time that its first row has now; `None` when it has no row. Damaged rows that
    /// lie before all others ask for nothing any more, and are taken away.
    pub(super) fn rescheduled(&self, tx: &mut Tx, mut lane: Lane) -> Result<Option<Lane>> {
        while let Some((key, value)) = tx.first(QUEUE_ROWS, &self.0)? {
            match QueueRow::decode(&value) {
                Ok(row) => {
                    lane.due = row.due;
                    return Ok(Some(lane));
                }
                Err(error) => {
                    tracing::error!(?error, "a damaged row of the queue is taken away");
                    tx.delete(QUEUE_ROWS, &key);
                    lane.len = lane.len.saturating_sub(1);
                }
            }
        }
        Ok(None)
    }
}

impl LaneOrder {
    pub(super) fn byte(self) -> u8 {
        match self {
            Self::Fifo => 0,
            Self::ByDue => 1,
        }
    }

    pub(super) fn of(bytes: &[u8]) -> Result<Self> {
        match bytes {
            [0] => Ok(Self::Fifo),
            [1] => Ok(Self::ByDue),
            _ => Err(damaged()),
        }
    }
}

impl Lane {
    pub(super) fn encode(self) -> Vec<u8> {
        Key::new()
            .u8(VERSION)
            .u8(self.order.byte())
            .time(self.due)
            .u64(self.len)
            .into_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut parts = value(bytes)?;
        let order = LaneOrder::of(&[parts.u8()?])?;
        Ok(Self {
            order,
            due: parts.time()?,
            len: parts.u64()?,
        })
    }
}

impl<'a> QueueRow<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(13 + self.payload.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.attempts.to_be_bytes());
        bytes.extend_from_slice(&Key::new().time(self.due));
        bytes.extend_from_slice(self.payload);
        bytes
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self> {
        let mut parts = value(bytes)?;
        Ok(Self {
            attempts: parts.u32()?,
            due: parts.time()?,
            payload: parts.tail(),
        })
    }
}

/// The row, if it can be read. A damaged one keeps no other of its lane.
pub(super) fn readable(value: &[u8]) -> Option<QueueRow<'_>> {
    let row = QueueRow::decode(value);
    row.inspect_err(|error| tracing::debug!(?error, "a damaged row of the queue is passed over"))
        .ok()
}

fn value(bytes: &[u8]) -> Result<KeyParts<'_>> {
    let mut parts = KeyParts::new(bytes);
    if parts.u8()? == VERSION {
        Ok(parts)
    } else {
        Err(damaged())
    }
}

fn damaged() -> Error {
    Error::internal("damaged queue row")
}
