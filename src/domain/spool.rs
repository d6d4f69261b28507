//! Bodies that are too large for memory: on the disk until they are read.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Seek as _};
use std::os::unix::fs::OpenOptionsExt as _;

use tokio::io::AsyncWriteExt as _;

use super::Gateway;
use crate::error::{Code, Error, Result};

/// How much is read or written at once.
const AT_ONCE: usize = 64 * 1024;

/// A file without a name: it goes when nobody holds it, and with a crash.
pub struct Spool(tokio::fs::File);

impl Gateway {
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
