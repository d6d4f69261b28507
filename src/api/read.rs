//! Reading what a request says, in the words of v1 and legacy: bodies, their fields, numbers of the query.

use serde_json::Value;

use crate::domain::pacing::{Pacing, QuietHours};
use crate::domain::zone::Zone;
use crate::error::{Code, Error, Result};
use crate::http::{Request, Whole};
use crate::json::Object;

/// A body that must be a JSON object.
pub(super) async fn object(request: &mut Request) -> Result<Object> {
    object_of(request.document().await?).await
}

/// The same, where a form is none.
pub(super) async fn json_object(request: &mut Request) -> Result<Object> {
    object_of(request.whole().await?).await
}

/// The same, where no body is as good as an empty object.
pub(super) async fn object_or_nothing(request: &mut Request) -> Result<Object> {
    let body = request.document().await?;
    if body.is_empty() {
        return Ok(Object::new());
    }
    object_of(body).await
}

async fn object_of(body: Whole) -> Result<Object> {
    let object = body.object().await?;
    object.ok_or_else(|| Error::from(Code::MalformedBody))
}

/// A text field: absent and null are `None`, another type is refused by the field's name.
pub(super) fn text<'a>(body: &'a Object, name: &str) -> Result<Option<&'a str>> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Error::invalid(format!("{name} must be a string"))),
    }
}

/// The name of a copy, which two fields may give.
pub(super) fn new_name<T>(
    body: &Object,
    read: impl Fn(&Object, &str) -> Result<Option<T>>,
) -> Result<Option<T>> {
    Ok(read(body, "newName")?.or(read(body, "name")?))
}

/// A number in the query, within bounds; `usual` where there is none.
pub(super) fn number(request: &Request, name: &str, usual: usize, most: usize) -> Result<usize> {
    match request.query(name) {
        None => Ok(usual),
        Some(text) => text
            .parse()
            .ok()
            .filter(|number| *number <= most)
            .ok_or_else(|| Error::invalid(format!("{name} must be a number up to {most}"))),
    }
}

/// A truth value, also as the text of a form's field; `usual` where there is none.
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

/// A number that may be missing. What is no whole number is beyond all bounds. Fields of a form are text.
pub(super) fn whole_number(body: &Object, name: &str) -> Option<u64> {
    let value = body.get(name).filter(|value| !value.is_null())?;
    let of_form = || value.as_str().and_then(|text| text.trim().parse().ok());
    Some(value.as_u64().or_else(of_form).unwrap_or(u64::MAX))
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
            let cap = whole_number(given, "dailyCap").unwrap_or_default();
            pacing.set_daily_cap(cap).map_err(|error| match cap {
                0 => error.worded(format!("{} must be at least 1, or null", name("dailyCap"))),
                _ => beside(name("dailyCap"))(error),
            })?;
        }
    }
    match given.get("quietHours") {
        None => {}
        Some(Value::Null) => pacing.quiet = None,
        Some(hours) => {
            let wrong = || {
                Error::new(
                    Code::QuietHoursInvalid,
                    format!(
                        "{} must be {{\"from\":\"21:00\",\"to\":\"08:00\"}}, or null",
                        name("quietHours")
                    ),
                )
            };
            let time = |field| hours.get(field).and_then(Value::as_str).ok_or_else(wrong);
            pacing.quiet =
                Some(QuietHours::parse(time("from")?, time("to")?).map_err(|_| wrong())?);
        }
    }
    Ok(())
}

/// Puts the field's name before what is wrong with it.
pub(super) fn about(field: &str) -> impl Fn(Error) -> Error + '_ {
    move |error| {
        let detail = format!("{field}: {}", error.detail());
        error.worded(detail)
    }
}

/// Puts the field's name before what it must be.
pub(super) fn beside(field: String) -> impl FnOnce(Error) -> Error {
    move |error| {
        let detail = format!("{field} {}", error.detail());
        error.worded(detail)
    }
}
