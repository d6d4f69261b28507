//! Connections to others: the one outgoing HTTP client (webhooks, links that clients name, WhatsApp's
//! media), the dialer under it, and the resolver. It knows no server of ours and no domain word.
//!
//! A request takes this way: `target` judges the URL's text, `resolver` resolves its host, `dial` has
//! every address judged by the `policy` and connects to one that was, `client` keeps the time, the
//! pace and the sizes.
//!
//! Invariant: no connection goes to an address that the [`Policy`](client::Policy) does not permit,
//! whatever a URL, a name server or a redirect says.

mod address;
pub mod client;
mod dial;
mod outbody;
mod policy;
mod pool;
mod resolver;
mod target;
#[cfg(test)]
mod tests;

pub use hyper::{Method, header};

pub use address::Cidr;
pub(crate) use address::network;
