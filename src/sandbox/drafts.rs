//! What a phone's user writes: a draft, and the message that it becomes.

use std::sync::Arc;

use serde::Deserialize;
use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::wacore::download::MediaType;
use whatsapp_rust::waproto::whatsapp::message::poll_creation_message::Option as Choice;
use whatsapp_rust::waproto::whatsapp::message::{
    AlbumMessage, ContactMessage, ContactsArrayMessage, ExtendedTextMessage, FutureProofMessage,
    LocationMessage, PollCreationMessage,
};
use whatsapp_rust::waproto::whatsapp::message_association::AssociationType;
use whatsapp_rust::waproto::whatsapp::{
    ContextInfo, Message, MessageAssociation, MessageContextInfo, MessageKey,
};

use super::attachments::PhoneAttachment;
use super::base64;
use super::chat::Chat;
use super::claims::Claims;
use super::message_details::LocationView;
use super::network::Network;
use super::number::{DeviceAddress, Number};
use super::sending::SendMode;
use crate::error::{Error, Result};

/// A message that a phone's user writes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PhoneDraft {
    /// The text.
    pub text: Option<String>,
    /// A picture.
    pub image: Option<PhoneAttachment>,
    /// A film.
    pub video: Option<PhoneAttachment>,
    /// A sound.
    pub audio: Option<PhoneAttachment>,
    /// Any file.
    pub document: Option<PhoneAttachment>,
    /// A sticker.
    pub sticker: Option<PhoneAttachment>,
    /// A place: latitude and longitude, or more about it.
    pub location: Option<Where>,
    /// Somebody's card.
    pub contact: Option<DraftContact>,
    /// Several cards.
    pub contacts: Vec<DraftContact>,
    /// A poll.
    pub poll: Option<NewPoll>,
    /// An album, of which pictures and films that name its id are parts.
    pub album: Option<NewAlbum>,
    /// The album that this picture or film is a part of.
    pub album_id: Option<String>,
    /// The message that is answered.
    pub quoted_id: Option<String>,
    /// The numbers of those who are mentioned.
    pub mentions: Vec<String>,
    /// Whether it can be looked at only once.
    pub view_once: bool,
    /// After how many seconds it disappears.
    pub ephemeral: Option<u32>,
    /// Who gets a story: a phone shows it to nobody else.
    pub readers: Vec<String>,
    /// A whole message as bytes, in place of all the above: base64 of what is encrypted as it is.
    pub protobuf: Option<String>,
    /// What a hostile phone says in place of the truth.
    pub raw: Claims,
}

/// A place, in short or in full.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Where {
    /// Latitude and longitude.
    Point(f64, f64),
    /// With a name and an address.
    Place(LocationView),
}

/// Somebody whose card is sent: the card itself, or the number to write on it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftContact {
    /// How he is called.
    pub name: String,
    /// His number.
    pub phone: Option<String>,
    /// The card.
    pub vcard: Option<String>,
}

/// A poll that is made.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPoll {
    /// The question.
    pub name: String,
    /// What can be chosen.
    pub options: Vec<String>,
    /// How many can be chosen at once; 0 is any number.
    #[serde(default)]
    pub selectable: u32,
}

/// An album that is begun.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewAlbum {
    /// How many pictures will come.
    pub images: u32,
    /// How many films will come.
    pub videos: u32,
}

impl Network {
    /// The user of a phone writes to a person or group; answers the message's id.
    pub fn send(self: &Arc<Self>, phone: &str, to: &str, draft: &PhoneDraft) -> Result<String> {
        let number = self.number(phone)?;
        let chat = self.chat(to)?;
        if let Some(bytes) = &draft.protobuf {
            let bytes = base64::decode(bytes);
            let bytes = bytes.ok_or_else(|| Error::invalid("protobuf is not base64"))?;
            return self.send_bytes_from_phone(number, &chat, &bytes);
        }
        let context = self.context(number, &chat, draft)?;
        let mut message = self.compose(draft, context)?;
        draft.raw.about_file(&mut message)?;
        if let Some(album) = &draft.album_id {
            message.message_context_info = self.in_album(number, &chat, album).into();
        }
        if draft.view_once {
            message = once(message)?;
        }
        if draft.ephemeral.is_some() {
            let message_context_info = std::mem::take(&mut message.message_context_info);
            message = Message {
                ephemeral_message: wrapped(message),
                message_context_info,
                ..Default::default()
            };
        }
        let readers: Result<Vec<_>> = draft.readers.iter().map(|one| self.number(one)).collect();
        let manner = SendMode {
            edit: None,
            readers: &readers?,
            claims: Some(&draft.raw),
        };
        self.send_as(number, &chat, message, &manner)
    }

