//! Small files of every type, made byte by byte or by the encoders that the gateway has.

use std::io::Cursor;

use image::codecs::gif::{GifEncoder, Repeat};
use image::codecs::jpeg::JpegEncoder;
use image::{Delay, DynamicImage, ExtendedColorType, Frame, ImageFormat, RgbaImage};

use crate::domain::media::file_type::FileType;

/// Numbers that look like noise and are the same in each run.
pub(super) fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// A picture whose left upper quarter is red, the rest blue.
pub(super) fn marked(width: u32, height: u32) -> RgbaImage {
    RgbaImage::from_fn(width, height, |x, y| {
        if x < width / 2 && y < height / 2 {
            image::Rgba([255, 0, 0, 255])
        } else {
            image::Rgba([0, 0, 255, 255])
        }
    })
}

pub(super) fn noisy(width: u32, height: u32) -> RgbaImage {
    let mut bytes = noise(width as usize * height as usize * 4);
    bytes.iter_mut().skip(3).step_by(4).for_each(|a| *a = 255);
    RgbaImage::from_raw(width, height, bytes).expect("enough bytes")
}

pub(super) fn encoded(image: &RgbaImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let image = DynamicImage::ImageRgba8(image.clone());
    image.write_to(&mut bytes, format).expect("encodes");
    bytes.into_inner()
}

pub(super) fn jpeg(image: &RgbaImage, quality: u8) -> Vec<u8> {
    let rgb = DynamicImage::ImageRgba8(image.clone()).into_rgb8();
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode(
            rgb.as_raw(),
            rgb.width(),
            rgb.height(),
            ExtendedColorType::Rgb8,
        )
        .expect("encodes");
    bytes
}

/// Puts an Exif segment with this orientation behind the start of a JPEG.
pub(super) fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01".to_vec();
    exif.extend([0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0]);
    exif.extend([0, 0, 0, 0]);
    let mut bytes = jpeg[..2].to_vec();
    bytes.extend([0xff, 0xe1]);
    bytes.extend((exif.len() as u16 + 2).to_be_bytes());
    bytes.extend(exif);
    bytes.extend(&jpeg[2..]);
    bytes
}

pub(super) fn gif(frames: &[RgbaImage], milliseconds: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut bytes, 30);
    encoder.set_repeat(Repeat::Infinite).expect("repeats");
    for frame in frames {
        let delay = Delay::from_numer_denom_ms(milliseconds, 1);
        let frame = Frame::from_parts(frame.clone(), 0, 0, delay);
        encoder.encode_frame(frame).expect("encodes");
    }
    drop(encoder);
    bytes
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    !crc
}

pub(super) fn png_chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut bytes = (content.len() as u32).to_be_bytes().to_vec();
    bytes.extend(name);
    bytes.extend(content);
    bytes.extend(crc(&bytes[4..]).to_be_bytes());
    bytes
}

/// A PNG that claims a size and has next to no content.
pub(super) fn png_bomb(width: u32, height: u32) -> Vec<u8> {
    let mut header = width.to_be_bytes().to_vec();
    header.extend(height.to_be_bytes());
    header.extend([8, 6, 0, 0, 0]);
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    bytes.extend(png_chunk(b"IHDR", &header));
    bytes.extend(png_chunk(b"IDAT", &[0x78, 0x9c, 0x63, 0, 0, 0, 1, 0, 1]));
    bytes.extend(png_chunk(b"IEND", &[]));
    bytes
}

/// The PNG with a colour profile of so many bytes, packed.
pub(super) fn with_profile(png: &[u8], length: usize) -> Vec<u8> {
    let content = b"profile\0\0".to_vec();
    let mut packed = flate2::write::ZlibEncoder::new(content, flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &vec![0; length]).expect("packs");
    let content = packed.finish().expect("packs");
    let (header, rest) = png.split_at(8 + 25);
    [header, &png_chunk(b"iCCP", &content), rest].concat()
}

