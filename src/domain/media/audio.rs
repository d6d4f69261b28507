//! Sound: how long it is, and whether WhatsApp can play it as a voice note.

use std::io::{Read, Seek};
use std::path::Path;

use super::file_type::FileType;
use super::ogg;
use super::reader::{FileReader, be32, be64, le32};
use super::video::{self, seconds};
use crate::error::Result;

/// As much of the sound as is looked at where the whole would have to be counted.
const SAMPLE: usize = 64 * 1024;
/// More chunks than a sensible WAV file has.
const CHUNKS: usize = 64;

/// What a sound file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioInfo {
    /// Whole seconds, if they can be told cheaply.
    pub seconds: Option<u32>,
    /// Whether WhatsApp can play it as a voice note: only Opus in Ogg.
    pub voice: bool,
}

/// Looks at the headers of a sound file. One that cannot be understood has no known duration.
pub fn inspect(path: &Path, kind: FileType) -> Result<AudioInfo> {
    inspect_in(&mut FileReader::open(path)?, kind)
}

/// As [`inspect`], of anything that can be read here and there.
pub fn inspect_in<R: Read + Seek>(reader: &mut FileReader<R>, kind: FileType) -> Result<AudioInfo> {
    let seconds = match kind {
        FileType::OggOpus | FileType::Ogg => ogg::duration(reader)?,
        FileType::Mp3 => mp3(reader)?,
        FileType::Aac => aac(reader)?,
        FileType::Amr => amr(reader)?,
        FileType::Wav => wav(reader)?,
        FileType::Flac => flac(reader)?,
        FileType::M4a | FileType::Mp4 | FileType::ThreeGp | FileType::Mov => {
            video::inspect_in(reader)
                .ok()
                .and_then(|video| video.seconds)
        }
        _ => None,
    };
    Ok(AudioInfo {
        seconds,
        voice: kind == FileType::OggOpus,
    })
}

/// Where the sound begins if an ID3 tag comes first.
pub(super) fn tag_end(head: &[u8]) -> Option<u64> {
    if !head.starts_with(b"ID3") || head.len() < 10 {
        return None;
    }
    // Seven bits of each byte.
    let size = head[6..10]
        .iter()
        .fold(0_u64, |size, byte| size << 7 | u64::from(byte & 0x7f));
    let footer = if head[5] & 0x10 == 0 { 0 } else { 10 };
    Some(10 + size + footer)
}

/// MP3 or AAC, if a frame begins here, and another behind it as far as that can be seen.
pub(super) fn by_frame(head: &[u8]) -> Option<FileType> {
    if let Some(frame) = Mp3Frame::at(head) {
        let next = head.get(frame.size..).unwrap_or_default();
        return (next.len() < 4 || Mp3Frame::at(next).is_some()).then_some(FileType::Mp3);
    }
    let (size, _) = adts_frame(head)?;
    let next = head.get(size..).unwrap_or_default();
    (next.len() < 7 || adts_frame(next).is_some()).then_some(FileType::Aac)
}

/// The header of an MPEG layer III frame.
struct Mp3Frame {
    bits_per_second: u64,
    samples_per_second: u64,
    samples: u64,
    /// With its header.
    size: usize,
    /// Where a header for the whole file would be.
    side: usize,
}

impl Mp3Frame {
    fn at(bytes: &[u8]) -> Option<Self> {
        const FULL: [u64; 14] = [
            32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
        ];
        const HALF: [u64; 14] = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
        const RATES: [u64; 3] = [44_100, 48_000, 32_000];
        let header = be32(bytes, 0)?;
        let layer_three = header >> 17 & 3 == 1;
        if header >> 21 != 0x7ff || !layer_three {
            return None;
        }
        let (first_version, divisor) = match header >> 19 & 3 {
            3 => (true, 1),
            2 => (false, 2),
            0 => (false, 4),
            _ => return None,
        };
        let rates = if first_version { FULL } else { HALF };
        let kilobits = rates.get((header >> 12 & 15).checked_sub(1)? as usize)?;
        let samples_per_second = RATES.get((header >> 10 & 3) as usize)? / divisor;
        let samples = if first_version { 1152 } else { 576 };
        let padding = u64::from(header >> 9 & 1);
        let mono = header >> 6 & 3 == 3;
        let size = samples / 8 * kilobits * 1000 / samples_per_second + padding;
        let side = match (first_version, mono) {
            (true, false) => 32,
            (true, true) | (false, false) => 17,
            (false, true) => 9,
        };
        Some(Self {
            bits_per_second: kilobits * 1000,
            samples_per_second,
            samples,
            size: size as usize,
            side: 4 + side,
        })
    }

    /// How many frames there are in all, if the first frame says so.
    fn frames_of_all(&self, bytes: &[u8]) -> Option<u64> {
        let told = bytes.get(self.side..).unwrap_or_default();
        if told.starts_with(b"Xing") || told.starts_with(b"Info") {
            let counted = be32(told, 4)? & 1 == 1;
            return counted.then(|| be32(told, 8).map(u64::from)).flatten();
        }
        let told = bytes.get(36..).unwrap_or_default();
        told.starts_with(b"VBRI")
            .then(|| be32(told, 14).map(u64::from))
            .flatten()
    }
}

