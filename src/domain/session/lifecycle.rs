//! The life of a session: loaded, made, connected, closed, deleted.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};

use super::pairing::{NOT_PAIRED, logged_out_detail};
use super::registry::{not_found, unreadable};
use super::row::{SESSIONS, SessionRow, next_number, number_in, refuse_one_more_than};
use super::token::token_purpose;
use super::{Session, SessionSettings, SessionState, SessionStatus};
use crate::domain::message::{self, outbox};
use crate::domain::{Gateway, guard, pending_removal};
use crate::error::{Code, Error, ErrorKind, Result};
use crate::ids::SessionId;
use crate::store::Durability;
use crate::wa::backend::Backend;
use crate::wa::connection::{Connection, ConnectionOptions};

/// How many sessions connect at the same time after a start.
const CONNECTING_AT_ONCE: usize = 8;

/// How long a deletion waits for the rows to be gone; those of a large session go on going afterwards.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(2);

impl Gateway {
    /// Reads all sessions from the store; none is started yet.
    pub fn load_sessions(&self) -> Result<()> {
        let mut rows = Vec::new();
        self.store.read(|read| {
            SESSIONS.rows(()).each(read, |row| {
                rows.push((
                    row.key().and_then(|name| SessionId::parse(&name)),
                    row.value(),
                ));
                Ok(())
            })
        })?;
        for (id, row) in rows {
            // One damaged row must not stop the others.
            let id = match id {
                Ok(id) => id,
                Err(error) => {
                    tracing::error!(?error, "a session's name cannot be read and is left out");
                    continue;
                }
            };
            self.load_or_note(id, row);
        }
        Ok(())
    }

    /// Loads a session; one that cannot be read is noted as such. Answers whether it could.
    pub(super) fn load_or_note(&self, id: SessionId, row: Result<SessionRow>) -> bool {
        let Err(error) = row.and_then(|row| self.load_session(id.clone(), row)) else {
            return true;
        };
        tracing::error!(session = %id, ?error,
            "a session cannot be read; delete it and create it again");
        self.sessions.note_unreadable(id);
        false
    }

    fn load_session(&self, id: SessionId, row: SessionRow) -> Result<()> {
        let token = self.vault.open(&token_purpose(row.number), &row.token)?;
        let (state, detail) = match (&row.logged_out, row.paired) {
            (Some(reason), _) => (SessionState::LoggedOut, logged_out_detail(reason)),
            (None, true) => (SessionState::Disconnected, "Restarting...".to_owned()),
            (None, false) => (SessionState::Disconnected, NOT_PAIRED.to_owned()),
        };
        let status = SessionStatus {
            state,
            detail,
            paired: row.paired,
            qr: None,
            number: row.phone.clone(),
            lid: row.lid.clone(),
            name: row.name.clone(),
        };
        let number = row.number;
        let session = self.session_of(id, row, token, status);
        session.set_interrupted(self.store.read(|read| outbox::in_outbox(read, number))?);
        self.sessions.insert(Arc::new(session));
        Ok(())
    }

    /// The session of a row, which stands so.
    fn session_of(
        &self,
        id: SessionId,
        row: SessionRow,
        token: String,
        status: SessionStatus,
    ) -> Session {
        Session::new(
            id,
            row.number,
            row.created_at,
            row.settings,
            token,
            status,
            self.sessions.version.clone(),
        )
    }

