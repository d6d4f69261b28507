//! Webhooks: who wants which events where, and how a delivery is signed.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{Event, EventKind};
use crate::domain::Gateway;
use crate::domain::queues::DELIVERIES as QUEUE;
use crate::domain::session::{Session, ensure_session_exists};
use crate::error::{Code, Error, Result};
use crate::ids::SessionNumber;
use crate::store::queue::{self, LaneOrder};
use crate::store::record::Record;
use crate::store::{Durability, Read, Tx, Typed, bytes_of, parts_of, tables};
use crate::time::Timestamp;

/// The id of the one webhook that a v1 session has.
pub const V1: &str = "v1";

/// The id of the webhook from the configuration, for sessions without one of their own.
const DEFAULT: &str = "default";

/// What is said of an address that is none of https.
const NOT_HTTPS: &str = "Webhook URL must be a valid HTTPS URL";

/// How many webhooks of a session count.
pub(super) const MOST: usize = 100;

/// How many rows of a lane go at a time.
const PAGE: usize = 500;

/// One registration. Stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Webhook {
    /// Where deliveries go.
    pub url: String,
    /// The sealed secret that signs them.
    pub secret: Vec<u8>,
    /// Which events it wants; empty means all.
    #[serde(deserialize_with = "EventKind::known")]
    pub events: Vec<EventKind>,
    /// Whether it wants those about messages that the account's owner writes on another device.
    #[serde(default)]
    pub own_messages: bool,
    /// The dialect that made it, and so the shape of its payload.
    pub dialect: String,
    /// When it was set.
    pub at: Timestamp,
}

impl Webhook {
    fn wants(&self, event: &Event) -> bool {
        let kind = self.events.is_empty() || self.events.contains(&event.kind());
        kind && (self.own_messages || !event.is_own_message())
    }
}

impl Record for Webhook {
    const VERSION: u8 = 1;
}

const WEBHOOKS: Typed<(SessionNumber, String), Webhook> = Typed::new(tables::WEBHOOKS);

/// Records one delivery per webhook of the session that wants the event.
///
/// Invariant: it runs in the transaction that records the event, so none is ever forgotten.
pub(super) fn enqueue(tx: &mut Tx, session: SessionNumber, event: &Event, seq: u64) -> Result<()> {
    let hooks = WEBHOOKS.rows(session).readable(tx, MOST)?;
    for (id, hook) in &hooks {
        if hook.wants(event) {
            let lane = lane(session, id);
            queue::enqueue(tx, QUEUE, &lane, LaneOrder::Fifo, event.at, &payload(seq))?;
        }
    }
    if hooks.is_empty() && !event.is_own_message() && tx.exists(tables::META, b"default_webhook")? {
        let lane = lane(session, DEFAULT);
        queue::enqueue(tx, QUEUE, &lane, LaneOrder::Fifo, event.at, &payload(seq))?;
    }
    Ok(())
}

/// What the queue keeps of a delivery: the event's number in the log.
pub(super) fn payload(seq: u64) -> Vec<u8> {
    bytes_of(seq)
}

/// The queue's lane, and the store's key, of a webhook.
pub fn lane(session: SessionNumber, id: &str) -> Vec<u8> {
    bytes_of((session, id))
}

/// Takes a lane apart again.
pub fn lane_parts(lane: &[u8]) -> Option<(SessionNumber, String)> {
    parts_of(lane).ok()
}

/// Hex digits of HMAC-SHA256 over `parts`.
pub fn sign(secret: &str, parts: &[&[u8]]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    hex::encode(mac.finalize().into_bytes())
}

/// The event that a queue row's payload names.
pub fn seq_of(payload: &[u8]) -> Option<u64> {
    parts_of(payload).ok()
}

/// The lanes that the deliveries of a session may lie in.
pub(in crate::domain) fn lanes(read: &impl Read, session: SessionNumber) -> Result<Vec<Vec<u8>>> {
    let own = WEBHOOKS.rows(session).keys(read, MOST)?;
    let ids = own.iter().map(String::as_str).chain([DEFAULT]);
    Ok(ids.map(|id| lane(session, id)).collect())
}

/// The oldest event that a delivery of the session still needs, but for those that were replayed;
/// `None` when no delivery waits.
pub(in crate::domain) fn oldest_awaited(
    read: &impl Read,
    session: SessionNumber,
) -> Result<Option<u64>> {
    let mut oldest = None;
    for lane in lanes(read, session)? {
        // A lane is in the order of the log; what was replayed is older than what follows it.
        if let Some(seq) = queue::head(read, QUEUE, &lane)?.as_deref().and_then(seq_of) {
            oldest = oldest.into_iter().chain([seq]).min();
        }
    }
    Ok(oldest)
}

