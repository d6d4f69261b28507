//! Reads recipients out of what a client sends as JSON.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::known::KnownField;
use super::rows::{RawRow, RecipientRows, RowCollector, shown, too_many};
use super::{MAX_RECIPIENTS, MAX_SHOWN, MAX_VALUE};
use crate::error::{Code, Error, Result};
use crate::json::{Allowance, Bounded, Object, Passed};

/// How many JSON values one row may hold.
const MAX_ROW_VALUES: usize = 512;

impl RecipientRows {
    /// Reads what a client sent as `recipients` from a value that is there; see [`RecipientReader`].
    pub fn from_json(value: &Value, country: Option<&str>) -> Result<Self> {
        let rows = RecipientReader::new(country, |_: &Object| {});
        rows.deserialize(value).map_err(Error::internal)?
    }
}

/// Reads what a client sent as `recipients`, row by row: an array of objects, texts and numbers, one
/// of these alone, or a text with numbers separated by newlines, commas or semicolons. No row is kept
/// as JSON. `country` stands for a leading 0.
///
/// What is no list, or too long, is passed over to its end, so that the rest of the body is judged too.
pub struct RecipientReader<F> {
    country: Option<String>,
    /// The members of an object that count; all, when it is empty.
    only: &'static [&'static str],
    /// Members that do not count in an object that has them all: it is an answer that comes back.
    told: &'static [&'static str],
    /// Whether groups are taken too.
    groups: bool,
    /// Sees each object that became a recipient of its own.
    seen: F,
}

impl<F: FnMut(&Object)> RecipientReader<F> {
    /// A reader that shows the objects of the rows that were taken to `seen`.
    pub fn new(country: Option<&str>, seen: F) -> Self {
        Self {
            country: country.map(str::to_owned),
            only: &[],
            told: &[],
            groups: true,
            seen,
        }
    }

    /// Takes no groups.
    #[must_use]
    pub fn people_only(mut self) -> Self {
        self.groups = false;
        self
    }

    fn collector<'c>(&self, country: Option<&'c str>, rows: usize) -> RowCollector<'c> {
        let mut collector = RowCollector::new(country, rows);
        collector.groups = self.groups;
        collector
    }

    /// Looks at these members only.
    #[must_use]
    pub fn only(mut self, members: &'static [&'static str]) -> Self {
        self.only = members;
        self
    }

    /// Knows an answer that comes back by these members, which are no fields of the recipient.
    #[must_use]
    pub fn answered_with(mut self, members: &'static [&'static str]) -> Self {
        self.told = members;
        self
    }

    /// Whether a member of this object counts.
    fn counts(&self, object: &Object) -> impl Fn(&str) -> bool + use<F> {
        let (only, told) = (self.only, self.told);
        let comes_back = !told.is_empty() && told.iter().all(|name| object.contains_key(*name));
        move |name| {
            (only.is_empty() || only.contains(&name)) && !(comes_back && told.contains(&name))
        }
    }

    /// One row, which may also be all there is.
    fn row(
        &mut self,
        gathering: &mut RowCollector<'_>,
        at: usize,
        row: Value,
        whole: bool,
    ) -> Result<()> {
        match &row {
            _ if !whole => gathering.reject(at, "", "more than 50 custom fields"),
            Value::Object(object) => {
                let before = gathering.parsed.recipients.len();
                match RawRow::from_object(object, self.counts(object)) {
                    Ok(row) => gathering.add(at, row)?,
                    Err(reason) => gathering.reject(at, &number_in(object), reason)?,
                }
                if gathering.parsed.recipients.len() > before {
                    (self.seen)(object);
                }
                Ok(())
            }
            other => match text_of(other) {
                Ok(number) => gathering.add(at, RawRow::of_number(number)),
                Err(reason) => gathering.reject(at, &brief(other), reason),
            },
        }
    }

    fn alone(mut self, row: Value, whole: bool) -> Result<RecipientRows> {
        let country = self.country.take();
        let mut gathering = self.collector(country.as_deref(), 1);
        self.row(&mut gathering, 1, row, whole)?;
        Ok(gathering.parsed)
    }
}

/// The values of one row, and how much of a text is looked at.
fn row_allowance() -> Allowance {
    Allowance::new(MAX_ROW_VALUES).with_texts_of(4 * (MAX_VALUE + MAX_SHOWN) + 1)
}

fn no_list() -> Error {
    Error::new(
        Code::RecipientsInvalid,
        "must be an array, or numbers separated by commas or newlines",
    )
}

