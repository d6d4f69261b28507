//! The listener: accepts connections within a number of slots, serves them, and stops in order.

use std::convert::Infallible;
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixSocket};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

#[cfg(feature = "sandbox")]
use super::HttpMetrics;
use super::body::Body;
use super::connection::{Answering, ClientConnection, Guarded, SocketStream};
use super::logins::ASKED_EVERY;
use super::room::{Room, TakenSeat};
use super::{App, Limits, Peer, Request, StatusCode};
use crate::error::{Code, Error, Result};
use crate::net::network;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// The largest head of a request, and what hyper may hold of a connection in either direction.
const MAX_HEAD: usize = 32 * 1024;
const MAX_BUFFER: usize = 64 * 1024;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// `ADDR:PORT`; port 0 takes a free one.
    Tcp(SocketAddr),
    /// `unix:PATH` or `unix:PATH:MODE`.
    Unix {
        /// The socket's path.
        path: PathBuf,
        /// Its permission bits: who may connect.
        mode: u32,
    },
}

impl FromStr for Listen {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            let (path, mode) = match path.rsplit_once(':') {
                Some((path, mode)) if (3..=4).contains(&mode.len()) => {
                    match u32::from_str_radix(mode, 8) {
                        Ok(mode) => (path, mode),
                        Err(_) => return Err(not_understood(text)),
                    }
                }
                _ => (path, 0o600),
            };
            if path.is_empty() {
                return Err(not_understood(text));
            }
            let path = path.into();
            return Ok(Self::Unix { path, mode });
        }
        let address = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}").parse(),
            None => text.parse(),
        };
        address.map(Self::Tcp).map_err(|_| not_understood(text))
    }
}

impl Listen {
    /// Tries whether it can be listened on, and leaves it free.
    pub fn try_bind(&self) -> Result<()> {
        BoundSocket::bind(self).map(drop)
    }

    /// Whether only this machine reaches it.
    pub fn is_private(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix { .. } => true,
        }
    }
}

fn not_understood(text: &str) -> Error {
    Error::invalid(format!(
        "cannot listen on {text:?}: write ADDR:PORT (such as 127.0.0.1:3000) or unix:PATH[:MODE]"
    ))
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A running listener. Dropping it stops it without waiting for anything.
pub struct HttpServer {
    listen: Listen,
    limits: Arc<Limits>,
    #[cfg(feature = "sandbox")]
    metrics: Arc<HttpMetrics>,
    stop: CancellationToken,
    cut: CancellationToken,
    accepting: JoinHandle<()>,
    connections: TaskTracker,
    requests: TaskTracker,
    _stop: DropGuard,
    _cut: DropGuard,
}

impl HttpServer {
    /// Binds the address and begins to serve.
    pub async fn bind(listen: &Listen, app: App, limits: Limits) -> Result<Self> {
        let (socket, listen) = BoundSocket::bind(listen)?;
        let limits = Arc::new(limits);
        let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
        let (connections, requests) = (TaskTracker::new(), TaskTracker::new());
        #[cfg(feature = "sandbox")]
        let metrics = app.metrics();
        tokio::spawn(report_failed_logins(app.clone(), stop.clone()));
        let acceptor = Acceptor {
            socket,
            app,
            limits: limits.clone(),
            room: Room::new(limits.max_connections, limits.max_per_address),
            stop: stop.clone(),
            cut: cut.clone(),
            connections: connections.clone(),
            requests: requests.clone(),
        };
        Ok(Self {
            listen,
            limits,
            #[cfg(feature = "sandbox")]
            metrics,
            accepting: tokio::spawn(acceptor.run()),
            _stop: stop.clone().drop_guard(),
            _cut: cut.clone().drop_guard(),
            stop,
            cut,
            connections,
            requests,
        })
    }

    /// The address, with the port that was taken; `None` for a Unix socket.
    #[cfg(feature = "sandbox")]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.listen {
            Listen::Tcp(address) => Some(*address),
            Listen::Unix { .. } => None,
        }
    }

    /// The address as a client writes it: `http://ADDR:PORT` or `unix:PATH`.
    pub fn url(&self) -> String {
        match &self.listen {
            Listen::Tcp(address) => format!("http://{address}"),
            Listen::Unix { .. } => self.listen.to_string(),
        }
    }

    /// What is counted.
    #[cfg(feature = "sandbox")]
    pub fn metrics(&self) -> Arc<HttpMetrics> {
        self.metrics.clone()
    }

    /// Stops: no new connections, then the requests under way, and what is not done in time is cut.
    pub async fn shutdown(self) {
        self.stop.cancel();
        // The acceptor ends at once; it does not panic.
        let _ = self.accepting.await;
        self.connections.close();
        self.requests.close();
        let drained = timeout(self.limits.drain, async {
            self.connections.wait().await;
            self.requests.wait().await;
        });
        if drained.await.is_err() {
            let (connections, requests) = (self.connections.len(), self.requests.len());
            tracing::warn!(
                connections,
                requests,
                "stopping took too long: the rest is cut"
            );
            self.cut.cancel();
        }
    }
}

