use std::io::{Cursor, Write};

use image::codecs::webp::WebPDecoder;
use image::{AnimationDecoder, Frame, ImageFormat, Rgba, RgbaImage};
use proptest::prelude::*;

use super::samples;
use crate::domain::media::effort::Effort;
use crate::domain::media::file_type::FileType;
use crate::domain::media::kind::sniff_bytes;
use crate::domain::media::sticker::*;
use crate::error::ErrorKind;

fn bytes_of(sticker: &Sticker) -> &[u8] {
    let ImageContent::New(bytes) = &sticker.content else {
        panic!("kept as it was");
    };
    let most = if sticker.animated {
        MOVING_SIZE
    } else {
        STILL_SIZE
    };
    assert!(bytes.len() <= most, "{} bytes", bytes.len());
    assert_eq!(sniff_bytes(bytes), FileType::WebP);
    bytes
}

fn still(bytes: Vec<u8>, kind: FileType) -> RgbaImage {
    let sticker = make_bytes(bytes, kind).expect("a sticker");
    assert!(!sticker.animated);
    let image = image::load_from_memory_with_format(bytes_of(&sticker), ImageFormat::WebP);
    let image = image.expect("decodes").into_rgba8();
    assert_eq!(image.dimensions(), (SIDE, SIDE));
    image
}

fn frames(bytes: &[u8]) -> Vec<Frame> {
    let decoder = WebPDecoder::new(Cursor::new(bytes)).expect("a WebP");
    assert!(decoder.has_animation());
    let frames = decoder.into_frames().collect_frames().expect("decodes");
    for frame in &frames {
        assert_eq!(frame.buffer().dimensions(), (SIDE, SIDE));
    }
    frames
}

fn milliseconds(frames: &[Frame]) -> u32 {
    let of = |frame: &Frame| frame.delay().numer_denom_ms();
    frames.iter().map(|frame| of(frame).0 / of(frame).1).sum()
}

fn like(pixel: &Rgba<u8>, colour: [u8; 4]) -> bool {
    pixel.0.iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 40)
}

const RED: Rgba<u8> = Rgba([255, 0, 0, 255]);
const BLUE: Rgba<u8> = Rgba([0, 0, 255, 255]);

fn boundless() -> Effort {
    Effort::while_true(|| true)
}

/// A square that moves over a background that does not.
fn moving(count: u32, width: u32, height: u32) -> Vec<RgbaImage> {
    let frame = |at: u32| {
        RgbaImage::from_fn(width, height, |x, y| {
            let inside = (at * 4..at * 4 + 20).contains(&x) && (10..30).contains(&y);
            if inside { RED } else { BLUE }
        })
    };
    (0..count).map(frame).collect()
}

#[test]
fn a_picture_is_fitted_and_padded() {
    let image = samples::encoded(&samples::marked(1000, 500), ImageFormat::Png);
    let sticker = still(image, FileType::Png);
    assert_eq!(sticker.get_pixel(256, 20)[3], 0);
    assert_eq!(sticker.get_pixel(256, 490)[3], 0);
    assert!(like(sticker.get_pixel(60, 180), RED.0));
    assert!(like(sticker.get_pixel(450, 180), BLUE.0));
    assert!(like(sticker.get_pixel(60, 350), BLUE.0));
}

#[test]
fn a_small_picture_is_enlarged_and_keeps_its_edges() {
    let image = RgbaImage::from_fn(
        16,
        16,
        |x, _| if x < 8 { RED } else { Rgba([0, 255, 0, 0]) },
    );
    for (format, kind) in [
        (ImageFormat::Png, FileType::Png),
        (ImageFormat::WebP, FileType::WebP),
    ] {
        let sticker = still(samples::encoded(&image, format), kind);
        assert!(like(sticker.get_pixel(100, 256), RED.0));
        assert_eq!(sticker.get_pixel(480, 256)[3], 0);
    }
}

