//! Sending: resolve, store, write, wait for WhatsApp's word, settle. The only path to a phone.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Gateway;
use super::campaign::rows::Missed;
use super::campaign::{self, Part};
use super::draft::{Composed, Content, Draft, MediaKind, Sources};
use super::media::Uploaded;
use super::message::{self, Message, Step};
use super::session::{Session, State, must_be_kept};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{MessageId, RowId, SessionNumber};
use crate::jid::Jid;
use crate::store::record::{self, Record};
use crate::store::{Durability, Read, Tx, tables};
use crate::time::Timestamp;
use crate::wa::link::{Verdict, Written};
use crate::wa::message::{Outgoing, Progress};

/// How many messages one request may hold.
pub const MAX_BATCH: usize = 100;

/// How long an idempotency key is remembered.
pub const KEY_LIFE: Duration = Duration::from_secs(24 * 3600);

/// How many chats are written to at the same time.
const WRITTEN_AT_ONCE: usize = 32;

/// How many messages of a request have their files brought and uploaded at the same time.
const COMPOSED_AT_ONCE: usize = 4;

/// How long a send waits for a session that is on its way back.
const RECONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// How old an interrupted send may be to be sent after a crash; an older one would only surprise.
const RESEND_WITHIN: Duration = Duration::from_secs(3600);

/// The note of a message whose outcome could not be stored.
const UNSTORED: &str = "this result could not be stored, and may be told otherwise later";

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The chat it went to.
    pub to: Jid,
    /// Its id; `None` when it never got one.
    pub id: Option<MessageId>,
    /// Why it was not sent; `None` when WhatsApp acknowledged it.
    pub failure: Option<String>,
    /// What kind of failure that was, when it is known.
    #[serde(default)]
    pub reason: Option<ErrorKind>,
    /// What the client should know although it was sent.
    #[serde(default)]
    pub note: Option<String>,
}

impl Outcome {
    /// A message that could not even be made.
    fn unmade(to: Jid, error: &Error) -> Self {
        Self {
            to,
            id: None,
            failure: Some(error.detail().to_owned()),
            reason: Some(error.kind()),
            note: None,
        }
    }
}

/// A client's promise that two requests are one.
pub struct IdempotencyKey {
    hash: [u8; 32],
    request: [u8; 32],
}

impl IdempotencyKey {
    /// `key` as the client sent it, and the bytes of its request.
    pub fn new(key: &str, request: &[u8]) -> Result<Self> {
        if key.is_empty() || key.len() > 255 {
            return Err(Error::invalid(
                "Idempotency-Key must be 1 to 255 characters",
            ));
        }
        Ok(Self {
            hash: Sha256::digest(key).into(),
            request: Sha256::digest(request).into(),
        })
    }

    /// The same of a request that lies in pieces.
    pub fn of_pieces<'a>(key: &str, request: impl Iterator<Item = &'a [u8]>) -> Result<Self> {
        let mut whole = Self::new(key, b"")?;
        let mut hash = Sha256::new();
        request.for_each(|piece| hash.update(piece));
        whole.request = hash.finalize().into();
        Ok(whole)
    }
}

/// Idempotency keys whose first request is still being worked on.
#[derive(Default)]
pub struct InFlight(Mutex<HashSet<Vec<u8>>>);

struct Claimed<'a>(&'a InFlight, Vec<u8>);

impl InFlight {
    fn claim(&self, key: &[u8]) -> Result<Claimed<'_>> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !keys.insert(key.to_vec()) {
            return Err(Error::new(
                ErrorKind::Conflict,
                "A request with this Idempotency-Key is still being processed",
            ));
        }
        Ok(Claimed(self, key.to_vec()))
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        self.0
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.1);
    }
}

/// What is remembered of an idempotency key.
#[derive(Serialize, Deserialize)]
struct Remembered {
    request: [u8; 32],
    ids: Vec<Option<MessageId>>,
    outcomes: Option<Vec<Outcome>>,
    ends: Timestamp,
}

impl Record for Remembered {
    const VERSION: u8 = 1;
}

fn idempotency_key(session: SessionNumber, key: &IdempotencyKey) -> Vec<u8> {
    let mut row = session.0.to_be_bytes().to_vec();
    row.extend_from_slice(&key.hash);
    row
}

