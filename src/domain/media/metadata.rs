//! Images without what cameras and programs write beside the pixels: the place, the time, the
//! device, an embedded preview. The pixels are not encoded anew, so nothing of them is lost.
//!
//! The parts that are needed to show the image are listed; all others are left out, also those
//! that nobody knows yet. Of the Exif data only the orientation stays.
//!
//! A crate would do it on the whole file in memory (`img-parts` takes 72 bytes for each segment, of
//! which a file of 100 MB may hold 25 million) and keep the previews behind a JPEG, which have Exif
//! data of their own. This reads the headers of the parts and copies the rest as it is sent.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use image::metadata::Orientation;

use super::blobs::unusable;
use super::file_type::FileType;
use super::reader::{FileReader, be32, le32};
use crate::error::{Code, Error, Result};

/// More parts than a sensible file has: a large PNG of small chunks has a tenth of it.
const MAX_PARTS: usize = 100_000;
/// As much of the Exif data is read as a JPEG can hold.
const MAX_EXIF: u64 = 64 * 1024;
/// The start of a segment with Exif data in a JPEG.
const EXIF: &[u8] = b"Exif\0\0";

/// Chunks of a PNG that may be left out by the rules of the format, but change how it looks.
const SHOWN_PNG: [&[u8; 4]; 15] = [
    b"acTL", b"bKGD", b"cHRM", b"cICP", b"cLLI", b"fcTL", b"fdAT", b"gAMA", b"hIST", b"iCCP",
    b"mDCV", b"pHYs", b"sBIT", b"sRGB", b"tRNS",
];
/// Chunks of a WebP that are shown, beside its header.
const SHOWN_WEBP: [&[u8; 4]; 6] = [b"ICCP", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L"];
/// Flags in the header of a WebP that announce metadata.
const WEBP_EXIF: u8 = 8;
const WEBP_XMP: u8 = 4;

/// A file to be read without its metadata.
#[derive(Debug)]
pub(super) struct Stripped {
    file: File,
    pieces: VecDeque<Piece>,
}

/// What follows next.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// These bytes of the file.
    Kept(Range<u64>),
    /// These bytes instead.
    New(Cursor<Vec<u8>>),
}

/// Opens a file to be sent. JPEG, PNG and WebP images lose their metadata; a damaged one loses
/// what can be found. Other files are read as they are.
pub(super) fn strip(path: &Path, kind: FileType) -> Result<Stripped> {
    let file = File::open(path).map_err(|e| unusable("the file cannot be read", e))?;
    let size = file.metadata().map_err(Error::internal)?.len();
    let pieces = match kind {
        FileType::Jpeg => jpeg(&mut BufReader::new(&file))?,
        FileType::Png => png(&mut FileReader::of(&file)?)?,
        FileType::WebP => webp(&mut FileReader::of(&file)?)?,
        _ => VecDeque::from([Piece::Kept(0..size)]),
    };
    Ok(Stripped { file, pieces })
}

impl Read for Stripped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(piece) = self.pieces.front_mut() {
            let count = match piece {
                Piece::New(bytes) => bytes.read(buffer)?,
                Piece::Kept(range) => {
                    let left = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
                    let most = left.min(buffer.len());
                    let count = self.file.read_at(&mut buffer[..most], range.start)?;
                    range.start += count as u64;
                    count
                }
            };
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            self.pieces.pop_front();
        }
        Ok(0)
    }
}

/// What is left of a file so far.
#[derive(Default)]
struct Left {
    pieces: VecDeque<Piece>,
    parts: usize,
}

impl Left {
    /// Keeps these bytes of the file.
    fn keep(&mut self, range: Range<u64>) {
        match self.pieces.back_mut() {
            Some(Piece::Kept(last)) if last.end == range.start => last.end = range.end,
            _ if range.is_empty() => {}
            _ => self.pieces.push_back(Piece::Kept(range)),
        }
    }

