//! Files in messages: a phone seals and leaves its own, and fetches and opens those of others.

use bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::wacore::download::{DownloadUtils, Downloadable, MediaType};
use whatsapp_rust::wacore::upload::encrypt_media;
use whatsapp_rust::waproto::whatsapp::message::{
    AudioMessage, DocumentMessage, ImageMessage, StickerMessage, VideoMessage,
};
use whatsapp_rust::waproto::whatsapp::{ContextInfo, Message};

use super::content::unwrapped;
use super::inbox::ReceivedMessage;
use super::network::Network;
use super::{base64, random};
use crate::error::{Error, Result};

/// A file that a phone's user sends.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Attachment {
    /// The file in base64.
    pub data: String,
    /// Its type.
    pub mimetype: Option<String>,
    /// The name of a document.
    pub file_name: Option<String>,
    /// What stands below it.
    pub caption: Option<String>,
}

impl Network {
    /// Seals a file, leaves it at the server and makes the message that points to it.
    pub(super) fn attach(
        &self,
        kind: MediaType,
        file: &Attachment,
        context: Option<ContextInfo>,
    ) -> Result<Message> {
        let plain = base64::decode(&file.data)
            .ok_or_else(|| Error::invalid("the data of a file is written in base64"))?;
        let sealed =
            encrypt_media(&plain, kind).map_err(|error| Error::internal(error.to_string()))?;
        let token = base64::encode(&sealed.file_enc_sha256);
        let stored = self.upload(kind.mms_type(), &token, Bytes::from(sealed.data_to_upload))?;
        let mimetype =
            |usual: &str| Some(file.mimetype.clone().unwrap_or_else(|| usual.to_owned()));
        let context_info = MessageField::from(context);
        let now = Some(self.now().as_secs());
        macro_rules! message {
            ($field:ident, $kind:ident, $usual:literal, { $($extra:tt)* }) => {
                Message {
                    $field: MessageField::some($kind {
                        url: Some(stored.url),
                        direct_path: Some(stored.direct_path),
                        mimetype: mimetype($usual),
                        media_key: Some(sealed.media_key.to_vec()),
                        media_key_timestamp: now,
                        file_sha256: Some(sealed.file_sha256.to_vec()),
                        file_enc_sha256: Some(sealed.file_enc_sha256.to_vec()),
                        file_length: Some(plain.len() as u64),
                        context_info,
                        $($extra)*
                        ..Default::default()
                    }),
                    ..Default::default()
                }
            };
        }
        let caption = file.caption.clone();
        Ok(match kind {
            MediaType::Image => message!(image_message, ImageMessage, "image/jpeg", { caption, }),
            MediaType::Video => message!(video_message, VideoMessage, "video/mp4", { caption, }),
            MediaType::Audio => {
                message!(audio_message, AudioMessage, "audio/ogg; codecs=opus", { seconds: Some(1), })
            }
            MediaType::Sticker => message!(sticker_message, StickerMessage, "image/webp", {}),
            _ => message!(document_message, DocumentMessage, "application/octet-stream", {
                caption,
                file_name: file.file_name.clone(),
                title: file.file_name.clone(),
            }),
        })
    }

    /// The file of a message that a phone received, as the phone fetched and opened it.
    pub fn attachment(&self, phone: &str, id: &str) -> Result<Vec<u8>> {
        let missing = || Error::not_found("the phone has no such file");
        let number = self.number(phone)?;
        let phone = self.directory.known_phone(number).ok_or_else(missing)?;
        let body = phone.body(id).ok_or_else(missing)?;
        let message = Message::decode_from_slice(&body).map_err(Error::internal)?;
        self.opened(&message).ok_or_else(missing)
    }

    /// Fetches and opens the file of a message; `None` if that does not work.
    fn opened(&self, message: &Message) -> Option<Vec<u8>> {
        let file = pointer(message)?;
        let sealed = self.file(file.direct_path()?)?;
        if Sha256::digest(&sealed)[..] != *file.file_enc_sha256()? {
            return None;
        }
        let key = file.media_key()?;
        let plain = DownloadUtils::verify_and_decrypt(&sealed, key, file.app_info()).ok()?;
        (Sha256::digest(&plain)[..] == *file.file_sha256()?).then_some(plain)
    }

    /// Adds to a message what the phone sees when it opens the file.
    pub(super) fn look_at_file(&self, view: &mut ReceivedMessage, body: &[u8]) {
        let Ok(message) = Message::decode_from_slice(body) else {
            return;
        };
        if pointer(&message).is_none() {
            return;
        }
        let plain = self.opened(&message);
        view.opened = Some(plain.is_some());
        if let Some(plain) = plain {
            view.size = Some(plain.len() as u64);
            let sum: [u8; 32] = Sha256::digest(&plain).into();
            view.sha256 = Some(random::hex(&sum).to_ascii_lowercase());
        }
    }
}

/// Where the file of a message is, and how it is opened.
fn pointer(message: &Message) -> Option<&dyn Downloadable> {
    let message = unwrapped(message);
    if let Some(file) = message.image_message.as_option() {
        return Some(file);
    }
    if let Some(file) = message
        .video_message
        .as_option()
        .or(message.ptv_message.as_option())
    {
        return Some(file);
    }
    if let Some(file) = message.audio_message.as_option() {
        return Some(file);
    }
    if let Some(file) = message.document_message.as_option() {
        return Some(file);
    }
    message
        .sticker_message
        .as_option()
        .map(|file| file as &dyn Downloadable)
}
