//! Webhook delivery: claim, sign, POST, settle. At least once, in order per webhook.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::Gateway;
use crate::domain::event::{self, Event};
use crate::domain::webhook::{
    Delivery, HORIZON, REFUSED_ATTEMPTS, Webhook, delivery_key, is_refusal, lane_parts,
    retry_after, sign,
};
use crate::error::{ErrorKind, Result};
use crate::http::Method;
use crate::http::client::Outgoing;
use crate::ids::SessionNumber;
use crate::store::queue::{self, Claim};
use crate::store::{Durability, Read, record, tables};

/// How many webhooks are delivered to at the same time.
const AT_ONCE: usize = 64;

/// Turns an event into the bytes that a dialect's clients expect.
pub type Render = fn(dialect: &str, number: u64, event: &Event) -> Vec<u8>;

/// What became of one try.
struct Attempt {
    status: Option<u16>,
    error: Option<&'static str>,
    took: Duration,
}

/// Delivers until `stop`; a delivery that is under way is finished.
pub async fn run(gateway: Gateway, render: Render, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    while !stop.is_cancelled() {
        let ready = tokio::select! {
            () = stop.cancelled() => return,
            ready = gateway.deliveries.ready() => ready,
        };
        match ready.and_then(|()| gateway.deliveries.claim(AT_ONCE)) {
            Ok(claims) => {
                for claim in claims {
                    let slot = tokio::select! {
                        () = stop.cancelled() => return,
                        slot = slots.clone().acquire_owned() => slot,
                    };
                    let Ok(slot) = slot else { return };
                    start(&gateway, claim, render, slot);
                }
            }
            Err(error) => {
                tracing::error!(?error, "webhook deliveries cannot be read");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Delivers one claim in a task of its own.
fn start(gateway: &Gateway, claim: Claim, render: Render, slot: OwnedSemaphorePermit) {
    let inner = gateway.clone();
    gateway.tasks.spawn(async move {
        if let Err(error) = deliver(&inner, claim.clone(), render).await {
            tracing::error!(?error, "a webhook delivery could not be read or recorded");
            // Later, not at once: what is damaged would keep a processor busy.
            let when = inner.clock.now().after(retry_after(claim.attempts + 1));
            let later =
                move |tx: &mut crate::store::Tx| queue::retry_at(tx, &claim, when).map(|_| ());
            let _ = inner.store.write(Durability::Lazy, later).await;
        }
        drop(slot);
    });
}

async fn deliver(gateway: &Gateway, claim: Claim, render: Render) -> Result<()> {
    if let Some((number, id, seq)) = parts(&claim) {
        let found = gateway.store.read(|read| event::find(read, number, seq))?;
        if let (Some(event), Some(hook)) = (found, gateway.webhook(number, &id)?) {
            let attempt = post(gateway, number, &hook, seq, &event, render).await;
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
    let seq = u64::from_be_bytes(claim.payload.as_ref().try_into().ok()?);
    Some((number, id.to_owned(), seq))
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
    let dead = attempt.error.is_some() && (refused || now.since(event.at) > HORIZON);
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
