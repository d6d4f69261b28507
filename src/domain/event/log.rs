//! The log of events: one per gateway, in order.

use std::ops::ControlFlow;

use super::Event;
use crate::domain::session::Session;
use crate::domain::{Gateway, doomed};
use crate::error::{Error, Result};
use crate::ids::SessionNumber;
use crate::store::{Read, Tx, record, tables};
use crate::time::Timestamp;

/// Writes an event behind all others; answers its number.
pub(super) fn put(tx: &mut Tx, session: SessionNumber, event: &Event) -> Result<u64> {
    let seq = tx.next_seq("events")?;
    tx.put(tables::EVENTS, key(session, seq), record::encode(event)?);
    tx.put(
        tables::EVENT_ORDER,
        seq.to_be_bytes(),
        session.0.to_be_bytes(),
    );
    Ok(seq)
}

/// The events of one session after `seq`, oldest first.
fn after(
    read: &impl Read,
    session: SessionNumber,
    seq: u64,
    limit: usize,
) -> Result<Vec<(u64, Event)>> {
    let from = key(session, seq.saturating_add(1));
    let to = key(SessionNumber(session.0), u64::MAX);
    read.range(tables::EVENTS, from..to, limit, false)?
        .into_iter()
        .map(|(key, value)| Ok((seq_of(&key)?, record::decode(&value)?)))
        .collect()
}

/// The events of all sessions after `seq`, oldest first.
fn after_of_all(read: &impl Read, seq: u64, limit: usize) -> Result<Vec<(u64, Event)>> {
    let mut from = seq.saturating_add(1).to_be_bytes().to_vec();
    let to = u64::MAX.to_be_bytes().to_vec();
    let mut events = Vec::new();
    loop {
        let rows = read.range(tables::EVENT_ORDER, from..to.clone(), limit, false)?;
        let Some((last, _)) = rows.last() else { break };
        from = seq_of(last)?.saturating_add(1).to_be_bytes().to_vec();
        let over = rows.len() < limit;
        for (seq, session) in rows {
            if doomed::is_session_doomed(read, &session)? {
                continue;
            }
            if let Some(event) = read.get(tables::EVENTS, &[session, seq.clone()].concat())? {
                events.push((seq_of(&seq)?, record::decode(&event)?));
            }
        }
        // What is being removed is passed over: an empty answer means that there is no more.
        if over || !events.is_empty() {
            break;
        }
    }
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
            Some(session) => after(read, session.number, seq, limit),
            None => after_of_all(read, seq, limit),
        })
    }
}

/// Removes an event by its key.
pub(in crate::domain) fn remove(tx: &mut Tx, key: &[u8]) -> Result<()> {
    tx.delete(tables::EVENTS, key);
    tx.delete(tables::EVENT_ORDER, &seq_of(key)?.to_be_bytes());
    Ok(())
}

/// Removes up to `limit` events of a session; answers how many.
pub(in crate::domain) fn delete_some(
    tx: &mut Tx,
    session: SessionNumber,
    limit: usize,
) -> Result<usize> {
    let mut keys = Vec::new();
    tx.for_each_prefix(tables::EVENTS, &session.0.to_be_bytes(), |key, _| {
        keys.push(key.to_vec());
        Ok(if keys.len() < limit {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        })
    })?;
    for key in &keys {
        remove(tx, key)?;
    }
    Ok(keys.len())
}

/// When the newest event was recorded.
pub fn newest_time(read: &impl Read) -> Result<Option<Timestamp>> {
    let Some((seq, session)) = read.last(tables::EVENT_ORDER, b"")? else {
        return Ok(None);
    };
    let event = read.get(tables::EVENTS, &[session, seq].concat())?;
    let event: Option<Event> = event.map(|row| record::decode(&row)).transpose()?;
    Ok(event.map(|event| event.at))
}

/// One event by its number.
pub fn find(read: &impl Read, session: SessionNumber, seq: u64) -> Result<Option<Event>> {
    read.get(tables::EVENTS, &key(session, seq))?
        .map(|v| record::decode(&v))
        .transpose()
}

/// The key of an event: session, then number in the log.
pub fn key(session: SessionNumber, seq: u64) -> Vec<u8> {
    let mut key = session.0.to_be_bytes().to_vec();
    key.extend_from_slice(&seq.to_be_bytes());
    key
}

/// Session and number of the event with this key.
pub(in crate::domain) fn parts(key: &[u8]) -> Option<(SessionNumber, u64)> {
    let (session, seq) = key.split_first_chunk::<4>()?;
    let session = SessionNumber(u32::from_be_bytes(*session));
    Some((session, u64::from_be_bytes(seq.try_into().ok()?)))
}

fn seq_of(key: &[u8]) -> Result<u64> {
    let (_, seq) = key
        .split_last_chunk::<8>()
        .ok_or_else(|| Error::internal("an event key is too short"))?;
    Ok(u64::from_be_bytes(*seq))
}
