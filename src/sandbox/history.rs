//! The history that a phone shows to a new companion. It is empty, but clients wait for it.

use std::sync::Arc;

use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::waproto::whatsapp::history_sync::HistorySyncType as Kind;
use whatsapp_rust::waproto::whatsapp::message::protocol_message::Type;
use whatsapp_rust::waproto::whatsapp::message::{
    HistorySyncNotification, HistorySyncType, ProtocolMessage,
};
use whatsapp_rust::waproto::whatsapp::{HistorySync, Message, Pushname};

use super::network::Network;
use super::number::Address;

impl Network {
    /// The phone sends its history to a companion that was just linked.
    pub(super) fn share_history(self: &Arc<Self>, with: Address) {
        let phone = Address::phone(with.number);
        let history = HistorySync {
            sync_type: Kind::INITIAL_BOOTSTRAP,
            chunk_order: Some(1),
            progress: Some(100),
            pushnames: vec![Pushname {
                id: Some(phone.pn().to_string()),
                pushname: Some(self.name_of(with.number)),
            }],
            ..Default::default()
        };
        let notification = HistorySyncNotification {
            sync_type: Some(HistorySyncType::INITIAL_BOOTSTRAP),
            chunk_order: Some(1),
            progress: Some(100),
            initial_hist_bootstrap_inline_payload: Some(stored(&history.encode_to_vec())),
            ..Default::default()
        };
        let protocol = ProtocolMessage {
            r#type: Some(Type::HISTORY_SYNC_NOTIFICATION),
            history_sync_notification: MessageField::some(notification),
            ..Default::default()
        };
        let message = Message {
            protocol_message: MessageField::some(protocol),
            ..Default::default()
        };
        self.send_peer_message(with, &message);
    }
}

/// The bytes in the zlib format, uncompressed. Invariant: fewer than 65,536.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("Invariant: a short history");
    let mut out = vec![0x78, 0x01, 0x01];
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend(bytes);
    let (mut a, mut b) = (1u32, 0u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    out.extend((b << 16 | a).to_be_bytes());
    out
}
