//! What a session's connection tells, and what follows from it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::pairing::QR_RAN_OUT;
use super::{Session, SessionState};
use crate::domain::Gateway;
use crate::domain::event::{EventData, SessionUpdate};
use crate::jid::Jid;
use crate::wa::message::{ConnectionEvent, DisappearingTimer};

impl Gateway {
    /// Hears what a session's connection tells, until it is stopped and all of it is worked on.
    pub(super) async fn listen(
        self: &Arc<Self>,
        session: &Arc<Session>,
        mut heard: mpsc::UnboundedReceiver<ConnectionEvent>,
        stopped: &CancellationToken,
    ) {
        let (mut batch, mut logged_out) = (Vec::new(), false);
        loop {
            let more = heard.recv_many(&mut batch, 256);
            if stopped.run_until_cancelled(more).await.is_none() {
                heard.close();
                heard.recv_many(&mut batch, 256).await;
            }
            if batch.is_empty() {
                return;
            }
            let mut receipts = Vec::new();
            for signal in batch.drain(..) {
                match signal {
                    ConnectionEvent::Receipt(receipt) => receipts.push(receipt),
                    // It is told when we ask for it and when WhatsApp does it. By the second time the
                    // session may be on its way to a new pairing.
                    ConnectionEvent::LoggedOut(_) if std::mem::replace(&mut logged_out, true) => {}
                    other => self.handle_event(session, other).await,
                }
            }
            if !receipts.is_empty() {
                self.note_receipts(session, receipts).await;
            }
        }
    }

    async fn handle_event(self: &Arc<Self>, session: &Arc<Session>, signal: ConnectionEvent) {
        use SessionState::{Connecting, Disconnected, Pairing};
        match signal {
            ConnectionEvent::Qr { code, seconds } => {
                let ends = self.clock.now().after(Duration::from_secs(seconds));
                session.change(|status| status.qr = Some((code, ends)));
                self.announce(session, Pairing, "Scan QR code").await;
            }
            ConnectionEvent::QrRanOut => self.end(session, Disconnected, QR_RAN_OUT).await,
            ConnectionEvent::Paired { number, lid } => {
                // The end of the last pairing may have been cut short, and this account is another's.
                self.fail_interrupted(session).await;
                self.note_paired(session, number, lid).await;
                // Saving the pairing may take longer than the new connection.
                if !session.is_connected() {
                    self.announce(session, Connecting, "Paired; connecting...")
                        .await;
                }
            }
            ConnectionEvent::PairingFailed(why) => {
                tracing::debug!(session = %session.id, why, "pairing failed");
                self.announce(session, Pairing, "Pairing failed; scan again")
                    .await;
            }
            ConnectionEvent::PasskeyAsked => {
                let detail = "WhatsApp asks for a passkey to link this account, which a gateway cannot give; \
                              link with a phone whose WhatsApp has no passkey set, or remove it there first";
                self.announce(session, Pairing, detail).await;
            }
            ConnectionEvent::Connected { number, lid, name } => {
                self.note_connected(session, number, lid, name).await;
            }
            ConnectionEvent::Named(name) => self.note_name(session, name).await,
            ConnectionEvent::Disconnected(_) => {
                let detail = "Connection closed. Reconnecting...";
                self.announce(session, Disconnected, detail).await;
            }
            ConnectionEvent::Unreachable(why) => {
                // The library's words, which may change with each try.
                tracing::debug!(session = %session.id, why, "WhatsApp cannot be reached");
                self.announce(
                    session,
                    Disconnected,
                    "WhatsApp cannot be reached; trying again",
                )
                .await;
            }
            ConnectionEvent::LoggedOut(why) => self.note_logged_out(session, &why).await,
            ConnectionEvent::Replaced => {
                let detail = "Another program uses this pairing; stop it, then reconnect";
                self.end(session, Disconnected, detail).await;
            }
            ConnectionEvent::Banned { seconds, why } => {
                let until = self.clock.now().after(Duration::from_secs(seconds));
                let detail = format!(
                    "WhatsApp banned this account until {until} ({why}); send less and wait, then reconnect"
                );
                self.end(session, Disconnected, &detail).await;
            }
            ConnectionEvent::Outdated => {
                let detail = "WhatsApp refuses this version of its web client; update Warung, or set whatsapp_version";
                self.end(session, Disconnected, detail).await;
            }
            ConnectionEvent::Refused(why) => {
                let detail = format!("WhatsApp refused the connection ({why}); trying again");
                self.announce(session, Disconnected, &detail).await;
            }
            ConnectionEvent::Call(call) => {
                let offer = EventData::CallOffer(call.into());
                self.publish_with_retry(session, offer).await;
            }
            ConnectionEvent::Group(change) => {
                if let Some(seconds) = change.timer {
                    let set = change.at.as_secs();
                    let timer = DisappearingTimer { seconds, set };
                    self.note_group_timer(session, &change.group, timer).await;
                }
                let update = EventData::GroupUpdate(change.into());
                self.publish_with_retry(session, update).await;
            }
            ConnectionEvent::Unreadable(lost) => self.note_unreadable(session, &lost).await,
            ConnectionEvent::Receipt(_) => {}
        }
    }

