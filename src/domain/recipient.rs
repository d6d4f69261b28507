//! Whom a campaign writes to: one person with the fields that texts may show, read from JSON or
//! from a list of numbers. No row is lost without a word: each one is taken, merged into an earlier
//! one with the same number, or rejected with a reason.

mod addressee;
mod encoded;
mod known;
mod number;
mod reader;
mod rows;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::addressee::{Addressee, AddresseeKey};
pub use self::encoded::EncodedRecipients;
pub(super) use self::known::KnownField;
pub use self::number::{addressee, number};
pub use self::reader::RecipientReader;
pub use self::rows::{MergedRow, RecipientRows, RejectedRow};
pub(super) use self::rows::{RawRow, RowCollector, too_many};

/// How many rows one list or campaign may have.
pub const MAX_RECIPIENTS: usize = 100_000;
/// The longest name, job title or company, in characters.
pub const MAX_TEXT: usize = 200;
/// How many custom fields a recipient may have.
pub const MAX_FIELDS: usize = 50;
/// The longest name of a custom field, in characters.
pub const MAX_KEY: usize = 64;
/// The longest value of a custom field, in characters.
pub const MAX_VALUE: usize = 1024;
/// How many rows of a list may be refused.
pub const MAX_REJECTED: usize = 10_000;
/// How much of a rejected row is shown, in characters.
const MAX_SHOWN: usize = 64;

/// One person of a list or a campaign. Its serde form is the stored one: empty fields are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The phone number, or the JID of a group: by it recipients are told apart.
    pub number: Addressee,
    /// The name, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The job title, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub job_title: String,
    /// The company, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub company: String,
    /// Everything else that a text may show; no value is empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

impl Recipient {
    /// The value of a placeholder, unless it is empty. Upper and lower case do not count. A custom
    /// field goes before the rarer spellings of the known ones ("nomor", "nama").
    pub fn field(&self, name: &str) -> Option<&str> {
        let custom = || {
            let same = |key: &str| {
                let lower = |text: &str| text.to_lowercase();
                key.eq_ignore_ascii_case(name) || (!key.is_ascii() && lower(key) == lower(name))
            };
            let exact = self.fields.get(name);
            let found = exact.or_else(|| self.fields.iter().find(|f| same(f.0)).map(|f| f.1));
            found.map(String::as_str)
        };
        let value = match KnownField::of(name) {
            Some((known, 0)) => Some(self.known(known))
                .filter(|value| !value.is_empty())
                .or_else(custom),
            Some((known, _)) => custom().or_else(|| Some(self.known(known))),
            None => custom(),
        };
        value.filter(|value| !value.is_empty())
    }

    /// How many bytes its stored form takes.
    pub(super) fn stored_bytes(&self) -> u64 {
        serde_json::to_vec(self).map_or(0, |stored| stored.len() as u64)
    }

    /// About how many bytes it takes in memory.
    pub(super) fn size(&self) -> usize {
        let fields = self.fields.iter().map(|(k, v)| k.len() + v.len() + 64);
        self.name.len() + self.job_title.len() + self.company.len() + fields.sum::<usize>() + 128
    }

    fn known(&self, known: KnownField) -> &str {
        match known {
            KnownField::Number => self.number.as_str(),
            KnownField::Name => &self.name,
            KnownField::JobTitle => &self.job_title,
            KnownField::Company => &self.company,
        }
    }

    /// Fills what is empty here from a later row with the same number. Custom fields beyond
    /// [`MAX_FIELDS`] stay out.
    pub fn fill(&mut self, later: Self) {
        for (mine, theirs) in [
            (&mut self.name, later.name),
            (&mut self.job_title, later.job_title),
            (&mut self.company, later.company),
        ] {
            if mine.is_empty() {
                *mine = theirs;
            }
        }
        for (key, value) in later.fields {
            if self.fields.len() < MAX_FIELDS {
                self.fields.entry(key).or_insert(value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
