//! Webhook delivery: claim, sign, POST, settle. At least once, in order per webhook.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::slots::{Manner, Slot, Slots};
use crate::domain::Gateway;
use crate::domain::event::{self, Event};
use crate::domain::webhook::{
    Delivery, REFUSED_ATTEMPTS, Webhook, delivery_key, is_given_up, is_refusal, lane_parts,
    retry_after, seq_of, sign,
};
use crate::error::{ErrorKind, Result};
use crate::ids::SessionNumber;
use crate::net::Method;
use crate::net::client::Outgoing;
use crate::store::queue::{self, Claim};
use crate::store::{Durability, Read, record, tables};

/// How many deliveries wait for a slot at most; more of them wait in the queue.
const WAITING: usize = 16_384;

/// How long a receiver may take before it counts as slow.
const SLOW: Duration = Duration::from_secs(3);

/// Turns an event into the bytes that a dialect's clients expect.
pub type Render = fn(dialect: &str, number: u64, event: &Event) -> Vec<u8>;

/// What became of one try.
struct Attempt {
    status: Option<u16>,
    error: Option<&'static str>,
    took: Duration,
}

impl Attempt {
    fn manner(&self) -> Manner {
        match self.status {
            _ if self.took < SLOW => Manner::Prompt,
            Some(_) => Manner::Slow,
            None => Manner::Silent,
        }
    }
}