    /// Sets state and detail, and tells the world when they changed.
    pub(super) async fn announce(&self, session: &Session, state: SessionState, detail: &str) {
        let changed = session.change(|status| {
            status.state = state;
            status.detail = detail.to_owned();
            if state != SessionState::Pairing {
                status.qr = None;
            }
        });
        if changed {
            log_state(session, state, detail);
            let detail = detail.to_owned();
            let data = EventData::SessionUpdate(SessionUpdate { state, detail });
            self.publish(session, data).await;
        }
    }

    async fn note_connected(
        self: &Arc<Self>,
        session: &Arc<Session>,
        number: Option<String>,
        lid: Option<Jid>,
        name: String,
    ) {
        self.forget_another_account(session, number.as_deref(), lid.as_ref())
            .await;
        session.change(|status| {
            status.paired = true;
            status.number.clone_from(&number);
            status.lid.clone_from(&lid);
            if !name.is_empty() {
                status.name.clone_from(&name);
            }
        });
        self.update_row(session, move |row| {
            row.paired = true;
            row.logged_out = None;
            row.phone = number;
            row.lid = lid;
            if !name.is_empty() {
                row.name = name;
            }
        })
        .await;
        session.logins.fetch_add(1, Ordering::SeqCst);
        let detail = connected_detail(&session.status().name);
        self.announce(session, SessionState::Connected, &detail)
            .await;
        let (gateway, session) = (self.clone(), session.clone());
        self.tasks
            .spawn(async move { gateway.resend_interrupted(&session).await });
    }

    async fn note_name(&self, session: &Session, name: String) {
        session.change(|status| status.name.clone_from(&name));
        if session.is_connected() {
            self.announce(session, SessionState::Connected, &connected_detail(&name))
                .await;
        }
        self.update_row(session, move |row| row.name = name).await;
    }
}

/// Tells the log, which may be all that an operator has: why nothing can be sent, when that is so.
fn log_state(session: &Session, state: SessionState, why: &str) {
    use SessionState::{Connected, Disconnected, LoggedOut};
    let (id, paired) = (&session.id, session.status().paired);
    match state {
        Disconnected | LoggedOut if paired || state == LoggedOut => {
            tracing::warn!(session = %id, ?state, why, "session state: nothing can be sent");
        }
        // The detail is a name then, which is nobody's business.
        Connected => tracing::info!(session = %id, ?state, "session state"),
        _ => tracing::info!(session = %id, ?state, why, "session state"),
    }
}

fn connected_detail(name: &str) -> String {
    format!(
        "Connected as {}",
        if name.is_empty() { "Unknown" } else { name }
    )
}
