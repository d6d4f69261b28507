//! Many recipients in the store: the people of a list or of a campaign, a few dozen to a row, so that
//! a hundred thousand are written in a moment and each is found by its position.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::recipient::{EncodedRecipients, Recipient};
use crate::error::Result;
use crate::store::layout::LayoutPart;
use crate::store::record::Record;
use crate::store::tables;
use crate::store::typed::{KeyPart, ToPart, Value};
use crate::store::{Key, KeyParts, Read, Tx, Typed};

/// How many recipients one row holds.
pub(super) const CHUNK: usize = 64;

/// The number under which a list's or a campaign's recipients are kept; never used twice. Stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Roster(pub(super) u32);

impl ToPart for Roster {
    type Of = Self;

    fn write(&self, key: Key, _: bool) -> Key {
        key.u32(self.0)
    }
}

impl KeyPart for Roster {
    const PART: LayoutPart = LayoutPart::Roster;

    fn read(parts: &mut KeyParts<'_>, _: bool) -> Result<Self> {
        parts.u32().map(Self)
    }
}

/// The position of a recipient in its roster. Positions only grow; one that was removed leaves a gap.
pub(super) type Position = u32;

/// How much of a roster is read at a time: it ends with whichever comes first, but not before one row.
#[derive(Debug, Clone, Copy)]
pub struct PageSize {
    /// How many rows.
    pub(super) rows: usize,
    /// About how many bytes of memory.
    pub(super) bytes: usize,
}

impl PageSize {
    /// A piece of something long: so small that many clients may read at the same time.
    pub const PIECE: Self = Self {
        rows: 500,
        bytes: 256 << 10,
    };

    /// As many rows as a client asks for, or fewer when they are large.
    pub fn of(rows: usize) -> Self {
        Self {
            rows,
            bytes: 4 << 20,
        }
    }
}

/// Some recipients; `None` where one was removed. Stored.
#[derive(Default, Serialize, Deserialize)]
struct Chunk(Vec<Option<Recipient>>);

impl Record for Chunk {
    const VERSION: u8 = 1;
}

const RECIPIENTS: Typed<(Roster, u32), Chunk> = Typed::new(tables::RECIPIENTS);

fn position(chunk: u32, offset: usize) -> Position {
    chunk * CHUNK as u32 + offset as u32
}

/// Rows ready to be written: encoding many takes longer than writing them, and the writer is one.
pub(super) struct EncodedRoster(Vec<Vec<u8>>);

impl EncodedRoster {
    /// How many bytes they take.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|row| row.len() as u64).sum()
    }

    /// Shows every recipient with its position.
    pub(super) fn visit(&self, mut visitor: impl FnMut(Position, Recipient)) -> Result<()> {
        for (chunk, row) in (0_u32..).zip(&self.0) {
            let people = <Chunk as Value>::decode(row)?.0.into_iter().enumerate();
            for (offset, recipient) in people {
                if let Some(recipient) = recipient {
                    visitor(position(chunk, offset), recipient);
                }
            }
        }
        Ok(())
    }
}

/// Encodes recipients in their order.
pub(super) fn encode(people: &EncodedRecipients) -> EncodedRoster {
    encode_from(people, 0)
}

/// The same from a position in the list on: as `record::encode` writes a [`Chunk`].
fn encode_from(people: &EncodedRecipients, first: usize) -> EncodedRoster {
    let mut rows = Vec::with_capacity(people.len().saturating_sub(first).div_ceil(CHUNK));
    let mut at = first;
    while at < people.len() {
        let end = people.len().min(at + CHUNK);
        let size: usize = (at..end).map(|i| people.stored(i).len() + 1).sum();
        let mut row = Vec::with_capacity(size + 2);
        row.push(<Chunk as Record>::VERSION);
        for i in at..end {
            row.push(if i == at { b'[' } else { b',' });
            row.extend_from_slice(people.stored(i));
        }
        row.push(b']');
        rows.push(row);
        at = end;
    }
    EncodedRoster(rows)
}

/// A number for a new roster.
pub(super) fn number(tx: &mut Tx) -> Result<Roster> {
    let number = u32::try_from(tx.next_seq("rosters")?);
    number
        .map(Roster)
        .map_err(|_| crate::error::Error::internal("roster numbers ran out"))
}

/// Writes recipients into an empty roster.
pub(super) fn write(tx: &mut Tx, roster: Roster, rows: EncodedRoster) {
    for (chunk, row) in (0_u32..).zip(rows.0) {
        RECIPIENTS.put_encoded(tx, (roster, chunk), row);
    }
}

