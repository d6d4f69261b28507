//! Events: what happened, typed. Each dialect renders them in its own words.
//!
//! `log` keeps them in order, `webhook` knows who wants which where, `publish` records one together
//! with the deliveries that it asks for; `upgrade` reads what older versions stored.

pub mod delivery;
pub mod failing;
pub mod log;
pub mod publish;
pub mod upgrade;
pub mod webhook;

use serde::{Deserialize, Deserializer, Serialize};

use super::campaign;
use super::session::SessionState;
use crate::bytes64::Bytes64;
use crate::ids::{MediaId, MessageId, RowId};
use crate::jid::Jid;
use crate::time::Timestamp;
use crate::wa::message::{
    AttachedFile, ContactCard, GroupChange, Incoming, IncomingCall, IncomingContent, Location,
    MediaKind, MessageState, Person, UnreadableReason,
};
use crate::wa::special::Special;
use crate::words::stored_words;

/// One entry of the log. Stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The session's name.
    pub session: String,
    /// When it was recorded. Retention reads this field by its name.
    pub at: Timestamp,
    /// What happened.
    pub data: EventData,
}

impl Event {
    /// What it is about.
    pub fn kind(&self) -> EventKind {
        self.data.kind()
    }

    /// Whether it is about a message that the account's owner wrote on another device. Most clients
    /// wait for what others write, and would answer themselves.
    pub fn is_own_message(&self) -> bool {
        match &self.data {
            EventData::MessageReceived(message) => message.heading.from_me,
            EventData::MessageEdited(MessageEdited { heading, .. })
            | EventData::MessageDeleted(MessageDeleted { heading, .. })
            | EventData::MessageReaction(MessageReaction { heading, .. }) => heading.from_me,
            _ => false,
        }
    }
}

/// What happened. Stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EventData {
    /// A session came to another state.
    SessionUpdate(SessionUpdate),
    /// A message arrived.
    MessageReceived(Box<MessageReceived>),
    /// A message of ours came further, or failed.
    MessageStatus(MessageStatus),
    /// An earlier message has new words.
    MessageEdited(MessageEdited),
    /// An earlier message was deleted for everyone.
    MessageDeleted(MessageDeleted),
    /// Somebody reacted to a message.
    MessageReaction(MessageReaction),
    /// The file of a message was fetched, or cannot be.
    MessageMedia(MessageMedia),
    /// Somebody answered a poll of ours.
    PollVote(PollVote),
    /// A campaign came further.
    CampaignProgress(CampaignProgress),
    /// A campaign came to another status.
    CampaignStatus(CampaignStatus),
    /// Somebody left campaigns, or came back.
    ContactOptOut(ContactOptOut),
    /// Somebody calls.
    CallOffer(CallOffer),
    /// A group changed.
    GroupUpdate(GroupUpdate),
}

impl EventData {
    /// What it is about.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::SessionUpdate(_) => EventKind::SessionUpdate,
            Self::MessageReceived(_) => EventKind::MessageReceived,
            Self::MessageStatus(_) => EventKind::MessageStatus,
            Self::MessageEdited(_) => EventKind::MessageEdited,
            Self::MessageDeleted(_) => EventKind::MessageDeleted,
            Self::MessageReaction(_) => EventKind::MessageReaction,
            Self::MessageMedia(_) => EventKind::MessageMedia,
            Self::PollVote(_) => EventKind::PollVote,
            Self::CampaignProgress(_) => EventKind::CampaignProgress,
            Self::CampaignStatus(_) => EventKind::CampaignStatus,
            Self::ContactOptOut(_) => EventKind::ContactOptOut,
            Self::CallOffer(_) => EventKind::CallOffer,
            Self::GroupUpdate(_) => EventKind::GroupUpdate,
        }
    }
}

