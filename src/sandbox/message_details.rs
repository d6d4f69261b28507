//! What a message says beyond its words: measures, places, people, questions.

use serde::{Deserialize, Serialize};
use whatsapp_rust::waproto::whatsapp::Message;
use whatsapp_rust::waproto::whatsapp::message::ContactMessage;
use whatsapp_rust::waproto::whatsapp::message_association::AssociationType;

use super::content::{poll_of, unwrapped};
use super::image_info;
use super::inbox::ReceivedMessage;

/// The small picture in a message, as a phone sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Thumbnail {
    /// In bytes.
    pub size: usize,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

/// A place.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocationView {
    /// In degrees.
    pub latitude: f64,
    /// In degrees.
    pub longitude: f64,
    /// How it is called.
    #[serde(default)]
    pub name: Option<String>,
    /// Where that is.
    #[serde(default)]
    pub address: Option<String>,
}

/// Somebody's card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContactCardView {
    /// How he is called.
    pub name: Option<String>,
    /// The card itself.
    pub vcard: Option<String>,
}

/// A poll and what people chose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PollView {
    /// The question.
    pub name: String,
    /// What can be chosen.
    pub options: Vec<String>,
    /// How many can be chosen at once; 0 is any number.
    pub selectable: u32,
    /// Who chose what.
    pub votes: std::collections::BTreeMap<String, Vec<String>>,
}

/// How much an album is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AlbumView {
    /// Pictures.
    pub images: u32,
    /// Films.
    pub videos: u32,
}

/// Adds to a message what is not in its words.
pub(super) fn add_to(view: &mut ReceivedMessage, message: &Message) {
    view.album_id = album_of(message);
    view.view_once = is_view_once(message).then_some(true);
    let message = unwrapped(message);
    if let Some(m) = message.image_message.as_option() {
        (view.width, view.height) = (m.width, m.height);
        view.thumbnail = thumbnail(&m.jpeg_thumbnail);
    }
    let video = message.video_message.as_option();
    if let Some(m) = video.or(message.ptv_message.as_option()) {
        (view.width, view.height, view.seconds) = (m.width, m.height, m.seconds);
        view.gif_playback = m.gif_playback;
        view.thumbnail = thumbnail(&m.jpeg_thumbnail);
    }
    if let Some(m) = message.audio_message.as_option() {
        (view.seconds, view.voice) = (m.seconds, Some(m.ptt.unwrap_or(false)));
    }
    if let Some(m) = message.document_message.as_option() {
        view.thumbnail = thumbnail(&m.jpeg_thumbnail);
    }
    if let Some(m) = message.sticker_message.as_option() {
        (view.width, view.height) = (m.width, m.height);
        view.animated = Some(m.is_animated.unwrap_or(false));
    }
    if let Some(m) = message.location_message.as_option() {
        view.location = Some(LocationView {
            latitude: m.degrees_latitude.unwrap_or(0.0),
            longitude: m.degrees_longitude.unwrap_or(0.0),
            name: m.name.clone(),
            address: m.address.clone(),
        });
        view.thumbnail = thumbnail(&m.jpeg_thumbnail);
    }
    if let Some(m) = message.contact_message.as_option() {
        view.contacts = Some(vec![contact_card(m)]);
    }
    if let Some(m) = message.contacts_array_message.as_option() {
        view.contacts = Some(m.contacts.iter().map(contact_card).collect());
    }
    if let Some(m) = message.album_message.as_option() {
        view.album = Some(AlbumView {
            images: m.expected_image_count.unwrap_or(0),
            videos: m.expected_video_count.unwrap_or(0),
        });
    }
    view.poll = poll_view(message);
}

/// A poll before anybody has chosen.
pub(super) fn poll_view(message: &Message) -> Option<PollView> {
    let poll = poll_of(message)?;
    let options = poll.options.iter();
    Some(PollView {
        name: poll.name.clone().unwrap_or_default(),
        options: options.filter_map(|o| o.option_name.clone()).collect(),
        selectable: poll.selectable_options_count.unwrap_or(0),
        votes: Default::default(),
    })
}

/// The album that a message belongs to.
fn album_of(message: &Message) -> Option<String> {
    [message, unwrapped(message)]
        .into_iter()
        .find_map(|message| {
            let context = message.message_context_info.as_option()?;
            let tie = context.message_association.as_option()?;
            (tie.association_type == Some(AssociationType::MEDIA_ALBUM))
                .then(|| tie.parent_message_key.as_option()?.id.clone())?
        })
}

fn is_view_once(message: &Message) -> bool {
    let inner = unwrapped(message);
    let flags = [
        inner.image_message.as_option().and_then(|m| m.view_once),
        inner.video_message.as_option().and_then(|m| m.view_once),
        inner.audio_message.as_option().and_then(|m| m.view_once),
    ];
    message.view_once_message.is_set()
        || message.view_once_message_v2.is_set()
        || message.view_once_message_v2_extension.is_set()
        || flags.contains(&Some(true))
}

fn thumbnail(file: &Option<Vec<u8>>) -> Option<Thumbnail> {
    let file = file.as_deref()?;
    let seen = image_info::inspect(file).filter(|seen| seen.format == "jpeg")?;
    Some(Thumbnail {
        size: file.len(),
        width: seen.width,
        height: seen.height,
    })
}

fn contact_card(contact: &ContactMessage) -> ContactCardView {
    ContactCardView {
        name: contact.display_name.clone(),
        vcard: contact.vcard.clone(),
    }
}
