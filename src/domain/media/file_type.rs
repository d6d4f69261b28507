//! The types of files, and the names that they go by.

/// The types of files that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileType {
    /// JPEG image.
    Jpeg,
    /// PNG image.
    Png,
    /// GIF image, moving or not.
    Gif,
    /// WebP image, moving or not.
    WebP,
    /// PDF document.
    Pdf,
    /// Word document up to 2003.
    Doc,
    /// Word document.
    Docx,
    /// Excel workbook up to 2003.
    Xls,
    /// Excel workbook.
    Xlsx,
    /// PowerPoint slides up to 2003.
    Ppt,
    /// PowerPoint slides.
    Pptx,
    /// OpenDocument text.
    Odt,
    /// OpenDocument spreadsheet.
    Ods,
    /// OpenDocument slides.
    Odp,
    /// Rich text.
    Rtf,
    /// ZIP archive that is no office document.
    Zip,
    /// MPEG-4 video.
    Mp4,
    /// Video of early mobile phones.
    ThreeGp,
    /// QuickTime video.
    Mov,
    /// WebM video or sound.
    WebM,
    /// Matroska video or sound.
    Matroska,
    /// AVI video.
    Avi,
    /// Ogg with anything but Opus.
    Ogg,
    /// Ogg with Opus: what WhatsApp plays as a voice note.
    OggOpus,
    /// MP3 sound.
    Mp3,
    /// MPEG-4 with sound only.
    M4a,
    /// Bare AAC sound.
    Aac,
    /// AMR sound, narrow or wide band.
    Amr,
    /// WAV sound.
    Wav,
    /// FLAC sound.
    Flac,
    /// Plain text. Its content cannot tell whether it means a table.
    Text,
    /// Text that was declared as comma-separated values; never found by content.
    Csv,
    /// Something else.
    Unknown,
}

/// What people would call a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// A still or animated image without sound.
    Image,
    /// Text, tables, slides.
    Document,
    /// A video.
    Video,
    /// Sound.
    Audio,
    /// An archive or something unknown.
    Other,
}

/// Every type with its MIME type and its extension.
const TABLE: &[(FileType, &str, &str)] = &[
    (FileType::Jpeg, "image/jpeg", "jpg"),
    (FileType::Png, "image/png", "png"),
    (FileType::Gif, "image/gif", "gif"),
    (FileType::WebP, "image/webp", "webp"),
    (FileType::Pdf, "application/pdf", "pdf"),
    (FileType::Doc, "application/msword", "doc"),
    (
        FileType::Docx,
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "docx",
    ),
    (FileType::Xls, "application/vnd.ms-excel", "xls"),
    (
        FileType::Xlsx,
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "xlsx",
    ),
    (FileType::Ppt, "application/vnd.ms-powerpoint", "ppt"),
    (
        FileType::Pptx,
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "pptx",
    ),
    (
        FileType::Odt,
        "application/vnd.oasis.opendocument.text",
        "odt",
    ),
    (
        FileType::Ods,
        "application/vnd.oasis.opendocument.spreadsheet",
        "ods",
    ),
    (
        FileType::Odp,
        "application/vnd.oasis.opendocument.presentation",
        "odp",
    ),
    (FileType::Rtf, "application/rtf", "rtf"),
    (FileType::Zip, "application/zip", "zip"),
    (FileType::Mp4, "video/mp4", "mp4"),
    (FileType::ThreeGp, "video/3gpp", "3gp"),
    (FileType::Mov, "video/quicktime", "mov"),
    (FileType::WebM, "video/webm", "webm"),
    (FileType::Matroska, "video/x-matroska", "mkv"),
    (FileType::Avi, "video/x-msvideo", "avi"),
    (FileType::Ogg, "audio/ogg", "ogg"),
    (FileType::OggOpus, "audio/ogg; codecs=opus", "ogg"),
    (FileType::Mp3, "audio/mpeg", "mp3"),
    (FileType::M4a, "audio/mp4", "m4a"),
    (FileType::Aac, "audio/aac", "aac"),
    (FileType::Amr, "audio/amr", "amr"),
    (FileType::Wav, "audio/wav", "wav"),
    (FileType::Flac, "audio/flac", "flac"),
    (FileType::Text, "text/plain", "txt"),
    (FileType::Csv, "text/csv", "csv"),
    (FileType::Unknown, "application/octet-stream", "bin"),
];

