//! Deliveries of events to webhooks: what became of each try, and when the next one is made.
//!
//! The deliveries of a webhook go in order, and one that fails holds up those behind it as long as the
//! receiver may be at fault. When it is known that the delivery itself is, it is set aside: it goes to
//! a lane where each waits for itself. That is known when its answer says so, or when the receiver
//! takes one that was behind it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::webhook::{
    MOST, Webhook, aside_lane, is_aside, lane, lane_parts, lanes, payload, seq_of,
};
use super::{Event, EventKind, log};
use crate::domain::Gateway;
use crate::domain::queues::{DELIVERIES as QUEUE, DELIVERY_WAIT};
use crate::domain::session::Session;
use crate::error::{Code, Error, Result};
use crate::ids::SessionNumber;
use crate::store::queue::{self, Claim, LaneOrder};
use crate::store::record::Record;
use crate::store::{Durability, Read, Tx, Typed, tables};
use crate::time::Timestamp;
use crate::words::stored_words;

/// How long a delivery is tried before it becomes a dead letter.
const HORIZON: Duration = Duration::from_secs(3 * 24 * 3600);

/// How often a delivery that was set aside is tried when the receiver calls it wrong in itself: for about
/// five hours.
const REFUSED_ATTEMPTS: u32 = 10;

/// How many of those behind a delivery are tried after its first failure, as many more after each
/// further one, and how many at most. Any of them may be as wrong as the first.
const PROBES: u32 = 10;
const MOST_PROBES: u32 = 100;

/// From which failure on one behind it is tried when the receiver is away, which mostly ends by itself.
const AWAY_ATTEMPTS: u32 = 3;

/// How long a try may take for others to follow it at once.
const PROMPT: Duration = Duration::from_secs(3);

/// What the log says of a delivery that was not to be tried again.
const SKIPPED: &str = "skipped by its owner";

/// A delivery that is due: which event goes where.
pub struct DueDelivery {
    /// The session.
    pub session: SessionNumber,
    /// The webhook's id.
    pub webhook_id: String,
    /// The webhook; `None` while its row is damaged.
    pub webhook: Option<Webhook>,
    /// The event's number in the log.
    pub seq: u64,
    /// The event.
    pub event: Event,
}

/// What a dialect makes of an event for its webhooks.
pub struct Payload {
    /// Headers, beside those that every delivery has.
    pub headers: Vec<(String, String)>,
    /// The body, JSON.
    pub body: Vec<u8>,
}

/// What became of one try.
pub struct Attempt {
    /// The receiver's answer.
    pub status: Option<u16>,
    /// What went wrong, in fixed words.
    pub error: Option<&'static str>,
    /// How long it took.
    pub took: Duration,
}

/// What a failed try says of who is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// This delivery: the receiver does not take its content, the one thing that is its own. URL, method,
    /// kinds of headers and content type are the same for all.
    Delivery,
    /// The receiver, or this delivery in a way that it has no status for.
    Unclear,
    /// The receiver: it does not answer, or what stands before it does.
    Away,
}

impl Attempt {
    fn failed(&self) -> bool {
        self.error.is_some()
    }

    fn fault(&self) -> Fault {
        match self.status {
            Some(400 | 413 | 422) => Fault::Delivery,
            None | Some(408 | 425 | 429 | 502 | 503 | 504) => Fault::Away,
            Some(_) => Fault::Unclear,
        }
    }

    /// Whether another may be tried after this one failed, without pressing a receiver that is away.
    pub fn invites_another(&self) -> bool {
        self.fault() != Fault::Away && self.took < PROMPT
    }
}

/// A delivery that was tried.
pub struct Tried {
    /// Its row in the queue.
    pub claim: Claim,
    /// What was to be delivered.
    pub due: DueDelivery,
    /// What became of it.
    pub attempt: Attempt,
}

