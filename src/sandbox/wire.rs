//! Frames in WebSocket messages: a three-byte length, then the body.

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_websockets::{Message, WebSocketStream};
use whatsapp_rust::futures::stream::{SplitSink, SplitStream};
use whatsapp_rust::futures::{SinkExt, StreamExt};
use whatsapp_rust::wacore::framing::{FrameDecoder, encode_frame};
use whatsapp_rust::wacore_binary::consts::WA_CONN_HEADER;

use crate::error::{Error, Result};

/// A routing hint that may stand before the header: two bytes, a version, a length, the hint.
const ROUTING: [u8; 2] = *b"ED";

/// The half of a socket that is read, frame by frame.
pub(super) struct FrameReader<S> {
    stream: SplitStream<WebSocketStream<S>>,
    decoder: FrameDecoder,
    /// What came before the header is complete; `None` once it was.
    head: Option<BytesMut>,
}

/// The half of a socket that is written.
pub(super) struct FrameWriter<S>(SplitSink<WebSocketStream<S>, Message>);

/// Splits a WebSocket whose upgrade is done.
pub(super) fn split<S: AsyncRead + AsyncWrite + Unpin>(
    socket: WebSocketStream<S>,
) -> (FrameReader<S>, FrameWriter<S>) {
    let (sink, stream) = socket.split();
    let reader = FrameReader {
        stream,
        decoder: FrameDecoder::new(),
        head: Some(BytesMut::new()),
    };
    (reader, FrameWriter(sink))
}

impl<S: AsyncRead + AsyncWrite + Unpin> FrameReader<S> {
    /// The next frame that has already arrived.
    pub(super) fn buffered(&mut self) -> Option<BytesMut> {
        if self.head.is_some() {
            None
        } else {
            self.decoder.decode_frame()
        }
    }

    /// The next frame; `None` at the end of the stream.
    pub(super) async fn frame(&mut self) -> Option<BytesMut> {
        loop {
            if let Some(frame) = self.buffered() {
                return Some(frame);
            }
            let message = self.stream.next().await?.ok()?;
            if message.is_close() {
                return None;
            }
            if message.is_binary() {
                self.feed(message.as_payload()).ok()?;
            }
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(head) = &mut self.head else {
            self.decoder.feed(bytes);
            return Ok(());
        };
        head.extend_from_slice(bytes);
        if let Some(rest) = after_header(head)? {
            self.decoder.feed(&rest);
            self.head = None;
        }
        Ok(())
    }
}

/// What follows the header; `None` while the header is incomplete.
fn after_header(head: &mut BytesMut) -> Result<Option<Bytes>> {
    let mut skip = 0;
    if head.starts_with(&ROUTING) {
        let Some(length) = head.get(4..7) else {
            return Ok(None);
        };
        skip = 7
            + usize::from(length[0]) * 65_536
            + usize::from(length[1]) * 256
            + usize::from(length[2]);
    }
    if head.len() < skip + WA_CONN_HEADER.len() {
        return Ok(None);
    }
    head.advance(skip);
    if head.split_to(WA_CONN_HEADER.len())[..] != WA_CONN_HEADER {
        return Err(Error::invalid("not a WhatsApp client"));
    }
    Ok(Some(head.split().freeze()))
}

impl<S: AsyncRead + AsyncWrite + Unpin> FrameWriter<S> {
    /// Sends one frame in a message of its own.
    pub(super) async fn frame(&mut self, body: &[u8]) -> Result<()> {
        let framed = encode_frame(body, None).map_err(Error::internal)?;
        self.send(framed.into()).await
    }

    /// Sends bytes that are framed already.
    pub(super) async fn send(&mut self, framed: Bytes) -> Result<()> {
        self.0
            .send(Message::binary(framed))
            .await
            .map_err(Error::internal)
    }

    /// Says goodbye.
    ///
    /// Hazard: the sink's own way to close reads until the other side says goodbye, too; when the
    /// reader takes that word, it waits for ever. So it only writes, and only the reader reads.
    pub(super) async fn close(mut self) {
        // When the other side was first, the library has its answer ready.
        if self.0.send(Message::close(None, "")).await.is_err() {
            let _ = self.0.flush().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_a_routing_hint_before_the_header() {
        let mut head = BytesMut::from(&b"ED\x00\x01\x00\x00\x02xyWA\x06"[..]);
        assert!(after_header(&mut head).expect("so far good").is_none());
        head.extend_from_slice(&[WA_CONN_HEADER[3], b'!']);
        assert_eq!(
            after_header(&mut head).expect("good"),
            Some(Bytes::from_static(b"!"))
        );
    }

    #[tokio::test]
    async fn two_goodbyes_at_once_hold_nobody_up() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        use tokio_websockets::ServerBuilder;

        let (ours, mut theirs) = tokio::io::duplex(1024);
        let (mut reader, writer) = split(ServerBuilder::new().serve(ours));
        let closing = tokio::spawn(writer.close());
        let mut goodbye = [0; 2];
        theirs.read_exact(&mut goodbye).await.expect("our goodbye");
        assert_eq!(goodbye[0], 0x88, "the frame that closes");
        let reading = tokio::spawn(async move { reader.frame().await });
        tokio::task::yield_now().await;
        // A goodbye without words, masked as from every client.
        let masked = [0x88, 0x80, 0, 0, 0, 0];
        theirs.write_all(&masked).await.expect("their goodbye");
        assert!(reading.await.expect("read").is_none());
        let closed = tokio::time::timeout(std::time::Duration::from_secs(5), closing).await;
        closed
            .expect("nobody waits for a word that was heard")
            .expect("closed");
    }

    #[test]
    fn refuses_another_protocol() {
        assert!(after_header(&mut BytesMut::from(&b"GET / HTTP"[..])).is_err());
    }
}
