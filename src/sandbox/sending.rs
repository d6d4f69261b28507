//! What phones send: encrypted for every device of whoever gets it.

use std::sync::Arc;

use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::wacore::libsignal::protocol::{DeviceId, IdentityKey, PreKeyBundle, PublicKey};
use whatsapp_rust::wacore::messages::{MessageUtils, wrap_device_sent};
use whatsapp_rust::wacore::send::{media_type_from_message, stanza_type_from_message};
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::{Node, NodeRef};
use whatsapp_rust::waproto::whatsapp::message::protocol_message::Type;
use whatsapp_rust::waproto::whatsapp::message::{
    AppStateSyncKey, AppStateSyncKeyData, AppStateSyncKeyFingerprint, AppStateSyncKeyId,
    AppStateSyncKeyShare, ProtocolMessage, SenderKeyDistributionMessage,
};
use whatsapp_rust::waproto::whatsapp::{Message, MessageContextInfo};

use super::chat::Chat;
use super::claims::Claims;
use super::content::{poll_of, unwrapped};
use super::envelope::{EncryptedPart, Envelope};
use super::keys::SIGNED_PREKEY_ID;
use super::network::Network;
use super::number::{DeviceAddress, Form, Number};
use super::outbox::Class;
use super::random;
use super::routing::in_list;
use super::signal::Sealed;
use crate::error::{Error, Result};

/// A message that a phone is about to send.
pub(super) struct OutgoingMessage<'a> {
    pub(super) id: &'a str,
    pub(super) chat: &'a Chat,
    pub(super) message: &'a Message,
    /// The same as it is encrypted, which may hold what nobody can read.
    pub(super) body: &'a [u8],
    /// Marks an edit (`1`) or a revocation (`7`) for the server.
    pub(super) edit: Option<&'static str>,
    /// Who reads it besides the members of the chat: those for whom a story is.
    pub(super) readers: &'a [Number],
    /// How the sender calls himself, when it is not his name.
    pub(super) name: Option<&'a str>,
}

/// How a phone sends a message.
#[derive(Default)]
pub(super) struct SendMode<'a> {
    /// Marks an edit (`1`) or a revocation (`7`) for the server.
    pub(super) edit: Option<&'static str>,
    /// Who reads it besides the members of the chat: those for whom a story is.
    pub(super) readers: &'a [Number],
    /// The id and the name that a hostile phone claims.
    pub(super) claims: Option<&'a Claims>,
}

impl Network {
    /// A phone sends a text.
    pub(super) fn send_text_from_phone(
        self: &Arc<Self>,
        from: Number,
        chat: &Chat,
        text: &str,
    ) -> Result<String> {
        let message = Message {
            conversation: Some(text.to_owned()),
            ..Default::default()
        };
        self.send_from_phone(from, chat, message, None)
    }

    /// A phone sends a message; answers its id.
    pub(super) fn send_from_phone(
        self: &Arc<Self>,
        from: Number,
        chat: &Chat,
        message: Message,
        edit: Option<&'static str>,
    ) -> Result<String> {
        let manner = SendMode {
            edit,
            ..SendMode::default()
        };
        self.send_as(from, chat, message, &manner)
    }

    /// The same, to people who are no members of the chat too, or as a hostile phone does it.
    pub(super) fn send_as(
        self: &Arc<Self>,
        from: Number,
        chat: &Chat,
        message: Message,
        manner: &SendMode<'_>,
    ) -> Result<String> {
        let (message, body) = with_secret(message);
        self.send_body_from_phone(from, chat, (&message, &body), manner)
    }

    /// A phone sends these bytes, whatever they are; answers the message's id.
    pub(super) fn send_bytes_from_phone(
        self: &Arc<Self>,
        from: Number,
        chat: &Chat,
        body: &[u8],
    ) -> Result<String> {
        let message = Message::decode_from_slice(body).unwrap_or_default();
        self.send_body_from_phone(from, chat, (&message, body), &SendMode::default())
    }

    fn send_body_from_phone(
        self: &Arc<Self>,
        from: Number,
        chat: &Chat,
        (message, body): (&Message, &[u8]),
        manner: &SendMode<'_>,
    ) -> Result<String> {
        if let Chat::Person(to) = chat
            && !self.directory.is_registered(*to)
        {
            return Err(Error::not_found("the receiver has no WhatsApp"));
        }
        let claimed = manner.claims.and_then(|claims| claims.id.clone());
        let id = claimed.unwrap_or_else(random::message_id);
        let phone = self.directory.phone(from);
        phone.remember_sent(&id, chat, body, self.now().as_secs());
        self.counters.message(self.now());
        let outgoing = OutgoingMessage {
            id: &id,
            chat,
            message,
            body,
            edit: manner.edit,
            readers: manner.readers,
            name: manner.claims.and_then(|claims| claims.push_name.as_deref()),
        };
        match chat {
            Chat::Person(to) => self.send_direct(from, *to, &outgoing)?,
            list => self.send_to_list(from, list, &outgoing)?,
        }
        Ok(id)
    }

