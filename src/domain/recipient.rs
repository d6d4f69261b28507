//! Whom a campaign writes to: one person with the fields that texts may show, read from JSON or
//! from a list of numbers. No row is lost without a word: each one is taken, merged into an earlier
//! one with the same number, or rejected with a reason.

mod addressee;

pub use addressee::{Addressee, AddresseeKey};

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::error::{Code, Error, Result};
use crate::jid::{Jid, JidServer, PhoneNumber};
use crate::json::{Allowance, Bounded, Object, Passed};

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
/// How many JSON values one row may hold.
const MAX_ROW_VALUES: usize = 512;
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

/// Recipients in the form in which they are stored, one after the other: a hundred thousand take
/// about the room of the request that named them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncodedRecipients {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Those that later rows filled.
    filled: BTreeMap<usize, Vec<u8>>,
}

impl EncodedRecipients {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Adds one at the end.
    pub fn push(&mut self, recipient: &Recipient) -> Result<()> {
        serde_json::to_writer(&mut self.bytes, recipient).map_err(Error::internal)?;
        self.ends.push(self.bytes.len());
        Ok(())
    }

    /// The stored form of the one at this place; empty beyond the end.
    pub(super) fn stored(&self, at: usize) -> &[u8] {
        if let Some(filled) = self.filled.get(&at) {
            return filled;
        }
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.ends
            .get(at)
            .map_or(&[], |end| &self.bytes[begin..*end])
    }

    /// They, one by one.
    pub fn iter(&self) -> impl Iterator<Item = Result<Recipient>> {
        (0..self.len()).map(|at| serde_json::from_slice(self.stored(at)).map_err(Error::internal))
    }

    /// Fills the one at this place from a later row.
    fn fill(&mut self, at: usize, later: Recipient) -> Result<()> {
        let texts = [&later.name, &later.job_title, &later.company];
        if later.fields.is_empty() && texts.iter().all(|text| text.is_empty()) {
            return Ok(());
        }
        let before: Recipient = serde_json::from_slice(self.stored(at)).map_err(Error::internal)?;
        let mut after = before.clone();
        after.fill(later);
        if after != before {
            let stored = serde_json::to_vec(&after).map_err(Error::internal)?;
            self.filled.insert(at, stored);
        }
        Ok(())
    }
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
    /// Reads what a client sent as `recipients` from a value that is there; see [`RecipientReader`].
    pub fn from_json(value: &Value, country: Option<&str>) -> Result<Self> {
        let rows = RecipientReader::new(country, |_: &Object| {});
        rows.deserialize(value).map_err(Error::internal)?
    }

    /// Reads numbers separated by newlines, commas or semicolons; the empty ones do not count.
    pub fn from_text(text: &str, country: Option<&str>) -> Result<Self> {
        Self::of_text(text, RowCollector::new(country, 0))
    }

    fn of_text(text: &str, mut gathering: RowCollector<'_>) -> Result<Self> {
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

/// Reads what a client sent as `recipients`, row by row: an array of objects, texts and numbers, one
/// of these alone, or a text with numbers separated by newlines, commas or semicolons. No row is kept
/// as JSON. `country` stands for a leading 0.
///
/// What is no list, or too long, is passed over to its end, so that the rest of the body is judged too.
pub struct RecipientReader<F> {
    country: Option<String>,
    /// The members of an object that count; all, when it is empty.
    only: &'static [&'static str],
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
        RowCollector {
            groups: self.groups,
            ..RowCollector::new(country, rows)
        }
    }

