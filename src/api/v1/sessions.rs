//! Sessions (S1 to S3 of the dialects' table), pairing and tokens.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::admission::{ADMISSION, admitted};
use crate::api::admit::{Caller, is_from_here, only, refuse_other_sites};
use crate::api::read::{flag, object, pace, text, whole_number};
use crate::api::reply::{HoursView, hours, success};
use crate::api::{pairing, route};
use crate::config::{Legacy, PublicSessions};
use crate::domain::Gateway;
use crate::domain::access::{Principal, Scope};
use crate::domain::guard::{Guard, GuardLimits, MAX_GUARD};
use crate::domain::optout::{MAX_WORD, MAX_WORDS, own_words};
use crate::domain::pacing::Pacing;
use crate::domain::session::{Session, SessionSettings, SessionState, SettingsChange};
use crate::error::{Code, Error, Result};
use crate::http::{Method, Reply, Request, Route, StatusCode};
use crate::ids::SessionId;
use crate::jid::{Jid, PhoneNumber, unreadable};

pub(super) fn routes(gateway: &Arc<Gateway>) -> Vec<Route> {
    use {Method as M, Scope as S};
    let one = "/sessions/{sessionId}";
    let chosen = "/sessions/{sessionId}/settings";
    let (qr_path, code) = (
        "/sessions/{sessionId}/qr",
        "/sessions/{sessionId}/pairing-code",
    );
    vec![
        route(gateway, M::POST, "/sessions", create),
        listing(gateway),
        admitted(gateway, &[S::Read], M::GET, one, show),
        admitted(gateway, &[S::Admin], M::DELETE, one, delete),
        admitted(gateway, &[S::Config], M::GET, chosen, settings),
        admitted(gateway, &[S::Config], M::PUT, chosen, change_settings),
        // It may start the session, which a client that hangs up must not cut in half.
        admitted(gateway, &[S::Admin], M::GET, qr_path, qr).detached(),
        admitted(gateway, &[S::Admin], M::POST, code, pairing_code),
        admitted(
            gateway,
            &[S::Admin],
            M::POST,
            "/sessions/{sessionId}/logout",
            logout,
        ),
        admitted(
            gateway,
            &[S::Admin],
            M::POST,
            "/sessions/{sessionId}/reconnect",
            reconnect,
        ),
        admitted(
            gateway,
            &[S::Admin],
            M::POST,
            "/sessions/{sessionId}/token",
            rotate_token,
        ),
    ]
}

async fn create(gateway: Arc<Gateway>, mut request: Request) -> Result<Reply> {
    let caller = may_create(&gateway, &request)?;
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
    let answer = CreatedView {
        status: "success",
        message: format!("Session {} created.", session.id),
        token: caller.may_see_token(&session).then(|| session.token()),
    };
    Ok(Reply::json(StatusCode::CREATED, &answer).no_store())
}

/// A session that was made.
#[derive(Serialize)]
struct CreatedView {
    status: &'static str,
    message: String,
    token: Option<String>,
}

