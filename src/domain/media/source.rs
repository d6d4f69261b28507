//! Where a file to be sent comes from: an upload, a link, or the request itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use encoding_rs::Encoding;
use percent_encoding::percent_decode_str;

use super::blobs::{CompleteFile, PartialFile};
use super::file_type::{self, FileType};
use super::kind;
use crate::domain::Gateway;
use crate::domain::access::Principal;
use crate::domain::session::Session;
use crate::error::{Code, Error, Result};
use crate::ids::{Hash, MediaId, SessionNumber};
use crate::names;
use crate::tasks::blocking;

/// How many redirects a link may take.
const REDIRECTS: usize = 5;

/// Characters of base64 that are decoded at once; a multiple of four.
const DECODE_AT_ONCE: usize = 64 * 1024;

/// Where a file comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FileSource {
    /// A file that was uploaded before.
    Stored {
        /// Its id.
        id: MediaId,
        /// Whose it is, where it is not the session's that sends it.
        owner: Option<SessionNumber>,
    },
    /// An address to fetch it from.
    Link(String),
    /// Base64, as a data URL or bare; shared, for it may be megabytes.
    Inline(Arc<String>),
}

/// A file that is here, whole.
#[derive(Clone)]
pub(in crate::domain) struct LocalFile {
    place: FileLocation,
    /// SHA-256 of its bytes.
    pub(super) hash: Hash,
    /// Its type, by its content.
    pub(super) found: FileType,
    /// The name it came with.
    pub(in crate::domain) name: Option<String>,
}

#[derive(Clone)]
enum FileLocation {
    Kept(PathBuf),
    Arrived(CompleteFile),
}

impl LocalFile {
    /// Whether it lies in the media folder under its name.
    pub(super) fn is_stored(&self) -> bool {
        matches!(self.place, FileLocation::Kept(_))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        match &self.place {
            FileLocation::Kept(path) => path,
            FileLocation::Arrived(arrived) => arrived.path(),
        }
    }
}

impl Gateway {
    /// The one place that a client names of where a file is: the id of an upload to any session of the
    /// client, a link, or the file itself in base64.
    pub fn source(
        &self,
        who: &Principal,
        id: Option<&str>,
        link: Option<&str>,
        inline: Option<String>,
    ) -> Result<FileSource> {
        match (id, link, inline) {
            (Some(id), None, None) => {
                let id = MediaId::parse(id)?;
                let owner = self.owner_of_file(who, &id)?;
                Ok(FileSource::Stored { id, owner })
            }
            (None, Some(url), None) => {
                self.check_link(url)?;
                Ok(FileSource::Link(url.to_owned()))
            }
            (None, None, Some(text)) => Ok(FileSource::Inline(Arc::new(text))),
            (None, None, None) => Err(Code::FileSourceMissing.into()),
            _ => Err(Code::FileSourceAmbiguous.into()),
        }
    }

    /// Judges a link by its text; its address is judged again when it is fetched.
    fn check_link(&self, url: &str) -> Result<()> {
        self.link_client.check_url(url).map(|_| ())
    }

    /// Brings the file here.
    pub(in crate::domain) async fn find_file(
        &self,
        session: &Session,
        source: &FileSource,
    ) -> Result<LocalFile> {
        match source {
            FileSource::Stored { id, owner } => {
                let file = self.media_file_of(session, *owner, id)?;
                let path = self.media.path_of(&file.sha256);
                let found = sniffed(path.clone()).await?;
                Ok(LocalFile {
                    place: FileLocation::Kept(path),
                    hash: file.sha256,
                    found,
                    name: file.name,
                })
            }
            FileSource::Link(url) => self.fetch(session, url).await,
            FileSource::Inline(text) => self.decode(text).await,
        }
    }

