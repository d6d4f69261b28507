//! The one outgoing client: requests within a time, a pace and a size.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};

pub use super::outbody::OutBody;
use super::outbody::{Moved, Sending};
use super::pool::{Pool, PoolKey, Sender};
use crate::error::{Code, Error, ErrorKind, Result};

pub use super::dial::Dialer;
pub use super::policy::{Policy, Timeouts};
pub use super::target::CheckedUrl;
use super::target::HostPart;

/// The largest head of an answer.
const MAX_HEAD: usize = 64 * 1024;

/// The least pace of an answer's body, in bytes per second, and the time before it counts: whoever
/// drips slower would hold a place that others wait for.
const PACE: u64 = 16 * 1024;
const GRACE: Duration = Duration::from_secs(30);

/// What a body of which no length is announced is taken for, in bytes.
const UNANNOUNCED: u64 = 16 << 20;

/// A request to somebody else's server.
#[derive(Debug)]
pub struct OutgoingRequest {
    /// Its method.
    pub method: Method,
    /// Where it goes: `http` or `https`, without credentials.
    pub url: String,
    /// Its headers. `Host`, and what frames the body, is set by the client.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: OutBody,
}

/// Sends requests within a policy, over connections that are kept for a while.
pub struct Client {
    dialer: Dialer,
    pool: Arc<Pool>,
}

impl Client {
    /// Makes a client.
    pub fn new(policy: Policy) -> Result<Self> {
        Ok(Self::over(Dialer::new(policy)?))
    }

    /// Makes a client whose connections all go to a Unix socket.
    pub fn over_unix(policy: Policy, path: &Path) -> Result<Self> {
        // A URL names `localhost` then, which is judged like any other host.
        Ok(Self::over(
            Dialer::new(policy.with_loopback(true))?.over_unix(path),
        ))
    }

    pub(super) fn over(dialer: Dialer) -> Self {
        Self {
            dialer,
            pool: Arc::default(),
        }
    }

    /// Judges a URL by its text: what needs no name server.
    pub fn check_url(&self, url: &str) -> Result<CheckedUrl> {
        CheckedUrl::parse(url, &self.dialer.policy)
    }

    /// Whether the configuration opens the target, as opposed to its being public. A local name
    /// counts: it is only ever connected to opened addresses.
    pub fn is_opened(&self, target: &CheckedUrl) -> bool {
        match &target.host {
            HostPart::Address(ip) => self.dialer.policy.opens(*ip),
            host @ HostPart::Name(_) => host.is_local_name() && self.dialer.policy.opens_anything(),
        }
    }

    /// Resolves the target's name and judges every address. A name without an address is refused.
    pub async fn check_resolved(&self, target: &CheckedUrl) -> Result<()> {
        match self.dialer.addresses(&target.host, target.port).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Invalid => Err(error),
            Err(error) => Err(Error::from(Code::UrlUnresolvable).because(error)),
        }
    }

    /// Sends a request and answers the response's head; its body follows. No redirect is followed.
    pub async fn send(&self, request: OutgoingRequest) -> Result<Response> {
        let target = self.check_url(&request.url)?;
        let headers = headers(&request.headers)?;
        self.exchange(&target, request.method, headers, request.body)
            .await
    }

    /// Gets a URL, following up to `hops` redirects, each judged like the first.
    pub async fn get_following(&self, url: &str, hops: usize) -> Result<Response> {
        let mut target = self.check_url(url)?;
        let mut left = hops;
        loop {
            let get = self.exchange(&target, Method::GET, HeaderMap::new(), OutBody::default());
            let response = get.await?;
            let location = response.redirect();
            let Some(location) = location else {
                return Ok(response);
            };
            if left == 0 {
                return Err(Error::new(Code::LinkFailed, "The URL redirects too often"));
            }
            left -= 1;
            target = target.redirected(location, &self.dialer.policy)?;
        }
    }

    async fn exchange(
        &self,
        target: &CheckedUrl,
        method: Method,
        mut headers: HeaderMap,
        body: OutBody,
    ) -> Result<Response> {
        let patience = self.dialer.policy.patience.clone();
        let deadline = Instant::now() + patience.total;
        headers.insert(header::HOST, host_header(target));
        headers
            .entry(header::USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!(
                "Warung/",
                env!("CARGO_PKG_VERSION")
            )));
        headers
            .entry(header::ACCEPT)
            .or_insert(HeaderValue::from_static("*/*"));
        let (body, moved) = Sending::new(body);
        let mut request = hyper::Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = path_of(target)?;
        *request.headers_mut() = headers;

        let key = PoolKey::of(target);
        loop {
            let kept = self.pool.take(&key).await;
            let is_kept = kept.is_some();
            let mut sender = match kept {
                Some(sender) => sender,
                None => timeout_at(deadline, self.open(target))
                    .await
                    .map_err(|_| late())??,
            };
            let sent = sender.try_send_request(request);
            match while_moving(sent, &moved, patience.head, deadline).await? {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    return Ok(Response {
                        status: head.status,
                        headers: head.headers,
                        body,
                        patience,
                        deadline,
                        began: Instant::now(),
                        taken: 0,
                        most: u64::MAX,
                        reuse: Some((self.pool.clone(), key, sender)),
                    });
                }
                Err(mut failed) => match failed.take_message() {
                    // A kept connection was closed before the request went out: another one.
                    Some(unsent) if is_kept => request = unsent,
                    _ => return Err(broken(failed.into_error())),
                },
            }
        }
    }

    async fn open(&self, target: &CheckedUrl) -> Result<Sender> {
        let io = self
            .dialer
            .connect_to(&target.host, target.port, target.is_https())
            .await?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .max_header_size(MAX_HEAD)
            .handshake(TokioIo::new(io))
            .await
            .map_err(broken)?;
        // Ends when the sender is dropped and nothing is under way.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an outgoing connection ended");
            }
        });
        Ok(sender)
    }
}

