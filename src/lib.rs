//! Warung: a WhatsApp gateway in one file.

pub mod api;
pub mod config;
pub mod domain;
pub mod error;
pub mod http;
pub mod ids;
pub mod jid;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod server;
pub mod store;
pub mod time;
pub mod wa;
pub mod worker;
