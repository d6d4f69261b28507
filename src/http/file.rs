//! Answers with a file: in chunks, in part, or not at all when the client has it.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::ops::Range;

use futures_util::TryStreamExt as _;
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::conditions::{RequestedRange, is_known, wanted};
use super::{Reply, Request, StatusCode};
use crate::error::{Error, Result};

/// How much of a file is in memory at a time.
const CHUNK: usize = 64 * 1024;

/// A file to answer with. It is open already: one that is deleted meanwhile is still sent.
pub struct FileReply<'a> {
    /// The bytes.
    pub file: File,
    /// How many there are.
    pub length: u64,
    /// Their type.
    pub content_type: &'a str,
    /// Names the content: the same tag, the same bytes.
    pub etag: &'a str,
    /// The name to save it under.
    pub name: Option<&'a str>,
}

impl Reply {
    /// A file, or the part of it that the request asks for.
    pub fn file(request: &Request, file: FileReply<'_>) -> Result<Self> {
        let tag = format!("\"{}\"", file.etag);
        let length = file.length;
        let unchanged = |known: &str| known.trim() == tag;
        let range = request.header("range");
        let range = range.filter(|_| request.header("if-range").is_none_or(unchanged));
        let reply = if is_known(request.header("if-none-match"), &tag) {
            Self::empty(StatusCode::NOT_MODIFIED)
        } else {
            match wanted(range, length) {
                RequestedRange::Beyond => Self::empty(StatusCode::RANGE_NOT_SATISFIABLE)
                    .header("content-range", format!("bytes */{length}")),
                RequestedRange::Whole => chunks(file.file, 0..length, file.content_type)?,
                RequestedRange::Part(part) => {
                    let range = format!("bytes {}-{}/{length}", part.start, part.end - 1);
                    chunks(file.file, part, file.content_type)?
                        .with_status(StatusCode::PARTIAL_CONTENT)
                        .header("content-range", range)
                }
            }
        };
        let reply = match file.name {
            Some(name) => reply.named("inline", name),
            None => reply,
        };
        // The content comes from strangers: a page or a drawing must not run as one of ours.
        Ok(reply
            .header("etag", tag)
            .header("accept-ranges", "bytes")
            .header("cache-control", "private, max-age=3600")
            .header("x-content-type-options", "nosniff")
            .header("content-security-policy", "sandbox; default-src 'none'"))
    }
}

/// The bytes of a part, read away from the threads that serve connections.
fn chunks(mut file: File, part: Range<u64>, content_type: &str) -> Result<Reply> {
    let length = part.end - part.start;
    let start = SeekFrom::Start(part.start);
    file.seek(start).map_err(Error::internal)?;
    let bytes = tokio::fs::File::from_std(file).take(length);
    let stream = ReaderStream::with_capacity(bytes, CHUNK).map_err(Error::internal);
    Ok(Reply::try_stream(content_type, Some(length), stream))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Method;
    use std::io::Write as _;

    #[test]
    fn a_known_tag_needs_no_body_and_a_changed_file_no_part() {
        let ask = |headers: &[(&str, &str)]| answer(headers, 10).status().as_u16();
        assert_eq!(ask(&[("if-none-match", "\"b\", W/\"a\"")]), 304);
        assert_eq!(ask(&[("if-none-match", "\"b\"")]), 200);
        let part = ("range", "bytes=1-2");
        assert_eq!(ask(&[part]), 206);
        assert_eq!(ask(&[("if-range", "\"a\""), part]), 206);
        assert_eq!(ask(&[("if-range", "\"b\""), part]), 200);
        assert_eq!(ask(&[("range", "bytes=10-")]), 416);
    }

    fn answer(headers: &[(&str, &str)], length: u64) -> Reply {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&[b'x'; 150_000]).expect("written");
        let request = Request::for_test(Method::GET, "/", headers, "");
        let file = FileReply {
            file,
            length,
            content_type: "image/png",
            etag: "a",
            name: Some("a\"\r\nb.png"),
        };
        Reply::file(&request, file).expect("an answer")
    }

    fn reply(range: Option<&str>, length: u64) -> Reply {
        let headers: Vec<_> = range.map(|range| ("range", range)).into_iter().collect();
        answer(&headers, length)
    }

    #[tokio::test]
    async fn the_bytes_come_in_order_and_the_name_is_harmless() {
        let whole = reply(None, 150_000);
        assert_eq!(whole.status(), StatusCode::OK);
        let name = whole
            .header_value("content-disposition")
            .expect("a name")
            .to_owned();
        assert!(name.starts_with("inline; filename=\"a___b.png\""), "{name}");
        assert_eq!(whole.into_bytes().await.expect("all").len(), 150_000);
        let part = reply(Some("bytes=100000-149999"), 150_000);
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(part.into_bytes().await.expect("all").len(), 50_000);
    }

    #[tokio::test]
    async fn a_file_that_is_shorter_than_it_should_be_is_an_error() {
        assert!(reply(None, 150_001).into_bytes().await.is_err());
    }
}
