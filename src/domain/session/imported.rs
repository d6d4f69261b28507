//! Sessions that move in from another program, and those that give way to them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use super::row::{SESSIONS, SessionRow, next_number, refuse_one_more_than, session_exists};
use super::token::token_purpose;
use super::{Session, SessionSettings};
use crate::domain::vault::{Vault, token_hash};
use crate::domain::{Gateway, pending_removal};
use crate::error::{Code, ErrorKind, Result};
use crate::ids::{SessionId, SessionNumber};
use crate::jid::Jid;
use crate::store::{Durability, Tx};
use crate::time::Timestamp;
use crate::wa::account::Account;
use crate::wa::connection::Connection;

/// How long is waited at first, and at most, before a store that fails is asked again.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A session that moves in.
#[derive(Clone)]
pub(in crate::domain) struct ImportedSession {
    id: SessionId,
    row: SessionRow,
    /// The one that gives way to it.
    replaces: Option<SessionNumber>,
}

/// A session that gives way, stopped. Its lock is held: nobody starts it meanwhile.
pub(in crate::domain) struct Stopped {
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

    /// Puts it in the place of another, whose settings stay, and its token too if that is said. That one is
    /// stopped: neither changes any more.
    pub(in crate::domain) fn replace(&mut self, there: &Session, keeps_token: bool, vault: &Vault) {
        self.replaces = Some(there.number);
        self.row.settings = there.settings();
        if keeps_token {
            let purpose = token_purpose(self.row.number);
            self.row.token = vault.seal(&purpose, &there.token());
        }
    }

    /// Its name.
    pub(in crate::domain) fn id(&self) -> &SessionId {
        &self.id
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
            None => refuse_one_more_than(tx, most)?,
        }
        SESSIONS.put(tx, self.id.as_str(), &self.row)
    }
}

impl Stopped {
    /// Nothing was written: the session goes on.
    pub(in crate::domain) fn resume(self, gateway: &Arc<Gateway>, connect: bool) {
        let Self { session, _alone } = self;
        drop(_alone);
        if connect && session.status().paired {
            gateway.start_in_background(&session);
        }
    }
}

impl Gateway {
    /// Numbers for so many new sessions.
    pub(in crate::domain) async fn session_numbers(
        &self,
        many: usize,
    ) -> Result<Vec<SessionNumber>> {
        let numbers = move |tx: &mut Tx| (0..many).map(|_| next_number(tx)).collect();
        self.store.write(Durability::Lazy, numbers).await
    }

    /// Whether a session other than `but` has this token, or it opens more than a session.
    pub(in crate::domain) fn is_token_taken(&self, token: &str, but: Option<&Session>) -> bool {
        let there = self.sessions.by_token(&token_hash(token));
        let other = there.is_some_and(|there| but.is_none_or(|but| but.number != there.number));
        other || self.is_master_key(token)
    }

    /// Closes a session's connection without telling WhatsApp: the device may be the very one that moves in.
    pub(in crate::domain) async fn stop_to_give_way(&self, session: Arc<Session>) -> Stopped {
        let mut alone = session.connection.clone().lock_owned().await;
        session.set_current(None);
        if let Some(connection) = alone.take() {
            connection.close().await;
        }
        Stopped {
            session,
            _alone: alone,
        }
    }

    /// Whether this session is stored, after a write that failed; asks until the store answers. `None` when
    /// the gateway ends before that: its next start reads what is stored.
    ///
    /// Hazard: a commit that failed may have reached the disk all the same, and readers see what was before it
    /// until the file is opened anew. A write finds out: it succeeds only after that.
    pub(in crate::domain) async fn has_landed(&self, session: &ImportedSession) -> Option<bool> {
        let (mut wait, longest) = AGAIN;
        loop {
            let (id, number) = (session.id.clone(), session.row.number);
            let is_there = move |tx: &mut Tx| {
                let landed = session_exists(tx, id.as_str(), number)?;
                if landed {
                    // Nobody was told of the removals that it marked.
                    tx.signal(pending_removal::SIGNAL);
                }
                Ok(landed)
            };
            match self.store.write(Durability::Lazy, is_there).await {
                Ok(landed) => return Some(landed),
                Err(error) if error.kind() != ErrorKind::Unavailable => {
                    tracing::error!(
                        ?error,
                        "what an import has stored cannot be read: start the gateway again"
                    );
                    return None;
                }
                Err(_) if self.tasks.is_closed() => return None,
                Err(_) => tokio::time::sleep(wait).await,
            }
            wait = (wait * 2).min(longest);
        }
    }

    /// The rows are written: those that gave way are forgotten, and those that moved in are there. Answers
    /// which of them cannot be read.
    pub(in crate::domain) fn replace_sessions(
        self: &Arc<Self>,
        gone: Vec<Stopped>,
        new: Vec<ImportedSession>,
        connect: bool,
    ) -> Vec<SessionId> {
        for (old, new) in new
            .iter()
            .filter_map(|one| Some((one.replaces?, one.row.number)))
        {
            self.keys.hand_on(old, new);
        }
        for Stopped { session, _alone } in gone {
            self.sessions.remove(&session);
            session.is_gone("Replaced by an import");
        }
        let mut unreadable = Vec::new();
        for ImportedSession { id, row, .. } in new {
            let paired = row.paired;
            if !self.load_or_note(id.clone(), Ok(row)) {
                unreadable.push(id);
            } else if let (true, true, Some(session)) = (connect, paired, self.sessions.get(&id)) {
                self.start_in_background(&session);
            }
        }
        unreadable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::server::{Deps, open_gateway};

    #[tokio::test]
    async fn one_that_cannot_be_read_does_not_keep_the_others_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config {
            data: folder.path().join("data"),
            ..Config::default()
        };
        let (gateway, _) = open_gateway(config, Deps::default())
            .await
            .expect("it opens");
        let imported = |name: &str, number: u32| {
            let id = SessionId::parse(name).expect("a name");
            let number = SessionNumber(number);
            let at = gateway.clock().now();
            ImportedSession::of(id, number, "a-token-of-its-own", at, None, &gateway.vault)
        };
        let mut damaged = imported("damaged", 1);
        damaged.row.token = b"sealed by nobody".to_vec();
        let new = vec![damaged, imported("whole", 2)];
        let unreadable = gateway.replace_sessions(Vec::new(), new, false);
        assert_eq!(unreadable, gateway.sessions().unreadable());
        assert_eq!(unreadable[0].as_str(), "damaged");
        let there: Vec<_> = gateway
            .sessions()
            .all()
            .iter()
            .map(|s| s.id.to_string())
            .collect();
        assert_eq!(there, ["whole"]);
        gateway.store().close().await;
    }
}