/// A ZIP archive of stored files.
pub(super) fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut directory = Vec::new();
    for (name, content) in files {
        let at = bytes.len() as u32;
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        common.extend(crc(content).to_le_bytes());
        common.extend((content.len() as u32).to_le_bytes());
        common.extend((content.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        bytes.extend(b"PK\x03\x04");
        bytes.extend(&common);
        bytes.extend(name.as_bytes());
        bytes.extend(*content);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let at = bytes.len() as u32;
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend((files.len() as u16).to_le_bytes());
    bytes.extend((files.len() as u16).to_le_bytes());
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(at.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

pub(super) fn office(folder: &str) -> Vec<u8> {
    zip(&[
        ("[Content_Types].xml", b"<Types/>"),
        ("_rels/.rels", b"<Relationships/>"),
        (&format!("{folder}/document.xml"), b"<document/>"),
    ])
}

/// A compound file: header, chain table, two directory sectors of which the second has the stream.
pub(super) fn ole(stream: &str) -> Vec<u8> {
    const END: u32 = 0xffff_fffe;
    let mut header = vec![0; 512];
    header[..8].copy_from_slice(&[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1]);
    header[30] = 9;
    header[48..52].copy_from_slice(&1_u32.to_le_bytes());
    let mut table = vec![0xff; 512];
    for (at, next) in [0xffff_fffd, 2, END].into_iter().enumerate() {
        table[at * 4..at * 4 + 4].copy_from_slice(&u32::to_le_bytes(next));
    }
    let entry = |name: &str| {
        let mut entry = vec![0; 128];
        let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        entry[..units.len()].copy_from_slice(&units);
        entry[64..66].copy_from_slice(&(units.len() as u16 + 2).to_le_bytes());
        entry
    };
    let mut bytes = header;
    bytes.extend(table);
    for name in ["Root Entry", "\u{5}SummaryInformation", "", ""] {
        bytes.extend(entry(name));
    }
    for name in [stream, "", "", ""] {
        bytes.extend(entry(name));
    }
    bytes
}

/// A box of an MPEG-4 file.
pub(super) fn part(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut bytes = (content.len() as u32 + 8).to_be_bytes().to_vec();
    bytes.extend(name);
    bytes.extend(content);
    bytes
}

pub(super) fn movie_header(scale: u32, units: u32) -> Vec<u8> {
    let mut content = vec![0; 100];
    content[12..16].copy_from_slice(&scale.to_be_bytes());
    content[16..20].copy_from_slice(&units.to_be_bytes());
    part(b"mvhd", &content)
}

/// A track; with `quarter`, its picture is shown turned by a quarter.
pub(super) fn track(handler: &[u8; 4], width: u32, height: u32, quarter: bool) -> Vec<u8> {
    let mut header = vec![0; 84];
    let (a, b): (u32, u32) = if quarter {
        (0, 0x1_0000)
    } else {
        (0x1_0000, 0)
    };
    header[40..44].copy_from_slice(&a.to_be_bytes());
    header[44..48].copy_from_slice(&b.to_be_bytes());
    header[76..80].copy_from_slice(&(width << 16).to_be_bytes());
    header[80..84].copy_from_slice(&(height << 16).to_be_bytes());
    let mut kind = vec![0; 24];
    kind[8..12].copy_from_slice(handler);
    let mut content = part(b"tkhd", &header);
    content.extend(part(b"mdia", &part(b"hdlr", &kind)));
    part(b"trak", &content)
}

pub(super) fn movie(brand: &[u8; 4], tracks: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = part(b"ftyp", &[brand.as_slice(), &[0, 0, 2, 0], brand].concat());
    bytes.extend(part(b"mdat", &noise(300)));
    let mut content = movie_header(600, 600 * 12 + 100);
    content.extend(tracks.concat());
    bytes.extend(part(b"moov", &content));
    bytes
}

pub(super) fn video(brand: &[u8; 4]) -> Vec<u8> {
    let tracks = [track(b"vide", 640, 360, false), track(b"soun", 0, 0, false)];
    movie(brand, &tracks)
}

pub(super) fn ogg_page(count: u64, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = b"OggS\0\0".to_vec();
    bytes.extend(count.to_le_bytes());
    bytes.extend(stream.to_le_bytes());
    bytes.extend([0; 8]);
    let segments: Vec<u8> = payload.chunks(255).map(|part| part.len() as u8).collect();
    bytes.push(segments.len() as u8);
    bytes.extend(segments);
    bytes.extend(payload);
    bytes
}

/// An Ogg file with Opus that plays for so many units of 1/48000 second.
pub(super) fn opus(units: u64) -> Vec<u8> {
    const SKIP: u16 = 312;
    let mut header = b"OpusHead\x01\x01".to_vec();
    header.extend(SKIP.to_le_bytes());
    header.extend(16_000_u32.to_le_bytes());
    header.extend([0, 0, 0]);
    let mut bytes = ogg_page(0, 7, &header);
    bytes.extend(ogg_page(0, 7, b"OpusTags\0\0\0\0\0\0\0\0"));
    bytes.extend(ogg_page(units / 2, 7, &noise(900)));
    bytes.extend(ogg_page(units + u64::from(SKIP), 7, &noise(900)));
    bytes
}

/// Frames of an MP3 with 128 kbit/s at 44.1 kHz.
pub(super) fn mp3(frames: usize) -> Vec<u8> {
    let mut frame = vec![0; 417];
    frame[..4].copy_from_slice(&[0xff, 0xfb, 0x90, 0x00]);
    frame.repeat(frames)
}

/// An MP3 whose first frame counts those of the whole file.
pub(super) fn mp3_counted(frames: u32) -> Vec<u8> {
    let mut bytes = mp3(3);
    bytes[36..40].copy_from_slice(b"Xing");
    bytes[40..44].copy_from_slice(&1_u32.to_be_bytes());
    bytes[44..48].copy_from_slice(&frames.to_be_bytes());
    bytes
}

/// The same with a tag before it.
pub(super) fn tagged(audio: &[u8]) -> Vec<u8> {
    let mut bytes = b"ID3\x04\0\0\0\0\x02\x01".to_vec();
    bytes.extend([0; 257]);
    bytes.extend(audio);
    bytes
}

/// AAC frames of 100 bytes at 44.1 kHz.
pub(super) fn aac(frames: usize) -> Vec<u8> {
    let mut frame = [0; 100];
    frame[..7].copy_from_slice(&[0xff, 0xf1, 0x50, 0x80, 0x0c, 0x9f, 0xfc]);
    frame.repeat(frames)
}

pub(super) fn amr(frames: usize) -> Vec<u8> {
    let mut frame = [0; 32];
    frame[0] = 7 << 3 | 4;
    [b"#!AMR\n".to_vec(), frame.repeat(frames)].concat()
}

pub(super) fn wav(seconds: u32) -> Vec<u8> {
    let rate = 8000_u32;
    let mut bytes = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    bytes.extend(rate.to_le_bytes());
    bytes.extend(rate.to_le_bytes());
    bytes.extend([1, 0, 8, 0]);
    bytes.extend(b"LIST\x03\0\0\0abc\0data");
    bytes.extend((rate * seconds).to_le_bytes());
    bytes.extend(vec![128; (rate * seconds) as usize]);
    bytes
}

pub(super) fn flac(seconds: u64) -> Vec<u8> {
    let mut bytes = b"fLaC\0\0\0\x22".to_vec();
    bytes.extend([0x10, 0, 0x10, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend((44_100 << 44 | 1 << 41 | 15 << 36 | (44_100 * seconds)).to_be_bytes());
    bytes.extend([0; 16]);
    bytes
}

pub(super) fn ebml(name: &str) -> Vec<u8> {
    let mut bytes = vec![
        0x1a, 0x45, 0xdf, 0xa3, 0x9f, 0x42, 0x86, 0x81, 0x01, 0x42, 0x82,
    ];
    bytes.push(0x80 | name.len() as u8);
    bytes.extend(name.as_bytes());
    bytes.extend(noise(100));
    bytes
}

/// One small file of each type that has a content of its own.
pub(super) fn all() -> Vec<(FileType, Vec<u8>)> {
    use FileType as T;
    let picture = marked(40, 30);
    let odf = |kind: &str| {
        let mime = format!("application/vnd.oasis.opendocument.{kind}");
        zip(&[("mimetype", mime.as_bytes()), ("content.xml", b"<x/>")])
    };
    vec![
        (T::Jpeg, with_orientation(&jpeg(&picture, 80), 6)),
        (T::Png, encoded(&picture, ImageFormat::Png)),
        (T::Gif, gif(&[picture.clone(), marked(40, 30)], 100)),
        (T::WebP, encoded(&picture, ImageFormat::WebP)),
        (
            T::Pdf,
            b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer\n%%EOF\n".to_vec(),
        ),
        (T::Doc, ole("WordDocument")),
        (T::Xls, ole("Workbook")),
        (T::Xls, ole("Book")),
        (T::Ppt, ole("PowerPoint Document")),
        (T::Docx, office("word")),
        (T::Xlsx, office("xl")),
        (T::Pptx, office("ppt")),
        (T::Odt, odf("text")),
        (T::Ods, odf("spreadsheet")),
        (T::Odp, odf("presentation")),
        (T::Rtf, b"{\\rtf1 Hello}".to_vec()),
        (T::Zip, zip(&[("word/notes.txt", b"no office file")])),
        (T::Mp4, video(b"isom")),
        (T::ThreeGp, video(b"3gp5")),
        (T::Mov, video(b"qt  ")),
        (T::M4a, movie(b"M4A ", &[track(b"soun", 0, 0, false)])),
        (T::M4a, movie(b"mp42", &[track(b"soun", 0, 0, false)])),
        (T::WebM, ebml("webm")),
        (T::Matroska, ebml("matroska")),
        (T::Avi, b"RIFF\0\0\0\0AVI LIST".to_vec()),
        (T::OggOpus, opus(96_000)),
        (
            T::Ogg,
            ogg_page(0, 1, b"\x01vorbis\0\0\0\0\x01\x44\xac\0\0"),
        ),
        (T::Mp3, mp3(4)),
        (T::Mp3, tagged(&mp3(4))),
        (T::Aac, aac(4)),
        (T::Amr, amr(4)),
        (T::Wav, wav(1)),
        (T::Flac, flac(3)),
        (
            T::Text,
            "nama,umur\nBudi,7\nSiti,8\nJos\u{e9},9\n"
                .as_bytes()
                .to_vec(),
        ),
        (T::Text, b"Jos\xe9;9\r\nBudi;7\r\n".to_vec()),
        (T::Text, b"\xff\xfeh\0i\0\n\0".to_vec()),
    ]
}