/// A message on its way.
pub(super) struct Job {
    pub(super) id: MessageId,
    pub(super) to: Jid,
    pub(super) what: Outgoing,
    /// The uploaded file that it shows.
    pub(super) file: Option<Arc<Uploaded>>,
    pub(super) note: Option<String>,
    /// The campaign that it is part of.
    pub(super) campaign: Option<Part>,
    /// Whether the client asked for it; the head of an album was not.
    asked: bool,
    pub(super) done: Option<Result<(), Refusal>>,
    /// Whether all the time passed on a connection that held, without an answer.
    unheard: bool,
}

impl Job {
    /// What became of it, for the rows.
    fn step(&self) -> Sent {
        let failure = match &self.done {
            Some(Ok(())) => None,
            Some(Err(refusal)) => {
                let why = refusal.why.clone();
                let missed = match refusal.code.as_deref() {
                    Some("429") => Missed::TooMany(why.clone()),
                    _ => Missed::Refused(why.clone()),
                };
                Some((missed, why))
            }
            None if self.unheard => Some((Missed::Unheard, unacknowledged(&self.id))),
            None => Some((Missed::Unknown, unacknowledged(&self.id))),
        };
        Sent {
            id: self.id.clone(),
            failure,
        }
    }

    /// What became of it.
    fn outcome(self) -> Outcome {
        let refusal = match self.done {
            Some(Ok(())) => None,
            Some(Err(refusal)) => Some(refusal),
            None => Some(Refusal {
                kind: ErrorKind::UpstreamTimeout,
                why: unacknowledged(&self.id),
                code: None,
            }),
        };
        let (reason, failure) = refusal.map(|r| (r.kind, r.why)).unzip();
        Outcome {
            to: self.to,
            id: Some(self.id),
            failure,
            reason,
            note: self.note,
        }
    }
}

/// What becomes of a request whose client left before anything was promised to it.
fn left() -> Error {
    Error::new(
        ErrorKind::RequestTimeout,
        "The client left before anything was sent",
    )
}

/// Why a message was not sent.
pub(super) struct Refusal {
    kind: ErrorKind,
    why: String,
    /// WhatsApp's code, when it was WhatsApp that refused.
    code: Option<String>,
}

/// A message that could not even be written.
fn unwritten(session: &Session, error: &Error) -> Refusal {
    let kind = error.kind();
    tracing::warn!(session = %session.id, ?kind, "a message could not be written");
    tracing::debug!(session = %session.id, ?error, "why it could not be written");
    Refusal {
        kind,
        why: error.detail().to_owned(),
        code: None,
    }
}

fn unacknowledged(id: &MessageId) -> String {
    format!("WhatsApp did not acknowledge message {id} in time; it may still arrive")
}

impl Job {
    pub(super) fn new(id: MessageId, to: Jid, composed: Composed) -> Self {
        Self {
            id,
            to,
            what: composed.what,
            file: composed.file,
            note: composed.note,
            campaign: None,
            asked: true,
            done: None,
            unheard: false,
        }
    }

    /// What must be durable before it is written to WhatsApp.
    pub(super) fn rows(&self, session: SessionNumber, now: Timestamp) -> Result<JobRows> {
        let message = Message {
            chat: self.to.clone(),
            sender: None,
            at: now,
            text: self.what.text().map(str::to_owned),
            sent: Some(self.what.clone()),
            progress: Some(Progress::Sending),
            refusal: None,
            enclosed: None,
            unread: false,
            campaign: self.campaign.clone().map(Box::new),
        };
        Ok(JobRows {
            id: self.id.clone(),
            key: message::key(session, &self.id, &self.to, None),
            outbox: message::outbox_key(session, &self.id),
            message: record::encode(&message)?,
            at: now,
        })
    }
}

/// The rows of a message that is about to be sent.
pub(super) struct JobRows {
    /// Its id.
    pub(super) id: MessageId,
    key: Vec<u8>,
    outbox: Vec<u8>,
    message: Vec<u8>,
    at: Timestamp,
}

impl JobRows {
    /// Writes them.
    pub(super) fn put(self, tx: &mut Tx) -> Result<()> {
        // What a crash interrupted keeps its place when the client asks for it again.
        if !tx.exists(tables::OUTBOX, &self.outbox)? {
            message::put_in_outbox(tx, self.outbox, self.at)?;
        }
        message::put(tx, self.key, self.message)
    }
}

