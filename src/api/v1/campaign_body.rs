//! What a client writes about a campaign, read into the domain's terms.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde::{Deserializer, Serialize};
use serde_json::Value;

use crate::api::admit::Caller;
use crate::api::read::{about, beside, flag, pace, text, whole_number};
use crate::domain::Gateway;
use crate::domain::access::Principal;
use crate::domain::campaign::create::Audience;
use crate::domain::campaign::message::{CampaignText, NewMedia, NewMessage};
use crate::domain::campaign::{Campaign, CampaignSettings};
use crate::domain::list::usable;
use crate::domain::message::draft::{FileName, MAX_TEXT, MediaKind};
use crate::domain::recipient::{
    EncodedRecipients, MergedRow, RecipientReader, RecipientRows, RejectedRow,
};
use crate::domain::schedule::parse_when;
use crate::domain::sheet::Sheet;
use crate::domain::zone::Zone;
use crate::error::{Code, Error, Result};
use crate::http::{BudgetShare, Request};
use crate::ids::RowId;
pub(super) use crate::json::Object;
use crate::json::{Allowance, Bounded, Member, Members, Passed};
use crate::tasks::blocking;
use crate::time::Timestamp;

/// The largest request with recipients.
pub(super) const MAX_BODY: u64 = 32 << 20;

/// The largest text field of a form.
const MAX_FIELD: usize = 1 << 20;

/// What a client sent: small fields, and recipients that were read while they came.
pub(super) struct CampaignBody {
    pub(super) fields: Object,
    people: Option<Result<RecipientRows>>,
    sheet: Option<Result<Sheet>>,
    /// What is in memory of it counts among the bodies under way.
    pub(super) held: BudgetShare,
}

impl CampaignBody {
    /// Passes over what an answer of ours tells a second time, so that it can be sent back: the list that
    /// its recipients came from, and the link that its file came from.
    pub(super) fn forget_repeated(&mut self, campaign: &Campaign) {
        let named = self.people.is_some() || self.sheet.is_some();
        let list = campaign.list.as_ref().map(RowId::as_str);
        if named
            && list.is_some()
            && self.fields.get("recipientListId") == list.map(Value::from).as_ref()
        {
            self.fields.remove("recipientListId");
        }
        let media = campaign.message.media.as_ref();
        let Some((media, message)) = media.zip(self.fields.get_mut("message")) else {
            return;
        };
        let is = |name: &str, known: &str| message[name].as_str() == Some(known);
        let linked = media
            .link
            .as_deref()
            .is_some_and(|link| is("mediaUrl", link));
        if linked
            && is("mediaId", media.id.as_str())
            && let Some(message) = message.as_object_mut()
        {
            message.remove("mediaUrl");
        }
    }
}

/// How many values the fields beside the recipients may have.
const MAX_VALUES: usize = 2000;

/// What a campaign's answer tells of a recipient besides himself.
const TOLD: [&str; 10] = [
    "status",
    "sentAt",
    "error",
    "retryCount",
    "tries",
    "messageId",
    "delivery",
    "deliveredAt",
    "readAt",
    "failedAt",
];

/// The name under which lists and campaigns have their rows.
const RECIPIENTS: [&str; 2] = ["recipients"; 2];