/// Other spellings of MIME types that clients use.
const SPELLINGS: &[(&str, FileType)] = &[
    ("image/jpg", FileType::Jpeg),
    ("image/pjpeg", FileType::Jpeg),
    ("image/jfif", FileType::Jpeg),
    ("image/x-png", FileType::Png),
    ("application/x-pdf", FileType::Pdf),
    ("application/doc", FileType::Doc),
    ("application/ms-word", FileType::Doc),
    ("application/vnd.ms-word", FileType::Doc),
    (
        "application/vnd.ms-word.document.macroenabled.12",
        FileType::Docx,
    ),
    ("application/excel", FileType::Xls),
    ("application/x-excel", FileType::Xls),
    ("application/msexcel", FileType::Xls),
    ("application/x-msexcel", FileType::Xls),
    (
        "application/vnd.ms-excel.sheet.macroenabled.12",
        FileType::Xlsx,
    ),
    ("application/powerpoint", FileType::Ppt),
    ("application/mspowerpoint", FileType::Ppt),
    (
        "application/vnd.ms-powerpoint.presentation.macroenabled.12",
        FileType::Pptx,
    ),
    ("text/rtf", FileType::Rtf),
    ("application/x-rtf", FileType::Rtf),
    ("text/richtext", FileType::Rtf),
    ("application/x-zip", FileType::Zip),
    ("application/x-zip-compressed", FileType::Zip),
    ("video/x-m4v", FileType::Mp4),
    ("video/m4v", FileType::Mp4),
    ("application/mp4", FileType::Mp4),
    ("video/3gp", FileType::ThreeGp),
    ("video/3gpp2", FileType::ThreeGp),
    ("audio/3gpp", FileType::ThreeGp),
    ("audio/3gpp2", FileType::ThreeGp),
    ("video/mov", FileType::Mov),
    ("audio/webm", FileType::WebM),
    ("video/matroska", FileType::Matroska),
    ("audio/x-matroska", FileType::Matroska),
    ("video/mkv", FileType::Matroska),
    ("video/avi", FileType::Avi),
    ("video/msvideo", FileType::Avi),
    ("application/ogg", FileType::Ogg),
    ("video/ogg", FileType::Ogg),
    ("audio/x-ogg", FileType::Ogg),
    ("audio/vorbis", FileType::Ogg),
    ("audio/opus", FileType::OggOpus),
    ("audio/x-opus", FileType::OggOpus),
    ("audio/mp3", FileType::Mp3),
    ("audio/mpeg3", FileType::Mp3),
    ("audio/x-mp3", FileType::Mp3),
    ("audio/x-mpeg", FileType::Mp3),
    ("audio/mpg", FileType::Mp3),
    ("audio/m4a", FileType::M4a),
    ("audio/x-m4a", FileType::M4a),
    ("audio/mp4a-latm", FileType::M4a),
    ("audio/x-aac", FileType::Aac),
    ("audio/aacp", FileType::Aac),
    ("audio/amr-nb", FileType::Amr),
    ("audio/amr-wb", FileType::Amr),
    ("audio/x-wav", FileType::Wav),
    ("audio/wave", FileType::Wav),
    ("audio/vnd.wave", FileType::Wav),
    ("audio/x-flac", FileType::Flac),
    ("application/csv", FileType::Csv),
    ("text/x-csv", FileType::Csv),
    ("text/comma-separated-values", FileType::Csv),
];

