//! Which office format an OLE compound file is, by the names of its streams.
//!
//! The file is a small file system: sectors, a table that chains them, and a directory of
//! 128-byte entries with UTF-16 names.

use std::io::{Read, Seek};

use super::file_type::FileType;
use super::reader::{FileReader, le16, le32};
use crate::error::Result;

/// The first bytes of every such file.
pub(super) const MAGIC: &[u8] = &[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1];
const ENTRY: usize = 128;
/// Sectors of the directory that are looked at; a chain that goes in circles ends here.
const SECTORS: usize = 64;
/// Sectors of the chain table that the header itself lists.
const LISTED: usize = 109;

/// Follows the directory until a stream tells the format.
pub(super) fn classify<R: Read + Seek>(reader: &mut FileReader<R>) -> Result<FileType> {
    let header = reader.at(0, 512)?;
    let (Some(shift @ (9 | 12)), Some(first)) = (le16(&header, 30), le32(&header, 48)) else {
        return Ok(FileType::Unknown);
    };
    let size = 1_usize << shift;
    let mut sector = first;
    for _ in 0..SECTORS {
        let bytes = reader.at(position(sector, size), size)?;
        if bytes.is_empty() {
            break;
        }
        if let Some(found) = bytes.chunks_exact(ENTRY).find_map(by_stream) {
            return Ok(found);
        }
        let Some(next) = following(reader, &header, sector, size)? else {
            break;
        };
        sector = next;
    }
    Ok(FileType::Unknown)
}

/// Looks into the directory as far as it lies in the first bytes.
#[cfg(feature = "sandbox")]
pub(super) fn classify_head(head: &[u8]) -> FileType {
    classify(&mut FileReader::of_bytes(head)).unwrap_or(FileType::Unknown)
}

/// The header takes the place of a sector before number 0.
fn position(sector: u32, size: usize) -> u64 {
    (u64::from(sector) + 1) * size as u64
}

fn following<R: Read + Seek>(
    reader: &mut FileReader<R>,
    header: &[u8],
    sector: u32,
    size: usize,
) -> Result<Option<u32>> {
    let per_sector = size / 4;
    let (table, index) = (sector as usize / per_sector, sector as usize % per_sector);
    if table >= LISTED {
        return Ok(None);
    }
    let Some(table) = le32(header, 76 + 4 * table) else {
        return Ok(None);
    };
    let entry = reader.at(position(table, size) + 4 * index as u64, 4)?;
    Ok(le32(&entry, 0))
}

fn by_stream(entry: &[u8]) -> Option<FileType> {
    // The size counts the bytes of the name and of the zero after it.
    let size = usize::from(le16(entry, 64)?);
    let name = entry.get(..size.checked_sub(2)?)?;
    let name: String = name
        .chunks_exact(2)
        .map(|unit| match unit {
            [ascii, 0] => char::from(*ascii),
            _ => char::REPLACEMENT_CHARACTER,
        })
        .collect();
    match name.as_str() {
        "WordDocument" => Some(FileType::Doc),
        "Workbook" | "Book" => Some(FileType::Xls),
        "PowerPoint Document" => Some(FileType::Ppt),
        _ => None,
    }
}
