//! Files of another program on their way into the media folder.

use std::path::Path;

use tokio::io::AsyncReadExt as _;

use super::blobs::{BlobState, CompleteFile};
use super::files::{MediaFile, add};
use super::kind;
use super::reader::FileReader;
use super::source::empty;
use super::upload::{MAX_UPLOAD, refuse_unless_taken};
use crate::domain::Gateway;
use crate::error::{Code, Error, Result};
use crate::ids::{Hash, MediaId, SessionNumber};
use crate::plain_file::{self, Unread};
use crate::store::Tx;
use crate::tasks::blocking;

/// How much is read at once.
const AT_ONCE: usize = 64 * 1024;

/// A file that is here and in no session yet. It goes when the value does.
pub(in crate::domain) struct ImportedFile {
    /// Its id.
    pub(in crate::domain) id: MediaId,
    arrived: CompleteFile,
    /// What lies in the media folder under its name.
    there: BlobState,
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

/// Adds a file to a session.
///
/// Invariant: that there is room for it was judged before; the session has nothing but what comes with it.
pub(in crate::domain) fn put(
    tx: &mut Tx,
    session: SessionNumber,
    (id, row): &(MediaId, MediaFile),
) -> Result<()> {
    add(tx, session, id, row)
}

impl Gateway {
    /// Judges a file of another program where it lies, as [`Gateway::stage_file`] judges it. Answers how
    /// many bytes it has.
    pub(in crate::domain) async fn judge_file(&self, path: &Path) -> Result<u64> {
        let path = path.to_owned();
        let look = move || {
            let (file, size) = plain_file::open(&path).map_err(not_plain)?;
            match size {
                0 => Err(empty("file")),
                1..=MAX_UPLOAD => {
                    let found = kind::sniff_in(&mut FileReader::of(file)?)?;
                    refuse_unless_taken(found).map(|()| size)
                }
                _ => Err(Code::FileTooLarge.into()),
            }
        };
        blocking(look).await?
    }

    /// Copies a file of another program, and judges it as an upload is judged.
    pub(in crate::domain) async fn stage_file(
        &self,
        id: MediaId,
        path: &Path,
    ) -> Result<ImportedFile> {
        let path = path.to_owned();
        let opened = blocking(move || plain_file::open(&path)).await?;
        let (source, _) = opened.map_err(not_plain)?;
        let mut source = tokio::fs::File::from_std(source);
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
        refuse_unless_taken(file_type)?;
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
            there: BlobState::Missing,
            arrived,
        })
    }

    /// Brings the files to the disk, so that naming them takes no time.
    pub(in crate::domain) async fn sync_imported(&self, files: &mut [ImportedFile]) -> Result<()> {
        for file in files {
            let hash = file.arrived.hash;
            (file.there, _) = self.media.inspect(&hash).await?;
            if file.there == BlobState::Wrong {
                self.forget_uploads_of(hash).await?;
            }
            self.media.sync(&file.arrived, file.there).await?;
        }
        Ok(())
    }

    /// Gives files that were synced their lasting names. The caller holds `media.change()` from here until
    /// their rows are written.
    pub(in crate::domain) async fn name_imported(&self, files: &[ImportedFile]) -> Result<()> {
        let named = files.iter().map(|file| (&file.arrived, file.there));
        self.media.name_synced(named).await
    }

    /// Takes away what has its name and no row, because the rows could not be written.
    pub(in crate::domain) async fn unname_imported(&self, files: &[ImportedFile]) {
        let _alone = self.media.change().await;
        let hashes: Vec<Hash> = files.iter().map(|file| file.arrived.hash).collect();
        for hash in hashes {
            self.remove_unnamed(hash).await;
        }
    }
}

/// What was a plain file when the folder was listed, and is none now.
fn not_plain(why: Unread) -> Error {
    Error::new(Code::FileGone, why.to_string())
}

fn gone(why: std::io::Error) -> Error {
    Error::from(Code::FileGone).because(why)
}
