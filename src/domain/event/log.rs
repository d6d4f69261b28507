//! The log of events: one per gateway, in order.

use super::Event;
use crate::domain::session::Session;
use crate::domain::{Gateway, pending_removal};
use crate::error::Result;
use crate::ids::SessionNumber;
use crate::store::{Durability, Read, Store, Tx, Typed, tables};
use crate::time::Timestamp;

pub(super) const EVENTS: Typed<(SessionNumber, u64), Event> = Typed::new(tables::EVENTS);

/// What counts the events.
const COUNTER: &str = "events";

/// More events than one interval between fsyncs can hold.
const GAP: u64 = 1 << 20;

const EVENT_ORDER: Typed<u64, SessionNumber> = Typed::new(tables::EVENT_ORDER);

/// Writes an event behind all others; answers its number.
pub(super) fn put(tx: &mut Tx, session: SessionNumber, event: &Event) -> Result<u64> {
    let seq = tx.next_seq(COUNTER)?;
    EVENTS.put(tx, (session, seq), event)?;
    EVENT_ORDER.put(tx, seq, &session)?;
    Ok(seq)
}

/// The number behind which a start at this time counts on, in a log that has come to `last`.
///
/// A store that comes back from a backup or a snapshot knows nothing of the events since, and
/// receivers know an event by its number: what comes now must have others. So it is made of the clock:
/// no log gets 1024 events in each millisecond since 2024. A log that is ahead of that, because it was
/// started a moment ago or by a wrong clock, goes on by a stretch that differs from one moment to
/// the next. JavaScript keeps whole numbers up to 2^53: the clock makes none above a third of that,
/// whatever it shows.
fn start_of(last: u64, now: Timestamp) -> u64 {
    const YEAR_2024: i64 = 1_704_067_200_000;
    const YEAR_2100: i64 = 4_102_444_800_000;
    let ms = (now.as_ms().clamp(YEAR_2024, YEAR_2100) - YEAR_2024).unsigned_abs();
    let (least, by_clock) = (last + GAP, ms << 10);
    if by_clock >= least {
        by_clock
    } else {
        least + ((ms & 0xFFFF) << 10)
    }
}

/// Begins a run with numbers that no event had, also none of which only the fsync was missing when
/// the power went: it may have been delivered. Answers the last number that is passed over.
pub async fn begin_run(store: &Store, now: Timestamp) -> Result<u64> {
    let begin = move |tx: &mut Tx| {
        let last = tx.last_seq(COUNTER)?;
        tx.next_seqs(COUNTER, start_of(last, now) - last)
    };
    store.write(Durability::Sync, begin).await?;
    store.read(|read| read.last_seq(COUNTER))
}

/// The events of all sessions after `seq`, oldest first: up to `limit`, and none only at the end.
fn after_of_all(read: &impl Read, seq: u64, limit: usize) -> Result<Vec<(u64, Event)>> {
    let (mut events, mut looked) = (Vec::new(), 0);
    EVENT_ORDER.rows(()).after(Some(seq)).find(read, |row| {
        if let Ok(session) = row.value()
            && !pending_removal::is_session_being_removed(read, session)?
            && let Ok(seq) = row.key()
            && let Some(event) = EVENTS.readable(read, (session, seq))?
        {
            events.push((seq, event));
        }
        looked += 1;
        // What is damaged or being removed is passed over, so that an answer may be short; only an
        // empty one means that there is no more.
        Ok((looked >= limit && !events.is_empty()).then_some(()))
    })?;
    Ok(events)
}

impl Gateway {
    /// Where a reader goes on who saw the event `seq` last: behind it. The log may not have come so far:
    /// the number is of another store, or was given when the clock was wrong. Then all that is kept
    /// may be new to the reader.
    pub fn place_after(&self, seq: u64) -> Result<u64> {
        let last = self.store.read(|read| read.last_seq(COUNTER))?;
        Ok(if seq <= last { seq } else { 0 })
    }

