use std::io::{Cursor, Write};
use std::time::{Duration, Instant};

use image::{ImageDecoder as _, ImageFormat, Rgba, RgbaImage};
use proptest::prelude::*;

use super::samples;
use crate::domain::media::decode::{Opened, open};
use crate::domain::media::file_type::FileType;
use crate::domain::media::images::*;
use crate::error::ErrorKind;

fn ready(bytes: &[u8], kind: FileType) -> PreparedImage {
    let picture = prepare_bytes(bytes.to_vec(), kind, false).expect("a picture");
    let thumbnail = image::load_from_memory(&picture.thumbnail).expect("a thumbnail");
    assert!(thumbnail.width().max(thumbnail.height()) <= THUMBNAIL_SIDE);
    assert!(picture.thumbnail.len() <= THUMBNAIL_SIZE);
    picture
}

fn new_bytes(picture: &PreparedImage) -> image::RgbImage {
    let ImageContent::New(bytes) = &picture.content else {
        panic!("kept as it was");
    };
    let image = image::load_from_memory_with_format(bytes, ImageFormat::Jpeg).expect("a JPEG");
    assert_eq!(
        (image.width(), image.height()),
        (picture.width, picture.height)
    );
    image.into_rgb8()
}

fn like(pixel: &image::Rgb<u8>, colour: [u8; 3]) -> bool {
    pixel.0.iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 24)
}

const RED: [u8; 3] = [255, 0, 0];
const BLUE: [u8; 3] = [0, 0, 255];

#[test]
fn a_small_jpeg_is_sent_as_it_is() {
    let picture = ready(
        &samples::jpeg(&samples::marked(800, 600), 90),
        FileType::Jpeg,
    );
    assert_eq!(picture.content, ImageContent::Original);
    assert_eq!((picture.width, picture.height), (800, 600));
    assert_eq!(picture.mime, "image/jpeg");
}

#[test]
fn every_orientation_is_applied() {
    // Where the red corner of the stored picture is shown: right, bottom.
    let corners = [
        (2, true, false),
        (3, true, true),
        (4, false, true),
        (5, false, false),
        (6, true, false),
        (7, true, true),
        (8, false, true),
    ];
    let plain = samples::jpeg(&samples::marked(64, 32), 90);
    for (orientation, right, bottom) in corners {
        let picture = ready(
            &samples::with_orientation(&plain, orientation),
            FileType::Jpeg,
        );
        let shown = new_bytes(&picture);
        let turned = orientation >= 5;
        let size = if turned { (32, 64) } else { (64, 32) };
        assert_eq!(shown.dimensions(), size, "{orientation}");
        for (x_end, y_end) in [(false, false), (false, true), (true, false), (true, true)] {
            let x = if x_end { size.0 - 3 } else { 2 };
            let y = if y_end { size.1 - 3 } else { 2 };
            let red = (x_end, y_end) == (right, bottom);
            let colour = if red { RED } else { BLUE };
            let pixel = shown.get_pixel(x, y);
            assert!(like(pixel, colour), "{orientation} at {x},{y}: {pixel:?}");
        }
        let kept = samples::with_orientation(&plain, orientation);
        let kept = prepare_bytes(kept, FileType::Jpeg, true).expect("a picture");
        assert_eq!(kept.content, ImageContent::Original);
        assert_eq!((kept.width, kept.height), size);
    }
}

#[test]
fn transparency_is_put_on_white() {
    let image = RgbaImage::from_fn(60, 60, |x, _| match x {
        0..20 => Rgba([0, 0, 0, 0]),
        20..40 => Rgba([0, 0, 0, 128]),
        _ => Rgba([255, 0, 0, 255]),
    });
    for (format, kind) in [
        (ImageFormat::Png, FileType::Png),
        (ImageFormat::WebP, FileType::WebP),
    ] {
        let picture = ready(&samples::encoded(&image, format), kind);
        assert_eq!(picture.mime, "image/jpeg");
        let shown = new_bytes(&picture);
        assert!(like(shown.get_pixel(4, 30), [255, 255, 255]));
        assert!(like(shown.get_pixel(28, 30), [127, 127, 127]));
        assert!(like(shown.get_pixel(55, 30), RED));
    }
}

#[test]
fn deep_and_grey_pngs_are_read() {
    let deep = image::ImageBuffer::from_fn(32, 32, |_, _| image::Rgba([0_u16, 0, 65_535, 65_535]));
    let grey = image::ImageBuffer::from_fn(32, 32, |_, _| image::LumaA([60_u8, 255]));
    let deep = image::DynamicImage::ImageRgba16(deep);
    let grey = image::DynamicImage::ImageLumaA8(grey);
    for (image, colour) in [(deep, BLUE), (grey, [60, 60, 60])] {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image
            .write_to(&mut bytes, ImageFormat::Png)
            .expect("encodes");
        let shown = new_bytes(&ready(&bytes.into_inner(), FileType::Png));
        assert!(like(shown.get_pixel(16, 16), colour));
    }
}

