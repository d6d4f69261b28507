//! One element of a request to send: what the client wrote, read into drafts.

use std::sync::Arc;

use serde::de::MapAccess;
use serde_json::Value;

use crate::api::read::whole_number;
use crate::domain::Gateway;
use crate::domain::access::Principal;
use crate::domain::media::KeepOptions;
use crate::domain::message::draft::{
    Album, ContactCard, Contacts, Draft, DraftContent, DraftMedia, Emoji, FileName, Location,
    MAX_ALBUM, MAX_CARDS, MAX_OPTION, MAX_OPTIONS, MAX_QUESTION, MediaKind, Mentions, MimeType,
    Poll, Text,
};
use crate::error::{Code, Error, Result};
use crate::ids::MessageId;
use crate::jid::{Jid, PhoneNumber, recipient, unreadable};
use crate::json::{Allowance, Bounded, Member, Object, Passed};
use crate::names;

/// How many values one element may hold: more than fifty cards with ten numbers each.
const MAX_VALUES: usize = 4096;

/// Makes [`ElementType`] of the table: the variant and the name, which is also that of the member
/// that an element of the type has.
macro_rules! types {
    ($($name:ident = $text:literal,)*) => {
        /// The types of elements.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum ElementType {
            $($name,)*
        }

        impl ElementType {
            fn parse(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$name),)*
                    _ => None,
                }
            }

            const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

types! {
    Text = "text",
    Image = "image",
    Video = "video",
    Gif = "gif",
    Audio = "audio",
    Voice = "voice",
    Document = "document",
    Sticker = "sticker",
    Album = "album",
    Location = "location",
    Contact = "contact",
    Contacts = "contacts",
    Poll = "poll",
    Reaction = "reaction",
    Edit = "edit",
}

impl ElementType {
    /// Whether the member holds a file, or several.
    fn has_file(self) -> bool {
        match self {
            Self::Image
            | Self::Video
            | Self::Gif
            | Self::Audio
            | Self::Voice
            | Self::Document
            | Self::Sticker
            | Self::Album => true,
            Self::Text
            | Self::Location
            | Self::Contact
            | Self::Contacts
            | Self::Poll
            | Self::Reaction
            | Self::Edit => false,
        }
    }
}

/// What an element may say beside the member of its type. Anything else is passed over when it is read.
const BESIDE: &[&str] = &[
    "to",
    "type",
    "recipient_type",
    "sessionId",
    "mentions",
    "context",
    "quotedMessageId",
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
        if !BESIDE.contains(&name.as_str()) && ElementType::parse(&name).is_none() {
            return map.next_value_seed(Passed);
        }
        // Named twice: the last counts, and only that is held.
        members.remove(&name);
        let value = map.next_value_seed(Bounded(&self.allowance))?;
        members.insert(name, value);
        Ok(())
    }
}

/// Reads one element, and words what the domain does not take of it. An album is several messages;
/// everything else is one.
pub(super) fn drafts(
    gateway: &Arc<Gateway>,
    who: &Principal,
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
    let element_type = ElementType::parse(&kind);
    let file = element_type
        .is_some_and(ElementType::has_file)
        .then(|| element.remove(&kind));
    let reader = ElementReader {
        gateway,
        who,
        element: &element,
        country,
    };
    let contents = element_type
        .ok_or_else(|| Code::MessageTypeUnsupported.into())
        .and_then(|of| reader.contents(of, file.flatten(), number))
        .map_err(|error| worded(error, &kind, &to))?;
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
    let to = element.get("to").and_then(Value::as_str);
    let read = to.and_then(|to| recipient(to, group, country));
    read.ok_or_else(|| {
        let error = unreadable(to.unwrap_or_default(), country, Code::RecipientInvalid);
        if error.code() != Code::RecipientInvalid {
            return error;
        }
        let text = "Invalid recipient format. Use E.164 format (e.g., 6281234567890) or JID format (e.g., 6281234567890@s.whatsapp.net).";
        error.worded(text)
    })
}

