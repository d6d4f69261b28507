//! Webhooks: who wants which events where, how a delivery is signed, when it is tried again.

use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::Gateway;
use super::event;
use super::session::{Session, must_be_kept};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{SessionNumber, hex};
use crate::store::queue::{self, Order};
use crate::store::record::{self, Record};
use crate::store::{Durability, Read, Tx, tables};
use crate::time::Timestamp;

/// The due-queue's number for webhook deliveries.
pub const QUEUE: u8 = 1;

/// The id of the one webhook that a v1 session has.
pub const V1: &str = "v1";

/// The id of the webhook from the configuration, for sessions without one of their own.
const DEFAULT: &str = "default";

/// How long a delivery is tried before it becomes a dead letter.
const HORIZON: Duration = Duration::from_secs(3 * 24 * 3600);

/// The longest wait between two tries.
pub const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How many webhooks of a session count.
const MOST: usize = 100;

/// How often a delivery is tried that the receiver calls wrong in itself (400, 404, 410, 422 ...).
pub const REFUSED_ATTEMPTS: u32 = 6;

/// How many rows of the delivery log are read at a time.
const PAGE: usize = 500;

/// One registration.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Webhook {
    /// Where deliveries go.
    pub url: String,
    /// The sealed secret that signs them.
    pub secret: Vec<u8>,
    /// Which events it wants; empty means all.
    pub events: Vec<String>,
    /// The dialect that made it, and so the shape of its payload.
    pub dialect: String,
    /// When it was set.
    pub at: Timestamp,
}

impl Record for Webhook {
    const VERSION: u8 = 1;
}

/// What the queue keeps of a delivery: the event's number in the log.
pub fn payload(seq: u64) -> [u8; 8] {
    seq.to_be_bytes()
}

/// Records one delivery per webhook of the session that wants the event.
///
/// Invariant: it runs in the transaction that records the event, so none is ever forgotten.
pub fn enqueue(
    tx: &mut Tx,
    session: SessionNumber,
    event: &str,
    seq: u64,
    now: Timestamp,
) -> Result<()> {
    let prefix = session.0.to_be_bytes();
    let rows = tx.prefix(tables::WEBHOOKS, &prefix, None, MOST)?;
    let wants = |hook: &Webhook| hook.events.is_empty() || hook.events.iter().any(|e| e == event);
    for (key, value) in &rows {
        let hook: Webhook = record::decode(value)?;
        if wants(&hook) {
            queue::enqueue(tx, QUEUE, key, Order::Fifo, now, &payload(seq))?;
        }
    }
    if rows.is_empty() && tx.exists(tables::META, b"default_webhook")? {
        queue::enqueue(
            tx,
            QUEUE,
            &lane(session, DEFAULT),
            Order::Fifo,
            now,
            &payload(seq),
        )?;
    }
    Ok(())
}

/// The queue's lane, and the store's key, of a webhook.
pub fn lane(session: SessionNumber, id: &str) -> Vec<u8> {
    let mut lane = session.0.to_be_bytes().to_vec();
    lane.extend_from_slice(id.as_bytes());
    lane
}

/// Takes a lane apart again.
pub fn lane_parts(lane: &[u8]) -> Option<(SessionNumber, &str)> {
    let (number, id) = lane.split_first_chunk::<4>()?;
    Some((
        SessionNumber(u32::from_be_bytes(*number)),
        std::str::from_utf8(id).ok()?,
    ))
}

/// Hex digits of HMAC-SHA256 over `parts`.
pub fn sign(secret: &str, parts: &[&[u8]]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    hex(&mac.finalize().into_bytes())
}

