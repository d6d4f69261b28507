//! What is remembered of a chat: after how long its messages disappear.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::domain::Gateway;
use crate::domain::session::{Session, session_exists};
use crate::error::Result;
use crate::ids::SessionNumber;
use crate::jid::Jid;
use crate::store::record::Record;
use crate::store::{Durability, Read, Tx, Typed, bytes_of, tables};
use crate::wa::message::{DisappearingTimer, Incoming};

/// One chat. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Chat {
    timer: DisappearingTimer,
}

impl Record for Chat {
    const VERSION: u8 = 1;
}

const CHATS: Typed<(SessionNumber, Jid), Chat> = Typed::new(tables::CHATS);

fn timer(
    read: &impl Read,
    session: SessionNumber,
    chat: &Jid,
) -> Result<Option<DisappearingTimer>> {
    let known = CHATS.readable(read, (session, chat))?;
    Ok(known.map(|chat| chat.timer))
}

/// Remembers a timer, unless a later one is known.
fn note(tx: &mut Tx, session: SessionNumber, chat: &Jid, new: DisappearingTimer) -> Result<()> {
    let known = timer(tx, session, chat)?;
    if known.is_none_or(|known| known != new && known.set <= new.set) {
        CHATS.put(tx, (session, chat), &Chat { timer: new })?;
    }
    Ok(())
}

/// Remembers what a message tells of its chat's timer. In groups only the group itself counts: a
/// member could have our messages disappear, or stay.
pub(in crate::domain) fn note_timer(
    tx: &mut Tx,
    session: SessionNumber,
    incoming: &Incoming,
) -> Result<()> {
    let Some(timer) = incoming.timer.filter(|_| incoming.chat.is_person()) else {
        return Ok(());
    };
    note(tx, session, &incoming.chat, timer)?;
    // We may write to either of a person's names.
    match &incoming.person.lid {
        Some(lid) if !incoming.from_me && *lid != incoming.chat => note(tx, session, lid, timer),
        _ => Ok(()),
    }
}

impl Gateway {
    /// The timers of these chats, as far as they are known.
    pub(in crate::domain) fn timers(
        &self,
        session: &Session,
        chats: &[&Jid],
    ) -> HashMap<Jid, DisappearingTimer> {
        let known = self.store.read(|read| {
            let mut known = HashMap::new();
            for chat in chats {
                if let Some(timer) = timer(read, session.number, chat)? {
                    known.insert((*chat).clone(), timer);
                }
            }
            Ok(known)
        });
        known.unwrap_or_else(|error| {
            tracing::error!(session = %session.id, ?error, "the timers of chats cannot be read");
            HashMap::new()
        })
    }

    /// Asks a group that was never asked before after how long its messages disappear.
    pub(in crate::domain) async fn ask_group_timer(
        &self,
        session: &Session,
        group: &Jid,
    ) -> Option<DisappearingTimer> {
        let seconds = session.paired_connection()?.group_timer(group).await.ok()?;
        // Whatever is told of it later is newer.
        let timer = DisappearingTimer {
            seconds: seconds.unwrap_or_default(),
            set: 0,
        };
        self.note_group_timer(session, group, timer).await;
        Some(timer)
    }

    /// Forgets what is known of chats: another account may use the session next.
    pub(in crate::domain) async fn forget_chats(&self, session: &Session) {
        let number = session.number;
        let forgotten = self.store.write(Durability::Sync, move |tx| {
            tx.delete_prefix(tables::CHATS, &bytes_of(number))
                .map(|_| ())
        });
        if let Err(error) = forgotten.await {
            tracing::error!(session = %session.id, ?error, "old chats could not be forgotten");
        }
    }

    /// Remembers after how long the messages of a group disappear.
    pub(in crate::domain) async fn note_group_timer(
        &self,
        session: &Session,
        group: &Jid,
        timer: DisappearingTimer,
    ) {
        let (id, number, chat) = (session.id.clone(), session.number, group.clone());
        let written = self.store.write(Durability::Lazy, move |tx| {
            if session_exists(tx, id.as_str(), number)? {
                note(tx, number, &chat, timer)?;
            }
            Ok(())
        });
        if let Err(error) = written.await {
            tracing::error!(session = %session.id, ?error, "a group's timer could not be stored");
        }
    }
}
