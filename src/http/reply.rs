//! The answer to a request.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::error::{Error, Result};

/// A status, headers and a body.
pub struct Reply(pub(super) Response<ReplyBody>);

impl Reply {
    /// JSON of a value, with a line break at its end.
    pub fn json(status: StatusCode, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(mut text) => {
                // People read answers in terminals too.
                text.push(b'\n');
                let kind = HeaderValue::from_static("application/json");
                Self::typed(status, kind, text.into())
            }
            Err(error) => {
                tracing::error!(%error, "an answer cannot be written as JSON");
                Self::empty(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// Plain text.
    pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Self {
        Self::typed(
            status,
            HeaderValue::from_static("text/plain; charset=utf-8"),
            text.into(),
        )
    }

    /// Bytes of a type, with status 200.
    pub fn bytes(content_type: &str, bytes: impl Into<Bytes>) -> Self {
        Self::typed(StatusCode::OK, legal(content_type), bytes.into())
    }

    /// No body at all.
    pub fn empty(status: StatusCode) -> Self {
        Self::with(status, ReplyBody::Empty)
    }

    /// A body that is made while it is sent, with status 200. It may fail on the way: then the connection
    /// is cut, so that the client knows.
    ///
    /// With a `length` the client sees the progress and notices what is missing.
    pub fn try_stream(
        content_type: &str,
        length: Option<u64>,
        stream: impl Stream<Item = Result<Bytes>> + Send + 'static,
    ) -> Self {
        let body = ReplyBody::Stream(StreamedBody::new(stream, length));
        Self::with(StatusCode::OK, body).typed_as(legal(content_type))
    }

    /// Another status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        *self.0.status_mut() = status;
        self
    }

    /// Sets a header (`Set-Cookie` is added to the ones that are there).
    ///
    /// A character that may not stand in a header becomes a blank: a name that a stranger chose
    /// cannot begin a header of its own.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            tracing::error!(name, "an answer has a header whose name is not legal");
            return self;
        };
        let value = legal(value.as_ref());
        if name == header::SET_COOKIE {
            self.0.headers_mut().append(name, value);
        } else {
            self.0.headers_mut().insert(name, value);
        }
        self
    }

    /// Tells every cache to keep nothing: the body holds a secret or changes at any moment.
    #[must_use]
    pub fn no_store(mut self) -> Self {
        self.0
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        self
    }

    /// Makes a browser save the body under a name (RFC 6266) rather than show it.
    #[must_use]
    pub fn attachment(self, name: &str) -> Self {
        self.named("attachment", name)
    }

    /// Gives the body a name (RFC 6266), and says whether it is to be saved or shown.
    pub(super) fn named(self, disposition: &str, name: &str) -> Self {
        /// What may stand in an extended value as it is (RFC 8187).
        const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_');
        let simple: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || ".-_ ".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        let full = utf8_percent_encode(name, PLAIN);
        self.header(
            "content-disposition",
            format!("{disposition}; filename=\"{simple}\"; filename*=UTF-8''{full}"),
        )
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.0.status()
    }

    /// A header's value, if it is text.
    #[cfg(test)]
    pub fn header_value(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name)?.to_str().ok()
    }

    /// The whole body, for tests that need no socket.
    #[cfg(test)]
    pub async fn into_bytes(self) -> Result<Bytes> {
        let mut body = self.0.into_body();
        let mut whole = Vec::new();
        loop {
            let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            match frame {
                None => return Ok(whole.into()),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        whole.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    /// A stream that is cut without regret when the program stops.
    pub(super) fn endless(
        content_type: &'static str,
        stream: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Self {
        let mut flow = StreamedBody::new(Sure(Box::pin(stream)), None);
        flow.endless = true;
        Self::with(StatusCode::OK, ReplyBody::Stream(flow))
            .typed_as(HeaderValue::from_static(content_type))
    }

    /// Lets an endless stream know when the program stops.
    pub(super) fn until(&mut self, stop: &CancellationToken) {
        if let ReplyBody::Stream(flow) = self.0.body_mut()
            && flow.endless
        {
            flow.stop = Some(Box::pin(stop.clone().cancelled_owned()));
        }
    }

    /// Drops the body and keeps what is said of it: the answer to a HEAD.
    pub(super) fn without_body(&mut self) {
        if let Some(length) = self.0.body().size_hint().exact()
            && !self.0.headers().contains_key(header::CONTENT_LENGTH)
            && self.0.status() != StatusCode::NO_CONTENT
            && self.0.status() != StatusCode::NOT_MODIFIED
        {
            self.0
                .headers_mut()
                .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        *self.0.body_mut() = ReplyBody::Empty;
    }

    fn with(status: StatusCode, body: ReplyBody) -> Self {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        Self(response)
    }

    fn typed(status: StatusCode, content_type: HeaderValue, bytes: Bytes) -> Self {
        Self::with(status, ReplyBody::Whole(bytes)).typed_as(content_type)
    }

    fn typed_as(mut self, content_type: HeaderValue) -> Self {
        self.0
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
        self
    }
}

/// The text as a header's value, with a blank for each character that is not legal there.
fn legal(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| {
        let legal: Vec<u8> = text
            .bytes()
            .map(|b| if b < 0x20 || b == 0x7f { b' ' } else { b })
            .collect();
        HeaderValue::from_bytes(&legal).expect("control characters were replaced")
    })
}

/// The body of a reply as hyper asks for it.
pub(super) enum ReplyBody {
    Empty,
    Whole(Bytes),
    Stream(StreamedBody),
}

/// A body that is made while it is sent.
pub(super) struct StreamedBody {
    stream: Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>,
    /// How many bytes are left, where that is known.
    length: Option<u64>,
    endless: bool,
    stop: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl StreamedBody {
    fn new(
        stream: impl Stream<Item = Result<Bytes>> + Send + 'static,
        length: Option<u64>,
    ) -> Self {
        Self {
            stream: Box::pin(stream),
            length,
            endless: false,
            stop: None,
        }
    }

    /// Takes a piece off the length that was announced: too little must not pass for the whole.
    fn counted(&mut self, piece: Option<Result<Bytes>>) -> Option<Result<Bytes>> {
        let Some(left) = &mut self.length else {
            return piece;
        };
        match &piece {
            Some(Ok(bytes)) => *left = left.saturating_sub(bytes.len() as u64),
            None if *left > 0 => {
                return Some(Err(Error::internal("there is less of it than was said")));
            }
            None | Some(Err(_)) => {}
        }
        piece
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(flow) => {
                if let Some(stop) = &mut flow.stop
                    && stop.as_mut().poll(cx).is_ready()
                {
                    return Poll::Ready(None);
                }
                let next = ready!(flow.stream.as_mut().poll_next(cx));
                let next = flow.counted(next);
                if let Some(Err(error)) = &next {
                    tracing::warn!(?error, "an answer breaks off");
                }
                Poll::Ready(next.map(|chunk| chunk.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(flow) => flow
                .length
                .map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

/// A stream that cannot fail, as one that could.
struct Sure<S>(Pin<Box<S>>);

impl<S: Stream<Item = Bytes>> Stream for Sure<S> {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        self.0.as_mut().poll_next(cx).map(|item| item.map(Ok))
    }
}