/// Whoever may make sessions: the holder of the master key, or of a key that is for all sessions.
fn may_create(gateway: &Arc<Gateway>, request: &Request) -> Result<Caller> {
    const REFUSED: &str = "Master API key required for session creation";
    let caller = Caller::of(gateway, &ADMISSION, request);
    let caller = caller.map_err(|error| match error.code() {
        Code::CredentialMissing | Code::MasterKeyMissing => {
            Error::new(Code::MasterKeyMissing, REFUSED)
        }
        // Whatever was guessed, the master key would have been right.
        code if code.is_wrong_credential() => Error::new(Code::MasterKeyInvalid, REFUSED),
        _ => error,
    })?;
    match caller.principal {
        Principal::Master => Ok(caller),
        Principal::Session(_) => Err(Error::new(Code::MasterKeyMissing, REFUSED)),
        Principal::Key(_) => caller.requiring(&[Scope::Admin])?.of_all_sessions(),
    }
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
            .map(|session| row(session, Sight::default()))
            .chain(unreadable_rows(gateway))
            .collect();
        let mut list = serde_json::to_vec(&rows).map_err(Error::internal)?;
        list.push(b'\n');
        let list = Bytes::from(list);
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

/// Public, as documented; tokens and QR codes only for those who may use them. Where it is not public, a
/// key is shown its own sessions.
fn list(gateway: &Arc<Gateway>, request: &Request, public: &PublicList) -> Result<Reply> {
    let Some(caller) = Caller::if_any(gateway, &ADMISSION, request)? else {
        if is_open(gateway) {
            refuse_other_sites(gateway, request)?;
            return Ok(rows(
                gateway.sessions().all(),
                unreadable_rows(gateway),
                |_| Sight::EVERYTHING,
            ));
        }
        if !is_public(gateway, request) {
            return Err(Code::CredentialMissing.into());
        }
        let list = public.get(gateway)?;
        return Ok(Reply::bytes("application/json; charset=utf-8", list).no_store());
    };
    let is_key = matches!(caller.principal, Principal::Key(_));
    let own_only = is_key && !is_public(gateway, request);
    if own_only {
        caller.principal.require_scope(Scope::Read)?;
    }
    let (shown, others) = match own_only && caller.principal.only_session().is_some() {
        true => (gateway.sessions_of(&caller.principal), Vec::new()),
        false => (gateway.sessions().all(), unreadable_rows(gateway)),
    };
    Ok(rows(shown, others, |session| match is_open(gateway) {
        true => Sight::EVERYTHING,
        false => Sight::of(&caller, session),
    }))
}

/// These sessions, each as somebody sees it.
fn rows(
    shown: Vec<Arc<Session>>,
    others: Vec<SessionRow>,
    sight: impl Fn(&Session) -> Sight,
) -> Reply {
    let rows: Vec<_> = shown
        .iter()
        .map(|session| row(session, sight(session)))
        .chain(others)
        .collect();
    Reply::json(StatusCode::OK, &rows).no_store()
}

/// Whether everybody sees everything, as the original documents it.
fn is_open(gateway: &Gateway) -> bool {
    gateway.config().public_sessions == PublicSessions::Open
}

/// Whether the list is shown without a credential. On a listener of this machine alone it is for
/// programs that ask by themselves, and not for a page whose name was made to lead here, or for
/// whoever comes through a proxy.
fn is_public(gateway: &Arc<Gateway>, request: &Request) -> bool {
    is_open(gateway)
        || !request.peer().listener_loopback
        || gateway.config().legacy == Legacy::Open
        || is_from_here(gateway, request)
}

/// What somebody is shown of a session. Its token and its QR code are secrets, and whose account it is
/// does not concern strangers.
#[derive(Clone, Copy, Default)]
struct Sight {
    account: bool,
    qr: bool,
    token: bool,
}

impl Sight {
    const EVERYTHING: Self = Self {
        account: true,
        qr: true,
        token: true,
    };

    fn of(caller: &Caller, session: &Session) -> Self {
        let only = caller.principal.only_session();
        let is_theirs = only.is_none_or(|only| only == session.number);
        let has = |scope| is_theirs && caller.principal.require_scope(scope).is_ok();
        Self {
            account: has(Scope::Read),
            qr: has(Scope::Admin),
            token: caller.may_see_token(session),
        }
    }
}

/// One row of the list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionRow {
    session_id: SessionId,
    status: &'static str,
    detail: String,
    qr: Option<String>,
    token: Option<String>,
}

fn row(session: &Session, sight: Sight) -> SessionRow {
    let status = session.status();
    SessionRow {
        session_id: session.id.clone(),
        status: status_word(status.state),
        detail: match status.state {
            SessionState::Connected if !sight.account => "Connected".to_owned(),
            _ => status.detail,
        },
        qr: status.qr.filter(|_| sight.qr).map(|(code, _)| code),
        token: sight.token.then(|| session.token()),
    }
}

/// One session with all that is known of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionView {
    #[serde(flatten)]
    row: SessionRow,
    is_connected: bool,
    logged_out: bool,
    number: Option<String>,
    lid: Option<Jid>,
    name: String,
    created_at: String,
    guard: GuardView,
}

/// How far the guard of plain sends has come.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GuardView {
    limits: Value,
    new_contacts_last_minute: u32,
    new_contacts_last_day: u32,
}

/// The rows of sessions that can only be deleted.
fn unreadable_rows(gateway: &Arc<Gateway>) -> Vec<SessionRow> {
    let row = |session_id| SessionRow {
        session_id,
        status: status_word(SessionState::Disconnected),
        detail: Code::SessionUnreadable.text().to_owned(),
        qr: None,
        token: None,
    };
    let ids = gateway.sessions().unreadable();
    ids.into_iter().map(row).collect()
}

async fn show(caller: Caller, request: Request) -> Result<Reply> {
    let session = caller.session_in_path(&request)?;
    let status = session.status();
    let guarded = caller.gateway.guard_status(&session)?;
    let shown = SessionView {
        row: row(&session, Sight::of(&caller, &session)),
        is_connected: status.state == SessionState::Connected,
        logged_out: status.state == SessionState::LoggedOut,
        number: status.number,
        lid: status.lid,
        name: status.name,
        created_at: session.created_at.to_string(),
        guard: GuardView {
            limits: guard_word(Some(guarded.guard)),
            new_contacts_last_minute: guarded.last_minute,
            new_contacts_last_day: guarded.last_day,
        },
    };
    Ok(Reply::json(StatusCode::OK, &shown).no_store())
}