/// Copies all recipients into an empty roster, at the same positions.
pub(super) fn copy(tx: &mut Tx, from: Roster, to: Roster) -> Result<()> {
    let mut rows = Vec::new();
    RECIPIENTS.rows(from).each(tx, |row| {
        rows.push((row.key()?, row.bytes().to_vec()));
        Ok(())
    })?;
    for (chunk, row) in rows {
        RECIPIENTS.put_encoded(tx, (to, chunk), row);
    }
    Ok(())
}

/// Whether all recipients can be read.
pub(super) fn is_readable(read: &impl Read, roster: Roster) -> Result<bool> {
    let damaged = RECIPIENTS.rows(roster).find(read, |row| {
        let whole = row.key().is_ok() && row.value().is_ok();
        Ok((!whole).then_some(()))
    });
    Ok(damaged?.is_none())
}

/// How many bytes all recipients take.
pub(super) fn bytes(read: &impl Read, roster: Roster) -> Result<u64> {
    let mut bytes = 0;
    RECIPIENTS.rows(roster).each(read, |row| {
        bytes += row.bytes().len() as u64;
        Ok(())
    })?;
    Ok(bytes)
}

/// The position after the last.
pub(super) fn end(read: &impl Read, roster: Roster) -> Result<Position> {
    let last = RECIPIENTS.rows(roster).backwards().first(read)?;
    Ok(last.map_or(0, |(chunk, people)| position(chunk, people.0.len())))
}

/// Up to `limit` recipients from a position on.
pub(super) fn from(
    read: &impl Read,
    roster: Roster,
    first: Position,
    limit: usize,
) -> Result<Vec<(Position, Recipient)>> {
    let mut found = Vec::new();
    visit(read, roster, first, |position, recipient| {
        if found.len() == limit {
            return Ok(ControlFlow::Break(()));
        }
        found.push((position, recipient));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// One recipient by its position.
pub(super) fn at(read: &impl Read, roster: Roster, at: Position) -> Result<Option<Recipient>> {
    let (chunk, offset) = (at / CHUNK as u32, at as usize % CHUNK);
    let people = RECIPIENTS.get(read, (roster, chunk))?;
    Ok(people.and_then(|mut people| people.0.get_mut(offset).and_then(Option::take)))
}

/// Shows every recipient from a position on, until the visitor breaks off.
pub(super) fn visit(
    read: &impl Read,
    roster: Roster,
    first: Position,
    mut visitor: impl FnMut(Position, Recipient) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let rows = RECIPIENTS.rows(roster).from(first / CHUNK as u32);
    rows.find(read, |row| {
        let chunk = row.key()?;
        for (offset, recipient) in row.value()?.0.into_iter().enumerate() {
            let at = position(chunk, offset);
            if let (true, Some(recipient)) = (at >= first, recipient)
                && visitor(at, recipient)?.is_break()
            {
                return Ok(Some(()));
            }
        }
        Ok(None)
    })?;
    Ok(())
}

/// The recipient with this number. Rows that do not hold its digits are not read closer.
pub(super) fn find(
    read: &impl Read,
    roster: Roster,
    number: &str,
) -> Result<Option<(Position, Recipient)>> {
    let needle = format!("\"number\":\"{number}\"");
    RECIPIENTS.rows(roster).find(read, |row| {
        if !holds(row.bytes(), needle.as_bytes()) {
            return Ok(None);
        }
        let chunk = row.key()?;
        let mut people = row.value()?.0.into_iter().enumerate();
        Ok(people.find_map(|(offset, recipient)| {
            let recipient = recipient.filter(|r| r.number.as_str() == number)?;
            Some((position(chunk, offset), recipient))
        }))
    })
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(bytes, needle).is_some()
}

/// Adds recipients after the last position.
pub(super) fn extend(
    tx: &mut Tx,
    roster: Roster,
    first: Position,
    people: &EncodedRecipients,
) -> Result<()> {
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
        RECIPIENTS.put_encoded(tx, (roster, chunk), row);
    }
    Ok(())
}

/// Puts a recipient at a position, or removes the one that is there.
pub(super) fn set(
    tx: &mut Tx,
    roster: Roster,
    at: Position,
    recipient: Option<Recipient>,
) -> Result<()> {
    let (chunk, offset) = (at / CHUNK as u32, at as usize % CHUNK);
    let mut people = RECIPIENTS.get(tx, (roster, chunk))?.unwrap_or_default();
    if people.0.len() <= offset {
        people.0.resize(offset + 1, None);
    }
    people.0[offset] = recipient;
    RECIPIENTS.put(tx, (roster, chunk), &people)
}