    /// Looks at these members only.
    #[must_use]
    pub fn only(mut self, members: &'static [&'static str]) -> Self {
        self.only = members;
        self
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
                match RawRow::from_object(object, self.only) {
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

/// The refusal of a list that is too long.
pub(super) fn too_many() -> Error {
    Error::new(
        Code::TooManyRecipients,
        format!("at most {MAX_RECIPIENTS} recipients"),
    )
}

/// The fields that every recipient has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KnownField {
    Number,
    Name,
    JobTitle,
    Company,
}

impl KnownField {
    /// Which known field a key, a column or a placeholder names, and how good the spelling is: when
    /// two keys of a row name the same field, the lower rank wins and the other is a custom field.
    /// Case, spaces, `_`, `-` and `.` do not count.
    pub(super) fn of(name: &str) -> Option<(Self, u8)> {
        let mut letters = [0; 20];
        let mut len = 0;
        for byte in name.bytes() {
            if matches!(byte, b' ' | b'_' | b'-' | b'.') {
                continue;
            }
            *letters.get_mut(len)? = byte.to_ascii_lowercase();
            len += 1;
        }
        Some(match &letters[..len] {
            b"number" => (Self::Number, 0),
            b"phone" => (Self::Number, 1),
            b"phonenumber" => (Self::Number, 2),
            b"whatsapp" | b"whatsappnumber" | b"wa" | b"nowa" | b"nomorwa" | b"nowhatsapp"
            | b"nomorwhatsapp" => (Self::Number, 3),
            b"nohp" | b"nomorhp" | b"hp" | b"handphone" | b"nohandphone" | b"nomorhandphone"
            | b"mobile" | b"mobilenumber" | b"mobilephone" | b"msisdn" => (Self::Number, 4),
            b"telepon" | b"notelepon" | b"nomortelepon" | b"telp" | b"notelp" | b"telephone"
            | b"tel" => (Self::Number, 5),
            b"nomor" => (Self::Number, 6),
            b"name" => (Self::Name, 0),
            b"nama" => (Self::Name, 1),
            b"fullname" | b"namalengkap" | b"contactname" => (Self::Name, 2),
            b"jobtitle" => (Self::JobTitle, 0),
            b"jabatan" => (Self::JobTitle, 1),
            b"job" | b"position" | b"posisi" | b"pekerjaan" => (Self::JobTitle, 2),
            b"company" => (Self::Company, 0),
            b"companyname" => (Self::Company, 1),
            b"perusahaan" | b"namaperusahaan" => (Self::Company, 2),
            b"instansi" | b"organization" | b"organisation" | b"organisasi" => (Self::Company, 3),
            _ => return None,
        })
    }
}

/// A row before it is judged.
#[derive(Default)]
pub(super) struct RawRow<'a> {
    pub(super) number: Cow<'a, str>,
    pub(super) name: Cow<'a, str>,
    pub(super) job_title: Cow<'a, str>,
    pub(super) company: Cow<'a, str>,
    pub(super) fields: Vec<(&'a str, Cow<'a, str>)>,
}

impl<'a> RawRow<'a> {
    fn of_number(number: Cow<'a, str>) -> Self {
        Self {
            number,
            ..Self::default()
        }
    }

    fn from_object(object: &'a Object, only: &[&str]) -> Result<Self, String> {
        let mut row = Self::default();
        let mut taken: [Option<(u8, &str)>; 4] = [None; 4];
        let counts = |key: &str| only.is_empty() || only.contains(&key);
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

    /// Where a known field goes.
    pub(super) fn slot(&mut self, known: KnownField) -> &mut Cow<'a, str> {
        match known {
            KnownField::Number => &mut self.number,
            KnownField::Name => &mut self.name,
            KnownField::JobTitle => &mut self.job_title,
            KnownField::Company => &mut self.company,
        }
    }

    /// Adds a custom field, unless it is empty.
    pub(super) fn custom(&mut self, key: &'a str, value: Cow<'a, str>) {
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
pub(super) struct RowCollector<'c> {
    country: Option<&'c str>,
    /// Whether groups are taken too.
    groups: bool,
    /// Index in `parsed.recipients` and row of each that is there.
    seen: HashMap<AddresseeKey, (u32, u32)>,
    pub(super) parsed: RecipientRows,
}

impl<'c> RowCollector<'c> {
    pub(super) fn new(country: Option<&'c str>, rows: usize) -> Self {
        Self {
            country,
            groups: true,
            seen: HashMap::with_capacity(rows),
            parsed: RecipientRows::default(),
        }
    }

