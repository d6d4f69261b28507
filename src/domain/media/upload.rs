//! Taking a file from a client: written to disk as it arrives, judged when it is whole.

use std::sync::Arc;

use super::arriving::ReservedSpace;
use super::blobs::PartialFile;
use super::file_type::FileType;
use super::files::MediaFile;
use crate::domain::Gateway;
use crate::domain::session::Session;
use crate::error::{Code, Error, Result};
use crate::ids::MediaId;
use crate::names;

/// The largest file that can be uploaded: 25 MiB, as seed 001 documents.
pub const MAX_UPLOAD: u64 = 25 << 20;

/// A file that is being uploaded. Dropped, it leaves nothing.
pub struct Upload {
    arrival: PartialFile,
    room: ReservedSpace,
    name: Option<String>,
    declared: Option<String>,
}

impl Upload {
    /// Adds bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.arrival.size() + bytes.len() as u64 > MAX_UPLOAD {
            return Err(Code::FileTooLarge.into());
        }
        self.room.take(bytes.len() as u64).await?;
        self.arrival.write(bytes).await
    }
}

/// Refuses files of types that cannot be uploaded: those of seed 001 can, and those that the further kinds
/// of messages need.
pub(super) fn refuse_unless_taken(found: FileType) -> Result<()> {
    use FileType as T;
    let is_taken = matches!(
        found,
        T::Jpeg
            | T::Png
            | T::Gif
            | T::WebP
            | T::Pdf
            | T::Doc
            | T::Docx
            | T::Xls
            | T::Xlsx
            | T::Ppt
            | T::Pptx
            | T::Mp4
            | T::ThreeGp
            | T::Mov
            | T::Ogg
            | T::OggOpus
            | T::Mp3
            | T::M4a
            | T::Aac
            | T::Amr
    );
    match is_taken {
        true => Ok(()),
        false => Err(Code::FileTypeUnsupported.into()),
    }
}

impl Gateway {
    /// Begins to take a file, by the name and type that the client gives it.
    pub fn begin_upload(
        self: &Arc<Self>,
        session: &Arc<Session>,
        name: Option<&str>,
        declared: Option<&str>,
    ) -> Result<Upload> {
        let quota = self.config.media_quota;
        let (arriving, store) = (self.arriving.clone(), self.store.clone());
        Ok(Upload {
            arrival: self.media.arrival()?,
            room: ReservedSpace::new(arriving, store, session.number, quota),
            name: name.and_then(names::of_file),
            declared: declared.map(str::to_owned),
        })
    }

    /// Stores an uploaded file, if it is what it says and of a type that is taken.
    pub async fn finish_upload(
        &self,
        session: &Session,
        upload: Upload,
    ) -> Result<(MediaId, MediaFile)> {
        let declared = upload.declared.as_deref();
        let found = self.arrived(upload.arrival, declared, "file").await?;
        let file_type = found.found;
        refuse_unless_taken(file_type)?;
        let arrived = found
            .into_arrived()
            .ok_or_else(|| Error::internal("an upload that did not arrive"))?;
        self.keep_file(
            session,
            &arrived,
            file_type,
            upload.name,
            false,
            Some(upload.room),
        )
        .await
    }
}