async fn delete(caller: Caller, request: Request) -> Result<Reply> {
    let session = match caller.session_in_path(&request) {
        Err(error) if error.code() == Code::SessionUnreadable => {
            let id = SessionId::parse(request.param("sessionId"))?;
            caller.gateway.delete_unreadable_session(&id).await?;
            return Ok(success(&format!("Session {id} deleted.")));
        }
        session => session?,
    };
    caller.gateway.delete_session(&session).await?;
    Ok(success(&format!("Session {} deleted.", session.id)))
}

async fn settings(caller: Caller, request: Request) -> Result<Reply> {
    let session = caller.session_in_path(&request)?;
    Ok(Reply::json(StatusCode::OK, &chosen(&session.settings())))
}

/// What may be chosen of a session.
const KNOWN: &[&str] = &[
    "sessionId",
    "autoDownload",
    "guard",
    "dailyCap",
    "quietHours",
    "timezone",
    "optOutWords",
    "optInWords",
];

/// Changes the settings that the body names, and leaves the others.
async fn change_settings(caller: Caller, mut request: Request) -> Result<Reply> {
    let session = caller.session_in_path(&request)?;
    let body = object(&mut request).await?;
    only(&session, text(&body, "sessionId")?)?;
    let change = settings_change(&body)?;
    let settings = caller.gateway.change_settings(&session, change).await?;
    caller.gateway.wake_campaigns();
    Ok(Reply::json(StatusCode::OK, &chosen(&settings)))
}

/// What the body changes of the settings.
fn settings_change(body: &Map<String, Value>) -> Result<SettingsChange> {
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
    let is_given = |name: &str| body.get(name).is_some_and(|value| !value.is_null());
    let mut pacing = Pacing::default();
    pace(body, "", &mut pacing)?;
    let auto_download = flag(body, "autoDownload", false)?;
    Ok(SettingsChange {
        auto_download: is_given("autoDownload").then_some(auto_download),
        guard: chosen_guard(body)?,
        daily_cap: body.contains_key("dailyCap").then_some(pacing.daily_cap),
        quiet: body.contains_key("quietHours").then_some(pacing.quiet),
        zone: is_given("timezone").then_some(pacing.zone),
        opt_out_words: keywords(body, "optOutWords")?,
        opt_in_words: keywords(body, "optInWords")?,
    })
}

/// The guard, if it is given: `"off"`, both limits, or `null` for the gateway's setting.
fn chosen_guard(body: &Map<String, Value>) -> Result<Option<Option<Guard>>> {
    let limits = |given: &Map<String, Value>| {
        let number = |name| whole_number(given, name);
        let known = given
            .keys()
            .all(|name| GUARD_FIELDS.contains(&name.as_str()));
        let limits = GuardLimits::new(number(GUARD_FIELDS[0])?, number(GUARD_FIELDS[1])?);
        limits.filter(|_| known).map(Guard::On)
    };
    let guard = match body.get("guard") {
        None => return Ok(None),
        Some(Value::Null) => return Ok(Some(None)),
        Some(Value::String(word)) => (word == "off").then_some(Guard::Off),
        Some(Value::Object(given)) => limits(given),
        Some(_) => None,
    };
    guard.map(Some).map(Some).ok_or_else(|| {
        let text = format!(
            "guard must be {{\"perMinute\":60,\"perDay\":1000}} with numbers from 1 to {MAX_GUARD}, \"off\", or null"
        );
        Error::new(Code::SettingInvalid, text)
    })
}

/// The guard as it is written; `null` is the gateway's.
fn guard_word(guard: Option<Guard>) -> Value {
    match guard {
        None => Value::Null,
        Some(Guard::Off) => json!("off"),
        Some(Guard::On(limits)) => {
            json!({ (GUARD_FIELDS[0]): limits.per_minute, (GUARD_FIELDS[1]): limits.per_day })
        }
    }
}

/// The limits of a guard.
const GUARD_FIELDS: [&str; 2] = ["perMinute", "perDay"];