stored_words! {
    /// What an event is about: webhooks choose by it. Stored by its name; a dialect may have another.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum EventKind {
        /// A session came to another state.
        SessionUpdate = "session.update",
        /// A message arrived.
        MessageReceived = "message.received",
        /// A message of ours came further, or failed.
        MessageStatus = "message.status",
        /// An earlier message has new words.
        MessageEdited = "message.edited",
        /// An earlier message was deleted for everyone.
        MessageDeleted = "message.deleted",
        /// Somebody reacted to a message.
        MessageReaction = "message.reaction",
        /// The file of a message was fetched, or cannot be.
        MessageMedia = "message.media",
        /// Somebody answered a poll of ours.
        PollVote = "poll.vote",
        /// A campaign came further.
        CampaignProgress = "campaign.progress",
        /// A campaign came to another status.
        CampaignStatus = "campaign.status",
        /// Somebody left campaigns, or came back.
        ContactOptOut = "contact.optout",
        /// Somebody calls.
        CallOffer = "call.offer",
        /// A group changed.
        GroupUpdate = "group.update",
    }
}

impl EventKind {
    /// Reads kinds of a stored list, without those that only a newer version knows. A list of
    /// nothing else is an error: an empty one would mean all.
    fn known<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Vec<Self>, D::Error> {
        let names = Vec::<String>::deserialize(from)?;
        let known: Vec<_> = names.iter().filter_map(|name| Self::parse(name)).collect();
        if known.is_empty() && !names.is_empty() {
            return Err(serde::de::Error::custom("only events of unknown kinds"));
        }
        Ok(known)
    }
}

/// A session came to another state. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionUpdate {
    /// The state.
    pub state: SessionState,
    /// A sentence about it.
    pub detail: String,
}

/// Who wrote a message, where and when. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageHeading {
    /// The message's id.
    pub id: MessageId,
    /// Where it was written.
    pub chat: Jid,
    /// Who wrote it, as WhatsApp names them.
    pub sender: Jid,
    /// Who wrote it, by both names.
    pub person: Person,
    /// The name that the writer gave themselves.
    pub push_name: String,
    /// When, by WhatsApp's clock.
    pub at: Timestamp,
    /// Whether the account's owner wrote it on another device.
    pub from_me: bool,
}

impl MessageHeading {
    pub(super) fn of(incoming: &Incoming) -> Self {
        Self {
            id: incoming.id.clone(),
            chat: incoming.chat.clone(),
            sender: incoming.sender.clone(),
            person: incoming.person.clone(),
            push_name: incoming.push_name.clone(),
            at: incoming.at,
            from_me: incoming.from_me,
        }
    }
}

/// A message arrived. Stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MessageReceived {
    /// Who wrote it, where and when.
    pub heading: MessageHeading,
    /// The first key of WhatsApp's message object: `conversation`, `imageMessage` and so on.
    pub kind: String,
    /// The same of what its wrapper holds, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner_kind: Option<String>,
    /// The message it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quoted: Option<MessageId>,
    /// Who is mentioned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<Jid>,
    /// Whether everybody is mentioned without being named.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mentions_all: bool,
    /// The message that it comments on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comments_on: Option<MessageId>,
    /// What it says.
    pub content: ReceivedContent,
}

/// What a message that arrived says. Stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ReceivedContent {
    /// Words.
    Text(String),
    /// A file, with the words below it.
    Media {
        /// The words.
        caption: Option<String>,
        /// The file.
        file: FileInfo,
    },
    /// A location.
    Location(Location),
    /// Contact cards.
    Contacts(Vec<ContactCard>),
    /// A question with answers to choose from.
    Poll {
        /// The question.
        question: String,
        /// The answers.
        options: Vec<String>,
    },
    /// Something of a rarer kind.
    Special {
        /// Its words.
        text: Option<String>,
        /// What it is.
        what: Box<Special>,
        /// The file that it shows.
        file: Option<FileInfo>,
    },
    /// Something that is not understood.
    Other {
        /// Words beside it.
        caption: Option<String>,
        /// The message itself as protobuf, unless it is very large.
        raw: Option<Bytes64>,
        /// How many bytes it has.
        size: usize,
    },
    /// Something that could not be read.
    Unreadable(UnreadableReason),
}

