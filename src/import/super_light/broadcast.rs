//! Campaigns and recipient lists of the original: a JSON object each.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::domain::campaign::imported::{IncomingCampaign, IncomingMedia};
use crate::domain::campaign::message::CampaignName;
use crate::domain::campaign::{CampaignSettings, CampaignState, RecipientState, RecipientStatus};
use crate::domain::import::Belongs;
use crate::domain::list::imported::IncomingList;
use crate::domain::list::{self, ListDescription, ListName};
use crate::domain::recipient::{self, RecipientReader, RecipientRows};
use crate::domain::schedule::parse_when;
use crate::domain::zone::Zone;
use crate::error::{Error, Result};
use crate::ids::{MediaId, RowId, SessionId};
use crate::json::{Allowance, Bounded, Member, Members, Object, Passed};
use crate::names::excerpt;
use crate::time::Timestamp;
use crate::wa::message::MediaKind;

/// How many values such an object may hold beside its people.
const MAX_VALUES: usize = 2000;

/// What of a row is the person.
const PERSON: &[&str] = &["number", "name", "jobTitle", "companyName", "customFields"];

/// The shortest and the longest wait between two messages that the original knows, in milliseconds.
const DELAYS: (u64, u64) = (1000, 300_000);

/// What is said of what is no such object.
const WRONG: &str = "it is not what Super-Light writes there";

/// One object: its fields, and its people.
struct Row<'c> {
    country: Option<&'c str>,
    allowance: Allowance,
    fields: Object,
    people: Result<RecipientRows>,
}

impl<'de> Member<'de> for Row<'_> {
    fn read<A: MapAccess<'de>>(
        &mut self,
        name: String,
        map: &mut A,
    ) -> std::result::Result<(), A::Error> {
        if name == "recipients" {
            let rows = RecipientReader::new(self.country, |_: &Object| {}).only(PERSON);
            self.people = map.next_value_seed(rows)?;
            return Ok(());
        }
        let value = map.next_value_seed(Bounded(&self.allowance))?;
        if !self.allowance.is_exceeded() {
            self.fields.insert(name, value);
        }
        Ok(())
    }
}

fn row<'c>(json: &[u8], country: Option<&'c str>) -> Result<(Object, RecipientRows)> {
    let empty: Row<'c> = Row {
        country,
        allowance: Allowance::new(MAX_VALUES),
        fields: Object::new(),
        people: Ok(RecipientRows::default()),
    };
    let mut reader = serde_json::Deserializer::from_slice(json);
    let read = Members(empty).deserialize(&mut reader);
    let whole = read.and_then(|row| reader.end().map(|()| row));
    let row = whole.ok().flatten().ok_or_else(|| Error::invalid(WRONG))?;
    if row.allowance.is_exceeded() || !row.fields.contains_key("id") {
        return Err(Error::invalid(WRONG));
    }
    Ok((row.fields, row.people?))
}

fn text<'f>(fields: &'f Object, name: &str) -> Option<&'f str> {
    let found = fields.get(name).and_then(Value::as_str);
    found.filter(|text| !text.is_empty())
}

fn time(value: Option<&str>) -> Option<Timestamp> {
    parse_when(value?, &Zone::utc()).ok()
}

/// Whose it is, in the words of the original.
fn belongs(fields: &Object) -> Belongs {
    Belongs {
        session: text(fields, "sessionId").and_then(|id| SessionId::parse(id).ok()),
        owner: text(fields, "createdBy").map(str::to_lowercase),
    }
}

/// Reads a list.
pub(super) fn list(
    id: RowId,
    json: &[u8],
    country: Option<&str>,
) -> Result<(Belongs, IncomingList)> {
    let (fields, people) = row(json, country)?;
    let words = |name: &str, most| excerpt(text(&fields, name).unwrap_or_default(), most);
    let tags = fields.get("tags").and_then(Value::as_array);
    let tags: Vec<&str> = tags
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let count = fields.get("usageCount").and_then(Value::as_u64);
    let when = |name: &str| time(text(&fields, name));
    let list = IncomingList {
        id,
        name: ListName::new(&words("name", 200))?,
        description: ListDescription::new(&words("description", 2000))?,
        // Those that are none here are left out: they only help to find it.
        tags: list::tags(tags.into_iter()).unwrap_or_default(),
        created_at: when("createdAt"),
        updated_at: when("updatedAt"),
        last_used: when("lastUsed"),
        usage_count: count
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(0),
        people,
    };
    Ok((belongs(&fields), list))
}

/// Reads a campaign. `uploads` are the files that come with it.
pub(super) fn campaign(
    id: RowId,
    json: &[u8],
    country: Option<&str>,
    uploads: &HashSet<MediaId>,
) -> Result<(Belongs, IncomingCampaign)> {
    let (fields, people) = row(json, country)?;
    let said = fields.get("message").and_then(Value::as_object);
    let said = said.ok_or_else(|| Error::invalid(WRONG))?;
    let chosen = fields.get("settings").and_then(Value::as_object);
    let number = |name: &str| chosen.and_then(|chosen| chosen.get(name)?.as_u64());
    let mut settings = CampaignSettings::default();
    let (least, most) = DELAYS;
    let delay = number("delayBetweenMessages").unwrap_or(3000);
    settings.pacing.set_delay(delay.clamp(least, most))?;
    let tries = number("maxRetries").unwrap_or(3);
    settings.set_retries(tries.min(20))?;
    let scheduled_at = time(text(&fields, "scheduledAt"));
    let status = match text(&fields, "status") {
        None | Some("draft") => CampaignState::Draft,
        // Without a time it never started by itself.
        Some("ready") if scheduled_at.is_none() => CampaignState::Draft,
        Some("ready") => CampaignState::Ready,
        Some("sending") => CampaignState::Sending,
        Some("completed" | "cancelled") => CampaignState::Completed,
        Some(_) => CampaignState::Paused,
    };
    let media = media(said, uploads);
    let content = match text(said, "mediaCaption").filter(|_| media.is_some()) {
        Some(caption) => caption.to_owned(),
        None => text(said, "content").unwrap_or_default().to_owned(),
    };
    let over = status == CampaignState::Completed;
    let known = states(json, country, tries, over)?;
    let campaign = IncomingCampaign {
        id,
        name: CampaignName::of_backup(&excerpt(text(&fields, "name").unwrap_or_default(), 200))?,
        content,
        media,
        settings,
        status,
        scheduled_at,
        created_at: time(text(&fields, "createdAt")),
        started_at: time(text(&fields, "startedAt")),
        completed_at: time(text(&fields, "completedAt")),
        states: placed(&people, known)?,
        people,
    };
    Ok((belongs(&fields), campaign))
}

