//! Leaving HTTP: the handshake of a WebSocket, and the socket that is left.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hyper::header::{self, HeaderMap};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Method, StatusCode, Version};
use hyper_util::rt::TokioIo;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{Reply, Request};
use crate::error::{Code, Error, Result};

/// What a WebSocket's key is hashed with (RFC 6455, section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

impl Request {
    /// Agrees to speak another protocol: `websocket`, or one that needs no more than its name.
    ///
    /// The handler answers with the reply and awaits [`Upgrade::socket`] in a task of its own:
    /// the socket exists only once the reply was sent.
    pub fn upgrade(mut self, protocol: &'static str) -> Result<(Reply, Upgrade)> {
        let headers = self.head.headers();
        let wants = lists(headers, header::CONNECTION, "upgrade")
            && lists(headers, header::UPGRADE, protocol);
        if !wants || self.method() != Method::GET || self.head.version() != Version::HTTP_11 {
            let text = format!("This address speaks {protocol}: an upgrade is needed");
            return Err(Error::invalid(text));
        }
        let mut reply = Reply::empty(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "upgrade")
            .header("upgrade", protocol);
        if protocol == "websocket" {
            if self.header("sec-websocket-version") != Some("13") {
                return Err(Error::invalid("Sec-WebSocket-Version must be 13"));
            }
            let key = self.header("sec-websocket-key").unwrap_or_default();
            if key.len() != 24 || !key.ends_with("==") {
                return Err(Error::invalid("Sec-WebSocket-Key is not valid"));
            }
            let accept = format!("{key}{GUID}");
            let accept = digest(&SHA1_FOR_LEGACY_USE_ONLY, accept.as_bytes());
            reply = reply.header("sec-websocket-accept", BASE64_STANDARD.encode(accept));
        }
        let switching = self.head.extensions_mut().remove::<OnUpgrade>();
        let upgrade = Upgrade {
            switching: switching.ok_or_else(|| Error::internal("no socket to upgrade"))?,
            stop: self.connection.stop.clone(),
        };
        Ok((reply, upgrade))
    }
}

/// Whether a header's comma-separated list has a word.
fn lists(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(word))
}

/// A protocol switch that was agreed on.
pub struct Upgrade {
    switching: OnUpgrade,
    stop: CancellationToken,
}

impl Upgrade {
    /// The socket, once the reply was sent.
    pub async fn socket(self) -> Result<UpgradedSocket> {
        let io = self.switching.await.map_err(|error| {
            let text = "The client left before the protocol was switched";
            Error::new(Code::ClientLeft, text).because(error)
        })?;
        Ok(UpgradedSocket {
            io: TokioIo::new(io),
            stop: Box::pin(self.stop.cancelled_owned()),
        })
    }
}

/// The bytes of an upgraded connection. It keeps its slot among the listener's connections, and
/// reads its end when the program stops.
pub struct UpgradedSocket {
    io: TokioIo<Upgraded>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl AsyncRead for UpgradedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, into);
        if read.is_pending() && self.stop.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        read
    }
}

impl AsyncWrite for UpgradedSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