/// What a client sets.
#[derive(Debug, Default)]
pub struct Registration {
    /// Where deliveries go.
    pub url: String,
    /// A secret of the client's; made when there is none yet.
    pub secret: Option<String>,
    /// Which events it wants; `None` leaves them as they are.
    pub events: Option<Vec<EventKind>>,
    /// Whether it wants those about messages that the account's owner writes on another device.
    pub own_messages: bool,
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
        if new
            .secret
            .as_ref()
            .is_some_and(|s| s.len() < 8 || s.len() > 256)
        {
            return Err(Code::WebhookSecretInvalid.into());
        }
        self.check_webhook_url(&new.url).await?;
        let (number, id_of_session) = (session.number, session.id.clone());
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
                ensure_session_exists(tx, id_of_session.as_str(), number)?;
                let old = WEBHOOKS.get(tx, (number, id))?;
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
                    own_messages: new.own_messages,
                    dialect: dialect.to_owned(),
                    at: now,
                };
                WEBHOOKS.put(tx, (number, id), &hook)?;
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
        let own = self.store.read(|read| WEBHOOKS.get(read, (number, id)))?;
        Ok(own.or_else(|| self.default_webhook().filter(|_| id == DEFAULT)))
    }

    /// The webhook that the configuration names for sessions without one.
    fn default_webhook(&self) -> Option<Webhook> {
        Some(Webhook {
            url: self.config.webhook_url.clone()?,
            secret: Vec::new(),
            events: Vec::new(),
            own_messages: false,
            dialect: V1.to_owned(),
            at: Timestamp::default(),
        })
    }

    /// The secret that signs deliveries of this webhook.
    pub fn webhook_secret(&self, number: SessionNumber, hook: &Webhook) -> Result<Option<String>> {
        if hook.secret.is_empty() {
            return Ok(self.config.webhook_secret.as_deref().map(str::to_owned));
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
        let (gateway, number) = (self.clone(), session.number);
        // A client that hangs up leaves no lane half removed.
        let removing = self.tasks.spawn(async move {
            let mut begun = false;
            loop {
                let again = std::mem::replace(&mut begun, true);
                let page = move |tx: &mut Tx| {
                    // One that was set meanwhile keeps what waits for it.
                    if again && WEBHOOKS.exists(tx, (number, id))? {
                        return Ok(0);
                    }
                    WEBHOOKS.delete(tx, (number, id));
                    queue::delete_page(tx, QUEUE, &lane(number, id), PAGE)
                };
                if gateway.store.write(Durability::Sync, page).await? < PAGE {
                    return Ok(());
                }
            }
        });
        removing.await.map_err(Error::internal)?
    }

    /// Webhooks go to https, or to addresses that the configuration opens.
    async fn check_webhook_url(&self, url: &str) -> Result<()> {
        let said = |error: Error| {
            let detail = match error.code() {
                Code::UrlInvalid => NOT_HTTPS.into(),
                Code::UrlWithPassword => "Webhook URL must be a credential-free HTTPS URL".into(),
                _ => format!("Webhook {}", error.detail()),
            };
            error.worded(detail)
        };
        if url.len() > 2048 {
            return Err(Error::new(
                Code::UrlInvalid,
                "Webhook URL must be at most 2048 characters",
            ));
        }
        let target = self.webhook_client.check_url(url).map_err(said)?;
        let opened = self.webhook_client.is_opened(&target);
        if !target.is_https() && !opened {
            return Err(Error::new(Code::UrlInvalid, NOT_HTTPS));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{EventData, MessageDeleted, MessageHeading};

    #[test]
    fn a_signature_is_64_lower_case_hex_digits_of_the_known_value() {
        // RFC 4231, test case 2.
        assert_eq!(
            sign("Jefe", &[b"what do ya ", b"want for nothing?"]),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_webhook_gets_what_it_asked_for() {
        let jid = |text| crate::jid::Jid::parse(text).expect("a JID");
        let deleted = |from_me| Event {
            session: "toko".to_owned(),
            at: Timestamp::default(),
            data: EventData::MessageDeleted(MessageDeleted {
                heading: MessageHeading {
                    id: crate::ids::MessageId::parse("3EB0A1").expect("an id"),
                    chat: jid("6281200000001@s.whatsapp.net"),
                    sender: jid("6281200000001@s.whatsapp.net"),
                    person: Default::default(),
                    push_name: String::new(),
                    at: Timestamp::default(),
                    from_me,
                },
                target: crate::ids::MessageId::parse("3EB0A2").expect("an id"),
            }),
        };
        let hook = |events: &[EventKind], own_messages| Webhook {
            url: String::new(),
            secret: Vec::new(),
            events: events.to_vec(),
            own_messages,
            dialect: V1.to_owned(),
            at: Timestamp::default(),
        };
        assert!(hook(&[], false).wants(&deleted(false)));
        assert!(!hook(&[], false).wants(&deleted(true)));
        assert!(hook(&[], true).wants(&deleted(true)));
        assert!(hook(&[EventKind::MessageDeleted], true).wants(&deleted(true)));
        assert!(!hook(&[EventKind::CallOffer], true).wants(&deleted(true)));
    }

    #[test]
    fn lanes_round_trip() {
        let lane = lane(SessionNumber(7), V1);
        assert_eq!(lane_parts(&lane), Some((SessionNumber(7), V1.to_owned())));
        assert_eq!(lane_parts(b"abc"), None);
    }
}