    /// Puts new bytes in the place of old ones.
    fn put(&mut self, range: Range<u64>, old: &[u8], new: Vec<u8>) {
        if old == new {
            self.keep(range);
        } else {
            self.pieces.push_back(Piece::New(Cursor::new(new)));
        }
    }

    /// Counts one more part of the file.
    fn count(&mut self) -> Result<()> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(Error::new(
                Code::FileTooComplex,
                format!("The image has more than {MAX_PARTS} parts"),
            ));
        }
        Ok(())
    }
}

/// Exif data that say nothing but how the image is to be turned; `None` if it is upright.
fn only_orientation(exif: &[u8]) -> Option<Vec<u8>> {
    let orientation = Orientation::from_exif_chunk(exif)?;
    if orientation == Orientation::NoTransforms {
        return None;
    }
    let mut bytes = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    bytes.extend([orientation.to_exif(), 0, 0, 0, 0, 0, 0]);
    Some(bytes)
}

fn jpeg<R: BufRead + Seek>(source: &mut R) -> Result<VecDeque<Piece>> {
    let mut left = Left::default();
    left.keep(0..2);
    let mut at = 2;
    // Between segments lies nothing but the coded pixels behind the header of a scan.
    let mut scanning = false;
    source.seek(SeekFrom::Start(at)).map_err(Error::internal)?;
    loop {
        let gap = at;
        let marker = next_marker(source, &mut at).map_err(Error::internal)?;
        let start = if marker.is_some() { at - 2 } else { at };
        if scanning {
            left.keep(gap..start);
        }
        match marker {
            None => break,
            Some(0x01 | 0xd0..=0xd8) => {
                if scanning {
                    left.keep(start..at);
                }
            }
            // What follows belongs to programs: previews, videos.
            Some(0xd9) => {
                left.keep(start..at);
                break;
            }
            Some(marker) => {
                left.count()?;
                let segment = segment(source, marker).map_err(Error::internal)?;
                at = start + segment.len() as u64;
                let content = segment.get(4..).unwrap_or_default();
                match marker {
                    0xe1 => {
                        let exif = content.strip_prefix(EXIF).and_then(only_orientation);
                        if let Some(exif) = exif {
                            let length = (2 + EXIF.len() + exif.len()) as u16;
                            let length = length.to_be_bytes();
                            let new = [&[0xff, 0xe1][..], &length, EXIF, &exif].concat();
                            left.put(start..at, &segment, new);
                        }
                    }
                    0xe0 if content.starts_with(b"JFIF\0") || content.starts_with(b"AVI1") => {
                        left.keep(start..at);
                    }
                    0xe2 if content.starts_with(b"ICC_PROFILE\0") => left.keep(start..at),
                    0xee if content.starts_with(b"Adobe") => left.keep(start..at),
                    0xe0..=0xef | 0xfe => {}
                    _ => left.keep(start..at),
                }
                scanning |= marker == 0xda;
            }
        }
    }
    Ok(left.pieces)
}

/// Reads up to behind the next marker and answers its code; `None` at the end of the file.
fn next_marker(source: &mut impl BufRead, at: &mut u64) -> io::Result<Option<u8>> {
    let mut after_ff = false;
    loop {
        let bytes = source.fill_buf()?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let mut found = None;
        let mut count = 0;
        for byte in bytes {
            count += 1;
            // In the coded data a byte 0xff is always followed by 0.
            if after_ff && !matches!(byte, 0 | 0xff) {
                found = Some(*byte);
                break;
            }
            after_ff = *byte == 0xff;
        }
        source.consume(count);
        *at += count as u64;
        if found.is_some() {
            return Ok(found);
        }
    }
}

