//! Images as WhatsApp shows them: JPEG, upright, not larger than a phone's screen needs.

use std::fs::File;
use std::io::BufReader;
#[cfg(feature = "sandbox")]
use std::io::Cursor;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, ExtendedColorType, RgbImage};

use super::decode::{ImageSource, Opened, Pixels, open, unreadable};
use super::file_type::FileType;
use super::shrink::{Shrink, fitted};
use crate::error::{Error, Result};

/// The longest side of an image that is sent.
pub const LONGEST_SIDE: u32 = 1600;
/// A JPEG of at most this size is sent as it is, if nothing else is wrong with it.
pub const SMALL_ENOUGH: u64 = 1 << 20;
const QUALITY: u8 = 80;
/// The longest side of a thumbnail.
pub const THUMBNAIL_SIDE: u32 = 100;
/// Thumbnails travel inside the message, so they must be small.
pub const THUMBNAIL_SIZE: usize = 5 * 1024;

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageContent {
    /// The file as it is.
    Original,
    /// These bytes instead of the file's.
    New(Vec<u8>),
}

/// An image that is ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedImage {
    /// What to send.
    pub content: ImageContent,
    /// Its MIME type.
    pub mime: &'static str,
    /// Width in pixels, as it is shown.
    pub width: u32,
    /// Height in pixels, as it is shown.
    pub height: u32,
    /// A JPEG of about 5 KB at most, longest side 100.
    pub thumbnail: Vec<u8>,
}

/// Prepares the image in a file. With `keep_original`, JPEG and PNG files keep their bytes.
///
/// Every image is decoded completely, so what is sent can be shown.
pub fn prepare(path: &Path, kind: FileType, keep_original: bool) -> Result<PreparedImage> {
    let file = File::open(path).map_err(Error::internal)?;
    let size = file.metadata().map_err(Error::internal)?.len();
    prepare_from(BufReader::new(file), size, kind, keep_original)
}

/// As [`prepare`], of bytes.
#[cfg(feature = "sandbox")]
pub fn prepare_bytes(bytes: Vec<u8>, kind: FileType, keep_original: bool) -> Result<PreparedImage> {
    let size = bytes.len() as u64;
    prepare_from(Cursor::new(bytes), size, kind, keep_original)
}

fn prepare_from<R: ImageSource + 'static>(
    source: R,
    file_size: u64,
    kind: FileType,
    keep_original: bool,
) -> Result<PreparedImage> {
    let mut opened = open(source, kind)?;
    let size = opened.size();
    let orientation = opened.orientation();
    let small = kind == FileType::Jpeg
        && size.0.max(size.1) <= LONGEST_SIDE
        && file_size <= SMALL_ENOUGH
        && orientation == Orientation::NoTransforms
        && opened.plain_colours();
    let keep = small || keep_original && matches!(kind, FileType::Jpeg | FileType::Png);
    if keep {
        let small = on_white(opened, fitted(size, THUMBNAIL_SIDE), orientation)?;
        let (width, height) = upright(size, orientation);
        return Ok(PreparedImage {
            content: ImageContent::Original,
            mime: kind.mime(),
            width,
            height,
            thumbnail: thumbnail_of(&small)?,
        });
    }
    let picture = on_white(opened, fitted(size, LONGEST_SIDE), orientation)?;
    let thumbnail = thumbnail_of(&picture)?;
    Ok(PreparedImage {
        content: ImageContent::New(jpeg(&picture, QUALITY)?),
        mime: FileType::Jpeg.mime(),
        width: picture.width(),
        height: picture.height(),
        thumbnail,
    })
}

fn upright(size: (u32, u32), orientation: Orientation) -> (u32, u32) {
    match orientation {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => (size.1, size.0),
        _ => size,
    }
}

/// Decodes, scales down to `size`, puts transparency on white, and turns.
fn on_white<R: ImageSource>(
    opened: Opened<R>,
    size: (u32, u32),
    orientation: Orientation,
) -> Result<RgbImage> {
    let pixels = opened.pixels(size)?;
    // A decoder that scales may round one side down.
    let size = (size.0.min(pixels.width), size.1.min(pixels.height));
    let shrunk = shrink(&pixels, size);
    drop(pixels);
    let image = RgbImage::from_raw(size.0, size.1, shrunk).ok_or_else(unreadable)?;
    Ok(turned(image, orientation))
}

fn turned(image: RgbImage, orientation: Orientation) -> RgbImage {
    let mut image = DynamicImage::ImageRgb8(image);
    image.apply_orientation(orientation);
    image.into_rgb8()
}

fn shrink(pixels: &Pixels, size: (u32, u32)) -> Vec<u8> {
    let mut shrink = Shrink::<3>::new((pixels.width, pixels.height), size);
    let mut row = Vec::new();
    let mut flat = Vec::new();
    for y in 0..pixels.height {
        pixels.row(y, &mut row);
        flat.clear();
        for pixel in row.chunks_exact(4) {
            let alpha = u32::from(pixel[3]);
            let over_white = |value: u8| {
                let sum = u32::from(value) * alpha + 255 * (255 - alpha);
                ((sum + 127) / 255) as u8
            };
            if alpha == 255 {
                flat.extend_from_slice(&pixel[..3]);
            } else {
                flat.extend(pixel[..3].iter().map(|value| over_white(*value)));
            }
        }
        shrink.push(&flat);
    }
    shrink.finish()
}

fn thumbnail_of(picture: &RgbImage) -> Result<Vec<u8>> {
    let size = fitted(picture.dimensions(), THUMBNAIL_SIDE);
    let mut shrink = Shrink::<3>::new(picture.dimensions(), size);
    for row in picture.as_raw().chunks_exact(picture.width() as usize * 3) {
        shrink.push(row);
    }
    let small = RgbImage::from_raw(size.0, size.1, shrink.finish()).ok_or_else(unreadable)?;
    let mut bytes = Vec::new();
    for quality in [75, 50, 25, 10] {
        bytes = jpeg(&small, quality)?;
        if bytes.len() <= THUMBNAIL_SIZE {
            break;
        }
    }
    Ok(bytes)
}

fn jpeg(picture: &RgbImage, quality: u8) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode(
            picture.as_raw(),
            picture.width(),
            picture.height(),
            ExtendedColorType::Rgb8,
        )
        .map_err(Error::internal)?;
    Ok(bytes)
}
