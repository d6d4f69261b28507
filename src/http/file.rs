//! Answers with a file: in chunks, in part, or not at all when the client has it (RFC 9110,
//! sections 13 and 14).

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;

use bytes::Bytes;

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

/// What a client asks for of a file.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    Part(Range<u64>),
    Beyond,
    /// It has it already.
    Known,
}

impl Reply {
    /// A file, or the part of it that the request asks for.
    pub fn file(request: &Request, file: FileReply<'_>) -> Result<Self> {
        let tag = format!("\"{}\"", file.etag);
        let wanted = wanted(
            request.header("if-none-match"),
            request.header("if-range"),
            request.header("range"),
            &tag,
            file.length,
        );
        let length = file.length;
        let reply = match wanted {
            Wanted::Known => Self::empty(StatusCode::NOT_MODIFIED),
            Wanted::Beyond => Self::empty(StatusCode::RANGE_NOT_SATISFIABLE)
                .header("content-range", format!("bytes */{length}")),
            Wanted::Whole => chunks(file.file, 0..length, file.content_type),
            Wanted::Part(part) => {
                let range = format!("bytes {}-{}/{length}", part.start, part.end - 1);
                chunks(file.file, part, file.content_type)
                    .with_status(StatusCode::PARTIAL_CONTENT)
                    .header("content-range", range)
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

fn wanted(
    if_none_match: Option<&str>,
    if_range: Option<&str>,
    range: Option<&str>,
    tag: &str,
    length: u64,
) -> Wanted {
    let knows = |tags: &str| {
        let mut tags = tags.split(',').map(|t| t.trim().trim_start_matches("W/"));
        tags.any(|t| t == tag || t == "*")
    };
    if if_none_match.is_some_and(knows) {
        return Wanted::Known;
    }
    match range {
        Some(range) if if_range.is_none_or(|t| t.trim() == tag) => part(range, length),
        _ => Wanted::Whole,
    }
}

/// Reads one range. Of several, or of one that makes no sense, the whole file is a legal answer.
fn part(range: &str, length: u64) -> Wanted {
    let Some((first, last)) = range
        .trim()
        .strip_prefix("bytes=")
        .filter(|ranges| !ranges.contains(','))
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Wanted::Whole;
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // More digits than fit are beyond any file.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let part = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Some(first), None) if last.is_empty() => first..length,
        (None, Some(last)) if first.is_empty() => length.saturating_sub(last)..length,
        _ => return Wanted::Whole,
    };
    if part.start < part.end {
        Wanted::Part(part)
    } else {
        Wanted::Beyond
    }
}

/// The bytes of a part, read away from the threads that serve connections.
fn chunks(file: File, part: Range<u64>, content_type: &str) -> Reply {
    let length = part.end - part.start;
    let stream = futures_util::stream::try_unfold(Some((file, part)), |state| async move {
        let Some((file, part)) = state.filter(|(_, part)| !part.is_empty()) else {
            return Ok(None);
        };
        let read = tokio::task::spawn_blocking(move || read(file, part)).await;
        let (bytes, file, part) = read.map_err(Error::internal)??;
        Ok::<_, Error>(Some((bytes, Some((file, part)))))
    });
    Reply::try_stream(content_type, Some(length), stream)
}

fn read(mut file: File, part: Range<u64>) -> Result<(Bytes, File, Range<u64>)> {
    let many = usize::try_from(part.end - part.start).unwrap_or(CHUNK);
    let mut bytes = vec![0; many.min(CHUNK)];
    file.seek(SeekFrom::Start(part.start))
        .and_then(|_| file.read_exact(&mut bytes))
        .map_err(Error::internal)?;
    let left = part.start + bytes.len() as u64..part.end;
    Ok((bytes.into(), file, left))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Method;
    use std::io::Write as _;

    #[test]
    fn one_range_is_a_part_and_many_or_nonsense_the_whole() {
        for (range, wanted) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=2-4", Wanted::Part(2..5)),
            ("bytes=5-99", Wanted::Part(5..10)),
            ("bytes=7-", Wanted::Part(7..10)),
            ("bytes=-3", Wanted::Part(7..10)),
            ("bytes=-99", Wanted::Part(0..10)),
            ("bytes=10-", Wanted::Beyond),
            ("bytes=-0", Wanted::Beyond),
            ("bytes=99999999999999999999-", Wanted::Beyond),
            ("bytes=4-2", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
        ] {
            assert_eq!(part(range, 10), wanted, "{range}");
        }
        assert_eq!(part("bytes=0-", 0), Wanted::Beyond);
    }

    #[test]
    fn a_known_tag_needs_no_body_and_a_changed_file_no_part() {
        let ask = |none_match, if_range, range| wanted(none_match, if_range, range, "\"a\"", 10);
        assert_eq!(ask(Some("\"b\", W/\"a\""), None, None), Wanted::Known);
        assert_eq!(ask(Some("*"), None, None), Wanted::Known);
        assert_eq!(ask(Some("\"b\""), None, None), Wanted::Whole);
        let part = Some("bytes=1-2");
        assert_eq!(ask(None, Some("\"a\""), part), Wanted::Part(1..3));
        assert_eq!(ask(None, Some("\"b\""), part), Wanted::Whole);
    }

    fn reply(range: Option<&str>, length: u64) -> Reply {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&[b'x'; 150_000]).expect("written");
        let headers: Vec<_> = range.map(|range| ("range", range)).into_iter().collect();
        let request = Request::for_test(Method::GET, "/", &headers, "");
        let file = FileReply {
            file,
            length,
            content_type: "image/png",
            etag: "a",
            name: Some("a\"\r\nb.png"),
        };
        Reply::file(&request, file).expect("an answer")
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