/// What is known of a file before it is fetched. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// How it is shown.
    pub kind: MediaKind,
    /// Its MIME type, as its sender names it.
    pub mimetype: String,
    /// Bytes.
    pub size: u64,
    /// The name of a document.
    pub name: Option<String>,
    /// Pixels.
    pub width: Option<u32>,
    /// Pixels.
    pub height: Option<u32>,
    /// How long it plays, in seconds.
    pub seconds: Option<u32>,
    /// A small JPEG image.
    pub thumbnail: Option<Bytes64>,
    /// Whether it may be looked at once only.
    pub view_once: bool,
}

impl FileInfo {
    fn of(enclosed: &AttachedFile) -> Self {
        let (file, look) = (&enclosed.file, &enclosed.file.look);
        Self {
            kind: enclosed.kind,
            mimetype: file.mimetype.clone(),
            size: file.pointer.length,
            name: enclosed.name.clone(),
            width: look.width,
            height: look.height,
            seconds: look.seconds,
            thumbnail: look.thumbnail.clone(),
            view_once: enclosed.view_once,
        }
    }
}

/// A message of ours came further, or failed. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageStatus {
    /// The message.
    pub id: MessageId,
    /// Where it was written.
    pub chat: Jid,
    /// How far it has come.
    pub progress: MessageState,
    /// Who received or read it.
    pub by: Option<Jid>,
    /// When, by WhatsApp's clock.
    pub at: Timestamp,
    /// WhatsApp's refusal.
    pub refusal: Option<String>,
}

/// An earlier message has new words. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageEdited {
    /// Who says so, where and when.
    pub heading: MessageHeading,
    /// The message that changed.
    pub target: MessageId,
    /// Its new words.
    pub text: String,
}

/// An earlier message was deleted for everyone. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageDeleted {
    /// Who says so, where and when.
    pub heading: MessageHeading,
    /// The message that went.
    pub target: MessageId,
}

/// Somebody reacted to a message. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageReaction {
    /// Who, where and when.
    pub heading: MessageHeading,
    /// The message that is reacted to.
    pub target: MessageId,
    /// The emoji; empty when it was removed.
    pub emoji: String,
}

/// The file of a message was fetched, or cannot be. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageMedia {
    /// The message.
    pub id: MessageId,
    /// Where it was written.
    pub chat: Jid,
    /// What became of its file.
    pub outcome: FetchOutcome,
}

/// What became of a file that was to be fetched. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FetchOutcome {
    /// It is among the session's files.
    Fetched {
        /// Under this id; `None` when it was not kept.
        id: Option<MediaId>,
        /// Its MIME type.
        mimetype: String,
        /// The name of a document.
        name: Option<String>,
        /// Bytes.
        size: u64,
    },
    /// It cannot be had, for this reason.
    Failed(String),
}

/// Somebody answered a poll of ours. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PollVote {
    /// Who, where and when.
    pub heading: MessageHeading,
    /// The poll.
    pub poll: MessageId,
    /// What they chose now; nothing when they removed it.
    pub options: Vec<String>,
}

/// A campaign came further. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignProgress {
    /// The campaign.
    pub id: RowId,
    /// What it is called.
    pub name: String,
    /// Where it stands.
    pub status: campaign::CampaignState,
    /// How far it has come.
    pub statistics: campaign::Statistics,
}

/// A campaign came to another status. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignStatus {
    /// The campaign.
    pub id: RowId,
    /// What it is called.
    pub name: String,
    /// Where it stands now.
    pub status: campaign::CampaignState,
    /// A sentence about it.
    pub detail: Option<String>,
    /// How far it has come.
    pub statistics: campaign::Statistics,
}

/// Somebody left campaigns, or came back. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactOptOut {
    /// Their number.
    pub number: String,
    /// Whether they want no campaigns.
    pub suppressed: bool,
}

/// Somebody calls. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallOffer {
    /// The call's id.
    pub id: String,
    /// Who calls, as WhatsApp names them.
    pub from: Jid,
    /// Who calls, by both names.
    pub person: Person,
    /// Whether it is a video call.
    pub video: bool,
    /// When, by WhatsApp's clock.
    pub at: Timestamp,
}

/// A group changed. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupUpdate {
    /// The group.
    pub group: Jid,
    /// What happened, in one word of WhatsApp: `add`, `remove`, `subject` and so on.
    pub action: String,
    /// Who changed it.
    pub by: Option<Jid>,
    /// The members it happened to; of a new group all.
    pub participants: Vec<Jid>,
    /// The group's new name.
    pub subject: Option<String>,
    /// When, by WhatsApp's clock.
    pub at: Timestamp,
}

