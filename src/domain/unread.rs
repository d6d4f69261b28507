//! Messages that could not be read: somebody wrote, and that is told when the words stay away.
//!
//! A message that cannot be decrypted is asked for again by the library, and mostly comes within
//! seconds. It is told as `unreadable` only when it has not come after a while; should it come later
//! still, it is told once more, as what it is.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Gateway;
use super::event::{self, Event};
use super::inbound::about;
use super::message::{self, Message};
use super::session::{Session, is_kept};
use crate::error::Result;
use crate::ids::{MessageId, SessionNumber};
use crate::jid::Jid;
use crate::store::queue::{self, Claim, Order};
use crate::store::record::{self, Record};
use crate::store::{Durability, Read, Tx, tables};
use crate::time::Timestamp;
use crate::wa::message::{Unread, WhyUnread};

/// The queue of messages that may still come.
pub const QUEUE: u8 = 4;

/// How long a message may take to come again.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What is kept of a message that could not be read.
#[derive(Clone, Serialize, Deserialize)]
struct Waiting {
    session: String,
    id: MessageId,
    chat: Jid,
    sender: Jid,
    at: Timestamp,
    data: Map<String, Value>,
}

impl Record for Waiting {
    const VERSION: u8 = 1;
}

impl Gateway {
    /// A message could not be read: it is waited for. What only a phone can show never comes.
    pub(super) async fn note_unread(&self, session: &Session, unread: &Unread) {
        let heading = &unread.heading;
        // Nobody waits for a story, nor for what the owner wrote himself.
        if heading.from_me || heading.chat.is_status() {
            return;
        }
        let mut data = about(heading);
        data["text"] = Value::Null;
        data["type"] = json!("unreadable");
        data["reason"] = json!(unread.why.word());
        let waiting = Waiting {
            session: session.id.to_string(),
            id: heading.id.clone(),
            chat: heading.chat.clone(),
            sender: heading.sender.clone(),
            at: heading.at,
            data: match data {
                Value::Object(data) => data,
                _ => Map::new(),
            },
        };
        let due = match unread.why {
            WhyUnread::Undecryptable => self.clock.now().after(PATIENCE),
            WhyUnread::ViewOnce | WhyUnread::ElsewhereOnly => self.clock.now(),
        };
        let number = session.number;
        let row = message::key(number, &waiting.id, &waiting.chat, Some(&waiting.sender));
        let write = || {
            let (waiting, row) = (waiting.clone(), row.clone());
            self.store.write(Durability::Sync, move |tx| {
                if !is_kept(tx, &waiting.session, number)? || tx.exists(tables::MESSAGES, &row)? {
                    return Ok(());
                }
                let lane = number.0.to_be_bytes();
                let waiting = record::encode(&waiting)?;
                queue::enqueue(tx, QUEUE, &lane, Order::ByDue, due, &waiting).map(|_| ())
            })
        };
        if let Err(error) = self.while_store_fails(write).await {
            tracing::error!(session = %session.id, ?error, "a message that could not be read could not be noted");
        }
    }

    /// Tells of a message that did not come, unless it did.
    pub async fn tell_unread(&self, claim: Claim) -> Result<()> {
        let Ok(waiting) = record::decode::<Waiting>(&claim.payload) else {
            tracing::error!("a note of a message that could not be read is damaged and left out");
            let done = move |tx: &mut Tx| queue::done(tx, &claim).map(|_| ());
            return self.store.write(Durability::Lazy, done).await;
        };
        let number = claim.lane[..].try_into().map(u32::from_be_bytes);
        let number = SessionNumber(number.unwrap_or_default());
        let now = self.clock.now();
        self.record(Durability::Sync, move |tx| {
            queue::done(tx, &claim)?;
            let row = message::key(number, &waiting.id, &waiting.chat, Some(&waiting.sender));
            if !is_kept(tx, &waiting.session, number)? || tx.exists(tables::MESSAGES, &row)? {
                return Ok(((), None));
            }
            let message = Message {
                chat: waiting.chat,
                sender: Some(waiting.sender),
                at: waiting.at,
                text: None,
                sent: None,
                progress: None,
                refusal: None,
                enclosed: None,
                unread: true,
                campaign: None,
            };
            message::put(tx, row, record::encode(&message)?)?;
            let entry = Event {
                event: "message.received".to_owned(),
                session: waiting.session,
                at: now,
                data: waiting.data,
            };
            Ok(((), event::append(tx, number, &entry)?))
        })
        .await
    }
}
