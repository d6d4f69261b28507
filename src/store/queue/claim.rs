//! A claim on a row: who holds one works on it, and settles it in a transaction.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::super::key::{Key, KeyParts};
use super::super::read::Read;
use super::super::tables::QUEUE_ROWS;
use super::super::tx::Tx;
use super::lane::{Lane, LaneKey, LaneOrder, QueueRow, readable};
use super::rows::Waiting;
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// The marks of claimed rows and lanes.
pub(super) struct ClaimMarks {
    marks: Mutex<HashSet<Key>>,
    wake: Arc<Notify>,
}

impl ClaimMarks {
    /// None; `wake` is told when one goes.
    pub(super) fn new(wake: Arc<Notify>) -> Self {
        Self {
            marks: Mutex::default(),
            wake,
        }
    }

    /// All of them. Until the guard is dropped none comes or goes.
    pub(super) fn lock(&self) -> MutexGuard<'_, HashSet<Key>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What wakes whoever waits for something to claim.
    pub(super) fn wake(&self) -> &Notify {
        &self.wake
    }
}

/// A claimed row. Clones are the same claim.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The lane it is in.
    pub lane: Vec<u8>,
    /// Its number.
    pub seq: u64,
    /// When it was due.
    pub due: Timestamp,
    /// How often it was tried before.
    pub attempts: u32,
    /// What it asks for.
    pub payload: Bytes,
    order: LaneOrder,
    hold: Arc<ClaimMark>,
}

/// Keeps the mark; dropping the last one takes it away.
struct ClaimMark {
    lane: LaneKey,
    mark: Key,
    held: Arc<ClaimMarks>,
}

impl std::fmt::Debug for ClaimMark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hold").field(&self.mark).finish()
    }
}

impl Drop for ClaimMark {
    fn drop(&mut self) {
        self.held.lock().remove(&self.mark);
        self.held.wake.notify_waiters();
    }
}

impl Claim {
    fn queue(&self) -> u8 {
        self.hold.lane.0[0]
    }

    fn row_key(&self) -> Key {
        self.hold.lane.row(self.order, self.due, self.seq)
    }

    /// The row's payload as it is now, or as it was claimed if it is damaged by now; `None` when the row
    /// is gone.
    fn stored(&self, tx: &Tx) -> Result<Option<Vec<u8>>> {
        tx.view(QUEUE_ROWS, &self.row_key(), |value| {
            readable(value).map_or_else(|| self.payload.to_vec(), |row| row.payload.to_vec())
        })
    }

    /// Takes the row out of its lane; returns its payload, or `None` when it was gone.
    fn remove(&self, tx: &mut Tx) -> Result<Option<Vec<u8>>> {
        let Some(payload) = self.stored(tx)? else {
            return Ok(None);
        };
        let at = &self.hold.lane;
        let Some(old) = at.load(tx)? else {
            return Err(Error::internal("a queue row without a lane"));
        };
        tx.delete(QUEUE_ROWS, &self.row_key());
        let new = at.rescheduled(
            tx,
            Lane {
                len: old.len.saturating_sub(1),
                ..old
            },
        )?;
        at.store(tx, Some(old), new);
        tx.hold(Arc::clone(&self.hold));
        Ok(Some(payload))
    }
}

/// What marks a row or a lane as claimed. Both are looked up in one set: no lane's key can be the
/// mark of a row, because escaped parts end where they end.
pub(super) fn mark_of(lane: &LaneKey, order: LaneOrder, seq: u64) -> Key {
    match order {
        LaneOrder::Fifo => lane.0.clone(),
        LaneOrder::ByDue => lane.0.clone().u64(seq),
    }
}

/// A row that can be claimed.
pub(super) struct ClaimableRow {
    pub(super) lane: LaneKey,
    pub(super) order: LaneOrder,
    pub(super) seq: u64,
    pub(super) due: Timestamp,
    pub(super) attempts: u32,
    pub(super) payload: Bytes,
    pub(super) mark: Key,
}

