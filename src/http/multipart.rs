//! A multipart form, part by part, without ever holding more than a chunk of an upload.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use multer::{Constraints, Field, SizeLimit};

use super::body::Body;
use crate::error::{Error, ErrorKind, Result};

/// More parts than this are nobody's form.
const MAX_PARTS: usize = 256;
/// What may lie between two parts' contents: a boundary and headers.
const MAX_BETWEEN: u64 = 256 * 1024;

/// The parts of a form as they arrive.
pub struct Multipart {
    inner: multer::Multipart<'static>,
    current: Option<Field<'static>>,
    parts: usize,
    feed: Arc<Feed>,
}

/// What the parser and the stream under it tell each other.
///
/// Hazard: multer buffers without bound while it looks for the end of a part's headers, and waits
/// for ever for bytes after the end of the stream.
struct Feed {
    /// How many bytes the parser may still take before it must have found something.
    allowance: AtomicU64,
    /// The stream has no more.
    ended: AtomicBool,
}

/// One part.
pub struct Part<'a> {
    form: &'a mut Multipart,
    name: Option<String>,
    filename: Option<String>,
    content_type: Option<String>,
}

impl Multipart {
    pub(super) fn new(body: Body, boundary: String) -> Self {
        let limit = body.limit();
        Self::over(Source::Body(body), boundary, limit)
    }

    pub(super) fn of_bytes(bytes: Bytes, boundary: String) -> Self {
        let limit = bytes.len() as u64;
        Self::over(Source::Bytes(Some(bytes)), boundary, limit)
    }

    fn over(source: Source, boundary: String, limit: u64) -> Self {
        let feed = Arc::new(Feed {
            allowance: AtomicU64::new(u64::MAX),
            ended: AtomicBool::new(false),
        });
        let stream = Fed {
            source,
            feed: feed.clone(),
            gave: false,
        };
        let sizes = SizeLimit::new().whole_stream(limit).per_field(limit);
        let constraints = Constraints::new().size_limit(sizes);
        Self {
            inner: multer::Multipart::with_constraints(stream, boundary, constraints),
            current: None,
            parts: 0,
            feed,
        }
    }

    /// The next part. What was not read of the one before is passed over.
    pub async fn next(&mut self) -> Result<Option<Part<'_>>> {
        while self.chunk().await?.is_some() {}
        self.current = None;
        self.feed.allowance.store(MAX_BETWEEN, Ordering::Relaxed);
        let feed = self.feed.clone();
        let found = std::future::poll_fn(|cx| {
            let polled = self.inner.poll_next_field(cx).map_err(refused);
            feed.unless_ended(polled)
        })
        .await?;
        self.feed.allowance.store(u64::MAX, Ordering::Relaxed);
        let Some(field) = found else {
            return Ok(None);
        };
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(Error::new(
                ErrorKind::TooLarge,
                "The form has too many parts",
            ));
        }
        let (name, filename) = (field.name(), field.file_name());
        let (name, filename) = (name.map(str::to_owned), filename.map(str::to_owned));
        let content_type = field.content_type().map(ToString::to_string);
        self.current = Some(field);
        Ok(Some(Part {
            form: self,
            name,
            filename,
            content_type,
        }))
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        let Some(field) = &mut self.current else {
            return Ok(None);
        };
        let feed = &self.feed;
        let chunk = std::future::poll_fn(|cx| {
            let polled = Pin::new(&mut *field).poll_next(cx);
            feed.unless_ended(polled.map(|chunk| chunk.transpose().map_err(refused)))
        })
        .await?;
        if chunk.is_none() {
            self.current = None;
        }
        Ok(chunk)
    }
}

impl Part<'_> {
    /// The field's name.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The name of the file, as the client has it: words for people, never a path.
    pub fn filename(&self) -> Option<&str> {
        self.filename.as_deref()
    }

    /// The type that the client claims.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// The next bytes; `None` at the part's end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        self.form.chunk().await
    }

    /// The whole part, if it is at most `max` bytes.
    pub async fn bytes(&mut self, max: usize) -> Result<Bytes> {
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if whole.len() + chunk.len() > max {
                let text = format!("A field of the form is larger than {max} bytes");
                return Err(Error::new(ErrorKind::TooLarge, text));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    /// The whole part as text, if it is at most `max` bytes.
    pub async fn text(&mut self, max: usize) -> Result<String> {
        let bytes = self.bytes(max).await?;
        String::from_utf8(bytes.into())
            .map_err(|_| Error::invalid("A field of the form is not valid UTF-8"))
    }
}

impl Feed {
    /// Fails a parser that waits although nothing will come.
    fn unless_ended<T>(&self, polled: Poll<Result<T>>) -> Poll<Result<T>> {
        if polled.is_pending() && self.ended.load(Ordering::Relaxed) {
            return Poll::Ready(Err(malformed()));
        }
        polled
    }
}

fn malformed() -> Error {
    Error::invalid("Malformed multipart body")
}

/// The parser's error in our words; our own, which came through it, as it was.
fn refused(error: multer::Error) -> Error {
    match error {
        multer::Error::StreamReadFailed(inner) => match inner.downcast::<Error>() {
            Ok(own) => *own,
            Err(other) => malformed().because(other),
        },
        multer::Error::FieldSizeExceeded { .. } | multer::Error::StreamSizeExceeded { .. } => {
            Error::new(ErrorKind::TooLarge, "The form is too large")
        }
        other => malformed().because(other),
    }
}

enum Source {
    Body(Body),
    Bytes(Option<Bytes>),
}

/// The body as the parser sees it.
struct Fed {
    source: Source,
    feed: Arc<Feed>,
    /// The last poll gave bytes.
    gave: bool,
}

impl Stream for Fed {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        // The parser takes all there is before it looks at any of it: one chunk at a time, so that
        // a fast client does not fill our memory.
        if std::mem::take(&mut self.gave) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = match &mut self.source {
            Source::Body(body) => body.poll_chunk(cx),
            Source::Bytes(bytes) => Poll::Ready(bytes.take().map(Ok)),
        };
        match &polled {
            Poll::Ready(Some(Ok(bytes))) => {
                self.gave = true;
                let taken = bytes.len() as u64;
                let left = self.feed.allowance.load(Ordering::Relaxed);
                let is_body = matches!(self.source, Source::Body(_));
                if is_body && left < taken {
                    return Poll::Ready(Some(Err(malformed())));
                }
                let left = left.saturating_sub(taken);
                self.feed.allowance.store(left, Ordering::Relaxed);
            }
            Poll::Ready(None) => self.feed.ended.store(true, Ordering::Relaxed),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }
}