/// Reads a body with `recipients`; their rows are never JSON in memory.
struct BodyReader {
    country: Option<String>,
    /// The member with the recipients, and a lesser name of it.
    rows: [&'static str; 2],
    /// Whether they are recipients, and not numbers to suppress: `null` is as good as no such member then,
    /// and groups are taken.
    are_recipients: bool,
    allowance: Allowance,
    fields: Object,
    people: Option<Result<RecipientRows>>,
}

impl BodyReader {
    fn new(gateway: &Arc<Gateway>, rows: [&'static str; 2]) -> Self {
        Self {
            country: gateway.config().default_country_code.clone(),
            rows,
            are_recipients: rows == RECIPIENTS,
            allowance: Allowance::new(MAX_VALUES),
            fields: Object::new(),
            people: None,
        }
    }

    /// Reads a body that must be a JSON object.
    async fn read_json(self, request: &mut Request) -> Result<CampaignBody> {
        let (read, held) = request.json_by(Members(self)).await?;
        let wrong = || Error::from(Code::MalformedBody);
        let (fields, people) = read.ok_or_else(wrong)?.finish()?;
        Ok(CampaignBody {
            fields,
            people,
            sheet: None,
            held,
        })
    }

    /// What was read, unless it was too much.
    fn finish(self) -> Result<(Object, Option<Result<RecipientRows>>)> {
        if self.allowance.is_exceeded() {
            let text = format!("The request body holds more than {MAX_VALUES} other values");
            return Err(Error::new(Code::BodyTooLarge, text));
        }
        Ok((self.fields, self.people))
    }
}

impl<'de> Member<'de> for BodyReader {
    fn read<A: MapAccess<'de>>(&mut self, name: String, map: &mut A) -> Result<(), A::Error> {
        if !self.rows.contains(&name.as_str()) {
            let value = map.next_value_seed(Bounded(&self.allowance))?;
            if !self.allowance.is_exceeded() {
                self.fields.insert(name, value);
            }
            return Ok(());
        }
        if self.people.is_some() && name != self.rows[0] {
            return map.next_value_seed(Passed);
        }
        // Named twice: the last counts, and only that is held.
        self.people = None;
        let rows = RecipientReader::new(self.country.as_deref(), |_: &Object| {});
        let rows = rows.answered_with(&TOLD);
        self.people = if self.are_recipients {
            map.next_value_seed(Nullable(rows))?
        } else {
            Some(map.next_value_seed(rows.people_only())?)
        };
        Ok(())
    }
}

/// Reads what may be `null`, as if it were not there.
pub(super) struct Nullable<F>(pub(super) RecipientReader<F>);

impl<'de, F: FnMut(&Object)> DeserializeSeed<'de> for Nullable<F> {
    type Value = Option<Result<RecipientRows>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_option(self)
    }
}

impl<'de, F: FnMut(&Object)> Visitor<'de> for Nullable<F> {
    type Value = Option<Result<RecipientRows>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("recipients")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        self.0.deserialize(from).map(Some)
    }
}

/// A body that is a JSON object, or a form with the object in `campaign` and a sheet as a file.
pub(super) async fn read(gateway: &Arc<Gateway>, mut request: Request) -> Result<CampaignBody> {
    if request.is_of_type("multipart/") {
        return read_form(gateway, request).await;
    }
    let reader = BodyReader::new(gateway, RECIPIENTS);
    reader.read_json(&mut request).await
}

/// The numbers to suppress, and the fields beside them.
pub(super) async fn read_numbers(
    gateway: &Arc<Gateway>,
    request: &mut Request,
) -> Result<CampaignBody> {
    let reader = BodyReader::new(gateway, ["numbers", "number"]);
    reader.read_json(request).await
}

async fn read_form(gateway: &Arc<Gateway>, request: Request) -> Result<CampaignBody> {
    let mut held = request.share();
    let mut form = request.multipart()?;
    let mut sent = BodyReader::new(gateway, RECIPIENTS);
    let mut sheet = None;
    while let Some(mut part) = form.next().await? {
        let name = part.name().unwrap_or_default().to_owned();
        if part.filename().is_some() {
            if sheet.is_some() {
                return Err(Code::TooManyFiles.into());
            }
            let mut bytes = Vec::new();
            while let Some(chunk) = part.chunk().await? {
                held.grow(chunk.len()).await?;
                bytes.extend_from_slice(&chunk);
            }
            sheet = Some(bytes);
            continue;
        }
        let value = part.text(MAX_FIELD).await?;
        held.grow(value.len()).await?;
        if name == "campaign" {
            let mut text = serde_json::Deserializer::from_slice(value.as_bytes());
            let read = Members(sent).deserialize(&mut text);
            let whole = read.ok().flatten().filter(|_| text.end().is_ok());
            sent = whole
                .ok_or_else(|| Error::new(Code::MalformedBody, "campaign must be a JSON object"))?;
        } else if name == "recipients" {
            let rows = RecipientRows::from_text(&value, sent.country.as_deref());
            sent.people = Some(rows);
        } else if sent.fields.len() < MAX_VALUES {
            sent.fields.insert(name, Value::String(value));
        }
    }
    let country = gateway.config().default_country_code.clone();
    let sheet = match sheet {
        Some(bytes) => Some(read_sheet(bytes.into(), country).await?),
        None => None,
    };
    let (fields, people) = sent.finish()?;
    Ok(CampaignBody {
        fields,
        people,
        sheet,
        held,
    })
}

