//! Small reads at chosen places of a file or of bytes.

use std::fs::File;
#[cfg(feature = "sandbox")]
use std::io::Cursor;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::{Error, Result};

/// Reads a few bytes here and there; what lies beyond the end is simply not there.
pub struct FileReader<R> {
    inner: R,
    len: u64,
}

impl FileReader<File> {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Self> {
        let inner = File::open(path).map_err(Error::internal)?;
        let len = inner.metadata().map_err(Error::internal)?.len();
        Ok(Self { inner, len })
    }
}

#[cfg(feature = "sandbox")]
impl<'a> FileReader<Cursor<&'a [u8]>> {
    /// Reads from memory.
    #[cfg(feature = "sandbox")]
    pub fn of_bytes(bytes: &'a [u8]) -> Self {
        Self {
            inner: Cursor::new(bytes),
            len: bytes.len() as u64,
        }
    }
}

impl<R: Read + Seek> FileReader<R> {
    /// Reads from anything with a beginning and an end.
    pub fn of(mut inner: R) -> Result<Self> {
        let len = inner.seek(SeekFrom::End(0)).map_err(Error::internal)?;
        Ok(Self { inner, len })
    }

    /// How many bytes there are.
    pub fn size(&self) -> u64 {
        self.len
    }

    /// Reads at most `count` bytes from `position`: fewer at the end, none beyond it.
    pub fn at(&mut self, position: u64, count: usize) -> Result<Vec<u8>> {
        let left = self.len.saturating_sub(position);
        let count = usize::try_from(left).map_or(count, |left| left.min(count));
        let mut bytes = Vec::with_capacity(count);
        if count > 0 {
            self.inner
                .seek(SeekFrom::Start(position))
                .map_err(Error::internal)?;
            (&mut self.inner)
                .take(count as u64)
                .read_to_end(&mut bytes)
                .map_err(Error::internal)?;
        }
        Ok(bytes)
    }
}

/// Two bytes at `position`, the low one first.
pub(super) fn le16(bytes: &[u8], position: usize) -> Option<u16> {
    field(bytes, position).map(u16::from_le_bytes)
}

/// Four bytes at `position`, the low one first.
pub(super) fn le32(bytes: &[u8], position: usize) -> Option<u32> {
    field(bytes, position).map(u32::from_le_bytes)
}

/// Eight bytes at `position`, the low one first.
pub(super) fn le64(bytes: &[u8], position: usize) -> Option<u64> {
    field(bytes, position).map(u64::from_le_bytes)
}

/// Four bytes at `position`, the high one first.
pub(super) fn be32(bytes: &[u8], position: usize) -> Option<u32> {
    field(bytes, position).map(u32::from_be_bytes)
}

/// Eight bytes at `position`, the high one first.
pub(super) fn be64(bytes: &[u8], position: usize) -> Option<u64> {
    field(bytes, position).map(u64::from_be_bytes)
}

fn field<const N: usize>(bytes: &[u8], position: usize) -> Option<[u8; N]> {
    bytes
        .get(position..position.checked_add(N)?)?
        .try_into()
        .ok()
}
