//! Durations and dimensions of videos. Their images are not decoded.

use std::io::{Read, Seek};
use std::path::Path;

use super::mp4_boxes::Mp4Box;
use super::reader::{FileReader, be32, be64};
use crate::error::{Code, Error, Result};

/// More tracks than a sensible video has.
const TRACKS: usize = 32;

/// What a video's headers say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VideoInfo {
    /// Whole seconds, if the file says how long it is.
    pub seconds: Option<u32>,
    /// Width as it is shown; 0 if there is no image.
    pub width: u32,
    /// Height as it is shown; 0 if there is no image.
    pub height: u32,
    /// Whether there is a sound track.
    pub has_sound: bool,
}

/// Reads the headers of an MPEG-4, 3GP or QuickTime file, wherever in the file they are.
pub fn inspect(path: &Path) -> Result<VideoInfo> {
    inspect_in(&mut FileReader::open(path)?)
}

/// As [`inspect`], of anything that can be read here and there.
pub fn inspect_in<R: Read + Seek>(reader: &mut FileReader<R>) -> Result<VideoInfo> {
    let whole = Mp4Box::whole(reader);
    let Some(movie) = whole.find(reader, b"moov")? else {
        return Err(Error::new(
            Code::FileUnreadable,
            "The video cannot be read: it has no MPEG-4 header",
        ));
    };
    let mut video = VideoInfo::default();
    let mut clock = None;
    let mut fragments = None;
    let mut tracks = 0;
    movie.each(reader, |reader, part| {
        match &part.name {
            b"mvhd" => clock = duration(&part.content(reader, 32)?),
            b"trak" => {
                tracks += 1;
                track(reader, part, &mut video)?;
            }
            b"mvex" => fragments = fragments_duration(reader, part)?,
            _ => {}
        }
        Ok(tracks == TRACKS)
    })?;
    if let Some((scale, units)) = clock {
        // A video in fragments says here only how long they are together.
        let units = if units == 0 {
            fragments.unwrap_or(0)
        } else {
            units
        };
        video.seconds = seconds(units, u64::from(scale));
    }
    Ok(video)
}

/// Whole seconds, rounded; at least one of anything that lasts.
pub(super) fn seconds(units: u64, per_second: u64) -> Option<u32> {
    if units == 0 || per_second == 0 {
        return None;
    }
    let whole = units / per_second + u64::from(units % per_second * 2 >= per_second);
    u32::try_from(whole.max(1)).ok()
}

/// Time scale and duration, which have the same places in movie and media headers.
fn duration(header: &[u8]) -> Option<(u32, u64)> {
    match header.first()? {
        0 => {
            let units = be32(header, 16)?;
            let known = if units == u32::MAX { 0 } else { units };
            Some((be32(header, 12)?, u64::from(known)))
        }
        1 => {
            let units = be64(header, 24)?;
            Some((be32(header, 20)?, if units == u64::MAX { 0 } else { units }))
        }
        _ => None,
    }
}

fn fragments_duration<R: Read + Seek>(
    reader: &mut FileReader<R>,
    part: Mp4Box,
) -> Result<Option<u64>> {
    let Some(header) = part.find(reader, b"mehd")? else {
        return Ok(None);
    };
    let header = header.content(reader, 12)?;
    Ok(match header.first() {
        Some(0) => be32(&header, 4).map(u64::from),
        Some(1) => be64(&header, 4),
        _ => None,
    })
}

fn track<R: Read + Seek>(
    reader: &mut FileReader<R>,
    part: Mp4Box,
    video: &mut VideoInfo,
) -> Result<()> {
    let handler = match part.find(reader, b"mdia")? {
        Some(media) => match media.find(reader, b"hdlr")? {
            Some(handler) => handler.content(reader, 12)?,
            None => Vec::new(),
        },
        None => Vec::new(),
    };
    match handler.get(8..12) {
        Some(b"soun") => video.has_sound = true,
        Some(b"vide") => {
            if let Some(header) = part.find(reader, b"tkhd")? {
                let header = header.content(reader, 96)?;
                if let Some((width, height)) = shown_size(&header)
                    && video.width == 0
                {
                    (video.width, video.height) = (width, height);
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// The size in a track header, its sides swapped if the matrix turns the image by a quarter.
fn shown_size(header: &[u8]) -> Option<(u32, u32)> {
    let matrix = match header.first()? {
        0 => 40,
        1 => 52,
        _ => return None,
    };
    let (a, b) = (be32(header, matrix)?, be32(header, matrix + 4)?);
    // Sixteen bits each before and after the point.
    let width = be32(header, matrix + 36)? >> 16;
    let height = be32(header, matrix + 40)? >> 16;
    if a == 0 && b != 0 {
        Some((height, width))
    } else {
        Some((width, height))
    }
}