impl Gateway {
    /// Sends messages in order and answers what became of each, in the same order.
    ///
    /// A message counts as sent when WhatsApp's server acknowledged it. Once `hung_up` is cancelled
    /// nothing more is promised: what has no stored id by then is not sent.
    pub async fn send(
        self: &Arc<Self>,
        session: &Arc<Session>,
        drafts: Vec<Draft>,
        key: Option<IdempotencyKey>,
        hung_up: &CancellationToken,
    ) -> Result<Vec<Outcome>> {
        let row_key = key.as_ref().map(|key| idempotency_key(session.number, key));
        let _first = session.ordinary_send();
        let _claim = row_key
            .as_deref()
            .map(|row| self.in_flight.claim(row))
            .transpose()?;
        let mut ids = vec![None; drafts.len()];
        if let (Some(key), Some(row)) = (&key, &row_key) {
            match self.remembered(key, row)? {
                Some(Remembered {
                    outcomes: Some(outcomes),
                    ..
                }) => return Ok(outcomes),
                Some(Remembered { ids: first, .. }) if first.len() == ids.len() => ids = first,
                _ => {}
            }
        }
        let prepared = hung_up.run_until_cancelled(async {
            if !self.soon_connected(session).await {
                return Err(not_connected(session));
            }
            // What a crash interrupted was asked for earlier, and goes first. A request that is
            // repeated may be among it: it is answered then, and not written beside itself.
            let repeated = ids.iter().any(Option::is_some);
            let patience = if repeated {
                self.config.ack_timeout
            } else {
                RECONNECT_PATIENCE
            };
            session.interrupted_done(patience).await;
            Ok(self.jobs(session, drafts, ids).await)
        });
        let jobs = prepared.await.ok_or_else(left)??;
        let mut jobs = with_album_heads(jobs);
        if hung_up.is_cancelled() {
            return Err(left());
        }
        self.store_jobs(session, &jobs, key.map(|k| k.request).zip(row_key.clone()))
            .await?;
        self.deliver(
            session,
            jobs.iter_mut()
                .filter_map(|job| job.as_mut().ok())
                .collect(),
        )
        .await;
        Ok(self.settle(session, jobs, row_key).await)
    }

    /// Whether the session can send. One that is on its way back is waited for a moment: a client
    /// that asks in the second of a reconnect should not have to try again.
    pub(super) async fn soon_connected(&self, session: &Session) -> bool {
        if session.is_connected() {
            return true;
        }
        let on_its_way = session.paired_link().is_some();
        let connected = |status: &super::session::Status| status.state == State::Connected;
        on_its_way && session.wait_until(RECONNECT_PATIENCE, connected).await
    }

    /// Looks up what the drafts refer to, uploads their files, and gives them ids.
    async fn jobs(
        self: &Arc<Self>,
        session: &Session,
        drafts: Vec<Draft>,
        ids: Vec<Option<MessageId>>,
    ) -> Vec<(Option<usize>, Result<Job, Outcome>)> {
        let sources = Sources::default();
        let sources = &sources;
        let composed = drafts.into_iter().zip(ids).map(|(draft, id)| async move {
            let (to, album) = (draft.to.clone(), album_of(&draft));
            if let Some(id) = &id
                && let Some(job) = self.stored_job(session, id)
            {
                return (album, Ok(job));
            }
            let job = match self.compose(session, draft, sources).await {
                Ok(composed) => {
                    let id = id.unwrap_or_else(|| self.ids.message_id());
                    Ok(Job::new(id, to, composed))
                }
                Err(error) => Err(Outcome::unmade(to, &error)),
            };
            (album, job)
        });
        stream::iter(composed)
            .buffered(COMPOSED_AT_ONCE)
            .collect()
            .await
    }

    /// The message that an earlier try of the same request stored under this id. Composed anew it
    /// would not be the same: a poll's votes are sealed with the secret that it was first sent with.
    fn stored_job(&self, session: &Session, id: &MessageId) -> Option<Job> {
        let stored = self
            .store
            .read(|read| message::own(read, session.number, id));
        let row = stored.ok().flatten()?.1;
        let mut job = Job::new(id.clone(), row.chat, row.sent?.into());
        if row.progress.is_some_and(|now| now >= Progress::Sent) {
            job.done = Some(Ok(()));
        } else if let Outgoing::Media { file, .. } = &job.what {
            job.file = Some(Arc::new(self.known_upload(session, file).ok().flatten()?));
        }
        Some(job)
    }

