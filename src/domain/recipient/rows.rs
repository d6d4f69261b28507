//! Rows as they are judged: each one is taken, merged into an earlier one, or rejected.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::addressee::AddresseeKey;
use super::encoded::EncodedRecipients;
use super::known::KnownField;
use super::number::{addressee, number};
use super::{
    MAX_FIELDS, MAX_KEY, MAX_RECIPIENTS, MAX_REJECTED, MAX_SHOWN, MAX_TEXT, MAX_VALUE, Recipient,
};
use crate::error::{Code, Error, Result};

/// A row that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RejectedRow {
    /// Which row, counted from 1; in a sheet the line.
    pub row: usize,
    /// What stood there, at most 64 characters, without control characters.
    pub input: String,
    /// Why it was not taken.
    pub reason: Cow<'static, str>,
}

/// A row whose number an earlier row had already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MergedRow {
    /// Which row, counted from 1; in a sheet the line.
    pub row: usize,
    /// The earlier row that it went into.
    pub into: usize,
    /// The number that both have.
    pub number: AddresseeKey,
}

/// What became of all rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecipientRows {
    /// The recipients, each number once, in the order of their first rows.
    pub recipients: EncodedRecipients,
    /// The rows that were not taken.
    pub rejected: Vec<RejectedRow>,
    /// The rows that went into earlier ones.
    pub merged: Vec<MergedRow>,
}

impl RecipientRows {
    /// Reads numbers separated by newlines, commas or semicolons; the empty ones do not count.
    pub fn from_text(text: &str, country: Option<&str>) -> Result<Self> {
        Self::of_text(text, RowCollector::new(country, 0))
    }

    pub(super) fn of_text(text: &str, mut gathering: RowCollector<'_>) -> Result<Self> {
        let parts = text.split(['\n', '\r', ',', ';']).map(str::trim);
        for (at, part) in (1..).zip(parts.filter(|part| !part.is_empty())) {
            if at > MAX_RECIPIENTS {
                return Err(too_many());
            }
            gathering.add(at, RawRow::of_number(part.into()))?;
        }
        Ok(gathering.parsed)
    }
}

/// The refusal of a list that is too long.
pub(in crate::domain) fn too_many() -> Error {
    Error::new(
        Code::TooManyRecipients,
        format!("at most {MAX_RECIPIENTS} recipients"),
    )
}

/// A row before it is judged.
#[derive(Default)]
pub(in crate::domain) struct RawRow<'a> {
    pub(in crate::domain) number: Cow<'a, str>,
    pub(in crate::domain) name: Cow<'a, str>,
    pub(in crate::domain) job_title: Cow<'a, str>,
    pub(in crate::domain) company: Cow<'a, str>,
    pub(in crate::domain) fields: Vec<(&'a str, Cow<'a, str>)>,
}

impl<'a> RawRow<'a> {
    pub(super) fn of_number(number: Cow<'a, str>) -> Self {
        Self {
            number,
            ..Self::default()
        }
    }

