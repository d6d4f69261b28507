//! Messages: what was said in a chat, by whom, and how far ours have come.
//!
//! `draft` is what a client asks for, `send` prepares and delivers it, `outbox` holds it until it is
//! settled, and `settlement` says what became of it; `idempotency` knows repeated requests. `inbound`
//! takes what arrives, which `reference` judges and `unread` waits for.

mod album;
mod chat;
pub mod draft;
pub mod idempotency;
mod inbound;
pub(super) mod outbox;
mod poll;
mod reference;
pub mod send;
pub mod settlement;
pub mod unread;

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::Gateway;
use super::campaign::Part;
use super::session::Session;
use crate::error::{Code, Error, Result};
use crate::ids::{MediaId, MessageId, SessionNumber};
use crate::jid::Jid;
use crate::store::record::{self, Record};
use crate::store::{Read, Tx, tables};
use crate::time::Timestamp;
use crate::wa::message::{Enclosed, Outgoing, Progress};

/// One stored message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Where it was written.
    pub chat: Jid,
    /// Who wrote it; `None` when we did.
    pub sender: Option<Jid>,
    /// When.
    pub at: Timestamp,
    /// Its words, when it has any.
    pub text: Option<String>,
    /// What we sent, so that it can be written again with the same id.
    pub sent: Option<Outgoing>,
    /// How far it has come, when it is ours.
    pub progress: Option<Progress>,
    /// WhatsApp's refusal, when there was one.
    pub refusal: Option<String>,
    /// The file of a message that arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enclosed: Option<Box<Held>>,
    /// Whether it could not be read, so that what comes later under its id takes its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unread: bool,
    /// The campaign that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<Box<Part>>,
}

impl Record for Message {
    const VERSION: u8 = 1;
}

/// The file of a message that arrived, and where it is kept since it was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The file.
    pub enclosed: Enclosed,
    /// Its id among the session's files, once it was fetched.
    pub kept: Option<MediaId>,
}

/// The key of a message: session, id, chat, and the sender unless it is ours.
pub(in crate::domain) fn key(
    session: SessionNumber,
    id: &MessageId,
    chat: &Jid,
    sender: Option<&Jid>,
) -> Vec<u8> {
    let mut key = id_prefix(session, id);
    key.extend_from_slice(chat.to_string().as_bytes());
    key.push(0);
    if let Some(sender) = sender {
        key.extend_from_slice(sender.to_string().as_bytes());
    }
    key
}

/// What the keys of all messages with this id begin with. An id holds no zero byte.
fn id_prefix(session: SessionNumber, id: &MessageId) -> Vec<u8> {
    let mut key = session.0.to_be_bytes().to_vec();
    key.extend_from_slice(id.as_str().as_bytes());
    key.push(0);
    key
}

/// The id of the message with this key.
pub(in crate::domain) fn id_of(message: &[u8]) -> Result<MessageId> {
    let id = session_and_id(message).get(4..).unwrap_or_default();
    MessageId::parse(&String::from_utf8_lossy(id))
}

/// All of a message's key before its chat.
fn session_and_id(message: &[u8]) -> &[u8] {
    let end = message.iter().skip(4).position(|byte| *byte == 0);
    &message[..end.map_or(message.len(), |end| end + 4)]
}