fn mp3<R: Read + Seek>(reader: &mut FileReader<R>) -> Result<Option<u32>> {
    let start = tag_end(&reader.at(0, 10)?).unwrap_or(0);
    let bytes = reader.at(start, SAMPLE)?;
    let first = (0..bytes.len()).find(|at| by_frame(&bytes[*at..]) == Some(FileType::Mp3));
    let Some((at, frame)) = first.and_then(|at| Some((at, Mp3Frame::at(&bytes[at..])?))) else {
        return Ok(None);
    };
    if let Some(frames) = frame.frames_of_all(&bytes[at..]) {
        let samples = frames.saturating_mul(frame.samples);
        return Ok(seconds(samples, frame.samples_per_second));
    }
    let size = reader.size().saturating_sub(start + at as u64);
    Ok(seconds(size.saturating_mul(8), frame.bits_per_second))
}

/// Size and sampling rate of the AAC frame that begins here.
fn adts_frame(bytes: &[u8]) -> Option<(usize, u64)> {
    const RATES: [u64; 13] = [
        96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025,
        8_000, 7_350,
    ];
    let header = bytes.get(..7)?;
    if header[0] != 0xff || header[1] & 0xf6 != 0xf0 {
        return None;
    }
    let rate = *RATES.get(usize::from(header[2] >> 2 & 15))?;
    let size = usize::from(header[3] & 3) << 11
        | usize::from(header[4]) << 3
        | usize::from(header[5] >> 5);
    (size >= 7).then_some((size, rate))
}

fn aac<R: Read + Seek>(reader: &mut FileReader<R>) -> Result<Option<u32>> {
    const SAMPLES: u64 = 1024;
    let start = tag_end(&reader.at(0, 10)?).unwrap_or(0);
    let bytes = reader.at(start, SAMPLE)?;
    let Some((_, rate)) = adts_frame(&bytes) else {
        return Ok(None);
    };
    let walked = walk(&bytes, |rest| adts_frame(rest).map(|frame| frame.0));
    let frames = of_all(walked, reader.size() - start.min(reader.size()));
    Ok(seconds(frames.saturating_mul(SAMPLES), rate))
}

fn amr<R: Read + Seek>(reader: &mut FileReader<R>) -> Result<Option<u32>> {
    const NARROW: [usize; 9] = [12, 13, 15, 17, 19, 20, 26, 31, 5];
    const WIDE: [usize; 10] = [17, 23, 32, 36, 40, 46, 50, 58, 60, 5];
    const FRAMES_PER_SECOND: u64 = 50;
    let head = reader.at(0, 9)?;
    let (start, sizes) = if head.starts_with(b"#!AMR-WB\n") {
        (9, WIDE.as_slice())
    } else {
        (6, NARROW.as_slice())
    };
    let bytes = reader.at(start, SAMPLE)?;
    let walked = walk(&bytes, |rest| {
        let mode = usize::from(rest.first()? >> 3 & 15);
        // Other modes have no content: nothing was said.
        Some(1 + sizes.get(mode).copied().unwrap_or(0))
    });
    let frames = of_all(walked, reader.size().saturating_sub(start));
    Ok(seconds(frames, FRAMES_PER_SECOND))
}

/// Steps from frame to frame: how many there are, and how many bytes they take.
fn walk(bytes: &[u8], size: impl Fn(&[u8]) -> Option<usize>) -> (u64, u64) {
    let (mut frames, mut at) = (0, 0);
    while let Some(step) = size(bytes.get(at..).unwrap_or_default()) {
        if at + step > bytes.len() {
            break;
        }
        at += step;
        frames += 1;
    }
    (frames, at as u64)
}

/// As many frames as `size` bytes hold if they go on as they began.
fn of_all((frames, bytes): (u64, u64), size: u64) -> u64 {
    if bytes == 0 {
        return 0;
    }
    (u128::from(frames) * u128::from(size) / u128::from(bytes)) as u64
}

fn wav<R: Read + Seek>(reader: &mut FileReader<R>) -> Result<Option<u32>> {
    let mut position = 12;
    let mut rate = None;
    for _ in 0..CHUNKS {
        let head = reader.at(position, 24)?;
        let Some(size) = le32(&head, 4) else { break };
        match &head[..4] {
            b"fmt " => rate = le32(&head, 16),
            b"data" => {
                // A recorder that was cut off did not write the size.
                let left = reader.size().saturating_sub(position + 8);
                let told = Some(u64::from(size)).filter(|size| *size > 0);
                let size = told.map_or(left, |size| size.min(left));
                return Ok(rate.and_then(|rate| seconds(size, u64::from(rate))));
            }
            _ => {}
        }
        position += 8 + u64::from(size) + u64::from(size & 1);
    }
    Ok(None)
}

fn flac<R: Read + Seek>(reader: &mut FileReader<R>) -> Result<Option<u32>> {
    let start = tag_end(&reader.at(0, 10)?).unwrap_or(0);
    let head = reader.at(start, 42)?;
    // Twenty bits of rate, eight of other things, thirty-six of samples.
    let packed = be64(&head, 18).filter(|_| head.starts_with(b"fLaC"));
    Ok(packed.and_then(|packed| seconds(packed & 0xf_ffff_ffff, packed >> 44)))
}