/// The answer to an outgoing request.
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Incoming,
    patience: Timeouts,
    deadline: Instant,
    began: Instant,
    taken: u64,
    most: u64,
    /// Where the connection goes when the body was read to its end.
    reuse: Option<(Arc<Pool>, PoolKey, Sender)>,
}

impl Response {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// A header, if it is there and plain text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The length that the head announces.
    pub fn length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// Where it redirects to, if it does.
    fn redirect(&self) -> Option<&str> {
        matches!(self.status.as_u16(), 301 | 302 | 303 | 307 | 308)
            .then(|| self.header("location"))
            .flatten()
    }

    /// Takes no more than so many bytes of body; more is an error, at once when it is announced.
    pub fn at_most(&mut self, most: u64) -> Result<()> {
        self.most = most;
        if self.body.size_hint().lower() > most {
            return Err(too_large(most));
        }
        Ok(())
    }

    /// Allows the body the time that its announced length takes at this pace, in bytes per second, and
    /// a minute, so that a small file cannot hold a place for as long as a large one may.
    pub fn at_pace(&mut self, pace: u64) {
        let length = self.length().unwrap_or(UNANNOUNCED);
        let time = Duration::from_secs(60 + length / pace.max(1));
        self.deadline = self.deadline.min(self.began + time);
    }

    /// Whether the body comes so slowly that it will not end.
    fn drips(&self) -> bool {
        let elapsed = self.began.elapsed();
        elapsed > GRACE && self.taken < elapsed.as_secs() * PACE
    }

    /// The next piece of the body; `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.drips() {
                return Err(late());
            }
            let until = self.deadline.min(Instant::now() + self.patience.idle);
            let frame = timeout_at(until, self.body.frame())
                .await
                .map_err(|_| late())?;
            match frame {
                None => {
                    if let Some((pool, key, sender)) = self.reuse.take() {
                        pool.keep(key, sender);
                    }
                    return Ok(None);
                }
                Some(frame) => {
                    if let Ok(bytes) = frame.map_err(broken)?.into_data() {
                        self.taken += bytes.len() as u64;
                        if self.taken > self.most {
                            return Err(too_large(self.most));
                        }
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// The body as a stream, within the same bounds.
    pub fn into_stream(self) -> BoxStream<'static, io::Result<Bytes>> {
        stream::try_unfold(self, |mut response| async {
            let piece = response.chunk().await.map_err(io::Error::other)?;
            Ok(piece.map(|piece| (piece, response)))
        })
        .boxed()
    }

    /// The whole body, if it is at most `max` bytes.
    pub async fn collect(mut self, max: usize) -> Result<Bytes> {
        self.at_most(max as u64)?;
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }
}

fn too_large(most: u64) -> Error {
    let text = format!("The answer is larger than {most} bytes");
    Error::new(Code::AnswerTooLarge, text)
}

/// Awaits the head of the answer: `patience` after the body last moved on, whatever its size.
async fn while_moving<T>(
    sent: impl Future<Output = T>,
    moved: &Moved,
    patience: Duration,
    deadline: Instant,
) -> Result<T> {
    tokio::pin!(sent);
    loop {
        let until = deadline.min(moved.last() + patience);
        if let Ok(answer) = timeout_at(until, &mut sent).await {
            return Ok(answer);
        }
        if Instant::now() >= deadline.min(moved.last() + patience) {
            return Err(late());
        }
    }
}

fn headers(pairs: &[(String, String)]) -> Result<HeaderMap> {
    let wrong = || Error::invalid("A header of the request is not valid");
    let mut headers = HeaderMap::with_capacity(pairs.len() + 3);
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let value = HeaderValue::from_str(value).map_err(|_| wrong())?;
        let ours = matches!(
            name,
            header::HOST | header::CONTENT_LENGTH | header::CONNECTION | header::TRANSFER_ENCODING
        );
        if !ours {
            headers.append(name, value);
        }
    }
    Ok(headers)
}

/// Host and port as the URL writes them: the port only if it is not the scheme's own.
fn host_header(target: &CheckedUrl) -> HeaderValue {
    let host = target.url.host_str().unwrap_or_default();
    let text = match target.url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

fn path_of(target: &CheckedUrl) -> Result<hyper::Uri> {
    let path = target.url.path();
    let text = match target.url.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    text.parse().map_err(|_| Error::from(Code::UrlInvalid))
}

fn broken(error: hyper::Error) -> Error {
    // Also a head that is too large.
    if error.is_parse() {
        return Error::from(Code::AnswerNotHttp).because(error);
    }
    Error::new(
        Code::HostUnreachable,
        "The connection to the host broke off",
    )
    .because(error)
}

fn late() -> Error {
    Error::from(Code::HostTimeout)
}