/// When a delivery that failed `attempts` times is tried again: 2 s, 8 s, 30 s, 2 min, 8 min, 30 min,
/// then every hour.
fn retry_after(attempts: u32) -> Duration {
    let secs = match attempts {
        0 | 1 => 2,
        2 => 8,
        3 => 30,
        4 => 120,
        5 => 480,
        6 => 1800,
        _ => return DELIVERY_WAIT,
    };
    Duration::from_secs(secs)
}

/// How long a delivery that was tried so often has waited at least, by its waits and not by a clock.
fn tried_for(attempts: u32) -> Duration {
    (1..attempts.min(1000)).map(retry_after).sum()
}

/// Whether a delivery that failed `attempts` times is given up, because nobody took it for days.
///
/// Each delivery has its own days, by the waits between its tries: an event's time may come from a
/// clock that was wrong. When those of the one before it passed in vain, an event as old needs no
/// days of its own, or a receiver that is gone would hold up its lane for ever.
fn is_given_up(
    read: &impl Read,
    lane: (SessionNumber, &str),
    seq: u64,
    attempts: u32,
    age: Duration,
) -> Result<bool> {
    if tried_for(attempts) > HORIZON {
        return Ok(true);
    }
    if age <= HORIZON {
        return Ok(false);
    }
    let (number, webhook) = lane;
    let before = DELIVERIES.rows(number).before((seq, "")).backwards();
    let mut looked = 0;
    let given_up = before.find(read, |row| {
        looked += 1;
        Ok(match row.key()?.1 == webhook {
            true => Some(row.value().is_ok_and(|entry| entry.given_up)),
            false => (looked == 2 * MOST).then_some(false),
        })
    })?;
    Ok(given_up.unwrap_or(false))
}

/// Whether a delivery of this event was tried or replayed and still waits.
pub(in crate::domain) fn is_pending(
    read: &impl Read,
    session: SessionNumber,
    seq: u64,
) -> Result<bool> {
    let waiting = DELIVERIES.rows((session, seq)).find(read, |row| {
        let Ok(webhook) = row.key() else {
            return Ok(None);
        };
        Ok(waits(read, session, &webhook, row.value())?.then_some(()))
    })?;
    Ok(waiting.is_some())
}

/// Whether the delivery of this log entry still waits. A damaged entry is for `warung check` to tell.
pub(in crate::domain) fn is_waiting(read: &impl Read, key: &[u8], row: &[u8]) -> Result<bool> {
    let row = DELIVERIES.row(key, row);
    match row.key() {
        Ok((session, _, webhook)) => waits(read, session, &webhook, row.value()),
        Err(_) => Ok(false),
    }
}

fn waits(
    read: &impl Read,
    session: SessionNumber,
    webhook: &str,
    entry: Result<Delivery>,
) -> Result<bool> {
    let pending = entry.is_ok_and(|entry| entry.state == DeliveryState::Pending);
    Ok(pending && waiting_of(read, session, webhook)? > 0)
}

/// How many deliveries of a webhook wait, tried or not.
fn waiting_of(read: &impl Read, session: SessionNumber, webhook: &str) -> Result<u64> {
    let in_order = queue::lane_len(read, QUEUE, &lane(session, webhook))?;
    Ok(in_order + queue::lane_len(read, QUEUE, &aside_lane(session, webhook))?)
}

/// Whether the receiver says that a delivery which alone is at fault is wrong, so that days will not make
/// it right.
fn is_refusal(status: u16) -> bool {
    matches!(status, 400..=499) && !matches!(status, 401 | 403 | 408 | 409 | 423 | 425 | 429)
}

stored_words! {
    /// How a delivery stands. Stored by its word.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum DeliveryState {
        /// Waits for its next try.
        Pending = "pending",
        /// The receiver took it.
        Delivered = "delivered",
        /// Given up; it can be replayed.
        Dead = "dead",
    }
}