/// Reads a sheet where it may take long.
async fn read_sheet(bytes: bytes::Bytes, country: Option<String>) -> Result<Result<Sheet>> {
    blocking(move || Sheet::read(&bytes, country.as_deref())).await
}

/// A sheet that is the body, or the file of a form.
pub(super) async fn only_sheet(
    gateway: &Arc<Gateway>,
    mut request: Request,
) -> Result<(Sheet, BudgetShare)> {
    if request.is_of_type("multipart/") {
        let sent = read_form(gateway, request).await?;
        let none = || Error::from(Code::FileMissing);
        return Ok((sent.sheet.ok_or_else(none)??, sent.held));
    }
    let (bytes, held) = request.whole().await?.into_bytes();
    let country = gateway.config().default_country_code.clone();
    Ok((read_sheet(bytes, country).await??, held))
}

impl CampaignBody {
    /// The recipients that the body or the sheet holds; `None` when there are none of either.
    pub(super) fn people(&mut self, both: &'static str) -> Result<Option<RecipientRows>> {
        match (self.people.take(), self.sheet.take()) {
            (Some(_), Some(_)) => Err(Error::invalid(both)),
            (Some(people), None) => people.map_err(about("recipients")).map(Some),
            (None, Some(sheet)) => {
                let sheet = sheet.map_err(about("the CSV file"))?;
                Ok(Some(sheet.parsed))
            }
            (None, None) => Ok(None),
        }
    }

    /// The numbers, of a body that is about nothing else.
    pub(super) fn numbers(&mut self) -> Result<Option<RecipientRows>> {
        let people = self.people.take().transpose();
        people.map_err(about("numbers"))
    }
}

/// What became of the rows that were not taken as they are.
#[derive(Serialize)]
pub(super) struct RowReport {
    rejected: Vec<RejectedRow>,
    duplicates: Vec<MergedRow>,
}

/// Parts the people from what is told of the other rows.
pub(super) fn parted(parsed: RecipientRows) -> (EncodedRecipients, RowReport) {
    let report = RowReport {
        rejected: parsed.rejected,
        duplicates: parsed.merged,
    };
    (parsed.recipients, report)
}

/// Recipients as the client named them, and what became of their rows.
pub(super) struct NamedAudience {
    pub(super) audience: Audience,
    pub(super) report: RowReport,
}

/// The recipients of a request; `None` when it names none.
pub(super) fn audience(caller: &Caller, sent: &mut CampaignBody) -> Result<Option<NamedAudience>> {
    const ONE: &str = "Only one of recipients, recipientListId and a CSV file may be given";
    if let Some(id) = text(&sent.fields, "recipientListId")? {
        if sent.people.is_some() || sent.sheet.is_some() {
            return Err(Error::invalid(ONE));
        }
        let id = RowId::parse(id).ok_or(Code::ListIdInvalid)?;
        // Whoever may use both sessions may use the list of one for the other.
        let sessions = caller.gateway.sessions_of(&caller.principal);
        let (owner, _) = caller.gateway.find_list(&sessions, &id)?;
        return Ok(Some(NamedAudience {
            audience: Audience::List(owner.number, id),
            report: parted(RecipientRows::default()).1,
        }));
    }
    let Some(parsed) = sent.people(ONE)? else {
        return Ok(None);
    };
    let parsed = usable(parsed, flag(&sent.fields, "strict", false)?)?;
    if parsed.recipients.is_empty() {
        return Err(Error::new(
            Code::RecipientsMissing,
            "recipients: at least one is needed",
        ));
    }
    let rejected = parsed.rejected.clone();
    let (people, report) = parted(parsed);
    Ok(Some(NamedAudience {
        audience: Audience::These(RecipientRows {
            recipients: people,
            rejected,
            merged: Vec::new(),
        }),
        report,
    }))
}