    async fn fetch(&self, session: &Session, url: &str) -> Result<LocalFile> {
        let _place = self.link_places.take(session.number).await?;
        let mut response = self.link_client.get_following(url, REDIRECTS).await?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(Error::new(
                Code::LinkFailed,
                format!("The link answered with status {status}"),
            ));
        }
        let announced = response.header("content-type").map(str::to_owned);
        if announced.as_deref().is_some_and(is_page) {
            return Err(Error::new(
                Code::FileTypeUnsupported,
                "The link leads to a web page (text/html), not to a file",
            ));
        }
        let name = named(response.header("content-disposition"), url);
        let most = self.config.max_media_bytes;
        response.at_most(most)?;
        let mut arrival = self.media.arrival()?;
        while let Some(chunk) = response.chunk().await? {
            arrival.write(&chunk).await?;
        }
        let mut found = self.arrived(arrival, announced.as_deref(), "link").await?;
        found.name = name;
        Ok(found)
    }

    async fn decode(&self, text: &str) -> Result<LocalFile> {
        let (declared, text) = data_url(text)?;
        let url_safe = text.bytes().any(|b| matches!(b, b'-' | b'_'));
        let engine = engine(if url_safe { &URL_SAFE } else { &STANDARD });
        let wrong = || Error::from(Code::FileNotBase64);
        let mut arrival = self.media.arrival()?;
        let mut waiting: Vec<u8> = Vec::with_capacity(DECODE_AT_ONCE);
        let mut letters = text.bytes().filter(|b| !b.is_ascii_whitespace()).peekable();
        while letters.peek().is_some() {
            waiting.clear();
            waiting.extend(letters.by_ref().take(DECODE_AT_ONCE));
            let bytes = engine.decode(&waiting).map_err(|_| wrong())?;
            arrival.write(&bytes).await?;
            // Padding ends the text: whatever follows it is a mistake.
            if waiting.ends_with(b"=") && letters.peek().is_some() {
                return Err(wrong());
            }
        }
        self.arrived(arrival, declared, "file").await
    }

    /// Judges a file that arrived: it is not empty, and it is what it was said to be.
    pub(super) async fn arrived(
        &self,
        arrival: PartialFile,
        announced: Option<&str>,
        what: &str,
    ) -> Result<LocalFile> {
        if arrival.size() == 0 {
            return Err(empty(what));
        }
        let arrived = arrival.finish().await?;
        let found = sniffed(arrived.path().to_owned()).await?;
        if let Some(announced) = announced
            && !file_type::agrees(announced, found)
        {
            let shown: String = announced
                .chars()
                .filter(|c| c.is_ascii_graphic())
                .take(64)
                .collect();
            return Err(Error::new(
                Code::FileTypeWrong,
                format!(
                    "The {what} says that it is {shown}, but its content is {}",
                    found.mime()
                ),
            ));
        }
        Ok(LocalFile {
            hash: arrived.hash,
            place: FileLocation::Arrived(arrived),
            found,
            name: None,
        })
    }
}

impl LocalFile {
    /// The file as it arrived, unless it is a kept one.
    pub(super) fn into_arrived(self) -> Option<CompleteFile> {
        match self.place {
            FileLocation::Arrived(arrived) => Some(arrived),
            FileLocation::Kept(_) => None,
        }
    }
}

/// What is said of a file without a byte.
pub(super) fn empty(what: &str) -> Error {
    Error::new(Code::FileEmpty, format!("The {what} is empty"))
}

async fn sniffed(path: PathBuf) -> Result<FileType> {
    blocking(move || kind::sniff(&path)).await?
}

fn engine(alphabet: &Alphabet) -> GeneralPurpose {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config)
}

/// Whether a content type is that of a page: a share link, a login form, an error.
fn is_page(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("text/html")
}

/// Type and base64 text of a data URL (RFC 2397), or the text alone.
fn data_url(text: &str) -> Result<(Option<&str>, &str)> {
    let text = text.trim();
    let Some(rest) = text.strip_prefix("data:") else {
        return Ok((None, text));
    };
    let wrong = || {
        Error::new(
            Code::FileNotBase64,
            "The data URL must be base64: data:TYPE;base64,...",
        )
    };
    let (head, data) = rest.split_once(',').ok_or_else(wrong)?;
    let head = head.strip_suffix(";base64").ok_or_else(wrong)?;
    let mime = head.split(';').next().filter(|mime| !mime.is_empty());
    Ok((mime, data))
}

/// The name that a link's file goes by: what the server calls it, or the end of the path.
fn named(disposition: Option<&str>, url: &str) -> Option<String> {
    let told = disposition.and_then(file_name_in);
    let last = || {
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let authority = path.split_once("://").map_or(path, |(_, rest)| rest);
        let last = authority.split_once('/')?.1.rsplit('/').next()?;
        Some(percent_decode_str(last).decode_utf8_lossy().into_owned())
    };
    told.or_else(last).and_then(|name| names::of_file(&name))
}

/// The name in a `Content-Disposition` (RFC 6266): `filename*` goes before `filename`, in which
/// many servers write percent signs too.
fn file_name_in(disposition: &str) -> Option<String> {
    let (mut plain, mut extended) = (None, None);
    let mut rest = disposition;
    while !rest.is_empty() {
        let end = rest.find(['=', ';']).unwrap_or(rest.len());
        let name = rest[..end].trim();
        let Some(value) = rest[end..].strip_prefix('=') else {
            rest = rest.get(end + 1..).unwrap_or_default();
            continue;
        };
        let (value, after) = parameter(value.trim_start());
        rest = after;
        if name.eq_ignore_ascii_case("filename*") {
            extended = extended.or_else(|| in_its_charset(&value));
        } else if name.eq_ignore_ascii_case("filename") {
            let value = percent_decode_str(&value).decode_utf8_lossy().into_owned();
            plain = plain.or(Some(value));
        }
    }
    extended
        .or(plain)
        .filter(|name| names::of_file(name).is_some())
}

