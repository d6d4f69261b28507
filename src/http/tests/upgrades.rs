//! WebSockets: the handshake, the slot, and the end.

use tokio::time::Instant;

use super::*;

/// Gives back what it gets, byte by byte: the frames are the caller's matter.
async fn socket(request: Request) -> Result<Reply> {
    let (reply, upgrade) = request.upgrade("websocket")?;
    tokio::spawn(async move {
        let socket = upgrade.socket().await?;
        let (mut reading, mut writing) = tokio::io::split(socket);
        tokio::io::copy(&mut reading, &mut writing)
            .await
            .map_err(Error::internal)
    });
    Ok(reply)
}

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test]
async fn a_websocket_talks_until_the_server_stops() {
    let limits = Limits {
        drain: Duration::from_secs(5),
        ..hasty()
    };
    let server = serve(vec![Route::get("/ws", socket)], limits).await;
    let mut client = connect(&server).await;
    // The first bytes may come with the handshake.
    client
        .write_all(format!("{HANDSHAKE}first").as_bytes())
        .await
        .expect("to send");
    let (head, _) = one(&mut client).await;
    assert_eq!(status(&head), "101");
    let mut echoed = [0; 5];
    soon(client.read_exact(&mut echoed)).await.expect("an echo");
    assert_eq!(&echoed, b"first");
    // It is silent for longer than a head may take, and keeps its slot.
    tokio::time::sleep(hasty().head_timeout * 2).await;
    assert_eq!(server.metrics().open(), 1);
    client.write_all(b"later").await.expect("to send");
    soon(client.read_exact(&mut echoed)).await.expect("an echo");
    assert_eq!(&echoed, b"later");
    let began = Instant::now();
    soon(server.shutdown()).await;
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "an open socket holds shutdown up"
    );
    assert_eq!(rest(&mut client).await, "");
}

#[tokio::test]
async fn a_handshake_that_is_none_is_refused() {
    let server = serve(vec![Route::get("/ws", socket)], hasty()).await;
    let mut socket = connect(&server).await;
    socket
        .write_all(HANDSHAKE.as_bytes())
        .await
        .expect("to send");
    let (head, _) = one(&mut socket).await;
    assert_eq!(status(&head), "101");
    // The example of RFC 6455, section 1.3.
    assert_eq!(
        field(&head, "sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    for (from, to) in [
        ("HTTP/1.1", "HTTP/1.0"),
        ("connection: keep-alive, Upgrade", "connection: close"),
        ("upgrade: WebSocket", "upgrade: h2c"),
        ("sec-websocket-version: 13", "sec-websocket-version: 8"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short"),
    ] {
        let answer = talk(&server, HANDSHAKE.replace(from, to)).await;
        assert_eq!(status(&answer), "400", "{to}: {answer}");
    }
}
