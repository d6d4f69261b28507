//! Messages on their way to a phone, and what follows when they arrive.

use serde::{Deserialize, Serialize};
use whatsapp_rust::waproto::whatsapp::message::PeerDataOperationRequestMessage;

use super::chat::Chat;
use super::number::{DeviceAddress, Form};
use super::signal::Sealed;

/// A message on its way to a phone.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Envelope {
    pub(super) id: Box<str>,
    pub(super) from: DeviceAddress,
    pub(super) chat: Chat,
    /// By which name the sender called this phone.
    pub(super) form: Form,
    /// In seconds.
    pub(super) timestamp: i64,
    /// How often the phone has asked for it before.
    pub(super) retries: u8,
    pub(super) parts: Vec<EncryptedPart>,
}

/// One encrypted part of a message.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct EncryptedPart {
    /// `pkmsg`, `msg` or `skmsg`.
    pub(super) kind: Box<str>,
    #[serde(with = "super::base64::text")]
    pub(super) bytes: Box<[u8]>,
}

/// What follows from a message that arrived.
pub(super) enum Effect {
    /// The phone tells the sender about it.
    Receipt {
        envelope: ReceiptHeading,
        kind: Option<&'static str>,
    },
    /// The phone asks for the message again.
    Retry { envelope: ReceiptHeading, count: u8 },
    /// The phone answers with the same text.
    Echo { chat: Chat, text: String },
    /// The message has a file, which the phone fetches.
    Fetch { chat: Chat, id: Box<str> },
    /// A companion wants the keys of the account's settings.
    ShareKeys { with: DeviceAddress },
    /// A companion wants to know something of the phone's messages.
    Recall {
        with: DeviceAddress,
        /// The id of the message that asked.
        asked: Box<str>,
        what: Box<PeerDataOperationRequestMessage>,
    },
}

/// What a receipt says about the message.
#[derive(Clone)]
pub(super) struct ReceiptHeading {
    pub(super) id: Box<str>,
    pub(super) from: DeviceAddress,
    pub(super) chat: Chat,
    pub(super) form: Form,
    pub(super) timestamp: i64,
}

impl From<Sealed> for EncryptedPart {
    fn from(sealed: Sealed) -> Self {
        Self {
            kind: sealed.kind.into(),
            bytes: sealed.bytes.into(),
        }
    }
}
