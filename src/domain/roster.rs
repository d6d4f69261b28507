//! Many recipients in the store: the people of a list or of a campaign, a few dozen to a row, so that
//! a hundred thousand are written in a moment and each is found by its place.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::recipient::{People, Recipient};
use crate::error::Result;
use crate::store::record::{self, Record};
use crate::store::{Read, Tx, tables};

/// How many recipients one row holds.
pub(super) const CHUNK: usize = 64;

/// The number under which a list's or a campaign's recipients are kept; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Roster(pub(super) u32);

/// The place of a recipient in its roster. Places only grow; one that was removed leaves a gap.
pub(super) type Place = u32;

/// Some recipients; `None` where one was removed.
#[derive(Default, Serialize, Deserialize)]
struct Chunk(Vec<Option<Recipient>>);

impl Record for Chunk {
    const VERSION: u8 = 1;
}

fn key(roster: Roster, chunk: u32) -> Vec<u8> {
    [roster.0.to_be_bytes(), chunk.to_be_bytes()].concat()
}

fn chunk_of(key: &[u8]) -> u32 {
    key.last_chunk::<4>().map_or(0, |n| u32::from_be_bytes(*n))
}

fn place(chunk: u32, offset: usize) -> Place {
    chunk * CHUNK as u32 + offset as u32
}

/// Rows ready to be written: encoding many takes longer than writing them, and the writer is one.
pub(super) struct Encoded(Vec<Vec<u8>>);

impl Encoded {
    /// How many bytes they take.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|row| row.len() as u64).sum()
    }
}

/// Encodes recipients in their order.
pub(super) fn encode(people: &People) -> Encoded {
    encode_from(people, 0)
}

/// The same from a place in the list on: as [`record::encode`] writes a [`Chunk`].
fn encode_from(people: &People, first: usize) -> Encoded {
    let mut rows = Vec::with_capacity(people.len().saturating_sub(first).div_ceil(CHUNK));
    let mut at = first;
    while at < people.len() {
        let end = people.len().min(at + CHUNK);
        let size: usize = (at..end).map(|i| people.stored(i).len() + 1).sum();
        let mut row = Vec::with_capacity(size + 2);
        row.push(Chunk::VERSION);
        for i in at..end {
            row.push(if i == at { b'[' } else { b',' });
            row.extend_from_slice(people.stored(i));
        }
        row.push(b']');
        rows.push(row);
        at = end;
    }
    Encoded(rows)
}

/// A number for a new roster.
pub(super) fn number(tx: &mut Tx) -> Result<Roster> {
    let number = u32::try_from(tx.next_seq("rosters")?);
    number
        .map(Roster)
        .map_err(|_| crate::error::Error::internal("roster numbers ran out"))
}

/// Writes recipients into an empty roster.
pub(super) fn write(tx: &mut Tx, roster: Roster, rows: Encoded) {
    for (chunk, row) in (0..).zip(rows.0) {
        tx.put(tables::RECIPIENTS, key(roster, chunk), row);
    }
}

/// Copies all recipients into an empty roster, at the same places.
pub(super) fn copy(tx: &mut Tx, from: Roster, to: Roster) -> Result<()> {
    for (row, value) in tx.prefix(tables::RECIPIENTS, &from.0.to_be_bytes(), None, usize::MAX)? {
        tx.put(tables::RECIPIENTS, key(to, chunk_of(&row)), value);
    }
    Ok(())
}

