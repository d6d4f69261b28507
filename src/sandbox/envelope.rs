//! Messages on their way to a phone, and what follows when they arrive.

use serde::{Deserialize, Serialize};
use whatsapp_rust::waproto::whatsapp::message::PeerDataOperationRequestMessage;

use super::chat::Chat;
use super::number::{Address, Form};
use super::signal::Sealed;

/// A message on its way to a phone.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Envelope {
    pub(super) id: Box<str>,
    pub(super) from: Address,
    pub(super) chat: Chat,
    /// By which name the sender called this phone.
    pub(super) form: Form,
    /// In seconds.
    pub(super) timestamp: i64,
    /// How often the phone has asked for it before.
    pub(super) retries: u8,
    pub(super) parts: Vec<Part>,
}

/// One encrypted part of a message.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Part {
    /// `pkmsg`, `msg` or `skmsg`.
    pub(super) kind: Box<str>,
    #[serde(with = "super::base64::text")]
    pub(super) bytes: Box<[u8]>,
}

/// What follows from a message that arrived.
pub(super) enum Effect {
    /// The phone tells the sender about it.
    Receipt {
        envelope: Heading,
        kind: Option<&'static str>,
    },
    /// The phone asks for the message again.
    Retry { envelope: Heading, count: u8 },
    /// The phone answers with the same text.
    Echo { chat: Chat, text: String },
    /// The message has a file, which the phone fetches.
    Fetch { chat: Chat, id: Box<str> },
    /// A companion wants the keys of the account's settings.
    ShareKeys { with: Address },
    /// A companion wants to know something of the phone's messages.
    Recall {
        with: Address,
        /// The id of the message that asked.
        asked: Box<str>,
        what: Box<PeerDataOperationRequestMessage>,
    },
}

/// What a receipt says about the message.
#[derive(Clone)]
pub(super) struct Heading {
    pub(super) id: Box<str>,
    pub(super) from: Address,
    pub(super) chat: Chat,
    pub(super) form: Form,
    pub(super) timestamp: i64,
}

impl From<Sealed> for Part {
    fn from(sealed: Sealed) -> Self {
        Self {
            kind: sealed.kind.into(),
            bytes: sealed.bytes.into(),
        }
    }
}