#[test]
fn a_turned_jpeg_stands_upright() {
    let jpeg = samples::with_orientation(&samples::jpeg(&samples::marked(600, 600), 90), 6);
    let sticker = still(jpeg, FileType::Jpeg);
    assert!(like(sticker.get_pixel(400, 100), RED.0));
    assert!(like(sticker.get_pixel(100, 100), BLUE.0));
}

#[test]
fn a_noisy_photograph_becomes_small_enough() {
    let jpeg = samples::jpeg(&samples::noisy(4000, 3000), 90);
    still(jpeg, FileType::Jpeg);
    // Noise of the sticker's own size cannot be averaged away.
    let mut see_through = samples::noisy(SIDE, SIDE);
    let alpha = samples::noise((SIDE * SIDE) as usize);
    for (pixel, alpha) in see_through.pixels_mut().zip(alpha) {
        pixel[3] = alpha;
    }
    match make_bytes(
        samples::encoded(&see_through, ImageFormat::Png),
        FileType::Png,
    ) {
        Ok(sticker) => drop(bytes_of(&sticker)),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unprocessable),
    }
    still(
        samples::encoded(&samples::noisy(SIDE, SIDE), ImageFormat::Png),
        FileType::Png,
    );
}

#[test]
fn a_moving_gif_goes_on_moving() {
    let gif = samples::gif(&moving(12, 200, 100), 70);
    let sticker = make_bytes(gif, FileType::Gif).expect("a sticker");
    assert!(sticker.animated);
    let frames = frames(bytes_of(&sticker));
    assert_eq!(frames.len(), 12);
    assert_eq!(milliseconds(&frames), 12 * 70);
    for (at, frame) in frames.iter().enumerate() {
        // The middle of the square, scaled by 512/200, below a transparent margin of 128 rows.
        let x = (at as u32 * 4 + 10) * 512 / 200;
        let y = 20 * 512 / 200 + 128;
        assert!(like(frame.buffer().get_pixel(x, y), RED.0), "frame {at}");
        assert!(
            like(frame.buffer().get_pixel(300, 350), BLUE.0),
            "frame {at}"
        );
        assert_eq!(frame.buffer().get_pixel(300, 60)[3], 0, "frame {at}");
    }
    // What was made is a proper sticker, also when it comes back as a file.
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes_of(&sticker)).expect("writes");
    let again = make(file.path(), FileType::WebP, &boundless()).expect("a sticker");
    assert_eq!(again.content, ImageContent::Original);
    assert!(again.animated);
}

#[test]
fn a_moving_webp_of_another_size_is_fitted() {
    let gif = samples::gif(&moving(6, 128, 128), 100);
    let first = make_bytes(gif, FileType::Gif).expect("a sticker");
    // The canvas gets two columns more.
    let mut bytes = bytes_of(&first).to_vec();
    bytes[24..26].copy_from_slice(&513_u16.to_le_bytes());
    let second = make_bytes(bytes, FileType::WebP).expect("a sticker");
    assert!(second.animated);
    assert_eq!(frames(bytes_of(&second)).len(), 6);
}

#[test]
fn sixty_noisy_frames_become_small_enough_and_last_as_long() {
    let all = samples::noise(60 * 300 * 300 * 4);
    let noisy: Vec<RgbaImage> = all
        .chunks_exact(300 * 300 * 4)
        .map(|bytes| {
            let mut bytes = bytes.to_vec();
            bytes.iter_mut().skip(3).step_by(4).for_each(|a| *a = 255);
            RgbaImage::from_raw(300, 300, bytes).expect("enough bytes")
        })
        .collect();
    let sticker = make_bytes(samples::gif(&noisy, 50), FileType::Gif).expect("a sticker");
    assert!(sticker.animated);
    let frames = frames(bytes_of(&sticker));
    assert!(frames.len() >= 6, "{} frames", frames.len());
    assert_eq!(milliseconds(&frames), 60 * 50);
}

#[test]
fn frames_that_are_all_the_same_do_not_move() {
    let frame = samples::marked(64, 64);
    let gif = samples::gif(&[frame.clone(), frame.clone(), frame], 100);
    still(gif, FileType::Gif);
    still(samples::gif(&[samples::marked(64, 64)], 100), FileType::Gif);
}

