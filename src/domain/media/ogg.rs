//! Ogg pages: which codec, and how long.

use std::io::{Read, Seek};

use super::reader::{FileReader, le16, le32, le64};
use super::video::seconds;
use crate::error::Result;

const CAPTURE: &[u8] = b"OggS";
/// A page has at most this many bytes, so the last two of them begin in a tail of this size.
const TAIL: usize = 2 * 65_307;
/// Opus counts time in this unit, whatever it was recorded with.
const OPUS_RATE: u64 = 48_000;

/// Whether the first page, which holds the codec's header, says Opus.
pub(super) fn is_opus(head: &[u8]) -> bool {
    payload(head).is_some_and(|payload| payload.starts_with(b"OpusHead"))
}

/// The duration: what the last page counts to, less what a player skips at the start.
pub(super) fn duration<R: Read + Seek>(reader: &mut FileReader<R>) -> Result<Option<u32>> {
    let head = reader.at(0, 512)?;
    let tail_at = reader.size().saturating_sub(TAIL as u64);
    let tail = reader.at(tail_at, TAIL)?;
    Ok(duration_of(&head, &tail))
}

fn duration_of(head: &[u8], tail: &[u8]) -> Option<u32> {
    let payload = payload(head)?;
    let (rate, skip) = if payload.starts_with(b"OpusHead") {
        (OPUS_RATE, u64::from(le16(payload, 10)?))
    } else if payload.starts_with(b"\x01vorbis") {
        (u64::from(le32(payload, 12)?), 0)
    } else {
        return None;
    };
    let stream = le32(head, 14)?;
    let last = tail
        .windows(CAPTURE.len())
        .enumerate()
        .rev()
        .filter(|(_, window)| *window == CAPTURE)
        .find_map(|(at, _)| {
            let page = &tail[at..];
            let count = le64(page, 6)?;
            // A page on which nothing ends counts to -1.
            let of_stream = page.get(4) == Some(&0) && le32(page, 14) == Some(stream);
            (of_stream && count != u64::MAX).then_some(count)
        })?;
    seconds(last.saturating_sub(skip), rate)
}

/// What follows the header of the page at the start.
fn payload(page: &[u8]) -> Option<&[u8]> {
    if !page.starts_with(CAPTURE) {
        return None;
    }
    let segments = usize::from(*page.get(26)?);
    page.get(27 + segments..)
}
