//! A request as a handler reads it.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use hyper::Method;
use hyper::header;
use serde::de::DeserializeSeed;
use tokio_util::sync::CancellationToken;

use super::body::Body;
use super::budget::BudgetShare;
use super::connection::{ClientConnection, Peer};
use super::form::{self, FormFields};
use super::multipart::Multipart;
use super::query;
use super::whole::Whole;
use crate::error::{Error, Result};
use crate::net::Cidr;

/// The headers in which keys are shown, beside `Authorization`: that of the master key, then those of the
/// dialects.
const KEY_HEADERS: [&str; 3] = ["x-master-key", "x-api-key", "apikey"];

/// Method, path, headers, and a body that is read when it is asked for.
pub struct Request {
    pub(super) head: hyper::Request<()>,
    pub(super) connection: Arc<ClientConnection>,
    pub(super) trusted: Arc<[Cidr]>,
    pub(super) body: Body,
    query: OnceLock<Vec<(String, String)>>,
    pub(super) param_names: Arc<[String]>,
    pub(super) param_values: Vec<String>,
    pub(super) hung_up: CancellationToken,
}

impl Request {
    pub(super) fn new(
        head: hyper::Request<()>,
        body: Body,
        connection: Arc<ClientConnection>,
        trusted: Arc<[Cidr]>,
    ) -> Self {
        Self {
            head,
            connection,
            trusted,
            body,
            query: OnceLock::new(),
            param_names: Arc::from([]),
            param_values: Vec::new(),
            hung_up: CancellationToken::new(),
        }
    }

    /// The method.
    pub fn method(&self) -> &Method {
        self.head.method()
    }

    /// The path as it was sent: not decoded, without the query.
    pub fn path(&self) -> &str {
        self.head.uri().path()
    }

    /// A parameter of the path, decoded once.
    ///
    /// Invariant: the path was matched before it was decoded, so `%2F` stays inside its parameter.
    /// A name that the route does not have is a defect, and reads as empty.
    pub fn param(&self, name: &str) -> &str {
        let at = self.param_names.iter().position(|n| n == name);
        debug_assert!(at.is_some(), "the route has no parameter {name}");
        at.and_then(|i| self.param_values.get(i))
            .map_or("", String::as_str)
    }

    /// The first value of a name in the query.
    pub fn query(&self, name: &str) -> Option<&str> {
        query::first(self.query_pairs(), name)
    }

    /// The names of all query parameters.
    pub fn query_names(&self) -> impl Iterator<Item = &str> {
        self.query_pairs().iter().map(|(name, _)| name.as_str())
    }

    fn query_pairs(&self) -> &[(String, String)] {
        self.query.get_or_init(|| {
            let text = self.head.uri().query().unwrap_or_default();
            query::pairs(text.as_bytes())
        })
    }

