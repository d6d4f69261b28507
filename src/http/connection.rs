//! One client's connection: what its requests share, and the socket with its own bounds.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::limits::Limits;
use super::metrics::HttpMetrics;
use super::reply::ReplyBody;
use super::room::{Seat, TakenSeat};
use crate::error::Error;

/// How much of an unread body is read away so that the connection can be used again.
const SMALL: u64 = 64 * 1024;
/// How long that may take.
const SHORT: Duration = Duration::from_millis(500);
/// How much, and how long, a closing connection listens to a client that is still sending.
///
/// Hazard: closing a socket that has unread bytes resets it, and the reset may overtake the answer.
/// Browsers send a whole file before they look for an answer: one that is somewhat too large must
/// find it.
const LINGER_BYTES: usize = 8 * 1024 * 1024;
const LINGER: Duration = Duration::from_secs(3);

/// Who is at the other end of the connection, and which listener took it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The address, unless the connection came over a Unix socket.
    pub ip: Option<IpAddr>,
    /// It came over a Unix socket.
    pub unix: bool,
    /// Only programs of this machine reach the listener: a loopback address or a Unix socket.
    pub listener_loopback: bool,
}

/// What the requests of one connection share.
pub(super) struct ClientConnection {
    pub(super) peer: Peer,
    pub(super) limits: Arc<Limits>,
    /// Cancelled when the program stops.
    pub(super) stop: CancellationToken,
    /// The tasks that stopping waits for.
    pub(super) tasks: TaskTracker,
    /// Its seat among the listener's connections.
    pub(super) seat: Arc<Seat>,
    /// What the request under way holds until its answer was sent.
    held: Mutex<Option<Box<dyn Send>>>,
    /// A handler ended and left this unread.
    leftover: Mutex<Option<Incoming>>,
    /// The connection cannot be used again.
    spent: AtomicBool,
}

impl ClientConnection {
    pub(super) fn new(
        peer: Peer,
        limits: Arc<Limits>,
        stop: CancellationToken,
        tasks: TaskTracker,
        seat: Arc<Seat>,
    ) -> Self {
        Self {
            peer,
            limits,
            stop,
            tasks,
            seat,
            held: Mutex::new(None),
            leftover: Mutex::new(None),
            spent: AtomicBool::new(false),
        }
    }

    /// Keeps something until the answer to the request under way was sent.
    pub(super) fn hold(&self, place: impl Send + 'static) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(place));
    }

    /// The answer was sent.
    fn release(&self) {
        let held = self
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(held);
        self.seat.is_idle();
    }

    /// Takes back a body that its reader did not finish; `None` if its client still waits for
    /// the word to send it.
    pub(super) fn leave(&self, body: Option<Incoming>) {
        match body {
            Some(body) => {
                *self.leftover.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
            }
            None => self.spent.store(true, Ordering::Relaxed),
        }
    }

    /// Reads a small leftover away. Answers false when the connection must be closed instead:
    /// gigabytes are not drained to be polite.
    pub(super) async fn is_reusable(&self) -> bool {
        let left = self
            .leftover
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mut body) = left {
            let small = body.size_hint().exact().is_some_and(|n| n <= SMALL);
            let drain = async {
                loop {
                    let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
                    match frame.await {
                        None => return true,
                        Some(Ok(_)) => {}
                        Some(Err(_)) => return false,
                    }
                }
            };
            if !small || !timeout(SHORT, drain).await.unwrap_or(false) {
                self.spent.store(true, Ordering::Relaxed);
            }
        }
        !self.spent.load(Ordering::Relaxed)
    }
}

/// The body of an answer on its way out: when it ends, its connection waits for another request.
pub(super) struct Answering {
    body: ReplyBody,
    connection: Arc<ClientConnection>,
}

impl Answering {
    pub(super) fn new(body: ReplyBody, connection: Arc<ClientConnection>) -> Self {
        Self { body, connection }
    }
}

impl Body for Answering {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.connection.release();
    }
}

/// A socket of either kind.
pub(super) enum SocketStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl SocketStream {
    /// Tells a client that it has connections enough, as far as it can be told without waiting.
    pub(super) fn refuse(&self) {
        let answer = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 5\r\n\
            content-length: 0\r\nconnection: close\r\n\r\n";
        let _ = match self {
            Self::Tcp(wire) => wire.try_write(answer),
            Self::Unix(wire) => wire.try_write(answer),
        };
    }
}

/// A client's socket: bounds a slow reader, lets the last answer arrive, and holds the
/// connection's seat for as long as the socket lives, upgraded or not.
pub(super) struct Guarded {
    wire: SocketStream,
    connection: Arc<ClientConnection>,
    metrics: Arc<HttpMetrics>,
    stuck: Option<Pin<Box<Sleep>>>,
    linger: Option<(Pin<Box<Sleep>>, usize)>,
    _taken: TakenSeat,
    _alive: TaskTrackerToken,
}

impl Guarded {
    pub(super) fn new(
        wire: SocketStream,
        connection: Arc<ClientConnection>,
        metrics: Arc<HttpMetrics>,
        taken: TakenSeat,
        alive: TaskTrackerToken,
    ) -> Self {
        metrics.note_accepted();
        Self {
            wire,
            connection,
            metrics,
            stuck: None,
            linger: None,
            _taken: taken,
            _alive: alive,
        }
    }

    /// Lets writing wait, but not for ever without any progress.
    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        wrote: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            if self.stuck.take().is_some() {
                self.connection.seat.moves();
            }
            return wrote;
        }
        self.connection.seat.stalls();
        let patience = self.connection.limits.write_idle;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stuck.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_wire_read(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.wire {
            SocketStream::Tcp(wire) => Pin::new(wire).poll_read(cx, into),
            SocketStream::Unix(wire) => Pin::new(wire).poll_read(cx, into),
        }
    }

    /// Discards what a refused client is still sending, within bounds.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 8 * 1024];
        loop {
            let (timer, left) = self
                .linger
                .get_or_insert_with(|| (Box::pin(sleep(LINGER)), LINGER_BYTES));
            if *left == 0 || timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut into = ReadBuf::new(&mut scratch);
            let read = ready!(self.poll_wire_read(cx, &mut into));
            let length = into.filled().len();
            if read.is_err() || length == 0 {
                return Poll::Ready(());
            }
            if let Some((_, left)) = &mut self.linger {
                *left = left.saturating_sub(length);
            }
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.metrics.note_closed();
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_wire_read(cx, into)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = match &mut self.wire {
            SocketStream::Tcp(wire) => Pin::new(wire).poll_write(cx, bytes),
            SocketStream::Unix(wire) => Pin::new(wire).poll_write(cx, bytes),
        };
        self.bounded(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = match &mut self.wire {
            SocketStream::Tcp(wire) => Pin::new(wire).poll_write_vectored(cx, parts),
            SocketStream::Unix(wire) => Pin::new(wire).poll_write_vectored(cx, parts),
        };
        self.bounded(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Neither kind of socket buffers anything here.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            let shut = match &mut self.wire {
                SocketStream::Tcp(wire) => Pin::new(wire).poll_shutdown(cx),
                SocketStream::Unix(wire) => Pin::new(wire).poll_shutdown(cx),
            };
            ready!(shut)?;
        }
        if self.connection.spent.load(Ordering::Relaxed) {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}
