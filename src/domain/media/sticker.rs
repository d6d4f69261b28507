//! Stickers: WebP, 512 x 512, small, still or moving.

use std::fs::File;
use std::io::BufReader;
#[cfg(feature = "sandbox")]
use std::io::Cursor;
use std::path::{Path, PathBuf};
#[cfg(feature = "sandbox")]
use std::sync::Arc;

use image::codecs::{gif::GifDecoder, webp::WebPDecoder};
use image::imageops::FilterType;
use image::{AnimationDecoder, DynamicImage, Frames, ImageDecoder, Limits, RgbaImage};

use super::decode::{ImageSource, check_size, open, refused, unreadable};
use super::effort::Effort;
use super::file_type::FileType;
pub use super::images::ImageContent;
use super::reader::FileReader;
use super::shrink::{Shrink, fitted, scaled};
use super::webp::{self, Animation, FramePosition};
use crate::error::{Code, Error, Result};

/// Both sides of a sticker.
pub const SIDE: u32 = 512;
/// The most bytes of a sticker that does not move.
pub const STILL_SIZE: usize = 100 * 1024;
/// The most bytes of a sticker that moves.
pub const MOVING_SIZE: usize = 500 * 1024;
/// The most frames that are read.
pub const MAX_FRAMES: u32 = 300;
/// The most pixels of all frames together.
pub const MAX_MOVING_PIXELS: u64 = 40_000_000;
/// Players show frames that claim less time than this for [`UNHURRIED`] milliseconds.
const HURRIED: u32 = 20;
const UNHURRIED: u32 = 100;

/// The qualities that are tried for a sticker that does not move.
const QUALITIES: [f32; 7] = [85.0, 70.0, 50.0, 30.0, 15.0, 5.0, 0.0];

/// One way to encode a moving sticker.
struct Try {
    quality: f32,
    /// Of so many frames one is kept.
    stride: u32,
    /// How large the result is compared with the first way, by experience.
    share: f64,
}

const TRIES: [Try; 11] = [
    Try::new(75.0, 1, 1.0),
    Try::new(50.0, 1, 0.7),
    Try::new(30.0, 1, 0.5),
    Try::new(15.0, 1, 0.35),
    Try::new(30.0, 2, 0.25),
    Try::new(15.0, 2, 0.18),
    Try::new(15.0, 3, 0.12),
    Try::new(10.0, 4, 0.08),
    Try::new(5.0, 6, 0.05),
    Try::new(0.0, 10, 0.02),
    Try::new(0.0, 30, 0.01),
];

impl Try {
    const fn new(quality: f32, stride: u32, share: f64) -> Self {
        Self {
            quality,
            stride,
            share,
        }
    }
}

/// A sticker that is ready to be sent: a WebP of [`SIDE`] squared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sticker {
    /// What to send.
    pub content: ImageContent,
    /// Whether it moves.
    pub animated: bool,
}

/// Makes a sticker of an image. A file that is a proper one already stays as it is.
pub fn make(path: &Path, kind: FileType, effort: &Effort) -> Result<Sticker> {
    let size = std::fs::metadata(path).map_err(Error::internal)?.len();
    let path = PathBuf::from(path);
    make_from(size, kind, effort, || {
        Ok(BufReader::new(File::open(&path).map_err(Error::internal)?))
    })
}

/// As [`make`], of bytes, whatever the effort.
#[cfg(feature = "sandbox")]
pub fn make_bytes(bytes: Vec<u8>, kind: FileType) -> Result<Sticker> {
    let bytes: Arc<[u8]> = bytes.into();
    let boundless = Effort::while_true(|| true);
    make_from(bytes.len() as u64, kind, &boundless, || {
        Ok(Cursor::new(Arc::clone(&bytes)))
    })
}

