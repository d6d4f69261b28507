//! `warung pair`: a QR code in the terminal, and then what one needs for a first message.

use std::time::Duration;

use serde_json::{Value, json};

use super::running::Running;
use super::say;
use crate::api::terminal_qr;
use crate::config::Config;
use crate::error::{Code, Result};
use crate::http::Method;
use crate::ids::SessionId;

/// How often it is looked whether the phone has scanned.
const LOOKED_EVERY: Duration = Duration::from_secs(1);

/// Shows a session's QR code until a phone has scanned it; then its token and a first message.
pub async fn pair(config: &Config, session: &str) -> Result<()> {
    let session = SessionId::parse(session)?;
    let running = Running::of(config)?;
    let wanted = json!({ "sessionId": session });
    let created = running
        .ask(Method::POST, "/api/v1/sessions", Some(wanted))
        .await?;
    let connected = until_scanned(&running, &session).await?;
    say(&format!(
        "{session}: {}",
        connected["detail"].as_str().unwrap_or("connected")
    ));
    if let Some(token) = created["token"].as_str() {
        tell_next(&running, &session, token, &connected);
    }
    Ok(())
}

/// Shows each new code; answers the state of the session when it is connected.
async fn until_scanned(running: &Running, session: &SessionId) -> Result<Value> {
    let one = format!("/api/v1/sessions/{session}");
    let qr_of = format!("{one}/qr");
    let (mut shown, mut told) = (String::new(), String::new());
    loop {
        let state = running.ask(Method::GET, &one, None).await?;
        if state["status"] == "CONNECTED" {
            return Ok(state);
        }
        if state["status"] != "CONNECTING" {
            match running.ask(Method::GET, &qr_of, None).await {
                Ok(qr) => {
                    let code = qr["qr"].as_str().unwrap_or_default();
                    if code != shown {
                        say(&terminal_qr(code)?);
                        say("On the phone: WhatsApp > Settings > Linked devices > Link a device");
                        code.clone_into(&mut shown);
                    }
                }
                // WhatsApp cannot be reached, say. The gateway goes on trying, and so do we.
                Err(error) if error.code() == Code::QrNotReady => {
                    if error.detail() != told {
                        say(&format!("{} (Ctrl-C gives up)", error.detail()));
                        error.detail().clone_into(&mut told);
                    }
                }
                Err(error) if error.code() == Code::InvalidRequest => {}
                Err(error) => return Err(error),
            }
        }
        tokio::time::sleep(LOOKED_EVERY).await;
    }
}

/// Says how to send a first message: to the account itself, whose number is known.
fn tell_next(running: &Running, session: &SessionId, token: &str, connected: &Value) {
    let to = connected["number"].as_str().unwrap_or("6281234567890");
    say(&format!("its token, for your programs: {token}"));
    say("send a first message, here to the account itself; put another number in:");
    say(&format!("  warung send {session} {to} 'Hello'"));
    let curl = running.curl();
    let message = json!({ "to": to, "type": "text", "text": { "body": "Hello" } });
    say(&format!(
        "  {curl}/api/v1/messages?sessionId={session}' -H 'Authorization: Bearer {token}' \
         -H 'Content-Type: application/json' -d '{message}'"
    ));
}
