//! Deliveries of events to webhooks: what became of each try, and when the next one is made.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::webhook::{MOST, Webhook, lane, lane_parts, payload, seq_of};
use super::{Event, EventKind, log};
use crate::domain::Gateway;
use crate::domain::queues::{DELIVERIES as QUEUE, DELIVERY_WAIT};
use crate::domain::session::Session;
use crate::error::{Code, Error, Result};
use crate::ids::SessionNumber;
use crate::store::queue::{self, Claim, LaneOrder};
use crate::store::record::Record;
use crate::store::{Durability, Read, Typed, tables};
use crate::time::Timestamp;

/// How long a delivery is tried before it becomes a dead letter.
const HORIZON: Duration = Duration::from_secs(3 * 24 * 3600);

/// How often a delivery is tried that the receiver calls wrong in itself (400, 404, 410, 422 ...).
const REFUSED_ATTEMPTS: u32 = 6;

/// A delivery that is due: which event goes where.
pub struct DueDelivery {
    /// The session.
    pub session: SessionNumber,
    /// The webhook's id.
    pub webhook_id: String,
    /// The webhook.
    pub webhook: Webhook,
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
            true => Some(row.value()?.given_up),
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
    Ok(pending && queue::lane_len(read, QUEUE, &lane(session, webhook))? > 0)
}

/// Whether the receiver says that this very delivery is wrong, so that trying for days would only
/// hold up those behind it.
fn is_refusal(status: u16) -> bool {
    matches!(status, 400..=499) && !matches!(status, 401 | 403 | 408 | 409 | 423 | 425 | 429)
}

/// How a delivery stands. Stored by its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum DeliveryState {
    /// Waits for its next try.
    Pending,
    /// The receiver took it.
    Delivered,
    /// Given up; it can be replayed.
    Dead,
}

impl DeliveryState {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }

    /// The state of this word.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Self::Pending, Self::Delivered, Self::Dead];
        all.into_iter().find(|state| state.as_str() == word)
    }
}

impl TryFrom<String> for DeliveryState {
    type Error = &'static str;

    fn try_from(word: String) -> std::result::Result<Self, Self::Error> {
        Self::parse(&word).ok_or("a delivery of an unknown state")
    }
}