    fn send_direct(
        self: &Arc<Self>,
        from: Number,
        to: Number,
        outgoing: &OutgoingMessage<'_>,
    ) -> Result<()> {
        let plain = MessageUtils::pad_message_v2(outgoing.body.to_vec());
        // Whoever is blocked sees his message go, and it never arrives.
        let blocked = self.blocks(to, from);
        let devices = self.devices_of(to).filter(|_| !blocked);
        for device in devices.filter(|device| *device != DeviceAddress::phone(from)) {
            let sealed = self.seal(from, device, &plain)?;
            self.pass_on(from, device, outgoing, sealed, 0);
        }
        if to == from {
            return Ok(());
        }
        self.trust_by_phone(from, to);
        let copy = self.own_copy(outgoing);
        for device in self.directory.companions(from) {
            let device = DeviceAddress::new(from, device);
            let sealed = self.seal(from, device, &copy)?;
            self.pass_on(from, device, outgoing, sealed, 0);
        }
        Ok(())
    }

    /// What the sender's other devices get: the message, and where it went.
    fn own_copy(&self, outgoing: &OutgoingMessage<'_>) -> Vec<u8> {
        let to = outgoing.chat.jid(self.form).to_string();
        MessageUtils::encode_and_pad(&wrap_device_sent(outgoing.message.clone(), to))
    }

    /// Hands one encrypted copy to the device it is for.
    fn pass_on(
        self: &Arc<Self>,
        from: Number,
        to: DeviceAddress,
        outgoing: &OutgoingMessage<'_>,
        sealed: Sealed,
        retries: u8,
    ) {
        let now = self.now().as_secs();
        if to.device == 0 {
            let envelope = Envelope {
                id: outgoing.id.into(),
                from: DeviceAddress::phone(from),
                chat: Chat::Person(from),
                form: self.form,
                timestamp: now,
                retries,
                parts: vec![EncryptedPart::from(sealed)],
            };
            self.hand_to_phone(to, envelope);
            return;
        }
        let mut sealed = sealed;
        if self.faults.garbles(to)
            && let Some(last) = sealed.bytes.last_mut()
        {
            *last ^= 1;
        }
        let sender = DeviceAddress::phone(from);
        let mut message = self.message_head(sender, outgoing, now);
        message = message.attr("from", sender.jid(self.form));
        message = match self.form {
            Form::Pn => message.attr("sender_lid", sender.lid()),
            Form::Lid => message.attr("sender_pn", sender.pn()),
        };
        if to.number == from {
            message = message.attr("recipient", outgoing.chat.jid(self.form));
        }
        let part = enc(sealed, outgoing, retries);
        let message = message.children([part].into_iter().chain(meta(outgoing)));
        let message = message.build();
        self.deliver(to, Class::Message, outgoing.id, message);
    }

    fn message_head(
        &self,
        from: DeviceAddress,
        outgoing: &OutgoingMessage<'_>,
        now: i64,
    ) -> NodeBuilder {
        let kind = stanza_type_from_message(outgoing.message);
        let name = outgoing.name.map(str::to_owned);
        let mut message = NodeBuilder::new("message")
            .attr("id", outgoing.id)
            .attr("t", now)
            .attr("type", kind)
            .attr("notify", name.unwrap_or_else(|| self.name_of(from.number)));
        if let Some(edit) = outgoing.edit {
            message = message.attr("edit", edit);
        }
        message
    }

    fn send_to_list(
        self: &Arc<Self>,
        from: Number,
        list: &Chat,
        outgoing: &OutgoingMessage<'_>,
    ) -> Result<()> {
        let sender = DeviceAddress::phone(from);
        let devices: Vec<_> = self
            .members_of(list, from)?
            .into_iter()
            .chain(outgoing.readers.iter().copied())
            .flat_map(|member| self.devices_of(member))
            .filter(|device| *device != sender)
            .collect();
        let plain = MessageUtils::pad_message_v2(outgoing.body.to_vec());
        let phone = self.directory.phone(from);
        let (sealed, key, news) = phone
            .seal_for_group(list, &devices, &plain)
            .map_err(Error::internal)?;
        for device in devices {
            let mut parts = Vec::new();
            if news.contains(&device) {
                let key = MessageUtils::encode_and_pad(&key_message(list, self.form, &key));
                parts.push(self.seal(from, device, &key)?);
            }
            parts.push(Sealed {
                kind: "skmsg",
                bytes: sealed.clone(),
            });
            self.pass_on_in_list(from, device, outgoing, parts);
        }
        Ok(())
    }