/// What is wrong with an element of this type, in the words of v1.
fn worded(error: Error, kind: &str, to: &Jid) -> Error {
    let why = match error.code() {
        Code::MessageTypeUnsupported => format!("Unsupported message type: {}", shown(kind)),
        Code::AlbumInvalid => format!(
            "\"album.media\" must be a list of 2 to {MAX_ALBUM} objects, each with a \"type\" of image, video or document"
        ),
        Code::LocationInvalid => "\"location.latitude\" (-90 to 90) and \"location.longitude\" (-180 to 180) are required.".to_owned(),
        Code::ContactsInvalid => format!(
            "\"{kind}\" must hold 1 to {MAX_CARDS} contacts, each with a \"name\" and a \"phone\", or with a \"vcard\""
        ),
        Code::PollInvalid => format!(
            "\"poll\" needs a \"question\" of up to {MAX_QUESTION} characters and 2 to {MAX_OPTIONS} different \"options\" of up to {MAX_OPTION} characters; \"selectableCount\" is a number from 0 (any) to the number of options"
        ),
        Code::FileSourceMissing | Code::FileSourceAmbiguous => error.detail().to_owned(),
        Code::EmojiInvalid => {
            let text = "reaction.emoji is required; an empty one takes the reaction back.";
            return error.worded(text);
        }
        _ => return error,
    };
    error.worded(format!("Failed to process message for {to}: {why}"))
}

/// What is wrong with the file that the part holds, in the words of v1.
fn worded_file(error: Error, part: &str) -> Error {
    let text = match error.code() {
        Code::FileSourceMissing => {
            format!("For \"{part}\" type, \"{part}.link\" or \"{part}.id\" is required.")
        }
        Code::FileSourceAmbiguous => format!(
            "Only one of \"{part}.link\", \"{part}.id\" and \"{part}.base64\" may be given."
        ),
        Code::MediaIdInvalid => format!("Invalid {part} ID."),
        Code::MessageEmpty | Code::MessageTooLong => format!("Invalid {part} caption."),
        Code::FileNameInvalid => format!("Invalid {part} filename."),
        Code::MimeTypeInvalid => format!("Invalid {part} mimetype."),
        Code::UrlInvalid | Code::UrlWithPassword | Code::UrlRefused => {
            format!("Invalid {part} URL: {}", error.detail())
        }
        _ => return error,
    };
    error.worded(text)
}

struct ElementReader<'a> {
    gateway: &'a Arc<Gateway>,
    who: &'a Principal,
    element: &'a Object,
    country: Option<&'a str>,
}

