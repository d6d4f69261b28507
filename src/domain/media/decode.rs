//! Decoding of images under limits: sizes are read and judged before any pixel is.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use image::codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder};
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, Limits};
use jpeg_decoder::{CodingProcess, PixelFormat};

use super::file_type::FileType;
use super::reader::FileReader;
use super::webp;
use crate::error::{Code, Error, Result};

/// More pixels than this are refused in every format.
pub(super) const MAX_PIXELS: u64 = 50_000_000;
/// What decoding one image may take. A camera's JPEG takes a tenth of it: those are scaled
/// while they are decoded.
pub(super) const MAX_MEMORY: u64 = 160 << 20;
/// An image in more passes than this was made to keep a decoder busy.
const MAX_SCANS: u64 = 100;
/// The most pixels of all passes together. Programs make ten passes at most.
const MAX_SCANNED: u64 = 400_000_000;
/// What the parts of a PNG file besides the pixels may take: colour profiles are packed, and a
/// megabyte may hold a thousand.
const MAX_PROFILES: u64 = 16 << 20;

/// What can be read here and there, with a buffer.
pub(super) trait ImageSource: BufRead + Seek {}
impl<T: BufRead + Seek> ImageSource for T {}

/// How the bytes of a row stand for pixels.
#[derive(Debug, Clone, Copy)]
enum Layout {
    Grey,
    GreyAlpha,
    Rgb,
    Rgba,
    Cmyk,
}

/// A decoded image.
pub(super) struct Pixels {
    pub(super) width: u32,
    pub(super) height: u32,
    layout: Layout,
    /// Two bytes for each value instead of one.
    wide: bool,
    bytes: Vec<u8>,
}

impl Pixels {
    /// Writes one row into `row`, four bytes for each pixel: red, green, blue, opacity.
    pub(super) fn row(&self, y: u32, row: &mut Vec<u8>) {
        row.clear();
        let values = match self.layout {
            Layout::Grey => 1,
            Layout::GreyAlpha => 2,
            Layout::Rgb => 3,
            Layout::Rgba | Layout::Cmyk => 4,
        };
        let size = self.width as usize * values * if self.wide { 2 } else { 1 };
        let at = y as usize * size;
        let line = self.bytes.get(at..at + size).unwrap_or_default();
        if self.wide {
            let narrow: Vec<u8> = line
                .chunks_exact(2)
                .map(|pair| (u16::from_ne_bytes([pair[0], pair[1]]) >> 8) as u8)
                .collect();
            self.spread(&narrow, values, row);
        } else {
            self.spread(line, values, row);
        }
    }

    fn spread(&self, line: &[u8], values: usize, row: &mut Vec<u8>) {
        let ink = |colour: u8, black: u8| {
            ((255 - u16::from(colour)) * (255 - u16::from(black)) / 255) as u8
        };
        match self.layout {
            Layout::Rgba => row.extend_from_slice(line),
            _ => row.extend(line.chunks_exact(values).flat_map(|p| match self.layout {
                Layout::Grey => [p[0], p[0], p[0], 255],
                Layout::GreyAlpha => [p[0], p[0], p[0], p[1]],
                Layout::Rgb => [p[0], p[1], p[2], 255],
                Layout::Rgba => [p[0], p[1], p[2], p[3]],
                Layout::Cmyk => [ink(p[0], p[3]), ink(p[1], p[3]), ink(p[2], p[3]), 255],
            })),
        }
    }
}

/// An image whose headers are read.
pub(super) enum Opened<R> {
    /// A JPEG, which can be scaled while it is decoded.
    Jpeg {
        /// Its decoder.
        decoder: Box<jpeg_decoder::Decoder<R>>,
        /// The size that the header names.
        size: (u32, u32),
    },
    /// Any other.
    Other(Box<dyn ImageDecoder>, (u32, u32)),
}

/// The sentence for everything that cannot be decoded.
pub(super) fn unreadable() -> Error {
    Error::from(Code::FileUnreadable)
}