    fn remembered(&self, key: &IdempotencyKey, row: &[u8]) -> Result<Option<Remembered>> {
        let found = self.store.read(|read| read.get(tables::IDEMPOTENCY, row))?;
        let Some(found) = found else { return Ok(None) };
        let found: Remembered = record::decode(&found)?;
        if found.ends <= self.clock.seen() {
            return Ok(None);
        }
        if found.request != key.request {
            return Err(Error::new(
                ErrorKind::Conflict,
                "This Idempotency-Key was used with a different request",
            ));
        }
        Ok(Some(found))
    }

    /// Makes ids and contents durable before anything is written to WhatsApp.
    async fn store_jobs(
        &self,
        session: &Session,
        jobs: &[Result<Job, Outcome>],
        key: Option<([u8; 32], Vec<u8>)>,
    ) -> Result<()> {
        let now = self.clock.now();
        let (number, id) = (session.number, session.id.clone());
        let remembered = key.map(|(request, row)| {
            let ids = jobs
                .iter()
                .filter(|job| job.as_ref().map_or(true, |job| job.asked))
                .map(|job| job.as_ref().ok().map(|j| j.id.clone()))
                .collect();
            (
                row,
                Remembered {
                    request,
                    ids,
                    outcomes: None,
                    ends: now.after(KEY_LIFE),
                },
            )
        });
        let to_go = jobs.iter().flatten().filter(|job| job.done.is_none());
        let rows = to_go.map(|job| job.rows(number, now));
        let rows: Vec<JobRows> = rows.collect::<Result<_>>()?;
        if rows.is_empty() && remembered.is_none() {
            return Ok(());
        }
        self.store
            .write(Durability::Sync, move |tx| {
                must_be_kept(tx, id.as_str(), number)?;
                for row in rows {
                    row.put(tx)?;
                }
                if let Some((row, remembered)) = remembered {
                    tx.put(tables::IDEMPOTENCY, row, record::encode(&remembered)?);
                }
                Ok(())
            })
            .await
    }