/// The log entry of one delivery. Stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delivery {
    /// The event's number in the log.
    pub event_id: u64,
    /// What it is about.
    pub event: EventKind,
    /// How it stands.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// The receiver's last answer.
    pub http_status: Option<u16>,
    /// What went wrong last, in fixed words.
    pub last_error: Option<String>,
    /// When it was last tried.
    pub at: Timestamp,
    /// How long the last try took.
    pub duration_ms: u64,
    /// Whether it is dead because nobody took it for days.
    #[serde(default)]
    pub given_up: bool,
}

impl Record for Delivery {
    const VERSION: u8 = 1;
}

/// The delivery log: session, event, webhook.
const DELIVERIES: Typed<(SessionNumber, u64, String), Delivery> = Typed::new(tables::DELIVERIES);

impl Gateway {
    /// What a claim of the queue asks for; `None` when its session, webhook or event is gone. An event
    /// that is damaged is gone too, or it would hold up its webhook for ever.
    pub fn due_delivery(&self, claim: &Claim) -> Result<Option<DueDelivery>> {
        let Some(((session, id), seq)) = lane_parts(&claim.lane).zip(seq_of(&claim.payload)) else {
            return Ok(None);
        };
        let Some(event) = self.store.read(|read| log::find(read, session, seq))? else {
            return Ok(None);
        };
        let webhook = self.webhook(session, &id)?;
        // What a damaged one is to get waits until it is set again, like what a receiver does not take.
        if webhook.is_none() && !self.has_webhook(session, &id)? {
            return Ok(None);
        }
        Ok(Some(DueDelivery {
            session,
            webhook_id: id,
            webhook,
            seq,
            event,
        }))
    }

    /// Settles a claim that nobody waits for any more.
    pub async fn drop_delivery(&self, claim: Claim) -> Result<()> {
        let done = move |tx: &mut Tx| queue::done(tx, &claim).map(|_| ());
        self.store.write(Durability::Lazy, done).await
    }

    /// Tries a claim later that could not be read or recorded: what is damaged would keep a processor
    /// busy.
    pub async fn postpone_delivery(&self, claim: Claim) -> Result<()> {
        let when = self.clock.now().after(retry_after(claim.attempts + 1));
        let later = move |tx: &mut Tx| queue::retry_at(tx, &claim, when).map(|_| ());
        self.store.write(Durability::Lazy, later).await
    }

    /// Those behind a failed delivery that are tried to find out whether it alone is at fault; none when
    /// that is known, or when the receiver had better be left alone.
    pub fn probes(&self, claim: &Claim, attempt: &Attempt) -> Result<Vec<Claim>> {
        let attempts = claim.attempts.saturating_add(1);
        let most = match attempt.fault() {
            _ if !attempt.failed() || is_aside(&claim.lane) => 0,
            Fault::Delivery => 0,
            Fault::Unclear => PROBES.saturating_mul(attempts).min(MOST_PROBES),
            Fault::Away => u32::from(attempts >= AWAY_ATTEMPTS && attempt.status != Some(429)),
        };
        if most == 0 {
            return Ok(Vec::new());
        }
        self.store
            .read(|read| queue::behind(read, claim, most as usize))
    }

    /// Records what became of a try, in one transaction with the queue's own step. When one of the
    /// others that were behind it arrived, it is the last of them, and those before it failed.
    pub async fn settle_delivery(&self, tried: Tried, others: Vec<Tried>) -> Result<()> {
        let works = !tried.attempt.failed() || !others.is_empty();
        self.tell(&tried, works);
        let steps = std::iter::once(tried).chain(others);
        let steps = steps
            .map(|tried| self.step(tried, works))
            .collect::<Result<Vec<_>>>()?;
        // A settled row that a crash takes back is delivered once more: at least once.
        let durability = match steps.iter().any(Step::is_last) {
            true => Durability::Sync,
            false => Durability::Lazy,
        };
        self.store
            .write(durability, move |tx| {
                steps.iter().try_for_each(|step| step.apply(tx))
            })
            .await
    }