/// When a delivery that failed `attempts` times is tried again: 2 s, 8 s, 30 s, 2 min, 8 min, 30 min,
/// then every hour.
pub fn retry_after(attempts: u32) -> Duration {
    let secs = match attempts {
        0 | 1 => 2,
        2 => 8,
        3 => 30,
        4 => 120,
        5 => 480,
        6 => 1800,
        _ => return LONGEST_WAIT,
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
pub fn is_given_up(
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
    let (from, to) = (event::key(number, 0), event::key(number, seq));
    for (key, row) in read.range(tables::DELIVERIES, from..to, 2 * MOST, true)? {
        if key.get(12..) == Some(webhook.as_bytes()) {
            return Ok(record::decode::<Delivery>(&row)?.given_up);
        }
    }
    Ok(false)
}

/// The lanes that the deliveries of a session may lie in.
pub(super) fn lanes(read: &impl Read, session: SessionNumber) -> Result<Vec<Vec<u8>>> {
    let rows = read.prefix(tables::WEBHOOKS, &session.0.to_be_bytes(), None, MOST)?;
    let own = rows.into_iter().map(|(key, _)| key);
    Ok(own.chain([lane(session, DEFAULT)]).collect())
}

/// The oldest event that a delivery of the session still needs, but for those that were replayed;
/// `None` when no delivery waits.
pub(super) fn oldest_awaited(read: &impl Read, session: SessionNumber) -> Result<Option<u64>> {
    let mut oldest = None;
    for lane in lanes(read, session)? {
        // A lane is in the order of the log; what was replayed is older than what follows it.
        if let Some(seq) = queue::head(read, QUEUE, &lane)?.as_deref().and_then(seq_of) {
            oldest = oldest.into_iter().chain([seq]).min();
        }
    }
    Ok(oldest)
}

/// Whether a delivery of this event was tried or replayed and still waits.
pub(super) fn is_pending(read: &impl Read, event: &[u8]) -> Result<bool> {
    for (key, row) in read.prefix(tables::DELIVERIES, event, None, MOST)? {
        if is_waiting(read, &key, &row)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the delivery of this log entry still waits. A damaged entry is for `warung check` to tell.
pub(super) fn is_waiting(read: &impl Read, key: &[u8], row: &[u8]) -> Result<bool> {
    let pending = record::decode::<Delivery>(row).is_ok_and(|entry| entry.state == "pending");
    if !pending || key.len() < 12 {
        return Ok(false);
    }
    let lane = [&key[..4], &key[12..]].concat();
    Ok(queue::lane_len(read, QUEUE, &lane)? > 0)
}

/// The event that a queue row's payload names.
pub fn seq_of(payload: &[u8]) -> Option<u64> {
    payload.try_into().ok().map(u64::from_be_bytes)
}

/// Whether the receiver says that this very delivery is wrong, so that trying for days would only
/// hold up those behind it.
pub fn is_refusal(status: u16) -> bool {
    matches!(status, 400..=499) && !matches!(status, 401 | 403 | 408 | 409 | 423 | 425 | 429)
}

/// The log entry of one delivery.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delivery {
    /// The event's number in the log.
    pub event_id: u64,
    /// The event's name.
    pub event: String,
    /// `pending`, `delivered` or `dead`.
    pub state: String,
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

/// The key of a delivery's log entry: session, event, webhook.
pub fn delivery_key(session: SessionNumber, seq: u64, webhook: &str) -> Vec<u8> {
    let mut key = event::key(session, seq);
    key.extend_from_slice(webhook.as_bytes());
    key
}

/// What a client sets.
#[derive(Debug, Default)]
pub struct Registration {
    /// Where deliveries go.
    pub url: String,
    /// A secret of the client's; made when there is none yet.
    pub secret: Option<String>,
    /// Which events it wants; `None` leaves them as they are.
    pub events: Option<Vec<String>>,
}

impl Gateway {
    /// Sets or replaces a webhook. Answers the secret when one was made for it.
    pub async fn set_webhook(
        &self,
        session: &Session,
        id: &'static str,
        dialect: &'static str,
        new: Registration,
    ) -> Result<Option<String>> {
        if let Some(unknown) = new
            .events
            .iter()
            .flatten()
            .find(|name| !event::NAMES.contains(&name.as_str()))
        {
            let known = event::NAMES.join(", ");
            let shown: String = unknown.chars().take(64).collect();
            return Err(Error::invalid(format!(
                "Unknown event: {shown}. Known events: {known}"
            )));
        }
        if new
            .secret
            .as_ref()
            .is_some_and(|s| s.len() < 8 || s.len() > 256)
        {
            return Err(Error::invalid("Webhook secret must be 8 to 256 characters"));
        }
        self.check_webhook_url(&new.url).await?;
        let (number, id_of_session) = (session.number, session.id.clone());
        let key = lane(number, id);
        let made = self.ids.secret();
        let purpose = secret_purpose(session.number);
        let fresh = self
            .vault
            .seal(&purpose, new.secret.as_deref().unwrap_or(&made));
        let given = new.secret.is_some();
        let now = self.clock.now();
        let existed = self
            .store
            .write(Durability::Sync, move |tx| {
                must_be_kept(tx, id_of_session.as_str(), number)?;
                let old: Option<Webhook> = tx
                    .get(tables::WEBHOOKS, &key)?
                    .map(|v| record::decode(&v))
                    .transpose()?;
                let existed = old.is_some();
                let (old_secret, old_events) =
                    old.map_or((None, None), |old| (Some(old.secret), Some(old.events)));
                let hook = Webhook {
                    url: new.url,
                    secret: if given {
                        fresh
                    } else {
                        old_secret.unwrap_or(fresh)
                    },
                    events: new.events.or(old_events).unwrap_or_default(),
                    dialect: dialect.to_owned(),
                    at: now,
                };
                tx.put(tables::WEBHOOKS, key, record::encode(&hook)?);
                Ok(existed)
            })
            .await?;
        Ok((!given && !existed).then_some(made))
    }

    /// Where the session's events go: to its own webhook, or to the configuration's.
    pub fn effective_webhook(&self, number: SessionNumber, id: &str) -> Result<Option<Webhook>> {
        Ok(self.webhook(number, id)?.or_else(|| self.default_webhook()))
    }

    /// One webhook by its id.
    pub fn webhook(&self, number: SessionNumber, id: &str) -> Result<Option<Webhook>> {
        let own = self.store.read(|read| {
            read.get(tables::WEBHOOKS, &lane(number, id))?
                .map(|v| record::decode(&v))
                .transpose()
        })?;
        Ok(own.or_else(|| self.default_webhook().filter(|_| id == DEFAULT)))
    }

    /// The webhook that the configuration names for sessions without one.
    fn default_webhook(&self) -> Option<Webhook> {
        Some(Webhook {
            url: self.config.webhook_url.clone()?,
            secret: Vec::new(),
            events: Vec::new(),
            dialect: V1.to_owned(),
            at: Timestamp::default(),
        })
    }

    /// The secret that signs deliveries of this webhook.
    pub fn webhook_secret(&self, number: SessionNumber, hook: &Webhook) -> Result<Option<String>> {
        if hook.secret.is_empty() {
            return Ok(self.config.webhook_secret.clone());
        }
        self.vault
            .open(&secret_purpose(number), &hook.secret)
            .map(Some)
    }

    /// Removes a webhook and what still waits to be delivered to it.
    pub async fn delete_webhook(
        self: &Arc<Self>,
        session: &Session,
        id: &'static str,
    ) -> Result<()> {
        let (gateway, key) = (self.clone(), lane(session.number, id));
        // A client that hangs up leaves no lane half removed.
        let removing = self.tasks.spawn(async move {
            let mut begun = false;
            loop {
                let (key, again) = (key.clone(), std::mem::replace(&mut begun, true));
                let page = move |tx: &mut Tx| {
                    // One that was set meanwhile keeps what waits for it.
                    if again && tx.exists(tables::WEBHOOKS, &key)? {
                        return Ok(0);
                    }
                    tx.delete(tables::WEBHOOKS, &key);
                    queue::delete_page(tx, QUEUE, &key, PAGE)
                };
                if gateway.store.write(Durability::Sync, page).await? < PAGE {
                    return Ok(());
                }
            }
        });
        removing.await.map_err(Error::internal)?
    }

    /// The newest deliveries of a session, newest first; those of one state when it is given.
    pub async fn deliveries(
        &self,
        number: SessionNumber,
        state: Option<String>,
        limit: usize,
    ) -> Result<Vec<(String, Delivery)>> {
        // Dead letters may lie far below the newest deliveries: page after page is looked at, and
        // not where others wait for it.
        self.scan(number, move |read| {
            let from = number.0.to_be_bytes().to_vec();
            let mut to = after_prefix(number);
            let mut found = Vec::new();
            while found.len() < limit {
                let rows = read.range(tables::DELIVERIES, from.clone()..to, PAGE, true)?;
                let Some((last, _)) = rows.last() else { break };
                to = last.clone();
                for (key, value) in rows {
                    let delivery: Delivery = record::decode(&value)?;
                    let wanted = state.as_ref().is_none_or(|s| *s == delivery.state);
                    if wanted && found.len() < limit {
                        let webhook = String::from_utf8_lossy(key.get(12..).unwrap_or_default());
                        found.push((format!("{}-{webhook}", delivery.event_id), delivery));
                    }
                }
            }
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
        let missing = || Error::not_found("Delivery not found");
        let (seq, webhook) = delivery.split_once('-').ok_or_else(missing)?;
        let seq: u64 = seq.parse().map_err(|_| missing())?;
        let number = session.number;
        let missing_hook = self.webhook(number, webhook)?.is_none();
        let log_key = delivery_key(number, seq, webhook);
        let lane = lane(number, webhook);
        let now = self.clock.now();
        self.store
            .write(Durability::Sync, move |tx| {
                let row = tx.get(tables::DELIVERIES, &log_key)?.ok_or_else(missing)?;
                let mut entry: Delivery = record::decode(&row)?;
                if entry.state != "dead" {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        "Only dead deliveries can be replayed",
                    ));
                }
                if missing_hook {
                    return Err(Error::not_found("The webhook of this delivery was removed"));
                }
                if event::find(tx, number, seq)?.is_none() {
                    return Err(Error::not_found(
                        "The event of this delivery is no longer kept",
                    ));
                }
                queue::enqueue(tx, QUEUE, &lane, Order::Fifo, now, &payload(seq))?;
                entry.state = "pending".into();
                tx.put(tables::DELIVERIES, log_key, record::encode(&entry)?);
                Ok(())
            })
            .await
    }

    /// Webhooks go to https, or to addresses that the configuration opens.
    async fn check_webhook_url(&self, url: &str) -> Result<()> {
        let said = |error: Error| {
            let detail = match error.detail() {
                "URL must be a valid http(s) URL" => "Webhook URL must be a valid HTTPS URL".into(),
                "URL must be a credential-free http(s) URL" => {
                    "Webhook URL must be a credential-free HTTPS URL".into()
                }
                other => format!("Webhook {other}"),
            };
            Error::new(error.kind(), detail)
        };
        if url.len() > 2048 {
            return Err(Error::invalid(
                "Webhook URL must be at most 2048 characters",
            ));
        }
        let target = self.webhook_client.check_url(url).map_err(said)?;
        let opened = self.webhook_client.is_opened(&target);
        if !target.is_https() && !opened {
            return Err(Error::invalid("Webhook URL must be a valid HTTPS URL"));
        }
        self.webhook_client
            .check_resolved(&target)
            .await
            .map_err(said)
    }
}

/// What a session's webhook secrets are sealed for.
fn secret_purpose(number: SessionNumber) -> String {
    format!("webhook secret {}", number.0)
}

/// The end of all keys that begin with the session's number.
fn after_prefix(number: SessionNumber) -> Vec<u8> {
    number
        .0
        .checked_add(1)
        .map_or_else(|| vec![0xff; 5], |next| next.to_be_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_64_lower_case_hex_digits_of_the_known_value() {
        // RFC 4231, test case 2.
        assert_eq!(
            sign("Jefe", &[b"what do ya ", b"want for nothing?"]),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn retries_grow_and_stay_within_an_hour() {
        let waits: Vec<_> = (1..20).map(retry_after).collect();
        assert!(waits.windows(2).all(|w| w[0] <= w[1]));
        assert_eq!(waits.last(), Some(&LONGEST_WAIT));
    }

    #[test]
    fn a_delivery_has_three_days_by_its_own_waits() {
        let days = (1..).find(|attempts| tried_for(*attempts) > HORIZON);
        assert_eq!(days, Some(79));
        assert!(tried_for(u32::MAX) > HORIZON);
    }

    #[test]
    fn lanes_round_trip() {
        let lane = lane(SessionNumber(7), V1);
        assert_eq!(lane_parts(&lane), Some((SessionNumber(7), V1)));
        assert_eq!(lane_parts(b"abc"), None);
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
