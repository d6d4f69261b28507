//! What is stored of a session, and how it changes.

use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};

use super::registry::not_found;
use super::{Session, SessionSettings, SettingsChange};
use crate::domain::Gateway;
use crate::domain::guard::{self, Guard, GuardStatus};
use crate::error::{Code, Error, ErrorKind, Result};
use crate::ids::SessionNumber;
use crate::jid::Jid;
use crate::store::record::Record;
use crate::store::{Durability, Read, Tx, Typed, tables};
use crate::time::Timestamp;

/// What is stored of a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SessionRow {
    pub(super) number: SessionNumber,
    pub(super) created_at: Timestamp,
    /// The sealed token.
    pub(super) token: Vec<u8>,
    /// Whether a phone accepted it.
    pub(super) paired: bool,
    /// Why the pairing ended.
    pub(super) logged_out: Option<String>,
    pub(super) phone: Option<String>,
    pub(super) lid: Option<Jid>,
    pub(super) name: String,
    #[serde(default)]
    pub(super) settings: SessionSettings,
}

impl Record for SessionRow {
    const VERSION: u8 = 1;
}

pub(super) const SESSIONS: Typed<String, SessionRow> = Typed::new(tables::SESSIONS);

/// Whether the session of this name is still the one with this number. A request or a signal may
/// outlive its session, and another may have got the name.
pub(in crate::domain) fn session_exists(
    read: &impl Read,
    id: &str,
    number: SessionNumber,
) -> Result<bool> {
    let row = SESSIONS.get(read, id)?;
    Ok(row.is_some_and(|row| row.number == number))
}

/// The names of all sessions with their numbers; `None` for one whose row cannot be read.
pub(in crate::domain) fn names(read: &impl Read) -> Result<Vec<(String, Option<SessionNumber>)>> {
    let mut names = Vec::new();
    SESSIONS.rows(()).each(read, |row| {
        if let Ok(name) = row.key() {
            names.push((name, row.value().ok().map(|row| row.number)));
        }
        Ok(())
    })?;
    Ok(names)
}

/// Refuses what is asked of a session that was deleted meanwhile.
pub(in crate::domain) fn ensure_session_exists(
    read: &impl Read,
    id: &str,
    number: SessionNumber,
) -> Result<()> {
    if session_exists(read, id, number)? {
        return Ok(());
    }
    Err(not_found(id))
}

/// The number of a new session: none had it before.
pub(super) fn next_number(tx: &mut Tx) -> Result<SessionNumber> {
    let number = u32::try_from(tx.next_seq("sessions")?);
    number
        .map(SessionNumber)
        .map_err(|_| Error::internal("session numbers ran out"))
}

/// Refuses one session more than there may be.
pub(super) fn refuse_one_more_than(read: &Tx, most: usize) -> Result<()> {
    if SESSIONS.rows(()).are_fewer_than(read, most)? {
        return Ok(());
    }
    Err(Error::new(
        Code::SessionLimitReached,
        format!("Maximum active session limit reached ({most})"),
    ))
}

/// The number in a session's row, also when nothing else of it can be read.
pub(super) fn number_in(row: &[u8]) -> Option<SessionNumber> {
    /// What alone is asked of a [`SessionRow`]. Stored.
    #[derive(Deserialize)]
    struct NumberOnly {
        number: SessionNumber,
    }
    let (_, json) = row.split_first()?;
    let row: NumberOnly = serde_json::from_slice(json).ok()?;
    // Rows under the number 0 are nobody's own: keys for all sessions.
    Some(row.number).filter(|number| number.0 > 0)
}

impl Gateway {
    /// Changes the session's row after what WhatsApp told, or logs that it could not be.
    pub(super) async fn update_row(
        &self,
        session: &Session,
        change: impl FnOnce(&mut SessionRow) + Clone + Send + 'static,
    ) {
        let write = || self.change_row(session, change.clone());
        if let Err(error) = self.while_store_fails(write).await
            && error.kind() != ErrorKind::NotFound
        {
            tracing::error!(session = %session.id, ?error, "the session's row could not be saved");
        }
    }

    /// Changes the session's row, unless the session was deleted meanwhile.
    pub(super) async fn change_row(
        &self,
        session: &Session,
        change: impl FnOnce(&mut SessionRow) + Send + 'static,
    ) -> Result<()> {
        let (key, number) = (session.id.as_str().to_owned(), session.number);
        self.store
            .write(Durability::Sync, move |tx| {
                ensure_session_exists(tx, &key, number)?;
                let row = SESSIONS.get(tx, &key)?;
                let mut row = row.ok_or(Code::SessionNotFound)?;
                change(&mut row);
                SESSIONS.put(tx, &key, &row)
            })
            .await
    }

    /// Changes what the session's owner chose; answers all that is chosen now.
    pub async fn change_settings(
        &self,
        session: &Arc<Session>,
        change: SettingsChange,
    ) -> Result<SessionSettings> {
        // Two changes at once must end in one order, and neither may undo the other.
        let _alone = session.connection.lock().await;
        let mut settings = session.settings();
        change.apply(&mut settings);
        let chosen = settings.clone();
        self.change_row(session, move |row| row.settings = chosen)
            .await?;
        *session
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = settings.clone();
        Ok(settings)
    }

    /// What holds for a session's sends to new contacts: its own choice, else the gateway's.
    pub fn guard_of(&self, session: &Session) -> Guard {
        session.settings().guard.unwrap_or(self.config.guard)
    }

    /// How the guard of a session stands.
    pub fn guard_status(&self, session: &Session) -> Result<GuardStatus> {
        let (guard, now) = (self.guard_of(session), self.clock.now());
        self.store
            .read(|read| guard::status(read, session.number, guard, now))
    }
}
