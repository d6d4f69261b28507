//! Files that have expired: a companion asks its phone, which leaves the file at the media host
//! once more, if it has it, and says where.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::wacore::crypto::hkdf_sha256_into;
use whatsapp_rust::wacore::libsignal::crypto::aes_256_gcm_encrypt;
use whatsapp_rust::wacore::media_retry::decrypt_media_retry_notification;
use whatsapp_rust::wacore_binary::NodeRef;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::waproto::whatsapp::media_retry_notification::ResultType;
use whatsapp_rust::waproto::whatsapp::{MediaRetryNotification, Message, ServerErrorReceipt};

use super::attachments::pointer;
use super::journal::JournalKey;
use super::network::Network;
use super::number::{DeviceAddress, Form};
use super::outbox::Class;
use super::phone::Phone;
use super::stanza::{bytes, child_bytes, jid, text};
use super::{base64, random};

/// What the key for the question and the answer is derived with.
const LABEL: &[u8] = b"WhatsApp Media Retry Notification";

/// A companion's question.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ReuploadRequest {
    id: Box<str>,
    by: DeviceAddress,
    /// The chat, as the companion calls it.
    chat: String,
    from_me: bool,
    participant: Option<String>,
    #[serde(with = "base64::text")]
    sealed: Vec<u8>,
    #[serde(with = "base64::text")]
    nonce: Vec<u8>,
}

impl ReuploadRequest {
    /// Reads a receipt that says that a file could not be fetched.
    fn read(by: DeviceAddress, node: &NodeRef<'_>) -> Option<Self> {
        let about = node.get_optional_child("rmr")?;
        let sealed = node.get_optional_child("encrypt")?;
        Some(Self {
            id: text(node, "id")?.as_ref().into(),
            by,
            chat: text(about, "jid")?.into_owned(),
            from_me: text(about, "from_me").as_deref() == Some("true"),
            participant: jid(about, "participant").map(|jid| jid.to_string()),
            sealed: child_bytes(sealed, "enc_p")?.to_vec(),
            nonce: child_bytes(sealed, "enc_iv")?.to_vec(),
        })
    }
}

impl Network {
    /// Takes a companion's question for a file; its phone answers when it is on.
    pub(super) fn want_file(self: &Arc<Self>, by: DeviceAddress, node: &NodeRef<'_>) {
        // Without a message it is about the history, of which phones here have none.
        let Some(wanted) = ReuploadRequest::read(by, node) else {
            return;
        };
        let phone = self.directory.phone(by.number);
        {
            let mut state = phone.lock();
            if !state.profile.online {
                state.wanted.push(wanted);
                state.changes.touch(|| JournalKey::Phone(by.number));
                return;
            }
        }
        self.give_file(&wanted);
    }

    /// A phone answers a companion's question for a file.
    pub(super) fn give_file(&self, wanted: &ReuploadRequest) {
        let phone = self.directory.phone(wanted.by.number);
        let message = phone
            .any_body(&wanted.id)
            .and_then(|body| Message::decode_from_slice(&body).ok());
        let key = message
            .as_ref()
            .and_then(|message| Some(pointer(message)?.media_key()?.to_vec()));
        let mut children = vec![self.about(wanted)];
        match (message, key) {
            (Some(message), Some(key)) => {
                let answer = match opens(&key, wanted) {
                    true if self.has_file(&phone, &wanted.id, &message) => {
                        self.left_again(&message)
                    }
                    true => Err(ResultType::NOT_FOUND),
                    false => Err(ResultType::DECRYPTION_ERROR),
                };
                let Some((sealed, nonce)) = seal(&key, &wanted.id, answer) else {
                    return;
                };
                let parts = [bytes("enc_p", sealed), bytes("enc_iv", nonce)];
                children.push(NodeBuilder::new("encrypt").children(parts).build());
            }
            // Without the file's key nothing can be said in secret.
            _ => children.push(NodeBuilder::new("error").attr("code", 2).build()),
        }
        let notification = NodeBuilder::new("notification")
            .attr("id", wanted.id.as_ref())
            .attr("type", "mediaretry")
            .attr("from", DeviceAddress::phone(wanted.by.number).jid(Form::Pn))
            .attr("t", self.now().as_secs())
            .children(children)
            .build();
        self.deliver(wanted.by, Class::Notification, &wanted.id, notification);
    }

    /// Whether a phone has the file of a message, or can fetch it now.
    fn has_file(&self, phone: &Phone, id: &str, message: &Message) -> bool {
        let received = phone.body_with_file(id);
        let fetched = received.is_none_or(|(_, fetched)| fetched);
        phone.profile().keeps_media && (fetched || self.can_fetch(message))
    }

    fn about(&self, wanted: &ReuploadRequest) -> whatsapp_rust::wacore_binary::Node {
        let mut about = NodeBuilder::new("rmr")
            .attr("jid", wanted.chat.as_str())
            .attr("from_me", if wanted.from_me { "true" } else { "false" });
        if let Some(participant) = &wanted.participant {
            about = about.attr("participant", participant.as_str());
        }
        about.build()
    }

    /// Leaves the file of a message at the media host once more; answers the direct path.
    fn left_again(&self, message: &Message) -> Result<String, ResultType> {
        let file = pointer(message).ok_or(ResultType::NOT_FOUND)?;
        let path = file.direct_path().ok_or(ResultType::NOT_FOUND)?;
        let sum = file.file_enc_sha256().ok_or(ResultType::NOT_FOUND)?;
        let sealed = self.media.copy(path).and_then(|file| file.whole());
        let sealed = sealed.ok_or(ResultType::NOT_FOUND)?;
        let kind = file.app_info().mms_type();
        let (stored, _) = self
            .leave_file(kind, sum, sealed)
            .map_err(|_| ResultType::GENERAL_ERROR)?;
        Ok(stored.direct_path)
    }
}

/// Whether the question was sealed by somebody who has the message.
fn opens(key: &[u8], wanted: &ReuploadRequest) -> bool {
    decrypt_media_retry_notification(key, &wanted.id, &wanted.nonce, &wanted.sealed)
        .ok()
        .and_then(|plain| ServerErrorReceipt::decode_from_slice(&plain).ok())
        .is_some_and(|receipt| receipt.stanza_id.as_deref() == Some(&*wanted.id))
}

fn seal(key: &[u8], id: &str, answer: Result<String, ResultType>) -> Option<(Vec<u8>, [u8; 12])> {
    let result = *answer.as_ref().err().unwrap_or(&ResultType::SUCCESS);
    let plain = MediaRetryNotification {
        stanza_id: Some(id.to_owned()),
        direct_path: answer.ok(),
        result: Some(result),
        ..Default::default()
    }
    .encode_to_vec();
    let mut secret = [0; 32];
    hkdf_sha256_into(key, None, LABEL, &mut secret).ok()?;
    let nonce = random::bytes();
    let mut sealed = Vec::new();
    aes_256_gcm_encrypt(&secret, &nonce, id.as_bytes(), &plain, &mut sealed).ok()?;
    Some((sealed, nonce))
}
