//! A backup that is being written: it is in its place when all of it is there, and not before.
//!
//! Everything is written into the folder `FILE.unfinished` beside the place, which a failure takes away
//! again. Then the files are moved into `FILE.media` and, last, the store to FILE: whoever sees the new
//! FILE has its files, and until then FILE is the older backup, which needs none of them to go.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::backup_room::refuse_without_room;
use super::blobs::{bytes_to_seal, contents_of, copy_contents, media_folder_of, seal_contents};
use crate::error::{Code, Error, Result};
use crate::seal::Seal;

/// What has been written of a backup; it goes with the value.
pub struct Staged {
    file: PathBuf,
    folder: PathBuf,
}

impl Staged {
    /// Begins a backup to `file`. What a crash left of an earlier try goes.
    pub fn begin(file: &Path) -> Result<Self> {
        let mut folder = file.as_os_str().to_owned();
        folder.push(".unfinished");
        let staged = Self {
            file: file.to_owned(),
            folder: folder.into(),
        };
        let removed = match std::fs::remove_dir_all(&staged.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        let made = removed.and_then(|()| DirBuilder::new().mode(0o700).create(&staged.folder));
        made.map_err(|e| staged.cannot(e))?;
        Ok(staged)
    }

    /// Refuses when there is no room for a store of so many bytes and for the files of a media folder, or
    /// in `data` for the copy of the store that lies there while it is sealed.
    pub fn refuse_without_room(&self, store: u64, media: &Path, data: &Path) -> Result<()> {
        let files = bytes_to_seal(media, &media_folder_of(&self.file))?;
        let written = store.saturating_add(files);
        refuse_without_room(&[(data, store), (&self.folder, written)])
    }

    /// Where the copy of the store is to be written.
    pub fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// Adds the files of a media folder, sealed. What an older backup in the place has is not
    /// written again.
    pub fn seal_files(&self, from: &Path, seal: &Seal) -> Result<()> {
        seal_contents(from, &self.folder, &media_folder_of(&self.file), seal)
    }

    /// Adds the store and the files of a backup that lies elsewhere, when there is room for them.
    pub fn copy(&self, backup: &Path) -> Result<()> {
        let length = std::fs::metadata(backup).map_err(|e| self.cannot(e))?.len();
        refuse_without_room(&[(&self.folder, length)])?;
        std::fs::copy(backup, self.store()).map_err(|e| self.cannot(e))?;
        copy_contents(
            &media_folder_of(backup),
            &self.folder,
            &media_folder_of(&self.file),
        )
    }

    /// Puts all of it in its place. When that fails, the older backup is as it was.
    pub fn publish(self) -> Result<()> {
        let files = media_folder_of(&self.file);
        let made = !files.exists();
        let mut moved = Vec::new();
        let published = self.move_all(&files, &mut moved);
        if published.is_err() {
            for file in moved {
                let _ = std::fs::remove_file(file);
            }
            if made {
                let _ = std::fs::remove_dir(&files);
            }
        }
        published.map_err(|e| self.cannot(e))
    }

    fn move_all(&self, files: &Path, moved: &mut Vec<PathBuf>) -> io::Result<()> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(files);
        made?;
        for hash in contents_of(&self.folder)? {
            let name = hash.to_string();
            let place = files.join(&name);
            std::fs::rename(self.folder.join(name), &place)?;
            moved.push(place);
        }
        File::open(files)?.sync_all()?;
        File::open(self.store())?.sync_all()?;
        std::fs::rename(self.store(), &self.file)?;
        // From here on it is the backup: its files stay whatever comes.
        moved.clear();
        let folder = self.file.parent().filter(|p| !p.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn cannot(&self, error: io::Error) -> Error {
        let text = format!("cannot write {}: {error}", self.file.display());
        Error::new(Code::PathUnusable, text).because(error)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // What stays is removed by the next backup to the same place.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
