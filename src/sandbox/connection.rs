//! One socket: handshake, login or pairing, then stanzas in both directions until it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_websockets::{Limits, ServerBuilder, WebSocketStream};
use whatsapp_rust::OwnedNodeRef;
use whatsapp_rust::wacore::handshake::NoiseCipher;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::wacore_binary::util::unpack_bytes;
use whatsapp_rust::wacore_binary::{Node, marshal_auto};

use super::network::Network;
use super::noise::{self, Hello, Pattern, Secured};
use super::number::DeviceAddress;
use super::pairing::Candidate;
use super::stats::{add, subtract};
use super::wire::{self, FrameReader, FrameWriter};
use crate::error::{Error, Result};

/// The largest WebSocket message that is read.
const LARGEST_MESSAGE: usize = 32 << 20;
/// How many stanzas are put into one WebSocket message at most.
const BATCH: usize = 64;
/// For how long the other side may take to say goodbye when we have.
const FAREWELL: Duration = Duration::from_secs(5);

/// An open socket, as the rest of the network sees it.
pub(super) struct Socket {
    pub(super) id: u64,
    out: mpsc::UnboundedSender<Out>,
    /// Held while a stanza is taken in: what is said to it goes out when all of it is done.
    turn: tokio::sync::Mutex<()>,
}

enum Out {
    Node(Arc<Node>),
    Close,
    Sever,
}

impl Socket {
    /// Sends a stanza; nothing happens if the socket has ended.
    pub(super) fn send(&self, node: Arc<Node>) {
        let _ = self.out.send(Out::Node(node));
    }

    /// Ends the connection without a word, as when a cable is cut.
    pub(super) fn sever(&self) {
        let _ = self.out.send(Out::Sever);
    }

    /// Closes the socket after what was sent before.
    pub(super) fn close(&self) {
        let _ = self.out.send(Out::Close);
    }
}

/// Who is at the other end of a socket.
pub(super) enum SocketPeer {
    /// A client that wants to be linked.
    Candidate(Arc<Candidate>),
    Companion(DeviceAddress),
}

/// Serves WhatsApp on a stream whose HTTP upgrade is done, until either side ends it.
pub async fn serve_websocket<S>(network: Arc<Network>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = Limits::default().max_payload_len(Some(LARGEST_MESSAGE));
    serve(network, ServerBuilder::new().limits(limits).serve(stream)).await;
}

/// Serves WhatsApp on a stream that begins with the HTTP upgrade request.
pub async fn serve_stream<S>(network: Arc<Network>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = Limits::default().max_payload_len(Some(LARGEST_MESSAGE));
    if let Ok((_, socket)) = ServerBuilder::new().limits(limits).accept(stream).await {
        serve(network, socket).await;
    }
}

async fn serve<S>(network: Arc<Network>, socket: WebSocketStream<S>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    add(&network.counters.connections);
    add(&network.counters.connected);
    let (mut reader, mut writer) = wire::split(socket);
    if let Ok(secured) = handshake(&network, &mut reader, &mut writer).await {
        converse(&network, secured, reader, writer).await;
    }
    subtract(&network.counters.connected);
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    network: &Network,
    reader: &mut FrameReader<S>,
    writer: &mut FrameWriter<S>,
) -> Result<Secured> {
    let gone = || Error::invalid("the client left during the handshake");
    let first = reader.frame().await.ok_or_else(gone)?;
    match noise::hello(&network.certificate, &first)? {
        Hello::Ik(answer, secured) => {
            writer.frame(&answer).await?;
            Ok(*secured)
        }
        Hello::Xx(answer, waiting) => {
            writer.frame(&answer).await?;
            let last = reader.frame().await.ok_or_else(gone)?;
            waiting.finish(&last)
        }
    }
}

async fn converse<S>(
    network: &Arc<Network>,
    secured: Secured,
    mut reader: FrameReader<S>,
    writer: FrameWriter<S>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    static NEXT: AtomicU64 = AtomicU64::new(1);
    add(match secured.pattern {
        Pattern::Xx => &network.counters.handshakes_xx,
        Pattern::Ik => &network.counters.handshakes_ik,
    });
    let (out, queue) = mpsc::unbounded_channel();
    let socket = Arc::new(Socket {
        id: NEXT.fetch_add(1, Ordering::Relaxed),
        out,
        turn: tokio::sync::Mutex::default(),
    });
    let kept = PersistedBatch {
        network: network.clone(),
        socket: socket.clone(),
    };
    let mut writing = tokio::spawn(write(kept, queue, secured.writing, writer));
    let peer = greet(network, &socket, &secured.client, &secured.payload);
    let mut counter = 0;
    let mut written = None;
    loop {
        let frame = match reader.buffered() {
            Some(frame) => frame,
            None => tokio::select! {
                // A socket that is closed from our side is not heeded any more.
                polite = &mut writing => {
                    // A task that panicked has nothing left to say.
                    written = Some(polite.unwrap_or(false));
                    break;
                }
                frame = reader.frame() => match frame {
                    Some(frame) => frame,
                    None => break,
                },
            },
        };
        let Ok(node) = open(&secured.reading, &mut counter, frame) else {
            break;
        };
        let Some(peer) = &peer else { continue };
        add(&network.counters.stanzas);
        if let SocketPeer::Companion(address) = peer
            && network.faults.ends_with_frame(*address)
        {
            socket.sever();
            break;
        }
        let _turn = socket.turn.lock().await;
        network.take(&socket, peer, &node);
    }
    match peer {
        Some(SocketPeer::Companion(address)) => network.left(address, &socket),
        Some(SocketPeer::Candidate(candidate)) => network.candidate_left(&candidate),
        None => {}
    }
    socket.close();
    match written {
        // What is not read when a stream is dropped would cost the other side our last words.
        Some(true) => {
            let theirs = async { while reader.frame().await.is_some() {} };
            let _ = tokio::time::timeout(FAREWELL, theirs).await;
        }
        Some(false) => {}
        None => {
            let _ = writing.await;
        }
    }
}

