//! What a phone's user does with messages: reacts, changes, takes back.

use std::sync::Arc;

use whatsapp_rust::Jid;
use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::waproto::whatsapp::message::protocol_message::Type;
use whatsapp_rust::waproto::whatsapp::message::{ProtocolMessage, ReactionMessage};
use whatsapp_rust::waproto::whatsapp::{Message, MessageKey};

use super::chat::Chat;
use super::claims::Claims;
use super::network::Network;
use super::number::{DeviceAddress, Number};
use super::sending::SendMode;
use crate::error::{Error, Result};

/// The message that something is done to.
pub(super) struct TargetMessage<'a> {
    /// One that the phone knows.
    pub(super) id: &'a str,
    /// Where a hostile phone writes to.
    pub(super) to: Option<&'a str>,
    /// What it claims.
    pub(super) claims: &'a Claims,
}

impl<'a> TargetMessage<'a> {
    fn honest(id: &'a str, claims: &'a Claims) -> Self {
        Self {
            id,
            to: None,
            claims,
        }
    }

    fn send_mode(&self, edit: Option<&'static str>) -> SendMode<'a> {
        SendMode {
            edit,
            readers: &[],
            claims: Some(self.claims),
        }
    }
}

impl Network {
    /// The user of a phone puts a sign on a message, or takes it off (empty).
    pub fn react(self: &Arc<Self>, phone: &str, id: &str, sign: &str) -> Result<String> {
        self.react_at(phone, &TargetMessage::honest(id, &Claims::default()), sign)
    }

    pub(super) fn react_at(
        self: &Arc<Self>,
        phone: &str,
        aim: &TargetMessage<'_>,
        sign: &str,
    ) -> Result<String> {
        let number = self.number(phone)?;
        let (key, chat) = match self.foreign(aim)? {
            Some(foreign) => foreign,
            None => self.key_of(number, aim.id)?,
        };
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
        self.send_as(number, &chat, message, &aim.send_mode(None))
    }

    /// The user of a phone changes the text of his own message.
    pub fn edit(self: &Arc<Self>, phone: &str, id: &str, text: &str) -> Result<String> {
        self.edit_at(phone, &TargetMessage::honest(id, &Claims::default()), text)
    }

    pub(super) fn edit_at(
        self: &Arc<Self>,
        phone: &str,
        aim: &TargetMessage<'_>,
        text: &str,
    ) -> Result<String> {
        let number = self.number(phone)?;
        let (key, chat) = match self.foreign(aim)? {
            Some(foreign) => foreign,
            None => self.own_key(number, aim.id)?,
        };
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
        self.send_as(number, &chat, message, &aim.send_mode(Some("1")))
    }

    /// The user of a phone takes his own message back.
    pub fn revoke(self: &Arc<Self>, phone: &str, id: &str) -> Result<String> {
        self.revoke_at(phone, &TargetMessage::honest(id, &Claims::default()))
    }

    pub(super) fn revoke_at(
        self: &Arc<Self>,
        phone: &str,
        aim: &TargetMessage<'_>,
    ) -> Result<String> {
        let number = self.number(phone)?;
        let (key, chat) = match self.foreign(aim)? {
            Some(foreign) => foreign,
            None => self.own_key(number, aim.id)?,
        };
        let protocol = ProtocolMessage {
            key: MessageField::some(key),
            r#type: Some(Type::REVOKE),
            ..Default::default()
        };
        let message = Message {
            protocol_message: MessageField::some(protocol),
            ..Default::default()
        };
        self.send_as(number, &chat, message, &aim.send_mode(Some("7")))
    }

    /// The key that a hostile phone claims, and the chat that it writes to.
    fn foreign(&self, aim: &TargetMessage<'_>) -> Result<Option<(MessageKey, Chat)>> {
        let Some(key) = &aim.claims.key else {
            return Ok(None);
        };
        let to = aim
            .to
            .ok_or_else(|| Error::invalid("a foreign key needs a chat: to"))?;
        Ok(Some((key.written(), self.chat(to)?)))
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
    pub(super) fn key_of(&self, number: Number, id: &str) -> Result<(MessageKey, Chat)> {
        if let Ok(own) = self.own_key(number, id) {
            return Ok(own);
        }
        let (author, chat) = self
            .directory
            .known_phone(number)
            .and_then(|phone| phone.origin(id))
            .ok_or_else(|| Error::not_found("the phone has no such message"))?;
        let in_list = !matches!(chat, Chat::Person(_));
        let author: Jid = DeviceAddress::phone(author.number).jid(self.list_form(&chat));
        let key = MessageKey {
            remote_jid: Some(chat.jid(self.form).to_string()),
            from_me: Some(false),
            id: Some(id.to_owned()),
            participant: in_list.then(|| author.to_string()),
        };
        Ok((key, chat))
    }
}
