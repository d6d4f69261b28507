//! Rules of reading a request that v1 and legacy share: credentials, session names, fields.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::domain::Gateway;
use crate::domain::key::Principal;
use crate::domain::session::Session;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::http::{Refused, Reply, Request, StatusCode, Whole};
use crate::ids::SessionId;

/// The caller of a v1 request, by `X-Master-Key` or `Authorization: Bearer`.
pub(super) fn caller(gateway: &Arc<Gateway>, request: &Request) -> Result<Principal> {
    gateway.principal(request.header("x-master-key"), request.bearer())
}

/// Whether a program of this machine asks by itself, on a listener that only this machine reaches.
/// Where proxies are trusted there is one, also when it adds no header of its own.
pub(super) fn is_from_here(gateway: &Arc<Gateway>, request: &Request) -> bool {
    request.peer().listener_loopback
        && gateway.config().trusted_proxies.is_empty()
        && request.is_direct()
}

/// The one session that a request names, wherever it names it.
///
/// Invariant: two different names are refused, so that the name that is authorised is the name
/// that is used.
pub(super) fn named(names: &[Option<&str>]) -> Result<Option<SessionId>> {
    let mut found: Option<SessionId> = None;
    for name in names.iter().flatten() {
        let id = SessionId::parse(name)?;
        if found.as_ref().is_some_and(|other| *other != id) {
            return Err(Code::SessionIdAmbiguous.into());
        }
        found = Some(id);
    }
    Ok(found)
}

/// The session in the path, and nowhere else another.
pub(super) fn session_in_path(gateway: &Arc<Gateway>, request: &Request) -> Result<Arc<Session>> {
    let who = caller(gateway, request)?;
    let id = named(&[Some(request.param("sessionId")), request.query("sessionId")])?
        .ok_or(Code::SessionIdMissing)?;
    gateway.authorise(&who, &id)
}

/// A body that must be a JSON object.
pub(super) async fn object(request: &mut Request) -> Result<Map<String, Value>> {
    object_of(request.whole().await?).await
}

/// The same, where no body is as good as an empty object.
pub(super) async fn object_or_nothing(request: &mut Request) -> Result<Map<String, Value>> {
    let body = request.whole().await?;
    if body.is_empty() {
        return Ok(Map::new());
    }
    object_of(body).await
}

async fn object_of(body: Whole) -> Result<Map<String, Value>> {
    let object = body.object().await?;
    object.ok_or_else(|| Error::from(Code::MalformedBody))
}

/// A text field: absent and null are `None`, another type is refused by the field's name.
pub(super) fn text<'a>(body: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Error::invalid(format!("{name} must be a string"))),
    }
}

/// The status for a kind of failure.
pub(super) fn status_of(kind: ErrorKind) -> StatusCode {
    use ErrorKind as Kind;
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Unauthorized => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        // The original program answers 404 for a session that is not connected.
        Kind::NotFound | Kind::NotConnected => StatusCode::NOT_FOUND,
        Kind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Kind::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        Kind::Upstream => StatusCode::BAD_GATEWAY,
        Kind::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Renders any refusal in the envelope that v1 and legacy share.
pub(super) fn refuse(error: &Error, request: &Refused) -> Reply {
    refuse_in_words(error, error.detail(), request)
}

/// The same for a dialect that words the error itself.
pub(super) fn refuse_in_words(error: &Error, words: &str, _request: &Refused) -> Reply {
    if matches!(error.kind(), ErrorKind::Internal | ErrorKind::Unavailable) {
        tracing::error!(?error, "a request failed");
    }
    let reply = Reply::json(
        status_of(error.kind()),
        &serde_json::json!({ "status": "error", "message": words }),
    );
    match error.kind() {
        ErrorKind::RateLimited => reply.header("retry-after", RETRY_AFTER),
        _ => reply,
    }
}

/// Seconds after which a refused client may try again: what is under way ends soon.
const RETRY_AFTER: &str = "5";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_session_may_be_named_twice_but_not_two_once() {
        assert_eq!(named(&[None, None]).expect("none"), None);
        let id = named(&[Some("a"), Some("a"), None])
            .expect("one")
            .expect("named");
        assert_eq!(id.as_str(), "a");
        assert!(named(&[Some("a"), Some("b")]).is_err());
        assert!(named(&[Some("a b")]).is_err());
    }
}
