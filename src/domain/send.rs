//! Sending: resolve, store, write, wait for WhatsApp's word, settle. The only path to a phone.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::Gateway;
use super::message::{self, Message, Step};
use super::session::{Session, State, must_be_kept};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{MessageId, SessionNumber};
use crate::jid::Jid;
use crate::store::record::{self, Record};
use crate::store::{Durability, Read, Tx, tables};
use crate::time::Timestamp;
use crate::wa::link::{Verdict, Written};
use crate::wa::message::{Outgoing, Progress, Quote};

/// The longest text, in UTF-16 units, as the original program counts.
pub const MAX_TEXT: usize = 4096;

/// How many messages one request may hold.
pub const MAX_BATCH: usize = 100;

/// How long an idempotency key is remembered.
pub const KEY_LIFE: Duration = Duration::from_secs(24 * 3600);

/// How long a send waits for a session that is on its way back.
const RECONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// How old an interrupted send may be to be sent after a crash; an older one would only surprise.
const RESEND_WITHIN: Duration = Duration::from_secs(3600);

/// Who is mentioned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Mentions {
    /// Nobody.
    #[default]
    None,
    /// Everybody in the group.
    All,
    /// These people.
    These(Vec<Jid>),
}

/// A message as a client asks for it, before what it refers to was looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Draft {
    /// Words.
    Text {
        /// Whom to.
        to: Jid,
        /// The words.
        body: String,
        /// Who is mentioned.
        mentions: Mentions,
        /// The message that is answered.
        quoted: Option<MessageId>,
    },
    /// An emoji on a message.
    Reaction {
        /// The chat.
        to: Jid,
        /// The message.
        target: MessageId,
        /// The emoji; empty takes it back.
        emoji: String,
    },
    /// New words for a message of ours.
    Edit {
        /// The chat.
        to: Jid,
        /// The message.
        target: MessageId,
        /// The new words.
        body: String,
        /// Who is mentioned.
        mentions: Mentions,
    },
    /// Takes a message of ours back.
    Revoke {
        /// The chat.
        to: Jid,
        /// The message.
        target: MessageId,
    },
}

impl Draft {
    /// Words, checked.
    pub fn text(to: Jid, body: &str) -> Result<Self> {
        Ok(Self::Text {
            to,
            body: checked_text(body)?,
            mentions: Mentions::None,
            quoted: None,
        })
    }

    /// The chat it goes to.
    pub fn to(&self) -> &Jid {
        match self {
            Self::Text { to, .. }
            | Self::Reaction { to, .. }
            | Self::Edit { to, .. }
            | Self::Revoke { to, .. } => to,
        }
    }
}

/// Checks a text's length; the text itself is never changed.
pub fn checked_text(body: &str) -> Result<String> {
    if body.is_empty() || body.encode_utf16().count() > MAX_TEXT {
        return Err(Error::invalid("Invalid text message content."));
    }
    Ok(body.to_owned())
}

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The chat it went to.
    pub to: Jid,
    /// Its id; `None` when it never got one.
    pub id: Option<MessageId>,
    /// Why it was not sent; `None` when WhatsApp acknowledged it.
    pub failure: Option<String>,
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
struct Job {
    id: MessageId,
    to: Jid,
    what: Outgoing,
    done: Option<Result<(), String>>,
}