impl<'de, F: FnMut(&Object)> DeserializeSeed<'de> for RecipientReader<F> {
    type Value = Result<RecipientRows>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, F: FnMut(&Object)> Visitor<'de> for RecipientReader<F> {
    type Value = Result<RecipientRows>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("recipients")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Err(no_list()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Err(no_list()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(self.alone(number.into(), true))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(self.alone(number.into(), true))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(self.alone(number.into(), true))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        let gathering = self.collector(self.country.as_deref(), 0);
        Ok(RecipientRows::of_text(text, gathering))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let allowance = row_allowance();
        let row = Bounded(&allowance).visit_map(map)?;
        Ok(self.alone(row, !allowance.is_exceeded()))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Self::Value, A::Error> {
        let country = self.country.take();
        let mut gathering = self.collector(country.as_deref(), 0);
        for at in 1.. {
            let allowance = row_allowance();
            let Some(row) = seq.next_element_seed(Bounded(&allowance))? else {
                break;
            };
            let whole = !allowance.is_exceeded();
            let taken = if at > MAX_RECIPIENTS {
                Err(too_many())
            } else {
                self.row(&mut gathering, at, row, whole)
            };
            if let Err(error) = taken {
                drop(gathering);
                Passed.visit_seq(seq)?;
                return Ok(Err(error));
            }
        }
        Ok(Ok(gathering.parsed))
    }
}

impl<'a> RawRow<'a> {
    fn from_object(object: &'a Object, counts: impl Fn(&str) -> bool) -> Result<Self, String> {
        let mut row = Self::default();
        let mut taken: [Option<(u8, &str)>; 4] = [None; 4];
        for (key, value) in object.iter().filter(|(key, _)| counts(key)) {
            if matches!(key.as_str(), "customFields" | "custom_fields") {
                match value {
                    Value::Null => {}
                    Value::Object(fields) => {
                        for (key, value) in fields {
                            row.custom(key, text_of_field(key, value)?);
                        }
                    }
                    _ => return Err(format!("{key} is not an object")),
                }
                continue;
            }
            let text = text_of_field(key, value)?;
            let Some((known, rank)) = KnownField::of(key) else {
                row.custom(key, text);
                continue;
            };
            if text.is_empty() {
                continue;
            }
            let slot = &mut taken[known as usize];
            match *slot {
                Some((better, _)) if better <= rank => row.custom(key, text),
                worse => {
                    *slot = Some((rank, key));
                    let before = std::mem::replace(row.slot(known), text);
                    if let Some((_, key)) = worse {
                        row.custom(key, before);
                    }
                }
            }
        }
        Ok(row)
    }
}

/// What a JSON value says as a field's text; `null` says nothing.
fn text_of_field<'a>(key: &str, value: &'a Value) -> Result<Cow<'a, str>, String> {
    match value {
        Value::Null => Ok("".into()),
        Value::String(text) => Ok(text.as_str().into()),
        Value::Bool(_) => Ok(value.to_string().into()),
        Value::Number(_) if matches!(KnownField::of(key), Some((KnownField::Number, _))) => {
            text_of(value).map_err(str::to_owned)
        }
        Value::Number(number) => Ok(number.to_string().into()),
        Value::Array(_) | Value::Object(_) => {
            Err(format!("{} is neither text nor a number", shown(key)))
        }
    }
}

/// What a JSON value says as a phone number.
fn text_of(value: &Value) -> Result<Cow<'_, str>, &'static str> {
    match value {
        Value::String(text) => Ok(text.as_str().into()),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => Ok(number.to_string().into()),
            (None, Some(_)) => Err("a phone number cannot be negative"),
            (None, None) => Err("a phone number cannot be a decimal number: send it as text"),
        },
        Value::Null => Err("no number"),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err("not a phone number"),
    }
}

/// The number of an object, to show it with a rejection.
fn number_in(object: &Map<String, Value>) -> String {
    let rank = |key: &str| match KnownField::of(key) {
        Some((KnownField::Number, rank)) => Some(rank),
        _ => None,
    };
    let keys = object.iter().filter_map(|(k, v)| Some((rank(k)?, v)));
    keys.min_by_key(|(rank, _)| *rank)
        .map_or_else(String::new, |(_, value)| brief(value))
}

/// A value as it is shown with a rejection.
fn brief(value: &Value) -> String {
    match value {
        Value::String(text) => text.chars().take(4 * MAX_SHOWN).collect(),
        Value::Array(_) => "[...]".to_owned(),
        Value::Object(_) => "{...}".to_owned(),
        scalar => scalar.to_string(),
    }
}