/// Delivers until `stop`; a delivery that is under way is finished.
pub async fn run(gateway: Gateway, render: Render, stop: CancellationToken) {
    let mut slots = Slots::default();
    let (ended, mut ends) = mpsc::unbounded_channel();
    while !stop.is_cancelled() {
        while let Some((slot, claim)) = slots.next() {
            let taken = Taken {
                slot: Some(slot),
                manner: Manner::Prompt,
                ended: ended.clone(),
            };
            start(&gateway, claim, render, taken);
        }
        let ready = tokio::select! {
            () = stop.cancelled() => return,
            Some((slot, manner)) = ends.recv() => {
                slots.give_back(slot, manner);
                continue;
            }
            ready = gateway.deliveries.ready(), if slots.waiting() < WAITING => ready,
        };
        let claims = ready.and_then(|()| gateway.deliveries.claim(WAITING - slots.waiting()));
        match claims {
            Ok(claims) => {
                for claim in claims {
                    let (host, session) = receiver(&gateway, &claim);
                    slots.add(host, session, claim.attempts > 0, claim);
                }
            }
            Err(error) => {
                tracing::error!(?error, "webhook deliveries cannot be read");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// The host that a claim goes to, and the session that it is of. What goes nowhere has no host.
fn receiver(gateway: &Gateway, claim: &Claim) -> (String, SessionNumber) {
    let Some((number, id, _)) = parts(claim) else {
        return (String::new(), SessionNumber(0));
    };
    let hook = gateway.webhook(number, &id).ok().flatten();
    let target = hook.and_then(|hook| gateway.webhook_client.check_url(&hook.url).ok());
    (target.map_or_else(String::new, |t| t.authority()), number)
}

/// A slot that a task holds; it is given back when the task ends, however that is.
struct Taken {
    slot: Option<Slot>,
    manner: Manner,
    ended: mpsc::UnboundedSender<(Slot, Manner)>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            // Nobody counts slots any more when the loop has ended.
            let _ = self.ended.send((slot, self.manner));
        }
    }
}

/// Delivers one claim in a task of its own.
fn start(gateway: &Gateway, claim: Claim, render: Render, mut taken: Taken) {
    let inner = gateway.clone();
    gateway.tasks.spawn(async move {
        if let Err(error) = deliver(&inner, claim.clone(), render, &mut taken.manner).await {
            tracing::error!(?error, "a webhook delivery could not be read or recorded");
            // Later, not at once: what is damaged would keep a processor busy.
            let when = inner.clock.now().after(retry_after(claim.attempts + 1));
            let later =
                move |tx: &mut crate::store::Tx| queue::retry_at(tx, &claim, when).map(|_| ());
            let _ = inner.store.write(Durability::Lazy, later).await;
        }
        drop(taken);
    });
}

async fn deliver(
    gateway: &Gateway,
    claim: Claim,
    render: Render,
    manner: &mut Manner,
) -> Result<()> {
    if let Some((number, id, seq)) = parts(&claim) {
        let found = gateway.store.read(|read| event::find(read, number, seq))?;
        if let (Some(event), Some(hook)) = (found, gateway.webhook(number, &id)?) {
            let attempt = post(gateway, number, &hook, seq, &event, render).await;
            *manner = attempt.manner();
            return settle(gateway, claim, (number, id, seq), &event, attempt).await;
        }
    }
    // Its session, webhook or event is gone: nobody waits for it.
    gateway
        .store
        .write(Durability::Lazy, move |tx| {
            queue::done(tx, &claim).map(|_| ())
        })
        .await
}

/// Session, webhook and event that a claim names.
fn parts(claim: &Claim) -> Option<(SessionNumber, String, u64)> {
    let (number, id) = lane_parts(&claim.lane)?;
    Some((number, id.to_owned(), seq_of(&claim.payload)?))
}

/// One signed POST. The delivery's id stays the same over all tries.
async fn post(
    gateway: &Gateway,
    number: SessionNumber,
    hook: &Webhook,
    seq: u64,
    event: &Event,
    render: Render,
) -> Attempt {
    let body = render(&hook.dialect, seq, event);
    let timestamp = gateway.clock.now().as_ms().to_string();
    let mut headers = vec![
        ("content-type".to_owned(), "application/json".to_owned()),
        (
            "user-agent".to_owned(),
            concat!("Warung/", env!("CARGO_PKG_VERSION")).to_owned(),
        ),
        ("x-webhook-event".to_owned(), event.event.clone()),
        (
            "x-webhook-id".to_owned(),
            format!("{}-{seq}", event.session),
        ),
        ("x-webhook-timestamp".to_owned(), timestamp.clone()),
    ];
    match gateway.webhook_secret(number, hook) {
        Ok(Some(secret)) => {
            headers.push(("x-webhook-signature".to_owned(), sign(&secret, &[&body])));
            // The first signature does not cover the time; this one does, against replay.
            let dated = sign(&secret, &[timestamp.as_bytes(), b".", &body]);
            headers.push((
                "x-webhook-signature-v2".to_owned(),
                format!("t={timestamp},v2={dated}"),
            ));
        }
        Ok(None) => {}
        Err(error) => {
            tracing::error!(?error, "a webhook secret cannot be read");
            return Attempt {
                status: None,
                error: Some("the webhook's secret cannot be read; set the webhook again"),
                took: Duration::ZERO,
            };
        }
    }
    let started = Instant::now();
    let request = Outgoing {
        method: Method::POST,
        url: hook.url.clone(),
        headers,
        body: body.into(),
    };
    let (status, error) = match gateway.webhook_client.send(request).await {
        Ok(response) => {
            let status = response.status().as_u16();
            // The answer is read so that the connection can be used again; its words mean nothing.
            let _ = response.collect(64 << 10).await;
            let error = (!(200..300).contains(&status)).then_some("the receiver did not accept it");
            (Some(status), error)
        }
        Err(error) => (
            None,
            Some(match error.kind() {
                ErrorKind::UpstreamTimeout => "the receiver did not answer in time",
                ErrorKind::Invalid => "the address is not allowed",
                _ => "the receiver could not be reached",
            }),
        ),
    };
    Attempt {
        status,
        error,
        took: started.elapsed(),
    }
}

/// Records what became of a try, in one transaction with the queue's own step.
async fn settle(
    gateway: &Gateway,
    claim: Claim,
    (number, id, seq): (SessionNumber, String, u64),
    event: &Event,
    attempt: Attempt,
) -> Result<()> {
    let now = gateway.clock.now();
    let attempts = claim.attempts + 1;
    let refused = attempt.status.is_some_and(is_refusal) && attempts >= REFUSED_ATTEMPTS;
    let given_up = attempt.error.is_some() && !refused && {
        let age = gateway.clock.age_of(event.at);
        let lane = (number, id.as_str());
        let asked = |read: &crate::store::Reader| is_given_up(read, lane, seq, attempts, age);
        gateway.store.read(asked)?
    };
    let dead = attempt.error.is_some() && (refused || given_up);
    let state = match (attempt.error, dead) {
        (None, _) => "delivered",
        (Some(_), true) => "dead",
        (Some(_), false) => "pending",
    };
    if dead {
        tracing::warn!(
            event = seq,
            status = attempt.status,
            "a webhook delivery is given up; it can be replayed"
        );
    }
    let entry = Delivery {
        event_id: seq,
        event: event.event.clone(),
        state: state.to_owned(),
        attempts,
        http_status: attempt.status,
        last_error: attempt.error.map(str::to_owned),
        at: now,
        duration_ms: u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
        given_up,
    };
    let log = record::encode(&entry)?;
    // A settled row that a crash takes back is delivered once more: at least once.
    let durability = if dead {
        Durability::Sync
    } else {
        Durability::Lazy
    };
    gateway
        .store
        .write(durability, move |tx| {
            if state == "pending" {
                queue::retry_at(tx, &claim, now.after(retry_after(attempts)))?;
            } else {
                queue::done(tx, &claim)?;
            }
            // A session that was removed meanwhile leaves no log.
            if tx.exists(tables::EVENTS, &event::key(number, seq))? {
                tx.put(tables::DELIVERIES, delivery_key(number, seq, &id), log);
            }
            Ok(())
        })
        .await
}
