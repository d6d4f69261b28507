//! Sessions: one linked account each.
//!
//! `handle` is one session in memory and `row` what is stored of it; `registry` finds sessions.
//! `lifecycle` loads, makes, connects and deletes them, `pairing` links them to a phone, and
//! `connection_events` hears what their connections tell.

mod connection_events;
mod handle;
pub(super) mod imported;
mod lifecycle;
mod pairing;
mod registry;
mod row;
mod settings;
mod status;
mod token;

pub use handle::Session;
pub use registry::Sessions;
pub(in crate::domain) use registry::{first_that_has, not_found};
pub(super) use row::{ensure_session_exists, names, session_exists};
pub use settings::{SessionSettings, SettingsChange};
pub use status::{SessionState, SessionStatus};
pub use token::fits_key;