impl From<IncomingCall> for CallOffer {
    fn from(call: IncomingCall) -> Self {
        Self {
            id: call.id,
            from: call.from,
            person: call.person,
            video: call.video,
            at: call.at,
        }
    }
}

impl From<GroupChange> for GroupUpdate {
    fn from(change: GroupChange) -> Self {
        Self {
            group: change.group,
            action: change.action,
            by: change.by,
            participants: change.participants,
            subject: change.subject,
            at: change.at,
        }
    }
}

/// The event for a message that arrived; `None` for what is no event by itself.
pub(super) fn of_incoming(incoming: &Incoming) -> Option<EventData> {
    let heading = MessageHeading::of(incoming);
    let content = match &incoming.what {
        IncomingContent::Nothing | IncomingContent::Vote(_) => return None,
        IncomingContent::Reaction { target, emoji } => {
            return Some(EventData::MessageReaction(MessageReaction {
                heading,
                target: target.clone(),
                emoji: emoji.clone(),
            }));
        }
        IncomingContent::Edit { target, body } => {
            return Some(EventData::MessageEdited(MessageEdited {
                heading,
                target: target.clone(),
                text: body.clone(),
            }));
        }
        IncomingContent::Revoke { target, .. } => {
            let target = target.clone();
            return Some(EventData::MessageDeleted(MessageDeleted {
                heading,
                target,
            }));
        }
        IncomingContent::Text(text) => ReceivedContent::Text(text.clone()),
        IncomingContent::Special { text, what, file } => ReceivedContent::Special {
            text: text.clone(),
            what: what.clone(),
            file: file.as_deref().map(FileInfo::of),
        },
        IncomingContent::Other { caption, raw, size } => ReceivedContent::Other {
            caption: caption.clone(),
            raw: raw.clone(),
            size: *size,
        },
        IncomingContent::Media(enclosed) => ReceivedContent::Media {
            caption: enclosed.caption.clone(),
            file: FileInfo::of(enclosed),
        },
        IncomingContent::Location(place) => ReceivedContent::Location(place.clone()),
        IncomingContent::Contacts(cards) => ReceivedContent::Contacts(cards.clone()),
        IncomingContent::Poll { question, options } => ReceivedContent::Poll {
            question: question.clone(),
            options: options.clone(),
        },
    };
    Some(EventData::MessageReceived(Box::new(MessageReceived {
        heading,
        kind: incoming.kind.to_owned(),
        inner_kind: incoming.inner.map(str::to_owned),
        quoted: incoming.quoted.clone(),
        mentions: incoming.mentions.clone(),
        mentions_all: incoming.mentions_all,
        comments_on: incoming.comments_on.clone(),
        content,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Wanted {
        #[serde(deserialize_with = "EventKind::known")]
        events: Vec<EventKind>,
    }

    #[test]
    fn a_kind_of_a_newer_version_is_left_out_of_a_stored_list() {
        let read = |events: &str| {
            let stored = format!(r#"{{"events":[{events}]}}"#);
            serde_json::from_str::<Wanted>(&stored).map(|wanted| wanted.events)
        };
        let one = read(r#""call.offer","of.tomorrow""#).expect("a list");
        assert_eq!(one, [EventKind::CallOffer]);
        assert_eq!(read("").expect("all"), []);
        // Not a list of all.
        assert!(read(r#""of.tomorrow""#).is_err());
    }

    #[test]
    fn each_kind_is_found_by_its_name_and_stored_by_it() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::parse(kind.as_str()), Some(kind));
            let stored = serde_json::to_string(&kind).expect("JSON");
            assert_eq!(stored, format!("\"{}\"", kind.as_str()));
            assert_eq!(
                serde_json::from_str::<EventKind>(&stored).expect("a kind"),
                kind
            );
        }
        assert_eq!(EventKind::parse("message"), None);
        assert!(serde_json::from_str::<EventKind>("\"message\"").is_err());
    }
}
