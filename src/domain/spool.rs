//! Bodies that are too large for memory: on the disk until they are read.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufReader, Seek as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tokio::io::AsyncWriteExt as _;

use super::Gateway;
use crate::error::{Code, Error, Result};

/// How much is read or written at once.
const AT_ONCE: usize = 64 * 1024;

/// A file without a name: it goes when nobody holds it, and with a crash.
pub struct Spool(tokio::fs::File);

impl Gateway {
    /// An empty folder that nobody else enters.
    pub fn spool_folder(&self) -> Result<SpoolFolder> {
        let name = hex::encode(self.ids.bytes::<16>());
        let path = self.config.data.join("media/arriving").join(name);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(unusable)?;
        Ok(SpoolFolder(path))
    }

    /// How many bytes there is room for in the data folder; as good as any number where that is not known.
    pub fn free_bytes(&self) -> u64 {
        let room = rustix::fs::statvfs(&self.config.data);
        room.map_or(u64::MAX, |room| room.f_bavail.saturating_mul(room.f_frsize))
    }

    /// Room on the disk for a body.
    pub fn spool(&self) -> Result<Spool> {
        let name = hex::encode(self.ids.bytes::<16>());
        let path = self.config.data.join("media/arriving").join(name);
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        let file = opened.and_then(|file| std::fs::remove_file(&path).map(|()| file));
        Ok(Spool(tokio::fs::File::from_std(file.map_err(unusable)?)))
    }
}

/// A folder for what a body holds; it goes with the value, and with the next start after a crash.
pub struct SpoolFolder(PathBuf);

impl SpoolFolder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SpoolFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Spool {
    /// Adds bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes).await.map_err(unusable)
    }

    /// All bytes are here: they can be read, more than once.
    pub async fn finish(mut self) -> Result<Spooled> {
        self.0.flush().await.map_err(unusable)?;
        Ok(Spooled(self.0.into_std().await))
    }
}

/// A body on the disk.
pub struct Spooled(File);

impl Spooled {
    /// Reads it from its beginning; on a thread where that may take long.
    pub fn read(&self) -> Result<BufReader<&File>> {
        (&self.0).rewind().map_err(unusable)?;
        Ok(BufReader::with_capacity(AT_ONCE, &self.0))
    }
}

fn unusable(error: std::io::Error) -> Error {
    Error::new(Code::StoreUnavailable, "the request cannot be stored").because(error)
}