    /// Where a known field goes.
    pub(in crate::domain) fn slot(&mut self, known: KnownField) -> &mut Cow<'a, str> {
        match known {
            KnownField::Number => &mut self.number,
            KnownField::Name => &mut self.name,
            KnownField::JobTitle => &mut self.job_title,
            KnownField::Company => &mut self.company,
        }
    }

    /// Adds a custom field, unless it is empty.
    pub(in crate::domain) fn custom(&mut self, key: &'a str, value: Cow<'a, str>) {
        if !value.trim().is_empty() {
            self.fields.push((key, value));
        }
    }

    fn judge(self, country: Option<&str>, groups: bool) -> Result<Recipient, Cow<'static, str>> {
        let number = match groups {
            true => addressee(&self.number, country)?,
            false => number(&self.number, country)?.into(),
        };
        let text = |what: &str, text: Cow<'_, str>| match text.trim() {
            long if longer(long, MAX_TEXT) => {
                Err(format!("the {what} is longer than {MAX_TEXT} characters"))
            }
            trimmed if trimmed.len() == text.len() => Ok(text.into_owned()),
            trimmed => Ok(trimmed.to_owned()),
        };
        if self.fields.len() > MAX_FIELDS {
            return Err(format!("more than {MAX_FIELDS} custom fields").into());
        }
        let mut fields = BTreeMap::new();
        for (key, value) in self.fields {
            let (key, value) = (key.trim(), value.trim());
            if key.is_empty() || longer(key, MAX_KEY) {
                return Err(format!(
                    "the name of a custom field is empty or longer than {MAX_KEY} characters"
                )
                .into());
            }
            if longer(value, MAX_VALUE) {
                let key = shown(key);
                return Err(format!(
                    "the custom field {key} is longer than {MAX_VALUE} characters"
                )
                .into());
            }
            fields
                .entry(key.to_owned())
                .or_insert_with(|| value.to_owned());
        }
        Ok(Recipient {
            number,
            name: text("name", self.name)?,
            job_title: text("job title", self.job_title)?,
            company: text("company", self.company)?,
            fields,
        })
    }
}

/// Judges rows one after the other and merges those with the same number.
pub(in crate::domain) struct RowCollector<'c> {
    country: Option<&'c str>,
    /// Whether groups are taken too.
    pub(super) groups: bool,
    /// Index in `parsed.recipients` and row of each that is there.
    seen: HashMap<AddresseeKey, (u32, u32)>,
    pub(in crate::domain) parsed: RecipientRows,
}

impl<'c> RowCollector<'c> {
    pub(in crate::domain) fn new(country: Option<&'c str>, rows: usize) -> Self {
        Self {
            country,
            groups: true,
            seen: HashMap::with_capacity(rows),
            parsed: RecipientRows::default(),
        }
    }

    pub(in crate::domain) fn add(&mut self, at: usize, row: RawRow<'_>) -> Result<()> {
        let unnumbered = row.number.trim().is_empty();
        let input = if unnumbered { &row.name } else { &row.number }.clone();
        match row.judge(self.country, self.groups) {
            Ok(recipient) => self.take(at, recipient),
            Err(reason) => self.reject(at, &input, reason),
        }
    }

    fn take(&mut self, at: usize, recipient: Recipient) -> Result<()> {
        let key = recipient.number.key();
        let next = self.parsed.recipients.len();
        let here = (next as u32, at as u32);
        let (index, into) = *self.seen.entry(key.clone()).or_insert(here);
        let (index, into) = (index as usize, into as usize);
        if index == next {
            return self.parsed.recipients.push(&recipient);
        }
        self.parsed.merged.push(MergedRow {
            row: at,
            into,
            number: key,
        });
        self.parsed.recipients.fill(index, recipient)
    }

    /// Notes a row that is not taken. A list of which so much cannot be taken is another file.
    pub(in crate::domain) fn reject(
        &mut self,
        at: usize,
        input: &str,
        reason: impl Into<Cow<'static, str>>,
    ) -> Result<()> {
        let (input, reason) = (shown(input), reason.into());
        if self.parsed.rejected.len() == MAX_REJECTED {
            return Err(Error::new(
                Code::RecipientsInvalid,
                format!(
                    "more than {MAX_REJECTED} rows cannot be taken; row {at} ({input}): {reason}"
                ),
            ));
        }
        self.parsed.rejected.push(RejectedRow {
            row: at,
            input,
            reason,
        });
        Ok(())
    }
}

/// What is shown of a stranger's text.
pub(super) fn shown(text: &str) -> String {
    let visible = text.trim().chars().filter(|c| !c.is_control());
    visible.take(MAX_SHOWN).collect()
}

fn longer(text: &str, limit: usize) -> bool {
    text.len() > limit && text.chars().nth(limit).is_some()
}
