//! Recipient lists of another program.

use super::{LISTS, List, ListDescription, ListName, MAX_LISTS, WHAT};
use crate::domain::recipient::RecipientRows;
use crate::domain::roster::{self, EncodedRoster, Roster};
use crate::domain::stored::{refuse_beyond, refuse_more_than};
use crate::error::Result;
use crate::ids::{RowId, SessionNumber};
use crate::store::Tx;
use crate::time::Timestamp;

/// A recipient list.
pub struct IncomingList {
    /// Its id, which it keeps.
    pub id: RowId,
    /// What it is called.
    pub name: ListName,
    /// What it is for.
    pub description: ListDescription,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it was changed.
    pub updated_at: Option<Timestamp>,
    /// When a campaign used it.
    pub last_used: Option<Timestamp>,
    /// How many campaigns used it.
    pub usage_count: u32,
    /// Its people.
    pub people: RecipientRows,
}

/// A list of another program, ready to be written.
pub(in crate::domain) struct ImportedList {
    id: RowId,
    row: List,
    people: EncodedRoster,
}

impl ImportedList {
    /// Makes the rows of it.
    pub(in crate::domain) fn of(new: IncomingList, now: Timestamp) -> Self {
        let people = roster::encode(&new.people.recipients);
        Self {
            id: new.id,
            row: List {
                roster: Roster(0),
                name: new.name.into(),
                description: new.description.into(),
                tags: new.tags,
                count: new.people.recipients.len() as u32,
                created_at: new.created_at.unwrap_or(now),
                updated_at: new.updated_at,
                last_used: new.last_used,
                usage_count: new.usage_count,
                bytes: Some(people.bytes()),
            },
            people,
        }
    }

    /// Writes it for a session.
    pub(in crate::domain) fn put(
        mut self,
        tx: &mut Tx,
        session: SessionNumber,
        quota: u64,
    ) -> Result<()> {
        refuse_more_than(tx, &LISTS.rows(session), MAX_LISTS, WHAT)?;
        refuse_beyond(tx, session, self.people.bytes(), quota)?;
        self.row.roster = roster::number(tx)?;
        roster::write(tx, self.row.roster, self.people);
        LISTS.put(tx, (session, &self.id), &self.row)
    }
}