    pub(super) fn add(&mut self, at: usize, row: RawRow<'_>) -> Result<()> {
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
    pub(super) fn reject(
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

/// Reads whom a row is for: a number in any spelling, or the JID of a group.
pub fn addressee(
    text: &str,
    country: Option<&str>,
) -> std::result::Result<Addressee, Cow<'static, str>> {
    match Addressee::group(text.trim()) {
        Some(group) => Ok(group),
        None => number(text, country).map(Addressee::from),
    }
}

/// Reads a recipient's number as clients and spreadsheets write it, or says what is wrong with it.
pub fn number(
    text: &str,
    country: Option<&str>,
) -> std::result::Result<PhoneNumber, Cow<'static, str>> {
    // Contacts apps wrap numbers in marks that nobody sees.
    let invisible = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let visible: Cow<'_, str> = if text.is_ascii() {
        text.into()
    } else {
        let dash = |c: char| {
            if matches!(c, '\u{2010}'..='\u{2015}') {
                '-'
            } else {
                c
            }
        };
        text.chars().filter(|c| !invisible(*c)).map(dash).collect()
    };
    let text = visible.trim();
    if text.is_empty() {
        return Err("no number".into());
    }
    if text.contains('@') {
        return match Jid::parse(text) {
            Some(jid) if jid.server() == JidServer::User => number(jid.user_part(), None),
            Some(jid) if jid.is_group() => Err("a group, not a person".into()),
            Some(jid) if jid.server() == JidServer::Lid => {
                Err("a hidden id, not a phone number".into())
            }
            _ => Err("not a phone number".into()),
        };
    }
    if let Some(reason) = spreadsheet_accident(text) {
        return Err(reason.into());
    }
    if let Some(number) = PhoneNumber::parse(text, country) {
        return Ok(number);
    }
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let strange = |c: char| !matches!(c, '0'..='9' | '+' | ' ' | '-' | '(' | ')' | '.' | '\u{a0}');
    Err(if text.contains(strange) || digits == 0 {
        "not a phone number"
    } else if digits < 8 {
        "too short: a number has 8 to 15 digits"
    } else if digits > 15 {
        "too long: a number has 8 to 15 digits"
    } else if text.trim_start_matches(['+', '(', ' ']).starts_with('0') {
        "begins with 0: write it with its country code"
    } else {
        "not a phone number"
    }
    .into())
}

/// What a spreadsheet made of a number that it took for a quantity.
fn spreadsheet_accident(text: &str) -> Option<&'static str> {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if let Some((mantissa, exponent)) = text.split_once(['e', 'E']) {
        let mantissa = mantissa.trim_start_matches(['+', '-']);
        let (whole, part) = mantissa.split_once(['.', ',']).unwrap_or((mantissa, "0"));
        return (digits(whole) && digits(part) && digits(exponent.trim_start_matches(['+', '-'])))
            .then_some(
                "the spreadsheet rounded this number and its last digits are lost: format the \
                 column as text and enter the number again",
            );
    }
    // Without this, the digit after the point would become part of the number.
    let (whole, part) = text.rsplit_once(['.', ','])?;
    (part.len() <= 2
        && part.bytes().all(|b| b == b'0')
        && digits(part)
        && digits(whole)
        && whole.len() >= 8)
        .then_some("written as a decimal number: format the column as text")
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

/// What is shown of a stranger's text.
pub(super) fn shown(text: &str) -> String {
    let visible = text.trim().chars().filter(|c| !c.is_control());
    visible.take(MAX_SHOWN).collect()
}

