//! Webhooks (S4 to S6 of the dialects' table), their delivery log and replay.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::admission::{ADMISSION, admitted};
use crate::api::admit::{Caller, Where};
use crate::api::read::{object, object_or_nothing, text};
use crate::api::reply::success;
use crate::domain::Gateway;
use crate::domain::access::Scope;
use crate::domain::event::EventKind;
use crate::domain::event::delivery::{DeliveryState, Listed};
use crate::domain::event::webhook::{Registration, V1};
use crate::error::{Code, Error, Result};
use crate::http::{Method, Reply, Request, Route, StatusCode};

pub(super) fn routes(gateway: &Arc<Gateway>) -> Vec<Route> {
    use Method as M;
    let replay_path = "/webhook/deliveries/{deliveryId}/replay";
    let delivery_path = "/webhook/deliveries/{deliveryId}";
    let scopes = &[Scope::Webhook];
    // What is delivered can be read where it is delivered to.
    let reading = &[Scope::Webhook, Scope::Read];
    vec![
        admitted(gateway, reading, M::POST, "/webhook", set),
        admitted(gateway, scopes, M::GET, "/webhook", show),
        admitted(gateway, scopes, M::DELETE, "/webhook", remove),
        admitted(gateway, scopes, M::GET, "/webhook/deliveries", deliveries),
        admitted(gateway, reading, M::POST, replay_path, replay),
        admitted(gateway, scopes, M::DELETE, delivery_path, skip),
    ]
}

/// The query.
fn in_query(request: &Request) -> Where<'_> {
    Where::one_of([request.query("sessionId"), None], "sessionId is required.")
}

async fn set(caller: Caller, mut request: Request) -> Result<Reply> {
    const NEEDED: &str = "URL and sessionId are required.";
    let body = object(&mut request).await?;
    let names = [request.query("sessionId"), text(&body, "sessionId")?];
    let session = caller.session(Where::one_of(names, NEEDED))?;
    let url = text(&body, "url")?.filter(|url| !url.is_empty());
    let registration = Registration {
        url: url.ok_or_else(|| Error::invalid(NEEDED))?.to_owned(),
        secret: text(&body, "secret")?.map(str::to_owned),
        events: events(&body)?,
        // What the owner writes on the phone is no event in v1, as in the original program.
        own_messages: false,
    };
    let secret = caller
        .gateway
        .set_webhook(&session, V1, ADMISSION.dialect, registration)
        .await?;
    let mut answer = json!({
        "status": "success",
        "message": format!("Webhook URL for session {} updated", session.id),
    });
    if let Some(secret) = secret {
        answer["secret"] = json!(secret);
    }
    Ok(Reply::json(StatusCode::OK, &answer).no_store())
}

/// The events that a registration asks for: a list, or names with commas between.
fn events(body: &Map<String, Value>) -> Result<Option<Vec<EventKind>>> {
    let wrong = || Error::invalid("events must be an array of event names");
    match body.get("events") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(names)) => {
            let names = names.split(',').map(str::trim).filter(|n| !n.is_empty());
            names.map(event).collect::<Result<_>>().map(Some)
        }
        Some(Value::Array(names)) => {
            let names: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
            let names = names.ok_or_else(wrong)?.into_iter();
            names.map(event).collect::<Result<_>>().map(Some)
        }
        Some(_) => Err(wrong()),
    }
}

fn event(name: &str) -> Result<EventKind> {
    EventKind::parse(name).ok_or_else(|| {
        let known = EventKind::ALL.map(EventKind::as_str).join(", ");
        let shown: String = name.chars().take(64).collect();
        Error::new(
            Code::EventUnknown,
            format!("Unknown event: {shown}. Known events: {known}"),
        )
    })
}

async fn show(caller: Caller, request: Request) -> Result<Reply> {
    let session = caller.session(in_query(&request))?;
    let hook = caller
        .gateway
        .effective_webhook(session.number, ADMISSION.dialect)?;
    let answer = json!({
        "status": "success",
        "sessionId": session.id,
        "url": hook.as_ref().map(|h| &h.url),
        "events": hook.as_ref().map(|h| &h.events),
    });
    Ok(Reply::json(StatusCode::OK, &answer))
}

async fn remove(caller: Caller, mut request: Request) -> Result<Reply> {
    let wrong = |_| Error::from(Code::MalformedBody);
    let body = object_or_nothing(&mut request).await.map_err(wrong)?;
    let names = [request.query("sessionId"), text(&body, "sessionId")?];
    let session = caller.session(Where::one_of(names, "sessionId is required."))?;
    caller.gateway.delete_webhook(&session, V1).await?;
    Ok(success(&format!(
        "Webhook for session {} deleted.",
        session.id
    )))
}

async fn deliveries(caller: Caller, request: Request) -> Result<Reply> {
    let session = caller.session(in_query(&request))?;
    let state = match request.query("state").map(DeliveryState::parse) {
        Some(None) => return Err(Error::invalid("state must be pending, delivered or dead")),
        state => state.flatten(),
    };
    let limit = match request.query("limit").map(str::parse::<usize>) {
        None => 50,
        Some(Ok(limit @ 1..=500)) => limit,
        Some(_) => return Err(Error::invalid("limit must be a number from 1 to 500")),
    };
    let found = caller.gateway.deliveries(session.number, state, limit);
    let found = found.await?;
    let rows: Vec<Value> = found.rows.iter().map(delivery).collect();
    let answer = json!({
        "status": "success", "sessionId": session.id, "waiting": found.waiting, "deliveries": rows,
    });
    Ok(Reply::json(StatusCode::OK, &answer))
}

/// A row of the delivery log.
fn delivery(listed: &Listed) -> Value {
    let row = &listed.delivery;
    json!({
        "id": listed.id, "eventId": row.event_id, "event": row.event, "status": row.state,
        "attempts": row.attempts, "httpStatus": row.http_status, "lastError": row.last_error,
        "lastAttemptAt": row.at.to_string(), "durationMs": row.duration_ms,
        "waitingBehind": listed.behind,
    })
}

async fn replay(caller: Caller, request: Request) -> Result<Reply> {
    let session = caller.session(in_query(&request))?;
    let id = request.param("deliveryId");
    caller.gateway.replay_delivery(&session, id).await?;
    Ok(success(&format!("Delivery {id} will be tried again.")))
}

async fn skip(caller: Caller, request: Request) -> Result<Reply> {
    let session = caller.session(in_query(&request))?;
    let id = request.param("deliveryId");
    caller.gateway.skip_delivery(&session, id).await?;
    Ok(success(&format!("Delivery {id} is skipped.")))
}
