//! Messages (S8, S9 of the dialects' table): text, replies, mentions, edits, reactions, revokes.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::route;
use super::rules::{caller, named, object, text};
use crate::domain::Gateway;
use crate::domain::send::{Draft, IdempotencyKey, MAX_BATCH, Mentions, Outcome, checked_text};
use crate::domain::session::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Method, Reply, Request, Route, StatusCode};
use crate::ids::MessageId;
use crate::jid::{Jid, recipient};

pub(super) fn routes(gateway: &Gateway) -> Vec<Route> {
    vec![
        route(gateway, Method::POST, "/messages", send),
        route(gateway, Method::GET, "/messages/{messageId}", show),
        route(gateway, Method::DELETE, "/message", revoke),
    ]
}

/// The session that the query names; the body does not count here, but may not name another.
fn session_in_query(gateway: &Gateway, request: &Request) -> Result<Arc<Session>> {
    let who = caller(gateway, request)?;
    let id = named(&[request.query("sessionId")])?
        .ok_or_else(|| Error::invalid("sessionId query parameter is required"))?;
    gateway.authorise(&who, &id)
}

async fn send(gateway: Gateway, mut request: Request) -> Result<Reply> {
    let session = session_in_query(&gateway, &request)?;
    let bytes = request.bytes().await?;
    let key = request
        .header("idempotency-key")
        .map(|key| IdempotencyKey::new(key, &bytes))
        .transpose()?;
    let elements = match request.json_value().await? {
        Value::Array(elements) => elements,
        one @ Value::Object(_) => vec![one],
        _ => {
            return Err(Error::invalid(
                "The request body must be a message or an array of messages",
            ));
        }
    };
    if elements.len() > MAX_BATCH {
        return Err(Error::invalid(format!(
            "Maximum {MAX_BATCH} messages per request"
        )));
    }
    let country = gateway.config.default_country_code.as_deref();
    let mut drafts = Vec::with_capacity(elements.len());
    // The words for elements that no message could be made of; their place is kept.
    let mut refusals = vec![None; elements.len()];
    for (element, refusal) in elements.iter().zip(&mut refusals) {
        if let Some(name) = element.get("sessionId").and_then(Value::as_str) {
            named(&[Some(session.id.as_str()), Some(name)])?;
        }
        match draft(element, country) {
            Ok(draft) => drafts.push(draft),
            Err(error) => *refusal = Some(error.detail().to_owned()),
        }
    }
    let mut outcomes = gateway.send(&session, drafts, key).await?.into_iter();
    let rows: Vec<Value> = refusals
        .into_iter()
        .filter_map(|refusal| match refusal {
            Some(why) => Some(json!({ "status": "error", "message": why })),
            None => outcomes.next().map(|outcome| result(&outcome)),
        })
        .collect();
    Ok(Reply::json(StatusCode::OK, &rows))
}

/// One result, in the original program's words.
pub(in crate::api) fn result(outcome: &Outcome) -> Value {
    match &outcome.failure {
        None => json!({
            "status": "success",
            "message": format!("Message sent to {}", outcome.to),
            "messageId": outcome.id,
        }),
        Some(why) => {
            let mut row = json!({
                "status": "error",
                "message": format!("Failed to send message to {}. Reason: {why}", outcome.to),
            });
            if let Some(id) = &outcome.id {
                row["messageId"] = json!(id);
            }
            row
        }
    }
}

/// Reads one element of a request.
fn draft(element: &Value, country: Option<&str>) -> Result<Draft> {
    let shape = || Error::invalid("Invalid message format. \"to\" and \"type\" are required.");
    let element = element.as_object().ok_or_else(shape)?;
    let present = |name: &str| element.get(name).is_some_and(|v| !v.is_null() && v != "");
    if !present("to") || !present("type") {
        return Err(shape());
    }
    let to = address(element, country)?;
    let kind = element
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match kind {
        "text" => Ok(Draft::Text {
            body: body_of(element, "text", "Invalid text message content.")?,
            mentions: mentions(element, country)?,
            quoted: quoted(element)?,
            to,
        }),
        "reaction" => reaction(element, to),
        "edit" => Ok(Draft::Edit {
            target: target(element, "edit")?,
            body: body_of(element, "edit", "Invalid text message content.")?,
            mentions: mentions(element, country)?,
            to,
        }),
        _ => {
            let shown: String = kind.chars().filter(|c| !c.is_control()).take(32).collect();
            Err(Error::invalid(format!(
                "Failed to process message for {to}: Unsupported message type: {shown}"
            )))
        }
    }
}

fn address(element: &Map<String, Value>, country: Option<&str>) -> Result<Jid> {
    let group = element.get("recipient_type").and_then(Value::as_str) == Some("group");
    element.get("to").and_then(Value::as_str).and_then(|to| recipient(to, group, country)).ok_or_else(
        || {
            Error::invalid(
                "Invalid recipient format. Use E.164 format (e.g., 6281234567890) or JID format (e.g., 6281234567890@s.whatsapp.net).",
            )
        },
    )
}