/// The value of a parameter, quoted or not, and what follows it.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_once(';').unwrap_or((text, ""));
        return (value.trim_end().to_owned(), rest);
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => {
                let rest = quoted[at + 1..].split_once(';');
                return (value, rest.map_or("", |(_, rest)| rest));
            }
            // Other backslashes are those of paths: few programs escape them.
            '\\' => value.push(
                letters
                    .next_if(|(_, next)| matches!(next, '"' | '\\'))
                    .map_or(letter, |(_, next)| next),
            ),
            _ => value.push(letter),
        }
    }
    (value, "")
}

/// Text with its charset and language before it: `UTF-8'en'a%20b` (RFC 8187).
fn in_its_charset(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_, text) = rest.split_once('\'')?;
    let bytes: Vec<u8> = percent_decode_str(text).collect();
    let charset = Encoding::for_label(charset.as_bytes())?;
    let text = charset.decode_without_bom_handling_and_without_replacement(&bytes)?;
    Some(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_url_tells_its_type() {
        assert_eq!(
            data_url("data:image/png;base64,AAAA").expect("good"),
            (Some("image/png"), "AAAA")
        );
        assert_eq!(data_url("data:;base64,AA").expect("good"), (None, "AA"));
        assert_eq!(data_url(" AAAA\n").expect("good"), (None, "AAAA"));
        assert!(data_url("data:text/plain,hello").is_err());
        assert!(data_url("data:").is_err());
    }

    #[test]
    fn a_links_file_has_the_name_that_the_server_or_the_path_gives() {
        let name = |disposition, url| named(disposition, url);
        let url = "https://a.example/x/price%20list.pdf?v=1#top";
        assert_eq!(name(None, url).as_deref(), Some("price list.pdf"));
        assert_eq!(
            name(Some("attachment; filename=\"a;b.pdf\"; x=1"), url).as_deref(),
            Some("a;b.pdf")
        );
        assert_eq!(
            name(Some("attachment; filename=../../etc/passwd"), url).as_deref(),
            Some("passwd")
        );
        assert_eq!(
            name(
                Some(r#"attachment; filename="C:\\Users\\Budi\\a.pdf""#),
                url
            )
            .as_deref(),
            Some("a.pdf")
        );
        assert_eq!(name(None, "https://a.example"), None);
        assert_eq!(name(None, "https://a.example/"), None);
        assert_eq!(name(None, "https://a.example/.."), None);
    }

    #[test]
    fn a_name_in_its_charset_goes_before_a_plain_one() {
        let url = "https://a.example/doc.pdf";
        for (disposition, expected) in [
            (
                "attachment; filename*=UTF-8''Daftar%20Harga.pdf",
                "Daftar Harga.pdf",
            ),
            (
                "attachment; filename=\"plain.pdf\"; filename*=utf-8'id'harga%20%E2%82%AC.pdf",
                "harga \u{20ac}.pdf",
            ),
            (
                "attachment;FileName*=ISO-8859-1''na%EFf.pdf;filename=plain.pdf",
                "na\u{ef}f.pdf",
            ),
            ("ATTACHMENT; FileName=\"x.pdf\"", "x.pdf"),
            ("attachment; FILENAME = x.pdf ; size=1", "x.pdf"),
            (
                r#"attachment; filename="a \"b\"; filename=c.pdf""#,
                "a \"b\"; filename=c.pdf",
            ),
            // One percent sign that is meant stays.
            ("attachment; filename*=UTF-8''100%2525.pdf", "100%25.pdf"),
            // What cannot be read gives way to the plain name, and that to the path.
            (
                "attachment; filename*=UTF-8''%ff.pdf; filename=a.pdf",
                "a.pdf",
            ),
            (
                "attachment; filename*=x-none''b.pdf; filename=a.pdf",
                "a.pdf",
            ),
            ("attachment; filename*=b.pdf; filename=a.pdf", "a.pdf"),
            ("attachment; xfilename=a.pdf", "doc.pdf"),
            ("attachment; filename=\"\"", "doc.pdf"),
            ("attachment", "doc.pdf"),
            ("", "doc.pdf"),
            // Names are cleaned as all others are.
            (
                "attachment; filename*=UTF-8''..%2F..%2Fetc%2Fpasswd",
                "passwd",
            ),
            (
                "attachment; filename*=UTF-8''a%0D%0Ab%00%E2%80%AE.pdf",
                "ab.pdf",
            ),
        ] {
            let name = named(Some(disposition), url);
            assert_eq!(name.as_deref(), Some(expected), "{disposition}");
        }
        let long = format!("attachment; filename*=UTF-8''{}.pdf", "a".repeat(9000));
        let name = named(Some(&long), url).expect("a name");
        assert!(name.len() <= 255, "{}", name.len());
    }

    proptest::proptest! {
        #[test]
        fn no_text_of_a_stranger_breaks_the_reading(text: String, url: String) {
            let _ = data_url(&text);
            let _ = named(Some(&text), &url);
            let _ = named(Some(&format!("a; filename*={text}")), &url);
            let _ = named(Some(&format!("a; filename=\"{text}")), &url);
        }
    }
}
