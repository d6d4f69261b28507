//! One element of a request to send: what the client wrote, read into drafts.

use std::sync::Arc;

use serde::de::MapAccess;
use serde_json::Value;

use crate::domain::Gateway;
use crate::domain::media::{Keep, Source};
use crate::domain::message::draft::{
    Card, Content, Degrees, Draft, Media, MediaKind, Mentions, Place, checked_text,
};
use crate::error::{Code, Error, Result};
use crate::ids::{MediaId, MessageId};
use crate::jid::{Jid, PhoneNumber, recipient};
use crate::json::{Allowance, Bounded, Member, Object, Passed};
use crate::names;

/// How many files one album may hold, as WhatsApp's own clients allow.
const MAX_ALBUM: usize = 30;

/// How many cards one message may hold.
const MAX_CARDS: usize = 50;

/// How many answers a poll may have, as WhatsApp allows.
const MAX_OPTIONS: usize = 12;

/// How many values one element may hold: more than fifty cards with ten numbers each.
const MAX_VALUES: usize = 4096;

/// What an element may say beside its file. Anything else is passed over when it is read.
const KNOWN: &[&str] = &[
    "to",
    "type",
    "recipient_type",
    "sessionId",
    "text",
    "image",
    "video",
    "gif",
    "audio",
    "voice",
    "document",
    "sticker",
    "album",
    "location",
    "contact",
    "contacts",
    "poll",
    "reaction",
    "edit",
    "mentions",
    "context",
    "quotedMessageId",
];

/// The types that have a file, which is a member of the same name.
const MEDIA: &[&str] = &[
    "image", "video", "gif", "audio", "voice", "document", "sticker", "album",
];

/// One element as it was read.
pub(super) struct Element {
    allowance: Allowance,
    members: Option<Object>,
}

impl Default for Element {
    /// What is no object at all.
    fn default() -> Self {
        Self {
            allowance: Allowance::new(MAX_VALUES),
            members: None,
        }
    }
}

impl Element {
    /// A member that is a text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.members.as_ref()?.get(name)?.as_str()
    }
}

impl<'de> Member<'de> for Element {
    fn read<A: MapAccess<'de>>(&mut self, name: String, map: &mut A) -> Result<(), A::Error> {
        let members = self.members.get_or_insert_default();
        if !KNOWN.contains(&name.as_str()) {
            return map.next_value_seed(Passed);
        }
        // Named twice: the last counts, and only that is held.
        members.remove(&name);
        let value = map.next_value_seed(Bounded(&self.allowance))?;
        members.insert(name, value);
        Ok(())
    }
}

/// Reads one element. An album is several messages; everything else is one.
pub(super) fn drafts(
    gateway: &Arc<Gateway>,
    element: Element,
    number: usize,
) -> Result<Vec<Draft>> {
    let shape = || {
        Error::new(
            Code::MessageInvalid,
            "Invalid message format. \"to\" and \"type\" are required.",
        )
    };
    let exceeded = element.allowance.is_exceeded();
    let mut element = element.members.ok_or_else(shape)?;
    if exceeded {
        let text = format!("Invalid message format. A message holds at most {MAX_VALUES} values.");
        return Err(Error::new(Code::MessageInvalid, text));
    }
    let present = |name: &str| element.get(name).is_some_and(|v| !v.is_null() && v != "");
    if !present("to") || !present("type") {
        return Err(shape());
    }
    let country = gateway.country();
    let to = address(&element, country)?;
    let kind = element.get("type").and_then(Value::as_str);
    let kind = kind.unwrap_or_default().to_owned();
    // Taken out, because it may be megabytes that must not be there twice.
    let file = MEDIA
        .contains(&kind.as_str())
        .then(|| element.remove(&kind));
    let reader = Reader {
        gateway,
        element: &element,
        country,
        to: &to,
    };
    let contents = reader.contents(&kind, file.flatten(), number)?;
    let (mentions, quoted) = (mentions(&element, country)?, quoted(&element)?);
    Ok(contents
        .into_iter()
        .map(|content| Draft {
            to: to.clone(),
            content,
            mentions: mentions.clone(),
            quoted: quoted.clone(),
        })
        .collect())
}

fn address(element: &Object, country: Option<&str>) -> Result<Jid> {
    let group = element.get("recipient_type").and_then(Value::as_str) == Some("group");
    element.get("to").and_then(Value::as_str).and_then(|to| recipient(to, group, country)).ok_or_else(
        || {
            Error::new(Code::RecipientInvalid, "Invalid recipient format. Use E.164 format (e.g., 6281234567890) or JID format (e.g., 6281234567890@s.whatsapp.net).",)
        },
    )
}

struct Reader<'a> {
    gateway: &'a Arc<Gateway>,
    element: &'a Object,
    country: Option<&'a str>,
    to: &'a Jid,
}