    fn compose(&self, draft: &PhoneDraft, context: Option<ContextInfo>) -> Result<Message> {
        let files = [
            (MediaType::Image, &draft.image),
            (MediaType::Video, &draft.video),
            (MediaType::Audio, &draft.audio),
            (MediaType::Document, &draft.document),
            (MediaType::Sticker, &draft.sticker),
        ];
        for (kind, file) in files {
            if let Some(file) = file {
                return self.attach(kind, file, context);
            }
        }
        if let Some(place) = &draft.location {
            return Ok(place.message(context));
        }
        if let Some(contact) = &draft.contact {
            let contact = self.contact_card(contact, context)?;
            return Ok(Message {
                contact_message: MessageField::some(contact),
                ..Default::default()
            });
        }
        if !draft.contacts.is_empty() {
            let cards = draft.contacts.iter();
            let cards: Result<Vec<_>> = cards
                .map(|contact| self.contact_card(contact, None))
                .collect();
            let cards = ContactsArrayMessage {
                display_name: Some(format!("{} contacts", draft.contacts.len())),
                contacts: cards?,
                context_info: context.into(),
            };
            return Ok(Message {
                contacts_array_message: MessageField::some(cards),
                ..Default::default()
            });
        }
        if let Some(poll) = &draft.poll {
            return poll.message(context);
        }
        if let Some(album) = &draft.album {
            let album = AlbumMessage {
                expected_image_count: Some(album.images),
                expected_video_count: Some(album.videos),
                context_info: context.into(),
            };
            return Ok(Message {
                album_message: MessageField::some(album),
                ..Default::default()
            });
        }
        let text = draft
            .text
            .clone()
            .ok_or_else(|| Error::invalid("nothing to send"))?;
        let Some(context) = context else {
            return Ok(Message {
                conversation: Some(text),
                ..Default::default()
            });
        };
        let extended = ExtendedTextMessage {
            text: Some(text),
            context_info: MessageField::some(context),
            ..Default::default()
        };
        Ok(Message {
            extended_text_message: MessageField::some(extended),
            ..Default::default()
        })
    }

    /// What a message refers to, if it refers to anything.
    fn context(
        &self,
        from: Number,
        chat: &Chat,
        draft: &PhoneDraft,
    ) -> Result<Option<ContextInfo>> {
        if draft.quoted_id.is_none() && draft.mentions.is_empty() && draft.ephemeral.is_none() {
            return Ok(None);
        }
        let mut context = ContextInfo {
            expiration: draft.ephemeral,
            ..Default::default()
        };
        for mentioned in &draft.mentions {
            let who = DeviceAddress::phone(self.number(mentioned)?).jid(self.form);
            context.mentioned_jid.push(who.to_string());
        }
        if let Some(id) = &draft.quoted_id {
            let phone = self.directory.phone(from);
            let (author, body) = phone
                .quotable(chat, id)
                .ok_or_else(|| Error::not_found("the phone has no such message"))?;
            context.stanza_id = Some(id.clone());
            context.participant = Some(DeviceAddress::phone(author).jid(self.form).to_string());
            context.quoted_message = Message::decode_from_slice(&body).ok().into();
        }
        Ok(Some(context))
    }

