//! What a client writes about a campaign, read into the domain's terms.

use serde_json::{Map, Value};

use super::rules::text;
use crate::domain::Gateway;
use crate::domain::campaign::Settings;
use crate::domain::campaign::create::{Audience, NewMedia};
use crate::domain::draft::{MAX_TEXT, MediaKind};
use crate::domain::list::usable;
use crate::domain::media::Source;
use crate::domain::pacing::{MAX_DELAY, Pacing, QuietHours};
use crate::domain::recipient::{Merged, Parsed, Rejected};
use crate::domain::schedule::parse_when;
use crate::domain::sheet::Sheet;
use crate::domain::zone::Zone;
use crate::error::{Error, Result};
use crate::http::Request;
use crate::ids::{MediaId, RowId};
use crate::names;
use crate::time::Timestamp;

pub(super) type Object = Map<String, Value>;

/// The largest request with recipients.
pub(super) const MAX_BODY: u64 = 32 << 20;

/// The most tries that a client may ask for.
const MAX_RETRIES: u64 = 20;

/// Puts the field's name before what is wrong with it.
fn about(field: &str) -> impl Fn(Error) -> Error + '_ {
    move |error| Error::new(error.kind(), format!("{field}: {}", error.detail()))
}

/// A body that is a JSON object, or a form with the object in `campaign` and a sheet as a file.
pub(super) async fn read(request: Request) -> Result<(Object, Option<Vec<u8>>)> {
    let is_form = request
        .header("content-type")
        .is_some_and(|t| t.to_ascii_lowercase().starts_with("multipart/"));
    if !is_form {
        let mut request = request;
        return Ok((super::rules::object(&mut request).await?, None));
    }
    let mut form = request.multipart()?;
    let (mut body, mut sheet) = (Object::new(), None);
    while let Some(mut part) = form.next().await? {
        let name = part.name().unwrap_or_default().to_owned();
        if part.filename().is_some() {
            if sheet.is_some() {
                return Err(Error::invalid("Only one file may be uploaded at a time"));
            }
            let mut bytes = Vec::new();
            while let Some(chunk) = part.chunk().await? {
                bytes.extend_from_slice(&chunk);
            }
            sheet = Some(bytes);
            continue;
        }
        let value = part.text(1 << 20).await?;
        if name == "campaign" {
            match serde_json::from_str(&value) {
                Ok(Value::Object(object)) => body.extend(object),
                _ => return Err(Error::invalid("campaign must be a JSON object")),
            }
        } else {
            body.insert(name, Value::String(value));
        }
    }
    Ok((body, sheet))
}

/// Recipients as the client named them, and what became of their rows.
pub(super) struct Named {
    pub(super) audience: Audience,
    pub(super) rejected: Vec<Rejected>,
    pub(super) merged: Vec<Merged>,
}

/// The recipients of a request; `None` when it names none.
pub(super) fn audience(
    gateway: &Gateway,
    body: &Object,
    sheet: Option<Vec<u8>>,
) -> Result<Option<Named>> {
    let country = gateway.config.default_country_code.as_deref();
    let list = text(body, "recipientListId")?;
    let inline = body.get("recipients").filter(|value| !value.is_null());
    let named =
        usize::from(list.is_some()) + usize::from(inline.is_some()) + usize::from(sheet.is_some());
    if named > 1 {
        return Err(Error::invalid(
            "Only one of recipients, recipientListId and a CSV file may be given",
        ));
    }
    if let Some(id) = list {
        let id = RowId::parse(id).ok_or_else(|| Error::invalid("Invalid list ID format"))?;
        return Ok(Some(Named {
            audience: Audience::List(id),
            rejected: Vec::new(),
            merged: Vec::new(),
        }));
    }
    let parsed = match (inline, sheet) {
        (Some(value), _) => Parsed::from_json(value, country).map_err(about("recipients"))?,
        (None, Some(bytes)) => {
            Sheet::read(&bytes, country)
                .map_err(about("the CSV file"))?
                .parsed
        }
        (None, None) => return Ok(None),
    };
    let strict = flag(body, "strict", false)?;
    let parsed = usable(parsed, strict)?;
    if parsed.recipients.is_empty() {
        return Err(Error::invalid("recipients: at least one is needed"));
    }
    Ok(Some(Named {
        rejected: parsed.rejected.clone(),
        merged: parsed.merged.clone(),
        audience: Audience::These(parsed),
    }))
}

/// What a campaign says.
pub(super) struct Said {
    pub(super) content: String,
    pub(super) media: Option<NewMedia>,
}