    /// Tells the operator when a webhook begins to fail, and when it works again. Its URL may be secret.
    fn tell(&self, tried: &Tried, works: bool) {
        let (lane, session) = (&tried.claim.lane, &tried.due.event.session);
        let attempt = &tried.attempt;
        if is_aside(lane) {
            return;
        }
        if works {
            if self.failing_webhooks.note(lane, false) {
                tracing::info!(%session, "the webhook takes deliveries again");
            }
        } else if attempt.fault() != Fault::Delivery && self.failing_webhooks.note(lane, true) {
            tracing::warn!(
                %session,
                status = attempt.status,
                why = attempt.error,
                "the webhook fails; its deliveries wait and are tried again"
            );
        }
    }

    /// What is to be done after a try; `works` says that the receiver takes deliveries of this webhook.
    fn step(&self, tried: Tried, works: bool) -> Result<Step> {
        let Tried {
            claim,
            due,
            attempt,
        } = tried;
        let now = self.clock.now();
        let attempts = claim.attempts.saturating_add(1);
        let (session, webhook, seq) = (due.session, due.webhook_id, due.seq);
        let is_aside = is_aside(&claim.lane);
        let alone = attempt.failed() && (is_aside || works || attempt.fault() == Fault::Delivery);
        let refused =
            alone && attempts >= REFUSED_ATTEMPTS && attempt.status.is_some_and(is_refusal);
        let given_up = match attempt.failed() {
            false => false,
            true if alone => tried_for(attempts) > HORIZON,
            true => {
                let age = self.clock.age_of(due.event.at);
                let lane = (session, webhook.as_str());
                self.store
                    .read(|read| is_given_up(read, lane, seq, attempts, age))?
            }
        };
        let tried_with = due.webhook.map(|hook| hook.at);
        let set_anew = self
            .webhook(session, &webhook)?
            .is_some_and(|hook| Some(hook.at) != tried_with);
        let again = match set_anew {
            // The answer was another receiver's, or came before it was repaired.
            true => now,
            false => now.after(retry_after(attempts)),
        };
        let (state, next) = match attempt.failed() {
            false => (DeliveryState::Delivered, Next::None),
            true if refused || given_up => (DeliveryState::Dead, Next::None),
            true if alone && !is_aside => (DeliveryState::Pending, Next::Aside(again)),
            true => (DeliveryState::Pending, Next::Again(again)),
        };
        self.report_step((&due.event, seq), state, &next, attempt.status);
        let entry = Delivery {
            event_id: seq,
            event: due.event.kind(),
            state,
            attempts,
            http_status: attempt.status,
            last_error: attempt.error.map(str::to_owned),
            at: now,
            duration_ms: u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
            given_up: given_up && !alone,
        };
        Ok(Step {
            claim,
            next,
            session,
            webhook,
            entry,
        })
    }

    /// Logs what an operator should know of a step.
    fn report_step(
        &self,
        (event, seq): (&Event, u64),
        state: DeliveryState,
        next: &Next,
        status: Option<u16>,
    ) {
        let name = &event.session;
        if state == DeliveryState::Dead {
            self.metrics.note_dead_letter();
            tracing::warn!(
                session = %name,
                event = seq,
                status,
                "a webhook delivery is given up; it can be replayed"
            );
        } else if matches!(next, Next::Aside(_)) {
            tracing::info!(
                session = %name,
                event = seq,
                status,
                "the webhook does not take one delivery; it is tried again beside the others"
            );
        }
    }

