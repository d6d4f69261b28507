//! The hostile phone: what it says in place of what an honest one would say.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use whatsapp_rust::waproto::whatsapp::{Message, MessageKey};

use crate::error::{Error, Result};

/// What a phone claims. What is not there is said as an honest phone says it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Claims {
    /// The hash of the file.
    pub file_sha256: Option<Hex>,
    /// The hash of the sealed file.
    pub file_enc_sha256: Option<Hex>,
    /// What opens the file.
    pub media_key: Option<Hex>,
    /// Where the file is.
    pub direct_path: Option<String>,
    /// The same, with a host.
    pub url: Option<String>,
    /// How large the file is.
    pub file_length: Option<u64>,
    /// What the file is.
    pub mimetype: Option<String>,
    /// The name of a document.
    pub file_name: Option<String>,
    /// The pages of a document.
    pub page_count: Option<u32>,
    /// How long a film or sound is.
    pub seconds: Option<u32>,
    /// Of a picture, film or sticker.
    pub width: Option<u32>,
    /// Of a picture, film or sticker.
    pub height: Option<u32>,
    /// The message that is changed, taken back or reacted to.
    pub key: Option<ForeignKey>,
    /// How the sender calls himself.
    pub push_name: Option<String>,
    /// The id of the message that carries all this.
    pub id: Option<String>,
}

/// How a message names another one; what is not there is not said.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ForeignKey {
    /// The chat that the other message is in.
    pub remote_jid: Option<String>,
    /// Whether the sender of this one wrote it.
    pub from_me: Option<bool>,
    /// Its id.
    pub id: Option<String>,
    /// Who wrote it, in a group.
    pub participant: Option<String>,
}

/// Bytes in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hex(pub Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = hex::decode(text).map_err(|_| D::Error::custom("not in hexadecimal digits"))?;
        Ok(Self(bytes))
    }
}

impl ForeignKey {
    /// The key as it stands in a message.
    pub(super) fn written(&self) -> MessageKey {
        MessageKey {
            remote_jid: self.remote_jid.clone(),
            from_me: self.from_me,
            id: self.id.clone(),
            participant: self.participant.clone(),
        }
    }
}

impl Claims {
    fn is_about_a_file(&self) -> bool {
        self.file_sha256.is_some()
            || self.file_enc_sha256.is_some()
            || self.media_key.is_some()
            || self.direct_path.is_some()
            || self.url.is_some()
            || self.file_length.is_some()
            || self.mimetype.is_some()
            || self.file_name.is_some()
            || self.page_count.is_some()
            || self.seconds.is_some()
            || self.width.is_some()
            || self.height.is_some()
    }

    /// Says of the file in a message what is claimed of it.
    pub(super) fn about_file(&self, message: &mut Message) -> Result<()> {
        if !self.is_about_a_file() {
            return Ok(());
        }
        // Every kind of file has the first fields, under these names.
        macro_rules! say {
            ($file:expr, $($field:ident),*) => {{
                let file = $file;
                let bytes = |hex: &Option<Hex>| hex.as_ref().map(|hex| hex.0.clone());
                file.file_sha256 = bytes(&self.file_sha256).or(file.file_sha256.take());
                file.file_enc_sha256 = bytes(&self.file_enc_sha256).or(file.file_enc_sha256.take());
                file.media_key = bytes(&self.media_key).or(file.media_key.take());
                say!(@ file, direct_path, url, file_length, mimetype $(, $field)*);
            }};
            (@ $file:ident, $($field:ident),*) => {
                $($file.$field = self.$field.clone().or($file.$field.take());)*
            };
        }
        if let Some(image) = message.image_message.as_option_mut() {
            say!(image, width, height);
        } else if let Some(video) = message.video_message.as_option_mut() {
            say!(video, width, height, seconds);
        } else if let Some(audio) = message.audio_message.as_option_mut() {
            say!(audio, seconds);
        } else if let Some(sticker) = message.sticker_message.as_option_mut() {
            say!(sticker, width, height);
        } else if let Some(document) = message.document_message.as_option_mut() {
            // Clients write a document's name twice.
            document.title = self.file_name.clone().or(document.title.take());
            say!(document, page_count, file_name);
        } else {
            return Err(Error::invalid("this message has no file to lie about"));
        }
        Ok(())
    }
}