    /// The events after `seq` in the log's order, of one session or of all. There may be more unless
    /// none is answered.
    pub fn events_after(
        &self,
        session: Option<&Session>,
        seq: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Event)>> {
        self.store.read(|read| match session {
            Some(session) => EVENTS
                .rows(session.number)
                .after(Some(seq))
                .readable(read, limit),
            None => after_of_all(read, seq, limit),
        })
    }
}

/// Removes an event.
pub(in crate::domain) fn remove(tx: &mut Tx, session: SessionNumber, seq: u64) {
    EVENTS.delete(tx, (session, seq));
    EVENT_ORDER.delete(tx, seq);
}

/// Removes up to `limit` events of a session; answers how many.
pub(in crate::domain) fn delete_some(
    tx: &mut Tx,
    session: SessionNumber,
    limit: usize,
) -> Result<usize> {
    let events = EVENTS.rows(session).keys(tx, limit)?;
    for seq in &events {
        remove(tx, session, *seq);
    }
    Ok(events.len())
}

/// When the newest event was recorded.
pub fn newest_time(read: &impl Read) -> Result<Option<Timestamp>> {
    let Some((seq, session)) = EVENT_ORDER.rows(()).backwards().first(read)? else {
        return Ok(None);
    };
    Ok(find(read, session, seq)?.map(|event| event.at))
}

/// One event by its number; a damaged one is as good as none.
pub fn find(read: &impl Read, session: SessionNumber, seq: u64) -> Result<Option<Event>> {
    EVENTS.readable(read, (session, seq))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::faults::SimulatedDisk;
    use crate::store::{Disk, StoreOptions};

    /// The largest whole number that JavaScript keeps.
    const LARGEST: u64 = 1 << 53;

    fn at(text: &str) -> Timestamp {
        let at: jiff::Timestamp = text.parse().expect("a time");
        Timestamp::from_ms(at.as_millisecond())
    }

    #[tokio::test]
    async fn no_two_starts_of_a_store_that_came_back_number_alike() {
        let disk = SimulatedDisk::new();
        let open =
            |disk| Store::open(Disk::Simulated(disk), StoreOptions::default()).expect("opened");
        let store = open(disk.clone());
        let first = begin_run(&store, at("2026-11-22T00:00:00Z")).await;
        let first = first.expect("begun");
        let mut seen = std::collections::BTreeSet::new();
        // Each is what the first run left, started a little later.
        let times = [
            "00:00:00.300Z",
            "00:00:00.301Z",
            "00:00:06Z",
            "00:00:06.001Z",
            "00:01:00Z",
        ];
        for time in times {
            let life = open(disk.crash());
            let last = begin_run(&life, at(&format!("2026-11-22T{time}"))).await;
            let last = last.expect("begun");
            assert!(last >= first + GAP, "{time}");
            assert!(seen.insert(last), "{time}");
            let next = life
                .write(Durability::Sync, |tx| tx.next_seq(COUNTER))
                .await;
            assert_eq!(next.expect("a number"), last + 1);
        }
    }

    #[tokio::test]
    async fn a_wrong_clock_leaves_numbers_for_all_later_starts() {
        let store = Disk::Simulated(SimulatedDisk::new());
        let store = Store::open(store, StoreOptions::default()).expect("opened");
        let mut before = 0;
        for time in [
            "1970-01-01T00:00:00Z",
            "2026-11-22T00:00:00Z",
            "2500-01-01T00:00:00Z",
            "2026-11-22T00:01:00Z",
            "9000-01-01T00:00:00Z",
            "1970-01-01T00:00:00Z",
        ] {
            let last = begin_run(&store, at(time)).await.expect("begun");
            assert!(last >= before + GAP, "{time}: {last} after {before}");
            assert!(last < LARGEST / 3, "{time}: {last}");
            before = last;
        }
        for ms in [i64::MIN, i64::MAX] {
            assert!(start_of(0, Timestamp::from_ms(ms)) < LARGEST / 3);
        }
    }
}
