//! Recipient lists of another program.

use super::{LISTS, List, ListDescription, ListName};
use crate::domain::recipient::RecipientRows;
use crate::domain::roster::{self, EncodedRoster, Roster};
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

impl IncomingList {
    /// What it is called in a report.
    pub(in crate::domain) fn about(&self) -> String {
        format!("list {} ({})", self.id, String::from(self.name.clone()))
    }

    /// What is told of it: numbers.
    pub(in crate::domain) fn said(&self) -> String {
        let (people, refused) = (self.people.recipients.len(), self.people.rejected.len());
        match refused {
            0 => format!("people: {people}"),
            _ => {
                format!("people: {people}, rows that are no phone numbers and stay out: {refused}")
            }
        }
    }
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

    /// Its id.
    pub(in crate::domain) fn id(&self) -> &RowId {
        &self.id
    }

    /// How many bytes of the store it counts for.
    pub(in crate::domain) fn bytes(&self) -> u64 {
        self.people.bytes()
    }

    /// Writes it for a session.
    ///
    /// Invariant: that there is room for it was judged before; the session has nothing but what comes with
    /// it.
    pub(in crate::domain) fn put(mut self, tx: &mut Tx, session: SessionNumber) -> Result<()> {
        self.row.roster = roster::number(tx)?;
        roster::write(tx, self.row.roster, self.people);
        LISTS.put(tx, (session, &self.id), &self.row)
    }
}