    /// The newest deliveries of a session, newest first; those of one state when it is given.
    pub async fn deliveries(
        &self,
        number: SessionNumber,
        state: Option<DeliveryState>,
        limit: usize,
    ) -> Result<Deliveries> {
        // Dead letters may lie far below the newest deliveries, so it is not looked where others wait
        // for it.
        self.scan(number, move |read| {
            let mut rows = Vec::new();
            let newest_first = DELIVERIES.rows(number).backwards();
            newest_first.find_readable(read, |(seq, webhook), delivery| {
                if state.is_none_or(|s| s == delivery.state) {
                    let behind = match delivery.state {
                        DeliveryState::Pending => behind(read, number, &webhook, seq)?,
                        _ => 0,
                    };
                    let id = format!("{seq}-{webhook}");
                    rows.push(Listed {
                        id,
                        delivery,
                        behind,
                    });
                }
                Ok((rows.len() >= limit).then_some(()))
            })?;
            let mut waiting = 0;
            for lane in lanes(read, number)? {
                waiting += queue::lane_len(read, QUEUE, &lane)?;
            }
            Ok(Deliveries { rows, waiting })
        })
        .await
    }

    /// Has a dead letter be tried again, beside the others, or one that waits be tried now. For one that
    /// waits behind another, that one is tried.
    pub async fn replay_delivery(&self, session: &Session, delivery: &str) -> Result<()> {
        let (seq, webhook) = parts_of_id(delivery)?;
        let number = session.number;
        let missing_hook = self.webhook(number, &webhook)?.is_none();
        let now = self.clock.now();
        self.store
            .write(Durability::Sync, move |tx| {
                let key = (number, seq, webhook.as_str());
                let mut entry = DELIVERIES.readable(tx, key)?.ok_or_else(missing)?;
                if entry.state == DeliveryState::Delivered {
                    return Err(Code::DeliveryNotDead.into());
                }
                if missing_hook {
                    return Err(Code::WebhookNotFound.into());
                }
                if log::find(tx, number, seq)?.is_none() {
                    return Err(Code::EventForgotten.into());
                }
                let (lane, aside) = (lane(number, &webhook), aside_lane(number, &webhook));
                if entry.state == DeliveryState::Pending {
                    if let Some(row) = queue::find(tx, QUEUE, &aside, &payload(seq))? {
                        return queue::hasten_row(tx, &row, now);
                    }
                    if queue::find(tx, QUEUE, &lane, &payload(seq))?.is_some() {
                        return queue::hasten(tx, QUEUE, &lane, now, 1).map(|_| ());
                    }
                    // It waits nowhere: its webhook was deleted with what waited for it, and set anew.
                }
                queue::enqueue(tx, QUEUE, &aside, LaneOrder::ByDue, now, &payload(seq))?;
                entry.state = DeliveryState::Pending;
                DELIVERIES.put(tx, key, &entry)
            })
            .await
    }

    /// Gives up a delivery that waits, so that those behind it go on. It can be replayed.
    pub async fn skip_delivery(&self, session: &Session, delivery: &str) -> Result<()> {
        let (seq, webhook) = parts_of_id(delivery)?;
        let number = session.number;
        self.store
            .write(Durability::Sync, move |tx| {
                let key = (number, seq, webhook.as_str());
                let mut entry = DELIVERIES.readable(tx, key)?.ok_or_else(missing)?;
                if entry.state != DeliveryState::Pending {
                    return Err(Code::DeliveryNotWaiting.into());
                }
                for lane in [aside_lane(number, &webhook), lane(number, &webhook)] {
                    if let Some(row) = queue::find(tx, QUEUE, &lane, &payload(seq))? {
                        queue::remove(tx, &row)?;
                    }
                }
                entry.state = DeliveryState::Dead;
                entry.last_error = Some(SKIPPED.to_owned());
                DELIVERIES.put(tx, key, &entry)
            })
            .await
    }
}

fn missing() -> Error {
    Code::DeliveryNotFound.into()
}

/// The event and the webhook of a delivery's id, as clients name it.
fn parts_of_id(id: &str) -> Result<(u64, String)> {
    let parts = id.split_once('-');
    let parts = parts.and_then(|(seq, webhook)| Some((seq.parse().ok()?, webhook.to_owned())));
    parts.ok_or_else(missing)
}

