//! Bodies that are read whole: JSON, and text fields of a form.

use std::fmt;
use std::io::Read as _;

use bytes::Bytes;
use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;

use super::multipart::Multipart;
use super::query;
use crate::error::{Code, Error, Result};
use crate::json::{Allowance, Bounded, Name};

/// More fields than this are nobody's form.
const MAX_FIELDS: usize = 256;

/// Text fields, each name once.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct FormFields(Vec<(String, String)>);

impl FormFields {
    /// A field's text.
    pub fn get(&self, name: &str) -> Option<&str> {
        query::first(&self.0, name)
    }

    /// All fields, as they came.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// Invariant: a name is there once. Which one counts is for us to say, and must not differ
    /// between the place that authorises and the place that acts.
    fn push(&mut self, name: String, value: String) -> Result<()> {
        if self.get(&name).is_some() {
            let text = format!("The field {} is there twice", shown(&name));
            return Err(Error::invalid(text));
        }
        if self.0.len() == MAX_FIELDS {
            return Err(Error::new(
                Code::BodyTooLarge,
                "The form has too many fields",
            ));
        }
        self.0.push((name, value));
        Ok(())
    }
}

/// A client's name for something, short and harmless.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// Reads JSON with a reader of its own. The error names the place and never the content.
pub(super) fn read<'de, S: DeserializeSeed<'de>>(bytes: &'de [u8], seed: S) -> Result<S::Value> {
    if bytes.is_empty() {
        return Err(Error::new(
            Code::MalformedBody,
            "The request body is empty; JSON is expected",
        ));
    }
    let hint = looks_like(bytes);
    read_from(&mut serde_json::Deserializer::from_slice(bytes), seed, hint)
}

/// What a text that is no JSON looks like, and what to do then; nothing of it is repeated.
pub(super) fn looks_like(text: &[u8]) -> &'static str {
    let begin = &text[..text.len().min(256)];
    let letters = begin.trim_ascii_start();
    let name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.[]%+".contains(byte);
    let named = letters.iter().take_while(|byte| name(byte)).count();
    let inside = letters.strip_prefix(b"{").or(letters.strip_prefix(b"["));
    if named > 0 && letters.get(named) == Some(&b'=') {
        "; it looks like a form: send it with Content-Type: application/x-www-form-urlencoded, or send JSON"
    } else if letters.starts_with(b"'")
        || inside.is_some_and(|inside| inside.trim_ascii_start().starts_with(b"'"))
    {
        "; it looks like single quotes: JSON has double quotes"
    } else if letters.starts_with(b"--") {
        "; it looks like a form with files: send it with Content-Type: multipart/form-data; boundary=..."
    } else {
        ""
    }
}

/// The same, from a stream.
pub fn read_json<R: std::io::Read, S, T>(stream: R, seed: S) -> Result<T>
where
    S: for<'de> DeserializeSeed<'de, Value = T>,
{
    read_from(
        &mut serde_json::Deserializer::from_reader(without_mark(stream)?),
        seed,
        "",
    )
}

/// A stream without the mark of the byte order that some programs begin UTF-8 with.
fn without_mark<R: std::io::Read>(mut stream: R) -> Result<impl std::io::Read> {
    let mut begin = Vec::new();
    let first = stream.by_ref().take(3).read_to_end(&mut begin);
    first.map_err(Error::internal)?;
    if begin == b"\xef\xbb\xbf" {
        begin.clear();
    }
    Ok(std::io::Cursor::new(begin).chain(stream))
}

fn read_from<'de, R: serde_json::de::Read<'de>, S: DeserializeSeed<'de>>(
    reader: &mut serde_json::Deserializer<R>,
    seed: S,
    hint: &str,
) -> Result<S::Value> {
    let value = seed.deserialize(&mut *reader);
    let value = value.and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| malformed(&error, hint))
}

fn malformed(error: &serde_json::Error, hint: &str) -> Error {
    let (line, column) = (error.line(), error.column());
    let place = format!("line {line} column {column}");
    Error::new(
        Code::MalformedBody,
        match error.classify() {
            Category::Eof => format!("Malformed JSON: it ends early, at {place}"),
            Category::Syntax | Category::Io => format!("Malformed JSON: {place}{hint}"),
            Category::Data => format!("The JSON does not have the expected form: {place}"),
        },
    )
}

/// The kinds of body that hold fields.
enum FormKind {
    Json,
    Encoded,
    Multipart(String),
}

