//! One question to one name server, once. How long it may take is the caller's to say.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::message::{Answer, Question};

/// More than fits into one packet on nearly any way; a longer answer comes by TCP.
const MAX_DATAGRAM: usize = 1500;

/// Asks by UDP, and by TCP where the answer is too long for that (RFC 7766, section 5) or its letters
/// are not those of the question: nobody forges a connection. A server that neither repeats letters
/// nor hears TCP is asked once more, without capitals.
pub(super) async fn ask(server: SocketAddr, question: &Question) -> io::Result<Answer> {
    let plain = question.without_capitals();
    match by_udp(server, question).await? {
        Answer::Cut => by_tcp(server, &plain).await,
        Answer::OtherLetters => match by_tcp(server, &plain).await {
            Ok(answer) => Ok(answer),
            Err(_) => by_udp(server, &plain).await,
        },
        answer => Ok(answer),
    }
}

/// Waits for an answer that fits the question; everything else is ignored.
///
/// Invariant: every question has its own socket, so that a forger has to guess its port besides the
/// id (RFC 5452), and it is connected, so that nobody but the server is heard.
async fn by_udp(server: SocketAddr, question: &Question) -> io::Result<Answer> {
    let any = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(&question.bytes()).await?;
    let mut datagram = vec![0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut datagram).await?;
        if let Some(answer) = question.read(&datagram[..length]) {
            return Ok(answer);
        }
    }
}

async fn by_tcp(server: SocketAddr, question: &Question) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    // In one piece: servers are known to read only the first (RFC 7766, section 8).
    let bytes = question.bytes();
    let mut sent = (bytes.len() as u16).to_be_bytes().to_vec();
    sent.extend(bytes);
    stream.write_all(&sent).await?;
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(question.read(&message).unwrap_or(Answer::Failed))
}