fn longer(text: &str, limit: usize) -> bool {
    text.len() > limit && text.chars().nth(limit).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// What was read, with the recipients as they are stored.
    #[derive(Debug, Default, PartialEq)]
    struct ReadRecipients {
        recipients: Vec<Recipient>,
        rejected: Vec<RejectedRow>,
        merged: Vec<MergedRow>,
    }

    impl From<RecipientRows> for ReadRecipients {
        fn from(parsed: RecipientRows) -> Self {
            let recipients = parsed.recipients.iter().collect::<Result<_>>();
            Self {
                recipients: recipients.expect("recipients"),
                rejected: parsed.rejected,
                merged: parsed.merged,
            }
        }
    }

    fn parse(value: &Value) -> ReadRecipients {
        RecipientRows::from_json(value, Some("62"))
            .expect("a list")
            .into()
    }

    fn numbers(parsed: &ReadRecipients) -> Vec<&str> {
        parsed
            .recipients
            .iter()
            .map(|r| r.number.as_str())
            .collect()
    }

    /// Row and beginning of the reason.
    fn rejections(parsed: &ReadRecipients) -> Vec<(usize, &str)> {
        let pairs = parsed.rejected.iter().map(|r| (r.row, &*r.reason));
        pairs.collect()
    }

    #[test]
    fn objects_texts_and_numbers_are_read_in_all_spellings() {
        let parsed = parse(&json!([
            {"number": "+62 812-3456-7890", "name": " Budi ", "jobTitle": "CEO", "companyName": "A & B"},
            {"phone": 6281234567891_u64, "Name": "Ani", "job_title": "CTO", "company_name": "C",
             "customFields": {"City": "Solo", "Age": 30, "None": null, "Empty": " "}, "vip": true, "price": 1.5},
            {"Number": "081234567892", "company": "D", "nama": "Eko"},
            "6281234567893@s.whatsapp.net",
            6281234567894_u64,
        ]));
        assert_eq!(parsed.rejected, []);
        assert_eq!(
            numbers(&parsed),
            [
                "6281234567890",
                "6281234567891",
                "6281234567892",
                "6281234567893",
                "6281234567894"
            ]
        );
        let [budi, ani, eko, ..] = parsed.recipients.as_slice() else {
            panic!("five recipients");
        };
        assert_eq!(
            (&*budi.name, &*budi.job_title, &*budi.company),
            ("Budi", "CEO", "A & B")
        );
        assert_eq!(
            (&*ani.name, &*ani.job_title, &*ani.company),
            ("Ani", "CTO", "C")
        );
        assert_eq!(
            ani.fields,
            [
                ("Age", "30"),
                ("City", "Solo"),
                ("price", "1.5"),
                ("vip", "true")
            ]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into()
        );
        assert_eq!((&*eko.name, &*eko.company), ("Eko", "D"));
    }

    #[test]
    fn a_second_spelling_of_a_known_field_becomes_a_custom_field() {
        let parsed = parse(&json!([
            {"nomor": "A-12", "number": "6281234567890", "phone": "02112345678", "name": "", "nama": "Budi"},
        ]));
        let budi = &parsed.recipients[0];
        assert_eq!(
            (budi.number.as_str(), &*budi.name),
            ("6281234567890", "Budi")
        );
        assert_eq!(budi.field("nomor"), Some("A-12"));
        assert_eq!(budi.field("Phone"), Some("02112345678"));
        assert_eq!(budi.field("Number"), Some("6281234567890"));
    }

    #[test]
    fn placeholders_find_their_fields_in_any_case() {
        let parsed = parse(&json!([
            {"number": "6281234567890", "name": "Budi", "jobTitle": "CEO", "company": "C",
             "customFields": {"Order ID": "7", "name": "X", "Nama": "Y", "\u{c4}rzte": "x", "city": "Solo", "City": "Bogor"}},
            {"number": "6281234567891"},
        ]));
        let budi = &parsed.recipients[0];
        for (name, value) in [
            ("Name", "Budi"),
            ("name", "Budi"),
            ("NAMA", "Y"),
            ("namalengkap", "Budi"),
            ("JobTitle", "CEO"),
            ("job_title", "CEO"),
            ("jobtitle", "CEO"),
            ("Company", "C"),
            ("CompanyName", "C"),
            ("company_name", "C"),
            ("Number", "6281234567890"),
            ("phone", "6281234567890"),
            ("order id", "7"),
            ("\u{e4}rzte", "x"),
            ("city", "Solo"),
            ("City", "Bogor"),
        ] {
            assert_eq!(budi.field(name), Some(value), "{name}");
        }
        assert_eq!(budi.field("country"), None);
        assert_eq!(parsed.recipients[1].field("name"), None);
        assert_eq!(parsed.recipients[1].field("nama"), None);
    }

    #[test]
    fn texts_are_split_and_empty_parts_do_not_count() {
        let text = json!("6281234567890, 081234567891;\r\n\n+62 812 3456 7892,,x\n");
        let parsed = parse(&text);
        assert_eq!(
            numbers(&parsed),
            ["6281234567890", "6281234567891", "6281234567892"]
        );
        assert_eq!(rejections(&parsed), [(4, "not a phone number")]);
        assert_eq!(parse(&json!("")), ReadRecipients::default());
        assert_eq!(
            numbers(&parse(&json!({"number": "6281234567890"}))).len(),
            1
        );
        assert_eq!(numbers(&parse(&json!(6281234567890_u64))).len(), 1);
    }

    #[test]
    fn groups_are_recipients_but_no_numbers_to_suppress() {
        let rows = json!([
            "120363021033254949@g.us",
            "6281234567890",
            "120363021033254949@g.us"
        ]);
        let parsed = parse(&rows);
        assert_eq!(
            numbers(&parsed),
            ["120363021033254949@g.us", "6281234567890"]
        );
        let merged = serde_json::to_value(&parsed.merged).expect("JSON");
        assert_eq!(
            merged,
            json!([{ "row": 3, "into": 1, "number": "120363021033254949@g.us" }])
        );
        let people = RecipientReader::new(None, |_: &Object| {}).people_only();
        let parsed: ReadRecipients = people
            .deserialize(&rows)
            .expect("JSON")
            .expect("a list")
            .into();
        assert_eq!(numbers(&parsed), ["6281234567890"]);
        assert_eq!(rejections(&parsed)[0], (1, "a group, not a person"));
    }

    #[test]
    fn every_refused_row_has_its_place_and_reason() {
        let long = "x".repeat(201);
        let many: Map<String, Value> = (0..51).map(|i| (format!("k{i}"), json!(i))).collect();
        let parsed = parse(&json!([
            {"name": "no number"},
            "abc",
            "1234567",
            "1234567890123456",
            "+081234567890",
            -6281234567890_i64,
            6281234567890.5,
            "6.28123E+12",
            "6281234567890.0",
            "abc@g.us",
            "100000012345678@lid",
            null,
            true,
            [],
            {"number": []},
            {"number": "6281234567890", "customFields": "x"},
            {"number": "6281234567890", "customFields": {"a": {}}},
            {"number": "6281234567890", "name": long},
            {"number": "6281234567890", "customFields": many},
            {"number": "6281234567890", "customFields": {"k".repeat(65): "v"}},
            {"number": "6281234567890", "note": "v".repeat(1025)},
            {"number": "62812\u{7}".to_owned() + &"9".repeat(90)},
        ]));
        assert_eq!(parsed.recipients, []);
        let begins = [
            "no number",
            "not a phone",
            "too short",
            "too long",
            "begins with 0",
            "a phone number cannot be neg",
            "a phone number cannot be a dec",
            "the spreadsheet rounded",
            "written as a decimal",
            "a group",
            "a hidden id",
            "no number",
            "not a phone",
            "not a phone",
            "number is neither",
            "customFields is not",
            "a is neither",
            "the name is longer than 200",
            "more than 50",
            "the name of a custom field",
            "the custom field note is longer than 1024",
            "not a phone",
        ];
        assert_eq!(parsed.rejected.len(), begins.len());
        for ((row, rejected), begin) in (1..).zip(&parsed.rejected).zip(begins) {
            assert_eq!(rejected.row, row);
            assert!(rejected.reason.starts_with(begin), "{rejected:?}, {begin}");
        }
        assert_eq!(parsed.rejected[0].input, "no number");
        assert_eq!(parsed.rejected[17].input, "6281234567890");
        let shown = &parsed.rejected[21].input;
        assert!(shown.starts_with("628129") && shown.len() == 64, "{shown}");
    }

    #[test]
    fn limits_are_still_taken() {
        let fields: Map<String, Value> = (0..50).map(|i| (format!("k{i}"), json!(i))).collect();
        let parsed = parse(&json!([
            {"number": "6281234567890", "name": "\u{e9}".repeat(200), "customFields": fields},
            {"number": "6281234567891", "customFields": {"\u{e9}".repeat(64): "\u{e9}".repeat(1024)}},
        ]));
        assert_eq!(parsed.rejected, []);
    }

    #[test]
    fn numbers_copied_with_invisible_marks_are_read() {
        for text in [
            "\u{202a}+62 812\u{2011}3456\u{2011}7890\u{202c}",
            "\u{feff}081234567890",
            "812.3456.7890",
        ] {
            assert!(number(text, Some("62")).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn rows_with_the_same_number_become_one() {
        let parsed = parse(&json!([
            {"number": "6281234567890", "name": "Budi", "customFields": {"a": "1"}},
            "6281234567891",
            {"number": "0812-3456-7890", "name": "Other", "company": "C", "customFields": {"a": "2", "b": "3"}},
            6281234567890_u64,
        ]));
        assert_eq!(numbers(&parsed), ["6281234567890", "6281234567891"]);
        let budi = &parsed.recipients[0];
        assert_eq!((&*budi.name, &*budi.company), ("Budi", "C"));
        assert_eq!((budi.field("a"), budi.field("b")), (Some("1"), Some("3")));
        let merged: Vec<_> = parsed.merged.iter().map(|m| (m.row, m.into)).collect();
        assert_eq!(merged, [(3, 1), (4, 1)]);
    }

    #[test]
    fn merging_goes_no_further_than_the_limit_of_custom_fields() {
        let fields = |keys: std::ops::Range<u8>| -> Map<String, Value> {
            keys.map(|i| (format!("k{i:02}"), json!(i))).collect()
        };
        let parsed = parse(&json!([
            {"number": "6281234567890", "customFields": fields(0..40)},
            {"number": "6281234567890", "customFields": fields(30..60)},
        ]));
        let merged = &parsed.recipients[0];
        assert_eq!(merged.fields.len(), MAX_FIELDS);
        assert_eq!(
            (merged.field("k49"), merged.field("k50")),
            (Some("49"), None)
        );
    }

    #[test]
    fn what_is_no_list_or_too_long_is_refused() {
        for value in [json!(null), json!(true)] {
            assert!(RecipientRows::from_json(&value, None).is_err());
        }
        let row = json!(6281234567890_u64);
        assert!(RecipientRows::from_json(&Value::Array(vec![row.clone(); 100_000]), None).is_ok());
        assert!(RecipientRows::from_json(&Value::Array(vec![row; 100_001]), None).is_err());
        let good = "6281234567890,";
        assert!(RecipientRows::from_text(&good.repeat(100_000), None).is_ok());
        assert!(RecipientRows::from_text(&good.repeat(100_001), None).is_err());
        assert!(RecipientRows::from_text(&"1,".repeat(MAX_REJECTED), None).is_ok());
        assert!(RecipientRows::from_text(&"1,".repeat(MAX_REJECTED + 1), None).is_err());
    }

    #[test]
    fn a_stored_recipient_is_read_again_and_holds_no_empty_field() {
        let parsed = parse(&json!([{"number": "6281234567890", "name": "B"}, "6281234567891"]));
        let stored = serde_json::to_string(&parsed.recipients).expect("JSON");
        assert_eq!(
            stored,
            r#"[{"number":"6281234567890","name":"B"},{"number":"6281234567891"}]"#
        );
        let read: Vec<Recipient> = serde_json::from_str(&stored).expect("recipients");
        assert_eq!(read, parsed.recipients);
        assert!(serde_json::from_str::<Recipient>(r#"{"number":"x"}"#).is_err());
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,20}".prop_map(Value::from),
            "[0-9+ ().,eE@-]{0,20}".prop_map(Value::from),
            "0?8?1?2?[0-9]{7,9}".prop_map(Value::from),
        ];
        let key = "number|phone|name|nama|company|customFields|\\PC{0,4}";
        leaf.prop_recursive(3, 24, 5, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::vec((key, inner), 0..5)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_row_is_lost_and_no_number_is_there_twice(
            rows in proptest::collection::vec(value(), 0..12), country in any::<bool>(),
        ) {
            let count = rows.len();
            let parsed = RecipientRows::from_json(&Value::Array(rows), country.then_some("62"));
            let parsed = ReadRecipients::from(parsed.expect("a list"));
            prop_assert_eq!(
                parsed.recipients.len() + parsed.rejected.len() + parsed.merged.len(),
                count
            );
            let mut all = numbers(&parsed);
            all.sort_unstable();
            all.dedup();
            prop_assert_eq!(all.len(), parsed.recipients.len());
            let stored = serde_json::to_vec(&parsed.recipients).expect("JSON");
            let read: Vec<Recipient> = serde_json::from_slice(&stored).expect("recipients");
            prop_assert_eq!(read, parsed.recipients);
            prop_assert!(parsed.rejected.iter().all(|r| r.input.chars().count() <= 64));
        }

        #[test]
        fn any_text_is_read(text in "\\PC{0,80}") {
            let _ = RecipientRows::from_text(&text, Some("62"));
        }
    }
}
