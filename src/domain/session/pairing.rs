//! Pairing: QR codes, pairing codes, and the end of a pairing.

use std::sync::Arc;
use std::time::Duration;

use super::row::SESSIONS;
use super::{Session, SessionState, SessionStatus};
use crate::domain::{Gateway, guard};
use crate::error::{Code, Error, Result};
use crate::jid::{Jid, PhoneNumber};
use crate::time::Timestamp;
use crate::wa::backend;

/// How long a request for a QR waits for WhatsApp to give one.
const QR_PATIENCE: Duration = Duration::from_secs(20);

pub(super) const NOT_PAIRED: &str = "Not paired yet; ask for a QR code";
pub(super) const QR_RAN_OUT: &str = "The QR code ran out; ask for a new one";

impl Gateway {
    pub(super) async fn note_paired(
        &self,
        session: &Session,
        number: Option<String>,
        lid: Option<Jid>,
    ) {
        self.forget_another_account(session, number.as_deref(), lid.as_ref())
            .await;
        session.change(|status| status.paired = true);
        self.update_row(session, |row| {
            row.paired = true;
            row.logged_out = None;
            if number.is_some() {
                (row.phone, row.lid) = (number, lid);
            }
        })
        .await;
    }

    /// Forgets who knows the account that was paired here before, unless it is this one: it may have got
    /// another number, and keeps its LID.
    pub(super) async fn forget_another_account(
        &self,
        session: &Session,
        number: Option<&str>,
        lid: Option<&Jid>,
    ) {
        let forget = || async {
            let row = self
                .store
                .read(|read| SESSIONS.get(read, session.id.as_str()))?;
            let is_another = row.is_some_and(|row| {
                let differs = row.phone.is_some() && row.phone.as_deref() != number;
                differs && number.is_some() && (lid.is_none() || row.lid.as_ref() != lid)
            });
            match is_another {
                true => guard::forget_contacts(&self.store, session.number).await,
                false => Ok(()),
            }
        };
        if let Err(error) = self.while_store_fails(forget).await {
            tracing::error!(session = %session.id, ?error, "the contacts of another account could not be forgotten");
        }
    }

    /// The pairing is gone: its keys are worthless and go too, so that a new QR can be made.
    pub(super) async fn note_logged_out(self: &Arc<Self>, session: &Arc<Session>, why: &str) {
        let reason = why.to_owned();
        self.update_row(session, move |row| {
            row.paired = false;
            row.logged_out = Some(reason);
            // The next account that is paired here goes by its own.
            row.name = String::new();
        })
        .await;
        session.change(|status| {
            status.paired = false;
            status.number = None;
            status.lid = None;
            status.name = String::new();
        });
        // Held until the old keys are gone: a new connection must not start on them.
        let slot = session.connection.clone().lock_owned().await;
        session.set_current(None);
        self.announce(session, SessionState::LoggedOut, &logged_out_detail(why))
            .await;
        let (gateway, session) = (self.clone(), session.clone());
        self.tasks.spawn(async move {
            let mut slot = slot;
            if let Some(connection) = slot.take() {
                connection.close().await;
            }
            // Another account may be paired next: it must not send what this one did not finish.
            gateway.fail_interrupted(&session).await;
            gateway.forget_chats(&session).await;
            if let Err(error) = backend::delete_all(&gateway.store, session.number.0).await {
                tracing::error!(session = %session.id, ?error, "old keys could not be removed");
            }
        });
    }

    /// The QR code of a session that is not paired; starts pairing when none waits.
    pub async fn qr(self: &Arc<Self>, session: &Arc<Session>) -> Result<(String, Timestamp)> {
        let waiting = |s: &SessionStatus| {
            s.qr.is_some()
                || matches!(
                    s.state,
                    SessionState::Connected | SessionState::Disconnected | SessionState::LoggedOut
                )
        };
        if session.is_connected() {
            return Err(Code::SessionConnected.into());
        }
        if session.status().qr.is_none() {
            self.start(session).await?;
        }
        session.wait_until(QR_PATIENCE, waiting).await;
        let status = session.status();
        match status.qr {
            Some(qr) => Ok(qr),
            None if status.state == SessionState::Connected => {
                Err(Error::from(Code::SessionConnected))
            }
            None => Err(Error::new(
                Code::QrNotReady,
                format!("No QR code yet: {}", status.detail),
            )),
        }
    }

    /// The eight characters to type on the phone with this number.
    pub async fn pairing_code(
        self: &Arc<Self>,
        session: &Arc<Session>,
        phone: &PhoneNumber,
    ) -> Result<String> {
        if session.is_connected() {
            return Err(Code::SessionConnected.into());
        }
        self.qr(session).await?;
        let connection = session.connection().ok_or_else(|| {
            Error::new(Code::SessionBusy, "The session is being closed; try again")
        })?;
        let code = connection.pair_code(phone).await?;
        self.announce(
            session,
            SessionState::Pairing,
            "Type the pairing code on the phone",
        )
        .await;
        Ok(code)
    }

    /// Unlinks the session at WhatsApp; it stays here and can be paired again.
    pub async fn logout(self: &Arc<Self>, session: &Arc<Session>) -> Result<()> {
        self.wait_until_connected(session).await;
        let connection = session.connection();
        match connection {
            Some(connection) if session.is_connected() => {
                connection.logout().await;
                session
                    .wait_until(Duration::from_secs(5), |s| {
                        s.state == SessionState::LoggedOut
                    })
                    .await;
            }
            _ => self.note_logged_out(session, "logged out here").await,
        }
        Ok(())
    }
}

/// What a session says whose pairing ended so: `why` is a sentence that begins small.
pub(super) fn logged_out_detail(why: &str) -> String {
    let mut rest = why.chars();
    let first: String = rest
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    format!("{first}{}; pair again with a new QR code", rest.as_str())
}
