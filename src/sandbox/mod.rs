//! The simulated WhatsApp network: test bed, demo and benchmark rig.
//!
//! It speaks the real protocol (WebSocket frames, Noise, binary stanzas, Signal encryption), so the
//! gateway's real client runs against it unchanged. A [`Network`] lives in the process, outlives any
//! number of clients, and is driven through its methods, which stand for what people do with phones.

mod account;
mod actions;
mod base64;
mod certificate;
mod chat;
mod connection;
mod content;
mod directory;
mod groups;
mod inbox;
mod iq;
mod iq_account;
mod keys;
mod linking;
mod network;
mod noise;
mod number;
mod outbox;
mod pair_code;
mod pairing;
mod phone;
mod prekeys;
mod presence;
mod random;
mod routing;
mod sending;
mod settings;
mod signal;
mod stanza;
mod stats;
#[cfg(test)]
mod tests;
mod usync;
mod wire;

pub use actions::{AccountView, CompanionView, Overview, Typing};
pub use connection::{serve_stream, serve_websocket};
pub use inbox::{Reaction, ReceivedMessage};
pub use network::{Network, Options};
pub use number::Form;
pub use pairing::Linked;
pub use phone::{Profile, Receipts, SentMessage};
pub use stats::Stats;