    fn pass_on_in_list(
        self: &Arc<Self>,
        from: Number,
        to: DeviceAddress,
        outgoing: &OutgoingMessage<'_>,
        parts: Vec<Sealed>,
    ) {
        let now = self.now().as_secs();
        let sender = DeviceAddress::phone(from);
        let form = self.list_form(outgoing.chat);
        if to.device == 0 {
            let envelope = Envelope {
                id: outgoing.id.into(),
                from: sender,
                chat: outgoing.chat.clone(),
                form,
                timestamp: now,
                retries: 0,
                parts: parts.into_iter().map(EncryptedPart::from).collect(),
            };
            self.hand_to_phone(to, envelope);
            return;
        }
        let head = self
            .message_head(sender, outgoing, now)
            .attr("from", outgoing.chat.jid(form));
        let parts = parts.into_iter().map(|part| enc(part, outgoing, 0));
        let children = parts.chain(meta(outgoing));
        let message = in_list(head, sender, form).children(children).build();
        self.deliver(to, Class::Message, outgoing.id, message);
    }

    /// All devices of an account, the phone first.
    pub(super) fn devices_of(&self, number: Number) -> impl Iterator<Item = DeviceAddress> + use<> {
        let companions = self.directory.companions(number).into_iter();
        std::iter::once(0)
            .chain(companions)
            .map(move |device| DeviceAddress::new(number, device))
    }

    /// Encrypts with the phone's session towards a device, which is started if there is none.
    pub(super) fn seal(&self, from: Number, to: DeviceAddress, plain: &[u8]) -> Result<Sealed> {
        let phone = self.directory.phone(from);
        let bundle = if phone.has_session(to) {
            None
        } else {
            self.bundle_of(to)
        };
        phone
            .seal(&self.seed, to, plain, bundle)
            .map_err(Error::internal)
    }

    /// Takes the keys by which a device can be written to.
    fn bundle_of(&self, address: DeviceAddress) -> Option<PreKeyBundle> {
        let key = |bytes: &[u8]| PublicKey::from_djb_public_key_bytes(bytes).ok();
        if address.device == 0 {
            let bundle = self.directory.phone(address.number).bundle(&self.seed);
            let one_time = (bundle.one_time.0.into(), key(&bundle.one_time.1)?);
            return PreKeyBundle::new(
                bundle.registration_id,
                DeviceId::new(0),
                Some(one_time),
                SIGNED_PREKEY_ID.into(),
                key(&bundle.signed)?,
                bundle.signature.to_vec(),
                IdentityKey::new(key(&bundle.identity)?),
            )
            .ok();
        }
        let (identity, registration_id, signed, one_time) = self.take_companion_keys(address)?;
        let one_time = match one_time {
            Some((id, bytes)) => Some((id.into(), key(&bytes)?)),
            None => None,
        };
        PreKeyBundle::new(
            registration_id,
            DeviceId::new(u32::from(address.device)),
            one_time,
            signed.id.into(),
            key(&signed.key)?,
            signed.signature.to_vec(),
            IdentityKey::new(key(&identity)?),
        )
        .ok()
    }

    /// The phone gives a companion the key to the account's settings.
    pub(super) fn share_keys(self: &Arc<Self>, with: DeviceAddress) {
        let share = ProtocolMessage {
            r#type: Some(Type::APP_STATE_SYNC_KEY_SHARE),
            app_state_sync_key_share: MessageField::some(AppStateSyncKeyShare {
                keys: vec![self.settings_key(with.number)],
            }),
            ..Default::default()
        };
        let message = Message {
            protocol_message: MessageField::some(share),
            ..Default::default()
        };
        self.send_peer_message(with, &message);
    }

    /// The phone tells a companion something that is for the machinery only.
    pub(super) fn send_peer_message(self: &Arc<Self>, to: DeviceAddress, message: &Message) {
        let id = random::message_id();
        let body = message.encode_to_vec();
        let plain = MessageUtils::pad_message_v2(body.clone());
        // A companion that has published no keys asks again later.
        let Ok(sealed) = self.seal(to.number, to, &plain) else {
            return;
        };
        let chat = Chat::Person(to.number);
        self.directory
            .phone(to.number)
            .remember_sent(&id, &chat, &body, self.now().as_secs());
        let outgoing = OutgoingMessage {
            id: &id,
            chat: &chat,
            message,
            body: &body,
            edit: None,
            readers: &[],
            name: None,
        };
        let stanza = NodeBuilder::new("message")
            .attr("id", id.as_str())
            .attr("t", self.now().as_secs())
            .attr("from", DeviceAddress::phone(to.number).pn())
            .attr("type", "protocol")
            .attr("category", "peer")
            .children([enc(sealed, &outgoing, 0)])
            .build();
        self.deliver(to, Class::Message, &id, stanza);
    }