/// The segment whose marker was read, as far as the file has it: marker, length, content.
fn segment(source: &mut impl BufRead, marker: u8) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0xff, marker];
    source.by_ref().take(2).read_to_end(&mut bytes)?;
    if let [_, _, high, low] = bytes[..] {
        let rest = u16::from_be_bytes([high, low]).saturating_sub(2);
        source.by_ref().take(rest.into()).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn png<R: Read + Seek>(reader: &mut FileReader<R>) -> Result<VecDeque<Piece>> {
    let mut left = Left::default();
    left.keep(0..8);
    let mut at = 8;
    loop {
        let head = reader.at(at, 8)?;
        let Some((length, name)) = be32(&head, 0).zip(head.get(4..8)) else {
            break;
        };
        left.count()?;
        let end = (at + 12 + u64::from(length)).min(reader.size());
        // A capital letter: the image cannot be shown without it.
        let critical = name[0].is_ascii_uppercase();
        if critical || SHOWN_PNG.iter().any(|shown| name == *shown) {
            left.keep(at..end);
        } else if name == b"eXIf" {
            let old = reader.at(at, u64::from(length).min(MAX_EXIF) as usize + 12)?;
            let exif = old.get(8..old.len().saturating_sub(4)).unwrap_or_default();
            if let Some(exif) = only_orientation(exif) {
                let mut new = (exif.len() as u32).to_be_bytes().to_vec();
                new.extend(b"eXIf");
                new.extend(exif);
                new.extend(crc32fast::hash(&new[4..]).to_be_bytes());
                left.put(at..end, &old, new);
            }
        }
        at = end;
        if name == b"IEND" {
            break;
        }
    }
    Ok(left.pieces)
}

fn webp<R: Read + Seek>(reader: &mut FileReader<R>) -> Result<VecDeque<Piece>> {
    let head = reader.at(0, 12)?;
    let told = 8 + u64::from(le32(&head, 4).unwrap_or_default());
    let whole = told.min(reader.size());
    let mut left = Left::default();
    let mut header = None;
    let mut orientation = None;
    let mut at = 12;
    while at < whole {
        let part = reader.at(at, 8)?;
        let Some((length, name)) = le32(&part, 4).zip(part.get(..4)) else {
            break;
        };
        left.count()?;
        let length = u64::from(length);
        let end = (at + 8 + length + length % 2).min(whole);
        if name == b"VP8X" && header.is_none() {
            header = Some(reader.at(at, (end - at).min(MAX_EXIF) as usize)?);
        } else if SHOWN_WEBP.iter().any(|shown| name == *shown) {
            left.keep(at..end);
        } else if name == b"EXIF" && orientation.is_none() {
            let old = reader.at(at, (8 + length.min(MAX_EXIF)) as usize)?;
            let exif = old.get(8..).unwrap_or_default();
            if let Some(exif) = only_orientation(exif.strip_prefix(EXIF).unwrap_or(exif)) {
                let mut new = b"EXIF".to_vec();
                new.extend((exif.len() as u32).to_le_bytes());
                new.extend(exif);
                left.put(at..end, &old, new);
                orientation = Some(());
            }
        }
        at = end;
    }
    let mut flags = header.unwrap_or_default();
    if let Some(flags) = flags.get_mut(8) {
        let turned = orientation.map_or(0, |()| *flags & WEBP_EXIF);
        *flags = *flags & !(WEBP_EXIF | WEBP_XMP) | turned;
    }
    let rest: u64 = left.pieces.iter().map(Piece::size).sum();
    let size = u32::try_from(4 + flags.len() as u64 + rest).unwrap_or(u32::MAX);
    let new = [&b"RIFF"[..], &size.to_le_bytes(), b"WEBP", &flags].concat();
    let old = reader.at(0, new.len())?;
    let mut all = Left::default();
    all.put(0..old.len() as u64, &old, new);
    for piece in left.pieces {
        match piece {
            Piece::Kept(range) => all.keep(range),
            new => all.pieces.push_back(new),
        }
    }
    Ok(all.pieces)
}

impl Piece {
    fn size(&self) -> u64 {
        match self {
            Self::Kept(range) => range.end - range.start,
            Self::New(bytes) => bytes.get_ref().len() as u64,
        }
    }
}
