//! Sessions (S1 to S3 of the dialects' table), pairing and tokens.

use std::sync::{Arc, Mutex, PoisonError};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::campaign_body::{flag, hours, pace};
use super::route;
use super::rules::{caller, is_from_here, named, object, session_in_path, text};
use crate::api::pairing;
use crate::config::Legacy;
use crate::domain::Gateway;
use crate::domain::key::Principal;
use crate::domain::optout::{MAX_WORD, MAX_WORDS, own_words};
use crate::domain::pacing::Pacing;
use crate::domain::session::{Limits, Session, Settings, State};
use crate::error::{Code, Error, Result};
use crate::http::{Method, Reply, Request, Route, StatusCode};
use crate::ids::SessionId;
use crate::jid::PhoneNumber;

pub(super) fn routes(gateway: &Arc<Gateway>) -> Vec<Route> {
    vec![
        route(gateway, Method::POST, "/sessions", create),
        listing(gateway),
        route(gateway, Method::GET, "/sessions/{sessionId}", show),
        route(gateway, Method::DELETE, "/sessions/{sessionId}", delete),
        route(
            gateway,
            Method::GET,
            "/sessions/{sessionId}/settings",
            settings,
        ),
        route(
            gateway,
            Method::PUT,
            "/sessions/{sessionId}/settings",
            change_settings,
        ),
        // It may start the session, which a client that hangs up must not cut in half.
        route(gateway, Method::GET, "/sessions/{sessionId}/qr", qr).detached(),
        route(
            gateway,
            Method::POST,
            "/sessions/{sessionId}/pairing-code",
            pairing_code,
        ),
        route(
            gateway,
            Method::POST,
            "/sessions/{sessionId}/logout",
            logout,
        ),
        route(
            gateway,
            Method::POST,
            "/sessions/{sessionId}/reconnect",
            reconnect,
        ),
        route(
            gateway,
            Method::POST,
            "/sessions/{sessionId}/token",
            rotate_token,
        ),
    ]
}

async fn create(gateway: Arc<Gateway>, mut request: Request) -> Result<Reply> {
    if !request
        .header("x-master-key")
        .is_some_and(|key| gateway.is_master_key(key))
    {
        return Err(Error::new(
            Code::MasterKeyMissing,
            "Master API key required for session creation",
        ));
    }
    let body = object(&mut request).await?;
    let id = match body.get("sessionId") {
        None | Some(Value::Null) => return Err(Error::from(Code::SessionIdMissing)),
        Some(Value::String(id)) if id.is_empty() => {
            return Err(Code::SessionIdMissing.into());
        }
        Some(Value::String(id)) => SessionId::parse(id)?,
        Some(_) => return Err(Error::from(Code::SessionIdInvalid)),
    };
    let (session, _) = gateway.create_session(id).await?;
    let answer = json!({
        "status": "success",
        "message": format!("Session {} created.", session.id),
        "token": session.token(),
    });
    Ok(Reply::json(StatusCode::CREATED, &answer).no_store())
}

/// The list as strangers see it, kept until a session changes: it is asked for all the time.
#[derive(Default)]
struct PublicList(Mutex<Option<(u64, Bytes)>>);

impl PublicList {
    fn get(&self, gateway: &Arc<Gateway>) -> Result<Bytes> {
        let version = gateway.sessions().version();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, list)) = kept.as_ref()
            && *of == version
        {
            return Ok(list.clone());
        }
        let rows: Vec<_> = gateway
            .sessions()
            .all()
            .iter()
            .map(|s| row(s, None))
            .collect();
        let list = Bytes::from(serde_json::to_vec(&rows).map_err(Error::internal)?);
        *kept = Some((version, list.clone()));
        Ok(list)
    }
}

fn listing(gateway: &Arc<Gateway>) -> Route {
    let public = Arc::new(PublicList::default());
    route(
        gateway,
        Method::GET,
        "/sessions",
        move |gateway, request| {
            let public = public.clone();
            async move { list(&gateway, &request, &public) }
        },
    )
}

