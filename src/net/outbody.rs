//! The body of an outgoing request: bytes, or pieces that are made while it is sent.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What an outgoing request carries.
#[derive(Debug)]
pub enum OutBody {
    /// All of it.
    Bytes(Bytes),
    /// So many bytes, as they come. Memory holds no more than the channel does.
    Pieces {
        /// How many bytes follow in all.
        length: u64,
        /// The bytes; an error breaks the request off.
        pieces: mpsc::Receiver<io::Result<Bytes>>,
    },
}

impl<B: Into<Bytes>> From<B> for OutBody {
    fn from(bytes: B) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl Default for OutBody {
    fn default() -> Self {
        Self::Bytes(Bytes::new())
    }
}

/// When a body last moved on; its sender waits as long as it does.
#[derive(Debug, Clone)]
pub(super) struct Moved(Arc<Mutex<Instant>>);

impl Moved {
    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body on its way out.
pub(super) struct Sending {
    body: OutBody,
    moved: Moved,
}

impl Sending {
    pub(super) fn new(body: OutBody) -> (Self, Moved) {
        let moved = Moved(Arc::new(Mutex::new(Instant::now())));
        let sending = Self {
            body,
            moved: moved.clone(),
        };
        (sending, moved)
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = match &mut self.body {
            OutBody::Bytes(bytes) if bytes.is_empty() => return Poll::Ready(None),
            OutBody::Bytes(bytes) => std::mem::take(bytes),
            OutBody::Pieces { length, pieces } => {
                if *length == 0 {
                    return Poll::Ready(None);
                }
                match ready!(pieces.poll_recv(cx)) {
                    Some(Ok(piece)) if piece.len() as u64 <= *length => {
                        *length -= piece.len() as u64;
                        piece
                    }
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    // Too little or too much: the other side must not take it for the whole.
                    Some(Ok(_)) | None => {
                        let wrong = "the body has another length than was announced";
                        return Poll::Ready(Some(Err(io::Error::other(wrong))));
                    }
                }
            }
        };
        self.moved.now();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.body {
            OutBody::Bytes(bytes) => bytes.len() as u64,
            OutBody::Pieces { length, .. } => *length,
        })
    }
}