impl ClaimableRow {
    /// The claim of this row, whose mark has been set.
    pub(super) fn claimed(self, held: &Arc<ClaimMarks>) -> Claim {
        let Self {
            lane,
            order,
            seq,
            due,
            attempts,
            payload,
            mark,
        } = self;
        let name = KeyParts::new(&lane.0[1..])
            .escaped()
            .expect("the lane was read with this key");
        let hold = Arc::new(ClaimMark {
            lane,
            mark,
            held: Arc::clone(held),
        });
        Claim {
            lane: name,
            seq,
            due,
            attempts,
            payload,
            order,
            hold,
        }
    }
}

/// Settles a claim: the row has been worked on. False when it was no longer there.
pub fn done(tx: &mut Tx, claim: &Claim) -> Result<bool> {
    Ok(claim.remove(tx)?.is_some())
}

/// Settles a claim: the row is to be tried again at `when`, with one attempt more. False when it was
/// no longer there.
pub fn retry_at(tx: &mut Tx, claim: &Claim, when: Timestamp) -> Result<bool> {
    let Some(payload) = claim.stored(tx)? else {
        return Ok(false);
    };
    let attempts = claim.attempts.saturating_add(1);
    let entry = QueueRow {
        attempts,
        due: when,
        payload: &payload,
    }
    .encode();
    let at = &claim.hold.lane;
    let Some(old) = at.load(tx)? else {
        return Err(Error::internal("a queue row without a lane"));
    };
    tx.delete(QUEUE_ROWS, &claim.row_key());
    tx.put(QUEUE_ROWS, at.row(claim.order, when, claim.seq), entry);
    let new = at.rescheduled(tx, old)?;
    at.store(tx, Some(old), new);
    tx.hold(Arc::clone(&claim.hold));
    tx.signal(claim.queue());
    Ok(true)
}

/// Moves a claimed row to a lane where each row is due by itself; it is tried again there at `when`, with
/// one attempt more. False when it was no longer there.
pub fn move_to(tx: &mut Tx, claim: &Claim, lane: &[u8], when: Timestamp) -> Result<bool> {
    let Some(payload) = claim.remove(tx)? else {
        return Ok(false);
    };
    let at = LaneKey::new(claim.queue(), lane);
    let entry = QueueRow {
        attempts: claim.attempts.saturating_add(1),
        due: when,
        payload: &payload,
    };
    let old = at.load(tx)?;
    if old.is_some_and(|lane| lane.order != LaneOrder::ByDue) {
        return Err(Error::internal("a lane cannot change its order"));
    }
    let new = match old {
        None => Lane {
            order: LaneOrder::ByDue,
            due: when,
            len: 1,
        },
        Some(lane) => Lane {
            due: lane.due.min(when),
            len: lane.len + 1,
            ..lane
        },
    };
    let key = at.row(LaneOrder::ByDue, when, claim.seq);
    tx.put(QUEUE_ROWS, key, entry.encode());
    at.store(tx, old, Some(new));
    tx.signal(claim.queue());
    Ok(true)
}

/// Up to `limit` rows behind the claimed head of an ordered lane, as claims that share its hold: nobody
/// else can claim them while it lasts.
pub fn behind(read: &impl Read, claim: &Claim, limit: usize) -> Result<Vec<Claim>> {
    let lane = &claim.hold.lane;
    let mut found = Vec::new();
    read.for_each_prefix(QUEUE_ROWS, &lane.0, |key, value| {
        if found.len() >= limit {
            return Ok(ControlFlow::Break(()));
        }
        let row = Waiting::read(lane, claim.order, key, value)?;
        if let Some(row) = row.filter(|row| row.seq > claim.seq) {
            found.push(Claim {
                lane: claim.lane.clone(),
                seq: row.seq,
                due: row.due,
                attempts: row.attempts,
                payload: row.payload.into(),
                order: claim.order,
                hold: Arc::clone(&claim.hold),
            });
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}
