//! Sending: resolve, store, write, wait for WhatsApp's word. The only path to a phone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::album;
use super::draft::{Draft, DraftContent, Sources};
use super::idempotency::{IdempotencyKey, IdempotencyRecord, Row};
use super::outbox::{Item, SendJob};
use super::own;
use super::reference::is_own;
use super::settlement::{SendOutcome, Settlement};
use crate::domain::Gateway;
use crate::domain::guard::{self, Guard};
use crate::domain::session::{Session, SessionState, SessionStatus, ensure_session_exists};
use crate::error::{Code, Error, ErrorKind, Result};
use crate::ids::MessageId;
use crate::jid::Jid;
use crate::store::{Durability, Tx};
use crate::wa::connection::{Ack, PendingAck};
use crate::wa::message::{MessageState, OutgoingContent};

/// How many messages one request may hold.
pub const MAX_BATCH: usize = 100;

/// How many chats are written to at the same time.
const WRITTEN_AT_ONCE: usize = 32;

/// How many messages of a request have their files brought and uploaded at the same time.
const COMPOSED_AT_ONCE: usize = 4;

/// How long it waits before frames are written again to a connection that did not take them and is
/// still there.
const NEXT_TRY: Duration = Duration::from_millis(20);

/// How long a send waits for a session that is on its way back.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What is said of a request that holds more.
pub fn too_many() -> Error {
    let text = format!("Maximum {MAX_BATCH} messages per request");
    Error::new(Code::TooManyMessages, text)
}

/// What becomes of a request whose client left before anything was promised to it.
fn client_left() -> Error {
    Error::from(Code::ClientLeft)
}

/// A message that could not even be written.
fn write_failed(session: &Session, error: &Error) -> Settlement {
    let kind = error.kind();
    tracing::warn!(session = %session.id, ?kind, "a message could not be written");
    tracing::debug!(session = %session.id, ?error, "why it could not be written");
    Settlement::of_error(error)
}

impl Gateway {
    /// Sends messages in order and answers what became of each, in the same order.
    ///
    /// A message counts as sent when WhatsApp's server acknowledged it. Once `hung_up` is cancelled
    /// nothing more is promised: what has no stored id by then is not sent.
    ///
    /// # Errors
    /// There are more than [`MAX_BATCH`], the session is not connected, the same idempotency key is being
    /// worked on or was used for another request, the client left, or the store fails.
    pub async fn send(
        self: &Arc<Self>,
        session: &Arc<Session>,
        drafts: Vec<Draft>,
        key: Option<IdempotencyKey>,
        hung_up: &CancellationToken,
    ) -> Result<Vec<SendOutcome>> {
        if drafts.len() > MAX_BATCH {
            return Err(too_many());
        }
        let key = key.map(|key| (key.row(session.number), key));
        let _first = session.interactive_send();
        let claim = key.as_ref().map(|(row, _)| self.in_flight.claim(*row));
        let _claim = claim.transpose()?;
        let mut ids = vec![None; drafts.len()];
        if let Some((row, key)) = &key {
            let now = self.clock.seen();
            match self.store.read(|read| key.remembered(read, *row, now))? {
                Some(IdempotencyRecord {
                    outcomes: Some(outcomes),
                    ..
                }) => return Ok(outcomes),
                Some(IdempotencyRecord { ids: first, .. }) if first.len() == ids.len() => {
                    ids = first
                }
                _ => {}
            }
        }
        let prepared = hung_up.run_until_cancelled(async {
            if !self.wait_until_connected(session).await {
                return Err(session.not_connected());
            }
            // What a crash interrupted was asked for earlier, and goes first. A request that is
            // repeated may be among it: it is answered then, and not written beside itself.
            let repeated = ids.iter().any(Option::is_some);
            let patience = if repeated {
                self.config.ack_timeout
            } else {
                RECONNECT_TIMEOUT
            };
            session.interrupted_done(patience).await;
            Ok(self.items(session, drafts, ids).await)
        });
        let items = prepared.await.ok_or_else(client_left)??;
        let items = album::with_heads(items);
        if hung_up.is_cancelled() {
            return Err(client_left());
        }
        let mut items = self.store_items(session, items, key.as_ref()).await?;
        let jobs = items.iter_mut().filter_map(Item::ready_mut);
        self.deliver(session, jobs.collect()).await;
        let key_row = key.map(|(row, _)| row);
        Ok(self.settle(session, items, key_row).await)
    }

    /// Whether the session can send. One that is on its way back is waited for a moment: a client
    /// that asks in the second of a reconnect should not have to try again.
    pub(in crate::domain) async fn wait_until_connected(&self, session: &Session) -> bool {
        if session.is_connected() {
            return true;
        }
        let on_its_way = session.paired_connection().is_some();
        let connected = |status: &SessionStatus| status.state == SessionState::Connected;
        on_its_way && session.wait_until(RECONNECT_TIMEOUT, connected).await
    }

