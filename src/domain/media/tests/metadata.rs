//! What is sent of a picture tells where it stands upright, and nothing of where it was taken.

use std::io::{Read as _, Write as _};

use image::{ImageFormat, RgbaImage};
use proptest::prelude::*;

use super::samples;
use crate::domain::media::decode::open;
use crate::domain::media::file_type::FileType;
use crate::domain::media::metadata::strip;

/// Stands for everything that is not to be told.
const SECRET: &[u8] = b"6 12 30 S, 106 49 0 E";

fn stripped(bytes: &[u8], kind: FileType) -> Vec<u8> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("writes");
    let mut left = Vec::new();
    let mut stripped = strip(file.path(), kind).expect("a picture");
    stripped.read_to_end(&mut left).expect("reads");
    left
}

fn pixels(bytes: &[u8]) -> RgbaImage {
    image::load_from_memory(bytes)
        .expect("a picture")
        .into_rgba8()
}

fn orientation(bytes: &[u8], kind: FileType) -> u8 {
    let source = std::io::Cursor::new(bytes.to_vec());
    open(source, kind)
        .expect("a picture")
        .orientation()
        .to_exif()
}

fn tells(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET)
}

/// Exif data with an orientation and a place.
fn exif(orientation: u8) -> Vec<u8> {
    let mut exif = b"MM\0\x2a\0\0\0\x08\0\x02".to_vec();
    exif.extend([0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0]);
    exif.extend([0x88, 0x25, 0, 4, 0, 0, 0, 1, 0, 0, 0, 38, 0, 0, 0, 0]);
    exif.extend(SECRET);
    exif
}

fn jpeg_segment(marker: u8, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u16 + 2).to_be_bytes();
    [&[0xff, marker][..], &length, content].concat()
}

/// Puts parts behind the first `header` bytes.
fn with(bytes: &[u8], header: usize, parts: &[Vec<u8>]) -> Vec<u8> {
    [&bytes[..header], &parts.concat(), &bytes[header..]].concat()
}

fn webp_chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut chunk = [&name[..], &(content.len() as u32).to_le_bytes(), content].concat();
    chunk.resize(chunk.len().next_multiple_of(2), 0);
    chunk
}

/// A WebP with a header and these chunks behind the picture.
fn webp_with(flags: u8, chunks: &[Vec<u8>]) -> Vec<u8> {
    let still = samples::encoded(&samples::marked(40, 30), ImageFormat::WebP);
    let header = webp_chunk(b"VP8X", &[flags, 0, 0, 0, 39, 0, 0, 29, 0, 0]);
    let content = [&b"WEBP"[..], &header[..], &still[12..], &chunks.concat()].concat();
    webp_chunk(b"RIFF", &content)
}

/// Pictures that tell a place in each way that their formats have, turned by this orientation.
fn talkative(orientation: u8) -> [(FileType, Vec<u8>); 3] {
    let marked = samples::marked(40, 30);
    let exif = exif(orientation);
    let xmp = [&b"http://ns.adobe.com/xap/1.0/\0"[..], SECRET].concat();
    let jpeg = with(
        &samples::jpeg(&marked, 90),
        2,
        &[
            jpeg_segment(0xe1, &[&b"Exif\0\0"[..], &exif[..]].concat()),
            jpeg_segment(0xe1, &xmp),
            jpeg_segment(0xe2, &[&b"MPF\0"[..], SECRET].concat()),
            jpeg_segment(0xed, &[&b"Photoshop 3.0\0"[..], SECRET].concat()),
            jpeg_segment(0xfe, SECRET),
        ],
    );
    // A preview or a film behind the picture, as phones write it.
    let jpeg = [&jpeg[..], &jpeg].concat();
    let png = with(
        &samples::encoded(&marked, ImageFormat::Png),
        8 + 25,
        &[
            samples::png_chunk(b"eXIf", &exif),
            samples::png_chunk(b"tEXt", &[&b"GPS\0"[..], SECRET].concat()),
            samples::png_chunk(
                b"iTXt",
                &[&b"XML:com.adobe.xmp\0\0\0\0\0"[..], SECRET].concat(),
            ),
            samples::png_chunk(b"prVt", SECRET),
        ],
    );
    let png = [&png, SECRET].concat();
    let chunks = [
        webp_chunk(b"EXIF", &exif),
        webp_chunk(b"XMP ", SECRET),
        webp_chunk(b"odd ", SECRET),
    ];
    let webp = [&webp_with(0x0c, &chunks), SECRET].concat();
    [
        (FileType::Jpeg, jpeg),
        (FileType::Png, png),
        (FileType::WebP, webp),
    ]
}

