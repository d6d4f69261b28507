//! Warung: a WhatsApp gateway in one file.

pub mod api;
pub mod commands;
pub mod config;
pub mod domain;
pub mod error;
pub mod http;
pub mod ids;
pub mod jid;
pub mod logging;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod server;
pub mod store;
pub mod time;
pub mod wa;
pub mod worker;
