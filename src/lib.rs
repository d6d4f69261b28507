//! Warung: a WhatsApp gateway in one file.
//!
//! `ARCHITECTURE.md` is the map. In short: [`server`] puts everything together; [`api`] adapts HTTP
//! dialects to [`domain`], which decides, keeps rows in [`store`] and speaks to WhatsApp through
//! [`wa`]; [`worker`] holds the loops that run without a request; [`http`] is the transport. With the
//! feature `sandbox` there is also a simulated WhatsApp network.

pub mod api;
pub mod at_rest;
pub mod bytes64;
pub mod commands;
pub mod config;
pub mod domain;
mod embedded;
pub mod error;
pub mod http;
pub mod ids;
pub mod jid;
pub mod json;
pub mod licences;
pub mod logging;
pub mod memory;
pub mod names;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod seal;
pub mod self_check;
pub mod server;
pub mod store;
pub mod systemd;
pub mod time;
pub mod wa;
pub mod worker;