/// How many deliveries wait until this one has arrived or is given up.
fn behind(read: &impl Read, session: SessionNumber, webhook: &str, seq: u64) -> Result<u64> {
    let lane = lane(session, webhook);
    let head = queue::head(read, QUEUE, &lane)?;
    match head.as_deref().and_then(seq_of) == Some(seq) {
        true => Ok(queue::lane_len(read, QUEUE, &lane)?.saturating_sub(1)),
        false => Ok(0),
    }
}

/// Deliveries of a session.
pub struct Deliveries {
    /// Those that were asked for.
    pub rows: Vec<Listed>,
    /// How many wait, tried or not.
    pub waiting: u64,
}

/// One delivery of a list.
pub struct Listed {
    /// Its id: the event and the webhook.
    pub id: String,
    /// How it stands.
    pub delivery: Delivery,
    /// How many wait behind it.
    pub behind: u64,
}

/// When a delivery is tried next.
enum Next {
    /// Not again.
    None,
    /// Where it is, and those behind it wait.
    Again(Timestamp),
    /// Beside the others.
    Aside(Timestamp),
}

/// What is written after a try.
struct Step {
    claim: Claim,
    next: Next,
    session: SessionNumber,
    webhook: String,
    entry: Delivery,
}

impl Step {
    fn is_last(&self) -> bool {
        self.entry.state == DeliveryState::Dead
    }

    fn apply(&self, tx: &mut Tx) -> Result<()> {
        let (number, webhook) = (self.session, self.webhook.as_str());
        let waited = match self.next {
            Next::None => queue::done(tx, &self.claim)?,
            Next::Again(when) => queue::retry_at(tx, &self.claim, when)?,
            Next::Aside(when) => {
                queue::move_to(tx, &self.claim, &aside_lane(number, webhook), when)?
            }
        };
        // Whoever took it out of the queue meanwhile has said what became of it.
        let told = waited || self.entry.state == DeliveryState::Delivered;
        let seq = self.entry.event_id;
        // A session that was removed meanwhile leaves no log.
        if told && log::EVENTS.exists(tx, (number, seq))? {
            DELIVERIES.put(tx, (number, seq, webhook), &self.entry)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_grow_and_stay_within_an_hour() {
        let waits: Vec<_> = (1..20).map(retry_after).collect();
        assert!(waits.windows(2).all(|w| w[0] <= w[1]));
        assert_eq!(waits.last(), Some(&DELIVERY_WAIT));
    }

    #[test]
    fn a_delivery_has_three_days_by_its_own_waits() {
        let days = (1..).find(|attempts| tried_for(*attempts) > HORIZON);
        assert_eq!(days, Some(79));
        assert!(tried_for(u32::MAX) > HORIZON);
    }

    #[test]
    fn only_what_depends_on_the_content_is_the_fault_of_one_delivery() {
        let fault = |status| {
            let attempt = Attempt {
                status,
                error: Some("no"),
                took: Duration::ZERO,
            };
            attempt.fault()
        };
        for status in [400, 413, 422] {
            assert_eq!(fault(Some(status)), Fault::Delivery, "{status}");
        }
        for status in [301, 401, 403, 404, 405, 410, 414, 415, 431, 500] {
            assert_eq!(fault(Some(status)), Fault::Unclear, "{status}");
        }
        for status in [None, Some(429), Some(502), Some(503), Some(504)] {
            assert_eq!(fault(status), Fault::Away, "{status:?}");
        }
    }

    #[test]
    fn what_may_pass_is_tried_for_days_and_what_is_wrong_in_itself_is_not() {
        for passing in [401, 403, 408, 429, 500, 502, 503] {
            assert!(!is_refusal(passing), "{passing}");
        }
        for refusal in [400, 404, 405, 410, 413, 422] {
            assert!(is_refusal(refusal), "{refusal}");
        }
    }
}
