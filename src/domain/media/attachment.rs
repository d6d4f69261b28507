//! One upload per file: what a client gave is prepared, sealed and uploaded once, and then named by
//! every message that shows it, for as long as WhatsApp keeps it.

use std::fs::File;
use std::io::{self, Cursor};
use std::path::Path;
use std::sync::Arc;

use super::effort::{Effort, LONGEST};
use super::file_type::{Family, FileType};
use super::folder::{Content as Stored, unusable};
use super::picture::Content;
use super::source::Found;
use super::turns::Turn;
use super::uploaded::{LIFE, UPLOADS, Uploaded};
use super::{decode, film, metadata, picture, sound, sticker};
use crate::bytes64::Bytes64;
use crate::domain::Gateway;
use crate::domain::session::{Session, must_be_kept};
use crate::error::{Code, Error, Result};
use crate::store::{Durability, bytes_of};
use crate::wa::message::{Attachment, FileKey, Look, MediaKind};

/// What of a file is left as it came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// The pixels of a JPEG or PNG picture, large as it may be.
    pub original: bool,
    /// The metadata of a picture whose pixels are left.
    pub metadata: bool,
}

/// What is sent, before it is at WhatsApp.
struct Made {
    kind: MediaKind,
    note: Option<String>,
    content: Box<dyn io::Read + Send>,
    mimetype: String,
    look: Look,
}

impl Gateway {
    /// The uploaded file for these bytes shown in this way, uploading it when it is not there.
    pub(in crate::domain) async fn uploaded(
        &self,
        session: &Session,
        found: &Found,
        kind: MediaKind,
        keep: Keep,
    ) -> Result<(FileKey, Arc<Uploaded>)> {
        let original = if keep.original { ",original" } else { "" };
        let metadata = if keep.metadata { ",metadata" } else { "" };
        let key = FileKey {
            sha256: found.hash,
            purpose: format!("{}{original}{metadata}", kind.as_str()),
        };
        let row = (session.number, key.sha256, key.purpose.clone());
        let lock = self.uploads.of(&bytes_of(row.clone()));
        let _alone = lock.lock().await;
        if let Some(there) = self.known_upload(session, &key)? {
            return Ok((key, Arc::new(there)));
        }
        let uploaded = self.upload(session, found, kind, keep).await?;
        let uploaded = Arc::new(uploaded);
        let (value, id, number) = (uploaded.clone(), session.id.clone(), session.number);
        self.store
            .write(Durability::Lazy, move |tx| {
                must_be_kept(tx, id.as_str(), number)?;
                UPLOADS.put(tx, row, &value)
            })
            .await?;
        Ok((key, uploaded))
    }

    /// The uploaded file of this key, while WhatsApp keeps it.
    pub(in crate::domain) fn known_upload(
        &self,
        session: &Session,
        key: &FileKey,
    ) -> Result<Option<Uploaded>> {
        let row = (session.number, key.sha256, &key.purpose);
        let found = self.store.read(|read| UPLOADS.get(read, row))?;
        Ok(found.filter(|uploaded| uploaded.ends > self.clock.seen()))
    }