    /// A header, if it is there and plain text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers().get(name)?.to_str().ok()
    }

    /// Whether the body's content type begins so; `start` is in small letters.
    pub fn is_of_type(&self, start: &str) -> bool {
        self.header("content-type")
            .is_some_and(|named| named.to_ascii_lowercase().starts_with(start))
    }

    /// The token of `Authorization: Bearer`. Another scheme carries none.
    pub fn bearer(&self) -> Option<&str> {
        let value = self
            .head
            .headers()
            .get(header::AUTHORIZATION)?
            .to_str()
            .ok()?;
        let (scheme, token) = value.trim().split_once(' ')?;
        let token = token.trim();
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    }

    /// Whatever it shows as a credential, of any dialect, in the order in which one is believed.
    pub fn credentials(&self) -> impl Iterator<Item = &str> {
        let [first, others @ ..] = &KEY_HEADERS;
        let others = others.iter().filter_map(|name| self.header(name));
        let first = self.header(first).into_iter();
        first.chain(self.bearer()).chain(others)
    }

    /// A header that must be plain text if it is there.
    pub fn header_text(&self, name: &str) -> Result<Option<&str>> {
        let Some(value) = self.head.headers().get(name) else {
            return Ok(None);
        };
        value
            .to_str()
            .map(Some)
            .map_err(|_| Error::invalid(format!("The header {name} must be plain ASCII text")))
    }

    /// The other end of the connection: a proxy, where there is one.
    pub fn peer(&self) -> &Peer {
        &self.connection.peer
    }

    /// Whether the other end of the connection is a proxy that is believed.
    fn comes_by_trusted_proxy(&self) -> bool {
        let peer = self.peer();
        let trusts = |ip: IpAddr| self.trusted.iter().any(|range| range.contains(ip));
        peer.unix || peer.ip.is_some_and(trusts)
    }

    /// The client's address where it is one client's. This machine's, and that of a trusted proxy which
    /// names no client, are those of many.
    pub(super) fn own_ip(&self) -> Option<IpAddr> {
        let trusts = |ip: IpAddr| self.trusted.iter().any(|range| range.contains(ip));
        self.client_ip()
            .filter(|ip| !ip.is_loopback() && !trusts(*ip))
    }

    /// The client's address: the peer's or, behind trusted proxies, the nearest one in
    /// `X-Forwarded-For` that is not itself a trusted proxy's.
    ///
    /// Whoever reaches a Unix socket is this user's own proxy, and is trusted.
    pub(super) fn client_ip(&self) -> Option<IpAddr> {
        let trusts = |ip: IpAddr| self.trusted.iter().any(|range| range.contains(ip));
        let mut client = self.peer().ip;
        if !self.comes_by_trusted_proxy() {
            return client;
        }
        let hops = self.head.headers().get_all("x-forwarded-for");
        for value in hops.iter().rev() {
            for hop in value.to_str().unwrap_or_default().rsplit(',') {
                let Some(ip) = forwarded(hop.trim()) else {
                    return client;
                };
                client = Some(ip);
                if !trusts(ip) {
                    return client;
                }
            }
        }
        client
    }

    /// Cancelled when the client goes before it was answered. What was promised goes on all the
    /// same; whatever only takes time is not worth it any more.
    pub fn hung_up(&self) -> CancellationToken {
        self.hung_up.clone()
    }

    /// The whole body, up to the route's limit. A second time it is empty.
    pub async fn whole(&mut self) -> Result<Whole> {
        Whole::of(&mut self.body, &self.connection.limits.body_budget).await
    }

    /// The whole body as JSON, whether it came as such or as an urlencoded form.
    pub async fn document(&mut self) -> Result<Whole> {
        let is_form = self.is_of_type("application/x-www-form-urlencoded");
        self.whole().await?.into_document(is_form).await
    }

    /// The whole body in one; a second time it is empty.
    #[cfg(feature = "sandbox")]
    pub async fn bytes(&mut self) -> Result<Bytes> {
        Ok(self.whole().await?.into_bytes().0)
    }

    /// The body as JSON that a reader of its own takes. What is large is in memory for as long as
    /// the share lives.
    pub async fn json_by<S, T>(&mut self, seed: S) -> Result<(T, BudgetShare)>
    where
        S: for<'de> DeserializeSeed<'de, Value = T> + Send + 'static,
        T: Send + 'static,
    {
        self.document().await?.json(seed).await
    }

    /// The next bytes of the body, for a reader that keeps none of them; `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        self.body.chunk().await
    }

    /// A share of the room for bodies, for what is read of the parts of a form.
    pub fn share(&self) -> BudgetShare {
        self.connection.limits.body_budget.share()
    }

    /// The body's text fields: a multipart or encoded form, or a JSON object. No body has none.
    pub async fn fields(&mut self) -> Result<FormFields> {
        let content_type = self.header("content-type").map(str::to_owned);
        let (bytes, _held) = self.whole().await?.into_bytes();
        form::fields(bytes, content_type.as_deref()).await
    }

    /// The parts of a multipart form, one after the other as they arrive: for uploads.
    pub fn multipart(mut self) -> Result<Multipart> {
        let boundary = form::boundary(self.header("content-type").unwrap_or_default())?;
        Ok(Multipart::new(self.body.take(), boundary))
    }
}