/// Reads `message`; `None` when there is none.
pub(super) fn message(gateway: &Gateway, body: &Object) -> Result<Option<Said>> {
    let message = match body.get("message") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(message)) => message,
        Some(_) => return Err(Error::invalid("message must be an object")),
    };
    let field = |name: &str| {
        let value = text(message, name).map_err(about("message"))?;
        Ok::<_, Error>(value.filter(|value| !value.is_empty()))
    };
    let content = match field("content")? {
        Some(content) => Some(content),
        None => field("mediaCaption")?,
    };
    if content.is_some_and(|content| content.encode_utf16().count() > MAX_TEXT) {
        return Err(Error::invalid(format!(
            "message.content: at most {MAX_TEXT} characters"
        )));
    }
    let kind = match field("type")?.unwrap_or("text") {
        "text" => {
            let content = content.ok_or_else(|| Error::invalid("message.content is required"))?;
            return Ok(Some(Said {
                content: content.to_owned(),
                media: None,
            }));
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
    let source = match (id, link) {
        (Some(id), None) => Source::Stored(
            MediaId::parse(id).map_err(|_| Error::invalid("message.mediaId is not valid"))?,
        ),
        (None, Some(link)) => {
            gateway
                .check_link(link)
                .map_err(about("message.mediaUrl"))?;
            Source::Link(link.to_owned())
        }
        _ => {
            return Err(Error::invalid(
                "message.mediaId or message.mediaUrl is required, one of them",
            ));
        }
    };
    let file_name = match field("fileName")? {
        Some(name) => Some(name),
        None => field("filename")?,
    };
    Ok(Some(Said {
        content: content.unwrap_or_default().to_owned(),
        media: Some(NewMedia {
            kind,
            source,
            file_name: file_name.and_then(names::of_file),
        }),
    }))
}

/// Reads `settings`, over those that are there.
pub(super) fn settings(body: &Object, base: Settings) -> Result<Settings> {
    let given = match body.get("settings") {
        None | Some(Value::Null) => return Ok(base),
        Some(Value::Object(given)) => given,
        Some(_) => return Err(Error::invalid("settings must be an object")),
    };
    let mut settings = base;
    let pacing = &mut settings.pacing;
    let number = |name: &str, most: u64| whole_number(given, "settings", name, most);
    if let Some(ms) = number("delayBetweenMessages", MAX_DELAY.as_millis() as u64)? {
        pacing.delay = std::time::Duration::from_millis(ms);
    }
    if let Some(percent) = number("jitter", 100)? {
        pacing.jitter = u8::try_from(percent).unwrap_or(100);
    }
    pace(given, "settings", pacing)?;
    if flag(given, "retryFailedMessages", true)? {
        if let Some(many) = number("maxRetries", MAX_RETRIES)? {
            settings.max_retries = u32::try_from(many).unwrap_or(0);
        }
    } else {
        settings.max_retries = 0;
    }
    if let Some(ms) = number("retryDelay", 3_600_000)? {
        settings.retry_delay_ms = ms;
    }
    settings.check_numbers = flag(given, "checkNumbers", settings.check_numbers)?;
    settings.typing = flag(given, "typing", settings.typing)?;
    Ok(settings)
}

/// The settings of a campaign that names none.
pub(super) fn usual() -> Settings {
    Settings {
        pacing: Pacing::default(),
        max_retries: 3,
        retry_delay_ms: 5000,
        check_numbers: false,
        typing: false,
    }
}

/// Reads `dailyCap`, `quietHours` and `timezone`, over those that are there. `null` takes away.
pub(super) fn pace(given: &Object, part: &str, pacing: &mut Pacing) -> Result<()> {
    let name = |field: &str| {
        if part.is_empty() {
            field.to_owned()
        } else {
            format!("{part}.{field}")
        }
    };
    if let Some(zone) = text(given, "timezone").map_err(about(part))? {
        pacing.zone = Zone::parse(zone).map_err(about(&name("timezone")))?;
    }
    match given.get("dailyCap") {
        None => {}
        Some(Value::Null) => pacing.daily_cap = None,
        Some(_) => {
            let cap = whole_number(given, part, "dailyCap", 1_000_000)?;
            let cap = cap.and_then(|cap| u32::try_from(cap).ok());
            let cap = cap.and_then(std::num::NonZeroU32::new).ok_or_else(|| {
                Error::invalid(format!("{} must be at least 1, or null", name("dailyCap")))
            })?;
            pacing.daily_cap = Some(cap);
        }
    }
    match given.get("quietHours") {
        None => {}
        Some(Value::Null) => pacing.quiet = None,
        Some(hours) => {
            let wrong = || {
                Error::invalid(format!(
                    "{} must be {{\"from\":\"21:00\",\"to\":\"08:00\"}}, or null",
                    name("quietHours")
                ))
            };
            let time = |field| hours.get(field).and_then(Value::as_str).ok_or_else(wrong);
            pacing.quiet =
                Some(QuietHours::parse(time("from")?, time("to")?).map_err(|_| wrong())?);
        }
    }
    Ok(())
}

/// Quiet hours as they are written.
pub(super) fn hours(quiet: QuietHours) -> Value {
    let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    serde_json::json!({ "from": clock(quiet.from()), "to": clock(quiet.to()) })
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
        Some(_) => Err(Error::invalid(
            "scheduledAt: not a date and time such as 2026-12-31T09:00:00+07:00",
        )),
    }
}

/// A name of up to 200 characters; `None` when there is none.
pub(super) fn short_text(body: &Object, name: &str, most: usize) -> Result<Option<String>> {
    let value = text(body, name)?.map(str::trim);
    if value.is_some_and(|value| value.chars().count() > most) {
        return Err(Error::invalid(format!("{name}: at most {most} characters")));
    }
    Ok(value.map(str::to_owned))
}

pub(super) fn flag(body: &Object, name: &str, usual: bool) -> Result<bool> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(usual),
        Some(Value::Bool(flag)) => Ok(*flag),
        // Fields of a form are text.
        Some(Value::String(text)) if text == "true" => Ok(true),
        Some(Value::String(text)) if text == "false" => Ok(false),
        Some(_) => Err(Error::invalid(format!("{name} must be true or false"))),
    }
}

fn whole_number(body: &Object, part: &str, name: &str, most: u64) -> Result<Option<u64>> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_u64()
            .filter(|number| *number <= most)
            .map(Some)
            .ok_or_else(|| {
                let dot = if part.is_empty() { "" } else { "." };
                Error::invalid(format!(
                    "{part}{dot}{name} must be a whole number from 0 to {most}"
                ))
            }),
    }
}