/// The `body` inside the object that is named like the type.
fn body_of(element: &Map<String, Value>, part: &str, wrong: &'static str) -> Result<String> {
    let body = element
        .get(part)
        .and_then(|p| p.get("body"))
        .and_then(Value::as_str);
    checked_text(body.ok_or_else(|| Error::invalid(wrong))?)
}

/// Who is mentioned: numbers or addresses, or `all` for everybody in a group.
fn mentions(element: &Map<String, Value>, country: Option<&str>) -> Result<Mentions> {
    let wrong = || Error::invalid("mentions must be an array of phone numbers, or [\"all\"]");
    let names = match element.get("mentions") {
        None | Some(Value::Null) => return Ok(Mentions::None),
        Some(Value::Array(names)) => names,
        Some(_) => return Err(wrong()),
    };
    if names.len() > 1024 {
        return Err(Error::invalid("At most 1024 people can be mentioned"));
    }
    let mut people = Vec::new();
    for name in names {
        match name.as_str().ok_or_else(wrong)? {
            "all" => return Ok(Mentions::All),
            name => people.push(
                recipient(name, false, country)
                    .filter(Jid::is_person)
                    .ok_or_else(wrong)?,
            ),
        }
    }
    Ok(if people.is_empty() {
        Mentions::None
    } else {
        Mentions::These(people)
    })
}

/// The message that is answered: `context.message_id` as in the Cloud API, or `quotedMessageId`.
fn quoted(element: &Map<String, Value>) -> Result<Option<MessageId>> {
    let wrong = || Error::invalid("Invalid quoted message ID.");
    let named = match (element.get("context"), element.get("quotedMessageId")) {
        (None | Some(Value::Null), None | Some(Value::Null)) => return Ok(None),
        (Some(context @ Value::Object(_)), _) => context
            .get("message_id")
            .or_else(|| context.get("messageId")),
        (None | Some(Value::Null), named) => named,
        _ => return Err(wrong()),
    };
    named
        .and_then(Value::as_str)
        .and_then(|id| MessageId::parse(id).ok())
        .map(Some)
        .ok_or_else(wrong)
}

/// The message that a reaction or an edit is about.
fn target(element: &Map<String, Value>, part: &str) -> Result<MessageId> {
    let part_value = element.get(part);
    let named = part_value.and_then(|p| p.get("messageId").or_else(|| p.get("message_id")));
    named
        .and_then(Value::as_str)
        .and_then(|id| MessageId::parse(id).ok())
        .ok_or_else(|| Error::invalid(format!("{part}.messageId is required.")))
}

fn reaction(element: &Map<String, Value>, to: Jid) -> Result<Draft> {
    let target = target(element, "reaction")?;
    let emoji = element
        .get("reaction")
        .and_then(|r| r.get("emoji"))
        .and_then(Value::as_str);
    let emoji = emoji.filter(|e| e.len() <= 64 && !e.chars().any(char::is_control));
    let emoji = emoji.ok_or_else(|| {
        Error::invalid("reaction.emoji is required; an empty one takes the reaction back.")
    })?;
    Ok(Draft::Reaction {
        to,
        target,
        emoji: emoji.to_owned(),
    })
}

/// How far a message has come.
async fn show(gateway: Gateway, request: Request) -> Result<Reply> {
    let session = session_in_query(&gateway, &request)?;
    let id = MessageId::parse(request.param("messageId"))?;
    let message = gateway.message(&session, &id)?;
    let answer = json!({
        "status": "success",
        "messageId": id,
        "remoteJid": message.chat,
        "fromMe": message.sender.is_none(),
        "sender": message.sender,
        "delivery": message.progress.map(|p| p.word()),
        "error": message.refusal,
        "timestamp": message.at.to_string(),
    });
    Ok(Reply::json(StatusCode::OK, &answer))
}

async fn revoke(gateway: Gateway, mut request: Request) -> Result<Reply> {
    let who = caller(&gateway, &request)?;
    let body = object(&mut request).await?;
    let needed = || Error::invalid("sessionId, messageId, and remoteJid are required.");
    let field = |name| text(&body, name).map(|value| value.filter(|v| !v.is_empty()));
    let id = named(&[request.query("sessionId"), field("sessionId")?])?.ok_or_else(needed)?;
    let target = MessageId::parse(field("messageId")?.ok_or_else(needed)?)?;
    let jid = field("remoteJid")?.ok_or_else(needed)?;
    let session = gateway.authorise(&who, &id)?;
    let to = recipient(jid, false, gateway.config.default_country_code.as_deref())
        .ok_or_else(|| Error::invalid("Invalid JID format"))?;
    let outcomes = gateway
        .send(
            &session,
            vec![Draft::Revoke {
                to,
                target: target.clone(),
            }],
            None,
        )
        .await?;
    match outcomes
        .first()
        .and_then(|outcome| outcome.failure.as_ref())
    {
        Some(why) => Err(Error::new(
            ErrorKind::Upstream,
            format!("Failed to delete message. Reason: {why}"),
        )),
        None => Ok(super::sessions::success(&format!(
            "Attempted to delete message {target}"
        ))),
    }
}
