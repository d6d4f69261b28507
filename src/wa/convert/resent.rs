//! Messages that the account's own phone sends again.

use std::sync::Arc;

use whatsapp_rust::chrono::DateTime;
use whatsapp_rust::wacore::types::events::InboundMessage;
use whatsapp_rust::wacore::types::message::{MessageInfo, MessageSource};
use whatsapp_rust::wacore_binary::{self as wire, JidExt as _};
use whatsapp_rust::waproto;

/// The messages inside of a phone's answer to our question for them; nothing for other messages.
///
/// The library tells them too, but past the durability hook: what it tells may be lost in a crash.
pub(in crate::wa) fn resent(answer: &InboundMessage) -> Vec<InboundMessage> {
    let source = &answer.info.source;
    if !source.is_from_me || source.sender.device != 0 {
        return Vec::new();
    }
    let protocol = answer.message.protocol_message.as_option();
    let Some(results) = protocol
        .and_then(|p| p.peer_data_operation_request_response_message.as_option())
        .map(|response| &response.peer_data_operation_result)
    else {
        return Vec::new();
    };
    results
        .iter()
        .filter_map(|one| one.placeholder_message_resend_response.as_option())
        .filter_map(|one| one.web_message_info_bytes.as_deref())
        .filter_map(|bytes| sent_before(bytes, &answer.info.source.sender))
        .collect()
}

/// A message as the phone keeps it.
fn sent_before(bytes: &[u8], own: &wire::Jid) -> Option<InboundMessage> {
    let mut kept = waproto::codec::web_message_info_decode(bytes).ok()?;
    let message = kept.message.take()?;
    let key = kept.key.as_option()?;
    let chat: wire::Jid = key.remote_jid.as_deref()?.parse().ok()?;
    let is_from_me = key.from_me.unwrap_or(false);
    let sender = match key.participant.as_deref() {
        Some(participant) => participant.parse().ok()?,
        None if is_from_me => own.to_non_ad(),
        None => chat.clone(),
    };
    let at = i64::try_from(kept.message_timestamp.unwrap_or(0)).ok()?;
    let info = MessageInfo {
        id: key.id.clone()?,
        source: MessageSource {
            is_group: chat.is_group(),
            chat,
            sender,
            is_from_me,
            ..Default::default()
        },
        push_name: kept.push_name.clone().unwrap_or_default(),
        timestamp: DateTime::from_timestamp(at, 0)?,
        ..Default::default()
    };
    Some(
        InboundMessage::builder()
            .message(Arc::new(message))
            .info(Arc::new(info))
            .build(),
    )
}
