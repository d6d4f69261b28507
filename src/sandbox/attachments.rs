//! Files in messages: a phone seals and leaves its own, and fetches and opens those of others.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::wacore::download::{DownloadUtils, Downloadable, MediaType};
use whatsapp_rust::wacore::upload::encrypt_media;
use whatsapp_rust::waproto::whatsapp::message::{
    AudioMessage, DocumentMessage, ImageMessage, StickerMessage, VideoMessage,
};
use whatsapp_rust::waproto::whatsapp::{ContextInfo, Message};

use super::chat::Chat;
use super::content::{describe, unwrapped};
use super::image_info::ImageInfo;
use super::inbox::ReceivedMessage;
use super::network::Network;
use super::phone::Phone;
use super::{base64, image_info, message_details};
use crate::error::{Error, Result};

/// A file that a phone's user sends.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PhoneAttachment {
    /// The file in base64.
    pub data: String,
    /// Its type.
    pub mimetype: Option<String>,
    /// The name of a document.
    pub file_name: Option<String>,
    /// What stands below it.
    pub caption: Option<String>,
    /// Of a film; a picture's is seen.
    pub width: Option<u32>,
    /// Of a film; a picture's is seen.
    pub height: Option<u32>,
    /// How long a film or sound is.
    pub seconds: Option<u32>,
    /// Whether a sound is a voice message.
    #[serde(alias = "ptt")]
    pub voice: bool,
    /// Whether a film is shown as a GIF.
    pub gif_playback: bool,
    /// Whether a sticker moves; seen, if nothing is said.
    pub animated: Option<bool>,
    /// A small JPEG in base64; made of a picture, if there is none.
    pub thumbnail: Option<String>,
}

