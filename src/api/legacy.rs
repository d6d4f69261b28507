//! The legacy dialect of seed 001: two sends that the original leaves open to everybody.

use std::sync::Arc;

use super::admit::{Caller, Where, claim, is_from_here, refuse_other_sites};
use super::reply::refuse_in_words;
use super::route;
use super::v1::{ADMISSION, result};
use crate::config::Legacy;
use crate::domain::Gateway;
use crate::domain::access::Scope;
use crate::domain::dialect::Dialect;
use crate::domain::message::draft::Draft;
use crate::domain::message::idempotency::IdempotencyKey;
use crate::domain::message::settlement::SendOutcome;
use crate::domain::session::Session;
use crate::error::{Code, Error, Result};
use crate::http::{Method, Mount, Reply, Request, StatusCode};
use crate::jid::{recipient, unreadable};

/// The session that the form send uses when none is named, as documented.
const DEFAULT_SESSION: &str = "putra";

/// The largest request: these routes may be open to everybody, and carry one text.
const MAX_BODY: u64 = 64 * 1024;

/// Its routes, and the later spellings of the original program.
pub fn mount(gateway: &Arc<Gateway>) -> Mount {
    Mount {
        prefix: "/api",
        claim: claim(gateway, Dialect::V1),
        routes: vec![
            route(gateway, Method::POST, "/send-message", send_json).body_limit(MAX_BODY),
            route(gateway, Method::POST, "/message", send_form).body_limit(MAX_BODY),
            route(gateway, Method::POST, "/v1/legacy/send-message", send_json).body_limit(MAX_BODY),
            route(gateway, Method::POST, "/v1/legacy/message", send_form).body_limit(MAX_BODY),
        ],
        render: refuse,
    }
}

/// Renders a refusal in the words of the original program, which knows one sentence for any text and
/// for any number that it does not take.
fn refuse(error: &Error) -> Reply {
    refuse_in_words(error, words(error))
}

fn words(error: &Error) -> &str {
    match error.code() {
        Code::MessageEmpty | Code::MessageTooLong => "Invalid message content.",
        Code::RecipientInvalid => Code::NumberInvalid.text(),
        _ => error.detail(),
    }
}

async fn send_json(gateway: Arc<Gateway>, mut request: Request) -> Result<Reply> {
    let caller = admit(&gateway, &request)?;
    let fields = request.fields().await?;
    let field = |name| fields.get(name).filter(|v| !v.is_empty());
    let (Some(id), Some(number), Some(message)) =
        (field("sessionId"), field("number"), field("message"))
    else {
        return Err(Error::invalid(
            "sessionId, number, and message are required.",
        ));
    };
    let session = session(&gateway, caller, &request, id)?;
    send(&gateway, &request, &session, number, message).await
}

async fn send_form(gateway: Arc<Gateway>, mut request: Request) -> Result<Reply> {
    let caller = admit(&gateway, &request)?;
    let fields = request.fields().await?;
    let field = |name| fields.get(name).filter(|v| !v.is_empty());
    let (Some(phone), Some(message)) = (field("phone"), field("message")) else {
        return Err(Error::invalid("phone and message are required."));
    };
    let id = field("sessionId").unwrap_or(DEFAULT_SESSION);
    let session = session(&gateway, caller, &request, id)?;
    send(&gateway, &request, &session, phone, message).await
}

async fn send(
    gateway: &Arc<Gateway>,
    request: &Request,
    session: &Arc<Session>,
    number: &str,
    message: &str,
) -> Result<Reply> {
    let country = gateway.country();
    let to = recipient(number, false, country)
        .ok_or_else(|| unreadable(number, country, Code::RecipientInvalid))?;
    let draft = Draft::text(to, message)?;
    // A form's boundary differs from try to try: what it says is what makes two requests one.
    let said = [session.id.as_str(), number, message].join("\0");
    let key = request
        .header_text("idempotency-key")?
        .map(|key| IdempotencyKey::new(key, said.as_bytes()));
    let outcomes = gateway
        .send(session, vec![draft], key.transpose()?, &request.hung_up())
        .await?;
    let outcome: &SendOutcome = outcomes
        .first()
        .ok_or_else(|| Error::internal("a send without an outcome"))?;
    match outcome.held_back() {
        Some(error) => Err(error),
        None => Ok(Reply::json(StatusCode::OK, &result(outcome))),
    }
}

/// Whether this caller may use the legacy sends at all; read before the body is. `None` is a caller
/// without a credential, where none is needed.
fn admit(gateway: &Arc<Gateway>, request: &Request) -> Result<Option<Caller>> {
    let open = match gateway.config().legacy {
        Legacy::Off => {
            return Err(Code::LegacyOff.into());
        }
        Legacy::Open => true,
        Legacy::Token => false,
        Legacy::Auto => is_from_here(gateway, request),
    };
    match Caller::if_any(gateway, &ADMISSION, request)? {
        Some(caller) => caller.requiring(&[Scope::Send]).map(Some),
        None if open => refuse_other_sites(gateway, request).map(|()| None),
        None => Err(Error::new(
            Code::CredentialMissing,
            format!(
                "No token provided: {}. Send the session's token (Authorization: Bearer TOKEN), or set legacy = open \
                 in the gateway's settings if everybody who reaches it may send",
                why_not(gateway, request)
            ),
        )),
    }
}

/// Why a request without a credential is not taken.
fn why_not(gateway: &Gateway, request: &Request) -> &'static str {
    if gateway.config().legacy == Legacy::Token {
        "the setting legacy = token asks everybody for one"
    } else if !request.peer().listener_loopback {
        "the gateway listens on an address that others reach"
    } else if request.via_proxy() {
        "this request came through a proxy"
    } else if !gateway.config().trusted_proxies.is_empty() {
        "the setting trusted_proxies says that requests come through a proxy"
    } else {
        "this request came from a web page, or names another host than localhost"
    }
}

/// The session that is named. A caller with a credential is held to it, also where none is needed.
fn session(
    gateway: &Arc<Gateway>,
    caller: Option<Caller>,
    request: &Request,
    id: &str,
) -> Result<Arc<Session>> {
    let place = Where::one_of(
        [Some(id), request.query("sessionId")],
        "sessionId is required",
    );
    match caller {
        Some(caller) => caller.session(place),
        None => place.open_to_all(gateway),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_words_of_its_own_for_texts_and_numbers() {
        let said = |code: Code| words(&Error::from(code)).to_owned();
        assert_eq!(said(Code::MessageEmpty), "Invalid message content.");
        assert_eq!(said(Code::MessageTooLong), "Invalid message content.");
        let number = "Invalid phone number format. Use 8-15 digits.";
        assert_eq!(said(Code::RecipientInvalid), number);
        let other = Error::new(Code::SessionNotFound, "Session a not found");
        assert_eq!(words(&other), "Session a not found");
    }
}
