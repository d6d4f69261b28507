//! The keys of all dialects: made, listed and revoked by the holder of the master key.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::admit::master_only;
use super::read::{object, text};
use super::reply::success;
use crate::domain::Gateway;
use crate::domain::access::{NewKey, Scope, StoredKey};
use crate::domain::dialect::Dialect;
use crate::domain::session::Session;
use crate::error::{Code, Error, Result};
use crate::http::{Method, Reply, Request, Route, StatusCode};
use crate::ids::{RowId, SessionId};

pub(super) fn routes(gateway: &Arc<Gateway>) -> Vec<Route> {
    vec![
        master_only(gateway, Method::POST, "/admin/keys", create),
        master_only(gateway, Method::GET, "/admin/keys", list),
        master_only(gateway, Method::DELETE, "/admin/keys/{keyId}", revoke),
    ]
}

/// Makes a key, which only this answer shows.
async fn create(gateway: Arc<Gateway>, mut request: Request) -> Result<Reply> {
    let body = object(&mut request).await?;
    let dialect = text(&body, "dialect")?.unwrap_or(Dialect::V1.as_str());
    let name = text(&body, "name")?.ok_or_else(|| Error::invalid("name is required"))?;
    let new = NewKey {
        name: name.to_owned(),
        dialect: Dialect::parse(dialect).ok_or_else(|| unknown("dialect", dialect))?,
        scopes: scopes(&body)?,
        pinned: pinned(&gateway, &body)?,
    };
    let (key, secret) = gateway.create_key(new).await?;
    let mut answer = described(&gateway, &key).ok_or(Code::SessionNotFound)?;
    answer["status"] = json!("success");
    answer["key"] = json!(secret);
    Ok(Reply::json(StatusCode::CREATED, &answer).no_store())
}

fn scopes(body: &Map<String, Value>) -> Result<BTreeSet<Scope>> {
    let wrong = || Error::invalid("scopes must be an array of names of scopes");
    let names = match body.get("scopes") {
        None | Some(Value::Null) => return Err(Error::invalid("scopes is required")),
        Some(names) => names.as_array().ok_or_else(wrong)?,
    };
    let read = |name: &Value| {
        let name = name.as_str().ok_or_else(wrong)?;
        Scope::parse(name).ok_or_else(|| unknown("scope", name))
    };
    names.iter().map(read).collect()
}

/// The only session that the key is for.
fn pinned(gateway: &Gateway, body: &Map<String, Value>) -> Result<Option<Arc<Session>>> {
    let Some(name) = text(body, "sessionId")? else {
        return Ok(None);
    };
    let id = SessionId::parse(name)?;
    gateway.sessions().find(&id).map(Some)
}

fn unknown(what: &str, word: &str) -> Error {
    let known = match what {
        "scope" => Scope::ALL.map(Scope::as_str).join(", "),
        _ => Dialect::ALL.map(Dialect::as_str).join(", "),
    };
    let shown: String = word.chars().filter(|c| !c.is_control()).take(32).collect();
    Error::invalid(format!("There is no {what} {shown}. Known: {known}"))
}

async fn list(gateway: Arc<Gateway>, _: Request) -> Result<Reply> {
    let keys = gateway.list_keys();
    let rows = keys.iter().filter_map(|key| described(&gateway, key));
    let rows: Vec<Value> = rows.collect();
    let answer = json!({ "status": "success", "keys": rows });
    Ok(Reply::json(StatusCode::OK, &answer).no_store())
}

/// A key as it is listed: without itself. `None` when its session has gone a moment ago: without a session
/// it would look like one for all.
fn described(gateway: &Gateway, key: &StoredKey) -> Option<Value> {
    let usage = key.usage();
    let session = match key.pinned {
        None => None,
        Some(number) => Some(gateway.sessions().by_number(number)?),
    };
    Some(json!({
        "id": key.id, "name": key.name(), "dialect": key.dialect().as_str(),
        "scopes": key.scopes().map(Scope::as_str).collect::<Vec<_>>(),
        "sessionId": session.map(|session| session.id.clone()), "preview": key.preview(),
        "createdAt": key.created_at().to_string(), "usage": usage.count,
        "lastUsedAt": usage.last_used_at.map(|at| at.to_string()),
        "revokedAt": usage.revoked_at.map(|at| at.to_string()),
    }))
}

async fn revoke(gateway: Arc<Gateway>, request: Request) -> Result<Reply> {
    let id = RowId::parse(request.param("keyId"));
    let id = id.ok_or(Code::KeyNotFound)?;
    gateway.revoke_key(&id).await?;
    Ok(success(&format!("Key {id} revoked.")))
}