impl ElementReader<'_> {
    fn contents(
        &self,
        of: ElementType,
        file: Option<Value>,
        number: usize,
    ) -> Result<Vec<DraftContent>> {
        use ElementType as T;
        let part = of.as_str();
        Ok(vec![match of {
            T::Text => DraftContent::Text(self.body(part)?),
            T::Image => self.media(MediaKind::Image, part, file)?,
            T::Video => self.media(MediaKind::Video, part, file)?,
            T::Gif => self.media(MediaKind::Gif, part, file)?,
            T::Audio => self.media(MediaKind::Audio, part, file)?,
            T::Voice => self.media(MediaKind::Voice, part, file)?,
            T::Document => self.media(MediaKind::Document, part, file)?,
            T::Sticker => self.media(MediaKind::Sticker, part, file)?,
            T::Album => return self.album(file, number),
            T::Location => DraftContent::Location(self.location()?),
            T::Contact | T::Contacts => DraftContent::Contacts(self.contacts(part)?),
            T::Poll => DraftContent::Poll(self.poll()?),
            T::Reaction => DraftContent::Reaction {
                target: self.target(part)?,
                emoji: Emoji::new(self.word(part, "emoji").ok_or(Code::EmojiInvalid)?)?,
            },
            T::Edit => DraftContent::Edit {
                target: self.target(part)?,
                body: self.body(part)?,
            },
        }])
    }

    /// The object that is named like the type.
    fn part(&self, name: &str) -> Option<&Object> {
        self.element.get(name).and_then(Value::as_object)
    }

    /// A text in it.
    fn word(&self, part: &str, name: &str) -> Option<&str> {
        self.part(part)?.get(name)?.as_str()
    }

    fn body(&self, part: &str) -> Result<Text> {
        Text::new(self.word(part, "body").unwrap_or_default())
    }

    fn media(&self, kind: MediaKind, part: &str, file: Option<Value>) -> Result<DraftContent> {
        let Some(Value::Object(fields)) = file else {
            return Err(worded_file(Code::FileSourceMissing.into(), part));
        };
        Ok(DraftContent::Media(Box::new(
            self.file(kind, part, fields)?,
        )))
    }

    fn file(&self, kind: MediaKind, part: &str, fields: Object) -> Result<DraftMedia> {
        let file = self.unworded_file(kind, part, fields);
        file.map_err(|error| worded_file(error, part))
    }

    fn unworded_file(&self, kind: MediaKind, part: &str, mut fields: Object) -> Result<DraftMedia> {
        let inline = fields.remove("base64");
        let wrong = |what: &str| Error::invalid(format!("Invalid {part} {what}."));
        let text = |name: &str, what: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|t| !t.is_empty())),
            Some(_) => Err(wrong(what)),
        };
        let flag = |name: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            // Fields of a form are text.
            Some(Value::String(text)) if text == "true" => Ok(true),
            Some(Value::String(text)) if text == "false" => Ok(false),
            Some(_) => Err(Error::invalid(format!(
                "{part}.{name} must be true or false"
            ))),
        };
        let (id, link) = (text("id", "ID")?, text("link", "URL")?);
        let inline = match inline {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text).filter(|t| !t.is_empty()),
            Some(_) => return Err(wrong("base64 data")),
        };
        let mut file = DraftMedia::new(kind, self.gateway.source(self.who, id, link, inline)?);
        file.caption = text("caption", "caption")?.map(Text::new).transpose()?;
        let named = match text("filename", "filename")? {
            Some(name) => Some(name),
            None => text("fileName", "filename")?,
        };
        file.file_name = named.map(FileName::new).transpose()?;
        file.mimetype = text("mimetype", "mimetype")?
            .map(MimeType::new)
            .transpose()?;
        if kind == MediaKind::Audio && flag("voice")? {
            file.kind = MediaKind::Voice;
        }
        file.keep = KeepOptions {
            original: flag("keepOriginal")?,
            metadata: flag("keepMetadata")?,
        };
        Ok(file)
    }

    fn album(&self, album: Option<Value>, number: usize) -> Result<Vec<DraftContent>> {
        let Some(Value::Object(mut album)) = album else {
            return Err(Code::AlbumInvalid.into());
        };
        let Some(Value::Array(files)) = album.remove("media") else {
            return Err(Code::AlbumInvalid.into());
        };
        let album = Album::of(files.len(), number)?;
        files
            .into_iter()
            .map(|fields| {
                let Value::Object(fields) = fields else {
                    return Err(Code::AlbumInvalid.into());
                };
                let (kind, part) = match fields.get("type").and_then(Value::as_str) {
                    Some("image") => (MediaKind::Image, "image"),
                    Some("video") => (MediaKind::Video, "video"),
                    Some("document") => (MediaKind::Document, "document"),
                    _ => return Err(Code::AlbumInvalid.into()),
                };
                album.file(self.file(kind, part, fields)?)
            })
            .collect()
    }

    fn location(&self) -> Result<Location> {
        let fields = self.part("location").ok_or(Code::LocationInvalid)?;
        // Forms and spreadsheets bring numbers as text.
        let degrees = |name: &str| match fields.get(name) {
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            _ => None,
        };
        let north = degrees("latitude").ok_or(Code::LocationInvalid)?;
        let east = degrees("longitude").ok_or(Code::LocationInvalid)?;
        let text = |name: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(""),
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(_) => Err(too_long(name)),
        };
        Location::at(north, east)?
            .named(text("name")?)
            .map_err(|_| too_long("name"))?
            .addressed(text("address")?)
            .map_err(|_| too_long("address"))
    }

    fn contacts(&self, part: &str) -> Result<Contacts> {
        let cards: Vec<&Value> = match self.element.get(part) {
            Some(Value::Array(cards)) if cards.len() <= MAX_CARDS => cards.iter().collect(),
            Some(card @ Value::Object(_)) => vec![card],
            _ => return Err(Code::ContactsInvalid.into()),
        };
        let cards = cards.into_iter().map(|card| self.card(card));
        Contacts::new(cards.collect::<Result<_>>()?)
    }

    /// A card: `{name, phone}`, `{name, vcard}`, or as the Cloud API writes it
    /// (`{name: {formatted_name}, phones: [{phone}]}`).
    fn card(&self, card: &Value) -> Result<ContactCard> {
        let name = match card.get("name") {
            Some(Value::String(name)) => Some(name.as_str()),
            Some(name) => name.get("formatted_name").and_then(Value::as_str),
            None => Some(""),
        };
        let name = name.ok_or(Code::ContactsInvalid)?;
        if let Some(vcard) = card.get("vcard") {
            return ContactCard::written(name, vcard.as_str().ok_or(Code::ContactsInvalid)?);
        }
        let phones: Vec<&Value> = match card.get("phones").and_then(Value::as_array) {
            Some(phones) => phones.iter().filter_map(|p| p.get("phone")).collect(),
            None => card.get("phone").into_iter().collect(),
        };
        let number = |phone: &Value| {
            let phone = phone.as_str().ok_or(Code::ContactsInvalid)?;
            PhoneNumber::parse(phone, self.country)
                .ok_or_else(|| unreadable(phone, self.country, Code::ContactsInvalid))
        };
        let numbers: Result<Vec<_>> = phones.into_iter().map(number).collect();
        ContactCard::of(name, &numbers?)
    }

    fn poll(&self) -> Result<Poll> {
        let fields = self.part("poll").ok_or(Code::PollInvalid)?;
        let question = fields.get("question").or_else(|| fields.get("name"));
        let options = fields.get("options").and_then(Value::as_array);
        let options = options.ok_or(Code::PollInvalid)?.iter();
        let selectable = whole_number(fields, "selectableCount");
        Poll::new(
            question.and_then(Value::as_str).unwrap_or_default(),
            options.map(|option| option.as_str().unwrap_or_default()),
            selectable,
        )
    }

    /// The message that a reaction or an edit is about.
    fn target(&self, part: &str) -> Result<MessageId> {
        let fields = self.part(part);
        let named = fields.and_then(|p| p.get("messageId").or_else(|| p.get("message_id")));
        named
            .and_then(Value::as_str)
            .and_then(|id| MessageId::parse(id).ok())
            .ok_or_else(|| {
                Error::new(
                    Code::MessageIdInvalid,
                    format!("{part}.messageId is required."),
                )
            })
    }
}

fn too_long(name: &str) -> Error {
    Error::new(
        Code::PlaceLabelTooLong,
        format!("location.{name} must be a text of up to 1000 characters"),
    )
}

/// Who is mentioned: numbers or addresses, or `all` for everybody in a group.
fn mentions(element: &Object, country: Option<&str>) -> Result<Mentions> {
    match element.get("mentions") {
        None | Some(Value::Null) => Ok(Mentions::None),
        Some(Value::Array(names)) => {
            let names = names.iter().map(|name| name.as_str().unwrap_or_default());
            Mentions::of(names, country)
        }
        Some(_) => Err(Code::MentionsInvalid.into()),
    }
}

/// The message that is answered: `context.message_id` as in the Cloud API, or `quotedMessageId`.
fn quoted(element: &Object) -> Result<Option<MessageId>> {
    let wrong = || Error::new(Code::MessageIdInvalid, "Invalid quoted message ID.");
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
    names::excerpt(text, 32)
}