#[test]
fn no_picture_tells_where_it_was_taken() {
    for turned in [1, 6] {
        for (kind, bytes) in talkative(turned) {
            assert!(tells(&bytes), "{kind:?}");
            let left = stripped(&bytes, kind);
            assert!(!tells(&left), "{kind:?}");
            assert_eq!(pixels(&left), pixels(&bytes), "{kind:?}");
            assert_eq!(orientation(&left, kind), turned, "{kind:?}");
            // What is left has nothing more to lose.
            assert_eq!(stripped(&left, kind), left, "{kind:?}");
        }
    }
}

#[test]
fn a_picture_that_tells_nothing_is_sent_byte_by_byte() {
    let marked = samples::marked(40, 30);
    let png = samples::encoded(&marked, ImageFormat::Png);
    for (kind, bytes) in [
        (FileType::Jpeg, samples::jpeg(&marked, 90)),
        (
            FileType::Jpeg,
            samples::with_orientation(&samples::jpeg(&marked, 90), 8),
        ),
        (FileType::Png, samples::with_profile(&png, 5000)),
        (FileType::Png, png),
        (FileType::WebP, samples::encoded(&marked, ImageFormat::WebP)),
        (FileType::WebP, webp_with(0x10, &[])),
        (FileType::Pdf, b"%PDF-1.4 with \xff\xe1".to_vec()),
    ] {
        assert_eq!(stripped(&bytes, kind), bytes, "{kind:?}");
    }
}

#[test]
fn colours_are_kept() {
    let plain = samples::jpeg(&samples::marked(40, 30), 90);
    let profile = jpeg_segment(0xe2, b"ICC_PROFILE\0\x01\x01profile");
    let adobe = jpeg_segment(0xee, b"Adobe\0\x64\0\0\0\0\x01");
    let place = jpeg_segment(0xe1, &[&b"Exif\0\0"[..], &exif(1)[..]].concat());
    let wanted = with(&plain, 2, &[profile.clone(), adobe.clone()]);
    let bytes = with(&plain, 2, &[profile, place, adobe]);
    assert_eq!(stripped(&bytes, FileType::Jpeg), wanted);
}

#[test]
fn exif_data_that_cannot_be_read_are_left_out_without_an_error() {
    let plain = samples::jpeg(&samples::marked(40, 30), 90);
    for broken in [
        &b"Exif\0\0"[..],
        b"Exif\0\0MM\0\x2a\xff\xff\xff\xff",
        b"Exif",
    ] {
        let bytes = with(&plain, 2, &[jpeg_segment(0xe1, broken)]);
        assert_eq!(stripped(&bytes, FileType::Jpeg), plain);
    }
}

#[test]
fn a_picture_of_very_many_parts_is_refused() {
    let plain = samples::jpeg(&samples::marked(40, 30), 90);
    let bytes = with(&plain, 2, &[jpeg_segment(0xfe, b"").repeat(200_000)]);
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&bytes).expect("writes");
    assert!(strip(file.path(), FileType::Jpeg).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn damaged_pictures_are_no_error_and_no_end(
        which in 0..3_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let (kind, mut bytes) = talkative(6).into_iter().nth(which).expect("one of three");
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len() * 2).max(16));
        let _ = stripped(&bytes, kind);
    }
}