/// Reads `message`; `None` when there is none.
pub(super) fn message(
    gateway: &Gateway,
    who: &Principal,
    body: &Object,
) -> Result<Option<NewMessage>> {
    let message = match body.get("message") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(message)) => message,
        Some(_) => return Err(Error::invalid("message must be an object")),
    };
    let field = |name: &str| {
        let value = text(message, name).map_err(about("message"))?;
        Ok::<_, Error>(value.filter(|value| !value.is_empty()))
    };
    let words = |name: &str| {
        let long = |e: Error| e.worded(format!("message.{name}: at most {MAX_TEXT} characters"));
        let words = field(name)?.map(CampaignText::new).transpose();
        words.map_err(long)
    };
    let (content, caption) = (words("content")?, words("mediaCaption")?);
    let kind = match field("type")?.unwrap_or("text") {
        "text" => {
            let message = NewMessage::text(content.or(caption).unwrap_or_default());
            let none = |error: Error| error.worded("message.content is required");
            return message.map(Some).map_err(none);
        }
        "image" => MediaKind::Image,
        "document" => MediaKind::Document,
        "video" => MediaKind::Video,
        _ => {
            return Err(Error::invalid(
                "message.type must be text, image, document or video",
            ));
        }
    };
    let id = field("mediaId")?;
    let link = match field("mediaUrl")? {
        Some(link) => Some(link),
        None => field("link")?,
    };
    let source = gateway
        .source(who, id, link, None)
        .map_err(|error| match error.code() {
            Code::MediaIdInvalid => error.worded("message.mediaId is not valid"),
            Code::FileSourceMissing | Code::FileSourceAmbiguous => {
                error.worded("message.mediaId or message.mediaUrl is required, one of them")
            }
            _ => about("message.mediaUrl")(error),
        })?;
    let file_name = match field("fileName")? {
        Some(name) => Some(name),
        None => field("filename")?,
    };
    let file_name = file_name
        .map(FileName::new)
        .transpose()
        .map_err(about("message.fileName"))?;
    let media = NewMedia::new(kind, source, file_name)?;
    Ok(Some(NewMessage::file(
        media,
        content.unwrap_or_default(),
        caption,
    )))
}

/// Reads `settings`, over those that are there.
pub(super) fn settings(body: &Object, base: CampaignSettings) -> Result<CampaignSettings> {
    let given = match body.get("settings") {
        None | Some(Value::Null) => return Ok(base),
        Some(Value::Object(given)) => given,
        Some(_) => return Err(Error::invalid("settings must be an object")),
    };
    let mut settings = base;
    let named = |name: &'static str| beside(format!("settings.{name}"));
    if let Some(ms) = whole_number(given, "delayBetweenMessages") {
        let set = settings.pacing.set_delay(ms);
        set.map_err(named("delayBetweenMessages"))?;
    }
    if let Some(percent) = whole_number(given, "jitter") {
        let set = settings.pacing.set_jitter(percent);
        set.map_err(named("jitter"))?;
    }
    pace(given, "settings", &mut settings.pacing)?;
    if flag(given, "retryFailedMessages", true)? {
        if let Some(many) = whole_number(given, "maxRetries") {
            settings.set_retries(many).map_err(named("maxRetries"))?;
        }
    } else {
        settings.max_retries = 0;
    }
    if let Some(ms) = whole_number(given, "retryDelay") {
        settings.set_retry_delay(ms).map_err(named("retryDelay"))?;
    }
    settings.check_numbers = flag(given, "checkNumbers", settings.check_numbers)?;
    settings.typing = flag(given, "typing", settings.typing)?;
    settings.variants = flag(given, "variants", settings.variants)?;
    Ok(settings)
}

/// Reads `scheduledAt`: `None` when it is not named, `Some(None)` when it is taken away.
pub(super) fn scheduled_at(body: &Object, zone: &Zone) -> Result<Option<Option<Timestamp>>> {
    match body.get("scheduledAt") {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::String(text)) if text.is_empty() => Ok(Some(None)),
        Some(Value::String(text)) => parse_when(text, zone)
            .map(|at| Some(Some(at)))
            .map_err(about("scheduledAt")),
        Some(_) => Err(Error::new(
            Code::TimeInvalid,
            "scheduledAt: not a date and time such as 2026-12-31T09:00:00+07:00",
        )),
    }
}
