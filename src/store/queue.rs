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

use std::collections::HashSet;
use std::ops::{Bound, ControlFlow};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::check::Problems;
use super::failure::unavailable;
use super::key::{Key, KeyParts};
use super::read::{Read, Reader};
use super::tables::{QUEUE_DUE, QUEUE_LANES, QUEUE_ROWS};
use super::{Store, Tx};
use crate::error::{Error, Result};
use crate::time::{Clock, Timestamp};

/// The version byte of lanes and rows.
const VERSION: u8 = 1;
/// The counter that numbers rows.
const COUNTER: &str = "queue";
/// The longest sleep: after it the clock is read again, which may have been set meanwhile.
const CLOCK_CHECK: Duration = Duration::from_secs(60);

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
struct Lane {
    order: LaneOrder,
    due: Timestamp,
    len: u64,
}

/// A queue row's value.
struct QueueRow<'a> {
    attempts: u32,
    due: Timestamp,
    payload: &'a [u8],
}

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
    tx.delete(QUEUE_ROWS, &claim.row_key());
    tx.put(QUEUE_ROWS, at.row(claim.order, when, claim.seq), entry);
    let old = at.load(tx)?;
    let new = match old {
        Some(lane) => at.rescheduled(tx, lane)?,
        None => return Err(Error::internal("a queue row without a lane")),
    };
    at.store(tx, old, new);
    tx.hold(Arc::clone(&claim.hold));
    tx.signal(claim.queue());
    Ok(true)
}

