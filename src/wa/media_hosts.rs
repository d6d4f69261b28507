//! Which hosts the library's requests may go to: whatever a message says, a file is asked for only
//! where WhatsApp's server said that files are.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use url::{Host, Url};

/// The domain of WhatsApp's media hosts.
const DOMAIN: &str = ".whatsapp.net";

/// The hosts of one connection. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct MediaHosts(Arc<RwLock<HashSet<(String, u16)>>>);

impl MediaHosts {
    /// WhatsApp's server named this host, which may have a port.
    pub(super) fn learn(&self, host: &str) {
        let url = Url::parse(&format!("https://{host}/")).ok();
        // A name that would be read as more than a host is none.
        let plain = url.filter(|url| url.path() == "/" && is_bare(url));
        if let Some(place) = plain.as_ref().and_then(place) {
            let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
            known.insert(place);
        }
    }

    /// Whether a request may go to this address.
    pub(super) fn permit(&self, url: &str) -> bool {
        let Some(url) = Url::parse(url).ok().filter(is_bare) else {
            return false;
        };
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        place(&url).is_some_and(|place| is_whatsapp(&url) || known.contains(&place))
    }
}

fn is_bare(url: &Url) -> bool {
    url.scheme() == "https" && url.username().is_empty() && url.password().is_none()
}

fn place(url: &Url) -> Option<(String, u16)> {
    Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
}

fn is_whatsapp(url: &Url) -> bool {
    let named = |name: &str| name.len() > DOMAIN.len() && name.ends_with(DOMAIN);
    matches!(url.host(), Some(Host::Domain(name)) if named(name)) && url.port().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_only_where_whatsapp_named() {
        let hosts = MediaHosts::default();
        let good = "https://media-sin6-1.cdn.whatsapp.net/v/x?auth=a";
        assert!(hosts.permit(good));
        for bad in [
            "https://mmg.whatsapp.net.evil.tld/x",
            "https://evil.tld/mmg.whatsapp.net",
            "https://mmg.whatsapp.net:8443/x",
            "https://mmg.whatsapp.net@evil.tld/x",
            "https://user:word@mmg.whatsapp.net/x",
            "http://mmg.whatsapp.net/x",
            "https://evilwhatsapp.net/x",
            "https://.whatsapp.net/x",
            "https://127.0.0.1:4101/x",
            "https://127.0.0.1:41017/x",
            "mmg.whatsapp.net/x",
        ] {
            assert!(!hosts.permit(bad), "{bad}");
        }
        hosts.learn("127.0.0.1:4101");
        hosts.learn("evil.tld/x");
        assert!(hosts.permit("https://127.0.0.1:4101/x"));
        assert!(!hosts.permit("https://127.0.0.1:41017/x"));
        assert!(!hosts.permit("https://127.0.0.1/x"));
        assert!(!hosts.permit("https://evil.tld/x"));
    }
}