/// Public, as documented; tokens and QR codes only for those who may use them.
fn list(gateway: &Arc<Gateway>, request: &Request, public: &PublicList) -> Result<Reply> {
    let who = match (request.header("x-master-key"), request.bearer()) {
        (None, None) => {
            if !is_public(gateway, request) {
                return Err(Code::CredentialMissing.into());
            }
            return Ok(
                Reply::bytes("application/json; charset=utf-8", public.get(gateway)?).no_store(),
            );
        }
        _ => Some(caller(gateway, request)?),
    };
    let rows: Vec<Value> = gateway
        .sessions()
        .all()
        .iter()
        .map(|session| Value::Object(row(session, who.as_ref())))
        .collect();
    Ok(Reply::json(StatusCode::OK, &rows).no_store())
}

/// Whether the list is shown without a credential. On a listener of this machine alone it is for
/// programs that ask by themselves, and not for a page whose name was made to lead here, or for
/// whoever comes through a proxy.
fn is_public(gateway: &Arc<Gateway>, request: &Request) -> bool {
    !request.peer().listener_loopback
        || gateway.config().legacy == Legacy::Open
        || is_from_here(gateway, request)
}

/// One row of the list. `token` and `qr` are the session's own secrets, and whose account it is
/// does not concern strangers.
fn row(session: &Arc<Session>, who: Option<&Principal>) -> Map<String, Value> {
    let entitled = match who {
        Some(Principal::Master) => true,
        Some(Principal::Session(own)) => own.number == session.number,
        None => false,
    };
    let status = session.status();
    let mut row = Map::new();
    row.insert("sessionId".into(), json!(session.id));
    row.insert("status".into(), json!(status_word(status.state)));
    let detail = match status.state {
        State::Connected if !entitled => "Connected",
        _ => &status.detail,
    };
    row.insert("detail".into(), json!(detail));
    row.insert(
        "qr".into(),
        json!(status.qr.filter(|_| entitled).map(|(code, _)| code)),
    );
    row.insert("token".into(), json!(entitled.then(|| session.token())));
    row
}

async fn show(gateway: Arc<Gateway>, request: Request) -> Result<Reply> {
    let session = session_in_path(&gateway, &request)?;
    let mut shown = row(&session, Some(&Principal::Session(session.clone())));
    let status = session.status();
    shown.insert(
        "isConnected".into(),
        json!(status.state == State::Connected),
    );
    shown.insert("loggedOut".into(), json!(status.state == State::LoggedOut));
    shown.insert("number".into(), json!(status.number));
    shown.insert("lid".into(), json!(status.lid));
    shown.insert("name".into(), json!(status.name));
    shown.insert("createdAt".into(), json!(session.created_at.to_string()));
    Ok(Reply::json(StatusCode::OK, &shown).no_store())
}

async fn delete(gateway: Arc<Gateway>, request: Request) -> Result<Reply> {
    let session = session_in_path(&gateway, &request)?;
    gateway.delete_session(&session).await?;
    Ok(success(&format!("Session {} deleted.", session.id)))
}

async fn settings(gateway: Arc<Gateway>, request: Request) -> Result<Reply> {
    let session = session_in_path(&gateway, &request)?;
    Ok(Reply::json(StatusCode::OK, &chosen(&session.settings())))
}

/// Changes the settings that the body names, and leaves the others.
async fn change_settings(gateway: Arc<Gateway>, mut request: Request) -> Result<Reply> {
    const KNOWN: &[&str] = &[
        "sessionId",
        "autoDownload",
        "dailyCap",
        "quietHours",
        "timezone",
        "optOutWords",
        "optInWords",
    ];
    let session = session_in_path(&gateway, &request)?;
    let body = object(&mut request).await?;
    named(&[Some(session.id.as_str()), text(&body, "sessionId")?])?;
    if let Some(unknown) = body.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        let shown: String = unknown
            .chars()
            .filter(|c| !c.is_control())
            .take(32)
            .collect();
        return Err(Error::new(
            Code::SettingInvalid,
            format!("There is no setting {shown}"),
        ));
    }
    let mut new = session.settings();
    new.auto_download = flag(&body, "autoDownload", new.auto_download)?;
    let mut pacing = Pacing {
        daily_cap: new.limits.daily_cap,
        quiet: new.limits.quiet,
        zone: new.limits.zone,
        ..Pacing::default()
    };
    pace(&body, "", &mut pacing)?;
    new.limits = Limits {
        daily_cap: pacing.daily_cap,
        quiet: pacing.quiet,
        zone: pacing.zone,
    };
    words(&body, "optOutWords", &mut new.opt_out_words)?;
    words(&body, "optInWords", &mut new.opt_in_words)?;
    let settings = gateway
        .change_settings(&session, move |settings| *settings = new)
        .await?;
    gateway.wake_campaigns();
    Ok(Reply::json(StatusCode::OK, &chosen(&settings)))
}

