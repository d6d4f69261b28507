//! Sessions: one linked account each. Their states, their life, and what they hear from WhatsApp.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Gateway;
use super::event::{self, Event};
use super::message;
use super::optout::Words;
use super::pacing::QuietHours;
use super::removal;
use super::vault::{Vault, token_hash};
use super::zone::Zone;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{MessageId, SessionId, SessionNumber};
use crate::jid::{Jid, PhoneNumber};
use crate::store::record::{self, Record};
use crate::store::{Durability, Read, Store, tables};
use crate::time::Timestamp;
use crate::wa::backend::{self, Backend};
use crate::wa::link::{Link, Options};
use crate::wa::message::{Signal, Timer};

/// How many sessions connect at the same time after a start.
const CONNECTING_AT_ONCE: usize = 8;

/// How long a request for a QR waits for WhatsApp to give one.
const QR_PATIENCE: Duration = Duration::from_secs(20);

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Made, nothing tried yet.
    Created,
    /// On its way to WhatsApp.
    Connecting,
    /// A QR waits to be scanned, or a code to be typed.
    Pairing,
    /// Ready to send and receive.
    Connected,
    /// Not connected; the detail says why and what to do.
    Disconnected,
    /// The pairing ended; a new QR is needed.
    LoggedOut,
}

/// Where a session stands, with everything one may want to show.
#[derive(Debug, Clone)]
pub struct Status {
    /// The state.
    pub state: State,
    /// A sentence about it.
    pub detail: String,
    /// Whether a phone accepted it and has not ended that.
    pub paired: bool,
    /// The QR that waits, and when it ends.
    pub qr: Option<(String, Timestamp)>,
    /// The account's number.
    pub number: Option<String>,
    /// The account's hidden id.
    pub lid: Option<Jid>,
    /// The account's own name.
    pub name: String,
}

/// What a session's owner may choose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Whether files that arrive are fetched by themselves.
    pub auto_download: bool,
    /// What its campaigns together may send.
    pub limits: Limits,
    /// Words by which people leave campaigns; the usual ones when `None`.
    pub opt_out_words: Option<Vec<String>>,
    /// Words by which people come back; the usual ones when `None`.
    pub opt_in_words: Option<Vec<String>>,
}

impl Settings {
    /// The words that it listens to.
    pub(super) fn words(&self) -> Words {
        let usual = Words::default();
        if self.opt_out_words.is_none() && self.opt_in_words.is_none() {
            return usual;
        }
        usual.replaced(self.opt_out_words.as_deref(), self.opt_in_words.as_deref())
    }
}

/// What the campaigns of a session together may send.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// How many messages a day.
    pub daily_cap: Option<NonZeroU32>,
    /// When nothing is sent.
    pub quiet: Option<QuietHours>,
    /// Whose days and hours count.
    pub zone: Zone,
}

/// What is stored of a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    number: SessionNumber,
    created_at: Timestamp,
    /// The sealed token.
    token: Vec<u8>,
    /// Whether a phone accepted it.
    paired: bool,
    /// Why the pairing ended.
    logged_out: Option<String>,
    phone: Option<String>,
    lid: Option<Jid>,
    name: String,
    #[serde(default)]
    settings: Settings,
}

impl Record for Row {
    const VERSION: u8 = 1;
}

/// Whether the session of this name is still the one with this number. A request or a signal may
/// outlive its session, and another may have got the name.
pub(super) fn is_kept(read: &impl Read, id: &str, number: SessionNumber) -> Result<bool> {
    let row = read.get(tables::SESSIONS, id.as_bytes())?;
    Ok(match row {
        Some(row) => record::decode::<Row>(&row)?.number == number,
        None => false,
    })
}

/// Refuses what is asked of a session that was deleted meanwhile.
pub(super) fn must_be_kept(read: &impl Read, id: &str, number: SessionNumber) -> Result<()> {
    if is_kept(read, id, number)? {
        return Ok(());
    }
    Err(Error::not_found(format!("Session {id} not found")))
}