    /// Connects all paired sessions, a few at a time and not all in the same moment.
    pub async fn start_paired_sessions(self: &Arc<Self>) {
        let slots = Arc::new(Semaphore::new(CONNECTING_AT_ONCE));
        for session in self.sessions.all() {
            if !session.status().paired {
                continue;
            }
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return;
            };
            let gateway = self.clone();
            let jitter = Duration::from_millis(u64::from(self.ids.bytes::<1>()[0]) / 8);
            self.tasks.spawn(async move {
                tokio::time::sleep(jitter).await;
                gateway.start_until_it_runs(&session).await;
                session
                    .wait_until(Duration::from_secs(10), |s| {
                        s.state != SessionState::Connecting
                    })
                    .await;
                drop(slot);
            });
        }
    }

    /// Makes a session, or brings an existing one back up. Answers whether it is new.
    pub async fn create_session(self: &Arc<Self>, id: SessionId) -> Result<(Arc<Session>, bool)> {
        if let Some(session) = self.sessions.get(&id) {
            self.start_in_background(&session);
            return Ok((session, false));
        }
        if self.sessions.is_unreadable(&id) {
            return Err(unreadable(&id));
        }
        let token = self.ids.token();
        let Some(row) = self.store_session(&id, &token).await? else {
            return self
                .sessions
                .get(&id)
                .map(|session| (session, false))
                .ok_or_else(|| Error::from(Code::SessionBusy));
        };
        let status = SessionStatus {
            state: SessionState::Created,
            detail: "Initializing...".into(),
            paired: false,
            qr: None,
            number: None,
            lid: None,
            name: String::new(),
        };
        let session = self.session_of(id, row, token, status);
        let (session, _) = self.sessions.insert(Arc::new(session));
        self.start_in_background(&session);
        Ok((session, true))
    }

    /// Stores a new session. `None` when one of this name is there: the writer is one, so of two requests
    /// for the same name, or for the last place, the second finds the row of the first.
    async fn store_session(
        self: &Arc<Self>,
        id: &SessionId,
        token: &str,
    ) -> Result<Option<SessionRow>> {
        let now = self.clock.now();
        let (gateway, key, token) = (self.clone(), id.as_str().to_owned(), token.to_owned());
        self.store
            .write(Durability::Sync, move |tx| {
                if SESSIONS.exists(tx, &key)? {
                    return Ok(None);
                }
                refuse_one_more_than(tx, gateway.config.max_sessions)?;
                let number = next_number(tx)?;
                let row = SessionRow {
                    number,
                    created_at: now,
                    token: gateway.vault.seal(&token_purpose(number), &token),
                    paired: false,
                    logged_out: None,
                    phone: None,
                    lid: None,
                    name: String::new(),
                    settings: SessionSettings::default(),
                };
                SESSIONS.put(tx, &key, &row)?;
                Ok(Some(row))
            })
            .await
    }

    /// Starts a session unless it runs, and does not wait for it.
    pub fn start_in_background(self: &Arc<Self>, session: &Arc<Session>) {
        let (gateway, session) = (self.clone(), session.clone());
        self.tasks
            .spawn(async move { gateway.start_until_it_runs(&session).await });
    }

    /// Starts a session; while the store cannot be read, again and again.
    async fn start_until_it_runs(self: &Arc<Self>, session: &Arc<Session>) {
        let mut seconds = 1;
        while let Err(error) = self.start(session).await {
            tracing::error!(session = %session.id, ?error, "the session could not be started");
            if error.kind() != ErrorKind::Unavailable {
                return;
            }
            for _ in 0..seconds {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if self.tasks.is_closed() {
                    return;
                }
            }
            seconds = (seconds * 2).min(60);
        }
    }

    /// Starts a session unless it runs.
    pub async fn start(self: &Arc<Self>, session: &Arc<Session>) -> Result<()> {
        let mut slot = session.connection.lock().await;
        let known = self.sessions.by_number(session.number).is_some();
        if session.connection().is_some() || self.tasks.is_closed() || !known {
            return Ok(());
        }
        if let Some(ended) = slot.take() {
            ended.close().await;
        }
        self.announce(session, SessionState::Connecting, "Connecting...")
            .await;
        if let Err(error) = guard::note_older_contacts(&self.store, session.number).await {
            // They count as new until the next start.
            tracing::warn!(session = %session.id, ?error, "earlier contacts could not be noted");
        }
        let (events, heard) = mpsc::unbounded_channel();
        let (gateway, inbox_session) = (self.clone(), session.clone());
        let inbox: crate::wa::inbox::Inbox = Arc::new(move |messages| {
            let (gateway, session) = (gateway.clone(), inbox_session.clone());
            Box::pin(async move { gateway.receive(&session, messages).await })
        });
        let (store, number) = (self.store.clone(), session.number);
        let stored: crate::wa::IsStored = Arc::new(move |id, sender| {
            store.read(|read| message::is_stored(read, number, id, sender))
        });
        let opened = Connection::open(ConnectionOptions {
            stored,
            backend: Backend::new(
                self.store.clone(),
                session.number.0,
                self.clock.clone(),
                self.seal.clone(),
            ),
            endpoint: self.endpoint.clone(),
            dialer: self.dialer.clone(),
            http: self.media_client.clone(),
            version: self.config.whatsapp_version,
            device_name: self.config.device_name.clone(),
            show_online: self.config.show_online,
            name: session.status().name,
            inbox,
            events,
            clock: self.clock.clone(),
        })
        .await;
        match opened {
            Ok(connection) => {
                let stopped = connection.stopped();
                let connection = Arc::new(connection);
                *slot = Some(connection.clone());
                session.set_current(Some(connection));
                let (gateway, session) = (self.clone(), session.clone());
                self.tasks
                    .spawn(async move { gateway.listen(&session, heard, &stopped).await });
                Ok(())
            }
            Err(error) => {
                let detail = error.detail().to_owned();
                self.announce(session, SessionState::Disconnected, &detail)
                    .await;
                Err(error)
            }
        }
    }

    /// Closes a connection that WhatsApp ended for a reason that trying again does not mend.
    pub(super) async fn end(
        self: &Arc<Self>,
        session: &Arc<Session>,
        state: SessionState,
        detail: &str,
    ) {
        session.set_current(None);
        self.announce(session, state, detail).await;
        // The listener itself runs this, so closing is left to a task of its own.
        let (gateway, session) = (self.clone(), session.clone());
        self.tasks
            .spawn(async move { gateway.close_ended(&session).await });
    }

    /// Closes the connection; the pairing stays.
    pub(super) async fn close(&self, session: &Session) {
        let mut slot = session.connection.lock().await;
        session.set_current(None);
        if let Some(connection) = slot.take() {
            connection.close().await;
        }
    }

    /// Closes a connection that has ended, unless a new one was started meanwhile.
    pub(super) async fn close_ended(&self, session: &Session) {
        let mut slot = session.connection.lock().await;
        if session.connection().is_none()
            && let Some(connection) = slot.take()
        {
            connection.close().await;
        }
    }

    /// Drops the connection and makes it anew; starts the session when it is stopped.
    pub async fn reconnect(self: &Arc<Self>, session: &Arc<Session>) -> Result<()> {
        match session.connection() {
            Some(connection) if session.is_connected() => {
                self.announce(session, SessionState::Connecting, "Reconnecting...")
                    .await;
                connection.reconnect().await;
            }
            Some(_) => {
                self.close(session).await;
                self.start(session).await?;
            }
            None => self.start(session).await?,
        }
        Ok(())
    }

    /// Logs out and removes every row of the session.
    pub async fn delete_session(&self, session: &Arc<Session>) -> Result<()> {
        // A device that WhatsApp is not told of stays in the phone's list.
        self.wait_until_connected(session).await;
        let mut slot = session.connection.lock().await;
        if self.sessions.by_number(session.number).is_none() {
            return Err(not_found(session.id.as_str()));
        }
        let (key, number) = (session.id.as_str().to_owned(), session.number);
        // Its connection writes rows until it is closed: they are removed after that.
        let closing = self.closing_sessions.read().await;
        // From here on it is gone, also after a crash; its rows may be many and go by and by. What could
        // not be written leaves it as it is, linked to its phone.
        self.store
            .write(Durability::Sync, move |tx| {
                SESSIONS.delete(tx, &key);
                pending_removal::of_session(tx, number);
                Ok(())
            })
            .await?;
        self.sessions.remove(session);
        self.keys.end_of_session(number);
        let was_connected = session.is_connected();
        session.set_current(None);
        match slot.take() {
            Some(connection) if was_connected => connection.logout().await,
            Some(connection) => connection.close().await,
            None => {}
        }
        drop(closing);
        session.is_gone("Deleted");
        drop(slot);
        self.session_removed(session.number, REMOVAL_PATIENCE).await;
        Ok(())
    }

    /// Removes a session whose row cannot be read, with what belongs to it as far as the row still says
    /// what that is. WhatsApp is not told.
    pub async fn delete_unreadable_session(self: &Arc<Self>, id: &SessionId) -> Result<()> {
        let (gateway, name) = (self.clone(), id.clone());
        let number = self
            .store
            .write(Durability::Sync, move |tx| {
                // Another request may have deleted it, and a third may have made it anew.
                if !gateway.sessions.is_unreadable(&name) {
                    return Err(not_found(name.as_str()));
                }
                let number = SESSIONS.view(tx, name.as_str(), number_in)?.flatten();
                // Damage must not name another's rows.
                let number = number.filter(|n| gateway.sessions.by_number(*n).is_none());
                SESSIONS.delete(tx, name.as_str());
                if let Some(number) = number {
                    pending_removal::of_session(tx, number);
                }
                Ok(number)
            })
            .await?;
        self.sessions.forget_unreadable(id);
        match number {
            Some(number) => self.session_removed(number, REMOVAL_PATIENCE).await,
            None => tracing::warn!(session = %id,
                "the session's row does not say which rows are its own; they stay in the store"),
        }
        Ok(())
    }

    /// Closes all connections, keeping the pairings: the last step before the store closes.
    pub async fn stop_sessions(self: &Arc<Self>) {
        let mut closing = tokio::task::JoinSet::new();
        for session in self.sessions.all() {
            let gateway = self.clone();
            closing.spawn(async move {
                gateway.close(&session).await;
                // Whoever waits for it to connect need not wait any longer.
                session.change(|status| {
                    if status.state == SessionState::Connecting {
                        status.state = SessionState::Disconnected;
                    }
                });
            });
        }
        while closing.join_next().await.is_some() {}
    }
}
