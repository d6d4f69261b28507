//! The durable due-queue: rows that are to be worked on at a time, in lanes, at least once.
//!
//! A row is enqueued in the transaction that decides on it. A worker claims rows that are due, acts,
//! and settles each claim in a transaction: [`done`] or [`retry_at`]. All work is constant
//! per row, whatever the length of the queue.
//!
//! Invariants:
//! - A claim exists in memory only. After a crash every unsettled row is simply due again: what a row
//!   asks for is done **at least once**, never exactly once; the act must carry an id that survives.
//! - A claim is released when the last clone of it is gone *and* the outcome of the transaction that
//!   settled it is known. So a row cannot be claimed twice at a time, and a worker that dies loses none.
//! - There is one [`Queue`] per queue number and process.

pub(super) mod check;
mod claim;
mod lane;
mod rows;

use std::collections::HashSet;
use std::ops::{Bound, ControlFlow};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Store;
use super::failure::unavailable;
use super::key::{Key, KeyParts};
use super::read::{Read as _, Reader};
use super::tables::{QUEUE_DUE, QUEUE_ROWS};
use crate::error::{Error, Result};
use crate::time::{Clock, Timestamp};

pub use self::claim::{Claim, behind, done, move_to, retry_at};
use self::claim::{ClaimMarks, ClaimableRow, mark_of};
pub use self::lane::LaneOrder;
use self::lane::{LaneKey, QueueRow, readable};
pub use self::rows::{
    delete_page, enqueue, enqueue_all, find, hasten, hasten_row, head, lane_len, later_lanes, len,
    remove,
};

/// The longest sleep: after it the clock is read again, which may have been set meanwhile.
const CLOCK_CHECK: Duration = Duration::from_secs(60);

/// The in-memory side of one queue: who works on what, and when to wake.
#[derive(Clone)]
pub struct Queue {
    store: Store,
    clock: Clock,
    number: u8,
    /// The longest that a row of this queue is made to wait.
    longest: Duration,
    per_lane: usize,
    held: Arc<ClaimMarks>,
}

/// Which rows are due.
///
/// Invariant: a row that is to wait longer than any row of the queue ever does was put off by a clock
/// that has been set back since, and is due: no lane stands still until the old time comes again.
#[derive(Clone, Copy)]
struct DueRows {
    now: Timestamp,
    /// What is later than this was put off by another clock.
    latest: Timestamp,
}

impl DueRows {
    fn holds(self, due: Timestamp) -> bool {
        due <= self.now || due > self.latest
    }
}

impl Queue {
    /// The queue `number` (below 64) of a store, whose rows wait `longest` at most.
    pub fn new(store: &Store, number: u8, clock: Clock, longest: Duration) -> Self {
        let held = Arc::new(ClaimMarks::new(store.signal(number)));
        Self {
            store: store.clone(),
            clock,
            number,
            longest,
            per_lane: usize::MAX,
            held,
        }
    }

    fn due(&self) -> DueRows {
        let now = self.clock.now();
        let latest = now.after(self.longest);
        DueRows { now, latest }
    }

    /// Lets no more than so many rows of a lane that is not ordered be claimed at a time, so that none
    /// can take all that its workers have.
    #[must_use]
    pub fn at_most_per_lane(mut self, rows: usize) -> Self {
        self.per_lane = rows;
        self
    }

    /// How many more rows of a lane may be claimed. The marks of its rows begin with its key.
    fn room_in(&self, lane: &LaneKey, marks: &HashSet<Key>) -> usize {
        if self.per_lane == usize::MAX {
            return usize::MAX;
        }
        let held = marks.iter().filter(|mark| mark.starts_with(&lane.0));
        self.per_lane.saturating_sub(held.count())
    }

    /// Claims up to `limit` rows that are due: the head of every ordered lane that nobody works on,
    /// one row of every other lane, then more of those.
    pub fn claim(&self, limit: usize) -> Result<Vec<Claim>> {
        if self.store.is_degraded() {
            // What cannot be settled afterwards had better not be begun.
            return Err(unavailable());
        }
        // Locked before the snapshot is taken, and released claims wait for this lock: so a row
        // that is in the snapshot and was settled since is still marked.
        let mut marks = self.held.lock();
        let mut found = Vec::new();
        let gathered = self
            .store
            .read(|reader| self.gather(reader, limit, &mut marks, &mut found));
        if let Err(error) = gathered {
            for row in &found {
                marks.remove(&row.mark);
            }
            return Err(error);
        }
        Ok(found
            .into_iter()
            .map(|row| row.claimed(&self.held))
            .collect())
    }