#[test]
fn a_proper_sticker_is_kept() {
    let bytes = samples::encoded(&samples::marked(SIDE, SIDE), ImageFormat::WebP);
    assert!(bytes.len() <= STILL_SIZE);
    let sticker = make_bytes(bytes.clone(), FileType::WebP).expect("a sticker");
    assert_eq!(sticker.content, ImageContent::Original);
    assert!(!sticker.animated);
    let cut = bytes[..bytes.len() - 12].to_vec();
    let error = make_bytes(cut, FileType::WebP).expect_err("not whole");
    assert_eq!(error.kind(), ErrorKind::Unprocessable);
}

#[test]
fn endless_and_huge_animations_are_refused() {
    let tiny = RgbaImage::from_pixel(2, 2, RED);
    let mut frames = vec![tiny; MAX_FRAMES as usize + 1];
    frames[1] = RgbaImage::from_pixel(2, 2, BLUE);
    let error = make_bytes(samples::gif(&frames, 20), FileType::Gif).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let mut gif = samples::gif(&moving(2, 100, 100), 100);
    gif[6..10].copy_from_slice(&[0xff; 4]);
    let error = make_bytes(gif, FileType::Gif).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    for kind in [FileType::Pdf, FileType::Mp4, FileType::Unknown] {
        let error = make_bytes(vec![0; 100], kind).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::UnsupportedMedia);
    }
}

#[test]
fn a_sticker_that_costs_too_much_is_given_up_between_frames() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("moving");
    let gif = samples::gif(&moving(40, 200, 60), 100);
    std::fs::write(&path, &gif).expect("written");
    let asked = std::rc::Rc::new(std::cell::Cell::new(0));
    let effort = |most: u32| {
        let asked = asked.clone();
        asked.set(0);
        Effort::while_true(move || {
            asked.set(asked.get() + 1);
            asked.get() <= most
        })
    };
    make(&path, FileType::Gif, &effort(u32::MAX)).expect("a sticker");
    assert!(asked.get() >= 80, "each frame of each round is asked for");
    for most in [0, 20, 60] {
        let error = make(&path, FileType::Gif, &effort(most)).expect_err("too much");
        assert_eq!(error.kind(), ErrorKind::Unprocessable);
        assert!(error.detail().contains("takes too long"), "{error:?}");
        assert_eq!(asked.get(), most + 1, "nothing is done after that");
    }
}

#[test]
fn all_frames_together_have_a_bounded_number_of_pixels() {
    let frame = |at: u32| RgbaImage::from_pixel(2, 2, Rgba([at as u8, 0, 0, 255]));
    let frames: Vec<_> = (0..260).map(frame).collect();
    let mut gif = samples::gif(&frames, 20);
    // Each small frame is shown on all of the canvas.
    let side = 400_u16.to_le_bytes();
    gif[6..10].copy_from_slice(&[side, side].concat());
    let error = make_bytes(gif, FileType::Gif).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[test]
fn every_beginning_of_a_moving_picture_is_an_error_or_a_sticker() {
    let gif = samples::gif(&moving(3, 40, 40), 100);
    let sticker = make_bytes(gif.clone(), FileType::Gif).expect("a sticker");
    let webp = bytes_of(&sticker).to_vec();
    for (kind, bytes) in [(FileType::Gif, gif), (FileType::WebP, webp)] {
        for length in (0..bytes.len() - 1).step_by(7) {
            if let Err(error) = make_bytes(bytes[..length].to_vec(), kind) {
                assert_eq!(error.kind(), ErrorKind::Unprocessable, "{error:?}");
            }
        }
        make_bytes(bytes[..bytes.len() / 2].to_vec(), kind).expect_err("cut in the middle");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn damaged_pictures_never_stop_the_process(
        which in 0..4_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let (kind, mut bytes) = samples::all().swap_remove(which);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = make_bytes(bytes, kind);
    }
}
