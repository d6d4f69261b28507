//! What WhatsApp carries, in the gateway's own words: no library type, no JSON of any dialect.

use serde::{Deserialize, Serialize};

use super::direct_path::DirectPath;
pub use super::location::{Degrees, Location};
use super::special::Special;
use crate::bytes64::Bytes64;
use crate::ids::{Hash, MessageId};
use crate::jid::Jid;
use crate::time::Timestamp;

/// What a message that we send says. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutgoingContent {
    /// Words, with the people they mention and the message they answer.
    Text {
        /// The words, exactly as the receiver reads them.
        body: String,
        /// Who is mentioned and so notified.
        mentions: Vec<Jid>,
        /// The message that is answered.
        quote: Option<Quote>,
    },
    /// An emoji on a message; an empty one removes it.
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
    /// Deletes a message of ours for everyone.
    Revoke {
        /// The message that goes.
        target: MessageId,
    },
    /// A file that lies at WhatsApp's servers.
    Media {
        /// Which: the row of the uploaded file, so that a thousand messages hold its thumbnail once.
        file: FileKey,
        /// How it is shown.
        kind: MediaKind,
        /// Its type, when the sender names another than was found.
        mimetype: Option<String>,
        /// The name of a document.
        file_name: Option<String>,
        /// The words below it.
        caption: Option<String>,
        /// The album it is part of.
        album: Option<MessageId>,
        /// Who is mentioned, and what it answers.
        context: Context,
    },
    /// The head of an album: the next images and videos name it.
    Album {
        /// How many images follow.
        images: u32,
        /// How many videos follow.
        videos: u32,
    },
    /// A location.
    Location {
        /// Where.
        place: Location,
        /// Who is mentioned, and what it answers.
        context: Context,
    },
    /// Contact cards.
    Contacts {
        /// The cards, at least one.
        cards: Vec<ContactCard>,
        /// Who is mentioned, and what it answers.
        context: Context,
    },
    /// A question with answers to choose from.
    Poll {
        /// The question.
        question: String,
        /// The answers.
        options: Vec<String>,
        /// How many may be chosen; 0 is any number.
        selectable: u32,
        /// Opens the votes; only we and those who see the poll have it.
        secret: Bytes64,
        /// Who is mentioned, and what it answers.
        context: Context,
    },
}

impl OutgoingContent {
    /// The words that it shows.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text { body, .. } | Self::Edit { body, .. } => Some(body),
            Self::Reaction { emoji, .. } => Some(emoji),
            Self::Media { caption, .. } => caption.as_deref(),
            Self::Poll { question, .. } => Some(question),
            Self::Location { place, .. } => place.name.as_deref(),
            Self::Contacts { .. } | Self::Album { .. } | Self::Revoke { .. } => None,
        }
    }
}

/// What may accompany any message. Stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// Who is mentioned and so notified.
    pub mentions: Vec<Jid>,
    /// The message that is answered.
    pub quote: Option<Quote>,
}

/// How a file is shown. Stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaKind {
    /// An image.
    Image,
    /// A video.
    Video,
    /// A short video that plays by itself, without sound.
    Gif,
    /// Music or speech.
    Audio,
    /// A voice note.
    Voice,
    /// Any file, by its name.
    Document,
    /// An image without a frame.
    Sticker,
}

impl MediaKind {
    /// The word in requests, answers and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Gif => "gif",
            Self::Audio => "audio",
            Self::Voice => "voice",
            Self::Document => "document",
            Self::Sticker => "sticker",
        }
    }
}

/// Which uploaded file: the hash of what the client gave, and what was made of it. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileKey {
    /// SHA-256 of the file as it was given.
    pub sha256: Hash,
    /// What was made of it: the kind, and whether the original bytes were kept.
    pub purpose: String,
}

/// A file at WhatsApp's servers: where it lies, how it is opened, how it looks before it is. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Where it lies and how it is opened.
    pub pointer: Pointer,
    /// Its type.
    pub mimetype: String,
    /// What is known of its look.
    pub look: MediaInfo,
}

/// Where a file lies at WhatsApp's servers and how it is opened. Stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// The whole address, where it was told.
    pub url: Option<String>,
    /// The path that every media host answers.
    pub direct_path: DirectPath,
    /// What opens it.
    pub key: Bytes64,
    /// When the key was made, in seconds since 1970.
    pub keyed_at: i64,
    /// SHA-256 of the file itself.
    pub sha256: Bytes64,
    /// SHA-256 of the sealed file.
    pub sealed_sha256: Bytes64,
    /// Bytes of the file itself.
    pub length: u64,
    /// What a player checks pieces with.
    pub sidecar: Option<Bytes64>,
}

/// Hides the key.
impl std::fmt::Debug for Pointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pointer")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// What is known of a file's look before it is opened. Stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaInfo {
    /// A small JPEG image.
    pub thumbnail: Option<Bytes64>,
    /// Pixels.
    pub width: Option<u32>,
    /// Pixels.
    pub height: Option<u32>,
    /// How long it plays.
    pub seconds: Option<u32>,
    /// Whether a sticker moves.
    pub animated: bool,
}

/// A contact card. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactCard {
    /// The name that is shown.
    pub name: String,
    /// The card as a vCard (RFC 2426).
    pub vcard: String,
}

/// The message that an answer shows above itself. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// Its id.
    pub id: MessageId,
    /// Who wrote it; `None` when we did.
    pub sender: Option<Jid>,
    /// Its words, as far as we know them.
    pub text: String,
    /// What it shows besides words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<QuotedContent>,
}

