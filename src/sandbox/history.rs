//! What a phone shows its companions of what it remembers: its chats to a new one, and older or
//! single messages to one that asks for them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::waproto::whatsapp::history_sync::HistorySyncType as Kind;
use whatsapp_rust::waproto::whatsapp::message::peer_data_operation_request_message::HistorySyncOnDemandRequest;
use whatsapp_rust::waproto::whatsapp::message::peer_data_operation_request_response_message::PeerDataOperationResult;
use whatsapp_rust::waproto::whatsapp::message::peer_data_operation_request_response_message::peer_data_operation_result::PlaceholderMessageResendResponse;
use whatsapp_rust::waproto::whatsapp::message::protocol_message::Type;
use whatsapp_rust::waproto::whatsapp::message::{
    HistorySyncNotification, HistorySyncType, PeerDataOperationRequestMessage,
    PeerDataOperationRequestResponseMessage, PeerDataOperationRequestType, ProtocolMessage,
};
use whatsapp_rust::waproto::whatsapp::{
    Conversation, HistorySync, HistorySyncMsg, Message, MessageKey, PhoneNumberToLIDMapping,
    Pushname, WebMessageInfo,
};

use super::chat::Chat;
use super::network::Network;
use super::number::{DeviceAddress, Form, Number};
use super::profile::SaltBy;

/// How many messages of each chat a new companion is shown.
const SHOWN: usize = 50;

/// A message that a phone got or sent.
pub(super) struct HistoryMessage {
    pub(super) id: Box<str>,
    pub(super) chat: Chat,
    pub(super) from: Number,
    /// In seconds.
    pub(super) at: i64,
    pub(super) body: Box<[u8]>,
}

impl Network {
    /// The phone sends its history to a companion that was just linked.
    pub(super) fn share_history(self: &Arc<Self>, with: DeviceAddress) {
        let phone = DeviceAddress::phone(with.number);
        let mut chats: BTreeMap<Chat, Vec<HistoryMessage>> = BTreeMap::new();
        for message in self.directory.phone(with.number).remembered() {
            chats.entry(message.chat.clone()).or_default().push(message);
        }
        let people = chats.keys().filter_map(|chat| match chat {
            Chat::Person(number) => Some(*number),
            _ => None,
        });
        let names = std::iter::once(with.number).chain(people.clone());
        let history = HistorySync {
            sync_type: Kind::INITIAL_BOOTSTRAP,
            chunk_order: Some(1),
            progress: Some(100),
            pushnames: names
                .map(|number| Pushname {
                    id: Some(DeviceAddress::phone(number).pn().to_string()),
                    pushname: Some(self.name_of(number)),
                })
                .collect(),
            phone_number_to_lid_mappings: people
                .map(|number| PhoneNumberToLIDMapping {
                    pn_jid: Some(DeviceAddress::phone(number).pn().to_string()),
                    lid_jid: Some(DeviceAddress::phone(number).lid().to_string()),
                })
                .collect(),
            nct_salt: self
                .shares_salt(with.number, SaltBy::History)
                .then(|| self.token_salt(with.number).to_vec()),
            conversations: chats
                .iter()
                .map(|(chat, messages)| {
                    let newest = messages.len().saturating_sub(SHOWN);
                    self.conversation(phone.number, chat, &messages[newest..])
                })
                .collect(),
            ..Default::default()
        };
        self.send_history(with, HistorySyncType::INITIAL_BOOTSTRAP, &history, None);
    }

    /// A phone answers what one of its companions wants to know of its messages.
    pub(super) fn recall(
        self: &Arc<Self>,
        with: DeviceAddress,
        asked: &str,
        request: &PeerDataOperationRequestMessage,
    ) {
        if let Some(wanted) = request.history_sync_on_demand_request.as_option() {
            self.show_older(with, asked, wanted);
        }
        let wanted = &request.placeholder_message_resend_request;
        let keys = wanted.iter().filter_map(|one| one.message_key.as_option());
        let found: Vec<_> = keys
            .filter_map(|key| self.found(with.number, key))
            .map(|info| PeerDataOperationResult {
                placeholder_message_resend_response: MessageField::some(
                    PlaceholderMessageResendResponse {
                        web_message_info_bytes: Some(info.encode_to_vec()),
                    },
                ),
                ..Default::default()
            })
            .collect();
        if found.is_empty() {
            return;
        }
        let answer = PeerDataOperationRequestResponseMessage {
            peer_data_operation_request_type: Some(
                PeerDataOperationRequestType::PLACEHOLDER_MESSAGE_RESEND,
            ),
            stanza_id: Some(asked.to_owned()),
            peer_data_operation_result: found,
        };
        let protocol = ProtocolMessage {
            r#type: Some(Type::PEER_DATA_OPERATION_REQUEST_RESPONSE_MESSAGE),
            peer_data_operation_request_response_message: MessageField::some(answer),
            ..Default::default()
        };
        self.send_protocol(with, protocol);
    }