impl Gateway {
    /// Sends messages in order and answers what became of each, in the same order.
    ///
    /// A message counts as sent when WhatsApp's server acknowledged it.
    pub async fn send(
        &self,
        session: &Arc<Session>,
        drafts: Vec<Draft>,
        key: Option<IdempotencyKey>,
    ) -> Result<Vec<Outcome>> {
        let row_key = key.as_ref().map(|key| idempotency_key(session.number, key));
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
        if !self.soon_connected(session).await {
            return Err(not_connected(session));
        }
        let mut jobs = Vec::with_capacity(drafts.len());
        for (draft, id) in drafts.into_iter().zip(ids) {
            jobs.push(self.job(session, draft, id).await);
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
        self.settle(session, jobs, row_key).await
    }

    /// Whether the session can send. One that is on its way back is waited for a moment: a client
    /// that asks in the second of a reconnect should not have to try again.
    pub(super) async fn soon_connected(&self, session: &Session) -> bool {
        if session.is_connected() {
            return true;
        }
        let on_its_way = session.link().is_some() && session.status().paired;
        let connected = |status: &super::session::Status| status.state == State::Connected;
        on_its_way && session.wait_until(RECONNECT_PATIENCE, connected).await
    }

    /// Looks up what the draft refers to and gives it an id.
    async fn job(
        &self,
        session: &Session,
        draft: Draft,
        id: Option<MessageId>,
    ) -> Result<Job, Outcome> {
        let to = draft.to().clone();
        match self.resolve(session, draft).await {
            Ok(what) => {
                let id = id.unwrap_or_else(|| self.ids.message_id());
                Ok(Job {
                    id,
                    to,
                    what,
                    done: None,
                })
            }
            Err(error) => Err(Outcome {
                to,
                id: None,
                failure: Some(error.detail().to_owned()),
            }),
        }
    }

    async fn resolve(&self, session: &Session, draft: Draft) -> Result<Outgoing> {
        Ok(match draft {
            Draft::Text {
                to,
                body,
                mentions,
                quoted,
            } => Outgoing::Text {
                mentions: self.mentioned(session, &to, mentions).await?,
                quote: quoted.map(|id| self.quote(session, &to, id)).transpose()?,
                body,
            },
            Draft::Reaction { to, target, emoji } => {
                let message = self.message_in(session, &target, &to)?.ok_or_else(|| {
                    Error::not_found("The message to react to is not known in this chat")
                })?;
                Outgoing::Reaction {
                    target,
                    target_from_me: message.sender.is_none(),
                    target_sender: message.sender,
                    emoji,
                }
            }
            Draft::Edit {
                to,
                target,
                body,
                mentions,
            } => {
                self.own_text(session, &to, &target)?;
                Outgoing::Edit {
                    mentions: self.mentioned(session, &to, mentions).await?,
                    target,
                    body,
                }
            }
            Draft::Revoke { target, .. } => Outgoing::Revoke { target },
        })
    }

    async fn mentioned(&self, session: &Session, to: &Jid, mentions: Mentions) -> Result<Vec<Jid>> {
        match mentions {
            Mentions::None => Ok(Vec::new()),
            Mentions::These(people) => Ok(people),
            Mentions::All if !to.is_group() => {
                Err(Error::invalid("Mentioning all works in groups only"))
            }
            Mentions::All => match session.link() {
                Some(link) => link.group_members(to).await,
                None => Err(not_connected(session)),
            },
        }
    }

    fn quote(&self, session: &Session, to: &Jid, id: MessageId) -> Result<Quote> {
        let message = self
            .message_in(session, &id, to)?
            .ok_or_else(|| Error::not_found("The quoted message is not known in this chat"))?;
        Ok(Quote {
            id,
            sender: message.sender,
            text: message.text.unwrap_or_default(),
        })
    }

    fn own_text(&self, session: &Session, to: &Jid, id: &MessageId) -> Result<()> {
        match self.message_in(session, id, to)? {
            Some(Message {
                sender: None,
                sent: Some(Outgoing::Text { .. }),
                ..
            }) => Ok(()),
            Some(_) => Err(Error::invalid("Only own text messages can be edited")),
            None => Err(Error::not_found(
                "The message to edit is not known in this chat",
            )),
        }
    }

    fn remembered(&self, key: &IdempotencyKey, row: &[u8]) -> Result<Option<Remembered>> {
        let found = self.store.read(|read| read.get(tables::IDEMPOTENCY, row))?;
        let Some(found) = found else { return Ok(None) };
        let found: Remembered = record::decode(&found)?;
        if found.ends <= self.clock.now() {
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
        let mut rows = Vec::new();
        for job in jobs.iter().flatten() {
            rows.push((
                message::key(number, &job.id, &job.to, None),
                message::outbox_key(number, &job.id),
                record::encode(&stored(job, now))?,
            ));
        }
        if rows.is_empty() && remembered.is_none() {
            return Ok(());
        }
        self.store
            .write(Durability::Sync, move |tx| {
                must_be_kept(tx, id.as_str(), number)?;
                for (key, outbox, row) in rows {
                    tx.put(tables::OUTBOX, outbox, now.as_ms().to_be_bytes());
                    tx.put(tables::MESSAGES, key, row);
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
    async fn deliver(&self, session: &Arc<Session>, mut jobs: Vec<&mut Job>) {
        let deadline = Instant::now() + self.config.ack_timeout;
        loop {
            let login = session.logins();
            let mut waiting: Vec<(usize, Written)> = Vec::new();
            for (index, job) in jobs.iter_mut().enumerate() {
                if job.done.is_some() {
                    continue;
                }
                let Some(link) = session.link() else { break };
                let write = link.write(&job.id, &job.to, &job.what);
                let Ok(wrote) = tokio::time::timeout_at(deadline, write).await else {
                    break;
                };
                match wrote {
                    Ok(written) => waiting.push((index, written)),
                    Err(error) if error.kind() == ErrorKind::NotConnected => break,
                    Err(error) => {
                        let kind = error.kind();
                        tracing::warn!(session = %session.id, ?kind, "a message could not be written");
                        tracing::debug!(session = %session.id, ?error, "why it could not be written");
                        job.done = Some(Err(error.detail().to_owned()));
                    }
                }
            }
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
                    Verdict::Taken => Ok(()),
                    Verdict::Refused(code) => Err(refusal(&code)),
                });
            }
            if jobs.iter().all(|job| job.done.is_some()) || Instant::now() >= deadline {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let back = |s: &super::session::Status| s.state == State::Connected;
            if session.link().is_none() || !session.wait_until(left, back).await {
                return;
            }
            if session.logins() == login {
                // Still the same connection: the rest was refused by it, not lost with it.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Records what became of each message and answers it.
    async fn settle(
        &self,
        session: &Arc<Session>,
        jobs: Vec<Result<Job, Outcome>>,
        row_key: Option<Vec<u8>>,
    ) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        let mut steps = Vec::new();
        for job in jobs {
            let job = match job {
                Ok(job) => job,
                Err(outcome) => {
                    outcomes.push(outcome);
                    continue;
                }
            };
            let failure = match job.done {
                Some(Ok(())) => None,
                Some(Err(why)) => Some(why),
                None => Some(format!(
                    "WhatsApp did not acknowledge message {} in time; it may still arrive",
                    job.id
                )),
            };
            steps.push((job.id.clone(), failure.clone()));
            outcomes.push(Outcome {
                to: job.to,
                id: Some(job.id),
                failure,
            });
        }
        let (gateway, inner) = (self.clone(), session.clone());
        let (now, kept) = (self.clock.now(), outcomes.clone());
        self.record(Durability::Lazy, move |tx| {
            let newest = settle_rows(tx, &gateway, &inner, &steps, now)?;
            if let Some(row_key) = row_key
                && let Some(row) = tx.get(tables::IDEMPOTENCY, &row_key)?
            {
                let mut remembered: Remembered = record::decode(&row)?;
                remembered.outcomes = Some(kept);
                tx.put(tables::IDEMPOTENCY, row_key, record::encode(&remembered)?);
            }
            Ok(((), newest))
        })
        .await?;
        Ok(outcomes)
    }

    /// Gives up what a crash interrupted.
    pub(super) async fn fail_interrupted(&self, session: &Arc<Session>) {
        let why = Some("the session was logged out before it was sent".to_owned());
        let steps: Vec<_> = session
            .take_interrupted()
            .into_iter()
            .map(|id| (id, why.clone()))
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

    /// Sends what a crash interrupted, with the same ids: WhatsApp shows one message per id.
    pub(super) async fn resend_interrupted(&self, session: &Arc<Session>) {
        let ids = session.take_interrupted();
        let started = self.clock.now();
        let read = self.store.read(|read| {
            let mut jobs = Vec::new();
            for id in ids {
                if let Some((
                    _,
                    Message {
                        chat,
                        sent: Some(what),
                        at,
                        ..
                    },
                )) = message::own(read, session.number, &id)?
                {
                    let late = started.since(at) > RESEND_WITHIN;
                    let done =
                        late.then(|| Err("interrupted by a restart and too old to be sent".into()));
                    jobs.push(Job {
                        id,
                        to: chat,
                        what,
                        done,
                    });
                }
            }
            Ok(jobs)
        });
        let outcome = match read {
            Ok(jobs) if jobs.is_empty() => return,
            Ok(mut jobs) => {
                tracing::info!(session = %session.id, count = jobs.len(), "sending what a restart interrupted");
                self.deliver(session, jobs.iter_mut().collect()).await;
                self.settle(session, jobs.into_iter().map(Ok).collect(), None)
                    .await
                    .map(|_| ())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            tracing::error!(session = %session.id, ?error, "interrupted messages could not be settled");
        }
    }
}

fn settle_rows(
    tx: &mut Tx,
    gateway: &Gateway,
    session: &Session,
    steps: &[(MessageId, Option<String>)],
    now: Timestamp,
) -> Result<Option<u64>> {
    let mut newest = None;
    for (id, failure) in steps {
        tx.delete(tables::OUTBOX, &message::outbox_key(session.number, id));
        let step = Step {
            progress: if failure.is_some() {
                Progress::Failed
            } else {
                Progress::Sent
            },
            by: None,
            at: now,
            refusal: failure.as_deref(),
        };
        newest = message::advance(tx, gateway, session, id, step)?.or(newest);
    }
    Ok(newest)
}

fn stored(job: &Job, now: Timestamp) -> Message {
    let text = match &job.what {
        Outgoing::Text { body, .. } | Outgoing::Edit { body, .. } => Some(body.clone()),
        Outgoing::Reaction { emoji, .. } => Some(emoji.clone()),
        Outgoing::Revoke { .. } => None,
    };
    Message {
        chat: job.to.clone(),
        sender: None,
        at: now,
        text,
        sent: Some(job.what.clone()),
        progress: Some(Progress::Sending),
        refusal: None,
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

/// The error for a session that cannot send now, in the original program's words.
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
        "429" | "479" => "too many messages; wait before sending more",
        "401" | "403" => "the account may not send this",
        "404" => "the recipient does not exist",
        _ => "WhatsApp refused the message",
    };
    format!("{words} (code {code})")
}
