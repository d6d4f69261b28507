//! What a phone has received, each message once.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};
use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::waproto::whatsapp::Message;

use super::chat::Chat;
use super::content::describe;
use super::image_info::ImageInfo;
use super::message_details::{AlbumView, ContactCardView, LocationView, PollView, Thumbnail};
use super::number::{DeviceAddress, Number};
use crate::time::Timestamp;

/// The messages of one phone in order of arrival.
///
/// Bodies stay encoded and are put into words when somebody asks, so that many cost little.
#[derive(Default)]
pub(super) struct PhoneInbox {
    entries: Vec<InboxEntry>,
    places: HashMap<u64, u32>,
}

/// A message that has arrived.
#[derive(Serialize, Deserialize)]
pub(super) struct InboxEntry {
    pub(super) id: Box<str>,
    pub(super) from: DeviceAddress,
    pub(super) chat: Chat,
    /// In seconds.
    pub(super) timestamp: i64,
    /// Whether it was sent by another device of the same account.
    pub(super) own: bool,
    pub(super) says: EntryContent,
    pub(super) edited: bool,
    pub(super) revoked: bool,
    pub(super) reactions: Vec<(Number, Box<str>)>,
    /// Whether the phone fetched the file when the message came; if not, it tries again later.
    #[serde(default)]
    pub(super) fetched: bool,
    /// Who wants what, if this is a poll.
    #[serde(default)]
    pub(super) votes: Votes,
}

/// What each person chose in a poll.
pub(super) type Votes = std::collections::BTreeMap<Number, Vec<String>>;

/// What an entry holds.
#[derive(Serialize, Deserialize)]
pub(super) enum EntryContent {
    /// An encoded message.
    Message(#[serde(with = "super::base64::text")] Box<[u8]>),
    /// A sign on the message with this id.
    Reaction { id: Box<str>, sign: Box<str> },
    /// An edit or a revocation of a message that is not here.
    Stray { kind: OrphanAction, id: Box<str> },
}

/// What was done to a message that is not here.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum OrphanAction {
    Edit,
    Revoke,
}

impl PhoneInbox {
    /// Whether a message of this sender with this id has arrived in that chat.
    pub(super) fn has(&self, chat: &Chat, from: Number, id: &str) -> bool {
        self.find(chat, id)
            .is_some_and(|entry| entry.from.number == from)
    }

    /// Appends a message; answers its place.
    pub(super) fn push(&mut self, entry: InboxEntry) -> u32 {
        let place = u32::try_from(self.entries.len()).expect("Invariant: fewer than four billion");
        self.places.insert(place_key(&entry.chat, &entry.id), place);
        self.entries.push(entry);
        place
    }

    pub(super) fn place_of(&self, chat: &Chat, id: &str) -> Option<u32> {
        self.places.get(&place_key(chat, id)).copied()
    }

    pub(super) fn find(&self, chat: &Chat, id: &str) -> Option<&InboxEntry> {
        let place = *self.places.get(&place_key(chat, id))?;
        self.entries.get(place as usize)
    }

    pub(super) fn find_mut(&mut self, chat: &Chat, id: &str) -> Option<&mut InboxEntry> {
        let place = *self.places.get(&place_key(chat, id))?;
        self.entries.get_mut(place as usize)
    }

    /// The newest message with this id, whatever chat it is in.
    pub(super) fn find_anywhere(&self, id: &str) -> Option<&InboxEntry> {
        self.entries.iter().rev().find(|entry| *entry.id == *id)
    }

    pub(super) fn entries(&self) -> &[InboxEntry] {
        &self.entries
    }
}

fn place_key(chat: &Chat, id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    chat.hash(&mut hasher);
    id.hash(&mut hasher);
    hasher.finish()
}

impl InboxEntry {
    /// Puts `sign` on the message, in place of an earlier sign of the same person.
    pub(super) fn react(&mut self, from: Number, sign: &str) {
        self.reactions.retain(|(who, _)| *who != from);
        if !sign.is_empty() {
            self.reactions.push((from, sign.into()));
        }
    }