/// A list of words, if it is given; `null` brings the usual ones back.
fn keywords(body: &Map<String, Value>, name: &str) -> Result<Option<Option<Vec<String>>>> {
    let wrong = || {
        let text = format!(
            "{name} must be an array of up to {MAX_WORDS} words of up to {MAX_WORD} characters, or null"
        );
        Error::new(Code::OptOutWordsInvalid, text)
    };
    match body.get(name) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::Array(words)) => {
            let words = words.iter().map(|word| word.as_str().unwrap_or_default());
            Ok(Some(Some(own_words(words).map_err(|_| wrong())?)))
        }
        Some(_) => Err(wrong()),
    }
}

/// What is chosen of a session.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChosenView<'a> {
    status: &'static str,
    auto_download: bool,
    guard: Value,
    daily_cap: Option<NonZeroU32>,
    quiet_hours: Option<HoursView>,
    timezone: &'a str,
    opt_out_words: Option<&'a [String]>,
    opt_in_words: Option<&'a [String]>,
}

fn chosen(settings: &SessionSettings) -> ChosenView<'_> {
    let limits = &settings.limits;
    ChosenView {
        status: "success",
        auto_download: settings.auto_download,
        guard: guard_word(settings.guard),
        daily_cap: limits.daily_cap,
        quiet_hours: limits.quiet.map(hours),
        timezone: limits.zone.name(),
        opt_out_words: settings.opt_out_words.as_deref(),
        opt_in_words: settings.opt_in_words.as_deref(),
    }
}

/// A QR code as text and as an image.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QrView {
    status: &'static str,
    qr: String,
    expires_at: String,
    image: String,
}

/// The QR code as `Accept` wants it: an image, or JSON with its text and a data URL.
async fn qr(caller: Caller, request: Request) -> Result<Reply> {
    let session = caller.session_in_path(&request)?;
    let wanted = request.header("accept").unwrap_or_default();
    let wanted = wanted.to_ascii_lowercase();
    let (code, ends) = caller.gateway.qr(&session).await?;
    let reply = if wanted.contains("image/svg") {
        Reply::bytes("image/svg+xml", pairing::svg(&code)?)
    } else if wanted.contains("image/") {
        Reply::bytes("image/png", pairing::png(&code)?)
    } else {
        let picture = BASE64_STANDARD.encode(pairing::png(&code)?);
        let answer = QrView {
            status: "success",
            qr: code,
            expires_at: ends.to_string(),
            image: format!("data:image/png;base64,{picture}"),
        };
        Reply::json(StatusCode::OK, &answer)
    };
    Ok(reply.no_store())
}

async fn pairing_code(caller: Caller, mut request: Request) -> Result<Reply> {
    let session = caller.session_in_path(&request)?;
    let body = object(&mut request).await?;
    only(&session, text(&body, "sessionId")?)?;
    let phone = text(&body, "phone")?.ok_or_else(|| Error::invalid("phone is required"))?;
    let country = caller.gateway.country();
    let phone = PhoneNumber::parse(phone, country)
        .ok_or_else(|| unreadable(phone, country, Code::NumberInvalid))?;
    let code = caller.gateway.pairing_code(&session, &phone).await?;
    let answer = CodeView {
        status: "success",
        code,
    };
    Ok(Reply::json(StatusCode::OK, &answer).no_store())
}

/// A pairing code.
#[derive(Serialize)]
struct CodeView {
    status: &'static str,
    code: String,
}

async fn logout(caller: Caller, request: Request) -> Result<Reply> {
    let session = caller.session_in_path(&request)?;
    caller.gateway.logout(&session).await?;
    Ok(success(&format!("Session {} logged out.", session.id)))
}

async fn reconnect(caller: Caller, request: Request) -> Result<Reply> {
    let session = caller.session_in_path(&request)?;
    caller.gateway.reconnect(&session).await?;
    Ok(success(&format!("Session {} is reconnecting.", session.id)))
}

async fn rotate_token(caller: Caller, request: Request) -> Result<Reply> {
    let session = caller.session_in_path(&request)?;
    if !caller.may_see_token(&session) {
        return Err(Code::TokenNotForKeys.into());
    }
    let token = caller.gateway.rotate_token(&session).await?;
    let answer = TokenView {
        status: "success",
        token,
    };
    Ok(Reply::json(StatusCode::OK, &answer).no_store())
}

/// A new token.
#[derive(Serialize)]
struct TokenView {
    status: &'static str,
    token: String,
}

/// The word for a state, as the original program writes it.
pub(in crate::api) fn status_word(state: SessionState) -> &'static str {
    match state {
        SessionState::Created => "CREATING",
        SessionState::Connecting => "CONNECTING",
        SessionState::Pairing => "GENERATING_QR",
        SessionState::Connected => "CONNECTED",
        SessionState::Disconnected | SessionState::LoggedOut => "DISCONNECTED",
    }
}
