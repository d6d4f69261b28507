//! Which office format a ZIP file is, by the names in it.

use std::io::{Read, Seek};

use super::file_type::FileType;
use super::reader::{FileReader, le16, le32};
use crate::error::Result;

const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
const DIRECTORY_ENTRY: &[u8] = b"PK\x01\x02";
const END_OF_DIRECTORY: &[u8] = b"PK\x05\x06";
/// The end record may be followed by a comment of 65,535 bytes.
const TAIL: usize = 22 + 65_535;
/// As much of the directory as is looked at. Office programs write far fewer names.
const DIRECTORY: usize = 1 << 20;

/// Reads the directory at the end of the file; without one, the headers at its start.
pub(super) fn classify<R: Read + Seek>(
    reader: &mut FileReader<R>,
    head: &[u8],
) -> Result<FileType> {
    if let Some(found) = declared_by_first_entry(head) {
        return Ok(found);
    }
    let tail_at = reader.size().saturating_sub(TAIL as u64);
    let tail = reader.at(tail_at, TAIL)?;
    let end = tail
        .windows(END_OF_DIRECTORY.len())
        .rposition(|window| window == END_OF_DIRECTORY);
    let Some(start) = end.and_then(|end| le32(&tail, end + 16)) else {
        return Ok(classify_head(head));
    };
    let directory = reader.at(u64::from(start), DIRECTORY)?;
    Ok(by_names(names_in_directory(&directory)).unwrap_or(FileType::Zip))
}

/// Looks at the local headers as far as the first bytes hold any.
pub(super) fn classify_head(head: &[u8]) -> FileType {
    declared_by_first_entry(head)
        .or_else(|| by_names(names_in_head(head)))
        .unwrap_or(FileType::Zip)
}

/// An OpenDocument file begins with an entry `mimetype`, stored without compression.
fn declared_by_first_entry(head: &[u8]) -> Option<FileType> {
    let (name, after) = local_header(head)?;
    if name != b"mimetype" {
        return None;
    }
    let size = le32(head, 18)? as usize;
    let content = head.get(after..after.checked_add(size)?)?;
    match content.strip_prefix(b"application/vnd.oasis.opendocument.")? {
        b"text" => Some(FileType::Odt),
        b"spreadsheet" => Some(FileType::Ods),
        b"presentation" => Some(FileType::Odp),
        _ => None,
    }
}

/// The name in the local header at the start of `bytes`, and where the entry's content begins.
fn local_header(bytes: &[u8]) -> Option<(&[u8], usize)> {
    if !bytes.starts_with(LOCAL_HEADER) {
        return None;
    }
    let name_size = usize::from(le16(bytes, 26)?);
    let extra_size = usize::from(le16(bytes, 28)?);
    let name = bytes.get(30..30 + name_size)?;
    Some((name, 30 + name_size + extra_size))
}

fn names_in_head(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    // An entry's size may be unknown in its header, so the next header is searched for.
    let mut rest = head;
    std::iter::from_fn(move || {
        let at = rest
            .windows(LOCAL_HEADER.len())
            .position(|window| window == LOCAL_HEADER)?;
        let (name, _) = local_header(&rest[at..])?;
        rest = &rest[at + LOCAL_HEADER.len()..];
        Some(name)
    })
}

fn names_in_directory(directory: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = directory;
    std::iter::from_fn(move || {
        if !rest.starts_with(DIRECTORY_ENTRY) {
            return None;
        }
        let name_size = usize::from(le16(rest, 28)?);
        let others = usize::from(le16(rest, 30)?) + usize::from(le16(rest, 32)?);
        let name = rest.get(46..46 + name_size)?;
        rest = rest.get(46 + name_size + others..).unwrap_or_default();
        Some(name)
    })
}

/// An office file has `[Content_Types].xml` and a folder of its own.
fn by_names<'a>(names: impl Iterator<Item = &'a [u8]>) -> Option<FileType> {
    let mut office = false;
    let mut found = None;
    for name in names {
        if name == b"[Content_Types].xml" {
            office = true;
        } else if name.starts_with(b"word/") {
            found = found.or(Some(FileType::Docx));
        } else if name.starts_with(b"xl/") {
            found = found.or(Some(FileType::Xlsx));
        } else if name.starts_with(b"ppt/") {
            found = found.or(Some(FileType::Pptx));
        }
        if office && found.is_some() {
            return found;
        }
    }
    None
}
