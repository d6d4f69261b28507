//! An album as a client asks for it: files of one request that are shown together.

use super::{DraftContent, DraftMedia};
use crate::error::{Code, Result};
use crate::wa::message::MediaKind;

/// How many files one album may hold, as WhatsApp's own clients allow.
pub const MAX_ALBUM: usize = 30;

/// Files of a request that belong together.
#[derive(Debug, Clone, Copy)]
pub struct Album {
    number: usize,
}

impl Album {
    /// An album of 2 to [`MAX_ALBUM`] files; `number` tells it from the others of the request.
    pub fn of(files: usize, number: usize) -> Result<Self> {
        if !(2..=MAX_ALBUM).contains(&files) {
            return Err(Code::AlbumInvalid.into());
        }
        Ok(Self { number })
    }

    /// One of its files: an image, a video or a document.
    pub fn file(self, mut media: DraftMedia) -> Result<DraftContent> {
        use MediaKind as Kind;
        if !matches!(media.kind, Kind::Image | Kind::Video | Kind::Document) {
            return Err(Code::AlbumInvalid.into());
        }
        media.album = Some(self.number);
        Ok(DraftContent::Media(Box::new(media)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::media::FileSource;

    #[test]
    fn an_album_has_2_to_30_pictures_films_and_documents() {
        for (files, good) in [(0, false), (1, false), (2, true), (30, true), (31, false)] {
            assert_eq!(Album::of(files, 0).is_ok(), good, "{files}");
        }
        let album = Album::of(2, 7).expect("an album");
        let file = |kind| DraftMedia::new(kind, FileSource::Link("https://example.com/a".into()));
        let Ok(DraftContent::Media(media)) = album.file(file(MediaKind::Image)) else {
            panic!("a picture belongs into an album");
        };
        assert_eq!(media.album, Some(7));
        let sticker = album.file(file(MediaKind::Sticker)).map_err(|e| e.code());
        assert_eq!(sticker, Err(Code::AlbumInvalid));
    }
}