    /// Looks up what the drafts refer to, uploads their files, and gives them ids.
    async fn items(
        self: &Arc<Self>,
        session: &Session,
        drafts: Vec<Draft>,
        ids: Vec<Option<MessageId>>,
    ) -> Vec<Item> {
        let sources = Sources::default();
        let sources = &sources;
        let composed = drafts.into_iter().zip(ids).map(|(draft, id)| async move {
            let (to, album) = (draft.to.clone(), album_of(&draft));
            if let Some(id) = &id
                && let Some(mut job) = self.stored_job(session, id)
            {
                job.album = album;
                return job.into();
            }
            match self.compose(session, draft, sources).await {
                Ok(composed) => {
                    let id = id.unwrap_or_else(|| self.ids.message_id());
                    let mut job = SendJob::new(id, to, composed);
                    job.album = album;
                    job.into()
                }
                Err(error) => Item::Refused(SendOutcome::not_composed(to, &error)),
            }
        });
        stream::iter(composed)
            .buffered(COMPOSED_AT_ONCE)
            .collect()
            .await
    }

    /// The message that an earlier try of the same request stored under this id. Composed anew it
    /// would not be the same: a poll's votes are sealed with the secret that it was first sent with.
    fn stored_job(&self, session: &Session, id: &MessageId) -> Option<SendJob> {
        let stored = self.store.read(|read| own(read, session.number, id));
        let row = stored.ok().flatten()?.1;
        let mut job = SendJob::new(id.clone(), row.chat, row.sent?.into());
        if row.progress.is_some_and(|now| now >= MessageState::Sent) {
            job.settled = Some(Settlement::Acknowledged);
        } else if let OutgoingContent::Media { file, .. } = &job.what {
            job.file = Some(Arc::new(self.known_upload(session, file).ok().flatten()?));
        }
        Some(job)
    }

    /// Makes ids and contents durable before anything is written to WhatsApp; what the guard holds
    /// back is refused. It is decided in the transaction that stores the rest, so that requests that
    /// come together are counted one after the other.
    async fn store_items(
        &self,
        session: &Session,
        items: Vec<Item>,
        key: Option<&(Row, IdempotencyKey)>,
    ) -> Result<Vec<Item>> {
        let now = self.clock.now();
        let (number, id) = (session.number, session.id.clone());
        let limits = match self.guard_of(session) {
            Guard::On(limits) => Some(limits),
            Guard::Off => None,
        };
        let mut to_go = Vec::new();
        for (index, item) in items.iter().enumerate() {
            if let Some(job) = item.ready().filter(|job| job.settled.is_none()) {
                // One may write to oneself.
                let guarded = limits.is_some() && job.is_to_person() && !is_own(&job.to, session);
                let to = guarded.then(|| job.to.clone());
                to_go.push((index, to, job.rows(number, now)?));
            }
        }
        let asked: Vec<_> = items.iter().map(Item::asked).collect();
        let remembered = key.map(|(row, key)| (*row, key.begun(Vec::new(), now)));
        if to_go.is_empty() && remembered.is_none() {
            return Ok(items);
        }
        let write = move |tx: &mut Tx| {
            ensure_session_exists(tx, id.as_str(), number)?;
            let mut held_back: HashMap<usize, Error> = HashMap::new();
            if let Some(limits) = limits {
                let messages = to_go.iter().map(|(_, to, row)| (row.id(), to.as_ref()));
                let said = guard::admit(tx, number, limits, messages, now)?;
                let said = to_go.iter().zip(said);
                held_back.extend(said.filter_map(|((index, ..), why)| Some((*index, why?))));
            }
            for (index, _, row) in to_go {
                if !held_back.contains_key(&index) {
                    row.put(tx)?;
                }
            }
            if let Some((row, mut remembered)) = remembered {
                let asked = asked.into_iter().enumerate();
                let ids = asked.filter_map(|(index, id)| {
                    Some(id?.filter(|_| !held_back.contains_key(&index)))
                });
                remembered.ids = ids.collect();
                // Of a request of which nothing goes there is nothing to repeat.
                if held_back.is_empty() || remembered.ids.iter().any(Option::is_some) {
                    remembered.put(tx, row)?;
                }
            }
            Ok(held_back)
        };
        let mut held_back = self.store.write(Durability::Sync, write).await?;
        self.metrics.note_held_back(held_back.len());
        let kept = items.into_iter().enumerate().filter_map(|(index, item)| {
            match (held_back.remove(&index), item) {
                (Some(why), Item::Ready(job)) => {
                    let outcome = || SendOutcome::not_composed(job.to.clone(), &why);
                    job.asked.then(outcome).map(Item::Refused)
                }
                (_, item) => Some(item),
            }
        });
        Ok(kept.collect())
    }

