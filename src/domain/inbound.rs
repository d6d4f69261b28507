//! Messages that arrive: stored with their events and deliveries before WhatsApp is told.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Gateway;
use super::chat;
use super::event;
use super::media::received::{self, Held};
use super::message::{self, Message};
use super::optout::OptOut;
use super::poll;
use super::reference;
use super::session::{Session, is_kept};
use super::suppression;
use crate::error::Result;
use crate::store::record;
use crate::store::{Durability, Read, Tx, tables};
use crate::wa::message::{Enclosed, Incoming, Said};

impl Gateway {
    /// Stores a batch in one transaction, fsynced.
    ///
    /// Invariant: idempotent by chat, sender and id, since WhatsApp delivers at least once.
    pub(super) async fn receive(
        self: &Arc<Self>,
        session: &Arc<Session>,
        batch: Vec<Incoming>,
    ) -> Result<()> {
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
                if let Some(row) = tx.get(tables::MESSAGES, &key)?
                    && !record::decode::<Message>(&row)?.unread
                {
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
                    enclosed: held(&incoming.what),
                    unread: false,
                    campaign: None,
                };
                newest = opt_out(tx, &gateway, &session, incoming)?.or(newest);
                chat::note_timer(tx, session.number, incoming)?;
                if row.enclosed.is_some() && !incoming.from_me && session.settings().auto_download {
                    received::enqueue(tx, session.number, &key, gateway.clock.now())?;
                }
                message::put(tx, key, record::encode(&row)?)?;
                if let Said::Vote(vote) = &incoming.what {
                    if let Some(data) = poll::take_vote(tx, &session, incoming, vote)? {
                        let data = merged(about(incoming), data);
                        let entry = gateway.event(&session, "poll.vote", data);
                        newest = event::append(tx, session.number, &entry)?.or(newest);
                    }
                } else if !reference::is_heeded(tx, &session, incoming)? {
                    tracing::info!(session = %session.id, "a message about one that is not its sender's was left out");
                } else if let Some((name, data)) = told(incoming) {
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
        Said::Special { text, .. } => text.clone(),
        Said::Other { caption, .. } => caption.clone(),
        Said::Media(enclosed) => enclosed.caption.clone(),
        Said::Poll { question, .. } => Some(question.clone()),
        Said::Reaction { emoji, .. } => Some(emoji.clone()),
        Said::Location(place) => place.name.clone(),
        Said::Contacts(_) | Said::Vote(_) | Said::Revoke { .. } | Said::Nothing => None,
    }
}

/// Heeds the words by which people leave campaigns and come back, in chats with one person.
fn opt_out(
    tx: &mut Tx,
    gateway: &Arc<Gateway>,
    session: &Session,
    incoming: &Incoming,
) -> Result<Option<u64>> {
    let (Said::Text(text), Some(number)) = (&incoming.what, &incoming.person.number) else {
        return Ok(None);
    };
    if incoming.from_me || !incoming.chat.is_person() {
        return Ok(None);
    }
    let now = gateway.clock.now();
    let Some(asked) = suppression::heed(tx, session, number, text, now)? else {
        return Ok(None);
    };
    let data = json!({ "number": number, "suppressed": asked == OptOut::Stop });
    let entry = gateway.event(session, "contact.optout", data);
    event::append(tx, session.number, &entry)
}

/// The file of a message, for the time when somebody asks for it.
fn held(what: &Said) -> Option<Box<Held>> {
    match what {
        Said::Media(enclosed)
        | Said::Special {
            file: Some(enclosed),
            ..
        } => Some(Box::new(Held {
            enclosed: (**enclosed).clone(),
            kept: None,
        })),
        _ => None,
    }
}

/// The event for a message that arrived, in the original program's shape (`from`, `text`, `type`),
/// extended. What the owner writes on the phone is no event, as in the original.
fn told(incoming: &Incoming) -> Option<(&'static str, Value)> {
    if incoming.from_me {
        return None;
    }
    let mut data = about(incoming);
    let (name, more) = match &incoming.what {
        Said::Nothing | Said::Vote(_) => return None,
        Said::Text(text) => ("message.received", json!({ "text": text })),
        Said::Special { text, what, file } => {
            let file = file
                .as_deref()
                .map(|file| json!({ "media": described(file) }));
            let told = merged(json!({ "text": text }), json!(what));
            ("message.received", merged(told, file.unwrap_or_default()))
        }
        Said::Other { caption, raw, size } => (
            "message.received",
            json!({ "text": caption, "raw": raw, "rawSize": size }),
        ),
        Said::Media(enclosed) => (
            "message.received",
            json!({ "text": enclosed.caption, "media": described(enclosed) }),
        ),
        Said::Location(place) => (
            "message.received",
            json!({ "text": place.name, "location": {
                "latitude": place.latitude, "longitude": place.longitude,
                "name": place.name, "address": place.address,
            }}),
        ),
        Said::Contacts(cards) => (
            "message.received",
            json!({ "text": null, "contacts": cards }),
        ),
        Said::Poll { question, options } => (
            "message.received",
            json!({ "text": question, "poll": { "question": question, "options": options } }),
        ),
        Said::Reaction { target, emoji } => (
            "message.reaction",
            json!({ "messageId": target, "emoji": emoji }),
        ),
        Said::Edit { target, body } => (
            "message.edited",
            json!({ "messageId": target, "text": body }),
        ),
        Said::Revoke { target, .. } => ("message.deleted", json!({ "messageId": target })),
    };
    if name == "message.received" {
        data["type"] = json!(incoming.kind);
        data["quotedId"] = json!(incoming.quoted);
        data["mentions"] = json!(incoming.mentions);
        data["mentionsAll"] = json!(incoming.mentions_all);
        if let Some(inner) = incoming.inner {
            data["innerType"] = json!(inner);
        }
        if let Some(target) = &incoming.comments_on {
            data["commentsOn"] = json!(target);
        }
    }
    Some((name, merged(data, more)))
}

/// Where a message came from, as every event about one tells it.
pub(super) fn about(incoming: &Incoming) -> Value {
    json!({
        "id": incoming.id,
        "from": incoming.chat,
        "isGroup": incoming.chat.is_group(),
        "sender": incoming.sender,
        "senderNumber": incoming.person.number,
        "senderLid": incoming.person.lid,
        "senderName": incoming.push_name,
        "timestamp": incoming.at.as_secs(),
    })
}

fn merged(mut data: Value, more: Value) -> Value {
    if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
        data.extend(more);
    }
    data
}

/// What is known of a file before it is fetched.
fn described(enclosed: &Enclosed) -> Value {
    let (file, look) = (&enclosed.file, &enclosed.file.look);
    json!({
        "kind": enclosed.kind.word(), "mimetype": file.mimetype, "size": file.pointer.length,
        "fileName": enclosed.name, "width": look.width, "height": look.height,
        "seconds": look.seconds, "thumbnail": look.thumbnail, "viewOnce": enclosed.view_once,
    })
}
