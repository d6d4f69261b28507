//! What a phone's user does with messages: writes, answers, reacts, changes, takes back.

use std::sync::Arc;

use serde::Deserialize;
use whatsapp_rust::Jid;
use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::wacore::download::MediaType;
use whatsapp_rust::waproto::whatsapp::message::protocol_message::Type;
use whatsapp_rust::waproto::whatsapp::message::{
    ExtendedTextMessage, LocationMessage, ProtocolMessage, ReactionMessage,
};
use whatsapp_rust::waproto::whatsapp::{ContextInfo, Message, MessageKey};

use super::attachments::Attachment;
use super::chat::Chat;
use super::network::Network;
use super::number::{Address, Number};
use crate::error::{Error, Result};

/// A message that a phone's user writes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Draft {
    /// The text.
    pub text: Option<String>,
    /// A picture.
    pub image: Option<Attachment>,
    /// A film.
    pub video: Option<Attachment>,
    /// A sound.
    pub audio: Option<Attachment>,
    /// Any file.
    pub document: Option<Attachment>,
    /// A sticker.
    pub sticker: Option<Attachment>,
    /// A place: latitude and longitude.
    pub location: Option<(f64, f64)>,
    /// The message that is answered.
    pub quoted_id: Option<String>,
    /// The numbers of those who are mentioned.
    pub mentions: Vec<String>,
}

impl Network {
    /// The user of a phone writes to a person or group; answers the message's id.
    pub fn send(self: &Arc<Self>, phone: &str, to: &str, draft: &Draft) -> Result<String> {
        let number = self.number(phone)?;
        let chat = self.chat(to)?;
        let message = self.compose(number, &chat, draft)?;
        self.send_from_phone(number, &chat, message, None)
    }

    fn compose(&self, from: Number, chat: &Chat, draft: &Draft) -> Result<Message> {
        let context = self.context(from, chat, draft)?;
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
        if let Some((latitude, longitude)) = draft.location {
            let location = LocationMessage {
                degrees_latitude: Some(latitude),
                degrees_longitude: Some(longitude),
                context_info: context.into(),
                ..Default::default()
            };
            let location_message = MessageField::some(location);
            return Ok(Message {
                location_message,
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
    fn context(&self, from: Number, chat: &Chat, draft: &Draft) -> Result<Option<ContextInfo>> {
        if draft.quoted_id.is_none() && draft.mentions.is_empty() {
            return Ok(None);
        }
        let mut context = ContextInfo::default();
        for mentioned in &draft.mentions {
            let who = Address::phone(self.number(mentioned)?).jid(self.form);
            context.mentioned_jid.push(who.to_string());
        }
        if let Some(id) = &draft.quoted_id {
            let phone = self.directory.phone(from);
            let (author, body) = phone
                .quotable(chat, id)
                .ok_or_else(|| Error::not_found("the phone has no such message"))?;
            context.stanza_id = Some(id.clone());
            context.participant = Some(Address::phone(author).jid(self.form).to_string());
            context.quoted_message = Message::decode_from_slice(&body).ok().into();
        }
        Ok(Some(context))
    }

    /// The user of a phone puts a sign on a message, or takes it off (empty).
    pub fn react(self: &Arc<Self>, phone: &str, id: &str, sign: &str) -> Result<String> {
        let number = self.number(phone)?;
        let (key, chat) = self.key_of(number, id)?;
        let reaction = ReactionMessage {
            key: MessageField::some(key),
            text: Some(sign.to_owned()),
            sender_timestamp_ms: Some(self.now().as_ms()),
            ..Default::default()
        };
        let message = Message {
            reaction_message: MessageField::some(reaction),
            ..Default::default()
        };
        self.send_from_phone(number, &chat, message, None)
    }

    /// The user of a phone changes the text of his own message.
    pub fn edit(self: &Arc<Self>, phone: &str, id: &str, text: &str) -> Result<String> {
        let number = self.number(phone)?;
        let (key, chat) = self.own_key(number, id)?;
        let edited = Message {
            conversation: Some(text.to_owned()),
            ..Default::default()
        };
        let protocol = ProtocolMessage {
            key: MessageField::some(key),
            r#type: Some(Type::MESSAGE_EDIT),
            edited_message: MessageField::some(edited),
            timestamp_ms: Some(self.now().as_ms()),
            ..Default::default()
        };
        let message = Message {
            protocol_message: MessageField::some(protocol),
            ..Default::default()
        };
        self.send_from_phone(number, &chat, message, Some("1"))
    }

    /// The user of a phone takes his own message back.
    pub fn revoke(self: &Arc<Self>, phone: &str, id: &str) -> Result<String> {
        let number = self.number(phone)?;
        let (key, chat) = self.own_key(number, id)?;
        let protocol = ProtocolMessage {
            key: MessageField::some(key),
            r#type: Some(Type::REVOKE),
            ..Default::default()
        };
        let message = Message {
            protocol_message: MessageField::some(protocol),
            ..Default::default()
        };
        self.send_from_phone(number, &chat, message, Some("7"))
    }

    fn own_key(&self, number: Number, id: &str) -> Result<(MessageKey, Chat)> {
        let chat = self
            .directory
            .known_phone(number)
            .and_then(|phone| phone.with_sent(id, |sent| sent.chat.clone()))
            .ok_or_else(|| Error::not_found("the phone has sent no such message"))?;
        let key = MessageKey {
            remote_jid: Some(chat.jid(self.form).to_string()),
            from_me: Some(true),
            id: Some(id.to_owned()),
            participant: None,
        };
        Ok((key, chat))
    }

    /// How a message that the phone sent or received is called by the phone.
    fn key_of(&self, number: Number, id: &str) -> Result<(MessageKey, Chat)> {
        if let Ok(own) = self.own_key(number, id) {
            return Ok(own);
        }
        let (author, chat) = self
            .directory
            .known_phone(number)
            .and_then(|phone| phone.origin(id))
            .ok_or_else(|| Error::not_found("the phone has no such message"))?;
        let in_list = !matches!(chat, Chat::Person(_));
        let author: Jid = Address::phone(author.number).jid(self.form);
        let key = MessageKey {
            remote_jid: Some(chat.jid(self.form).to_string()),
            from_me: Some(false),
            id: Some(id.to_owned()),
            participant: in_list.then(|| author.to_string()),
        };
        Ok((key, chat))
    }
}
