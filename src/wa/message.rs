//! What WhatsApp carries, in the gateway's own words: no library type, no JSON of any dialect.

use serde::{Deserialize, Serialize};

use crate::ids::MessageId;
use crate::jid::Jid;
use crate::time::Timestamp;

/// What a message that we send says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outgoing {
    /// Words, with the people they mention and the message they answer.
    Text {
        /// The words, exactly as the receiver reads them.
        body: String,
        /// Who is mentioned and so notified.
        mentions: Vec<Jid>,
        /// The message that is answered.
        quote: Option<Quote>,
    },
    /// An emoji on a message; an empty one takes it back.
    Reaction {
        /// The message that is reacted to.
        target: MessageId,
        /// Whether we wrote that message.
        target_from_me: bool,
        /// Who wrote it, in a group.
        target_sender: Option<Jid>,
        /// The emoji.
        emoji: String,
    },
    /// New words for a message of ours.
    Edit {
        /// The message that changes.
        target: MessageId,
        /// Its new words.
        body: String,
        /// Who is mentioned in them.
        mentions: Vec<Jid>,
    },
    /// Takes a message of ours back for everybody.
    Revoke {
        /// The message that goes.
        target: MessageId,
    },
}

/// The message that an answer shows above itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// Its id.
    pub id: MessageId,
    /// Who wrote it; `None` when we did.
    pub sender: Option<Jid>,
    /// Its words, as far as we know them.
    pub text: String,
}

/// One person by both of the names WhatsApp may give them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Person {
    /// The phone number's digits, when known.
    pub number: Option<String>,
    /// The hidden id (`..@lid`), when known.
    pub lid: Option<Jid>,
}

/// A message that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// Its id.
    pub id: MessageId,
    /// Where it was written; a person's chat is named by number when the number is known.
    pub chat: Jid,
    /// Who wrote it, as WhatsApp names them.
    pub sender: Jid,
    /// Who wrote it, by both names.
    pub person: Person,
    /// Whether the account's owner wrote it on another device.
    pub from_me: bool,
    /// When, by WhatsApp's clock.
    pub at: Timestamp,
    /// The name that the writer gave themselves.
    pub push_name: String,
    /// The first key of the message object, as the original program names types.
    pub kind: &'static str,
    /// What it says.
    pub what: Said,
    /// The message it answers.
    pub quoted: Option<MessageId>,
    /// Who is mentioned.
    pub mentions: Vec<Jid>,
}

/// What a message that arrived says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Words.
    Text(String),
    /// An emoji on another message; empty when it was taken back.
    Reaction {
        /// The message it is on.
        target: MessageId,
        /// The emoji.
        emoji: String,
    },
    /// New words for an earlier message.
    Edit {
        /// The message that changed.
        target: MessageId,
        /// Its new words.
        body: String,
    },
    /// An earlier message was taken back.
    Revoke {
        /// The message that went.
        target: MessageId,
    },
    /// A file, a place, a contact or something else, with its caption.
    Other {
        /// Words beside it.
        caption: Option<String>,
    },
    /// Bookkeeping between devices that no person sees.
    Nothing,
}

/// How far a message of ours has come. The order is the order of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Progress {
    /// Stored, being handed to WhatsApp.
    Sending,
    /// Refused, or never acknowledged.
    Failed,
    /// WhatsApp's server acknowledged it.
    Sent,
    /// It reached the receiver's phone.
    Delivered,
    /// The receiver saw it.
    Read,
    /// The receiver played it.
    Played,
}

impl Progress {
    /// The word in events and answers.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Failed => "failed",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Played => "played",
        }
    }
}

/// A receipt for messages of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The messages.
    pub ids: Vec<MessageId>,
    /// The chat they are in.
    pub chat: Jid,
    /// Who received or read them.
    pub by: Jid,
    /// How far they have come.
    pub progress: Progress,
    /// When, by WhatsApp's clock.
    pub at: Timestamp,
}

/// What happens on a connection besides messages, in order of arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// A QR code to be scanned, and how many seconds it lives.
    Qr {
        /// The text of the code.
        code: String,
        /// Its life in seconds.
        seconds: u64,
    },
    /// All QR codes of this attempt ran out.
    QrRanOut,
    /// The phone accepted us; the connection is made anew now.
    Paired,
    /// Pairing was refused.
    PairingFailed(String),
    /// WhatsApp asks for a passkey, which only a browser can give.
    PasskeyAsked,
    /// Logged in and ready.
    Connected {
        /// The account's number.
        number: Option<String>,
        /// The account's hidden id.
        lid: Option<Jid>,
        /// The account's own name.
        name: String,
    },
    /// The account's own name became known or changed.
    Named(String),
    /// The connection ended; the library makes it anew by itself.
    Disconnected(String),
    /// WhatsApp's server could not be reached; the library tries again.
    Unreachable(String),
    /// The phone, or WhatsApp, ended the pairing for good.
    LoggedOut(String),
    /// Another program uses the same pairing.
    Replaced,
    /// WhatsApp banned the account for a time.
    Banned {
        /// Seconds until it ends.
        seconds: u64,
        /// Why, in words.
        why: String,
    },
    /// WhatsApp does not take this version of the client any more.
    Outdated,
    /// WhatsApp refused the connection for another reason.
    Refused(String),
    /// A receipt.
    Receipt(Receipt),
    /// Somebody calls.
    Call {
        /// The call's id.
        id: String,
        /// Who calls, as WhatsApp names them.
        from: Jid,
        /// Who calls, by both names.
        person: Person,
        /// With picture.
        video: bool,
        /// When.
        at: Timestamp,
    },
    /// A group changed.
    Group {
        /// The group.
        group: Jid,
        /// Who changed it.
        by: Option<Jid>,
        /// What happened, in one word: `add`, `remove`, `subject` and so on.
        action: String,
        /// The members it happened to.
        participants: Vec<Jid>,
        /// The group's new name.
        subject: Option<String>,
        /// When.
        at: Timestamp,
    },
}
