//! What a phone makes of a picture: how large it is, whether it moves, and a small one to show.

use std::io::Cursor;

use image::codecs::gif::GifDecoder;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{AnimationDecoder as _, ImageDecoder as _, ImageFormat, ImageReader, Limits};
use serde::Serialize;

/// The longer side of a small picture.
const SMALL: u32 = 72;
/// The largest picture whose pixels are looked at.
const MOST_PIXELS: u64 = 40_000_000;

/// A picture as a phone sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageInfo {
    /// `jpeg`, `png`, `gif` or `webp`.
    pub format: &'static str,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Whether it has more than one frame.
    pub animated: bool,
}

/// Looks at a picture; `None` if it is none.
pub(super) fn inspect(file: &[u8]) -> Option<ImageInfo> {
    let format = image::guess_format(file).ok()?;
    let (width, height) = ImageReader::with_format(Cursor::new(file), format)
        .into_dimensions()
        .ok()?;
    let (name, animated) = match format {
        ImageFormat::Jpeg => ("jpeg", false),
        ImageFormat::Png => (
            "png",
            PngDecoder::new(Cursor::new(file)).ok()?.is_apng().ok()?,
        ),
        ImageFormat::Gif => ("gif", moves(file)?),
        ImageFormat::WebP => (
            "webp",
            WebPDecoder::new(Cursor::new(file)).ok()?.has_animation(),
        ),
        _ => return None,
    };
    Some(ImageInfo {
        format: name,
        width,
        height,
        animated,
    })
}

/// Whether a GIF has a second frame.
fn moves(file: &[u8]) -> Option<bool> {
    let decoder = GifDecoder::new(Cursor::new(file)).ok()?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Some(false);
    }
    let frames = decoder.into_frames().take(2);
    Some(frames.filter(|frame| frame.is_ok()).count() == 2)
}

/// A small JPEG of a picture, as phones put it into their messages.
pub(super) fn small(file: &[u8]) -> Option<Vec<u8>> {
    let seen = inspect(file)?;
    if u64::from(seen.width) * u64::from(seen.height) > MOST_PIXELS {
        return None;
    }
    let mut reader = ImageReader::new(Cursor::new(file))
        .with_guessed_format()
        .ok()?;
    reader.limits(Limits::default());
    let small = reader.decode().ok()?.thumbnail(SMALL, SMALL).into_rgb8();
    let mut out = Vec::new();
    JpegEncoder::new_with_quality(&mut out, 60)
        .encode_image(&small)
        .ok()?;
    Some(out)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A picture of one colour.
    pub(in crate::sandbox) fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image::RgbImage::from_pixel(width, height, image::Rgb([200, 30, 30]))
            .write_to(&mut out, format)
            .expect("encoded");
        out.into_inner()
    }

    /// A GIF with so many frames.
    pub(in crate::sandbox) fn video(frames: u32) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = image::codecs::gif::GifEncoder::new(&mut out);
        for n in 0..frames {
            let colour = image::Rgba([n as u8, 0, 0, 255]);
            let frame = image::RgbaImage::from_pixel(8, 6, colour);
            encoder
                .encode_frame(image::Frame::new(frame))
                .expect("encoded");
        }
        drop(encoder);
        out
    }

    #[test]
    fn every_kind_is_seen() {
        for (format, name) in [
            (ImageFormat::Jpeg, "jpeg"),
            (ImageFormat::Png, "png"),
            (ImageFormat::WebP, "webp"),
        ] {
            let seen = inspect(&picture(30, 20, format)).expect("a picture");
            assert_eq!((seen.format, seen.width, seen.height), (name, 30, 20));
            assert!(!seen.animated);
        }
        let animated = |frames| inspect(&video(frames)).expect("a picture").animated;
        assert!(!animated(1) && animated(2) && animated(5));
        assert_eq!(inspect(b"%PDF-1.7"), None);
        assert_eq!(inspect(&picture(30, 20, ImageFormat::Png)[..20]), None);
    }

    #[test]
    fn a_small_one_has_the_same_shape() {
        let small = small(&picture(400, 200, ImageFormat::Png)).expect("a picture");
        let seen = inspect(&small).expect("a picture");
        assert_eq!((seen.format, seen.width, seen.height), ("jpeg", 72, 36));
    }
}