/// What a message that is answered shows above the answer. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum QuotedContent {
    /// A file.
    File(Box<AttachedFile>),
    /// A location.
    Place(Location),
    /// Contact cards.
    Cards(Vec<ContactCard>),
}

/// One person by both of the names WhatsApp may give them. Stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The same of what its wrapper holds, when it has one.
    pub inner: Option<&'static str>,
    /// What it says.
    pub what: IncomingContent,
    /// The message that it comments on.
    pub comments_on: Option<MessageId>,
    /// The message it answers.
    pub quoted: Option<MessageId>,
    /// Who is mentioned.
    pub mentions: Vec<Jid>,
    /// Whether everybody is mentioned without being named.
    pub mentions_all: bool,
    /// When the messages of its chat disappear, as far as it tells.
    pub timer: Option<DisappearingTimer>,
}

/// After how long the messages of a chat disappear. Stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisappearingTimer {
    /// Seconds; 0 is never.
    pub seconds: u32,
    /// When that was chosen, in seconds since 1970.
    pub set: i64,
}

/// What a message that arrived says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IncomingContent {
    /// Words.
    Text(String),
    /// An emoji on another message; empty when it was removed.
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
    /// An earlier message was deleted for everyone.
    Revoke {
        /// The message that went.
        target: MessageId,
        /// Who wrote it, when it is said to be somebody else's, as by an admin of a group.
        author: Option<Jid>,
    },
    /// A file.
    Media(Box<AttachedFile>),
    /// A location, with its text.
    Location(Location),
    /// Contact cards.
    Contacts(Vec<ContactCard>),
    /// A question.
    Poll {
        /// The question.
        question: String,
        /// The answers.
        options: Vec<String>,
    },
    /// An answer to a poll, still sealed.
    Vote(Box<SealedVote>),
    /// Something of a rarer kind.
    Special {
        /// Its words.
        text: Option<String>,
        /// What it is.
        what: Box<Special>,
        /// The file that it shows.
        file: Option<Box<AttachedFile>>,
    },
    /// Something that is not understood, told so that it is not lost.
    Other {
        /// Words beside it.
        caption: Option<String>,
        /// The message itself, unless it is very large.
        raw: Option<Bytes64>,
        /// How many bytes it has.
        size: usize,
    },
    /// Bookkeeping between devices that no person sees.
    Nothing,
}

/// A file in a message that arrived. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedFile {
    /// How it is shown.
    pub kind: MediaKind,
    /// The file.
    pub file: Attachment,
    /// The name of a document.
    pub name: Option<String>,
    /// The words below it.
    pub caption: Option<String>,
    /// Whether it may be looked at once only.
    pub view_once: bool,
}

/// A vote that only the holder of the poll's secret can open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedVote {
    /// The poll.
    pub poll: MessageId,
    /// The sealed hashes of the chosen answers.
    pub payload: Vec<u8>,
    /// The nonce.
    pub nonce: Vec<u8>,
}

/// How far a message of ours has come. The order is the order of progress. Stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MessageState {
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

impl MessageState {
    /// The progress of this word.
    pub fn parse(word: &str) -> Option<Self> {
        use MessageState::{Delivered, Failed, Played, Read, Sending, Sent};
        let all = [Sending, Failed, Sent, Delivered, Read, Played];
        all.into_iter().find(|progress| progress.as_str() == word)
    }

    /// The word in events and answers.
    pub fn as_str(self) -> &'static str {
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
    pub progress: MessageState,
    /// When, by WhatsApp's clock.
    pub at: Timestamp,
}

/// A message that arrived and could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableMessage {
    /// Where it comes from; it says nothing.
    pub heading: Incoming,
    /// Why.
    pub why: UnreadableReason,
}

/// Why a message could not be read. Stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnreadableReason {
    /// It could not be decrypted; its sender is asked to send it again.
    Undecryptable,
    /// It may be looked at once, on the phone only.
    ViewOnce,
    /// It is not for linked devices.
    ElsewhereOnly,
}

impl UnreadableReason {
    /// The reason of this word.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Self::Undecryptable, Self::ViewOnce, Self::ElsewhereOnly];
        all.into_iter().find(|why| why.as_str() == word)
    }

    /// The word in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undecryptable => "undecryptable",
            Self::ViewOnce => "viewOnce",
            Self::ElsewhereOnly => "elsewhereOnly",
        }
    }
}

/// What happens on a connection besides messages, in order of arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionEvent {
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
    Paired {
        /// The account's number.
        number: Option<String>,
        /// Its hidden id.
        lid: Option<Jid>,
    },
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
    /// Somebody wrote what could not be read.
    Unreadable(Box<UnreadableMessage>),
    /// Somebody calls.
    Call(IncomingCall),
    /// A group changed.
    Group(GroupChange),
}

/// Somebody calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomingCall {
    /// The call's id.
    pub id: String,
    /// Who calls, as WhatsApp names them.
    pub from: Jid,
    /// Who calls, by both names.
    pub person: Person,
    /// With video.
    pub video: bool,
    /// When, by WhatsApp's clock.
    pub at: Timestamp,
}

/// A group changed, or was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupChange {
    /// The group.
    pub group: Jid,
    /// Who changed it.
    pub by: Option<Jid>,
    /// What happened, in one word of WhatsApp: `add`, `remove`, `subject` and so on.
    pub action: String,
    /// The members it happened to; of a new group all.
    pub participants: Vec<Jid>,
    /// The group's new name.
    pub subject: Option<String>,
    /// After how many seconds its messages disappear from now on; 0 is never.
    pub timer: Option<u32>,
    /// When, by WhatsApp's clock.
    pub at: Timestamp,
}
