use std::io::Write;

use proptest::prelude::*;

use super::samples;
use crate::domain::media::file_type::*;
use crate::domain::media::kind::*;
use crate::domain::media::reader::FileReader;

#[test]
fn every_type_is_known_by_its_content() {
    for (kind, bytes) in samples::all() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&bytes).expect("writes");
        assert_eq!(sniff(file.path()).expect("reads"), kind);
        // An MPEG-4 file is known for sound by its headers, which the first bytes need not hold.
        let head = sniff_bytes(&bytes);
        assert!(head == kind || (head, kind) == (FileType::Mp4, FileType::M4a));
    }
}

#[test]
fn what_is_nothing_of_all_that_is_unknown() {
    let heic = samples::part(b"ftyp", b"heic\0\0\0\0mif1heic");
    let others: [&[u8]; 8] = [
        b"",
        b"\x7fELF\x02\x01\x01\0\0\0",
        b"MZ\x90\0\x03\0\0\0",
        b"\0\0\0\0",
        b"RIFF\0\0\0\0ACON",
        b"\xff\xfe",
        &samples::noise(4000),
        &heic,
    ];
    for bytes in others {
        assert_eq!(sniff_bytes(bytes), FileType::Unknown, "{bytes:02x?}");
    }
    // An OLE file of another program.
    assert_eq!(sniff_bytes(&samples::ole("Drawing")), FileType::Unknown);
}

#[test]
fn a_long_office_file_is_known_by_its_directory() {
    let filler = samples::noise(100_000);
    let bytes = samples::zip(&[
        ("[Content_Types].xml", &filler),
        ("docProps/app.xml", &filler),
        ("xl/workbook.xml", b"<x/>"),
    ]);
    assert_eq!(sniff_bytes(&bytes[..HEAD]), FileType::Zip);
    let found = sniff_in(&mut FileReader::of_bytes(&bytes)).expect("reads");
    assert_eq!(found, FileType::Xlsx);
}

#[test]
fn a_compound_file_in_a_circle_comes_to_an_end() {
    let mut bytes = samples::ole("Nothing");
    // The second directory sector is followed by the first.
    bytes[512 + 8..512 + 12].copy_from_slice(&1_u32.to_le_bytes());
    assert_eq!(sniff_bytes(&bytes), FileType::Unknown);
}

#[test]
fn types_are_declared_in_many_spellings() {
    for (declared, meant) in [
        ("image/jpeg", Some(FileType::Jpeg)),
        ("Image/JPG; charset=binary", Some(FileType::Jpeg)),
        ("audio/ogg", Some(FileType::Ogg)),
        ("audio/ogg; codecs=opus", Some(FileType::OggOpus)),
        ("audio/mp3", Some(FileType::Mp3)),
        ("text/csv", Some(FileType::Csv)),
        ("application/octet-stream", None),
        ("application/x-stranger", None),
        ("", None),
    ] {
        assert_eq!(from_declared_mime(declared), meant, "{declared}");
    }
    for (kind, _) in samples::all() {
        assert_eq!(from_declared_mime(kind.mime()), Some(kind));
        assert!(agrees(kind.mime(), kind));
        assert!(agrees("application/octet-stream", kind));
    }
}

#[test]
fn a_declared_type_must_be_possible() {
    use FileType as T;
    for (declared, found) in [
        ("image/jpg", T::Jpeg),
        ("image/jpeg", T::Png),
        ("text/csv", T::Text),
        ("text/plain; charset=utf-8", T::Text),
        ("application/vnd.ms-excel", T::Text),
        ("application/zip", T::Docx),
        ("audio/ogg", T::OggOpus),
        ("audio/mp4", T::Mp4),
        ("video/mp4", T::Mov),
        ("application/msword", T::Rtf),
        ("image/heic", T::Unknown),
        ("image/svg+xml", T::Text),
        ("application/json", T::Text),
        ("application/vnd.android.package-archive", T::Zip),
        ("video/x-flv", T::Unknown),
    ] {
        assert!(agrees(declared, found), "{declared} may be {found:?}");
    }
    for (declared, found) in [
        ("image/jpeg", T::Text),
        ("image/png", T::Unknown),
        ("application/pdf", T::Text),
        ("application/pdf", T::Unknown),
        ("text/plain", T::Zip),
        ("text/html", T::Jpeg),
        ("application/x-stranger", T::Jpeg),
        ("image/bmp", T::Zip),
        ("audio/mpeg", T::Mp4),
        (
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            T::Xlsx,
        ),
    ] {
        assert!(!agrees(declared, found), "{declared} is not {found:?}");
    }
}

#[test]
fn every_beginning_of_every_file_is_sniffed_without_a_failure() {
    for (_, bytes) in samples::all() {
        for length in 0..bytes.len().min(3000) {
            sniff_bytes(&bytes[..length]);
            sniff_in(&mut FileReader::of_bytes(&bytes[..length])).expect("an answer");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_sniffed(start in 0..40_usize, rest in prop::collection::vec(any::<u8>(), 0..2000)) {
        // Random bytes behind a real beginning reach further than random bytes alone.
        let all = samples::all();
        let mut bytes = all.get(start).map(|(_, bytes)| bytes[..bytes.len().min(40)].to_vec()).unwrap_or_default();
        bytes.extend(rest);
        sniff_bytes(&bytes);
        sniff_in(&mut FileReader::of_bytes(&bytes)).expect("an answer");
    }
}