/// The bound socket of either kind.
enum BoundSocket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl BoundSocket {
    fn bind(listen: &Listen) -> Result<(Self, Listen)> {
        let failed = |error: io::Error| {
            let why = match error.kind() {
                io::ErrorKind::AddrInUse => "another program listens there".to_owned(),
                io::ErrorKind::PermissionDenied => "this user may not".to_owned(),
                io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
                _ => error.to_string(),
            };
            let text = format!("cannot listen on {listen}: {why}");
            Error::new(Code::PathUnusable, text).because(error)
        };
        match listen {
            Listen::Tcp(address) => {
                let listener = bind_tcp(*address).map_err(failed)?;
                let address = listener.local_addr().map_err(failed)?;
                Ok((Self::Tcp(listener), Listen::Tcp(address)))
            }
            Listen::Unix { path, mode } => {
                let listener = bind_unix(path, *mode).map_err(failed)?;
                Ok((Self::Unix(listener, path.clone()), listen.clone()))
            }
        }
    }

    fn is_private(&self) -> bool {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .is_ok_and(|address| address.ip().to_canonical().is_loopback()),
            Self::Unix(..) => true,
        }
    }

    async fn accept(&self) -> io::Result<(SocketStream, Peer)> {
        let listener_loopback = self.is_private();
        match self {
            Self::Tcp(listener) => {
                let (wire, address) = listener.accept().await?;
                // Answers are small: they must not wait for more. It fails when the client is gone
                // already, which reading will notice.
                let _ = wire.set_nodelay(true);
                let peer = Peer {
                    ip: Some(address.ip().to_canonical()),
                    unix: false,
                    listener_loopback,
                };
                Ok((SocketStream::Tcp(wire), peer))
            }
            Self::Unix(listener, _) => {
                let (wire, _) = listener.accept().await?;
                let peer = Peer {
                    ip: None,
                    unix: true,
                    listener_loopback,
                };
                Ok((SocketStream::Unix(wire), peer))
            }
        }
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // If it is gone already, somebody tidied up.
            let _ = fs::remove_file(path);
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart must not wait for the old connections' last packets.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Binds a Unix socket that nobody can connect to before its permissions are set.
fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    if let Ok(there) = fs::symlink_metadata(path) {
        if !there.file_type().is_socket() {
            let text = "a file that is no socket has this name";
            return Err(io::Error::other(text));
        }
        // A socket file outlives a killed program; it is replaced only if nobody answers on it.
        match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?;
            }
            Err(error) => return Err(error),
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)
}

/// Accepts until it is told to stop.
struct Acceptor {
    socket: BoundSocket,
    app: App,
    limits: Arc<Limits>,
    room: Arc<Room>,
    stop: CancellationToken,
    cut: CancellationToken,
    connections: TaskTracker,
    requests: TaskTracker,
}

