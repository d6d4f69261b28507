//! A request's body as it arrives: bounded in size, in silence and in time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, Sleep, sleep_until};

use super::connection::ClientConnection;
use crate::error::{Code, Error, Result};

/// A client that keeps sending faster than this, in bytes per second, is never too late: the time
/// for the whole body grows with what has arrived.
const STEADY: u64 = 16 * 1024;

/// A body, with the bounds that its reader keeps.
pub(super) struct Body {
    source: BodySource,
    limit: u64,
    received: u64,
    began: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    connection: Arc<ClientConnection>,
    waits_for_continue: bool,
}

enum BodySource {
    /// Nothing is left.
    Empty,
    /// A test's body.
    #[cfg(feature = "sandbox")]
    Ready(Bytes),
    /// A client's body.
    Wire(Incoming),
}

impl Body {
    pub(super) fn from_wire(
        body: Incoming,
        connection: Arc<ClientConnection>,
        waits_for_continue: bool,
    ) -> Self {
        let source = if body.is_end_stream() {
            BodySource::Empty
        } else {
            BodySource::Wire(body)
        };
        Self::new(source, connection, waits_for_continue)
    }

    #[cfg(feature = "sandbox")]
    pub(super) fn ready(bytes: Bytes, connection: Arc<ClientConnection>) -> Self {
        Self::new(BodySource::Ready(bytes), connection, false)
    }

    fn new(
        source: BodySource,
        connection: Arc<ClientConnection>,
        waits_for_continue: bool,
    ) -> Self {
        Self {
            source,
            limit: connection.limits.max_json,
            received: 0,
            began: None,
            timer: None,
            connection,
            waits_for_continue,
        }
    }

    pub(super) fn set_limit(&mut self, bytes: u64) {
        self.limit = bytes;
    }

    /// Whether the request has no body, or all of it was read.
    pub(super) fn is_over(&self) -> bool {
        match &self.source {
            BodySource::Empty => true,
            #[cfg(feature = "sandbox")]
            BodySource::Ready(bytes) => bytes.is_empty(),
            BodySource::Wire(_) => false,
        }
    }

    /// Takes the body out: this one is empty then.
    pub(super) fn take(&mut self) -> Self {
        let source = std::mem::replace(&mut self.source, BodySource::Empty);
        let mut taken = Self::new(
            source,
            self.connection.clone(),
            std::mem::take(&mut self.waits_for_continue),
        );
        taken.limit = self.limit;
        taken.received = self.received;
        taken
    }

    /// The next bytes; `None` at the end. After an error there is no more.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let body = match &mut self.source {
            BodySource::Empty => return Poll::Ready(None),
            #[cfg(feature = "sandbox")]
            BodySource::Ready(bytes) => {
                let bytes = std::mem::take(bytes);
                self.source = BodySource::Empty;
                return Poll::Ready(self.counted(bytes).transpose());
            }
            BodySource::Wire(body) => body,
        };
        if self.began.is_none() {
            self.began = Some(Instant::now());
            // An honest Content-Length is refused before the first byte is read.
            if body.size_hint().lower() > self.limit {
                return Poll::Ready(Some(Err(self.too_large())));
            }
        }
        self.waits_for_continue = false;
        loop {
            let BodySource::Wire(body) = &mut self.source else {
                return Poll::Ready(None);
            };
            let frame = match Pin::new(body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    self.connection.seat.stalls();
                    ready!(self.poll_patience(cx));
                    let late = "The request body did not arrive in time";
                    return Poll::Ready(Some(Err(Error::new(Code::BodyTimeout, late))));
                }
            };
            self.timer = None;
            self.connection.seat.moves();
            match frame {
                None => {
                    self.source = BodySource::Empty;
                    return Poll::Ready(None);
                }
                Some(Err(error)) => {
                    self.source = BodySource::Empty;
                    let cut = Error::new(Code::MalformedBody, "The request body is incomplete")
                        .because(error);
                    return Poll::Ready(Some(Err(cut)));
                }
                Some(Ok(frame)) => {
                    // Trailers are of no interest.
                    if let Ok(bytes) = frame.into_data() {
                        return Poll::Ready(self.counted(bytes).transpose());
                    }
                }
            }
        }
    }

    /// Ready when the client has been silent, or slow, for too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| {
            let limits = &self.connection.limits;
            let now = Instant::now();
            let steady = std::time::Duration::from_secs(self.received / STEADY);
            let whole = self.began.unwrap_or(now) + limits.body_total + steady;
            Box::pin(sleep_until(whole.min(now + limits.body_idle)))
        });
        timer.as_mut().poll(cx)
    }

    fn counted(&mut self, bytes: Bytes) -> Result<Option<Bytes>> {
        self.received += bytes.len() as u64;
        if self.received > self.limit {
            return Err(self.too_large());
        }
        Ok(Some(bytes))
    }

    fn too_large(&self) -> Error {
        let limit = self.limit;
        Error::new(
            Code::BodyTooLarge,
            format!("The request body is larger than {limit} bytes"),
        )
    }

    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>> {
        std::future::poll_fn(|cx| self.poll_chunk(cx))
            .await
            .transpose()
    }
}

impl Drop for Body {
    /// Hands an unread body back to the connection, which decides whether it can go on.
    fn drop(&mut self) {
        if let BodySource::Wire(body) = std::mem::replace(&mut self.source, BodySource::Empty) {
            self.connection
                .leave((!self.waits_for_continue).then_some(body));
        }
    }
}
