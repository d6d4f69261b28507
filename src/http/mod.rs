//! The HTTP server: listener, routes, requests, replies, server-sent events. It knows hyper, and no
//! domain word and no dialect.
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

mod app;
pub mod assets;
mod body;
mod budget;
mod concurrency;
mod conditions;
mod connection;
mod direct;
mod file;
mod form;
mod limits;
mod listen;
mod logins;
mod metrics;
mod multipart;
mod nested;
mod query;
mod reply;
mod request;
mod room;
mod route;
pub mod sse;
mod table;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(feature = "sandbox")]
mod upgrade;
mod whole;

#[cfg(feature = "sandbox")]
pub use hyper::header;
pub use hyper::{Method, StatusCode};

pub use app::App;
pub use budget::{BodyBudget, BudgetShare};
pub use concurrency::ConcurrencyLimit;
#[cfg(feature = "sandbox")]
pub use conditions::{RequestedRange, wanted};
pub use connection::Peer;
pub use direct::{OtherSite, host_of_url};
pub use file::FileReply;
pub use form::read_json;
pub use limits::Limits;
pub use listen::{HttpServer, Listen};
pub use metrics::HttpMetrics;
pub use multipart::FormPart;
pub use reply::Reply;
pub use request::Request;
pub use route::{HandlerFuture, Mount, MountClaim, Route};
#[cfg(feature = "sandbox")]
pub use upgrade::{Upgrade, UpgradedSocket};
pub use whole::Whole;