/// The file of a campaign. `/media/ID` is an upload, also behind the address of the server, where there is one
/// of that id: others have such paths too.
fn media(said: &Object, uploads: &HashSet<MediaId>) -> Option<IncomingMedia> {
    let kind = match text(said, "type")? {
        "image" => MediaKind::Image,
        "document" => MediaKind::Document,
        "video" => MediaKind::Video,
        _ => return None,
    };
    let link = text(said, "mediaUrl")?;
    let named = link.rsplit_once("/media/");
    let upload = named.and_then(|(_, id)| MediaId::parse(id).ok());
    let name = match kind {
        MediaKind::Document => Some(text(said, "fileName").unwrap_or("document.pdf")),
        _ => None,
    };
    Some(IncomingMedia {
        kind,
        source: upload
            .filter(|id| uploads.contains(id))
            .ok_or_else(|| link.to_owned()),
        file_name: name.and_then(crate::names::of_file),
    })
}

/// How many values a row may hold, and how much of a text is looked at.
const MAX_ROW: (usize, usize) = (512, 4096);

/// What became of whom, by number.
struct Fates<'c> {
    country: Option<&'c str>,
    /// How often the original tries.
    tries: u64,
    /// Whether it would try nobody again.
    over: bool,
    known: HashMap<String, RecipientState>,
}

impl Fates<'_> {
    /// A number that is there twice was written to if one of them was.
    fn note(&mut self, row: &Value) {
        let number = match &row["number"] {
            Value::String(text) => recipient::addressee(text, self.country),
            other => recipient::addressee(&other.to_string(), self.country),
        };
        let Ok(number) = number else { return };
        let count = row["retryCount"].as_u64().unwrap_or(0);
        let status = match row["status"].as_str() {
            Some("sent") => RecipientStatus::Sent,
            // It would have been tried again there.
            Some("failed") if count < self.tries && !self.over => RecipientStatus::Pending,
            Some("failed") => RecipientStatus::Failed,
            // Words of other versions: whoever may have been written to is not written to again.
            Some("delivered" | "read" | "played" | "sending" | "Sent") => RecipientStatus::Sent,
            _ if row["sentAt"].is_string() => RecipientStatus::Sent,
            _ => RecipientStatus::Pending,
        };
        let at = time(row["sentAt"].as_str());
        let told = RecipientState {
            status,
            at,
            ..RecipientState::default()
        };
        let state = RecipientState::of_backup(told, row["error"].as_str(), count);
        let number = number.as_str().to_owned();
        let there = self.known.get(&number).map(|state| state.status);
        if there != Some(RecipientStatus::Sent) && state != RecipientState::default() {
            self.known.insert(number, state);
        }
    }
}

impl<'de> Member<'de> for Fates<'_> {
    fn read<A: MapAccess<'de>>(
        &mut self,
        name: String,
        map: &mut A,
    ) -> std::result::Result<(), A::Error> {
        match name.as_str() {
            "recipients" => map.next_value_seed(FateRows(self)),
            _ => map.next_value_seed(Passed),
        }
    }
}

/// The rows of a campaign, of which none is kept as JSON.
struct FateRows<'f, 'c>(&'f mut Fates<'c>);

impl<'de> DeserializeSeed<'de> for FateRows<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> std::result::Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for FateRows<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of recipients")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        loop {
            let allowance = Allowance::new(MAX_ROW.0).with_texts_of(MAX_ROW.1);
            let Some(row) = seq.next_element_seed(Bounded(&allowance))? else {
                return Ok(());
            };
            self.0.note(&row);
        }
    }
}

fn states(
    json: &[u8],
    country: Option<&str>,
    tries: u64,
    over: bool,
) -> Result<HashMap<String, RecipientState>> {
    let nobody = Fates {
        country,
        tries,
        over,
        known: HashMap::new(),
    };
    let mut reader = serde_json::Deserializer::from_slice(json);
    let read = Members(nobody).deserialize(&mut reader);
    let fates = read.ok().flatten().ok_or_else(|| Error::invalid(WRONG))?;
    Ok(fates.known)
}

/// The same by the positions of those who are written to.
fn placed(
    people: &RecipientRows,
    mut known: HashMap<String, RecipientState>,
) -> Result<Vec<(u32, RecipientState)>> {
    let mut placed = Vec::new();
    for (at, person) in (0_u32..).zip(people.recipients.iter()) {
        if let Some(state) = known.remove(person?.number.as_str()) {
            placed.push((at, state));
        }
    }
    Ok(placed)
}