/// Reads the source anew for each try: a hundred decoded frames would take a hundred megabytes.
fn make_from<R: ImageSource + 'static>(
    file_size: u64,
    kind: FileType,
    effort: &Effort,
    source: impl Fn() -> Result<R>,
) -> Result<Sticker> {
    let moves = match kind {
        FileType::Gif => frames(source()?, kind)?.take(2).count() == 2,
        FileType::WebP => {
            let outline = webp::outline(&mut FileReader::of(source()?)?)?.ok_or_else(unreadable)?;
            let most = if outline.animated {
                MOVING_SIZE
            } else {
                STILL_SIZE
            };
            let proper = outline.complete
                && (outline.width, outline.height) == (SIDE, SIDE)
                && file_size <= most as u64;
            if proper {
                check(source()?, outline.animated, effort)?;
                return Ok(Sticker {
                    content: ImageContent::Original,
                    animated: outline.animated,
                });
            }
            outline.animated
        }
        _ => false,
    };
    if moves {
        return moving(kind, effort, source);
    }
    let mut opened = open(source()?, kind)?;
    let orientation = opened.orientation();
    let wanted = fitted(opened.size(), SIDE);
    let pixels = opened.pixels(wanted)?;
    let canvas = fit((pixels.width, pixels.height), |y, row| pixels.row(y, row))?;
    drop(pixels);
    let mut canvas = DynamicImage::ImageRgba8(canvas);
    // Turning a square leaves it as large as it is.
    canvas.apply_orientation(orientation);
    still(&canvas.into_rgba8(), effort)
}

/// Decodes everything and forgets it.
fn check<R: ImageSource + 'static>(source: R, animated: bool, effort: &Effort) -> Result<()> {
    if !animated {
        return open(source, FileType::WebP)?.pixels((SIDE, SIDE)).map(drop);
    }
    let mut budget = DecodeBudget::default();
    for frame in frames(source, FileType::WebP)? {
        effort.go_on()?;
        budget.spend(frame.map_err(refused)?.buffer())?;
    }
    Ok(())
}

/// The frames of an animated image, each as large as the canvas.
fn frames<R: ImageSource + 'static>(source: R, kind: FileType) -> Result<Frames<'static>> {
    // What came before, what is decoded, what is shown, what is made of it.
    const COST: u64 = 16;
    if kind == FileType::Gif {
        let mut decoder = GifDecoder::new(source).map_err(refused)?;
        let (width, height) = decoder.dimensions();
        check_size(width, height, COST)?;
        let mut limits = Limits::no_limits();
        // A frame that is larger than the canvas is not to be decoded.
        limits.max_alloc = Some(u64::from(width) * u64::from(height) * 12 + 4096);
        decoder.set_limits(limits).map_err(refused)?;
        return Ok(decoder.into_frames());
    }
    let decoder = WebPDecoder::new(source).map_err(refused)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, COST)?;
    Ok(decoder.into_frames())
}

/// What has been decoded so far.
#[derive(Default)]
struct DecodeBudget {
    frames: u32,
    pixels: u64,
}

impl DecodeBudget {
    fn spend(&mut self, frame: &RgbaImage) -> Result<()> {
        self.frames += 1;
        self.pixels += u64::from(frame.width()) * u64::from(frame.height());
        if self.frames > MAX_FRAMES {
            return Err(Error::new(
                Code::PictureTooLarge,
                format!("The image has more than {MAX_FRAMES} frames"),
            ));
        }
        if self.pixels > MAX_MOVING_PIXELS {
            return Err(Error::new(
                Code::PictureTooLarge,
                format!("The frames have more than {MAX_MOVING_PIXELS} pixels together"),
            ));
        }
        Ok(())
    }
}

/// How a try ended.
enum TryOutcome {
    Fits(Vec<u8>),
    /// It would have been so many times too large.
    TooLarge(f64),
    /// All frames look the same.
    Still(RgbaImage),
    /// Too few frames are left.
    Nothing,
}