    /// Id and bytes of the key to an account's settings.
    pub(super) fn settings_secret(&self, number: Number) -> (Vec<u8>, [u8; 32]) {
        let id = self.seed.derive("settings key id", number, 0);
        (
            id[..6].to_vec(),
            self.seed.derive("settings key", number, 0),
        )
    }

    fn settings_key(&self, number: Number) -> AppStateSyncKey {
        let (id, key) = self.settings_secret(number);
        AppStateSyncKey {
            key_id: MessageField::some(AppStateSyncKeyId { key_id: Some(id) }),
            key_data: MessageField::some(AppStateSyncKeyData {
                key_data: Some(key.to_vec()),
                fingerprint: MessageField::some(AppStateSyncKeyFingerprint {
                    raw_id: Some(super::account::raw_id(number)),
                    current_index: Some(0),
                    device_indexes: vec![0],
                }),
                timestamp: Some(self.now().as_ms()),
            }),
        }
    }

    /// A companion could not read one of the phone's messages: it gets it once more.
    pub(super) fn send_again(
        self: &Arc<Self>,
        from: Number,
        to: DeviceAddress,
        id: &str,
        receipt: &NodeRef<'_>,
    ) {
        let retry = receipt.get_optional_child("retry");
        let count = retry
            .and_then(|retry| super::stanza::text(retry, "count"))
            .and_then(|count| count.parse().ok())
            .unwrap_or(1);
        let phone = self.directory.phone(from);
        let Some((chat, body)) = phone.with_sent(id, |sent| (sent.chat.clone(), sent.body.clone()))
        else {
            return;
        };
        let message = Message::decode_from_slice(&body).unwrap_or_default();
        phone.forget_session(to);
        let outgoing = OutgoingMessage {
            id,
            chat: &chat,
            message: &message,
            body: &body,
            edit: None,
            readers: &[],
            name: None,
        };
        match &chat {
            Chat::Person(_) => {
                let plain = if to.number == from && chat != Chat::Person(from) {
                    self.own_copy(&outgoing)
                } else {
                    MessageUtils::pad_message_v2(body.to_vec())
                };
                if let Ok(sealed) = self.seal(from, to, &plain) {
                    self.pass_on(from, to, &outgoing, sealed, count);
                }
            }
            list => {
                // What is appended to a protobuf is merged into it.
                let mut plain = body.to_vec();
                if let Some(key) = phone.group_key(list) {
                    plain.extend(key_message(list, self.form, &key).encode_to_vec());
                }
                let plain = MessageUtils::pad_message_v2(plain);
                if let Ok(sealed) = self.seal(from, to, &plain) {
                    self.pass_on_in_list(from, to, &outgoing, vec![sealed]);
                }
            }
        }
    }
}

/// The message as the real clients send it, with a secret for the votes and answers to it.
fn with_secret(mut message: Message) -> (Message, Vec<u8>) {
    let context = message.message_context_info.as_option().cloned();
    message.message_context_info = MessageField::some(MessageContextInfo {
        message_secret: Some(random::bytes::<32>().to_vec()),
        ..context.unwrap_or_default()
    });
    let body = message.encode_to_vec();
    (message, body)
}

fn key_message(list: &Chat, form: Form, key: &[u8]) -> Message {
    Message {
        sender_key_distribution_message: MessageField::some(SenderKeyDistributionMessage {
            group_id: Some(list.jid(form).to_string()),
            axolotl_sender_key_distribution_message: Some(key.to_vec()),
        }),
        ..Default::default()
    }
}

/// What the server is told of a poll.
fn meta(outgoing: &OutgoingMessage<'_>) -> Option<Node> {
    let message = unwrapped(outgoing.message);
    let kind = match poll_of(message) {
        Some(_) => "creation",
        None => message.poll_update_message.as_option().map(|_| "vote")?,
    };
    Some(NodeBuilder::new("meta").attr("polltype", kind).build())
}

fn enc(sealed: Sealed, outgoing: &OutgoingMessage<'_>, retries: u8) -> Node {
    let mut enc = NodeBuilder::new("enc")
        .attr("v", 2)
        .attr("type", sealed.kind);
    if let Some(kind) = media_type_from_message(outgoing.message) {
        enc = enc.attr("mediatype", kind);
    }
    if retries > 0 {
        enc = enc.attr("count", u32::from(retries));
    }
    enc.bytes(sealed.bytes).build()
}