/// Reads a list of words; `null` brings the usual ones back.
fn words(body: &Map<String, Value>, name: &str, into: &mut Option<Vec<String>>) -> Result<()> {
    let wrong = || {
        let text = format!(
            "{name} must be an array of up to {MAX_WORDS} words of up to {MAX_WORD} characters, or null"
        );
        Error::new(Code::OptOutWordsInvalid, text)
    };
    match body.get(name) {
        None => {}
        Some(Value::Null) => *into = None,
        Some(Value::Array(words)) => {
            let words = words.iter().map(|word| word.as_str().unwrap_or_default());
            *into = Some(own_words(words).map_err(|_| wrong())?);
        }
        Some(_) => return Err(wrong()),
    }
    Ok(())
}

fn chosen(settings: &Settings) -> Value {
    let limits = &settings.limits;
    json!({
        "status": "success", "autoDownload": settings.auto_download,
        "dailyCap": limits.daily_cap, "quietHours": limits.quiet.map(hours),
        "timezone": limits.zone.name(), "optOutWords": settings.opt_out_words,
        "optInWords": settings.opt_in_words,
    })
}

/// The QR code as `Accept` wants it: a picture, or JSON with its text and a data URL.
async fn qr(gateway: Arc<Gateway>, request: Request) -> Result<Reply> {
    let session = session_in_path(&gateway, &request)?;
    let wanted = request
        .header("accept")
        .unwrap_or_default()
        .to_ascii_lowercase();
    let (code, ends) = gateway.qr(&session).await?;
    let reply = if wanted.contains("image/svg") {
        Reply::bytes("image/svg+xml", pairing::svg(&code)?)
    } else if wanted.contains("image/") {
        Reply::bytes("image/png", pairing::png(&code)?)
    } else {
        let picture = BASE64_STANDARD.encode(pairing::png(&code)?);
        let answer = json!({
            "status": "success", "qr": code, "expiresAt": ends.to_string(),
            "image": format!("data:image/png;base64,{picture}"),
        });
        Reply::json(StatusCode::OK, &answer)
    };
    Ok(reply.no_store())
}

async fn pairing_code(gateway: Arc<Gateway>, mut request: Request) -> Result<Reply> {
    let session = session_in_path(&gateway, &request)?;
    let body = object(&mut request).await?;
    named(&[Some(session.id.as_str()), text(&body, "sessionId")?])?;
    let phone = text(&body, "phone")?.ok_or_else(|| Error::invalid("phone is required"))?;
    let phone = PhoneNumber::parse(phone, gateway.country()).ok_or(Code::NumberInvalid)?;
    let code = gateway.pairing_code(&session, &phone).await?;
    let answer = json!({ "status": "success", "code": code });
    Ok(Reply::json(StatusCode::OK, &answer).no_store())
}

async fn logout(gateway: Arc<Gateway>, request: Request) -> Result<Reply> {
    let session = session_in_path(&gateway, &request)?;
    gateway.logout(&session).await?;
    Ok(success(&format!("Session {} logged out.", session.id)))
}

async fn reconnect(gateway: Arc<Gateway>, request: Request) -> Result<Reply> {
    let session = session_in_path(&gateway, &request)?;
    gateway.reconnect(&session).await?;
    Ok(success(&format!("Session {} is reconnecting.", session.id)))
}

async fn rotate_token(gateway: Arc<Gateway>, request: Request) -> Result<Reply> {
    let session = session_in_path(&gateway, &request)?;
    let token = gateway.rotate_token(&session).await?;
    let answer = json!({ "status": "success", "token": token });
    Ok(Reply::json(StatusCode::OK, &answer).no_store())
}

/// The envelope of an answer that says only what was done.
pub(super) fn success(message: &str) -> Reply {
    Reply::json(
        StatusCode::OK,
        &json!({ "status": "success", "message": message }),
    )
}

/// The word for a state, as the original program writes it.
pub(in crate::api) fn status_word(state: State) -> &'static str {
    match state {
        State::Created => "CREATING",
        State::Connecting => "CONNECTING",
        State::Pairing => "GENERATING_QR",
        State::Connected => "CONNECTED",
        State::Disconnected | State::LoggedOut => "DISCONNECTED",
    }
}