    async fn upload(
        &self,
        session: &Session,
        found: &Found,
        kind: MediaKind,
        keep: Keep,
    ) -> Result<Uploaded> {
        if found.is_kept() && self.media.look(&found.hash).await?.0 != Stored::Right {
            return Err(Code::FileDamaged.into());
        }
        let made = {
            let turn = self.picture_turn(session, found, kind).await?;
            let (path, file_type) = (found.path().to_owned(), found.found);
            tokio::task::spawn_blocking(move || {
                // The turn lasts as long as the work, also when nobody waits for it any more.
                let _turn = turn;
                make(&path, file_type, kind, keep)
            })
            .await
            .map_err(Error::internal)??
        };
        let link = session.require_link()?;
        let sealed = self.media.scratch()?;
        let sealed_file = sealed.file.try_clone().map_err(Error::internal)?;
        let pointer = link
            .upload(made.content, sealed_file, sealed.path(), made.kind)
            .await?;
        Ok(Uploaded {
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

    /// Waits until the file may be worked on, if it is a picture that is to be decoded.
    async fn picture_turn(
        &self,
        session: &Session,
        found: &Found,
        kind: MediaKind,
    ) -> Result<Option<Turn>> {
        let shown = matches!(kind, MediaKind::Image | MediaKind::Gif | MediaKind::Sticker);
        if found.found.family() != Family::Picture || !shown {
            return Ok(None);
        }
        let called = self.pictures.of(session.number).await;
        let (path, file_type) = (found.path().to_owned(), found.found);
        let bytes = tokio::task::spawn_blocking(move || decode::memory_of(&path, file_type))
            .await
            .map_err(Error::internal)??;
        self.pictures.place(called, bytes).await.map(Some)
    }
}

/// Makes of a file what WhatsApp's clients show in this way.
fn make(path: &Path, found: FileType, kind: MediaKind, keep: Keep) -> Result<Made> {
    let needs = |family: Family, what: &str| {
        if found.family() == family {
            return Ok(());
        }
        let (word, mime) = (kind.as_str(), found.mime());
        Err(Error::new(
            Code::FileTypeUnsupported,
            format!("A message of type {word} needs {what}; this file is {mime}"),
        ))
    };
    let as_it_is = |kind, note, look| {
        Ok(Made {
            kind,
            note,
            content: whole(path)?,
            mimetype: found.mime().to_owned(),
            look,
        })
    };
    match kind {
        MediaKind::Document => Ok(Made {
            kind,
            note: None,
            content: original(path, found, keep)?,
            mimetype: found.mime().to_owned(),
            look: Look::default(),
        }),
        MediaKind::Image => {
            needs(Family::Picture, "a picture")?;
            image(path, found, keep, None)
        }
        MediaKind::Gif if found.family() == Family::Picture => {
            let note =
                "sent as a picture that does not move: WhatsApp plays only MP4 films as GIFs";
            image(path, found, keep, Some(note.to_owned()))
        }
        MediaKind::Sticker => {
            needs(Family::Picture, "a picture")?;
            let made = sticker::make(path, found, &Effort::of_this_thread(LONGEST))?;
            Ok(Made {
                kind,
                note: None,
                content: match made.content {
                    // The Exif data of a sticker name its pack.
                    Content::Original => whole(path)?,
                    Content::New(bytes) => Box::new(Cursor::new(bytes)),
                },
                mimetype: FileType::WebP.mime().to_owned(),
                look: Look {
                    width: Some(sticker::SIDE),
                    height: Some(sticker::SIDE),
                    animated: made.animated,
                    ..Look::default()
                },
            })
        }
        MediaKind::Video | MediaKind::Gif => {
            needs(Family::Video, "an MP4 or 3GP film")?;
            if !matches!(found, FileType::Mp4 | FileType::ThreeGp | FileType::Mov) {
                let mime = found.mime();
                return Err(Error::new(
                    Code::FileTypeUnsupported,
                    format!(
                        "WhatsApp plays MP4 and 3GP films; this file is {mime}: send it as a document"
                    ),
                ));
            }
            let film = film::inspect(path)?;
            let look = Look {
                width: Some(film.width).filter(|side| *side > 0),
                height: Some(film.height).filter(|side| *side > 0),
                seconds: film.seconds,
                ..Look::default()
            };
            as_it_is(kind, None, look)
        }
        MediaKind::Audio | MediaKind::Voice => {
            needs(Family::Audio, "a sound file")?;
            let sound = sound::inspect(path, found)?;
            let plain = kind == MediaKind::Voice && !sound.voice;
            let note = plain.then(|| {
                let mime = found.mime();
                format!(
                    "sent as audio, not as a voice note: a voice note must be Ogg Opus, this file is {mime}"
                )
            });
            let kind = if plain { MediaKind::Audio } else { kind };
            let look = Look {
                seconds: sound.seconds,
                ..Look::default()
            };
            let mut made = as_it_is(kind, note, look)?;
            if sound.voice {
                made.mimetype = "audio/ogg; codecs=opus".to_owned();
            }
            Ok(made)
        }
    }
}

/// The file with all that is in it.
fn whole(path: &Path) -> Result<Box<dyn io::Read + Send>> {
    let file = File::open(path).map_err(|e| unusable("the file cannot be read", e))?;
    Ok(Box::new(file))
}

/// The file as its sender means it: where a picture was taken is told only when it was asked for.
fn original(path: &Path, found: FileType, keep: Keep) -> Result<Box<dyn io::Read + Send>> {
    if keep.metadata {
        return whole(path);
    }
    Ok(Box::new(metadata::strip(path, found)?))
}

fn image(path: &Path, found: FileType, keep: Keep, note: Option<String>) -> Result<Made> {
    let picture = picture::prepare(path, found, keep.original)?;
    Ok(Made {
        kind: MediaKind::Image,
        note,
        content: match picture.content {
            Content::Original => original(path, found, keep)?,
            Content::New(bytes) => Box::new(Cursor::new(bytes)),
        },
        mimetype: picture.mime.to_owned(),
        look: Look {
            thumbnail: Some(Bytes64(picture.thumbnail)),
            width: Some(picture.width),
            height: Some(picture.height),
            ..Look::default()
        },
    })
}
