//! Messages that could not be read: somebody wrote, and that is told when the words stay away.
//!
//! A message that cannot be decrypted is asked for again by the library, and mostly comes within
//! seconds. It is told as `unreadable` only when it has not come after a while; should it come later
//! still, it is told once more, as what it is.

use serde::{Deserialize, Serialize};

use super::{Key, MESSAGES, Message};
use crate::domain::Gateway;
use crate::domain::event::publish;
use crate::domain::event::upgrade;
use crate::domain::event::{Event, EventData, MessageHeading, MessageReceived, ReceivedContent};
use crate::domain::queues::{UNREADABLE, UNREADABLE_WAIT};
use crate::domain::session::{Session, session_exists};
use crate::error::Result;
use crate::ids::SessionNumber;
use crate::store::queue::{self, Claim, LaneOrder};
use crate::store::record::Record;
use crate::store::typed::Value as _;
use crate::store::{Durability, Tx, bytes_of, parts_of};
use crate::time::Timestamp;
use crate::wa::message::{UnreadableMessage, UnreadableReason};

/// What its event gives as the kind of message.
const KIND: &str = "unreadable";

/// What is kept of a message that could not be read, in the queue. Stored.
#[derive(Clone, Serialize, Deserialize)]
struct UnreadableRow {
    session: String,
    heading: MessageHeading,
    why: UnreadableReason,
}

impl Record for UnreadableRow {
    const VERSION: u8 = 2;

    fn upgrade(version: u8, json: &[u8]) -> Result<Self> {
        let (session, heading, why) = upgrade::unreadable(version, json)?;
        Ok(Self {
            session,
            heading,
            why,
        })
    }
}

impl UnreadableRow {
    /// The key of its message's row.
    fn row(&self, session: SessionNumber) -> Key {
        let heading = &self.heading;
        let (id, chat) = (heading.id.clone(), heading.chat.clone());
        (session, id, chat, Some(heading.sender.clone()))
    }

    /// The event that tells of it.
    fn event(self, at: Timestamp) -> Event {
        let message = MessageReceived {
            heading: self.heading,
            kind: KIND.to_owned(),
            inner_kind: None,
            quoted: None,
            mentions: Vec::new(),
            mentions_all: false,
            comments_on: None,
            content: ReceivedContent::Unreadable(self.why),
        };
        Event {
            session: self.session,
            at,
            data: EventData::MessageReceived(Box::new(message)),
        }
    }
}

impl Gateway {
    /// A message could not be read: it is waited for. What only a phone can show never comes.
    pub(in crate::domain) async fn note_unreadable(
        &self,
        session: &Session,
        lost: &UnreadableMessage,
    ) {
        let heading = &lost.heading;
        // Nobody waits for a story, nor for what the owner wrote himself.
        if heading.from_me || heading.chat.is_status() {
            return;
        }
        let waiting = UnreadableRow {
            session: session.id.to_string(),
            heading: MessageHeading::of(heading),
            why: lost.why,
        };
        let due = match lost.why {
            UnreadableReason::Undecryptable => self.clock.now().after(UNREADABLE_WAIT),
            UnreadableReason::ViewOnce | UnreadableReason::ElsewhereOnly => self.clock.now(),
        };
        let number = session.number;
        let row = waiting.row(number);
        let write = || {
            let (waiting, row) = (waiting.clone(), row.clone());
            self.store.write(Durability::Sync, move |tx| {
                if !session_exists(tx, &waiting.session, number)? || MESSAGES.exists(tx, &row)? {
                    return Ok(());
                }
                let lane = bytes_of(number);
                let waiting = waiting.encode()?;
                queue::enqueue(tx, UNREADABLE, &lane, LaneOrder::ByDue, due, &waiting).map(|_| ())
            })
        };
        if let Err(error) = self.while_store_fails(write).await {
            tracing::error!(session = %session.id, ?error, "a message that could not be read could not be noted");
        }
    }

    /// Tells of a message that did not come, unless it did.
    pub async fn report_unreadable(&self, claim: Claim) -> Result<()> {
        let Ok(waiting) = UnreadableRow::decode(&claim.payload) else {
            tracing::error!("a note of a message that could not be read is damaged and left out");
            let done = move |tx: &mut Tx| queue::done(tx, &claim).map(|_| ());
            return self.store.write(Durability::Lazy, done).await;
        };
        let number = parts_of(&claim.lane).unwrap_or(SessionNumber(0));
        let now = self.clock.now();
        self.record(Durability::Sync, move |tx| {
            queue::done(tx, &claim)?;
            let row = waiting.row(number);
            if !session_exists(tx, &waiting.session, number)? || MESSAGES.exists(tx, &row)? {
                return Ok(((), None));
            }
            let message = Message {
                chat: waiting.heading.chat.clone(),
                sender: Some(waiting.heading.sender.clone()),
                at: waiting.heading.at,
                text: None,
                sent: None,
                progress: None,
                refusal: None,
                enclosed: None,
                unreadable: true,
                campaign: None,
            };
            super::put(tx, &row, &message)?;
            let entry = waiting.event(now);
            Ok(((), publish::append(tx, number, &entry)?))
        })
        .await
    }
}
