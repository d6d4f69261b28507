//! Messages: what was said in a chat, by whom, and how far ours have come.
//!
//! `draft` is what a client asks for, `send` prepares and delivers it, `outbox` holds it until it is
//! settled, and `settlement` says what became of it; `idempotency` knows repeated requests. `inbound`
//! takes what arrives, which `reference` judges and `unreadable` waits for.

mod album;
mod chat;
pub mod draft;
pub mod idempotency;
mod inbound;
pub(super) mod outbox;
pub mod poll;
mod reference;
pub mod send;
pub mod settlement;
pub mod unreadable;

use serde::{Deserialize, Serialize};

use super::Gateway;
use super::campaign::CampaignRef;
use super::session::Session;
use crate::error::{Code, Result};
use crate::ids::{MediaId, MessageId, SessionNumber};
use crate::jid::Jid;
use crate::store::record::Record;
use crate::store::typed::Value as _;
use crate::store::{self, Read, Tx, Typed, bytes_of, parts_of, tables};
use crate::time::Timestamp;
use crate::wa::message::{AttachedFile, MessageState, OutgoingContent};

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
    pub sent: Option<OutgoingContent>,
    /// How far it has come, when it is ours.
    pub progress: Option<MessageState>,
    /// WhatsApp's refusal, when there was one.
    pub refusal: Option<String>,
    /// The file of a message that arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enclosed: Option<Box<ReceivedFile>>,
    /// Whether it could not be read, so that what comes later under its id takes its place.
    #[serde(default, rename = "unread", skip_serializing_if = "std::ops::Not::not")]
    pub unreadable: bool,
    /// The campaign that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<Box<CampaignRef>>,
}

impl Record for Message {
    const VERSION: u8 = 1;
}

/// The file of a message that arrived, and where it is kept since it was fetched. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedFile {
    /// The file.
    pub enclosed: AttachedFile,
    /// Its id among the session's files, once it was fetched.
    pub kept: Option<MediaId>,
}

/// The key of a message: session, id, chat, and the sender unless it is ours.
pub(in crate::domain) type Key = (SessionNumber, MessageId, Jid, Option<Jid>);

pub(in crate::domain) const MESSAGES: Typed<Key, Message> = Typed::new(tables::MESSAGES);

/// The message of ours with this id, and its key.
pub(in crate::domain) fn own(
    read: &impl Read,
    session: SessionNumber,
    id: &MessageId,
) -> Result<Option<(Key, Message)>> {
    // Strangers choose ids, and may have used ours more than once.
    MESSAGES.rows((session, id)).find(read, |row| {
        Ok(match row.key()? {
            (chat, None) => Some(((session, id.clone(), chat, None), row.value()?)),
            (_, Some(_)) => None,
        })
    })
}

/// Whether a message with this id is stored that this sender wrote, or we on another device.
pub(in crate::domain) fn is_stored(
    read: &impl Read,
    session: SessionNumber,
    id: &MessageId,
    sender: &Jid,
) -> Result<bool> {
    let found = MESSAGES.rows((session, id)).find(read, |row| {
        let (_, writer) = row.key()?;
        Ok(writer.is_none_or(|writer| writer == *sender).then_some(()))
    })?;
    Ok(found.is_some())
}

fn bytes_key(session: SessionNumber) -> store::Key {
    store::Key::new().tail("messages/").u32(session.0)
}

/// About how many bytes the stored messages of a session take. Those that were stored before they
/// were counted are missing, until they are forgotten.
pub(in crate::domain) fn bytes(read: &impl Read, session: SessionNumber) -> Result<u64> {
    let number = |row: &[u8]| parts_of(row).unwrap_or(0);
    let row = read.view(tables::META, &bytes_key(session), number)?;
    Ok(row.unwrap_or(0))
}

/// Counts what the row of a message of this session grew by.
fn count(tx: &mut Tx, session: SessionNumber, grown: i64) -> Result<()> {
    let bytes = bytes(tx, session)?.saturating_add_signed(grown);
    tx.put(tables::META, bytes_key(session), bytes_of(bytes));
    Ok(())
}

/// Writes a message's row, and counts by how much it grew.
///
/// Invariant: rows of messages are written and removed here only, or the count drifts.
pub(in crate::domain) fn put(tx: &mut Tx, key: &Key, message: &Message) -> Result<()> {
    put_encoded(tx, key, message.encode()?)
}

/// The same with a message that is encoded already.
pub(in crate::domain) fn put_encoded(tx: &mut Tx, key: &Key, row: Vec<u8>) -> Result<()> {
    let old = match MESSAGES.view(tx, key, <[u8]>::len)? {
        Some(value) => value as i64,
        None => -(bytes_of(key).len() as i64),
    };
    count(tx, key.0, row.len() as i64 - old)?;
    MESSAGES.put_encoded(tx, key, row);
    Ok(())
}

/// Removes one message's row, whose value has so many bytes.
pub(in crate::domain) fn forget(tx: &mut Tx, key: &Key, value: usize) -> Result<()> {
    let bytes = bytes_of(key).len() + value;
    count(tx, key.0, -(bytes as i64))?;
    MESSAGES.delete(tx, key);
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
    ) -> Result<(Key, Message)> {
        self.store.read(|read| {
            if let Some(found) = own(read, session.number, id)? {
                return Ok(found);
            }
            let first = MESSAGES.rows((session.number, id)).first(read)?;
            let ((chat, sender), message) = first.ok_or(Code::MessageNotFound)?;
            Ok(((session.number, id.clone(), chat, sender), message))
        })
    }

    /// The message with this id in this chat, whoever wrote it.
    pub(in crate::domain) fn message_in(
        &self,
        session: &Session,
        id: &MessageId,
        chat: &Jid,
    ) -> Result<Option<Message>> {
        let in_chat = MESSAGES.rows((session.number, id, chat));
        let first = self.store.read(|read| in_chat.first(read))?;
        Ok(first.map(|(_, message)| message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_could_not_be_read_is_stored_by_the_first_word_for_it() {
        let json = r#"{"chat":"6281200000862@s.whatsapp.net","sender":null,"at":0,"text":null,"sent":null,"progress":null,"refusal":null,"unread":true}"#;
        let message: Message = serde_json::from_str(json).expect("a message");
        assert!(message.unreadable);
        assert_eq!(serde_json::to_string(&message).expect("JSON"), json);
    }
}