#[test]
fn the_first_frame_of_a_gif_is_shown() {
    let red = RgbaImage::from_pixel(50, 40, Rgba([255, 0, 0, 255]));
    let blue = RgbaImage::from_pixel(50, 40, Rgba([0, 0, 255, 255]));
    let shown = new_bytes(&ready(&samples::gif(&[red, blue], 100), FileType::Gif));
    assert!(like(shown.get_pixel(25, 20), RED));
}

#[test]
fn large_pictures_are_scaled_down() {
    let marked = samples::marked(2500, 1250);
    for (kind, bytes) in [
        (FileType::Jpeg, samples::jpeg(&marked, 85)),
        (FileType::Png, samples::encoded(&marked, ImageFormat::Png)),
    ] {
        let shown = new_bytes(&ready(&bytes, kind));
        assert_eq!(shown.dimensions(), (1600, 800));
        assert!(like(shown.get_pixel(400, 200), RED));
        assert!(like(shown.get_pixel(1200, 200), BLUE));
        assert!(like(shown.get_pixel(400, 600), BLUE));
        let kept = prepare_bytes(bytes, kind, true).expect("a picture");
        assert_eq!(kept.content, ImageContent::Original);
        assert_eq!((kept.width, kept.height), (2500, 1250));
        assert_eq!(kept.mime, kind.mime());
    }
    let wide = samples::jpeg(&samples::marked(9000, 3), 85);
    assert_eq!(
        new_bytes(&ready(&wide, FileType::Jpeg)).dimensions(),
        (1600, 1)
    );
}

#[test]
fn a_jpeg_with_many_bytes_is_made_smaller() {
    let noisy = samples::jpeg(&samples::noisy(1200, 1200), 100);
    assert!(noisy.len() as u64 > SMALL_ENOUGH);
    let picture = ready(&noisy, FileType::Jpeg);
    let ImageContent::New(bytes) = picture.content else {
        panic!("kept");
    };
    assert!(bytes.len() < noisy.len());
}

#[test]
fn bombs_are_refused_before_they_are_decoded() {
    let mut jpeg = samples::jpeg(&samples::marked(16, 16), 80);
    let frame = jpeg
        .windows(2)
        .position(|w| w == [0xff, 0xc0])
        .expect("a frame");
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x9c, 0x40, 0x9c, 0x40]);
    let mut gif = samples::gif(&[samples::marked(16, 16)], 100);
    gif[6..10].copy_from_slice(&[0x40, 0x9c, 0x40, 0x9c]);
    for (kind, bytes) in [
        (FileType::Png, samples::png_bomb(40_000, 40_000)),
        (FileType::Jpeg, jpeg),
        (FileType::Gif, gif),
    ] {
        let started = Instant::now();
        let error = prepare_bytes(bytes, kind, true).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(
            error.detail().contains("40000 x 40000"),
            "{}",
            error.detail()
        );
        assert!(started.elapsed() < Duration::from_secs(1));
    }
    let error = prepare_bytes(samples::png_bomb(8000, 8000), FileType::Png, false);
    let detail = error.expect_err("refused").detail().to_owned();
    assert!(
        detail.contains("64000000") && detail.contains("41943040"),
        "{detail}"
    );
}

#[test]
fn a_webp_whose_picture_is_larger_than_its_canvas_is_refused() {
    let still = samples::encoded(&samples::marked(40, 30), ImageFormat::WebP);
    let mut bytes = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x09\0\0\x09\0\0".to_vec();
    bytes.extend(&still[12..]);
    let size = bytes.len() as u32 - 8;
    bytes[4..8].copy_from_slice(&size.to_le_bytes());
    let error = prepare_bytes(bytes, FileType::WebP, false).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unprocessable);
}

#[test]
fn a_webp_with_very_many_chunks_is_refused() {
    let mut bytes = samples::encoded(&samples::marked(40, 30), ImageFormat::WebP);
    bytes.extend(b"junk\0\0\0\0".repeat(5000));
    let size = bytes.len() as u32 - 8;
    bytes[4..8].copy_from_slice(&size.to_le_bytes());
    let error = prepare_bytes(bytes, FileType::WebP, false).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unprocessable);
}

