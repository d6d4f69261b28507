//! Whether a program of this machine asks by itself: not through a proxy, not for a web page. And, where
//! that does not matter, whether a browser asks for a page of another site.
//!
//! Hazard: "localhost" is no credential where it can be forged. What a proxy or a browser adds can
//! be left out by a client of this machine only; so its absence is believed on a private listener,
//! and nowhere else.

use std::net::IpAddr;
use std::str::FromStr;

use hyper::Version;
use hyper::header::{self, HeaderMap};

use super::Request;
use crate::error::{Error, Result};

/// Headers that proxies, load balancers and tunnels add, by their names' beginnings.
const ADDED: &[&str] = &[
    "cdn-",
    "cf-",
    "cloudfront-",
    "fastly-",
    "fly-",
    "forwarded",
    "front-end-https",
    "ngrok-",
    "proxy-",
    "remote-",
    "ssl-client",
    "surrogate-",
    "tailscale-",
    "true-client",
    "via",
    "x-amz",
    "x-appengine-",
    "x-arr-",
    "x-azure-",
    "x-cloud-",
    "x-envoy-",
    "x-forwarded",
    "x-forwarder-",
    "x-host",
    "x-nginx-",
    "x-original-",
    "x-proxy",
    "x-real-",
    "x-remote-",
    "x-rewrite-",
    "x-scheme",
    "x-url-scheme",
    "x-varnish",
    "x-vercel-",
];

/// Names below these are nobody's to register, so that no page can have one.
const NEVER_REGISTERED: &[&str] = &["home.arpa", "internal", "local", "localhost"];

/// What a request shows that a browser may have sent for a page of another site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherSite {
    /// It asks for a host of another name: that of a page whose name was made to lead here, perhaps
    /// (DNS rebinding).
    Host,
    /// It says itself that such a page sends it.
    Page,
}

impl Request {
    /// Whether a program of this machine asks by itself, as far as the request shows it. Together
    /// with a listener that only this machine reaches it may stand for a credential.
    pub fn is_direct(&self) -> bool {
        self.asks_for_this_machine() && !self.via_proxy() && !self.is_of_web_page()
    }

    /// Whether a proxy says that it passed this on, or speaks HTTP/1.0 as proxies do that were told
    /// nothing else. A client can claim it too: use it to refuse, never to allow.
    pub fn via_proxy(&self) -> bool {
        self.head.version() == Version::HTTP_10
            || self.head.headers().keys().any(|name| {
                let name = name.as_str();
                // `X-Real-IP`, `X-Cluster-Client-IP` and whatever else carries a client's address.
                name.ends_with("-ip") || ADDED.iter().any(|added| name.starts_with(added))
            })
    }

    /// Whether a browser sends it for a page: any page may post forms to this machine. What a
    /// person types into the browser is no page.
    fn is_of_web_page(&self) -> bool {
        self.head.headers().contains_key(header::ORIGIN)
            || self.head.headers().contains_key(header::REFERER)
            || self
                .header("sec-fetch-site")
                .is_some_and(|site| site != "none")
    }

    /// What shows that a browser may have sent this for a page of another site; `None` for what a
    /// program sends, or a page of our own. `own` are the hosts that are ours.
    ///
    /// Hazard: under a name that was made to lead here a page is one of our own to its browser, which
    /// says nothing then. So every name is refused that may be such a one: addresses, names without a
    /// dot (those of a container's network, say) and those that nobody can register are none.
    pub fn of_other_site(&self, own: &[&str]) -> Option<OtherSite> {
        let authority = self.header("host").unwrap_or_default();
        let hosts = [host_of(authority), self.head.uri().host()];
        if !hosts.into_iter().flatten().all(|host| is_ours(host, own)) {
            return Some(OtherSite::Host);
        }
        let is_own = |url: &str| {
            let site = authority_of(url);
            site.eq_ignore_ascii_case(authority)
                || host_of(site).is_some_and(|host| names(own, host))
        };
        let foreign = |name: &str| {
            let mut said = self.head.headers().get_all(name).iter();
            said.any(|url| !url.to_str().is_ok_and(is_own))
        };
        let fetched = self.header("sec-fetch-site");
        let is_foreign = fetched.is_some_and(|site| !matches!(site, "none" | "same-origin"))
            || foreign("origin")
            || foreign("referer");
        is_foreign.then_some(OtherSite::Page)
    }

    /// Whether the client means this machine. A page whose name was made to lead here (DNS
    /// rebinding) gives its own name away, and so does a proxy that passes its public name on.
    fn asks_for_this_machine(&self) -> bool {
        let uri = self.head.uri().host();
        let named = self.header("host").and_then(host_of);
        named.is_some_and(is_this_machine) && uri.is_none_or(is_this_machine)
    }
}

/// The host of a `Host` header without its port; `None` when it is none.
fn host_of(value: &str) -> Option<&str> {
    let bare = match value.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => value,
    };
    (!bare.is_empty()).then_some(bare)
}

fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || address_of(host).is_some_and(|ip| ip.to_canonical().is_loopback())
}

/// The address that a host is written as.
fn address_of(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    IpAddr::from_str(bare).ok()
}

/// Host and port of a URL; of what is none, itself.
fn authority_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

/// The host of a URL: `shop.example` of `https://shop.example:8443/wa`.
pub fn host_of_url(url: &str) -> Option<&str> {
    host_of(authority_of(url))
}

fn names(own: &[&str], host: &str) -> bool {
    own.iter().any(|own| own.eq_ignore_ascii_case(host))
}