/// Refuses images that are too large, given what each pixel takes while decoding.
pub(super) fn check_size(width: u32, height: u32, bytes_per_pixel: u64) -> Result<()> {
    let pixels = u64::from(width) * u64::from(height);
    let most = MAX_PIXELS.min(MAX_MEMORY / bytes_per_pixel.max(1));
    if pixels == 0 {
        return Err(unreadable());
    }
    if pixels > most {
        return Err(Error::new(
            Code::PictureTooLarge,
            format!(
                "The image has {width} x {height} = {pixels} pixels; at most {most} are possible"
            ),
        ));
    }
    Ok(())
}

/// Reads the headers and refuses what is too large.
pub(super) fn open<R: ImageSource + 'static>(mut source: R, kind: FileType) -> Result<Opened<R>> {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_MEMORY);
    match kind {
        FileType::Jpeg => {
            let scans = scans(&mut source)?;
            let mut decoder = Box::new(jpeg_decoder::Decoder::new(source));
            decoder
                .read_info()
                .map_err(|error| unreadable().because(error))?;
            let info = decoder.info().ok_or_else(unreadable)?;
            let size = (u32::from(info.width), u32::from(info.height));
            let cost = match info.coding_process {
                // All coefficients are kept until the last pass.
                CodingProcess::DctProgressive => 2 * info.pixel_format.pixel_bytes() as u64,
                CodingProcess::DctSequential => 1,
                CodingProcess::Lossless => 2 * info.pixel_format.pixel_bytes() as u64,
            };
            check_size(size.0, size.1, cost)?;
            refuse_many_scans(scans, size)?;
            decoder.set_max_decoding_buffer_size(MAX_MEMORY as usize);
            Ok(Opened::Jpeg { decoder, size })
        }
        FileType::Png => {
            limits.max_alloc = Some(MAX_PROFILES);
            let decoder = PngDecoder::with_limits(source, limits).map_err(refused)?;
            let cost = u64::from(decoder.color_type().bytes_per_pixel());
            other(decoder, cost)
        }
        FileType::Gif => {
            let mut decoder = GifDecoder::new(source).map_err(refused)?;
            decoder.set_limits(limits).map_err(refused)?;
            // The canvas and the frame.
            other(decoder, 8)
        }
        FileType::WebP => {
            let outline = webp::outline(&mut FileReader::of(&mut source)?)?;
            let outline = outline.ok_or_else(unreadable)?;
            // The result, the planes and the transparency.
            check_size(outline.width, outline.height, 10)?;
            source.seek(SeekFrom::Start(0)).map_err(Error::internal)?;
            other(WebPDecoder::new(source).map_err(refused)?, 10)
        }
        _ => Err(Error::new(
            Code::FileTypeUnsupported,
            "This is not a JPEG, PNG, GIF or WebP image",
        )),
    }
}

fn other<R, D: ImageDecoder + 'static>(decoder: D, cost: u64) -> Result<Opened<R>> {
    let size = decoder.dimensions();
    check_size(size.0, size.1, cost)?;
    Ok(Opened::Other(Box::new(decoder), size))
}

/// The decoder's words are for the log.
pub(super) fn refused(error: image::ImageError) -> Error {
    unreadable().because(error)
}

/// How often a JPEG passes over the whole picture: a few bytes make one more.
fn scans<R: ImageSource>(source: &mut R) -> Result<u64> {
    let mut scans = 0;
    let mut after_ff = false;
    loop {
        let bytes = source.fill_buf().map_err(Error::internal)?;
        if bytes.is_empty() {
            break;
        }
        for byte in bytes {
            // In the coded data a byte 0xff is always followed by 0.
            scans += u64::from(after_ff && *byte == 0xda);
            after_ff = *byte == 0xff;
        }
        let count = bytes.len();
        source.consume(count);
    }
    source.seek(SeekFrom::Start(0)).map_err(Error::internal)?;
    Ok(scans)
}

fn refuse_many_scans(scans: u64, (width, height): (u32, u32)) -> Result<()> {
    if scans > MAX_SCANS {
        return Err(unreadable());
    }
    let scanned = scans * u64::from(width) * u64::from(height);
    if scanned > MAX_SCANNED {
        return Err(Error::new(
            Code::PictureTooLarge,
            format!(
                "The image has {width} x {height} pixels in {scans} passes; at most {MAX_SCANNED} \
                 pixels of all passes are possible"
            ),
        ));
    }
    Ok(())
}