fn moving<R: ImageSource + 'static>(
    kind: FileType,
    effort: &Effort,
    source: impl Fn() -> Result<R>,
) -> Result<Sticker> {
    let mut budget = DecodeBudget::default();
    for frame in frames(source()?, kind)? {
        effort.go_on()?;
        budget.spend(frame.map_err(refused)?.buffer())?;
    }
    let mut share = f64::INFINITY;
    for attempt in &TRIES {
        // What was too large tells how much smaller the next has to be.
        if attempt.share > share {
            continue;
        }
        match encode(frames(source()?, kind)?, attempt, budget.frames, effort)? {
            TryOutcome::Fits(bytes) => {
                return Ok(Sticker {
                    content: ImageContent::New(bytes),
                    animated: true,
                });
            }
            TryOutcome::Still(canvas) => return still(&canvas, effort),
            TryOutcome::TooLarge(times) => share = attempt.share / times.max(1.0) * 1.25,
            TryOutcome::Nothing => break,
        }
        share = share.min(attempt.share * 0.99);
    }
    Err(too_large(MOVING_SIZE))
}

/// Encodes one frame of every `stride` among `count`, and gives up when the result is too large.
fn encode(frames: Frames<'_>, attempt: &Try, count: u32, effort: &Effort) -> Result<TryOutcome> {
    let mut animation = Animation::new(SIDE, SIDE);
    let mut shown: Option<RgbaImage> = None;
    let mut kept = 0;
    let mut changes = 0;
    for (number, frame) in (0..count).zip(frames) {
        effort.go_on()?;
        let frame = frame.map_err(refused)?;
        let (numerator, denominator) = frame.delay().numer_denom_ms();
        let mut milliseconds = numerator / denominator.max(1);
        if milliseconds < HURRIED {
            milliseconds = UNHURRIED;
        }
        if number % attempt.stride != 0 {
            animation.prolong(milliseconds);
            continue;
        }
        kept += 1;
        let canvas = fit_frame(frame.buffer())?;
        let place = match &shown {
            None => Some(FramePosition {
                x: 0,
                y: 0,
                width: SIDE,
                height: SIDE,
            }),
            Some(before) => changed(before, &canvas),
        };
        let Some(place) = place else {
            animation.prolong(milliseconds);
            continue;
        };
        changes += 1;
        let cut = image::imageops::crop_imm(&canvas, place.x, place.y, place.width, place.height);
        animation.push(
            place,
            milliseconds,
            &webp(&cut.to_image(), attempt.quality, 2)?,
        );
        if animation.size() > MOVING_SIZE {
            let whole = f64::from(count.div_ceil(attempt.stride));
            return Ok(TryOutcome::TooLarge(whole / f64::from(kept)));
        }
        shown = Some(canvas);
    }
    match shown {
        Some(canvas) if changes == 1 && attempt.stride == 1 => Ok(TryOutcome::Still(canvas)),
        Some(_) if changes > 1 => Ok(TryOutcome::Fits(animation.finish())),
        _ => Ok(TryOutcome::Nothing),
    }
}

/// The smallest place, with even corners, outside of which both images are the same.
fn changed(before: &RgbaImage, after: &RgbaImage) -> Option<FramePosition> {
    let size = SIDE as usize * 4;
    let rows = || before.chunks_exact(size).zip(after.chunks_exact(size));
    let top = rows().position(|(a, b)| a != b)?;
    let bottom = SIDE as usize - rows().rev().position(|(a, b)| a != b)?;
    let (mut left, mut right) = (SIDE as usize, 0);
    for (a, b) in rows().take(bottom).skip(top) {
        let differs = |(a, b): (&[u8], &[u8])| a != b;
        let mut pixels = a.chunks_exact(4).zip(b.chunks_exact(4));
        if let Some(first) = pixels.position(differs) {
            left = left.min(first);
            let mut pixels = a.chunks_exact(4).zip(b.chunks_exact(4));
            let last = pixels.rposition(differs).unwrap_or(first);
            right = right.max(last + 1);
        }
    }
    let (x, y) = (left as u32 & !1, top as u32 & !1);
    Some(FramePosition {
        x,
        y,
        width: right as u32 - x,
        height: bottom as u32 - y,
    })
}