    /// Finds and marks what [`claim`](Self::claim) takes.
    fn gather(
        &self,
        reader: &Reader,
        limit: usize,
        marks: &mut HashSet<Key>,
        found: &mut Vec<ClaimableRow>,
    ) -> Result<()> {
        let is_due = self.due();
        let mut take = |lane: &LaneKey, order, limit: usize| {
            let limit = match order {
                LaneOrder::Fifo if marks.contains(&lane.0) => return Ok(0),
                LaneOrder::Fifo => limit,
                LaneOrder::ByDue => limit.min(self.room_in(lane, marks)),
            };
            let rows = due_rows(reader, lane, order, is_due, limit, marks)?;
            marks.extend(rows.iter().map(|row| row.mark.clone()));
            let count = rows.len();
            found.extend(rows);
            Ok::<_, Error>(count)
        };
        let mut left = limit;
        let mut open_lanes = Vec::new();
        for lanes in [(None, Some(is_due.now)), (Some(is_due.latest), None)] {
            self.due_lanes(reader, lanes, |_, order, lane| {
                if left == 0 {
                    return Ok(ControlFlow::Break(()));
                }
                let count = take(&lane, order, 1)?;
                left -= count;
                if order == LaneOrder::ByDue && count > 0 {
                    open_lanes.push(lane);
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        for (at, lane) in open_lanes.iter().enumerate() {
            let share = left.div_ceil(open_lanes.len() - at);
            left -= take(lane, LaneOrder::ByDue, share)?;
        }
        // What lanes with few rows did not use.
        for lane in &open_lanes {
            left -= take(lane, LaneOrder::ByDue, left)?;
        }
        Ok(())
    }

    /// Claims up to `limit` rows of one lane that is not ordered, those that are due by `until`.
    pub fn claim_in(&self, lane: &[u8], until: Timestamp, limit: usize) -> Result<Vec<Claim>> {
        if self.store.is_degraded() {
            return Err(unavailable());
        }
        let lane = LaneKey::new(self.number, lane);
        let mut marks = self.held.lock();
        let is_due = DueRows {
            now: until,
            latest: Timestamp::from_ms(i64::MAX),
        };
        let found = self
            .store
            .read(|reader| due_rows(reader, &lane, LaneOrder::ByDue, is_due, limit, &marks))?;
        marks.extend(found.iter().map(|row| row.mark.clone()));
        Ok(found
            .into_iter()
            .map(|row| row.claimed(&self.held))
            .collect())
    }

    /// When the first row of a lane is due, claimed or not; `None` when it has none.
    pub fn due_in(&self, lane: &[u8]) -> Result<Option<Timestamp>> {
        let lane = LaneKey::new(self.number, lane);
        let found = self.store.read(|reader| lane.load(reader))?;
        Ok(found.map(|lane| lane.due))
    }

    /// When the next row that nobody works on is due; `None` when there is none.
    pub fn next_due(&self) -> Result<Option<Timestamp>> {
        let marks = self.held.lock();
        let is_due = self.due();
        self.store.read(|reader| {
            let first = |lane: &LaneKey, order| {
                Ok::<_, Error>(match order {
                    LaneOrder::Fifo if marks.contains(&lane.0) => None,
                    LaneOrder::ByDue if self.room_in(lane, &marks) == 0 => None,
                    // Not what the lane says: all its rows may be damaged.
                    _ => due_rows(reader, lane, order, EVER, 1, &marks)?
                        .first()
                        .map(|row| row.due),
                })
            };
            let mut next: Option<Timestamp> = None;
            self.due_lanes(reader, (Some(is_due.latest), None), |_, order, lane| {
                next = first(&lane, order)?.map(|_| is_due.now);
                Ok(if next.is_some() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                })
            })?;
            self.due_lanes(reader, (None, Some(is_due.latest)), |due, order, lane| {
                if next.is_some_and(|next| next <= due) {
                    return Ok(ControlFlow::Break(()));
                }
                let found = first(&lane, order)?;
                let found = found.map(|due| if due > is_due.latest { is_due.now } else { due });
                next = next.into_iter().chain(found).min();
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(next)
        })
    }

    /// Returns when there is something to claim. It sleeps until a row is due, one is enqueued, or a
    /// claim is released.
    pub async fn ready(&self) -> Result<()> {
        loop {
            let mut woken = pin!(self.held.wake().notified());
            // Before looking: what is enqueued while we look wakes us too.
            woken.as_mut().enable();
            let now = self.clock.now();
            match self.next_due()? {
                Some(due) if due <= now => return Ok(()),
                Some(due) => {
                    let wait = due.since(now).min(CLOCK_CHECK);
                    let _ = tokio::time::timeout(wait, woken).await;
                }
                None => woken.await,
            }
        }
    }

    /// Wakes whoever waits in [`ready`](Self::ready): for a clock that was moved by hand.
    #[cfg(feature = "sandbox")]
    pub fn wake(&self) {
        self.held.wake().notify_waiters();
    }

    /// Shows the lanes of this queue by when they are due: those that are due later than the one
    /// time, and not later than the other.
    fn due_lanes(
        &self,
        reader: &Reader,
        (later_than, until): (Option<Timestamp>, Option<Timestamp>),
        mut visit: impl FnMut(Timestamp, LaneOrder, LaneKey) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let next = |at: Timestamp| at.as_ms().checked_add(1).map(Timestamp::from_ms);
        let key = |at: Timestamp| Key::new().u8(self.number).time(at);
        let end = Key::new().u8(self.number + 1);
        let lower = match later_than.map(next) {
            Some(None) => return Ok(()),
            Some(Some(at)) => key(at),
            None => Key::new().u8(self.number),
        };
        let upper = until.and_then(next).map_or(end, key);
        let (lower, upper) = (Bound::Included(&*lower), Bound::Excluded(&*upper));
        reader.walk(QUEUE_DUE, lower, upper, false, &mut |key, value| {
            let mut parts = KeyParts::new(key);
            let (queue, due) = (parts.u8()?, parts.time()?);
            let lane = LaneKey(Key::new().u8(queue).tail(parts.tail()));
            let order = match LaneOrder::of(value) {
                Ok(order) => Some(order),
                // This is damaged, and the lane is not.
                Err(_) => lane.load(reader)?.map(|lane| lane.order),
            };
            match order {
                Some(order) => visit(due, order, lane),
                None => Ok(ControlFlow::Continue(())),
            }
        })
    }
}

/// All rows are due.
const EVER: DueRows = DueRows {
    now: Timestamp::from_ms(i64::MAX),
    latest: Timestamp::from_ms(i64::MAX),
};

/// Up to `limit` rows of a lane that are due and not marked; of an ordered lane at most its head.
fn due_rows(
    reader: &Reader,
    lane: &LaneKey,
    order: LaneOrder,
    is_due: DueRows,
    limit: usize,
    marks: &HashSet<Key>,
) -> Result<Vec<ClaimableRow>> {
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    let mut visit = |key: &[u8], value: &[u8]| {
        if found.len() == limit {
            return Ok(ControlFlow::Break(()));
        }
        let mut parts = KeyParts::new(&key[lane.0.len()..]);
        let (_, seq) = (parts.u64()?, parts.u64()?);
        let Some(row) = readable(value) else {
            return Ok(ControlFlow::Continue(()));
        };
        let QueueRow {
            attempts,
            due,
            payload,
        } = row;
        if !is_due.holds(due) {
            return Ok(ControlFlow::Break(()));
        }
        let mark = mark_of(lane, order, seq);
        if !marks.contains(&mark) {
            let (lane, payload) = (lane.clone(), Bytes::copy_from_slice(payload));
            found.push(ClaimableRow {
                lane,
                order,
                seq,
                due,
                attempts,
                payload,
                mark,
            });
        }
        Ok(match order {
            LaneOrder::Fifo => ControlFlow::Break(()),
            LaneOrder::ByDue => ControlFlow::Continue(()),
        })
    };
    let last = |at| lane.0.clone().time(at).u64(u64::MAX);
    match order {
        LaneOrder::Fifo => reader.for_each_prefix(QUEUE_ROWS, &lane.0, visit)?,
        LaneOrder::ByDue => {
            let (now, latest) = (last(is_due.now), last(is_due.latest));
            let end = last(Timestamp::from_ms(i64::MAX));
            let mut walk = |lower, upper: &Key| {
                reader.walk(QUEUE_ROWS, lower, Bound::Included(upper), false, &mut visit)
            };
            walk(Bound::Included(&*lane.0), &now)?;
            walk(Bound::Excluded(&*latest), &end)?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