/// About how much memory it takes to work on the image in a file.
pub(super) fn memory_of(path: &Path, kind: FileType) -> Result<u64> {
    let file = File::open(path).map_err(Error::internal)?;
    let opened = open(BufReader::new(file), kind)?;
    let size = opened.size();
    let per_pixel = match &opened {
        Opened::Jpeg { decoder, .. } => match decoder.info().map(|info| info.coding_process) {
            Some(CodingProcess::DctSequential) => 1,
            _ => 8,
        },
        // What came before, what is decoded, what is shown, what is made of it.
        Opened::Other(..) => 16,
    };
    Ok(u64::from(size.0) * u64::from(size.1) * per_pixel)
}

impl<R: ImageSource> Opened<R> {
    /// Width and height before the orientation is applied.
    pub(super) fn size(&self) -> (u32, u32) {
        match self {
            Self::Jpeg { size, .. } | Self::Other(_, size) => *size,
        }
    }

    /// How the image must be turned to stand upright.
    pub(super) fn orientation(&mut self) -> Orientation {
        match self {
            Self::Jpeg { decoder, .. } => decoder
                .exif_data()
                .and_then(Orientation::from_exif_chunk)
                .unwrap_or(Orientation::NoTransforms),
            Self::Other(decoder, _) => decoder.orientation().unwrap_or(Orientation::NoTransforms),
        }
    }

    /// Whether other programs show the colours that are meant.
    pub(super) fn plain_colours(&self) -> bool {
        match self {
            Self::Jpeg { decoder, .. } => decoder.info().is_some_and(|info| {
                matches!(info.pixel_format, PixelFormat::L8 | PixelFormat::RGB24)
            }),
            Self::Other(..) => true,
        }
    }

    /// Decodes all of it, if that is cheaper at a smaller size that is not below `wanted`.
    pub(super) fn pixels(self, wanted: (u32, u32)) -> Result<Pixels> {
        match self {
            Self::Jpeg { decoder, .. } => jpeg(*decoder, wanted),
            Self::Other(decoder, size) => {
                let (layout, wide) = match decoder.color_type() {
                    ColorType::L8 => (Layout::Grey, false),
                    ColorType::La8 => (Layout::GreyAlpha, false),
                    ColorType::Rgb8 => (Layout::Rgb, false),
                    ColorType::Rgba8 => (Layout::Rgba, false),
                    ColorType::L16 => (Layout::Grey, true),
                    ColorType::La16 => (Layout::GreyAlpha, true),
                    ColorType::Rgb16 => (Layout::Rgb, true),
                    ColorType::Rgba16 => (Layout::Rgba, true),
                    _ => return Err(unreadable()),
                };
                // Invariant: the size was checked when the image was opened.
                let mut bytes = vec![0; decoder.total_bytes() as usize];
                decoder.read_image_boxed(&mut bytes).map_err(refused)?;
                Ok(Pixels {
                    width: size.0,
                    height: size.1,
                    layout,
                    wide,
                    bytes,
                })
            }
        }
    }
}

fn jpeg<R: ImageSource>(
    mut decoder: jpeg_decoder::Decoder<R>,
    wanted: (u32, u32),
) -> Result<Pixels> {
    // The decoder is content when either side is long enough, so only the longer one is asked for.
    let side = |length: u32, other: u32| match u16::try_from(length) {
        Ok(length) if u32::from(length) >= other => length,
        _ => u16::MAX,
    };
    decoder
        .scale(side(wanted.0, wanted.1), side(wanted.1, wanted.0))
        .map_err(|error| unreadable().because(error))?;
    let bytes = decoder
        .decode()
        .map_err(|error| unreadable().because(error))?;
    let info = decoder.info().ok_or_else(unreadable)?;
    let (layout, wide) = match info.pixel_format {
        PixelFormat::L8 => (Layout::Grey, false),
        PixelFormat::L16 => (Layout::Grey, true),
        PixelFormat::RGB24 => (Layout::Rgb, false),
        PixelFormat::CMYK32 => (Layout::Cmyk, false),
    };
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    let size = width as usize * height as usize * info.pixel_format.pixel_bytes();
    if bytes.len() < size {
        return Err(unreadable());
    }
    Ok(Pixels {
        width,
        height,
        layout,
        wide,
        bytes,
    })
}
