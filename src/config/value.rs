//! Reads the values of settings. What is refused is answered by what was expected, as a noun: the
//! place and, unless it is secret, the value are added by who knows them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, RangeInclusive};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Serializer;
use url::Url;

use crate::domain::guard::Guard;
use crate::http::Listen;
use crate::net::Cidr;

/// 1 MiB: less room than that holds nothing useful.
pub(super) const MIB: u64 = 1 << 20;
/// No bound of its own; the largest number that TOML can hold.
pub(super) const MANY: u64 = i64::MAX as u64;

/// A setting's value that is neither logged nor shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Deref for Secret {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl serde::Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(hidden)")
    }
}

type Read<T> = Result<T, String>;

fn when<T>(good: Option<T>, expected: &str) -> Read<T> {
    good.ok_or_else(|| expected.to_owned())
}

/// A number within bounds.
pub(super) fn whole<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Read<T> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| match (*range.start(), *range.end()) {
            (0, MANY) => "a whole number".into(),
            (from, MANY) => format!("a whole number of at least {from}"),
            (from, to) => format!("a whole number from {from} to {to}"),
        })
    }
}

pub(super) fn seconds(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Read<Duration> + Clone + Send + Sync + 'static {
    let number = whole(range);
    move |text| number(text).map(Duration::from_secs)
}

pub(super) fn as_seconds<S: Serializer>(time: &Duration, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_u64(time.as_secs())
}

pub(super) fn text(text: &str) -> Read<String> {
    let good = !text.is_empty() && !text.contains(char::is_control);
    when(good.then(|| text.into()), "a text without line breaks")
}

pub(super) fn path(text: &str) -> Read<PathBuf> {
    when((!text.is_empty()).then(|| text.into()), "a path")
}

pub(super) fn webhook_secret(text: &str) -> Read<Secret> {
    let good = (8..=256).contains(&text.len());
    when(good.then(|| text.into()), "a text of 8 to 256 characters")
}

pub(super) fn master_key(text: &str) -> Read<Secret> {
    // The original takes keys of any length; below 8 one guesses them.
    let good = text.len() >= 8 && text.bytes().all(|byte| byte.is_ascii_graphic());
    let expected = "at least 8 printable characters without spaces";
    when(good.then(|| text.into()), expected)
}

/// A country code as digits; a `+` before it does not count.
///
/// # Errors
/// What it should have been.
pub fn country_code(text: &str) -> Result<String, String> {
    let digits = text.trim_start_matches('+');
    let good = (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    when(good.then(|| digits.into()), "1 to 3 digits, such as 62")
}

pub(super) fn listen(text: &str) -> Read<String> {
    let good = text.parse::<Listen>().ok();
    let expected = "ADDR:PORT (such as 127.0.0.1:3000) or unix:PATH[:MODE]";
    when(good.map(|_| text.into()), expected)
}

pub(super) fn web(text: &str) -> Read<String> {
    // The parser leaves control characters out, and others would write them out.
    let url = Url::parse(text).ok();
    let url = url.filter(|_| !text.contains(char::is_control));
    let good = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    when(good.map(|_| text.into()), "an http:// or https:// URL")
}

/// A URL to which a path can be added.
pub(super) fn folder(text: &str) -> Read<String> {
    let expected = "an http:// or https:// URL without ? and #";
    let url = web(text).map_err(|_| expected.to_owned())?;
    when(
        (!url.contains(['?', '#'])).then(|| url.trim_end_matches('/').into()),
        expected,
    )
}

/// A URL without what is often secret in it, and whether anything was left out.
pub(super) fn without_secrets(text: &str) -> (String, bool) {
    let Ok(mut url) = Url::parse(text) else {
        return (String::new(), true);
    };
    let bare = url.username().is_empty() && url.password().is_none();
    if bare && url.query().is_none() && url.fragment().is_none() {
        return (text.to_owned(), false);
    }
    url.set_query(None);
    url.set_fragment(None);
    // Only a URL without a host refuses this, and that has neither.
    let _ = (url.set_username(""), url.set_password(None));
    (format!("{url}?..."), true)
}

pub(super) fn whatsapp(text: &str) -> Read<String> {
    let expected = "ws://127.0.0.1:PORT/ws/chat, on this machine";
    when(loopback_websocket(text).map(|_| text.into()), expected)
}

/// Takes `ws://LOOPBACK:PORT/PATH` apart.
///
/// Invariant: a build that skips the certificate check never leaves the machine.
pub(super) fn loopback_websocket(url: &str) -> Option<(String, u16, String)> {
    let rest = url.strip_prefix("ws://")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address: SocketAddr = authority.parse().ok()?;
    let loopback = address.ip().is_loopback();
    loopback.then(|| (address.ip().to_string(), address.port(), format!("/{path}")))
}

/// Items between commas.
fn list<T: FromStr>(text: &str, expected: &str) -> Read<Vec<T>> {
    let items = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty());
    when(items.map(|item| item.parse().ok()).collect(), expected)
}

pub(super) fn ports(text: &str) -> Read<Vec<u16>> {
    list(text, "a list of port numbers")
}

pub(super) fn addresses(text: &str) -> Read<Vec<IpAddr>> {
    list(text, "a list of IP addresses")
}

pub(super) fn ranges(text: &str) -> Read<Vec<String>> {
    let expected = "a list of address ranges such as 10.0.0.0/8";
    list::<Cidr>(text, expected)?;
    list(text, expected)
}

pub(super) fn guard(text: &str) -> Read<Guard> {
    let expected = "off, or numbers for a minute and a day such as 60,1000";
    when(text.parse().ok(), expected)
}

pub(super) fn as_text<S: Serializer>(value: &impl fmt::Display, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(value)
}

pub(super) fn version(text: &str) -> Read<(u32, u32, u32)> {
    let parts: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
    match parts.as_deref() {
        Some(&[a, b, c]) => Ok((a, b, c)),
        _ => Err("a version like 2.3000.1035194821".into()),
    }
}

pub(super) fn as_version<S: Serializer>(
    (a, b, c): &(u32, u32, u32),
    out: S,
) -> Result<S::Ok, S::Error> {
    out.collect_str(&format_args!("{a}.{b}.{c}"))
}