impl Reader<'_> {
    fn contents(&self, kind: &str, file: Option<Value>, number: usize) -> Result<Vec<Content>> {
        Ok(vec![match kind {
            "text" => Content::Text(self.body("text")?),
            "image" => self.media(MediaKind::Image, "image", file)?,
            "video" => self.media(MediaKind::Video, "video", file)?,
            "gif" => self.media(MediaKind::Gif, "gif", file)?,
            "audio" => self.media(MediaKind::Audio, "audio", file)?,
            "voice" => self.media(MediaKind::Voice, "voice", file)?,
            "document" => self.media(MediaKind::Document, "document", file)?,
            "sticker" => self.media(MediaKind::Sticker, "sticker", file)?,
            "album" => return self.album(file, number),
            "location" => self.location()?,
            "contact" | "contacts" => self.contacts(kind)?,
            "poll" => self.poll()?,
            "reaction" => self.reaction()?,
            "edit" => Content::Edit {
                target: self.target("edit")?,
                body: self.body("edit")?,
            },
            _ => return Err(self.cannot(&format!("Unsupported message type: {}", shown(kind)))),
        }])
    }

    fn cannot(&self, why: &str) -> Error {
        Error::new(
            Code::MessageInvalid,
            format!("Failed to process message for {}: {why}", self.to),
        )
    }

    /// The object that is named like the type.
    fn part(&self, name: &str) -> Option<&Object> {
        self.element.get(name).and_then(Value::as_object)
    }

    fn body(&self, part: &str) -> Result<String> {
        let body = self
            .part(part)
            .and_then(|p| p.get("body"))
            .and_then(Value::as_str);
        checked_text(body.ok_or(Code::MessageEmpty)?)
    }

    fn media(&self, kind: MediaKind, part: &str, file: Option<Value>) -> Result<Content> {
        let Some(Value::Object(fields)) = file else {
            return Err(self.needs_source(part));
        };
        Ok(Content::Media(Box::new(self.file(kind, part, fields)?)))
    }

    fn needs_source(&self, part: &str) -> Error {
        self.cannot(&format!(
            "For \"{part}\" type, \"{part}.link\" or \"{part}.id\" is required."
        ))
    }

    fn file(&self, kind: MediaKind, part: &str, mut fields: Object) -> Result<Media> {
        let inline = fields.remove("base64");
        let wrong = |what: &str| Error::invalid(format!("Invalid {part} {what}."));
        let text = |name: &str, what: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|t| !t.is_empty())),
            Some(_) => Err(wrong(what)),
        };
        let inline = || match inline {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text).filter(|t| !t.is_empty())),
            Some(_) => Err(wrong("base64 data")),
        };
        let flag = |name: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(Error::invalid(format!(
                "{part}.{name} must be true or false"
            ))),
        };
        let source = match (text("id", "ID")?, text("link", "URL")?, inline()?) {
            (Some(id), None, None) => Source::Stored(MediaId::parse(id).map_err(|_| wrong("ID"))?),
            (None, Some(url), None) => {
                self.gateway
                    .check_link(url)
                    .map_err(|e| Error::invalid(format!("Invalid {part} URL: {}", e.detail())))?;
                Source::Link(url.to_owned())
            }
            (None, None, Some(data)) => Source::Inline(Arc::new(data)),
            (None, None, None) => return Err(self.needs_source(part)),
            _ => {
                return Err(self.cannot(&format!(
                    "Only one of \"{part}.link\", \"{part}.id\" and \"{part}.base64\" may be given."
                )));
            }
        };
        let caption = text("caption", "caption")?
            .map(|caption| checked_text(caption).map_err(|_| wrong("caption")))
            .transpose()?;
        let named = match text("filename", "filename")? {
            Some(name) => Some(name),
            None => text("fileName", "filename")?,
        };
        let file_name = named
            .map(|name| names::of_file(name).ok_or_else(|| wrong("filename")))
            .transpose()?;
        let mimetype = text("mimetype", "mimetype")?
            .map(|mime| {
                let legal = |b: u8| b.is_ascii_graphic() || b == b' ';
                let good = mime.len() <= 128 && mime.contains('/') && mime.bytes().all(legal);
                good.then(|| mime.to_owned())
                    .ok_or_else(|| wrong("mimetype"))
            })
            .transpose()?;
        let voice = kind == MediaKind::Audio && flag("voice")?;
        Ok(Media {
            kind: if voice { MediaKind::Voice } else { kind },
            source,
            // What is converted has the type that the conversion gives it.
            mimetype: mimetype.filter(|_| kind == MediaKind::Document),
            file_name,
            caption,
            keep: Keep {
                original: flag("keepOriginal")?,
                metadata: flag("keepMetadata")?,
            },
            album: None,
        })
    }

    fn album(&self, album: Option<Value>, number: usize) -> Result<Vec<Content>> {
        let wrong = || {
            self.cannot(&format!(
                "\"album.media\" must be a list of 2 to {MAX_ALBUM} objects, each with a \"type\" of image, video or document"
            ))
        };
        let Some(Value::Object(mut album)) = album else {
            return Err(wrong());
        };
        let Some(Value::Array(files)) = album.remove("media") else {
            return Err(wrong());
        };
        if !(2..=MAX_ALBUM).contains(&files.len()) {
            return Err(wrong());
        }
        files
            .into_iter()
            .map(|fields| {
                let Value::Object(fields) = fields else {
                    return Err(wrong());
                };
                let (kind, part) = match fields.get("type").and_then(Value::as_str) {
                    Some("image") => (MediaKind::Image, "image"),
                    Some("video") => (MediaKind::Video, "video"),
                    Some("document") => (MediaKind::Document, "document"),
                    _ => return Err(wrong()),
                };
                let mut file = self.file(kind, part, fields)?;
                file.album = Some(number);
                Ok(Content::Media(Box::new(file)))
            })
            .collect()
    }

    fn location(&self) -> Result<Content> {
        let wrong = || {
            self.cannot(
                "\"location.latitude\" (-90 to 90) and \"location.longitude\" (-180 to 180) are required.",
            )
        };
        let fields = self.part("location").ok_or_else(wrong)?;
        // Forms and spreadsheets bring numbers as text.
        let degrees = |name: &str, most: f64| {
            let value = match fields.get(name) {
                Some(Value::Number(number)) => number.as_f64(),
                Some(Value::String(text)) => text.trim().parse().ok(),
                _ => None,
            };
            value
                .and_then(|value| Degrees::new(value, most))
                .ok_or_else(wrong)
        };
        let text = |name: &str| {
            let text = optional_text(fields, "location", name)?;
            Ok::<_, Error>(text.map(str::to_owned))
        };
        Ok(Content::Location(Place {
            latitude: degrees("latitude", 90.0)?,
            longitude: degrees("longitude", 180.0)?,
            name: text("name")?,
            address: text("address")?,
        }))
    }

    fn contacts(&self, part: &str) -> Result<Content> {
        let wrong = || {
            self.cannot(&format!(
                "\"{part}\" must hold 1 to {MAX_CARDS} contacts, each with a \"name\" and a \"phone\", or with a \"vcard\""
            ))
        };
        let cards: Vec<&Value> = match self.element.get(part) {
            Some(Value::Array(cards)) => cards.iter().collect(),
            Some(card @ Value::Object(_)) => vec![card],
            _ => return Err(wrong()),
        };
        if !(1..=MAX_CARDS).contains(&cards.len()) {
            return Err(wrong());
        }
        let card = |card: &Value| self.card(card.as_object()?);
        let cards = cards
            .into_iter()
            .map(|value| card(value).ok_or_else(wrong))
            .collect::<Result<_>>()?;
        Ok(Content::Contacts(cards))
    }

    /// A card: `{name, phone}`, `{name, vcard}`, or as the Cloud API writes it
    /// (`{name: {formatted_name}, phones: [{phone}]}`).
    fn card(&self, fields: &Object) -> Option<Card> {
        let name = match fields.get("name") {
            Some(Value::String(name)) => name.as_str(),
            Some(name) => name.get("formatted_name").and_then(Value::as_str)?,
            None => "",
        };
        if name.chars().count() > 200 {
            return None;
        }
        if let Some(vcard) = fields.get("vcard") {
            let vcard = vcard.as_str()?;
            let good = vcard.len() <= 8192
                && vcard.trim_start().starts_with("BEGIN:VCARD")
                && vcard.trim_end().ends_with("END:VCARD");
            return good.then(|| Card {
                name: name.to_owned(),
                vcard: vcard.to_owned(),
            });
        }
        let many = fields.get("phones").and_then(Value::as_array);
        let phones: Vec<&Value> = match many {
            Some(phones) => phones.iter().filter_map(|p| p.get("phone")).collect(),
            None => fields.get("phone").into_iter().collect(),
        };
        let numbers: Option<Vec<_>> = phones
            .into_iter()
            .map(|phone| PhoneNumber::parse(phone.as_str()?, self.country))
            .collect();
        let numbers = numbers.filter(|numbers| !numbers.is_empty() && numbers.len() <= 10)?;
        (!name.trim().is_empty()).then(|| Card::of(name, &numbers))
    }

    fn poll(&self) -> Result<Content> {
        let wrong = || {
            self.cannot(&format!(
                "\"poll\" needs a \"question\" of up to 255 characters and 2 to {MAX_OPTIONS} different \"options\" of up to 100 characters; \"selectableCount\" is a number from 0 (any) to the number of options"
            ))
        };
        let fields = self.part("poll").ok_or_else(wrong)?;
        let legal = |text: &&str, most| !text.trim().is_empty() && text.chars().count() <= most;
        let question = fields.get("question").or_else(|| fields.get("name"));
        let question = question.and_then(Value::as_str);
        let question = question.filter(|q| legal(q, 255)).ok_or_else(wrong)?;
        let options = fields.get("options").and_then(Value::as_array);
        let options: Option<Vec<String>> = options
            .ok_or_else(wrong)?
            .iter()
            .map(|option| {
                let option = option.as_str().filter(|option| legal(option, 100));
                option.map(str::to_owned)
            })
            .collect();
        let options = options.ok_or_else(wrong)?;
        let different: std::collections::BTreeSet<_> = options.iter().collect();
        if !(2..=MAX_OPTIONS).contains(&options.len()) || different.len() < options.len() {
            return Err(wrong());
        }
        let selectable = match fields.get("selectableCount") {
            None | Some(Value::Null) => 1,
            Some(count) => count.as_u64().ok_or_else(wrong)?,
        };
        let selectable = u32::try_from(selectable).map_err(|_| wrong())?;
        if selectable as usize > options.len() {
            return Err(wrong());
        }
        Ok(Content::Poll {
            question: question.to_owned(),
            options,
            selectable,
        })
    }

    /// The message that a reaction or an edit is about.
    fn target(&self, part: &str) -> Result<MessageId> {
        let fields = self.part(part);
        let named = fields.and_then(|p| p.get("messageId").or_else(|| p.get("message_id")));
        named
            .and_then(Value::as_str)
            .and_then(|id| MessageId::parse(id).ok())
            .ok_or_else(|| Error::invalid(format!("{part}.messageId is required.")))
    }

    fn reaction(&self) -> Result<Content> {
        let target = self.target("reaction")?;
        let emoji = self
            .part("reaction")
            .and_then(|r| r.get("emoji"))
            .and_then(Value::as_str);
        let emoji = emoji.filter(|e| e.len() <= 64 && !e.chars().any(char::is_control));
        let emoji = emoji.ok_or_else(|| {
            Error::invalid("reaction.emoji is required; an empty one takes the reaction back.")
        })?;
        Ok(Content::Reaction {
            target,
            emoji: emoji.to_owned(),
        })
    }
}

