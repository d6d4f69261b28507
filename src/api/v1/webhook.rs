//! Webhooks (S4 to S6 of the dialects' table), their delivery log and replay.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::route;
use super::rules::{caller, named, object, object_or_nothing, text};
use super::sessions::success;
use crate::domain::Gateway;
use crate::domain::event::EventKind;
use crate::domain::event::delivery::DeliveryState;
use crate::domain::event::webhook::{Registration, V1};
use crate::domain::session::Session;
use crate::error::{Code, Error, Result};
use crate::http::{Method, Reply, Request, Route, StatusCode};

pub(super) fn routes(gateway: &Arc<Gateway>) -> Vec<Route> {
    vec![
        route(gateway, Method::POST, "/webhook", set),
        route(gateway, Method::GET, "/webhook", show),
        route(gateway, Method::DELETE, "/webhook", remove),
        route(gateway, Method::GET, "/webhook/deliveries", deliveries),
        route(
            gateway,
            Method::POST,
            "/webhook/deliveries/{deliveryId}/replay",
            replay,
        ),
    ]
}

/// The session that body or query name.
fn session(
    gateway: &Arc<Gateway>,
    request: &Request,
    body: &Map<String, Value>,
    missing: &'static str,
) -> Result<Arc<Session>> {
    let who = caller(gateway, request)?;
    let id = named(&[request.query("sessionId"), text(body, "sessionId")?])?
        .ok_or_else(|| Error::invalid(missing))?;
    gateway.authorise(&who, &id)
}

async fn set(gateway: Arc<Gateway>, mut request: Request) -> Result<Reply> {
    caller(&gateway, &request)?;
    let body = object(&mut request).await?;
    let session = session(&gateway, &request, &body, "URL and sessionId are required.")?;
    let url = text(&body, "url")?.filter(|url| !url.is_empty());
    let registration = Registration {
        url: url
            .ok_or_else(|| Error::invalid("URL and sessionId are required."))?
            .to_owned(),
        secret: text(&body, "secret")?.map(str::to_owned),
        events: events(&body)?,
        // What the owner writes on the phone is no event in v1, as in the original program.
        own_messages: false,
    };
    let secret = gateway.set_webhook(&session, V1, V1, registration).await?;
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

async fn show(gateway: Arc<Gateway>, request: Request) -> Result<Reply> {
    let session = session(&gateway, &request, &Map::new(), "sessionId is required.")?;
    let hook = gateway.effective_webhook(session.number, V1)?;
    let answer = json!({
        "status": "success",
        "sessionId": session.id,
        "url": hook.as_ref().map(|h| &h.url),
        "events": hook.as_ref().map(|h| &h.events),
    });
    Ok(Reply::json(StatusCode::OK, &answer))
}

async fn remove(gateway: Arc<Gateway>, mut request: Request) -> Result<Reply> {
    caller(&gateway, &request)?;
    let wrong = |_| Error::from(Code::MalformedBody);
    let body = object_or_nothing(&mut request).await.map_err(wrong)?;
    let session = session(&gateway, &request, &body, "sessionId is required.")?;
    gateway.delete_webhook(&session, V1).await?;
    Ok(success(&format!(
        "Webhook for session {} deleted.",
        session.id
    )))
}

async fn deliveries(gateway: Arc<Gateway>, request: Request) -> Result<Reply> {
    let session = session(&gateway, &request, &Map::new(), "sessionId is required.")?;
    let state = match request.query("state").map(DeliveryState::parse) {
        Some(None) => return Err(Error::invalid("state must be pending, delivered or dead")),
        state => state.flatten(),
    };
    let limit = match request.query("limit").map(str::parse::<usize>) {
        None => 50,
        Some(Ok(limit @ 1..=500)) => limit,
        Some(_) => return Err(Error::invalid("limit must be a number from 1 to 500")),
    };
    let rows: Vec<Value> = gateway
        .deliveries(session.number, state, limit)
        .await?
        .into_iter()
        .map(|(id, d)| {
            json!({
                "id": id, "eventId": d.event_id, "event": d.event, "status": d.state,
                "attempts": d.attempts, "httpStatus": d.http_status, "lastError": d.last_error,
                "lastAttemptAt": d.at.to_string(), "durationMs": d.duration_ms,
            })
        })
        .collect();
    let answer = json!({ "status": "success", "sessionId": session.id, "deliveries": rows });
    Ok(Reply::json(StatusCode::OK, &answer))
}

async fn replay(gateway: Arc<Gateway>, request: Request) -> Result<Reply> {
    let session = session(&gateway, &request, &Map::new(), "sessionId is required.")?;
    gateway
        .replay_delivery(&session, request.param("deliveryId"))
        .await?;
    Ok(success(&format!(
        "Delivery {} will be tried again.",
        request.param("deliveryId")
    )))
}
