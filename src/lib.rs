//! Warung: a WhatsApp gateway in one file.
//!
//! `ARCHITECTURE.md` is the map. In short: `server` puts everything together; `api` adapts HTTP
//! dialects to `domain`, which decides, keeps rows in `store` and speaks to WhatsApp through
//! `wa`; `worker` holds the loops that run without a request; `http` is the server and `net`
//! the one client. With the feature `sandbox` there is also a simulated WhatsApp network.
//!
//! The program needs only the modules that are always public. The others are public to tests, fuzz
//! targets and benchmarks, which are built with the sandbox; without it the compiler reports
//! whatever in them nobody uses.

#![cfg_attr(not(feature = "sandbox"), allow(unreachable_pub))]

pub mod commands;
pub mod config;
pub mod error;
pub mod licences;
pub mod logging;
#[cfg(feature = "sandbox")]
pub mod manual;
pub mod memory;
pub mod self_check;
pub mod version;
mod words;

#[cfg(not(feature = "sandbox"))]
mod api;
#[cfg(not(feature = "sandbox"))]
mod at_rest;
#[cfg(not(feature = "sandbox"))]
mod bytes64;
#[cfg(not(feature = "sandbox"))]
mod domain;
#[cfg(not(feature = "sandbox"))]
mod http;
#[cfg(not(feature = "sandbox"))]
mod ids;
#[cfg(not(feature = "sandbox"))]
mod import;
#[cfg(not(feature = "sandbox"))]
mod jid;
#[cfg(not(feature = "sandbox"))]
mod json;
#[cfg(not(feature = "sandbox"))]
mod names;
#[cfg(not(feature = "sandbox"))]
mod net;
#[cfg(not(feature = "sandbox"))]
mod plain_file;
#[cfg(not(feature = "sandbox"))]
mod seal;
#[cfg(not(feature = "sandbox"))]
mod server;
#[cfg(not(feature = "sandbox"))]
mod store;
#[cfg(not(feature = "sandbox"))]
mod systemd;
#[cfg(not(feature = "sandbox"))]
mod tasks;
#[cfg(not(feature = "sandbox"))]
mod time;
#[cfg(not(feature = "sandbox"))]
mod wa;
#[cfg(not(feature = "sandbox"))]
mod worker;

#[cfg(feature = "sandbox")]
pub mod api;
#[cfg(feature = "sandbox")]
pub mod at_rest;
#[cfg(feature = "sandbox")]
pub mod bytes64;
#[cfg(feature = "sandbox")]
pub mod domain;
#[cfg(feature = "sandbox")]
pub mod http;
#[cfg(feature = "sandbox")]
pub mod ids;
#[cfg(feature = "sandbox")]
pub mod import;
#[cfg(feature = "sandbox")]
pub mod jid;
#[cfg(feature = "sandbox")]
pub mod json;
#[cfg(feature = "sandbox")]
pub mod names;
#[cfg(feature = "sandbox")]
pub mod net;
#[cfg(feature = "sandbox")]
pub mod plain_file;
#[cfg(feature = "sandbox")]
pub mod sandbox;
#[cfg(feature = "sandbox")]
pub mod seal;
#[cfg(feature = "sandbox")]
pub mod server;
#[cfg(feature = "sandbox")]
pub mod store;
#[cfg(feature = "sandbox")]
pub mod systemd;
#[cfg(feature = "sandbox")]
pub mod tasks;
#[cfg(feature = "sandbox")]
pub mod time;
#[cfg(feature = "sandbox")]
pub mod wa;
#[cfg(feature = "sandbox")]
pub mod worker;