/// An address in `X-Forwarded-For`, which some proxies write with a port or brackets.
fn forwarded(hop: &str) -> Option<IpAddr> {
    let ip = if let Ok(ip) = hop.parse::<IpAddr>() {
        ip
    } else if let Ok(address) = hop.parse::<std::net::SocketAddr>() {
        address.ip()
    } else {
        hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok()?
    };
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(headers: &[(&str, &str)]) -> Request {
        Request::for_test(Method::GET, "/?a=1&b=x%20y+z&a=2&c&d=%ff", headers, "")
    }

    #[test]
    fn only_the_bearer_scheme_carries_a_token() {
        let bearer = |value: &str| {
            with(&[("authorization", value)])
                .bearer()
                .map(str::to_owned)
        };
        assert_eq!(bearer("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(bearer("bEARER  abc ").as_deref(), Some("abc"));
        for none in [
            "",
            "abc",
            "Bearer",
            "Bearer ",
            "Basic abc",
            "Bearerabc",
            "Token abc",
        ] {
            assert_eq!(bearer(none), None, "{none:?}");
        }
        assert_eq!(with(&[]).bearer(), None);
    }

    #[test]
    fn a_query_is_decoded() {
        let request = with(&[]);
        assert_eq!(request.query("a"), Some("1"));
        assert_eq!(request.query("b"), Some("x y z"));
        assert_eq!(request.query("c"), Some(""));
        assert_eq!(request.query("d"), Some("\u{fffd}"));
        assert_eq!(request.query("e"), None);
    }

    #[test]
    fn reads_the_forms_of_a_forwarded_address() {
        let ip = |hop| forwarded(hop).map(|ip| ip.to_string());
        assert_eq!(ip("1.2.3.4").as_deref(), Some("1.2.3.4"));
        assert_eq!(ip("1.2.3.4:80").as_deref(), Some("1.2.3.4"));
        assert_eq!(ip("[2a00::1]:80").as_deref(), Some("2a00::1"));
        assert_eq!(ip("[2a00::1]").as_deref(), Some("2a00::1"));
        assert_eq!(ip("::ffff:1.2.3.4").as_deref(), Some("1.2.3.4"));
        assert_eq!(ip("unknown"), None);
    }
}

#[cfg(feature = "sandbox")]
mod of_tests {
    use hyper::header::{HeaderName, HeaderValue};
    use tokio_util::task::TaskTracker;

    use super::super::limits::Limits;
    use super::super::room::Seat;
    use super::*;

    impl Request {
        /// A request without a socket, as a direct loopback client sends it.
        ///
        /// # Panics
        ///
        /// When the URI or a header is not legal: the test is wrong then.
        pub fn for_test(
            method: Method,
            uri: &str,
            headers: &[(&str, &str)],
            body: impl Into<Bytes>,
        ) -> Self {
            let mut head = hyper::Request::new(());
            *head.method_mut() = method;
            *head.uri_mut() = uri.parse().expect("a legal URI");
            for (name, value) in headers {
                head.headers_mut().append(
                    HeaderName::from_bytes(name.as_bytes()).expect("a legal name"),
                    HeaderValue::from_str(value).expect("a legal value"),
                );
            }
            let peer = Peer {
                ip: Some(IpAddr::from([127, 0, 0, 1])),
                unix: false,
                listener_loopback: true,
            };
            let connection = Arc::new(ClientConnection::new(
                peer,
                Arc::new(Limits::default()),
                CancellationToken::new(),
                TaskTracker::new(),
                Arc::new(Seat::new(tokio::time::Instant::now(), None)),
            ));
            let body = Body::ready(body.into(), connection.clone());
            Self::new(head, body, connection, Arc::from([]))
        }
    }
}
