//! Files of another program on their way into the media folder.

use std::path::Path;

use tokio::io::AsyncReadExt as _;

use super::blobs::{BlobState, CompleteFile};
use super::files::{MediaFile, add, full, usage};
use super::upload::{MAX_UPLOAD, is_taken};
use crate::domain::Gateway;
use crate::error::{Code, Error, Result};
use crate::ids::{Hash, MediaId, SessionNumber};
use crate::store::Tx;

/// How much is read at once.
const AT_ONCE: usize = 64 * 1024;

/// A file that is here and in no session yet. It goes when the value does.
pub(in crate::domain) struct ImportedFile {
    /// Its id.
    pub(in crate::domain) id: MediaId,
    arrived: CompleteFile,
    row: MediaFile,
}

impl ImportedFile {
    /// Its row, for each session that has it.
    pub(in crate::domain) fn row(&self) -> (MediaId, MediaFile) {
        (self.id.clone(), self.row.clone())
    }

    /// How many bytes it has.
    pub(in crate::domain) fn size(&self) -> u64 {
        self.row.size
    }
}

/// Adds a file to a session, unless it takes more than the session may have.
pub(in crate::domain) fn put(
    tx: &mut Tx,
    session: SessionNumber,
    (id, row): &(MediaId, MediaFile),
    quota: u64,
) -> Result<()> {
    if usage(tx, session)?.bytes + row.size > quota {
        return Err(full(quota));
    }
    add(tx, session, id, row)
}

impl Gateway {
    /// Copies a file of another program, and judges it as an upload is judged.
    pub(in crate::domain) async fn stage_file(
        &self,
        id: MediaId,
        path: &Path,
    ) -> Result<ImportedFile> {
        let gone = |why: std::io::Error| Error::from(Code::FileGone).because(why);
        let mut source = tokio::fs::File::open(path).await.map_err(gone)?;
        let mut arrival = self.media.arrival()?;
        let mut piece = vec![0; AT_ONCE];
        loop {
            let many = source.read(&mut piece).await.map_err(gone)?;
            if many == 0 {
                break;
            }
            if arrival.size() + many as u64 > MAX_UPLOAD {
                return Err(Code::FileTooLarge.into());
            }
            arrival.write(&piece[..many]).await?;
        }
        let found = self.arrived(arrival, None, "file").await?;
        let file_type = found.found;
        if !is_taken(file_type) {
            return Err(Code::FileTypeUnsupported.into());
        }
        let arrived = found
            .into_arrived()
            .ok_or_else(|| Error::internal("a file that did not arrive"))?;
        Ok(ImportedFile {
            row: MediaFile {
                sha256: arrived.hash,
                size: arrived.size,
                mime: file_type.mime().to_owned(),
                name: None,
                at: self.clock.now(),
                received: false,
            },
            id,
            arrived,
        })
    }

    /// Gives the files their lasting names. The caller holds `media.change()` from here until their rows
    /// are written.
    pub(in crate::domain) async fn name_imported(&self, files: &[ImportedFile]) -> Result<()> {
        for file in files {
            let (there, _) = self.media.inspect(&file.arrived.hash).await?;
            if there == BlobState::Wrong {
                self.forget_uploads_of(file.arrived.hash).await?;
            }
            self.media.name(&file.arrived, there).await?;
        }
        Ok(())
    }

    /// Takes away what has its name and no row, because the rows could not be written.
    pub(in crate::domain) async fn unname_imported(&self, files: &[ImportedFile]) {
        let hashes: Vec<Hash> = files.iter().map(|file| file.arrived.hash).collect();
        for hash in hashes {
            self.remove_unnamed(hash).await;
        }
    }
}