    fn in_album(&self, from: Number, chat: &Chat, album: &str) -> Option<MessageContextInfo> {
        let in_list = !matches!(chat, Chat::Person(_));
        let author = DeviceAddress::phone(from).jid(self.form);
        let key = MessageKey {
            remote_jid: Some(chat.jid(self.form).to_string()),
            from_me: Some(true),
            id: Some(album.to_owned()),
            participant: in_list.then(|| author.to_string()),
        };
        let tie = MessageAssociation {
            association_type: Some(AssociationType::MEDIA_ALBUM),
            parent_message_key: MessageField::some(key),
            ..Default::default()
        };
        Some(MessageContextInfo {
            message_association: MessageField::some(tie),
            ..Default::default()
        })
    }

    fn contact_card(
        &self,
        contact: &DraftContact,
        context: Option<ContextInfo>,
    ) -> Result<ContactMessage> {
        let vcard = match (&contact.vcard, &contact.phone) {
            (Some(card), _) => card.clone(),
            (None, Some(phone)) => {
                let number = self.number(phone)?;
                let name = contact.name.replace(['\r', '\n'], " ");
                format!(
                    "BEGIN:VCARD\nVERSION:3.0\nN:;{name};;;\nFN:{name}\n\
                     TEL;type=CELL;waid={number}:+{number}\nEND:VCARD"
                )
            }
            (None, None) => return Err(Error::invalid("a contact has a phone or a vcard")),
        };
        Ok(ContactMessage {
            display_name: Some(contact.name.clone()),
            vcard: Some(vcard),
            context_info: context.into(),
            ..Default::default()
        })
    }
}

impl Where {
    fn message(&self, context: Option<ContextInfo>) -> Message {
        let place = match self {
            Self::Point(latitude, longitude) => LocationView {
                latitude: *latitude,
                longitude: *longitude,
                ..LocationView::default()
            },
            Self::Place(place) => place.clone(),
        };
        let location = LocationMessage {
            degrees_latitude: Some(place.latitude),
            degrees_longitude: Some(place.longitude),
            name: place.name,
            address: place.address,
            context_info: context.into(),
            ..Default::default()
        };
        Message {
            location_message: MessageField::some(location),
            ..Default::default()
        }
    }
}

impl NewPoll {
    fn message(&self, context: Option<ContextInfo>) -> Result<Message> {
        let mut names: Vec<_> = self.options.iter().collect();
        names.sort_unstable();
        names.dedup();
        if names.len() != self.options.len() || !(2..=12).contains(&names.len()) {
            return Err(Error::invalid("a poll has 2 to 12 different options"));
        }
        if self.selectable as usize > self.options.len() {
            return Err(Error::invalid("a poll has no more answers than options"));
        }
        let choice = |name: &String| Choice {
            option_name: Some(name.clone()),
            ..Default::default()
        };
        let poll = MessageField::some(PollCreationMessage {
            name: Some(self.name.clone()),
            options: self.options.iter().map(choice).collect(),
            selectable_options_count: Some(self.selectable),
            context_info: context.into(),
            ..Default::default()
        });
        // The real clients write a poll with one answer in another field.
        Ok(if self.selectable == 1 {
            Message {
                poll_creation_message_v3: poll,
                ..Default::default()
            }
        } else {
            Message {
                poll_creation_message: poll,
                ..Default::default()
            }
        })
    }
}

/// A message that can be looked at only once.
fn once(mut message: Message) -> Result<Message> {
    if let Some(image) = message.image_message.as_option_mut() {
        image.view_once = Some(true);
    } else if let Some(video) = message.video_message.as_option_mut() {
        video.view_once = Some(true);
    } else if let Some(audio) = message.audio_message.as_option_mut() {
        audio.view_once = Some(true);
    } else {
        return Err(Error::invalid(
            "only pictures, films and sounds can be looked at once",
        ));
    }
    let message_context_info = std::mem::take(&mut message.message_context_info);
    Ok(Message {
        view_once_message_v2: wrapped(message),
        message_context_info,
        ..Default::default()
    })
}

fn wrapped(message: Message) -> MessageField<FutureProofMessage> {
    MessageField::some(FutureProofMessage {
        message: MessageField::some(message),
    })
}
