//! Webhook delivery: claim, sign, POST, settle. At least once, in order per webhook.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::slots::{Responsiveness, Slot, Slots};
use crate::domain::Gateway;
use crate::domain::dialect::Dialect;
use crate::domain::event::delivery::{Attempt, DueDelivery, Payload, Tried};
use crate::domain::event::webhook::lane_parts;
use crate::error::{Code, ErrorKind, Result};
use crate::ids::SessionNumber;
use crate::net::Method;
use crate::net::client::OutgoingRequest;
use crate::store::queue::Claim;
use crate::time::Timestamp;

/// How many deliveries wait for a slot at most; more of them wait in the queue.
const WAITING: usize = 16_384;

/// How long a receiver may take before it counts as slow.
const SLOW: Duration = Duration::from_secs(3);

/// Turns a delivery into what clients of the webhook's dialect expect: `secret` signs it, links begin
/// with `public_url`, now is the time.
pub type RenderDelivery =
    fn(Dialect, &DueDelivery, secret: Option<&str>, public_url: &str, now: Timestamp) -> Payload;

/// How the receiver behaved.
fn responsiveness(attempt: &Attempt) -> Responsiveness {
    match attempt.status {
        _ if attempt.took < SLOW => Responsiveness::Prompt,
        Some(_) => Responsiveness::Slow,
        None => Responsiveness::Silent,
    }
}

/// Delivers until `stop`; a delivery that is under way is finished.
pub async fn run(gateway: Arc<Gateway>, render: RenderDelivery, stop: CancellationToken) {
    if let Err(error) = gateway.hasten_deliveries().await {
        tracing::warn!(
            ?error,
            "webhook deliveries wait for the time they were put off to"
        );
    }
    let mut slots = Slots::default();
    let (ended, mut ends) = mpsc::unbounded_channel();
    while !stop.is_cancelled() {
        while let Some((slot, claim)) = slots.next() {
            let taken = TakenSlot {
                slot: Some(slot),
                manner: Responsiveness::Prompt,
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
            ready = gateway.delivery_queue().ready(), if slots.waiting() < WAITING => ready,
        };
        let claims = ready.and_then(|()| gateway.delivery_queue().claim(WAITING - slots.waiting()));
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
    let Some((number, id)) = lane_parts(&claim.lane) else {
        return (String::new(), SessionNumber(0));
    };
    let hook = gateway.webhook(number, &id).ok().flatten();
    let target = hook.and_then(|hook| gateway.webhook_client().check_url(&hook.url).ok());
    (target.map_or_else(String::new, |t| t.authority()), number)
}

/// A slot that a task holds; it is given back when the task ends, however that is.
struct TakenSlot {
    slot: Option<Slot>,
    manner: Responsiveness,
    ended: mpsc::UnboundedSender<(Slot, Responsiveness)>,
}

impl Drop for TakenSlot {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            // Nobody counts slots any more when the loop has ended.
            let _ = self.ended.send((slot, self.manner));
        }
    }
}

/// Delivers one claim in a task of its own.
fn start(gateway: &Arc<Gateway>, claim: Claim, render: RenderDelivery, mut taken: TakenSlot) {
    let inner = gateway.clone();
    gateway.tasks().spawn(async move {
        if let Err(error) = deliver(&inner, claim.clone(), render, &mut taken.manner).await {
            tracing::error!(?error, "a webhook delivery could not be read or recorded");
            let _ = inner.postpone_delivery(claim).await;
        }
        drop(taken);
    });
}

async fn deliver(
    gateway: &Gateway,
    claim: Claim,
    render: RenderDelivery,
    shown: &mut Responsiveness,
) -> Result<()> {
    // When its session, webhook or event is gone nobody waits for it.
    let Some(due) = gateway.due_delivery(&claim)? else {
        return gateway.drop_delivery(claim).await;
    };
    let attempt = post(gateway, &due, render).await;
    *shown = responsiveness(&attempt);
    let others = probe(gateway, &claim, &attempt, render).await?;
    let tried = Tried {
        claim,
        due,
        attempt,
    };
    gateway.settle_delivery(tried, others).await
}

/// Tries those behind a delivery that failed until one arrives: then the receiver works. Answers what was
/// tried; nothing when none arrived, as if they had not been tried.
async fn probe(
    gateway: &Gateway,
    failed: &Claim,
    attempt: &Attempt,
    render: RenderDelivery,
) -> Result<Vec<Tried>> {
    let mut tried = Vec::new();
    for claim in gateway.probes(failed, attempt)? {
        if gateway.tasks().is_closed() {
            break;
        }
        let Some(due) = gateway.due_delivery(&claim)? else {
            continue;
        };
        let attempt = post(gateway, &due, render).await;
        let (arrived, goes_on) = (attempt.error.is_none(), attempt.invites_another());
        tried.push(Tried {
            claim,
            due,
            attempt,
        });
        if arrived {
            return Ok(tried);
        }
        if !goes_on {
            break;
        }
    }
    Ok(Vec::new())
}

/// One signed POST. The delivery's id stays the same over all tries.
async fn post(gateway: &Gateway, due: &DueDelivery, render: RenderDelivery) -> Attempt {
    let not_made = |why| Attempt {
        status: None,
        error: Some(why),
        took: Duration::ZERO,
    };
    let Some(webhook) = &due.webhook else {
        return not_made("the webhook cannot be read; set it again");
    };
    let secret = match gateway.webhook_secret(due.session, webhook) {
        Ok(secret) => secret,
        Err(error) => {
            tracing::error!(?error, "a webhook secret cannot be read");
            return not_made("the webhook's secret cannot be read; set the webhook again");
        }
    };
    let (dialect, now) = (webhook.dialect, gateway.clock().now());
    let Payload { mut headers, body } = render(
        dialect,
        due,
        secret.as_deref(),
        gateway.config().links(),
        now,
    );
    let agent = concat!("Warung/", env!("CARGO_PKG_VERSION"));
    headers.push(("content-type".to_owned(), "application/json".to_owned()));
    headers.push(("user-agent".to_owned(), agent.to_owned()));
    let started = Instant::now();
    let request = OutgoingRequest {
        method: Method::POST,
        url: webhook.url.clone(),
        headers,
        body: body.into(),
    };
    let (status, error) = match gateway.webhook_client().send(request).await {
        Ok(response) => {
            let status = response.status().as_u16();
            // The answer is read so that the connection can be used again; its words mean nothing.
            let _ = response.collect(64 << 10).await;
            let error = (!(200..300).contains(&status)).then_some("the receiver did not accept it");
            (Some(status), error)
        }
        Err(error) => (
            None,
            Some(match (error.code(), error.kind()) {
                (Code::AnswerNotHttp, _) => "the receiver gave an answer that is not HTTP",
                (_, ErrorKind::UpstreamTimeout) => "the receiver did not answer in time",
                (_, ErrorKind::Invalid) => "the address is not allowed",
                _ => "the receiver could not be reached",
            }),
        ),
    };
    let took = started.elapsed();
    gateway.metrics().note_webhook(took, error.is_some());
    Attempt {
        status,
        error,
        took,
    }
}