    /// Writes the frames in order, then awaits their acknowledgements together. A message whose
    /// connection broke is written again with the same id, as long as there is time.
    pub(super) async fn deliver(&self, session: &Arc<Session>, mut jobs: Vec<&mut Job>) {
        let started = Instant::now();
        let deadline = started + self.config.ack_timeout;
        loop {
            let login = session.logins();
            let mut waiting: Vec<(usize, Written)> = Vec::new();
            for (index, wrote) in self.write_all(session, &jobs, deadline).await {
                match wrote {
                    Ok(written) => waiting.push((index, written)),
                    Err(error) => jobs[index].done = Some(Err(unwritten(session, &error))),
                }
            }
            waiting.sort_by_key(|(index, _)| *index);
            let gone = connection_lost(session, login);
            tokio::pin!(gone);
            let mut waits = true;
            for (index, written) in &mut waiting {
                let verdict = if waits {
                    tokio::select! {
                        biased;
                        verdict = written.verdict() => verdict,
                        () = &mut gone => { waits = false; None }
                        () = tokio::time::sleep_until(deadline) => { waits = false; None }
                    }
                } else {
                    // Too late to wait, but others of the batch may have been answered.
                    written.verdict_so_far()
                };
                jobs[*index].done = verdict.map(|verdict| match verdict {
                    Verdict::Taken => {
                        self.metrics.note_sent(started.elapsed());
                        Ok(())
                    }
                    Verdict::Refused(code) => Err(Refusal {
                        kind: ErrorKind::Upstream,
                        why: refusal(&code),
                        code: Some(code),
                    }),
                });
            }
            if jobs.iter().all(|job| job.done.is_some()) {
                return;
            }
            if Instant::now() >= deadline {
                let held = session.is_connected() && session.logins() == login;
                for job in jobs {
                    job.unheard = held;
                }
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let back = |s: &super::session::Status| s.state == State::Connected;
            if session.paired_link().is_none() || !session.wait_until(left, back).await {
                return;
            }
            if session.logins() == login {
                // Still the same connection: the rest was refused by it, not lost with it.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Writes the frames that are not done: in order within a chat, several chats at a time. What a
    /// first message to somebody has to store is fsynced then for many at once.
    ///
    /// What a broken connection did not take is left out.
    async fn write_all(
        &self,
        session: &Session,
        jobs: &[&mut Job],
        deadline: Instant,
    ) -> Vec<(usize, Result<Written>)> {
        let mut chats: Vec<Vec<usize>> = Vec::new();
        let mut chat_of: HashMap<&Jid, usize> = HashMap::new();
        for (index, job) in jobs.iter().enumerate() {
            if job.done.is_none() {
                let chat = *chat_of.entry(&job.to).or_insert_with(|| {
                    chats.push(Vec::new());
                    chats.len() - 1
                });
                chats[chat].push(index);
            }
        }
        let names: Vec<&Jid> = chat_of.into_keys().collect();
        let timers = &self.timers(session, &names);
        let written = stream::iter(chats).map(|chat| async move {
            let mut written = Vec::with_capacity(chat.len());
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
                let Some(link) = session.paired_link() else {
                    break;
                };
                let job = &jobs[index];
                let file = job.file.as_ref().map(|uploaded| &uploaded.file);
                let write = link.write(&job.id, &job.to, &job.what, file, timer);
                match tokio::time::timeout_at(deadline, write).await {
                    Err(_) => break,
                    Ok(Err(error)) if error.kind() == ErrorKind::NotConnected => break,
                    Ok(wrote) => written.push((index, wrote)),
                }
            }
            written
        });
        let written: Vec<Vec<_>> = written.buffer_unordered(WRITTEN_AT_ONCE).collect().await;
        written.into_iter().flatten().collect()
    }

    /// Records what became of each message and answers it, also when it cannot be recorded: a
    /// message that went must not be answered as an error, or its client would send it once more.
    pub(super) async fn settle(
        self: &Arc<Self>,
        session: &Arc<Session>,
        jobs: Vec<Result<Job, Outcome>>,
        row_key: Option<Vec<u8>>,
    ) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        let mut steps = Vec::new();
        let mut campaigns = false;
        for job in jobs {
            let job = match job {
                Ok(job) => job,
                Err(outcome) => {
                    outcomes.push(outcome);
                    continue;
                }
            };
            steps.push(job.step());
            campaigns |= job.campaign.is_some();
            let (asked, outcome) = (job.asked, job.outcome());
            if asked {
                outcomes.push(outcome);
            }
        }
        let (gateway, inner) = (self.clone(), session.clone());
        // What nobody acknowledged is not decided: whoever repeats the request has it sent again under
        // the same id, which WhatsApp shows once.
        let decided = !steps.iter().any(Sent::is_undecided);
        let (now, kept) = (self.clock.now(), decided.then(|| outcomes.clone()));
        let recorded = self
            .record(Durability::Lazy, move |tx| {
                let newest = settle_rows(tx, &gateway, &inner, &steps, now)?;
                if let Some(row_key) = row_key
                    && let Some(row) = tx.get(tables::IDEMPOTENCY, &row_key)?
                {
                    let mut remembered: Remembered = record::decode(&row)?;
                    remembered.outcomes = kept;
                    tx.put(tables::IDEMPOTENCY, row_key, record::encode(&remembered)?);
                }
                Ok(((), newest))
            })
            .await;
        if let Err(error) = recorded {
            tracing::error!(session = %session.id, ?error, "what became of messages could not be stored");
            for outcome in outcomes.iter_mut().filter(|outcome| outcome.id.is_some()) {
                let told = outcome.note.take().map(|note| note + "; ");
                outcome.note = Some(told.unwrap_or_default() + UNSTORED);
            }
        }
        if campaigns {
            self.campaigns.wake();
        }
        outcomes
    }

    /// Gives up what a crash interrupted.
    pub(super) async fn fail_interrupted(self: &Arc<Self>, session: &Arc<Session>) {
        let why = "the session was logged out before it was sent";
        let (ids, _under_way) = session.take_interrupted();
        let steps: Vec<_> = ids
            .into_iter()
            .map(|id| Sent {
                id,
                failure: Some((Missed::Unknown, why.to_owned())),
            })
            .collect();
        let (gateway, inner, now) = (self.clone(), session.clone(), self.clock.now());
        let written = self
            .record(Durability::Sync, move |tx| {
                Ok(((), settle_rows(tx, &gateway, &inner, &steps, now)?))
            })
            .await;
        if let Err(error) = written {
            tracing::error!(session = %session.id, ?error, "interrupted messages could not be settled");
        }
    }

    /// Sends what a crash interrupted, with the same ids: WhatsApp shows one message per id. What
    /// belongs to a campaign goes back to it.
    pub(super) async fn resend_interrupted(self: &Arc<Self>, session: &Arc<Session>) {
        let (ids, _under_way) = session.take_interrupted();
        if ids.is_empty() {
            return;
        }
        tracing::info!(session = %session.id, count = ids.len(), "taking up what a restart interrupted");
        match self.interrupted_jobs(session, ids) {
            Ok((mut jobs, of_campaigns)) => {
                // The campaign sends them, if it still runs, when it may, to those who still want it.
                self.settle(session, of_campaigns, None).await;
                self.deliver(session, jobs.iter_mut().collect()).await;
                let jobs = jobs.into_iter().map(Ok).collect();
                self.settle(session, jobs, None).await;
            }
            Err(error) => {
                tracing::error!(session = %session.id, ?error, "interrupted messages cannot be read");
            }
        }
    }

    /// Gives what nobody settled back to its campaign. Answers whether there was anything.
    ///
    /// Hazard: for the loop that sends the campaign only, between its messages.
    pub(super) async fn return_unsettled(
        self: &Arc<Self>,
        session: &Arc<Session>,
        campaign: &RowId,
    ) -> Result<bool> {
        let ids = self
            .store
            .read(|read| message::in_outbox(read, session.number))?;
        let (_, of_campaigns) = self.interrupted_jobs(session, ids)?;
        let is_part = |job: &&Job| {
            job.campaign
                .as_ref()
                .is_some_and(|p| p.campaign == *campaign)
        };
        let jobs = of_campaigns.iter().flatten().filter(is_part);
        let steps: Vec<_> = jobs.map(Job::step).collect();
        if steps.is_empty() {
            return Ok(false);
        }
        let (gateway, inner, now) = (self.clone(), session.clone(), self.clock.now());
        self.record(Durability::Lazy, move |tx| {
            Ok((true, settle_rows(tx, &gateway, &inner, &steps, now)?))
        })
        .await
    }

    /// What is to be sent again after a crash, and the messages of campaigns.
    #[expect(
        clippy::type_complexity,
        reason = "the second goes to `settle` as it is"
    )]
    fn interrupted_jobs(
        &self,
        session: &Session,
        ids: Vec<MessageId>,
    ) -> Result<(Vec<Job>, Vec<Result<Job, Outcome>>)> {
        self.store.read(|read| {
            let (mut jobs, mut of_campaigns) = (Vec::new(), Vec::new());
            for id in ids {
                let Some((_, row)) = message::own(read, session.number, &id)? else {
                    continue;
                };
                let Some(what) = row.sent else { continue };
                let mut job = Job::new(id, row.chat, what.into());
                if let Some(part) = row.campaign {
                    job.campaign = Some(*part);
                    of_campaigns.push(Ok(job));
                    continue;
                }
                let given_up = |kind, why: &str| {
                    let (why, code) = (why.to_owned(), None);
                    Some(Err(Refusal { kind, why, code }))
                };
                if let Outgoing::Media { file, .. } = &job.what {
                    job.file = self.known_upload(session, file)?.map(Arc::new);
                    if job.file.is_none() {
                        let why = "interrupted by a restart, and its file is not kept any more";
                        job.done = given_up(ErrorKind::NotFound, why);
                    }
                }
                if self.clock.age_of(row.at) > RESEND_WITHIN {
                    let why = "interrupted by a restart and too old to be sent";
                    job.done = given_up(ErrorKind::Conflict, why);
                }
                jobs.push(job);
            }
            Ok((jobs, of_campaigns))
        })
    }
}

