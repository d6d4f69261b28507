//! The nested boxes of MPEG-4, 3GP and QuickTime files.

use std::io::{Read, Seek};

use super::reader::{FileReader, be32, be64};
use crate::error::Result;

/// More boxes side by side than a sensible file has; each costs a read.
const SIBLINGS: usize = 4096;

/// A box: its name and where its content lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mp4Box {
    /// Four letters.
    pub(super) name: [u8; 4],
    /// First byte of the content.
    pub(super) start: u64,
    /// First byte behind the content.
    pub(super) end: u64,
}

impl Mp4Box {
    /// The whole file.
    pub(super) fn whole<R: Read + Seek>(reader: &FileReader<R>) -> Self {
        Self {
            name: *b"file",
            start: 0,
            end: reader.size(),
        }
    }

    /// Visits the boxes inside until `visit` says that it has seen enough.
    pub(super) fn each<R: Read + Seek>(
        self,
        reader: &mut FileReader<R>,
        mut visit: impl FnMut(&mut FileReader<R>, Mp4Box) -> Result<bool>,
    ) -> Result<()> {
        let mut position = self.start;
        for _ in 0..SIBLINGS {
            if position >= self.end {
                break;
            }
            let head = reader.at(position, 16)?;
            let (Some(size), Some(name)) = (be32(&head, 0), head.get(4..8)) else {
                break;
            };
            let (size, header) = match size {
                // To the end of what it is in.
                0 => (self.end - position, 8),
                1 => (be64(&head, 8).unwrap_or(0), 16),
                size => (u64::from(size), 8),
            };
            if size < header {
                break;
            }
            let end = position.saturating_add(size);
            let part = Mp4Box {
                name: [name[0], name[1], name[2], name[3]],
                start: position + header,
                end: end.min(self.end),
            };
            if visit(reader, part)? {
                break;
            }
            position = end;
        }
        Ok(())
    }

    /// The first box of that name inside.
    pub(super) fn find<R: Read + Seek>(
        self,
        reader: &mut FileReader<R>,
        name: &[u8; 4],
    ) -> Result<Option<Mp4Box>> {
        let mut found = None;
        self.each(reader, |_, part| {
            if part.name == *name {
                found = Some(part);
            }
            Ok(found.is_some())
        })?;
        Ok(found)
    }

    /// The first bytes of the content, as many as are asked for and there.
    pub(super) fn content<R: Read + Seek>(
        self,
        reader: &mut FileReader<R>,
        count: usize,
    ) -> Result<Vec<u8>> {
        let size = self.end.saturating_sub(self.start);
        let count = usize::try_from(size).map_or(count, |size| size.min(count));
        reader.at(self.start, count)
    }
}
