//! Which addresses outgoing connections may reach, and how long they may take.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::address::{Cidr, is_ourselves, is_public};
use crate::error::{Code, Error, Result};

/// The ports of web servers. Mail, shells and databases speak other languages than HTTP, and yet
/// understand some of it.
const WEB_PORTS: &[u16] = &[80, 443, 8080, 8443];

/// Which addresses may be reached: public ones, and those that the configuration opens.
#[derive(Debug, Clone)]
pub struct Policy {
    allow: Arc<[Cidr]>,
    loopback: bool,
    ports: Arc<[u16]>,
    pub(super) dns_servers: Arc<[IpAddr]>,
    pub(super) roots: Vec<CertificateDer<'static>>,
    pub(super) patience: Timeouts,
}

/// How long each step of an outgoing request may take.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// To look up a name, to connect, and for the TLS handshake: each.
    pub connect: Duration,
    /// Until the answer's head.
    pub head: Duration,
    /// Between two pieces of the answer's body, or of the request's.
    pub idle: Duration,
    /// For everything from the first step to the last byte.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            head: Duration::from_secs(30),
            idle: Duration::from_secs(20),
            total: Duration::from_secs(3600),
        }
    }
}

impl Policy {
    /// Opens the named ranges besides the public internet, and asks the name servers where the
    /// machine's configuration names none.
    pub fn new(allow: &[String], dns_servers: &[IpAddr]) -> Result<Self> {
        Ok(Self {
            allow: allow
                .iter()
                .map(|range| range.parse())
                .collect::<Result<_>>()?,
            loopback: false,
            ports: WEB_PORTS.into(),
            dns_servers: dns_servers.into(),
            roots: Vec::new(),
            patience: Timeouts::default(),
        })
    }

    /// Opens this machine's own addresses, or not.
    #[must_use]
    pub fn with_loopback(mut self, open: bool) -> Self {
        self.loopback = open;
        self
    }

    /// Opens more ports of public addresses than those of the web.
    #[must_use]
    pub fn with_ports(mut self, more: &[u16]) -> Self {
        self.ports = [WEB_PORTS, more].concat().into();
        self
    }

    /// Trusts certificates besides the public roots: PEM, one or many.
    pub fn with_roots(mut self, pem: &[u8]) -> Result<Self> {
        let roots: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|e| Error::invalid("the certificates are not in PEM format").because(e))?;
        if roots.is_empty() {
            return Err(Error::invalid("there is no certificate in the PEM text"));
        }
        self.roots.extend(roots);
        Ok(self)
    }

    /// Takes other times.
    #[must_use]
    pub fn with_timeouts(mut self, patience: Timeouts) -> Self {
        self.patience = patience;
        self
    }

    /// Whether connections to the address are made. This machine's own public address is none of
    /// the internet: behind it lies what a firewall keeps from strangers.
    pub(super) fn permits(&self, ip: IpAddr) -> bool {
        is_public(ip) && !is_ourselves(ip) || self.opens(ip)
    }

    /// Whether connections to this port are made: to any of an address that the configuration
    /// names.
    pub(super) fn permits_port(&self, ip: IpAddr, port: u16) -> bool {
        self.ports.contains(&port) || self.opens(ip)
    }

    /// Refuses a port that is not open on public addresses.
    pub(super) fn public_port(&self, port: u16) -> Result<()> {
        if self.ports.contains(&port) {
            return Ok(());
        }
        let ports: Vec<_> = self.ports.iter().map(u16::to_string).collect();
        Err(Error::new(
            Code::UrlRefused,
            format!(
                "URL must use one of the ports {} (setting allow_ports)",
                ports.join(", ")
            ),
        ))
    }

    /// Whether the configuration names the address.
    pub(super) fn opens(&self, ip: IpAddr) -> bool {
        self.allow.iter().any(|range| range.contains(ip))
            || self.loopback && ip.to_canonical().is_loopback()
    }

    /// Whether any address besides the public ones may be reached.
    pub(super) fn opens_anything(&self) -> bool {
        self.loopback || !self.allow.is_empty()
    }

    /// The opened ones of this machine's own addresses.
    pub(super) fn own_addresses(&self) -> Vec<IpAddr> {
        let own = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        own.into_iter().filter(|ip| self.opens(*ip)).collect()
    }
}
