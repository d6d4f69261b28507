//! One session while the program runs: its status, its connection, and who waits for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use super::{SessionSettings, SessionState, SessionStatus};
use crate::error::{Code, Error, Result};
use crate::ids::{MessageId, SessionId, SessionNumber};
use crate::time::Timestamp;
use crate::wa::connection::Connection;

/// One session.
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// The number of its rows.
    pub number: SessionNumber,
    /// When it was made.
    pub created_at: Timestamp,
    pub(super) token: RwLock<String>,
    pub(super) settings: RwLock<SessionSettings>,
    status: Mutex<SessionStatus>,
    /// Rises with each change of status.
    changed: watch::Sender<u64>,
    /// Rises with each login; a send that lost its connection waits for the next.
    pub(super) logins: AtomicU64,
    /// Hazard: starting and stopping hold this lock over an await, so that they never overlap.
    pub(super) connection: Arc<tokio::sync::Mutex<Option<Arc<Connection>>>>,
    /// The same connection, for those who only use it.
    current: RwLock<Option<Arc<Connection>>>,
    /// How many requests to send are being worked on; campaigns let them go first.
    interactive: watch::Sender<usize>,
    /// Messages that the last run did not finish sending, in their order.
    interrupted: Mutex<Vec<MessageId>>,
    /// How many steps there are until none of them is left: waiting, and being sent.
    interrupted_steps: watch::Sender<usize>,
    /// Rises with each change of any session.
    any_change: Arc<AtomicU64>,
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        number: SessionNumber,
        created_at: Timestamp,
        settings: SessionSettings,
        token: String,
        status: SessionStatus,
        any_change: Arc<AtomicU64>,
    ) -> Self {
        Self {
            id,
            number,
            created_at,
            token: RwLock::new(token),
            settings: RwLock::new(settings),
            status: Mutex::new(status),
            changed: watch::Sender::new(0),
            logins: AtomicU64::new(0),
            connection: Arc::default(),
            current: RwLock::new(None),
            interactive: watch::Sender::new(0),
            interrupted: Mutex::new(Vec::new()),
            interrupted_steps: watch::Sender::new(0),
            any_change,
        }
    }

    pub(super) fn set_interrupted(&self, ids: Vec<MessageId>) {
        self.interrupted_steps
            .send_replace(usize::from(!ids.is_empty()));
        *self
            .interrupted
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = ids;
    }

    /// Takes the messages that the last run did not finish sending. They are under way until the
    /// second value is dropped.
    pub(in crate::domain) fn take_interrupted(&self) -> (Vec<MessageId>, ResendInProgress<'_>) {
        let mut interrupted = self
            .interrupted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let ids = std::mem::take(&mut *interrupted);
        if ids.is_empty() {
            // Whoever has taken them may be at it still.
            self.interrupted_steps.send_modify(|n| *n += 1);
        }
        (ids, ResendInProgress(&self.interrupted_steps))
    }

    /// Waits until what the last run interrupted was sent or given up, or `patience` ends.
    pub(in crate::domain) async fn interrupted_done(&self, patience: Duration) {
        let mut steps = self.interrupted_steps.subscribe();
        let _ = tokio::time::timeout(patience, steps.wait_for(|n| *n == 0)).await;
    }

    /// Its bearer token.
    pub fn token(&self) -> String {
        self.token
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What its owner chose.
    pub fn settings(&self) -> SessionSettings {
        self.settings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A request to send begins; it ends when the value is dropped.
    pub(in crate::domain) fn interactive_send(&self) -> InteractiveSend<'_> {
        self.interactive.send_modify(|n| *n += 1);
        InteractiveSend(&self.interactive)
    }

    /// Waits until no request to send is being worked on, or `patience` ends.
    pub(in crate::domain) async fn interactive_sends_done(&self, patience: Duration) {
        let mut sends = self.interactive.subscribe();
        let _ = tokio::time::timeout(patience, sends.wait_for(|n| *n == 0)).await;
    }

    /// Where it stands.
    pub fn status(&self) -> SessionStatus {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether it can send now.
    pub fn is_connected(&self) -> bool {
        self.state() == SessionState::Connected
    }

    /// Its state alone.
    pub fn state(&self) -> SessionState {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .state
    }

    /// Tells of each change of status.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// How often it has logged in since the program started.
    pub fn logins(&self) -> u64 {
        self.logins.load(Ordering::SeqCst)
    }

    /// The connection, while the session runs.
    pub fn connection(&self) -> Option<Arc<Connection>> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The connection, while the session runs and is paired: one that shows a QR code takes messages
    /// too, and never answers.
    pub(in crate::domain) fn paired_connection(&self) -> Option<Arc<Connection>> {
        self.connection().filter(|_| self.status().paired)
    }

    /// The same, or the error for a session that cannot send now.
    pub(in crate::domain) fn require_connection(&self) -> Result<Arc<Connection>> {
        self.paired_connection().ok_or_else(|| self.not_connected())
    }

    /// The error for a session that cannot send now.
    pub(in crate::domain) fn not_connected(&self) -> Error {
        Error::new(
            Code::SessionNotConnected,
            format!("Session {} not found or not connected.", self.id),
        )
    }

    pub(super) fn set_current(&self, connection: Option<Arc<Connection>>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = connection;
    }

    /// Waits until `wanted` holds or `patience` ends.
    pub async fn wait_until(
        &self,
        patience: Duration,
        wanted: impl Fn(&SessionStatus) -> bool,
    ) -> bool {
        let mut changes = self.watch();
        let arrive = async {
            while !wanted(&self.status()) {
                if changes.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(patience, arrive)
            .await
            .unwrap_or(false)
    }

    /// Says for good that the session is not any more, and why.
    pub(super) fn is_gone(&self, why: &str) {
        self.change(|status| {
            status.state = SessionState::LoggedOut;
            status.detail = why.to_owned();
            status.qr = None;
        });
    }

    /// Changes the status; answers whether what people see of it changed.
    pub(super) fn change(&self, change: impl FnOnce(&mut SessionStatus)) -> bool {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let before = (status.state, status.detail.clone());
        change(&mut status);
        let visible = before != (status.state, status.detail.clone());
        drop(status);
        self.any_change.fetch_add(1, Ordering::SeqCst);
        self.changed.send_modify(|n| *n += 1);
        visible
    }
}

/// A request to send that is being worked on.
pub(in crate::domain) struct InteractiveSend<'a>(&'a watch::Sender<usize>);

impl Drop for InteractiveSend<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n = n.saturating_sub(1));
    }
}

/// Messages of the last run that are being sent again.
pub(in crate::domain) struct ResendInProgress<'a>(&'a watch::Sender<usize>);

impl Drop for ResendInProgress<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n = n.saturating_sub(1));
    }
}