/// The message of ours with this id, and its key.
pub(in crate::domain) fn own(
    read: &impl Read,
    session: SessionNumber,
    id: &MessageId,
) -> Result<Option<(Vec<u8>, Message)>> {
    let mut found = None;
    // Strangers choose ids, and may have used ours more than once.
    read.for_each_prefix(tables::MESSAGES, &id_prefix(session, id), |key, value| {
        if !key.ends_with(&[0]) {
            return Ok(ControlFlow::Continue(()));
        }
        found = Some((key.to_vec(), record::decode(value)?));
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

/// Whether a message with this id is stored that this sender wrote, or we on another device.
pub(in crate::domain) fn is_stored(
    read: &impl Read,
    session: SessionNumber,
    id: &MessageId,
    sender: &Jid,
) -> Result<bool> {
    let sender = sender.to_string();
    let prefix = id_prefix(session, id);
    let mut found = false;
    read.for_each_prefix(tables::MESSAGES, &prefix, |key, _| {
        let writer = key.rsplit(|byte| *byte == 0).next().unwrap_or_default();
        found = writer.is_empty() || writer == sender.as_bytes();
        Ok(if found {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    Ok(found)
}

/// The messages of a session with this id; several people may have used it.
pub(in crate::domain) fn with_id(
    read: &impl Read,
    session: SessionNumber,
    id: &MessageId,
) -> Result<Vec<Message>> {
    let rows = read.prefix(tables::MESSAGES, &id_prefix(session, id), None, usize::MAX)?;
    rows.iter()
        .map(|(_, value)| record::decode(value))
        .collect()
}

fn bytes_key(session: SessionNumber) -> Vec<u8> {
    [b"messages/".as_slice(), &session.0.to_be_bytes()].concat()
}

/// About how many bytes the stored messages of a session take. Those that were stored before they
/// were counted are missing, until they are forgotten.
pub(in crate::domain) fn bytes(read: &impl Read, session: SessionNumber) -> Result<u64> {
    let number = |row: &[u8]| row.try_into().map(u64::from_be_bytes).unwrap_or(0);
    let row = read.view(tables::META, &bytes_key(session), number)?;
    Ok(row.unwrap_or(0))
}

/// Counts what the row of a message with this key grew by.
fn count(tx: &mut Tx, key: &[u8], grown: i64) -> Result<()> {
    let Some(session) = key.first_chunk::<4>() else {
        return Err(Error::internal("a message's key without its session"));
    };
    let session = SessionNumber(u32::from_be_bytes(*session));
    let bytes = bytes(tx, session)?.saturating_add_signed(grown);
    tx.put(tables::META, bytes_key(session), bytes.to_be_bytes());
    Ok(())
}

/// Writes a message's row, and counts by how much it grew.
///
/// Invariant: rows of messages are written and removed here only, or the count drifts.
pub(in crate::domain) fn put(tx: &mut Tx, key: Vec<u8>, value: Vec<u8>) -> Result<()> {
    let old = tx.view(tables::MESSAGES, &key, <[u8]>::len)?;
    let old = old.map_or(0, |value| key.len() + value);
    count(tx, &key, (key.len() + value.len()) as i64 - old as i64)?;
    tx.put(tables::MESSAGES, key, value);
    Ok(())
}

/// Removes one message's row, which has so many bytes.
pub(in crate::domain) fn forget(tx: &mut Tx, key: &[u8], value: usize) -> Result<()> {
    count(tx, key, -((key.len() + value) as i64))?;
    tx.delete(tables::MESSAGES, key);
    Ok(())
}

/// Forgets how many bytes a session's messages took.
pub(in crate::domain) fn uncount(tx: &mut Tx, session: SessionNumber) {
    tx.delete(tables::META, &bytes_key(session));
}

impl Gateway {
    /// A message of the session by its id; ours first when several people used the same id.
    pub fn message(&self, session: &Session, id: &MessageId) -> Result<Message> {
        self.message_row(session, id).map(|(_, message)| message)
    }

    /// The same, with its key.
    pub(in crate::domain) fn message_row(
        &self,
        session: &Session,
        id: &MessageId,
    ) -> Result<(Vec<u8>, Message)> {
        self.store.read(|read| {
            if let Some(found) = own(read, session.number, id)? {
                return Ok(found);
            }
            let rows = read.prefix(tables::MESSAGES, &id_prefix(session.number, id), None, 1)?;
            let (key, value) = rows.into_iter().next().ok_or(Code::MessageNotFound)?;
            Ok((key, record::decode(&value)?))
        })
    }

    /// The message with this id in this chat, whoever wrote it.
    pub(in crate::domain) fn message_in(
        &self,
        session: &Session,
        id: &MessageId,
        chat: &Jid,
    ) -> Result<Option<Message>> {
        let in_chat = key(session.number, id, chat, None);
        let rows = self
            .store
            .read(|read| read.prefix(tables::MESSAGES, &in_chat, None, 1))?;
        let first = rows.first();
        first.map(|(_, value)| record::decode(value)).transpose()
    }
}