impl Acceptor {
    async fn run(self) {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_timeout)
            .max_buf_size(MAX_BUFFER)
            .max_header_size(MAX_HEAD);
        loop {
            // Hazard: the seat is taken inside the select; a full server would be deaf to `stop`.
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = async {
                    let (wire, peer) = self.socket.accept().await?;
                    let taken = self.room.take(self.sole_user(&peer)).await;
                    Ok::<_, io::Error>((wire, peer, taken))
                } => accepted,
            };
            let (wire, peer, taken) = match accepted {
                Ok((wire, peer, Some(taken))) => (wire, peer, taken),
                Ok((wire, _, None)) => {
                    self.app.metrics().note_refused_connection();
                    wire.refuse();
                    continue;
                }
                Err(error) => {
                    // Out of file descriptors, say: trying again at once would spin.
                    tracing::debug!(%error, "a connection was not accepted");
                    self.room.yield_one();
                    tokio::select! {
                        () = self.stop.cancelled() => return,
                        () = sleep(Duration::from_millis(100)) => continue,
                    }
                }
            };
            self.serve(&http, wire, peer, taken);
        }
    }

    /// The address that counts against its bound: one behind which there is one customer.
    fn sole_user(&self, peer: &Peer) -> Option<IpAddr> {
        let many = |ip: &IpAddr| ip.is_loopback() || self.app.trusts(*ip);
        peer.ip.filter(|ip| !many(ip)).map(network)
    }

    /// Serves a connection in a task of its own.
    fn serve(&self, http: &http1::Builder, wire: SocketStream, peer: Peer, taken: TakenSeat) {
        // A child per connection, so that connections do not share one lock.
        let stop = self.stop.child_token();
        let connection = Arc::new(ClientConnection::new(
            peer,
            self.limits.clone(),
            stop.clone(),
            self.requests.clone(),
            taken.seat.clone(),
        ));
        let io = Guarded::new(
            wire,
            connection.clone(),
            self.app.metrics(),
            taken,
            self.connections.token(),
        );
        let app = self.app.clone();
        let seat = connection.seat.clone();
        let service = service_fn(move |request| {
            connection.seat.works();
            let request = from_hyper(request, &app, &connection);
            let (app, connection) = (app.clone(), connection.clone());
            async move {
                let reply = app.answer_client(request).await.0;
                if reply.status() == StatusCode::SWITCHING_PROTOCOLS {
                    connection.seat.is_upgraded();
                }
                Ok::<_, Infallible>(reply.map(|body| Answering::new(body, connection)))
            }
        });
        let serving = http
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        let cut = self.cut.clone();
        self.connections.spawn(async move {
            let mut serving = pin!(serving);
            let ended = loop {
                tokio::select! {
                    biased;
                    ended = serving.as_mut() => break ended,
                    () = seat.wanted() => {
                        if seat.must_leave() {
                            break Ok(());
                        }
                    }
                    () = stop.cancelled() => {
                        serving.as_mut().graceful_shutdown();
                        tokio::select! {
                            biased;
                            ended = serving.as_mut() => break ended,
                            () = cut.cancelled() => break Ok(()),
                        }
                    }
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
}

/// Tells the log of failed logins that were not told yet, for as long as it is listened.
async fn report_failed_logins(app: App, stop: CancellationToken) {
    while stop.run_until_cancelled(sleep(ASKED_EVERY)).await.is_some() {
        app.report_failed_logins();
    }
}

fn from_hyper(
    request: hyper::Request<Incoming>,
    app: &App,
    connection: &Arc<ClientConnection>,
) -> Request {
    let (head, body) = request.into_parts();
    let waits = head.headers.contains_key(header::EXPECT);
    let body = Body::from_wire(body, connection.clone(), waits);
    let head = hyper::Request::from_parts(head, ());
    Request::new(head, body, connection.clone(), app.trusted().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_where_to_listen() {
        let tcp = |text: &str| Listen::Tcp(text.parse().expect("an address"));
        let parse = |text: &str| text.parse::<Listen>().expect("a place to listen");
        assert_eq!(parse("127.0.0.1:3000"), tcp("127.0.0.1:3000"));
        assert_eq!(parse("localhost:0"), tcp("127.0.0.1:0"));
        assert_eq!(parse("[::1]:80"), tcp("[::1]:80"));
        let unix = |path: &str, mode| Listen::Unix {
            path: path.into(),
            mode,
        };
        assert_eq!(parse("unix:/run/a.sock"), unix("/run/a.sock", 0o600));
        assert_eq!(parse("unix:/run/a.sock:0660"), unix("/run/a.sock", 0o660));
        assert_eq!(parse("unix:a:b"), unix("a:b", 0o600));
        for wrong in [
            "",
            "3000",
            "example.org:80",
            "unix:",
            "unix:/a:999",
            "1.2.3.4:70000",
        ] {
            assert!(wrong.parse::<Listen>().is_err(), "{wrong}");
        }
    }
}