/// What became of a message, for the rows.
struct Sent {
    id: MessageId,
    failure: Option<(Missed, String)>,
}

impl Sent {
    /// Whether nobody knows if it arrived.
    fn is_undecided(&self) -> bool {
        matches!(&self.failure, Some((Missed::Unknown | Missed::Unheard, _)))
    }
}

fn settle_rows(
    tx: &mut Tx,
    gateway: &Arc<Gateway>,
    session: &Session,
    steps: &[Sent],
    now: Timestamp,
) -> Result<Option<u64>> {
    let mut newest = None;
    for sent in steps {
        let outbox = message::outbox_key(session.number, &sent.id);
        if sent.failure.is_some() && !tx.exists(tables::OUTBOX, &outbox)? {
            // Somebody else settled it, and may have put it back to be tried again.
            continue;
        }
        tx.delete(tables::OUTBOX, &outbox);
        if let Some((missed, _)) = &sent.failure
            && let Some((_, row)) = message::own(tx, session.number, &sent.id)?
            && let Some(part) = &row.campaign
            && campaign::rows::missed(tx, session.number, part, missed, now)?
        {
            continue;
        }
        let step = Step {
            progress: if sent.failure.is_some() {
                Progress::Failed
            } else {
                Progress::Sent
            },
            by: None,
            at: now,
            refusal: sent.failure.as_ref().map(|(_, why)| why.as_str()),
        };
        newest = message::advance(tx, gateway, session, &sent.id, step)?.or(newest);
    }
    Ok(newest)
}

