//! Connections to checked addresses: a name is resolved once, every address is judged, and the
//! connection goes to one that was judged.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::policy::Policy;
use super::resolver::Resolver;
use super::target::{CheckedUrl, HostPart};
use crate::error::{Code, Error, Result};

/// How long the next address waits for the one before.
const STAGGER: Duration = Duration::from_millis(300);
/// More addresses than this are not tried.
const MAX_ADDRESSES: usize = 6;

/// A connection, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Makes connections within a policy.
#[derive(Clone)]
pub struct Dialer {
    pub(super) policy: Policy,
    resolver: Arc<Resolver>,
    tls: TlsConnector,
    unix: Option<PathBuf>,
}

impl Dialer {
    /// Makes a dialer.
    pub fn new(policy: Policy) -> Result<Self> {
        let resolver = Arc::new(Resolver::of_system(policy.dns_servers.clone()));
        Self::with_resolver(policy, resolver)
    }

    pub(super) fn with_resolver(policy: Policy, resolver: Arc<Resolver>) -> Result<Self> {
        Ok(Self {
            tls: tls(&policy)?.into(),
            policy,
            resolver,
            unix: None,
        })
    }

    /// Takes every connection to a Unix socket, whatever the host.
    pub(super) fn over_unix(mut self, path: &Path) -> Self {
        self.unix = Some(path.to_owned());
        self
    }

    /// Connects to a host by name or address, with TLS for that host or without.
    pub async fn connect(&self, host: &str, port: u16, tls: bool) -> Result<Box<dyn Stream>> {
        self.connect_to(&HostPart::parse(host)?, port, tls).await
    }

    /// Tries whether a URL's server can be reached, with TLS when it says `https`; sends nothing.
    pub async fn reach(&self, target: &CheckedUrl) -> Result<()> {
        let tls = target.is_https();
        self.connect_to(&target.host, target.port, tls)
            .await
            .map(drop)
    }

    pub(super) async fn connect_to(
        &self,
        host: &HostPart,
        port: u16,
        tls: bool,
    ) -> Result<Box<dyn Stream>> {
        if let Some(path) = &self.unix {
            let stream = UnixStream::connect(path).await.map_err(unreachable)?;
            return Ok(Box::new(stream));
        }
        let addresses = self.addresses(host, port).await?;
        let stream = self.first_of(addresses, port).await?;
        // Requests are small: they must not wait for more.
        stream.set_nodelay(true).map_err(unreachable)?;
        if !tls {
            return Ok(Box::new(stream));
        }
        let name = match host {
            HostPart::Address(ip) => ServerName::from(*ip),
            HostPart::Name(name) => {
                ServerName::try_from(name.clone()).map_err(|_| Code::UrlInvalid)?
            }
        };
        let shaking = self.tls.connect(name, stream);
        let stream = timeout(self.policy.patience.connect, shaking)
            .await
            .map_err(|_| late())?
            .map_err(|e| {
                let text = "No encrypted connection can be made to the host";
                Error::new(Code::HostUnreachable, text).because(e)
            })?;
        Ok(Box::new(stream))
    }

    /// The addresses of a host, each of them permitted.
    ///
    /// Invariant: one address that is not permitted, or not on this port, refuses the host. A local name stands only for
    /// addresses that the configuration opens: what answers for it in public means nothing.
    pub(super) async fn addresses(&self, host: &HostPart, port: u16) -> Result<Vec<IpAddr>> {
        let addresses = self.addresses_of(host).await?;
        let closed = |ip: &IpAddr| !self.policy.permits_port(*ip, port);
        if addresses.iter().any(closed) {
            self.policy.public_port(port)?;
        }
        Ok(addresses)
    }