    pub(super) fn view(&self) -> ReceivedMessage {
        let mut view = ReceivedMessage {
            id: self.id.to_string(),
            from: self.from.number.to_string(),
            device: self.from.device,
            chat: self.chat.to_string(),
            timestamp: Timestamp::from_secs(self.timestamp).as_secs(),
            from_me: self.own,
            edited: self.edited,
            revoked: self.revoked,
            reactions: self
                .reactions
                .iter()
                .map(|(from, sign)| Reaction {
                    from: from.to_string(),
                    text: sign.to_string(),
                })
                .collect(),
            ..Default::default()
        };
        match &self.says {
            EntryContent::Message(body) => {
                // Invariant: only what was decoded once is stored.
                let content = describe(&Message::decode_from_slice(body).unwrap_or_default());
                view.kind = content.kind;
                view.text = content.text;
                view.caption = content.caption;
                view.mimetype = content.mimetype;
                view.file_name = content.file_name;
                view.size = content.size;
                view.sha256 = content.sha256;
                view.mentions = content.mentions;
                view.quoted_id = content.quoted_id;
                view.quoted_type = content.quoted_kind;
                view.expiration = content.expiration;
            }
            EntryContent::Reaction { id, sign } => {
                view.kind = "reaction";
                view.text = Some(sign.to_string());
                view.quoted_id = Some(id.to_string());
            }
            EntryContent::Stray { kind, id } => {
                view.kind = match kind {
                    OrphanAction::Edit => "edit",
                    OrphanAction::Revoke => "revoke",
                };
                view.quoted_id = Some(id.to_string());
            }
        }
        if self.revoked {
            (view.text, view.caption) = (None, None);
        }
        view
    }
}

/// A message as the control API shows it.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceivedMessage {
    /// The id that the sender chose.
    pub id: String,
    /// The sender's number.
    pub from: String,
    /// Which of the sender's devices sent it; 0 is a phone.
    pub device: u16,
    /// The other person's number, a group's address, or `status@broadcast`.
    pub chat: String,
    /// When the server took it, in seconds.
    pub timestamp: i64,
    /// `text`, `image`, `video`, `audio`, `document`, `sticker`, `location`, `contact`, `poll`,
    /// `pollVote`, `album`, `reaction`, ...
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What it says; for a reaction, the sign.
    pub text: Option<String>,
    /// What stands below a file.
    pub caption: Option<String>,
    /// The type of the file.
    pub mimetype: Option<String>,
    /// The name of a document.
    pub file_name: Option<String>,
    /// The size of the file before encryption.
    pub size: Option<u64>,
    /// The SHA-256 of the file before encryption, in hexadecimal digits.
    pub sha256: Option<String>,
    /// Whether the phone could fetch and open the file; size and SHA-256 are then its own findings.
    pub opened: Option<bool>,
    /// The addresses of those who are mentioned.
    pub mentions: Vec<String>,
    /// The message that is answered or reacted to.
    pub quoted_id: Option<String>,
    /// What is shown of the message that is answered: its type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quoted_type: Option<&'static str>,
    /// After how many seconds it disappears.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<u32>,
    /// The width of a picture, film or sticker, as the message says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// The height, as the message says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// What the phone sees when it opens a picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoded: Option<ImageInfo>,
    /// How long a film or sound is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
    /// Whether a sound is a voice message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voice: Option<bool>,
    /// Whether a film is shown as a GIF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gif_playback: Option<bool>,
    /// Whether a sticker moves, as the message says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub animated: Option<bool>,
    /// The small picture in the message, if it can be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thumbnail: Option<Thumbnail>,
    /// Whether it can be looked at only once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view_once: Option<bool>,
    /// A place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<LocationView>,
    /// People's cards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contacts: Option<Vec<ContactCardView>>,
    /// A poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll: Option<PollView>,
    /// An album: how much it is to hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub album: Option<AlbumView>,
    /// The album that the message belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub album_id: Option<String>,
    /// Whether the text was changed after it was sent.
    pub edited: bool,
    /// Whether it was taken back.
    pub revoked: bool,
    /// Whether another device of the same account sent it.
    pub from_me: bool,
    /// The signs that people put on it.
    pub reactions: Vec<Reaction>,
}

/// A sign that somebody put on a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reaction {
    /// Whose sign.
    pub from: String,
    /// The sign.
    pub text: String,
}