fn still(canvas: &RgbaImage, effort: &Effort) -> Result<Sticker> {
    for quality in QUALITIES {
        effort.go_on()?;
        let bytes = webp(canvas, quality, 4)?;
        if bytes.len() <= STILL_SIZE {
            return Ok(Sticker {
                content: ImageContent::New(bytes),
                animated: false,
            });
        }
    }
    Err(too_large(STILL_SIZE))
}

fn too_large(most: usize) -> Error {
    Error::new(
        Code::FileTooComplex,
        format!(
            "The image cannot be made into a sticker of at most {} KB",
            most / 1024
        ),
    )
}

/// Encodes with loss; a higher `method` takes longer and gives fewer bytes.
fn webp(picture: &RgbaImage, quality: f32, method: i32) -> Result<Vec<u8>> {
    let failed = |what: String| Error::internal(format!("WebP encoder: {what}"));
    let mut config = ::webp::WebPConfig::new().map_err(|()| failed("configuration".into()))?;
    config.quality = quality;
    config.method = method;
    // Edges suffer less than surfaces do.
    config.alpha_quality = 50 + (quality / 2.0) as i32;
    let encoder = ::webp::Encoder::from_rgba(picture, picture.width(), picture.height());
    let bytes = encoder
        .encode_advanced(&config)
        .map_err(|error| failed(format!("{error:?}")))?;
    Ok(bytes.to_vec())
}

fn fit_frame(frame: &RgbaImage) -> Result<RgbaImage> {
    let size = frame.width() as usize * 4;
    fit(frame.dimensions(), |y, row| {
        let at = y as usize * size;
        row.clear();
        row.extend_from_slice(&frame.as_raw()[at..at + size]);
    })
}

/// Scales an image, given by its rows, so that it fits, and puts it into the middle.
///
/// Colours are multiplied by their opacity before they are mixed: what cannot be seen has no say.
fn fit(from: (u32, u32), rows: impl Fn(u32, &mut Vec<u8>)) -> Result<RgbaImage> {
    let side = from.0.max(from.1);
    let to = (
        scaled(from.0, SIDE, side).min(SIDE),
        scaled(from.1, SIDE, side).min(SIDE),
    );
    // A very long image may have its short side enlarged to a pixel, never more.
    let smaller = side >= SIDE;
    let between = if smaller { to } else { from };
    let mut shrink = Shrink::<4>::new(from, between);
    let mut row = Vec::new();
    for y in 0..from.1 {
        rows(y, &mut row);
        row.chunks_exact_mut(4).for_each(multiply);
        shrink.push(&row);
    }
    let scaled =
        RgbaImage::from_raw(between.0, between.1, shrink.finish()).ok_or_else(unreadable)?;
    let mut scaled = if smaller {
        scaled
    } else {
        image::imageops::resize(&scaled, to.0, to.1, FilterType::Triangle)
    };
    scaled.chunks_exact_mut(4).for_each(divide);
    let mut canvas = RgbaImage::new(SIDE, SIDE);
    let (x, y) = ((SIDE - to.0) / 2, (SIDE - to.1) / 2);
    image::imageops::replace(&mut canvas, &scaled, i64::from(x), i64::from(y));
    Ok(canvas)
}

fn multiply(pixel: &mut [u8]) {
    let alpha = u16::from(pixel[3]);
    if alpha < 255 {
        for value in &mut pixel[..3] {
            *value = ((u16::from(*value) * alpha + 127) / 255) as u8;
        }
    }
}

fn divide(pixel: &mut [u8]) {
    let alpha = u16::from(pixel[3]);
    if alpha > 0 && alpha < 255 {
        for value in &mut pixel[..3] {
            *value = ((u16::from(*value) * 255 + alpha / 2) / alpha).min(255) as u8;
        }
    }
}
