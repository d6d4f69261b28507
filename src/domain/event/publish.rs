//! Recording an event, together with the deliveries that it asks for.

use super::log;
use super::webhook;
use super::{Event, EventData};
use crate::domain::Gateway;
use crate::domain::session::{Session, session_exists};
use crate::error::Result;
use crate::ids::SessionNumber;
use crate::store::{Durability, Tx};

/// Records an event and one delivery per webhook that wants it, in the caller's transaction.
/// Answers its number in the log; `None` when the session was removed meanwhile.
pub fn append(tx: &mut Tx, session: SessionNumber, event: &Event) -> Result<Option<u64>> {
    if !session_exists(tx, &event.session, session)? {
        return Ok(None);
    }
    let seq = log::put(tx, session, event)?;
    webhook::enqueue(tx, session, event, seq)?;
    Ok(Some(seq))
}

impl Gateway {
    /// An event of this session, now.
    pub(in crate::domain) fn event(&self, session: &Session, data: EventData) -> Event {
        Event {
            session: session.id.to_string(),
            at: self.clock.now(),
            data,
        }
    }

    /// Records an event that happened outside of any other write, or logs that it could not be.
    pub(in crate::domain) async fn publish(&self, session: &Session, data: EventData) {
        let event = self.event(session, data);
        if let Err(error) = self.append_one(session.number, event.clone()).await {
            let kind = event.kind().as_str();
            tracing::error!(session = %session.id, event = kind, ?error, "an event could not be recorded");
        }
    }

    /// Records an event that WhatsApp told, which it does once: again while the store fails.
    pub(in crate::domain) async fn publish_with_retry(&self, session: &Session, data: EventData) {
        let event = self.event(session, data);
        let write = || self.append_one(session.number, event.clone());
        if let Err(error) = self.while_store_fails(write).await {
            let kind = event.kind().as_str();
            tracing::error!(session = %session.id, event = kind, ?error, "an event could not be recorded");
        }
    }

    async fn append_one(&self, session: SessionNumber, event: Event) -> Result<()> {
        self.record(Durability::Sync, move |tx| {
            Ok(((), append(tx, session, &event)?))
        })
        .await
    }
}
