//! The chunks of a WebP file: what its decoder should be spared, and how moving ones are put
//! together.

use std::io::{Read, Seek};

use super::reader::{FileReader, le16, le32};
use crate::error::Result;

/// What the headers of a WebP file say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Outline {
    /// Width of the canvas.
    pub(super) width: u32,
    /// Height of the canvas.
    pub(super) height: u32,
    /// Whether it moves.
    pub(super) animated: bool,
    /// Number of frames, 1 if it does not move.
    pub(super) frames: u32,
    /// How long one round takes.
    pub(super) milliseconds: u64,
    /// Whether all chunks are whole.
    pub(super) complete: bool,
}

/// More chunks than a sensible file has.
const CHUNKS: usize = 4096;

/// Walks over the chunks. `None`: no WebP file, or one whose images are larger than its canvas.
pub(super) fn outline<R: Read + Seek>(reader: &mut FileReader<R>) -> Result<Option<Outline>> {
    let head = reader.at(0, 12)?;
    if head.get(..4) != Some(b"RIFF") || head.get(8..12) != Some(b"WEBP") {
        return Ok(None);
    }
    let mut found = Outline {
        complete: true,
        ..Outline::default()
    };
    let mut position = 12;
    for _ in 0..CHUNKS {
        let head = reader.at(position, 8 + 32)?;
        let Some(size) = le32(&head, 4) else { break };
        let content = &head[8..];
        let end = position + 8 + u64::from(size);
        found.complete &= end <= reader.size();
        match &head[..4] {
            b"VP8X" => {
                let Some(size) = le24(content, 4).zip(le24(content, 7)) else {
                    return Ok(None);
                };
                (found.width, found.height) = (size.0 + 1, size.1 + 1);
                found.animated = content[0] & 2 != 0;
            }
            b"ANMF" => {
                let Some(milliseconds) = le24(content, 12) else {
                    return Ok(None);
                };
                found.frames += 1;
                found.milliseconds += u64::from(milliseconds);
                if !frame_fits(reader, position + 8 + 16, end, &found)? {
                    return Ok(None);
                }
            }
            kind @ (b"VP8 " | b"VP8L") => {
                let Some((width, height)) = picture_size(kind, content) else {
                    return Ok(None);
                };
                if found.width == 0 {
                    (found.width, found.height) = (width, height);
                }
                if (width, height) != (found.width, found.height) {
                    return Ok(None);
                }
                found.frames += u32::from(!found.animated);
            }
            _ => {}
        }
        position = end + u64::from(size & 1);
    }
    // Invariant: no chunk is left that was not looked at; the decoder would find it.
    if position < reader.size().saturating_sub(8) {
        return Ok(None);
    }
    Ok((found.width > 0 && found.frames > 0).then_some(found))
}

/// Whether there is an image in a frame, not larger than the canvas.
fn frame_fits<R: Read + Seek>(
    reader: &mut FileReader<R>,
    mut position: u64,
    end: u64,
    canvas: &Outline,
) -> Result<bool> {
    // At most transparency and something unknown come before the image.
    for _ in 0..4 {
        if position >= end {
            break;
        }
        let head = reader.at(position, 8 + 10)?;
        let Some(size) = le32(&head, 4) else { break };
        if let Some((width, height)) = picture_size(&head[..4], &head[8..]) {
            return Ok(width <= canvas.width && height <= canvas.height);
        }
        position += 8 + u64::from(size) + u64::from(size & 1);
    }
    Ok(false)
}

fn picture_size(kind: &[u8], content: &[u8]) -> Option<(u32, u32)> {
    match kind {
        b"VP8 " => {
            let (width, height) = (le16(content, 6)?, le16(content, 8)?);
            Some((u32::from(width & 0x3fff), u32::from(height & 0x3fff)))
        }
        b"VP8L" => {
            let bits = le32(content, 1)?;
            Some(((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1))
        }
        _ => None,
    }
}

fn le24(bytes: &[u8], position: usize) -> Option<u32> {
    let bytes = bytes.get(position..position + 3)?;
    Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]))
}

/// Puts encoded images together to a moving one.
pub(super) struct Animation {
    bytes: Vec<u8>,
    last_duration: Option<usize>,
}

/// Where a frame lies on the canvas. Invariant: `x` and `y` are even.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FramePosition {
    /// Columns left of it.
    pub(super) x: u32,
    /// Rows above it.
    pub(super) y: u32,
    /// Its width.
    pub(super) width: u32,
    /// Its height.
    pub(super) height: u32,
}

impl Animation {
    /// Begins one with a transparent canvas that repeats for ever.
    pub(super) fn new(width: u32, height: u32) -> Self {
        const ANIMATED_WITH_ALPHA: u8 = 0x12;
        let mut bytes = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0".to_vec();
        bytes.extend([ANIMATED_WITH_ALPHA, 0, 0, 0]);
        put24(&mut bytes, width - 1);
        put24(&mut bytes, height - 1);
        bytes.extend(b"ANIM\x06\0\0\0\0\0\0\0\0\0");
        Self {
            bytes,
            last_duration: None,
        }
    }

    /// How large it is so far.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a frame, a WebP file that does not move: it replaces what is at its place.
    pub(super) fn push(&mut self, place: FramePosition, milliseconds: u32, still: &[u8]) {
        const REPLACE_AND_KEEP: u8 = 2;
        let start = self.bytes.len();
        self.bytes.extend(b"ANMF\0\0\0\0");
        put24(&mut self.bytes, place.x / 2);
        put24(&mut self.bytes, place.y / 2);
        put24(&mut self.bytes, place.width - 1);
        put24(&mut self.bytes, place.height - 1);
        self.last_duration = Some(self.bytes.len());
        put24(&mut self.bytes, milliseconds.min(0xff_ffff));
        self.bytes.push(REPLACE_AND_KEEP);
        let mut rest = still.get(12..).unwrap_or_default();
        while let Some(size) = le32(rest, 4) {
            let whole = (8 + size as usize + (size as usize & 1)).min(rest.len());
            if matches!(&rest[..4], b"ALPH" | b"VP8 " | b"VP8L") {
                self.bytes.extend(&rest[..whole]);
            }
            rest = &rest[whole..];
        }
        let size = (self.bytes.len() - start - 8) as u32;
        self.bytes[start + 4..start + 8].copy_from_slice(&size.to_le_bytes());
    }

    /// Lets the last frame stay longer.
    pub(super) fn prolong(&mut self, milliseconds: u32) {
        if let Some(at) = self.last_duration {
            let before = le24(&self.bytes, at).unwrap_or(0);
            let sum = before.saturating_add(milliseconds).min(0xff_ffff);
            self.bytes[at..at + 3].copy_from_slice(&sum.to_le_bytes()[..3]);
        }
    }

    /// The file.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let size = (self.bytes.len() - 8) as u32;
        self.bytes[4..8].copy_from_slice(&size.to_le_bytes());
        self.bytes
    }
}

fn put24(bytes: &mut Vec<u8>, value: u32) {
    bytes.extend(&value.to_le_bytes()[..3]);
}