/// Deletes up to `limit` rows of a lane; answers how many went, less than `limit` when it is empty now.
/// Settling a claim of a row that went does nothing from then on.
pub fn delete_page(tx: &mut Tx, queue: u8, lane: &[u8], limit: usize) -> Result<usize> {
    let at = LaneKey::new(queue, lane);
    let rows = tx.delete_some(QUEUE_ROWS, &at.0, limit)?;
    if let (Some(old), true) = (at.load(tx)?, rows > 0) {
        let len = old.len.saturating_sub(rows as u64);
        let new = at.rescheduled(tx, Lane { len, ..old })?;
        at.store(tx, Some(old), new);
    }
    Ok(rows)
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
        if row.seq > claim.seq {
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

/// A row as it waits, claimed or not.
pub struct Waiting {
    lane: LaneKey,
    order: LaneOrder,
    seq: u64,
    due: Timestamp,
    attempts: u32,
    payload: Vec<u8>,
}

impl Waiting {
    fn read(lane: &LaneKey, order: LaneOrder, key: &[u8], value: &[u8]) -> Result<Self> {
        let mut parts = KeyParts::new(&key[lane.0.len()..]);
        let (_, seq) = (parts.u64()?, parts.u64()?);
        let entry = QueueRow::decode(value)?;
        Ok(Self {
            lane: lane.clone(),
            order,
            seq,
            due: entry.due,
            attempts: entry.attempts,
            payload: entry.payload.to_vec(),
        })
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
        if QueueRow::decode(value)?.payload != payload {
            return Ok(ControlFlow::Continue(()));
        }
        found = Some(Waiting::read(&at, order, key, value)?);
        Ok(ControlFlow::Break(()))
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
        let row = Waiting::read(&at, order, key, value)?;
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
    read.for_each_prefix(QUEUE_LANES, &[queue], |key, value| {
        let lane = Lane::decode(value)?;
        if lane.order == LaneOrder::ByDue || lane.due > now {
            lanes.push(KeyParts::new(&key[1..]).escaped()?);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(lanes)
}

/// What the first row of a lane asks for, claimed or not.
pub fn head(read: &impl Read, queue: u8, lane: &[u8]) -> Result<Option<Vec<u8>>> {
    let row = read.first(QUEUE_ROWS, &LaneKey::new(queue, lane).0)?;
    row.map(|(_, value)| Ok(QueueRow::decode(&value)?.payload.to_vec()))
        .transpose()
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
    read.for_each_prefix(QUEUE_LANES, &[queue], |_, value| {
        len = len.saturating_add(Lane::decode(value)?.len);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(len)
}

/// `queue, lane`: the key of the lane and the beginning of the keys of its rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct LaneKey(Key);

impl LaneKey {
    fn new(queue: u8, lane: &[u8]) -> Self {
        Self(Key::new().u8(queue).escaped(lane))
    }

    fn row(&self, order: LaneOrder, due: Timestamp, seq: u64) -> Key {
        match order {
            LaneOrder::Fifo => self.0.clone().u64(0).u64(seq),
            LaneOrder::ByDue => self.0.clone().time(due).u64(seq),
        }
    }

    fn due(&self, due: Timestamp) -> Key {
        Key::new().u8(self.0[0]).time(due).tail(&self.0[1..])
    }

    fn load(&self, read: &impl Read) -> Result<Option<Lane>> {
        read.view(QUEUE_LANES, &self.0, Lane::decode)?.transpose()
    }

    /// Writes the lane and its entry in the index, as far as they have changed.
    fn store(&self, tx: &mut Tx, old: Option<Lane>, new: Option<Lane>) {
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

    /// The lane with the due time that its first row has now; `None` when it has no row.
    fn rescheduled(&self, tx: &Tx, lane: Lane) -> Result<Option<Lane>> {
        match tx.first(QUEUE_ROWS, &self.0)? {
            Some((_, value)) => Ok(Some(Lane {
                due: QueueRow::decode(&value)?.due,
                ..lane
            })),
            None => Ok(None),
        }
    }
}

/// What marks a row or a lane as claimed. Both are looked up in one set: no lane's key can be the
/// mark of a row, because escaped parts end where they end.
fn mark_of(lane: &LaneKey, order: LaneOrder, seq: u64) -> Key {
    match order {
        LaneOrder::Fifo => lane.0.clone(),
        LaneOrder::ByDue => lane.0.clone().u64(seq),
    }
}

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

/// The marks of claimed rows and lanes.
struct ClaimMarks {
    marks: Mutex<HashSet<Key>>,
    wake: Arc<Notify>,
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
        self.held
            .marks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.mark);
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

    /// The row's payload as it is now; `None` when the row is gone.
    fn stored(&self, tx: &Tx) -> Result<Option<Vec<u8>>> {
        tx.view(QUEUE_ROWS, &self.row_key(), |value| {
            Ok(QueueRow::decode(value)?.payload.to_vec())
        })?
        .transpose()
    }

    /// Takes the row out of its lane; returns its payload, or `None` when it was gone.
    fn remove(&self, tx: &mut Tx) -> Result<Option<Vec<u8>>> {
        let Some(payload) = self.stored(tx)? else {
            return Ok(None);
        };
        let at = &self.hold.lane;
        tx.delete(QUEUE_ROWS, &self.row_key());
        let Some(old) = at.load(tx)? else {
            return Err(Error::internal("a queue row without a lane"));
        };
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

impl Queue {
    /// The queue `number` (below 64) of a store, whose rows wait `longest` at most.
    pub fn new(store: &Store, number: u8, clock: Clock, longest: Duration) -> Self {
        let wake = store.signal(number);
        let held = Arc::new(ClaimMarks {
            marks: Mutex::default(),
            wake,
        });
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
        let is_due = self.due();
        // Locked before the snapshot is taken, and released claims wait for this lock: so a row
        // that is in the snapshot and was settled since is still marked.
        let mut marks = self
            .held
            .marks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        let result = self.store.read(|reader| {
            let mut take = |lane: &LaneKey, order, limit: usize| {
                let limit = match order {
                    LaneOrder::Fifo if marks.contains(&lane.0) => return Ok(0),
                    LaneOrder::Fifo => limit,
                    LaneOrder::ByDue => limit.min(self.room_in(lane, &marks)),
                };
                let rows = rows(reader, lane, order, is_due, limit, &marks)?;
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
        });
        if let Err(error) = result {
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

    /// Claims up to `limit` rows of one lane that is not ordered, those that are due by `until`.
    pub fn claim_in(&self, lane: &[u8], until: Timestamp, limit: usize) -> Result<Vec<Claim>> {
        if self.store.is_degraded() {
            return Err(unavailable());
        }
        let lane = LaneKey::new(self.number, lane);
        let mut marks = self
            .held
            .marks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_due = DueRows {
            now: until,
            latest: Timestamp::from_ms(i64::MAX),
        };
        let found = self
            .store
            .read(|reader| rows(reader, &lane, LaneOrder::ByDue, is_due, limit, &marks))?;
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
        let marks = self
            .held
            .marks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_due = self.due();
        self.store.read(|reader| {
            let first = |lane: &LaneKey, order, due| {
                Ok::<_, Error>(match order {
                    LaneOrder::Fifo => (!marks.contains(&lane.0)).then_some(due),
                    LaneOrder::ByDue if self.room_in(lane, &marks) == 0 => None,
                    LaneOrder::ByDue => rows(reader, lane, order, EVER, 1, &marks)?
                        .first()
                        .map(|row| row.due),
                })
            };
            let mut next: Option<Timestamp> = None;
            self.due_lanes(reader, (Some(is_due.latest), None), |due, order, lane| {
                next = first(&lane, order, due)?.map(|_| is_due.now);
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
                let found = first(&lane, order, due)?;
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
            let mut woken = pin!(self.held.wake.notified());
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
        self.held.wake.notify_waiters();
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
            visit(due, LaneOrder::of(value)?, lane)
        })
    }
}

/// A row that can be claimed.
struct ClaimableRow {
    lane: LaneKey,
    order: LaneOrder,
    seq: u64,
    due: Timestamp,
    attempts: u32,
    payload: Bytes,
    mark: Key,
}

impl ClaimableRow {
    /// The claim of this row, whose mark has been set.
    fn claimed(self, held: &Arc<ClaimMarks>) -> Claim {
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

/// All rows are due.
const EVER: DueRows = DueRows {
    now: Timestamp::from_ms(i64::MAX),
    latest: Timestamp::from_ms(i64::MAX),
};

/// Up to `limit` rows of a lane that are due and not marked; of an ordered lane at most its head.
fn rows(
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
        let QueueRow {
            attempts,
            due,
            payload,
        } = QueueRow::decode(value)?;
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

impl LaneOrder {
    fn byte(self) -> u8 {
        match self {
            Self::Fifo => 0,
            Self::ByDue => 1,
        }
    }

    fn of(bytes: &[u8]) -> Result<Self> {
        match bytes.first() {
            Some(0) => Ok(Self::Fifo),
            Some(1) => Ok(Self::ByDue),
            _ => Err(damaged()),
        }
    }
}

impl Lane {
    fn encode(self) -> Vec<u8> {
        Key::new()
            .u8(VERSION)
            .u8(self.order.byte())
            .time(self.due)
            .u64(self.len)
            .into_bytes()
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
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
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(13 + self.payload.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.attempts.to_be_bytes());
        bytes.extend_from_slice(&Key::new().time(self.due));
        bytes.extend_from_slice(self.payload);
        bytes
    }

    fn decode(bytes: &'a [u8]) -> Result<Self> {
        let mut parts = value(bytes)?;
        Ok(Self {
            attempts: parts.u32()?,
            due: parts.time()?,
            payload: parts.tail(),
        })
    }
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

/// For `warung check`: a lane counts its rows and is in the index at the time of its first row.
pub(super) fn check(reader: &Reader, problems: &mut Problems) -> Result<()> {
    reader.for_each_prefix(QUEUE_LANES, b"", |key, value| {
        let Ok(lane) = Lane::decode(value) else {
            problems.add(QUEUE_LANES, key, "it cannot be read");
            return Ok(ControlFlow::Continue(()));
        };
        let at = LaneKey(Key::new().tail(key));
        let (mut len, mut due) = (0, None);
        reader.for_each_prefix(QUEUE_ROWS, key, |row, value| {
            len += 1;
            match QueueRow::decode(value) {
                Ok(entry) => due = due.or(Some(entry.due)),
                Err(_) => problems.add(QUEUE_ROWS, row, "it cannot be read"),
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if len != lane.len {
            problems.add(QUEUE_LANES, key, "the lane miscounts its rows");
        }
        if due != Some(lane.due) || !reader.exists(QUEUE_DUE, &at.due(lane.due))? {
            problems.add(QUEUE_LANES, key, "the lane has no schedule");
        }
        Ok(ControlFlow::Continue(()))
    })?;
    reader.for_each_prefix(QUEUE_DUE, b"", |key, _| {
        if key.len() > 9 {
            let lane = LaneKey(Key::new().u8(key[0]).tail(&key[9..]));
            if !matches!(lane.load(reader), Ok(Some(l)) if *lane.due(l.due) == *key) {
                problems.add(QUEUE_DUE, key, "no lane is due then");
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let mut lane = None;
    reader.for_each_prefix(QUEUE_ROWS, b"", |key, _| {
        let at = key.len().saturating_sub(16);
        if lane.as_deref() != Some(&key[..at]) {
            if !reader.exists(QUEUE_LANES, &key[..at])? {
                problems.add(QUEUE_ROWS, key, "its lane is missing");
            }
            lane = Some(key[..at].to_vec());
        }
        Ok(ControlFlow::Continue(()))
    })
}

#[cfg(test)]
mod tests;
