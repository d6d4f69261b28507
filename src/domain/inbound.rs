//! Messages that arrive: stored with their events and deliveries before WhatsApp is told.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Gateway;
use super::event;
use super::message::{self, Message};
use super::session::{Session, is_kept};
use crate::error::Result;
use crate::store::record;
use crate::store::{Durability, Read, tables};
use crate::wa::message::{Incoming, Said};

impl Gateway {
    /// Stores a batch in one transaction, fsynced.
    ///
    /// Invariant: idempotent by chat, sender and id, since WhatsApp delivers at least once.
    pub(super) async fn receive(&self, session: &Arc<Session>, batch: Vec<Incoming>) -> Result<()> {
        let (gateway, session) = (self.clone(), session.clone());
        self.record(Durability::Sync, move |tx| {
            let mut newest = None;
            if !is_kept(tx, session.id.as_str(), session.number)? {
                return Ok(((), None));
            }
            for incoming in &batch {
                if incoming.what == Said::Nothing {
                    continue;
                }
                let sender = (!incoming.from_me).then_some(&incoming.sender);
                let key = message::key(session.number, &incoming.id, &incoming.chat, sender);
                if tx.exists(tables::MESSAGES, &key)? {
                    continue;
                }
                let row = Message {
                    chat: incoming.chat.clone(),
                    sender: sender.cloned(),
                    at: incoming.at,
                    text: words(&incoming.what),
                    sent: None,
                    progress: None,
                    refusal: None,
                };
                tx.put(tables::MESSAGES, key, record::encode(&row)?);
                if let Some((name, data)) = told(incoming) {
                    let entry = gateway.event(&session, name, data);
                    newest = event::append(tx, session.number, &entry)?.or(newest);
                }
            }
            Ok(((), newest))
        })
        .await
    }
}

fn words(what: &Said) -> Option<String> {
    match what {
        Said::Text(text) => Some(text.clone()),
        Said::Edit { body, .. } => Some(body.clone()),
        Said::Other { caption } => caption.clone(),
        Said::Reaction { emoji, .. } => Some(emoji.clone()),
        Said::Revoke { .. } | Said::Nothing => None,
    }
}

/// The event for a message that arrived, in the original program's shape (`from`, `text`, `type`),
/// extended. What the owner writes on the phone is no event, as in the original.
fn told(incoming: &Incoming) -> Option<(&'static str, Value)> {
    if incoming.from_me {
        return None;
    }
    let mut data = json!({
        "id": incoming.id,
        "from": incoming.chat,
        "isGroup": incoming.chat.is_group(),
        "sender": incoming.sender,
        "senderNumber": incoming.person.number,
        "senderLid": incoming.person.lid,
        "senderName": incoming.push_name,
        "timestamp": incoming.at.as_secs(),
    });
    let (name, more) = match &incoming.what {
        Said::Nothing => return None,
        Said::Text(text) => ("message.received", json!({ "text": text })),
        Said::Other { caption } => ("message.received", json!({ "text": caption })),
        Said::Reaction { target, emoji } => (
            "message.reaction",
            json!({ "messageId": target, "emoji": emoji }),
        ),
        Said::Edit { target, body } => (
            "message.edited",
            json!({ "messageId": target, "text": body }),
        ),
        Said::Revoke { target } => ("message.deleted", json!({ "messageId": target })),
    };
    if name == "message.received" {
        data["type"] = json!(incoming.kind);
        data["quotedId"] = json!(incoming.quoted);
        data["mentions"] = json!(incoming.mentions);
    }
    if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
        data.extend(more);
    }
    Some((name, data))
}
