//! What a file is, by its content: never by its name.

use std::io::{Read, Seek};
use std::path::Path;

use super::file_type::FileType;
use super::reader::{FileReader, be32};
use super::{audio, ogg, ole, video, zip};
use crate::error::Result;

/// As many of a file's first bytes as [`sniff`] looks at.
pub const HEAD: usize = 8 * 1024;

/// Tells a file's type by its content.
pub fn sniff(path: &Path) -> Result<FileType> {
    sniff_in(&mut FileReader::open(path)?)
}

/// As [`sniff`], of anything that can be read here and there.
pub fn sniff_in<R: Read + Seek>(reader: &mut FileReader<R>) -> Result<FileType> {
    let head = reader.at(0, HEAD)?;
    match by_magic(&head) {
        Some(Magic::Zip) => zip::classify(reader, &head),
        Some(Magic::Ole) => ole::classify(reader),
        Some(Magic::Tagged(after)) => {
            let behind = reader.at(after, 16)?;
            Ok(behind_tag(&behind))
        }
        // Phones write voice recordings with the brands of videos.
        Some(Magic::Is(FileType::Mp4)) => Ok(match video::inspect_in(reader) {
            Ok(video) if video.has_sound && video.width == 0 => FileType::M4a,
            _ => FileType::Mp4,
        }),
        Some(Magic::Is(found)) => Ok(found),
        None => Ok(by_text(&head)),
    }
}

/// Tells the type by the first bytes, as far as they tell: an office document whose names come
/// later is a ZIP file here.
#[cfg(feature = "sandbox")]
pub fn sniff_bytes(head: &[u8]) -> FileType {
    match by_magic(head) {
        Some(Magic::Zip) => zip::classify_head(head),
        Some(Magic::Ole) => ole::classify_head(head),
        Some(Magic::Tagged(after)) => {
            let after = usize::try_from(after).unwrap_or(usize::MAX);
            behind_tag(head.get(after..).unwrap_or_default())
        }
        Some(Magic::Is(found)) => found,
        None => by_text(&head[..head.len().min(HEAD)]),
    }
}

enum Magic {
    Is(FileType),
    Zip,
    Ole,
    /// An ID3 tag that ends here; the sound follows.
    Tagged(u64),
}

fn by_magic(head: &[u8]) -> Option<Magic> {
    const PLAIN: &[(&[u8], FileType)] = &[
        (&[0xff, 0xd8, 0xff], FileType::Jpeg),
        (b"\x89PNG\r\n\x1a\n", FileType::Png),
        (b"GIF87a", FileType::Gif),
        (b"GIF89a", FileType::Gif),
        (b"%PDF-", FileType::Pdf),
        (b"\xef\xbb\xbf%PDF-", FileType::Pdf),
        (b"{\\rtf", FileType::Rtf),
        (b"fLaC", FileType::Flac),
        (b"#!AMR\n", FileType::Amr),
        (b"#!AMR-WB\n", FileType::Amr),
    ];
    if let Some((_, found)) = PLAIN.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some(Magic::Is(*found));
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Some(Magic::Zip);
    }
    if head.starts_with(ole::MAGIC) {
        return Some(Magic::Ole);
    }
    if let Some(after) = audio::tag_end(head) {
        return Some(Magic::Tagged(after));
    }
    let found = match head.get(..4)? {
        b"RIFF" => match head.get(8..12)? {
            b"WEBP" => FileType::WebP,
            b"WAVE" => FileType::Wav,
            b"AVI " => FileType::Avi,
            _ => return None,
        },
        b"OggS" if ogg::is_opus(head) => FileType::OggOpus,
        b"OggS" => FileType::Ogg,
        [0x1a, 0x45, 0xdf, 0xa3] => by_doc_type(head)?,
        _ => match head.get(4..8) {
            Some(b"ftyp") => by_brand(head)?,
            Some(b"moov" | b"wide") => FileType::Mov,
            _ => audio::by_frame(head)?,
        },
    };
    Some(Magic::Is(found))
}

fn behind_tag(bytes: &[u8]) -> FileType {
    match audio::by_frame(bytes) {
        Some(found) => found,
        None if bytes.starts_with(b"fLaC") => FileType::Flac,
        // Padding may follow the tag; only MP3 files are usually tagged so.
        None => FileType::Mp3,
    }
}

/// The document type stands in the header, which is shorter than this.
fn by_doc_type(head: &[u8]) -> Option<FileType> {
    let header = &head[..head.len().min(64)];
    let has = |name: &[u8]| header.windows(name.len()).any(|window| window == name);
    if has(b"webm") {
        Some(FileType::WebM)
    } else if has(b"matroska") {
        Some(FileType::Matroska)
    } else {
        None
    }
}

fn by_brand(head: &[u8]) -> Option<FileType> {
    // Invariant: the brand is read only where a `ftyp` box begins the file.
    be32(head, 0)?;
    let brand = head.get(8..12)?;
    Some(match brand {
        b"qt  " => FileType::Mov,
        b"M4A " | b"M4B " | b"M4P " => FileType::M4a,
        // Images in the same container.
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"mif1" | b"msf1" | b"avif" | b"avis"
        | b"crx " | b"jp2 " => return None,
        _ if brand.starts_with(b"3g") => FileType::ThreeGp,
        _ => FileType::Mp4,
    })
}

/// Text has no control characters. Old programs write other encodings than UTF-8, so some high
/// bytes are let pass.
fn by_text(head: &[u8]) -> FileType {
    if head.is_empty() {
        return FileType::Unknown;
    }
    if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        return by_wide_text(head);
    }
    let control = |byte: &u8| matches!(byte, 0..=8 | 11 | 14..=26 | 28..=31 | 127);
    if !head.iter().any(control) {
        let valid = match std::str::from_utf8(head) {
            Ok(_) => true,
            // A character may be cut at the end.
            Err(error) => error.error_len().is_none(),
        };
        let high = head.iter().filter(|byte| !byte.is_ascii()).count();
        if valid || high * 3 <= head.len() {
            return FileType::Text;
        }
    }
    // Readers of PDF accept some junk before the header.
    let start = &head[..head.len().min(1024)];
    if start.windows(5).any(|window| window == b"%PDF-") {
        return FileType::Pdf;
    }
    FileType::Unknown
}

fn by_wide_text(head: &[u8]) -> FileType {
    // The mark that it begins with decides which half of each pair is the low one.
    let (text, ..) = encoding_rs::UTF_16LE.decode(head);
    let broken =
        |c: &char| *c == char::REPLACEMENT_CHARACTER || c.is_control() && !c.is_whitespace();
    // A pair may be cut at the end.
    if !text.is_empty() && text.chars().filter(broken).count() <= 1 {
        FileType::Text
    } else {
        FileType::Unknown
    }
}
