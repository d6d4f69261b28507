//! Webhooks: who wants which events where, and how a delivery is signed.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{Event, EventKind};
use crate::domain::Gateway;
use crate::domain::dialect::Dialect;
use crate::domain::queues::DELIVERIES as QUEUE;
use crate::domain::session::{Session, ensure_session_exists};
use crate::domain::vault::Vault;
use crate::error::{Code, Error, Result};
use crate::ids::SessionNumber;
use crate::net::client::CheckedUrl;
use crate::store::queue::{self, LaneOrder};
use crate::store::record::Record;
use crate::store::{Durability, Read, Tx, Typed, bytes_of, parts_of, tables};
use crate::time::Timestamp;

/// The id of the one webhook that a v1 session has.
pub const V1: &str = "v1";

/// The id of the webhook from the configuration, for sessions without one of their own.
const DEFAULT: &str = "default";

/// The dialect of that one.
const DIALECT_OF_DEFAULT: Dialect = Dialect::V1;

/// What the name of a lane ends with whose deliveries hold up no others. No webhook's id ends so.
const ASIDE: &str = "/aside";

/// What a webhook gets whose owner names no events: receivers that were written for these two are not
/// surprised by others. Those stored before this rule have an empty list, which is all.
pub const USUAL: [EventKind; 2] = [EventKind::SessionUpdate, EventKind::MessageReceived];

/// What is said of an address that is none of https.
const NOT_HTTPS: &str = "Webhook URL must be a valid HTTPS URL";

/// What is said of an address that is refused, beside why.
const OPENED_BY: &str = "; the operator can open addresses with the setting allow_private";

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
    pub dialect: Dialect,
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
    let own = OwnWebhooks::of(tx, session)?;
    for (id, hook) in &own.readable {
        if hook.wants(event) {
            put(tx, &lane(session, id), event, seq)?;
        }
    }
    if own.leave_to_default(DIALECT_OF_DEFAULT)
        && !event.is_own_message()
        && USUAL.contains(&event.kind())
        && tx.exists(tables::META, b"default_webhook")?
    {
        put(tx, &lane(session, DEFAULT), event, seq)?;
    }
    Ok(())
}

/// The webhooks that a session has.
struct OwnWebhooks {
    readable: Vec<(String, Webhook)>,
    /// Whether there are others, whose rows are damaged.
    damaged: bool,
}

impl OwnWebhooks {
    fn of(read: &impl Read, session: SessionNumber) -> Result<Self> {
        let rows = WEBHOOKS.rows(session);
        let readable = rows.readable(read, MOST)?;
        let damaged = !rows.are_fewer_than(read, readable.len() + 1)?;
        Ok(Self { readable, damaged })
    }

    /// Whether the session's events go to the configuration's webhook in this dialect: the session has
    /// none of its own there. One of another dialect is somebody else's. A damaged one may be of any:
    /// what was to go there goes to nobody else.
    fn leave_to_default(&self, dialect: Dialect) -> bool {
        let mut own = self.readable.iter();
        dialect == DIALECT_OF_DEFAULT
            && !self.damaged
            && own.all(|(_, hook)| hook.dialect != dialect)
    }
}