/// One session.
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// The number of its rows.
    pub number: SessionNumber,
    /// When it was made.
    pub created_at: Timestamp,
    token: RwLock<String>,
    settings: RwLock<Settings>,
    status: Mutex<Status>,
    /// Rises with each change of status.
    changed: watch::Sender<u64>,
    /// Rises with each login; a send that lost its connection waits for the next.
    logins: AtomicU64,
    /// Hazard: starting and stopping hold this lock over an await, so that they never overlap.
    link: Arc<tokio::sync::Mutex<Option<Arc<Link>>>>,
    /// The same link, for those who only use it.
    current: RwLock<Option<Arc<Link>>>,
    /// How many requests to send are being worked on; campaigns let them go first.
    ordinary: watch::Sender<usize>,
    /// Messages that the last run did not finish sending, in their order.
    interrupted: Mutex<Vec<MessageId>>,
    /// How many steps there are until none of them is left: waiting, and being sent.
    interrupted_steps: watch::Sender<usize>,
    /// Rises with each change of any session.
    any_change: Arc<AtomicU64>,
}

impl Session {
    fn new(
        id: SessionId,
        row: &Row,
        token: String,
        status: Status,
        any_change: Arc<AtomicU64>,
    ) -> Self {
        Self {
            id,
            number: row.number,
            created_at: row.created_at,
            token: RwLock::new(token),
            settings: RwLock::new(row.settings.clone()),
            status: Mutex::new(status),
            changed: watch::Sender::new(0),
            logins: AtomicU64::new(0),
            link: Arc::default(),
            current: RwLock::new(None),
            ordinary: watch::Sender::new(0),
            interrupted: Mutex::new(Vec::new()),
            interrupted_steps: watch::Sender::new(0),
            any_change,
        }
    }

    fn set_interrupted(&self, ids: Vec<MessageId>) {
        self.interrupted_steps
            .send_replace(usize::from(!ids.is_empty()));
        *self
            .interrupted
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = ids;
    }

    /// Takes the messages that the last run did not finish sending. They are under way until the
    /// second value is dropped.
    pub(super) fn take_interrupted(&self) -> (Vec<MessageId>, UnderWay<'_>) {
        let mut interrupted = self
            .interrupted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let ids = std::mem::take(&mut *interrupted);
        if ids.is_empty() {
            // Whoever has taken them may be at it still.
            self.interrupted_steps.send_modify(|n| *n += 1);
        }
        (ids, UnderWay(&self.interrupted_steps))
    }

    /// Waits until what the last run interrupted was sent or given up, or `patience` ends.
    pub(super) async fn interrupted_done(&self, patience: Duration) {
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
    pub fn settings(&self) -> Settings {
        self.settings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A request to send begins; it ends when the value is dropped.
    pub(super) fn ordinary_send(&self) -> OrdinarySend<'_> {
        self.ordinary.send_modify(|n| *n += 1);
        OrdinarySend(&self.ordinary)
    }

    /// Waits until no request to send is being worked on, or `patience` ends.
    pub(super) async fn ordinary_sends_done(&self, patience: Duration) {
        let mut sends = self.ordinary.subscribe();
        let _ = tokio::time::timeout(patience, sends.wait_for(|n| *n == 0)).await;
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether it can send now.
    pub fn is_connected(&self) -> bool {
        self.state() == State::Connected
    }

    /// Its state alone.
    pub fn state(&self) -> State {
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
    pub fn link(&self) -> Option<Arc<Link>> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set_current(&self, link: Option<Arc<Link>>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = link;
    }

    /// Waits until `wanted` holds or `patience` ends.
    pub async fn wait_until(&self, patience: Duration, wanted: impl Fn(&Status) -> bool) -> bool {
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

    /// Changes the status; answers whether what people see of it changed.
    fn change(&self, change: impl FnOnce(&mut Status)) -> bool {
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
pub(super) struct OrdinarySend<'a>(&'a watch::Sender<usize>);

impl Drop for OrdinarySend<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n = n.saturating_sub(1));
    }
}

/// Messages of the last run that are being sent again.
pub(super) struct UnderWay<'a>(&'a watch::Sender<usize>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n = n.saturating_sub(1));
    }
}