fn kind(content_type: &str) -> Result<FormKind> {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    match essence.to_ascii_lowercase().as_str() {
        "application/json" => Ok(FormKind::Json),
        "application/x-www-form-urlencoded" => Ok(FormKind::Encoded),
        "multipart/form-data" => Ok(FormKind::Multipart(boundary(content_type)?)),
        _ => Err(Error::from(Code::ContentTypeUnsupported)),
    }
}

/// The boundary between the parts of a multipart body.
pub(super) fn boundary(content_type: &str) -> Result<String> {
    multra::parse_boundary(content_type).map_err(|error| match error {
        multra::Error::NoBoundary => {
            Error::new(Code::MalformedBody, "multipart/form-data has no boundary")
        }
        _ => Error::new(
            Code::ContentTypeUnsupported,
            "Content-Type must be multipart/form-data",
        ),
    })
}

/// Reads the text fields of a body.
pub(super) async fn fields(bytes: Bytes, content_type: Option<&str>) -> Result<FormFields> {
    if bytes.is_empty() {
        return Ok(FormFields::default());
    }
    match kind(content_type.unwrap_or_default())? {
        FormKind::Json => from_json(&bytes),
        FormKind::Encoded => {
            let mut fields = FormFields::default();
            for (name, value) in query::pairs(&bytes) {
                fields.push(name, value)?;
            }
            Ok(fields)
        }
        FormKind::Multipart(boundary) => from_parts(Multipart::of_bytes(bytes, boundary)).await,
    }
}

fn from_json(bytes: &[u8]) -> Result<FormFields> {
    read(bytes, Flat)?
}

async fn from_parts(mut parts: Multipart) -> Result<FormFields> {
    let mut fields = FormFields::default();
    while let Some(mut part) = parts.next().await? {
        if part.filename().is_some() {
            return Err(Error::invalid("Unexpected file field"));
        }
        let Some(name) = part.name().map(str::to_owned) else {
            return Err(Error::new(
                Code::MalformedBody,
                "A field of the form has no name",
            ));
        };
        let value = part.text(usize::MAX).await?;
        fields.push(name, value)?;
    }
    Ok(fields)
}

/// Reads a JSON object that holds texts. A name that is there twice is seen, which a map would hide.
struct Flat;

impl<'de> DeserializeSeed<'de> for Flat {
    type Value = Result<FormFields>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Flat {
    type Value = Result<FormFields>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Ok(FormFields::default());
        while let Some(name) = map.next_key_seed(Name)? {
            let one = Allowance::new(1);
            let value = map.next_value_seed(Bounded(&one))?;
            fields = fields.and_then(|fields| with(fields, name, value, one.is_exceeded()));
        }
        Ok(fields)
    }
}

/// Adds a member of a JSON object; one that holds others was not read.
fn with(
    mut fields: FormFields,
    name: String,
    value: Value,
    holds_others: bool,
) -> Result<FormFields> {
    let value = match value {
        Value::Null if !holds_others => return Ok(fields),
        Value::String(text) => text,
        // People write numbers and switches without quotes.
        Value::Number(number) => number.to_string(),
        Value::Bool(bool) => bool.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return Err(not_text(&name)),
    };
    fields.push(name, value)?;
    Ok(fields)
}

fn not_text(name: &str) -> Error {
    Error::invalid(format!("The field {} must be text", shown(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_is_named_by_what_it_looks_like() {
        let hint = |text: &str| {
            let error = read(text.as_bytes(), Flat).map(drop).expect_err("no JSON");
            error.detail().to_owned()
        };
        for form in ["a=1&b=2", "recipients%5B0%5D[number]=1", " name=x"] {
            assert!(hint(form).contains("looks like a form:"), "{form}");
        }
        for quoted in ["{'a':1}", "'{\"a\":1}'", "{ 'a'"] {
            assert!(hint(quoted).contains("double quotes"), "{quoted}");
        }
        assert!(hint("--x\r\nContent-Disposition").contains("multipart/form-data"));
        assert!(hint("").contains("is empty"));
        for other in ["{a:1}", "secret", "{\"a\":secret=1}"] {
            let said = hint(other);
            assert!(said.starts_with("Malformed JSON: line 1 column"), "{said}");
            assert!(!said.contains("secret") && !said.contains(';'), "{said}");
        }
    }

    #[test]
    fn a_mark_of_the_byte_order_is_passed_over() {
        for text in ["\u{feff}{\"a\":\"b\"}", "{\"a\":\"b\"}"] {
            let fields = read_json(text.as_bytes(), Flat)
                .expect("JSON")
                .expect("fields");
            assert_eq!(fields.get("a"), Some("b"));
        }
        assert!(read_json(&b"\xef\xbb"[..], Flat).is_err());
    }
}