#[test]
fn a_moving_webp_whose_frame_is_larger_than_its_canvas_is_refused() {
    let still = samples::encoded(&samples::marked(40, 30), ImageFormat::WebP);
    let mut bytes = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\x09\0\0\x09\0\0".to_vec();
    bytes.extend(b"ANIM\x06\0\0\0\0\0\0\0\0\0ANMF");
    bytes.extend((still.len() as u32 - 12 + 16).to_le_bytes());
    bytes.extend([0, 0, 0, 0, 0, 0, 9, 0, 0, 9, 0, 0, 100, 0, 0, 0]);
    bytes.extend(&still[12..]);
    let size = bytes.len() as u32 - 8;
    bytes[4..8].copy_from_slice(&size.to_le_bytes());
    let error = prepare_bytes(bytes, FileType::WebP, false).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unprocessable);
}

#[test]
fn a_jpeg_in_very_many_passes_is_refused() {
    let mut bytes = samples::jpeg(&samples::marked(16, 16), 80);
    let scan = bytes
        .windows(2)
        .position(|w| w == [0xff, 0xda])
        .expect("a scan");
    let passes = bytes[scan..bytes.len() - 2].repeat(200);
    bytes.extend(passes);
    let error = prepare_bytes(bytes, FileType::Jpeg, true).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unprocessable);
}

#[test]
fn the_passes_of_a_large_jpeg_are_fewer_than_those_of_a_small_one() {
    let mut bytes = samples::jpeg(&samples::marked(16, 16), 80);
    let at = |bytes: &[u8], marker: u8| {
        let found = bytes.windows(2).position(|w| w == [0xff, marker]);
        found.expect("a marker")
    };
    let (scan, frame) = (at(&bytes, 0xda), at(&bytes, 0xc0));
    let passes = bytes[scan..bytes.len() - 2].repeat(89);
    bytes.extend(passes);
    let small = prepare_bytes(bytes.clone(), FileType::Jpeg, true);
    assert!(!small.is_err_and(|error| error.kind() == ErrorKind::TooLarge));
    let (height, width) = (2000_u16.to_be_bytes(), 2500_u16.to_be_bytes());
    bytes[frame + 5..frame + 9].copy_from_slice(&[height, width].concat());
    let error = prepare_bytes(bytes, FileType::Jpeg, true).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.detail().contains("90 passes"), "{error:?}");
}

#[test]
fn a_packed_colour_profile_is_bounded() {
    let png = samples::encoded(&samples::marked(10, 10), ImageFormat::Png);
    let unpacked = |length: usize| {
        let bytes = samples::with_profile(&png, length);
        assert!(bytes.len() < 1 << 20);
        ready(&bytes, FileType::Png);
        let opened = open(Cursor::new(bytes), FileType::Png).expect("a picture");
        let Opened::Other(mut decoder, _) = opened else {
            panic!("a JPEG");
        };
        decoder.icc_profile().expect("readable").map(|it| it.len())
    };
    assert_eq!(unpacked(1 << 20), Some(1 << 20));
    assert_eq!(unpacked(64 << 20), None);
}

#[test]
fn only_pictures_are_prepared() {
    for (kind, bytes) in samples::all() {
        let expected = match kind {
            FileType::Jpeg | FileType::Png | FileType::Gif | FileType::WebP => continue,
            _ => ErrorKind::UnsupportedMedia,
        };
        let error = prepare_bytes(bytes.clone(), kind, false).expect_err("no picture");
        assert_eq!(error.kind(), expected);
        let error = prepare_bytes(bytes, FileType::Jpeg, false).expect_err("no picture");
        assert_eq!(error.kind(), ErrorKind::Unprocessable);
        assert_eq!(error.detail(), "The image cannot be read");
    }
}

#[test]
fn a_file_is_prepared_as_its_bytes_are() {
    let bytes = samples::encoded(&samples::marked(300, 200), ImageFormat::Png);
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&bytes).expect("writes");
    let of_file = prepare(file.path(), FileType::Png, false).expect("a picture");
    assert_eq!(of_file, ready(&bytes, FileType::Png));
}

#[test]
fn every_beginning_of_every_picture_is_an_error_or_a_picture() {
    for (kind, bytes) in samples::all().into_iter().take(4) {
        let mut refused = 0;
        for length in 0..bytes.len() {
            for keep in [false, true] {
                match prepare_bytes(bytes[..length].to_vec(), kind, keep) {
                    Ok(picture) => assert_eq!(picture.width * picture.height, 1200),
                    Err(error) => {
                        refused += 1;
                        assert_eq!(error.kind(), ErrorKind::Unprocessable, "{error:?}");
                    }
                }
            }
        }
        // Only the very end may be missing.
        assert!(
            refused > bytes.len(),
            "{kind:?}: {refused} of {}",
            bytes.len()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn damaged_pictures_never_stop_the_process(
        which in 0..4_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        keep in any::<bool>(),
    ) {
        let (kind, mut bytes) = samples::all().swap_remove(which);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = prepare_bytes(bytes, kind, keep);
    }
}