/// Puts a delivery at the end of its lane. The first that comes to wait behind another has that one tried
/// at once: with two it shows whether the receiver is at fault or one of them.
fn put(tx: &mut Tx, lane: &[u8], event: &Event, seq: u64) -> Result<()> {
    if queue::lane_len(tx, QUEUE, lane)? == 1 {
        queue::hasten(tx, QUEUE, lane, event.at, 1)?;
    }
    queue::enqueue(tx, QUEUE, lane, LaneOrder::Fifo, event.at, &payload(seq))?;
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

/// The lane of the deliveries that no longer hold up the others of their webhook: each waits for itself.
pub(super) fn aside_lane(session: SessionNumber, id: &str) -> Vec<u8> {
    lane(session, &format!("{id}{ASIDE}"))
}

/// Whether it is such a lane.
pub(super) fn is_aside(lane: &[u8]) -> bool {
    lane.ends_with(ASIDE.as_bytes())
}

/// The session and the webhook that a lane is of.
pub fn lane_parts(lane: &[u8]) -> Option<(SessionNumber, String)> {
    let (session, id): (_, String) = parts_of(lane).ok()?;
    let id = id.strip_suffix(ASIDE).map(str::to_owned).unwrap_or(id);
    Some((session, id))
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
    let lanes = |id: &str| [lane(session, id), aside_lane(session, id)];
    Ok(ids(read, session)?
        .iter()
        .flat_map(|id| lanes(id))
        .collect())
}

/// The ids of the webhooks that deliveries of a session may go to.
fn ids(read: &impl Read, session: SessionNumber) -> Result<Vec<String>> {
    let mut ids = WEBHOOKS.rows(session).keys(read, MOST)?;
    ids.push(DEFAULT.to_owned());
    Ok(ids)
}

/// The oldest event that a delivery of the session still needs, but for those that wait by themselves;
/// `None` when no delivery waits.
pub(in crate::domain) fn oldest_awaited(
    read: &impl Read,
    session: SessionNumber,
) -> Result<Option<u64>> {
    let mut oldest = None;
    for id in ids(read, session)? {
        // This lane is in the order of the log.
        let lane = lane(session, &id);
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
    /// Which events it wants, an empty list for all; `None` leaves them as they are, and a new webhook gets
    /// session updates and messages.
    pub events: Option<Vec<EventKind>>,
    /// Whether it wants those about messages that the account's owner writes on another device.
    pub own_messages: bool,
}

/// What became of a registration.
#[derive(Debug)]
pub struct Registered {
    /// The secret, if one was made.
    pub secret: Option<String>,
    /// Whether the host's name has an address at this moment. Each delivery asks again.
    pub is_resolved: bool,
}

impl Gateway {
    /// Sets or replaces a webhook. A secret is made, and answered, the first time and when the one before
    /// cannot be read.
    pub async fn set_webhook(
        self: &Arc<Self>,
        session: &Session,
        id: &'static str,
        dialect: Dialect,
        new: Registration,
    ) -> Result<Registered> {
        if new
            .secret
            .as_ref()
            .is_some_and(|s| s.len() < 8 || s.len() > 256)
        {
            return Err(Code::WebhookSecretInvalid.into());
        }
        let is_resolved = self.check_webhook_url(&new.url).await?;
        let (number, id_of_session) = (session.number, session.id.clone());
        let made = self.ids.secret();
        let purpose = secret_purpose(session.number);
        let fresh = self
            .vault
            .seal(&purpose, new.secret.as_deref().unwrap_or(&made));
        let given = new.secret.is_some();
        let now = self.clock.now();
        let gateway = self.clone();
        let kept_secret = self
            .store
            .write(Durability::Sync, move |tx| {
                ensure_session_exists(tx, id_of_session.as_str(), number)?;
                let old = WEBHOOKS.readable(tx, (number, id))?;
                // A secret that cannot be opened any more signs nothing, and a webhook that moved in has none:
                // setting the webhook mends that.
                let usable = |old: &&Webhook| {
                    !old.secret.is_empty() && gateway.webhook_secret(number, old).is_ok()
                };
                let old_secret = old.as_ref().filter(usable).map(|old| old.secret.clone());
                let kept_secret = old_secret.is_some() && !given;
                let hook = Webhook {
                    url: new.url,
                    secret: old_secret.filter(|_| kept_secret).unwrap_or(fresh),
                    events: new
                        .events
                        .or(old.map(|old| old.events))
                        .unwrap_or_else(|| USUAL.to_vec()),
                    own_messages: new.own_messages,
                    dialect,
                    at: now,
                };
                WEBHOOKS.put(tx, (number, id), &hook)?;
                Ok(kept_secret)
            })
            .await?;
        // Whoever sets it has repaired the receiver, or names another. It is set in any case, and its
        // secret is told this once only.
        let lanes = vec![lane(number, id), aside_lane(number, id)];
        if let Err(error) = self.hasten(lanes).await {
            tracing::warn!(session = %session.id, ?error,
                "webhook deliveries wait for the time they were put off to");
        }
        Ok(Registered {
            secret: (!given && !kept_secret).then_some(made),
            is_resolved,
        })
    }

    /// Has every delivery that waits be tried now: a start is often the end of what was wrong.
    pub async fn hasten_deliveries(&self) -> Result<()> {
        let now = self.clock.now();
        let lanes = self
            .store
            .read(|read| queue::later_lanes(read, QUEUE, now))?;
        self.hasten(lanes).await
    }

    /// Makes what waits in these lanes due now, a page at a time.
    async fn hasten(&self, lanes: Vec<Vec<u8>>) -> Result<()> {
        let now = self.clock.now();
        for lane in lanes {
            loop {
                let lane = lane.clone();
                let page = move |tx: &mut Tx| queue::hasten(tx, QUEUE, &lane, now, PAGE);
                if self.store.write(Durability::Lazy, page).await? < PAGE {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Where the session's events go in a dialect: to its own webhook, or to the configuration's.
    pub fn effective_webhook(
        &self,
        number: SessionNumber,
        dialect: Dialect,
    ) -> Result<Option<Webhook>> {
        let own = self.store.read(|read| OwnWebhooks::of(read, number))?;
        if own.leave_to_default(dialect) {
            return Ok(self.default_webhook());
        }
        let mut own = own.readable.into_iter().map(|(_, hook)| hook);
        Ok(own.find(|hook| hook.dialect == dialect))
    }

    /// One webhook by its id; a damaged one is as good as none.
    pub fn webhook(&self, number: SessionNumber, id: &str) -> Result<Option<Webhook>> {
        let own = self
            .store
            .read(|read| WEBHOOKS.readable(read, (number, id)))?;
        Ok(own.or_else(|| self.default_webhook().filter(|_| id == DEFAULT)))
    }

    /// Whether the session has a webhook of this id, damaged or not.
    pub(super) fn has_webhook(&self, number: SessionNumber, id: &str) -> Result<bool> {
        self.store.read(|read| WEBHOOKS.exists(read, (number, id)))
    }

    /// The webhook that the configuration names for sessions without one.
    fn default_webhook(&self) -> Option<Webhook> {
        Some(Webhook {
            url: self.config.webhook_url.clone()?,
            secret: Vec::new(),
            events: USUAL.to_vec(),
            own_messages: false,
            dialect: DIALECT_OF_DEFAULT,
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
                    let gone = queue::delete_page(tx, QUEUE, &lane(number, id), PAGE)?;
                    let aside = aside_lane(number, id);
                    Ok(gone + queue::delete_page(tx, QUEUE, &aside, PAGE - gone)?)
                };
                if gateway.store.write(Durability::Sync, page).await? < PAGE {
                    // The next one that is set begins anew.
                    gateway.failing_webhooks.forget(&lane(number, id));
                    return Ok(());
                }
            }
        });
        removing.await.map_err(Error::internal)?
    }

    /// The webhook of a session that moves in. Its host is judged at each delivery: it need not resolve at
    /// this moment. It has no secret of its own: nobody could be told.
    pub(in crate::domain) fn imported_webhook(&self, url: String) -> Result<Webhook> {
        self.judge_webhook_url(&url)?;
        Ok(Webhook {
            url,
            secret: Vec::new(),
            events: USUAL.to_vec(),
            own_messages: false,
            dialect: Dialect::V1,
            at: self.clock.now(),
        })
    }

    /// Webhooks go to https, or to addresses that the configuration opens. Answers whether the name has an
    /// address now: name servers have bad days, and receivers are set up before they have a name.
    async fn check_webhook_url(&self, url: &str) -> Result<bool> {
        let target = self.judge_webhook_url(url)?;
        match self.webhook_client.check_resolved(&target).await {
            Err(error) if error.code() == Code::UrlUnresolvable => Ok(false),
            checked => checked.map(|()| true).map_err(about_webhook),
        }
    }

    /// What can be said of it without a name server.
    fn judge_webhook_url(&self, url: &str) -> Result<CheckedUrl> {
        if url.len() > 2048 {
            return Err(Error::new(
                Code::UrlInvalid,
                "Webhook URL must be at most 2048 characters",
            ));
        }
        let target = self.webhook_client.check_url(url).map_err(about_webhook)?;
        let opened = self.webhook_client.is_opened(&target);
        if !target.is_https() && !opened {
            return Err(Error::new(
                Code::UrlInvalid,
                format!("{NOT_HTTPS}{OPENED_BY}"),
            ));
        }
        Ok(target)
    }
}

/// A refusal of an address as clients of the original know it.
fn about_webhook(error: Error) -> Error {
    let detail = match error.code() {
        Code::UrlInvalid => NOT_HTTPS.into(),
        Code::UrlWithPassword => "Webhook URL must be a credential-free HTTPS URL".into(),
        Code::UrlRefused => format!("Webhook {}{OPENED_BY}", error.detail()),
        _ => format!("Webhook {}", error.detail()),
    };
    error.worded(detail)
}

/// Writes the webhook of a session that moves in, unless the one of the session that it replaces has the same
/// address: that one has what its receiver knows, the secret and the kinds of events.
pub(in crate::domain) fn put_imported(
    tx: &mut Tx,
    session: SessionNumber,
    webhook: &Webhook,
) -> Result<()> {
    let there = WEBHOOKS.readable(tx, (session, V1))?;
    match there {
        Some(there) if there.url == webhook.url => Ok(()),
        _ => WEBHOOKS.put(tx, (session, V1), webhook),
    }
}

/// Gives the webhooks of a session to the one in its place, with their secrets.
pub(in crate::domain) fn keep(
    tx: &mut Tx,
    vault: &Vault,
    from: SessionNumber,
    to: SessionNumber,
) -> Result<()> {
    for (id, mut hook) in WEBHOOKS.rows(from).readable(tx, MOST)? {
        // One that cannot be opened signs nothing, here and there; setting the webhook mends that.
        if let Ok(secret) = vault.open(&secret_purpose(from), &hook.secret) {
            hook.secret = vault.seal(&secret_purpose(to), &secret);
        }
        WEBHOOKS.put(tx, (to, id), &hook)?;
    }
    Ok(())
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
            dialect: Dialect::V1,
            at: Timestamp::default(),
        };
        assert!(hook(&[], false).wants(&deleted(false)));
        assert!(!hook(&[], false).wants(&deleted(true)));
        assert!(hook(&[], true).wants(&deleted(true)));
        assert!(hook(&[EventKind::MessageDeleted], true).wants(&deleted(true)));
        assert!(!hook(&[EventKind::CallOffer], true).wants(&deleted(true)));
    }

    #[test]
    fn a_webhook_of_another_dialect_does_not_stand_in_for_the_default() {
        let of = |dialect: Dialect| {
            let hook = Webhook {
                url: String::new(),
                secret: Vec::new(),
                events: Vec::new(),
                own_messages: false,
                dialect,
                at: Timestamp::default(),
            };
            (dialect.as_str().to_owned(), hook)
        };
        let left = |own: &[Dialect], damaged, dialect| {
            let readable = own.iter().map(|dialect| of(*dialect)).collect();
            OwnWebhooks { readable, damaged }.leave_to_default(dialect)
        };
        let (v1, wafa) = (Dialect::V1, Dialect::Wafa);
        assert!(left(&[], false, v1));
        assert!(left(&[wafa], false, v1));
        assert!(!left(&[wafa, v1], false, v1));
        assert!(!left(&[], true, v1));
        assert!(!left(&[], false, wafa));
        let (_, hook) = of(Dialect::V1);
        let stored = serde_json::to_value(&hook).expect("JSON");
        assert_eq!(stored["dialect"], "v1");
    }

    #[test]
    fn lanes_round_trip() {
        let lane = lane(SessionNumber(7), V1);
        let aside = aside_lane(SessionNumber(7), V1);
        for lane in [&lane, &aside] {
            assert_eq!(lane_parts(lane), Some((SessionNumber(7), V1.to_owned())));
        }
        assert!(is_aside(&aside) && !is_aside(&lane));
        assert_eq!(lane_parts(b"abc"), None);
    }
}
