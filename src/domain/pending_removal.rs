//! What is to be removed: marked in the transaction that deletes it, so that its rows are nobody's from then on,
//! and removed in the background (`removal`), so many rows at a time.

use super::roster::Roster;
use crate::error::Result;
use crate::ids::SessionNumber;
use crate::store::{Read, Table, Tx, Typed, queue, tables};

/// The store's signal that something was marked.
pub(super) const SIGNAL: u8 = 32;

/// What is removed.
///
/// Hazard: the numbers are in the files of users. Never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PendingRemoval {
    /// All rows of a session that is not among the sessions any more. Number 1.
    Session(SessionNumber),
    /// The people of a list or a campaign, and what became of them. Number 2.
    Roster(Roster),
}

impl PendingRemoval {
    /// The key of its mark.
    pub(super) fn key(self) -> (u8, u32) {
        match self {
            Self::Session(session) => (1, session.0),
            Self::Roster(roster) => (2, roster.0),
        }
    }

    /// What the mark with this key has removed.
    pub(super) fn of((kind, number): (u8, u32)) -> Option<Self> {
        match kind {
            1 => Some(Self::Session(SessionNumber(number))),
            2 => Some(Self::Roster(Roster(number))),
            _ => None,
        }
    }
}

pub(super) const REMOVALS: Typed<(u8, u32), ()> = Typed::new(tables::REMOVALS);

fn mark(tx: &mut Tx, removal: PendingRemoval) {
    REMOVALS.put_encoded(tx, removal.key(), Vec::new());
    tx.signal(SIGNAL);
}

/// Has all rows of a session removed, in the transaction that deletes it.
pub(super) fn of_session(tx: &mut Tx, session: SessionNumber) {
    mark(tx, PendingRemoval::Session(session));
}

/// Has all people of a roster removed, in the transaction after which nobody names it.
pub(super) fn of_roster(tx: &mut Tx, roster: Roster) {
    mark(tx, PendingRemoval::Roster(roster));
}

/// Whether the rows of the session with this number are being removed: they are nobody's any more.
pub(super) fn is_session_being_removed(read: &impl Read, session: SessionNumber) -> Result<bool> {
    REMOVALS.exists(read, PendingRemoval::Session(session).key())
}

/// Rows that one transaction may still remove.
pub(super) struct RemovalBudget(usize);

impl RemovalBudget {
    /// So many.
    pub(super) fn of(rows: usize) -> Self {
        Self(rows)
    }

    /// Whether none is left.
    pub(super) fn is_spent(&self) -> bool {
        self.0 == 0
    }

    /// Counts rows that were removed.
    pub(super) fn spend(&mut self, rows: usize) {
        self.0 = self.0.saturating_sub(rows);
    }

    /// How many rows are left.
    pub(super) fn left(&self) -> usize {
        self.0
    }

    /// Deletes rows of a table by the beginning of their keys.
    pub(super) fn delete(&mut self, tx: &mut Tx, table: Table, prefix: &[u8]) -> Result<()> {
        let gone = tx.delete_some(table, prefix, self.0)?;
        self.spend(gone);
        Ok(())
    }

    /// Deletes rows of a lane.
    pub(super) fn delete_lane(&mut self, tx: &mut Tx, number: u8, lane: &[u8]) -> Result<()> {
        let gone = queue::delete_page(tx, number, lane, self.0)?;
        self.spend(gone);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_marked_is_found_again() {
        for removal in [
            PendingRemoval::Session(SessionNumber(7)),
            PendingRemoval::Roster(Roster(u32::MAX)),
        ] {
            assert_eq!(PendingRemoval::of(removal.key()), Some(removal));
        }
        assert_eq!(PendingRemoval::of((3, 1)), None);
    }
}
