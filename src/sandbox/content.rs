//! What a decrypted message says, in the words of the control API.

use whatsapp_rust::waproto::whatsapp::message::protocol_message::Type;
use whatsapp_rust::waproto::whatsapp::message::{
    PeerDataOperationRequestMessage, PollCreationMessage, PollUpdateMessage,
};
use whatsapp_rust::waproto::whatsapp::{ContextInfo, Message, MessageKey};

/// A message as a reader sees it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct MessageContent {
    /// `text`, `image`, `video`, `audio`, `document`, `sticker`, `location`, ...
    pub(super) kind: &'static str,
    pub(super) text: Option<String>,
    pub(super) caption: Option<String>,
    pub(super) mimetype: Option<String>,
    pub(super) file_name: Option<String>,
    pub(super) size: Option<u64>,
    /// Of the file itself, in lower-case hexadecimal digits.
    pub(super) sha256: Option<String>,
    pub(super) mentions: Vec<String>,
    pub(super) quoted_id: Option<String>,
    /// What is quoted, as it is shown above the answer.
    pub(super) quoted_kind: Option<&'static str>,
    /// After how many seconds it disappears.
    pub(super) expiration: Option<u32>,
}

/// What a message does.
pub(super) enum Act<'a> {
    /// It says something.
    Say(&'a Message),
    /// It replaces what the message with this id says.
    Edit { id: &'a str, message: &'a Message },
    /// It takes the message with this id back.
    Revoke { id: &'a str },
    /// It puts a sign on the message with this id, or takes it off (empty).
    React { id: &'a str, sign: &'a str },
    /// It chooses something in the poll with this id, in place of what was chosen before.
    Vote {
        id: &'a str,
        vote: &'a PollUpdateMessage,
    },
    /// It asks a phone for the keys of the account's settings.
    AskKeys,
    /// It asks a phone about its messages.
    AskPast(&'a PeerDataOperationRequestMessage),
    /// It is for the machinery only (keys, settings).
    Nothing,
}

/// Finds out what a message does.
pub(super) fn act(message: &Message) -> Act<'_> {
    let message = unwrapped(message);
    if let Some(protocol) = message.protocol_message.as_option() {
        let id = key_id(protocol.key.as_option());
        return match (protocol.r#type, id) {
            (Some(Type::REVOKE) | None, Some(id)) => Act::Revoke { id },
            (Some(Type::MESSAGE_EDIT), Some(id)) => match protocol.edited_message.as_option() {
                Some(message) => Act::Edit { id, message },
                None => Act::Nothing,
            },
            (Some(Type::APP_STATE_SYNC_KEY_REQUEST), _) => Act::AskKeys,
            (Some(Type::PEER_DATA_OPERATION_REQUEST_MESSAGE), _) => {
                let what = protocol.peer_data_operation_request_message.as_option();
                what.map_or(Act::Nothing, Act::AskPast)
            }
            _ => Act::Nothing,
        };
    }
    if let Some(reaction) = message.reaction_message.as_option() {
        return match key_id(reaction.key.as_option()) {
            Some(id) => Act::React {
                id,
                sign: reaction.text.as_deref().unwrap_or_default(),
            },
            None => Act::Nothing,
        };
    }
    if let Some(vote) = message.poll_update_message.as_option()
        && vote.vote.is_set()
        && let Some(id) = key_id(vote.poll_creation_message_key.as_option())
    {
        return Act::Vote { id, vote };
    }
    if describe(message).kind == UNKNOWN && message.sender_key_distribution_message.is_set() {
        return Act::Nothing;
    }
    Act::Say(message)
}

const UNKNOWN: &str = "unknown";

/// Puts a message into words.
pub(super) fn describe(message: &Message) -> MessageContent {
    let message = unwrapped(message);
    if let Some(text) = &message.conversation {
        return MessageContent {
            kind: "text",
            text: Some(text.clone()),
            ..Default::default()
        };
    }
    if let Some(m) = message.extended_text_message.as_option() {
        return MessageContent {
            kind: "text",
            text: m.text.clone(),
            ..Default::default()
        }
        .within(m.context_info.as_option());
    }
    if let Some(m) = message.image_message.as_option() {
        return file("image", &m.mimetype, m.file_length, &m.file_sha256)
            .captioned(&m.caption)
            .within(m.context_info.as_option());
    }
    if let Some(m) = message
        .video_message
        .as_option()
        .or(message.ptv_message.as_option())
    {
        return file("video", &m.mimetype, m.file_length, &m.file_sha256)
            .captioned(&m.caption)
            .within(m.context_info.as_option());
    }
    if let Some(m) = message.audio_message.as_option() {
        return file("audio", &m.mimetype, m.file_length, &m.file_sha256)
            .within(m.context_info.as_option());
    }
    if let Some(m) = message.document_message.as_option() {
        let mut content = file("document", &m.mimetype, m.file_length, &m.file_sha256);
        content.file_name = m.file_name.clone().or_else(|| m.title.clone());
        return content
            .captioned(&m.caption)
            .within(m.context_info.as_option());
    }
    if let Some(m) = message.sticker_message.as_option() {
        return file("sticker", &m.mimetype, m.file_length, &m.file_sha256)
            .within(m.context_info.as_option());
    }
    let said = |kind, text: Option<String>| MessageContent {
        kind,
        text,
        ..Default::default()
    };
    if let Some(m) = message.location_message.as_option() {
        let (lat, long) = (
            m.degrees_latitude.unwrap_or(0.0),
            m.degrees_longitude.unwrap_or(0.0),
        );
        let mut content = said("location", Some(format!("{lat},{long}")));
        content.caption = m.name.clone();
        return content.within(m.context_info.as_option());
    }
    if let Some(m) = message.contact_message.as_option() {
        let mut content = said("contact", m.vcard.clone());
        content.caption = m.display_name.clone();
        return content.within(m.context_info.as_option());
    }
    if let Some(m) = message.contacts_array_message.as_option() {
        let cards: Vec<_> = m
            .contacts
            .iter()
            .filter_map(|card| card.vcard.clone())
            .collect();
        return said("contact", Some(cards.join("\n"))).within(m.context_info.as_option());
    }
    if let Some(m) = poll_of(message) {
        let mut content = said("poll", m.name.clone());
        let options: Vec<_> = m
            .options
            .iter()
            .filter_map(|o| o.option_name.clone())
            .collect();
        content.caption = Some(options.join("\n"));
        return content.within(m.context_info.as_option());
    }
    if let Some(m) = message.poll_update_message.as_option() {
        let mut content = said("pollVote", None);
        content.quoted_id = key_id(m.poll_creation_message_key.as_option()).map(str::to_owned);
        return content;
    }
    if message.album_message.is_set() {
        return said("album", None);
    }
    if let Some(m) = message.list_message.as_option() {
        return said("list", m.description.clone());
    }
    if let Some(m) = message.buttons_message.as_option() {
        return said("buttons", m.content_text.clone());
    }
    if let Some(m) = message.group_invite_message.as_option() {
        return said("groupInvite", m.invite_code.clone());
    }
    if message.event_message.is_set() {
        return said("event", None);
    }
    said(UNKNOWN, None)
}

/// The poll that a message makes.
pub(super) fn poll_of(message: &Message) -> Option<&PollCreationMessage> {
    let polls = [
        &message.poll_creation_message,
        &message.poll_creation_message_v2,
        &message.poll_creation_message_v3,
        &message.poll_creation_message_v5,
    ];
    polls.into_iter().find_map(|poll| poll.as_option())
}

fn key_id(key: Option<&MessageKey>) -> Option<&str> {
    key?.id.as_deref()
}

/// The message inside wrappers that only say how to show it.
pub(super) fn unwrapped(message: &Message) -> &Message {
    let mut message = message;
    loop {
        let wrappers = [
            &message.ephemeral_message,
            &message.view_once_message,
            &message.view_once_message_v2,
            &message.document_with_caption_message,
            &message.edited_message,
            &message.group_mentioned_message,
            &message.view_once_message_v2_extension,
            &message.associated_child_message,
            &message.lottie_sticker_message,
        ];
        let inner = wrappers
            .into_iter()
            .find_map(|wrapper| wrapper.as_option()?.message.as_option());
        match inner {
            Some(inner) => message = inner,
            None => return message,
        }
    }
}

fn file(
    kind: &'static str,
    mimetype: &Option<String>,
    size: Option<u64>,
    sha256: &Option<Vec<u8>>,
) -> MessageContent {
    MessageContent {
        kind,
        mimetype: mimetype.clone(),
        size,
        sha256: sha256.as_deref().map(hex::encode),
        ..Default::default()
    }
}

impl MessageContent {
    fn captioned(mut self, caption: &Option<String>) -> Self {
        self.caption = caption.clone().filter(|caption| !caption.is_empty());
        self
    }

    fn within(mut self, context: Option<&ContextInfo>) -> Self {
        if let Some(context) = context {
            self.mentions = context.mentioned_jid.clone();
            self.quoted_id = context.stanza_id.clone();
            let quoted = context.quoted_message.as_option();
            self.quoted_kind = quoted.map(|quoted| describe(quoted).kind);
            self.expiration = context.expiration;
        }
        self
    }
}
