//! Sessions that move in from another program, and those that give way to them.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::row::{SESSIONS, SessionRow};
use super::token::token_purpose;
use super::{Session, SessionSettings, SessionState};
use crate::domain::vault::{Vault, token_hash};
use crate::domain::{Gateway, pending_removal};
use crate::error::{Code, Result};
use crate::ids::{SessionId, SessionNumber};
use crate::jid::Jid;
use crate::store::{Durability, Tx};
use crate::time::Timestamp;
use crate::wa::account::Account;
use crate::wa::connection::Connection;

/// A session that moves in.
pub(in crate::domain) struct ImportedSession {
    id: SessionId,
    row: SessionRow,
    /// The one that gives way to it.
    replaces: Option<SessionNumber>,
}

/// A session that gives way, stopped. Its lock is held: nobody starts it meanwhile.
pub(in crate::domain) struct StoppedSession {
    session: Arc<Session>,
    _alone: OwnedMutexGuard<Option<Arc<Connection>>>,
}

impl ImportedSession {
    /// Makes the row of it. With an account it is paired.
    pub(in crate::domain) fn of(
        id: SessionId,
        number: SessionNumber,
        token: &str,
        created_at: Timestamp,
        account: Option<&Account>,
        vault: &Vault,
    ) -> Self {
        let lid = account.and_then(|account| account.lid.as_ref());
        Self {
            row: SessionRow {
                number,
                created_at,
                token: vault.seal(&token_purpose(number), token),
                paired: account.is_some(),
                logged_out: None,
                phone: account.map(|account| account.number.user.clone()),
                lid: lid.and_then(|lid| Jid::parse(&format!("{}@lid", lid.user))),
                name: account
                    .map(|account| account.name.clone())
                    .unwrap_or_default(),
                settings: SessionSettings::default(),
            },
            id,
            replaces: None,
        }
    }

    /// Puts it in the place of another.
    pub(in crate::domain) fn replace(&mut self, there: &Session) {
        self.replaces = Some(there.number);
    }

    /// Its number.
    pub(in crate::domain) fn number(&self) -> SessionNumber {
        self.row.number
    }

    /// Writes it. From the commit on the one that gives way is gone.
    ///
    /// # Errors
    /// `session_busy`: somebody made, deleted or replaced a session of this name meanwhile.
    /// `session_limit_reached`: others made so many meanwhile.
    pub(in crate::domain) fn put(&self, tx: &mut Tx, most: usize) -> Result<()> {
        let there = SESSIONS.get(tx, self.id.as_str())?.map(|row| row.number);
        if there != self.replaces {
            return Err(Code::SessionBusy.into());
        }
        match self.replaces {
            Some(old) => pending_removal::of_session(tx, old),
            None if SESSIONS.rows(()).are_fewer_than(tx, most)? => {}
            None => return Err(Code::SessionLimitReached.into()),
        }
        SESSIONS.put(tx, self.id.as_str(), &self.row)
    }
}

impl Gateway {
    /// Numbers for so many new sessions.
    pub(in crate::domain) async fn session_numbers(
        &self,
        many: usize,
    ) -> Result<Vec<SessionNumber>> {
        let numbers = self.store.write(Durability::Lazy, move |tx| {
            (0..many)
                .map(|_| {
                    let number = u32::try_from(tx.next_seq("sessions")?);
                    number
                        .map(SessionNumber)
                        .map_err(|_| crate::error::Error::internal("session numbers ran out"))
                })
                .collect()
        });
        numbers.await
    }

    /// Whether a session other than `but` has this token, or it opens more than a session.
    pub(in crate::domain) fn is_token_taken(&self, token: &str, but: Option<&Session>) -> bool {
        let there = self.sessions.by_token(&token_hash(token));
        let other = there.is_some_and(|there| but.is_none_or(|but| but.number != there.number));
        other || self.is_master_key(token)
    }

    /// Closes a session's connection without telling WhatsApp: the device may be the very one that moves in.
    pub(in crate::domain) async fn stop_for_import(&self, session: Arc<Session>) -> StoppedSession {
        let mut alone = session.connection.clone().lock_owned().await;
        session.set_current(None);
        if let Some(connection) = alone.take() {
            connection.close().await;
        }
        StoppedSession {
            session,
            _alone: alone,
        }
    }

    /// Nothing was written: the session goes on.
    pub(in crate::domain) fn go_on(self: &Arc<Self>, stopped: StoppedSession, connect: bool) {
        let StoppedSession { session, _alone } = stopped;
        drop(_alone);
        if connect && session.status().paired {
            self.start_in_background(&session);
        }
    }

    /// The rows are written: those that gave way are forgotten, and those that moved in are there.
    pub(in crate::domain) fn replace_sessions(
        self: &Arc<Self>,
        gone: Vec<StoppedSession>,
        new: Vec<ImportedSession>,
        connect: bool,
    ) -> Result<()> {
        for StoppedSession { session, _alone } in gone {
            self.sessions.remove(&session);
            self.keys.end_of_session(session.number);
            session.change(|status| {
                status.state = SessionState::LoggedOut;
                status.detail = "Replaced by an import".into();
                status.qr = None;
            });
        }
        for ImportedSession { id, row, .. } in new {
            let paired = row.paired;
            self.load_session(id.clone(), row)?;
            if let (true, true, Some(session)) = (connect, paired, self.sessions.get(&id)) {
                self.start_in_background(&session);
            }
        }
        Ok(())
    }
}