/// Finds out who is there and says hello; `None` if the socket is being closed instead.
fn greet(
    network: &Arc<Network>,
    socket: &Arc<Socket>,
    client: &[u8; 32],
    payload: &whatsapp_rust::waproto::whatsapp::ClientPayload,
) -> Option<SocketPeer> {
    if let Some(registration) = payload.device_pairing_data.as_option() {
        let name = payload.push_name.as_deref();
        let candidate = network.offer_pairing(socket, client, registration, name)?;
        return Some(SocketPeer::Candidate(candidate));
    }
    let Some(address) = network.directory.login(client) else {
        fail(socket, 401);
        return None;
    };
    if network.turns_away(address, socket) {
        return None;
    }
    network.entered(address, socket);
    let now = network.now().as_secs();
    let success = NodeBuilder::new("success")
        .attr("t", now)
        .attr("lid", address.lid())
        .attr("display_name", network.name_of(address.number))
        .attr("creation", now)
        .attr("props", 1)
        .attr("companion_enc_static", COMPANION_KEY)
        .build();
    socket.send(Arc::new(success));
    Some(SocketPeer::Companion(address))
}

/// A key for telling the server secrets, which nobody does.
const COMPANION_KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// Refuses a connection.
pub(super) fn fail(socket: &Socket, reason: u16) {
    let failure = NodeBuilder::new("failure")
        .attr("reason", reason)
        .attr("location", "sandbox");
    socket.send(Arc::new(failure.build()));
    socket.close();
}

/// Ends a stream with an error code.
pub(super) fn stream_error(socket: &Socket, code: u16, conflict: Option<&'static str>) {
    let mut error = NodeBuilder::new("stream:error").attr("code", code);
    if let Some(kind) = conflict {
        error = error.children([NodeBuilder::new("conflict").attr("type", kind).build()]);
    }
    socket.send(Arc::new(error.build()));
    socket.close();
}

fn open(cipher: &NoiseCipher, counter: &mut u32, mut frame: BytesMut) -> Result<OwnedNodeRef> {
    cipher
        .decrypt_in_place_with_counter(*counter, &mut frame)
        .map_err(Error::internal)?;
    *counter += 1;
    let bytes = unpack_bytes(frame).map_err(Error::internal)?;
    OwnedNodeRef::new(bytes).map_err(Error::internal)
}

/// Knows when what a batch acknowledges is kept.
struct PersistedBatch {
    network: Arc<Network>,
    socket: Arc<Socket>,
}

impl PersistedBatch {
    /// Waits until everything that was done for what is about to go out is in the state file.
    async fn wait(&self) {
        drop(self.socket.turn.lock().await);
        self.network.changes.written().await;
    }
}

/// Writes what is queued, as many stanzas at once as there are; answers whether it said goodbye.
///
/// Invariant: nothing is acknowledged that a kill of the network would undo.
async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    kept: PersistedBatch,
    mut queue: mpsc::UnboundedReceiver<Out>,
    cipher: NoiseCipher,
    mut writer: FrameWriter<S>,
) -> bool {
    let mut counter = 0;
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        batch.clear();
        if queue.recv_many(&mut batch, BATCH).await == 0 {
            break;
        }
        let mut framed = BytesMut::new();
        let mut last = false;
        for out in batch.drain(..) {
            match out {
                Out::Node(node) if !last => {
                    if append(&mut framed, &cipher, &mut counter, &node).is_err() {
                        last = true;
                    }
                }
                Out::Node(_) => {}
                Out::Sever => return false,
                Out::Close => last = true,
            }
        }
        if !framed.is_empty() {
            kept.wait().await;
            if writer.send(Bytes::from(framed)).await.is_err() {
                return false;
            }
        }
        if last {
            break;
        }
    }
    writer.close().await;
    true
}

fn append(
    framed: &mut BytesMut,
    cipher: &NoiseCipher,
    counter: &mut u32,
    node: &Node,
) -> Result<()> {
    let mut body = marshal_auto(node).map_err(Error::internal)?;
    cipher
        .encrypt_in_place_with_counter(*counter, &mut body)
        .map_err(Error::internal)?;
    *counter += 1;
    whatsapp_rust::wacore::framing::append_frame_into(&body, None, framed)
        .map_err(|e| Error::internal(e.to_string()))
}
