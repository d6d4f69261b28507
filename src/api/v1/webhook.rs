//! Webhooks (S4 to S6 of the dialects' table), their delivery log and replay.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::admission::{ADMISSION, admitted};
use crate::api::admit::{Caller, Where};
use crate::api::read::{object, object_or_nothing, text};
use crate::api::reply::success;
use crate::domain::Gateway;
use crate::domain::access::Scope;
use crate::domain::event::EventKind;
use crate::domain::event::delivery::{DeliveryState, Listed};
use crate::domain::event::webhook::{Registration, USUAL, V1};
use crate::error::{Code, Error, Result};
use crate::http::{Method, Reply, Request, Route, StatusCode};
use crate::ids::SessionId;

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
    let set = caller
        .gateway
        .set_webhook(&session, V1, ADMISSION.dialect, registration)
        .await?;
    let answer = SetView {
        status: "success",
        message: format!("Webhook URL for session {} updated", session.id),
        secret: set.secret,
        note: (!set.is_resolved).then_some(UNRESOLVED),
    };
    Ok(Reply::json(StatusCode::OK, &answer).no_store())
}

/// What is said of a URL whose name has no address at this moment.
const UNRESOLVED: &str =
    "The host name of the URL cannot be resolved now; each delivery looks it up again";

/// What became of a registration.
#[derive(Serialize)]
struct SetView {
    status: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

/// The word for all events.
const ALL: &str = "*";

/// The events that a registration asks for: a list, or names with commas between. `*` is all, and an empty
/// list the usual ones: whoever clears it does not believe that all stay. Only without the field they stay.
fn events(body: &Map<String, Value>) -> Result<Option<Vec<EventKind>>> {
    let wrong = || Error::invalid("events must be an array of event names, or [\"*\"] for all");
    let names: Vec<&str> = match body.get("events") {
        None => return Ok(None),
        Some(Value::Null) => Vec::new(),
        Some(Value::String(names)) => names.split(',').map(str::trim).collect(),
        Some(Value::Array(names)) => {
            let names: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
            names.ok_or_else(wrong)?
        }
        Some(_) => return Err(wrong()),
    };
    let names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
    if names.contains(&ALL) {
        return Ok(Some(Vec::new()));
    }
    let kinds: Vec<EventKind> = names.into_iter().map(event).collect::<Result<_>>()?;
    Ok(Some(match kinds.is_empty() {
        true => USUAL.to_vec(),
        false => kinds,
    }))
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
    let answer = HookView {
        status: "success",
        session_id: &session.id,
        url: hook.as_ref().map(|hook| hook.url.as_str()),
        events: hook.as_ref().map(|hook| match &hook.events[..] {
            [] => vec![ALL],
            kinds => kinds.iter().map(|kind| kind.as_str()).collect(),
        }),
    };
    Ok(Reply::json(StatusCode::OK, &answer))
}

/// Where events go, and which.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HookView<'a> {
    status: &'static str,
    session_id: &'a SessionId,
    url: Option<&'a str>,
    events: Option<Vec<&'a str>>,
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
    let answer = DeliveriesView {
        status: "success",
        session_id: &session.id,
        waiting: found.waiting,
        deliveries: found.rows.iter().map(delivery).collect(),
    };
    Ok(Reply::json(StatusCode::OK, &answer))
}

/// The delivery log.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeliveriesView<'a> {
    status: &'static str,
    session_id: &'a SessionId,
    waiting: u64,
    deliveries: Vec<DeliveryView<'a>>,
}

/// A row of the delivery log.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeliveryView<'a> {
    id: &'a str,
    event_id: u64,
    event: EventKind,
    status: DeliveryState,
    attempts: u32,
    http_status: Option<u16>,
    last_error: Option<&'a str>,
    last_attempt_at: String,
    duration_ms: u64,
    waiting_behind: u64,
}

fn delivery(listed: &Listed) -> DeliveryView<'_> {
    let row = &listed.delivery;
    DeliveryView {
        id: &listed.id,
        event_id: row.event_id,
        event: row.event,
        status: row.state,
        attempts: row.attempts,
        http_status: row.http_status,
        last_error: row.last_error.as_deref(),
        last_attempt_at: row.at.to_string(),
        duration_ms: row.duration_ms,
        waiting_behind: listed.behind,
    }
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