impl From<DeliveryState> for &'static str {
    fn from(state: DeliveryState) -> Self {
        state.as_str()
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
    /// What a claim of the queue asks for; `None` when its session, webhook or event is gone.
    pub fn due_delivery(&self, claim: &Claim) -> Result<Option<DueDelivery>> {
        let Some(((session, id), seq)) = lane_parts(&claim.lane).zip(seq_of(&claim.payload)) else {
            return Ok(None);
        };
        let event = self.store.read(|read| log::find(read, session, seq))?;
        let found = event.zip(self.webhook(session, &id)?);
        Ok(found.map(|(event, webhook)| DueDelivery {
            session,
            webhook_id: id,
            webhook,
            seq,
            event,
        }))
    }

    /// Settles a claim that nobody waits for any more.
    pub async fn drop_delivery(&self, claim: Claim) -> Result<()> {
        let done = move |tx: &mut crate::store::Tx| queue::done(tx, &claim).map(|_| ());
        self.store.write(Durability::Lazy, done).await
    }

    /// Tries a claim later that could not be read or recorded: what is damaged would keep a processor
    /// busy.
    pub async fn postpone_delivery(&self, claim: Claim) -> Result<()> {
        let when = self.clock.now().after(retry_after(claim.attempts + 1));
        let later = move |tx: &mut crate::store::Tx| queue::retry_at(tx, &claim, when).map(|_| ());
        self.store.write(Durability::Lazy, later).await
    }

    /// Records what became of a try, in one transaction with the queue's own step.
    pub async fn settle_delivery(
        &self,
        claim: Claim,
        due: DueDelivery,
        attempt: Attempt,
    ) -> Result<()> {
        let now = self.clock.now();
        let attempts = claim.attempts + 1;
        let (number, id, seq) = (due.session, due.webhook_id, due.seq);
        let refused = attempt.status.is_some_and(is_refusal) && attempts >= REFUSED_ATTEMPTS;
        let given_up = attempt.error.is_some() && !refused && {
            let age = self.clock.age_of(due.event.at);
            let lane = (number, id.as_str());
            self.store
                .read(|read| is_given_up(read, lane, seq, attempts, age))?
        };
        let state = match attempt.error {
            None => DeliveryState::Delivered,
            Some(_) if refused || given_up => DeliveryState::Dead,
            Some(_) => DeliveryState::Pending,
        };
        if state == DeliveryState::Dead {
            tracing::warn!(
                event = seq,
                status = attempt.status,
                "a webhook delivery is given up; it can be replayed"
            );
        }
        let entry = Delivery {
            event_id: seq,
            event: due.event.kind(),
            state,
            attempts,
            http_status: attempt.status,
            last_error: attempt.error.map(str::to_owned),
            at: now,
            duration_ms: u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
            given_up,
        };
        // A settled row that a crash takes back is delivered once more: at least once.
        let durability = match state {
            DeliveryState::Dead => Durability::Sync,
            _ => Durability::Lazy,
        };
        self.store
            .write(durability, move |tx| {
                if state == DeliveryState::Pending {
                    queue::retry_at(tx, &claim, now.after(retry_after(attempts)))?;
                } else {
                    queue::done(tx, &claim)?;
                }
                // A session that was removed meanwhile leaves no log.
                if log::EVENTS.exists(tx, (number, seq))? {
                    DELIVERIES.put(tx, (number, seq, &id), &entry)?;
                }
                Ok(())
            })
            .await
    }

    /// The newest deliveries of a session, newest first; those of one state when it is given.
    pub async fn deliveries(
        &self,
        number: SessionNumber,
        state: Option<DeliveryState>,
        limit: usize,
    ) -> Result<Vec<(String, Delivery)>> {
        // Dead letters may lie far below the newest deliveries, so it is not looked where others wait
        // for it.
        self.scan(number, move |read| {
            let mut found = Vec::new();
            DELIVERIES.rows(number).backwards().find(read, |row| {
                let delivery = row.value()?;
                if state.is_none_or(|s| s == delivery.state) {
                    let (_, webhook) = row.key()?;
                    found.push((format!("{}-{webhook}", delivery.event_id), delivery));
                }
                Ok((found.len() >= limit).then_some(()))
            })?;
            Ok(found)
        })
        .await
    }

    /// How many deliveries of all sessions wait, tried or not.
    pub fn deliveries_waiting(&self) -> Result<u64> {
        self.store.read(|read| queue::len(read, QUEUE))
    }

    /// Puts a dead letter back into the queue, at the end of its lane.
    pub async fn replay_delivery(&self, session: &Session, delivery: &str) -> Result<()> {
        let missing = || Error::from(Code::DeliveryNotFound);
        let (seq, webhook) = delivery.split_once('-').ok_or_else(missing)?;
        let seq: u64 = seq.parse().map_err(|_| missing())?;
        let number = session.number;
        let missing_hook = self.webhook(number, webhook)?.is_none();
        let webhook = webhook.to_owned();
        let now = self.clock.now();
        self.store
            .write(Durability::Sync, move |tx| {
                let key = (number, seq, webhook.as_str());
                let mut entry = DELIVERIES.get(tx, key)?.ok_or_else(missing)?;
                if entry.state != DeliveryState::Dead {
                    return Err(Code::DeliveryNotDead.into());
                }
                if missing_hook {
                    return Err(Code::WebhookNotFound.into());
                }
                if log::find(tx, number, seq)?.is_none() {
                    return Err(Code::EventForgotten.into());
                }
                let lane = lane(number, &webhook);
                queue::enqueue(tx, QUEUE, &lane, LaneOrder::Fifo, now, &payload(seq))?;
                entry.state = DeliveryState::Pending;
                DELIVERIES.put(tx, key, &entry)
            })
            .await
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
    fn what_may_pass_is_tried_for_days_and_what_is_wrong_in_itself_is_not() {
        for passing in [401, 403, 408, 429, 500, 502, 503] {
            assert!(!is_refusal(passing), "{passing}");
        }
        for refusal in [400, 404, 405, 410, 413, 422] {
            assert!(is_refusal(refusal), "{refusal}");
        }
    }
}
