use proptest::prelude::*;

use super::samples::{self, track};
use crate::domain::media::audio::*;
use crate::domain::media::file_type::FileType;
use crate::domain::media::reader::FileReader;
use crate::domain::media::video;
use crate::error::ErrorKind;

fn seconds(bytes: &[u8], kind: FileType) -> Option<u32> {
    let audio = inspect_in(&mut FileReader::of_bytes(bytes), kind).expect("an answer");
    assert_eq!(audio.voice, kind == FileType::OggOpus);
    audio.seconds
}

fn film_of(bytes: &[u8]) -> video::VideoInfo {
    video::inspect_in(&mut FileReader::of_bytes(bytes)).expect("a film")
}

#[test]
fn durations_are_read_from_headers() {
    assert_eq!(
        seconds(&samples::opus(48_000 * 61), FileType::OggOpus),
        Some(61)
    );
    assert_eq!(seconds(&samples::opus(480), FileType::OggOpus), Some(1));
    // 1152 samples in each frame: a thousand take 26.1 seconds.
    assert_eq!(seconds(&samples::mp3(1000), FileType::Mp3), Some(26));
    assert_eq!(
        seconds(&samples::tagged(&samples::mp3(1000)), FileType::Mp3),
        Some(26)
    );
    assert_eq!(
        seconds(&samples::mp3_counted(5000), FileType::Mp3),
        Some(131)
    );
    // 1024 samples in each frame; more frames than are looked at.
    assert_eq!(seconds(&samples::aac(2000), FileType::Aac), Some(46));
    assert_eq!(seconds(&samples::amr(5000), FileType::Amr), Some(100));
    assert_eq!(seconds(&samples::wav(5), FileType::Wav), Some(5));
    assert_eq!(seconds(&samples::flac(200), FileType::Flac), Some(200));
    let speech = samples::movie(b"M4A ", &[track(b"soun", 0, 0, false)]);
    assert_eq!(seconds(&speech, FileType::M4a), Some(12));
    assert_eq!(seconds(b"no sound at all", FileType::Mp3), None);
    assert_eq!(seconds(b"", FileType::OggOpus), None);
}

#[test]
fn another_stream_in_the_file_does_not_count() {
    let mut bytes = samples::opus(48_000 * 9);
    bytes.extend(samples::ogg_page(48_000 * 1000, 8, b"other"));
    bytes.extend(samples::ogg_page(u64::MAX, 7, b"goes on"));
    bytes.extend(b"OggS");
    assert_eq!(seconds(&bytes, FileType::OggOpus), Some(9));
}

#[test]
fn a_recording_that_was_cut_off_lasts_as_long_as_its_bytes() {
    let mut bytes = samples::wav(5);
    let data = bytes.windows(4).position(|w| w == b"data").expect("data");
    for size in [0, u32::MAX] {
        bytes[data + 4..data + 8].copy_from_slice(&size.to_le_bytes());
        assert_eq!(seconds(&bytes, FileType::Wav), Some(5));
    }
}

#[test]
fn a_film_tells_its_size_and_its_sound() {
    let video = film_of(&samples::video(b"isom"));
    assert_eq!(
        (video.seconds, video.width, video.height),
        (Some(12), 640, 360)
    );
    assert!(video.has_sound);
    let turned = film_of(&samples::movie(b"isom", &[track(b"vide", 640, 360, true)]));
    assert_eq!((turned.width, turned.height), (360, 640));
    assert!(!turned.has_sound);
}

#[test]
fn the_header_of_a_large_film_is_found_at_its_end() {
    use std::io::{Seek, SeekFrom, Write};
    let whole = samples::video(b"isom");
    let header = whole.windows(4).position(|w| w == b"moov").expect("moov") - 4;
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let size = 3_u64 << 30;
    file.write_all(&samples::part(b"ftyp", b"isom\0\0\0\0"))
        .expect("writes");
    file.write_all(b"\0\0\0\x01mdat").expect("writes");
    file.write_all(&size.to_be_bytes()).expect("writes");
    // A hole: reading three gigabytes would take long.
    file.seek(SeekFrom::Start(16 + size)).expect("seeks");
    file.write_all(&whole[header..]).expect("writes");
    let video = video::inspect(file.path()).expect("a film");
    assert_eq!((video.seconds, video.width), (Some(12), 640));
    let audio = inspect(file.path(), FileType::Mp4).expect("an answer");
    assert_eq!(audio.seconds, Some(12));
}

#[test]
fn a_film_in_fragments_tells_how_long_they_are() {
    let mut content = samples::movie_header(600, 0);
    let duration = samples::part(b"mehd", &[0, 0, 0, 0, 0, 0, 0x46, 0x50]);
    content.extend(samples::part(b"mvex", &duration));
    let video = film_of(&samples::part(b"moov", &content));
    assert_eq!(video.seconds, Some(30));
}

#[test]
fn what_has_no_header_is_no_film() {
    for bytes in [
        &b""[..],
        b"\0\0\0\x08free",
        &samples::noise(5000),
        &[0; 5000],
    ] {
        let error = video::inspect_in(&mut FileReader::of_bytes(bytes)).expect_err("no film");
        assert_eq!(error.kind(), ErrorKind::Unprocessable);
    }
    // Boxes of no size would be walked for ever.
    let empty = [0, 0, 0, 7, b'f', b'r', b'e', b'e'].repeat(1000);
    video::inspect_in(&mut FileReader::of_bytes(&empty)).expect_err("no film");
}

#[test]
fn every_beginning_of_every_sound_and_film_has_an_answer() {
    for (kind, bytes) in samples::all() {
        for length in 0..bytes.len().min(2500) {
            seconds(&bytes[..length], kind);
            let _ = video::inspect_in(&mut FileReader::of_bytes(&bytes[..length]));
        }
    }
}

proptest! {
    #[test]
    fn damaged_sounds_and_films_have_an_answer(
        which in 0..33_usize,
        as_kind in 0..33_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
    ) {
        let (_, mut bytes) = samples::all().swap_remove(which);
        let (kind, _) = samples::all().swap_remove(as_kind);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        seconds(&bytes, kind);
        let _ = video::inspect_in(&mut FileReader::of_bytes(&bytes));
    }

    #[test]
    fn any_bytes_have_an_answer(as_kind in 0..33_usize, bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let (kind, _) = samples::all().swap_remove(as_kind);
        seconds(&bytes, kind);
        let _ = video::inspect_in(&mut FileReader::of_bytes(&bytes));
    }
}