    async fn addresses_of(&self, host: &HostPart) -> Result<Vec<IpAddr>> {
        let refused = || {
            Error::new(
                Code::UrlRefused,
                "URL must not resolve to a private or reserved address",
            )
        };
        let name = match host {
            HostPart::Address(ip) if self.policy.permits(*ip) => return Ok(vec![*ip]),
            HostPart::Address(_) => {
                let text = "URL must not point to a private or reserved address";
                return Err(Error::invalid(text));
            }
            HostPart::Name(name) => name,
        };
        let local = || Error::new(Code::UrlRefused, "URL must not point to a local address");
        if host.is_localhost() {
            let own = self.policy.own_addresses();
            return if own.is_empty() {
                Err(local())
            } else {
                Ok(own)
            };
        }
        if host.is_local_name() && !self.policy.opens_anything() {
            return Err(local());
        }
        let looking = self.resolver.lookup(name);
        let found = timeout(self.policy.patience.connect, looking)
            .await
            .map_err(|_| late())??;
        let judged = |ip: &IpAddr| {
            if host.is_local_name() {
                self.policy.opens(*ip)
            } else {
                self.policy.permits(*ip)
            }
        };
        if found.is_empty() || !found.iter().all(judged) {
            return Err(refused());
        }
        Ok(in_turn(found))
    }

    /// Connects to whichever answers first; each begins a little after the one before.
    async fn first_of(&self, addresses: Vec<IpAddr>, port: u16) -> Result<TcpStream> {
        let mut waiting: VecDeque<_> = addresses.into_iter().take(MAX_ADDRESSES).collect();
        let mut trying = JoinSet::new();
        let mut failure = None;
        loop {
            if let Some(ip) = waiting.pop_front() {
                let address = SocketAddr::new(ip, port);
                let patience = self.policy.patience.connect;
                trying.spawn(async move {
                    match timeout(patience, TcpStream::connect(address)).await {
                        Ok(done) => done,
                        Err(_) => Err(io::ErrorKind::TimedOut.into()),
                    }
                });
            }
            tokio::select! {
                done = trying.join_next() => match done {
                    Some(Ok(Ok(stream))) => return Ok(stream),
                    Some(Ok(Err(error))) => failure = Some(error),
                    Some(Err(_)) => {}
                    None => return Err(failure.map_or_else(late, unreachable)),
                },
                () = sleep(STAGGER), if !waiting.is_empty() => {}
            }
        }
    }
}

/// Takes the two families in turn, so that a broken one costs little.
fn in_turn(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (mut v6, mut v4): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(IpAddr::is_ipv6);
    let mut mixed = Vec::with_capacity(v6.len() + v4.len());
    while !(v6.is_empty() && v4.is_empty()) {
        mixed.extend(v6.pop_front());
        mixed.extend(v4.pop_front());
    }
    mixed
}

fn unreachable(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::TimedOut {
        return late().because(error);
    }
    Error::from(Code::HostUnreachable).because(error)
}

fn late() -> Error {
    Error::from(Code::HostTimeout)
}

/// The public roots and the policy's own. The common case is made once and shared.
fn tls(policy: &Policy) -> Result<Arc<ClientConfig>> {
    static PUBLIC: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if policy.roots.is_empty()
        && let Some(made) = PUBLIC.get()
    {
        return Ok(made.clone());
    }
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    for root in &policy.roots {
        roots
            .add(root.clone())
            .map_err(|e| Error::invalid("a certificate cannot be used as a root").because(e))?;
    }
    let mut config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(Error::internal)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);
    if policy.roots.is_empty() {
        return Ok(PUBLIC.get_or_init(|| config).clone());
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let ips = |texts: &[&str]| -> Vec<IpAddr> {
            texts
                .iter()
                .map(|t| t.parse().expect("an address"))
                .collect()
        };
        assert_eq!(
            in_turn(ips(&["1.1.1.1", "2.2.2.2", "::1", "3.3.3.3"])),
            ips(&["::1", "1.1.1.1", "2.2.2.2", "3.3.3.3"])
        );
    }
}
