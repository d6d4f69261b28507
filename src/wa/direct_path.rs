//! Where a file lies at WhatsApp's media hosts, as its sender says.

use serde::{Deserialize, Deserializer, Serialize};
use url::Url;

/// The longest path that is taken; WhatsApp's own have about 200 characters.
const LONGEST: usize = 2048;

/// The path of a file, with its query. Stored.
///
/// Invariant: the library writes it right behind a host's name, so it begins with one slash and has no
/// character that could make another host of the two. The empty path leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct DirectPath(String);

impl DirectPath {
    /// Reads a path that a stranger or WhatsApp names.
    pub fn parse(text: &str) -> Option<Self> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._~/%?&=+-".contains(&b);
        if text.len() > LONGEST || !text.starts_with('/') || text.starts_with("//") {
            return None;
        }
        if !text.bytes().all(legal) {
            return None;
        }
        let path = text.split('?').next().unwrap_or_default();
        // A percent sign may hide a dot.
        let path = path.to_ascii_lowercase().replace("%2e", ".");
        let climbs = path.split('/').any(|segment| segment == "..");
        (!climbs).then(|| Self(text.to_owned()))
    }

    /// The path of a whole address. Its host is not looked at: the path is asked for at WhatsApp's.
    pub fn of_url(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok().filter(|url| url.scheme() == "https")?;
        let query = url.query().map(|query| format!("?{query}"));
        Self::parse(&format!("{}{}", url.path(), query.unwrap_or_default()))
    }

    /// Whether there is no path.
    pub fn leads_nowhere(&self) -> bool {
        self.0.is_empty()
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A row that an older version wrote may hold any text; the row stays readable, the path leads nowhere.
impl<'de> Deserialize<'de> for DirectPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Ok(Self::parse(&text).unwrap_or(Self(String::new())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_whatsapp_are_taken_and_those_that_choose_a_host_are_not() {
        for good in [
            "/v/t62.7119-24/12345_n.enc?ccb=11-4&oh=01_Q5Aa&oe=66F0_B&_nc_sid=5e03e0",
            "/o1/v/t62.7118-24/f1/m233/up-oil-image-5c2e?ccb=9-4&mms3=true",
            "/v/document/00ff.enc?ccb=11-4",
        ] {
            let path = DirectPath::parse(good);
            assert_eq!(path.expect("taken").as_str(), good);
        }
        let long = format!("/{}", "x".repeat(LONGEST));
        for bad in [
            "",
            "7/steal",
            ".evil.tld/x",
            "@host/x",
            ":80/x",
            "//host/x",
            "/a/../b",
            "/a/%2E%2e/b",
            "/..",
            "/x\r\nHost: y",
            "/x y",
            "/\\host",
            "/x#y",
            "/é",
            "https://host/x",
            &long,
        ] {
            assert_eq!(DirectPath::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn of_an_address_only_the_path_is_taken() {
        let path = DirectPath::of_url("https://evil.tld:8443/v/x.enc?ccb=11-4");
        assert_eq!(path.expect("taken").as_str(), "/v/x.enc?ccb=11-4");
        assert_eq!(DirectPath::of_url("http://mmg.whatsapp.net/v/x.enc"), None);
        assert_eq!(DirectPath::of_url("x"), None);
    }

    #[test]
    fn what_an_older_version_stored_can_still_be_read() {
        let read = |text: &str| serde_json::from_str::<DirectPath>(text).expect("readable");
        assert!(read("\"7/steal\"").leads_nowhere());
        assert_eq!(read("\"/v/x\"").as_str(), "/v/x");
    }
}