impl FileType {
    /// The MIME type that WhatsApp is told.
    pub fn mime(self) -> &'static str {
        self.row().1
    }

    /// The usual extension, without the dot.
    pub fn extension(self) -> &'static str {
        self.row().2
    }

    /// What people would call it.
    pub fn family(self) -> Family {
        use FileType as T;
        match self {
            T::Jpeg | T::Png | T::Gif | T::WebP => Family::Image,
            T::Pdf | T::Doc | T::Docx | T::Xls | T::Xlsx | T::Ppt | T::Pptx => Family::Document,
            T::Odt | T::Ods | T::Odp | T::Rtf | T::Text | T::Csv => Family::Document,
            T::Mp4 | T::ThreeGp | T::Mov | T::WebM | T::Matroska | T::Avi => Family::Video,
            T::Ogg | T::OggOpus | T::Mp3 | T::M4a | T::Aac | T::Amr => Family::Audio,
            T::Wav | T::Flac => Family::Audio,
            T::Zip | T::Unknown => Family::Other,
        }
    }

    fn row(self) -> &'static (FileType, &'static str, &'static str) {
        TABLE
            .iter()
            .find(|row| row.0 == self)
            .expect("every type has a row")
    }
}

/// The type that a `Content-Type` names, if it names one of ours. `None` also for
/// `application/octet-stream`, which names nothing.
pub fn from_declared_mime(declared: &str) -> Option<FileType> {
    let (essence, parameters) = split(declared);
    let named = TABLE
        .iter()
        .find(|row| row.1 == essence)
        .map(|row| row.0)
        .or_else(|| SPELLINGS.iter().find(|row| row.0 == essence).map(|r| r.1))?;
    match named {
        FileType::Unknown => None,
        FileType::Ogg if parameters.contains("opus") => Some(FileType::OggOpus),
        named => Some(named),
    }
}

/// Whether content of the type `found` may have been declared so by an honest client.
pub fn agrees(declared: &str, found: FileType) -> bool {
    use FileType as T;
    let (essence, _) = split(declared);
    if matches!(
        essence.as_str(),
        "" | "*/*"
            | "application/octet-stream"
            | "binary/octet-stream"
            | "application/binary"
            | "application/x-download"
            | "application/force-download"
    ) {
        return true;
    }
    let Some(named) = from_declared_mime(&essence) else {
        return agrees_with_stranger(&essence, found);
    };
    if named == found {
        return true;
    }
    let office = matches!(
        found,
        T::Docx | T::Xlsx | T::Pptx | T::Odt | T::Ods | T::Odp
    );
    match named {
        T::Text => matches!(found, T::Csv | T::Rtf),
        T::Csv => found == T::Text,
        // Spreadsheet programs register this type for CSV files too.
        T::Xls => found == T::Text,
        T::Doc => found == T::Rtf,
        T::Zip => office,
        T::Mp4 | T::ThreeGp | T::Mov => matches!(found, T::Mp4 | T::ThreeGp | T::Mov | T::M4a),
        T::M4a => matches!(found, T::Mp4 | T::ThreeGp | T::Aac),
        T::Aac => found == T::M4a,
        // Phones and browsers save images under any image's name, and each can be shown.
        T::Jpeg | T::Png | T::Gif | T::WebP => found.family() == Family::Image,
        T::WebM => found == T::Matroska,
        T::Matroska => found == T::WebM,
        T::Ogg => found == T::OggOpus,
        T::OggOpus => found == T::Ogg,
        _ => false,
    }
}

/// A type without a row of ours: it must not be the excuse for content that has one.
fn agrees_with_stranger(essence: &str, found: FileType) -> bool {
    let family = match essence.split_once('/') {
        Some(("image", _)) => Family::Image,
        Some(("audio", _)) => Family::Audio,
        Some(("video", _)) => Family::Video,
        Some(("text", _)) => return matches!(found, FileType::Text | FileType::Rtf),
        _ => Family::Other,
    };
    match found {
        FileType::Unknown => true,
        FileType::Text => family == Family::Other || essence == "image/svg+xml",
        found => found.family() == family && family != Family::Image,
    }
}

/// The type in small letters, and the parameters.
fn split(declared: &str) -> (String, String) {
    let lower = declared.to_ascii_lowercase();
    let (essence, parameters) = lower.split_once(';').unwrap_or((&lower, ""));
    (essence.trim().to_owned(), parameters.to_owned())
}
