//! What a campaign is called and what it says: the rules, whoever asks for it in whatever words.

use std::borrow::Cow;

use super::CampaignMessage;
use crate::domain::markup;
use crate::domain::media::FileSource;
use crate::domain::message::draft::{FileName, MAX_TEXT};
use crate::domain::template::Template;
use crate::error::{Code, Error, Result};
use crate::names;
use crate::wa::message::MediaKind;

/// The most characters of a name.
const MAX_NAME: usize = 200;

/// What a campaign is called: 1 to 200 characters, without spaces around them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CampaignName(String);

impl CampaignName {
    /// The name that somebody gives; an empty or a longer one is refused.
    pub fn new(name: &str) -> Result<Self> {
        let name = Self::of_backup(name)?;
        match name.0.is_empty() {
            true => Err(Error::invalid("a campaign needs a name")),
            false => Ok(name),
        }
    }

    /// The name in a backup, which is empty where an older version took it.
    pub fn of_backup(name: &str) -> Result<Self> {
        names::limited(name, MAX_NAME).map(Self)
    }

    /// What a copy of a campaign is called that nobody named.
    pub(super) fn of_copy(original: &str) -> Self {
        Self(names::of_copy(original, MAX_NAME))
    }
}

impl From<CampaignName> for String {
    fn from(name: CampaignName) -> Self {
        name.0
    }
}

/// The words of a campaign, with placeholders and variants: up to [`MAX_TEXT`] UTF-16 units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CampaignText(String);

impl CampaignText {
    /// The words that somebody gives; longer ones are refused. What a template makes of them is cut.
    pub fn new(text: &str) -> Result<Self> {
        if text.encode_utf16().count() > MAX_TEXT {
            return Err(Code::MessageTooLong.into());
        }
        Ok(Self(text.to_owned()))
    }
}

/// A file of a campaign as a client asks for it.
#[derive(Debug)]
pub struct NewMedia {
    pub(super) kind: MediaKind,
    pub(super) source: FileSource,
    pub(super) file_name: Option<FileName>,
}

impl NewMedia {
    /// An image, a document or a video; all others are refused. The name is a document's.
    pub fn new(kind: MediaKind, source: FileSource, file_name: Option<FileName>) -> Result<Self> {
        match kind {
            MediaKind::Image | MediaKind::Document | MediaKind::Video => Ok(Self {
                kind,
                source,
                file_name,
            }),
            _ => Err(Error::invalid(
                "the file of a campaign is an image, a document or a video",
            )),
        }
    }
}

/// What a campaign is to say: words, a file, or both.
#[derive(Debug)]
pub struct NewMessage {
    pub(super) content: String,
    pub(super) caption: Option<String>,
    pub(super) media: Option<NewMedia>,
}

impl NewMessage {
    /// Words alone; empty ones are refused.
    pub fn text(text: CampaignText) -> Result<Self> {
        if markup::plain(&text.0).is_empty() {
            return Err(Code::MessageEmpty.into());
        }
        Ok(Self {
            content: text.0,
            caption: None,
            media: None,
        })
    }

    /// A file, and words below it: the caption if there is one, else the content.
    pub fn file(media: NewMedia, content: CampaignText, caption: Option<CampaignText>) -> Self {
        Self {
            content: content.0,
            caption: caption.map(|caption| caption.0),
            media: Some(media),
        }
    }

    /// What a backup tells of it. Nothing is refused that an older version took.
    pub fn of_backup(content: &str, caption: Option<&str>) -> Self {
        Self {
            content: content.to_owned(),
            caption: caption.map(str::to_owned),
            media: None,
        }
    }

    /// The same as it is kept, without its file.
    pub(super) fn words(&self) -> CampaignMessage {
        CampaignMessage {
            content: self.content.clone(),
            caption: self.caption.clone(),
            is_html: true,
            media: None,
        }
    }

    /// The file alone.
    pub fn into_media(self) -> Option<NewMedia> {
        self.media
    }
}

impl CampaignMessage {
    /// What each recipient's words are made of.
    pub(super) fn template(&self, variants: bool) -> Template {
        let words = self.caption.as_ref().unwrap_or(&self.content);
        let words = match self.is_html {
            true => markup::plain(words).into(),
            false => Cow::Borrowed(words.as_str()),
        };
        match variants {
            true => Template::parse(&words),
            false => Template::without_variants(&words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::MediaId;

    #[test]
    fn a_name_has_1_to_200_characters_without_spaces_around_them() {
        let taken = |name: &str| CampaignName::new(name).map(String::from).ok();
        assert_eq!(taken(" Promo "), Some("Promo".to_owned()));
        assert!(taken(&"é".repeat(200)).is_some() && taken(&"é".repeat(201)).is_none());
        assert_eq!((taken(""), taken(" \n")), (None, None));
        assert!(CampaignName::of_backup("").is_ok());
        assert!(CampaignName::of_backup(&"x".repeat(201)).is_err());
    }

    #[test]
    fn words_have_an_end_and_are_not_missing_without_a_file() {
        let code = |text: &str| {
            let message = CampaignText::new(text).and_then(NewMessage::text);
            message.map(|message| message.content).map_err(|e| e.code())
        };
        assert_eq!(code("hai"), Ok("hai".to_owned()));
        assert_eq!(code(""), Err(Code::MessageEmpty));
        assert!(code(&"x".repeat(MAX_TEXT)).is_ok());
        // Each of these is two units.
        let long = "\u{1f600}".repeat(MAX_TEXT / 2 + 1);
        assert_eq!(code(&long), Err(Code::MessageTooLong));
    }

    #[test]
    fn html_and_variants_count_only_where_they_are_asked_for() {
        let mut message = CampaignMessage {
            content: "<p>{a|a} {{Name}}</p>".into(),
            caption: None,
            media: None,
            is_html: true,
        };
        let said = |message: &CampaignMessage, variants| {
            let field = |name: &str| (name == "Name").then_some("<b>&amp;");
            message.template(variants).render(field, 1).text
        };
        // What a field holds is never read.
        assert_eq!(said(&message, true), "a <b>&amp;");
        assert_eq!(said(&message, false), "{a|a} <b>&amp;");
        message.caption = Some("wins".into());
        assert_eq!(said(&message, false), "wins");
        // As an older version stored it.
        let stored: CampaignMessage =
            serde_json::from_str(r#"{"content":"<p>{a|a}</p>","media":null}"#).expect("a message");
        assert_eq!(said(&stored, true), "<p>a</p>");
    }

    #[test]
    fn a_file_is_an_image_a_document_or_a_video() {
        let source = || FileSource::Stored {
            id: MediaId::parse("a.pdf").expect("an id"),
            owner: None,
        };
        let taken = |kind| NewMedia::new(kind, source(), None).is_ok();
        assert!(taken(MediaKind::Image) && taken(MediaKind::Document) && taken(MediaKind::Video));
        assert!(!taken(MediaKind::Sticker) && !taken(MediaKind::Voice));
    }
}
