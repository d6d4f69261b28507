//! What is stored of a list, beside its recipients.

use serde::{Deserialize, Serialize};

use crate::domain::roster::Roster;
use crate::ids::{RowId, SessionNumber};
use crate::store::record::Record;
use crate::store::{Typed, tables};
use crate::time::Timestamp;

/// A list without its recipients. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    pub(in crate::domain) roster: Roster,
    /// What it is called.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// How many recipients it has.
    pub count: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Option<Timestamp>,
    /// When a campaign used it.
    pub last_used: Option<Timestamp>,
    /// How many campaigns used it.
    pub usage_count: u32,
    /// How many bytes its recipients take; `None` when it was made before that was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::domain) bytes: Option<u64>,
}

impl List {
    /// Whether a search for these words and this tag finds it; upper and lower case do not count.
    pub fn is_found(&self, words: Option<&str>, tag: Option<&str>) -> bool {
        let said = |words: &str| {
            let words = words.to_lowercase();
            let holds = |text: &str| text.to_lowercase().contains(&words);
            holds(&self.name) || holds(&self.description)
        };
        let tagged = |tag: &str| self.tags.iter().any(|own| own.eq_ignore_ascii_case(tag));
        words.is_none_or(said) && tag.is_none_or(tagged)
    }

    /// Whether nobody came, changed or went since it was this.
    pub(super) fn has_people_of(&self, before: &Self) -> bool {
        let people = |list: &Self| (list.roster, list.count, list.bytes, list.updated_at);
        people(self) == people(before)
    }

    /// Counts recipients that came, changed or went.
    pub(super) fn weigh(&mut self, came: u64, went: u64) {
        self.bytes = self.bytes.map(|bytes| (bytes + came).saturating_sub(went));
    }
}

impl Record for List {
    const VERSION: u8 = 1;
}

pub(in crate::domain) const LISTS: Typed<(SessionNumber, RowId), List> = Typed::new(tables::LISTS);