impl Network {
    /// Seals a file, leaves it at the server and makes the message that points to it.
    pub(super) fn attach(
        &self,
        kind: MediaType,
        file: &PhoneAttachment,
        context: Option<ContextInfo>,
    ) -> Result<Message> {
        let plain = base64::decode(&file.data)
            .ok_or_else(|| Error::invalid("the data of a file is written in base64"))?;
        let sealed =
            encrypt_media(&plain, kind).map_err(|error| Error::internal(error.to_string()))?;
        let file_sum = sealed.file_enc_sha256;
        let (stored, _) =
            self.leave_file(kind.mms_type(), &file_sum, sealed.data_to_upload.into())?;
        let mimetype =
            |usual: &str| Some(file.mimetype.clone().unwrap_or_else(|| usual.to_owned()));
        let seen = match kind {
            MediaType::Image | MediaType::Sticker => image_info::inspect(&plain),
            _ => None,
        };
        let width = file.width.or(seen.as_ref().map(|seen| seen.width));
        let height = file.height.or(seen.as_ref().map(|seen| seen.height));
        let jpeg_thumbnail = match (&file.thumbnail, kind) {
            (Some(data), _) => Some(
                base64::decode(data)
                    .ok_or_else(|| Error::invalid("a thumbnail is written in base64"))?,
            ),
            (None, MediaType::Image) => image_info::small(&plain),
            (None, _) => None,
        };
        let context_info = MessageField::from(context);
        let now = Some(self.now().as_secs());
        macro_rules! message {
            ($field:ident, $kind:ident, $usual:expr, { $($extra:tt)* }) => {
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
        let streaming_sidecar = sealed.streaming_sidecar.clone();
        Ok(match kind {
            MediaType::Image => {
                let usual = match seen.as_ref().map(|seen| seen.format) {
                    Some("png") => "image/png",
                    Some("gif") => "image/gif",
                    Some("webp") => "image/webp",
                    _ => "image/jpeg",
                };
                message!(image_message, ImageMessage, usual, {
                    caption,
                    width,
                    height,
                    jpeg_thumbnail,
                })
            }
            MediaType::Video => message!(video_message, VideoMessage, "video/mp4", {
                caption,
                width,
                height,
                jpeg_thumbnail,
                streaming_sidecar,
                seconds: file.seconds,
                gif_playback: file.gif_playback.then_some(true),
            }),
            MediaType::Audio => {
                let usual = match file.voice {
                    true => "audio/ogg; codecs=opus",
                    false => "audio/mpeg",
                };
                message!(audio_message, AudioMessage, usual, {
                    streaming_sidecar,
                    seconds: Some(file.seconds.unwrap_or(1)),
                    ptt: Some(file.voice),
                })
            }
            MediaType::Sticker => {
                let moves = seen.as_ref().is_some_and(|seen| seen.animated);
                message!(sticker_message, StickerMessage, "image/webp", {
                    width,
                    height,
                    is_animated: Some(file.animated.unwrap_or(moves)),
                })
            }
            _ => message!(document_message, DocumentMessage, OF_ANY_TYPE, {
                caption,
                jpeg_thumbnail,
                file_name: file.file_name.clone(),
                title: file.file_name.clone(),
            }),
        })
    }

    /// The file of a message that a phone received, as the phone fetched and opened it.
    pub fn attachment(&self, phone: &str, id: &str) -> Result<Vec<u8>> {
        Ok(self.attachment_with_type(phone, id)?.0)
    }

    /// The same, with the type that the message names.
    pub(super) fn attachment_with_type(&self, phone: &str, id: &str) -> Result<(Vec<u8>, String)> {
        let missing = || Error::not_found("the phone has no such file");
        let number = self.number(phone)?;
        let phone = self.directory.known_phone(number).ok_or_else(missing)?;
        let (body, fetched) = phone.body_with_file(id).ok_or_else(missing)?;
        let message = Message::decode_from_slice(&body).map_err(Error::internal)?;
        let plain = self.opened(&message, fetched).ok_or_else(missing)?;
        let kind = describe(&message).mimetype;
        Ok((plain, kind.unwrap_or_else(|| OF_ANY_TYPE.to_owned())))
    }

    /// Where the file of a message is, wherever the message arrived or was sent.
    pub(super) fn path_of_message(&self, id: &str) -> Option<String> {
        self.directory.phones().iter().find_map(|phone| {
            let message = Message::decode_from_slice(&phone.any_body(id)?).ok()?;
            Some(pointer(&message)?.direct_path()?.to_owned())
        })
    }

    /// A phone fetches the file of a message that has come, if it can.
    pub(super) fn fetch_for_phone(&self, phone: &Phone, chat: &Chat, id: &str) {
        let message = phone
            .body(id)
            .and_then(|body| Message::decode_from_slice(&body).ok());
        if message.is_some_and(|message| self.can_fetch(&message)) {
            phone.note_fetched(chat, id);
        }
    }

    /// Whether the file of a message is at the media host now.
    pub(super) fn can_fetch(&self, message: &Message) -> bool {
        let life = self.faults.media_life();
        let path = pointer(message).and_then(|file| file.direct_path());
        !self.faults.media_is_cut()
            && path.is_some_and(|path| self.media.is_there(path, life, self.now()))
    }

    /// Opens the file of a message; `None` if that does not work. Who has `fetched` it before it
    /// expired has it still.
    fn opened(&self, message: &Message, fetched: bool) -> Option<Vec<u8>> {
        let file = pointer(message)?;
        let path = file.direct_path()?;
        let sealed = match fetched {
            true => self.media.copy(path)?.whole()?,
            false => self.file(path)?,
        };
        if Sha256::digest(&sealed)[..] != *file.file_enc_sha256()? {
            return None;
        }
        let key = file.media_key()?;
        let plain = DownloadUtils::verify_and_decrypt(&sealed, key, file.app_info()).ok()?;
        (Sha256::digest(&plain)[..] == *file.file_sha256()?).then_some(plain)
    }

    /// Adds to a message what the phone sees when it opens the file.
    pub(super) fn look_at_file(&self, view: &mut ReceivedMessage, body: &[u8], fetched: bool) {
        let Ok(message) = Message::decode_from_slice(body) else {
            return;
        };
        message_details::add_to(view, &message);
        if pointer(&message).is_none() {
            return;
        }
        let found = self.finding(&message, fetched);
        view.opened = Some(found.is_some());
        if let Some(found) = found {
            view.size = Some(found.size);
            view.sha256 = Some(found.sha256);
            view.decoded = found.decoded;
        }
    }

    /// What is to be seen in the file of a message; `None` if it cannot be opened.
    fn finding(&self, message: &Message, fetched: bool) -> Option<FileFinding> {
        let file = pointer(message)?;
        let there = match fetched {
            true => self.media.copy(file.direct_path()?).is_some(),
            false => self.can_fetch(message),
        };
        if !there {
            return None;
        }
        let mut mark = Sha256::new();
        for part in [
            file.media_key()?,
            file.file_enc_sha256()?,
            file.file_sha256()?,
        ] {
            mark.update(part);
        }
        mark.update(file.app_info().app_info());
        let mark: [u8; 32] = mark.finalize().into();
        if let Some(known) = self.findings.lock().get(&mark) {
            return Some(known.clone());
        }
        let plain = self.opened(message, fetched)?;
        let sum: [u8; 32] = Sha256::digest(&plain).into();
        let found = FileFinding {
            size: plain.len() as u64,
            sha256: hex::encode(sum),
            decoded: image_info::inspect(&plain),
        };
        let mut findings = self.findings.lock();
        if findings.len() == KEPT_FINDINGS {
            findings.clear();
        }
        findings.insert(mark, found.clone());
        Some(found)
    }
}

/// How many findings are kept.
const KEPT_FINDINGS: usize = 10_000;

/// What a phone saw in a file that it opened.
#[derive(Clone)]
struct FileFinding {
    size: u64,
    sha256: String,
    decoded: Option<ImageInfo>,
}

/// What phones saw in files, so that a large one is not opened each time that somebody asks.
#[derive(Default)]
pub(super) struct FileFindings(Mutex<HashMap<[u8; 32], FileFinding>>);

impl FileFindings {
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], FileFinding>> {
        self.0
            .lock()
            .expect("Invariant: nothing panics under this lock")
    }
}

/// The type of a file of which nobody says anything.
const OF_ANY_TYPE: &str = "application/octet-stream";

/// Where the file of a message is, and how it is opened.
pub(super) fn pointer(message: &Message) -> Option<&dyn Downloadable> {
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
