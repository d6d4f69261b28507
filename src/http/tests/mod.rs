//! The transport against real sockets: what hyper leaves to us, hazard by hazard.

mod bodies;
mod hostile;
mod lifecycle;
mod routing;
mod upgrades;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;
use crate::error::{Error, ErrorKind, Result};

/// Longer than anything here should take.
const PATIENCE: Duration = Duration::from_secs(10);

fn render(error: &Error) -> Reply {
    let status = match error.kind() {
        ErrorKind::Invalid => 400,
        ErrorKind::Unauthorized => 401,
        ErrorKind::RateLimited => 429,
        ErrorKind::NotFound => 404,
        ErrorKind::MethodNotAllowed => 405,
        ErrorKind::RequestTimeout => 408,
        ErrorKind::TooLarge => 413,
        ErrorKind::UnsupportedMedia => 415,
        _ => 500,
    };
    let status = StatusCode::from_u16(status).expect("a status");
    Reply::text(status, format!("[refused] {error}"))
}

pub(crate) fn mount(prefix: &'static str, routes: Vec<Route>) -> Mount {
    Mount {
        prefix,
        claim: MountClaim::everything(),
        routes,
        render,
    }
}

/// Small limits, so that a test need not wait long.
fn hasty() -> Limits {
    Limits {
        head_timeout: Duration::from_millis(150),
        body_idle: Duration::from_millis(150),
        body_total: Duration::from_millis(400),
        write_idle: Duration::from_millis(200),
        max_json: 1000,
        drain: Duration::from_millis(200),
        ..Limits::default()
    }
}

pub(crate) async fn serve(routes: Vec<Route>, limits: Limits) -> HttpServer {
    let app = App::new(vec![mount("", routes)]).expect("a table");
    let listen = "127.0.0.1:0".parse().expect("an address");
    HttpServer::bind(&listen, app, limits)
        .await
        .expect("a free port")
}

pub(crate) fn addr(server: &HttpServer) -> SocketAddr {
    server.local_addr().expect("a TCP listener")
}

/// Fails the test rather than hanging it.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work)
        .await
        .expect("this takes far too long")
}

async fn connect(server: &HttpServer) -> TcpStream {
    soon(TcpStream::connect(addr(server)))
        .await
        .expect("a connection")
}

/// Sends bytes as they are and reads until the server closes.
async fn talk(server: &HttpServer, request: impl AsRef<[u8]>) -> String {
    let mut socket = connect(server).await;
    socket.write_all(request.as_ref()).await.expect("to send");
    rest(&mut socket).await
}

async fn rest(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    soon(socket.read_to_end(&mut answer)).await.expect("an end");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads one answer with a Content-Length off a connection that stays open.
async fn one(socket: &mut TcpStream) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(socket.read_u8()).await.expect("a head"));
    }
    let head = String::from_utf8(head).expect("text");
    let length = field(&head, "content-length").map_or(0, |l| l.parse().expect("a length"));
    let mut body = vec![0; length];
    soon(socket.read_exact(&mut body)).await.expect("a body");
    (head, String::from_utf8(body).expect("text"))
}

fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer.lines().find_map(|line| {
        let (n, value) = line.split_once(':')?;
        n.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

pub(crate) async fn ok(_: Request) -> Result<Reply> {
    Ok(Reply::json(StatusCode::OK, &"ok"))
}

async fn echo(mut request: Request) -> Result<Reply> {
    Ok(Reply::text(StatusCode::OK, request.bytes().await?))
}

async fn id(request: Request) -> Result<Reply> {
    Ok(Reply::text(StatusCode::OK, request.param("id").to_owned()))
}
