//! `warung send`: one text, and what became of it.

use std::process::ExitCode;

use serde_json::json;

use super::running::Running;
use super::{complain, say};
use crate::config::Config;
use crate::error::{Code, Error, Result};
use crate::http::Method;
use crate::ids::SessionId;

/// The exit code when nobody knows whether the message arrives: a script must not send it again
/// without a thought.
const UNKNOWN: u8 = 2;

/// Sends a text over the running gateway. Exits 0 when WhatsApp acknowledged it, 1 when it was not
/// sent, 2 when nobody knows.
pub async fn send(
    config: &Config,
    session: Option<&str>,
    to: &str,
    text: &str,
) -> Result<ExitCode> {
    let session = session.map(SessionId::parse).transpose()?;
    let running = Running::of(config)?;
    let session = match session {
        Some(session) => session,
        None => only_session(&running).await?,
    };
    let message = json!({ "to": to, "type": "text", "text": { "body": text } });
    let path = format!("/api/v1/messages?sessionId={session}");
    let rows = match running.ask(Method::POST, &path, Some(message)).await {
        Err(error) if error.code() == Code::NotFound => {
            return Err(why_not(&running, &session, error).await?);
        }
        rows => rows?,
    };
    let row = &rows[0];
    let said = row["message"].as_str().unwrap_or("no answer");
    if row["status"] == "success" {
        let id = row["messageId"].as_str().unwrap_or_default();
        say(&format!("{said} from session {session} (message {id})"));
        if let Some(note) = row["note"].as_str() {
            say(note);
        }
        return Ok(ExitCode::SUCCESS);
    }
    complain(&Error::new(Code::GatewayRefused, said.to_owned()));
    Ok(match row["code"].as_u64() {
        Some(504) => ExitCode::from(UNKNOWN),
        _ => ExitCode::FAILURE,
    })
}

/// Why a session cannot send, and what to do about it.
async fn why_not(running: &Running, session: &SessionId, refused: Error) -> Result<Error> {
    let path = format!("/api/v1/sessions/{session}");
    let state = match running.ask(Method::GET, &path, None).await {
        Err(error) if error.code() == Code::NotFound => {
            let text = format!(
                "there is no session {session}; `warung pair {session}` makes it and shows its QR code"
            );
            return Ok(Error::new(Code::SessionNotFound, text));
        }
        state => state?,
    };
    if state["isConnected"] == true {
        return Ok(refused);
    }
    let detail = state["detail"].as_str().unwrap_or_default();
    let detail = detail.trim_end_matches('.');
    let scan = format!("`warung pair {session}` shows a QR code to scan");
    let text = if state["loggedOut"] == true {
        // Behind it comes what to do in the words of the API.
        let why = detail.split(';').next().unwrap_or_default();
        format!("session {session} was logged out ({why}): {scan}")
    } else if state["number"].is_null() {
        format!("session {session} is not linked to a phone yet: {scan}")
    } else {
        format!(
            "session {session} cannot send right now: {detail}. Unless that asks you for something, wait a minute \
             and send again; GET {path} shows how it stands"
        )
    };
    Ok(Error::new(Code::SessionNotConnected, text))
}

/// The one session that there is.
async fn only_session(running: &Running) -> Result<SessionId> {
    let all = running.ask(Method::GET, "/api/v1/sessions", None).await?;
    let ids = all.as_array().into_iter().flatten();
    let ids: Vec<&str> = ids.filter_map(|row| row["sessionId"].as_str()).collect();
    match ids[..] {
        [one] => SessionId::parse(one),
        [] => Err(Error::new(
            Code::SessionNotFound,
            "there is no session yet; `warung pair NAME` makes one and shows its QR code",
        )),
        _ => {
            let (some, more) = ids.split_at(ids.len().min(NAMED));
            let more = if more.is_empty() { "" } else { ", ..." };
            let text = format!(
                "there are several sessions ({}{more}); name one: warung send SESSION TO TEXT",
                some.join(", ")
            );
            Err(Error::new(Code::SessionIdMissing, text))
        }
    }
}

/// How many sessions a sentence names.
const NAMED: usize = 5;