/// How many bytes all recipients take.
pub(super) fn bytes(read: &impl Read, roster: Roster) -> Result<u64> {
    let mut bytes = 0;
    read.for_each_prefix(tables::RECIPIENTS, &roster.0.to_be_bytes(), |_, value| {
        bytes += value.len() as u64;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(bytes)
}

/// The place after the last.
pub(super) fn end(read: &impl Read, roster: Roster) -> Result<Place> {
    match read.last(tables::RECIPIENTS, &roster.0.to_be_bytes())? {
        Some((row, value)) => {
            let chunk: Chunk = record::decode(&value)?;
            Ok(place(chunk_of(&row), chunk.0.len()))
        }
        None => Ok(0),
    }
}

/// Up to `limit` recipients from a place on.
pub(super) fn from(
    read: &impl Read,
    roster: Roster,
    first: Place,
    limit: usize,
) -> Result<Vec<(Place, Recipient)>> {
    let mut found = Vec::new();
    visit(read, roster, first, |place, recipient| {
        if found.len() == limit {
            return Ok(ControlFlow::Break(()));
        }
        found.push((place, recipient));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// One recipient by its place.
pub(super) fn at(read: &impl Read, roster: Roster, at: Place) -> Result<Option<Recipient>> {
    let (chunk, offset) = (at / CHUNK as u32, at as usize % CHUNK);
    let Some(value) = read.get(tables::RECIPIENTS, &key(roster, chunk))? else {
        return Ok(None);
    };
    let mut chunk: Chunk = record::decode(&value)?;
    Ok(chunk.0.get_mut(offset).and_then(Option::take))
}

/// Shows every recipient from a place on, until the visitor breaks off.
pub(super) fn visit(
    read: &impl Read,
    roster: Roster,
    first: Place,
    mut visitor: impl FnMut(Place, Recipient) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let lower = key(roster, first / CHUNK as u32);
    let upper = key(roster, u32::MAX);
    let (lower, upper) = (
        std::ops::Bound::Included(&lower[..]),
        std::ops::Bound::Included(&upper[..]),
    );
    read.walk(
        tables::RECIPIENTS,
        lower,
        upper,
        false,
        &mut |row, value| {
            let number = chunk_of(row);
            let chunk: Chunk = record::decode(value)?;
            for (offset, recipient) in chunk.0.into_iter().enumerate() {
                let at = place(number, offset);
                if let (true, Some(recipient)) = (at >= first, recipient)
                    && visitor(at, recipient)?.is_break()
                {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        },
    )
}

/// The recipient with this number. Rows that do not hold its digits are not read closer.
pub(super) fn find(
    read: &impl Read,
    roster: Roster,
    number: &str,
) -> Result<Option<(Place, Recipient)>> {
    let needle = format!("\"number\":\"{number}\"");
    let mut found = None;
    read.for_each_prefix(tables::RECIPIENTS, &roster.0.to_be_bytes(), |row, value| {
        if !holds(value, needle.as_bytes()) {
            return Ok(ControlFlow::Continue(()));
        }
        let chunk: Chunk = record::decode(value)?;
        for (offset, recipient) in chunk.0.into_iter().enumerate() {
            if let Some(recipient) = recipient.filter(|r| r.number.as_str() == number) {
                found = Some((place(chunk_of(row), offset), recipient));
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(bytes, needle).is_some()
}

/// Adds recipients after the last place.
pub(super) fn extend(tx: &mut Tx, roster: Roster, first: Place, people: &People) -> Result<()> {
    let (mut at, mut done) = (first, 0);
    // The last row is filled up, then new ones follow.
    for recipient in people.iter() {
        if (at as usize).is_multiple_of(CHUNK) {
            break;
        }
        set(tx, roster, at, Some(recipient?))?;
        (at, done) = (at + 1, done + 1);
    }
    let rows = encode_from(people, done);
    for (chunk, row) in (at / CHUNK as u32..).zip(rows.0) {
        tx.put(tables::RECIPIENTS, key(roster, chunk), row);
    }
    Ok(())
}

/// Puts a recipient at a place, or removes the one that is there.
pub(super) fn set(
    tx: &mut Tx,
    roster: Roster,
    at: Place,
    recipient: Option<Recipient>,
) -> Result<()> {
    let (chunk, offset) = (at / CHUNK as u32, at as usize % CHUNK);
    let row = key(roster, chunk);
    let value = tx.get(tables::RECIPIENTS, &row)?;
    let mut chunk: Chunk = value.map_or(Ok(Chunk::default()), |v| record::decode(&v))?;
    if chunk.0.len() <= offset {
        chunk.0.resize(offset + 1, None);
    }
    chunk.0[offset] = recipient;
    tx.put(tables::RECIPIENTS, row, record::encode(&chunk)?);
    Ok(())
}
