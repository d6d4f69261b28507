//! The log of events: one per gateway, in order.

use super::Event;
use crate::domain::session::Session;
use crate::domain::{Gateway, pending_removal};
use crate::error::Result;
use crate::ids::SessionNumber;
use crate::store::{Read, Tx, Typed, tables};
use crate::time::Timestamp;

pub(super) const EVENTS: Typed<(SessionNumber, u64), Event> = Typed::new(tables::EVENTS);

const EVENT_ORDER: Typed<u64, SessionNumber> = Typed::new(tables::EVENT_ORDER);

/// Writes an event behind all others; answers its number.
pub(super) fn put(tx: &mut Tx, session: SessionNumber, event: &Event) -> Result<u64> {
    let seq = tx.next_seq("events")?;
    EVENTS.put(tx, (session, seq), event)?;
    EVENT_ORDER.put(tx, seq, &session)?;
    Ok(seq)
}

/// The events of all sessions after `seq`, oldest first.
fn after_of_all(read: &impl Read, seq: u64, limit: usize) -> Result<Vec<(u64, Event)>> {
    let (mut events, mut looked) = (Vec::new(), 0);
    EVENT_ORDER.rows(()).after(Some(seq)).find(read, |row| {
        if let Ok(session) = row.value()
            && !pending_removal::is_session_being_removed(read, session)?
            && let Some(event) = find(read, session, row.key()?)?
        {
            events.push((row.key()?, event));
        }
        looked += 1;
        // What is being removed is passed over: an empty answer means that there is no more.
        Ok((looked >= limit && !events.is_empty()).then_some(()))
    })?;
    Ok(events)
}

impl Gateway {
    /// The events after `seq` in the log's order, of one session or of all.
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
                .page(read, limit),
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

/// One event by its number.
pub fn find(read: &impl Read, session: SessionNumber, seq: u64) -> Result<Option<Event>> {
    EVENTS.get(read, (session, seq))
}
