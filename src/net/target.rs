//! A URL that a stranger names: what of it can be judged without asking for its name.

use std::net::IpAddr;

use url::{Host, Url};

use super::policy::Policy;
use crate::error::{Code, Error, Result};

/// The longest URL that is taken.
const MAX_URL: usize = 8 * 1024;

/// Endings of names that only mean something inside one's own network.
const LOCAL_ENDINGS: &[&str] = &[".localhost", ".local", ".internal", ".lan", ".home.arpa"];

/// A URL that was found acceptable as far as its text says.
#[derive(Debug, Clone)]
pub struct CheckedUrl {
    pub(super) url: Url,
    pub(super) host: HostPart,
    pub(super) port: u16,
}

/// What stands for a machine in a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum HostPart {
    Address(IpAddr),
    /// A name in lower case, without a dot at the end.
    Name(String),
}

impl HostPart {
    /// Reads a host as it stands in a URL, or an address without brackets.
    pub(super) fn parse(host: &str) -> Result<Self> {
        let wrong = || Error::from(Code::UrlInvalid);
        match host.parse() {
            Ok(address) => Ok(Self::Address(address)),
            Err(_) => Ok(Self::from(Host::parse(host).map_err(|_| wrong())?)),
        }
    }

    /// Whether the name is one of this machine's or this network's own.
    pub(super) fn is_local_name(&self) -> bool {
        match self {
            Self::Address(_) => false,
            Self::Name(name) => {
                !name.contains('.') || LOCAL_ENDINGS.iter().any(|end| name.ends_with(end))
            }
        }
    }

    /// Whether the name means this machine, whatever a name server says (RFC 6761).
    pub(super) fn is_localhost(&self) -> bool {
        matches!(self, Self::Name(name) if name == "localhost" || name.ends_with(".localhost"))
    }
}

impl<S: AsRef<str>> From<Host<S>> for HostPart {
    fn from(host: Host<S>) -> Self {
        match host {
            Host::Ipv4(address) => Self::Address(address.into()),
            Host::Ipv6(address) => Self::Address(address.into()),
            Host::Domain(name) => {
                let name = name.as_ref().to_ascii_lowercase();
                Self::Name(name.strip_suffix('.').unwrap_or(&name).to_owned())
            }
        }
    }
}

impl CheckedUrl {
    /// Host and port, as one word for whom a request goes to.
    pub fn authority(&self) -> String {
        match &self.host {
            HostPart::Address(address) => format!("{address} {}", self.port),
            HostPart::Name(name) => format!("{name} {}", self.port),
        }
    }

    /// Whether the connection is encrypted.
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Reads a URL and judges its text.
    ///
    /// The parser is the browsers' one: it knows `127.1`, `0x7f000001` and full-width digits for
    /// the addresses they are.
    pub(super) fn parse(url: &str, policy: &Policy) -> Result<Self> {
        let wrong = || Error::from(Code::UrlInvalid);
        if url.len() > MAX_URL {
            return Err(wrong());
        }
        Self::of(Url::parse(url).map_err(|_| wrong())?, policy)
    }

    /// The URL that a redirect names, judged like any other.
    pub(super) fn redirected(&self, location: &str, policy: &Policy) -> Result<Self> {
        let wrong = || Error::from(Code::UrlInvalid);
        if location.len() > MAX_URL {
            return Err(wrong());
        }
        Self::of(self.url.join(location).map_err(|_| wrong())?, policy)
    }

    fn of(mut url: Url, policy: &Policy) -> Result<Self> {
        let wrong = || Error::from(Code::UrlInvalid);
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong());
        }
        if !url.username().is_empty() || url.password().is_some() {
            let text = "URL must be a credential-free http(s) URL";
            return Err(Error::new(Code::UrlWithPassword, text));
        }
        url.set_fragment(None);
        let host = HostPart::from(url.host().ok_or_else(wrong)?);
        let port = url.port_or_known_default().ok_or_else(wrong)?;
        let target = Self { url, host, port };
        match &target.host {
            HostPart::Address(ip) if !policy.permits(*ip) => Err(Error::from(Code::UrlRefused)),
            HostPart::Name(name) if name.is_empty() => Err(wrong()),
            host if host.is_local_name() && !policy.opens_anything() => Err(Error::new(
                Code::UrlRefused,
                "URL must not point to a local address",
            )),
            HostPart::Address(ip) if policy.opens(*ip) => Ok(target),
            // The name may stand for an address that the configuration opens, with all its ports.
            HostPart::Name(_) if policy.opens_anything() => Ok(target),
            _ => policy.public_port(port).map(|()| target),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn international_names_are_taken_in_both_their_forms() {
        let policy = Policy::new(&[], &[]).expect("a policy");
        let host = |url: &str| CheckedUrl::parse(url, &policy).expect("taken").host;
        let ascii = HostPart::Name("xn--mnchen-3ya.example.com".into());
        assert_eq!(host("https://xn--mnchen-3ya.example.com/hook"), ascii);
        assert_eq!(host("https://M\u{fc}nchen.example.com./hook"), ascii);
    }
}
