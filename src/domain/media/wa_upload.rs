//! One upload per file: what a client gave is prepared, sealed and uploaded once, and then named by
//! every message that shows it, for as long as WhatsApp keeps it.

use std::fs::File;
use std::io::{self, Cursor};
use std::path::Path;
use std::sync::Arc;

use super::blobs::{BlobState as Stored, unusable};
use super::effort::{Effort, LONGEST};
use super::file_type::{Family, FileType};
use super::images::ImageContent;
use super::source::LocalFile;
use super::turns::ImageTurn;
use super::uploaded::{LIFE, UPLOADS, WaUpload};
use super::{audio, decode, images, metadata, sticker, video};
use crate::bytes64::Bytes64;
use crate::domain::Gateway;
use crate::domain::session::{Session, ensure_session_exists};
use crate::error::{Code, Error, Result};
use crate::store::{Durability, bytes_of};
use crate::tasks::blocking;
use crate::wa::message::{Attachment, FileKey, MediaInfo, MediaKind};

/// What of a file is left as it came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeepOptions {
    /// The pixels of a JPEG or PNG image, large as it may be.
    pub original: bool,
    /// The metadata of an image whose pixels are left.
    pub metadata: bool,
}

/// What is sent, before it is at WhatsApp.
struct PreparedFile {
    kind: MediaKind,
    note: Option<String>,
    content: Box<dyn io::Read + Send>,
    mimetype: String,
    look: MediaInfo,
}

impl Gateway {
    /// The uploaded file for these bytes shown in this way, uploading it when it is not there.
    pub(in crate::domain) async fn uploaded(
        &self,
        session: &Session,
        found: &LocalFile,
        kind: MediaKind,
        keep: KeepOptions,
    ) -> Result<(FileKey, Arc<WaUpload>)> {
        let original = if keep.original { ",original" } else { "" };
        let metadata = if keep.metadata { ",metadata" } else { "" };
        let key = FileKey {
            sha256: found.hash,
            purpose: format!("{}{original}{metadata}", kind.as_str()),
        };
        let row = (session.number, key.sha256, key.purpose.clone());
        let lock = self.uploading.of(&bytes_of(row.clone()));
        let _alone = lock.lock().await;
        if let Some(there) = self.known_upload(session, &key)? {
            return Ok((key, Arc::new(there)));
        }
        let uploaded = self.upload(session, found, kind, keep).await?;
        let uploaded = Arc::new(uploaded);
        let (value, id, number) = (uploaded.clone(), session.id.clone(), session.number);
        self.store
            .write(Durability::Lazy, move |tx| {
                ensure_session_exists(tx, id.as_str(), number)?;
                UPLOADS.put(tx, row, &value)
            })
            .await?;
        Ok((key, uploaded))
    }

    /// The uploaded file of this key, while WhatsApp keeps it; what is damaged is uploaded anew.
    pub(in crate::domain) fn known_upload(
        &self,
        session: &Session,
        key: &FileKey,
    ) -> Result<Option<WaUpload>> {
        let row = (session.number, key.sha256, &key.purpose);
        let found = self.store.read(|read| UPLOADS.readable(read, row))?;
        Ok(found.filter(|uploaded| uploaded.ends > self.clock.seen()))
    }

    async fn upload(
        &self,
        session: &Session,
        found: &LocalFile,
        kind: MediaKind,
        keep: KeepOptions,
    ) -> Result<WaUpload> {
        if found.is_stored() && self.media.inspect(&found.hash).await?.0 != Stored::Right {
            return Err(Code::FileDamaged.into());
        }
        let made = {
            let turn = self.image_turn(session, found, kind).await?;
            let (path, file_type) = (found.path().to_owned(), found.found);
            blocking(move || {
                // The turn lasts as long as the work, also when nobody waits for it any more.
                let _turn = turn;
                make(&path, file_type, kind, keep)
            })
            .await??
        };
        let connection = session.require_connection()?;
        let sealed = self.media.scratch()?;
        let sealed_file = sealed.file.try_clone().map_err(Error::internal)?;
        let pointer = connection
            .upload(made.content, sealed_file, sealed.path(), made.kind)
            .await?;
        Ok(WaUpload {
            kind: made.kind,
            note: made.note,
            file: Attachment {
                pointer,
                mimetype: made.mimetype,
                look: made.look,
            },
            ends: self.clock.now().after(LIFE),
        })
    }

    /// Waits until the file may be worked on, if it is an image that is to be decoded.
    async fn image_turn(
        &self,
        session: &Session,
        found: &LocalFile,
        kind: MediaKind,
    ) -> Result<Option<ImageTurn>> {
        let shown = matches!(kind, MediaKind::Image | MediaKind::Gif | MediaKind::Sticker);
        if found.found.family() != Family::Image || !shown {
            return Ok(None);
        }
        let called = self.pictures.of(session.number).await;
        let (path, file_type) = (found.path().to_owned(), found.found);
        let bytes = blocking(move || decode::memory_of(&path, file_type)).await??;
        self.pictures.acquire(called, bytes).await.map(Some)
    }
}