    /// The messages of a chat before the one that the companion has.
    fn show_older(
        self: &Arc<Self>,
        with: DeviceAddress,
        asked: &str,
        wanted: &HistorySyncOnDemandRequest,
    ) {
        let Some(chat) = wanted.chat_jid.as_deref().and_then(Chat::parse) else {
            return;
        };
        let mut messages = self.directory.phone(with.number).remembered();
        messages.retain(|message| message.chat == chat);
        let oldest = wanted.oldest_msg_id.as_deref();
        let before = messages
            .iter()
            .position(|message| Some(&*message.id) == oldest)
            .unwrap_or(messages.len());
        let count = wanted.on_demand_msg_count.unwrap_or(0);
        let first = before.saturating_sub(usize::try_from(count).unwrap_or(0));
        let shown = self.conversation(with.number, &chat, &messages[first..before]);
        let history = HistorySync {
            sync_type: Kind::ON_DEMAND,
            chunk_order: Some(1),
            progress: Some(100),
            conversations: vec![shown],
            ..Default::default()
        };
        let session = Some(asked.to_owned());
        self.send_history(with, HistorySyncType::ON_DEMAND, &history, session);
    }

    fn found(&self, phone: Number, key: &MessageKey) -> Option<WebMessageInfo> {
        let (id, chat) = (key.id.as_deref()?, Chat::parse(key.remote_jid.as_deref()?)?);
        let messages = self.directory.phone(phone).remembered();
        let wanted = |message: &&HistoryMessage| &*message.id == id && message.chat == chat;
        messages
            .iter()
            .find(wanted)
            .map(|message| self.as_shown(phone, message))
    }

    /// A chat with messages, which come oldest first.
    fn conversation(
        &self,
        phone: Number,
        chat: &Chat,
        messages: &[HistoryMessage],
    ) -> Conversation {
        let newest = messages.last().and_then(|last| u64::try_from(last.at).ok());
        let (name, token) = match chat {
            Chat::Person(number) => (Some(self.name_of(*number)), self.token_held(phone, *number)),
            Chat::Group(id) => {
                let groups = self.groups.lock();
                (groups.get(id).map(|group| group.subject.clone()), None)
            }
            Chat::Status => (None, None),
        };
        let (token, given) = token.unzip();
        Conversation {
            id: chat.jid(Form::Pn).to_string(),
            name,
            last_msg_timestamp: newest,
            conversation_timestamp: newest,
            unread_count: Some(0),
            tc_token: token,
            tc_token_timestamp: given.and_then(|at| u64::try_from(at).ok()),
            // The newest comes first.
            messages: messages
                .iter()
                .enumerate()
                .rev()
                .map(|(order, message)| HistorySyncMsg {
                    message: MessageField::some(self.as_shown(phone, message)),
                    msg_order_id: Some(order as u64 + 1),
                })
                .collect(),
            ..Default::default()
        }
    }

    fn as_shown(&self, phone: Number, message: &HistoryMessage) -> WebMessageInfo {
        let own = message.from == phone;
        let in_list = !matches!(message.chat, Chat::Person(_));
        let author = DeviceAddress::phone(message.from).jid(self.list_form(&message.chat));
        let author = (in_list && !own).then(|| author.to_string());
        WebMessageInfo {
            key: MessageField::some(MessageKey {
                remote_jid: Some(message.chat.jid(Form::Pn).to_string()),
                from_me: Some(own),
                id: Some(message.id.to_string()),
                participant: author.clone(),
            }),
            message: Message::decode_from_slice(&message.body)
                .map(MessageField::some)
                .unwrap_or_default(),
            message_timestamp: u64::try_from(message.at).ok(),
            participant: author,
            push_name: (!own).then(|| self.name_of(message.from)),
            ..Default::default()
        }
    }

    fn send_history(
        self: &Arc<Self>,
        with: DeviceAddress,
        kind: HistorySyncType,
        history: &HistorySync,
        asked: Option<String>,
    ) {
        let notification = HistorySyncNotification {
            sync_type: Some(kind),
            chunk_order: Some(1),
            progress: Some(100),
            initial_hist_bootstrap_inline_payload: Some(packed(&history.encode_to_vec())),
            peer_data_request_session_id: asked,
            ..Default::default()
        };
        let protocol = ProtocolMessage {
            r#type: Some(Type::HISTORY_SYNC_NOTIFICATION),
            history_sync_notification: MessageField::some(notification),
            ..Default::default()
        };
        self.send_protocol(with, protocol);
    }

    fn send_protocol(self: &Arc<Self>, with: DeviceAddress, protocol: ProtocolMessage) {
        let message = Message {
            protocol_message: MessageField::some(protocol),
            ..Default::default()
        };
        self.send_peer_message(with, &message);
    }
}

/// The bytes in the zlib format.
fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}