/// All sessions, by name and by token.
#[derive(Default)]
pub struct Sessions {
    registry: RwLock<Registry>,
    version: Arc<AtomicU64>,
}

#[derive(Default)]
struct Registry {
    by_id: BTreeMap<SessionId, Arc<Session>>,
    by_token: HashMap<[u8; 32], Arc<Session>>,
    by_number: HashMap<SessionNumber, Arc<Session>>,
}

impl Sessions {
    /// All, by name.
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.read().by_id.values().cloned().collect()
    }

    /// Rises with each change of any session, so that a rendered list can be kept until then.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.read().by_id.len()
    }

    /// One by its name.
    pub fn get(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.read().by_id.get(id).cloned()
    }

    /// One by its number.
    pub fn by_number(&self, number: SessionNumber) -> Option<Arc<Session>> {
        self.read().by_number.get(&number).cloned()
    }

    pub(super) fn by_token(&self, hash: &[u8; 32]) -> Option<Arc<Session>> {
        self.read().by_token.get(hash).cloned()
    }

    /// Adds a session unless one of that name is there; answers the one that is there then.
    fn insert(&self, session: Arc<Session>) -> (Arc<Session>, bool) {
        let mut registry = self.write();
        if let Some(there) = registry.by_id.get(&session.id) {
            return (there.clone(), false);
        }
        registry
            .by_token
            .insert(token_hash(&session.token()), session.clone());
        registry.by_number.insert(session.number, session.clone());
        registry.by_id.insert(session.id.clone(), session.clone());
        drop(registry);
        self.version.fetch_add(1, Ordering::SeqCst);
        (session, true)
    }

    fn remove(&self, session: &Session) {
        let mut registry = self.write();
        if registry
            .by_id
            .get(&session.id)
            .is_some_and(|s| s.number == session.number)
        {
            registry.by_id.remove(&session.id);
        }
        registry.by_number.remove(&session.number);
        registry.by_token.retain(|_, s| s.number != session.number);
    }

    fn replace_token(&self, session: &Arc<Session>, token: String) {
        let mut registry = self.write();
        registry.by_token.retain(|_, s| s.number != session.number);
        registry
            .by_token
            .insert(token_hash(&token), session.clone());
        *session
            .token
            .write()
            .unwrap_or_else(PoisonError::into_inner) = token;
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Registry> {
        self.registry
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a deletion waits for the rows to be gone; those of a large session go on going afterwards.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(2);

/// How long until what WhatsApp told is written again while the store fails.
const STORE_AGAIN: Duration = Duration::from_millis(200);

const NOT_PAIRED: &str = "Not paired yet; ask for a QR code";
const QR_RAN_OUT: &str = "The QR code ran out; ask for a new one";

/// Whether the vault opens what the store holds sealed: a token of any session, if there is one.
pub fn fits_key(store: &Store, vault: &Vault) -> Result<bool> {
    let rows = store.read(|read| read.prefix(tables::SESSIONS, b"", None, usize::MAX))?;
    let rows: Vec<Row> = rows
        .iter()
        .filter_map(|(_, value)| record::decode(value).ok())
        .collect();
    let opens = |row: &Row| {
        let opened = vault.open(&token_purpose(row.number), &row.token);
        opened.is_ok()
    };
    Ok(rows.is_empty() || rows.iter().any(opens))
}

impl Gateway {
    /// Reads all sessions from the store; none is started yet.
    pub fn load_sessions(&self) -> Result<()> {
        let rows = self
            .store
            .read(|read| read.prefix(tables::SESSIONS, b"", None, usize::MAX))?;
        for (key, value) in rows {
            if let Err(error) = self.load_session(&key, &value) {
                // One damaged row must not stop the others.
                let session = String::from_utf8_lossy(&key);
                tracing::error!(%session, ?error, "a session cannot be read and is left out");
            }
        }
        Ok(())
    }

    fn load_session(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let id = SessionId::parse(&String::from_utf8_lossy(key))?;
        let row: Row = record::decode(value)?;
        let token = self.vault.open(&token_purpose(row.number), &row.token)?;
        let (state, detail) = match (&row.logged_out, row.paired) {
            (Some(reason), _) => (State::LoggedOut, logged_out_detail(reason)),
            (None, true) => (State::Disconnected, "Restarting...".to_owned()),
            (None, false) => (State::Disconnected, NOT_PAIRED.to_owned()),
        };
        let status = Status {
            state,
            detail,
            paired: row.paired,
            qr: None,
            number: row.phone.clone(),
            lid: row.lid.clone(),
            name: row.name.clone(),
        };
        let session = Session::new(id, &row, token, status, self.sessions.version.clone());
        session.set_interrupted(
            self.store
                .read(|read| message::in_outbox(read, row.number))?,
        );
        self.sessions.insert(Arc::new(session));
        Ok(())
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
                    .wait_until(Duration::from_secs(10), |s| s.state != State::Connecting)
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
        if self.sessions.len() >= self.config.max_sessions {
            let max = self.config.max_sessions;
            return Err(Error::invalid(format!(
                "Maximum active session limit reached ({max})"
            )));
        }
        let token = self.ids.token();
        let now = self.clock.now();
        let (key, vault_token) = (id.as_str().to_owned(), token.clone());
        let gateway = self.clone();
        // Two requests for the same new name: the writer is one, so the second finds the first's row.
        let row = self
            .store
            .write(Durability::Sync, move |tx| {
                if tx.exists(tables::SESSIONS, key.as_bytes())? {
                    return Ok(None);
                }
                let number = SessionNumber(
                    u32::try_from(tx.next_seq("sessions")?)
                        .map_err(|_| Error::internal("session numbers ran out"))?,
                );
                let row = Row {
                    number,
                    created_at: now,
                    token: gateway.vault.seal(&token_purpose(number), &vault_token),
                    paired: false,
                    logged_out: None,
                    phone: None,
                    lid: None,
                    name: String::new(),
                    settings: Settings::default(),
                };
                tx.put(tables::SESSIONS, key.as_bytes(), record::encode(&row)?);
                Ok(Some(row))
            })
            .await?;
        let Some(row) = row else {
            return self
                .sessions
                .get(&id)
                .map(|session| (session, false))
                .ok_or_else(|| {
                    Error::new(
                        ErrorKind::Conflict,
                        "The session is being changed; try again",
                    )
                });
        };
        let status = Status {
            state: State::Created,
            detail: "Initializing...".into(),
            paired: false,
            qr: None,
            number: None,
            lid: None,
            name: String::new(),
        };
        let (session, _) = self.sessions.insert(Arc::new(Session::new(
            id,
            &row,
            token,
            status,
            self.sessions.version.clone(),
        )));
        self.start_in_background(&session);
        Ok((session, true))
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
        let mut slot = session.link.lock().await;
        let known = self.sessions.by_number(session.number).is_some();
        if session.link().is_some() || self.tasks.is_closed() || !known {
            return Ok(());
        }
        if let Some(ended) = slot.take() {
            ended.close().await;
        }
        self.announce(session, State::Connecting, "Connecting...")
            .await;
        let (signals, heard) = mpsc::unbounded_channel();
        let (gateway, inbox_session) = (self.clone(), session.clone());
        let inbox: crate::wa::inbox::Inbox = Arc::new(move |messages| {
            let (gateway, session) = (gateway.clone(), inbox_session.clone());
            Box::pin(async move { gateway.receive(&session, messages).await })
        });
        let (store, number) = (self.store.clone(), session.number);
        let stored: crate::wa::Stored = Arc::new(move |id, sender| {
            store.read(|read| message::is_stored(read, number, id, sender))
        });
        let opened = Link::open(Options {
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
            signals,
            clock: self.clock.clone(),
        })
        .await;
        match opened {
            Ok(link) => {
                let stopped = link.stopped();
                let link = Arc::new(link);
                *slot = Some(link.clone());
                session.set_current(Some(link));
                let (gateway, session) = (self.clone(), session.clone());
                self.tasks
                    .spawn(async move { gateway.listen(&session, heard, &stopped).await });
                Ok(())
            }
            Err(error) => {
                let detail = error.detail().to_owned();
                self.announce(session, State::Disconnected, &detail).await;
                Err(error)
            }
        }
    }

    /// Hears what a session's connection tells, until it is stopped and all of it is worked on.
    async fn listen(
        self: &Arc<Self>,
        session: &Arc<Session>,
        mut heard: mpsc::UnboundedReceiver<Signal>,
        stopped: &CancellationToken,
    ) {
        let mut batch = Vec::new();
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
                    Signal::Receipt(receipt) => receipts.push(receipt),
                    other => self.hear(session, other).await,
                }
            }
            if !receipts.is_empty() {
                self.note_receipts(session, receipts).await;
            }
        }
    }

    async fn hear(self: &Arc<Self>, session: &Arc<Session>, signal: Signal) {
        use State::{Connecting, Disconnected, Pairing};
        match signal {
            Signal::Qr { code, seconds } => {
                let ends = self.clock.now().after(Duration::from_secs(seconds));
                session.change(|status| status.qr = Some((code, ends)));
                self.announce(session, Pairing, "Scan QR code").await;
            }
            Signal::QrRanOut => self.end(session, Disconnected, QR_RAN_OUT).await,
            Signal::Paired => {
                self.note_paired(session).await;
                // Saving the pairing may take longer than the new connection.
                if !session.is_connected() {
                    self.announce(session, Connecting, "Paired; connecting...")
                        .await;
                }
            }
            Signal::PairingFailed(why) => {
                tracing::debug!(session = %session.id, why, "pairing failed");
                self.announce(session, Pairing, "Pairing failed; scan again")
                    .await;
            }
            Signal::PasskeyAsked => {
                let detail = "WhatsApp asks for a passkey to link this account, which a gateway cannot give; \
                              link with a phone whose WhatsApp has no passkey set, or remove it there first";
                self.announce(session, Pairing, detail).await;
            }
            Signal::Connected { number, lid, name } => {
                self.note_connected(session, number, lid, name).await;
            }
            Signal::Named(name) => self.note_name(session, name).await,
            Signal::Disconnected(_) => {
                let detail = "Connection closed. Reconnecting...";
                self.announce(session, Disconnected, detail).await;
            }
            Signal::Unreachable(why) => {
                tracing::debug!(session = %session.id, why, "WhatsApp cannot be reached");
                self.announce(
                    session,
                    Disconnected,
                    "WhatsApp cannot be reached; trying again",
                )
                .await;
            }
            Signal::LoggedOut(why) => self.note_logged_out(session, &why).await,
            Signal::Replaced => {
                let detail = "Another program uses this pairing; stop it, then reconnect";
                self.end(session, Disconnected, detail).await;
            }
            Signal::Banned { seconds, why } => {
                let until = self.clock.now().after(Duration::from_secs(seconds));
                let detail = format!(
                    "WhatsApp banned this account until {until} ({why}); send less and wait, then reconnect"
                );
                self.end(session, Disconnected, &detail).await;
            }
            Signal::Outdated => {
                let detail = "WhatsApp refuses this version of its web client; update Warung, or set whatsapp_version";
                self.end(session, Disconnected, detail).await;
            }
            Signal::Refused(why) => {
                let detail = format!("WhatsApp refused the connection ({why}); trying again");
                self.announce(session, Disconnected, &detail).await;
            }
            Signal::Call {
                id,
                from,
                person,
                video,
                at,
            } => {
                let data = json!({
                    "id": id, "from": from, "number": person.number, "lid": person.lid,
                    "video": video, "timestamp": at.as_secs(),
                });
                self.publish_heard(session, "call.offer", data).await;
            }
            Signal::Group {
                group,
                by,
                action,
                participants,
                subject,
                timer,
                at,
            } => {
                if let Some(seconds) = timer {
                    let set = at.as_secs();
                    self.note_group_timer(session, &group, Timer { seconds, set })
                        .await;
                }
                let data = json!({
                    "id": group, "action": action, "by": by, "participants": participants,
                    "subject": subject, "timestamp": at.as_secs(),
                });
                self.publish_heard(session, "group.update", data).await;
            }
            Signal::Unread(unread) => self.note_unread(session, &unread).await,
            Signal::Receipt(_) => {}
        }
    }

    /// Records an event that WhatsApp told, which it does once.
    async fn publish_heard(&self, session: &Session, name: &'static str, data: Value) {
        let (entry, number) = (self.event(session, name, data), session.number);
        let write = || {
            let entry = entry.clone();
            self.record(Durability::Sync, move |tx| {
                Ok(((), event::append(tx, number, &entry)?))
            })
        };
        if let Err(error) = self.while_store_fails(write).await {
            tracing::error!(session = %session.id, event = name, ?error, "an event could not be recorded");
        }
    }

    /// Writes what WhatsApp told, which it does once: again while the store fails, until the program
    /// ends. What follows waits behind it, in its order.
    pub(super) async fn while_store_fails<F>(&self, write: impl Fn() -> F) -> Result<()>
    where
        F: Future<Output = Result<()>>,
    {
        loop {
            match write().await {
                Err(error) if error.kind() == ErrorKind::Unavailable && !self.tasks.is_closed() => {
                    tokio::time::sleep(STORE_AGAIN).await;
                }
                done => return done,
            }
        }
    }

    /// Records an event that happened outside of any other write.
    pub(super) async fn publish(&self, session: &Session, name: &'static str, data: Value) {
        let entry = self.event(session, name, data);
        let number = session.number;
        let written = self
            .record(Durability::Sync, move |tx| {
                Ok(((), event::append(tx, number, &entry)?))
            })
            .await;
        if let Err(error) = written {
            tracing::error!(session = %session.id, event = name, ?error, "an event could not be recorded");
        }
    }

    /// An event of this session, now.
    pub(super) fn event(&self, session: &Session, name: &'static str, data: Value) -> Event {
        Event {
            event: name.to_owned(),
            session: session.id.to_string(),
            at: self.clock.now(),
            data: match data {
                Value::Object(map) => map,
                _ => Map::new(),
            },
        }
    }

    /// Sets state and detail, and tells the world when they changed.
    async fn announce(&self, session: &Session, state: State, detail: &str) {
        let changed = session.change(|status| {
            status.state = state;
            status.detail = detail.to_owned();
            if state != State::Pairing {
                status.qr = None;
            }
        });
        if changed {
            tracing::info!(session = %session.id, state = word(state), "session state");
            let data = json!({ "status": word(state), "detail": detail });
            self.publish(session, "session.update", data).await;
        }
    }

    /// Closes a connection that WhatsApp ended for a reason that trying again does not mend.
    async fn end(self: &Arc<Self>, session: &Arc<Session>, state: State, detail: &str) {
        session.set_current(None);
        self.announce(session, state, detail).await;
        // The listener itself runs this, so closing is left to a task of its own.
        let (gateway, session) = (self.clone(), session.clone());
        self.tasks
            .spawn(async move { gateway.close_ended(&session).await });
    }

    /// Closes the connection; the pairing stays.
    async fn close(&self, session: &Session) {
        let mut slot = session.link.lock().await;
        session.set_current(None);
        if let Some(link) = slot.take() {
            link.close().await;
        }
    }

    /// Closes a connection that has ended, unless a new one was started meanwhile.
    async fn close_ended(&self, session: &Session) {
        let mut slot = session.link.lock().await;
        if session.link().is_none()
            && let Some(link) = slot.take()
        {
            link.close().await;
        }
    }

    /// Changes the session's row after what WhatsApp told, or logs that it could not be.
    async fn update_row(
        &self,
        session: &Session,
        change: impl FnOnce(&mut Row) + Clone + Send + 'static,
    ) {
        let write = || self.change_row(session, change.clone());
        if let Err(error) = self.while_store_fails(write).await
            && error.kind() != ErrorKind::NotFound
        {
            tracing::error!(session = %session.id, ?error, "the session's row could not be saved");
        }
    }

    /// Changes the session's row, unless the session was deleted meanwhile.
    async fn change_row(
        &self,
        session: &Session,
        change: impl FnOnce(&mut Row) + Send + 'static,
    ) -> Result<()> {
        let (key, number) = (session.id.as_str().to_owned(), session.number);
        self.store
            .write(Durability::Sync, move |tx| {
                must_be_kept(tx, &key, number)?;
                let value = tx
                    .get(tables::SESSIONS, key.as_bytes())?
                    .ok_or_else(|| Error::not_found("Session not found"))?;
                let mut row: Row = record::decode(&value)?;
                change(&mut row);
                tx.put(tables::SESSIONS, key.as_bytes(), record::encode(&row)?);
                Ok(())
            })
            .await
    }

    async fn note_paired(&self, session: &Session) {
        session.change(|status| status.paired = true);
        self.update_row(session, |row| {
            row.paired = true;
            row.logged_out = None;
        })
        .await;
    }

    async fn note_connected(
        self: &Arc<Self>,
        session: &Arc<Session>,
        number: Option<String>,
        lid: Option<Jid>,
        name: String,
    ) {
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
        self.announce(session, State::Connected, &detail).await;
        let (gateway, session) = (self.clone(), session.clone());
        self.tasks
            .spawn(async move { gateway.resend_interrupted(&session).await });
    }

    async fn note_name(&self, session: &Session, name: String) {
        session.change(|status| status.name.clone_from(&name));
        if session.is_connected() {
            self.announce(session, State::Connected, &connected_detail(&name))
                .await;
        }
        self.update_row(session, move |row| row.name = name).await;
    }

    /// The pairing is gone: its keys are worthless and go too, so that a new QR can be made.
    async fn note_logged_out(self: &Arc<Self>, session: &Arc<Session>, why: &str) {
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
        let slot = session.link.clone().lock_owned().await;
        session.set_current(None);
        self.announce(session, State::LoggedOut, &logged_out_detail(why))
            .await;
        let (gateway, session) = (self.clone(), session.clone());
        self.tasks.spawn(async move {
            let mut slot = slot;
            if let Some(link) = slot.take() {
                link.close().await;
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
        let waiting = |s: &Status| {
            s.qr.is_some()
                || matches!(
                    s.state,
                    State::Connected | State::Disconnected | State::LoggedOut
                )
        };
        if session.is_connected() {
            return Err(Error::invalid("Session is already connected"));
        }
        if session.status().qr.is_none() {
            self.start(session).await?;
        }
        session.wait_until(QR_PATIENCE, waiting).await;
        let status = session.status();
        match status.qr {
            Some(qr) => Ok(qr),
            None if status.state == State::Connected => {
                Err(Error::invalid("Session is already connected"))
            }
            None => Err(Error::new(
                ErrorKind::UpstreamTimeout,
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
            return Err(Error::invalid("Session is already connected"));
        }
        self.qr(session).await?;
        let link = session.link().ok_or_else(|| {
            Error::new(
                ErrorKind::Conflict,
                "The session is being closed; try again",
            )
        })?;
        let code = link.pair_code(phone).await?;
        self.announce(
            session,
            State::Pairing,
            "Type the pairing code on the phone",
        )
        .await;
        Ok(code)
    }

    /// Unlinks the session at WhatsApp; it stays here and can be paired again.
    pub async fn logout(self: &Arc<Self>, session: &Arc<Session>) -> Result<()> {
        self.soon_connected(session).await;
        let link = session.link();
        match link {
            Some(link) if session.is_connected() => {
                link.logout().await;
                session
                    .wait_until(Duration::from_secs(5), |s| s.state == State::LoggedOut)
                    .await;
            }
            _ => self.note_logged_out(session, "logged out here").await,
        }
        Ok(())
    }

    /// Drops the connection and makes it anew; starts the session when it is stopped.
    pub async fn reconnect(self: &Arc<Self>, session: &Arc<Session>) -> Result<()> {
        match session.link() {
            Some(link) if session.is_connected() => {
                self.announce(session, State::Connecting, "Reconnecting...")
                    .await;
                link.reconnect().await;
            }
            Some(_) => {
                self.close(session).await;
                self.start(session).await?;
            }
            None => self.start(session).await?,
        }
        Ok(())
    }

    /// Changes what the session's owner chose; answers all that is chosen now.
    pub async fn change_settings(
        &self,
        session: &Arc<Session>,
        change: impl FnOnce(&mut Settings) + Send + 'static,
    ) -> Result<Settings> {
        // Two changes at once must end in one order.
        let _alone = session.link.lock().await;
        let mut settings = session.settings();
        change(&mut settings);
        let chosen = settings.clone();
        self.change_row(session, move |row| row.settings = chosen)
            .await?;
        *session
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = settings.clone();
        Ok(settings)
    }

    /// Gives the session a new token; the old one ends at once.
    pub async fn rotate_token(&self, session: &Arc<Session>) -> Result<String> {
        // Two rotations at once, or one beside a deletion, must end in one order.
        let _alone = session.link.lock().await;
        let token = self.ids.token();
        let sealed = self.vault.seal(&token_purpose(session.number), &token);
        self.change_row(session, move |row| row.token = sealed)
            .await?;
        self.sessions.replace_token(session, token.clone());
        // Event streams that were opened with the old token end.
        session.change(|_| {});
        Ok(token)
    }

    /// Logs out and removes every row of the session.
    pub async fn delete_session(&self, session: &Arc<Session>) -> Result<()> {
        // A device that WhatsApp is not told of stays in the phone's list.
        self.soon_connected(session).await;
        let mut slot = session.link.lock().await;
        if self.sessions.by_number(session.number).is_none() {
            return Err(Error::not_found(format!(
                "Session {} not found",
                session.id
            )));
        }
        session.set_current(None);
        if let Some(link) = slot.take() {
            if session.is_connected() {
                link.logout().await;
            } else {
                link.close().await;
            }
        }
        let (key, number) = (session.id.as_str().to_owned(), session.number);
        // From here on it is gone, also after a crash; its rows may be many and go by and by.
        self.store
            .write(Durability::Sync, move |tx| {
                tx.delete(tables::SESSIONS, key.as_bytes());
                removal::of_session(tx, number);
                Ok(())
            })
            .await?;
        self.sessions.remove(session);
        session.change(|status| {
            status.state = State::LoggedOut;
            status.detail = "Deleted".into();
            status.qr = None;
        });
        drop(slot);
        self.session_removed(session.number, REMOVAL_PATIENCE).await;
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
                    if status.state == State::Connecting {
                        status.state = State::Disconnected;
                    }
                });
            });
        }
        while closing.join_next().await.is_some() {}
    }
}

/// The word for a state, as the original program writes it.
pub fn word(state: State) -> &'static str {
    match state {
        State::Created => "CREATING",
        State::Connecting => "CONNECTING",
        State::Pairing => "GENERATING_QR",
        State::Connected => "CONNECTED",
        State::Disconnected | State::LoggedOut => "DISCONNECTED",
    }
}

fn connected_detail(name: &str) -> String {
    format!(
        "Connected as {}",
        if name.is_empty() { "Unknown" } else { name }
    )
}

fn logged_out_detail(why: &str) -> String {
    format!("Logged out ({why}); pair again with a new QR code")
}

/// What a session's token is sealed for.
fn token_purpose(number: SessionNumber) -> String {
    format!("session token {}", number.0)
}