/// A text of up to 1,000 characters that may be missing.
fn optional_text<'a>(fields: &'a Object, part: &str, name: &str) -> Result<Option<&'a str>> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.chars().count() <= 1000 => {
            Ok(Some(text.as_str()).filter(|text| !text.is_empty()))
        }
        Some(_) => Err(Error::invalid(format!(
            "{part}.{name} must be a text of up to 1000 characters"
        ))),
    }
}

/// Who is mentioned: numbers or addresses, or `all` for everybody in a group.
fn mentions(element: &Object, country: Option<&str>) -> Result<Mentions> {
    let wrong = || Error::invalid("mentions must be an array of phone numbers, or [\"all\"]");
    let names = match element.get("mentions") {
        None | Some(Value::Null) => return Ok(Mentions::None),
        Some(Value::Array(names)) => names,
        Some(_) => return Err(wrong()),
    };
    if names.len() > 1024 {
        return Err(Error::invalid("At most 1024 people can be mentioned"));
    }
    let mut people = Vec::new();
    for name in names {
        match name.as_str().ok_or_else(wrong)? {
            "all" => return Ok(Mentions::All),
            name => people.push(
                recipient(name, false, country)
                    .filter(Jid::is_person)
                    .ok_or_else(wrong)?,
            ),
        }
    }
    Ok(if people.is_empty() {
        Mentions::None
    } else {
        Mentions::These(people)
    })
}

/// The message that is answered: `context.message_id` as in the Cloud API, or `quotedMessageId`.
fn quoted(element: &Object) -> Result<Option<MessageId>> {
    let wrong = || Error::invalid("Invalid quoted message ID.");
    let named = match (element.get("context"), element.get("quotedMessageId")) {
        (None | Some(Value::Null), None | Some(Value::Null)) => return Ok(None),
        (Some(context @ Value::Object(_)), _) => context
            .get("message_id")
            .or_else(|| context.get("messageId")),
        (None | Some(Value::Null), named) => named,
        _ => return Err(wrong()),
    };
    named
        .and_then(Value::as_str)
        .and_then(|id| MessageId::parse(id).ok())
        .map(Some)
        .ok_or_else(wrong)
}

/// A client's word, short enough and harmless in an answer.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(32).collect()
}