/// Whether no page of a stranger can have this host.
fn is_ours(host: &str, own: &[&str]) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let private = |top: &&str| {
        let below = host.strip_suffix(*top);
        below.is_some_and(|below| below.ends_with('.'))
    };
    address_of(&host).is_some()
        || !host.contains('.')
        || NEVER_REGISTERED.iter().any(private)
        || names(own, &host)
}

/// Refuses a head that two readers may understand differently (RFC 9112, 3.2): HTTP/1.1 names its
/// host exactly once, and a name is one.
pub(super) fn check_host(version: Version, headers: &HeaderMap) -> Result<()> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let Some(host) = hosts.next() else {
        return match version {
            Version::HTTP_11 => Err(Error::invalid("The header Host is missing")),
            _ => Ok(()),
        };
    };
    if hosts.next().is_some() {
        return Err(Error::invalid("The header Host is there twice"));
    }
    let name = host.as_bytes();
    let legal = |b: &u8| b.is_ascii_graphic() && !b"/?#@\\\"<>".contains(b);
    if name.iter().all(legal) {
        return Ok(());
    }
    Err(Error::invalid("The header Host is no host"))
}

#[cfg(test)]
mod tests {
    use hyper::Method;

    use super::*;

    fn asks(uri: &str, headers: &[(&str, &str)]) -> bool {
        Request::for_test(Method::POST, uri, headers, "").is_direct()
    }

    #[test]
    fn only_names_of_this_machine_are_direct() {
        for own in [
            "localhost",
            "LOCALHOST:3000",
            "127.0.0.1",
            "127.0.0.1:3000",
            "127.3.2.1:1",
            "[::1]",
            "[::1]:3000",
            "[::ffff:127.0.0.1]:80",
        ] {
            assert!(asks("/", &[("host", own)]), "{own}");
        }
        for foreign in [
            "",
            ":80",
            "wa.shop.example",
            "wa.shop.example:3000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.168.1.5:3000",
            "0.0.0.0:3000",
            "[::]:3000",
            "2130706433",
            "127.1",
            "localhost:3000:1",
            "localhost@evil.example",
        ] {
            assert!(!asks("/", &[("host", foreign)]), "{foreign}");
        }
        assert!(!asks("/", &[]));
        assert!(!asks("http://evil.example/", &[("host", "localhost")]));
        assert!(asks("http://localhost:1/", &[("host", "localhost:1")]));
    }

    fn other(headers: &[(&str, &str)]) -> Option<OtherSite> {
        let own = ["wa.shop.example"];
        let request = Request::for_test(Method::POST, "/", headers, "");
        request.of_other_site(&own)
    }

    #[test]
    fn a_name_that_strangers_may_have_is_of_another_site() {
        for ours in [
            "localhost:3000",
            "127.0.0.1:3000",
            "192.168.1.5",
            "[2001:db8::1]:3000",
            "warung:3000",
            "raspberrypi.local",
            "host.docker.internal:3000",
            "Pi.Home.Arpa.",
            "wa.shop.example",
            "WA.Shop.Example:8443",
        ] {
            assert_eq!(other(&[("host", ours)]), None, "{ours}");
        }
        for foreign in [
            "evil.example",
            "evil.example:3000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "a.wa.shop.example",
            "evil.notlocal",
            "evil.example.",
            "127.1",
        ] {
            let found = other(&[("host", foreign)]);
            assert_eq!(found, Some(OtherSite::Host), "{foreign}");
        }
        let evil = Request::for_test(Method::GET, "http://evil.example/", &[], "");
        assert_eq!(evil.of_other_site(&[]), Some(OtherSite::Host));
        assert_eq!(other(&[]), None, "no browser leaves it out");
    }

    #[test]
    fn a_page_of_another_site_says_so() {
        let host = ("host", "192.168.1.5:3000");
        for own in [
            ("origin", "http://192.168.1.5:3000"),
            ("referer", "http://192.168.1.5:3000/docs?a"),
            ("origin", "https://wa.shop.example"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "none"),
            ("user-agent", "n8n"),
        ] {
            assert_eq!(other(&[host, own]), None, "{own:?}");
        }
        for foreign in [
            ("origin", "https://evil.example"),
            ("origin", "http://192.168.1.5:8080"),
            ("origin", "http://192.168.1.5:3000.evil.example"),
            ("origin", "null"),
            ("origin", ""),
            ("referer", "https://evil.example/192.168.1.5:3000"),
            ("referer", "https://192.168.1.5:3000@evil.example/"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert_eq!(
                other(&[host, foreign]),
                Some(OtherSite::Page),
                "{foreign:?}"
            );
        }
    }

    #[test]
    fn what_proxies_and_browsers_add_is_seen() {
        for name in [
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "Forwarded",
            "Via",
            "X-Real-IP",
            "CF-Connecting-IP",
            "CF-Ray",
            "True-Client-IP",
            "X-Client-IP",
            "X-Cluster-Client-IP",
            "Fastly-Client-IP",
            "X-Original-Host",
            "X-Original-URL",
            "X-Amzn-Trace-Id",
            "Tailscale-User-Login",
            "X-Envoy-External-Address",
            "X-Azure-FDID",
            "Origin",
            "Referer",
        ] {
            assert!(!asks("/", &[("host", "localhost"), (name, "x")]), "{name}");
        }
        for (name, value) in [
            ("content-type", "application/json"),
            ("user-agent", "curl/8"),
            ("x-request-id", "1"),
            ("idempotency-key", "1"),
            ("sec-fetch-site", "none"),
        ] {
            assert!(asks("/", &[("host", "localhost"), (name, value)]), "{name}");
        }
        for site in ["cross-site", "same-site", "same-origin"] {
            let headers = [("host", "localhost"), ("sec-fetch-site", site)];
            assert!(!asks("/", &headers), "{site}");
        }
    }
}