/// Makes of a file what WhatsApp's clients show in this way.
fn make(path: &Path, found: FileType, kind: MediaKind, keep: KeepOptions) -> Result<PreparedFile> {
    match kind {
        MediaKind::Document => Ok(PreparedFile {
            kind,
            note: None,
            content: original(path, found, keep)?,
            mimetype: found.mime().to_owned(),
            look: MediaInfo::default(),
        }),
        MediaKind::Image => {
            needs(Family::Image, "an image", found, kind)?;
            image(path, found, keep, None)
        }
        MediaKind::Gif if found.family() == Family::Image => {
            let note = "sent as a still image: WhatsApp plays only MP4 videos as GIFs";
            image(path, found, keep, Some(note.to_owned()))
        }
        MediaKind::Sticker => {
            needs(Family::Image, "an image", found, kind)?;
            sticker(path, found)
        }
        MediaKind::Video | MediaKind::Gif => {
            needs(Family::Video, "an MP4 or 3GP film", found, kind)?;
            film(path, found, kind)
        }
        MediaKind::Audio | MediaKind::Voice => {
            needs(Family::Audio, "a sound file", found, kind)?;
            sound(path, found, kind)
        }
    }
}

/// Refuses a file that no message of this kind can show.
fn needs(family: Family, what: &str, found: FileType, kind: MediaKind) -> Result<()> {
    if found.family() == family {
        return Ok(());
    }
    let (word, mime) = (kind.as_str(), found.mime());
    Err(Error::new(
        Code::FileTypeUnsupported,
        format!("A message of type {word} needs {what}; this file is {mime}"),
    ))
}

fn sticker(path: &Path, found: FileType) -> Result<PreparedFile> {
    let made = sticker::make(path, found, &Effort::of_this_thread(LONGEST))?;
    Ok(PreparedFile {
        kind: MediaKind::Sticker,
        note: None,
        content: match made.content {
            // The Exif data of a sticker name its pack.
            ImageContent::Original => whole(path)?,
            ImageContent::New(bytes) => Box::new(Cursor::new(bytes)),
        },
        mimetype: FileType::WebP.mime().to_owned(),
        look: MediaInfo {
            width: Some(sticker::SIDE),
            height: Some(sticker::SIDE),
            animated: made.animated,
            ..MediaInfo::default()
        },
    })
}

fn film(path: &Path, found: FileType, kind: MediaKind) -> Result<PreparedFile> {
    if !matches!(found, FileType::Mp4 | FileType::ThreeGp | FileType::Mov) {
        let mime = found.mime();
        return Err(Error::new(
            Code::FileTypeUnsupported,
            format!(
                "WhatsApp plays MP4 and 3GP videos; this file is {mime}: send it as a document"
            ),
        ));
    }
    let video = video::inspect(path)?;
    Ok(PreparedFile {
        kind,
        note: None,
        content: whole(path)?,
        mimetype: found.mime().to_owned(),
        look: MediaInfo {
            width: Some(video.width).filter(|side| *side > 0),
            height: Some(video.height).filter(|side| *side > 0),
            seconds: video.seconds,
            ..MediaInfo::default()
        },
    })
}

/// A voice note that is no Ogg Opus goes as a sound, with a note.
fn sound(path: &Path, found: FileType, kind: MediaKind) -> Result<PreparedFile> {
    let audio = audio::inspect(path, found)?;
    let mime = found.mime();
    let plain = kind == MediaKind::Voice && !audio.voice;
    let note = plain.then(|| {
        format!(
            "sent as audio, not as a voice note: a voice note must be Ogg Opus, this file is {mime}"
        )
    });
    Ok(PreparedFile {
        kind: if plain { MediaKind::Audio } else { kind },
        note,
        content: whole(path)?,
        mimetype: match audio.voice {
            true => "audio/ogg; codecs=opus",
            false => mime,
        }
        .to_owned(),
        look: MediaInfo {
            seconds: audio.seconds,
            ..MediaInfo::default()
        },
    })
}

/// The file with all that is in it.
fn whole(path: &Path) -> Result<Box<dyn io::Read + Send>> {
    let file = File::open(path).map_err(|e| unusable("the file cannot be read", e))?;
    Ok(Box::new(file))
}

/// The file as its sender means it: where an image was taken is told only when it was asked for.
fn original(path: &Path, found: FileType, keep: KeepOptions) -> Result<Box<dyn io::Read + Send>> {
    if keep.metadata {
        return whole(path);
    }
    Ok(Box::new(metadata::strip(path, found)?))
}

fn image(
    path: &Path,
    found: FileType,
    keep: KeepOptions,
    note: Option<String>,
) -> Result<PreparedFile> {
    let image = images::prepare(path, found, keep.original)?;
    Ok(PreparedFile {
        kind: MediaKind::Image,
        note,
        content: match image.content {
            ImageContent::Original => original(path, found, keep)?,
            ImageContent::New(bytes) => Box::new(Cursor::new(bytes)),
        },
        mimetype: image.mime.to_owned(),
        look: MediaInfo {
            thumbnail: Some(Bytes64(image.thumbnail)),
            width: Some(image.width),
            height: Some(image.height),
            ..MediaInfo::default()
        },
    })
}
