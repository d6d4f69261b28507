//! The HTTP transport: listener, routes, requests, replies, server-sent events, and the one
//! outgoing client. It knows hyper, and no domain word and no dialect.
//!
//! A request takes this way: `listen` accepts and hands it to the [`App`], which finds the
//! [`Route`] among its [`Mount`]s, runs the handler and renders every refusal (404, 405, 413,
//! a panic's 500 and the rest) by the mount whose prefix matched. The body is read last and only
//! when the handler asks: hyper sends `100 Continue` no earlier, so a refused upload never starts.
//!
//! Bounds: `room` has connections that wait for their clients give way to new ones; `places` counts
//! what is under way; what is beyond is answered with 429.
//!
//! Invariant: a handler of a method other than GET, HEAD and OPTIONS runs in its own tracked
//! task. hyper drops a handler's future when the client hangs up; a side effect must not be
//! dropped half done. [`Request::hung_up`] tells it that nobody waits for the answer any more.

mod address;
mod app;
pub mod assets;
mod body;
pub mod client;
mod connection;
mod dial;
mod direct;
mod file;
mod form;
mod listen;
mod logins;
mod metrics;
mod multipart;
mod names;
mod outbody;
mod places;
mod policy;
mod pool;
mod query;
mod reply;
mod request;
mod room;
mod route;
pub mod sse;
mod table;
mod target;
#[cfg(test)]
mod tests;
mod upgrade;
mod whole;

pub use hyper::{Method, StatusCode, header};

pub use address::Cidr;
pub use app::{App, Asked, Claim};
pub use file::FileReply;
pub use form::{Fields, read_json};
pub use listen::{Limits, Listen, Server};
pub use metrics::Metrics;
pub use multipart::{Multipart, Part};
pub use places::{Place, Places};
pub use reply::Reply;
pub use request::{Peer, Request};
pub use route::{Mount, Refused, Route};
pub use upgrade::{Socket, Upgrade};
pub use whole::{BodyBudget, Held, Whole};

/// Writes bytes in base64, the standard alphabet with padding (RFC 4648, section 4).
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let of = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let bits = of(0) << 16 | of(1) << 8 | of(2);
        for i in 0..4 {
            if i <= group.len() {
                text.push(ALPHABET[(bits >> (18 - 6 * i)) as usize & 63] as char);
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod base64_tests {
    #[test]
    fn agrees_with_the_standard() {
        // RFC 4648, section 10.
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(super::base64(bytes.as_bytes()), text);
        }
        assert_eq!(super::base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }
}