    /// Writes the frames in order, then awaits their acknowledgements together. A message whose
    /// connection broke is written again with the same id, as long as there is time.
    pub(in crate::domain) async fn deliver(
        &self,
        session: &Arc<Session>,
        mut jobs: Vec<&mut SendJob>,
    ) {
        let started = Instant::now();
        let deadline = started + self.config.ack_timeout;
        loop {
            let login = session.logins();
            let mut waiting: Vec<(usize, PendingAck)> = Vec::new();
            for (index, wrote) in self.write_all(session, &jobs, deadline).await {
                match wrote {
                    Ok(pending) => {
                        jobs[index].was_written = true;
                        waiting.push((index, pending));
                    }
                    Err(error) => jobs[index].settled = Some(write_failed(session, &error)),
                }
            }
            waiting.sort_unstable_by_key(|(index, _)| *index);
            hear_acks(session, login, waiting, deadline, |index, ack| {
                jobs[index].settled = Some(match ack {
                    Ack::Accepted => {
                        self.metrics.note_sent(started.elapsed());
                        Settlement::Acknowledged
                    }
                    Ack::Refused(code) => Settlement::of_code(&code),
                });
            })
            .await;
            if jobs.iter().all(|job| job.settled.is_some()) {
                return;
            }
            if Instant::now() >= deadline {
                let connection_held = session.is_connected() && session.logins() == login;
                for job in jobs {
                    let unacknowledged = || Settlement::Unacknowledged { connection_held };
                    job.settled.get_or_insert_with(unacknowledged);
                }
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let back = |s: &SessionStatus| s.state == SessionState::Connected;
            if session.paired_connection().is_none() || !session.wait_until(left, back).await {
                return;
            }
            // A connection that takes nothing more is mostly one whose end is not told yet. Where it
            // does not end, nothing tells when it takes frames again: then it is asked again.
            let _ = tokio::time::timeout(NEXT_TRY, connection_lost(session, login)).await;
        }
    }

    /// Writes the frames that are not done: in order within a chat, several chats at a time. What a
    /// first message to somebody has to store is fsynced then for many at once.
    ///
    /// What a broken connection did not take is left out.
    async fn write_all(
        &self,
        session: &Session,
        jobs: &[&mut SendJob],
        deadline: Instant,
    ) -> Vec<(usize, Result<PendingAck>)> {
        let mut chats: Vec<Vec<usize>> = Vec::new();
        let mut chat_of: HashMap<&Jid, usize> = HashMap::new();
        for (index, job) in jobs.iter().enumerate() {
            if job.settled.is_none() {
                let chat = *chat_of.entry(&job.to).or_insert_with(|| {
                    chats.push(Vec::new());
                    chats.len() - 1
                });
                chats[chat].push(index);
            }
        }
        let names: Vec<&Jid> = chat_of.into_keys().collect();
        let timers = &self.timers(session, &names);
        let by_chat = stream::iter(chats).map(|chat| async move {
            let mut wrote = Vec::with_capacity(chat.len());
            let to = &jobs[chat[0]].to;
            let mut timer = timers.get(to).copied();
            if timer.is_none() && to.is_group() {
                let asked = self.ask_group_timer(session, to);
                timer = tokio::time::timeout_at(deadline, asked)
                    .await
                    .ok()
                    .flatten();
            }
            for index in chat {
                let Some(connection) = session.paired_connection() else {
                    break;
                };
                let job = &jobs[index];
                let file = job.file.as_ref().map(|uploaded| &uploaded.file);
                let write = connection.write(&job.id, &job.to, &job.what, file, timer);
                match tokio::time::timeout_at(deadline, write).await {
                    Err(_) => break,
                    Ok(Err(error)) if error.kind() == ErrorKind::NotConnected => break,
                    Ok(pending) => wrote.push((index, pending)),
                }
            }
            wrote
        });
        let by_chat: Vec<Vec<_>> = by_chat.buffer_unordered(WRITTEN_AT_ONCE).collect().await;
        by_chat.into_iter().flatten().collect()
    }
}

/// The album that the draft belongs to.
fn album_of(draft: &Draft) -> Option<usize> {
    match &draft.content {
        DraftContent::Media(media) => media.album,
        _ => None,
    }
}

/// Tells what the server says to these frames, until the deadline or until the connection is lost.
async fn hear_acks(
    session: &Session,
    login: u64,
    waiting: Vec<(usize, PendingAck)>,
    deadline: Instant,
    mut tell: impl FnMut(usize, Ack),
) {
    let gone = connection_lost(session, login);
    tokio::pin!(gone);
    let mut waits = true;
    for (index, mut pending) in waiting {
        let ack = if waits {
            tokio::select! {
                biased;
                ack = pending.ack() => ack,
                () = &mut gone => { waits = false; None }
                () = tokio::time::sleep_until(deadline) => { waits = false; None }
            }
        } else {
            // Too late to wait, but others of the batch may have been answered.
            pending.ack_so_far()
        };
        if let Some(ack) = ack {
            tell(index, ack);
        }
    }
}

/// Ends when the session is no longer on the connection of that login.
async fn connection_lost(session: &Session, login: u64) {
    let mut changes = session.watch();
    while session.is_connected() && session.logins() == login {
        if changes.changed().await.is_err() {
            return;
        }
    }
}