/// The album that the draft belongs to.
fn album_of(draft: &Draft) -> Option<usize> {
    match &draft.content {
        Content::Media(media) => media.album,
        _ => None,
    }
}

/// Puts the head of each album before its first picture or film, and tells the others of it.
///
/// Only files that are there count: a head that promises more would show empty frames.
fn with_album_heads(jobs: Vec<(Option<usize>, Result<Job, Outcome>)>) -> Vec<Result<Job, Outcome>> {
    let mut heads: HashMap<usize, (MessageId, u32, u32)> = HashMap::new();
    for (album, job) in &jobs {
        if let (Some(album), Ok(job)) = (album, job)
            && let Outgoing::Media { kind, .. } = &job.what
            && matches!(kind, MediaKind::Image | MediaKind::Video)
        {
            let head = heads
                .entry(*album)
                .or_insert_with(|| (head_id(&job.id), 0, 0));
            match kind {
                MediaKind::Image => head.1 += 1,
                _ => head.2 += 1,
            }
        }
    }
    heads.retain(|_, (_, images, videos)| *images + *videos > 1);
    let mut begun = HashSet::new();
    let mut all = Vec::with_capacity(jobs.len() + heads.len());
    for (album, mut job) in jobs {
        if let (Some(album), Ok(job)) = (album, &mut job)
            && let Some((id, images, videos)) = heads.get(&album)
            && let Outgoing::Media {
                kind,
                album: part_of,
                ..
            } = &mut job.what
            && matches!(kind, MediaKind::Image | MediaKind::Video)
        {
            *part_of = Some(id.clone());
            if begun.insert(album) {
                let (images, videos) = (*images, *videos);
                let head = Outgoing::Album { images, videos };
                let mut head = Job::new(id.clone(), job.to.clone(), head.into());
                head.asked = false;
                // It went before its files did.
                head.done = job.done.is_some().then_some(Ok(()));
                all.push(Ok(head));
            }
        }
        all.push(job);
    }
    all
}

/// The id of an album's head follows from that of its first file, so that a repeated request has
/// the same head.
fn head_id(first: &MessageId) -> MessageId {
    let hash = Sha256::digest(format!("album {first}"));
    let digits = hex::encode_upper(&hash[..9]);
    MessageId::parse(&format!("3EB0{digits}")).expect("hex digits are a legal id")
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

/// The error for a session that cannot send now.
pub fn not_connected(session: &Session) -> Error {
    Error::new(
        ErrorKind::NotConnected,
        format!("Session {} not found or not connected.", session.id),
    )
}

/// WhatsApp's refusal codes in words; users ask about 463 most.
fn refusal(code: &str) -> String {
    let words = match code {
        "463" => "the account may not write to new contacts for now",
        "429" => "too many messages; wait before sending more",
        "479" => "the message, or whom it is for, has a form that WhatsApp does not take",
        "401" | "403" => "the account may not send this",
        "404" => "the recipient does not exist",
        _ => "WhatsApp refused the message",
    };
    format!("{words} (code {code})")
}
